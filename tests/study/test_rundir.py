"""The run directory: made, found, read back, and refused with one line."""

from __future__ import annotations

import json
import math
import os
import re

import numpy as np
import pytest

from thalweg.errors import RunError
from thalweg.space import Config
from thalweg.study.records import Trial, finite
from thalweg.study.rundir import RunDirectory, json_ready


def test_names_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = [RunDirectory.create(None, "a b/ü?.csv").path for _ in range(3)]
    assert len(set(made)) == 3
    assert all(path.is_dir() for path in made)
    assert all(re.fullmatch(r"runs/[\w.-]+-\d{8}-\d{6}(-\d)?", path.as_posix()) for path in made)


def test_a_finished_run_is_not_overwritten(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", "x")
    directory.write_summary({"a": 1})
    with pytest.raises(RunError, match="already holds a finished run: give another --run"):
        RunDirectory.create(tmp_path / "run", "x")


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="the superuser may write everywhere"
)
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot be written"):
        RunDirectory.create(tmp_path / "run", "x")


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(RunError, match="cannot be written") as error:
        RunDirectory.create(tmp_path / "run", "x")
    assert "\n" not in str(error.value)


def test_abandoning_removes_what_was_made_and_is_empty(tmp_path):
    directory = RunDirectory.create(tmp_path / "a" / "b" / "run", "x")
    directory.abandon()
    assert list(tmp_path.iterdir()) == []
    directory = RunDirectory.create(tmp_path / "a" / "b" / "run", "x")
    directory.write_trials([])
    directory.abandon()
    assert (directory.path / "trials.jsonl").exists()
    (tmp_path / "mine").mkdir()
    RunDirectory.create(tmp_path / "mine", "x").abandon()
    assert (tmp_path / "mine").is_dir()


def test_opening_what_is_no_run(tmp_path):
    with pytest.raises(RunError, match="there is no run directory"):
        RunDirectory.open(tmp_path / "none")
    with pytest.raises(RunError, match=r"no finished run \(run.json is missing\)"):
        RunDirectory.open(tmp_path)
    directory = RunDirectory.create(tmp_path / "run", "x")
    directory.write_summary({})
    with pytest.raises(RunError, match="trials of"):
        RunDirectory.open(directory.path).read_trials()
    (directory.path / "run.json").write_text("{half")
    with pytest.raises(RunError, match="summary of"):
        RunDirectory.open(directory.path).read_summary()


def test_records_round_trip(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", "x")
    curve = {"step": [5.0], "train_loss": [math.nan], "validation_loss": [math.inf]}
    trials = [
        Trial(0, "explore", Config(width=(4, 2), clip_norm=math.inf), "mlp-4-2", 0, curve=curve),
        Trial(1, "confirm", Config(), "mlp", 1, fold=2, status="diverged", score=0.123456789),
    ]
    directory.write_trials(trials)
    first, second = directory.read_trials()
    assert first["curve"] == {"step": [5], "train_loss": [None], "validation_loss": [None]}
    assert first["score"] is None
    assert first["status"] == "stopped"
    assert Config(first["config"]) == trials[0].config
    assert second["score"] == 0.1234568
    assert second["fold"] == 2
    text = (directory.path / "trials.jsonl").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_json_ready():
    value = {
        1: np.float32(0.5),
        "nan": math.nan,
        "array": np.arange(3),
        "nested": [(1, np.int64(2)), {"x": np.inf, "flag": np.bool_(True), "none": None}],
        "other": Config(depth=1).structure().__class__,
    }
    ready = json_ready(value)
    assert json.loads(json.dumps(ready, allow_nan=False)) == ready
    assert ready["1"] == 0.5
    assert ready["nan"] is None
    assert ready["array"] == [0, 1, 2]
    assert ready["nested"] == [[1, 2], {"x": None, "flag": True, "none": None}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (math.nan, None), (-math.inf, None), (1 / 3, 0.3333333), (0.0, 0.0)],
)
def test_finite(value, expected):
    assert finite(value) == expected


def test_pictures_are_read_back_by_name(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", "x")
    directory.write_pictures({})
    assert not (directory.path / "pictures").exists()
    drawn = {"inputs": b"\x89PNG one", "filters": b"\x89PNG two"}
    directory.write_pictures(drawn)
    assert directory.read_pictures(["inputs", "filters", "lost"]) == drawn
    assert (directory.path / "pictures" / "inputs.png").read_bytes() == drawn["inputs"]
    # A name leads nowhere else.
    (tmp_path / "secret.png").write_bytes(b"secret")
    assert directory.read_pictures(["../../secret", str(tmp_path / "secret")]) == {}
