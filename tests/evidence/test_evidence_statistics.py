"""The statistics, against SciPy and by simulation with fixed seeds."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from thalweg.evidence import statistics
from thalweg.evidence.statistics import (
    best_of,
    best_of_weights,
    compare_best_of,
    compare_seeds,
    holm,
    paired_difference,
    sampling_error,
    t_interval,
    welch_difference,
    wilson,
)

DRAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "left-tailed": lambda rng, n: -rng.exponential(size=n),
    "bounded": lambda rng, n: rng.beta(5, 1, size=n),
    "ties": lambda rng, n: np.round(rng.beta(8, 1, size=n) * 40) / 40,
}


def covers(hits: int, n: int, low: float, high: float = 1.0) -> bool:
    return low <= hits / n <= high


def test_t_interval_is_scipys() -> None:
    sample = np.random.default_rng(0).normal(3, 2, 12)
    expected = stats.ttest_1samp(sample, 0)
    estimate = t_interval(sample)
    interval = expected.confidence_interval(0.95)
    assert estimate.interval == pytest.approx((interval.low, interval.high))
    assert estimate.p == pytest.approx(expected.pvalue)


def test_paired_and_welch_are_scipys() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 1, 9), rng.normal(0, 2, 9)
    assert paired_difference(a, b).p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    expected = stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert welch_difference(a, b).p == pytest.approx(expected.pvalue)
    assert welch_difference(a, b).interval == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("values", [[], [1.0]])
def test_too_few_values_give_an_unbounded_interval(values: list[float]) -> None:
    assert t_interval(values).interval == (-math.inf, math.inf)


def test_best_of_is_the_mean_over_all_subsets() -> None:
    values = np.random.default_rng(2).normal(size=7)
    for m in range(1, 8):
        expected = np.mean([max(chosen) for chosen in combinations(values, m)])
        assert best_of(values, m) == pytest.approx(expected)
        assert best_of_weights(7, m).sum() == pytest.approx(1)


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("n", [6, 20])
def test_best_of_interval_covers(name: str, n: int) -> None:
    # Equal distributions: the true difference is 0. The permutation p must stay below 5 %.
    rng = np.random.default_rng(3)
    runs, inside, rejected = 250, 0, 0
    for _ in range(runs):
        estimate = compare_best_of(DRAWS[name](rng, n), DRAWS[name](rng, n))
        inside += estimate.low <= 0 <= estimate.high
        rejected += estimate.p < 0.05
    assert covers(inside, runs, 0.9)
    assert covers(rejected, runs, 0, 0.08)


def test_best_of_interval_covers_a_real_difference() -> None:
    rng = np.random.default_rng(4)
    runs, inside, found = 250, 0, 0
    for _ in range(runs):
        estimate = compare_best_of(rng.normal(1, 1, 24), rng.normal(0, 1, 24))
        inside += estimate.low <= 1 <= estimate.high
        found += estimate.p < 0.05
    assert covers(inside, runs, 0.89)
    assert covers(found, runs, 0.5)


def test_compare_best_of_keeps_order_and_scale() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.5, 1, 15), rng.normal(size=11)
    plain = compare_best_of(a, b)
    assert compare_best_of(rng.permutation(a), rng.permutation(b)) == plain
    scaled = compare_best_of(1000 * a + 7, 1000 * b + 7)
    assert scaled.value == pytest.approx(1000 * plain.value)
    assert scaled.interval == pytest.approx([1000 * bound for bound in plain.interval])
    assert scaled.p == plain.p


def test_compare_best_of_equal_values_is_no_difference() -> None:
    estimate = compare_best_of([0.5] * 8, [0.5] * 8)
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)
    assert estimate.p == 1


def test_holm_is_the_closed_form() -> None:
    # Worked by hand: sorted 0.01, 0.02, 0.04 times 3, 2, 1, made monotone.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert holm([]).size == 0


def test_holm_holds_the_family_rate() -> None:
    rng = np.random.default_rng(6)
    claims = [np.any(holm(rng.uniform(size=8)) < 0.05) for _ in range(2000)]
    assert np.mean(claims) < 0.065


def test_wilson_is_within_the_unit_range_and_covers() -> None:
    assert wilson(0, 20).low == 0
    assert wilson(20, 20).high == 1
    rng = np.random.default_rng(7)
    hits = rng.binomial(60, 0.07, size=600)
    inside = [wilson(int(h), 60).low <= 0.07 <= wilson(int(h), 60).high for h in hits]
    assert 0.92 < np.mean(inside) < 0.99


@pytest.mark.parametrize("num_seeds", [3, 5])
def test_seed_comparison_covers_whatever_the_seeds_do(num_seeds: int) -> None:
    rng = np.random.default_rng(8)
    runs, inside, claims = 400, 0, 0
    for _ in range(runs):
        shift = rng.normal(0, 5, num_seeds)
        table = np.array([0.3, 0.0, 0.1])[:, None] + shift + rng.normal(0, 0.5, (3, num_seeds))
        comparison = compare_seeds(table)
        inside += comparison.differences[0].low <= 0.3 <= comparison.differences[0].high
    assert covers(inside, runs, 0.92, 0.98)
    for _ in range(runs):
        table = rng.normal(0, 5, num_seeds) + rng.normal(0, 0.5, (4, num_seeds))
        order = np.argsort(-table.mean(axis=1))
        claims += compare_seeds(table[order]).differences[0].p < 0.05
    # The best of four equals against the second: choosing by looking must not make claims.
    assert covers(claims, runs, 0, 0.05)


def test_chance_that_the_second_is_better_is_calibrated() -> None:
    rng = np.random.default_rng(9)
    chances, truths = [], []
    for _ in range(1500):
        means = rng.normal(0, 3, 2)  # broad against the noise: the flat prior is about right
        table = means[:, None] + rng.normal(0, 2, 4) + rng.normal(0, 1.0, (2, 4))
        order = np.argsort(-table.mean(axis=1))
        chances.append(compare_seeds(table[order]).chances[0])
        truths.append(means[order[1]] > means[order[0]])
    chances_, truths_ = np.array(chances), np.array(truths)
    unsure = chances_ > 0.15
    assert unsure.sum() > 100
    assert truths_[unsure].mean() == pytest.approx(chances_[unsure].mean(), abs=0.06)
    assert truths_[~unsure].mean() < 0.06


def test_folds_widen_the_interval() -> None:
    table = np.random.default_rng(10).normal(size=(3, 5))
    plain, folds = compare_seeds(table), compare_seeds(table, overlap=0.25)
    widths = [c.differences[0].high - c.differences[0].low for c in (plain, folds)]
    assert widths[1] == pytest.approx(widths[0] * math.sqrt((1 / 5 + 0.25) / (1 / 5)))


def test_equal_scores_leave_no_difference() -> None:
    comparison = compare_seeds(np.full((3, 4), 0.9))
    assert comparison.differences[0].interval == (0, 0)
    assert comparison.chances == (0.5, 0.5)


def test_kruskal_of_equal_values_says_nothing() -> None:
    assert statistics.kruskal([[1.0, 1.0], [1.0, 1.0]]) == 1


@pytest.mark.parametrize("metric", ["rmse", "mse", "mae", "r2"])
def test_sampling_error_of_regression_metrics(metric: str) -> None:
    rng = np.random.default_rng(11)
    n, values, with_rows, with_residuals = 400, [], [], []
    for _ in range(300):
        true = rng.normal(0, 2, n)
        predicted = true * 0.8 + rng.normal(0, 0.98, n)
        residual = true - predicted
        value = {
            "rmse": math.sqrt(np.mean(residual**2)),
            "mse": np.mean(residual**2),
            "mae": np.mean(np.abs(residual)),
            "r2": 1 - np.mean(residual**2) / np.var(true),
        }[metric]
        values.append(value)
        with_rows.append(sampling_error(metric, value, n))
        data = {"true": true.tolist(), "predicted": predicted.tolist()}
        with_residuals.append(sampling_error(metric, value, n, data))
    spread = float(np.std(values))
    assert np.mean(with_residuals) == pytest.approx(spread, rel=0.15)
    assert np.mean(with_rows) == pytest.approx(spread, rel=0.3)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1_macro"])
def test_sampling_error_from_a_confusion_matrix(metric: str) -> None:
    rng = np.random.default_rng(12)
    truth = np.array([[300, 20, 5], [10, 80, 10], [2, 8, 40]])
    shares = truth / truth.sum()
    drawn = rng.multinomial(truth.sum(), shares.ravel(), size=2000).reshape(-1, 3, 3)
    spread = float(np.std(statistics._confusion_metric(metric, drawn.astype(float))))
    error = sampling_error(metric, 0.9, None, {"confusion": truth.tolist()})
    assert error == pytest.approx(spread, rel=0.1)


def test_sampling_error_of_a_perfect_score_is_not_zero() -> None:
    assert sampling_error("accuracy", 1.0, 100) > 0


def test_sampling_error_is_nan_where_no_formula_is_honest() -> None:
    assert math.isnan(sampling_error("roc_auc", 0.9, 100))
    assert math.isnan(sampling_error("accuracy", math.nan, 100))
    assert math.isnan(sampling_error("accuracy", 0.9, None))
