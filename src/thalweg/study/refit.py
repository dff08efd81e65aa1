"""Training the winner once more, on training and validation rows together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thalweg.models import InputShape
from thalweg.optim.external import EXTERNAL
from thalweg.study.outcome import Weights
from thalweg.study.records import Trial
from thalweg.task import Task
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.scalars import features_of


def refit(
    data: TrainingData,
    task: Task,
    inputs: InputShape,
    replicates: Sequence[Trial],
    epochs: float,
) -> list[Weights]:
    """Return new weights for the winner's replicates.

    There is nothing left to stop early by: each is trained for the share of a full training after
    which the replicates had their best validation scores on average, and the last weights count.

    Args:
        data: all rows to train on; its validation rows are only looked at, and choose nothing.
        task: what is predicted.
        inputs: what the networks read.
        replicates: the trials to repeat; all of one Config.
        epochs: epochs of a full training.
    """
    configs = [trial.config for trial in replicates]
    engine = Engine(
        data, task, inputs, features_of(configs, task, row_weight=data.weight is not None)
    )
    structure = configs[0].structure(tuple(EXTERNAL))
    total = engine.steps(structure, epochs)
    share = float(np.mean([trial.best_step / max(trial.steps, 1) for trial in replicates]))
    cohort = Cohort(
        engine,
        configs,
        [trial.seed for trial in replicates],
        total,
        max(1, total // engine.evaluations(epochs)),
        alone=True,
    )
    cohort.advance(max(1, round(share * total)))
    found = []
    for member in range(len(configs)):
        params, state = cohort.weights(member, best=not cohort.alive[member])
        found.append(Weights(structure, params, state))
    return found
