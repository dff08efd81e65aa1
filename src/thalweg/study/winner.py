"""What is found out once the winner is known: its layers, and what the rows say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from thalweg.study import checks
from thalweg.study.ablations import train_variants
from thalweg.study.fractions import LEAST_TRIALS, train_on_fractions
from thalweg.study.inside import look_inside

if TYPE_CHECKING:
    from thalweg.data import Dataset
    from thalweg.study.loop import Study as Loop
    from thalweg.study.model import Model
    from thalweg.study.outcome import Outcome
    from thalweg.training.feed import TrainingData


def look_into_the_winner(
    loop: Loop, outcome: Outcome, interrupted: Callable[[], bool]
) -> dict[str, Any]:
    """Look into the winner's layers, and train it on parts of the rows and with one thing changed.

    Args:
        loop: that found it; a time budget has room for what its plan says, others for all of it
            with 40 trials.
        outcome: what it found.
        interrupted: whether the user wants to stop.

    Returns:
        ``layers``, ``fractions`` and ``ablations`` of the summary, those of them that there are.
    """
    time, epochs = loop.time, float(outcome.plan.get("epochs", loop.settings.epochs))
    timed = time.settings.budget.seconds is not None
    enough = not timed and len(outcome.trials) >= LEAST_TRIALS
    growth, ablation = (
        float(outcome.plan.get(f"{name}_seconds") or 0.0) for name in ("growth", "ablation")
    )
    reserve = time.reserve - ablation - growth
    found: dict[str, Any] = {}

    def stop() -> bool:
        return interrupted() or time.clock.left() < reserve

    if growth or ablation or enough:
        loop.listener.message(
            "looking into the winner: its layers, fewer rows, one thing changed at a time"
        )
    if growth or enough:
        reserve += ablation
        found["layers"] = look_inside(loop.engines, outcome.best, epochs, stop)
        found["fractions"] = train_on_fractions(loop.engines, outcome.replicates, epochs, stop)
        reserve -= ablation
    if ablation or enough:
        found["ablations"] = train_variants(loop.engines, outcome.replicates, epochs, stop)
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
