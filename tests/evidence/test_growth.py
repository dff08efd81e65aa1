"""Would more data help: coverage of the extrapolation, and verdicts on known courses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg.evidence import NOT_ENOUGH, SUPPORTED, TIE
from thalweg.evidence.growth import answer_growth, extrapolate
from thalweg.evidence.view import View

ROWS = np.array([125.0, 250.0, 500.0, 1000.0])


@pytest.mark.parametrize(("b", "c", "noise"), [(0.03, 0.5, 0.003), (0.1, 0.3, 0.003),
                                                (0.0, 0.5, 0.003), (0.03, 0.7, 0.01)])  # fmt: skip
def test_the_interval_covers_what_more_rows_give(b: float, c: float, noise: float) -> None:
    rng = np.random.default_rng(0)
    truth = b * (1 - 2.0**-c)
    hits = 0
    for _ in range(150):
        scores = 0.97 - b * (ROWS / 1000) ** -c + rng.normal(0, noise, (3, 4))
        estimate = extrapolate(ROWS, scores)
        hits += estimate.low <= truth <= estimate.high
    assert hits / 150 >= 0.93


def test_the_extrapolation_moves_with_the_scores() -> None:
    scores = 0.97 - 0.03 * (ROWS / 1000) ** -0.5 + np.random.default_rng(1).normal(0, 0.003, (3, 4))
    one, ten = extrapolate(ROWS, scores), extrapolate(ROWS, 10 * scores + 3)
    assert ten.value == pytest.approx(10 * one.value)
    assert ten.interval == pytest.approx([10 * bound for bound in one.interval])


def view(gain: float, noise: float, direction: str = "maximize", validation: int = 2000) -> View:
    rng = np.random.default_rng(0)
    sign = 1 if direction == "maximize" else -1
    entries: list[dict[str, Any]] = [
        {"trial": 50 + s, "seed": s, "fold": None, "rows": int(n),
         "score": sign * (0.9 - gain * (n / 1000) ** -0.5 + rng.normal(0, noise))}
        for s in range(3) for n in ROWS
    ]  # fmt: skip
    winner = {"id": 50, "phase": "confirm", "score": sign * 0.9, "status": "completed",
              "config": {"a": 1}}  # fmt: skip
    return View(
        [winner],
        {"fractions": entries, "metric": "accuracy", "direction": direction, "best_trial": 50,
         "task": {"rows": {"validation": validation}}},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gain", "noise", "verdict", "begins"),
    [(0.2, 0.002, SUPPORTED, "Yes"), (0.01, 0.0005, SUPPORTED, "A little"),
     (0.0, 0.001, TIE, "Hardly"), (0.05, 0.08, NOT_ENOUGH, "Not clear")],
)  # fmt: skip
def test_verdicts(gain: float, noise: float, verdict: str, begins: str) -> None:
    answer = answer_growth(view(gain, noise))[0]
    assert answer.verdict == verdict, answer.claim
    assert answer.claim.startswith(begins)
    assert answer.trials == (50, 51, 52)


def test_a_metric_that_is_minimised() -> None:
    answer = answer_growth(view(0.2, 0.002, "minimize"))[0]
    assert answer.verdict == SUPPORTED
    assert answer.effect is not None
    assert answer.effect > 0


@pytest.mark.parametrize("entries", [None, [], [{"trial": 1, "rows": 10, "score": None}]])
def test_too_little_is_not_answered(entries: Any) -> None:
    assert answer_growth(View([], {"fractions": entries})) == []
