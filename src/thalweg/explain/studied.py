"""The explanations of a finished study that its report shows, within the time that is left."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg.data import Dataset, Part
from thalweg.explain.explanation import Explanation, Painter
from thalweg.explain.methods import explain_part
from thalweg.study.model import Model

MOST_SECONDS = 5.0
"""What each explanation may take where no budget says less."""

NEEDED_SECONDS = {"permutation": 0.4, "shapley": 1.0, "integrated_gradients": 6.0, "occlusion": 3.0}
"""Below this a method is left out: compiling its program alone may take as long."""

NUM_ROWS, NUM_IMAGES, NUM_WINDOWS = 3, 6, 32
_TESTED = 1_000
_SHOWN = 20


@dataclass(frozen=True, eq=False)
class Explained:
    """What was found.

    Args:
        record: numbers by kind of explanation, JSON-able, for the summary.
        pictures: pictures, PNG by name.
        entries: their names, titles, captions and alternative texts, for the summary.
        failed: a line for each explanation that could not be made.
    """

    record: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    entries: list[dict[str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def explain_study(
    dataset: Dataset, model: Model, paint: Painter, *, seconds: float = math.inf
) -> Explained:
    """Explain the model on rows that it was not trained on.

    Tables and ratings: which columns matter, with intervals, and three rows. Images: what speaks
    for the prediction in six of them; recordings likewise. Series: which past steps matter. (Of
    texts the report shows the worst mistakes, word by word.)

    Args:
        dataset: the data; its test rows are explained, else the validation rows.
        model: the winner, trained.
        paint: what draws.
        seconds: what may be spent; what does not fit into it is left out.
    """
    found = Explained()
    name = "test" if len(dataset.test) else "validation"
    part = dataset.parts[name]
    if not len(part) or dataset.task.kind not in ("regression", "binary", "multiclass"):
        return found
    start = time.perf_counter()
    for method in _methods(dataset.modality):
        left = seconds - (time.perf_counter() - start)
        if left < NEEDED_SECONDS[method]:
            continue
        if method == "occlusion" and found.pictures:
            continue
        try:
            _add(found, method, dataset, name, part, model, paint, min(left, MOST_SECONDS))
        except Exception as error:  # an explanation is no reason to lose a finished study
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            found.failed.append(f"the explanation {method} could not be made ({reason})")
    return found


def _methods(modality: str) -> tuple[str, ...]:
    if modality in ("table", "ratings"):
        return ("permutation", "shapley")
    if modality in ("images", "audio"):
        # The finer one where there is time to compile it.
        return ("integrated_gradients", "occlusion")
    return ("integrated_gradients",) if modality in ("series", "sequences") else ()


def _add(
    found: Explained,
    method: str,
    dataset: Dataset,
    name: str,
    part: Part,
    model: Model,
    paint: Painter,
    seconds: float,
) -> None:
    if method == "permutation":
        rows = _spread(len(part), _TESTED)
        # What is right or wrong hardly changes with one column; probabilities do.
        metric = None if dataset.task.kind == "regression" else "log_loss"
        one = explain_part(
            model, part.take(rows), method, samples=3, metric=metric, num_rows=len(rows),
            seconds=seconds,
        )  # fmt: skip
        lines = one.frame.to_dicts()[:_SHOWN]
        kept = {key: one.about[key] for key in ("metric", "score", "num_rows")}
        found.record["importance"] = {**kept, "split": name, "columns": lines}
        return
    if dataset.modality in ("images", "audio"):
        rows = _telling_images(model, part)
        one = explain_part(
            model, part.take(rows), method, num_rows=len(rows), seconds=seconds, paint=paint
        )
        _picture(found, one, name, "image" if dataset.modality == "images" else "spectrogram")
        return
    rows = _spread(len(part), NUM_WINDOWS)
    if dataset.modality not in ("table", "ratings"):
        one = explain_part(model, part.take(rows), method, num_rows=len(rows), seconds=seconds)
        found.record["steps"] = _steps(one, name)
        return
    rows = _telling_rows(model, part)
    values = None
    if hasattr(dataset, "frame"):
        values = dataset.frame(name)[rows]  # type: ignore[attr-defined]
    one = explain_part(
        model, part.take(rows), method, values=values, num_rows=len(rows), seconds=seconds
    )
    found.record["rows"] = {
        "split": name,
        "unit": one.about["unit"],
        "lines": one.frame.drop("kind", strict=False).to_dicts(),
    }


def _spread(num: int, most: int) -> np.ndarray:
    if num <= most:
        return np.arange(num)
    return np.sort(np.random.default_rng(0xE8).permutation(num)[:most])


def _telling_rows(model: Model, part: Part) -> np.ndarray:
    """Return rows of a low, a middling and a high prediction, or of three classes."""
    rows = _spread(len(part), _TESTED)
    outputs = model.outputs(part.take(rows).fields)
    if model.task.kind == "multiclass":
        chosen = outputs.argmax(1)
        _, first = np.unique(chosen, return_index=True)
        return rows[np.sort(first)[:NUM_ROWS]]
    order = np.argsort(outputs[:, -1 if model.task.kind == "binary" else 0], kind="stable")
    places = (np.array([0.05, 0.5, 0.95]) * (len(rows) - 1)).round().astype(int)
    return rows[order[np.unique(places)]]


def _telling_images(model: Model, part: Part) -> np.ndarray:
    """Return rows of as many predicted classes as there is room for."""
    rows = _spread(len(part), 256)
    outputs = model.outputs(part.take(rows).fields)
    chosen = outputs.argmax(1) if model.task.kind != "regression" else outputs[:, 0]
    places = np.linspace(0, len(rows) - 1, min(NUM_IMAGES, len(rows))).round().astype(int)
    return rows[np.sort(np.argsort(chosen, kind="stable")[places])]


def _steps(one: Explanation, name: str) -> dict[str, Any]:
    """Return the mean size of the contributions of each stretch of each input."""
    import polars as pl

    keys = ["input", "first_step", "last_step"]
    sums = one.frame.group_by(keys, maintain_order=True).agg(
        pl.col("contribution").abs().mean().alias("size")
    )
    return {
        "split": name,
        "unit": one.about["unit"],
        "explained": one.about["explained"],
        "num_rows": one.about["num_rows"],
        "steps": sums.to_dicts(),
    }


def _picture(found: Explained, one: Explanation, name: str, what: str) -> None:
    place, cover = ("pixel", "the mean colour") if what == "image" else ("moment", "the mean")
    how = {
        "integrated_gradients": f"Integrated gradients: what each {place} adds to the prediction "
        f"beside {'an image' if what == 'image' else 'a recording'} of {cover}, over a grey copy "
        f"of the {what}.",
        "occlusion": "Occlusion: how the prediction changes when a square is covered with "
        f"{cover}, over a grey copy of the {what}.",
    }[one.method]
    found.pictures["explained"] = one.picture()
    found.entries.append(
        {
            "name": "explained",
            "title": "What speaks for the prediction",
            "caption": f"{how} Below each of {len(one)} {name} {what}s: what is predicted.",
            "alt": f"{len(one)} {name} {what}s, each above a copy with what speaks for and against "
            f"its prediction: {'; '.join(one.captions)}.",
            "file": "pictures/explained.png",
        }
    )
