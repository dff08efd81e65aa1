"""Naive forecasts: their formulas, and the published figures on real series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from thalweg.data.series import SeriesDataset, load_series
from thalweg.study.naive import NAIVE, naive_baselines


def load(source, *args, **options) -> SeriesDataset:
    dataset = load_series(source, *args, **options)
    assert isinstance(dataset, SeriesDataset)
    return dataset


def forecasts(data: SeriesDataset) -> dict[str, np.ndarray]:
    return {b.name: b.outputs(data.test.fields) for b in naive_baselines(data.encoder)}


def test_formulas() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(5, 2, 200), rng.normal(-100, 30, 200)
    data = load(pl.DataFrame({"a": a, "b": b}), ["b", "a"], horizon=5, context=6, season=3)
    found = forecasts(data)
    assert set(found) == set(NAIVE)
    both = np.stack([b, a], axis=1)
    for i, row in enumerate(data.test.rows):
        steps = np.arange(1, 6)
        expected = {
            "last_value": both[[row] * 5],
            "seasonal_naive": both[row + steps - 3 * -(-steps // 3)],
            "drift": both[row] + steps[:, None] * (both[row] - both[row - 5]) / 5,
        }
        for name, values in expected.items():
            np.testing.assert_allclose(found[name][i], values.reshape(-1), rtol=1e-4, atol=1e-3)


def test_a_season_that_is_out_of_reach_is_left_out() -> None:
    values = np.random.default_rng(0).normal(size=100)
    assert set(forecasts(load(values, season=1))) == {"last_value", "drift"}
    assert set(forecasts(load(values, season=60, context=5))) == {"last_value", "drift"}
    assert set(forecasts(load(values, season=20, context=5))) == set(NAIVE)
    assert set(forecasts(load(values, season=4, context=1))) == {"last_value", "seasonal_naive"}


@pytest.mark.parametrize(
    ("file", "fractions", "season", "last", "seasonal"),
    [
        ("airline_passengers.csv", (84, 12, 48), None, 40.0, 37.0),
        ("daily_min_temperatures.csv", (2500, 422, 730), None, 1.95, 2.96),
        ("monthly_sunspots.csv", (2000, 220, 600), 132, 14.5, 32.1),
    ],
)
def test_published_errors(
    shared_data: Path,
    file: str,
    fractions: tuple[int, int, int],
    season: int | None,
    last: float,
    seasonal: float,
) -> None:
    data = load(shared_data / file, fractions=fractions, season=season)
    target = data.raw_target(data.test)
    errors = {name: np.abs(outputs - target).mean() for name, outputs in forecasts(data).items()}
    assert len(data.test) == fractions[2]
    assert errors["last_value"] == pytest.approx(last, rel=0.005)
    assert errors["seasonal_naive"] == pytest.approx(seasonal, rel=0.005)


def test_persistence_on_etth1(shared_data: Path) -> None:
    data = load(
        shared_data / "ETTh1.csv", "OT", horizon=24, context=24, fractions=(8640, 2880, 2880)
    )
    assert data.units is not None
    error = (forecasts(data)["last_value"] - data.raw_target(data.test)) / data.units[1]
    assert np.square(error).mean() == pytest.approx(0.034, abs=0.0005)
