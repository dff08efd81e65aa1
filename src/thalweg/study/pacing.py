"""How many trainings a time budget has room for, and how long they may be.

Everything here is arithmetic on *member-epochs* (one member, once over its training rows), but for
the measurement of what one costs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from thalweg.search.halving import num_rungs_for, rungs
from thalweg.study.records import Trial
from thalweg.study.settings import Settings
from thalweg.training.cohort import Cohort

MAX_BRACKET = 1024
_SIZES = (*range(MAX_BRACKET, 64, -8), *range(64, 0, -1))
BRACKET_SIZES = (24, 12, 6, 3)
"""Configs that the first bracket should have; fewer where trainings would get too short."""

SEVERAL_SHARE = 0.5
"""Share of the time that the first bracket may take."""

DEAR_SHARE = 0.75
"""The same where trainings are dear, so that it is the only one."""

CONFIRM_SHARE = 0.3
"""Share of the time that confirming may take at most."""

LONG_PILOT_SECONDS = 1.0
LONG_EVALUATION_SECONDS = 4.0
"""Beside so much warming up is nothing, and measuring again costs more than it tells."""


def member_epoch_seconds(
    cohort: Cohort, num_members: int, pool: ThreadPoolExecutor | None
) -> float:
    """Measure the seconds of one member's epoch, its share of evaluations included."""

    def timed(steps: int) -> float:
        start = time.perf_counter()
        cohort.advance(steps, pool)
        return time.perf_counter() - start

    steps_per_epoch = cohort.engine.data.num_rows / cohort.batch_size
    every = cohort.steps_per_evaluation
    # The first call warms up; only later ones are what training costs.
    first = timed(1)
    steps = min(every, cohort.plan.table_steps)
    if first * steps > LONG_PILOT_SECONDS:
        # Some steps tell what one costs; an evaluation is what is left of a call. As many
        # steps as it takes to tell them from the noise of the evaluation.
        long = first > LONG_EVALUATION_SECONDS
        # What is measured too long here would be taken from the steps: the shorter of two.
        short = first if long else min(timed(1), timed(1))
        num, took = 4 if long else 1, short
        while took < short + 0.5 * LONG_PILOT_SECONDS and num < every:
            num = min(4 * num, every)
            took = timed(num)
        step = max(took - short, 0.1 * took) / max(num - 1, 1)
        evaluation = max(short - step, 0.0)
        return (step * steps_per_epoch + evaluation * steps_per_epoch / every) / num_members
    timed(steps)
    return timed(steps) * steps_per_epoch / (steps * num_members)


def part_of_way(first: int, last: int, part: float, every: int) -> int:
    """Return the last evaluation within a part of the way from one step to another.

    Args:
        first: step where the way begins.
        last: step where it ends.
        part: of the way, below 1.
        every: steps between evaluations.
    """
    return int((first + part * (last - first)) // every) * every


def bracket_size(
    settings: Settings, member_epochs: float, epochs: float, most: int, workers: int = 1
) -> int:
    """Return how many Configs a bracket of so many member-epochs can start with.

    Args:
        settings: of the study.
        member_epochs: what there is to spend.
        epochs: of a full training.
        most: members that fit into memory at once.
        workers: members that train side by side: fewer take as much of the time.
    """
    # A Config more may make room for many: from some number on there is one rung more.
    costs = ((n, _cost(settings, n, epochs, workers)) for n in _SIZES)
    return min(most, next((n for n, cost in costs if cost <= member_epochs), 1))


def _cost(settings: Settings, size: int, epochs: float, workers: int) -> float:
    """Return the member-epochs of a bracket that so many Configs start."""
    factor = settings.reduction_factor
    count = num_rungs_for(size, epochs, factor, settings.shortest_rung)
    cost, before = 0.0, 0.0
    for rung, level in enumerate(rungs(epochs, factor, count if settings.halving else 1)):
        cost += max(size / factor**rung, workers) * (level - before)
        before = level
    return cost


def full_training(
    settings: Settings, member_epochs: float, most: int, workers: int = 1
) -> tuple[float, int]:
    """Return the epochs of a full training, and the Configs of the first bracket.

    Two dozen Configs, if need be with shorter trainings; where these would get too short, fewer
    Configs. The last resort are trainings shorter than one would like: they come to their end.

    Args:
        settings: of the study.
        member_epochs: what there is to spend in all.
        most: members that fit into memory at once.
        workers: members that train side by side.
    """
    epochs, wanted = settings.epochs, BRACKET_SIZES[0]
    for wanted in BRACKET_SIZES:
        epochs = settings.epochs
        least = min(settings.least_epochs if wanted > BRACKET_SIZES[-1] else 0.5, epochs)
        share = SEVERAL_SHARE if wanted == BRACKET_SIZES[0] else DEAR_SHARE
        room = share * member_epochs

        def fitting(epochs: float, room: float = room) -> int:
            return bracket_size(settings, room, epochs, most, workers)

        while epochs > least and fitting(epochs) < wanted:
            epochs = max(least, epochs / 1.25)
        if fitting(epochs) >= wanted:
            break
    return epochs, wanted


def confirmation_seconds(settings: Settings, training: float, limit: float) -> float:
    """Return the seconds to set aside for confirming.

    Args:
        settings: of the study.
        training: seconds of a full training.
        limit: what may be set aside at most.
    """
    if 2.8 * training > limit:
        # Not even two seeds of one finalist: better to explore well.
        return 0.0
    most = max(settings.num_finalists, settings.most_finalists)
    return min(1.4 * most * settings.num_replicates * training, limit)


def affordable_finalists(
    settings: Settings, trainings: float, ranked: Sequence[Trial]
) -> tuple[list[Trial], int]:
    """Return the finalists, and their replicates, that the time left pays for.

    Room for more is spent on more finalists (their order in the exploration is partly luck); too
    little room on fewer replicates of the usual number.

    Args:
        settings: of the study.
        trainings: full trainings that there is time for.
        ranked: trials, best first.
    """
    if settings.num_finalists == 0 or settings.num_replicates == 0:
        return [], 0
    runs = int(trainings / 1.3)
    most = max(settings.num_finalists, settings.most_finalists)
    num = min(most, max(settings.num_finalists, runs // settings.num_replicates))
    if runs < 2 * num:
        num = max(1, runs // settings.num_replicates)
    finalists = list(ranked[:num])
    if not finalists or runs < 2:
        return [], 0
    return finalists, min(settings.num_replicates, runs // len(finalists))
