"""Independent random points."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from thalweg.search.base import Points
from thalweg.space import Config


@dataclass(frozen=True)
class Random(Points):
    """Points drawn uniformly (on each domain's own scale), independent of each other.

    Source: Bergstra and Bengio, "Random search for hyper-parameter optimization", 2012.
    """

    def ask(self, num: int) -> tuple[Random, list[Config]]:
        """Return the next state and the next ``num`` Configs."""
        width = max(len(self.space.free), 1)
        # Each point has its own generator: the n-th is the same however the asking is batched.
        points = [
            np.random.default_rng([0xA5C, self.seed, self.num_asked + i]).random(width)
            for i in range(num)
        ]
        return replace(self, num_asked=self.num_asked + num), self.space.decode(points)
