"""Evolution: children of good parents, mixed and moved a little."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from thalweg.search.learner import Learner
from thalweg.search.mutation import mutate
from thalweg.search.sobol import Sobol
from thalweg.space import Config

POPULATION = 32
TOURNAMENT = 5
CROSSOVER = 0.5
SCALES = (0.02, 0.3)
"""Smallest and largest deviation of a step; each child draws its own."""


@dataclass(frozen=True)
class Evolution(Learner):
    """Regularised evolution with crossover.

    Parents win tournaments of five among the latest 32 Configs: the old ones go, however good, so
    that luck does not live for ever. A child takes each hyperparameter from its first parent or,
    every other time, from either of two, and then one to three of them are moved.

    Source: Real, Aggarwal, Huang and Le, "Regularized evolution for image classifier architecture
    search", 2019, algorithm 1. Differs from it: crossover, and numbers that are moved by a normal
    step. Trainings that were stopped early compete with what they would have become.
    """

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
