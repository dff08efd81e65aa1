"""Keras on a chosen backend, and warming a model up without training it."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import numpy as np


def load(backend: str, seed: int) -> ModuleType:
    """Import Keras on ``backend`` (which can be chosen only before the import) and seed it."""
    if find_spec(backend) is None:
        raise ModuleNotFoundError(f"No module named {backend!r}")
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = import_module("keras")
    keras.utils.set_random_seed(seed)
    return keras


def warm_up(model, x: np.ndarray, y: np.ndarray, batch_size: int) -> None:
    """Fit on a few batches, so that everything is traced and compiled, and undo the training."""
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(v) if v.dtype != "string" else None for v in variables]
    model.fit(x, y, batch_size=batch_size, verbose=0)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
