"""What every searcher offers: ``init``, ``ask`` and ``tell``, on whole batches of Configs.

A searcher is a frozen value that carries its state; ``ask`` and ``tell`` return the next one, so
that a study can write it down and go on from there. A new searcher is one file and one line in
``thalweg.search.SEARCHERS``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from thalweg.space import Config, Space

S = TypeVar("S", bound="Searcher")


class Searcher(Protocol):
    """Proposes Configs, and learns from their scores where it can."""

    @property
    def space(self) -> Space:
        """What is searched."""
        ...

    @classmethod
    def init(cls: type[S], space: Space, seed: int) -> S:
        """Return the searcher before its first proposal."""
        ...

    def ask(self: S, num: int) -> tuple[S, list[Config]]:
        """Return the next state and up to ``num`` Configs; fewer when there are no more."""
        ...

    def tell(
        self: S, configs: Sequence[Config], scores: np.ndarray, shares: np.ndarray | None = None
    ) -> S:
        """Return the state that knows these scores.

        Args:
            configs: what was trained; asked for or not.
            scores: more is better, NaN where a training diverged, [N].
            shares: the share of a full training after which each score was measured, in (0, 1]; 1
                by default. A Config may be told again when it has come further, [N].
        """
        ...

    def moved_to(self: S, space: Space) -> S:
        """Return the searcher in another Space: the same hyperparameters, other ranges."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what is needed besides space and seed to go on, as JSON-able values."""
        ...

    @classmethod
    def restore(cls: type[S], space: Space, seed: int, state: Mapping[str, Any]) -> S:
        """Return the searcher that ``state`` was taken of."""
        ...


@dataclass(frozen=True)
class Points:
    """What those searchers share that do not look at scores: points in an order, and a place in it.

    Args:
        space: what is searched.
        seed: decides the points.
        num_asked: points proposed so far.
    """

    space: Space
    seed: int
    num_asked: int = 0

    @classmethod
    def init(cls, space: Space, seed: int) -> Self:
        """Return the searcher before its first proposal."""
        return cls(space, seed)

    def tell(
        self, configs: Sequence[Config], scores: np.ndarray, shares: np.ndarray | None = None
    ) -> Self:
        """Return itself: the points do not depend on scores."""
        del configs, scores, shares
        return self

    def moved_to(self, space: Space) -> Self:
        """Return the searcher in another Space, where it goes on with its next point."""
        return replace(self, space=space)

    def state(self) -> dict[str, Any]:
        """Return how many points were asked for."""
        return {"num_asked": self.num_asked}

    @classmethod
    def restore(cls, space: Space, seed: int, state: Mapping[str, Any]) -> Self:
        """Return the searcher that ``state`` was taken of."""
        return cls(space, seed, **state)
