"""``find_rates``: the honest learning-rate finder, and the RateMap that it returns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.data import Dataset, load
from thalweg.errors import OptionError, unknown_option
from thalweg.experiments import Experiment, written
from thalweg.space import Space
from thalweg.study.budget import Budget, Clock
from thalweg.study.rundir import RunDirectory, json_ready

if TYPE_CHECKING:
    from thalweg.study.listener import Listener

TRIALS = 192
"""Trainings where neither a budget nor a number is given."""


class RateMap(Experiment):
    """A finished map of learning rates: its lines, its answers, its trials and its report.

    Args:
        summary: of the map.
        records: one for each training.
        directory: where it is kept, if anywhere.
    """

    key, what = "rate_map", "map of learning rates"

    def __repr__(self) -> str:
        return f"<RateMap of {self.summary['name']}: {len(self.records)} trainings>"

    def lines(self) -> list[dict[str, Any]]:
        """Return one row for each optimizer and remedy.

        ``{"optimizer", "remedy", "best", "low", "high" (the basin), "decades", "edge" (None where
        none was found under every seed), "rates", "scores" (mean over seeds, None where all
        failed), "trials" (ids)}``.
        """
        from thalweg.evidence.rate_map import rate_lines

        view, found = rate_lines(self.records, self.summary)
        return [
            json_ready(
                {
                    "optimizer": line.optimizer,
                    "remedy": line.remedy,
                    "best": line.best,
                    "low": line.low,
                    "high": line.high,
                    "decades": line.decades,
                    "edge": line.edge,
                    "rates": line.rates,
                    "scores": view.sign * line.goodness,
                    "trials": line.ids,
                }
            )
            for line in found
        ]

    def report(self, path: str | Path = "rates.html") -> Path:
        """Write the report as one HTML file, and return its path."""
        from thalweg.report.rates import render_rates

        return written(path, render_rates(self.records, self.summary, self.answers()))


def find_rates(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    optimizers: Sequence[str] = ("sgd", "nesterov", "adamw"),
    remedies: Sequence[str] = ("plain", "warmup", "clipping"),
    budget: str | float | None = None,
    trials: int = TRIALS,
    seeds: int = 2,
    model: str | Sequence[str] | None = None,
    space: Space | dict[str, Any] | str | Path | None = None,
    metric: str | None = None,
    epochs: float | None = None,
    run: str | Path | None = None,
    write: bool | None = None,
    seed: int = 0,
    listener: Listener | None = None,
    progress: bool | None = None,
    clock: Clock | None = None,
    command: str | None = None,
) -> RateMap:
    """Find the learning rates that work, by real short trainings side by side.

    A ramp of rising rates tells where a network that was just trained at smaller rates breaks. Here
    every rate has a training of its own, from the beginning, under several seeds; what is read off
    is the basin of good rates with its width, the stable edge, and whether warmup or clipping move
    that edge.

    Args:
        data: a ``Dataset``, or whatever ``load`` takes.
        target: what is predicted, where ``data`` is not a ``Dataset`` yet.
        optimizers: whose rates are looked for.
        remedies: what may move the edge: ``"warmup"`` (a fifth of the steps) and ``"clipping"`` (a
            global norm of 1), beside ``"plain"``, which is always there.
        budget: time to spend: trainings are shortened to fit.
        trials: trainings in all; 192 by default: with three optimizers and three remedies under two
            seeds, ten rates each.
        seeds: of every rate.
        model: family to train.
        space: hyperparameters and their domains; all but optimizer and rate are held at what an
            expert would try first.
        metric: the metric that judges.
        epochs: passes over the training rows; by default 0.15 of a full training.
        run: the run directory; with ``write=None`` nothing is written where it is None.
        write: True writes a run directory even without ``run``.
        seed: seed of everything.
        listener: is told of progress.
        progress: whether to show it on stderr where there is no listener; by default on a terminal
            and in a notebook.
        clock: counts from the start of the work; from the call by default.
        command: what the user typed, for the record.

    Returns:
        The finished map.

    Raises:
        ThalwegError: a subclass, with one line that says what to do.

    Example:
        >>> found = find_rates("iris", optimizers=["adam"], remedies=["plain"], trials=16, epochs=2)
        >>> len(found.lines()[0]["rates"])
        8
    """
    from thalweg.conduct import interrupts
    from thalweg.evidence.rate_map import rate_answers
    from thalweg.models import InputShape
    from thalweg.optim.external import EXTERNAL
    from thalweg.optim.rules import RULES
    from thalweg.report.listening import listening
    from thalweg.study.rate_search import (
        LEAST_RATES,
        REMEDIES,
        SHARE_OF_TRAINING,
        lines_of,
        run_rates,
    )
    from thalweg.study.setup import prepare, training_data
    from thalweg.study.summary import about_data

    for what, names, known in (
        ("optimizers", optimizers, [*RULES, *EXTERNAL]),
        ("remedies", remedies, list(REMEDIES)),
    ):
        if isinstance(names, str) or not names:
            raise OptionError(f"{what} is a list of names; got {names!r}")
        for name in names:
            if name not in known:
                raise unknown_option(what, name, known)
    tried = list(dict.fromkeys(["plain", *remedies]))
    kept = list(dict.fromkeys(optimizers))
    for name, value, most in (("trials", trials, 100_000), ("seeds", seeds, 100)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise OptionError(f"{name} must be a whole number from 1; got {value!r}")
    num = trials // (len(kept) * len(tried) * seeds)
    if num < LEAST_RATES:
        needed = LEAST_RATES * len(kept) * len(tried) * seeds
        raise OptionError(
            f"{len(kept)} optimizers, {len(tried)} remedies and {seeds} seeds take {needed} "
            f"trainings for {LEAST_RATES} rates each; got trials={trials}: give more, or fewer of "
            "the others"
        )
    limits = clock.budget if clock is not None else Budget.of(budget)
    clock = clock or Clock(limits)
    dataset = data if isinstance(data, Dataset) else load(data, target, metric=metric, seed=seed)
    dataset, settings = prepare(
        dataset, None, Budget(limits.seconds), model=model, space=space, metric=metric, seed=seed
    )
    lines = lines_of(dataset, settings.space, settings.first, kept, tried, num)
    directory = RunDirectory.create(run, dataset.name) if run is not None or write else None
    try:
        with interrupts() as interrupted, listening(listener, progress) as told:
            done, entries, cost = run_rates(
                lines,
                training_data(dataset, dataset.train),
                dataset.task,
                InputShape.from_dict(dataset.input_shape),
                clock,
                epochs=epochs or max(0.5, SHARE_OF_TRAINING * settings.epochs),
                seeds=seeds,
                seed=seed,
                listener=told,
                interrupted=interrupted,
            )
    except BaseException:
        if directory is not None:
            directory.abandon()
        raise
    records = [trial.to_dict() for trial in done]
    summary = json_ready(
        {
            **about_data(dataset),
            "run": str(directory.path) if directory else None,
            "rate_map": entries,
            "trials": {s: sum(t.status == s for t in done) for s in ("completed", "diverged")},
            "plan": {"epochs": cost["epochs"], "stopped": cost["stopped"]},
            "seconds": {"total": 0.0, "compile": cost["compile"], "train": cost["train"]},
            "budget_seconds": clock.budget.seconds,
            "seed": seed,
            "command": command,
            "notices": [*dataset.notices, *cost["notices"]],
        }
    )
    summary["answers"] = [answer.to_dict() for answer in rate_answers(records, summary)]
    found = RateMap(summary, records, directory)
    summary["seconds"]["total"] = round(clock.elapsed(), 3)
    if directory is not None:
        directory.write_trials(done)
        found.report(directory.report_path)
        directory.write_summary(summary)
    return found
