"""How surely rows tell two models apart that were scored on the same ones."""

from __future__ import annotations

import numpy as np

from thalweg.study.calibration import row_losses
from thalweg.task import Task

PAIRED_KINDS = ("regression", "binary", "multiclass")
"""Tasks whose rows are told apart."""


def paired_error(
    task: Task,
    ours: np.ndarray,
    theirs: np.ndarray,
    truth: np.ndarray,
    threshold: float | None = None,
) -> float | None:
    """Return the standard error of the difference of two scores on the same rows.

    Where both are wrong by the same rows, much of either score's own error cancels.

    Args:
        task: what is predicted; its metric is what both are scored by.
        ours: outputs of one model, probabilities [N, C] or predictions [N, 1].
        theirs: outputs of the other.
        truth: classes [N] or distributions [N, C], or true values [N, 1].
        threshold: probability from which our model chooses class 1, where it is not 1/2.

    Returns:
        The error; None where the metric is no mean over rows, nor the root of one.
    """
    parts = [
        _parts(task, outputs, truth, cut) for outputs, cut in ((ours, threshold), (theirs, None))
    ]
    if len(truth) < 2 or parts[0] is None or parts[1] is None:
        return None
    return float(np.std(parts[0] - parts[1], ddof=1) / np.sqrt(len(truth)))


def _parts(
    task: Task, outputs: np.ndarray, truth: np.ndarray, threshold: float | None
) -> np.ndarray | None:
    """Return what each row adds to the score, times their number, but for a constant; [N]."""
    if task.kind == "regression" and outputs.ndim == 2 and outputs.shape[1] == 1:
        error = outputs[:, 0].astype(np.float64) - truth.reshape(len(truth), -1)[:, 0]
        if task.metric == "mae":
            return np.abs(error)
        if task.metric == "mse":
            return error**2
        if task.metric == "rmse":
            # The root's own slope: d sqrt(m) = dm / (2 sqrt(m)).
            return error**2 / max(2.0 * float(np.sqrt(np.mean(error**2))), 1e-12)
    if task.kind in ("binary", "multiclass") and outputs.ndim == 2:
        if task.metric == "log_loss":
            return row_losses(outputs, truth)
        if task.metric == "accuracy" and truth.ndim == 1:
            chosen = outputs.argmax(1)
            if threshold is not None:
                chosen = (outputs[:, 1] >= threshold).astype(int)
            return (chosen == truth).astype(np.float64)
    return None
