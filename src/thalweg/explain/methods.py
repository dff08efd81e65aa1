"""The ways to explain a model, and ``explain``, which chooses among them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.data import Part
from thalweg.errors import DataError, OptionError, unknown_option
from thalweg.explain import contributions, whole, words
from thalweg.explain.explanation import Explanation, Painter
from thalweg.explain.job import Job
from thalweg.explain.players import players_of
from thalweg.explain.scores import check_rows_task, select

NUM_BACKGROUND = 32
"""Background rows that absent inputs take their values from."""

_ENOUGH_ROWS = 20
_GRID = ("table", "ratings")
_PICTURES = ("images", "audio")
_STEPS = ("series", "sequences")
_TEXTS = ("text",)


@dataclass(frozen=True)
class Method:
    """A way to explain.

    Args:
        make: makes the explanation.
        about: what it tells.
        modalities: kinds of data that it is for.
        make_of_words: makes that of texts; None where it is for no texts.
        with_target: whether the rows must hold the target.
        of_rows: whether single rows are explained (by default the first of them), not the model.
    """

    make: Callable[[Job], Explanation]
    about: str
    modalities: tuple[str, ...]
    make_of_words: Callable[[Job], Explanation] | None = None
    with_target: bool = False
    of_rows: bool = True


METHODS: dict[str, Method] = {
    "shapley": Method(
        contributions.by_shapley,
        "what each input adds to the prediction, on average over all orders of adding",
        (*_GRID, *_PICTURES, *_STEPS, *_TEXTS),
        words.by_shapley,
    ),
    "integrated_gradients": Method(
        contributions.by_integrated_gradients,
        "what each input adds on a straight way from a baseline of means",
        (*_GRID, *_PICTURES, *_STEPS, *_TEXTS),
        words.by_integrated_gradients,
    ),
    "occlusion": Method(
        contributions.by_occlusion,
        "how the prediction falls when a part of the input is covered",
        (*_PICTURES, *_STEPS, *_TEXTS),
        words.by_occlusion,
    ),
    "saliency": Method(
        contributions.by_saliency,
        "how sensitive the prediction is to each input",
        (*_PICTURES, *_STEPS),
    ),
    "smoothgrad": Method(
        contributions.by_smoothgrad,
        "the same, averaged over noisy copies of the input",
        (*_PICTURES, *_STEPS),
    ),
    "permutation": Method(
        whole.by_permutation,
        "how much worse the model gets when a column is shuffled",
        (*_GRID, *_STEPS, *_TEXTS),
        with_target=True,
        of_rows=False,
    ),
    "dependence": Method(
        whole.by_dependence,
        "the mean prediction over the values of a column",
        ("table",),
        of_rows=False,
    ),
    "factors": Method(
        contributions.by_factors, "what user, item and their match add to a rating", ("ratings",)
    ),
    "neighbours": Method(
        whole.by_neighbours,
        "the training examples that the network takes for the most alike",
        (*_GRID, *_PICTURES, *_STEPS, *_TEXTS),
    ),
}
"""The ways to explain, by name."""

DEFAULTS = {
    "table": "shapley",
    "images": "integrated_gradients",
    "series": "integrated_gradients",
    "sequences": "integrated_gradients",
    "ratings": "factors",
    "text": "occlusion",
    "audio": "integrated_gradients",
}
"""The way to explain each kind of data when none is named."""

MOST_ROWS = {"images": 16, "audio": 16, "text": 20}
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
        num_rows: so many first rows; by default 100, 16 images or recordings, 20 texts, 2,000 where
            the model is explained and not single rows.
        background: rows that say what is usual (32 of them are drawn); by default what the model
            remembers of its training rows, else the rows themselves.
        examples: rows to look for neighbours in, the training rows most often.
        metric: what importance is measured in; the model's own by default.
        cells: stretches that a series is divided into (24), cells along an image's side (8), or
            pieces of a text at most (40).
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
    texts = None
    if encoder.modality == "text":
        read = encoder.texts_of(rows)
        texts = [read[i] for i in part.rows]
    return explain_part(
        model,
        part,
        chosen,
        values=values,
        texts=texts,
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
    texts: Sequence[str] | None = None,
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
        texts = None if texts is None else [texts[int(i)] for i in kept]
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
        texts=texts,
        seed=seed,
        going_on=going_on,
        notices=notices,
        **options,
    )
    make = chosen.make
    if texts is not None and chosen.make_of_words is not None:
        make = chosen.make_of_words
    found = make(job)
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
    if "tokens" in rows:
        # A text is compared with itself without some of its words.
        return {}
    if model.encoder.modality == "audio":
        frames = np.asarray(model.encoder.mean, rows["sequence"].dtype)
        silent = np.broadcast_to(frames, (1, *rows["sequence"].shape[1:]))
        return {"sequence": silent, "length": np.full(1, silent.shape[1], np.int32)}
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
