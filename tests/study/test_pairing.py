"""Two models on the same rows: the error of their difference, against drawing rows again."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from thalweg.study.pairing import paired_error
from thalweg.task import Task

ROWS = 400


def resampled(score, ours: np.ndarray, theirs: np.ndarray, truth: np.ndarray) -> float:
    """Return the standard deviation of the difference over bootstrap samples of the rows."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(400):
        rows = rng.integers(0, len(truth), len(truth))
        found.append(score(truth[rows], ours[rows]) - score(truth[rows], theirs[rows]))
    return float(np.std(found))


@pytest.mark.parametrize("metric", ["rmse", "mse", "mae"])
def test_of_predictions(metric: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(ROWS, 1))
    common = rng.normal(size=(ROWS, 1))
    ours, theirs = (truth + common + 0.3 * rng.normal(size=(ROWS, 1)) for _ in range(2))
    score = {
        "rmse": metrics.root_mean_squared_error,
        "mse": metrics.mean_squared_error,
        "mae": metrics.mean_absolute_error,
    }[metric]
    task = Task("regression", ("y",), metric=metric)
    found = paired_error(task, ours, theirs, truth)
    assert found == pytest.approx(resampled(score, ours, theirs, truth), rel=0.15)


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_of_classes(metric: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, ROWS)
    base = 2.0 * np.eye(3)[truth] + 2.0 * rng.normal(size=(ROWS, 3))
    both = [np.exp(base + 0.5 * rng.normal(size=(ROWS, 3))) for _ in range(2)]
    ours, theirs = (p / p.sum(1, keepdims=True) for p in both)

    def accuracy(truth: np.ndarray, p: np.ndarray) -> float:
        return metrics.accuracy_score(truth, p.argmax(1))

    def log_loss(truth: np.ndarray, p: np.ndarray) -> float:
        return metrics.log_loss(truth, p, labels=[0, 1, 2])

    score = {"accuracy": accuracy, "log_loss": log_loss}[metric]
    task = Task("multiclass", ("y",), (0, 1, 2), metric=metric)
    found = paired_error(task, ours, theirs, truth)
    assert found == pytest.approx(resampled(score, ours, theirs, truth), rel=0.15)


def test_what_is_no_mean_over_rows_has_none() -> None:
    outputs = np.full((4, 2), 0.5)
    task = Task("binary", ("y",), (0, 1), metric="roc_auc")
    assert paired_error(task, outputs, outputs, np.array([0, 1, 0, 1])) is None
