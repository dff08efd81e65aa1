"""CMA-ES: a normal distribution that learns the shape of the valley."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from thalweg.search.axes import Axes
from thalweg.search.history import History, encode
from thalweg.space import Config, Space

FIRST_SIGMA = 0.25


@dataclass(frozen=True)
class CMAES:
    """Covariance matrix adaptation on the unit cube.

    A generation is complete when ``4 + 3 ln D`` scores have been told, or as many as were asked for
    at once where that is more. Values of a grid and kinds are coordinates that are rounded; the
    distribution never gets narrower along them than what still reaches a neighbour now and then.
    It remembers no scores beyond its generation; a training that was stopped early counts as what
    it would have become by the others of its batch.

    Source: Hansen, "The CMA evolution strategy: a tutorial", 2016 (equations by number below);
    lower bounds for discrete axes after Hamano, Saito, Nomura and Shirakawa, "CMA-ES with margin",
    2022.

    Attributes:
        mean: of the distribution, [D].
        sigma: its step size.
        covariance: its shape, [D, D].
        path_c: evolution path of the covariance, [D].
        path_s: evolution path of the step size, [D].
        generation: number of updates so far.
        asked: points without a score yet, as drawn.
        told: (point, score) of the present generation.
    """

    space: Space
    seed: int
    num_asked: int = 0
    mean: tuple[float, ...] = ()
    sigma: float = FIRST_SIGMA
    covariance: tuple[tuple[float, ...], ...] = ()
    path_c: tuple[float, ...] = ()
    path_s: tuple[float, ...] = ()
    generation: int = 0
    asked: tuple[tuple[float, ...], ...] = field(default=())
    told: tuple[tuple[tuple[float, ...], float], ...] = field(default=())
    size: int = 0

    @classmethod
    def init(cls, space: Space, seed: int) -> CMAES:
        """Return the searcher before its first proposal."""
        num = max(len(space.free), 1)
        return cls(
            space,
            seed,
            mean=(0.5,) * num,
            covariance=tuple(tuple(row) for row in np.eye(num).tolist()),
            path_c=(0.0,) * num,
            path_s=(0.0,) * num,
            size=4 + int(3 * math.log(num)),
        )

    @cached_property
    def axes(self) -> Axes:
        """The space as the model sees it."""
        return Axes(self.space)

    def ask(self, num: int) -> tuple[CMAES, list[Config]]:
        """Return the next state and the next ``num`` Configs."""
        if num < 1:
            return self, []
        mean, spread = np.array(self.mean), self._spread()
        rng = np.random.default_rng([0xC3A, self.seed, self.num_asked])
        drawn = np.empty((num, len(mean)))
        waiting = np.arange(num)
        for _ in range(20):
            z = rng.standard_normal((len(waiting), len(mean)))
            drawn[waiting] = mean + z @ spread.T
            outside = ((drawn[waiting] < 0) | (drawn[waiting] >= 1)).any(axis=1)
            waiting = waiting[outside]
            if not len(waiting):
                break
        drawn = np.clip(drawn, 0.0, np.nextafter(1.0, 0.0))
        asked = tuple(tuple(row) for row in drawn.tolist())
        state = replace(
            self,
            num_asked=self.num_asked + num,
            asked=self.asked + asked,
            size=max(self.size, num),
        )
        return state, self.space.decode(drawn)

    def _spread(self) -> np.ndarray:
        """Return A with A Aᵀ = sigma² C, widened on a grid's axes, [D, D]."""
        covariance = self.sigma**2 * np.array(self.covariance)
        # With a standard deviation of a third of a cell, one in seven leaves the middle's cell.
        floor = (self.axes.cells / 3.0) ** 2
        short = np.maximum(floor - np.diag(covariance), 0.0)
        values, vectors = np.linalg.eigh(covariance + np.diag(short))
        return vectors * np.sqrt(np.maximum(values, 1e-20))

    def tell(
        self, configs: Sequence[Config], scores: np.ndarray, shares: np.ndarray | None = None
    ) -> CMAES:
        """Return the state that knows these scores; a generation's worth moves the distribution."""
        by_key = {_key(self.axes, point): point for point in self.asked}
        values, _ = History.of(self.space).add(configs, scores, shares).finals()
        told = list(self.told)
        used = set()
        row = -1
        for config in configs:
            point = encode(self.space, config)
            if point is None:
                continue
            row += 1
            key = tuple(np.round(np.nan_to_num(point, nan=-1.0), 9).tolist())
            if key in used:
                row -= 1
                continue
            used.add(key)
            raw = by_key.get(key, tuple(np.nan_to_num(point, nan=0.5).tolist()))
            told.append((raw, float(values[row])))
        asked = tuple(p for p in self.asked if _key(self.axes, p) not in used)
        state = replace(self, asked=asked, told=tuple(told))
        return state._moved() if len(told) >= self.size else state

    def _moved(self) -> CMAES:
        """Return the state after one generation."""
        points = np.array([p for p, _ in self.told])
        values = np.array([v for _, v in self.told])
        order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), kind="stable")
        n, size = points.shape[1], len(points)
        half = size // 2
        weights = math.log((size + 1) / 2) - np.log(np.arange(1, half + 1))
        weights /= weights.sum()
        mueff = 1.0 / (weights**2).sum()
        # Equations 55 to 58 of the tutorial.
        c_s = (mueff + 2) / (n + mueff + 5)
        d_s = 1 + 2 * max(0.0, math.sqrt((mueff - 1) / (n + 1)) - 1) + c_s
        c_c = (4 + mueff / n) / (n + 4 + 2 * mueff / n)
        c_1 = 2 / ((n + 1.3) ** 2 + mueff)
        c_mu = min(1 - c_1, 2 * (mueff - 2 + 1 / mueff) / ((n + 2) ** 2 + mueff))
        expected = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
        mean, covariance = np.array(self.mean), np.array(self.covariance)
        values_c, vectors = np.linalg.eigh(covariance)
        inverse_root = (vectors / np.sqrt(np.maximum(values_c, 1e-20))) @ vectors.T
        y = (points[order[:half]] - mean) / self.sigma
        step = weights @ y
        path_s = (1 - c_s) * np.array(self.path_s) + math.sqrt(
            c_s * (2 - c_s) * mueff
        ) * inverse_root @ step  # 43
        length = float(np.linalg.norm(path_s))
        normal = math.sqrt(1 - (1 - c_s) ** (2 * (self.generation + 1)))
        steady = length / normal < (1.4 + 2 / (n + 1)) * expected
        path_c = (1 - c_c) * np.array(self.path_c)  # 45
        if steady:
            path_c = path_c + math.sqrt(c_c * (2 - c_c) * mueff) * step
        correction = 0.0 if steady else c_1 * c_c * (2 - c_c)
        covariance = (
            (1 - c_1 - c_mu + correction) * covariance
            + c_1 * np.outer(path_c, path_c)
            + c_mu * (y.T * weights) @ y
        )  # 47
        sigma = self.sigma * math.exp(min(1.0, c_s / d_s * (length / expected - 1)))  # 44
        return replace(
            self,
            mean=tuple((mean + self.sigma * step).tolist()),
            sigma=float(min(max(sigma, 1e-12), 1.0)),
            covariance=tuple(tuple(row) for row in ((covariance + covariance.T) / 2).tolist()),
            path_c=tuple(path_c.tolist()),
            path_s=tuple(path_s.tolist()),
            generation=self.generation + 1,
            told=(),
        )

    def moved_to(self, space: Space) -> CMAES:
        """Return the searcher in another Space, its distribution at the same Configs."""
        mean = encode(space, self.space.decode([self.mean])[0])
        assert mean is not None
        kept = np.where(np.isnan(mean), self.mean, mean)
        return replace(self, space=space, mean=tuple(kept.tolist()), asked=(), told=())

    def state(self) -> dict[str, Any]:
        """Return the distribution, and what was asked and told since it last moved."""
        return {
            "num_asked": self.num_asked,
            "mean": list(self.mean),
            "sigma": self.sigma,
            "covariance": [list(row) for row in self.covariance],
            "path_c": list(self.path_c),
            "path_s": list(self.path_s),
            "generation": self.generation,
            "asked": [list(point) for point in self.asked],
            "told": [[list(p), None if math.isnan(v) else v] for p, v in self.told],
            "size": self.size,
        }

    @classmethod
    def restore(cls, space: Space, seed: int, state: Mapping[str, Any]) -> CMAES:
        """Return the searcher that ``state`` was taken of."""
        return cls(
            space,
            seed,
            state["num_asked"],
            tuple(state["mean"]),
            state["sigma"],
            tuple(tuple(row) for row in state["covariance"]),
            tuple(state["path_c"]),
            tuple(state["path_s"]),
            state["generation"],
            tuple(tuple(point) for point in state["asked"]),
            tuple((tuple(p), math.nan if v is None else v) for p, v in state["told"]),
            state["size"],
        )


def _key(axes: Axes, point: Sequence[float]) -> tuple[float, ...]:
    settled = axes.settle(np.array([point]))[0]
    return tuple(np.round(np.nan_to_num(settled, nan=-1.0), 9).tolist())
