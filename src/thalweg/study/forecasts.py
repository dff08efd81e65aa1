"""What the report draws of forecasts: a few test windows, with truth and the naive forecast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.data import Dataset, Part

MAX_WINDOWS = 4
MAX_STEPS = 150
LONGEST_SHORT = 3
"""Forecasts of up to so many steps are drawn one after the other, as one line."""


def forecast_windows(dataset: Dataset, outputs: np.ndarray) -> dict[str, Any] | None:
    """Return forecasts over truth for some test windows; None where nothing is forecast.

    Args:
        dataset: series.
        outputs: the model's forecasts for the test windows in the user's units [N, H · V].

    Returns:
        ``split``; ``step``, what a step of time is; ``naive``, the name of the naive forecast;
        ``rolling``, whether a line is the forecasts of many windows, one step ahead of each, rather
        than the steps of one; ``windows``, at most four: ``title``, ``context`` (the past, oldest
        first), ``truth``, ``forecast`` and ``naive`` (step by step).
    """
    part, horizon = dataset.test, dataset.task.horizon
    if horizon < 1 or not len(part) or "sequence" not in part.fields:
        return None
    naive, name = _naive(dataset, part)
    truth = dataset.raw_target(part)
    lines = {"truth": truth, "forecast": np.asarray(outputs), "naive": naive}
    num_targets = truth.shape[1] // horizon
    steps = {key: values.reshape(len(part), horizon, -1) for key, values in lines.items()}
    rolling = horizon <= LONGEST_SHORT
    draw = _rolling if rolling else _single
    return {
        "split": "test",
        "step": _step_name(dataset),
        "horizon": horizon,
        "naive": name,
        "rolling": rolling,
        "windows": draw(dataset, part, steps, num_targets),
    }


def _single(
    dataset: Dataset, part: Part, steps: Mapping[str, np.ndarray], num_targets: int
) -> list[dict[str, Any]]:
    """Return windows spread over the test part, each of another target where there are several."""
    count = min(MAX_WINDOWS, len(part))
    # Windows at the ends of equal stretches: as far from each other as there is room.
    rows = np.linspace(0, len(part) - 1, count).round().astype(int)
    context = _context(dataset, part, rows, num_targets)
    keep = min(context.shape[1], max(2 * steps["truth"].shape[1], 24), MAX_STEPS)
    windows = []
    for place, row in enumerate(rows):
        target = place % num_targets
        windows.append(
            {
                "title": _title(dataset, part, row, target),
                "context": _short(context[place, -keep:, target]),
                **{key: _short(values[row, :, target]) for key, values in steps.items()},
            }
        )
    return windows


def _rolling(
    dataset: Dataset, part: Part, steps: Mapping[str, np.ndarray], num_targets: int
) -> list[dict[str, Any]]:
    """Return the last windows of a series, the first step of each forecast."""
    names = np.asarray(part.keys.get("series", np.zeros(len(part))))
    found = list(dict.fromkeys(names.tolist()))
    pairs = [(name, target) for target in range(num_targets) for name in found]
    windows = []
    for name, target in pairs[:MAX_WINDOWS]:
        rows = np.flatnonzero(names == name)[-MAX_STEPS:]
        windows.append(
            {
                "title": _title(dataset, part, int(rows[0]), target, "from the step after"),
                "context": [],
                **{key: _short(values[rows, 0, target]) for key, values in steps.items()},
            }
        )
    return windows


def _naive(dataset: Dataset, part: Part) -> tuple[np.ndarray, str]:
    """Return the naive forecast with the least squared error on the test windows, and its name."""
    from thalweg.study.naive import naive_baselines

    truth = dataset.raw_target(part)
    scale = np.maximum(truth.std(0), 1e-12)
    made = [
        (np.asarray(baseline.outputs(part.fields)), baseline.name)
        for baseline in naive_baselines(dataset.encoder)  # pyright: ignore[reportArgumentType]
        if baseline.outputs is not None and baseline.name != "drift"
    ]
    return min(made, key=lambda pair: float(np.square((pair[0] - truth) / scale).mean()))


def _context(dataset: Dataset, part: Part, rows: np.ndarray, num_targets: int) -> np.ndarray:
    """Return the past of some windows in the user's units, [n, T, V]."""
    mean, scale = dataset.units or (np.zeros(num_targets), np.ones(num_targets))
    past = np.asarray(part.fields["sequence"][rows], float)[:, :, :num_targets]
    # Outputs are step by step: the first ones are the targets of the first step.
    return past * np.asarray(scale)[:num_targets] + np.asarray(mean)[:num_targets]


def _step_name(dataset: Dataset) -> str:
    clock = getattr(dataset.encoder, "clock", None)
    return str(getattr(clock, "name", "") or "step")


def _title(dataset: Dataset, part: Part, row: int, target: int, since: str = "after") -> str:
    parts = []
    series = part.keys.get("series")
    if series is not None and len({str(name) for name in series}) > 1:
        parts.append(str(series[row]))
    if len(dataset.task.targets) > 1:
        parts.append(str(dataset.task.targets[target]))
    time = part.keys.get("time")
    if time is not None:
        value = time[row]
        dated = isinstance(value, np.datetime64)
        text = str(value.astype("datetime64[s]")).replace("T", " ") if dated else f"{value:g}"
        parts.append(f"{since} {text.removesuffix(':00').removesuffix(' 00:00')}")
    return ", ".join(parts)


def _short(values: np.ndarray) -> list[float]:
    """Return numbers with six digits: enough for a drawing."""
    return [float(f"{value:.6g}") for value in values]
