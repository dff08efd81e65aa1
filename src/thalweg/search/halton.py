"""Scrambled Halton points: another sequence that covers the space evenly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thalweg.space import Config, Space


@dataclass(frozen=True)
class Halton:
    """Points of a scrambled Halton sequence, in order.

    Unlike Sobol points they are balanced for any number of them, not only for powers of two.
    Source: Owen, "A randomized Halton algorithm in R", 2017; recommended for exploring by Godbole
    et al., "Deep learning tuning playbook", 2023.
    """

    space: Space
    seed: int
    num_asked: int = 0

    @classmethod
    def init(cls, space: Space, seed: int) -> Halton:
        """Return the searcher before its first proposal."""
        return cls(space, seed)

    def ask(self, num: int) -> tuple[Halton, list[Config]]:
        """Return the next state and the next ``num`` Configs."""
        from scipy.stats import qmc

        sampler = qmc.Halton(d=max(len(self.space.free), 1), scramble=True, rng=self.seed)
        if self.num_asked:
            sampler.fast_forward(self.num_asked)
        points = sampler.random(num)
        return replace(self, num_asked=self.num_asked + num), self.space.decode(points)

    def tell(
        self, configs: Sequence[Config], scores: np.ndarray, shares: np.ndarray | None = None
    ) -> Halton:
        """Return itself: the sequence does not depend on scores."""
        del configs, scores, shares
        return self

    def moved_to(self, space: Space) -> Halton:
        """Return the searcher in another Space, where it goes on with its next point."""
        return replace(self, space=space)

    def state(self) -> dict[str, Any]:
        """Return how many points were asked for."""
        return {"num_asked": self.num_asked}

    @classmethod
    def restore(cls, space: Space, seed: int, state: Mapping[str, Any]) -> Halton:
        """Return the searcher that ``state`` was taken of."""
        return cls(space, seed, **state)
