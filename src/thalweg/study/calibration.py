"""Right probabilities and intervals: one number fitted on rows that no network was trained on.

Classes: temperature scaling, p_c ∝ p_c^(1/T). T above 1 makes a model less sure; which class is
predicted never changes. Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural
Networks", 2017. (Powers of probabilities are logits over T for one network, and are defined for the
mean of several.)

Numbers: split conformal intervals ŷ ± r, where r is the ⌈(n + 1) · level⌉-th smallest of n held-out
absolute errors. They hold the truth in a share ``level`` of new rows, whatever the distribution, as
long as those come from the same one; their width is the same for every row. Source: Lei, G'Sell,
Rinaldo, Tibshirani and Wasserman, "Distribution-Free Predictive Inference for Regression", 2018;
errors out of fold: Barber, Candès, Ramdas and Tibshirani, "Predictive Inference with the
Jackknife+", 2021.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.errors import OptionError

LEVELS = tuple(round(0.01 * percent, 2) for percent in range(50, 100))
"""Levels of intervals that are kept."""

MOST_ROWS, MOST_NUMBERS = 20_000, 200_000
"""Held-out rows, and outputs in all, that are looked at; more of them would only cost time."""

_SMALLEST = 1e-12
_FOLDS = 5


@dataclass(frozen=True)
class Calibration:
    """What was fitted.

    Args:
        temperature: classes: T; None for numbers.
        radius: numbers: half width of the interval for each of ``LEVELS`` and each output, in the
            user's units, infinite where there were too few rows; empty for classes.
        num_rows: held-out rows that it was fitted on.
    """

    temperature: float | None = None
    radius: tuple[tuple[float, ...], ...] = ()
    num_rows: int = 0

    def radius_of(self, level: float) -> np.ndarray:
        """Return the half width of the interval of a level for each output [O].

        Raises:
            OptionError: the level is none, or there were too few rows for it.
        """
        if not self.radius:
            raise OptionError("intervals are for regression and forecasts: leave interval out")
        if not LEVELS[0] <= level <= LEVELS[-1]:
            raise OptionError(
                f"an interval's level must be from {LEVELS[0]} to {LEVELS[-1]}; got {level:g}"
            )
        # Between two levels the wider one: it covers at least as often.
        place = next(i for i, known in enumerate(LEVELS) if known >= level - 1e-9)
        found = np.asarray(self.radius[place], np.float64)
        if not np.isfinite(found).all():
            raise OptionError(
                f"an interval of {level:g} needs {needed_rows(level)} held-out rows; the model had "
                f"{self.num_rows}: take a lower level, or give more validation rows"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        radius = [[r if math.isfinite(r) else None for r in row] for row in self.radius]
        return {"temperature": self.temperature, "radius": radius, "num_rows": self.num_rows}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Calibration:
        """Rebuild from ``to_dict``."""
        radius = tuple(
            tuple(math.inf if r is None else float(r) for r in row) for row in record["radius"]
        )
        return cls(record["temperature"], radius, record["num_rows"])


def needed_rows(level: float) -> int:
    """Return the least number of held-out rows from which an interval of a level is finite."""
    return math.ceil(level / (1.0 - level) - 1e-9)


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities [N, C] to the power 1/T, summing to 1."""
    logs = np.log(np.maximum(probabilities, _SMALLEST)) / temperature
    grown = np.exp(logs - logs.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)


def row_losses(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the log loss of each row [N]; the truth is a class [N] or a distribution [N, C]."""
    logs = -np.log(np.maximum(probabilities, _SMALLEST))
    if truth.ndim == 2:
        return (truth * logs).sum(1)
    return logs[np.arange(len(truth)), truth.astype(int)]


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature with the least log loss, between 1/20 and 20.

    Args:
        probabilities: of held-out rows [N, C].
        truth: class [N] or distribution [N, C].
    """
    from scipy.optimize import minimize_scalar

    logs = np.log(np.maximum(probabilities, _SMALLEST))
    right = logs * truth if truth.ndim == 2 else logs[np.arange(len(truth)), truth.astype(int)]
    right = right.sum(1) if right.ndim == 2 else right

    def loss(log_temperature: float) -> float:
        # −log of the tempered probability of the truth: logsumexp(log p / T) − log p_truth / T.
        scaled = logs * math.exp(-log_temperature)
        top = scaled.max(1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(1))
        return float((total - right * math.exp(-log_temperature)).mean())

    reach = math.log(20.0)
    found = minimize_scalar(loss, bounds=(-reach, reach), method="bounded", options={"xatol": 1e-3})
    return float(math.exp(found.x))


def temperature_gain(
    probabilities: np.ndarray, truth: np.ndarray, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Return what a temperature takes off the log loss, with its 95 % interval.

    Each row is scored with the temperature that the other four fifths of the rows give.
    """
    fold = np.random.default_rng([0xCA1, seed]).permutation(np.arange(len(truth)) % _FOLDS)
    gain = np.zeros(len(truth))
    for k in range(min(_FOLDS, len(truth))):
        inside, outside = fold == k, fold != k
        if not outside.any():
            continue
        temperature = fit_temperature(probabilities[outside], truth[outside])
        after = row_losses(tempered(probabilities[inside], temperature), truth[inside])
        gain[inside] = row_losses(probabilities[inside], truth[inside]) - after
    mean = float(gain.mean())
    margin = 1.96 * float(gain.std(ddof=1)) / math.sqrt(len(gain)) if len(gain) > 1 else math.inf
    return mean, (mean - margin, mean + margin)


def conformal_radius(errors: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Return the half widths of intervals from held-out absolute errors [N, O], for each level."""
    ordered = np.sort(np.asarray(errors, np.float64), axis=0)
    num = len(ordered)
    rows = []
    for level in LEVELS:
        rank = math.ceil((num + 1) * level - 1e-9)
        rows.append(
            tuple(ordered[rank - 1].tolist()) if rank <= num else (math.inf,) * ordered.shape[1]
        )
    return tuple(rows)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of rows that no network was trained on.

    Args:
        outputs: as ``Model.outputs`` returns them [N, O].
        truth: classes [N], distributions [N, C], or values in the user's units [N, O].
    """

    outputs: np.ndarray
    truth: np.ndarray


def held_out_outputs(pairs: Sequence[tuple[Any, Any]]) -> HeldOut:
    """Return the predictions of networks for the rows that each was not trained on.

    Args:
        pairs: models with the training data whose validation rows they have not seen, as
            ``summary.held_out`` returns them.
    """
    outputs, truth = [], []
    for model, rows in pairs:
        num = len(rows.validation_target)
        most = min(MOST_ROWS, max(1, MOST_NUMBERS // max(1, model.task.num_outputs)))
        some = np.arange(num)
        if num > most:
            some = np.sort(np.random.default_rng(0xCA1).permutation(num)[:most])
        outputs.append(model.outputs({n: v[some] for n, v in rows.validation_fields.items()}))
        target = np.asarray(rows.validation_target[some])
        if model.task.kind == "regression":
            target = model.encoder.target.inverse(target.astype(np.float64))
            target = target.reshape(len(target), -1)
        truth.append(target)
    return HeldOut(np.concatenate(outputs), np.concatenate(truth))


def fit_calibration(kind: str, held: HeldOut | None) -> Calibration | None:
    """Fit a temperature or intervals; None for tasks that have neither.

    Args:
        kind: kind of the task.
        held: predictions of held-out rows, if there are any.
    """
    num = 0 if held is None else len(held.truth)
    if held is None or num < 2 or not np.isfinite(held.outputs).all():
        return None
    if kind in ("binary", "multiclass"):
        return Calibration(fit_temperature(held.outputs, held.truth), (), num)
    if kind == "regression":
        return Calibration(None, conformal_radius(np.abs(held.outputs - held.truth)), num)
    return None
