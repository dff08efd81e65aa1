"""Successive halving: train all a little, keep the best, train those longer.

Source: Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
optimization", 2016, algorithm 1. Differs from the paper: everybody is judged after exactly the same
epochs, a few of those that would be dropped are kept at random as an audit (they measure how often
dropping was a mistake), and where a question is under comparison, each answer to it (stratum) keeps
its own share.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np


def rungs(full: float, reduction_factor: int, num_rungs: int) -> list[float]:
    """Return the epochs at which members are judged: geometric, the last one ``full``.

    Args:
        full: epochs of a complete training.
        reduction_factor: ratio of one rung to the next, 2 or more.
        num_rungs: number of rungs, 1 for no halving.

    Example:
        >>> rungs(27, 3, 3)
        [3.0, 9.0, 27.0]
    """
    return [full / reduction_factor**k for k in reversed(range(num_rungs))]


def num_rungs_for(num_members: int, full: float, reduction_factor: int, shortest: float) -> int:
    """Return how many rungs make sense: until one survivor, or the first rung gets too short."""
    by_members = 1 + int(math.log(max(num_members, 1), reduction_factor) + 1e-9)
    by_length = 1 + int(math.log(max(full / shortest, 1.0), reduction_factor) + 1e-9)
    return max(1, min(by_members, by_length))


def survivors(
    scores: Sequence[float] | np.ndarray,
    num_keep: int,
    *,
    num_audit: int = 0,
    strata: Sequence[Hashable] | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[list[int], list[int]]:
    """Decide who goes on.

    Args:
        scores: each member's score at this rung, more is better; NaN or -inf never goes on.
        num_keep: how many go on by their score.
        num_audit: how many of the others go on at random.
        strata: each member's stratum; every stratum keeps its share (at least one member).
        rng: draws the audit members.

    Returns:
        Indices that go on by score, best first, and indices of the audit members. Ties go to the
        one that was proposed first.
    """
    scores = np.asarray(scores, np.float64)
    usable = np.isfinite(scores)
    order = [int(i) for i in np.lexsort((np.arange(len(scores)), -np.where(usable, scores, 0.0)))]
    order = [i for i in order if usable[i]]
    if strata is None:
        kept = order[:num_keep]
    else:
        names = list(dict.fromkeys(strata))
        share = max(1, num_keep // max(len(names), 1))
        kept = [i for name in names for i in [j for j in order if strata[j] == name][:share]]
        rest = [i for i in order if i not in set(kept)]
        kept = sorted(kept + rest[: max(0, num_keep - len(kept))], key=order.index)
    dropped = [i for i in order if i not in set(kept)]
    audit: list[int] = []
    if num_audit and dropped:
        generator = rng or np.random.default_rng(0)
        chosen = generator.choice(len(dropped), min(num_audit, len(dropped)), replace=False)
        audit = sorted(dropped[i] for i in chosen)
    return kept, audit
