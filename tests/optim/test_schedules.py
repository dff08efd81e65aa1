"""Every schedule against Optax or torch at every step; reduce-on-plateau against both."""

from __future__ import annotations

import math

import jax
import numpy as np
import optax
import optax.contrib
import pytest
from optax.schedules import join_schedules

from thalweg.errors import OptionError, SpaceError
from thalweg.optim.schedules import (
    SCHEDULES,
    factors,
    hyperparameters,
    plateau_init,
    plateau_update,
)

N, W = 60, 12
DECAY = N - W
FINAL = 0.05
HP = {
    "warmup": W / N,
    "final_factor": FINAL,
    "decay_rate": 0.3,
    "step_fraction": 0.25,
    "power": 1.7,
    "num_cycles": 4,
    "stable": 0.4,
    "initial_factor": 0.1,
}


def warmed(after):
    """Return our warmup in Optax's terms, then ``after``."""
    return join_schedules([optax.linear_schedule(1 / (W + 1), 1.0, W), after], [W])


def vaswani(step: int) -> float:
    step, warmup = step + 1, W + 1  # the paper counts from 1
    return math.sqrt(warmup) * min(step**-0.5, step * warmup**-1.5)


ORACLES = {
    "constant": warmed(optax.constant_schedule(1.0)),
    "exponential": warmed(optax.exponential_decay(1.0, DECAY, FINAL)),
    "step": warmed(optax.exponential_decay(1.0, DECAY // 4, 0.3, staircase=True, end_value=FINAL)),
    "polynomial": warmed(optax.polynomial_schedule(1.0, FINAL, 1.7, DECAY)),
    "linear": warmed(optax.linear_schedule(1.0, FINAL, DECAY)),
    "cosine": optax.warmup_cosine_decay_schedule(1 / (W + 1), 1.0, W, N, FINAL),
    "cosine_restarts": warmed(
        join_schedules(
            [optax.cosine_decay_schedule(1.0, DECAY // 4, FINAL)] * 4,
            [DECAY // 4 * cycle for cycle in (1, 2, 3)],
        )
    ),
    "one_cycle": optax.cosine_onecycle_schedule(N, 1.0, W / N, 10.0, 0.1 / FINAL),
    "inverse_sqrt": vaswani,
    "warmup_stable_decay": warmed(
        join_schedules(
            [optax.constant_schedule(1.0), optax.linear_schedule(1.0, FINAL, DECAY - 24)], [24]
        )
    ),
    "reduce_on_plateau": warmed(optax.constant_schedule(1.0)),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_equals_its_oracle_at_every_step(kind):
    ours = factors([kind], HP, 0, N + 1, [N])[:, 0]
    steps = range(N + 1)
    # The paper's rule knows no floor; Optax computes in float32.
    expected = [max(float(ORACLES[kind](step)), FINAL * (kind == "inverse_sqrt")) for step in steps]
    np.testing.assert_allclose(ours, expected, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "hp", "scheduler"),
    [
        ("cosine", {}, lambda t, o: t.CosineAnnealingLR(o, N)),
        ("cosine", {"final_factor": 0.2}, lambda t, o: t.CosineAnnealingLR(o, N, eta_min=0.2)),
        ("polynomial", {"power": 3.0}, lambda t, o: t.PolynomialLR(o, N, power=3.0)),
        ("linear", {"final_factor": 0.1}, lambda t, o: t.LinearLR(o, 1.0, 0.1, N)),
        ("exponential", {"final_factor": 0.9**N}, lambda t, o: t.ExponentialLR(o, 0.9)),
        (
            "step",
            {"decay_rate": 0.5, "step_fraction": 1 / 6},
            lambda t, o: t.StepLR(o, N // 6, 0.5),
        ),
        (
            "cosine_restarts",
            {"num_cycles": 3},
            lambda t, o: t.CosineAnnealingWarmRestarts(o, N // 3),
        ),
    ],
)
def test_equals_torch_at_every_step(kind, hp, scheduler):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = scheduler(torch.optim.lr_scheduler, optimizer)
    expected = []
    for _ in range(N):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    np.testing.assert_allclose(factors([kind], hp, 0, N, N)[:, 0], expected, atol=1e-12)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_holds_its_last_value(kind):
    values = factors([kind], HP, 0, N + 20, [N])[:, 0]
    np.testing.assert_array_equal(values[N:], values[N])
    if kind not in ("constant", "inverse_sqrt", "reduce_on_plateau", "step"):
        assert values[N] == pytest.approx(FINAL)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_peak_is_one_at_the_end_of_the_warmup(kind):
    values = factors([kind], HP, 0, N, [N])[:, 0]
    assert values[W] == pytest.approx(1.0)
    assert (np.diff(values[: W + 1]) > 0).all()
    assert values.max() == pytest.approx(1.0)
    assert (values > 0).all()


def test_members_and_chunks_are_independent():
    kinds = list(SCHEDULES) * 2
    rng = np.random.default_rng(0)
    total = rng.integers(1, 90, len(kinds))
    hp = {
        "warmup": rng.uniform(0, 0.5, len(kinds)),
        "final_factor": rng.uniform(0, 0.2, len(kinds)),
        "num_cycles": rng.integers(1, 6, len(kinds)),
    }
    whole = factors(kinds, hp, 0, 100, total)
    assert whole.shape == (100, len(kinds))
    assert whole.dtype == np.float64
    assert np.isfinite(whole).all()
    # NumPy's vectorised powers may differ in the last bit with the position in the array.
    np.testing.assert_allclose(factors(kinds, hp, 40, 25, total), whole[40:65], rtol=1e-14)
    first = rng.integers(0, 50, len(kinds))
    staggered = factors(kinds, hp, first, 5, total)
    for member, kind in enumerate(kinds):
        own = {name: value[member] for name, value in hp.items()}
        alone = factors([kind], own, 0, 100, total[member])
        np.testing.assert_allclose(alone[:, 0], whole[:, member], rtol=1e-14)
        part = whole[first[member] : first[member] + 5, member]
        np.testing.assert_allclose(staggered[:, member], part, rtol=1e-14)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 1.0])
@pytest.mark.parametrize("total", [1, 2])
def test_shortest_courses_are_finite(kind, warmup, total):
    values = factors([kind], {"warmup": warmup}, 0, 4, total)
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values <= 1).all()


def test_defaults():
    filled = hyperparameters(["one_cycle", "cosine"], {"warmup": 0.0, "final_factor": np.nan})
    np.testing.assert_allclose(filled["warmup"], [0.3, 0.0])
    np.testing.assert_allclose(filled["final_factor"], [4e-6, 0.0])
    assert np.isnan(filled["initial_factor"][1])


def test_errors_name_rule_value_and_remedy():
    with pytest.raises(OptionError, match="did you mean 'cosine'"):
        factors(["cosin"], {}, 0, 1, 1)
    with pytest.raises(SpaceError, match="0 <= warmup <= 1 must hold; got 2 for schedule linear"):
        factors(["constant", "linear"], {"warmup": [0.1, 2.0]}, 0, 1, 1)
    with pytest.raises(SpaceError, match="total_steps must be at least 1; got 0"):
        factors(["constant"], {}, 0, 1, 0)


def bumpy_losses(seed: int, num_evaluations: int = 120) -> np.ndarray:
    rng = np.random.default_rng(seed)
    trend = 2 * np.exp(-np.arange(num_evaluations) / 15) + 0.5
    return trend + 0.1 * rng.standard_normal(num_evaluations) * trend


PLATEAUS = [
    {"plateau_patience": 3, "plateau_factor": 0.5},
    {"plateau_patience": 1, "plateau_factor": 0.8, "plateau_cooldown": 2},
    {"plateau_patience": 4, "plateau_factor": 0.1, "plateau_cooldown": 3, "plateau_rtol": 0.05},
    {"plateau_patience": 2, "plateau_factor": 0.3, "final_factor": 0.02},
]


def our_scales(hp, losses):
    state = plateau_init(losses.shape[1])
    scales = []
    for loss in losses:
        state = plateau_update(state, loss, hp)
        scales.append(state.scale)
    return np.stack(scales)


@pytest.mark.parametrize("hp", PLATEAUS)
def test_plateau_equals_torch_and_optax(hp):
    torch = pytest.importorskip("torch")
    losses = bumpy_losses(3)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=hp["plateau_factor"],
        patience=hp["plateau_patience"] - 1,
        threshold=hp.get("plateau_rtol", 1e-4),
        cooldown=hp.get("plateau_cooldown", 0),
        min_lr=hp.get("final_factor", 0.0),
        eps=0.0,
    )
    transform = optax.contrib.reduce_on_plateau(
        factor=hp["plateau_factor"],
        patience=hp["plateau_patience"],
        rtol=hp.get("plateau_rtol", 1e-4),
        cooldown=hp.get("plateau_cooldown", 0),
        min_scale=hp.get("final_factor", 0.0),
    )
    opt_state = transform.init({"p": np.zeros(1, np.float32)})
    update = jax.jit(lambda state, value: transform.update({"p": 1.0}, state, value=value)[1])
    torch_scales, optax_scales = [], []
    for loss in losses:
        theirs.step(loss)
        torch_scales.append(optimizer.param_groups[0]["lr"])
        opt_state = update(opt_state, loss)
        optax_scales.append(float(opt_state.scale))
    ours = our_scales(hp, losses[:, None])[:, 0]
    assert ours[-1] < 1
    np.testing.assert_allclose(ours, torch_scales, rtol=1e-12)
    np.testing.assert_allclose(ours, optax_scales, rtol=1e-5)


def test_plateau_members_are_independent():
    losses = np.stack([bumpy_losses(seed) for seed in range(len(PLATEAUS))], axis=1)
    names = {name for hp in PLATEAUS for name in hp}
    columns = {name: np.array([hp.get(name, np.nan) for hp in PLATEAUS]) for name in names}
    together = our_scales(columns, losses)
    for member, hp in enumerate(PLATEAUS):
        np.testing.assert_array_equal(
            together[:, member], our_scales(hp, losses[:, [member]])[:, 0]
        )


def test_plateau_survives_nan_and_judges_negative_losses():
    hp = {"plateau_patience": 2, "plateau_factor": 0.5}
    nan = our_scales(hp, np.array([[1.0], [np.nan], [np.nan], [0.5], [0.4]]))
    np.testing.assert_array_equal(nan[:, 0], [1, 1, 0.5, 0.5, 0.5])
    worse = our_scales(hp, np.array([[-1.0], [-0.99995], [-0.9999]]))
    np.testing.assert_array_equal(worse[:, 0], [1, 1, 0.5])


def test_plateau_runs_inside_a_compiled_program():
    losses = bumpy_losses(1)[:, None].astype(np.float32)
    hp = {"plateau_patience": 3, "plateau_factor": 0.5}
    state = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf, "float32"), plateau_init(1))
    update = jax.jit(lambda state, loss: plateau_update(state, loss, hp))
    for loss in losses:
        state = update(state, loss)
    np.testing.assert_allclose(state.scale, our_scales(hp, losses)[-1])
    assert all(leaf.dtype == np.float32 for leaf in state)
