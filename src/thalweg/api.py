"""The façade: load, tune, train, Study, Model. It only puts the parts together."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import thalweg
from thalweg.data import Dataset, concatenate, load
from thalweg.errors import OptionError, unknown_option
from thalweg.evidence.answer import Answer
from thalweg.space import Config, Space
from thalweg.study.budget import Budget, Clock
from thalweg.study.model import Model
from thalweg.study.rundir import RunDirectory, json_ready

if TYPE_CHECKING:
    from thalweg.study.loop import Listener, Outcome, Settings
    from thalweg.training.cohort import TrainingData

__all__ = ["Study", "load", "train", "tune"]


class Study:
    """A finished study: its trials, its answers, its report and its model.

    ``tune`` returns one; ``Study.open`` reads one back from its run directory.
    """

    def __init__(
        self,
        summary: dict[str, Any],
        records: list[dict[str, Any]],
        model: Model | None,
        directory: RunDirectory | None = None,
    ) -> None:
        self.summary, self.records, self._model = summary, records, model
        self.directory = directory

    @classmethod
    def open(cls, path: str | Path) -> Study:
        """Read a study from its run directory.

        Raises:
            RunError: where there is none, or a file of it cannot be read.
        """
        directory = RunDirectory.open(path)
        return cls(directory.read_summary(), directory.read_trials(), None, directory)

    def __repr__(self) -> str:
        trials = sum(self.summary["trials"].values())
        metric = self.summary["metric"]
        value = self.summary["validation"].get(metric)
        return (
            f"<Study of {self.summary['name']}: {trials} trials, validation {metric} {value:.4g}>"
        )

    @property
    def best_config(self) -> Config:
        """The configuration that won."""
        return Config(self.summary["best_config"])

    def answers(self) -> list[Answer]:
        """Return the questions that the study answers, with their evidence."""
        return [Answer.from_dict(record) for record in self.summary["answers"]]

    def leaderboard(self, n: int = 10) -> list[dict[str, Any]]:
        """Return the ``n`` best configurations with their scores."""
        from thalweg.evidence import leaderboard

        return leaderboard(self.records, self.summary["direction"], n)

    def model(self) -> Model:
        """Return the winner, trained.

        Raises:
            RunError: where the run directory has lost it.
        """
        if self._model is None:
            assert self.directory is not None
            self._model = Model.load(self.directory.model_path)
        return self._model

    def report(self, path: str | Path = "report.html") -> Path:
        """Write the report as one self-contained HTML file, and return its path."""
        from thalweg.report.html import write_report

        target = Path(path)
        write_report(target, self.records, self.summary, self.answers())
        return target


def tune(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    budget: str | float | None = None,
    trials: int | None = None,
    model: str | Sequence[str] = "mlp",
    space: Space | dict[str, Any] | str | Path | None = None,
    first: Sequence[Config] = (),
    loss: str | Sequence[str] | None = None,
    metric: str | None = None,
    epochs: float | None = None,
    search: str = "sobol",
    halving: bool = True,
    finalists: int = 3,
    seeds: int = 5,
    ensemble: bool = True,
    baselines: bool = True,
    refit: bool = False,
    run: str | Path | None = None,
    write: bool | None = None,
    seed: int = 0,
    listener: Listener | None = None,
    clock: Clock | None = None,
    command: str | None = None,
) -> Study:
    """Find the best network for a data set, by experiment.

    Args:
        data: a ``Dataset``, or whatever ``load`` takes.
        target: what is predicted, where ``data`` is not a ``Dataset`` yet.
        budget: time to spend, such as ``"5m"``; from the call to the return.
        trials: number of trials to spend; 64 where neither is given.
        model: family or families to try.
        space: the hyperparameters and their domains: a ``Space``, a mapping, or a TOML file.
        first: configurations to try before the search's own.
        loss: loss or losses to try; the task's own by default.
        metric: the metric that chooses; the task's own by default.
        epochs: passes over the training rows of a full training; by default from the size of the
            data.
        search: ``"sobol"``, ``"random"`` or ``"grid"``.
        halving: whether losers are dropped early.
        finalists: how many configurations are trained again under fresh seeds.
        seeds: how many fresh seeds. On fewer than 20,000 training and validation rows each trains
            on all but one of as many folds of them, so that together they have seen every row.
        ensemble: whether the model averages the winner's seeds (True) or is the best one of them.
        baselines: whether to fit a constant, a linear model and boosted trees for comparison.
        refit: whether to train the winner again on training and validation rows.
        run: the run directory; with ``write=None`` nothing is written where it is None.
        write: True writes a run directory even without ``run`` (``runs/NAME-DATE-TIME``).
        seed: seed of everything.
        listener: is told of progress.
        clock: counts from the start of the work; from the call by default.
        command: what the user typed, for the record.

    Returns:
        The finished study.

    Raises:
        ThalwegError: a subclass, with one line that says what to do.

    Example:
        >>> study = tune("iris", trials=4, epochs=3)
        >>> study.model().predict([[5.1, 3.5, 1.4, 0.2]]).shape
        (1,)
    """
    limits = clock.budget if clock is not None else Budget.of(budget, trials)
    clock = clock or Clock(limits)
    dataset, settings = _prepare(
        data,
        target,
        limits,
        model=model,
        space=space,
        first=first,
        loss=loss,
        metric=metric,
        epochs=epochs,
        search=search,
        halving=halving,
        finalists=finalists,
        seeds=seeds,
        refit=refit,
        seed=seed,
    )
    task = dataset.task
    directory = RunDirectory.create(run, dataset.name) if run is not None or write else None

    from thalweg.study.baselines import BaselineRun

    yardsticks = (
        BaselineRun(task, dataset.train.fields, dataset.raw_target(dataset.train))
        if baselines
        else None
    )

    from thalweg.models import InputShape
    from thalweg.study.loop import Study as Loop

    inputs = InputShape.from_dict(dataset.input_shape)
    with _interrupts() as interrupted:
        loop = Loop(
            _arrays(dataset, dataset.train),
            task,
            inputs,
            settings,
            clock,
            listener,
            interrupted,
            save=directory.write_trials if directory else lambda trials: None,
            folds=_folds(dataset, settings.num_replicates) if settings.num_finalists else (),
        )
        outcome = loop.run()
    if refit and not interrupted():
        from thalweg.study.refit import refit as train_again

        rows = concatenate([dataset.train, dataset.validation])
        epochs = outcome.plan.get("epochs", settings.epochs)
        outcome.weights = train_again(
            _arrays(dataset, rows), task, inputs, outcome.replicates, epochs
        )
    members = outcome.weights if ensemble else _best_alone(outcome)
    best_model = Model(
        encoder=dataset.encoder,
        structure=members[0].structure,
        inputs=inputs.to_dict(),
        members=[(w.params, w.state) for w in members],
        config=outcome.best.config,
    )
    summary = _summary(
        dataset, outcome, best_model, settings, clock, loop.folds, yardsticks, directory, command
    )
    best_model.about = {
        key: summary[key] for key in ("name", "metric", "validation", "test", "versions", "seed")
    }
    records = [trial.to_dict() for trial in outcome.trials]
    from thalweg.evidence import answers

    summary["answers"] = [answer.to_dict() for answer in answers(records, summary)]
    study = Study(summary, records, best_model, directory)
    if directory is not None:
        best_model.save(directory.model_path)
        directory.write_trials(outcome.trials)
        study.report(directory.report_path)
    summary["seconds"]["total"] = round(clock.elapsed(), 3)
    if directory is not None:
        directory.write_summary(summary)
    return study


def _prepare(
    data: Any,
    target: str | Sequence[str] | None,
    limits: Budget,
    *,
    model: str | Sequence[str] = "mlp",
    space: Space | dict[str, Any] | str | Path | None = None,
    first: Sequence[Config] = (),
    loss: str | Sequence[str] | None = None,
    metric: str | None = None,
    epochs: float | None = None,
    search: str = "sobol",
    halving: bool = True,
    finalists: int = 3,
    seeds: int = 5,
    refit: bool = False,
    seed: int = 0,
) -> tuple[Dataset, Settings]:
    """Check the options of ``tune`` and return the data set and how the study will be run."""
    from thalweg.models import FAMILIES
    from thalweg.search import SEARCHERS
    from thalweg.study import spaces
    from thalweg.study.loop import Settings

    for name, value in (("finalists", finalists), ("seeds", seeds), ("seed", seed)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise OptionError(f"{name} must be a whole number from 0; got {value!r}")
    if epochs is not None and not 0 < epochs < 1e6:
        raise OptionError(f"epochs must be above 0; got {epochs!r}")
    if search not in SEARCHERS:
        raise unknown_option("search", search, SEARCHERS)
    families = (model,) if isinstance(model, str) else tuple(model)
    for name in families:
        if name not in FAMILIES:
            raise unknown_option("model", name, FAMILIES)
    dataset = data if isinstance(data, Dataset) else load(data, target, metric=metric, seed=seed)
    losses = (loss,) if isinstance(loss, str) else tuple(loss or ())
    if metric is not None or losses:
        chosen = dataset.task.with_choice(metric=metric, loss=losses[0] if losses else None)
        dataset = dataset.with_task(chosen)
    num_rows = len(dataset.train.target)
    if space is None:
        searched = spaces.default_space(
            dataset.task,
            num_rows,
            models=families,
            losses=losses,
            max_structures=_structures(limits),
        )
        if "mlp" in families and not losses:
            # An expert's first try, in a structure that is compiled anyway.
            width = searched.decode(np.full((1, len(searched.free)), 0.999))[0]["width"]
            first = first or (spaces.default_config(dataset.task, num_rows, width),)
    elif isinstance(space, Space):
        searched = space
    elif isinstance(space, str | Path):
        searched = Space.load(space)
    else:
        searched = Space.from_dict(space)
    settings = Settings(
        space=searched,
        budget=limits,
        epochs=float(epochs or spaces.default_epochs(num_rows)),
        search=search,
        halving=halving,
        num_finalists=finalists,
        num_replicates=seeds,
        seed=seed,
        first=tuple(first),
        refit=refit,
    )
    return dataset, settings


def _arrays(dataset: Dataset, train: Any) -> TrainingData:
    """Return what an engine trains on; ``train`` are the rows to learn from."""
    from thalweg.training.cohort import TrainingData

    return TrainingData(
        fields=train.fields,
        target=train.target,
        validation_fields=dataset.validation.fields,
        validation_target=dataset.validation.target,
        weight=train.weight,
        units=dataset.units,
    )


FOLDED_ROWS = 20_000
SMALLEST_FOLD = 10


def _folds(dataset: Dataset, num_folds: int) -> list[TrainingData]:
    """Return the splits on which finalists are compared; none where the data is large.

    The rows are those of training and validation. All splits have the same shapes (a few rows of
    the larger folds sit out), so that they share one program. The encoder is the one fitted on the
    training rows; no target enters it but the scale of a regression target.
    """
    from thalweg.data import fold_ids

    rows = concatenate([dataset.train, dataset.validation])
    num_rows = len(rows)
    # Rows split by group, by time or by the user are not dealt anew.
    random = dataset.split.startswith("at random")
    if not random or num_folds < 2 or not SMALLEST_FOLD * num_folds <= num_rows <= FOLDED_ROWS:
        return []
    spread: dict[str, Any] = {}
    if dataset.task.kind == "regression":
        spread["values"] = rows.target[:, 0]
    else:
        spread["labels"] = rows.target.argmax(1) if rows.target.ndim == 2 else rows.target
    ids = fold_ids(num_rows, num_folds, seed=dataset.seed, **spread)
    arrays = _arrays(dataset, rows)
    sizes = np.bincount(ids, minlength=num_folds)
    num_train, num_held = num_rows - int(sizes.max()), int(sizes.min())
    rng = np.random.default_rng([dataset.seed, 0xF01])
    splits = []
    for fold in range(num_folds):
        train = rng.permutation(np.flatnonzero(ids != fold))[:num_train]
        splits.append(arrays.split(np.sort(train), np.flatnonzero(ids == fold)[:num_held]))
    return splits


def dry_run(data: Any, target: Any = None, *, clock: Clock, **options: Any) -> dict[str, Any]:
    """Say what ``tune`` would do with these options, in how many seconds, with how much memory.

    Nothing is compiled or trained: the seconds are an estimate from the networks' sizes, which the
    study itself replaces by a measurement.
    """
    from thalweg.models import InputShape, build, count_params
    from thalweg.optim.external import EXTERNAL
    from thalweg.search import make_searcher
    from thalweg.study.loop import DEFAULT_TRIALS
    from thalweg.training import backend
    from thalweg.training.plan import estimated_step_seconds

    dataset, settings = _prepare(data, target, clock.budget, **options)
    _, sample = make_searcher(settings.search, settings.space, settings.seed).ask(256)
    inputs = InputShape.from_dict(dataset.input_shape)
    num_rows = len(dataset.train.target)
    structures = {c.structure(tuple(EXTERNAL)): c for c in [*settings.first, *sample]}
    seconds, largest, lines = [], 0, []
    for structure in structures:
        network = build(structure, inputs, dataset.task.num_outputs)
        full = structure.batch_size == "full"
        batch = num_rows if full else min(int(structure.batch_size), num_rows)
        step = estimated_step_seconds(network, batch, "cpu") / backend.num_workers()
        seconds.append(step * settings.epochs * num_rows / batch)
        largest = max(largest, count_params(network))
        lines.append(
            f"{structure.name}: {count_params(network):,} parameters, about "
            f"{seconds[-1]:.3g} s a full training"
        )
    mean = float(np.mean(seconds))
    compile_seconds = 1.5 * len(structures) / backend.num_workers()
    budget = clock.budget
    data_bytes = sum(a.nbytes for part in dataset.parts.values() for a in part.fields.values())
    if budget.seconds is not None:
        trials, total = None, budget.seconds
        what = f"for {budget.seconds:g} s, about {budget.seconds / mean:.0f} full trainings' worth"
    else:
        trials = budget.trials or DEFAULT_TRIALS
        # Halving by three over three rungs trains about a third as long as training all.
        total = 3.0 + compile_seconds + trials * mean * (0.4 if settings.halving else 1.0)
        what = f"{trials} trials of up to {settings.epochs:g} epochs in about {total:.0f} s"
    members = min(trials or 1024, 1024)
    needed = data_bytes + members * largest * 4 * 8
    lines.insert(0, f"would train {what} on {backend.device_name()}")
    lines.append(
        f"compiles {len(structures)} programs in about {compile_seconds:.0f} s; needs about "
        f"{needed / 2**20:.0f} MiB of {backend.available_bytes() / 2**20:.0f} MiB that may be used"
    )
    return {
        "lines": lines,
        "structures": len(structures),
        "trials": trials,
        "epochs": settings.epochs,
        "estimated_seconds": round(total, 1),
        "estimated_bytes": int(needed),
        "space": settings.space.to_dict(),
    }


def info() -> dict[str, Any]:
    """Return versions, devices, caches, and whether compiled programs compute correctly here."""
    import os
    import platform

    import jax

    from thalweg.training import backend
    from thalweg.training.guard import check_compiler

    backend.setup()
    return {
        "versions": versions(),
        "device": backend.device_name(),
        "devices": [str(device) for device in jax.devices()],
        "workers": backend.num_workers(),
        "memory": f"{backend.available_bytes() / 2**30:.1f} GiB may be used",
        "cache": str(jax.config.jax_compilation_cache_dir),
        "platform": f"{platform.platform()}, {os.cpu_count()} processors",
        "compiler": check_compiler(),
    }


def _structures(limits: Budget) -> int:
    """Return how many distinct programs are worth compiling within a budget."""
    if limits.seconds is not None:
        return int(max(2, min(12, limits.seconds / 5)))
    return int(max(1, min(12, (limits.trials or 64) / 10)))


def _best_alone(outcome: Outcome) -> list[Any]:
    index = [t.id for t in outcome.replicates].index(outcome.best.id)
    return [outcome.weights[index]]


def _summary(
    dataset: Dataset,
    outcome: Outcome,
    model: Model,
    settings: Settings,
    clock: Clock,
    folds: Sequence[TrainingData],
    yardsticks: Any,
    directory: RunDirectory | None,
    command: str | None,
) -> dict[str, Any]:
    from thalweg.optim.metrics import score

    task = dataset.task

    def scored(outputs: Any, part: Any) -> dict[str, float]:
        return score(task, outputs(part.fields), dataset.raw_target(part))

    baselines = []
    for baseline in yardsticks.wait(clock.left() - 0.5) if yardsticks else []:
        baselines.append(
            {
                "name": baseline.name,
                "validation": scored(baseline.outputs, dataset.validation),
                "test": scored(baseline.outputs, dataset.test),
                "seconds": round(baseline.seconds, 3),
            }
        )
    validation, held_out = _validation_scores(dataset, outcome, model, folds)
    notices = [*dataset.notices, *outcome.notices, *(yardsticks.failed if yardsticks else [])]
    test_outputs = model.outputs(dataset.test.fields)
    test_target = dataset.raw_target(dataset.test)
    summary = {
        "run": str(directory.path) if directory else None,
        "name": dataset.name,
        "task": {
            "kind": task.kind,
            "target": list(task.targets),
            "classes": list(task.classes),
            "rows": {
                "train": len(dataset.train.target),
                "validation": len(dataset.validation.target),
                "test": len(dataset.test.target),
            },
            "features": dataset.num_features,
            "loss": task.loss,
        },
        "metric": task.metric,
        "direction": task.direction,
        "best_config": outcome.best.config.to_dict(),
        "best_trial": outcome.best.id,
        "members": len(model.members),
        "validation": validation,
        "validation_on": held_out,
        "test": score(task, test_outputs, test_target),
        "predictions": _predictions(task, test_outputs, test_target),
        "baselines": baselines,
        "trials": dict(Counter(trial.status for trial in outcome.trials)),
        "space": settings.space.to_dict(),
        "refit": settings.refit,
        "plan": {**outcome.plan, "stopped": outcome.stopped},
        "seconds": {
            "total": round(clock.elapsed(), 3),
            "compile": round(outcome.compile_seconds, 3),
            "train": round(outcome.train_seconds, 3),
        },
        "budget_seconds": clock.budget.seconds,
        "budget_trials": clock.budget.trials,
        "device": _device(),
        "versions": versions(),
        "seed": settings.seed,
        "command": command,
        "fingerprint": dataset.fingerprint,
        "notices": notices,
    }
    return json_ready(summary)


def _validation_scores(
    dataset: Dataset, outcome: Outcome, model: Model, folds: Sequence[TrainingData]
) -> tuple[dict[str, float], str]:
    """Score the winner on rows that it was not trained on, and say which.

    With folds, every network is scored on its own fold and the scores are averaged; without, the
    model is scored on the validation rows.
    """
    if not folds or any(trial.fold is None for trial in outcome.replicates):
        return model.score(dataset.validation.fields, dataset.validation.target), "validation rows"
    scores = []
    for trial, weights in zip(outcome.replicates, outcome.fold_weights, strict=True):
        assert trial.fold is not None
        alone = Model(
            encoder=dataset.encoder,
            structure=weights.structure,
            inputs=model.inputs,
            members=[(weights.params, weights.state)],
            config=trial.config,
        )
        held = folds[trial.fold]
        scores.append(alone.score(held.validation_fields, held.validation_target))
    names = [name for name in scores[0] if all(name in s for s in scores)]
    mean = {name: float(np.mean([s[name] for s in scores])) for name in names}
    return mean, f"mean over {len(scores)} held-out folds"


def _predictions(task: Any, outputs: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """Return what the report draws of the test rows: confusion, or true against predicted."""
    if task.kind == "regression":
        chosen = np.linspace(0, len(target) - 1, min(len(target), 2000)).astype(int)
        return {
            "kind": "regression",
            "true": np.round(target[chosen, 0], 6).tolist(),
            "predicted": np.round(outputs[chosen, 0], 6).tolist(),
        }
    truth = target.argmax(1) if target.ndim == 2 else target.astype(int)
    num = len(task.classes)
    confusion = np.zeros((num, num), int)
    np.add.at(confusion, (truth, outputs.argmax(1)), 1)
    return {
        "kind": "classification",
        "confusion": confusion.tolist(),
        "classes": list(task.classes),
    }


def train(
    data: Any,
    config: Config | None = None,
    target: str | Sequence[str] | None = None,
    *,
    epochs: float | None = None,
    seed: int = 0,
    **hyperparameters: Any,
) -> Study:
    """Train one configuration.

    Args:
        data: a ``Dataset``, or whatever ``load`` takes.
        config: the configuration; a sensible one for the task by default.
        target: what is predicted, where ``data`` is not a ``Dataset`` yet.
        epochs: passes over the training rows.
        seed: seed of initial weights, noise and data order.
        **hyperparameters: values that replace or extend those of ``config``.

    Returns:
        A study of one trial; ``.model()`` is the trained network with the best weights it had.

    Example:
        >>> train("iris", Config(width=8, depth=1), epochs=2).best_config["width"]
        8
    """
    from thalweg.study import spaces

    dataset = data if isinstance(data, Dataset) else load(data, target, seed=seed)
    if config is None:
        config = spaces.default_config(dataset.task, len(dataset.train.target))
    config = config.with_values(**hyperparameters)
    return tune(
        dataset,
        trials=1,
        space=Space(dict(config)),
        loss=config.get("loss"),
        epochs=epochs,
        halving=False,
        finalists=0,
        baselines=False,
        seed=seed,
    )


@contextlib.contextmanager
def _interrupts() -> Iterator[Any]:
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


def _device() -> str:
    from thalweg.training import backend

    return backend.device_name()


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"thalweg": thalweg.__version__, "python": sys.version.split()[0]}
    for name in ("jax", "jaxlib", "numpy", "optax", "polars", "scikit-learn", "scipy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
