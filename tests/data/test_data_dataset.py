"""Loading whole tables: real ones, small ones, and wrong ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from thalweg.data import BUILT_IN, Dataset, Encoder, concatenate, load, read_table
from thalweg.errors import DataError, OptionError, ThalwegError

RNG = np.random.default_rng(0)
N = 200
FRAME = pl.DataFrame(
    {
        "id": np.arange(N) + 100,
        "age": RNG.integers(18, 80, N),
        "income": np.exp(RNG.normal(10, 1, N)),
        "city": RNG.choice(["Rome", "Oslo", "Lima"], N),
        "note": [f"row number {i} came in late" for i in range(N)],
        "same": ["x"] * N,
        "day": [f"2021-{1 + i // 28 % 12:02d}-{1 + i % 28:02d}" for i in range(N)],
        "who": [f"p{i % 40}" for i in range(N)],
        "y": RNG.choice(["good", "bad"], N),
    }
)


def equal(left: Dataset, right: Dataset) -> bool:
    return left.fingerprint == right.fingerprint


REAL = {
    "titanic.csv": (
        "Survived",
        "binary",
        {"Name": "text", "Ticket": "text", "PassengerId": "identifier"},
    ),
    "german_credit.csv": ("credit_risk", "binary", {"age": "number", "purpose": "category"}),
    "mammography.csv": ("class", "binary", {"attr1": "number"}),
    "credit_default.csv": (
        "default_payment_next_month",
        "binary",
        {"id": "identifier", "age": "number"},
    ),
    "california_housing.csv": (
        "median_house_value",
        "regression",
        {"ocean_proximity": "category", "total_bedrooms": "number"},
    ),
    "ETTh1.csv": ("OT", "regression", {"date": "datetime", "HUFL": "number"}),
}


@pytest.mark.parametrize("name", REAL)
def test_real_sets(shared_data: Path, name: str) -> None:
    target, kind, kinds = REAL[name]
    data = load(shared_data / name, target)
    assert data.task.kind == kind
    found = {column.name: column.kind for column in data.columns}
    assert {column: found[column] for column in kinds} == kinds
    raw = pl.read_csv(shared_data / name, infer_schema_length=None)
    assert len(data.train) + len(data.validation) + len(data.test) == raw.height
    for label, part in data.parts.items():
        assert part.fields["numeric"].shape == (len(part), data.input_shape["numeric"])
        assert np.isfinite(part.fields["numeric"]).all()
        assert data.frame(label).height == len(part)
        assert data.labels(label).tolist() == raw[target].gather(part.rows).to_list() or (
            kind == "regression"
        )
        np.testing.assert_array_equal(
            data.encoder.encode(raw[part.rows]).fields["numeric"], part.fields["numeric"]
        )
    if kind == "regression":
        np.testing.assert_allclose(
            data.labels("test"), raw[target].to_numpy()[data.test.rows], rtol=1e-4, atol=1e-4
        )
    again = Encoder.from_dict(json.loads(json.dumps(data.encoder.to_dict(), allow_nan=False)))
    part = again.encode(shared_data / name, with_target=True)
    np.testing.assert_array_equal(part.target[data.test.rows], data.test.target)


def test_adult_with_its_own_test_rows(shared_data: Path) -> None:
    data = load(shared_data / "adult/train.csv", "income", test=shared_data / "adult/test.csv")
    assert data.name == "adult"
    assert data.task.classes == ("<=50K", ">50K")
    assert len(data.test) == 16_281
    assert len(data.train) + len(data.validation) == 32_561
    assert data.class_shares()[">50K"] == pytest.approx(0.241, abs=0.001)
    assert "workclass=(missing)" in data.preprocessor.feature_names
    assert data.preprocessor.category_names == ("native_country",)
    codes = data.test.fields["category"]
    assert codes.min() >= 0
    assert codes.max() < data.preprocessor.cardinalities[0]


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_sets(name: str) -> None:
    data = load(name)
    assert data.task.targets == ("target",)
    assert data.name == name
    assert data.input_shape["cardinalities"] == []
    text = "\n".join(data.describe())
    assert "rows: " in text
    assert data.headline() in text
    assert data.train.fields["numeric"].dtype == np.float32


def test_what_is_dropped_and_what_is_read() -> None:
    data = load(FRAME, "y")
    found = {column.name: column.kind for column in data.columns}
    assert found == {
        "id": "identifier",
        "age": "number",
        "income": "number",
        "city": "category",
        "note": "text",
        "same": "constant",
        "day": "datetime",
        "who": "category",
    }
    told = " ".join(data.notices)
    for name in ("id", "same"):
        assert name in told
    # A network reads the text; other models get the columns beside it.
    assert {"terms", "tokens"} & set(data.train.fields)
    assert set(data.frame("train").columns) == {"age", "income", "city", "day", "who"}
    assert data.native("test")[0].shape[0] == len(data.test)
    assert [record["name"] for record in data.column_records()] == FRAME.columns[:-1]


def test_overrides_and_drops() -> None:
    data = load(FRAME, "y", drop=["who"], columns={"id": "number", "age": "category"})
    found = {column.name: column.kind for column in data.columns}
    assert "who" not in found
    assert found["id"] == "number"
    assert found["age"] == "category"


def test_no_leak_from_validation_and_test_rows() -> None:
    data = load(FRAME, "y")
    others = np.concatenate([data.validation.rows, data.test.rows])
    spoilt = FRAME.to_pandas()
    spoilt.loc[others, "age"] = 10**6
    spoilt["income"] = spoilt["income"].astype(object)
    spoilt.loc[others, "income"] = "much"
    spoilt.loc[others, "city"] = [f"town {i}" for i in others]
    spoilt.loc[others, "same"] = "different"
    spoilt.loc[others, "id"] = 7
    changed = load(spoilt, "y")
    assert changed.preprocessor == data.preprocessor
    assert [c.kind for c in changed.columns] == [c.kind for c in data.columns]
    np.testing.assert_array_equal(changed.train.fields["numeric"], data.train.fields["numeric"])
    numbers = FRAME.with_columns(y=pl.col("income"))
    first = load(numbers, "y", drop=["income"], fractions=(0.5, 0.25, 0.25), time="id")
    rows = pl.Series(np.isin(np.arange(N), first.train.rows))
    other = numbers.with_columns(pl.when(rows).then(pl.col("y")).otherwise(1.0).alias("y"))
    second = load(other, "y", drop=["income"], fractions=(0.5, 0.25, 0.25), time="id")
    assert second.encoder.target == first.encoder.target


def test_the_same_from_every_kind_of_source(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "t.csv")
    FRAME.write_parquet(tmp_path / "t.parquet")
    first = load(tmp_path / "t.csv", "y")
    for source in (tmp_path / "t.parquet", FRAME, FRAME.to_pandas(), FRAME.to_dict()):
        assert equal(load(source, "y"), first)
    assert not equal(load(FRAME, "y", seed=1), first)
    assert not equal(load(FRAME.with_columns(pl.col("age") + pl.int_range(N)), "y"), first)


def test_arrays() -> None:
    inputs, labels = RNG.normal(size=(N, 3)), RNG.integers(0, 3, N)
    data = load((inputs, labels))
    assert data.task.kind == "multiclass"
    assert equal(load(inputs, labels), data)
    assert equal(load((inputs, pd.Series(labels))), data)
    part = data.encode(inputs[:5])
    np.testing.assert_array_equal(part.fields["numeric"], data.encode(inputs).fields["numeric"][:5])
    assert part.target is None
    scored = data.encode((inputs, labels), with_target=True)
    np.testing.assert_array_equal(scored.target, labels)
    assert len(data.encode([[0.1, 0.2, 0.3]])) == 1
    with pytest.raises(DataError, match="must have the 3 columns"):
        data.encode(inputs[:, :2])
    several = load((inputs, RNG.normal(size=(N, 2))))
    assert several.task.targets == ("target0", "target1")
    assert several.train.target.shape[1] == 2
    assert several.raw_target(several.test).shape == (len(several.test), 2)
    dirichlet = load((inputs, RNG.dirichlet(np.ones(4), N)))
    assert dirichlet.task.kind == "multiclass"
    assert dirichlet.train.target.shape[1] == 4


def test_textbook_sizes() -> None:
    xor = load(([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]), fractions=(1, 0, 0))
    assert sorted(xor.train.fields["numeric"].tolist()) == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert len(xor.validation) == len(xor.test) == 0
    assert "4 train" in xor.describe()[1]
    x = np.arange(100)
    line = load({"x": x, "y": 2 * x + 1}, "y")
    assert line.task.kind == "regression"
    assert line.input_shape["numeric"] == 1


def test_fixed_parts(tmp_path: Path) -> None:
    FRAME[:150].write_csv(tmp_path / "train.csv")
    FRAME[150:175].write_csv(tmp_path / "valid.csv")
    FRAME[175:].reverse().write_csv(tmp_path / "test.csv")
    data = load(
        tmp_path / "train.csv", "y", validation=tmp_path / "valid.csv", test=tmp_path / "test.csv"
    )
    assert [len(part) for part in data.parts.values()] == [150, 25, 25]
    assert data.labels("test").tolist() == FRAME["y"][175:].reverse().to_list()
    assert data.split == "own source for validation and test"
    half = load(FRAME, "y", validation=FRAME[:20])
    assert half.split == "own source for validation; the rest at random by class, seed 0"
    for given in (None, FRAME[:20]):
        assert load(FRAME, "y", test=given).split.startswith("at random")
    assert len(half.test) == round(N * 0.2 / 0.84)
    with pytest.raises(DataError, match="the test rows lack the column 'age'"):
        load(FRAME, "y", test=FRAME.drop("age"))
    with pytest.raises(DataError, match="the validation rows lack the target column 'y'"):
        load(FRAME, "y", validation=FRAME.drop("y"))
    with pytest.raises(DataError, match=r"one of the classes 'bad', 'good'.*'fair'"):
        load(FRAME, "y", test=FRAME.with_columns(y=pl.lit("fair")))


def test_group_and_time() -> None:
    data = load(FRAME, "y", group="who")
    groups = [set(FRAME["who"].gather(part.rows)) for part in data.parts.values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert "who" not in {column.name for column in data.columns}
    assert not data.encode(FRAME).notices
    later = load(FRAME, "y", time="day")
    days = [FRAME["day"].gather(part.rows) for part in later.parts.values()]
    assert days[0].max() < days[1].min()  # type: ignore[operator]
    assert days[1].max() < days[2].min()  # type: ignore[operator]
    with pytest.raises(DataError, match="cannot be ordered by 'city'"):
        load(FRAME, "y", time="city")
    with pytest.raises(DataError, match="not both"):
        load(FRAME, "y", time="day", group="who")


def test_rows_without_a_target_are_left_out() -> None:
    gaps = FRAME.with_columns(
        y=pl.when(pl.int_range(N) % 10 == 0).then(None).otherwise(pl.col("y"))
    )
    data = load(gaps, "y")
    assert sum(len(part) for part in data.parts.values()) == 180
    assert any("20 row(s) without a target" in notice for notice in data.notices)
    part = data.encode(gaps, with_target=True)
    assert len(part) == 180
    assert (part.rows % 10 != 0).all()
    assert len(data.encode(gaps)) == N


def test_new_rows() -> None:
    data = load(FRAME, "y")
    encoder = data.encoder
    shuffled = FRAME.select(reversed(FRAME.columns)).drop("y", "id")
    np.testing.assert_array_equal(
        encoder.encode(shuffled).fields["numeric"], encoder.encode(FRAME).fields["numeric"]
    )
    part = encoder.encode(FRAME.with_columns(extra=pl.lit(1), city=pl.lit("Paris")))
    assert any("ignored: extra" in notice for notice in part.notices)
    assert any("city: 200 row(s) have a name never seen" in notice for notice in part.notices)
    with pytest.raises(DataError, match="lack the column 'age'"):
        encoder.encode(FRAME.drop("age"))
    with pytest.raises(DataError, match="lack the target column 'y'"):
        encoder.encode(FRAME.drop("y"), with_target=True)
    one = encoder.encode(
        {
            "age": [30],
            "income": ["1,000"],
            "city": ["Oslo"],
            "day": [None],
            "who": ["p1"],
            "note": ["a"],
        }
    )
    assert len(one) == 1
    assert np.isfinite(one.fields["numeric"]).all()


def test_imbalance_is_told_and_chooses_the_metric() -> None:
    rare = FRAME.with_columns(y=(pl.int_range(N) % 25 == 0).cast(pl.Int64))
    data = load(rare, "y")
    assert data.task.metric == "roc_auc"
    assert any("imbalanced: class 1 has 3.9%" in notice for notice in data.notices)
    assert min((part.target == 1).sum() for part in data.parts.values()) >= 1
    assert load(rare, "y", metric="accuracy").task.metric == "accuracy"


def test_tasks_losses_and_metrics() -> None:
    data = load(FRAME, "income", loss="huber", metric="mae")
    assert (data.task.loss, data.task.metric) == ("huber", "mae")
    assert data.units is not None
    other = data.with_task(data.task.with_choice(loss="poisson"))
    assert other.task.loss == "poisson"
    assert other.fingerprint == data.fingerprint
    with pytest.raises(DataError, match="made for a regression task"):
        data.with_task(replace(data.task, targets=("age",)))
    with pytest.raises(OptionError, match="did you mean 'rmse'"):
        load(FRAME, "income", metric="rsme")
    with pytest.raises(DataError, match="poisson loss is for counts"):
        load(FRAME.with_columns(pl.col("income") - 1e5), "income", loss="poisson")


def test_parts_can_be_taken_and_put_together() -> None:
    data = load(FRAME, "y")
    both = concatenate([data.train, data.validation])
    assert len(both) == len(data.train) + len(data.validation)
    assert both.weight is None
    first = both.take(np.arange(len(data.train)))
    np.testing.assert_array_equal(first.fields["numeric"], data.train.fields["numeric"])
    weighted = replace(data.train, weight=np.full(len(data.train), 2, np.float32))
    assert concatenate([weighted, data.test]).weight.sum() == 2 * len(data.train) + len(data.test)  # type: ignore[union-attr]


BAD = {
    "no target": (FRAME, {}, "which column is to be predicted.*'y'"),
    "target misspelt": (FRAME, {"target": "incme"}, "did you mean 'income'"),
    "target absent": (
        FRAME,
        {"target": "price"},
        "no column of the table; the columns are id, age",
    ),
    "target twice": (FRAME, {"target": ["age", "age"]}, "named once"),
    "target all missing": (
        FRAME.with_columns(y=pl.lit(None)),
        {"target": "y"},
        "'y' has no values at all",
    ),
    "one class": (FRAME.with_columns(y=pl.lit("a")), {"target": "y"}, "one class only"),
    "one row": (FRAME[:1], {"target": "age"}, "has one row"),
    "as many classes as rows": (FRAME, {"target": "note"}, "as many classes as rows"),
    "too few rows": (FRAME[:6], {"target": "y"}, "at least 10 rows; got 6"),
    "the target alone": (FRAME.select("y"), {"target": "y"}, "no column is left"),
    "drop misspelt": (FRAME, {"target": "y", "drop": ["cty"]}, "drop names.*did you mean 'city'"),
    "drop the target": (FRAME, {"target": "y", "drop": ["y"]}, "cannot be dropped"),
    "group misspelt": (FRAME, {"target": "y", "group": "whom"}, "did you mean 'who'"),
    "group is the target": (FRAME, {"target": "y", "group": "y"}, "must be different columns"),
    "kind of the target": (
        FRAME,
        {"target": "y", "columns": {"y": "number"}},
        "say what it is with task",
    ),
    "kind unknown": (FRAME, {"target": "y", "columns": ["age=numbr"]}, "did you mean 'number'"),
    "task unknown": (FRAME, {"target": "y", "task": "binry"}, "did you mean 'binary'"),
    "seed": (FRAME, {"target": "y", "seed": -1}, "seed must be"),
    "fractions": (FRAME, {"target": "y", "fractions": (0.5, 0.1)}, "add up to 1"),
    "two targets for arrays": (
        (np.zeros((20, 2)), np.arange(20)),
        {"target": ["a", "b"]},
        "leave target out",
    ),
    "classes only in test rows": (
        pl.DataFrame({"t": range(100), "x": RNG.normal(size=100), "y": ["a"] * 80 + ["b"] * 20}),
        {"target": "y", "time": "t"},
        "all training rows have the class 'a'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_one_clear_line(case: str) -> None:
    source, options, message = BAD[case]
    with pytest.raises(ThalwegError, match=message) as caught:
        load(source, **options)
    assert "\n" not in str(caught.value)


def test_thirty_thousand_rows_are_read_once(tmp_path: Path) -> None:
    wide = pl.DataFrame({f"c{i}": RNG.normal(size=30_000) for i in range(24)}).with_columns(
        y=pl.Series(RNG.integers(0, 2, 30_000))
    )
    data = load(wide, "y")
    assert len(data.train) == 19_200
    assert read_table(wide) is wide
