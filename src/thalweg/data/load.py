"""One door for all kinds of data: ``load`` finds out what a source holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from thalweg.data.big_tables import is_big, load_big_table
from thalweg.data.dataset import Dataset
from thalweg.data.table_loading import load_table
from thalweg.errors import OptionError, unknown_option

MODALITIES: dict[str, str] = {
    "table": "thalweg.data.table_loading",
    "text": "thalweg.data.text_loading",
    "language": "thalweg.data.language",
    "images": "thalweg.data.images",
    "audio": "thalweg.data.recordings",
    "series": "thalweg.data.series",
    "ratings": "thalweg.data.ratings",
    "translation": "thalweg.data.translations",
}
"""What a source may hold, and the module that reads it."""

_OWN = {
    "images": ("image_size", "channels", "masks", "boxes"),
    "audio": ("sample_rate", "mels", "seconds"),
    "series": (
        "horizon",
        "context",
        "series",
        "known",
        "season",
        "calendar",
        "sequence",
        "lengths",
    ),
    "ratings": ("user", "item", "rating", "user_table", "item_table", "negatives"),
    "text": ("text", "tokens", "vocabulary", "max_tokens", "pretrained"),
    "translation": ("source_column",),
    "table": ("group", "drop", "columns"),
}
"""Options that belong to one modality and so tell which is meant."""

_SHARED = {
    ("drop", "series"),
    ("group", "audio"),
    ("tokens", "translation"),
    ("vocabulary", "translation"),
    ("max_tokens", "translation"),
}
"""Options of one modality that another knows too."""


def load(
    source: Any,
    target: Any = None,
    *,
    modality: str | None = None,
    task: str | None = None,
    validation: Any = None,
    test: Any = None,
    group: str | None = None,
    time: str | None = None,
    drop: Sequence[str] = (),
    columns: Mapping[str, str] | Sequence[str] | None = None,
    metric: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] | None = None,
    **own: Any,
) -> Dataset:
    """Read data, infer what it holds, split it, and encode it.

    Args:
        source: a table (path, glob, URL, built-in set, frame, mapping, array, ``(X, y)``), a
            folder or file of images, recordings, texts, a series, ratings or pairs of texts; see
            ``load_table``, ``load_text``, ``load_language``, ``load_translation``,
            ``load_images``, ``load_audio``, ``load_series`` and ``load_ratings``.
        target: the column to predict, or several; implied by image folders, built-in sets and
            ``(X, y)``.
        modality: ``"table"``, ``"text"``, ``"images"``, ``"audio"``, ``"series"``, ``"ratings"`` or
            ``"translation"``; by default from the source and from the options: ``horizon`` means a
            series, ``user`` and ``item`` ratings, ``source_column`` a translation. A table with
            columns of sentences is read as texts. ``"language"`` are texts to be continued, see
            ``load_language``.
        task: overrules the kind of task inferred from the target; images also know
            ``"segmentation"``, ``"detection"`` and ``"embedding"``, see ``load_vision``, texts
            ``"language"``, recordings ``"transcription"``; ``"reconstruction"`` of tables and
            images takes no target, see ``load_unlabelled``.
        validation: a source of validation rows, instead of a share of ``source``.
        test: a source of test rows, instead of a share of ``source``.
        group: tables, also of recordings: a column whose equal values must not be torn apart; no
            feature.
        time: the column of time: tables are split by it, a series runs along it.
        drop: tables: columns to leave out.
        columns: tables: kinds that overrule the inferred ones.
        metric: the metric that chooses; the task's default otherwise.
        loss: the training loss; the task's default otherwise.
        seed: decides which rows go where.
        fractions: shares of training, validation and test rows.
        **own: options of one modality, such as ``image_size``, ``horizon`` or ``item_table``.

    Returns:
        The dataset.

    Raises:
        SourceError: a source cannot be found or read.
        DataError: the data cannot be used as asked; the message says what to do.
        OptionError: an unknown or unsuitable option.

    Example:
        >>> load("iris").task.classes
        ('setosa', 'versicolor', 'virginica')
    """
    asked = {**locals(), **own}
    asked.pop("own")
    dataset = _load(asked, own)
    return replace(dataset, origin=_origin(asked))


def _load(asked: Mapping[str, Any], own: Mapping[str, Any]) -> Dataset:
    source, target, modality, task, time = (
        asked[name] for name in ("source", "target", "modality", "task", "time")
    )
    tabular = {name: asked[name] for name in ("group", "drop", "columns")}
    given: dict[str, Any] = {
        name: value
        for name, value in {**own, **tabular}.items()
        if value is not None
        and not (isinstance(value, (str, Sequence, Mapping)) and not len(value))
    }
    names = ("task", "validation", "test", "metric", "loss", "seed", "fractions")
    common: dict[str, Any] = {name: asked[name] for name in names}
    if task == "reconstruction":
        labelless = {name: value for name, value in common.items() if name != "task"}
        return _load_unlabelled(source, target, modality, {**given, **labelless, "time": time})
    vision = import_module("thalweg.data.vision")
    kind = vision.vision_task(source, task, own.get("masks"), own.get("boxes"))
    if task == "language":
        modality = modality or "language"
    chosen = modality or ("images" if kind is not None else _modality(source, target, given))
    if chosen not in MODALITIES:
        raise unknown_option("modality", chosen, MODALITIES)
    _check_options(chosen, given)
    if chosen in ("table", "text", "series", "ratings"):
        common["time"] = time
    elif time is not None:
        raise OptionError(f"time is an option of tables, texts, series and ratings; got {chosen}")
    if chosen == "table":
        options = {**common, **given}
        if is_big(source):
            return load_big_table(source, target, options)
        return load_table(source, target, **options)
    if chosen == "images" and kind is not None:
        return vision.load_vision(source, target, **{**common, "task": kind}, **given)
    return _loader(chosen)(source, target, **common, **given)


def _load_unlabelled(
    source: Any, target: Any, modality: str | None, options: dict[str, Any]
) -> Dataset:
    known = (*_OWN["table"], "image_size", "channels")
    common = ("validation", "test", "time", "metric", "loss", "seed", "fractions")
    for name in options:
        if name not in (*known, *common):
            raise OptionError(f"{name} does not go with task='reconstruction': leave it out")
    if modality not in (None, "table", "images"):
        raise OptionError(f"task='reconstruction' takes tables and images; got {modality!r}")
    return import_module("thalweg.data.unlabelled").load_unlabelled(source, target, **options)


def _origin(asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what ``load`` was asked for, and where; None where it holds more than plain values."""
    given = {name: plain(value) for name, value in asked.items() if value is not None}
    if any(value is None for value in given.values()):
        return None
    return {**given, "folder": str(Path.cwd())}


def plain(value: Any) -> Any:
    """Return a value as JSON knows it, None where it does not."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple):
        items = [plain(item) for item in value]
        return None if any(item is None for item in items) else items
    if isinstance(value, dict):
        items = {name: plain(item) for name, item in value.items()}
        return None if any(item is None for item in items.values()) else items
    return None


def _modality(source: Any, target: Any, given: Mapping[str, Any]) -> str:
    for name in ("translation", "series", "ratings", "images", "audio", "text", "table"):
        if any(option in given for option in _OWN[name]):
            if name == "table" and import_module(MODALITIES["audio"]).claims(source, given):
                return "audio"
            return name
    for name in ("images", "audio", "translation", "ratings", "series", "text"):
        if import_module(MODALITIES[name]).claims(source, {"target": target, **given}):
            return name
    return "table"


def _loader(modality: str) -> Callable[..., Dataset]:
    return getattr(import_module(MODALITIES[modality]), f"load_{modality}")


def _check_options(modality: str, given: Mapping[str, Any]) -> None:
    owners = {option: name for name, options in _OWN.items() for option in options}
    for option in given:
        if option not in owners:
            raise unknown_option("option of load", option, owners)
        shared = modality == "text" and owners[option] == "table"
        shared = shared or (modality == "language" and owners[option] == "text")
        shared = shared or (option, modality) in _SHARED
        if owners[option] != modality and not shared:
            raise OptionError(
                f"{option} is an option of {owners[option]}; the source is read as {modality}: "
                f"leave {option} out, or say modality={owners[option]!r}"
            )
