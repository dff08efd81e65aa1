"""What a network that makes rows again has to beat: the mean row, and principal components."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from thalweg.study.baselines import FLAT_ROWS, Outputs
from thalweg.study.recipes import code_length
from thalweg.task import Task

Fit = Callable[[Task, Mapping[str, np.ndarray], np.ndarray], Outputs]


class Columns:
    """Rows as numbers in the units that networks have them in, categories as indicators.

    Args:
        fields: encoded training rows.
    """

    def __init__(self, fields: Mapping[str, np.ndarray]) -> None:
        self.image = "image" in fields
        self.mean, self.scale = np.zeros(1), np.ones(1)
        if self.image:
            pixels = fields["image"].reshape(-1, fields["image"].shape[-1])
            self.mean = pixels.mean(0, dtype=np.float64)
            self.scale = np.maximum(pixels.std(0, dtype=np.float64), 1e-6)
        codes = fields.get("category")
        self.sizes = () if codes is None else tuple(int(c) + 1 for c in codes.max(0))

    def of(self, fields: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return rows float64 [N, D + C]."""
        if self.image:
            scaled = (fields["image"] - self.mean) / self.scale
            return scaled.reshape(len(scaled), -1)
        parts = [np.asarray(fields["numeric"], np.float64)]
        for i, size in enumerate(self.sizes):
            parts.append((fields["category"][:, i : i + 1] == np.arange(size)).astype(np.float64))
        return np.concatenate(parts, axis=1)

    def terms(self, fields: Mapping[str, np.ndarray], made: np.ndarray) -> np.ndarray:
        """Return what is scored of rows that were made as [N, D + C]: [N, 3], the error last."""
        wanted = self.of(fields)
        numbers = wanted.shape[1] - sum(self.sizes)
        error = np.square(wanted[:, :numbers] - made[:, :numbers]).sum(1)
        place = numbers
        for size in self.sizes:
            own = np.clip(made[:, place : place + size], 0.0, None)
            own = own / np.maximum(own.sum(1, keepdims=True), 1e-12)
            error += 1.0 - (own * wanted[:, place : place + size]).sum(1)
            place += size
        terms: np.ndarray = np.zeros((len(wanted), 3))
        terms[:, 2] = error / (numbers + len(self.sizes))
        return terms


def _mean_row(task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Outputs:
    """The mean of the training rows, whatever the row."""
    columns = Columns(fields)
    mean = columns.of(_some(fields)).mean(0)
    return lambda new: columns.terms(new, np.tile(mean, (len(next(iter(new.values()))), 1)))


def _principal(task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Outputs:
    """As many principal components as a network's code is long by default."""
    from sklearn.decomposition import PCA

    columns = Columns(fields)
    rows = columns.of(_some(fields))
    numbers = rows.shape[1] - sum(columns.sizes)
    length = code_length(numbers + len(columns.sizes), columns.image)
    length = min(length, *rows.shape)
    pca = PCA(length, random_state=0).fit(rows)
    return lambda new: columns.terms(new, pca.inverse_transform(pca.transform(columns.of(new))))


def _some(fields: Mapping[str, np.ndarray]) -> dict[str, Any]:
    num = len(next(iter(fields.values())))
    chosen = np.linspace(0, num - 1, min(num, FLAT_ROWS)).astype(int)
    return {name: values[chosen] for name, values in fields.items()}


RECONSTRUCTION_BASELINES: dict[str, Fit] = {"mean_row": _mean_row, "pca": _principal}
"""Baselines by name: ``(task, fields, target) -> outputs`` with terms [N, 3]."""
