"""The command line: parse, call, print."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg import __version__
from thalweg.errors import OptionError, SourceError, ThalwegError, unknown_option

app = typer.Typer(
    name="thalweg",
    help="Which network, loss, optimizer and learning rate? Answered by experiment on your data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A file (CSV, TSV, Parquet, JSON lines, Arrow; plain or compressed), a glob, a URL, "
        "a folder of images or ratings, or a named set: digits, breast_cancer, wine, iris, "
        "diabetes; mnist, fashion_mnist, cifar10, cifar100.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout.")]
Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run directory that fit wrote.", show_default=False),
]

Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Optuna storage of the trials: a journal file, sqlite:///studies.db, postgresql://… "
        "or mysql://…; by default journal.log in the run directory.",
    ),
]

_INTERRUPTED = 130


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"thalweg {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


@app.command()
def fit(
    source: Source,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Column to predict (repeat it for several)."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", "-b", help="Time to spend, such as 90s, 5m or 1h30m."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", "-n", help="Trials to spend, instead of a time.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="regression, binary or multiclass; images: also segmentation, detection or "
            "embedding. Inferred by default."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Families to try, separated by commas: mlp and linear for tables, cnn, vgg, "
            "resnet for images, dlinear, gru, lstm, cnn1d, transformer for series, mf, neumf, "
            "two_tower for ratings."
        ),
    ] = None,
    space: Annotated[
        Path | None, typer.Option(help="TOML file with the hyperparameters and their domains.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric that chooses.")] = None,
    loss: Annotated[str | None, typer.Option(help="Losses to try, separated by commas.")] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the training rows of a full training.")
    ] = None,
    search: Annotated[
        str,
        typer.Option(
            help="sobol, halton, random, grid; learning from scores: gp, tpe, cmaes, evolution."
        ),
    ] = "sobol",
    halving: Annotated[bool, typer.Option(help="Drop losers early.")] = True,
    seeds: Annotated[
        int, typer.Option(help="Fresh seeds of each finalist (folds where the data is small).")
    ] = 5,
    validation: Annotated[str | None, typer.Option(help="Rows to choose on.")] = None,
    test: Annotated[str | None, typer.Option(help="Rows to score the winner on, once.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Column whose equal values stay in one split.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Column to split by time: the newest rows are the test.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="Column to leave out (repeat it for several).")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=KIND overrides what was inferred: number, category, yes_no, datetime, text."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Shares (or numbers) of training, validation and test rows: 0.7,0.1,0.2."
        ),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="table, images, series or ratings; inferred by default.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Images: side in pixels that they are resized to.")
    ] = None,
    horizon: Annotated[int | None, typer.Option(help="Series: steps to forecast.")] = None,
    context: Annotated[
        int | None, typer.Option(help="Series: past steps that networks read.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Series: column that tells the series of a file apart.")
    ] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(help="Series: column known ahead (repeat it for several)."),
    ] = None,
    sequence: Annotated[
        str | None,
        typer.Option(help="Whole sequences: column that names the sequence of a row."),
    ] = None,
    season: Annotated[int | None, typer.Option(help="Series: steps of a season.")] = None,
    user: Annotated[str | None, typer.Option(help="Ratings: column of the user.")] = None,
    item: Annotated[str | None, typer.Option(help="Ratings: column of the item.")] = None,
    rating: Annotated[
        str | None, typer.Option(help="Ratings: column of the rating; without it, clicks.")
    ] = None,
    user_table: Annotated[
        str | None, typer.Option(help="Ratings: table with more about each user.")
    ] = None,
    item_table: Annotated[
        str | None, typer.Option(help="Ratings: table with more about each item.")
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Fit simple models for comparison.")] = True,
    ensemble: Annotated[
        bool, typer.Option(help="Hand over the average of the winner's seeds, not one of them.")
    ] = True,
    refit: Annotated[
        bool, typer.Option("--refit", help="Train the winner again on the validation rows too.")
    ] = False,
    goal: Annotated[
        str | None,
        typer.Option(
            help="Binary tasks: choose the threshold for f1, balanced_accuracy, "
            "matthews_corrcoef, recall=0.9, precision=0.8 or cost=10."
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Run directory to make.")] = None,
    first: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONFIG",
            help="A configuration to try first, such as your present one: "
            "optimizer=adam,learning_rate=0.01; or a JSON or TOML file of some.",
        ),
    ] = None,
    warm_start: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Begin with what an earlier study found best."),
    ] = None,
    storage: Storage = None,
    study: Annotated[
        str | None,
        typer.Option(help="Name of the study in its storage; by default the run directory's."),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(help="Processes that will share the study, by thalweg resume or --storage."),
    ] = 1,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write TensorBoard event files there.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="EXPERIMENT", help="Log trials to MLflow.")
    ] = None,
    wandb: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Log trials to Weights & Biases.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and stop.")
    ] = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
) -> None:
    """Find, train and keep the best network for a table, images, series or ratings."""
    from thalweg.study.budget import Budget, Clock, process_start
    from thalweg.study.rundir import RunDirectory

    clock = Clock(Budget.of(budget, trials), process_start())
    from thalweg import api

    if run is not None:
        RunDirectory.check_vacant(run)
    console = _console()
    show = not quiet
    dataset = api.load(
        source,
        _targets(target),
        task=task,
        metric=metric,
        validation=validation,
        test=test,
        group=group,
        time=time,
        drop=tuple(drop or ()),
        columns=_kinds(column or []),
        seed=seed,
        fractions=_shares(split),
        modality=modality,
        image_size=image_size,
        horizon=horizon,
        context=context,
        series=series,
        known=tuple(known or ()),
        season=season,
        sequence=sequence,
        user=user,
        item=item,
        rating=rating,
        user_table=user_table,
        item_table=item_table,
    )
    options: dict[str, Any] = {
        "model": _names(model) if model else None,
        "space": space,
        "loss": _names(loss) if loss else None,
        "metric": metric,
        "epochs": epochs,
        "search": search,
        "halving": halving,
        "seeds": seeds,
        "processes": processes,
        "seed": seed,
    }
    from thalweg.study.setup import prepare
    from thalweg.study.warmstart import read_configs

    options["first"] = [config for given in first or [] for config in read_configs(given)]
    named = {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}
    hooks = {name: str(value) for name, value in named.items() if value is not None}
    # A mistake in an option is told before anything else is.
    prepare(dataset, None, clock.budget, warm=warm_start, **options)
    if show:
        for line in dataset.describe():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if dry_run:
        from thalweg.study.setup import dry_run as estimate

        plan = estimate(dataset, budget=clock.budget, **options)
        for line in plan["lines"]:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if as_json:
            typer.echo(json.dumps(plan))
        return
    from thalweg.report.terminal import Progress

    with Progress(console, enabled=show) as progress:
        found = api.tune(
            dataset,
            **options,
            warm_start=warm_start,
            baselines=baselines,
            ensemble=ensemble,
            refit=refit,
            goal=goal,
            run=run,
            write=True,
            storage=storage,
            study=study,
            hooks=hooks,
            listener=progress,
            clock=clock,
            command=_command(),
        )
    _print_study(console, found)
    if as_json:
        typer.echo(json.dumps(found.summary, allow_nan=False))


@app.command()
def resume(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="The run directory of a study that was cut off.",
            show_default=False,
        ),
    ],
    storage: Storage = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
) -> None:
    """Go on with a study that was cut off, by a crash, a full disk or Ctrl-C."""
    from thalweg.study.budget import Clock, process_start
    from thalweg.study.request import Request

    clock = Clock(Request.read(run).settings.budget, process_start())
    from thalweg import api
    from thalweg.report.terminal import Progress

    console = _console()
    with Progress(console, enabled=not quiet) as progress:
        study = api.resume(run, storage=storage, listener=progress, clock=clock)
    _print_study(console, study)
    if as_json:
        typer.echo(json.dumps(study.summary, allow_nan=False))


LOADED = (
    "target", "task", "metric", "validation", "test", "group", "time", "drop", "column", "split",
    "modality", "image_size", "horizon", "context", "series", "known", "sequence", "season", "user",
    "item", "rating", "user_table", "item_table",
)  # fmt: skip
"""The options of ``fit`` that say what the data are; ``compare`` takes the same."""


def _with_options_of(other: Callable[..., Any], names: Sequence[str]) -> Callable[[Any], Any]:
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


@app.command()
@_with_options_of(fit, [*LOADED, "model", "space", "loss", "epochs", "run", "seed", "quiet"])
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
    from thalweg import api
    from thalweg.comparisons import compare as run_comparison
    from thalweg.report.terminal import Progress

    console = _console()
    asked = {name: options[name] for name in LOADED if name in options}
    asked |= {
        "target": _targets(asked["target"]),
        "drop": tuple(asked["drop"] or ()),
        "known": tuple(asked["known"] or ()),
        "columns": _kinds(asked.pop("column") or []),
        "fractions": _shares(asked.pop("split")),
    }
    dataset = api.load(source, seed=options["seed"], **asked)
    if not options["quiet"]:
        for line in dataset.describe():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    with Progress(console, enabled=not options["quiet"]) as progress:
        comparison = run_comparison(
            dataset,
            over=factors,
            levels=named,
            nuisance=_names(nuisance) if nuisance else None,
            trials=trials,
            seeds=seeds,
            model=_names(options["model"]) if options["model"] else None,
            space=options["space"],
            loss=_names(options["loss"]) if options["loss"] else None,
            metric=options["metric"],
            epochs=options["epochs"],
            run=options["run"],
            write=True,
            seed=options["seed"],
            listener=progress,
            clock=clock,
            command=_command(),
        )
    if table is not None:
        comparison.save_table(table)
    _print_comparison(console, comparison)
    if as_json:
        record = {**comparison.summary, "standings": comparison.standings()}
        typer.echo(json.dumps(record, allow_nan=False))


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


def _print_comparison(console: Any, comparison: Any) -> None:
    from thalweg.report import terminal
    from thalweg.report.tables import standings_lines

    lines = standings_lines(comparison.experiment)
    if not console.is_terminal:
        lines += terminal.answers_lines(comparison.answers())
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    if console.is_terminal:
        console.print()
        console.print(terminal.answers_panel(comparison.answers()))
        console.print()
    for line in terminal.summary_lines(comparison.summary):
        console.print(line, markup=False, soft_wrap=True)
    if comparison.directory is not None:
        path = comparison.directory.report_path
        console.print(f"report: {path}", markup=False, soft_wrap=True)


@app.command()
def watch(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The run directory of a study.", show_default=False),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the present state as JSON, and stop.")
    ] = False,
) -> None:
    """Show the live state of a run, from another terminal, until it is finished."""
    from thalweg.report.terminal import watch as follow
    from thalweg.study.request import FILE
    from thalweg.study.rundir import RunDirectory
    from thalweg.study.status import read_status, why_over

    if not (run / FILE).exists():
        RunDirectory.open(run)
    directory = RunDirectory(run)
    if as_json:
        state = read_status(run) or {}
        typer.echo(json.dumps({**state, "finished": directory.is_finished}))
        return
    follow(_console(), lambda: read_status(run), lambda: why_over(run))
    if directory.is_finished:
        from thalweg.api import Study

        _print_study(_console(), Study.open(run))


@app.command()
def demo(
    seconds: Annotated[int, typer.Option(help="Seconds for each of the two data sets.")] = 30,
    runs: Annotated[Path, typer.Option(help="Where the run directories go.")] = Path("runs"),
) -> None:
    """Show the main job on real data that comes with scikit-learn: digits and breast cancer."""
    from thalweg import api
    from thalweg.report.terminal import Progress
    from thalweg.study.budget import Budget, Clock

    console = _console()
    for name in ("breast_cancer", "digits"):
        console.rule(f"thalweg fit {name} --budget {seconds}s")
        clock = Clock(Budget.of(seconds))
        dataset = api.load(name)
        for line in dataset.describe():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        path, number = runs / f"demo-{name}", 1
        while path.exists():
            number += 1
            path = runs / f"demo-{name}-{number}"
        with Progress(console) as progress:
            study = api.tune(
                dataset,
                run=path,
                listener=progress,
                clock=clock,
                command=f"thalweg fit {name} --budget {seconds}s",
            )
        _print_study(console, study)


@app.command()
def predict(
    run: Run,
    source: Source,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="CSV or Parquet file; CSV on stdout by default."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Binary tasks: probability from which the second class is predicted."),
    ] = None,
    top: Annotated[
        int, typer.Option(help="Ratings: best unseen items of each user, for a list of users.")
    ] = 10,
) -> None:
    """Predict the rows of a source with the model of a run.

    For masks, --output is the folder that they are written to.
    """
    from thalweg.study.model import Model

    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise OptionError(f"threshold must be from 0 to 1; got {threshold}")
    model = Model.load(run)
    if threshold is not None and model.task.kind not in ("binary", "detection"):
        raise OptionError(
            f"--threshold is for binary tasks and detections; this one is {model.task.kind}"
        )
    if model.task.kind == "segmentation":
        _write_masks(model, source, output)
        return
    frame, notices = _predicted(model, source, threshold, top)
    for notice in notices:
        typer.echo(f"note: {notice}", err=True)
    if output is None:
        frame.write_csv(sys.stdout)
        return
    kinds = {".csv": "write_csv", ".parquet": "write_parquet"}
    if output.suffix.lower() not in kinds:
        raise unknown_option("the ending of --output", output.suffix, kinds)
    _write_frame(frame, output, kinds[output.suffix.lower()])
    typer.echo(f"{len(frame)} predictions in {output}", err=True)


def _predicted(model: Any, source: str, threshold: float | None, top: int) -> tuple[Any, Any]:
    """Return a table of predictions, and what is worth telling about its rows."""
    encoder = model.encoder
    # A list of users asks for the best items of each.
    users = encoder.users_of(source) if encoder.modality == "ratings" else None
    if users is not None:
        return encoder.top(model.outputs, users, top)
    rows = encoder.encode(source)
    return model.frame_of(rows, threshold), rows.notices


def _write_masks(model: Any, source: str, output: Path | None) -> None:
    if output is None:
        raise OptionError("masks are written to a folder: name it with --output")
    rows = model.encoder.encode(source)
    for notice in rows.notices:
        typer.echo(f"note: {notice}", err=True)
    index = model.encoder.write_masks(model.outputs(rows.fields), rows, output)
    typer.echo(f"{len(index)} masks in {output}", err=True)


@app.command()
def evaluate(run: Run, source: Source, as_json: Json = False) -> None:
    """Score the model of a run on rows that hold the target."""
    from thalweg.study.model import Model

    scores = Model.load(run).evaluate(source)
    if as_json:
        typer.echo(json.dumps(scores))
        return
    width = max(map(len, scores))
    for name, value in scores.items():
        typer.echo(f"{name.ljust(width)}  {value:.6g}")


@app.command()
def explain(
    run: Run,
    source: Source,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            help="shapley, integrated_gradients, permutation, dependence; images and series: "
            "also occlusion, saliency, smoothgrad; ratings: factors; all: neighbours. By default "
            "what suits the data.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="CSV, Parquet or JSON file, or a folder (with a picture for each image).",
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="So many first rows: 100 by default, 16 images.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Class or target to explain.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Column to look at (repeat it for several).")
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="Rows that say what is usual, instead of what fit kept.")
    ] = None,
    examples: Annotated[
        str | None, typer.Option(help="neighbours: the rows to look among, such as train.csv.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="permutation: what importance is measured in.")
    ] = None,
    cells: Annotated[
        int | None,
        typer.Option(help="Cells along an image's side, or stretches of a series."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="How much is drawn at random; more is more exact.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="End after so many seconds with what there is.")
    ] = float("inf"),
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Explain what the model of a run predicts for the rows of a source."""
    from thalweg.api import Model
    from thalweg.explain.explanation import check_ending
    from thalweg.report.counting import Counting

    if output is not None:
        # A mistake is told before anything is computed.
        check_ending(output)
    model = Model.load(run)
    with Counting(_console(), "explaining") as counting:
        found = model.explain(
            source,
            method,
            target=target,
            columns=tuple(column or ()),
            num_rows=rows,
            background=background,
            examples=examples,
            metric=metric,
            cells=cells,
            samples=samples,
            seconds=seconds,
            seed=seed,
            progress=counting.update,
        )
    typer.echo(f"{found.method}: {found.about['text']}", err=True)
    for notice in found.about["notices"]:
        typer.echo(f"note: {notice}", err=True)
    if output is not None:
        files = found.save(output)
        more = f" ({len(files)} files)" if len(files) > 1 else ""
        typer.echo(f"{len(found)} lines in {output}{more}", err=True)
    if as_json:
        typer.echo(found.to_json())
    elif output is None:
        found.frame.write_csv(sys.stdout)


@app.command()
def report(
    run: Run,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file, or Markdown (.md).")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--format", help="html or md; by the ending of --output.")
    ] = None,
) -> None:
    """Write the report of a run (or of a comparison) as one file."""
    from thalweg.api import Study
    from thalweg.comparisons import Comparison
    from thalweg.study.rundir import RunDirectory

    if kind not in (None, "html", "md"):
        raise unknown_option("--format", kind, ("html", "md"))
    ending = f".{kind}" if kind else ".html"
    target = output or run / f"report{ending}"
    if kind and target.suffix.lower() != ending:
        raise OptionError(f"--format {kind} writes {ending} files; got --output {target}")
    compared = "comparison" in RunDirectory.open(run).read_summary()
    opened = Comparison.open(run) if compared else Study.open(run)
    typer.echo(str(opened.report(target)))


@app.command()
def info(
    space: Annotated[
        bool, typer.Option("--space", help="List the hyperparameters of a space.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell versions, devices, caches, and whether the compiler computes correctly here."""
    if space:
        from thalweg.space import HYPERPARAMETERS

        for name, known in HYPERPARAMETERS.items():
            kind = "structural" if known.structural else "traced"
            typer.echo(f"{name:22} {kind:11} {known.about} ({known.rule})")
        return
    from thalweg.study.summary import info as gather

    facts = gather()
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        typer.echo(f"{name:13} {value}")


# ---------------------------------------------------------------------------------------- helpers


def _console() -> Any:
    """Return the console for people: stderr, so that stdout is free for results."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _targets(names: list[str] | None) -> str | list[str] | None:
    if not names:
        return None
    return names[0] if len(names) == 1 else names


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _shares(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            f"--split takes three numbers, such as 0.7,0.1,0.2; got {text!r}"
        ) from None


def _kinds(pairs: list[str]) -> dict[str, str]:
    kinds = {}
    for pair in pairs:
        name, sign, kind = pair.rpartition("=")
        if not sign or not name or not kind:
            raise OptionError(f"--column takes NAME=KIND, such as zip=category; got {pair!r}")
        kinds[name] = kind
    return kinds


def _command() -> str:
    import shlex

    return shlex.join(["thalweg", *sys.argv[1:]])


def _write_frame(frame: Any, path: Path, method: str) -> None:
    import io

    from thalweg.files import write_atomically

    buffer = io.BytesIO()
    getattr(frame, method)(buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}") from None


def _print_study(console: Any, study: Any) -> None:
    from thalweg.report import terminal

    answers = study.answers()
    if console.is_terminal:
        console.print()
        console.print(terminal.leaderboard_table(study.records, study.summary))
        console.print()
        console.print(terminal.answers_panel(answers))
        console.print()
    else:
        for line in [
            *terminal.leaderboard_lines(study.records, study.summary),
            *terminal.answers_lines(answers),
        ]:
            console.print(line, markup=False, soft_wrap=True)
    for line in terminal.summary_lines(study.summary):
        console.print(line, markup=False, soft_wrap=True)
    if study.directory is not None:
        path = study.directory.path
        console.print(f"model:  {study.directory.model_path}", markup=False, soft_wrap=True)
        console.print(f"report: {study.directory.report_path}", markup=False, soft_wrap=True)
        console.print(f"next:   thalweg predict {path} NEW_ROWS.csv", markup=False, soft_wrap=True)


def main() -> None:
    """Run the command line: errors are one line and exit code 2, Ctrl-C is 130."""
    try:
        code = app(standalone_mode=False, prog_name="thalweg")
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        if isinstance(code, int):
            sys.exit(code)
    except ThalwegError as error:
        message = " ".join(str(error).split())
        typer.echo(f"thalweg: {message}", err=True)
        sys.exit(2)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("thalweg: interrupted", err=True)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        # Polars says it in an OSError of its own.
        if isinstance(error, OSError) and "broken pipe" in str(error).lower():
            sys.exit(0)
        # Usage errors know how to say themselves; Typer brings its own copy of Click's classes.
        format_message = getattr(error, "format_message", None)
        if format_message is None:
            raise
        typer.echo(f"thalweg: {' '.join(format_message().split())}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
