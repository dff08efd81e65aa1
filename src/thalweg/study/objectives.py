"""A second objective beside the score: the size of the network, or what it costs to compute."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from thalweg.models import Network
from thalweg.models.base import count_params
from thalweg.search import Searcher, make_searcher
from thalweg.search.pareto import pareto_scores
from thalweg.space import Space
from thalweg.study.records import Trial

OBJECTIVES = {
    "params": "number of parameters",
    "flops": "floating-point operations for one row, the measure of latency",
}
"""What may be weighed against the score; less is better."""

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
LEAST_WEIGHT = 0.1


def cost_of(network: Network, objective: str) -> float:
    """Return what a network costs by an objective."""
    return float(count_params(network) if objective == "params" else network.flops())


def values_of(trials: Sequence[Trial]) -> np.ndarray:
    """Return rank and negative logarithm of the cost of each trial, more is better, [N, 2]."""
    return np.array([(t.rank, -math.log(max(t.cost, 1.0))) for t in trials]).reshape(-1, 2)


def who_is_better(trials: Sequence[Trial]) -> np.ndarray:
    """Return what halving goes by: fronts, well spread ones first, [N]; NaN without a score."""
    return pareto_scores(values_of(trials))


def weight_of(number: int) -> float:
    """Return the weight of the score in a round: other ones round by round, evenly spread."""
    return LEAST_WEIGHT + (1.0 - 2.0 * LEAST_WEIGHT) * ((0.5 + number * GOLDEN) % 1.0)


def scalarised(values: np.ndarray, weight: float) -> np.ndarray:
    """Return one number for several objectives, so that its best point is one of the front, [N].

    The augmented Chebyshev function, min(w a, (1 - w) b) + 0.05 (w a + (1 - w) b), of objectives
    scaled to 0..1. Source: Knowles, "ParEGO: a hybrid algorithm with on-line landscape
    approximation for expensive multiobjective optimization problems", 2006.

    Args:
        values: of both objectives, more is better, [N, 2].
        weight: of the first one, in (0, 1).
    """
    usable = np.isfinite(values).all(axis=1)
    if not usable.any():
        return np.full(len(values), np.nan)
    known = values[usable]
    # A few very bad scores should not make all others look the same.
    low = np.maximum(known.min(axis=0), 3 * np.median(known, axis=0) - 2 * known.max(axis=0))
    span = np.maximum(known.max(axis=0) - low, 1e-12)
    scaled = np.clip((values - low) / span, 0.0, 1.0) * [weight, 1.0 - weight]
    found = scaled.min(axis=1) + 0.05 * scaled.sum(axis=1)
    return np.where(usable, found, np.nan)


def retold(
    searcher: Searcher, name: str, space: Space, seed: int, trials: Sequence[Trial], full: float
) -> Searcher:
    """Return a searcher that learns all trials anew, by this round's weight of the objectives.

    Args:
        searcher: the present one.
        name: its name.
        space: what the study began with.
        seed: of the study.
        trials: of the search.
        full: epochs of a full training.
    """
    state = searcher.state()
    if "history" not in state:
        return searcher
    nothing = {**state["history"], "points": [], "told": [], "pending": []}
    fresh = make_searcher(name, space, seed, {**state, "history": nothing})
    number = len({t.bracket for t in trials})
    return fresh.tell(
        [t.config for t in trials],
        scalarised(values_of(trials), weight_of(number)),
        np.array([min(t.epochs / full, 1.0) for t in trials]),
    )
