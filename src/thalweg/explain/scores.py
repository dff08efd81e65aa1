"""Which number of a prediction is explained, on the host and within a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.errors import OptionError, unknown_option
from thalweg.optim.losses import predict_outputs

PREDICTION, LOGIT = "prediction", "logit"
"""What gradients are taken of: probabilities (or values), or logits, which never saturate."""


@dataclass(frozen=True, eq=False)
class Asked:
    """The number that is explained for each row: Σ_o weights[o] · outputs[o].

    Args:
        weights: float64 [N, O]; O as of ``Model.outputs``.
        labels: what it is, for each row: a class, or the name of a target.
        unit: ``"probability"``, or ``"value"``.
    """

    weights: np.ndarray
    labels: list[Any]
    unit: str

    def of(self, outputs: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the numbers [K] of outputs [K, O] that belong to some rows (all by default)."""
        weights = self.weights if rows is None else self.weights[rows]
        return np.asarray((outputs * weights).sum(-1))


def asked(task: Any, outputs: np.ndarray, target: Any = None) -> Asked:
    """Choose what is explained.

    Args:
        task: what the model predicts.
        outputs: of the rows, as ``Model.outputs`` returns them [N, O].
        target: a class, or the name of a target. By default the second of two classes, the
            likeliest of many, and the first target; of forecasts the mean over the horizon.

    Raises:
        OptionError: there is no such class or target.
    """
    num, width = outputs.shape
    weights = np.zeros((num, width))
    if task.kind == "regression":
        names = [str(name) for name in task.targets]
        if target is not None and str(target) not in names:
            raise unknown_option("the target to explain", target, names)
        index = 0 if target is None else names.index(str(target))
        # Forecasts stand step by step, all targets of a step together.
        weights[:, index :: len(names)] = 1.0 / max(1, task.horizon)
        return Asked(weights, [task.targets[index]] * num, "value")
    classes = [str(label) for label in task.classes]
    if target is not None and str(target) not in classes:
        raise unknown_option("the class to explain", target, classes)
    if target is not None:
        chosen = np.full(num, classes.index(str(target)))
    else:
        chosen = np.ones(num, int) if task.kind == "binary" else outputs.argmax(1)
    weights[np.arange(num), chosen] = 1.0
    return Asked(weights, [task.classes[i] for i in chosen], "probability")


def check_rows_task(task: Any) -> None:
    """Make sure that a model predicts some numbers or a class for each row.

    Raises:
        OptionError: it does not.
    """
    if task.kind not in ("regression", "binary", "multiclass"):
        raise OptionError(
            f"explanations are of numbers and classes; a {task.kind} model has other outputs"
        )


def score_of(kind: str, loss: str, raw: Array, weights: Array, link: str) -> Array:
    """Return the numbers [N] that are explained, from a network's raw outputs, up to a constant.

    Args:
        kind: kind of the task.
        loss: the network's loss.
        raw: its outputs [N, O'].
        weights: of the predictions [N, O]; those of regression in the units of the outputs.
        link: ``PREDICTION`` or ``LOGIT``.
    """
    if kind == "binary":
        half = weights[:, 1] - weights[:, 0]
        if link == LOGIT:
            return raw[:, 0] * half
        return predict_outputs(kind, raw, loss) * half
    if kind == "multiclass" and link == LOGIT:
        return jnp.sum(raw * weights, axis=-1)
    return jnp.sum(predict_outputs(kind, raw, loss) * weights, axis=-1)


def raw_weights(model: Any, chosen: Asked, loss: str) -> np.ndarray:
    """Return the weights on a network's predictions, float32 [N, O]: the user's units taken in."""
    if model.task.kind != "regression" or loss == "poisson":
        return chosen.weights.astype(np.float32)
    scale = np.asarray(model.encoder.target.scale, np.float64)
    return (chosen.weights * scale).astype(np.float32)


def select(fields: Mapping[str, np.ndarray], rows: Any) -> dict[str, np.ndarray]:
    """Return some rows of all fields."""
    return {name: np.asarray(values[rows]) for name, values in fields.items()}
