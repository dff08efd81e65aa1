"""The statistics that the answers rest on: plain arrays in, plain numbers out.

Everything here treats larger values as better, depends on the values alone (never on their
order), and moves with them when they are shifted or scaled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

LEVEL = 0.95
ALPHA = 1.0 - LEVEL
PERMUTATIONS = 2_000
_RANDOM_SEED = 20_240_229  # fixed: the same trials must always give the same verdict


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and, where a test was made, its two-sided p-value."""

    value: float
    low: float
    high: float
    p: float = math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The bounds as a pair."""
        return (self.low, self.high)

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    def within(self, margin: float) -> bool:
        """Whether the whole interval lies within ``margin`` of zero."""
        return -margin <= self.low and self.high <= margin


def t_interval(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean of a sample with Student's interval: mean ± t·s/√n.

    Args:
        values: float [N]; with fewer than two values the interval is unbounded.
        level: coverage, 0..1.

    Returns:
        The mean, its interval, and the p-value of the mean being zero.
    """
    sample = np.asarray(values, dtype=float)
    n = sample.size
    if n == 0:
        return Estimate(math.nan, -math.inf, math.inf)
    mean = float(np.mean(np.sort(sample)))
    if n == 1:
        return Estimate(mean, -math.inf, math.inf)
    error = float(np.std(sample, ddof=1)) / math.sqrt(n)
    return with_error(mean, error, n - 1, level)


def with_error(value: float, error: float, df: float, level: float = LEVEL) -> Estimate:
    """An estimate with Student's interval from its standard error and degrees of freedom.

    Args:
        value: the estimate.
        error: its standard error.
        df: degrees of freedom of the standard error; ``inf`` gives the normal interval.
        level: coverage, 0..1.
    """
    reach = float(stats.t.ppf(0.5 + level / 2, df)) * error
    if error > 0:
        p = float(2 * stats.t.sf(abs(value) / error, df))
    else:
        p = 1.0 if value == 0 else 0.0
    return Estimate(value, value - reach, value + reach, p)


def paired_difference(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean of ``first - second``, pair by pair, with Student's interval.

    Args:
        first: float [N], one value for each pair (a seed, a fold, a matched configuration).
        second: float [N], in the same order.
        level: coverage, 0..1.
    """
    return t_interval(np.asarray(first, dtype=float) - np.asarray(second, dtype=float), level)


def welch_difference(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> Estimate:
    """Difference of the means of two independent samples with Welch's interval.

    Args:
        first: float [N1].
        second: float [N2].
        level: coverage, 0..1.
    """
    a, b = np.sort(np.asarray(first, dtype=float)), np.sort(np.asarray(second, dtype=float))
    if a.size < 2 or b.size < 2:
        return Estimate(math.nan, -math.inf, math.inf)
    va, vb = float(np.var(a, ddof=1)) / a.size, float(np.var(b, ddof=1)) / b.size
    value, variance = float(np.mean(a) - np.mean(b)), va + vb
    if variance == 0:
        return with_error(value, 0.0, math.inf, level)
    df = variance**2 / (va**2 / (a.size - 1) + vb**2 / (b.size - 1))
    return with_error(value, math.sqrt(variance), df, level)


def best_of_weights(n: int, m: int) -> NDArray[np.float64]:
    """Weights on n sorted values whose sum is the mean best of m drawn without replacement.

    w_i = C(i-1, m-1) / C(n, m), the chance that the i-th smallest is the best of the m.

    Args:
        n: number of values.
        m: number drawn, 1..n.
    """
    i = np.arange(1, n + 1)
    spare = np.maximum(i - m, 0)
    log_weight = (
        special.gammaln(i)
        - special.gammaln(m)
        - special.gammaln(spare + 1)
        - (special.gammaln(n + 1) - special.gammaln(m + 1) - special.gammaln(n - m + 1))
    )
    return np.where(i >= m, np.exp(log_weight), 0.0)


def best_of(values: ArrayLike, m: int) -> float:
    """Mean best of m of the values: what m trials would have found on average.

    An unbiased estimate of the expected maximum of m draws (a U-statistic), unlike the best
    value seen, which grows with the number of trials. Source: Tang et al., "Showing Your Work
    Doesn't Always Work" (2020), after Dodge et al., "Show Your Work" (2019).

    Args:
        values: float [N].
        m: how many are drawn, 1..N.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    return float(ordered @ best_of_weights(ordered.size, m))


def _jackknife_variance(values: ArrayLike, m: int) -> float:
    """Jackknife variance of ``best_of``, from its n leave-one-out values."""
    ordered = np.sort(np.asarray(values, dtype=float))
    n = ordered.size
    weights = best_of_weights(n - 1, m)
    below = np.concatenate([[0.0], np.cumsum(weights * ordered[:-1])])
    above = np.concatenate([np.cumsum((weights * ordered[1:])[::-1])[::-1], [0.0]])
    left_out = below + above
    return float((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2))


def compare_best_of(
    first: ArrayLike, second: ArrayLike, m: int | None = None, level: float = LEVEL
) -> Estimate:
    """Compare two samples of trials by the best of m of each: equal budgets, whatever their sizes.

    The interval is Student's on the jackknife error. In simulations with 5 to 32 trials a side it
    covers 0.91 to 0.99 where a percentile bootstrap covers 0.84 to 0.94: a bootstrap sample
    repeats its maximum. The p-value is a permutation test's, exact when the labels mean nothing.

    Args:
        first: float [N1], at least 3 values.
        second: float [N2], at least 3 values.
        m: trials a side, below the smaller sample's size; half of it by default, because the mean
            best of nearly all trials is the one best trial, about which there is no statistics.
        level: coverage, 0..1.
    """
    a, b = np.sort(np.asarray(first, dtype=float)), np.sort(np.asarray(second, dtype=float))
    smaller = min(a.size, b.size)
    if smaller < 3:
        return Estimate(math.nan, -math.inf, math.inf)
    m = max(1, smaller // 2) if m is None else max(1, min(m, smaller - 1))
    value = best_of(a, m) - best_of(b, m)
    error = math.sqrt(_jackknife_variance(a, m) + _jackknife_variance(b, m))
    estimate = with_error(value, error, smaller - 1, level)
    rng = np.random.default_rng(_RANDOM_SEED)
    pool = np.sort(np.concatenate([a, b]))
    shuffled = rng.permuted(np.broadcast_to(pool, (PERMUTATIONS, pool.size)), axis=1)
    differences = np.sort(shuffled[:, : a.size], axis=1) @ best_of_weights(a.size, m) - np.sort(
        shuffled[:, a.size :], axis=1
    ) @ best_of_weights(b.size, m)
    slack = 1e-9 * float(np.ptp(pool))  # rounding must not break ties among permutations
    hits = int(np.sum(np.abs(differences) >= abs(value) - slack))
    return Estimate(value, estimate.low, estimate.high, (1 + hits) / (1 + PERMUTATIONS))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjustment of p-values of comparisons made together.

    Args:
        p_values: float [N].

    Returns:
        float [N], in the order given; reject where below the level wanted for all together.
        Source: S. Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def wilson(hits: int, n: int, level: float = LEVEL) -> Estimate:
    """A share with Wilson's score interval.

    Args:
        hits: number that have the property, 0..n.
        n: number looked at.
        level: coverage, 0..1.
    """
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0)
    interval = stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    return Estimate(hits / n, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class SeedComparison:
    """Configurations compared seed by seed.

    Args:
        means: float [K], mean score of each configuration over the common seeds.
        seed_std: pooled standard deviation of one configuration over seeds.
        differences: the first configuration less each of the others, with intervals.
        chances: chance that each of the others is really better than the first (normal model,
            flat prior).
        num_seeds: number of common seeds.
    """

    means: tuple[float, ...]
    seed_std: float
    differences: tuple[Estimate, ...]
    chances: tuple[float, ...]
    num_seeds: int


def compare_seeds(scores: ArrayLike, overlap: float = 0.0, level: float = LEVEL) -> SeedComparison:
    """Compare configurations that ran under the same seeds, the first against each other.

    Scores are modelled as configuration + seed + noise. The seed's part cancels in the paired
    differences; the noise is pooled over all configurations: (K-1)(S-1) degrees of freedom
    instead of S-1, which matters at three seeds.

    Args:
        scores: float [K, S], configurations by seeds, the chosen one first.
        overlap: rows held out over rows trained on, where the columns are folds of one data set:
            their training sets overlap, and the variance of a mean is s²·(1/S + overlap). Source:
            Nadeau and Bengio, "Inference for the Generalization Error" (2003). 0 for seeds.
        level: coverage, 0..1.
    """
    table = np.asarray(scores, dtype=float)
    k, s = table.shape
    means = table.mean(axis=1)
    seed_std = float(np.sqrt(np.mean(np.var(table, axis=1, ddof=1)))) if s > 1 else math.nan
    differences: list[Estimate] = []
    chances: list[float] = []
    df = (k - 1) * (s - 1)
    residual = table - means[:, None] - table.mean(axis=0) + table.mean()
    variance = 2 * float(np.sum(residual**2)) / df if df > 0 else math.nan
    error = math.sqrt(variance * (1 / s + overlap))
    if error <= 1e-12 * float(np.max(np.abs(table), initial=0.0)):
        error = 0.0  # what is left after taking the means out of equal scores is rounding
    for row in range(1, k):
        value = float(np.mean(np.sort(table[0] - table[row])))
        if df <= 0:
            differences.append(Estimate(value, -math.inf, math.inf))
            chances.append(math.nan)
            continue
        differences.append(with_error(value, error, df, level))
        if error > 0:
            chances.append(float(stats.t.sf(value / error, df)))
        else:
            chances.append(0.5 if value == 0 else float(value < 0))
    return SeedComparison(
        tuple(float(mean) for mean in means), seed_std, tuple(differences), tuple(chances), s
    )


def kruskal(groups: Sequence[ArrayLike]) -> float:
    """p-value of the Kruskal-Wallis test; 1 where all values are equal or a group is empty.

    Args:
        groups: samples, each float [N_i].
    """
    samples = [np.sort(np.asarray(group, dtype=float)) for group in groups]
    if len(samples) < 2 or any(sample.size == 0 for sample in samples):
        return 1.0
    if np.ptp(np.concatenate(samples)) == 0:
        return 1.0
    outcome: Any = stats.kruskal(*samples)
    return float(outcome.pvalue)


def fisher_exact(table: Sequence[Sequence[int]]) -> float:
    """One-sided p-value of Fisher's exact test of a two-by-two table (odds ratio above 1)."""
    outcome: Any = stats.fisher_exact(np.asarray(table), alternative="greater")
    return float(outcome.pvalue)


def binomial_at_least(hits: int, n: int, chance: float) -> float:
    """Chance of at least ``hits`` of ``n`` when each has the given chance."""
    return float(stats.binom.sf(hits - 1, n, chance))


_CONFUSION_METRICS = ("accuracy", "balanced_accuracy", "f1", "f1_macro", "precision", "recall",
                      "matthews_corrcoef")  # fmt: skip


def sampling_error(
    metric: str,
    value: float,
    rows: int | None,
    predictions: dict[str, Any] | None = None,
) -> float:
    """Standard error of a metric because its rows are a sample; NaN where no formula is honest.

    From the predictions themselves where they are given (multinomial resampling of a confusion
    matrix; the delta method on residuals), else from the value and the number of rows: binomial
    for accuracy; for normal residuals, rmse/√(2n), mse·√(2/n), mae·√((π/2 - 1)/n) and
    2·√r²·(1-r²)/√n (larger in truth when residuals have heavy tails).

    Args:
        metric: its name.
        value: its value on those rows.
        rows: number of rows.
        predictions: ``{"confusion": [[int]]}`` (truth by prediction) or
            ``{"true": [float], "predicted": [float]}`` of the same rows, or None.
    """
    if predictions:
        error = _error_from_predictions(metric, predictions)
        if math.isfinite(error):
            return error
    if not rows or rows < 2 or not math.isfinite(value):
        return math.nan
    if metric in ("accuracy", "top_5_accuracy"):
        # Agresti and Coull: add two hits and two misses, or a score of 1 would have no error.
        share = (value * rows + 2) / (rows + 4)
        return math.sqrt(max(share * (1 - share), 0.0) / (rows + 4))
    if metric == "rmse":
        return abs(value) / math.sqrt(2 * rows)
    if metric == "mse":
        return abs(value) * math.sqrt(2 / rows)
    if metric == "mae":
        return abs(value) * math.sqrt((math.pi / 2 - 1) / rows)
    if metric == "r2" and 0 < value < 1:
        return 2 * math.sqrt(value) * (1 - value) / math.sqrt(rows)
    return math.nan


def _error_from_predictions(metric: str, predictions: dict[str, Any]) -> float:
    if metric in _CONFUSION_METRICS and predictions.get("confusion") is not None:
        confusion = np.asarray(predictions["confusion"], dtype=float)
        total = int(confusion.sum())
        if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or total < 2:
            return math.nan
        rng = np.random.default_rng(_RANDOM_SEED)
        draws = rng.multinomial(total, (confusion / total).ravel(), size=400)
        tables = draws.reshape(-1, *confusion.shape).astype(float)
        error = float(np.std(_confusion_metric(metric, tables), ddof=1))
        return error if error > 0 else math.nan
    if predictions.get("true") is None or predictions.get("predicted") is None:
        return math.nan
    true = np.asarray(predictions["true"], dtype=float)
    predicted = np.asarray(predictions["predicted"], dtype=float)
    if true.ndim != 1 or true.shape != predicted.shape or true.size < 3:
        return math.nan
    residual = true - predicted
    root_n = math.sqrt(true.size)
    mse = float(np.mean(residual**2))
    if metric == "mae":
        return float(np.std(np.abs(residual), ddof=1)) / root_n
    if metric == "mse":
        return float(np.std(residual**2, ddof=1)) / root_n
    if metric == "rmse":
        return float(np.std(residual**2, ddof=1)) / root_n / (2 * math.sqrt(mse)) if mse else 0.0
    variance = float(np.var(true))
    if metric == "r2" and variance > 0:
        # delta method on 1 - mean(residual²)/mean((true - mean)²)
        influence = residual**2 - (mse / variance) * (true - true.mean()) ** 2
        return float(np.std(influence, ddof=1)) / variance / root_n
    return math.nan


def _confusion_metric(metric: str, tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """A metric of each of many confusion matrices, float [R, C, C] -> float [R]."""
    hits = np.einsum("rcc->rc", tables)
    truth, guess, total = tables.sum(axis=2), tables.sum(axis=1), tables.sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.nan_to_num(hits / truth)
        precision = np.nan_to_num(hits / guess)
        f1 = np.nan_to_num(2 * hits / (truth + guess))
        if metric == "accuracy":
            return hits.sum(axis=1) / total
        if metric == "balanced_accuracy":
            return recall.sum(axis=1) / np.maximum((truth > 0).sum(axis=1), 1)
        if metric == "f1_macro":
            return f1.mean(axis=1)
        if metric == "matthews_corrcoef":
            covariance = hits.sum(axis=1) * total - np.sum(truth * guess, axis=1)
            spread = (total**2 - np.sum(truth**2, axis=1)) * (total**2 - np.sum(guess**2, axis=1))
            return np.nan_to_num(covariance / np.sqrt(spread))
    return {"f1": f1, "precision": precision, "recall": recall}[metric][:, -1]
