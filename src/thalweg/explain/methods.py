"""The ways to explain a model, and ``explain``, which chooses among them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from thalweg.data import Part
from thalweg.errors import DataError, OptionError, unknown_option
from thalweg.explain.explanation import Explanation, Painter
from thalweg.explain.players import Players, players_of
from thalweg.explain.scores import LOGIT, Asked, asked, check_rows_task, select

NUM_BACKGROUND = 32
"""Background rows that absent inputs take their values from."""

_ENOUGH_ROWS = 20
_GRID = ("table", "ratings")
_IMAGES = ("images",)
_STEPS = ("series", "sequences")


@dataclass(eq=False)
class Job:
    """One explanation to make.

    Args:
        model: the model.
        part: the encoded rows.
        values: the user's own columns of them; None where there are none to tell.
        background: rows that stand for what is usual [M, …].
        target: class or target to explain.
        columns: inputs to explain; all by default.
        examples: rows to look for neighbours in, with their keys and labels.
        metric: what importance is measured in.
        cells: how finely images and series are divided.
        samples: how much is sampled; each method has its own default.
        seed: of everything that is drawn.
        going_on: told of progress (done, total); where it returns False, the job ends early.
        paint: draws pictures.
        notices: what is worth telling.
    """

    model: Any
    part: Part
    values: Any
    background: Mapping[str, np.ndarray]
    target: Any = None
    columns: Sequence[str] = ()
    examples: tuple[Part, Any] | None = None
    metric: str | None = None
    cells: int | None = None
    samples: int | None = None
    seed: int = 0
    going_on: Callable[[int, int], bool] = lambda done, total: True
    paint: Painter | None = None
    notices: list[str] = field(default_factory=list)

    @property
    def fields(self) -> Mapping[str, np.ndarray]:
        """The encoded rows."""
        return self.part.fields

    def players(self) -> Players:
        """Who the prediction is shared out among."""
        return players_of(self.model.encoder, self.fields, self.cells)

    def asked(self) -> tuple[Asked, np.ndarray]:
        """What is explained, and the model's outputs for the rows."""
        outputs = self.model.outputs(self.fields)
        return asked(self.model.task, outputs, self.target), outputs


@dataclass(frozen=True)
class Method:
    """A way to explain.

    Args:
        make: makes the explanation.
        about: what it tells.
        modalities: kinds of data that it is for.
        with_target: whether the rows must hold the target.
        of_rows: whether single rows are explained (by default the first of them), not the model.
    """

    make: Callable[[Job], Explanation]
    about: str
    modalities: tuple[str, ...]
    with_target: bool = False
    of_rows: bool = True


# Contributions -----------------------------------------------------------------------------------


def _shapley(job: Job) -> Explanation:
    from thalweg.explain.shapley import shapley

    chosen, _ = job.asked()
    players, model, rows = job.players(), job.model, job.fields
    background = job.background
    num = len(next(iter(background.values())))

    def value(index: np.ndarray, present: np.ndarray, others: np.ndarray) -> np.ndarray:
        mixed = players.mixed(present, select(rows, index), select(background, others))
        return chosen.of(model.outputs(mixed), index)

    found = shapley(
        value,
        len(job.part),
        len(players),
        num,
        num_walks=job.samples,
        seed=job.seed,
        going_on=lambda done: job.going_on(done, len(job.part)),
    )
    about = {
        "base": f"the mean prediction of {num} background rows",
        "exact": found.exact,
        "largest_error": float(found.error.max(initial=0.0)),
    }
    if "image" in rows:
        maps = found.values[:, players.owner["image"][..., 0]]
        return _pictures(job, "shapley", chosen, maps, found.base, found.score, True, about)
    return _contributions(
        job, "shapley", chosen, players, found.values, found.base, found.score, about,
        None if found.exact else found.error,
    )  # fmt: skip


def _integrated(job: Job) -> Explanation:
    from thalweg.explain.gradients import integrated_gradients

    if job.model.calibrated:
        # Gradients are of the networks; a temperature changes how sure they are, not why.
        job = replace(job, model=replace(job.model, calibrated=False))
        job.notices.append("probabilities are explained as they were before calibration")
    chosen, _ = job.asked()
    path = integrated_gradients(job.model, job.fields, chosen, job.background)
    job.going_on(len(job.part), len(job.part))
    gap = float(np.abs(path.gap).max(initial=0.0))
    about = {
        "base": "the prediction of a baseline of mean inputs",
        "largest_gap": gap,
        "steps": path.steps,
    }
    if "image" in path.entries:
        maps = path.entries["image"].sum(-1)
        return _pictures(
            job, "integrated_gradients", chosen, maps, path.base, path.score, True, about
        )
    players = job.players()
    entries = {name: values for name, values in path.entries.items() if name in players.owner}
    return _contributions(
        job, "integrated_gradients", chosen, players, players.totals(entries), path.base,
        path.score, about,
    )  # fmt: skip


def _occlusion(job: Job) -> Explanation:
    from thalweg.explain.occlusion import image_windows, occlusion

    chosen, outputs = job.asked()
    own, total = chosen.of(outputs), len(job.part)
    cover = {
        name: np.asarray(values, np.float64).mean(0, keepdims=True).astype(values.dtype)
        for name, values in job.background.items()
    }
    players = None if "image" in job.fields else job.players()
    if players is None:
        shape = job.fields["image"].shape[1:]
        side = None if job.cells is None else max(1, round(max(shape[:2]) / job.cells))
        masks = [{"image": mask} for mask in image_windows(shape, side)]
    else:
        masks = [
            {name: owner == player for name, owner in players.owner.items()}
            for player in range(len(players))
        ]
    found = []
    for row in range(total):
        if not job.going_on(row, total):
            break

        def score(fields: Mapping[str, np.ndarray], row: int = row) -> np.ndarray:
            num = len(next(iter(fields.values())))
            return chosen.of(job.model.outputs(fields), np.full(num, row))

        found.append(occlusion(score, select(job.fields, slice(row, row + 1)), cover, masks))
    falls = {name: np.array([one[name] for one in found]) for name in found[0]}
    about = {"base": "inputs covered by their mean"}
    if players is None:
        maps = falls["image"][..., 0]
        return _pictures(job, "occlusion", chosen, maps, None, own, True, about)
    counts = players.totals({n: np.ones((1, *o.shape)) for n, o in players.owner.items()})
    values = players.totals(falls) / np.maximum(counts, 1)
    return _contributions(job, "occlusion", chosen, players, values, None, own, about)


def _saliency(job: Job) -> Explanation:
    from thalweg.explain.gradients import gradients

    chosen, outputs = job.asked()
    link = LOGIT if chosen.unit == "probability" else "prediction"
    return _sensitivity(
        job, "saliency", chosen, outputs, gradients(job.model, job.fields, chosen, link=link)
    )


def _smoothgrad(job: Job) -> Explanation:
    from thalweg.explain.gradients import DRAWS, smooth_gradients

    chosen, outputs = job.asked()
    link = LOGIT if chosen.unit == "probability" else "prediction"
    draws = job.samples or DRAWS
    found = smooth_gradients(
        job.model, job.fields, chosen, link=link, draws=draws, seed=job.seed
    )  # fmt: skip
    return _sensitivity(job, "smoothgrad", chosen, outputs, found)


def _sensitivity(
    job: Job, method: str, chosen: Asked, outputs: np.ndarray, slopes: Mapping[str, np.ndarray]
) -> Explanation:
    job.going_on(len(job.part), len(job.part))
    sizes = {name: np.abs(values) for name, values in slopes.items()}
    of = "the logit" if chosen.unit == "probability" else "the prediction"
    about = {"base": f"how fast {of} changes with each input"}
    score = chosen.of(outputs)
    if "image" in sizes:
        # The channel that matters most stands for its pixel, as in the paper.
        return _pictures(job, method, chosen, sizes["image"].max(-1), None, score, False, about)
    players = job.players()
    entries = {name: values for name, values in sizes.items() if name in players.owner}
    totals = players.totals(entries)
    return _contributions(job, method, chosen, players, totals, None, score, about)


def _factors(job: Job) -> Explanation:
    """Take a rating apart by forgetting who it is, what it is, and what is known of both."""
    chosen, _ = job.asked()
    users, items = job.model.encoder.columns["user"], job.model.encoder.columns["item"]
    known = {name: np.array(values) for name, values in job.fields.items()}

    def score(user: bool, item: bool, side: bool = True) -> np.ndarray:
        fields = {name: np.array(values) for name, values in known.items()}
        if not user:
            fields["category"][:, 0] = 0
        if not item:
            fields["category"][:, 1] = 0
        if not side:
            fields["numeric"][:] = 0.0
            fields["category"][:, 2:] = 0
        return chosen.of(job.model.outputs(fields))

    nobody, both = score(False, False), score(True, True)
    user, item = score(True, False), score(False, True)
    base = score(False, False, False)
    parts = {users: user - nobody, items: item - nobody, "match": both - user - item + nobody}
    if known["numeric"].shape[1] or known["category"].shape[1] > 2:
        parts = {"side information": nobody - base, **parts}
    players = Players("column", tuple(parts), {})
    job.going_on(len(job.part), len(job.part))
    return _contributions(
        replace(job, values=None), "factors", chosen, players, np.stack(list(parts.values()), 1),
        base, both, {"base": "the prediction for an unknown user and an unknown item"},
    )  # fmt: skip


# The model on many rows ---------------------------------------------------------------------------


def _permutation(job: Job) -> Explanation:
    import polars as pl

    from thalweg.explain.permutation import permutation_importance
    from thalweg.optim.metrics import score

    model, task = job.model, job.model.task
    metric = job.metric or task.metric
    target = np.asarray(job.part.target)
    if task.kind == "regression":
        target = model.encoder.target.inverse(target.astype(np.float64))

    def measure(outputs: np.ndarray, truth: np.ndarray) -> float:
        found = score(
            task, outputs, truth, [metric], scale=model.encoder.metric_scale,
            threshold=model.threshold,
        )  # fmt: skip
        return float(found.get(metric, math.nan))

    players = job.players()
    wanted = _wanted(job, players)

    def shuffled(place: int, order: np.ndarray) -> np.ndarray:
        others = select(job.fields, order)
        return model.outputs(players.exchanged(wanted[place], job.fields, others))

    found = permutation_importance(
        model.outputs(job.fields),
        shuffled,
        measure,
        target,
        len(wanted),
        sign=task.with_choice(metric=metric).sign,
        repeats=job.samples or 5,
        seed=job.seed,
        going_on=lambda done: job.going_on(done, len(wanted)),
    )
    if not math.isfinite(found.score):
        raise DataError(
            f"the metric {metric} is not defined on these rows, such as where they have one class "
            "only: give other rows, or another metric"
        )
    order = np.argsort(-np.nan_to_num(found.importance, nan=-np.inf), kind="stable")
    frame = pl.DataFrame(
        {
            "column": [players.names[wanted[i]] for i in order],
            "importance": found.importance[order],
            "low": found.low[order],
            "high": found.high[order],
        },
        nan_to_null=True,
    )
    about = {
        "metric": metric,
        "score": found.score,
        "num_rows": len(target),
        "text": f"loss of {metric} on {len(target):,} rows when a column is shuffled",
        "notices": job.notices,
    }
    return Explanation("permutation", frame, about, paint=job.paint)


def _dependence(job: Job) -> Explanation:
    import polars as pl

    from thalweg.explain.dependence import NUM_VALUES, grid_rows, partial_dependence

    model = job.model
    outputs = model.outputs(job.fields)
    target = job.target
    if target is None and model.task.kind == "multiclass":
        # One curve is of one class: the one that is most often predicted.
        target = model.task.classes[int(np.bincount(outputs.argmax(1)).argmax())]
    chosen = asked(model.task, outputs, target)
    players = job.players()
    wanted = _wanted(job, players)
    lines = []
    for done, player in enumerate(wanted):
        if not job.going_on(done, len(wanted)):
            break
        values = job.values[players.names[player]].to_list()

        def exchanged(row: int, player: int = player) -> np.ndarray:
            others = {
                name: np.broadcast_to(array[row : row + 1], array.shape)
                for name, array in job.fields.items()
            }
            return chosen.of(model.outputs(players.exchanged(player, job.fields, others)))

        rows = grid_rows(values, job.samples or NUM_VALUES)
        if not len(rows):
            continue
        found = partial_dependence(exchanged, rows, values)
        for value, mean, low, high in zip(
            found.values, found.mean, found.low, found.high, strict=True
        ):
            lines.append((players.names[player], str(value), mean, low, high))
    frame = pl.DataFrame(
        lines, schema=["column", "value", "mean", "p10", "p90"], orient="row"
    )  # fmt: skip
    label = chosen.labels[0] if chosen.labels else ""
    about = {
        "explained": label,
        "unit": chosen.unit,
        "num_rows": len(job.part),
        "text": f"mean prediction of {label} over the values of each column",
        "notices": job.notices,
    }
    return Explanation("dependence", frame, about, paint=job.paint)


def _neighbours(job: Job) -> Explanation:
    import polars as pl

    from thalweg.explain.neighbours import nearest

    if job.examples is None:
        raise OptionError(
            "neighbours are looked for among examples: give the training rows as well "
            "(examples=…, --examples FILE)"
        )
    examples, labels = job.examples
    found = nearest(job.model, job.fields, examples.fields, job.samples or 5)
    num, count = found.index.shape
    flat = found.index.reshape(-1)
    columns: dict[str, Any] = {"row": np.repeat(job.part.rows, count)}
    columns |= {n: np.repeat(np.asarray(v), count) for n, v in job.part.keys.items()}
    columns["rank"] = np.tile(np.arange(1, count + 1), num)
    columns["example"] = examples.rows[flat]
    columns |= {f"example_{n}": np.asarray(v)[flat] for n, v in examples.keys.items()}
    columns["similarity"] = found.similarity.reshape(-1)
    if labels is not None:
        columns["target"] = pl.Series(np.asarray(labels)[flat].tolist(), strict=False)
    space = "the network's last hidden layer" if found.layer else "the network's inputs"
    about = {
        "text": f"the {count} nearest of {len(examples):,} examples in {space}",
        "num_rows": num,
        "notices": job.notices,
    }
    job.going_on(num, num)
    return Explanation("neighbours", pl.DataFrame(columns), about, paint=job.paint)


METHODS: dict[str, Method] = {
    "shapley": Method(
        _shapley,
        "what each input adds to the prediction, on average over all orders of adding",
        (*_GRID, *_IMAGES, *_STEPS),
    ),
    "integrated_gradients": Method(
        _integrated,
        "what each input adds on a straight way from a baseline of means",
        (*_GRID, *_IMAGES, *_STEPS),
    ),
    "occlusion": Method(
        _occlusion,
        "how the prediction falls when a part of the input is covered",
        (*_IMAGES, *_STEPS),
    ),
    "saliency": Method(
        _saliency, "how sensitive the prediction is to each input", (*_IMAGES, *_STEPS)
    ),
    "smoothgrad": Method(
        _smoothgrad, "the same, averaged over noisy copies of the input", (*_IMAGES, *_STEPS)
    ),
    "permutation": Method(
        _permutation,
        "how much worse the model gets when a column is shuffled",
        (*_GRID, *_STEPS),
        with_target=True,
        of_rows=False,
    ),
    "dependence": Method(
        _dependence, "the mean prediction over the values of a column", ("table",), of_rows=False
    ),
    "factors": Method(
        _factors, "what user, item and their match add to a rating", ("ratings",)
    ),
    "neighbours": Method(
        _neighbours,
        "the training examples that the network takes for the most alike",
        (*_GRID, *_IMAGES, *_STEPS),
    ),
}  # fmt: skip
"""The ways to explain, by name."""

DEFAULTS = {
    "table": "shapley",
    "images": "integrated_gradients",
    "series": "integrated_gradients",
    "sequences": "integrated_gradients",
    "ratings": "factors",
}
"""The way to explain each kind of data when none is named."""

MOST_ROWS = {"images": 16}
"""Rows that are explained by default; 100 of other kinds of data."""

_MANY_ROWS, _MOST_REMEMBERED = 2_000, 20_000


def explain(
    model: Any,
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
    paint: Painter | None = None,
) -> Explanation:
    """Explain what a model predicts for some rows, or what it goes by on them.

    Args:
        model: a trained model.
        rows: whatever ``predict`` takes; with the target for ``permutation``.
        method: one of ``METHODS``; by default what suits the kind of data.
        target: class (or target) that is explained: by default the second of two classes, the
            likeliest of many, the first target; of forecasts the mean over the horizon.
        columns: inputs to look at (``permutation``, ``dependence``); all by default.
        num_rows: so many first rows; by default 100, 16 images, 2,000 where the model is explained
            and not single rows.
        background: rows that say what is usual (32 of them are drawn); by default what the model
            remembers of its training rows, else the rows themselves.
        examples: rows to look for neighbours in, the training rows most often.
        metric: what importance is measured in; the model's own by default.
        cells: stretches that a series is divided into (24), or cells along an image's side (8).
        samples: how much is drawn: orders of a Shapley value (64), noisy copies (32), shuffles (5),
            values of a column (20), neighbours (5).
        seconds: after which an explanation ends with the rows that it has.
        seed: of everything that is drawn.
        progress: told of rows done and rows to do.
        paint: what draws pictures.

    Returns:
        The explanation.

    Raises:
        OptionError: the method does not fit the model, or an option makes no sense.
        DataError: the rows cannot be used.
    """
    encoder = model.encoder
    chosen = method_of(model, method)
    for name, value in (("num_rows", num_rows), ("samples", samples), ("cells", cells)):
        if value is not None and value < 1:
            raise OptionError(f"{name} must be 1 or more; got {value}")
    if encoder.modality == "table":
        # Read once: the user's own values are told beside what they contribute.
        rows = encoder.frame_of(rows)
    part = encoder.encode(rows, with_target=METHODS[chosen].with_target)
    values = encoder.columns_of(rows[part.rows]) if encoder.modality == "table" else None
    return explain_part(
        model,
        part,
        chosen,
        values=values,
        background=None if background is None else encoder.encode(background).fields,
        examples=_examples(encoder, examples),
        target=target,
        columns=(columns,) if isinstance(columns, str) else tuple(columns),
        num_rows=num_rows,
        metric=metric,
        cells=cells,
        samples=samples,
        seconds=seconds,
        seed=seed,
        progress=progress,
        paint=paint,
    )


def method_of(model: Any, method: str | None) -> str:
    """Return the method to use for a model.

    Raises:
        OptionError: it is not known, or does not fit.
    """
    modality = model.encoder.modality
    if method is None:
        check_rows_task(model.task)
        if modality not in DEFAULTS:
            raise OptionError(
                f"models of {modality} cannot be explained yet; those of {', '.join(DEFAULTS)} can"
            )
        method = DEFAULTS[modality]
    if method not in METHODS:
        raise unknown_option("the method of an explanation", method, METHODS)
    check_rows_task(model.task)
    if modality not in METHODS[method].modalities:
        fitting = [name for name, one in METHODS.items() if modality in one.modalities]
        raise OptionError(
            f"{method} is for {', '.join(METHODS[method].modalities)}; this model reads "
            f"{modality}: take {', '.join(fitting)}"
        )
    return method


def explain_part(
    model: Any,
    part: Part,
    method: str,
    *,
    values: Any = None,
    background: Mapping[str, np.ndarray] | None = None,
    num_rows: int | None = None,
    seconds: float = math.inf,
    progress: Callable[[int, int], None] | None = None,
    seed: int = 0,
    **options: Any,
) -> Explanation:
    """Explain encoded rows; see ``explain`` for the arguments."""
    if not len(part):
        raise DataError("there are no rows to explain: give one or more")
    chosen, modality = METHODS[method], model.encoder.modality
    notices = list(part.notices)
    most = num_rows or (MOST_ROWS.get(modality, 100) if chosen.of_rows else _MANY_ROWS)
    kept = np.arange(min(most, len(part)))
    if len(part) > most and not chosen.of_rows and num_rows is None:
        kept = np.sort(np.random.default_rng([0xE, seed]).permutation(len(part))[:most])
    if len(kept) < len(part) and num_rows is None:
        what = "the first" if chosen.of_rows else "at random"
        notices.append(f"{len(kept):,} of {len(part):,} rows are looked at, {what}")
    all_fields = part.fields
    if len(kept) < len(part):
        part = part.take(kept)
        values = None if values is None else values[kept]
    start = time.perf_counter()
    ended: list[int] = []

    def going_on(done: int, total: int) -> bool:
        if progress is not None:
            progress(done, total)
        # Something is always found: one row, one column.
        if done and done < total and time.perf_counter() - start > seconds:
            ended.append(done)
            return False
        return True

    job = Job(
        model,
        part,
        values,
        background_of(model, all_fields, background, notices, seed),
        seed=seed,
        going_on=going_on,
        notices=notices,
        **options,
    )
    found = chosen.make(job)
    if progress is not None:
        progress(1, 1)
    if ended:
        found.about["notices"].append(f"time was up after {ended[0]:,} of what was to be done")
    return found


def background_of(
    model: Any,
    rows: Mapping[str, np.ndarray],
    given: Mapping[str, np.ndarray] | None,
    notices: list[str],
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return rows that say what is usual: those given, those remembered, a mean, or the rows.

    Args:
        model: the model.
        rows: fields of the rows to explain [N, …].
        given: fields of background rows, or None.
        notices: gets a line where the rows have to be their own background.
        seed: of the choice.
    """
    if given is not None:
        return _some(given, seed)
    if model.reference:
        return {name: np.asarray(values) for name, values in model.reference.items()}
    if "image" in rows:
        shape = model.inputs
        mean = np.asarray(shape.get("image_mean") or [127.5], np.float64)
        image = np.broadcast_to(mean, (1, *rows["image"].shape[1:]))
        return {"image": np.clip(image.round(), 0, 255).astype(np.uint8)}
    if "sequence" in rows:
        # Channels are standardised: zero is their mean.
        return {n: np.zeros((1, *v.shape[1:]), v.dtype) for n, v in rows.items()}
    num = len(next(iter(rows.values())))
    if num < _ENOUGH_ROWS:
        notices.append(
            f"the model does not remember what rows are usually like, and {num} rows say little: "
            "give others as background"
        )
    return _some(rows, seed)


def _some(fields: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    num = len(next(iter(fields.values())))
    rows = np.sort(np.random.default_rng([0xB6, seed]).permutation(num)[:NUM_BACKGROUND])
    return select(fields, rows)


def _examples(encoder: Any, source: Any) -> tuple[Part, Any] | None:
    """Return rows to look for neighbours in, with their labels where they have any."""
    if source is None:
        return None
    try:
        part = encoder.encode(source, with_target=True)
    except DataError:
        return encoder.encode(source), None
    target = np.asarray(part.target)
    if encoder.task.kind != "regression":
        return part, encoder.target.labels(target)
    values = encoder.target.inverse(target.astype(np.float64)).reshape(len(part), -1)
    return part, values[:, 0]


def _wanted(job: Job, players: Players) -> list[int]:
    """Return the players to look at."""
    for name in job.columns:
        if name not in players.names:
            raise unknown_option("a column to explain", name, players.names)
    return [i for i, name in enumerate(players.names) if not job.columns or name in job.columns]


def _contributions(
    job: Job,
    method: str,
    chosen: Asked,
    players: Players,
    values: np.ndarray,
    base: np.ndarray | None,
    score: np.ndarray,
    about: Mapping[str, Any],
    error: np.ndarray | None = None,
) -> Explanation:
    """Return contributions as a table: one line for each row and player."""
    import polars as pl

    num, count = values.shape
    part = job.part
    columns: dict[str, Any] = {"row": np.repeat(part.rows[:num], count)}
    columns |= {n: np.repeat(np.asarray(v)[:num], count) for n, v in part.keys.items()}
    columns["explained"] = pl.Series([x for x in chosen.labels[:num] for _ in range(count)])
    columns["prediction"] = np.repeat(score[:num], count)
    if base is not None:
        columns["base"] = np.repeat(base[:num], count)
    columns["column" if players.what == "column" else players.what] = list(players.names) * num
    columns |= {n: list(v) * num for n, v in players.about.items()}
    if job.values is not None:
        texts = [job.values[name][:num].to_list() for name in players.names]
        columns["value"] = [
            None if texts[p][i] is None else str(texts[p][i])
            for i in range(num)
            for p in range(count)
        ]
    sums = method not in ("saliency", "smoothgrad")
    columns["contribution" if sums else "sensitivity"] = values.reshape(-1)
    if error is not None:
        columns["error"] = error[:num].reshape(-1)
    wanted = _wanted(job, players)
    frame = pl.DataFrame(columns)
    if len(wanted) < count:
        frame = frame.filter(pl.Series(np.isin(np.arange(num * count) % count, wanted)))
    return Explanation(method, frame, _about(job, chosen, num, about), paint=job.paint)


def _pictures(
    job: Job,
    method: str,
    chosen: Asked,
    maps: np.ndarray,
    base: np.ndarray | None,
    score: np.ndarray,
    signed: bool,
    about: Mapping[str, Any],
) -> Explanation:
    """Return maps over images, with a table of one line an image."""
    import polars as pl

    num = len(maps)
    columns: dict[str, Any] = {"row": job.part.rows[:num]}
    columns |= {n: np.asarray(v)[:num] for n, v in job.part.keys.items()}
    columns["explained"] = pl.Series(list(chosen.labels[:num]))
    columns["prediction"] = score[:num]
    if base is not None:
        columns["base"] = base[:num]
        columns["sum"] = maps.reshape(num, -1).sum(1)
    peak = np.abs(maps).reshape(num, -1).argmax(1)
    columns["peak_row"], columns["peak_column"] = np.divmod(peak, maps.shape[2])
    if method == "shapley":
        # A cell's contribution stands on each of its pixels; it counts once.
        columns.pop("sum")
    unit = "" if chosen.unit == "value" else " %"
    times = 1.0 if chosen.unit == "value" else 100.0
    captions = tuple(
        f"{label}: {times * value:.3g}{unit}"
        for label, value in zip(chosen.labels[:num], score[:num], strict=True)
    )
    told = {**_about(job, chosen, num, about), "signed": signed}
    images = np.asarray(job.fields["image"][:num])
    return Explanation(method, pl.DataFrame(columns), told, images, maps, captions, job.paint)


def _about(job: Job, chosen: Asked, num: int, about: Mapping[str, Any]) -> dict[str, Any]:
    labels = list(dict.fromkeys(map(str, chosen.labels[:num])))
    what = "probability" if chosen.unit == "probability" else "value"
    shown = ", ".join(labels[:3]) + (", …" if len(labels) > 3 else "")
    return {
        "text": f"{what} of {shown} for {num:,} {'row' if num == 1 else 'rows'}",
        "explained": labels,
        "unit": chosen.unit,
        "num_rows": num,
        **about,
        "notices": job.notices,
    }


def reference_of(encoder: Any, part: Part, seed: int = 0) -> dict[str, np.ndarray]:
    """Return what rows are usually like: each column's spread, without any row.

    Of every column 32 values at equal steps of rank are kept, and dealt anew column by column, so
    that no line is anybody's row. A code stands as often as it is frequent.

    Args:
        encoder: of the data.
        part: training rows of a table or of ratings; other kinds of data need no more than the
            means that their encoders know, and get nothing.
        seed: of the dealing.
    """
    if encoder.modality not in _GRID or not len(part):
        return {}
    rng = np.random.default_rng([0x4EF, seed])
    rows = np.sort(rng.permutation(len(part))[:_MOST_REMEMBERED])
    fields = select(part.fields, rows)
    num = min(NUM_BACKGROUND, len(rows))
    places = ((np.arange(num) + 0.5) * len(rows) / num).astype(int)
    players = players_of(encoder, fields)
    found = {name: np.array(values[:num]) for name, values in fields.items()}
    for player in range(len(players)):
        own = {name: owner == player for name, owner in players.owner.items()}
        entries = [np.asarray(fields[name])[:, mask] for name, mask in own.items() if mask.any()]
        order = np.lexsort(np.concatenate(entries, axis=1).T[::-1])
        chosen = rng.permutation(order[places])
        for name, mask in own.items():
            if mask.any():
                found[name][:, mask] = np.asarray(fields[name])[chosen][:, mask]
    return found
