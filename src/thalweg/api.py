"""The façade: load, tune, train, Study, Model. It only puts the parts together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg import markup
from thalweg.data import Dataset, load
from thalweg.errors import OptionError, RunError, ThalwegError, unknown_option
from thalweg.evidence.answer import Answer, Answers
from thalweg.space import Config, Space
from thalweg.study.budget import Budget, Clock
from thalweg.study.model import Model as Trained
from thalweg.study.rundir import RunDirectory
from thalweg.task import ROW_KINDS

if TYPE_CHECKING:
    from thalweg.conduct import Asked, HandedOver
    from thalweg.explain import Explanation
    from thalweg.study.callbacks import Callback
    from thalweg.study.listener import Listener
    from thalweg.study.request import Request

__all__ = ["Model", "Study", "load", "resume", "train", "tune"]

LOOKING_SECONDS = 1.5
"""Seconds that must be left for looking at the rows."""

WEIGHING_SECONDS = 3.0
"""Seconds that must be left for the importance of settings."""

FINISH_SECONDS = 0.8
"""What writing the run and its report may take; pictures leave it over."""


class Model(Trained):
    """A trained model: predict, evaluate, explain, save, load.

    ``Study.model`` returns one; ``Model.load`` reads one back from its folder or a run directory.
    """

    def explain(
        self,
        rows: Any,
        method: str | None = None,
        *,
        target: Any = None,
        columns: str | Sequence[str] = (),
        num_rows: int | None = None,
        background: Any = None,
        examples: Any = None,
        metric: str | None = None,
        cells: int | None = None,
        samples: int | None = None,
        seconds: float = math.inf,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Explanation:
        """Explain what the model predicts for some rows, or what it goes by on them.

        Args:
            rows: whatever ``predict`` takes; with the target for ``permutation``.
            method: ``"shapley"``, ``"integrated_gradients"``, ``"occlusion"``, ``"saliency"``,
                ``"smoothgrad"``, ``"permutation"``, ``"dependence"``, ``"factors"`` or
                ``"neighbours"``; by default what suits the kind of data.
            target: class or target that is explained; by default the second of two classes, the
                likeliest of many, the first target.
            columns: inputs to look at; all by default.
            num_rows: so many first rows; by default 100, 16 images or recordings, and 20 texts.
            background: rows that say what is usual; by default what the model remembers of the
                columns of its training rows.
            examples: rows to look for neighbours in.
            metric: what importance is measured in; the model's own by default.
            cells: stretches that a series or a text is divided into, or cells along an image's
                side.
            samples: how much is drawn at random; each method has its own default.
            seconds: after which it ends with the rows that it has.
            seed: of everything that is drawn.
            progress: told of rows done and rows to do.

        Returns:
            The explanation: ``frame`` has the numbers, ``picture()`` those of images as a PNG,
            ``save`` writes both.

        Raises:
            OptionError: the method does not fit the model, or an option makes no sense.
            DataError: the rows cannot be used.

        Example:
            >>> model = train("iris", epochs=2).model()
            >>> model.explain([[5.1, 3.5, 1.4, 0.2]]).frame.height
            4
        """
        from thalweg.explain import explain
        from thalweg.report.pictures import paint

        return explain(
            self,
            rows,
            method,
            target=target,
            columns=columns,
            num_rows=num_rows,
            background=background,
            examples=examples,
            metric=metric,
            cells=cells,
            samples=samples,
            seconds=seconds,
            seed=seed,
            progress=progress,
            paint=paint,
        )


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
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        self.summary, self.records, self._model = summary, records, model
        self.directory, self._pictures = directory, pictures

    @classmethod
    def open(cls, path: str | Path) -> Study:
        """Read a study from its run directory.

        Raises:
            RunError: where there is none, or a file of it cannot be read.
        """
        directory = RunDirectory.open(path)
        summary = directory.read_summary()
        if "comparison" in summary:
            raise RunError(f"{path} holds a comparison: open it with Comparison.open")
        if "rate_map" in summary:
            raise RunError(f"{path} holds a map of learning rates: open it with RateMap.open")
        return cls(summary, directory.read_trials(), None, directory)

    def __repr__(self) -> str:
        trials = sum(self.summary["trials"].values())
        metric = self.summary["metric"]
        value = self.summary["validation"].get(metric)
        return (
            f"<Study of {self.summary['name']}: {trials} trials, validation {metric} {value:.4g}>"
        )

    def _repr_html_(self) -> str:
        from thalweg.report.terminal import leaderboard_cells

        header, rows, baselines = leaderboard_cells(self.records, self.summary, 5)
        scores = {part: self.summary.get(part) or {} for part in ("validation", "test")}
        metric = self.summary["metric"]
        said = [f"{part} {metric} {scores[part][metric]:.4g}" for part in scores
                if metric in scores[part]]  # fmt: skip
        return markup.card(
            f"Study of {self.summary['name']}",
            markup.table(header, [*rows, *baselines]),
            self.answers()._repr_html_(),
            note=", ".join([f"{sum(self.summary['trials'].values()):,} trials", *said]),
        )

    @property
    def best_config(self) -> Config:
        """The configuration that won."""
        return Config(self.summary["best_config"])

    def answers(self) -> Answers:
        """Return the questions that the study answers, with their evidence; they print as text."""
        return Answers(Answer.from_dict(record) for record in self.summary["answers"])

    def leaderboard(self, n: int = 10) -> list[dict[str, Any]]:
        """Return the ``n`` best configurations with their scores."""
        from thalweg.evidence import leaderboard

        return leaderboard(self.records, self.summary["direction"], n)

    def front(self) -> list[dict[str, Any]]:
        """Return the trials that none beats in both score and cost, the cheapest first.

        The cost is what ``against`` named, or else the number of parameters.
        """
        from thalweg.evidence.tradeoff import front

        key = "cost" if self.summary.get("against") else "num_params"
        return front(self.records, self.summary["direction"], key)

    def model(self) -> Model:
        """Return the winner, trained.

        Raises:
            RunError: where the run directory has lost it.
        """
        if self._model is None:
            assert self.directory is not None
            self._model = Model.load(self.directory.model_path)
        return self._model

    @property
    def pictures(self) -> dict[str, bytes]:
        """What the study drew, PNG files by name; empty where the data are no images.

        ``summary["pictures"]`` has their titles and captions.
        """
        if self._pictures is None:
            names = [entry["name"] for entry in self.summary.get("pictures") or []]
            self._pictures = self.directory.read_pictures(names) if self.directory else {}
        return dict(self._pictures)

    def report(self, path: str | Path = "report.html") -> Path:
        """Write the report as one file, HTML or by the ending ``.md`` Markdown; return its path."""
        from thalweg.report.document import write_document

        return write_document(Path(path), self.records, self.summary, self.pictures)


def tune(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    budget: str | float | None = None,
    trials: int | None = None,
    total_epochs: float | None = None,
    until_stalled: bool = False,
    model: str | Sequence[str] | None = None,
    space: Space | dict[str, Any] | str | Path | None = None,
    first: Sequence[Config] = (),
    warm_start: str | Path | None = None,
    loss: str | Sequence[str] | None = None,
    metric: str | None = None,
    epochs: float | None = None,
    search: str | None = None,
    halving: bool = True,
    brackets: str = "halving",
    widen: bool = True,
    against: str | None = None,
    finalists: int | None = None,
    seeds: int = 5,
    processes: int = 1,
    ensemble: bool = True,
    combine: str = "seeds",
    baselines: bool = True,
    refit: bool = False,
    growth: bool = True,
    goal: str | None = None,
    calibrate: bool = False,
    run: str | Path | None = None,
    write: bool | None = None,
    storage: str | None = None,
    study: str | None = None,
    callbacks: Sequence[Callback] = (),
    hooks: Mapping[str, str] | None = None,
    seed: int = 0,
    listener: Listener | None = None,
    progress: bool | None = None,
    clock: Clock | None = None,
    command: str | None = None,
) -> Study:
    """Find the best network for a data set, by experiment.

    Args:
        data: a ``Dataset``, or whatever ``load`` takes.
        target: what is predicted, where ``data`` is not a ``Dataset`` yet.
        budget: time to spend, such as ``"5m"``; from the call to the return.
        trials: number of trials to spend; where neither is given 64, for images 12, and 6 for
            masks, boxes and embeddings.
        total_epochs: passes over the training rows to spend, summed over all trials.
        until_stalled: whether to end when the search has stopped improving: 72 trials in a row were
            not better than the best before them. May go with one of the budgets, or stand alone.
        model: family or families to try; the default depends on the kind of data: for tables
            ``mlp``, and ``linear`` too on up to 4,000 training rows.
        space: the hyperparameters and their domains: a ``Space``, a mapping, or a TOML file.
        first: configurations to try before the search's own, such as your present settings.
        warm_start: the run directory of an earlier study, on the same or other data: its best
            configurations are tried first, and on the same data the searcher knows its scores.
        loss: loss or losses to try; the task's own by default.
        metric: the metric that chooses; the task's own by default.
        epochs: passes over the training rows of a full training; by default from the size of the
            data.
        search: ``"sobol"``, ``"halton"``, ``"random"`` or ``"grid"``; ``"gp"``, ``"tpe"``,
            ``"cmaes"`` and ``"evolution"`` learn from scores, ``"pbt"`` trains a population. By
            default ``"gp"`` with a budget of time or epochs or 96 trials and with 1,000 validation
            rows or more, else ``"sobol"``.
        halving: whether losers are dropped early.
        brackets: how: ``"halving"`` judges all brackets at the same rungs, ``"hyperband"`` later
            from bracket to bracket, and ``"curves"`` by what earlier learning curves foretell.
        widen: whether ranges grow, with a notice, where the best configurations sit at an edge and
            the searcher learns from scores.
        against: ``"params"``, ``"flops"`` or ``"latency"`` (measured microseconds to predict a
            row): what is weighed against the score, in dropping losers and in proposing;
            ``Study.front`` has what is beaten by none in both.
        finalists: how many configurations are trained again under fresh seeds; 3 by default, and
            up to 8 where a time budget has room for them.
        seeds: how many fresh seeds. On fewer than 20,000 training and validation rows each trains
            on all but one of as many folds of them, so that together they have seen every row.
        processes: how many processes are going to share the study: this one, and others that
            ``resume`` the same run directory, or name the same ``storage`` and ``study``.
        ensemble: whether the model averages the winner's seeds (True) or is the best one of them.
        combine: what is put together: ``"seeds"`` of the winner, ``"greedy"`` for those finalists
            that are best together, ``"soup"`` for one network of averaged weights. All of them are
            measured on held-out rows where a run directory is written.
        baselines: whether to fit simple models for comparison: for tables a constant, a linear
            model and boosted trees, for series naive forecasts, for ratings biases.
        refit: whether to train the winner again on training and validation rows.
        growth: whether to train the winner on parts of the training rows and with one thing
            changed too, to tell whether more rows, or which regularisers, would help: with a budget
            of 40 trials or more, or where each of the two takes less than a tenth of the time.
        goal: binary tasks: what the model's threshold is chosen for, on held-out rows: ``"f1"``,
            ``"balanced_accuracy"``, ``"matthews_corrcoef"``, ``"recall=0.9"`` (most precision
            there), ``"precision=0.8"`` (most recall there) or ``"cost=10"`` (a missed event costs
            ten false alarms); 0.5 by default.
        calibrate: classes: whether the model's probabilities are scaled by the temperature that
            fits held-out rows best; it is fitted, measured and kept either way.
        run: the run directory; with ``write=None`` nothing is written where it is None.
        write: True writes a run directory even without ``run`` (``runs/NAME-DATE-TIME``).
        storage: where the trials are written in Optuna's format, for its dashboard and its tools: a
            journal file or the URL of a database (``"sqlite:///studies.db"``,
            ``"postgresql://…"``, ``"mysql://…"``); by default ``journal.log`` in the run directory.
        study: the study's name in that storage; by default the run directory's.
        callbacks: told of every rung; see ``thalweg.study.callbacks``.
        hooks: callbacks by name that ``resume`` makes again: ``{"tensorboard": FOLDER}``,
            ``{"mlflow": EXPERIMENT}``, ``{"wandb": PROJECT}``.
        seed: seed of everything.
        listener: is told of progress.
        progress: whether to show it on stderr where there is no listener; by default on a terminal
            and in a notebook.
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
    from thalweg.conduct import Asked
    from thalweg.study.ensemble import COMBINATIONS
    from thalweg.study.request import new_request
    from thalweg.study.setup import prepare
    from thalweg.study.threshold import Goal

    limits = (
        clock.budget
        if clock is not None
        else Budget.of(budget, trials, total_epochs, until_stalled)
    )
    clock = clock or Clock(limits)
    dataset, settings = prepare(
        data,
        target,
        limits,
        model=model,
        space=space,
        first=first,
        warm=warm_start,
        loss=loss,
        metric=metric,
        epochs=epochs,
        search=search,
        halving=halving,
        brackets=brackets,
        widen=widen,
        against=against,
        finalists=finalists,
        seeds=seeds,
        processes=processes,
        refit=refit,
        growth=growth,
        seed=seed,
    )
    if goal is not None and Goal.parse(goal) and dataset.task.kind != "binary":
        raise OptionError(
            f"goal is for binary tasks; this one is {dataset.task.kind}: leave it out"
        )
    if combine not in COMBINATIONS:
        raise unknown_option("combine", combine, COMBINATIONS)
    if combine != "seeds" and (refit or not ensemble):
        other = "refit trains the winner alone" if refit else "without ensemble it is one network"
        raise OptionError(f"{other}: leave one of them out, or combine seeds; got {combine!r}")
    if combine != "seeds" and dataset.task.kind not in ROW_KINDS:
        raise OptionError(
            f"combine={combine!r} is for numbers and classes; this is {dataset.task.kind}"
        )
    directory = RunDirectory.create(run, dataset.name) if run is not None or write else None
    options = {
        "ensemble": ensemble,
        "combine": combine,
        "baselines": baselines,
        "goal": goal,
        "calibrate": calibrate,
        "hooks": dict(hooks or {}),
    }
    asked = Asked(dataset, settings, options, clock, listener, command, callbacks, directory)
    if directory is None:
        return _carry_out(asked, progress)
    request = new_request(dataset, settings, options, directory, command, storage, study)
    try:
        request.write(directory.path)
        return _carry_out(asked, progress, request, storage)
    except RunError:
        # What was found is on the disk, and can be gone on with.
        raise
    except ThalwegError:
        directory.abandon()
        raise


def resume(
    run: str | Path,
    data: Any = None,
    *,
    storage: str | None = None,
    callbacks: Sequence[Callback] = (),
    listener: Listener | None = None,
    progress: bool | None = None,
    clock: Clock | None = None,
) -> Study:
    """Go on with a study whose process ended before it was finished, however it ended.

    No finished trial is lost or trained twice. With a budget of trials the result is that of a
    study that was never cut off; of a time budget, the time that was not yet spent is spent.

    Args:
        run: the run directory.
        data: the data, where they came as arrays or frames; else they are read again from where
            they came from. They must be the same.
        storage: the URL of the study's database once more, where it has a password.
        callbacks: told of every rung, as in ``tune``.
        listener: is told of progress.
        progress: whether to show it on stderr where there is no listener; by default on a terminal
            and in a notebook.
        clock: counts from the start of the work; from the call by default.

    Returns:
        The finished study; a run that was finished already is only opened.

    Raises:
        RunError: where the directory holds no study, or the data are others.
    """
    from thalweg.conduct import Asked
    from thalweg.study.request import Request, same_data

    directory = RunDirectory(run)
    request = Request.read(directory.path)
    if directory.is_finished and not directory.was_interrupted:
        return Study.open(run)
    dataset = same_data(request, data, directory.path)
    asked = Asked(
        dataset,
        request.settings,
        request.options,
        clock or Clock(request.settings.budget),
        listener,
        request.command,
        callbacks,
        directory,
    )
    return _carry_out(asked, progress, request, storage)


def _carry_out(
    asked: Asked, progress: bool | None, request: Request | None = None, storage: str | None = None
) -> Study:
    """Run a study from where it stands, with what it is written to while it runs.

    Args:
        asked: what is to be done.
        progress: whether to show progress where nobody listens; see ``tune``.
        request: what was asked for, where the study has a run directory.
        storage: the URL of its database, password included.
    """
    from thalweg.conduct import conduct
    from thalweg.report.listening import listening
    from thalweg.study.callbacks import HOOKS
    from thalweg.study.keeper import take
    from thalweg.study.listener import Silent
    from thalweg.study.status import Reporter
    from thalweg.study.storage import open_store

    hooks = [HOOKS[name](value) for name, value in asked.options["hooks"].items()]
    asked = replace(asked, callbacks=[*asked.callbacks, *hooks])
    directory = asked.directory
    with listening(asked.listener, progress) as listener:
        if directory is None or request is None:
            return _handed(conduct(replace(asked, listener=listener), Model), None)
        keeper = take(directory.checkpoints, request.owner)
        try:
            store = open_store(request, directory, asked.dataset.task, keeper.owner, storage)
            reporter = Reporter(listener or Silent(), directory.path)
            asked = replace(asked, listener=reporter, store=store, keeper=keeper)
            return _handed(conduct(asked, Model), directory)
        finally:
            keeper.release()


def _handed(handed: HandedOver | None, directory: RunDirectory | None) -> Study:
    """Return what was handed over as a Study; what another process has finished is opened."""
    if handed is None:
        assert directory is not None
        return Study.open(directory.path)
    model = handed.model
    assert isinstance(model, Model)
    return Study(handed.summary, handed.records, model, directory, handed.pictures)


def train(
    data: Any,
    config: Config | Mapping[str, Any] | None = None,
    target: str | Sequence[str] | None = None,
    *,
    epochs: float | None = None,
    seed: int = 0,
    **hyperparameters: Any,
) -> Study:
    """Train one configuration.

    Args:
        data: a ``Dataset``, or whatever ``load`` takes.
        config: the configuration, or a mapping with its values; a sensible one for the task by
            default.
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
    from thalweg.study.setup import default_config

    dataset = data if isinstance(data, Dataset) else load(data, target, seed=seed)
    if config is None:
        config = default_config(dataset)
    config = Config(config).with_values(**hyperparameters)
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
