"""What all pictures of a study have in common: sketches, samples, and short words for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.data import Dataset, Part
from thalweg.space import Config

NUM_SAMPLES = 9
"""Images in a row of samples."""

MOST_SCORED = 256
"""Rows that are looked through for the worst."""

SALT = 0x9C
_MAX_NAME = 22


@dataclass(frozen=True, eq=False)
class Sketch:
    """A picture that is not drawn yet.

    Args:
        name: of its file, without ending.
        title: its heading.
        caption: how to read it.
        alt: what it shows, for those who cannot see it.
        kind: what draws it.
        arguments: what it is drawn from.
    """

    name: str
    title: str
    caption: str
    alt: str
    kind: str
    arguments: dict[str, Any]


def augmentation(config: Config) -> dict[str, float]:
    """Return the strengths of the augmentations that a configuration uses."""
    from thalweg.training.member import AUGMENTATIONS

    found = {name: number(config, name) for name in AUGMENTATIONS}
    return {name: value for name, value in found.items() if value > 0}


def number(config: Config, name: str) -> float:
    """Return a hyperparameter as a number, 0 where it is none."""
    value = config.get_or_default(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def pictured(part: Part) -> bool:
    """Whether rows are images."""
    return "image" in part.fields


def audible(dataset: Dataset) -> bool:
    """Whether rows are recordings."""
    return bool(dataset.input_shape.get("band_mean"))


def photos_of(part: Part, index: np.ndarray) -> list[np.ndarray]:
    """Return images [H, W, C], or spectrograms [F, T] with low bands at the bottom."""
    if pictured(part):
        return list(part.fields["image"][index])
    spectra = np.asarray(part.fields["sequence"][index], np.float32)
    return [
        spectrum[: max(1, length)].T[::-1]
        for spectrum, length in zip(spectra, part.fields["length"][index], strict=True)
    ]


def some_rows(num: int, most: int) -> np.ndarray:
    """Return at most so many positions, drawn at random but always the same, in order."""
    if num <= most:
        return np.arange(num)
    return np.sort(np.random.default_rng(SALT).permutation(num)[:most])


def where_of(dataset: Dataset, part: Part) -> str:
    """Return what a part is called."""
    return "test" if part is dataset.test else "validation"


def labels_of(dataset: Dataset, part: Part, index: np.ndarray) -> list[str]:
    """Return a short text for each image: its class or value; empty for other tasks."""
    if dataset.task.kind not in ("binary", "multiclass", "regression", "embedding"):
        return [""] * len(index)
    values = np.asarray(dataset.labels(part.take(index)))
    if dataset.task.kind == "regression":
        return [values_text(np.atleast_1d(value)) for value in values]
    return [shortened(str(value)) for value in values]


def listed(names: Sequence[str]) -> str:
    """Return a few different names in brackets; nothing where there are none."""
    seen = list(dict.fromkeys(name for name in names if name))
    if not seen:
        return ""
    return f" ({', '.join(seen[:12])}{', ...' if len(seen) > 12 else ''})"


def shortened(text: str, most: int = _MAX_NAME) -> str:
    """Return a text, cut where it is too long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def values_text(numbers: np.ndarray) -> str:
    """Return up to three numbers as text."""
    return ", ".join(f"{value:.4g}" for value in np.ravel(numbers)[:3])


def percent(share: Any) -> str:
    """Return a share in per cent, never rounded to all or nothing."""
    percent = 100.0 * float(share)
    if 0 < percent < 0.05:
        return "<0.1 %"
    if percent < 9.95:
        return f"{percent:.1f} %"
    return f"{min(percent, 99.9) if share < 1 else 100:.{1 if 99 < percent < 100 else 0}f} %"


def in_rows(items: Sequence[Any], columns: int) -> list[Sequence[Any]]:
    """Return items in rows of so many."""
    return [items[i : i + columns] for i in range(0, len(items), columns)]
