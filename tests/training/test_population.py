"""What a member does depends on nothing but its Config and its seed.

K together equal K apart; an order, a neighbour or a compaction changes nothing; one that diverges
stays alone; hyperparameters are arguments, so that a structure is compiled once.
"""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
import pytest
from populations import alone, distance, flat, make_engine, problem, same_curves, trained

from thalweg.errors import SpaceError
from thalweg.optim.rules import RULES
from thalweg.space import INITIALISERS, Config
from thalweg.training import engine as engines
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.scalars import batch_indices, features_of
from thalweg.training.side_by_side import run_tasks

SMALL = {"depth": 1, "width": 8, "batch_size": 16, "normalisation": "batch", "activation": "tanh"}
# The middle kernel is too large to be packed with the others.
LARGE = {"depth": 2, "width": 96, "batch_size": 64, "normalisation": "layer", "residual": True}
MIXED = [
    {"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 0.5},
    {"optimizer": "adam", "learning_rate": 3e-3, "dropout": 0.3, "schedule": "cosine"},
    {"optimizer": "adamw", "learning_rate": 3e-3, "weight_decay": 0.1, "mixup": 0.4, "ema": 0.9},
    {"optimizer": "nesterov", "learning_rate": 0.03, "l2": 0.01, "label_smoothing": 0.1},
    {"optimizer": "lamb", "learning_rate": 0.01, "input_noise": 0.2, "warmup": 0.3},
    {"optimizer": "rmsprop", "learning_rate": 1e-3, "l1": 1e-3, "init": "orthogonal"},
    {"optimizer": "adabelief", "learning_rate": 3e-3, "class_weight": 1.0, "loss": "focal"},
    {"optimizer": "amsgrad", "learning_rate": 3e-3, "clip_value": 0.05, "init_scale": 0.5},
    {"optimizer": "yogi", "learning_rate": 0.01, "schedule": "one_cycle", "b1": 0.8},
]
SEEDS = [0, 1, 0, 2, 1, 0, 0, 1, 2]
TOLERANCE = 1e-5


def configs_of(shape: dict, rows=MIXED) -> list[Config]:
    return [Config({**shape, **row}) for row in rows]


@cache
def engine_of(which: str, workers: int = 2) -> Engine:
    return make_engine(
        "multiclass", configs_of({"small": SMALL, "large": LARGE}[which]), workers=workers
    )


@cache
def together(which: str):
    """Return the mixed members after 20 steps, side by side in one program."""
    configs = configs_of({"small": SMALL, "large": LARGE}[which])
    return trained(engine_of(which), configs, SEEDS, every=5)


def test_the_layouts_are_those_that_matter():
    assert together("small").plan.width > 1
    assert together("large").plan.width == 1
    packing = together("large").member.packing
    assert 0 < len(packing.small) < len(packing.shapes)


@pytest.mark.parametrize(("which", "members"), [("small", [1, 2, 4, 6]), ("large", [3, 5])])
def test_together_equals_apart(which, members):
    cohort = together(which)
    for i in members:
        # Its own engine, with nothing in the program that it does not use itself.
        apart = make_engine("multiclass", [cohort.configs[i]])
        single = trained(apart, [cohort.configs[i]], [SEEDS[i]], every=5)
        assert distance(flat(cohort, i), flat(single)) < TOLERANCE, cohort.configs[i]
        assert distance(flat(cohort, i, best=True), flat(single, best=True)) < TOLERANCE
        same_curves(cohort, i, single, 0)


@pytest.mark.parametrize("which", ["small", "large"])
def test_an_order_changes_nothing(which):
    cohort = together(which)
    order = [7, 2, 5, 0, 8, 3, 1, 6, 4]
    permuted = trained(
        engine_of(which), [cohort.configs[i] for i in order], [SEEDS[i] for i in order], every=5
    )
    for j, i in enumerate(order):
        assert distance(flat(permuted, j), flat(cohort, i)) < TOLERANCE
        same_curves(permuted, j, cohort, i)
        assert permuted.best_step[j] == cohort.best_step[i]


@pytest.mark.parametrize("which", ["small", "large"])
def test_a_member_of_a_cohort_of_one_is_the_same(which):
    cohort = together(which)
    for i in (0, 3, 8):
        single = trained(engine_of(which), [cohort.configs[i]], [SEEDS[i]], every=5)
        assert distance(flat(single), flat(cohort, i)) < TOLERANCE
        same_curves(single, 0, cohort, i)


def test_every_rule_is_the_same_alone_and_among_all_others():
    shape = {"depth": 1, "width": 8, "batch_size": 16}
    rows = [{"optimizer": name, "weight_decay": 0.01} for name in RULES]
    configs = configs_of(shape, rows)
    engine = make_engine("regression", configs)
    cohort = trained(engine, configs)
    assert cohort.alive.all()
    start = flat(Cohort(engine, configs[:1], [0], 20, 10))
    for i, config in enumerate(configs):
        single = trained(engine, [config])
        assert distance(flat(single), flat(cohort, i)) < TOLERANCE, config["optimizer"]
        moved = distance(flat(cohort, i), start)
        assert moved > 1e-4, f"{config['optimizer']} has not moved"


def test_advancing_in_parts_changes_nothing():
    cohort = together("small")
    parts = Cohort(engine_of("small"), cohort.configs, SEEDS, 20, 5)
    for steps in (1, 4, 3, 2, 10):
        parts.advance(steps)
    assert parts.step == 20
    for i in range(len(SEEDS)):
        assert distance(flat(parts, i), flat(cohort, i)) < 1e-6


def test_select_keeps_the_survivors_as_they_are():
    cohort = together("small")
    pruned = Cohort(engine_of("small"), cohort.configs, SEEDS, 20, 5)
    pruned.advance(5)
    assert sorted(pruned.members) == list(range(9))
    pruned.select([8, 1, 2, 6])
    assert sorted(pruned.members) == [1, 2, 6, 8]
    pruned.advance(10)
    pruned.select([6, 2])
    pruned.advance(5)
    for i in (2, 6):
        assert distance(flat(pruned, i), flat(cohort, i)) < 1e-6
        assert distance(flat(pruned, i, best=True), flat(cohort, i, best=True)) < 1e-6
        same_curves(pruned, i, cohort, i)
        assert pruned.best_score[i] == pytest.approx(cohort.best_score[i], rel=1e-6)
    # Those that left stand where they left, and their weights are gone.
    assert pruned.curves[0].step == [5]
    assert pruned.curves[1].step == [5, 10, 15]
    with pytest.raises(KeyError, match="left the cohort"):
        pruned.weights(0)
    pruned.select([])
    assert pruned.members == []


@pytest.mark.parametrize("which", ["small", "large"])
def test_one_that_diverges_stays_alone(which):
    cohort = together(which)
    bad = 3
    configs = list(cohort.configs)
    configs[bad] = configs[bad].with_values(learning_rate=1e6, l2=1e3)
    spoiled = trained(engine_of(which), configs, SEEDS, every=5)
    assert spoiled.alive.tolist() == [i != bad for i in range(9)]
    for i in range(9):
        if i != bad:
            assert distance(flat(spoiled, i), flat(cohort, i)) < 1e-6
            same_curves(spoiled, i, cohort, i)


def test_a_diverged_member_is_marked_frozen_and_keeps_finite_best_weights():
    rows = [
        {"optimizer": "sgd", "learning_rate": 0.01},
        {"optimizer": "sgd", "learning_rate": 30.0},
        {"optimizer": "adam", "learning_rate": 0.01, "init_scale": 1e30},
    ]
    configs = configs_of({"depth": 1, "width": 8, "batch_size": 16}, rows)
    engine = make_engine("regression", configs)
    cohort = Cohort(engine, configs, [0, 0, 0], 40, 20)
    cohort.advance(20)
    assert cohort.alive.tolist() == [True, False, False]
    frozen = [cohort.weights(i, best=False)[0] for i in (1, 2)]
    # Frozen before the loss that was no number could reach the weights.
    assert all(np.isfinite(v).all() for v in frozen[0].values())
    cohort.advance(20)
    for before, i in zip(frozen, (1, 2), strict=True):
        after = cohort.weights(i, best=False)[0]
        assert all(np.array_equal(before[n], after[n]) for n in before)
        assert all(np.isfinite(v).all() for v in cohort.weights(i)[0].values())
    # Neither had a finite score at an evaluation.
    for i in (1, 2):
        assert cohort.best_score[i] == -np.inf
        assert cohort.best_step[i] == 0
    alone_again = trained(engine, configs[:1], [0], 40, 20)
    assert distance(flat(cohort, 0), flat(alone_again)) < 1e-6


def test_members_of_a_seed_start_from_one_draw_and_see_one_order():
    shape = {"depth": 1, "width": 8, "batch_size": 16}
    configs = configs_of(shape, [{"init": name} for name in INITIALISERS] + [{"dropout": 0.2}])
    engine = make_engine("multiclass", configs)
    cohort = Cohort(engine, configs, [3] * len(configs), 20, 10)
    starts = [cohort.weights(i, best=False)[0] for i in range(len(configs))]
    he = starts[INITIALISERS.index("he_normal")]["hidden_0/kernel"]
    glorot = starts[INITIALISERS.index("glorot_normal")]["hidden_0/kernel"]
    np.testing.assert_allclose(glorot / he, np.sqrt((2 / (6 + 8)) / (2 / 6)), rtol=1e-5)
    np.testing.assert_array_equal(starts[-1]["hidden_0/kernel"], he)


def test_the_same_seed_gives_the_same_numbers_twice():
    cohort = together("small")
    again = trained(engine_of("small"), cohort.configs, SEEDS, every=5)
    for i in range(len(SEEDS)):
        a, b = flat(cohort, i), flat(again, i)
        assert all(np.array_equal(a[name], b[name]) for name in a)
        assert cohort.curves[i] == again.curves[i]


def test_a_seed_changes_start_order_and_noise():
    shape = {"depth": 1, "width": 8, "batch_size": 16}
    rows = [{"optimizer": "sgd", "learning_rate": 0.1, "dropout": d} for d in (0.0, 0.5)]
    configs = [c for c in configs_of(shape, rows) for _ in range(2)]
    engine = make_engine("multiclass", configs)
    cohort = Cohort(engine, configs, [0, 1, 0, 1], 20, 10)
    starts = [cohort.weights(i, best=False)[0] for i in range(4)]
    assert distance(starts[0], starts[2]) == 0
    kernel = "hidden_0/kernel"
    assert abs(np.corrcoef(starts[0][kernel].ravel(), starts[1][kernel].ravel())[0, 1]) < 0.5
    order = [batch_indices(seed, 96, 16, 0, 6).ravel() for seed in (0, 1)]
    assert (order[0] != order[1]).mean() > 0.9
    # From one start and full batches, dropout's noise is all that differs between two seeds.
    full = [Config({**shape, "batch_size": "full", "init_scale": 0.0, "dropout": 0.5})] * 2
    noisy = trained(make_engine("multiclass", full), full, [0, 1])
    assert distance(flat(noisy, 0), flat(noisy, 1)) == 0  # zero weights have nothing to drop
    full = [c.with_values(init_scale=1.0) for c in full]
    noisy = trained(make_engine("multiclass", full), full, [0, 1], 1, 1)
    assert distance(flat(noisy, 0), flat(noisy, 1)) > 0.01


def test_a_structure_is_compiled_once(monkeypatch):
    compiled = []
    plain = engines.compile_program

    def counted(*args, **keywords):
        compiled.append(args[0])
        return plain(*args, **keywords)

    monkeypatch.setattr(engines, "compile_program", counted)
    shape = {"depth": 1, "width": 5, "batch_size": 16}
    rows = [
        {"optimizer": "adam", "learning_rate": 0.01, "dropout": 0.1, "ema": 0.9, "mixup": 0.2},
        {"optimizer": "sgd", "learning_rate": 0.3, "l2": 0.1, "clip_norm": 1.0, "loss": "hinge"},
        {"optimizer": "adam", "schedule": "cosine", "init": "orthogonal", "b1": 0.5},
        {"optimizer": "sgd", "label_smoothing": 0.2, "input_noise": 0.1, "clip_value": 0.1},
    ]
    configs = configs_of(shape, rows)
    other = configs[0].with_values(width=6)
    engine = make_engine("multiclass", [*configs, other])
    trained(engine, configs)
    assert len(compiled) == 1
    seconds = engine.compile_seconds
    for chosen, seeds in (
        (configs[:1], [4]),
        (configs[::-1] * 5, [1, 2] * 10),
        (configs[2:], [0, 9]),
    ):
        cohort = trained(engine, chosen, seeds, num_steps=30, every=10)
        cohort.select([0])
        cohort.advance(7)
    assert len(compiled) == 1
    assert engine.compile_seconds == seconds
    trained(engine, [other, other])
    assert len(compiled) == 2


def test_weights_are_float32_even_where_doubles_are_enabled():
    config = Config(depth=1, width=4, batch_size=16, normalisation="batch", ema=0.9, dropout=0.1)
    with jax.enable_x64(True):
        cohort = alone("multiclass", config)
        wide = flat(cohort)
    assert {v.dtype for v in wide.values()} == {np.dtype(np.float32)}
    plain = flat(alone("multiclass", config))
    assert {v.dtype for v in plain.values()} == {np.dtype(np.float32)}
    assert distance(wide, plain) < TOLERANCE


def test_members_of_a_cohort_share_one_structure():
    configs = [Config(depth=1, width=4), Config(depth=2, width=4)]
    engine = make_engine("multiclass", configs)
    with pytest.raises(SpaceError, match=r"share one structure; got mlp-1x4-relu-b32, mlp-2x4"):
        Cohort(engine, configs, [0, 0], 10, 5)


def test_batch_norm_refuses_single_rows():
    config = Config(depth=1, width=4, normalisation="batch", batch_size=1)
    with pytest.raises(SpaceError, match="use normalisation='layer'"):
        Cohort(make_engine("multiclass", [config]), [config], [0], 10, 5)


def test_structural_optimizers_do_not_mix():
    _, task, _ = problem("multiclass")
    with pytest.raises(SpaceError, match="one by one; got muon, prodigy"):
        features_of([Config(optimizer="muon"), Config(optimizer="prodigy")], task)


def test_an_error_in_one_block_reaches_the_caller():
    def fail():
        raise RuntimeError("broken")

    done = []
    with pytest.raises(RuntimeError, match="broken"):
        run_tasks([fail, lambda: done.append(1), lambda: done.append(2)], None, 2)
    assert sorted(done) == [1, 2]


@pytest.mark.parametrize("workers", [1, 2])
def test_work_side_by_side_says_how_far_it_is(workers: int) -> None:
    heard: list[tuple[int, int]] = []
    run_tasks([lambda: None] * 3, None, workers, lambda *so_far: heard.append(so_far))
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_stopping_ends_at_an_evaluation_and_can_go_on():
    config = together("small").configs[0]
    cohort = Cohort(engine_of("small"), [config], [0], 20, 5)
    cohort.advance(20, stop=lambda: True)
    assert cohort.step == 0
    cohort.advance(20, stop=lambda: len(cohort.curves[0].step) >= 2)
    assert cohort.step == 10
    assert cohort.curves[0].step == [5, 10]
    cohort.advance(10)
    assert distance(flat(cohort), flat(together("small"))) < 1e-6
