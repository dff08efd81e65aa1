"""A second objective beside the score: a network's size, operations, or measured latency."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from thalweg.models.base import count_params
from thalweg.search import Searcher, make_searcher
from thalweg.search.pareto import pareto_scores
from thalweg.space import Space, Structure
from thalweg.study.records import Trial
from thalweg.training.engine import Engine
from thalweg.training.latency import latency

OBJECTIVES = {
    "params": "number of parameters",
    "flops": "floating-point operations for one row",
    "latency": "microseconds to predict one row, measured on this machine",
}
"""What may be weighed against the score; less is better."""

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
LEAST_WEIGHT = 0.1


def cost_of(engine: Engine, structure: Structure, objective: str, trials: Sequence[Trial]) -> float:
    """Return what the network of a structure costs by an objective.

    Args:
        engine: knows the data.
        structure: of the network.
        objective: one of ``OBJECTIVES``.
        trials: earlier ones. What was measured for a structure once is what it costs: a resumed
            study goes on with the same figures.
    """
    if objective == "latency":
        known = (t.cost for t in trials if t.structure == structure.name)
        return next((cost for cost in known if math.isfinite(cost)), None) or latency(
            engine, structure
        )
    network = engine.network(structure)
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
