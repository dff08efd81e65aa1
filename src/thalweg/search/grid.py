"""Every combination of a few values of each hyperparameter."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from thalweg.search.base import Points
from thalweg.space import Choice, Config, Switch

DEFAULT_POINTS = 5


@dataclass(frozen=True)
class Grid(Points):
    """The full factorial of the space, in an order shuffled by the seed.

    A continuous domain gives ``points`` values at equal distances on its scale, a ``Choice`` all
    of its options. The order is shuffled so that a part of the grid is a fair sample of it.
    """

    points: int = DEFAULT_POINTS

    @cached_property
    def _configs(self) -> list[Config]:
        configs: list[dict[str, Any]] = [{}]
        for name, domain in self.space.items():
            grown = []
            for values in configs:
                leaf = domain.pick(values) if isinstance(domain, Switch) else domain
                if leaf is None:
                    grown.append(values)
                    continue
                options = leaf.options if isinstance(leaf, Choice) else leaf.grid(self.points)
                grown += [{**values, name: option} for option in options]
            configs = grown
        order = np.random.default_rng([0x6B1D, self.seed]).permutation(len(configs))
        return [Config(configs[i]) for i in order]

    def __len__(self) -> int:
        return len(self._configs)

    def ask(self, num: int) -> tuple[Grid, list[Config]]:
        """Return the next state and the next ``num`` Configs, fewer at the end of the grid."""
        chosen = list(itertools.islice(self._configs, self.num_asked, self.num_asked + num))
        return replace(self, num_asked=self.num_asked + len(chosen)), chosen
