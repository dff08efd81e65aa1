"""Scrambled Sobol points: random search that covers the space more evenly."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thalweg.space import Config, Space


@dataclass(frozen=True)
class Sobol:
    """Points of a scrambled Sobol sequence, in order.

    Any prefix is spread evenly, so that the first 50 of 500 are a fair sample of the space. Source:
    Owen, "Scrambling Sobol' and Niederreiter-Xing points", 1998; Bergstra and Bengio, "Random
    search for hyper-parameter optimization", 2012, section 4.
    """

    space: Space
    seed: int
    num_asked: int = 0

    @classmethod
    def init(cls, space: Space, seed: int) -> Sobol:
        """Return the searcher before its first proposal."""
        return cls(space, seed)

    def ask(self, num: int) -> tuple[Sobol, list[Config]]:
        """Return the next state and the next ``num`` Configs."""
        from scipy.stats import qmc

        sampler = qmc.Sobol(d=max(len(self.space.free), 1), scramble=True, rng=self.seed)
        with warnings.catch_warnings():
            # Balance holds for powers of two only; an even spread is all that is wanted here.
            warnings.simplefilter("ignore", UserWarning)
            if self.num_asked:
                sampler.fast_forward(self.num_asked)
            points = sampler.random(num)
        return replace(self, num_asked=self.num_asked + num), self.space.decode(points)

    def tell(
        self, configs: Sequence[Config], scores: np.ndarray, shares: np.ndarray | None = None
    ) -> Sobol:
        """Return itself: the sequence does not depend on scores."""
        del configs, scores, shares
        return self

    def moved_to(self, space: Space) -> Sobol:
        """Return the searcher in another Space, where it goes on with its next point."""
        return replace(self, space=space)

    def state(self) -> dict[str, Any]:
        """Return how many points were asked for."""
        return {"num_asked": self.num_asked}

    @classmethod
    def restore(cls, space: Space, seed: int, state: Mapping[str, Any]) -> Sobol:
        """Return the searcher that ``state`` was taken of."""
        return cls(space, seed, **state)
