"""Callbacks are told of everything once; TensorBoard's own reader reads what is written."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
from customers import SPACE

import thalweg as tw
from thalweg.errors import MissingExtraError
from thalweg.study.callbacks import MLflow, TensorBoard, WandB
from thalweg.study.records import Trial


class Notes:
    """Remembers what it is told."""

    def __init__(self):
        self.studies, self.curves, self.ends, self.summaries = [], {}, [], []

    def begin(self, study):
        self.studies.append(study)

    def update(self, record, new, finished):
        self.curves.setdefault(record["id"], []).extend(new)
        if finished:
            self.ends.append(record["id"])

    def end(self, summary):
        self.summaries.append(summary)


class Broken(Notes):
    """Fails at the first trial."""

    def update(self, record, new, finished):
        raise RuntimeError("no connection to the tracker\nsecond line")


def test_everything_is_told_once_and_a_broken_one_costs_nothing(tables):
    notes = Notes()
    study = tw.tune(
        tables["train"], "bought", trials=9, epochs=4, space=SPACE, baselines=False,
        finalists=1, seeds=2, callbacks=[Broken(), notes],
    )  # fmt: skip
    assert notes.studies[0]["metric"] == study.summary["metric"]
    assert sorted(notes.ends) == [record["id"] for record in study.records]
    for record in study.records:
        told = [(s, v) for n, s, v in notes.curves[record["id"]] if n == "validation"]
        assert [s for s, _ in told] == record["curve"]["step"]
        assert [v for _, v in told] == pytest.approx(record["curve"]["validation"], rel=1e-6)
    assert notes.summaries[0]["best_trial"] == study.summary["best_trial"]
    assert (
        "Broken is told no more of this study: no connection to the tracker"
        in (study.summary["notices"])
    )


def trial(status="completed"):
    curve = {
        "step": [10.0, 20.0], "train_loss": [0.9, 0.5], "validation_loss": [0.8, 0.6],
        "validation": [0.5, 0.75], "train": [0.6, 0.8],
    }  # fmt: skip
    config = tw.Config(optimizer="adam", learning_rate=0.01, width=(8, 4))
    return Trial(3, "explore", config, "mlp", 0, status=status, curve=curve, score=0.75)


def tell(callback, own, parts=((0, 1, False), (1, 2, True))):
    callback.begin({"name": "data", "metric": "accuracy", "run": "runs/x"})
    record = own.to_dict()
    for first, last, finished in parts:
        new = [
            (name, int(own.curve["step"][i]), own.curve[name][i])
            for name in own.curve
            if name != "step"
            for i in range(first, last)
        ]
        callback.update(record, new, finished)
    callback.end({})


def test_tensorboard_reads_its_files(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator
    tell(TensorBoard(tmp_path), trial())
    events = accumulator(str(tmp_path / "trial-00003"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "train/loss", "validation/loss", "validation/accuracy", "train/accuracy",
    }  # fmt: skip
    points = [(e.step, round(e.value, 6)) for e in events.Scalars("validation/accuracy")]
    assert points == [(10, 0.5), (20, 0.75)]
    assert "hparams" in str(events.Tags()) or events.PluginTagToContent("hparams")


def test_mlflow_is_called_as_it_wants_to_be(monkeypatch):
    calls = []

    class Client:
        def __init__(self, tracking_uri):
            calls.append(("uri", tracking_uri))

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            calls.append(("experiment", name))
            return "7"

        def create_run(self, experiment, run_name):
            calls.append(("run", experiment, run_name))
            return SimpleNamespace(info=SimpleNamespace(run_id="r"))

        def log_batch(self, run, metrics=(), params=(), tags=()):
            calls.append(("batch", run, len(metrics), len(params), len(tags)))

        def set_terminated(self, run, status):
            calls.append(("end", run, status))

    modules = {name: ModuleType(name) for name in ("mlflow", "mlflow.entities", "mlflow.tracking")}
    for name in ("Metric", "Param", "RunTag"):
        setattr(modules["mlflow.entities"], name, lambda *values: values)
    modules["mlflow.tracking"].MlflowClient = Client
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    tell(MLflow(tracking_uri="http://x"), trial("diverged"))
    assert calls == [
        ("uri", "http://x"), ("experiment", "thalweg-data"), ("run", "7", "trial-3"),
        ("batch", "r", 0, 3, 3), ("batch", "r", 4, 0, 0), ("batch", "r", 4, 0, 0),
        ("end", "r", "FAILED"),
    ]  # fmt: skip


def test_wandb_is_called_as_it_wants_to_be(monkeypatch):
    calls = []
    run = SimpleNamespace(
        log=lambda row, step: calls.append((step, row)),
        summary={},
        finish=lambda exit_code: calls.append(exit_code),
    )
    module = ModuleType("wandb")
    module.init = lambda **options: calls.append(options) or run
    monkeypatch.setitem(sys.modules, "wandb", module)
    tell(WandB("mine", mode="offline"), trial())
    assert calls[0]["project"] == "mine"
    assert calls[0]["mode"] == "offline"
    assert calls[0]["config"]["width"] == "(8, 4)" or calls[0]["config"]["width"] == "[8, 4]"
    assert [c[0] for c in calls[1:3]] == [10, 20]
    assert calls[3] == 0
    assert run.summary == {"score": 0.75, "status": "completed"}


@pytest.mark.parametrize(
    ("make", "module", "hint"),
    [(lambda: MLflow(), "mlflow.entities", "pip install mlflow"),
     (lambda: WandB(), "wandb", "pip install wandb"),
     (lambda: TensorBoard("x"), "tensorboard.compat.proto.event_pb2", "thalweg.tensorboard")],
    ids=["mlflow", "wandb", "tensorboard"],
)  # fmt: skip
def test_what_is_not_installed_says_how_to(make, module, hint, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=hint):
        make()
