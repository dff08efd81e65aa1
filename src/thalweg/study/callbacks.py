"""What a study tells other tools while it runs: TensorBoard, MLflow, Weights & Biases.

A callback is told at every rung. It sees copies of plain values and decides nothing: one that fails
is left out from then on, with a notice, and the study goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from thalweg.errors import MissingExtraError
from thalweg.study.records import Trial

Series = Sequence[tuple[str, int, float]]


class Callback(Protocol):
    """Told of a study; every method may do nothing.

    A *record* is what ``trials.jsonl`` holds of a trial (``Trial.to_dict``): ``id``, ``config``,
    ``curve``, ``score``, ``status`` and so on.
    """

    def begin(self, study: Mapping[str, Any]) -> None:
        """Called once: ``name``, ``metric``, ``direction``, ``run`` and ``command``."""
        ...

    def update(self, record: Mapping[str, Any], new: Series, finished: bool) -> None:
        """Called for a trial that has something new.

        Args:
            record: the trial so far.
            new: evaluations since the last call: name, step and value.
            finished: whether it is trained no more.
        """
        ...

    def end(self, summary: Mapping[str, Any]) -> None:
        """Called once, with what ``run.json`` says."""
        ...


class Callbacks:
    """All callbacks of a study.

    Args:
        callbacks: told in this order.
        complain: is told of those that fail.
    """

    def __init__(self, callbacks: Sequence[Callback], complain: Callable[[str], None]) -> None:
        self._active, self._complain = list(callbacks), complain
        self._seen: dict[int, int] = {}

    def begin(self, study: Mapping[str, Any]) -> None:
        """Tell all of them that the study begins."""
        self._tell(lambda callback: callback.begin(study))

    def rung(self, trials: Sequence[Trial], finished: Sequence[Trial]) -> None:
        """Tell all of them what is new of trials, each finished one once."""
        if not self._active:
            return
        done = {trial.id for trial in finished}
        for trial in trials:
            seen = self._seen.get(trial.id, 0)
            if seen < 0:
                continue
            steps = trial.curve.get("step", [])
            new = [
                (name, int(steps[i]), values[i])
                for name, values in trial.curve.items()
                if name != "step"
                for i in range(seen, len(steps))
            ]
            over = trial.id in done
            if new or over:
                record = trial.to_dict()
                self._tell(lambda callback, r=record, n=new, o=over: callback.update(r, n, o))
            self._seen[trial.id] = -1 if over else len(steps)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Tell all of them that the study is finished."""
        self._tell(lambda callback: callback.end(summary))

    def _tell(self, what: Callable[[Callback], None]) -> None:
        for callback in list(self._active):
            try:
                what(callback)
            # Other people's code on other people's servers: nothing of it may cost a study.
            except Exception as error:
                self._active.remove(callback)
                name = type(callback).__name__
                lines = str(error).splitlines() or [type(error).__name__]
                self._complain(f"{name} is told no more of this study: {lines[0]}")


class TensorBoard:
    """Writes event files, a folder for each trial, with its hyperparameters.

    Args:
        folder: what ``tensorboard --logdir`` is pointed at.

    Raises:
        MissingExtraError: where tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        about = "TensorBoard is not installed: pip install 'thalweg[tensorboard]'"
        self._event = _extra("tensorboard.compat.proto.event_pb2", about).Event
        self._summary = _extra("tensorboard.compat.proto.summary_pb2", about).Summary
        self._metadata = _extra("tensorboard.plugins.hparams.metadata", about)
        self._plugin = _extra("tensorboard.plugins.hparams.plugin_data_pb2", about)
        self._status = _extra("tensorboard.plugins.hparams.api_pb2", about).Status
        self._writer = _extra("tensorboard.summary.writer.record_writer", about).RecordWriter
        self.folder = Path(folder)
        self._metric = "metric"

    def begin(self, study: Mapping[str, Any]) -> None:
        """Make the folder."""
        self._metric = study["metric"]
        self.folder.mkdir(parents=True, exist_ok=True)

    def update(self, record: Mapping[str, Any], new: Series, finished: bool) -> None:
        """Append a trial's new evaluations to its event file."""
        own = self.folder / f"trial-{record['id']:05d}"
        fresh = not own.exists()
        own.mkdir(exist_ok=True)
        with open(own / "events.out.tfevents.0000000000.thalweg", "ab") as file:
            writer = self._writer(file)

            def write(summary: Any, step: int = 0) -> None:
                event = self._event(wall_time=time.time(), step=step, summary=summary)
                writer.write(event.SerializeToString())

            if fresh:
                version = self._event(wall_time=time.time(), file_version="brain.Event:2")
                writer.write(version.SerializeToString())
                write(self._session(self._plugin.SessionStartInfo, record))
            for name, step, value in new:
                tag = name.replace("_", "/") if "_" in name else f"{name}/{self._metric}"
                write(self._summary(value=[{"tag": tag, "simple_value": value}]), step)
            if finished:
                write(self._session(self._plugin.SessionEndInfo, record))

    def _session(self, kind: Any, record: Mapping[str, Any]) -> Any:
        """Return what the plugin for hyperparameters wants to know when a trial begins or ends."""
        info = kind()
        if kind is self._plugin.SessionStartInfo:
            info.start_time_secs = time.time()
            for name, value in _flat(record["config"]).items():
                if isinstance(value, bool):
                    info.hparams[name].bool_value = value
                elif isinstance(value, str):
                    info.hparams[name].string_value = value
                else:
                    info.hparams[name].number_value = value
            data = self._plugin.HParamsPluginData(session_start_info=info)
            tag = self._metadata.SESSION_START_INFO_TAG
        else:
            ended = "FAILURE" if record["status"] == "diverged" else "SUCCESS"
            info.status = self._status.Value(f"STATUS_{ended}")
            info.end_time_secs = time.time()
            data = self._plugin.HParamsPluginData(session_end_info=info)
            tag = self._metadata.SESSION_END_INFO_TAG
        summary = self._summary()
        about = self._metadata.create_summary_metadata(data)
        summary.value.add(tag=tag, metadata=about, tensor=self._metadata.NULL_TENSOR)
        return summary

    def end(self, summary: Mapping[str, Any]) -> None:
        """Nothing is open."""


class MLflow:
    """Logs each trial as a run of an MLflow experiment.

    Args:
        experiment: its name; by default that of the study's data.
        tracking_uri: the server; by default MLflow's own setting.

    Raises:
        MissingExtraError: where mlflow is not installed.
    """

    def __init__(self, experiment: str | None = None, tracking_uri: str | None = None) -> None:
        about = "MLflow is not installed: pip install mlflow"
        self._entities = _extra("mlflow.entities", about)
        self._client = _extra("mlflow.tracking", about).MlflowClient(tracking_uri=tracking_uri)
        self.experiment = experiment
        self._number = ""
        self._runs: dict[int, str] = {}
        self._study = ""

    def begin(self, study: Mapping[str, Any]) -> None:
        """Find or make the experiment."""
        name = self.experiment or f"thalweg-{study['name']}"
        self._study = str(study["run"])
        found = self._client.get_experiment_by_name(name)
        self._number = found.experiment_id if found else self._client.create_experiment(name)

    def update(self, record: Mapping[str, Any], new: Series, finished: bool) -> None:
        """Log a trial's new evaluations, in one request."""
        number, client, kinds = record["id"], self._client, self._entities
        if number not in self._runs:
            run = client.create_run(self._number, run_name=f"trial-{number}")
            self._runs[number] = run.info.run_id
            params = [kinds.Param(k, str(v)) for k, v in _flat(record["config"]).items()]
            tags = [
                kinds.RunTag("study", self._study),
                kinds.RunTag("phase", record["phase"]),
                kinds.RunTag("structure", record["structure"]),
            ]
            client.log_batch(self._runs[number], params=params, tags=tags)
        now = int(1000 * time.time())
        metrics = [kinds.Metric(n, v, now, s) for n, s, v in new if math.isfinite(v)]
        for start in range(0, len(metrics), 1000):
            client.log_batch(self._runs[number], metrics=metrics[start : start + 1000])
        if finished:
            status = "FAILED" if record["status"] == "diverged" else "FINISHED"
            client.set_terminated(self._runs.pop(number), status)

    def end(self, summary: Mapping[str, Any]) -> None:
        """All runs are terminated by now."""


class WandB:
    """Logs each finished trial as a run of a Weights & Biases project, grouped by study.

    Args:
        project: its name.
        **options: further arguments of ``wandb.init``, such as ``entity`` or ``mode="offline"``.

    Raises:
        MissingExtraError: where wandb is not installed.
    """

    def __init__(self, project: str = "thalweg", **options: Any) -> None:
        self.project, self.options, self._group = project, options, ""
        self._wandb = _extra("wandb", "Weights & Biases is not installed: pip install wandb")

    def begin(self, study: Mapping[str, Any]) -> None:
        """Remember the study's name."""
        self._group = f"{study['name']} {study['run']}"

    def update(self, record: Mapping[str, Any], new: Series, finished: bool) -> None:
        """Log a trial when it is finished: a run that is open costs a process."""
        if not finished:
            return
        run = self._wandb.init(
            project=self.project,
            group=self._group,
            name=f"trial-{record['id']}",
            job_type=record["phase"],
            config=_flat(record["config"]),
            **{"reinit": "create_new", **self.options},
        )
        curve = record["curve"]
        for i, step in enumerate(curve["step"]):
            row = {n: v[i] for n, v in curve.items() if n != "step" and v[i] is not None}
            run.log(row, step=int(step))
        run.summary.update({"score": record["score"], "status": record["status"]})
        run.finish(exit_code=1 if record["status"] == "diverged" else 0)

    def end(self, summary: Mapping[str, Any]) -> None:
        """All runs are finished by now."""


HOOKS: dict[str, Callable[[str], Callback]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}
"""Callbacks by the name of their option, made from its value: a folder, experiment or project."""


def _extra(module: str, about: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError(about) from None


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Config's values as numbers, booleans and text."""
    plain = (bool, int, float, str)
    return {name: v if isinstance(v, plain) else str(v) for name, v in config.items()}


__all__ = ["HOOKS", "Callback", "Callbacks", "MLflow", "TensorBoard", "WandB"]
