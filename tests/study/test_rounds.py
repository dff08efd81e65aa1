"""Rounds: their sizes, their rungs, and when there have been enough of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from thalweg.errors import BudgetError
from thalweg.space import Config, Float, Space
from thalweg.study.bracket import Bracket
from thalweg.study.budget import Budget
from thalweg.study.pacing import bracket_size
from thalweg.study.records import Trial
from thalweg.study.rounds import most_to_explore, next_round, num_rungs, phase_of, stalled
from thalweg.study.settings import Settings

SPACE = Space(learning_rate=Float(1e-4, 1e-1, log=True))


def settings(**values) -> Settings:
    base = Settings(space=SPACE, budget=Budget(trials=100), epochs=27.0, search="gp")
    return replace(base, **values)


def trials(num: int, best: int = 0, epochs: float = 3.0, bracket: int = 0) -> list[Trial]:
    return [
        Trial(
            id=i,
            phase="explore",
            config=Config(learning_rate=0.01),
            structure="linear",
            seed=0,
            rung=2,
            epochs=epochs,
            score=1.0 if i == best else 0.5,
            rank=1.0 if i == best else 0.5,
            bracket=bracket,
        )
        for i in range(num)
    ]


def sizes(chosen: Settings, explore: float) -> list[int]:
    found, done = [], []
    while len(found) < 50:
        size, why = next_round(chosen, done, explore, 1000)
        if not size:
            assert why
            return found
        found.append(size)
        done = trials(len(done) + size, bracket=len(found))
    return found


def test_what_learns_is_asked_in_rounds():
    assert sizes(settings(), 100) == [40, 20, 20, 20]
    assert sizes(settings(), 10) == [8, 2]
    assert sizes(settings(search="sobol"), 100) == [100]
    assert next_round(settings(search="sobol"), [], 100, 30)[0] == 30


def test_phases():
    assert phase_of(settings(), []) == "explore"
    assert phase_of(settings(), trials(3)) == "refine"
    assert phase_of(settings(search="sobol"), trials(3)) == "explore"


def test_epochs_are_kept_to():
    chosen = settings(budget=Budget(epochs=1000.0))
    assert math.isinf(most_to_explore(chosen, 3))
    spent, done, rounds = 0.0, [], 0
    while True:
        size, why = next_round(chosen, done, math.inf, 1000)
        if not size:
            break
        # Halving over three rungs trains about a third of the full length.
        done = trials(len(done) + size, epochs=9.0, bracket=rounds)
        spent, rounds = 9.0 * len(done), rounds + 1
    assert 400 < spent <= 1000
    assert rounds >= 2
    assert "of 1000 epochs are spent" in why
    with pytest.raises(BudgetError, match="either a time or a number of epochs"):
        Budget(seconds=60.0, epochs=5.0)
    with pytest.raises(BudgetError, match="above 0"):
        Budget(epochs=0.0)


def test_stalled_says_why():
    assert stalled(trials(100, best=60), 72) == ""
    assert stalled(trials(143, best=0), 72) == ""
    why = stalled(trials(144, best=20), 72)
    assert why == (
        "the search has stopped improving: trial 20 scored 1, and none of the 123 after it was "
        "better; the best of them scored 0.5"
    )
    chosen = settings(budget=Budget(until_stalled=True))
    assert next_round(chosen, trials(144, best=20), 10_000, 100) == (0, why)
    assert next_round(chosen, trials(24), 10_000, 100)[0] == 24


def test_later_brackets_have_no_fewer_rungs():
    chosen = settings(shortest_rung=1.0)
    assert num_rungs(chosen, [], 27, 27.0) == 4
    assert num_rungs(chosen, [], 8, 27.0) == 2
    assert num_rungs(chosen, trials(27), 8, 27.0) == 3
    assert num_rungs(replace(chosen, halving=False), trials(27), 8, 27.0) == 1


def test_hyperband_compares_later_from_bracket_to_bracket():
    chosen = settings(brackets="hyperband", shortest_rung=1.0)
    found = []
    done: list[Trial] = []
    for bracket in range(4):
        found.append(num_rungs(chosen, done, 27, 27.0))
        done = done + trials(27, bracket=bracket)
    assert found == [4, 3, 2, 1]


def ranked_bracket(known, levels, **values):
    """Return a bracket of trials of which the first is best, before its first decision."""
    for trial in known:
        trial.rank = -float(trial.id)
    return Bracket(
        phase="explore",
        kind="halving",
        configs=[trial.config for trial in known],
        seeds=[0] * len(known),
        folds=[None] * len(known),
        full=levels[-1],
        levels=levels,
        rng=np.random.default_rng(0),
        num_rungs=len(levels),
        trials=dict(enumerate(known)),
        alive=list(range(len(known))),
        **values,
    )


@pytest.mark.parametrize(("left", "spared"), [(math.inf, 1), (100.0, 1), (30.0, 0)])
def test_chance_takes_no_time_from_the_best(left, spared):
    known = trials(9)
    bracket = ranked_bracket(known, [2.0, 6.0, 20.0], factor=3, num_audit=1)
    # A second for a member-epoch.
    assert bracket.judge(18.0, math.inf)
    assert bracket.alive[:3] == [0, 1, 2]
    assert len(bracket.alive) == 4
    assert bracket.judge(16.0, left)
    assert bracket.alive[0] == 0
    assert len(bracket.alive) == 1 + spared
    assert len(bracket.audited) == spared == sum(trial.audit for trial in known)
    assert bracket.levels == [2.0, 6.0, 20.0]


@pytest.mark.parametrize(
    ("left", "going", "last"),
    # A member-epoch a second on each of two cores: the next rung takes 14 s and its reserve, 21.
    [(22.0, [0, 1], 20.0), (15.0, [0, 1], 16.0), (math.inf, [0], 20.0)],
)
def test_cores_without_work_train_the_next_best(left, going, last):
    known = trials(4)
    bracket = ranked_bracket(known, [6.0, 20.0], factor=4, num_audit=0, workers=2)
    assert bracket.judge(12.0, left)
    assert bracket.alive == going
    assert bracket.levels == [6.0, last]


def test_fewer_trainings_than_cores_are_planned_to_take_as_long_as_all():
    chosen = settings(shortest_rung=1.0)
    # Eight trainings to the end side by side, in whatever order they are dropped.
    assert bracket_size(chosen, 8 * 27.0, 27.0, 1000, workers=8) >= 8
    assert bracket_size(chosen, 7.9 * 27.0, 27.0, 1000, workers=8) == 1
    assert bracket_size(chosen, 7.9 * 27.0, 27.0, 1000) > 27


@pytest.mark.parametrize("table_steps", [2, 64, 1024])
@pytest.mark.parametrize("step", [0.3, 0.02])
@pytest.mark.parametrize("evaluation", [3.7, 12.0])
def test_what_an_epoch_costs_is_told_from_its_evaluations(
    monkeypatch, table_steps, step, evaluation
):
    """Calls of few steps, such as those of large networks, once told of no step at all."""
    from types import SimpleNamespace

    from thalweg.study import pacing

    now = [0.0]
    monkeypatch.setattr(pacing.time, "perf_counter", lambda: now[0])

    def advance(num: int, pool: object) -> None:
        now[0] += num * step + evaluation

    cohort = SimpleNamespace(
        engine=SimpleNamespace(data=SimpleNamespace(num_rows=29_000)),
        batch_size=128,
        steps_per_evaluation=216,
        plan=SimpleNamespace(table_steps=table_steps),
        advance=advance,
    )
    seconds = pacing.member_epoch_seconds(cohort, 2, None)
    steps = 29_000 / 128
    assert seconds == pytest.approx((steps * step + evaluation * steps / 216) / 2, rel=0.1)
