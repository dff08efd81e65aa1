"""The unit cube of a Space as models see it: which axes exist, which are numbers or kinds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from thalweg.space import Choice, Domain, Float, Int, Space, Switch, leaves


def _is_kind(leaf: Float | Int | Choice) -> bool:
    """Whether a domain's values have no order: anything but ascending or descending numbers."""
    if not isinstance(leaf, Choice):
        return False
    numbers = [o for o in leaf.options if isinstance(o, int | float) and not isinstance(o, bool)]
    if len(numbers) < len(leaf.options):
        return len(leaf.options) > 1
    return numbers not in (sorted(numbers), sorted(numbers, reverse=True))


def _place(leaf: Float | Int | Choice, value: Any) -> float:
    return float(leaf.encode(value))


def _snap(leaf: Float | Int | Choice, units: np.ndarray) -> np.ndarray:
    """Return ``encode(decode(units))``, all at once."""
    if isinstance(leaf, Float) and leaf.step is None:
        return np.clip(units, 0.0, 1.0)
    if isinstance(leaf, Choice) or (isinstance(leaf, Int) and not leaf.log):
        count = (
            len(leaf.options)
            if isinstance(leaf, Choice)
            else (leaf.high - leaf.low) // leaf.step + 1
        )
        return (np.clip(np.floor(units * count), 0, count - 1) + 0.5) / count
    inside = np.clip(units, 0.0, np.nextafter(1.0, 0.0))
    return np.array([_place(leaf, leaf.decode(float(u))) for u in inside])


@dataclass(frozen=True)
class Axes:
    """A Space as its searchers' models see it.

    A point is a row of coordinates, one for each free hyperparameter, as ``Space.encode`` returns
    it: NaN where the hyperparameter does not exist for this Config. Where a Switch gives each case
    a range of its own, a coordinate is a place *within the range of its case*, so that what was
    learned of one optimizer's learning rates is a first guess for another's.
    """

    space: Space

    @property
    def num(self) -> int:
        """Number of axes, at least 1."""
        return max(len(self.space.free), 1)

    @cached_property
    def kinds(self) -> tuple[bool, ...]:
        """Whether each axis tells kinds apart (True) or is a number."""
        return tuple(any(map(_is_kind, leaves(self.space[name]))) for name in self.space.free)

    @cached_property
    def levels(self) -> tuple[tuple[float, ...], ...]:
        """Coordinates that each axis can take, where it tells kinds apart; else none."""
        found = []
        for name, kind in zip(self.space.free, self.kinds, strict=True):
            coordinates: set[float] = set()
            for leaf in leaves(self.space[name]) if kind else ():
                coordinates |= {_place(leaf, o) for o in leaf.grid(5)}
            found.append(tuple(sorted(coordinates)))
        return tuple(found)

    @cached_property
    def cells(self) -> np.ndarray:
        """Width of one value on each axis, [D]; 0 for real numbers."""
        sizes = []
        for name in self.space.free:
            counts = []
            for leaf in leaves(self.space[name]):
                if isinstance(leaf, Choice):
                    counts.append(len(leaf.options))
                elif isinstance(leaf, Int):
                    counts.append((leaf.high - leaf.low) // leaf.step + 1)
                elif leaf.step is not None:
                    counts.append(int((leaf.high - leaf.low) / leaf.step) + 1)
                else:
                    counts.append(0)
            most = max(counts)
            sizes.append(0.0 if 0 in counts else 1.0 / most)
        return np.array(sizes or [0.0])

    @cached_property
    def _parents(self) -> frozenset[str]:
        return frozenset(d.on for d in self.space.values() if isinstance(d, Switch))

    def settle(self, units: np.ndarray) -> np.ndarray:
        """Return the points that Configs of these coordinates have, [N, D]; NaN where absent.

        The same as ``encode(decode(units))``, for thousands of points at once.
        """
        units = np.asarray(units, float).reshape(-1, self.num)
        settled = np.full(units.shape, np.nan)
        axis = {name: i for i, name in enumerate(self.space.free)}
        values: dict[str, list[Any]] = {}
        everybody = np.arange(len(units))
        for name, domain in self.space.items():
            if name not in axis and name not in self._parents:
                continue
            groups = self._cases(domain, values, everybody)
            if name in self._parents:
                values[name] = [None] * len(units)
            for leaf, rows in groups:
                if name in axis:
                    settled[rows, axis[name]] = _snap(leaf, units[rows, axis[name]])
                if name in self._parents:
                    self._decode(leaf, rows, units, axis.get(name), values[name])
        if not self.space.free:
            settled[:] = 0.5
        return settled

    @staticmethod
    def _cases(
        domain: Domain, values: dict[str, list[Any]], everybody: np.ndarray
    ) -> list[tuple[Float | Int | Choice, np.ndarray]]:
        """Return each domain that a hyperparameter has, with the rows that have it."""
        if not isinstance(domain, Switch):
            return [(domain, everybody)]
        rows: dict[int, list[int]] = {}
        found: dict[int, Float | Int | Choice] = {}
        for i, value in enumerate(values[domain.on]):
            leaf = domain.pick({domain.on: value})
            if leaf is not None:
                rows.setdefault(id(leaf), []).append(i)
                found[id(leaf)] = leaf
        return [(found[key], np.array(rows[key])) for key in rows]

    @staticmethod
    def _decode(
        leaf: Float | Int | Choice,
        rows: np.ndarray,
        units: np.ndarray,
        axis: int | None,
        into: list[Any],
    ) -> None:
        for i in rows:
            into[i] = leaf.decode(0.5 if axis is None else float(units[i, axis]))

    @cached_property
    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """The axis that each feature belongs to, and its weight in a squared distance, [F]."""
        owner, weight = [], []
        for i in range(self.num):
            levels = self.levels[i] if self.space.free else ()
            owner += [i] * (len(levels) or 1)
            # Two kinds differ in two of their indicators: a half makes their distance 1.
            weight += [0.5] * len(levels) or [1.0]
        return np.array(owner), np.array(weight)

    def features(self, points: np.ndarray) -> np.ndarray:
        """Return points as features, [N, F]: numbers as they are, kinds as indicators.

        A hyperparameter that is absent stands in the middle of its range (a kind: is none of them);
        that it is absent is told by what it depends on.
        """
        blocks = []
        for i in range(self.num):
            column = points[:, i : i + 1]
            levels = self.levels[i] if self.space.free else ()
            if levels:
                blocks.append((np.abs(column - np.array(levels)) < 1e-9).astype(float))
            else:
                blocks.append(np.where(np.isnan(column), 0.5, column))
        return np.concatenate(blocks, axis=1)
