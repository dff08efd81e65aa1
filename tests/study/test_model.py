"""What is handed over: a run directory, a model that survives it, and the user's own terms."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from customers import SPACE

import thalweg as tw
from thalweg.errors import DataError, RunError
from thalweg.study.model import Model


@pytest.fixture(scope="module")
def regression(tables):
    return tw.tune(
        tables["regression"],
        "price",
        trials=4,
        epochs=20,
        space={**SPACE, "optimizer": "adamw"},
        finalists=0,
        baselines=False,
    )


def test_the_run_directory_holds_what_it_should(study):
    folder = study.directory.path
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert files == [
        "journal.log",
        "model/model.json",
        "model/weights.safetensors",
        "report.html",
        "run.json",
        "study.json",
        "trials.jsonl",
    ]
    summary = json.loads((folder / "run.json").read_text())
    assert summary == json.loads(json.dumps(study.summary))
    lines = (folder / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(study.records))
    for name in ("run.json", "trials.jsonl", "model/model.json"):
        assert "NaN" not in (folder / name).read_text()


def test_the_summary_says_what_the_contract_asks(study):
    summary = study.summary
    assert summary.keys() >= {
        "run", "name", "task", "metric", "direction", "best_config", "best_trial", "validation",
        "test", "baselines", "trials", "seconds", "budget_seconds", "device", "versions", "seed",
        "command", "answers", "notices",
    }  # fmt: skip
    assert summary["task"]["kind"] == "binary"
    assert summary["task"]["classes"] == ["ja", "nein"]
    assert sum(summary["task"]["rows"].values()) == 400
    assert summary["metric"] == "accuracy"
    assert summary["direction"] == "maximize"
    assert summary["seconds"].keys() >= {"total", "compile", "train"}
    assert 0.5 < summary["test"]["accuracy"] <= 1
    assert summary["validation"]["accuracy"] > 0.6
    assert [b["name"] for b in summary["baselines"]] == ["constant", "linear", "boosted_trees"]
    assert all("accuracy" in b["test"] for b in summary["baselines"])
    assert summary["versions"]["thalweg"] == tw.__version__
    assert summary["command"] == "thalweg fit train.csv"
    json.dumps(summary, allow_nan=False)


def test_a_study_opens_again(study, tables):
    again = tw.Study.open(study.directory.path)
    assert again.best_config == study.best_config
    assert repr(again) == repr(study)
    assert "14 trials" in repr(again)
    assert [a.to_dict() for a in again.answers()] == [a.to_dict() for a in study.answers()]
    assert again.leaderboard(3) == study.leaderboard(3)
    np.testing.assert_allclose(
        again.model().predict_proba(tables["messy"]), study.model().predict_proba(tables["messy"])
    )


def test_the_report_is_written_where_asked(study, tmp_path):
    path = study.report(tmp_path / "mine.html")
    assert path == tmp_path / "mine.html"
    assert "<html" in path.read_text()[:500].lower()


def test_predictions_are_in_the_users_terms(study, tables):
    model = study.model()
    labels = model.predict(tables["fresh"])
    truth = pl.read_csv(tables["fresh"])["bought"].to_numpy()
    assert set(labels) <= {"ja", "nein"}
    accuracy = (labels == truth).mean()
    assert accuracy > 0.65
    scores = model.evaluate(tables["fresh"])
    assert scores["accuracy"] == pytest.approx(accuracy)
    probabilities = model.predict_proba(tables["fresh"])
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    assert (np.array(["ja", "nein"])[probabilities.argmax(1)] == labels).all()
    frame = model.predict_frame(tables["fresh"])
    assert frame.columns == ["prediction", "probability_ja", "probability_nein"]
    assert frame["prediction"].to_list() == list(labels)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.9, 1.0])
def test_thresholds(study, tables, threshold):
    model = study.model()
    labels = model.predict(tables["fresh"], threshold=threshold)
    want = model.predict_proba(tables["fresh"])[:, 1] >= threshold
    assert ((labels == "nein") == want).all()


def test_regression_is_in_the_users_units(regression, tables):
    model = regression.model()
    values = model.predict(tables["fresh"])
    truth = pl.read_csv(tables["fresh"])["price"].to_numpy()
    assert values.shape == (50,)
    rmse = float(np.sqrt(np.mean((values - truth) ** 2)))
    assert rmse < 0.8 * truth.std()
    assert model.evaluate(tables["fresh"])["rmse"] == pytest.approx(rmse, rel=1e-5)
    assert model.predict_frame(tables["fresh"]).columns == ["prediction"]
    with pytest.raises(DataError, match="no class probabilities: use predict"):
        model.predict_proba(tables["fresh"])
    # The metric that chose is in the user's units, too.
    score = regression.records[regression.summary["best_trial"]]["score"]
    assert score == pytest.approx(regression.summary["validation"]["rmse"], rel=1e-4)


def test_save_and_load(regression, tables, tmp_path):
    model = regression.model()
    folder = model.save(tmp_path / "deep" / "model")
    again = Model.load(folder)
    np.testing.assert_array_equal(again.predict(tables["messy"]), model.predict(tables["messy"]))
    assert again.config == model.config
    assert again.task == model.task
    assert again.about == json.loads(json.dumps(model.about))
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "weights.safetensors"]


def test_frames_dicts_and_arrays_are_rows_too(study, tables):
    model = study.model()
    frame = pl.read_csv(tables["fresh"])
    want = model.predict_proba(tables["fresh"])
    features = ["age", "income", "city", "member"]
    np.testing.assert_allclose(model.predict_proba(frame), want, rtol=1e-6)
    np.testing.assert_allclose(model.predict_proba(frame.to_pandas()), want, rtol=1e-6)
    np.testing.assert_allclose(model.predict_proba(frame.to_dict(as_series=False)), want, rtol=1e-6)
    array = frame.select(features).to_numpy()
    np.testing.assert_allclose(model.predict_proba(array), want, rtol=1e-6)


def test_rows_do_not_influence_each_other(study, tables):
    model = study.model()
    frame = pl.read_csv(tables["messy"])
    whole = model.predict_proba(frame)
    parts = np.concatenate([model.predict_proba(frame[i : i + 7]) for i in range(0, 50, 7)])
    np.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_a_missing_column_is_named(study, tables):
    frame = pl.read_csv(tables["fresh"]).drop("city")
    with pytest.raises(DataError, match="city") as error:
        study.model().predict(frame)
    assert "\n" not in str(error.value)


def test_a_new_process_predicts_raw_rows_the_same(study, tables, tmp_path):
    out = tmp_path / "predictions.csv"
    command = [sys.executable, "-m", "thalweg.cli", "predict", str(study.directory.path)]
    done = subprocess.run(
        [*command, str(tables["messy"]), "-o", str(out)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    found = pl.read_csv(out)
    want = study.model().predict_frame(tables["messy"])
    assert found.columns == want.columns
    assert found["prediction"].to_list() == want["prediction"].to_list()
    np.testing.assert_allclose(
        found["probability_ja"].to_numpy(), want["probability_ja"].to_numpy(), rtol=1e-5
    )


# ------------------------------------------------------------------------------------------ trouble


def test_damaged_weights_are_told(regression, tmp_path):
    path = regression.model().save(tmp_path / "model") / "weights.safetensors"
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 1
    path.write_bytes(bytes(stored))
    with pytest.raises(RunError, match="not those that were saved"):
        Model.load(tmp_path / "model")


def test_loading_what_is_no_model(tmp_path, study):
    with pytest.raises(RunError, match="holds no trained model"):
        Model.load(tmp_path)
    model = study.model().save(tmp_path / "model")
    record = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(RunError, match="later version of Thalweg"):
        Model.load(model)
    (model / "model.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        Model.load(model)
    (model / "model.json").write_text("[]")
    with pytest.raises(RunError, match="cannot be read") as error:
        Model.load(model)
    assert "\n" not in str(error.value)
    (model / "model.json").write_text(json.dumps({**record, "encoder": {}}))
    with pytest.raises(RunError, match="a part of it is damaged"):
        Model.load(model)
    (model / "model.json").write_text(json.dumps(record))
    (model / "weights.safetensors").write_bytes(b"\x00" * 4)
    with pytest.raises(RunError, match="not those that were saved"):
        Model.load(model)
    # Models of before had no checksum.
    del record["weights_sha256"]
    (model / "model.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="cannot be read") as error:
        Model.load(model)
    assert "\n" not in str(error.value)
    (model / "weights.safetensors").unlink()
    with pytest.raises(RunError, match=r"weights\.safetensors is missing"):
        Model.load(model)


def test_nothing_is_unpickled(study, tables, monkeypatch):
    def refuse(*args, **keywords):
        raise AssertionError("a pickle was read")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    model = Model.load(study.directory.path)
    assert model.encoder.encode(tables["messy"]).fields["numeric"].shape[0] == 50
