"""What a searcher was told, and what it makes of trainings that were stopped early."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from thalweg.space import Choice, Config, Space, Switch

LEVEL_RATIO = 1.6
"""Shares that differ by less than about this are one level."""

PRIOR_PAIRS = 1.0
"""Weight of the belief that differences are kept from one level to the next, in pairs of scores."""

FULL_SHARE = 0.98


def encode(space: Space, config: Mapping[str, Any]) -> np.ndarray | None:
    """Return a Config's point of the unit cube, or None where it does not lie in the Space.

    Numbers outside their range count as its nearest end; a hyperparameter that the Config leaves
    out is absent.
    """
    point = np.full(max(len(space.free), 1), 0.5 if not space.free else np.nan)
    for axis, name in enumerate(space.free):
        domain = space[name]
        leaf = domain.pick(config) if isinstance(domain, Switch) else domain
        if leaf is None or name not in config:
            continue
        value = config[name]
        if isinstance(leaf, Choice):
            if not leaf.contains(value):
                return None
        elif not isinstance(value, int | float) or isinstance(value, bool):
            return None
        else:
            value = min(max(value, leaf.low), leaf.high)
        number: Any = value
        point[axis] = leaf.encode(number)
    return point


@dataclass(frozen=True)
class History:
    """Scores by Config and by the share of a full training after which they were measured.

    Attributes:
        points: of each Config, in the order in which they were told first, [N, D].
        told: (Config, share, score), NaN for a training that diverged.
        pending: points that were asked for and not told yet, [P, D].
        ranges: domains that are not those that the study began with, as in a TOML file.
    """

    space: Space
    points: np.ndarray
    told: tuple[tuple[int, float, float], ...] = ()
    pending: np.ndarray = field(default_factory=lambda: np.empty((0, 1)))
    ranges: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, space: Space) -> History:
        """Return an empty history."""
        width = max(len(space.free), 1)
        return cls(space, np.empty((0, width)), (), np.empty((0, width)))

    def __len__(self) -> int:
        return len(self.points)

    def asked(self, points: np.ndarray) -> History:
        """Return the history that expects scores of these points."""
        return replace(self, pending=np.concatenate([self.pending, points]))

    def add(
        self,
        configs: Sequence[Config],
        scores: np.ndarray,
        shares: np.ndarray | None = None,
    ) -> History:
        """Return the history with more scores; Configs that do not lie in the Space are left out.

        Args:
            configs: what was trained.
            scores: more is better; NaN or infinite where a training diverged, [N].
            shares: how much of a full training each score is worth, in (0, 1]; 1 by default.
        """
        rows = dict(self.rows)
        new, told = list[np.ndarray](), list(self.told)
        done = set()
        for i, config in enumerate(configs):
            point = encode(self.space, config)
            if point is None:
                continue
            key = _key(point)
            if key not in rows:
                rows[key] = len(self.points) + len(new)
                new.append(point)
            done.add(key)
            share = 1.0 if shares is None else float(min(max(shares[i], 1e-6), 1.0))
            score = float(scores[i])
            told.append((rows[key], share, score if math.isfinite(score) else math.nan))
        left = [p for p in self.pending if _key(p) not in done]
        width = self.pending.shape[1]
        grown = replace(
            self,
            points=np.concatenate([self.points, np.array(new).reshape(-1, width)]),
            told=tuple(told),
            pending=np.array(left).reshape(-1, width),
        )
        # Thousands of trials are told batch by batch: their keys are computed once.
        grown.__dict__["rows"] = rows
        return grown

    @cached_property
    def rows(self) -> dict[tuple[float, ...], int]:
        """The row of each point, by its rounded coordinates."""
        return {_key(point): i for i, point in enumerate(self.points)}

    def moved_to(self, space: Space) -> History:
        """Return the history in another Space; Configs that do not lie in it are left out."""
        configs = self.space.decode(np.where(np.isnan(self.points), 0.5, self.points))
        ranges = {name: d.to_dict() for name, d in space.items() if d != self.space[name]}
        return replace(History.of(space), ranges={**(self.ranges or {}), **ranges}).add(
            [configs[row] for row, _, _ in self.told],
            np.array([score for _, _, score in self.told]),
            np.array([share for _, share, _ in self.told]),
        )

    def finals(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what each Config would score after a full training, and how unsure that is, [N].

        A Config that was stopped is worth what others gained from there on: at each level of
        shares, the score at the next level is a line in the score at this one, fitted to the
        Configs that were seen at both. Who goes on is chosen by the score at this level, and a
        regression is not biased by a choice made by its regressor. Several scores at one level
        (other seeds) are averaged. NaN where the training diverged.

        Source: the recipe of Baker et al., "Accelerating neural architecture search using
        performance prediction", 2018, with one feature, the latest score, and a prior.
        """
        by_level = self._levels()
        num = len(self.points)
        levels = sorted({level for levels in by_level for level in levels})
        means, sds = np.full(num, np.nan), np.zeros(num)
        reached = np.array([max(levels) if levels else -(10**9) for levels in by_level])
        for i, levels_of in enumerate(by_level):
            if levels_of:
                means[i] = levels_of[reached[i]]
        spread = _spread(means)
        for low, high in itertools.pairwise(levels):
            pairs = [(s[low], s[high]) for s in by_level if low in s and high in s]
            both = np.array([p for p in pairs if np.isfinite(p).all()]).reshape(-1, 2)
            center, gain, slope, sd = _step(both, spread)
            rows = (reached <= low) & np.isfinite(means)
            moved = means[rows] + gain + slope * (means[rows] - center)
            sds[rows] = np.hypot(sds[rows] * (1 + slope), sd)
            means[rows] = moved
        return means, sds

    def _levels(self) -> list[dict[int, float]]:
        """Return each Config's mean score by level of shares; level 0 is a full training."""
        found: list[dict[int, list[float]]] = [{} for _ in self.points]
        for row, share, score in self.told:
            level = 0 if share >= FULL_SHARE else min(-1, round(math.log(share, LEVEL_RATIO)))
            found[row].setdefault(level, []).append(score)
        return [{k: float(np.mean(v)) for k, v in levels.items()} for levels in found]

    def state(self) -> dict[str, Any]:
        """Return the history as JSON-able values."""
        return {
            "points": [[_plain(v) for v in point] for point in self.points],
            "told": [[row, share, _plain(score)] for row, share, score in self.told],
            "pending": [[_plain(v) for v in point] for point in self.pending],
            "ranges": dict(self.ranges or {}),
        }

    @classmethod
    def from_state(cls, space: Space, state: Mapping[str, Any]) -> History:
        """Return the history that ``state`` was taken of, in a Space with its wider ranges."""
        width = max(len(space.free), 1)

        def rows(values: Sequence[Sequence[float | None]]) -> np.ndarray:
            return np.array(values, dtype=float).reshape(-1, width)

        told = tuple(
            (int(row), float(share), math.nan if score is None else float(score))
            for row, share, score in state["told"]
        )
        ranges = state["ranges"]
        if ranges:
            space = Space.from_dict({**space.to_dict(), **ranges})
        return cls(space, rows(state["points"]), told, rows(state["pending"]), ranges)


def _step(pairs: np.ndarray, spread: float) -> tuple[float, float, float, float]:
    """Fit how scores change from one level to the next.

    Returns:
        The center of the scores at the lower level, the mean gain, its slope in the score, and the
        deviation of what is left.
    """
    if not len(pairs):
        return 0.0, 0.0, 0.0, 0.5 * spread
    low, gains = pairs[:, 0], pairs[:, 1] - pairs[:, 0]
    center, gain = float(low.mean()), float(gains.mean())
    away = low - center
    slope = float(away @ (gains - gain) / (away @ away + PRIOR_PAIRS * spread**2 + 1e-12))
    # Order may shrink from level to level, but not turn over.
    slope = min(max(slope, -0.8), 0.5)
    rest = gains - gain - slope * away
    variance = (rest @ rest + PRIOR_PAIRS * (0.3 * spread) ** 2) / (len(pairs) + PRIOR_PAIRS)
    return center, gain, slope, math.sqrt(variance)


def _spread(values: np.ndarray) -> float:
    """Return a deviation that a few very bad scores do not blow up."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return 0.0
    return float(np.subtract(*np.quantile(finite, [0.9, 0.4])) / 1.5) or float(finite.std())


def _key(point: np.ndarray) -> tuple[float, ...]:
    return tuple(-1.0 if math.isnan(v) else round(float(v), 9) for v in point)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
