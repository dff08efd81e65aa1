"""What a training that is under way will probably reach, by the curves of earlier ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIN_CURVES = 6
"""Complete curves from which on they are gone by."""

SLACK = 1.02
"""Evaluations fall on whole steps, a little before or after a share."""

PRIOR_CURVES = 2.0
"""Weight of the belief that order and distances stay as they are, in curves."""


def features(shares: np.ndarray, values: np.ndarray, at: float) -> np.ndarray:
    """Return what is looked at of a curve up to a share of its training, [2].

    Args:
        shares: of a full training, ascending, [T].
        values: the score there, more is better, [T].
        at: the share up to which the curve is known.

    Returns:
        The best score so far, and its gain over the second half of the way.
    """
    seen = (shares <= at * SLACK) & np.isfinite(values)
    if not seen.any():
        return np.full(2, np.nan)
    best = float(values[seen].max())
    early = seen & (shares <= 0.5 * at * SLACK)
    return np.array([best, best - float(values[early].max()) if early.any() else 0.0])


def expected_finals(
    running: Sequence[tuple[np.ndarray, np.ndarray]],
    complete: Sequence[tuple[np.ndarray, np.ndarray]],
    at: float,
) -> np.ndarray:
    """Return the best score that each running training will probably reach, [N].

    A linear model of the gain still to come, in the score so far and in how fast it is rising,
    fitted to trainings that went on from here to the end. Who goes on is decided by these two, so
    that the fit is not biased by who did not. With few complete curves it is shrunk towards the
    same gain for all: then the order is that of the scores so far.

    Source: in the spirit of Swersky, Snoek and Adams, "Freeze-thaw Bayesian optimization", 2014;
    the model is that of Baker, Gupta, Raskar and Naik, "Accelerating neural architecture search
    using performance prediction", 2018, reduced to two features.

    Args:
        running: shares and scores of the curves to judge; NaN marks what is not known.
        complete: shares and scores of curves that reached the end.
        at: the share that all of the running ones have come to.
    """
    now = np.array([features(*curve, at) for curve in running]).reshape(-1, 2)
    known = np.array([features(*curve, at) for curve in complete]).reshape(-1, 2)
    ends = np.array([np.nanmax(v) if np.isfinite(v).any() else np.nan for _, v in complete])
    usable = np.isfinite(known).all(axis=1) & np.isfinite(ends)
    if usable.sum() < MIN_CURVES:
        return now[:, 0]
    known, gains = known[usable], (ends[usable] - known[usable, 0])
    center = known.mean(axis=0)
    scale = np.maximum(known.std(axis=0), 1e-12)
    x = (known - center) / scale
    slope = np.linalg.solve(x.T @ x + PRIOR_CURVES * np.eye(2), x.T @ (gains - gains.mean()))
    # What lies beyond the curves that were seen is judged as the nearest of them.
    inside = np.clip((now - center) / scale, -3.0, 3.0)
    return now[:, 0] + gains.mean() + inside @ slope
