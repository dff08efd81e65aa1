"""A study from what is asked to what is handed over: search, decide, look, describe, write."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data import Dataset, concatenate
from thalweg.errors import OptionError
from thalweg.study.budget import Clock
from thalweg.study.model import Model
from thalweg.study.rundir import RunDirectory, json_ready
from thalweg.task import ROW_KINDS

if TYPE_CHECKING:
    from thalweg.models import InputShape
    from thalweg.study.baselines import BaselineRun
    from thalweg.study.callbacks import Callback
    from thalweg.study.ensemble import Combination
    from thalweg.study.keeper import Keeper
    from thalweg.study.listener import Listener
    from thalweg.study.loop import Study as Loop
    from thalweg.study.outcome import Outcome
    from thalweg.study.settings import Settings
    from thalweg.study.store import Store
    from thalweg.study.threshold import Goal
    from thalweg.training.feed import TrainingData

LOOKING_SECONDS = 1.5
"""Seconds that must be left for looking at the rows."""

WEIGHING_SECONDS = 3.0
"""Seconds that must be left for the importance of settings."""

FINISH_SECONDS = 0.8
"""What writing the run and its report may take; pictures leave it over."""


@dataclass(frozen=True)
class Asked:
    """A study to carry out.

    Args:
        dataset: the data.
        settings: of the search.
        options: of what is made of its outcome: ``ensemble``, ``combine``, ``baselines``, ``goal``,
            ``calibrate``.
        clock: counts the budget.
        listener: is told of progress.
        command: what the user typed, for the record.
        callbacks: told of every rung.
        directory: where it is written; None for nowhere.
        store: holds its trials while it runs.
        keeper: keeps what it needs to go on after a crash.
    """

    dataset: Dataset
    settings: Settings
    options: Mapping[str, Any]
    clock: Clock
    listener: Listener | None = None
    command: str | None = None
    callbacks: Sequence[Callback] = ()
    directory: RunDirectory | None = None
    store: Store | None = None
    keeper: Keeper | None = None

    @property
    def goal(self) -> Goal | None:
        """What the model's threshold is chosen for."""
        from thalweg.study.threshold import Goal

        wanted = self.options["goal"]
        return Goal.parse(wanted) if wanted is not None else None


@dataclass(eq=False)
class HandedOver:
    """A finished study: what it says, its trials, its model, and its pictures by file name."""

    summary: dict[str, Any]
    records: list[dict[str, Any]]
    model: Model
    pictures: dict[str, bytes]


@dataclass(eq=False)
class _Searched:
    """What a search found, with the rows that it was found on."""

    loop: Loop
    outcome: Outcome
    inputs: InputShape
    folds: list[TrainingData]
    looked: dict[str, Any]
    interrupted: bool

    @property
    def explored(self) -> TrainingData:
        """The rows that were explored on."""
        return self.loop.data


@dataclass(eq=False)
class _Decided:
    """The model that is handed over, and what is known of it."""

    model: Model
    pairs: list[tuple[Model, TrainingData]]
    """Its networks with rows that they were not trained on."""
    outputs: np.ndarray | None
    """What it says of the test rows."""
    calibration: dict[str, Any]
    combined: list[Combination] = field(default_factory=list)
    used: str = "seeds"


def conduct(asked: Asked, model_class: type[Model] = Model) -> HandedOver | None:
    """Run a study from where it stands, and hand over what it found.

    Args:
        asked: what is to be done.
        model_class: class of the model that is handed over.

    Returns:
        What is handed over, written too where there is a directory; None where another process
        that shares the study has finished it.
    """
    from thalweg.study.yardsticks import start_baselines

    keeper = asked.keeper
    kept = None if keeper is None else keeper.folder / "baselines.safetensors"
    yardsticks = start_baselines(asked.dataset, kept) if asked.options["baselines"] else None
    try:
        searched = _search(asked)
        handed = None if searched is None else _hand_over(asked, searched, yardsticks, model_class)
    finally:
        # One that still fits must not write among checkpoints that are being removed.
        if yardsticks is not None:
            yardsticks.close()
    if keeper is not None and (searched is None or not searched.interrupted):
        keeper.discard()
    return handed


def _hand_over(
    asked: Asked,
    searched: _Searched,
    yardsticks: BaselineRun | None,
    model_class: type[Model],
) -> HandedOver:
    """Decide what is handed over, describe it, and write it where there is a directory."""
    from thalweg.explain.studied import Explained, explain_study
    from thalweg.report.pictures import paint
    from thalweg.study.pictures import make_pictures

    dataset, clock, directory = asked.dataset, asked.clock, asked.directory
    decided = _decide(asked, searched, model_class)
    failed: list[str] = []
    # While baselines are still being fitted.
    pictures = make_pictures(
        dataset,
        decided.model,
        searched.outcome.best.config,
        paint,
        outputs=decided.outputs,
        seconds=clock.left() - FINISH_SECONDS,
        failed=failed,
    )
    explained = Explained()
    if directory is not None:
        # For the report, in what is left of the time.
        explained = explain_study(
            dataset, decided.model, paint, seconds=clock.left() - FINISH_SECONDS
        )
    summary = _describe(asked, searched, decided, yardsticks)
    summary["pictures"] = [*[p.to_dict() for p in pictures], *explained.entries]
    summary["explanations"] = json_ready(explained.record)
    summary["notices"] += [*failed, *explained.failed]
    records = [trial.to_dict() for trial in searched.outcome.trials]
    _answer(asked, searched, decided, summary, records)
    drawn = {**{picture.name: picture.png for picture in pictures}, **explained.pictures}
    handed = HandedOver(summary, records, decided.model, drawn)
    if directory is not None:
        _write(handed, directory, searched.outcome, clock)
    else:
        summary["seconds"]["total"] = round(clock.elapsed(), 3)
    searched.loop.notebook.callbacks.end(summary)
    return handed


def _search(asked: Asked) -> _Searched | None:
    """Find the winner and look into it; None where another process has finished the study."""
    from thalweg.models import InputShape
    from thalweg.study.loop import Study as Loop
    from thalweg.study.refit import refit as train_again
    from thalweg.study.setup import make_folds, training_data
    from thalweg.study.winner import look_into_the_winner

    dataset, settings, directory = asked.dataset, asked.settings, asked.directory
    task, inputs = dataset.task, InputShape.from_dict(dataset.input_shape)
    folds = make_folds(dataset, settings.num_replicates) if settings.num_finalists else []
    with interrupts() as interrupted:
        loop = Loop(
            # Exploring on the first fold has the shapes, and so the programs, of all of them.
            folds[0] if folds else training_data(dataset, dataset.train),
            task,
            inputs,
            settings,
            asked.clock,
            asked.listener,
            interrupted,
            folds=folds,
            store=asked.store,
            keeper=asked.keeper,
            callbacks=asked.callbacks,
        )
        loop.notebook.callbacks.begin(
            {
                "name": dataset.name,
                "metric": task.metric,
                "direction": task.direction,
                "run": str(directory.path) if directory else None,
                "command": asked.command,
            }
        )
        outcome = loop.run()
        if directory is not None and directory.is_finished and not directory.was_interrupted:
            # Another process that shares the study was faster.
            return None
        looked = look_into_the_winner(loop, outcome, interrupted) if settings.growth else {}
    if settings.refit and not interrupted():
        rows = concatenate([dataset.train, dataset.validation])
        full = outcome.plan.get("epochs", settings.epochs)
        outcome.weights = train_again(
            training_data(dataset, rows), task, inputs, outcome.replicates, full
        )
    return _Searched(loop, outcome, inputs, folds, looked, interrupted())


def _decide(asked: Asked, searched: _Searched, model_class: type[Model]) -> _Decided:
    """Put the model together that is handed over; choose its threshold and its calibration."""
    from thalweg.explain import reference_of
    from thalweg.study.calibration import fit_calibration, held_out_outputs
    from thalweg.study.ensemble import combine, model_of, pairs_of
    from thalweg.study.summary import as_chosen, threshold_for
    from thalweg.study.summary import held_out as held_out_pairs

    dataset, options, outcome = asked.dataset, asked.options, searched.outcome
    kind, wanted, folds = dataset.task.kind, options["combine"], searched.folds
    members = outcome.weights
    if not options["ensemble"]:
        members = [members[[t.id for t in outcome.replicates].index(outcome.best.id)]]
    model = model_class(
        encoder=dataset.encoder,
        structure=members[0].structure,
        inputs=searched.inputs.to_dict(),
        members=[(w.params, w.state) for w in members],
        config=outcome.best.config,
        reference=reference_of(dataset.encoder, dataset.train),
    )
    pairs = held_out_pairs(model, outcome, searched.explored, folds)
    combined: list[Combination] = []
    if (asked.directory is not None or wanted != "seeds") and not asked.settings.refit:
        # Another structure is another program: those of images take seconds to compile.
        margin = FINISH_SECONDS + (0.7 if dataset.modality == "table" else 2.5)
        combined = combine(
            model, outcome.trials, outcome.kept, searched.explored, folds,
            going_on=lambda: asked.clock.left() > margin,
        )  # fmt: skip
    used = "seeds"
    for chosen in (one for one in combined if one.name == wanted):
        model = model_of(model, chosen.units, chosen.shares)
        pairs = pairs_of(model, chosen.units, chosen.shares, searched.explored, folds)
        used = wanted
    if asked.goal is not None:
        model.threshold = threshold_for(asked.goal, pairs)
    unseen = held_out_outputs(pairs) if kind in ROW_KINDS else None
    model.calibration = fit_calibration(kind, unseen)
    if options["calibrate"]:
        model = model.calibrate()
    outputs = model.outputs(dataset.test.fields) if len(dataset.test) else None
    record = _calibration_record(dataset, model, unseen, outputs)
    pairs = [(as_chosen(one, model), rows) for one, rows in pairs]
    return _Decided(model, pairs, outputs, record, combined, used)


def _describe(
    asked: Asked, searched: _Searched, decided: _Decided, yardsticks: BaselineRun | None
) -> dict[str, Any]:
    """Return the summary as far as the rows, the scores and the model say it."""
    from thalweg.study.passages import passages, samples
    from thalweg.study.summary import summarise
    from thalweg.study.written import written_texts

    dataset, model = asked.dataset, decided.model
    summary = summarise(
        dataset,
        searched.outcome,
        model,
        asked.settings,
        asked.clock,
        decided.pairs,
        yardsticks,
        asked.directory,
        asked.command,
        asked.goal,
        decided.outputs,
    )
    summary["calibration"] = json_ready(decided.calibration)
    summary["combinations"] = json_ready(
        [{**one.to_dict(), "used": one.name == decided.used} for one in decided.combined]
    )
    if decided.used != asked.options["combine"]:
        summary["notices"].append(
            f"there was nothing to put together by {asked.options['combine']}, or no time: the "
            "winner alone is handed over"
        )
    summary["passages"] = passages(dataset, model, decided.outputs)
    summary["samples"] = samples(dataset, model)
    seconds = asked.clock.left() - FINISH_SECONDS
    summary["written"] = written_texts(dataset, model, decided.outputs, seconds)
    model.about = {
        key: summary[key] for key in ("name", "metric", "validation", "test", "versions", "seed")
    }
    return summary | searched.looked


def _answer(
    asked: Asked,
    searched: _Searched,
    decided: _Decided,
    summary: dict[str, Any],
    records: list[dict[str, Any]],
) -> None:
    """Add to the summary what the trials and the rows answer, as far as there is time."""
    from thalweg.evidence import answers
    from thalweg.evidence.importance import importances
    from thalweg.evidence.rows import row_findings
    from thalweg.study.winner import arrays_of_the_rows

    if asked.clock.left() > LOOKING_SECONDS:
        arrays = arrays_of_the_rows(
            asked.dataset,
            decided.model,
            searched.outcome,
            searched.explored,
            searched.folds,
            asked.settings.refit,
        )
        summary["rows"] = row_findings(**arrays)
    if asked.clock.left() > WEIGHING_SECONDS:
        summary["importance"] = importances(records, summary)
    summary["answers"] = [answer.to_dict() for answer in answers(records, summary)]


def _write(handed: HandedOver, directory: RunDirectory, outcome: Outcome, clock: Clock) -> None:
    """Write everything; the summary last, for it says that the study is finished."""
    from thalweg.report.document import write_document

    summary = handed.summary
    handed.model.save(directory.model_path)
    directory.write_trials(outcome.trials)
    directory.write_pictures(handed.pictures)
    write_document(directory.report_path, handed.records, summary, handed.pictures)
    summary["seconds"]["total"] = round(clock.elapsed(), 3)
    directory.write_summary(summary)
    directory.status_path.unlink(missing_ok=True)


def _calibration_record(
    dataset: Dataset, model: Model, unseen: Any, outputs: np.ndarray | None
) -> dict[str, Any]:
    """Return what calibration does on rows that it was not fitted on; empty where there is none."""
    from thalweg.evidence.calibration import before_and_after, coverage
    from thalweg.study.calibration import temperature_gain, tempered

    fitted = model.calibration
    if fitted is None:
        return {}
    record: dict[str, Any] = {"num_rows": fitted.num_rows, "applied": model.calibrated}
    part = dataset.test
    if outputs is not None and model.calibrated:
        outputs = replace(model, calibrated=False).outputs(part.fields)
    if len(part) < 2:
        outputs = None
    truth = dataset.raw_target(part) if outputs is not None else None
    if fitted.temperature is not None:
        gain, interval = temperature_gain(unseen.outputs, unseen.truth)
        record |= {"temperature": fitted.temperature, "gain": gain, "interval": interval}
        if outputs is not None and truth is not None:
            after = tempered(outputs, fitted.temperature)
            record["test"] = before_and_after(outputs, after, truth)
        return record
    lines = []
    for level in (0.5, 0.8, 0.9, 0.95):
        with contextlib.suppress(OptionError):
            radius = fitted.radius_of(level)
            line: dict[str, Any] = {"level": level, "radius": float(radius.mean())}
            if outputs is not None and truth is not None:
                errors = np.abs(outputs - truth.reshape(outputs.shape))
                share, low, high = coverage(errors, radius)
                line |= {"coverage": share, "low": low, "high": high}
            lines.append(line)
    return {**record, "intervals": lines, "num_tested": len(part)}


@contextlib.contextmanager
def interrupts() -> Iterator[Any]:
    """Turn the first Ctrl-C into a question that the study asks; a second one stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def note(signum: int, frame: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)
        print(
            "\nEnding with what has been found so far (Ctrl-C again stops at once).",
            file=sys.stderr,
        )

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
