"""Would more data help? The winner on parts of the training rows, extrapolated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, TIE, Answer, Verdict
from thalweg.evidence.statistics import Estimate, t_interval
from thalweg.evidence.view import View, number

QUESTION = "Would more data help?"
EXPONENTS = np.linspace(0.05, 2.0, 40)
RESAMPLES = 400
_RANDOM_SEED = 20_240_229


@dataclass(frozen=True)
class Growth:
    """How the score grows with the rows.

    Args:
        rows: numbers of training rows, ascending, [F]; the last is all of them.
        scores: goodness, [S, F], one row a seed.
        halved: what all rows gave over half of them, paired by seed.
        doubled: what twice as many would give over all, extrapolated.
    """

    rows: tuple[int, ...]
    scores: np.ndarray
    halved: Estimate
    doubled: Estimate


def extrapolate(rows: ArrayLike, scores: ArrayLike, factor: float = 2.0) -> Estimate:
    """What ``factor`` times as many rows would give over all of them, with its interval.

    The goodness is taken to follow a - b·n^(-c) with b, c ≥ 0 (a learning curve that rises and
    flattens), fitted by least squares to the mean over seeds; the interval comes from seeds drawn
    anew and from every exponent c that fits about as well. Source: Hestness and others, "Deep
    learning scaling is predictable, empirically" (2017).

    Args:
        rows: n, ascending, [F] with three or more.
        scores: goodness, [S, F].
        factor: how many times as many rows.
    """
    n = np.asarray(rows, dtype=float) / float(np.asarray(rows, dtype=float)[-1])
    table = np.asarray(scores, dtype=float)
    seeds, points = table.shape
    rng = np.random.default_rng(_RANDOM_SEED)
    if seeds > 1:
        draws = rng.integers(seeds, size=(RESAMPLES, seeds))
        spread = table.std(axis=0, ddof=1) / math.sqrt(seeds)
        # Few seeds repeat themselves when drawn anew: their own error is added as noise.
        means = table[draws].mean(axis=1) + rng.normal(0, 1, (RESAMPLES, points)) * spread
    else:
        means = table.repeat(RESAMPLES, axis=0)
    power = n[None, :] ** -EXPONENTS[:, None]
    gain_of = 1 - factor**-EXPONENTS

    def gains(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gain and squared error for every exponent, [C, R] each, of means [R, F]."""
        centred = power - power.mean(1, keepdims=True)
        y = mean - mean.mean(1, keepdims=True)
        slope = centred @ y.T / np.sum(centred**2, axis=1)[:, None]
        b = np.maximum(-slope, 0.0)
        error = np.sum((y.T[:, None, :] + b[None] * centred.T[:, :, None]) ** 2, axis=0)
        return b * gain_of[:, None], error

    gain, error = gains(table.mean(axis=0, keepdims=True))
    value = float(gain[int(error[:, 0].argmin()), 0])
    gain, error = gains(means)
    # Exponents are weighed by how well they fit, given the error of the means.
    noise = max(float(np.mean(table.var(axis=0, ddof=1))) / seeds if seeds > 1 else 0.0, 1e-18)
    weight = np.exp(-0.5 * (error - error.min(axis=0)) / noise)
    weight /= weight.sum(axis=0)
    cumulative = np.cumsum(weight, axis=0)
    pick = (cumulative < rng.random(RESAMPLES)).sum(axis=0)
    sample = gain[np.minimum(pick, len(EXPONENTS) - 1), np.arange(RESAMPLES)]
    low, high = np.quantile(sample, [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def growth(view: View) -> Growth | None:
    """Read ``summary["fractions"]``; None where there is too little of it."""
    entries = view.summary.get("fractions")
    if not isinstance(entries, (list, tuple)):
        return None
    table: dict[object, dict[int, float]] = {}
    for entry in entries:
        if isinstance(entry, Mapping) and math.isfinite(number(entry.get("score"))):
            own = table.setdefault(entry.get("trial"), {})
            own[int(number(entry.get("rows")))] = view.sign * number(entry["score"])
    if len(table) < 2:
        return None
    # Folds differ by a row or so: sizes are matched by rank.
    sizes = [sorted(own) for own in table.values()]
    count = min(map(len, sizes))
    if count < 3 or any(len(own) != count for own in sizes):
        return None
    rows = tuple(int(np.median([own[i] for own in sizes])) for i in range(count))
    scores = np.array(
        [[own[size] for size in order] for own, order in zip(table.values(), sizes, strict=True)]
    )
    return Growth(
        rows, scores, t_interval(scores[:, -1] - scores[:, -2]), extrapolate(rows, scores)
    )


def answer_growth(view: View) -> list[Answer]:
    """Whether more rows would help, from trainings on parts of them."""
    found = growth(view)
    if found is None:
        return []
    means = view.sign * found.scores.mean(axis=0)
    course = ", ".join(
        f"{view.say(float(value))} with {size:,}"
        for size, value in zip(found.rows, means, strict=True)
    )
    more = found.doubled
    margin = view.margin
    verdict: Verdict
    if more.low > 0 and found.halved.low > 0:
        verdict = SUPPORTED
        claim = "Yes"
        advice = "More rows are likely to help; nothing else is as sure."
        if more.within(margin):
            claim = "A little"
            advice = "More rows would help a little; weigh what they cost."
    elif more.high < margin and found.halved.high < margin:
        verdict = TIE
        claim = "Hardly"
        advice = "More rows of the same kind are not where gains lie."
    else:
        verdict = NOT_ENOUGH
        claim = "Not clear"
        advice = "The seeds vary more than the parts differ; more seeds would tell."
    claim += (
        f": {view.unit} {course} rows. The second half of the rows was worth "
        f"{view.say(found.halved.value)} ({view.say_range(found.halved.interval)}); twice as many "
        f"rows would be worth about {view.say(more.value)} ({view.say_range(more.interval)}), if "
        "the course goes on."
    )
    trials = tuple(
        sorted(
            {
                int(entry["trial"])
                for entry in view.summary.get("fractions") or ()
                if isinstance(entry, Mapping) and isinstance(entry.get("trial"), int)
            }
        )
    )
    return [
        Answer(
            QUESTION, claim, more.value, more.interval,
            f"{view.unit}, improvement by twice as many rows, extrapolated", verdict, advice,
            trials,
        )
    ]  # fmt: skip
