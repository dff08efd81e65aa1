"""The winner trained once more and looked into: gradients and dead units of its layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from thalweg.optim.external import EXTERNAL
from thalweg.study.engines import Engines, structure_of
from thalweg.study.records import Trial, finite
from thalweg.training.cohort import Cohort
from thalweg.training.probe import Prober

LOOKS = 8
COMPILE_SECONDS = 2.0
"""What compiling the probe may take."""


def look_inside(
    engines: Engines, trial: Trial, epochs: float, stop: Callable[[], bool] = lambda: False
) -> dict[str, Any] | None:
    """Return the gradients and dead units of a trial's layers over its training.

    Args:
        engines: of the study.
        trial: what is trained again, under its seed (and fold).
        epochs: of a full training.
        stop: asked between evaluations.

    Returns:
        ``{"trial", "step": [...], "layers": [{"name", "gradient": [...], "weight": [...], "dead":
        [...]}]}`` in the order of the layers, the first look before the first step; None where it
        was stopped, or the rows do not fit into memory.
    """
    structure = structure_of(trial.config)
    engine = engines.of_fold(structure.external, trial.fold)
    if engine.feed is not None:
        return None
    steps = engine.steps(structure, epochs)
    cohort = Cohort(
        engine,
        [trial.config],
        [trial.seed],
        steps,
        max(1, round(steps / engine.evaluations(epochs))),
    )
    prober = Prober(engine, trial.config, tuple(EXTERNAL))
    if not prober.kernels:
        return None
    at, seen = [0], [prober.measure(*cohort.weights(0, best=False))]
    # Early steps change most: looks at 1/128, 1/64, … 1/2 and all of the training.
    for step in sorted({max(1, round(steps / 2**k)) for k in range(LOOKS)}):
        cohort.advance(step - cohort.step, None, stop)
        if stop():
            return None
        if not cohort.alive[0]:
            break
        at.append(step)
        seen.append(prober.measure(*cohort.weights(0, best=False)))
    return {
        "trial": trial.id,
        "step": at,
        "layers": [
            {
                "name": name.removesuffix("/kernel"),
                "gradient": [_known(look.gradient[name]) for look in seen],
                "weight": [_known(look.weight[name]) for look in seen],
                "dead": [_known(look.dead[name]) for look in seen],
            }
            for name in prober.kernels
        ],
    }


def _known(value: float) -> float | None:
    return finite(value) if np.isfinite(value) else None
