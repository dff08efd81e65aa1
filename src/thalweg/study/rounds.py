"""How many configurations the next round has, and when there have been enough.

Everything here follows from the settings and the trials that there are, so that a study that goes
on after a break decides what it would have decided without one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from thalweg.search import LEARNING
from thalweg.search.halving import num_rungs_for
from thalweg.study.pacing import (
    BRACKET_SIZES,
    CONFIRM_SHARE,
    bracket_size,
    confirmation_seconds,
)
from thalweg.study.records import Phase, Trial
from thalweg.study.settings import Settings

FIRST_SHARE = 0.4
"""Share of the trials that explore, where a searcher learns from them what to refine."""

LATER_SHARE = 0.2
MIN_ROUND = 8
OPEN_ROUND = BRACKET_SIZES[0]
"""Configs of a round where the number of trials is open."""

PATIENCE_TRIALS = 3 * OPEN_ROUND
MOST_TRIALS = 10_000
EXPLORE_SHARE = 0.45


def searched(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials of the search: all but the finalists' replicates."""
    return [t for t in trials if t.phase != "confirm"]


def phase_of(settings: Settings, trials: Sequence[Trial]) -> Phase:
    """Return whether the next round explores, or refines what was found."""
    return "refine" if settings.search in LEARNING and searched(trials) else "explore"


def most_to_explore(settings: Settings, finalists: int) -> float:
    """Return how many trials the search may have; infinite where only epochs or progress count."""
    budget = settings.budget
    if budget.trials is None and (budget.epochs is not None or budget.until_stalled):
        return MOST_TRIALS if budget.until_stalled else math.inf
    total = budget.trials or settings.default_trials
    return total - finalists * settings.num_replicates


def next_round(
    settings: Settings, trials: Sequence[Trial], explore: float, most: int
) -> tuple[int, str]:
    """Return how many Configs the next round has, and why there is none where that is 0.

    Args:
        settings: of the study.
        trials: all trials so far.
        explore: trials that the search may have.
        most: members that fit into memory at once.
    """
    done = searched(trials)
    if settings.budget.until_stalled and (why := stalled(done, PATIENCE_TRIALS)):
        return 0, why
    left = explore - len(done)
    if left < 1:
        return 0, f"all {len(trials)} trials are done"
    size = left
    if math.isinf(explore) or settings.budget.until_stalled:
        size = min(left, OPEN_ROUND)
    elif settings.search in LEARNING:
        # What learns from scores is asked again when it has some.
        share = LATER_SHARE if done else FIRST_SHARE
        size = min(left, max(MIN_ROUND, math.ceil(share * explore)))
    if settings.budget.epochs is not None:
        size = min(size, _epochs_size(settings, done, most))
        if size < 1 or (done and size < 4):
            spent = sum(t.epochs for t in done)
            return 0, f"{spent:.0f} of {settings.budget.epochs:g} epochs are spent on searching"
    return int(min(size, most)), ""


def _epochs_size(settings: Settings, done: Sequence[Trial], most: int) -> int:
    limit = settings.budget.epochs or math.inf
    aside = confirmation_seconds(settings, settings.epochs, CONFIRM_SHARE * limit)
    left = limit - aside - sum(t.epochs for t in done)
    if left <= 0:
        return 0
    share = EXPLORE_SHARE * left
    size = bracket_size(settings, share, settings.epochs, most)
    return size if size >= MIN_ROUND else bracket_size(settings, left, settings.epochs, most)


def stalled(trials: Sequence[Trial], patience: int) -> str:
    """Return why the search has stopped improving, or nothing where it has not.

    Args:
        trials: of the search, in the order in which they began.
        patience: as many trials in a row must not have been better than the best before them.
    """
    scored = [t for t in trials if math.isfinite(t.score)]
    if len(trials) < 2 * patience or not scored:
        return ""
    best = max(scored, key=lambda t: (t.rank, -t.id))
    after = sum(t.id > best.id for t in trials)
    if after < patience:
        return ""
    rivals = [t for t in scored if t.id > best.id]
    near = max(rivals, key=lambda t: t.rank, default=None)
    closest = f"; the best of them scored {near.score:.4g}" if near is not None else ""
    return (
        f"the search has stopped improving: trial {best.id} scored {best.score:.4g}, and none of "
        f"the {after} after it was better{closest}"
    )


def num_rungs(settings: Settings, trials: Sequence[Trial], num: int, epochs: float) -> int:
    """Return how many rungs a bracket has.

    A later, smaller bracket has as many as the largest before it: its Configs are not owed longer
    trainings for being fewer. With Hyperband the first judgement comes one rung later from bracket
    to bracket, so that slow starters get their chance too.

    Args:
        settings: of the study.
        trials: all trials so far.
        num: Configs of the bracket.
        epochs: of a full training.
    """
    if not settings.halving:
        return 1
    factor, shortest = settings.reduction_factor, settings.shortest_rung
    most = num_rungs_for(num, epochs, factor, shortest)
    before = max((t.rung + 1 for t in searched(trials)), default=1)
    most = max(most, min(before, num_rungs_for(10**9, epochs, factor, shortest)))
    if settings.brackets == "hyperband":
        return most - _brackets(trials) % most
    return most


def _brackets(trials: Sequence[Trial]) -> int:
    """Return how many brackets there were."""
    return len({t.bracket for t in searched(trials)})
