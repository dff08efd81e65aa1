"""From the options of ``tune`` to what the loop runs: checks, spaces, arrays, folds, estimates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.data import Dataset, concatenate, fold_ids, load
from thalweg.errors import DataError, OptionError, unknown_option
from thalweg.models import InputShape, build, count_params
from thalweg.optim.external import EXTERNAL
from thalweg.search import SEARCHERS, make_searcher
from thalweg.space import Choice, Config, Space, Structure, leaves
from thalweg.study import spaces
from thalweg.study.budget import Budget
from thalweg.study.objectives import OBJECTIVES
from thalweg.study.recipes import FAMILIES_FOR, RECIPES, Question
from thalweg.study.settings import BRACKETS, Settings
from thalweg.study.translation_recipes import writing_seconds
from thalweg.study.warmstart import warm_start
from thalweg.task import WRITTEN_KINDS
from thalweg.training import backend
from thalweg.training.feed import TrainingData
from thalweg.training.plan import estimated_step_seconds

LEARNING_TRIALS, LEARNING_ROWS = 96, 1_000
"""Trials, and validation rows, from which on the usual searcher learns from scores."""

FINALISTS = 3
MOST_FINALISTS = 8
FOLDED_ROWS = 20_000
SMALLEST_FOLD = 10


def prepare(
    data: Any,
    target: str | Sequence[str] | None,
    limits: Budget,
    *,
    model: str | Sequence[str] | None = None,
    space: Space | dict[str, Any] | str | Path | None = None,
    first: Sequence[Config] = (),
    warm: str | Path | None = None,
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
    refit: bool = False,
    growth: bool = False,
    seed: int = 0,
) -> tuple[Dataset, Settings]:
    """Check the options of ``tune`` and return the data set and how the study will be run."""
    counts = {"finalists": FINALISTS if finalists is None else finalists, "seeds": seeds}
    for name, value in {**counts, "seed": seed}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise OptionError(f"{name} must be a whole number from 0; got {value!r}")
    if epochs is not None and not 0 < epochs < 1e6:
        raise OptionError(f"epochs must be above 0; got {epochs!r}")
    if search is not None and search not in SEARCHERS:
        raise unknown_option("search", search, SEARCHERS)
    if search == "pbt" and refit:
        raise OptionError("refit trains one configuration, and pbt changes them: leave refit out")
    if against is not None and against not in OBJECTIVES:
        raise unknown_option("against", against, OBJECTIVES)
    if brackets not in BRACKETS:
        raise unknown_option("brackets", brackets, BRACKETS)
    families = (model,) if isinstance(model, str) else tuple(model or ())
    dataset = data if isinstance(data, Dataset) else load(data, target, metric=metric, seed=seed)
    for name in families:
        if name not in FAMILIES_FOR[dataset.modality]:
            raise unknown_option("model", name, FAMILIES_FOR[dataset.modality])
    losses = (loss,) if isinstance(loss, str) else tuple(loss or ())
    if dataset.task.kind == "reconstruction" and metric is None and families == ("vae",):
        # What only variational networks have is what they are judged by where there are no others.
        metric = "elbo"
    if metric is not None or losses:
        chosen = dataset.task.with_choice(metric=metric, loss=losses[0] if losses else None)
        dataset = dataset.with_task(chosen)
    if dataset.task.metric == "top_5_accuracy" and len(dataset.task.classes) <= 5:
        raise OptionError(
            f"top_5_accuracy needs more than 5 classes; got {len(dataset.task.classes)}: "
            "choose another metric"
        )
    if not len(dataset.validation):
        raise DataError(
            "a study chooses on validation rows and there are none: give more rows, or fractions "
            "that leave some"
        )
    search = search or usual_search(limits, len(dataset.validation))
    num_rows = len(dataset.train.target)
    recipe = RECIPES[dataset.modality](
        Question(
            dataset.task,
            InputShape.from_dict(dataset.input_shape),
            num_rows,
            families,
            losses,
            _structures(limits),
            _widths(dataset, limits, epochs),
            limits.seconds or math.inf,
            3e10 * backend.num_workers() if backend.on_cpu() else 5e12,
        )
    )
    if space is None:
        searched = recipe.space
        first = first or recipe.first
    elif isinstance(space, Space):
        searched = space
    elif isinstance(space, str | Path):
        searched = Space.load(space)
    else:
        searched = Space.from_dict(space)
    known: tuple[tuple[Config, float], ...] = ()
    notices: tuple[str, ...] = ()
    if warm is not None:
        warmth = warm_start(warm, dataset)
        known = warmth.known
        first = tuple(dict.fromkeys([*first, *warmth.first]))
        notices = (warmth.told(warm),)
    tried = searched.get("model", Choice(["mlp"]))
    named = [m for leaf in leaves(tried) if isinstance(leaf, Choice) for m in leaf.options]
    for name in [*named, *(config.get_or_default("model") for config in first)]:
        if name not in FAMILIES_FOR[dataset.modality]:
            raise unknown_option("model", name, FAMILIES_FOR[dataset.modality])
    settings = Settings(
        space=searched,
        budget=limits,
        epochs=float(epochs or recipe.epochs),
        least_epochs=min(recipe.least_epochs, epochs or recipe.epochs),
        shortest_rung=recipe.shortest_rung,
        default_trials=recipe.trials,
        search=search,
        # A population is exchanged, not halved.
        halving=halving and search != "pbt",
        brackets=brackets,
        widen=widen,
        against=against,
        num_finalists=counts["finalists"],
        most_finalists=MOST_FINALISTS if finalists is None else counts["finalists"],
        processes=max(1, processes),
        num_replicates=min(seeds, recipe.replicates or seeds),
        seed=seed,
        first=tuple(first),
        known=known,
        notices=notices,
        refit=refit,
        growth=growth,
        writing_seconds=writing_seconds(len(dataset.test) or len(dataset.validation))
        if dataset.task.kind in WRITTEN_KINDS
        else 0.0,
    )
    return dataset, settings


def usual_search(limits: Budget, num_validation: int) -> str:
    """Return the searcher where nobody names one.

    A Gaussian process where scores are worth following: on few rows the best of many trials that
    follow each other is mostly luck. And where a first round of two fifths, drawn without looking
    at results, still has the trials that answers are drawn from.
    """
    counted = limits.seconds is not None or limits.epochs is not None or limits.until_stalled
    if limits.trials is not None:
        counted = limits.trials >= LEARNING_TRIALS
    return "gp" if counted and num_validation >= LEARNING_ROWS else "sobol"


def default_config(dataset: Dataset) -> Config:
    """Return a sensible single configuration for a data set: what an expert tries first."""
    inputs = InputShape.from_dict(dataset.input_shape)
    asked = Question(dataset.task, inputs, len(dataset.train), widths=(128,))
    recipe = RECIPES[dataset.modality](asked)
    if recipe.first:
        return recipe.first[0]
    return recipe.space.decode(np.full((1, max(1, len(recipe.space.free))), 0.5))[0]


def _structures(limits: Budget) -> int:
    """Return how many distinct programs are worth compiling within a budget."""
    if limits.seconds is not None:
        return int(max(2, min(12, limits.seconds / 8)))
    return int(max(1, min(12, (limits.trials or 64) / 10)))


def _widths(dataset: Dataset, limits: Budget, epochs: float | None) -> tuple[int, ...]:
    """Return the widths of hidden layers that the budget can afford to try.

    At least 40 full trainings of the largest network should fit in; of the choices from large to
    small, the first for which they do, by the cost model.
    """
    choices = ((64, 256), (64, 128), (32, 64))
    if limits.seconds is None or dataset.modality != "table":
        return choices[0]
    num_rows = len(dataset.train.target)
    batch = spaces.default_batch_size(num_rows)
    steps = (epochs or spaces.default_epochs(num_rows)) * num_rows / batch
    inputs = InputShape.from_dict(dataset.input_shape)
    for widths in choices:
        largest = Structure(width=widths[-1], depth=3, batch_size=batch)
        network = build(largest, inputs, dataset.task.num_outputs)
        seconds = steps * estimated_step_seconds(network, batch, "cpu") / backend.num_workers()
        if 40 * seconds <= limits.seconds:
            return widths
    return choices[-1]


def training_data(dataset: Dataset, train: Any) -> TrainingData:
    """Return what an engine trains on; ``train`` are the rows to learn from."""
    return TrainingData(
        fields=train.fields,
        target=train.target,
        validation_fields=dataset.validation.fields,
        validation_target=dataset.validation.target,
        weight=train.weight,
        units=dataset.units,
        lengths=_lengths(train) if dataset.task.kind in WRITTEN_KINDS else None,
    )


def _lengths(part: Any) -> dict[str, np.ndarray]:
    """Return how many tokens of each row count in each array of tokens."""
    arrays = {**part.fields, "target": part.target}
    return {name: (values != 0).sum(axis=1) for name, values in arrays.items()}


def fold_index(dataset: Dataset, num_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows that train and those that are held out, fold by fold; none for large data.

    They count through the training and then the validation rows. All folds have the same sizes (a
    few rows of the larger ones sit out), so that they share one program.
    """
    rows = concatenate([dataset.train, dataset.validation])
    num_rows = len(rows)
    # Rows split by group, by time or by the user are not dealt anew.
    random = dataset.split.startswith("at random") and dataset.modality == "table"
    if not random or num_folds < 2 or not SMALLEST_FOLD * num_folds <= num_rows <= FOLDED_ROWS:
        return []
    spread: dict[str, Any] = {}
    if dataset.task.kind == "regression":
        spread["values"] = rows.target[:, 0]
    else:
        spread["labels"] = rows.target.argmax(1) if rows.target.ndim == 2 else rows.target
    ids = fold_ids(num_rows, num_folds, seed=dataset.seed, **spread)
    sizes = np.bincount(ids, minlength=num_folds)
    num_train, num_held = num_rows - int(sizes.max()), int(sizes.min())
    rng = np.random.default_rng([dataset.seed, 0xF01])
    index = []
    for fold in range(num_folds):
        train = rng.permutation(np.flatnonzero(ids != fold))[:num_train]
        index.append((np.sort(train), np.flatnonzero(ids == fold)[:num_held]))
    return index


def make_folds(dataset: Dataset, num_folds: int) -> list[TrainingData]:
    """Return the splits on which finalists are compared; none where the data is large.

    The encoder is the one fitted on the training rows; no target enters it but the scale of a
    regression target.
    """
    index = fold_index(dataset, num_folds)
    if not index:
        return []
    arrays = training_data(dataset, concatenate([dataset.train, dataset.validation]))
    return [arrays.split(train, held) for train, held in index]


def dry_run(data: Any, target: Any = None, *, budget: Budget, **options: Any) -> dict[str, Any]:
    """Say what ``tune`` would do with these options, in how many seconds, with how much memory.

    Nothing is compiled or trained: the seconds are an estimate from the networks' sizes, which the
    study itself replaces by a measurement.
    """
    dataset, settings = prepare(data, target, budget, **options)
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
    data_bytes = sum(a.nbytes for part in dataset.parts.values() for a in part.fields.values())
    if budget.seconds is not None:
        trials, total = None, budget.seconds
        what = f"for {budget.seconds:g} s, about {budget.seconds / mean:.0f} full trainings' worth"
    elif budget.trials is None and (budget.epochs is not None or budget.until_stalled):
        trials, total = None, mean * (budget.epochs or math.inf) / settings.epochs
        what = f"for {budget.describe()}, trials of up to {settings.epochs:g} epochs"
    else:
        trials = budget.trials or settings.default_trials
        # Halving by three over three rungs trains about a third as long as training all.
        total = 3.0 + compile_seconds + trials * mean * (0.4 if settings.halving else 1.0)
        what = f"{trials} trials of up to {settings.epochs:g} epochs in about {total:.0f} s"
    # A time budget has room for so many at most, whatever the memory.
    fitting = 1024 if math.isinf(total) else max(1, int(total / mean))
    members = min(trials or fitting, 1024)
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
        "estimated_seconds": round(total, 1) if math.isfinite(total) else None,
        "estimated_bytes": int(needed),
        "space": settings.space.to_dict(),
    }
