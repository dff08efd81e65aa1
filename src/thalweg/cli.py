"""The command line: parse, call, print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg import __version__
from thalweg.commands import (
    LOADED,
    Json,
    Run,
    Source,
    command_line,
    compare,
    console_for_people,
    kinds_of,
    names_of,
    rates,
    shares_of,
    targets_of,
    with_options_of,
)
from thalweg.errors import OptionError, SourceError, ThalwegError, one_line, unknown_option

app = typer.Typer(
    name="thalweg",
    help="Which network, loss, optimizer and learning rate? Answered by experiment on your data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

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
    total_epochs: Annotated[
        float | None,
        typer.Option(help="Passes over the training rows to spend, over all trials together."),
    ] = None,
    until_stalled: Annotated[
        bool,
        typer.Option("--until-stalled", help="End when the search has stopped improving."),
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(
            help="regression, classification (binary or multiclass) or multilabel; images: also "
            "segmentation, detection or embedding; texts: also language; recordings: also "
            "transcription; tables and images: also reconstruction. Inferred by default."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Families to try, separated by commas: mlp and linear for tables, cnn, vgg, "
            "resnet for images and recordings, textcnn, gru, lstm, transformer for texts, dlinear, "
            "cnn1d for series and recordings, mf, neumf, two_tower for ratings."
        ),
    ] = None,
    space: Annotated[
        Path | None, typer.Option(help="TOML file with the hyperparameters and their domains.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric that chooses.")] = None,
    loss: Annotated[str | None, typer.Option(help="Losses to try, separated by commas.")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Weigh the score against params (size), flops (operations for a row) or latency "
            "(measured), and report who is beaten by none in both."
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the training rows of a full training.")
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            help="sobol, halton, random or grid; what learns from scores: gp, tpe, cmaes, "
            "evolution or pbt. By default gp with a budget of time, epochs or 96 trials and "
            "1,000 validation rows, else sobol."
        ),
    ] = None,
    halving: Annotated[bool, typer.Option(help="Drop losers early.")] = True,
    brackets: Annotated[
        str,
        typer.Option(
            help="How losers are dropped: halving, hyperband (later from bracket to bracket) or "
            "curves (by what earlier learning curves foretell)."
        ),
    ] = "halving",
    widen: Annotated[
        bool, typer.Option(help="Widen ranges at whose edge the best trials sit.")
    ] = True,
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
        str | None,
        typer.Option(
            help="table, text, images, audio, series, ratings or translation; inferred by default."
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Texts: column to read word by word (repeat it for several)."),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(help="Texts: bpe (pieces of words; the default), words or characters."),
    ] = None,
    vocabulary: Annotated[
        int | None, typer.Option(help="Texts: different tokens at most (8000; translations 4000).")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Texts: tokens of a text that are read at most.")
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(help="Texts: folder of a BERT encoder to fine-tune (config.json, ...)."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Images: side in pixels that they are resized to.")
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(help="Recordings: hertz that they are resampled to.")
    ] = None,
    mels: Annotated[
        int | None, typer.Option(help="Recordings: mel bands of the spectrograms (40).")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Recordings: length that the spectrograms have.")
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
    source_column: Annotated[
        str | None,
        typer.Option(
            "--source", help="Translations: column that is read; --target is what is written."
        ),
    ] = None,
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
    combine: Annotated[
        str,
        typer.Option(
            help="What the ensemble is of: seeds (of the winner), greedy (finalists that are best "
            "together) or soup (averaged weights)."
        ),
    ] = "seeds",
    refit: Annotated[
        bool, typer.Option("--refit", help="Train the winner again on the validation rows too.")
    ] = False,
    growth: Annotated[
        bool,
        typer.Option(
            help="Train the winner again on parts of the rows and with one thing changed: would "
            "more rows help, and which regularisers do?"
        ),
    ] = True,
    goal: Annotated[
        str | None,
        typer.Option(
            help="Binary tasks: choose the threshold for f1, balanced_accuracy, "
            "matthews_corrcoef, recall=0.9, precision=0.8 or cost=10."
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Classes: scale probabilities by the fitted temperature."),
    ] = False,
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
    """Find, train and keep the best network for a table, texts, images, sound or ratings."""
    from thalweg.study.budget import Budget, Clock, process_start
    from thalweg.study.rundir import RunDirectory

    clock = Clock(Budget.of(budget, trials, total_epochs, until_stalled), process_start())
    from thalweg import api

    if run is not None:
        RunDirectory.check_vacant(run)
    console = console_for_people()
    show = not quiet
    dataset = api.load(
        source,
        targets_of(target),
        task=task,
        metric=metric,
        validation=validation,
        test=test,
        group=group,
        time=time,
        drop=tuple(drop or ()),
        columns=kinds_of(column or []),
        seed=seed,
        fractions=shares_of(split),
        modality=modality,
        text=tuple(text or ()),
        tokens=tokens,
        vocabulary=vocabulary,
        max_tokens=max_tokens,
        pretrained=pretrained,
        image_size=image_size,
        sample_rate=sample_rate,
        mels=mels,
        seconds=seconds,
        horizon=horizon,
        context=context,
        series=series,
        known=tuple(known or ()),
        season=season,
        sequence=sequence,
        source_column=source_column,
        user=user,
        item=item,
        rating=rating,
        user_table=user_table,
        item_table=item_table,
    )
    options: dict[str, Any] = {
        "model": names_of(model) if model else None,
        "space": space,
        "loss": names_of(loss) if loss else None,
        "metric": metric,
        "epochs": epochs,
        "search": search,
        "halving": halving,
        "brackets": brackets,
        "widen": widen,
        "against": against,
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
    _, settings = prepare(dataset, None, clock.budget, warm=warm_start, **options)
    if show:
        for line in [*dataset.describe(), *(f"note: {text}" for text in settings.notices)]:
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
            combine=combine,
            refit=refit,
            growth=growth,
            goal=goal,
            calibrate=calibrate,
            run=run,
            write=True,
            storage=storage,
            study=study,
            hooks=hooks,
            listener=progress,
            clock=clock,
            command=command_line(),
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

    console = console_for_people()
    with Progress(console, enabled=not quiet) as progress:
        study = api.resume(run, storage=storage, listener=progress, clock=clock)
    _print_study(console, study)
    if as_json:
        typer.echo(json.dumps(study.summary, allow_nan=False))


app.command()(
    with_options_of(fit, [*LOADED, "model", "space", "loss", "epochs", "run", "seed", "quiet"])(
        compare
    )
)
app.command()(
    with_options_of(fit, [*LOADED, "model", "space", "epochs", "run", "seed", "quiet"])(rates)
)


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
    follow(console_for_people(), lambda: read_status(run), lambda: why_over(run))
    if directory.is_finished:
        from thalweg.api import Study

        _print_study(console_for_people(), Study.open(run))


@app.command()
def demo(
    seconds: Annotated[int, typer.Option(help="Seconds for each of the two data sets.")] = 30,
    runs: Annotated[Path, typer.Option(help="Where the run directories go.")] = Path("runs"),
) -> None:
    """Show the main job on real data that comes with scikit-learn: digits and breast cancer."""
    from thalweg import api
    from thalweg.report.terminal import Progress
    from thalweg.study.budget import Budget, Clock

    console = console_for_people()
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
    interval: Annotated[
        float | None,
        typer.Option(
            help="Numbers and forecasts: add lower and upper, which hold such a share of the "
            "truth, such as 0.9."
        ),
    ] = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Classes: scale probabilities by the temperature.")
    ] = False,
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
    if calibrated:
        model = model.calibrate()
    if interval is not None and model.task.kind != "regression":
        raise OptionError(f"--interval is for regression and forecasts; this is {model.task.kind}")
    if model.task.kind == "segmentation":
        _write_masks(model, source, output)
        return
    frame, notices = _predicted(model, source, threshold, interval, top)
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


def _predicted(
    model: Any, source: str, threshold: float | None, interval: float | None, top: int
) -> tuple[Any, Any]:
    """Return a table of predictions, and what is worth telling about its rows."""
    encoder = model.encoder
    # A list of users asks for the best items of each.
    users = encoder.users_of(source) if encoder.modality == "ratings" else None
    if users is not None:
        return encoder.top(model.outputs, users, top)
    rows = encoder.encode(source)
    return model.frame_of(rows, threshold, interval), rows.notices


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
    from thalweg.study.request import made_from
    from thalweg.study.rundir import RunDirectory

    scores = Model.load(run).evaluate(source)
    if made_from(run, source):
        summary = RunDirectory.open(run).read_summary()
        metric, part = summary["metric"], "test" if summary.get("test") else "validation"
        value = summary[part].get(metric)
        unseen = "" if value is None else f": {metric} on the rows held out ({part}) {value:.6g}"
        note = f"the model was made from this data and trained on most of it{unseen}"
        typer.echo(f"note: {note}", err=True)
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
            help="shapley, integrated_gradients, permutation, dependence; texts, images, sound "
            "and series: occlusion; all of these but texts: saliency, smoothgrad; ratings: "
            "factors; all: neighbours. By default what suits the data.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="CSV, Parquet or JSON file, or a folder (with a picture for each image, or a page "
            "of texts).",
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="So many first rows: 100 by default, 16 images, 20 texts.")
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
        typer.Option(help="Cells along an image's side, stretches of a series or a text."),
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
    with Counting(console_for_people(), "explaining") as counting:
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
    from thalweg.rate_maps import RateMap
    from thalweg.study.rundir import RunDirectory

    if kind not in (None, "html", "md"):
        raise unknown_option("--format", kind, ("html", "md"))
    ending = f".{kind}" if kind else ".html"
    target = output or run / f"report{ending}"
    if kind and target.suffix.lower() != ending:
        raise OptionError(f"--format {kind} writes {ending} files; got --output {target}")
    summary = RunDirectory.open(run).read_summary()
    kinds = {kind.key: kind for kind in (Comparison, RateMap)}
    opened = next((home.open(run) for key, home in kinds.items() if key in summary), None)
    typer.echo(str((opened or Study.open(run)).report(target)))


@app.command()
def sample(
    run: Run,
    prompt: Annotated[str, typer.Option(help="How the texts begin.")] = "",
    num: Annotated[int, typer.Option("--num", "-n", help="How many texts.")] = 5,
    length: Annotated[int, typer.Option(help="Tokens of a text at most.")] = 100,
    temperature: Annotated[
        float, typer.Option(help="Below 1 likely tokens get likelier; 0 takes the likeliest.")
    ] = 1.0,
    top_k: Annotated[
        int, typer.Option(help="Draw from so many of the likeliest tokens (0: all).")
    ] = 0,
    top_p: Annotated[
        float, typer.Option(help="Draw from the likeliest tokens of this probability together.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Write texts with a run's language model (fit --task language)."""
    from thalweg.study.model import Model

    texts = Model.load(run).sample(
        prompt,
        num=num,
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    for text in texts:
        typer.echo(text)
    if as_json:
        typer.echo(json.dumps({"texts": texts}))


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
        if study.directory.was_interrupted:
            line = f"cut short by Ctrl-C: thalweg resume {path} goes on from here"
            console.print(line, markup=False, soft_wrap=True)
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
        typer.echo(f"thalweg: {one_line(error, 4_000)}", err=True)
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
