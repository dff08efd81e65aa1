"""Whole sequences: arrays, files and long tables, padded and split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from thalweg.data.dataset import Encoder
from thalweg.data.sequences import SequenceDataset, load_sequences
from thalweg.data.series import load_series
from thalweg.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 12, 2)) * 3 + 5
Y = (X[:, :, 0].mean(axis=1) > 5).astype(int)
RAGGED = [x[: 4 + i % 9] for i, x in enumerate(X)]


def long_table() -> pl.DataFrame:
    rows = [
        {"recording": f"r{i}", "t": t, "x": step[0], "y": step[1], "move": "up" if Y[i] else "down"}
        for i, x in enumerate(RAGGED)
        for t, step in enumerate(x)
    ]
    return pl.DataFrame(rows)


def test_arrays_of_one_length_need_no_mask() -> None:
    data = load_sequences(X, Y)
    assert data.task.kind == "binary"
    assert data.input_shape == {"sequence": [12, 2], "masked": False}
    assert set(data.train.fields) == {"sequence"}
    steps = data.train.fields["sequence"].reshape(-1, 2)
    np.testing.assert_allclose(steps.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(steps.std(0), 1, atol=1e-5)
    np.testing.assert_array_equal(data.labels("train"), Y[data.train.rows])
    assert data.split.startswith("at random by class")
    with pytest.raises(DataError, match="have 12 steps; got one of 5"):
        data.encode(X[:3, :5])
    part = data.encode(np.concatenate([X, X], axis=1))
    assert "cut to their first 12" in part.notices[0]


def test_differing_lengths_are_padded() -> None:
    data = load_sequences((RAGGED, Y), fractions=(0.6, 0.2, 0.2))
    assert data.input_shape == {"sequence": [12, 2], "masked": True}
    train = data.train
    lengths = train.fields["length"]
    assert lengths.dtype == np.int32
    np.testing.assert_array_equal(lengths, [len(RAGGED[row]) for row in train.rows])
    for steps, length in zip(train.fields["sequence"], lengths, strict=True):
        assert (steps[length:] == 0).all()
        assert (steps[: length - 1] != 0).any()
    padded = np.zeros((60, 12, 2))
    for i, x in enumerate(RAGGED):
        padded[i, : len(x)] = x
    same = load_series(padded, Y, lengths=list(map(len, RAGGED)), fractions=(0.6, 0.2, 0.2))
    assert isinstance(same, SequenceDataset)
    assert same.fingerprint == data.fingerprint


def test_a_long_table_is_the_same_as_arrays() -> None:
    table = long_table()
    data = load_series(table, "move", sequence="recording", time="t")
    arrays = load_sequences((RAGGED, np.where(Y, "up", "down")))
    np.testing.assert_allclose(
        data.train.fields["sequence"], arrays.train.fields["sequence"], rtol=1e-5, atol=1e-6
    )
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=3)
    part = data.encode(shuffled, with_target=True)
    order = [int(name[1:]) for name in part.keys["sequence"]]
    np.testing.assert_array_equal(
        data.encoder.target.labels(part.target), np.where(Y[order], "up", "down")
    )
    predicted = data.encoder.predictions(np.full((len(part), 2), 0.5), part)
    assert predicted.columns[:2] == ["sequence", "prediction"]
    again = Encoder.from_dict(json.loads(json.dumps(data.encoder.to_dict())))
    np.testing.assert_array_equal(
        again.encode(shuffled).fields["sequence"], part.fields["sequence"]
    )
    assert "60 sequences of 4 to 12 steps" in data.headline()


def test_regression_npz_and_parts_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "waves.npz"
    np.savez(path, X=X, y=X[:, :, 0].sum(axis=1))
    data = load_sequences(str(path), test=(X[:5], X[:5, :, 0].sum(axis=1)))
    assert data.name == "waves"
    assert data.task.kind == "regression"
    assert len(data.test) == 5
    np.testing.assert_allclose(data.labels("test"), X[:5, :, 0].sum(axis=1), rtol=1e-5)
    assert len(data.train) + len(data.validation) == 60


def test_missing_values_within_sequences() -> None:
    holes = X.copy()
    holes[0, 3, 0] = np.nan
    data = load_sequences(holes, Y, fractions=(1, 0, 0))
    steps = data.train.fields["sequence"]
    assert steps[0, 3, 0] == steps[0, 2, 0]
    assert any("1 missing value(s)" in notice for notice in data.notices)


@pytest.mark.parametrize(
    ("source", "target", "options", "message"),
    [
        (X, Y[:5], {}, "same number of sequences"),
        (X, None, {}, r"Give \(X, y\)"),
        (X[0, :, 0], Y, {}, "shape"),
        ([X[0], X[1, :, :1]], Y[:2], {}, "same channels"),
        (X, Y, {"lengths": [13] * 60}, "from 1 to 12"),
        ([["a"]], [1], {}, "must be numbers"),
        (long_table(), "moved", {"sequence": "recording"}, "did you mean 'move'"),
        (long_table(), "x", {"sequence": "recording"}, "same in all rows of a sequence; 'r0'"),
        (long_table(), "move", {"sequence": "record"}, "did you mean 'recording'"),
    ],
)
def test_bad_input_is_refused_in_one_line(source, target, options, message) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_sequences(source, target, **options)
    assert "\n" not in str(caught.value)
