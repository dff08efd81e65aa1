"""What a target is taken for, and its way into numbers and back."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from thalweg.data.targets import TargetEncoder, balance, infer_target
from thalweg.errors import DataError, OptionError

N = 120
RNG = np.random.default_rng(0)


def infer(values: object, task: str | None = None) -> TargetEncoder:
    return infer_target(pl.DataFrame({"y": values}), ["y"], task)[0]


CASES = {
    "0 and 1": ([0, 1] * 60, "binary", (0, 1)),
    "0.0 and 1.0": ([0.0, 1.0, None] * 40, "binary", (0, 1)),
    "booleans": ([True, False] * 60, "binary", (False, True)),
    "two names": (["no", " yes"] * 60, "binary", ("no", "yes")),
    "digits": (list(range(10)) * 12, "multiclass", tuple(range(10))),
    "names": (["b", "a", "c"] * 40, "multiclass", ("a", "b", "c")),
    "numbers as names": (["10", "9", "None"] * 40, "multiclass", ("10", "9", "None")),
    "codes in text are sorted as numbers": (["10", "9", "1"] * 40, "multiclass", ("1", "9", "10")),
    "floats": (RNG.normal(size=N), "regression", ()),
    "many whole numbers": (RNG.integers(0, 300, N), "regression", ()),
    "prices as text": ([f"${i},{i + 100}.00" for i in range(1, N)], "regression", ()),
    "two values that are no codes": ([0.25, 0.75] * 60, "regression", ()),
    "few rows of whole numbers": ([1, 2, 3, 4], "regression", ()),
}


@pytest.mark.parametrize("case", CASES)
def test_inferred_tasks(case: str) -> None:
    values, kind, classes = CASES[case]
    encoder = infer(values)
    assert encoder.kind == kind
    assert encoder.classes == classes
    assert [type(label) for label in encoder.classes] == [type(label) for label in classes]


@pytest.mark.parametrize(
    ("values", "task", "kind"),
    [
        ([0, 1] * 60, "regression", "regression"),
        ([0, 1] * 60, "classification", "binary"),
        ([0, 1] * 60, "multiclass", "multiclass"),
        ([0.5, 1.5, 2.5] * 40, "classification", "multiclass"),
        (["1.5", "2", "7"] * 40, "regression", "regression"),
        (list(range(60)) * 2, "multiclass", "multiclass"),
    ],
)
def test_tasks_can_be_chosen(values: list, task: str, kind: str) -> None:
    assert infer(values, task).kind == kind


BAD = {
    "one class": (["a"] * 9, None, "one class only \\('a'\\)"),
    "one class and missing": (["a", None, "?"] * 9, None, "one class only"),
    "one number": ([3, 3, None], None, "is 3 in every row"),
    "constant regression": ([3.0] * 5, "regression", "is 3 in every row"),
    "no values": ([None] * 5, None, "no values at all"),
    "nan only": ([float("nan")] * 5, None, "no values at all"),
    "blank text": (["", "NA"] * 5, None, "no values at all"),
    "identifiers": ([f"u{i}" for i in range(50)], None, "as many classes as rows \\(50\\)"),
    "numbers as classes": (list(range(50)), "classification", "as many classes as rows"),
    "almost identifiers": ([f"u{i % 40}" for i in range(50)], None, "40 classes in 50 rows"),
    "mixed": ([str(i) for i in range(50)] + ["n/k"], None, "mixes numbers and text.*'n/k'"),
    "text as numbers": (["a", "b"] * 9, "regression", "must be numbers.*'a'"),
    "three for binary": (["a", "b", "c"] * 9, "binary", "has 3: use task='multiclass'"),
    "nested": ([[1], [2]] * 9, None, "nested"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_targets(case: str) -> None:
    values, task, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        infer(values, task)
    assert "\n" not in str(caught.value)


def test_dates_and_unknown_tasks() -> None:
    with pytest.raises(DataError, match="is a date"):
        infer(pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 3, 1), eager=True))
    with pytest.raises(OptionError, match="did you mean 'regression'"):
        infer([1, 2], "regresion")


def test_infinite_targets_are_missing() -> None:
    encoder = infer([1.5, float("inf"), None, 2.5])
    read = encoder.read(pl.DataFrame({"y": [1.5, float("inf"), None, 2.5]}))
    assert np.isfinite(read[:, 0]).tolist() == [True, False, False, True]


def test_regression_is_scaled_and_back() -> None:
    values = RNG.normal(50, 7, (N, 2))
    frame = pl.DataFrame(values, schema=["a", "b"])
    encoder, _ = infer_target(frame, ["a", "b"])
    encoder = encoder.fitted(encoder.read(frame)[:80])
    scaled = encoder.encode(encoder.read(frame))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:80].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[:80].std(0), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.inverse(scaled), values, rtol=1e-5)
    assert encoder.units is not None
    assert encoder.units[0].shape == (2,)
    assert TargetEncoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder


@pytest.mark.parametrize("labels", [[0, 1], [False, True], ["no", "yes"], [0.5, 1.5, 2.5]])
def test_labels_survive_json_and_other_types(labels: list) -> None:
    frame = pl.DataFrame({"y": labels * 40})
    encoder, _ = infer_target(frame, ["y"], "classification")
    again = TargetEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again == encoder
    codes = again.encode(again.read(frame))
    assert codes.dtype == np.int32
    assert again.labels(codes).tolist() == labels * 40
    as_text = pl.DataFrame({"y": [str(label) for label in labels]})
    assert again.read(as_text).tolist() == list(range(len(labels)))


def test_unknown_labels_and_missing_columns() -> None:
    encoder = infer(["a", "b"] * 9)
    with pytest.raises(DataError, match=r"one of the classes 'a', 'b'; 1 row\(s\).*'c'"):
        encoder.read(pl.DataFrame({"y": ["a", "c"]}))
    assert encoder.read(pl.DataFrame({"y": ["b", None, "?"]})).tolist() == [1, -1, -1]
    with pytest.raises(DataError, match="lack the target column 'y'"):
        encoder.read(pl.DataFrame({"x": ["a"]}))


def test_distributions() -> None:
    values = RNG.dirichlet([1, 2, 3], N)
    frame = pl.DataFrame(values, schema=["target0", "target1", "target2"])
    encoder, notices = infer_target(frame, frame.columns)
    assert (encoder.kind, encoder.classes, encoder.distribution) == ("multiclass", (0, 1, 2), True)
    assert "probabilities" in notices[0]
    target = encoder.encode(encoder.read(frame))
    np.testing.assert_allclose(target, values, rtol=1e-6)
    assert target.dtype == np.float32
    assert encoder.labels(target).tolist() == values.argmax(1).tolist()
    named = frame.rename({"target0": "a", "target1": "b", "target2": "c"})
    assert infer_target(named, named.columns)[0].classes == ("a", "b", "c")
    assert infer_target(frame, frame.columns, "regression")[0].kind == "regression"
    with pytest.raises(DataError, match="needs probabilities"):
        infer_target(frame * 2, frame.columns, "multiclass")


def test_balance() -> None:
    assert balance(np.array([0, 0, 1, 0]), 3).tolist() == [0.75, 0.25, 0.0]
    assert balance(np.array([[0.5, 0.5], [1.0, 0.0]]), 2).tolist() == [0.75, 0.25]
