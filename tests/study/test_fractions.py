"""Parts of the rows, and the arrays that the evidence about rows is drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from customers import SPACE

import thalweg as tw
from thalweg.study.checks import native_columns, plain_targets, row_keys
from thalweg.study.fractions import part_of
from thalweg.training.feed import TrainingData


def test_a_part_is_repeated_up_to_the_old_shape_and_lies_within_larger_ones() -> None:
    x = np.arange(40, dtype=np.float32)[:, None]
    data = TrainingData({"numeric": x}, x[:, 0], {"numeric": x[:3]}, x[:3, 0])
    small, size = part_of(data, 0.25, seed=3)
    large, _ = part_of(data, 0.5, seed=3)
    assert size == 10
    assert small.fields["numeric"].shape == x.shape
    assert len(np.unique(small.target)) == 10
    assert set(small.target) <= set(large.target)
    assert np.bincount(small.target.astype(int)).max() == 4
    assert small.validation_target is data.validation_target


@pytest.fixture(scope="module")
def grown(tables: Any) -> tw.Study:
    return tw.tune(
        tables["train"], "bought", trials=40, epochs=3, space=SPACE, finalists=1, seeds=3
    )


def test_a_study_says_whether_more_rows_would_help(grown: tw.Study) -> None:
    entries = grown.summary["fractions"]
    by_trial: dict[int, list[int]] = {}
    for entry in entries:
        by_trial.setdefault(entry["trial"], []).append(entry["rows"])
    assert len(by_trial) == 3
    assert all(len(set(sizes)) == 4 for sizes in by_trial.values())
    whole = {record["id"]: record["score"] for record in grown.records}
    for entry in entries:
        if entry["rows"] == max(by_trial[entry["trial"]]):
            assert entry["score"] == pytest.approx(whole[entry["trial"]])
    assert "Would more data help?" in {answer.question for answer in grown.answers()}


def test_a_study_looks_at_its_rows(grown: tw.Study) -> None:
    found = grown.summary["rows"]
    assert set(found) == {"repeats", "targets", "columns", "labels"}
    rows = grown.summary["task"]["rows"]
    assert found["repeats"]["rows"] == rows
    # With folds every row but the few that sit out is judged by a network that left it out.
    assert rows["train"] + rows["validation"] - 5 <= found["labels"]["judged"]
    assert {"Does one column give the answer away?", "Do the splits look alike?"} <= {
        answer.question for answer in grown.answers()
    }
    assert grown.summary["importance"]


def test_no_growth_is_measured_where_nobody_wants_it(tables: Any) -> None:
    study = tw.tune(
        tables["train"], "bought", trials=40, epochs=1, space=SPACE, finalists=1, seeds=2,
        growth=False,
    )  # fmt: skip
    assert "fractions" not in study.summary


def test_arrays_of_the_parts() -> None:
    data = tw.load("iris")
    columns = native_columns(data)
    assert len(columns) == 4
    targets = plain_targets(data)
    keys = row_keys(data)
    assert targets is not None
    assert keys is not None
    for part, rows in data.parts.items():
        assert len(targets[part]) == len(keys[part]) == len(rows)
