"""Scrambled Halton points: another sequence that covers the space evenly."""

from __future__ import annotations

from dataclasses import dataclass, replace

from thalweg.search.base import Points
from thalweg.space import Config


@dataclass(frozen=True)
class Halton(Points):
    """Points of a scrambled Halton sequence, in order.

    Unlike Sobol points they are balanced for any number of them, not only for powers of two.
    Source: Owen, "A randomized Halton algorithm in R", 2017; recommended for exploring by Godbole
    et al., "Deep learning tuning playbook", 2023.
    """

    def ask(self, num: int) -> tuple[Halton, list[Config]]:
        """Return the next state and the next ``num`` Configs."""
        from scipy.stats import qmc

        sampler = qmc.Halton(d=max(len(self.space.free), 1), scramble=True, rng=self.seed)
        if self.num_asked:
            sampler.fast_forward(self.num_asked)
        points = sampler.random(num)
        return replace(self, num_asked=self.num_asked + num), self.space.decode(points)
