"""Training arrays with Thalweg's engine, timed like the peers' loops: no search, no report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from protocol import clock

from thalweg.models import InputShape
from thalweg.space import Config
from thalweg.task import Task
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.scalars import features_of

WARM_UP_SEED = 1_000_003  # one that no repetition has: nothing it leaves in memory can be reused


def train(
    x: np.ndarray,
    y: np.ndarray,
    task: Task,
    configs: Sequence[Config],
    seed: int,
    steps: int,
    *,
    judge: int = 100,
    inputs: InputShape | None = None,
    warm_up: int | None = None,
) -> tuple[float, float, Cohort]:
    """Train a cohort for ``steps`` steps, once to compile everything and once for the clock.

    The first ``judge`` training rows are scored at the end, within the time. All members share
    one seed.

    Args:
        x: training rows, of whatever ``inputs`` says.
        y: targets.
        task: what is predicted.
        configs: one for each member.
        seed: of all of them.
        steps: optimizer steps.
        judge: see above.
        inputs: what ``x`` is: an image or a sequence; by default columns.
        warm_up: steps of the first training, where the whole is more than warms up.

    Returns:
        Seconds of the work, seconds of what came before it once, and the trained cohort.
    """
    lap = clock()
    inputs = inputs or InputShape(x.shape[1])
    field = "image" if inputs.image else "sequence" if inputs.sequence else "numeric"
    judged = {field: x[:judge]}, y[:judge]
    engine = Engine(
        TrainingData({field: x}, y, *judged),
        task,
        inputs,
        features_of(configs, task),
    )

    def fresh(seed: int) -> Cohort:
        return Cohort(engine, configs, [seed] * len(configs), steps, steps, alone=True)

    fresh(WARM_UP_SEED).advance(warm_up or steps)
    compile_seconds = lap()
    cohort = fresh(seed)
    lap()
    cohort.advance(steps)
    return lap(), compile_seconds, cohort
