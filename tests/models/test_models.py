"""Families of networks: shapes, state, gradients, arithmetic, and a torch twin."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.errors import OptionError
from thalweg.models import FAMILIES, InputShape, build, count_params
from thalweg.models.mlp import embedding_width
from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import Context
from thalweg.space import NORMALISATIONS, Config

B = 10
INPUTS = {
    "numeric": InputShape(5),
    "both": InputShape(3, (4, 9)),
    "category": InputShape(0, (4,)),
}
CONFIGS = {
    "linear": Config(model="linear"),
    "plain": Config(depth=2, width=6),
    "batch": Config(depth=2, width=6, normalisation="batch", activation="tanh"),
    "layer": Config(depth=3, width=6, normalisation="layer", residual=True, activation="gelu"),
    "tapered": Config(width=(7, 4, 2), activation="mish"),
    "no hidden layer": Config(depth=0),
}


def rows(inputs: InputShape, seed: int = 0):
    rng = np.random.default_rng(seed)
    fields = {"numeric": rng.normal(size=(B, inputs.numeric)).astype(np.float32)}
    if inputs.cardinalities:
        columns = [rng.integers(0, c, B) for c in inputs.cardinalities]
        fields["category"] = np.stack(columns, 1).astype(np.int32)
    return fields


def parameters(network, seed: int = 0):
    rng = np.random.default_rng(seed)
    drawn = initial_params(network.params(), ["he_normal"], np.ones(1), seed)
    return {
        n: (p[0] + 0.1 * rng.normal(size=p.shape[1:])).astype(np.float32) for n, p in drawn.items()
    }


def make(name: str, which: str, outputs: int = 3):
    return build(CONFIGS[name].structure(), INPUTS[which], outputs)


@pytest.mark.parametrize("which", INPUTS)
@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_state_and_size(name, which):
    network = make(name, which)
    params, state = parameters(network), network.state()
    apply = jax.jit(network.apply, static_argnums=3)
    out, after = apply(params, state, rows(INPUTS[which]), Context())
    assert out.shape == (B, 3)
    assert out.dtype == jnp.float32
    assert np.isfinite(out).all()
    assert {n: v.shape for n, v in after.items()} == {n: v.shape for n, v in state.items()}
    assert count_params(network) == sum(v.size for v in params.values())
    assert network.flops() >= 0
    assert bool(state) == (name == "batch")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_gets_a_gradient(name):
    network = make(name, "both")
    fields = rows(INPUTS["both"])
    # Every code must occur.
    fields["category"] = np.stack([np.arange(B) % 4, np.arange(B) % 9], 1).astype(np.int32)

    def total(params):
        context = Context(train=True)
        out, _ = network.apply(params, network.state(), fields, context)
        return jnp.sum(jnp.asarray(np.random.default_rng(0).normal(size=(B, 3)) * out**2))

    grads = jax.jit(jax.grad(total))(parameters(network))
    for param, grad in grads.items():
        share = (np.abs(grad) > 1e-9).mean()
        assert share > 0.4, f"{param}: {share:.0%} of the entries have a gradient"
        assert np.isfinite(grad).all()


def test_the_linear_model_is_one_hot_encoding_and_a_matrix():
    network = make("linear", "both")
    fields = rows(INPUTS["both"])
    params = parameters(network)
    hot = [np.eye(c)[fields["category"][:, i]] for i, c in enumerate((4, 9))]
    x = np.concatenate([fields["numeric"], *hot], 1)
    w = np.concatenate([params["output/kernel"], params["embedding/0"], params["embedding/1"]])
    out, _ = network.apply(params, {}, fields, Context())
    np.testing.assert_allclose(out, x @ w + params["output/bias"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "layer", "tapered"])
def test_mlp_is_torchs(name):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    network, config = make(name, "numeric"), CONFIGS[name]
    params, fields = parameters(network), rows(INPUTS["numeric"])
    p = {n: torch.tensor(v) for n, v in params.items()}
    x = torch.tensor(fields["numeric"])
    for i, width in enumerate(config.structure().widths):
        h = x @ p[f"hidden_{i}/kernel"] + p[f"hidden_{i}/bias"]
        if name == "layer":
            h = functional.layer_norm(h, (width,), p[f"norm_{i}/scale"], p[f"norm_{i}/bias"])
        h = getattr(functional, config.get_or_default("activation"))(h)
        x = x + h if name == "layer" and i > 0 else h
    want = x @ p["output/kernel"] + p["output/bias"]
    out, _ = network.apply(params, {}, fields, Context())
    np.testing.assert_allclose(out, want.numpy(), rtol=1e-5, atol=1e-5)


def test_residual_connections_need_equal_widths():
    square = build(Config(width=(5, 5), residual=True).structure(), InputShape(5), 2)
    plain = build(Config(width=(5, 5)).structure(), InputShape(5), 2)
    params, fields = parameters(square), rows(InputShape(5))
    a, _ = square.apply(params, {}, fields, Context())
    b, _ = plain.apply(params, {}, fields, Context())
    assert not np.allclose(a, b)
    zero = {n: np.zeros_like(v) if "hidden" in n else v for n, v in params.items()}
    through, _ = square.apply(zero, {}, fields, Context())
    want = fields["numeric"] @ params["output/kernel"] + params["output/bias"]
    np.testing.assert_allclose(through, want, rtol=1e-5, atol=1e-6)


def test_a_bias_before_batch_norm_would_be_noise():
    network = make("batch", "numeric")
    assert "hidden_0/bias" not in network.params()
    assert "hidden_0/bias" in make("layer", "numeric").params()


def test_training_and_evaluation_differ_in_batch_norm_alone():
    fields = rows(INPUTS["numeric"])
    for name in CONFIGS:
        network = make(name, "numeric")
        params = parameters(network)
        train, _ = network.apply(params, network.state(), fields, Context(train=True))
        evaluation, _ = network.apply(params, network.state(), fields, Context())
        assert np.allclose(train, evaluation, atol=1e-6) == (name != "batch")


def test_mixing_inputs_or_outputs_of_a_linear_model_is_the_same():
    network = make("linear", "numeric")
    params, fields = parameters(network), rows(INPUTS["numeric"])
    mixed, _ = network.apply(params, {}, fields, Context(train=True, mix=jnp.float32(0.3)))
    x = 0.3 * fields["numeric"] + 0.7 * fields["numeric"][::-1]
    want, _ = network.apply(params, {}, {"numeric": x}, Context())
    np.testing.assert_allclose(mixed, want, rtol=1e-5, atol=1e-6)


def test_flops_count_the_products():
    assert build(Config(width=(7, 4)).structure(), InputShape(5), 3).flops() == 2 * (
        5 * 7 + 7 * 4 + 4 * 3
    )
    assert make("linear", "numeric").flops() == 2 * 5 * 3


@pytest.mark.parametrize(("cardinality", "width"), [(1, 1), (2, 1), (3, 2), (99, 50), (9999, 50)])
def test_embedding_widths(cardinality, width):
    assert embedding_width(cardinality) == width


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_every_normalisation_is_built(normalisation):
    network = build(Config(normalisation=normalisation).structure(), InputShape(3), 1)
    normed = any(name.startswith("norm_") for name in network.params())
    assert normed == (normalisation != "none")


def test_unknown_family():
    assert {"linear", "mlp", "cnn", "lstm"} <= set(FAMILIES)
    with pytest.raises(OptionError, match="did you mean 'mlp'"):
        build(Config(model="mpl").structure(), InputShape(3), 1)
