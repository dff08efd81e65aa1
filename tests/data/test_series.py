"""Series: the axis of time, windows, splits, bad input, forecasts as tables."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from thalweg.data import series as module
from thalweg.data.dataset import Encoder
from thalweg.data.series import SeriesDataset, claims, load_series
from thalweg.data.windows import Clock, autocorrelation, infer_clock, infer_season
from thalweg.errors import DataError, OptionError


def daily(count: int = 120, **columns) -> pl.DataFrame:
    start = datetime(2023, 1, 1)
    rng = np.random.default_rng(0)
    steps = np.arange(count)
    frame = {
        "day": [start + timedelta(days=i) for i in range(count)],
        "sales": 10 + 3 * np.sin(2 * np.pi * steps / 7) + rng.normal(0, 0.3, count),
    }
    return pl.DataFrame({**frame, **columns})


def load(source, *args, **options) -> SeriesDataset:
    dataset = load_series(source, *args, **options)
    assert isinstance(dataset, SeriesDataset)
    return dataset


# Windows and parts -------------------------------------------------------------------------------


def test_windows_are_the_past_and_what_follows() -> None:
    values = np.arange(100.0)
    data = load(pl.DataFrame({"y": values}), horizon=3, context=5)
    train = data.train
    assert train.fields["sequence"].shape == (70 - 5 - 3 + 1, 5, 1)
    assert train.fields["sequence"].dtype == train.target.dtype == np.float32
    mean, scale = values[:70].mean(), values[:70].std()
    assert np.allclose(data.encoder.mean, mean)
    assert np.allclose(data.encoder.scale, scale)
    past = train.fields["sequence"][:, :, 0] * scale + mean
    np.testing.assert_allclose(past[0], np.arange(5), atol=1e-4)
    np.testing.assert_allclose(data.raw_target(train)[0], [5, 6, 7], atol=1e-4)
    assert train.rows[0] == 4
    assert any("in their order" in notice for notice in data.notices)


def test_targets_of_a_part_lie_in_it_and_its_past_reaches_back() -> None:
    data = load(pl.DataFrame({"y": np.arange(100.0)}), horizon=2, context=10)
    for part, low, high in (("train", 10, 70), ("validation", 70, 80), ("test", 80, 100)):
        target = data.raw_target(data.parts[part])
        assert target.min() == pytest.approx(low, abs=1e-4)
        assert target.max() == pytest.approx(high - 1, abs=1e-4)
        assert len(target) == high - low - 1
    first = data.test.fields["sequence"][0, :, 0] * data.encoder.scale[0] + data.encoder.mean[0]
    np.testing.assert_allclose(first, np.arange(70, 80), atol=1e-4)


def test_outputs_are_step_by_step_with_all_targets_of_a_step_together() -> None:
    frame = pl.DataFrame({"a": np.arange(60.0), "b": 1000 + np.arange(60.0), "c": np.ones(60)})
    data = load(frame, ["b", "a"], horizon=2, context=4)
    assert data.task.num_outputs == 4
    assert data.encoder.layout.channels == ("b", "a", "c")
    assert data.input_shape == {"sequence": [4, 3], "num_targets": 2}
    np.testing.assert_allclose(data.raw_target(data.train)[0], [1004, 4, 1005, 5], atol=1e-3)
    assert data.task.metric == "standardised_mse"
    units = data.units
    assert units is not None
    assert units[0].shape == (4,)
    assert data.num_features == 3


def test_fractions_may_be_numbers_of_steps() -> None:
    data = load(daily(100), context=7, fractions=(60, 20, 10))
    assert [len(part) for part in data.parts.values()] == [53, 20, 10]
    assert "the last 10 unused" in data.split
    with pytest.raises(OptionError, match="there are 100"):
        load(daily(100), fractions=(90, 20, 10))
    with pytest.raises(OptionError, match="three shares"):
        load(daily(100), fractions=(90, 20))
    with pytest.raises(OptionError, match="add up to 1"):
        load(daily(100), fractions=(0.9, 0.2, 0.1))


def test_windows_that_do_not_fit_into_memory_are_thinned(monkeypatch) -> None:
    whole = load(daily(400), context=10)
    monkeypatch.setattr(module, "MAX_BYTES", 4 * 20 * 100)
    data = load(daily(400), context=10)
    assert 100 <= len(data.train) <= 8000 // 52
    assert len(whole.train) > 250
    assert any("windows is used" in notice for notice in data.notices)


# Several series ----------------------------------------------------------------------------------


def several() -> pl.DataFrame:
    a = daily(100, shop=["a"] * 100).with_columns(sales=pl.lit(1.0) * np.arange(100))
    b = daily(100, shop=["b"] * 100).with_columns(sales=1000.0 + np.arange(100))
    return pl.concat([a, b]).sort("day", "shop")


def test_windows_never_reach_from_one_series_into_another() -> None:
    data = load(several(), "sales", series="shop", horizon=2, context=5)
    assert data.num_series == 2
    for part in data.parts.values():
        steps = np.concatenate([part.fields["sequence"][:, :, 0], part.target], axis=1)
        np.testing.assert_allclose(np.diff(steps, axis=1) * data.encoder.scale[0], 1, atol=0.01)
    assert set(data.test.keys["series"]) == {"a", "b"}
    # One cut in time for all of them.
    assert data.train.keys["time"].max() < data.test.keys["time"].min()
    assert "2 series" in data.headline()


def test_series_of_different_years_are_each_cut_by_their_own_axis() -> None:
    late = daily(100, shop=["b"] * 100).with_columns(pl.col("day").dt.offset_by("3y"))
    data = load(pl.concat([daily(100, shop=["a"] * 100), late]), "sales", series="shop", context=5)
    assert data.split.startswith("by time within each series")
    for part in data.parts.values():
        assert set(part.keys["series"]) == {"a", "b"}


# Known ahead -------------------------------------------------------------------------------------


def test_known_columns_are_inputs_of_the_steps_that_are_forecast() -> None:
    promo = (np.arange(120) % 5 == 0).astype(int)
    data = load(daily(120, promo=promo), "sales", known="promo", horizon=3, context=7)
    assert data.encoder.layout.channels == ("sales", "promo")
    future = data.train.fields["future"]
    assert future.shape[1:] == (3, data.encoder.num_future)
    first = int(np.argmax(data.train.rows == 6))
    raw = future[first, :, 0] * data.encoder.scale[1] + data.encoder.mean[1]
    np.testing.assert_allclose(raw, promo[7:10], atol=1e-5)


def test_what_is_known_ahead_comes_from_rows_without_a_target() -> None:
    frame = daily(120, promo=(np.arange(120) % 5 == 0).astype(float))
    data = load(frame, "sales", known=["promo"], horizon=2, context=7)
    with pytest.raises(DataError, match="add rows after the last known one"):
        data.encode(frame)
    ahead = frame.with_columns(
        sales=pl.when(pl.int_range(pl.len()) < 118).then(pl.col("sales")).otherwise(None)
    )
    part = data.encode(ahead)
    assert part.rows.tolist() == [117]
    raw = part.fields["future"][0, :, 0] * data.encoder.scale[1] + data.encoder.mean[1]
    np.testing.assert_allclose(raw, [0, 0], atol=1e-6)
    assert part.notices == ()


def test_calendar_cycles_are_those_seen_twice() -> None:
    assert load(daily(120)).encoder.cycles == ("week",)
    assert load(daily(1500)).encoder.cycles == ("week", "year")
    assert load(daily(120), calendar=False).encoder.cycles == ()
    hours = pl.DataFrame(
        {
            "t": [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(2000)],
            "y": np.sin(np.arange(2000)),
        }
    )
    data = load(hours, context=3, season=1)
    assert data.encoder.cycles == ("day", "week")
    # Row 2 is 02:00 on a Monday; the step that is forecast begins at 03:00.
    expected = [np.sin(np.pi / 4), np.cos(np.pi / 4), 0.0, 1.0]
    np.testing.assert_allclose(data.train.fields["future"][0, 0], expected, atol=1e-6)


def test_a_season_beyond_the_context_is_an_input() -> None:
    steps = np.arange(1300)
    frame = daily(1300).with_columns(
        sales=10 * np.cos(2 * np.pi * steps / 365) + 0.001 * steps.astype(float)
    )
    data = load(frame, context=20, season=365, calendar=False)
    assert data.encoder.lagged
    assert data.train.rows.min() == 364
    before = data.train.fields["future"][:, 0, 0] * data.encoder.scale[0] + data.encoder.mean[0]
    np.testing.assert_allclose(before, frame["sales"].to_numpy()[data.train.rows - 364], atol=1e-4)
    part = data.encode(frame)
    assert part.fields["future"].shape == (1, 1, 1)
    with pytest.raises(DataError, match="365 steps"):
        data.encode(frame[:100])


# Bad input ---------------------------------------------------------------------------------------


def test_unsorted_rows_are_sorted() -> None:
    shuffled = daily(100).sample(fraction=1.0, shuffle=True, seed=1)
    data, sorted_data = load(shuffled), load(daily(100))
    np.testing.assert_array_equal(data.train.target, sorted_data.train.target)
    assert any("rows are sorted" in notice for notice in data.notices)


def test_repeated_times() -> None:
    frame = daily(300)
    again = pl.concat([frame, frame[5:8]])
    assert any("each counts once" in notice for notice in load(again).notices)
    other = frame[5:6].with_columns(sales=pl.lit(99.0))
    data = load(pl.concat([frame, other]))
    assert any(
        "averaged" in notice and "2023-01-06" in notice and "1 row(s)" in notice
        for notice in data.notices
    )
    with pytest.raises(DataError, match=r"first at 2023-01-01: does 'shop' name the series\?"):
        load(several(), "sales")


def test_short_gaps_are_filled_and_long_ones_cut() -> None:
    frame = daily(200)
    holes = frame.filter(~pl.int_range(pl.len()).is_in([50, 51, 180]))
    data = load(holes, context=5)
    assert data.num_steps == 200
    assert any("3 missing step(s)" in notice for notice in data.notices)
    # A value that was filled is no target to be scored by.
    scored = data.encoder.clock.ahead(data.test.keys["time"], np.ones(len(data.test), int))
    assert np.datetime64("2023-06-30") not in scored
    assert len(data.test) == 39
    far = frame.filter(~pl.int_range(pl.len()).is_between(50, 80))
    data = load(far, context=5)
    assert any("not bridged" in notice for notice in data.notices)
    span = data.train.keys["time"]
    assert not ((span > np.datetime64("2023-02-19")) & (span < np.datetime64("2023-03-26"))).any()


def test_missing_values_are_filled_from_the_past() -> None:
    values = np.arange(60.0)
    other = values.copy()
    other[[0, 20]] = np.nan
    frame = pl.DataFrame({"y": values, "x": other})
    data = load(frame, "y", context=1, season=1)
    raw = data.train.fields["sequence"][:, 0, 1] * data.encoder.scale[1] + data.encoder.mean[1]
    assert raw[20] == pytest.approx(19, abs=1e-4)
    # Nothing is known before the first value: the mean stands for it.
    assert data.train.fields["sequence"][0, 0, 1] == 0
    assert any("2 missing value(s)" in notice for notice in data.notices)


def test_irregular_times_are_rows() -> None:
    rng = np.random.default_rng(0)
    hours = np.cumsum(rng.exponential(10, 200))
    frame = pl.DataFrame(
        {"t": [datetime(2024, 1, 1) + timedelta(hours=h) for h in hours], "y": rng.normal(size=200)}
    )
    data = load(frame)
    assert data.encoder.clock.irregular
    assert data.num_steps == 200
    assert any("keep to no step" in notice for notice in data.notices)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 30}, "hold no window of horizon 30"),
        ({"horizon": 100}, "got 100 steps ahead and at most 100"),
        ({"context": 500}, "training needs 500 steps of context"),
        ({"horizon": 0}, "horizon must be a whole number of 1 or more"),
        ({"season": -1}, "season must be a whole number of 0"),
        ({"target": "sale"}, "did you mean 'sales'"),
        ({"time": "sales", "target": "sales"}, "one part to play"),
        ({"target": "words"}, "must be numbers to be forecast"),
        ({"target": "day"}, "is a date or time"),
        ({"target": "sales", "known": "words"}, "known ahead must be numbers"),
        ({"time": "words"}, "must hold dates or numbers"),
        ({"target": "flat"}, "is 1 in every training step"),
        ({"target": "empty"}, "no row has a value"),
        ({"task": "binary"}, "sequence=COLUMN"),
        ({"series": "shop"}, "series names the column 'shop'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, message) -> None:
    frame = daily(100, words=["many"] * 50 + ["few"] * 50, flat=[1.0] * 100).with_columns(
        empty=pl.lit(None, pl.Float64)
    )
    options = {"target": "sales", **options}
    with pytest.raises((DataError, OptionError), match=message) as caught:
        load(frame, **options)
    assert "\n" not in str(caught.value)


def test_few_rows_are_refused() -> None:
    with pytest.raises(DataError, match=r"at least 10 steps; .* has 9"):
        load(daily(9))


def test_a_missing_time_is_named() -> None:
    frame = daily(50).with_columns(pl.col("day").dt.strftime("%Y-%m-%d"))
    frame = frame.with_columns(
        day=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("soon")).otherwise(pl.col("day"))
    )
    with pytest.raises(DataError, match="row 4, which is 'soon'"):
        load(frame, time="day")


# Sources of their own ----------------------------------------------------------------------------


def test_test_rows_that_continue_the_series_reach_back_into_it() -> None:
    frame = daily(120)
    data = load(frame[:100], test=frame[90:], context=7)
    assert len(data.test) == 20
    whole = load(frame, context=7, fractions=(88, 12, 20))
    # The first 100 rows are training and validation; only their statistics differ.
    inverse = data.encoder.scale[0] * data.test.fields["sequence"] + data.encoder.mean[0]
    expected = whole.encoder.scale[0] * whole.test.fields["sequence"] + whole.encoder.mean[0]
    np.testing.assert_allclose(inverse, expected, rtol=1e-5)
    assert "own source for test" in data.split
    with pytest.raises(DataError, match="must be later"):
        load(frame, test=frame[:50])


# Forecasts ---------------------------------------------------------------------------------------


def test_the_latest_window_of_each_series() -> None:
    data = load(several(), "sales", series="shop", horizon=2, context=5)
    part = data.encode(several())
    assert list(part.keys["series"]) == ["a", "b"]
    outputs = np.array([[100.0, 101.0], [1100.0, 1101.0]])
    table = data.encoder.predictions(outputs, part)
    assert table.columns == ["series", "time", "step", "prediction"]
    assert table.rows()[1] == ("a", datetime(2023, 4, 12).date(), 2, 101.0)
    few = several().filter((pl.col("shop") == "a") | (pl.col("day") < datetime(2023, 1, 4)))
    part = data.encode(few)
    assert list(part.keys["series"]) == ["a"]
    assert "1 series with fewer than 5 steps are left out: b" in part.notices[0]


def test_forecasts_are_dated_as_the_source_dates_its_rows(tmp_path: Path) -> None:
    months = [f"{1990 + i // 12}-{i % 12 + 1:02d}" for i in range(90)]
    path = tmp_path / "trips.csv"
    pl.DataFrame({"month": months, "a": np.arange(90.0), "b": np.arange(90.0) % 12}).write_csv(path)
    data = load(path, ["a", "b"], horizon=2, context=12)
    assert data.encoder.clock == Clock("month", 1.0, format="%Y-%m")
    table = data.encoder.predictions(np.arange(4.0)[None], data.encode(path))
    assert table.columns == ["series", "time", "step", "prediction_a", "prediction_b"]
    assert table["time"].to_list() == ["1997-07", "1997-08"]
    assert table["series"].to_list() == ["trips", "trips"]
    assert table["prediction_b"].to_list() == [1.0, 3.0]


def test_encoding_with_targets_gives_all_windows() -> None:
    frame = daily(100)
    data = load(frame, horizon=2, context=7)
    part = data.encode(frame, with_target=True)
    assert len(part) == 100 - 7 - 2 + 1
    position = {row: i for i, row in enumerate(part.rows)}
    index = [position[row] for row in data.test.rows]
    np.testing.assert_array_equal(part.target[index], data.test.target)
    np.testing.assert_array_equal(part.fields["sequence"][index], data.test.fields["sequence"])
    with pytest.raises(DataError, match="the longest stretch without a long gap has 8"):
        data.encode(frame[:8], with_target=True)
    with pytest.raises(DataError, match="needs the last 7 steps"):
        data.encode(frame[:6])


def test_histories_that_do_not_fit_the_model() -> None:
    data = load(daily(100), context=7)
    with pytest.raises(DataError, match="lacks the column 'sales'"):
        data.encode(daily(100).rename({"sales": "sold"}))
    weekly = daily(700).gather_every(7)
    with pytest.raises(DataError, match="steps of one day; these rows are one week apart"):
        data.encode(weekly)
    with pytest.raises(DataError, match="holds numbers"):
        data.encode(daily(100).with_columns(day=pl.int_range(pl.len())))


def test_the_encoder_survives_json() -> None:
    frame = daily(800, promo=np.arange(800) % 3)
    data = load(frame, "sales", known="promo", horizon=2, season=365, context=20)
    record = json.loads(json.dumps(data.encoder.to_dict()))
    again = Encoder.from_dict(record)
    assert again.to_dict() == data.encoder.to_dict()
    part, same = (e.encode(frame, with_target=True) for e in (data.encoder, again))
    for name, values in part.fields.items():
        np.testing.assert_array_equal(values, same.fields[name])


def test_loading_twice_gives_the_same() -> None:
    assert load(daily(100)).fingerprint == load(daily(100)).fingerprint
    assert load(daily(100)).fingerprint != load(daily(100), horizon=2).fingerprint


def test_pandas_dates_in_the_index_and_bare_arrays() -> None:
    index = pd.date_range("2024-01-01", periods=100, freq="h", name="when")
    data = load(pd.Series(np.sin(np.arange(100)), index=index, name="y"))
    assert data.encoder.layout.time == "when"
    assert data.encoder.clock.name == "hour"
    array = load(np.sin(np.arange(100)), context=4)
    assert array.encoder.encode(np.sin(np.arange(10))).fields["sequence"].shape == (1, 4, 1)
    assert load(list(np.sin(np.arange(50)))).num_steps == 50


# Clocks and seasons ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frequency", "name", "candidates"),
    [
        ("h", "hour", (24, 168)),
        ("15min", "15 minutes", (96, 672)),
        ("D", "day", (7, 365)),
        ("B", "business day", (5,)),
        ("7D", "week", (52,)),
        ("28D", "4 weeks", ()),
        ("MS", "month", (12,)),
        ("ME", "month", (12,)),
        ("QS", "quarter", (4,)),
        ("YS", "year", ()),
        ("s", "second", (60, 3600, 86400, 604800)),
    ],
)
def test_steps_of_time(frequency: str, name: str, candidates: tuple[int, ...]) -> None:
    times = pd.date_range("2020-01-01", periods=60, freq=frequency).to_numpy()
    times = times.astype("datetime64[us]")
    clock, notice = infer_clock([times[:50]], "")
    assert (clock.name, clock.candidates, notice) == (name, candidates, "")
    np.testing.assert_array_equal(np.diff(clock.positions(times)), 1)
    np.testing.assert_array_equal(clock.ahead(times[49], np.arange(1, 11)), times[50:])
    assert Clock.from_dict(json.loads(json.dumps(clock.to_dict()))) == clock


def test_jitter_does_not_add_up() -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(500) * 600.0 + rng.uniform(-20, 20, 500)
    clock, notice = infer_clock([steps], None)
    assert not clock.irregular
    assert notice == ""
    np.testing.assert_array_equal(np.diff(clock.positions(steps)), 1)


def test_autocorrelation_is_that_of_a_direct_sum() -> None:
    values = np.random.default_rng(0).normal(size=50).cumsum()
    steps = np.arange(50.0)
    residual = values - np.polyval(np.polyfit(steps, values, 1), steps)
    direct = [(residual[: 50 - k] * residual[k:]).sum() / (50 - k) for k in range(11)]
    np.testing.assert_allclose(autocorrelation(values, 10), np.array(direct) / direct[0])


def test_seasons() -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(1000)
    noise = rng.normal(0, 0.3, 1000)
    assert infer_season([np.sin(2 * np.pi * steps / 7) + noise], (7, 365))[0] == 7
    assert infer_season([np.sin(2 * np.pi * steps / 365) + noise], (7, 365))[0] == 365
    assert abs(infer_season([np.sin(2 * np.pi * steps / 50) + noise], (7, 365))[0] - 50) <= 1
    assert infer_season([noise], (7, 365))[0] == 1
    assert infer_season([noise.cumsum()], (24, 168))[0] == 1
    slow = noise.cumsum()
    assert infer_season([slow + np.sin(2 * np.pi * steps / 24)], (24, 168))[0] == 24
    assert infer_season([noise[:3]], ())[0] == 1


# Real data ---------------------------------------------------------------------------------------


def test_etth1_has_its_usual_split(shared_data: Path) -> None:
    path = shared_data / "ETTh1.csv"
    data = load(path, horizon=96, context=48, fractions=(8640, 2880, 2880))
    assert [len(part) for part in data.parts.values()] == [8640 - 48 - 95, 2880 - 95, 2880 - 95]
    frame = pl.read_csv(path)
    values = frame["OT"].to_numpy()[:8640]
    index = data.encoder.layout.channels.index("OT")
    assert data.encoder.mean[index] == pytest.approx(values.mean())
    assert data.encoder.scale[index] == pytest.approx(values.std())
    assert data.encoder.season == 24
    assert str(data.test.keys["time"][0]).startswith(frame["date"][11519].replace(" ", "T"))


def test_claims(shared_data: Path) -> None:
    assert claims(str(shared_data / "airline_passengers.csv"), {})
    assert claims(str(shared_data / "daily_min_temperatures.csv"), {})
    assert not claims(str(shared_data / "titanic.csv"), {})
    assert claims("anything", {"horizon": 3})
    assert not claims(daily(), {})
    described = "\n".join(load(shared_data / "daily_min_temperatures.csv").describe())
    assert "365 steps" in described
    assert "2 missing step(s)" in described
