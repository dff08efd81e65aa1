"""Independent random points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thalweg.space import Config, Space


@dataclass(frozen=True)
class Random:
    """Points drawn uniformly (on each domain's own scale), independent of each other.

    Source: Bergstra and Bengio, "Random search for hyper-parameter optimization", 2012.
    """

    space: Space
    seed: int
    num_asked: int = 0

    @classmethod
    def init(cls, space: Space, seed: int) -> Random:
        """Return the searcher before its first proposal."""
        return cls(space, seed)

    def ask(self, num: int) -> tuple[Random, list[Config]]:
        """Return the next state and the next ``num`` Configs."""
        width = max(len(self.space.free), 1)
        # Each point has its own generator: the n-th is the same however the asking is batched.
        points = [
            np.random.default_rng([0xA5C, self.seed, self.num_asked + i]).random(width)
            for i in range(num)
        ]
        return replace(self, num_asked=self.num_asked + num), self.space.decode(points)

    def tell(
        self, configs: Sequence[Config], scores: np.ndarray, shares: np.ndarray | None = None
    ) -> Random:
        """Return itself: the draws do not depend on scores."""
        del configs, scores, shares
        return self

    def moved_to(self, space: Space) -> Random:
        """Return the searcher in another Space, where it goes on with its next point."""
        return replace(self, space=space)

    def state(self) -> dict[str, Any]:
        """Return how many points were asked for."""
        return {"num_asked": self.num_asked}

    @classmethod
    def restore(cls, space: Space, seed: int, state: Mapping[str, Any]) -> Random:
        """Return the searcher that ``state`` was taken of."""
        return cls(space, seed, **state)
