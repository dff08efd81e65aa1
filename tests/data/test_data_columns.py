"""What columns are taken for, and how their text is read."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.columns import (
    Column,
    infer_columns,
    parse_overrides,
    read_datetimes,
    read_flags,
    read_numbers,
    read_texts,
)
from thalweg.errors import DataError, OptionError

N = 200
RNG = np.random.default_rng(0)


def kind(values: object, name: str = "c", **options: object) -> str:
    frame = pl.DataFrame({name: values, "other": RNG.normal(size=len(values))})  # type: ignore[arg-type]
    return infer_columns(frame, **options)[0].kind  # type: ignore[arg-type]


WORDS = ["red", "green", "blue", "yellow"]
KINDS = {
    "floats": (RNG.normal(size=N), "number"),
    "unique floats are no identifier": (np.linspace(0, 1, N), "number"),
    "few whole numbers": (RNG.integers(1, 5, N), "number"),
    "wide unique whole numbers": (RNG.choice(10**6, N, replace=False), "number"),
    "running number": (np.arange(17, 17 + N), "identifier"),
    "shuffled running number": (RNG.permutation(N), "identifier"),
    "unique codes": ([f"u{i}" for i in range(N)], "identifier"),
    "zero and one": (RNG.integers(0, 2, N), "yes_no"),
    "booleans": (RNG.integers(0, 2, N) == 1, "yes_no"),
    "yes and no": (["Yes", "no"] * (N // 2), "yes_no"),
    "yes, no and missing": (["Y", "N", "?", None] * (N // 4), "yes_no"),
    "names": (WORDS * (N // 4), "category"),
    "two names": (["male", "female"] * (N // 2), "category"),
    "free text": ([f"I think that number {i} is quite good" for i in range(N)], "text"),
    "the same everywhere": (["a"] * N, "constant"),
    "the same number": ([3.5] * N, "constant"),
    "no values": ([None] * N, "constant"),
    "no values in text": (["", "NA"] * (N // 2), "constant"),
    "not a number everywhere": ([float("nan")] * N, "constant"),
    "one value or none": (["a", None] * (N // 2), "category"),
    "one number or none": ([1.5, None] * (N // 2), "number"),
    "dates": ([date(2020, 1, 1 + i % 28) for i in range(N)], "datetime"),
    "dates as text": ([f"2020-01-{1 + i % 28:02d}" for i in range(N)], "datetime"),
    "months as text": ([f"{1950 + i}-0{1 + i % 9}" for i in range(N)], "datetime"),
    "prices as text": ([f"${i},{i % 900 + 100:03d}" for i in range(1, N + 1)], "number"),
    "percentages as text": ([f"{i % 90}%" for i in range(N)], "number"),
    "padded numbers with question marks": ([f" {i % 7} " for i in range(N - 1)] + ["?"], "number"),
    "numbers and a little text": ([str(i * 1.5) for i in range(N - 4)] + ["bad"] * 4, "number"),
    "levels that are half numbers": (["1", "2", "3+", "low"] * (N // 4), "category"),
    "nested": ([[1, 2]] * N, "text"),
}


@pytest.mark.parametrize("case", KINDS)
def test_kinds(case: str) -> None:
    values, expected = KINDS[case]
    assert kind(values) == expected


def test_names_tell_identifiers() -> None:
    wide = RNG.choice(10**6, N, replace=False)
    assert kind(wide, "PassengerId") == "identifier"
    assert kind(wide, "id") == "identifier"
    assert kind(wide, "grid") == "number"
    assert kind(RNG.normal(size=N), "id") == "number"
    assert kind(RNG.integers(0, 9, N), "store_id") == "category"


def test_identifiers_of_some_rows_of_a_table() -> None:
    rows = np.sort(RNG.choice(1000, 640, replace=False))
    frame = pl.DataFrame({"n": rows + 5, "x": RNG.normal(size=640)})
    assert infer_columns(frame, rows=rows, num_source_rows=1000)[0].kind == "identifier"
    assert infer_columns(frame, rows=rows, identifiers=False)[0].kind == "number"


def test_the_only_column_is_kept() -> None:
    assert infer_columns(pl.DataFrame({"x": np.arange(N)}))[0].kind == "number"


def test_mixed_columns_say_so() -> None:
    values = [str(i) for i in range(N)] + [f"w{i % 60}" for i in range(N)]
    column = infer_columns(pl.DataFrame({"c": values * 2}))[0]
    assert column.kind == "category"
    assert "mixes 400 numbers with text" in column.reason
    assert "c=number" in column.reason


def test_overrides_win() -> None:
    frame = pl.DataFrame({"zip": [str(i) for i in range(N)], "t": ["x"] * N})
    overrides = parse_overrides(["zip=category", "t=Categorical"], frame.columns)
    found = infer_columns(frame, overrides=overrides)
    assert [(c.kind, c.given) for c in found] == [("category", True)] * 2
    assert parse_overrides({"zip": "ID"}, frame.columns) == {"zip": "identifier"}


def test_bad_overrides() -> None:
    with pytest.raises(DataError, match="did you mean 'age'"):
        parse_overrides({"aeg": "number"}, ["age", "sex"])
    with pytest.raises(OptionError, match="did you mean 'category'"):
        parse_overrides({"age": "categroy"}, ["age"])
    with pytest.raises(OptionError, match="NAME=KIND"):
        parse_overrides(["age"], ["age"])
    frame = pl.DataFrame({"w": WORDS})
    for wrong in ("number", "datetime", "yes_no"):
        with pytest.raises(DataError, match="'w' is to be"):
            infer_columns(frame, overrides={"w": wrong})


NUMBERS = {
    "1,234": 1234,
    "1,234,567.5": 1234567.5,
    "$5": 5,
    "-$5": -5,
    "€ 3.20": 3.2,
    "12%": 12,
    " 3 ": 3,
    "(5)": -5,
    "1e3": 1000,
    "+4": 4,
    "−2": -2,
    "1 234": 1234,
    "inf": None,
    "NaN": None,
    "?": None,
    "NA": None,
    "": None,
}


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_written_as_text(text: str) -> None:
    values, bad, _ = read_numbers(pl.Series("c", [text]))
    assert values.to_list() == [NUMBERS[text]]
    assert bad == []


def test_decimal_commas() -> None:
    values, bad, style = read_numbers(pl.Series("c", ["1,5", "2,25", "1.234,5", "7"]))
    assert values.to_list() == [1.5, 2.25, 1234.5, 7.0]
    assert (bad, style) == ([], "decimal_comma")
    later, _, _ = read_numbers(pl.Series("c", ["3,125"]), style)
    assert later.to_list() == [3.125]


def test_unreadable_numbers_are_named() -> None:
    values, bad, _ = read_numbers(pl.Series("c", ["1", "one", "2,3,4"]))
    assert values.to_list() == [1.0, None, None]
    assert bad == ["one", "2,3,4"]


@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(-(2**60), 2**60)), min_size=1))
def test_numbers_are_finite_or_missing(values: list[float | None]) -> None:
    series = pl.Series("c", values, dtype=pl.Float64, strict=False)
    read, bad, _ = read_numbers(series)
    assert not bad
    assert read.drop_nulls().is_finite().all()
    finite = [v for v in series.to_list() if v is not None and np.isfinite(v)]
    assert read.drop_nulls().to_list() == finite


@given(st.lists(st.text(), min_size=1))
def test_reading_any_text_never_fails(texts: list[str]) -> None:
    series = pl.Series("c", texts)
    for read in (read_numbers(series)[0], read_texts(series), read_datetimes(series)[0]):
        assert read.len() == len(texts)
    assert isinstance(infer_columns(pl.DataFrame([series]))[0], Column)


def test_texts_have_one_form() -> None:
    same = [
        pl.Series([1, None]),
        pl.Series([1.0, float("nan")]),
        pl.Series([" 1", "NA"]),
        pl.Series(["1", None], dtype=pl.Categorical),
    ]
    assert [read_texts(series).to_list() for series in same] == [["1", None]] * 4


def test_flags() -> None:
    assert read_flags(pl.Series(["Yes", "n", "TRUE", "0", "?"])).to_list() == [1, 0, 1, 0, None]  # type: ignore[union-attr]
    assert read_flags(pl.Series(["yes", "perhaps"])) is None


DATES = {
    "2021-03-04": "2021-03-04",
    "2021-03-04 05:06:07": "2021-03-04 05:06:07",
    "2021-03-04T05:06:07.250": "2021-03-04 05:06:07.25",
    "2021-03-04T05:06:07Z": "2021-03-04 05:06:07",
    "2021-03-04T05:06:07+02:00": "2021-03-04 03:06:07",
    "2021/03/04": "2021-03-04",
    "04/03/2021": "2021-03-04",
    "03/25/2021": "2021-03-25",
    "04.03.2021": "2021-03-04",
    "04-Mar-2021": "2021-03-04",
    "March 4, 2021": "2021-03-04",
    "2021-03": "2021-03-01",
}


@pytest.mark.parametrize("text", DATES)
def test_dates(text: str) -> None:
    values, date_format = read_datetimes(pl.Series("c", [text, None, "NA"]))
    assert date_format
    assert values.to_list() == [datetime.fromisoformat(DATES[text]), None, None]
    later, _ = read_datetimes(pl.Series("c", ["nonsense", text]), date_format)
    assert later.to_list() == [None, datetime.fromisoformat(DATES[text])]


def test_dates_with_zones() -> None:
    zoned = pl.Series("c", [datetime(2021, 1, 1)]).dt.replace_time_zone("Europe/Berlin")
    assert read_datetimes(zoned)[0].to_list() == [datetime(2020, 12, 31, 23)]


def test_round_trip() -> None:
    column = Column("a", "number", "why", 3, None, ("1", "2"), True, "decimal_comma")
    assert Column.from_dict(column.to_dict()) == column
