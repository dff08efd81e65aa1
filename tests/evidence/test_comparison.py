"""Comparisons that never happened, with a known truth: power, false claims, invariances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from synthetic_arms import make_comparison

from thalweg.evidence import NOT_ENOUGH, SUPPORTED, TIE, VERDICTS
from thalweg.evidence.comparing import comparison_answers
from thalweg.evidence.comparison import factorial, paired_over_seeds, reversal_shares
from thalweg.evidence.effort import expected_best, first_reached, performance_profile
from thalweg.evidence.standings import experiment_of, pair_rows, standings


def best(records: list[dict[str, Any]], summary: dict[str, Any]) -> Any:
    return comparison_answers(records, summary)[0]


# ---- known truths

CASES = {
    "one arm wins": ({"adam": 0.0, "sgd": -0.05, "lion": -0.04}, {}, SUPPORTED, "adam is best"),
    "another one wins": ({"adam": -0.05, "sgd": 0.0}, {}, SUPPORTED, "sgd is best"),
    "nothing differs": (dict.fromkeys("abcd", 0.0), {"rows": 400}, TIE, "level"),
    "few rows, small effect": ({"a": 0.0, "b": -0.01}, {"rows": 60, "noise": 0.02}, None, ""),
    "a loss, less is better": (
        {"a": 0.0, "b": -0.05}, {"metric": "mae", "direction": "minimize"}, SUPPORTED, "a is best"),
    "a winner and two that are level": (
        {"a": 0.0, "b": -0.06, "c": -0.06}, {}, SUPPORTED, "a is best"),
    "two that are level, one behind": (
        {"a": 0.0, "b": 0.0, "c": -0.08}, {"rows": 400}, TIE, "It beats c"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_right(name: str) -> None:
    effects, options, verdict, words = CASES[name]
    answer = best(*make_comparison(effects, **options))
    if verdict is None:
        assert answer.verdict != SUPPORTED
    else:
        assert answer.verdict == verdict, answer.claim
    assert words in answer.claim


def test_a_lead_that_rests_on_one_lucky_point_is_not_supported() -> None:
    records, summary = make_comparison({"a": 0.0, "b": 0.0}, num=12, spread=0.02)
    arm = summary["comparison"]["arms"][0]
    records[arm["explored"][3]]["score"] = 0.999
    for at, i in enumerate(arm["confirmed"]):
        records[i]["score"] = 0.99 + 1e-4 * at
    arm["scores"] = [records[i]["score"] for i in arm["confirmed"]]
    answer = best(records, summary)
    assert answer.verdict != SUPPORTED
    assert "the search was short" in answer.claim


def test_no_claim_under_the_null_more_often_than_stated() -> None:
    claims = sum(
        best(*make_comparison(dict.fromkeys("abc", 0.0), seed=seed, rows=100_000)).verdict
        == SUPPORTED
        for seed in range(120)
    )
    any_pair = sum(
        any(
            row["verdict"] == SUPPORTED
            for row in pair_rows(
                experiment_of(*make_comparison(dict.fromkeys("abc", 0.0), seed=seed, rows=100_000))
            )
        )
        for seed in range(120)
    )
    # 5 % of 120 is 6; more than 12 would happen once in a hundred times.
    assert claims <= 12
    assert any_pair <= 12


def test_paired_intervals_cover_what_they_say() -> None:
    rng = np.random.default_rng(0)
    for spread in ([1.0, 1.0, 1.0, 1.0], [0.3, 2.0, 1.0, 1.0]):
        hits = 0
        for _ in range(600):
            block = rng.normal(0, 2, 5)
            scores = block + rng.normal(0, 1, (4, 5)) * np.array(spread)[:, None]
            estimate = paired_over_seeds(scores, 0, 1)
            hits += estimate.low <= 0 <= estimate.high
        assert hits / 600 >= 0.93


def test_rows_widen_the_interval() -> None:
    scores = np.random.default_rng(0).normal(0.9, 0.01, (3, 5))
    alone = paired_over_seeds(scores, 0, 1)
    wider = paired_over_seeds(scores, 0, 1, 0.02**2)
    assert wider.high - wider.low > alone.high - alone.low
    assert wider.value == alone.value


def test_equal_arms_give_a_tie_without_error() -> None:
    records, summary = make_comparison({"a": 0.0, "b": 0.0}, noise=0.0, point_noise=0.0)
    answer = best(records, summary)
    assert answer.verdict == TIE
    assert answer.effect == 0


def test_the_answers_do_not_depend_on_order() -> None:
    records, summary = make_comparison({"a": 0.0, "b": -0.01, "c": -0.02})
    again = comparison_answers(records[::-1], summary)
    assert [a.to_dict() for a in again] == [
        a.to_dict() for a in comparison_answers(records, summary)
    ]


def test_reversal_shares_against_the_chance_of_missing_the_best_points() -> None:
    goodness = np.zeros((2, 10))
    goodness[0, :3] = 1.0
    # The first arm wins unless none of its three points is drawn; then they are level.
    expected = 0.5 * 0.7**10
    assert reversal_shares(goodness)[0, 1] == pytest.approx(expected, abs=0.01)


# ---- interactions


def test_factorial_against_statsmodels_formulas() -> None:
    rng = np.random.default_rng(3)
    grid = rng.normal(size=(3, 2, 4)) + rng.normal(size=4)
    p, effects, _, df = factorial(grid)
    # Additive and saturated models with block effects, fitted by least squares.
    a, b, s = np.indices(grid.shape).reshape(3, -1)
    y = grid.ravel()

    def residual(*columns: np.ndarray) -> tuple[float, int]:
        design = np.stack([np.ones_like(y), *columns], 1)
        fit, *_ = np.linalg.lstsq(design, y, rcond=None)
        return float(np.sum((y - design @ fit) ** 2)), int(np.linalg.matrix_rank(design))

    main = [*(a == i for i in range(3)), *(b == i for i in range(2)), *(s == i for i in range(4))]
    cells = [(a == i) & (b == j) for i in range(3) for j in range(2)]
    small, rank_small = residual(*[c.astype(float) for c in main])
    full, rank_full = residual(*[c.astype(float) for c in main + cells])
    freedom = len(y) - rank_full
    f = ((small - full) / (rank_full - rank_small)) / (full / freedom)
    assert freedom == df
    assert p == pytest.approx(stats.f.sf(f, rank_full - rank_small, freedom))
    assert np.allclose(effects.sum(0), 0)
    assert np.allclose(effects.sum(1), 0)


def interaction_of(kind: float, seed: int = 0, **options: Any) -> Any:
    effects = {"a · x": 0.0, "a · y": -0.05, "b · x": -0.05 - kind, "b · y": -0.10 + kind}
    records, summary = make_comparison(effects, over=("model", "loss"), seed=seed, **options)
    return next(a for a in comparison_answers(records, summary) if "interact" in a.question)


def test_interactions_are_found_and_not_invented() -> None:
    assert interaction_of(0.08, noise=0.002).verdict == SUPPORTED
    assert interaction_of(0.0, noise=0.0005).verdict == TIE
    false = sum(interaction_of(0.0, seed, rows=10**6).verdict == SUPPORTED for seed in range(60))
    assert false <= 8


# ---- effort


def test_expected_best_against_enumeration() -> None:
    from itertools import combinations

    values = np.array([0.3, 0.9, 0.1, 0.5])
    for m, got in enumerate(expected_best(values), start=1):
        assert got == pytest.approx(np.mean([max(c) for c in combinations(values, m)]))


def test_first_reached() -> None:
    steps, values = [10.0, 20.0, 30.0], [0.1, 0.5, 0.9]
    assert first_reached(steps, values, 0.05) == 10
    assert first_reached(steps, values, 0.7) == pytest.approx(25)
    assert first_reached(steps, values, 0.95) == math.inf
    assert first_reached(steps, [0.1, math.nan, 0.9], 0.7) == math.inf


def test_performance_profile_of_the_textbook() -> None:
    times = [[1.0, 2.0], [4.0, 1.0], [3.0, math.inf]]
    profile = performance_profile(times, [1.0, 2.0, 4.0])
    assert profile.tolist() == [
        [pytest.approx(2 / 3), pytest.approx(2 / 3), 1.0],
        [pytest.approx(1 / 3), pytest.approx(2 / 3), pytest.approx(2 / 3)],
    ]


# ---- broken ones


@pytest.mark.parametrize(
    "options",
    [
        {"seeds": 0}, {"seeds": 1}, {"num": 1}, {"failed": ("a",)}, {"failed": ("a", "b")},
        {"noise": 0.0, "point_noise": 0.0},
    ],
    ids=str,
)  # fmt: skip
def test_little_or_nothing_is_said_to_be_so(options: dict[str, Any]) -> None:
    records, summary = make_comparison({"a": 0.0, "b": -0.05}, **options)
    for answer in comparison_answers(records, summary):
        assert answer.verdict in VERDICTS
        assert "nan" not in answer.claim
        assert answer.claim.endswith(".")
        assert set(answer.trials) <= {record["id"] for record in records}
    if options.get("failed") or not options.get("seeds", 2) > 1:
        assert best(records, summary).verdict == NOT_ENOUGH
    assert len(standings(experiment_of(records, summary))) == 2


def test_an_empty_summary_has_no_arms() -> None:
    assert standings(experiment_of([], {})) == []
    assert comparison_answers([], {})[0].verdict == NOT_ENOUGH
