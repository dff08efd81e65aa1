"""Every combination of a few values of each hyperparameter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from thalweg.space import Choice, Config, Space, Switch

DEFAULT_POINTS = 5


@dataclass(frozen=True)
class Grid:
    """The full factorial of the space, in an order shuffled by the seed.

    A continuous domain gives ``points`` values at equal distances on its scale, a ``Choice`` all
    of its options. The order is shuffled so that a part of the grid is a fair sample of it.
    """

    space: Space
    seed: int
    num_asked: int = 0
    points: int = DEFAULT_POINTS

    @classmethod
    def init(cls, space: Space, seed: int) -> Grid:
        """Return the searcher before its first proposal."""
        return cls(space, seed)

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

    def tell(
        self, configs: Sequence[Config], scores: np.ndarray, shares: np.ndarray | None = None
    ) -> Grid:
        """Return itself: the grid does not depend on scores."""
        del configs, scores, shares
        return self

    def moved_to(self, space: Space) -> Grid:
        """Return the searcher in another Space, where it goes on with its next point."""
        return replace(self, space=space)

    def state(self) -> dict[str, Any]:
        """Return how many points were asked for."""
        return {"num_asked": self.num_asked}

    @classmethod
    def restore(cls, space: Space, seed: int, state: Mapping[str, Any]) -> Grid:
        """Return the searcher that ``state`` was taken of."""
        return cls(space, seed, **state)
