"""Convolutional families: shapes, arithmetic, gradients, and torch twins of cnn and resnet."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.errors import SpaceError
from thalweg.models import InputShape, build
from thalweg.models.cnn import CNN, Block
from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import Context
from thalweg.space import NORMALISATIONS, Config

B = 4
GREY = InputShape(image=(28, 28, 1), image_mean=(33.0,), image_std=(78.0,))
COLOUR = InputShape(
    image=(16, 17, 3), image_mean=(120.0, 110.0, 100.0), image_std=(60.0, 65.0, 70.0)
)


def images(inputs: InputShape, num: int = B, seed: int = 0):
    rng = np.random.default_rng(seed)
    return {"image": jnp.asarray(rng.integers(0, 256, (num, *inputs.image), dtype=np.uint8))}


def parameters(network, seed: int = 0):
    drawn = initial_params(network.params(), ["he_normal"], np.ones(1), seed)
    rng = np.random.default_rng(seed)
    return {
        n: (p[0] + 0.05 * rng.normal(size=p.shape[1:])).astype(np.float32) for n, p in drawn.items()
    }


def make(model: str, inputs: InputShape = COLOUR, **values) -> CNN:
    config = Config(model=model, **{"depth": 2, "width": 6, **values})
    network = build(config.structure(), inputs, 5)
    assert isinstance(network, CNN)
    return network


def value_and_grads(network, fields):
    params, state = parameters(network), network.state()
    weights = np.random.default_rng(5).normal(size=(B, 5)).astype(np.float32)

    @jax.jit
    def both(params):
        def total(params):
            out, after = network.apply(params, state, fields, Context(train=True))
            return jnp.sum(weights * out), (out, after)

        return jax.value_and_grad(total, has_aux=True)(params)

    (_, (out, after)), grads = both(params)
    return params, out, after, grads, weights


@pytest.mark.parametrize(
    ("model", "normalisation"),
    [*(("cnn", n) for n in NORMALISATIONS), ("lenet", "none"), ("vgg", "layer"),
     ("resnet", "none"), ("resnet", "group")],
)  # fmt: skip
def test_shapes_state_and_gradients(model, normalisation):
    activation = "gelu" if normalisation == "layer" else "relu"
    network = make(model, normalisation=normalisation, activation=activation)
    params, out, after, grads, _ = value_and_grads(network, images(COLOUR))
    assert out.shape == (B, 5)
    assert out.dtype == jnp.float32
    assert np.isfinite(out).all()
    assert {n: v.shape for n, v in after.items()} == {
        n: v.shape for n, v in network.state().items()
    }
    assert bool(after) == (normalisation == "batch")
    assert params.keys() == grads.keys()
    for name, grad in grads.items():
        assert np.isfinite(grad).all(), name
        assert np.abs(grad).max() > 0, name


def test_flops_and_floats_of_the_textbooks_network():
    network = make("cnn", GREY, width=32)
    conv = 2 * (26 * 26 * 9 * 32 + 11 * 11 * 9 * 32 * 64)
    assert network.flops() == conv + 2 * 1600 * 5
    assert sum(np.prod(p.shape) for p in network.params().values()) == 320 + 18_496 + 8_005
    # Convolutions' outputs, pooled ones, the image, and the output layer.
    assert network.activation_floats() == pytest.approx(
        1.25 * (26 * 26 * 32 + 11 * 11 * 64) + 784 + 1605
    )


def test_flops_are_what_the_compiler_counts():
    for model in ("vgg", "resnet"):
        network = make(model, width=16, kernel_size=1)
        params, state = parameters(network), network.state()
        # Kernels of 1×1 become plain products, which the compiler counts.
        fields = images(COLOUR)
        compiled = jax.jit(lambda p: network.apply(p, state, fields, Context())).lower(params)  # noqa: B023
        counted = compiled.compile().cost_analysis()["flops"] / B
        assert network.flops() == pytest.approx(counted, rel=0.15)


def test_padding_keeps_the_textbooks_network_from_vanishing():
    assert [b.conv.padding for b in make("cnn", GREY).blocks if isinstance(b, Block)] == [
        "valid"
    ] * 2
    small = make("cnn", COLOUR, depth=3)
    assert [b.conv.padding for b in small.blocks if isinstance(b, Block)] == ["same"] * 3
    assert small._sizes == ((16, 17), (8, 8), (4, 4), (2, 2))
    with pytest.raises(SpaceError, match="lower depth to 4 or less"):
        make("cnn", COLOUR, depth=5)
    with pytest.raises(SpaceError, match="reads images"):
        make("resnet", InputShape(4))


def test_widths_double_or_are_given():
    def units(network):
        return [p.shape[-1] for name, p in network.params().items() if "kernel" in name]

    assert units(make("cnn", depth=3)) == [6, 12, 24, 5]
    assert units(make("cnn", width=(3, 9))) == [3, 9, 5]


def test_the_head_may_have_a_hidden_layer_and_read_columns():
    inputs = InputShape(2, image=COLOUR.image, image_mean=(0.0,) * 3, image_std=(1.0,) * 3)
    network = build(Config(model="cnn", depth=1, width=4, head_width=7).structure(), inputs, 3)
    fields = {**images(inputs), "numeric": np.ones((B, 2), np.float32)}
    assert isinstance(network, CNN)
    features, _ = network.features(parameters(network), {}, fields, Context())
    assert features.shape == (B, 7)
    assert network.params()["hidden_0/kernel"].shape == (7 * 7 * 4 + 2, 7)


def torch_conv(a, name, x, stride=1, padding=0):
    from torch.nn import functional

    kernel, bias = a[f"{name}/kernel"].permute(3, 2, 0, 1), a.get(f"{name}/bias")
    return functional.conv2d(x, kernel, bias, stride, padding)


def torch_norm(a, name, x):
    from torch.nn import functional

    scale, bias = a[f"{name}/norm/scale"], a[f"{name}/norm/bias"]
    return functional.batch_norm(x, None, None, scale, bias, training=True)


def check_against(twin, network, fields, inputs):
    torch = pytest.importorskip("torch")
    params, out, _, grads, weights = value_and_grads(network, fields)
    a = {n: torch.tensor(p, requires_grad=True) for n, p in params.items()}
    mean, std = np.array(inputs.image_mean), np.array(inputs.image_std)
    x = torch.tensor(((np.asarray(fields["image"]) - mean) / std).astype(np.float32)).permute(
        0, 3, 1, 2
    )
    want = twin(a, x)
    np.testing.assert_allclose(out, want.detach().numpy(), rtol=1e-4, atol=1e-4)
    (torch.tensor(weights) * want).sum().backward()
    for name, grad in grads.items():
        theirs = a[name].grad.numpy()
        size = np.abs(theirs).max()
        np.testing.assert_allclose(grad / size, theirs / size, atol=2e-4, err_msg=name)


def test_the_textbooks_network_is_torchs():
    network = make("cnn", GREY, width=8)

    def twin(a, x):
        from torch.nn import functional

        for name in ("conv_0", "conv_1"):
            x = functional.max_pool2d(torch_conv(a, name, x).relu(), 2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        return x @ a["output/kernel"] + a["output/bias"]

    check_against(twin, network, images(GREY), GREY)


def test_resnet_is_torchs():
    network = make("resnet", normalisation="batch")

    def twin(a, x):
        from torch.nn import functional

        x = torch_norm(a, "stem", torch_conv(a, "stem", x, padding=1)).relu()
        for stage in (0, 1):
            for i in (0, 1):
                name, stride = f"stage_{stage}_{i}", 2 if stage and not i else 1
                # The zero that an even side's stride leaves over stands at the end.
                pad = (
                    (0 if stride == 2 and x.shape[3] % 2 == 0 else 1, 1) if stride == 2 else (1, 1)
                )
                rows = (0 if stride == 2 and x.shape[2] % 2 == 0 else 1, 1)

                h = functional.pad(x, (*pad, *rows))
                h = torch_norm(a, f"{name}/first", torch_conv(a, f"{name}/first", h, stride)).relu()
                second = torch_conv(a, f"{name}/second", h, padding=1)
                h = torch_norm(a, f"{name}/second", second)
                if f"{name}/shortcut/kernel" in a:
                    short = torch_conv(a, f"{name}/shortcut", x, stride)
                    x = torch_norm(a, f"{name}/shortcut", short)
                x = (x + h).relu()
        return x.mean((2, 3)) @ a["output/kernel"] + a["output/bias"]

    check_against(twin, network, images(COLOUR), COLOUR)


def test_augmentation_and_mixing_act_in_training_alone():
    network = make("cnn")
    params, fields = parameters(network), images(COLOUR)
    acting = {
        "key": np.uint32(4),
        "augment": {"shift": np.float32(0.2)},
        "mix": np.float32(0.7),
    }
    plain, _ = network.apply(params, {}, fields, Context())
    changed, _ = network.apply(params, {}, fields, Context(train=True, **acting))
    quiet, _ = network.apply(params, {}, fields, Context(train=False, **acting))
    assert not np.allclose(plain, changed)
    np.testing.assert_allclose(plain, quiet, rtol=1e-6)


@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_members_together_equal_members_apart(model):
    network = make(model, normalisation="batch", depth=1)
    fields = images(COLOUR)
    many = [parameters(network, seed) for seed in (0, 1)]
    state = network.state()

    def gradient(params):
        def total(params):
            out, after = network.apply(params, state, fields, Context(train=True))
            return jnp.sum(jnp.square(out)), after

        return jax.grad(total, has_aux=True)(params)

    together = jax.jit(jax.vmap(gradient))(jax.tree.map(lambda *p: np.stack(p), *many))
    alone = jax.jit(gradient)
    for i, params in enumerate(many):
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone(params)), strict=True):
            size = max(float(np.abs(b).max()), 1e-3)
            np.testing.assert_allclose(a[i] / size, b / size, atol=5e-4)


def test_spatial_dropout_between_blocks():
    structure = Config(model="cnn", depth=1, width=4).structure()
    from dataclasses import replace

    network = build(structure, COLOUR, 2)
    assert isinstance(network, CNN)
    context = Context(train=True, key=np.uint32(1), dropout=np.float32(0.5))
    dropped = replace(network, spatial=True)
    params, fields = parameters(network), images(COLOUR)
    x, _ = dropped.features(params, {}, fields, context)
    channels = np.asarray(x).reshape(B, -1, 4)
    assert (channels == 0).all(1).any()
