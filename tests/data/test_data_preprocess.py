"""Preprocessing: bounded, reversible through JSON, learnt from training rows alone."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.data.columns import infer_columns, parse_overrides
from thalweg.data.preprocess import CLIP, ONE_HOT_LEVELS, Preprocessor
from thalweg.errors import DataError


def fit(frame: pl.DataFrame, weight: np.ndarray | None = None, **kinds: str) -> Preprocessor:
    overrides = parse_overrides(kinds, frame.columns)
    columns = infer_columns(frame, overrides=overrides, identifiers=False)
    return Preprocessor.fit(frame, columns, weight)


def numeric(fitted: Preprocessor, frame: pl.DataFrame) -> np.ndarray:
    return fitted.transform(frame)[0]["numeric"]


RNG = np.random.default_rng(0)
N = 400
MIXED = pl.DataFrame(
    {
        "gauss": RNG.normal(5, 3, N),
        "tail": np.exp(3 * RNG.normal(size=N)),
        "gaps": [None if i % 7 == 0 else float(i % 50) for i in range(N)],
        "flag": RNG.integers(0, 2, N) == 1,
        "answer": ["yes", "no", None, "yes"] * (N // 4),
        "colour": ["red", "green", "blue", "red"] * (N // 4),
        "city": [f"city {i % 60}" for i in range(N)],
        "when": [datetime(2020, 1, 1) + timedelta(hours=7 * i) for i in range(N)],
        "money": [f"${i},{i % 900 + 100}" for i in range(1, N + 1)],
    }
)


def test_shapes_names_and_types() -> None:
    fitted = fit(MIXED)
    fields, notices = fitted.transform(MIXED)
    assert fields["numeric"].dtype == np.float32
    assert fields["numeric"].shape == (N, len(fitted.feature_names))
    assert fields["category"].dtype == np.int32
    assert fields["category"].shape == (N, 1)
    assert fitted.category_names == ("city",)
    assert fitted.cardinalities == (61,)
    assert np.isfinite(fields["numeric"]).all()
    assert notices == ()
    names = fitted.feature_names
    assert len(set(names)) == len(names)
    assert {"gauss", "gaps missing", "colour=red", "when elapsed", "when sin of week"} <= set(names)


def test_numbers_are_standardised_as_scikit_learn_does() -> None:
    from sklearn.preprocessing import StandardScaler

    frame = pl.DataFrame({"a": RNG.normal(5, 3, N), "b": RNG.uniform(-1, 0, N)})
    expected = StandardScaler().fit_transform(frame.to_numpy())
    np.testing.assert_allclose(numeric(fit(frame), frame), expected, atol=1e-5)


def test_missing_values_take_the_median_and_are_marked() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0, None, 9.0, float("inf"), float("nan")] * 10})
    fitted = fit(frame)
    values = numeric(fitted, frame)
    assert fitted.feature_names == ("a", "a missing")
    assert values[:, 1].tolist() == [0, 0, 1, 0, 1, 1] * 10
    median = numeric(fitted, pl.DataFrame({"a": [2.0]}))[0, 0]
    assert (values[[2, 4, 5], 0] == median).all()


def test_values_missing_only_later_are_told() -> None:
    fitted = fit(pl.DataFrame({"a": np.arange(50.0), "c": ["u", "v"] * 25}))
    later = pl.DataFrame(
        {"a": [None, 3.0], "c": ["w", None]}, schema={"a": pl.Float64, "c": pl.String}
    )
    fields, notices = fitted.transform(later)
    assert fields["numeric"].shape == (2, 3)
    assert (fields["numeric"][:, 1:] == 0).all()
    assert any("a: 1 row(s) have no value" in notice for notice in notices)
    assert any("c: 2 row(s) have a name never seen" in notice for notice in notices)


def test_texts_for_numbers_are_told() -> None:
    fitted = fit(pl.DataFrame({"a": [None, *np.arange(49.0)]}))
    fields, notices = fitted.transform(pl.DataFrame({"a": ["3", "22 years", "twenty", ""]}))
    assert np.isfinite(fields["numeric"]).all()
    assert any("a: value(s) such as '22 years', 'twenty' are no numbers" in n for n in notices)
    assert not any("no numbers" in n for n in fitted.transform(pl.DataFrame({"a": ["3", ""]}))[1])


def test_heavy_tails_become_normal() -> None:
    frame = pl.DataFrame(
        {"tail": np.exp(3 * RNG.normal(size=2000)), "plain": RNG.normal(size=2000)}
    )
    fitted = fit(frame)
    tail = numeric(fitted, frame)[:, 0]
    assert abs(tail.mean()) < 0.05
    assert abs(tail.std() - 1) < 0.05
    assert np.abs(tail).max() < 4.5
    order = np.argsort(frame["tail"].to_numpy())
    assert (np.diff(tail[order]) >= 0).all()
    assert fitted.notices == (
        "skewed or heavy-tailed, so mapped by quantiles to a normal distribution: tail",
    )


def test_numbers_are_clipped() -> None:
    fitted = fit(pl.DataFrame({"a": RNG.normal(size=N)}))
    far = numeric(fitted, pl.DataFrame({"a": [1e300, -1e300, 3.4e38]}))
    assert far[:, 0].tolist() == [CLIP, -CLIP, CLIP]


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e300])
def test_extreme_magnitudes(size: float) -> None:
    frame = pl.DataFrame({"a": RNG.normal(size=N) * size})
    values = numeric(fit(frame), frame)
    assert np.isfinite(values).all()
    assert values.std() == pytest.approx(1, abs=1e-3)


def test_pixels_keep_their_common_scale() -> None:
    pixels = RNG.integers(0, 17, (N, 64)).astype(float)
    pixels[:, 0] = 0.0
    pixels[0, 0] = 16.0
    fitted = fit(pl.DataFrame(pixels, schema=[f"p{i}" for i in range(64)]))
    assert len({encoder.scale for encoder in fitted.encoders}) == 1
    assert "64 columns from 0 to 16" in fitted.notices[0]


def test_rare_names_are_merged_and_unseen_ones_have_their_place() -> None:
    values = ["a"] * 50 + ["b"] * 40 + ["c"] * 2 + [None] * 8
    frame = pl.DataFrame({"c": values})
    fitted = fit(frame)
    assert fitted.feature_names == ("c=a", "c=b", "c=(missing)", "c=(other)")
    later = numeric(fitted, pl.DataFrame({"c": ["b", "never", None, " a "]}))
    assert later.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]]


def test_many_names_become_codes() -> None:
    names = [f"n{i % (ONE_HOT_LEVELS + 1)}" for i in range(1000)]
    fitted = fit(pl.DataFrame({"c": names}))
    fields, notices = fitted.transform(pl.DataFrame({"c": ["n0", "never", None]}))
    assert fitted.cardinalities == (ONE_HOT_LEVELS + 2,)
    assert fields["category"][:, 0].tolist()[1:] == [0, 0]
    assert fields["category"][0, 0] > 0
    assert fields["numeric"].shape == (3, 0)
    assert notices


def test_categories_match_across_types() -> None:
    frame = pl.DataFrame({"c": [1, 2, 3] * 20})
    fitted = fit(frame, c="category")
    as_float = numeric(fitted, pl.DataFrame({"c": [1.0, 2.0]}))
    as_text = numeric(fitted, pl.DataFrame({"c": ["1", "2 "]}))
    np.testing.assert_array_equal(as_float, as_text)
    assert as_float.sum() == 2


def test_flags() -> None:
    fitted = fit(pl.DataFrame({"f": ["yes", "no", "yes", None] * 5}))
    values = numeric(fitted, pl.DataFrame({"f": ["no", "TRUE", "?", "perhaps"]}))
    assert values.tolist() == [[0, 0], [1, 0], [1, 1], [1, 1]]


def test_dates_are_cyclic() -> None:
    start = datetime(2020, 1, 1)
    frame = pl.DataFrame({"t": [start + timedelta(hours=i) for i in range(3000)]})
    fitted = fit(frame)
    names = list(fitted.feature_names)
    assert names == [
        "t elapsed",
        *(f"t {w} of {p}" for p in ("day", "week", "year") for w in ("sin", "cos")),
    ]
    near = numeric(
        fitted, pl.DataFrame({"t": [datetime(2020, 2, 1, 23, 59), datetime(2020, 2, 2, 0, 1)]})
    )
    assert np.abs(near[0] - near[1]).max() < 0.02
    far = numeric(fitted, pl.DataFrame({"t": ["2020-02-01 12:00:00"]}))
    assert np.abs(far[0] - near[0])[2] > 1.9


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_round_trip_through_json(data: st.DataObject) -> None:
    size = data.draw(st.integers(5, 40))

    def column(values: st.SearchStrategy) -> list:
        return data.draw(st.lists(st.one_of(st.none(), values), min_size=size, max_size=size))

    frame = pl.DataFrame(
        {
            "number": pl.Series(column(st.floats(width=32)), dtype=pl.Float64),
            "name": pl.Series(column(st.sampled_from(["a", "b", "ü,", '"', "1"])), dtype=pl.String),
            "flag": pl.Series(column(st.booleans()), dtype=pl.Boolean),
            "when": pl.Series(column(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))),
            "plain": np.arange(size) ** 2.0,
        },
        strict=False,
    )
    fitted = fit(frame)
    again = Preprocessor.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    assert again == fitted
    first, _ = fitted.transform(frame)
    second, _ = again.transform(frame)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert np.isfinite(first["numeric"]).all()
    assert np.abs(first["numeric"]).max() <= CLIP


@given(st.permutations(MIXED.columns), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_order_of_columns_and_rows_does_not_matter(order: list[str], seed: int) -> None:
    fitted = fit(MIXED)
    shuffle = np.random.default_rng(seed).permutation(N)
    expected = fitted.transform(MIXED)[0]
    found = fitted.transform(MIXED.select(order)[shuffle])[0]
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name][shuffle])
    refitted = fit(MIXED[shuffle])
    np.testing.assert_allclose(
        refitted.transform(MIXED)[0]["numeric"], expected["numeric"], atol=1e-4
    )
    np.testing.assert_array_equal(refitted.transform(MIXED)[0]["category"], expected["category"])


def test_extra_and_missing_columns() -> None:
    fitted = fit(MIXED)
    more = MIXED.with_columns(extra=pl.lit(1))
    np.testing.assert_array_equal(numeric(fitted, more), numeric(fitted, MIXED))
    with pytest.raises(DataError, match=r"lack the column 'gauss'.*did you mean 'gaus'"):
        fitted.transform(MIXED.rename({"gauss": "gaus"}))
    with pytest.raises(DataError, match="lack the 2 columns 'gauss', 'city'"):
        fitted.transform(MIXED.drop("gauss", "city"))


def test_rows_of_weight_zero_leak_nowhere() -> None:
    weight = (np.arange(N) % 3 > 0).astype(float)
    spoilt = MIXED.with_columns(
        pl.when(pl.Series(weight == 0)).then(1e9).otherwise(pl.col("gauss")).alias("gauss"),
        pl.when(pl.Series(weight == 0))
        .then(pl.lit("gone"))
        .otherwise(pl.col("city"))
        .alias("city"),
    )
    columns = infer_columns(MIXED, identifiers=False)
    assert Preprocessor.fit(spoilt, columns, weight) == Preprocessor.fit(MIXED, columns, weight)
    kept = MIXED.filter(weight > 0)
    assert Preprocessor.fit(MIXED, columns, weight) == Preprocessor.fit(kept, columns)


def test_whole_weights_are_repetitions() -> None:
    counts = RNG.integers(1, 4, N)
    columns = infer_columns(MIXED, identifiers=False)
    weighted = Preprocessor.fit(MIXED, columns, counts.astype(float))
    repeated = Preprocessor.fit(MIXED[np.repeat(np.arange(N), counts)], columns)
    for left, right in zip(weighted.encoders, repeated.encoders, strict=True):
        if left.kind == "number":
            assert left.center == pytest.approx(right.center)
            assert left.scale == pytest.approx(right.scale)
    for bad in (-1.0, np.nan, 0.0):
        with pytest.raises(DataError, match="weights"):
            Preprocessor.fit(MIXED, columns, np.full(N, bad))


def test_nothing_to_learn_from() -> None:
    frame = pl.DataFrame({"a": ["x"] * 30, "b": [f"some words on row {i}" for i in range(30)]})
    with pytest.raises(DataError, match="a is constant, b is text"):
        fit(frame)


def test_one_row_and_no_rows() -> None:
    fitted = fit(MIXED)
    np.testing.assert_array_equal(numeric(fitted, MIXED[:1]), numeric(fitted, MIXED)[:1])
    fields, _ = fitted.transform(MIXED[:0])
    assert fields["numeric"].shape == (0, len(fitted.feature_names))
    assert fields["category"].shape == (0, 1)


def test_native_columns_for_trees() -> None:
    values, categories = fit(MIXED).native(MIXED)
    assert values.shape == (N, MIXED.width)
    assert [MIXED.columns[i] for i in np.flatnonzero(categories)] == ["colour", "city"]
    assert np.isnan(values[0, 2])
    np.testing.assert_allclose(values[:, 1], MIXED["tail"])
