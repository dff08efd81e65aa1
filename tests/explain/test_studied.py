"""What a study's report shows of explanations, and that it keeps to its time."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from networks import houses, random_model

import thalweg as tw
from thalweg.data.sequences import load_sequences
from thalweg.explain.studied import explain_study
from thalweg.report.pictures import paint
from thalweg.study.rundir import json_ready


def test_a_table():
    data = tw.load(houses(), target="price")
    found = explain_study(data, random_model(data, depth=1, width=8), paint)
    record = json.loads(json.dumps(json_ready(found.record)))
    assert not found.failed
    assert not found.pictures
    assert {line["column"] for line in record["importance"]["columns"]} == {
        "size", "age", "town", "street",
    }  # fmt: skip
    lines = record["rows"]["lines"]
    assert len({line["row"] for line in lines}) == 3
    assert lines[0].keys() >= {"prediction", "base", "column", "value", "contribution"}
    # A low, a middling and a high prediction.
    assert lines[0]["prediction"] < lines[4]["prediction"] < lines[8]["prediction"]


def test_several_classes():
    frame = houses().drop("price").with_columns(
        kind=pl.Series(np.resize(["a", "b", "c"], 500)),
    )  # fmt: skip
    data = tw.load(frame, target="kind")
    found = explain_study(data, random_model(data, depth=1, width=8), paint)
    assert not found.failed
    assert found.record["importance"]["metric"] == "log_loss"
    assert found.record["rows"]["unit"] == "probability"


@pytest.mark.parametrize("seconds", [np.inf, 4.0])
def test_images(seconds):
    rng = np.random.default_rng(0)
    data = tw.load((rng.integers(0, 255, (60, 8, 8, 3), dtype=np.uint8), np.arange(60) % 3))
    model = random_model(data, model="mlp", depth=1, width=8)
    found = explain_study(data, model, paint, seconds=seconds)
    assert not found.failed
    assert found.pictures["explained"][:4] == b"\x89PNG"
    (entry,) = found.entries
    # The dearer way only where there is time.
    assert entry["caption"].startswith("Integrated" if seconds > 6 else "Occlusion")


def test_sequences():
    rng = np.random.default_rng(0)
    steps = rng.standard_normal((60, 10, 2)).astype(np.float32)
    data = load_sequences((steps, np.arange(60) % 2))
    found = explain_study(data, random_model(data, model="gru", width=8), paint)
    assert not found.failed
    assert len(found.record["steps"]["steps"]) == 20


def test_without_time_nothing_is_made():
    data = tw.load(houses(), target="price")
    found = explain_study(data, random_model(data, depth=1, width=8), paint, seconds=0.1)
    assert (found.record, found.pictures, found.failed) == ({}, {}, [])


def test_a_failure_is_told_and_costs_nothing_else():
    data = tw.load(houses(), target="price")
    model = random_model(data, depth=1, width=8)
    model.reference = {}
    model.members[0][0].pop("output/kernel")
    found = explain_study(data, model, paint)
    assert len(found.failed) == 2
    assert "could not be made (KeyError" in found.failed[0]


def test_recordings():
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(1600).astype(np.float32) * 0.1 for _ in range(40)]
    data = tw.load((waves, np.arange(40) % 2), modality="audio", sample_rate=8000, mels=12)
    found = explain_study(data, random_model(data, model="cnn1d", width=8), paint)
    assert not found.failed
    assert found.pictures["explained"][:4] == b"\x89PNG"
    assert "spectrogram" in found.entries[0]["caption"]
