"""What is drawn of forecasts: the right windows, in the user's units."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import polars as pl
import pytest

import thalweg as tw
from thalweg.study.forecasts import MAX_STEPS, MAX_WINDOWS, forecast_windows

START = datetime.datetime(2020, 1, 1)


def tides(num_steps: int = 400, **options: Any) -> tuple[Any, np.ndarray]:
    values = 10 + 3 * np.sin(np.arange(num_steps) / 4) + np.arange(num_steps) * 0.01
    time = [START + datetime.timedelta(hours=i) for i in range(num_steps)]
    frame = pl.DataFrame({"time": time, "tide": values})
    return tw.load(frame, modality="series", **options), values


def test_windows_are_those_of_the_source():
    data, values = tides(horizon=6, context=12)
    truth = data.raw_target(data.test)
    found = forecast_windows(data, truth + 1.0)
    assert found is not None
    assert json.loads(json.dumps(found)) == found
    assert (found["step"], found["horizon"], found["rolling"]) == ("hour", 6, False)
    assert len(found["windows"]) == MAX_WINDOWS
    for window in found["windows"]:
        last = datetime.datetime.fromisoformat(window["title"].removeprefix("after "))
        place = round((last - START).total_seconds() / 3600)
        np.testing.assert_allclose(window["context"], values[place - 11 : place + 1], rtol=1e-4)
        np.testing.assert_allclose(window["truth"], values[place + 1 : place + 7], rtol=1e-4)
        np.testing.assert_allclose(window["forecast"], np.asarray(window["truth"]) + 1, rtol=1e-4)
        assert len(window["naive"]) == 6
    first, final = (found["windows"][i]["title"] for i in (0, -1))
    assert first < final


def test_one_step_ahead_becomes_one_line():
    data, values = tides(900, horizon=1, context=12)
    found = forecast_windows(data, data.raw_target(data.test) * 2)
    assert found is not None
    assert found["rolling"]
    (window,) = found["windows"]
    assert window["context"] == []
    np.testing.assert_allclose(window["truth"], values[-MAX_STEPS:], rtol=1e-4)
    np.testing.assert_allclose(window["forecast"], 2 * values[-MAX_STEPS:], rtol=1e-4)
    if found["naive"] == "last_value":
        np.testing.assert_allclose(window["naive"], values[-MAX_STEPS - 1 : -1], rtol=1e-4)


def test_several_targets_take_turns():
    steps = np.arange(500)
    frame = pl.DataFrame({"up": steps * 1.0, "down": -2.0 * steps, "still": np.sin(steps)})
    data = tw.load(frame, ["up", "down"], modality="series", horizon=5, context=10)
    found = forecast_windows(data, data.raw_target(data.test))
    assert found is not None
    titles = [window["title"].split(",")[0] for window in found["windows"]]
    assert titles == ["up", "down", "up", "down"]
    for window in found["windows"]:
        step = 1.0 if window["title"].startswith("up") else -2.0
        line = [*window["context"], *window["truth"]]
        np.testing.assert_allclose(np.diff(line), step, rtol=0.02)


def test_only_series_have_forecasts():
    assert forecast_windows(tw.load("iris"), np.zeros((30, 3))) is None


@pytest.mark.parametrize("num_series", [2, 6])
def test_several_series_are_named(num_series):
    frames = [
        pl.DataFrame({"shop": [f"s{i}"] * 80, "sales": np.arange(80.0) + 100 * i})
        for i in range(num_series)
    ]
    data = tw.load(pl.concat(frames), "sales", series="shop", horizon=1, context=5)
    found = forecast_windows(data, data.raw_target(data.test))
    assert found is not None
    names = [window["title"].split(",")[0] for window in found["windows"]]
    assert names == [f"s{i}" for i in range(min(num_series, MAX_WINDOWS))]
    for i, window in enumerate(found["windows"]):
        assert 100 * i <= min(window["truth"]) <= max(window["truth"]) < 100 * i + 80
