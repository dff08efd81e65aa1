"""Convolutions, pooling and spatial normalisation against torch: values and gradients, vmapped too.

Each case is a layer of ours, a shape of input, and the torch function that must agree.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.errors import OptionError
from thalweg.nn import kernels, pooling
from thalweg.nn.convolution import Conv1D, Conv2D, ConvTranspose1D, ConvTranspose2D
from thalweg.nn.initialisers import initial_params
from thalweg.nn.kernels import Window, add_bias, convolve, matmul, sum_rows, transposed_product
from thalweg.nn.layers import Context, spatial_dropout
from thalweg.nn.normalisation import BatchNorm, GroupNorm, norm_of

torch = pytest.importorskip("torch")
functional = torch.nn.functional
B = 3


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_params(layer, seed: int = 1) -> dict[str, np.ndarray]:
    drawn = initial_params(layer.params(), ["he_normal"], np.ones(1), seed)
    return {n: p[0] + 0.1 * normal(*p.shape[1:], seed=seed + 1) for n, p in drawn.items()}


def first(x):
    """Move channels to where torch has them."""
    return torch.movedim(x, -1, 1)


def check(ours, theirs, arguments: dict[str, np.ndarray], tolerance: float = 2e-5) -> None:
    """Compare a function of named arrays with its torch twin: values, and gradients of a sum."""
    tensors = {n: torch.tensor(v, requires_grad=True) for n, v in arguments.items()}
    want = theirs(tensors)
    weights = normal(*want.shape, seed=9)
    (want * torch.tensor(weights)).sum().backward()

    @jax.jit
    def both(arguments):
        def total(arguments):
            value = ours(arguments)
            return jnp.sum(value * weights), value

        return jax.value_and_grad(total, has_aux=True)(arguments)

    (_, value), grads = both(arguments)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, want.detach().numpy(), rtol=tolerance, atol=tolerance)
    for name, tensor in tensors.items():
        size = max(1.0, float(tensor.grad.abs().max()))
        np.testing.assert_allclose(
            grads[name] / size, tensor.grad.numpy() / size, atol=tolerance, err_msg=name
        )


# ------------------------------------------------------------------------------------ convolutions

IMAGES = {
    "textbook, one channel": (Conv2D("l", 1, 8, 3, padding="valid"), (10, 9)),
    "three channels": (Conv2D("l", 3, 5, 3), (8, 8)),
    "many channels, valid": (Conv2D("l", 20, 7, 3, padding="valid"), (7, 6)),
    "many channels, same": (Conv2D("l", 20, 7, 3), (7, 6)),
    "wide kernel": (Conv2D("l", 6, 4, 5, padding=2), (9, 8)),
    "stride": (Conv2D("l", 6, 4, 3, stride=2, padding=1), (9, 8)),
    "stride, one channel": (Conv2D("l", 1, 4, 3, stride=2, padding=1), (9, 9)),
    "stride leaves a rest": (Conv2D("l", 18, 4, 3, stride=3, padding="valid"), (11, 10)),
    "dilation": (Conv2D("l", 17, 4, 3, dilation=2, padding=2), (9, 8)),
    "dilation and stride": (Conv2D("l", 6, 4, 3, stride=2, dilation=2, padding=1), (11, 9)),
    "oblong": (Conv2D("l", 5, 4, (1, 3), stride=(2, 1), padding="valid"), (8, 8)),
    "pointwise": (Conv2D("l", 6, 9, 1), (5, 4)),
    "pointwise with stride": (Conv2D("l", 6, 9, 1, stride=2, padding="valid"), (6, 5)),
    "groups": (Conv2D("l", 6, 9, 3, groups=3, padding=1), (6, 5)),
    "depthwise": (Conv2D("l", 5, 5, 3, groups=5, padding=1), (6, 5)),
    "depthwise with a multiplier": (Conv2D("l", 4, 8, 3, groups=4, stride=2, padding=1), (7, 6)),
    "no bias": (Conv2D("l", 6, 4, 3, padding="valid", bias=False), (6, 6)),
    "more padding than the kernel reaches": (Conv2D("l", 20, 4, 3, padding=3), (6, 6)),
}


def torch_conv2d(layer: Conv2D, size):
    window = layer.window(size)
    (top, bottom), (left, right) = window.padding

    def apply(a):
        x = functional.pad(first(a["x"]), (left, right, top, bottom))
        y = functional.conv2d(
            x, a["l/kernel"].permute(3, 2, 0, 1), a.get("l/bias"), window.stride, 0,
            window.dilation, layer.groups,
        )  # fmt: skip
        return torch.movedim(y, 1, -1)

    return apply


@pytest.mark.parametrize("case", IMAGES)
def test_convolution_is_torchs(case):
    layer, size = IMAGES[case]
    arguments = {**random_params(layer), "x": normal(B, *size, layer.inputs)}
    check(lambda a: layer.apply(a, a["x"]), torch_conv2d(layer, size), arguments)
    out = jax.eval_shape(lambda a: layer.apply(a, a["x"]), arguments)
    assert out.shape == (B, *layer.outputs(size), layer.units)


@pytest.mark.parametrize("case", IMAGES)
def test_the_accelerators_form_is_the_same(case, monkeypatch):
    layer, size = IMAGES[case]
    arguments = {**random_params(layer), "x": normal(B, *size, layer.inputs)}

    def total(arguments):
        return jnp.sum(jnp.sin(layer.apply(arguments, arguments["x"])))

    # A new function each: what was traced for one form must not serve the other.
    ours = jax.jit(jax.value_and_grad(lambda a: total(a)))(arguments)
    monkeypatch.setattr(kernels, "on_cpu", lambda: False)
    native = jax.jit(jax.value_and_grad(lambda a: total(a)))(arguments)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(native), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


SEQUENCES = {
    "same": Conv1D("l", 5, 4, 3),
    "causal, dilated": Conv1D("l", 5, 4, 3, dilation=4, padding="causal"),
    "stride": Conv1D("l", 2, 4, 4, stride=2, padding="valid"),
    "depthwise": Conv1D("l", 4, 4, 5, groups=4),
}


@pytest.mark.parametrize("case", SEQUENCES)
def test_convolution_over_time_is_torchs(case):
    layer = SEQUENCES[case]
    before, after = layer.window(11).padding[1]

    def theirs(a):
        x = functional.pad(first(a["x"]), (before, after))
        y = functional.conv1d(
            x, a["l/kernel"].permute(2, 1, 0), a["l/bias"], layer.stride, 0, layer.dilation,
            layer.groups,
        )  # fmt: skip
        return torch.movedim(y, 1, -1)

    arguments = {**random_params(layer), "x": normal(B, 11, layer.inputs)}
    check(lambda a: layer.apply(a, a["x"]), theirs, arguments)


def test_a_causal_convolution_sees_no_later_step():
    layer = Conv1D("l", 2, 3, 3, dilation=2, padding="causal")
    params, x = random_params(layer), normal(1, 9, 2)
    later = x.copy()
    later[:, 5:] = 100.0
    a, b = layer.apply(params, x), layer.apply(params, later)
    np.testing.assert_allclose(a[:, :5], b[:, :5], atol=1e-6)
    assert not np.allclose(a[:, 5:], b[:, 5:])


def test_keras_padding_puts_the_odd_zero_at_the_end():
    assert Conv2D("l", 1, 1, 3, stride=2).window((8, 9)).padding == ((0, 1), (1, 1))
    assert Conv2D("l", 1, 1, 3, stride=2).outputs((8, 9)) == (4, 5)


SPREADS = {
    "twice the size": (ConvTranspose2D("l", 6, 4), (4, 5), 0),
    "overlapping": (ConvTranspose2D("l", 6, 18, 4, padding=1), (4, 5), 1),
    "stride 1": (ConvTranspose2D("l", 6, 20, 3, stride=1, padding="valid"), (4, 5), 0),
    "three": (ConvTranspose2D("l", 3, 2, 5, stride=3, padding="valid"), (3, 2), 0),
}


@pytest.mark.parametrize("case", SPREADS)
def test_transposed_convolution_is_torchs(case, monkeypatch):
    layer, size, padding = SPREADS[case]

    def theirs(a):
        kernel = a["l/kernel"].permute(3, 2, 0, 1)
        y = functional.conv_transpose2d(first(a["x"]), kernel, a["l/bias"], layer.stride, padding)
        return torch.movedim(y, 1, -1)

    arguments = {**random_params(layer), "x": normal(B, *size, layer.inputs)}
    check(lambda a: layer.apply(a, a["x"]), theirs, arguments)
    out = layer.apply(arguments, arguments["x"])
    assert out.shape == (B, *layer.outputs(size), layer.units)
    monkeypatch.setattr(kernels, "on_cpu", lambda: False)
    check(lambda a: layer.apply(a, a["x"]), theirs, arguments)


def test_transposed_convolution_over_time_is_torchs():
    layer = ConvTranspose1D("l", 4, 3, 4, 2, 1)

    def theirs(a):
        kernel = a["l/kernel"].permute(2, 1, 0)
        y = functional.conv_transpose1d(first(a["x"]), kernel, a["l/bias"], 2, 1)
        return torch.movedim(y, 1, -1)

    arguments = {**random_params(layer), "x": normal(B, 6, 4)}
    check(lambda a: layer.apply(a, a["x"]), theirs, arguments)
    assert layer.outputs(6) == 12


def test_members_have_kernels_of_their_own():
    layer = Conv2D("l", 6, 8, 3)
    many = [random_params(layer, seed) for seed in (1, 2, 3)]
    stacked = jax.tree.map(lambda *p: np.stack(p), *many)
    x = normal(B, 7, 7, 6)

    def gradient(params):
        return jax.value_and_grad(lambda p: jnp.sum(jnp.sin(layer.apply(p, x))))(params)

    together = jax.jit(jax.vmap(gradient))(stacked)
    for i, params in enumerate(many):
        alone = jax.jit(gradient)(params)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-4)


def test_flops_and_fans():
    layer = Conv2D("l", 6, 8, 3, stride=2, padding=1, groups=2)
    assert layer.flops((8, 8)) == 2 * 16 * 9 * 3 * 8
    kernel = layer.params()["l/kernel"]
    assert (kernel.shape, kernel.fan_in) == ((3, 3, 3, 8), 27)
    assert Conv1D("l", 4, 5, 3).flops(10) == 2 * 10 * 3 * 4 * 5
    assert ConvTranspose2D("l", 4, 5).flops((3, 3)) == 2 * 9 * 4 * 4 * 5
    assert ConvTranspose1D("l", 4, 5).flops(3) == 2 * 3 * 2 * 4 * 5


def test_groups_must_divide_the_channels():
    with pytest.raises(OptionError, match="groups must divide"):
        Conv2D("l", 6, 8, groups=4).params()


def test_products_and_sums():
    x, w = normal(30, 5), normal(5, 7, seed=1)
    check(
        lambda a: add_bias(matmul(a["x"], a["w"]), a["b"]),
        lambda a: a["x"] @ a["w"] + a["b"],
        {"x": x, "w": w, "b": normal(7, seed=2)},
    )
    check(
        lambda a: matmul(a["x"], a["w"]),
        lambda a: a["x"] @ a["w"],
        {"x": normal(30, 7), "w": normal(7, 5)},
    )
    for wide in (w.T, w.T[:, :3]):
        y = normal(7, 4, seed=3)
        np.testing.assert_allclose(transposed_product(wide, y), wide.T @ y, rtol=1e-5, atol=1e-5)
    images = normal(2, 3, 4, 5)
    np.testing.assert_allclose(sum_rows(images), images.sum((0, 1, 2)), rtol=1e-5, atol=1e-5)
    share = np.arange(24, dtype=np.float32)
    want = (images.reshape(24, 5) * share[:, None]).sum(0)
    np.testing.assert_allclose(sum_rows(images, share), want, rtol=1e-5, atol=1e-4)


# ----------------------------------------------------------------------------------------- pooling


@pytest.mark.parametrize(
    ("size", "stride", "shape"), [(2, 2, (6, 8)), (2, 2, (7, 5)), (3, 2, (9, 8)), (3, 1, (5, 6))]
)
def test_pooling_is_torchs(size, stride, shape):
    # Whole numbers, so that many are equal: the gradient goes to the first of them.
    x = np.random.default_rng(0).integers(0, 4, (B, *shape, 4)).astype(np.float32)
    check(
        lambda a: pooling.max_pool(a["x"], size, stride),
        lambda a: torch.movedim(functional.max_pool2d(first(a["x"]), size, stride), 1, -1),
        {"x": x},
    )
    check(
        lambda a: pooling.average_pool(a["x"], size, stride),
        lambda a: torch.movedim(functional.avg_pool2d(first(a["x"]), size, stride), 1, -1),
        {"x": x},
    )


def test_pooling_over_time_is_torchs():
    x = {"x": normal(B, 9, 4)}
    check(
        lambda a: pooling.max_pool_steps(a["x"], 2),
        lambda a: torch.movedim(functional.max_pool1d(first(a["x"]), 2), 1, -1),
        x,
    )
    check(
        lambda a: pooling.average_pool_steps(a["x"], 3, 2),
        lambda a: torch.movedim(functional.avg_pool1d(first(a["x"]), 3, 2), 1, -1),
        x,
    )


def test_global_pooling():
    x = {"x": normal(B, 4, 5, 6)}
    check(lambda a: pooling.global_average_pool(a["x"]), lambda a: a["x"].mean((1, 2)), x)
    check(lambda a: pooling.global_max_pool(a["x"]), lambda a: a["x"].amax((1, 2)), x)


def test_a_nan_is_the_largest():
    x = np.zeros((1, 2, 2, 1), np.float32)
    x[0, 1, 0, 0] = np.nan
    assert np.isnan(pooling.max_pool(x)).all()


@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 1), (1, 1)), ((0, 1), (1, 0))])
@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (6, 11)])
def test_convolution_with_pooling_is_both(size, channels, padding):
    window = Window((3, 3), padding=padding)
    arguments = {"x": normal(B, *size, channels), "w": normal(3, 3, channels, 8, seed=1)}
    weights = normal(B, *(n // 2 for n in window.outputs(size)), 8, seed=2)

    def gradient(function):
        def total(a):
            value = function(a["x"], a["w"])
            return jnp.sum(value * weights), value

        return jax.jit(jax.value_and_grad(total, has_aux=True))(arguments)

    one = gradient(lambda x, w: pooling.convolve_and_pool(x, w, window))
    two = gradient(lambda x, w: pooling.max_pool(convolve(x, w, window)))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


# ----------------------------------------------------------------------------------- normalisation


@pytest.mark.parametrize("shape", [(7,), (4, 5)], ids=["steps", "pixels"])
def test_batch_norm_over_positions_is_torchs(shape):
    layer = BatchNorm("l", 6)
    state = layer.state()
    twin = torch.nn.BatchNorm1d(6) if len(shape) == 1 else torch.nn.BatchNorm2d(6)

    def theirs(a):
        y = functional.batch_norm(
            first(a["x"]), twin.running_mean, twin.running_var, a["l/scale"], a["l/bias"], True
        )
        return torch.movedim(y, 1, -1)

    arguments = {**random_params(layer), "x": 3.0 + normal(B, *shape, 6)}
    check(lambda a: layer.apply(a, state, a["x"], Context(train=True))[0], theirs, arguments)
    _, after = layer.apply(arguments, state, arguments["x"], Context(train=True))
    np.testing.assert_allclose(after["l/mean"], twin.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(after["l/var"], twin.running_var.numpy(), rtol=1e-4)


def test_batch_norm_over_pixels_does_not_see_rows_of_weight_zero():
    layer = BatchNorm("l", 6)
    params, state, x = random_params(layer), layer.state(), normal(5, 4, 4, 6)
    weight = np.array([1, 1, 1, 0, 0], np.float32)
    x[3:] = 1e4
    seen, after = layer.apply(params, state, x, Context(train=True, weight=weight))
    alone, want = layer.apply(params, state, x[:3], Context(train=True))
    np.testing.assert_allclose(seen[:3], alone, rtol=1e-4, atol=1e-5)
    for name in after:
        np.testing.assert_allclose(after[name], want[name], rtol=1e-4)


def test_members_have_batch_statistics_of_their_own():
    layer = BatchNorm("l", 4)
    x = normal(3, 5, 2, 2, 4) * np.array([1, 5, 20], np.float32)[:, None, None, None, None]
    state = jax.tree.map(lambda v: np.stack([v] * 3), layer.state())
    params = jax.tree.map(lambda v: np.stack([v] * 3), random_params(layer))

    def apply(params, state, x):
        return layer.apply(params, state, x, Context(train=True))

    out, after = jax.jit(jax.vmap(apply))(params, state, x)
    for i in range(3):
        one, own = apply(*jax.tree.map(lambda v, i=i: v[i], (params, state)), x[i])
        np.testing.assert_allclose(out[i], one, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(after["l/var"][i], own["l/var"], rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_is_torchs(groups):
    layer = GroupNorm("l", 6, groups)

    def theirs(a):
        y = functional.group_norm(first(a["x"]), groups, a["l/scale"], a["l/bias"])
        return torch.movedim(y, 1, -1)

    arguments = {**random_params(layer), "x": 2.0 + normal(B, 4, 5, 6)}
    check(lambda a: layer.apply(a, a["x"]), theirs, arguments)


def test_groups_of_any_number_of_channels():
    assert norm_of("group", "l", 12) == GroupNorm("l", 12, 6)
    assert norm_of("group", "l", 7) == GroupNorm("l", 7, 7)
    assert norm_of("layer", "l", 12, spatial=True) == GroupNorm("l", 12, 1)
    assert norm_of("none", "l", 12) is None


def test_spatial_dropout_drops_whole_channels():
    x = np.ones((40, 5, 6, 30), np.float32)
    context = Context(train=True, key=np.uint32(3), dropout=np.float32(0.4))
    out = np.asarray(spatial_dropout(x, context, 1))
    assert (out == out[:, :1, :1]).all()
    assert (out[:, 0, 0] == 0).mean() == pytest.approx(0.4, abs=0.07)
    np.testing.assert_allclose(out[out != 0], 1 / 0.6, rtol=1e-6)
    assert spatial_dropout(x, Context(), 1) is x
