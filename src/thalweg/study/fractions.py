"""The winner trained again on parts of the training rows: what fewer rows would have cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from thalweg.study.engines import Engines, structure_of
from thalweg.study.records import Trial, finite
from thalweg.training.cohort import Cohort
from thalweg.training.feed import TrainingData
from thalweg.training.side_by_side import run_tasks

FRACTIONS = (0.125, 0.25, 0.5)
MOST_REPLICATES = 3
LEAST_ROWS = 16
"""Training rows of the smallest part at least; smaller parts are left out."""

LEAST_TRIALS = 40
"""A budget of fewer trials is not spent on parts of the rows."""


def num_trainings(replicates: int) -> int:
    """Return how many trainings ``train_on_fractions`` takes for so many replicates."""
    return len(FRACTIONS) * min(replicates, MOST_REPLICATES)


def part_of(data: TrainingData, fraction: float, seed: int) -> tuple[TrainingData, int]:
    """Return data that trains on a random part of the rows, and how many rows that is.

    The part is repeated up to the old number of rows: shapes, and with them the compiled program
    and the number of steps, stay the same. Smaller parts of a seed lie within larger ones.
    """
    num = data.num_rows
    size = max(1, round(fraction * num))
    order = np.random.default_rng([seed, 0xF4AC]).permutation(num)
    index = np.resize(order[:size], num)
    return replace(
        data,
        fields={name: values[index] for name, values in data.fields.items()},
        target=data.target[index],
        weight=None if data.weight is None else data.weight[index],
    ), size


def train_on_fractions(
    engines: Engines,
    replicates: Sequence[Trial],
    epochs: float,
    stop: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """Train the winner on parts of the rows, under the seeds (and folds) of its replicates.

    Each is judged on the rows that its replicate was judged on, at the best of equally many
    steps, so that the scores are paired with the replicates'.

    Args:
        engines: of the study.
        replicates: the winner's trials under fresh seeds.
        epochs: of a full training: passes over all rows.
        stop: asked between evaluations.

    Returns:
        ``[{"trial" (id of the replicate), "seed", "fold", "rows", "score"}]``, the replicates
        themselves with all rows included; empty where there are fewer than two replicates, too few
        rows, or rows that do not fit into memory several times.
    """
    chosen = [trial for trial in replicates if trial.status == "completed"][:MOST_REPLICATES]
    if len(chosen) < 2:
        return []
    structure = structure_of(chosen[0].config)
    base = engines.of(structure.external)
    if base.feed is not None or base.resident_bytes > 0.02 * base.memory:
        return []
    found, jobs = [], []
    for trial in chosen:
        data = engines.data if trial.fold is None else engines.folds[trial.fold]
        whole = data.num_rows
        found.append(_entry(trial, whole, trial.score))
        for fraction in FRACTIONS:
            if fraction * whole >= LEAST_ROWS:
                part, size = part_of(data, fraction, trial.seed)
                jobs.append((trial, part, size))
    for start in range(0, len(jobs), 2 * base.workers):
        cohorts = []
        for trial, part, size in jobs[start : start + 2 * base.workers]:
            engine = base.with_data(part)
            steps = engine.steps(structure, epochs)
            every = max(1, round(steps / engine.evaluations(epochs)))
            cohorts.append(
                (trial, size, Cohort(engine, [trial.config], [trial.seed], steps, every))
            )
        run_tasks(
            [task for _, _, c in cohorts for task in c.tasks(c.total_steps, stop)],
            None,
            base.workers,
        )
        if stop():
            return []
        for trial, size, cohort in cohorts:
            cohort.finish()
            found.append(_entry(trial, size, cohort.best_validation(0)))
    return found if len({entry["rows"] for entry in found}) > 1 else []


def _entry(trial: Trial, rows: int, score: float) -> dict[str, Any]:
    return {
        "trial": trial.id,
        "seed": trial.seed,
        "fold": trial.fold,
        "rows": rows,
        "score": finite(score),
    }
