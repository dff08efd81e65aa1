"""Commands that are experiments, and what every command needs of its options."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.errors import OptionError, unknown_option

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A file (CSV, TSV, Parquet, JSON lines, Arrow; plain or compressed), a glob, a URL, "
        "a folder of images, recordings, texts or ratings, or a named set: digits, breast_cancer, "
        "wine, iris, diabetes; mnist, fashion_mnist, cifar10, cifar100.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout.")]
Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run directory that fit wrote.", show_default=False),
]

LOADED = (
    "target", "task", "metric", "validation", "test", "group", "time", "drop", "column", "split",
    "modality", "image_size", "horizon", "context", "series", "known", "sequence", "season", "user",
    "item", "rating", "user_table", "item_table",
)  # fmt: skip
"""The options of ``fit`` that say what the data are; ``compare`` takes the same."""


def with_options_of(other: Callable[..., Any], names: Sequence[str]) -> Callable[[Any], Any]:
    """Return a decorator that puts another command's options in the place of ``**options``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        theirs = inspect.signature(other, eval_str=True).parameters
        own = inspect.signature(function, eval_str=True)
        kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        shared = [theirs[name] for name in names if name in theirs]
        merged = own.replace(parameters=[*kept, *shared], return_annotation=None)
        function.__signature__ = merged  # type: ignore[attr-defined]
        function.__annotations__ = {p.name: p.annotation for p in merged.parameters.values()}
        return function

    return decorate


def compare(
    source: Source,
    over: Annotated[
        str,
        typer.Option(
            help="What to compare: optimizer, schedule, activation, loss, model, batch_size, any "
            "other hyperparameter, regularisation, augmentation, clipping, or a pair: "
            "optimizer,schedule."
        ),
    ],
    levels: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=A,B,C: levels to compare (repeat it for a pair); usual ones by default."
        ),
    ] = None,
    nuisance: Annotated[
        str | None,
        typer.Option(
            help="Hyperparameters tuned anew for each arm, separated by commas; learning rate, "
            "weight decay, dropout and l2 by default."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", "-b", help="Time to spend, such as 90s, 5m or 1h30m."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", "-n", help="Trials of each arm; 16 without a budget.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Fresh seeds for the best of each arm.")] = 5,
    table: Annotated[
        Path | None,
        typer.Option(help="Write the standings here too: .csv, .tex or .md by its ending."),
    ] = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Compare optimizers, schedules, losses, … fairly: equal budgets, paired seeds, intervals."""
    from thalweg.study.budget import Budget, Clock, process_start
    from thalweg.study.design import check_over
    from thalweg.study.rundir import RunDirectory

    clock = Clock(Budget.of(budget), process_start())
    factors = check_over(over)
    named = _levels(factors, levels or [])
    if table is not None and table.suffix.lower() not in (".csv", ".tex", ".md"):
        raise unknown_option("the ending of --table", table.suffix, (".csv", ".tex", ".md"))
    if options["run"] is not None:
        RunDirectory.check_vacant(options["run"])
    from thalweg.comparisons import compare as run_comparison
    from thalweg.report.tables import standings_lines
    from thalweg.report.terminal import Progress

    console = console_for_people()
    dataset = _loaded(source, options, console)
    with Progress(console, enabled=not options["quiet"]) as progress:
        comparison = run_comparison(
            dataset,
            over=factors,
            levels=named,
            nuisance=names_of(nuisance) if nuisance else None,
            trials=trials,
            seeds=seeds,
            model=names_of(options["model"]) if options["model"] else None,
            space=options["space"],
            loss=names_of(options["loss"]) if options["loss"] else None,
            metric=options["metric"],
            epochs=options["epochs"],
            run=options["run"],
            write=True,
            seed=options["seed"],
            listener=progress,
            clock=clock,
            command=command_line(),
        )
    if table is not None:
        comparison.save_table(table)
    _print_found(console, standings_lines(comparison.experiment), comparison)
    if as_json:
        record = {**comparison.summary, "standings": comparison.standings()}
        typer.echo(json.dumps(record, allow_nan=False))


def _loaded(source: str, options: dict[str, Any], console: Any) -> Any:
    """Load the data that the options name, and say what was found."""
    from thalweg import api

    asked = {name: options[name] for name in LOADED if name in options}
    asked |= {
        "target": targets_of(asked["target"]),
        "drop": tuple(asked["drop"] or ()),
        "known": tuple(asked["known"] or ()),
        "columns": kinds_of(asked.pop("column") or []),
        "fractions": shares_of(asked.pop("split")),
    }
    dataset = api.load(source, seed=options["seed"], **asked)
    if not options["quiet"]:
        for line in dataset.describe():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return dataset


def rates(
    source: Source,
    optimizers: Annotated[
        str, typer.Option(help="Whose rates to look for, separated by commas.")
    ] = "sgd,nesterov,adamw",
    remedies: Annotated[
        str, typer.Option(help="What may move the stable edge: warmup, clipping.")
    ] = "warmup,clipping",
    budget: Annotated[
        str | None,
        typer.Option("--budget", "-b", help="Time to spend: trainings are shortened to fit."),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", "-n", help="Trainings in all.")] = 192,
    seeds: Annotated[int, typer.Option(help="Seeds of every rate.")] = 2,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Find the learning rates that work: many real short trainings, basins and stable edges."""
    from thalweg.study.budget import Budget, Clock, process_start
    from thalweg.study.rundir import RunDirectory

    clock = Clock(Budget.of(budget), process_start())
    if options["run"] is not None:
        RunDirectory.check_vacant(options["run"])
    from thalweg.evidence.rate_map import rate_lines
    from thalweg.rate_maps import find_rates
    from thalweg.report import terminal
    from thalweg.report.rates import rate_table_lines

    console = console_for_people()
    dataset = _loaded(source, options, console)
    with terminal.Progress(console, enabled=not options["quiet"]) as progress:
        found = find_rates(
            dataset,
            optimizers=names_of(optimizers),
            remedies=tuple(name for name in names_of(remedies) if name) or ("plain",),
            trials=trials,
            seeds=seeds,
            model=names_of(options["model"]) if options["model"] else None,
            space=options["space"],
            metric=options["metric"],
            epochs=options["epochs"],
            run=options["run"],
            write=True,
            seed=options["seed"],
            listener=progress,
            clock=clock,
            command=command_line(),
        )
    _print_found(console, rate_table_lines(*rate_lines(found.records, found.summary)), found)
    if as_json:
        typer.echo(json.dumps({**found.summary, "lines": found.lines()}, allow_nan=False))


def _levels(factors: tuple[str, ...], texts: list[str]) -> dict[str, list[Any]]:
    """Return the levels of each factor from ``NAME=A,B`` (or ``A,B`` where there is one factor)."""
    named: dict[str, list[Any]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        if not sign and len(factors) == 1:
            name, values = factors[0], text
        if name.strip() not in factors or not values.strip():
            raise OptionError(
                f"--levels takes NAME=A,B with a NAME that is compared ({', '.join(factors)}); "
                f"got {text!r}"
            )
        named[name.strip()] = [_value(value.strip()) for value in values.split(",")]
    return named


def _value(text: str) -> Any:
    """Return the number or truth value that a text means, or the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _print_found(console: Any, lines: list[str], found: Any) -> None:
    """Print a table, the answers and where the report is."""
    from thalweg.report import terminal

    if not console.is_terminal:
        lines = [*lines, *terminal.answers_lines(found.answers())]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    if console.is_terminal:
        console.print()
        console.print(terminal.answers_panel(found.answers()))
        console.print()
    for line in terminal.summary_lines(found.summary):
        console.print(line, markup=False, soft_wrap=True)
    if found.directory is not None:
        path = found.directory.report_path
        console.print(f"report: {path}", markup=False, soft_wrap=True)


# ---------------------------------------------------------------------------------------- helpers


def console_for_people() -> Any:
    """Return the console for people: stderr, so that stdout is free for results."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def targets_of(names: list[str] | None) -> str | list[str] | None:
    """Return one target, several, or None."""
    if not names:
        return None
    return names[0] if len(names) == 1 else names


def names_of(text: str) -> tuple[str, ...]:
    """Return the names in a text, separated by commas."""
    return tuple(name.strip() for name in text.split(","))


def shares_of(text: str | None) -> tuple[float, ...] | None:
    """Return the numbers in a text, separated by commas."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            f"--split takes three numbers, such as 0.7,0.1,0.2; got {text!r}"
        ) from None


def kinds_of(pairs: list[str]) -> dict[str, str]:
    """Return NAME=KIND pairs as a mapping."""
    kinds = {}
    for pair in pairs:
        name, sign, kind = pair.rpartition("=")
        if not sign or not name or not kind:
            raise OptionError(f"--column takes NAME=KIND, such as zip=category; got {pair!r}")
        kinds[name] = kind
    return kinds


def command_line() -> str:
    """Return what the user typed."""
    import shlex

    from thalweg.study.request import without_password

    return without_password(shlex.join(["thalweg", *sys.argv[1:]]))
