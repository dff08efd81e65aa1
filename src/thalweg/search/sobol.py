"""Scrambled Sobol points: random search that covers the space more evenly."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from thalweg.search.base import Points
from thalweg.space import Config


@dataclass(frozen=True)
class Sobol(Points):
    """Points of a scrambled Sobol sequence, in order.

    Any prefix is spread evenly, so that the first 50 of 500 are a fair sample of the space. Source:
    Owen, "Scrambling Sobol' and Niederreiter-Xing points", 1998; Bergstra and Bengio, "Random
    search for hyper-parameter optimization", 2012, section 4.
    """

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
