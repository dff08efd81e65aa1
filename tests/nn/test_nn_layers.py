"""Layers and activations: against torch, finite differences, and their own definitions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg import space
from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import (
    ACTIVATIONS,
    Context,
    Dense,
    Embedding,
    dropout,
    mixup,
    numeric_noise,
)
from thalweg.nn.normalisation import BatchNorm, LayerNorm

B, F, U = 12, 5, 4
rng = np.random.default_rng(0)
X = rng.normal(size=(B, F))
TORCH_ACTIVATIONS = {
    "relu": lambda F, x: F.relu(x),
    "sigmoid": lambda F, x: x.sigmoid(),
    "tanh": lambda F, x: x.tanh(),
    "leaky_relu": lambda F, x: F.leaky_relu(x, 0.01),
    "elu": lambda F, x: F.elu(x),
    "selu": lambda F, x: F.selu(x),
    "gelu": lambda F, x: F.gelu(x),
    "silu": lambda F, x: F.silu(x),
    "softplus": lambda F, x: F.softplus(x),
    "mish": lambda F, x: F.mish(x),
    "identity": lambda F, x: x,
}


def random_params(layer, seed: int = 1) -> dict[str, np.ndarray]:
    """Return float64 parameters in which nothing is zero or one."""
    specs = layer.params()
    own = np.random.default_rng(seed)
    drawn = initial_params(specs, ["he_normal"], np.ones(1), seed)
    return {
        n: p[0].astype(np.float64) + 0.3 * own.normal(size=p.shape[1:]) for n, p in drawn.items()
    }


def gradients_and_differences(function, arguments: dict[str, np.ndarray], eps: float = 1e-6):
    """Return reverse-mode gradients and central differences of Σ weights·function, in float64."""
    with jax.enable_x64(True):
        arguments = {name: jnp.asarray(value, jnp.float64) for name, value in arguments.items()}
        shape = jax.eval_shape(function, arguments).shape
        weights = np.random.default_rng(9).normal(size=shape)

        @jax.jit
        def total(values):
            return jnp.sum(weights * function(values))

        grads = {n: np.asarray(g) for n, g in jax.jit(jax.grad(total))(arguments).items()}
        many = jax.jit(jax.vmap(total))
        differences = {}
        for name, value in arguments.items():
            # One row for each entry that is moved.
            moves = eps * np.eye(value.size).reshape(value.size, *value.shape)
            ends = []
            for sign in (1, -1):
                moved = {
                    n: np.broadcast_to(v, (value.size, *v.shape)) for n, v in arguments.items()
                }
                moved[name] = value + sign * moves
                ends.append(np.asarray(many(moved)))
            differences[name] = ((ends[0] - ends[1]) / (2 * eps)).reshape(value.shape)
    return grads, differences


def check_gradients(function, arguments):
    grads, differences = gradients_and_differences(function, arguments)
    assert grads.keys() == arguments.keys()
    for name in grads:
        np.testing.assert_allclose(
            grads[name], differences[name], rtol=1e-6, atol=1e-7, err_msg=name
        )


# ------------------------------------------------------------------------------------- activations


def test_names_are_those_of_the_space():
    assert tuple(ACTIVATIONS) == space.ACTIVATIONS


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_and_its_derivative_are_torchs(name):
    torch = pytest.importorskip("torch")
    x = np.concatenate([np.linspace(-30, 30, 601), [-1e-3, 1e-3, 100.0, -100.0]]).astype(np.float32)
    x = x[x != 0]  # at a kink every slope between the two sides is right
    theirs = torch.tensor(x, requires_grad=True)
    value = TORCH_ACTIVATIONS[name](torch.nn.functional, theirs)
    value.sum().backward()
    ours, slope = jax.jit(jax.vmap(jax.value_and_grad(ACTIVATIONS[name])))(x)
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, value.detach().numpy(), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(slope, theirs.grad.numpy(), rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_gradient_by_finite_differences(name):
    x = np.linspace(-4, 4, 40)  # no entry within 0.1 of the kinks at 0
    check_gradients(lambda a: ACTIVATIONS[name](a["x"]), {"x": x})


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_stay_finite_with_finite_slopes(name):
    x = np.array([-1e30, -1e4, -100.0, 0.0, 100.0, 1e4, 1e30], np.float32)
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(ACTIVATIONS[name])))(x)
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()


# ------------------------------------------------------------------------------------------ layers


LAYERS = {
    "dense": (Dense("l", F, U), {}),
    "layer_norm": (LayerNorm("l", F), {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_gradients_by_finite_differences(name):
    layer, _ = LAYERS[name]
    params = random_params(layer)
    check_gradients(lambda a: layer.apply({n: a[n] for n in params}, a["x"]), {**params, "x": X})


@pytest.mark.parametrize("weighted", [False, True])
def test_batch_norm_gradients_by_finite_differences(weighted):
    layer = BatchNorm("l", F)
    params = random_params(layer)
    weight = rng.uniform(0, 2, B) if weighted else None
    context = Context(train=True, weight=weight)

    def function(a):
        state = {n: jnp.asarray(v) for n, v in layer.state().items()}
        return layer.apply({n: a[n] for n in params}, state, a["x"], context)[0]

    check_gradients(function, {**params, "x": X})


def test_embedding_gradients_by_finite_differences():
    layer = Embedding("l", (3, 6), (2, 4))
    codes = rng.integers(0, 3, (B, 2))
    check_gradients(lambda a: layer.apply(a, codes), random_params(layer))


@pytest.mark.parametrize("name", LAYERS)
def test_layer_is_torchs(name):
    torch = pytest.importorskip("torch")
    layer, _ = LAYERS[name]
    params = {n: p.astype(np.float32) for n, p in random_params(layer).items()}
    kernel, bias = params.get("l/kernel"), params["l/bias"]
    theirs = torch.nn.Linear(F, U) if kernel is not None else torch.nn.LayerNorm(F, eps=1e-5)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(params["l/scale"] if kernel is None else kernel.T))
        theirs.bias.copy_(torch.tensor(bias))
    x = torch.tensor(X, dtype=torch.float32, requires_grad=True)
    out = theirs(x)
    weights = np.random.default_rng(3).normal(size=tuple(out.shape)).astype(np.float32)
    (out * torch.tensor(weights)).sum().backward()

    @jax.jit
    def ours(params, x):
        out = layer.apply(params, x)
        return jnp.sum(weights * out), out

    (_, value), (grads, slope) = jax.value_and_grad(ours, argnums=(0, 1), has_aux=True)(
        params, X.astype(np.float32)
    )
    np.testing.assert_allclose(value, out.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(slope, x.grad.numpy(), rtol=1e-4, atol=1e-5)
    weight_grad = theirs.weight.grad.numpy()
    own = grads["l/scale"] if kernel is None else grads["l/kernel"].T
    np.testing.assert_allclose(own, weight_grad, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grads["l/bias"], theirs.bias.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_embedding_is_torchs_and_concatenates_columns():
    torch = pytest.importorskip("torch")
    layer = Embedding("l", (3, 6), (2, 4))
    assert layer.units == 6
    params = {n: p.astype(np.float32) for n, p in random_params(layer).items()}
    codes = rng.integers(0, 3, (B, 2))
    tables = [torch.tensor(params[f"l/{i}"]) for i in (0, 1)]
    looked_up = [
        torch.nn.functional.embedding(torch.tensor(codes[:, i]), t) for i, t in enumerate(tables)
    ]
    theirs = torch.cat(looked_up, dim=1)
    np.testing.assert_array_equal(jax.jit(layer.apply)(params, codes), theirs.numpy())


def test_batch_norm_is_torchs_over_many_batches():
    torch = pytest.importorskip("torch")
    layer = BatchNorm("l", F)
    params = {n: p.astype(np.float32) for n, p in random_params(layer).items()}
    theirs = torch.nn.BatchNorm1d(F, eps=1e-5, momentum=0.1)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(params["l/scale"]))
        theirs.bias.copy_(torch.tensor(params["l/bias"]))
    state = layer.state()
    step = jax.jit(lambda p, s, x: layer.apply(p, s, x, Context(train=True)))
    own = np.random.default_rng(4)
    for _ in range(10):
        x = own.normal(3.0, 2.0, size=(B, F)).astype(np.float32)
        out, state = step(params, state, x)
        np.testing.assert_allclose(
            out, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=2e-5
        )
    np.testing.assert_allclose(state["l/mean"], theirs.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(state["l/var"], theirs.running_var.numpy(), rtol=1e-5)
    theirs.eval()
    out, after = jax.jit(lambda p, s, x: layer.apply(p, s, x, Context()))(params, state, x)
    np.testing.assert_allclose(out, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=2e-5)
    np.testing.assert_array_equal(after["l/mean"], state["l/mean"])


def test_batch_norm_does_not_see_rows_of_weight_zero():
    layer = BatchNorm("l", F)
    params, state = random_params(layer), layer.state()
    weight = np.r_[np.ones(8), np.zeros(4)].astype(np.float32)
    spoiled = X.copy()
    spoiled[8:] = 1e6
    outs = []
    for rows in (X, spoiled):
        out, new = layer.apply(params, state, rows, Context(train=True, weight=weight))
        outs.append((out[:8], new["l/mean"], new["l/var"]))
    alone, new = layer.apply(params, state, X[:8], Context(train=True))
    outs.append((alone, new["l/mean"], new["l/var"]))
    for other in outs[1:]:
        for a, b in zip(outs[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_batch_norm_weights_count_as_repeats():
    layer = BatchNorm("l", F)
    params, state = random_params(layer), layer.state()
    repeats = np.array([1, 2, 3] * 4)
    out, new = layer.apply(params, state, X, Context(train=True, weight=repeats.astype(np.float32)))
    many, repeated = layer.apply(params, state, np.repeat(X, repeats, 0), Context(train=True))
    np.testing.assert_allclose(np.repeat(out, repeats, 0), many, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(new["l/mean"], repeated["l/mean"], rtol=1e-5)


# ----------------------------------------------------------------------------------- regularisation


def context(**values):
    return Context(train=True, key=np.uint32(17), **values)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_rate_and_scale(rate):
    x = np.ones((400, 100), np.float32)
    out = np.asarray(jax.jit(lambda r: dropout(x, context(dropout=r), 0))(np.float32(rate)))
    deviation = np.sqrt(rate * (1 - rate) / x.size)
    assert (out == 0).mean() == pytest.approx(rate, abs=5 * deviation)
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-6)
    # The expectation is kept.
    assert out.mean() == pytest.approx(1.0, abs=5 * deviation / (1 - rate) + 1e-6)


def test_a_higher_rate_drops_all_that_a_lower_one_drops():
    x = np.ones((50, 60), np.float32)
    masks = [
        np.asarray(dropout(x, context(dropout=np.float32(rate)), 3)) == 0
        for rate in (0.1, 0.3, 0.7)
    ]
    assert not (masks[0] & ~masks[1]).any()
    assert not (masks[1] & ~masks[2]).any()


def test_layers_drop_independently():
    x = np.ones((200, 100), np.float32)
    a, b = (
        np.asarray(dropout(x, context(dropout=np.float32(0.5)), salt)).ravel() == 0
        for salt in (0, 1)
    )
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(x.size)


def test_numeric_noise_has_the_deviation_of_the_member():
    x = np.zeros((400, 100), np.float32)
    out = np.asarray(numeric_noise(x, context(input_noise=np.float32(0.3))))
    assert out.std() == pytest.approx(0.3, rel=0.02)
    assert out.mean() == pytest.approx(0.0, abs=0.01)
    again = np.asarray(numeric_noise(x, context(input_noise=np.float32(0.6))))
    np.testing.assert_allclose(again, 2 * out, rtol=1e-5, atol=1e-7)


def test_mixup_pairs_rows_from_both_ends():
    out = np.asarray(mixup(jnp.asarray(X), context(mix=np.float32(0.7))))
    np.testing.assert_allclose(out, 0.7 * X + 0.3 * X[::-1], rtol=1e-5, atol=1e-6)


def test_nothing_acts_outside_training_or_where_nobody_asks():
    x = jnp.asarray(X)
    acting = {
        "dropout": np.float32(0.5),
        "input_noise": np.float32(0.5),
        "mix": np.float32(0.5),
    }
    outside = Context(train=False, key=np.uint32(1), **acting)
    for act in (lambda c: dropout(x, c, 0), lambda c: numeric_noise(x, c), lambda c: mixup(x, c)):
        assert act(outside) is x
        assert act(context()) is x


@pytest.mark.parametrize(
    "neutral", [{"dropout": np.float32(0)}, {"input_noise": np.float32(0)}, {"mix": np.float32(1)}]
)
def test_neutral_values_change_nothing(neutral):
    x = jnp.asarray(X, jnp.float32)
    c = context(**neutral)
    out = mixup(numeric_noise(dropout(x, c, 0), c), c)
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize(
    "layer",
    [Dense("a", 3, 4), Embedding("a", (3, 4), (2, 2)), LayerNorm("a", 4), BatchNorm("a", 4)],
)
def test_specs_are_values_that_say_their_shapes(layer):
    assert hash(layer) == hash(type(layer)(**vars(layer)))
    assert all(name.startswith("a/") for name in layer.params())
    assert all(len(spec.shape) in (1, 2) for spec in layer.params().values())
