"""What is found out once the winner is known: its layers, and what the rows say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from thalweg.study import checks
from thalweg.study.fractions import LEAST_TRIALS, train_on_fractions
from thalweg.study.inside import look_inside

if TYPE_CHECKING:
    from thalweg.data import Dataset
    from thalweg.study.loop import Study as Loop
    from thalweg.study.model import Model
    from thalweg.study.outcome import Outcome
    from thalweg.training.cohort import TrainingData


def look_into_the_winner(
    loop: Loop, outcome: Outcome, interrupted: Callable[[], bool]
) -> dict[str, Any]:
    """Train the winner on parts of the rows and look into its layers, as far as there is room.

    Args:
        loop: that found it; a time budget has room where its plan says so, others with 40 trials.
        outcome: what it found.
        interrupted: whether the user wants to stop.

    Returns:
        ``layers`` and ``fractions`` of the summary, those of them that there are.
    """
    time, epochs = loop.time, float(outcome.plan.get("epochs", loop.settings.epochs))
    planned = float(outcome.plan.get("growth_seconds") or 0.0)
    timed = time.settings.budget.seconds is not None
    if not planned if timed else len(outcome.trials) < LEAST_TRIALS:
        return {}
    reserve = time.reserve - planned

    def stop() -> bool:
        return interrupted() or time.clock.left() < reserve

    found = {
        "layers": look_inside(loop.engines, outcome.best, epochs, stop),
        "fractions": train_on_fractions(loop.engines, outcome.replicates, epochs, stop),
    }
    return {name: value for name, value in found.items() if value}


def arrays_of_the_rows(
    dataset: Dataset,
    model: Model,
    outcome: Outcome,
    explored: TrainingData,
    folds: Sequence[TrainingData],
    refit: bool,
) -> dict[str, Any]:
    """Return what ``evidence.rows.row_findings`` asks for, by its names.

    Args:
        dataset: what was trained on.
        model: what is handed over.
        outcome: of the loop.
        explored: the arrays that were explored on.
        folds: those that finalists were compared on.
        refit: whether the winner was trained again: then it has seen the rows that it would be
            asked about.
    """
    held = None if refit else checks.held_predictions(dataset, model, outcome, explored, folds)
    return {
        "keys": checks.row_keys(dataset),
        "columns": checks.native_columns(dataset),
        "targets": checks.plain_targets(dataset),
        "held": held,
        "kind": dataset.task.kind,
    }
