"""What a choice costs: how many trials it takes to tune, and how long to reach a target."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.evidence.statistics import best_of


def expected_best(values: ArrayLike) -> NDArray[np.float64]:
    """Mean best of 1, 2, … N of the values: what a budget of so many trials finds on average.

    Source: Dodge et al., "Show Your Work" (2019); the estimate is ``best_of``'s.

    Args:
        values: float [N], more is better.

    Returns:
        float [N], never falling.
    """
    sample = np.asarray(values, dtype=float)
    return np.array([best_of(sample, m) for m in range(1, sample.size + 1)])


def first_reached(steps: Sequence[float], values: Sequence[float], target: float) -> float:
    """The step at which a curve first reaches a target, between evaluations by a straight line.

    Args:
        steps: of the evaluations, rising.
        values: at those steps, more is better; a value that is not finite ends the curve.
        target: what is to be reached.

    Returns:
        The step, or infinity where it is never reached.
    """
    before: tuple[float, float] | None = None
    for step, value in zip(steps, values, strict=False):
        if not math.isfinite(value):
            return math.inf
        if value >= target:
            if before is None or value == before[1]:
                return float(step)
            share = (target - before[1]) / (value - before[1])
            return float(before[0] + share * (step - before[0]))
        before = (float(step), value)
    return math.inf


def performance_profile(times: ArrayLike, ratios: ArrayLike) -> NDArray[np.float64]:
    """Share of problems that each solver solves within a factor of the fastest one's time.

    ρ_s(τ) = |{p : t_ps ≤ τ·min_s t_ps}| / |P|. Source: Dolan and Moré, "Benchmarking optimization
    software with performance profiles" (2002). A problem that nobody solves counts for nobody.

    Args:
        times: float [P, S], problems by solvers; infinity where not solved.
        ratios: τ, float [T], from 1.

    Returns:
        float [S, T].
    """
    table = np.asarray(times, dtype=float)
    best = table.min(axis=1, initial=np.inf)
    with np.errstate(invalid="ignore"):
        relative = np.where(np.isfinite(table), table / best[:, None], np.inf)
    tau = np.asarray(ratios, dtype=float)
    within = relative[:, :, None] <= tau * (1 + 1e-12)
    return within.mean(axis=0) if len(table) else np.zeros((table.shape[1], tau.size))
