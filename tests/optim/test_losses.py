"""Every loss against torch, Optax and scikit-learn; gradients against finite differences."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from thalweg import task
from thalweg.errors import OptionError
from thalweg.optim.losses import (
    LOSSES,
    as_distribution,
    metric_outputs,
    mixed_loss,
    predict_outputs,
    weighted_mean,
)

B = 40
# Those of tasks on images have tests of their own.
ALL = [(kind, name) for kind in task.ROW_KINDS for name in LOSSES[kind]]
HP = {"label_smoothing": 0.15, "focal_gamma": 1.7, "huber_delta": 0.6, "quantile": 0.8}


def problem(kind: str, num_outputs: int = 0, seed: int = 0):
    """Return outputs and targets of a kind; classes as indices."""
    rng = np.random.default_rng(seed)
    width = num_outputs or {"regression": 2, "binary": 1, "multiclass": 4}[kind]
    outputs = 1.5 * rng.standard_normal((B, width))
    if kind == "regression":
        return outputs, rng.poisson(2.0, (B, width)).astype(float)
    return outputs, rng.integers(0, max(width, 2), B)


def soft(kind: str, seed: int = 1):
    rng = np.random.default_rng(seed)
    if kind == "binary":
        return rng.uniform(0, 1, B)
    return rng.dirichlet(np.ones(4), B)


def ours(kind, name, outputs, target, hp=None):
    with jax.enable_x64(True):
        loss = jax.jit(lambda *args: LOSSES[kind][name](*args, hp))
        return np.asarray(loss(jnp.asarray(outputs), jnp.asarray(target)))


def alone(kind, name):
    return jax.jit(lambda outputs, target, hp: LOSSES[kind][name](outputs, target, hp))


def single_loss(kind, name):
    def loss(outputs, target, hp, units):
        return mixed_loss(kind, (name,), {}, outputs, target, hp, units=units)

    return jax.jit(loss)


def assert_close(actual, expected, rtol=1e-6):
    np.testing.assert_allclose(actual, np.asarray(expected), rtol=rtol, atol=1e-9)


def test_names_are_those_of_the_task():
    assert {kind: tuple(family) for kind, family in LOSSES.items()} == task.LOSSES


# --- oracles -------------------------------------------------------------------------------------


def test_regression_equals_torch():
    torch = pytest.importorskip("torch")
    from torch.nn import functional as f

    outputs, target = problem("regression")
    z, y = torch.tensor(outputs), torch.tensor(target)
    oracles = {
        "mse": (f.mse_loss(z, y, reduction="none"), {}),
        "mae": (f.l1_loss(z, y, reduction="none"), {}),
        "huber": (f.huber_loss(z, y, reduction="none", delta=0.6), {"huber_delta": 0.6}),
        "poisson": (f.poisson_nll_loss(z, y, reduction="none"), {}),
    }
    for name, (expected, hp) in oracles.items():
        assert_close(ours("regression", name, outputs, target, hp), expected.mean(-1))


def test_regression_equals_optax_and_sklearn():
    outputs, target = problem("regression", 1)
    with jax.enable_x64(True):
        assert_close(
            ours("regression", "log_cosh", outputs, target),
            optax.losses.log_cosh(jnp.asarray(outputs), target)[:, 0],
        )
        assert_close(
            ours("regression", "huber", outputs, target, {"huber_delta": 1.3}),
            optax.losses.huber_loss(jnp.asarray(outputs), target, delta=1.3)[:, 0],
        )
    for q in (0.1, 0.5, 0.9):
        expected = sk.mean_pinball_loss(target, outputs, alpha=q)
        assert_close(
            ours("regression", "quantile", outputs, target, {"quantile": q}).mean(), expected
        )
    # The deviance is twice the loss above that of the saturated model.
    saturated = np.where(target > 0, target - target * np.log(np.maximum(target, 1)), 0)
    assert_close(
        2 * (ours("regression", "poisson", outputs, target) - saturated[:, 0]).mean(),
        sk.mean_poisson_deviance(target, np.exp(outputs)),
    )


def test_binary_equals_torch_optax_and_sklearn():
    torch = pytest.importorskip("torch")
    outputs, target = problem("binary")
    z = outputs[:, 0]
    p = 1 / (1 + np.exp(-z))
    for labels in (target, soft("binary")):
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            torch.tensor(z), torch.tensor(labels).double(), reduction="none"
        )
        assert_close(ours("binary", "cross_entropy", outputs, labels), expected)
        smoothed = ours("binary", "cross_entropy", outputs, labels, {"label_smoothing": 0.2})
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            torch.tensor(z), torch.tensor(labels * 0.8 + 0.1), reduction="none"
        )
        assert_close(smoothed, expected)
        assert_close(ours("binary", "mse", outputs, labels), (p - labels) ** 2)
    assert_close(ours("binary", "cross_entropy", outputs, target).mean(), sk.log_loss(target, p))
    assert_close(ours("binary", "hinge", outputs, target).mean(), sk.hinge_loss(target, z))
    assert_close(ours("binary", "mse", outputs, target).mean(), sk.brier_score_loss(target, p))
    with jax.enable_x64(True):
        for gamma in (0.0, 0.5, 2.0):
            assert_close(
                ours("binary", "focal", outputs, target, {"focal_gamma": gamma}),
                optax.losses.sigmoid_focal_loss(z, target.astype(float), gamma=gamma),
            )


def test_multiclass_equals_torch_optax_and_sklearn():
    torch = pytest.importorskip("torch")
    outputs, target = problem("multiclass")
    p = softmax(outputs, axis=-1)
    z, one_hot = torch.tensor(outputs), np.eye(4)[target]
    for labels in (target, soft("multiclass")):
        for smoothing in (0.0, 0.2):
            expected = torch.nn.functional.cross_entropy(
                z, torch.tensor(labels), reduction="none", label_smoothing=smoothing
            )
            hp = {"label_smoothing": smoothing}
            assert_close(ours("multiclass", "cross_entropy", outputs, labels, hp), expected)
    expected = torch.nn.functional.multi_margin_loss(z[:, :2], torch.tensor(target % 2)) * 2
    assert_close(ours("multiclass", "hinge", outputs[:, :2], target % 2).mean(), expected)
    loss = ours("multiclass", "cross_entropy", outputs, target)
    assert_close(loss.mean(), sk.log_loss(target, p))
    assert_close(
        ours("multiclass", "hinge", outputs, target).mean(), sk.hinge_loss(target, outputs)
    )
    with jax.enable_x64(True):
        assert_close(
            ours("multiclass", "hinge", outputs, target),
            jax.vmap(optax.losses.multiclass_hinge_loss)(jnp.asarray(outputs), target),
        )
    squared = torch.nn.functional.mse_loss(torch.tensor(p), torch.tensor(one_hot), reduction="none")
    assert_close(ours("multiclass", "mse", outputs, target), squared.mean(-1))
    own = p[np.arange(B), target]
    for gamma in (0.0, 0.5, 2.0):
        focal = ours("multiclass", "focal", outputs, target, {"focal_gamma": gamma})
        assert_close(focal, -((1 - own) ** gamma) * np.log(own))


@pytest.mark.parametrize("name", LOSSES["binary"])
def test_two_classes_equal_a_binary_head(name):
    outputs, target = problem("binary")
    both = np.concatenate([np.zeros((B, 1)), outputs], axis=-1)
    for smoothing in (0.0, 0.3):
        hp = {"label_smoothing": smoothing}
        one = ours("binary", name, outputs, target, hp)
        assert_close(ours("multiclass", name, both, target, hp), one)


# --- distributions -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES["multiclass"])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_indices_equal_distributions_and_smoothing_commutes(kind, name):
    outputs, target = problem(kind)
    num_classes = max(outputs.shape[-1], 2)
    full = np.asarray(as_distribution(kind, jnp.asarray(target), num_classes), np.float64)
    plain = ours(kind, name, outputs, target)
    assert_close(ours(kind, name, outputs, full), plain)
    smoothed = ours(kind, name, outputs, full * 0.7 + 0.3 / num_classes)
    assert_close(ours(kind, name, outputs, target, {"label_smoothing": 0.3}), smoothed)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "hinge"])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_mixing_targets_mixes_losses(kind, name):
    outputs, target = problem(kind)
    other = np.roll(target, 1)
    mixed = 0.3 * np.asarray(as_distribution(kind, jnp.asarray(target), 4), float)
    mixed += 0.7 * np.asarray(as_distribution(kind, jnp.asarray(other), 4), float)
    expected = 0.3 * ours(kind, name, outputs, target) + 0.7 * ours(kind, name, outputs, other)
    assert_close(ours(kind, name, outputs, mixed), expected)


# --- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "full"),
    [(*one, full) for one in ALL for full in (False, True) if not full or one[0] != "regression"],
)
def test_gradient_equals_finite_differences(kind, name, full):
    outputs, target = problem(kind, seed=5)
    target = soft(kind) if full else target
    with jax.enable_x64(True):
        loss = jax.jit(lambda z: jnp.sum(LOSSES[kind][name](z, jnp.asarray(target), HP)))
        gradient = jax.grad(loss)(jnp.asarray(outputs))
        step = 1e-6
        for row, column in np.ndindex(8, outputs.shape[1]):
            shift = np.zeros_like(outputs)
            shift[row, column] = step
            numeric = (loss(outputs + shift) - loss(outputs - shift)) / (2 * step)
            np.testing.assert_allclose(gradient[row, column], numeric, rtol=1e-6, atol=1e-7)


@functools.cache
def extreme_program(kind, name):
    def both(outputs, target, hp):
        values = LOSSES[kind][name](outputs, target, hp)
        return jnp.sum(values), values

    gradients = jax.value_and_grad(both, argnums=(0, 2), has_aux=True)

    def values_and_gradients(*args):
        (_, values), gradient = gradients(*args)
        return values, gradient

    return jax.jit(values_and_gradients)


@pytest.mark.parametrize(("kind", "name"), ALL)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_extreme_outputs_have_finite_values_and_gradients(kind, name, gamma):
    width = {"regression": 3, "binary": 1, "multiclass": 3}[kind]
    extremes = np.array([-1e4, -90.0, -1e-7, 0.0, 1e-7, 90.0, 1e4], np.float32)
    outputs = np.stack(np.meshgrid(*[extremes] * width), -1).reshape(-1, width)
    program = extreme_program(kind, name)
    for label in range(3 if kind == "multiclass" else 2):
        target = np.full(len(outputs), label, np.int32)
        if kind == "regression":
            target = np.full(outputs.shape, label, np.float32)
        for smoothing in (0.0, 0.1):
            hp = {**HP, "label_smoothing": smoothing, "focal_gamma": gamma}

            values, gradients = program(outputs, target, hp)
            assert values.dtype == jnp.float32
            assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))
            assert bool(jnp.isfinite(values).all())
            if name != "poisson":
                assert float(values.min()) >= 0


def test_confident_logits_keep_their_digits_in_float32():
    z = np.array([[30.0], [-30.0]], np.float32)
    loss = alone("binary", "cross_entropy")(z, np.array([1, 0]), {})
    np.testing.assert_allclose(loss, np.exp(-30.0), rtol=1e-5)
    focal = alone("multiclass", "focal")(
        np.array([[0.0, 20.0, 0.0]], np.float32), np.array([0]), {"focal_gamma": 1.0}
    )
    np.testing.assert_allclose(focal, 20.0, rtol=1e-5)
    small = np.array([[1e-4], [-1e-3]], np.float32)
    tiny = alone("regression", "log_cosh")(small, np.zeros((2, 1), np.float32), {})
    np.testing.assert_allclose(tiny, small[:, 0] ** 2 / 2, rtol=1e-5)


def test_poisson_is_smooth_where_its_exponential_ends():
    with jax.enable_x64(True):
        gradient = jax.grad(lambda z: LOSSES["regression"]["poisson"](z, jnp.zeros(1))[0])
        below, above = (gradient(jnp.full((1, 1), 30 + d))[0, 0] for d in (-1e-9, 1e-9))
    np.testing.assert_allclose(below, above, rtol=1e-6)


# --- one program for members with different losses ------------------------------------------------


@pytest.mark.parametrize("kind", task.ROW_KINDS)
def test_mixed_members_equal_their_own_losses(kind):
    outputs, target = problem(kind)
    outputs, target = (
        outputs.astype(np.float32),
        target.astype(np.float32 if kind == "regression" else np.int32),
    )
    names = tuple(LOSSES[kind])
    chosen = {name: jnp.eye(len(names))[:, i] for i, name in enumerate(names)}
    units = (jnp.array([2.0, 1.0]), jnp.array([3.0, 0.5])) if kind == "regression" else None
    hp = {name: jnp.full(len(names), value) for name, value in HP.items()}

    def member(weights, hp):
        return mixed_loss(kind, names, weights, outputs, target, hp, units=units)

    together = jax.jit(jax.vmap(member))(chosen, hp)
    for index, name in enumerate(names):
        own_target = target
        if LOSSES[kind][name].target_space == "raw":
            own_target = np.maximum(target * np.array([3.0, 0.5]) + np.array([2.0, 1.0]), 0)
        expected = alone(kind, name)(outputs, own_target, HP)
        np.testing.assert_allclose(together[index], expected, rtol=2e-5, atol=1e-6)
        single = single_loss(kind, name)(outputs, target, HP, units)
        np.testing.assert_allclose(single, expected, rtol=2e-5, atol=1e-6)


def test_a_loss_that_is_not_chosen_spoils_nothing():
    names = ("mse", "mae", "poisson", "quantile")
    # Squares overflow; the logarithm of the rate is huge; the quantile of others is not given.
    outputs = jnp.array([[1e30], [-1e25], [3.0]])
    target = jnp.zeros((3, 1))
    weights = {"mse": 0.0, "mae": 1.0, "poisson": 0.0, "quantile": 0.0}
    hp = {"quantile": jnp.nan}

    def total(outputs, weights):
        return jnp.sum(mixed_loss("regression", names, weights, outputs, target, hp))

    value, gradient = jax.jit(jax.value_and_grad(total))(outputs, weights)
    np.testing.assert_allclose(value, 1e30, rtol=1e-4)
    np.testing.assert_allclose(gradient[:, 0], [1.0, -1.0, 1.0])


def test_weights_blend_losses():
    outputs, target = problem("binary")
    outputs = outputs.astype(np.float32)
    blend = mixed_loss(
        "binary",
        ("cross_entropy", "hinge"),
        {"cross_entropy": 0.25, "hinge": 0.75},
        outputs,
        target,
    )
    parts = [LOSSES["binary"][name](outputs, target) for name in ("cross_entropy", "hinge")]
    np.testing.assert_allclose(blend, 0.25 * parts[0] + 0.75 * parts[1], rtol=1e-5)


def test_errors():
    outputs, target = problem("binary")
    with pytest.raises(OptionError, match="loss of a binary task must be one of"):
        mixed_loss("binary", ("huber",), {}, outputs, target)
    with pytest.raises(OptionError, match="at least one loss"):
        mixed_loss("binary", (), {}, outputs, target)
    with pytest.raises(OptionError, match="task must be one of"):
        mixed_loss("ranking", ("mse",), {}, outputs, target)
    with pytest.raises(OptionError, match="did you mean 'poisson'"):
        predict_outputs("regression", outputs, "poison")


# --- helpers -------------------------------------------------------------------------------------


def test_weighted_mean():
    values = jnp.array([1.0, 2.0, jnp.nan, 4.0])
    weight = jnp.array([1.0, 3.0, 0.0, 2.0])
    np.testing.assert_allclose(weighted_mean(values, weight), 15 / 6)
    np.testing.assert_allclose(weighted_mean(values[:2]), 1.5)
    assert float(weighted_mean(values, jnp.zeros(4))) == 0
    gradient = jax.grad(lambda v: weighted_mean(v, weight))(values)
    np.testing.assert_allclose(gradient, weight / 6)


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
def test_predictions(convert):
    extreme = np.array([[-1e4], [-1.0], [0.0], [2.0], [1e4]], np.float32)
    binary = predict_outputs("binary", convert(extreme))
    assert type(binary) is type(convert(extreme))
    np.testing.assert_allclose(binary, [0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2)), 1], rtol=1e-6)
    outputs, _ = problem("multiclass")
    np.testing.assert_allclose(
        predict_outputs("multiclass", convert(outputs)), softmax(outputs, -1), rtol=1e-6
    )
    outputs = convert(outputs)
    assert predict_outputs("regression", outputs, "mse") is outputs
    np.testing.assert_allclose(
        predict_outputs("regression", outputs, "poisson"), np.exp(outputs), rtol=1e-6
    )


def test_metric_outputs_bring_poisson_into_scaled_units():
    outputs, _ = problem("regression")
    units = (jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0]))
    names = ("mse", "poisson")
    for chosen, expected in ((0.0, outputs), (1.0, (np.exp(outputs) - [1, 2]) / [2, 4])):
        weights = {"mse": 1 - chosen, "poisson": chosen}
        got = metric_outputs("regression", names, weights, jnp.asarray(outputs), units=units)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    alone = metric_outputs("regression", ("poisson",), {}, jnp.asarray(outputs), units=units)
    np.testing.assert_allclose(alone, (np.exp(outputs) - [1, 2]) / [2, 4], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_hyperparameters_are_known_to_the_space(kind, name):
    from thalweg.space import HYPERPARAMETERS

    for key, default in LOSSES[kind][name].hyperparameters.items():
        assert HYPERPARAMETERS[key].default == default
