"""``compare``: a question as an experiment, and the Comparison that it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg import markup
from thalweg.data import Dataset, load
from thalweg.errors import OptionError, unknown_option
from thalweg.experiments import Experiment, written
from thalweg.space import Config, Space
from thalweg.study.budget import Budget, Clock
from thalweg.study.rundir import RunDirectory, json_ready

if TYPE_CHECKING:
    from thalweg.study.experiment import Arms
    from thalweg.study.listener import Listener
    from thalweg.study.settings import Settings


class Comparison(Experiment):
    """A finished comparison: its standings, its answers, its trials and its report.

    ``compare`` returns one; ``Comparison.open`` reads one back from its run directory.

    Args:
        summary: of the comparison.
        records: one for each trial.
        directory: where it is kept, if anywhere.
    """

    key, what = "comparison", "comparison"

    def __repr__(self) -> str:
        found = self.summary["comparison"]
        first = self.answers()[0]
        return (
            f"<Comparison over {', '.join(found['over'])} on {self.summary['name']}: "
            f"{len(found['arms'])} arms, {len(self.records)} trials; {first.verdict}>"
        )

    def _repr_html_(self) -> str:
        from thalweg.report.tables import standings_cells

        found = self.summary["comparison"]
        header, rows = standings_cells(self.experiment)
        return markup.card(
            f"Comparison over {', '.join(found['over'])} on {self.summary['name']}",
            markup.table(header, rows),
            self.answers()._repr_html_(),
            note=f"{len(found['arms'])} arms, {len(self.records):,} trials",
        )

    @property
    def experiment(self) -> Any:
        """The evidence behind the answers: arms, pairs, targets (``thalweg.evidence``)."""
        from thalweg.evidence.standings import experiment_of

        return experiment_of(self.records, self.summary)

    def standings(self) -> list[dict[str, Any]]:
        """Return one row for each arm, best first: scores, intervals, p-values, cost, trial ids."""
        from thalweg.evidence.standings import standings

        return standings(self.experiment)

    def pairs(self) -> list[dict[str, Any]]:
        """Return one row for each pair of arms: difference, interval, adjusted p, verdict."""
        from thalweg.evidence.standings import pair_rows

        return pair_rows(self.experiment)

    def best_config(self, arm: str | None = None) -> Config:
        """Return the best configuration of an arm, of the best arm by default.

        Raises:
            OptionError: where there is no such arm, or it has no score.
        """
        rows = {row["arm"]: row for row in self.standings()}
        name = next(iter(rows)) if arm is None else arm
        if name not in rows:
            raise unknown_option("arm", name, rows)
        if not rows[name]["config"]:
            raise OptionError(f"no trial of {name} gave a score: choose another arm")
        return Config(rows[name]["config"])

    def save_table(self, path: str | Path) -> Path:
        """Write the standings as CSV, LaTeX or Markdown, by the file's ending.

        Raises:
            OptionError: where the ending is none of ``.csv``, ``.tex`` and ``.md``.
            RunError: where the file cannot be written.
        """
        from thalweg.report.tables import FORMATS

        target = Path(path)
        if target.suffix.lower() not in FORMATS:
            raise unknown_option("the ending of a table's file", target.suffix, FORMATS)
        return written(target, FORMATS[target.suffix.lower()](self.experiment))

    def report(self, path: str | Path = "comparison.html") -> Path:
        """Write the report, HTML or by the ending ``.md`` Markdown, and return its path."""
        from thalweg.report.comparison import render_comparison, render_comparison_markdown

        target = Path(path)
        markdown = target.suffix.lower() == ".md"
        render = render_comparison_markdown if markdown else render_comparison
        return written(target, render(self.records, self.summary, self.answers()))


def compare(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    over: str | Sequence[str],
    levels: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
    nuisance: Sequence[str] | None = None,
    budget: str | float | None = None,
    trials: int | None = None,
    seeds: int = 5,
    model: str | Sequence[str] | None = None,
    space: Space | dict[str, Any] | str | Path | None = None,
    loss: str | Sequence[str] | None = None,
    metric: str | None = None,
    epochs: float | None = None,
    run: str | Path | None = None,
    write: bool | None = None,
    seed: int = 0,
    listener: Listener | None = None,
    progress: bool | None = None,
    clock: Clock | None = None,
    command: str | None = None,
) -> Comparison:
    """Answer a question by an experiment: every arm tuned with equal budgets, then paired seeds.

    Every level of ``over`` (every combination, for a pair) is an *arm*. Each arm gets equally many
    trials at the same quasi-random points of its nuisance parameters and equally many steps; its
    best is trained again under the same fresh seeds as that of the others, and scored on rows that
    chose nothing. Sources: Godbole and others, Deep Learning Tuning Playbook (2023); Schneider,
    Balles and Hennig, DeepOBS (2019); Schmidt, Schneider and Hennig, "Descending through a Crowded
    Valley" (2021); Dahl and others, AlgoPerf (2023).

    Args:
        data: a ``Dataset``, or whatever ``load`` takes.
        target: what is predicted, where ``data`` is not a ``Dataset`` yet.
        over: what is compared: ``"optimizer"``, ``"schedule"``, ``"activation"``, ``"loss"``,
            ``"model"``, any other hyperparameter, ``"regularisation"``, ``"augmentation"``,
            ``"clipping"``, or a pair, ``"optimizer,schedule"``, whose interaction is then tested.
        levels: what to compare: a list, or one for each factor by name; usual ones by default.
        nuisance: hyperparameters that are tuned anew for each arm; by default learning rate, weight
            decay, dropout and l2, as far as the space has them. With a ``space`` of your own: all
            that it leaves free.
        budget: time to spend, such as ``"5m"``.
        trials: trials of each arm; 16 where there is no budget.
        seeds: fresh seeds for the best of each arm.
        model: family or families to train; those of the recipe by default.
        space: the hyperparameters and their domains: a ``Space``, a mapping, or a TOML file.
        loss: loss to train on; the task's own by default.
        metric: the metric that judges; the task's own by default.
        epochs: passes over the training rows of every training.
        run: the run directory; with ``write=None`` nothing is written where it is None.
        write: True writes a run directory even without ``run``.
        seed: seed of everything.
        listener: is told of progress.
        progress: whether to show it on stderr where there is no listener; by default on a terminal
            and in a notebook.
        clock: counts from the start of the work; from the call by default.
        command: what the user typed, for the record.

    Returns:
        The finished comparison.

    Raises:
        ThalwegError: a subclass, with one line that says what to do.

    Example:
        >>> found = compare("iris", over="optimizer", levels=["sgd", "adam"], trials=2, seeds=2,
        ...                 epochs=2)
        >>> sorted(row["arm"] for row in found.standings())
        ['adam', 'sgd']
    """
    from thalweg.conduct import interrupts
    from thalweg.models import InputShape
    from thalweg.report.listening import listening
    from thalweg.study.design import check_over, make_design
    from thalweg.study.experiment import run_arms
    from thalweg.study.setup import prepare, training_data

    limits = clock.budget if clock is not None else Budget.of(budget)
    clock = clock or Clock(limits)
    for name, value, least in (("trials", trials, 1), ("seeds", seeds, 1)):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and least <= value <= 4096):
            raise OptionError(f"{name} must be a whole number from {least}; got {value!r}")
    factors = check_over(over)
    named = _levels_by_name(factors, levels)
    dataset = data if isinstance(data, Dataset) else load(data, target, metric=metric, seed=seed)
    dataset, settings = prepare(
        dataset,
        None,
        Budget(limits.seconds),
        model=model if model is not None else named.get("model"),
        space=space,
        loss=loss if loss is not None else named.get("loss"),
        metric=metric,
        epochs=epochs,
        seeds=seeds,
        seed=seed,
    )
    design = make_design(
        dataset,
        factors,
        settings.space,
        first=settings.first,
        levels=named,
        nuisance=nuisance,
        own_space=space is not None,
    )
    directory = RunDirectory.create(run, dataset.name) if run is not None or write else None
    try:
        with interrupts() as interrupted, listening(listener, progress) as told:
            arms = run_arms(
                design,
                training_data(dataset, dataset.train),
                dataset.task,
                InputShape.from_dict(dataset.input_shape),
                clock,
                epochs=settings.epochs,
                least_epochs=settings.least_epochs,
                points=trials,
                seeds=seeds,
                seed=seed,
                listener=told,
                interrupted=interrupted,
            )
    except BaseException:
        if directory is not None:
            directory.abandon()
        raise
    return _finished(dataset, settings, design, arms, clock, directory, command)


def _levels_by_name(
    factors: Sequence[str], levels: Mapping[str, Sequence[Any]] | Sequence[Any] | None
) -> dict[str, list[Any]]:
    """Return the levels of each factor that the user named."""
    if levels is None:
        return {}
    if isinstance(levels, str):
        raise OptionError(f"levels is a list, or one for each factor by name; got {levels!r}")
    if isinstance(levels, Mapping):
        return {str(name): list(values) for name, values in levels.items()}
    if len(factors) != 1:
        raise OptionError(
            f"levels of a pair are given by name: levels={{{factors[0]!r}: [...], "
            f"{factors[1]!r}: [...]}}"
        )
    return {factors[0]: list(levels)}


def _finished(
    dataset: Dataset,
    settings: Settings,
    design: Any,
    arms: Arms,
    clock: Clock,
    directory: RunDirectory | None,
    command: str | None,
) -> Comparison:
    from thalweg.evidence.comparing import comparison_answers
    from thalweg.study.experiment import summarise_arms

    summary = summarise_arms(dataset, settings, design, arms, clock, command)
    summary["run"] = str(directory.path) if directory else None
    records = [trial.to_dict() for trial in arms.trials]
    summary["answers"] = [answer.to_dict() for answer in comparison_answers(records, summary)]
    comparison = Comparison(json_ready(summary), records, directory)
    if directory is not None:
        directory.write_trials(arms.trials)
        for ending in (".csv", ".tex", ".md"):
            comparison.save_table(directory.path / f"standings{ending}")
        comparison.report(directory.report_path)
    comparison.summary["seconds"]["total"] = round(clock.elapsed(), 3)
    if directory is not None:
        directory.write_summary(comparison.summary)
    return comparison
