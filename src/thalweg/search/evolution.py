"""Evolution: children of good parents, mixed and moved a little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from thalweg.search.axes import Axes
from thalweg.search.history import History
from thalweg.search.mutation import mutate
from thalweg.search.sobol import Sobol
from thalweg.space import Config, Space

POPULATION = 32
TOURNAMENT = 5
CROSSOVER = 0.5
SCALES = (0.02, 0.3)
"""Smallest and largest deviation of a step; each child draws its own."""


@dataclass(frozen=True)
class Evolution:
    """Regularised evolution with crossover.

    Parents win tournaments of five among the latest 32 Configs: the old ones go, however good, so
    that luck does not live for ever. A child takes each hyperparameter from its first parent or,
    every other time, from either of two, and then one to three of them are moved.

    Source: Real, Aggarwal, Huang and Le, "Regularized evolution for image classifier architecture
    search", 2019, algorithm 1. Differs from it: crossover, and numbers that are moved by a normal
    step. Trainings that were stopped early compete with what they would have become.
    """

    space: Space
    seed: int
    num_asked: int = 0
    history: History | None = None

    @classmethod
    def init(cls, space: Space, seed: int) -> Evolution:
        """Return the searcher before its first proposal."""
        return cls(space, seed, history=History.of(space))

    @cached_property
    def axes(self) -> Axes:
        """The space as the searcher sees it."""
        return Axes(self.space)

    @property
    def known(self) -> History:
        """What the searcher was told."""
        return self.history if self.history is not None else History.of(self.space)

    def ask(self, num: int) -> tuple[Evolution, list[Config]]:
        """Return the next state and the next ``num`` Configs."""
        if num < 1:
            return self, []
        values, _ = self.known.finals()
        if len(values) < TOURNAMENT or not self.space.free:
            _, configs = Sobol(self.space, self.seed, self.num_asked).ask(num)
        else:
            rng = np.random.default_rng([0xE70, self.seed, self.num_asked])
            configs = self.space.decode(self._children(num, values, rng))
        return replace(self, num_asked=self.num_asked + num), configs

    def _children(self, num: int, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        latest = np.arange(len(values))[-max(POPULATION, num) :]
        ranks = np.where(np.isfinite(values), values, -np.inf)[latest]

        def parents() -> np.ndarray:
            entrants = rng.integers(len(latest), size=(num, TOURNAMENT))
            winners = entrants[np.arange(num), ranks[entrants].argmax(axis=1)]
            points = self.known.points[latest[winners]]
            return np.where(np.isnan(points), rng.random(points.shape), points)

        first, second = parents(), parents()
        mixed = (rng.random((num, 1)) < CROSSOVER) & (rng.random(first.shape) < 0.5)
        share = rng.integers(1, 4, (num, 1)) / first.shape[1]
        scale = np.exp(rng.uniform(np.log(SCALES[0]), np.log(SCALES[1]), (num, 1)))
        return mutate(self.axes, np.where(mixed, second, first), scale, rng, share)

    def tell(
        self, configs: Sequence[Config], scores: np.ndarray, shares: np.ndarray | None = None
    ) -> Evolution:
        """Return the state that knows these scores, and after which share of a training."""
        return replace(self, history=self.known.add(configs, scores, shares))

    def moved_to(self, space: Space) -> Evolution:
        """Return the searcher in another Space, with what it knows of this one."""
        return replace(self, space=space, history=self.known.moved_to(space))

    def state(self) -> dict[str, Any]:
        """Return what was asked and told."""
        return {"num_asked": self.num_asked, "history": self.known.state()}

    @classmethod
    def restore(cls, space: Space, seed: int, state: Mapping[str, Any]) -> Evolution:
        """Return the searcher that ``state`` was taken of."""
        history = History.from_state(space, state["history"])
        return cls(history.space, seed, state["num_asked"], history)
