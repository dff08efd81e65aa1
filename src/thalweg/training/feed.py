"""The rows that an engine trains on, and how they come to the device."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from thalweg.training.backend import to_device
from thalweg.training.member import Rows, Units
from thalweg.training.scalars import batch_indices

KEPT_FETCHES = 4
"""Fetches kept: in use, waiting, and on their way."""


@dataclass(frozen=True)
class TrainingData:
    """The arrays that an Engine trains and evaluates on.

    Args:
        fields: training rows by field, [N, …].
        target: training targets, [N, …].
        weight: weight of each training row, [N], or None.
        validation_fields: validation rows by field, [M, …].
        validation_target: validation targets, [M, …].
        units: mean and scale of regression targets, or None where they are not scaled.
        lengths: how many entries of a training row count in some fields (``"target"`` is the
            target), [N] each, where rows of alike length are best trained together; see
            ``buckets.py``.
    """

    fields: Mapping[str, np.ndarray]
    target: np.ndarray
    validation_fields: Mapping[str, np.ndarray]
    validation_target: np.ndarray
    weight: np.ndarray | None = None
    units: Units | None = None
    lengths: Mapping[str, np.ndarray] | None = None

    @property
    def num_rows(self) -> int:
        """Number of training rows."""
        return len(self.target)

    @property
    def row_lengths(self) -> np.ndarray | None:
        """Length of each training row, where rows differ in it."""
        return self.fields.get("length")

    def split(self, train: np.ndarray, validation: np.ndarray) -> TrainingData:
        """Return the data in which these training rows train and those are validation rows."""
        return TrainingData(
            fields={name: values[train] for name, values in self.fields.items()},
            target=self.target[train],
            validation_fields={name: values[validation] for name, values in self.fields.items()},
            validation_target=self.target[validation],
            weight=None if self.weight is None else self.weight[train],
            units=self.units,
            lengths=None
            if self.lengths is None
            else {name: values[train] for name, values in self.lengths.items()},
        )


class Feed:
    """Fetches training rows a few steps ahead, for data that stays outside the device's memory.

    All members of a seed see the same batches: what one block fetched serves the others that come
    to the same steps soon after.

    Attributes:
        wait_seconds: how long training waited for rows.
    """

    def __init__(self, data: TrainingData, memory: int) -> None:
        self.data = data
        num = max(data.num_rows, 1)
        self.row_bytes = (sum(a.nbytes for a in data.fields.values()) + data.target.nbytes) / num
        # Several fetches are in memory at a time: in use, waiting, and on their way.
        self.most_bytes = max(1, memory // (8 * KEPT_FETCHES))
        self.wait_seconds = 0.0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="thalweg-feed")
        self._made: dict[tuple[Any, ...], Future[Rows]] = {}
        self._lock = threading.Lock()

    def steps(self, batch_size: int) -> int:
        """Return how many steps' rows are fetched at a time."""
        return max(1, int(self.most_bytes / (self.row_bytes * batch_size)))

    def shapes(self, num_rows: int) -> Any:
        """Return the shapes of so many rows, as arguments of a program."""
        data = self.data

        def shape(a: np.ndarray) -> Any:
            return jax.ShapeDtypeStruct((num_rows, *a.shape[1:]), a.dtype)

        return Rows(
            {name: shape(values) for name, values in data.fields.items()},
            shape(data.target),
            None if data.weight is None else shape(data.weight),
        )

    def rows(
        self,
        seed: int,
        batch_size: int,
        steps: tuple[int, int],
        size: int,
        ahead: tuple[int, int] | None,
        by_length: bool = False,
    ) -> Rows:
        """Return the rows of some steps, padded to ``size``, and start fetching those after them.

        Args:
            seed: whose batches.
            batch_size: rows of a batch.
            steps: first step and number of steps.
            size: rows that the program takes.
            ahead: the steps that come next, or None.
            by_length: whether batches hold rows of about one length.
        """
        start = time.perf_counter()
        found = self._fetch(seed, batch_size, steps, size, by_length)
        if ahead is not None:
            self._fetch(seed, batch_size, ahead, size, by_length)
        rows = found.result()
        with self._lock:
            self.wait_seconds += time.perf_counter() - start
        return rows

    def _fetch(
        self, seed: int, batch_size: int, steps: tuple[int, int], size: int, by_length: bool
    ) -> Future[Rows]:
        key = (seed, batch_size, steps, size, by_length)
        with self._lock:
            if key not in self._made:
                while len(self._made) >= KEPT_FETCHES:
                    del self._made[next(iter(self._made))]
                self._made[key] = self._pool.submit(self._read, *key)
            return self._made[key]

    def _read(
        self, seed: int, batch_size: int, steps: tuple[int, int], size: int, by_length: bool
    ) -> Rows:
        data = self.data
        lengths = data.row_lengths if by_length else None
        chosen = batch_indices(seed, data.num_rows, batch_size, *steps, lengths).reshape(-1)
        # Files are read in their order.
        order = np.argsort(chosen, kind="stable")

        def read(values: np.ndarray) -> Any:
            out = np.zeros((size, *values.shape[1:]), values.dtype)
            out[order] = values[chosen[order]]
            return to_device(out)

        return Rows(
            {name: read(values) for name, values in data.fields.items()},
            read(data.target),
            None if data.weight is None else read(data.weight),
        )
