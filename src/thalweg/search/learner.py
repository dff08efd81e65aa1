"""What those searchers share that learn from a history of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from thalweg.search.axes import Axes
from thalweg.search.history import History
from thalweg.space import Config, Space


@dataclass(frozen=True)
class Learner:
    """A searcher that keeps what it was told; how it proposes is its own.

    Args:
        space: what is searched.
        seed: decides what is left to chance.
        num_asked: Configs proposed so far.
        history: what it was told; nothing where None.
    """

    space: Space
    seed: int
    num_asked: int = 0
    history: History | None = None

    @classmethod
    def init(cls, space: Space, seed: int) -> Self:
        """Return the searcher before its first proposal."""
        return cls(space, seed, history=History.of(space))

    @cached_property
    def axes(self) -> Axes:
        """The space as a model sees it."""
        return Axes(self.space)

    @property
    def known(self) -> History:
        """What the searcher was told."""
        return self.history if self.history is not None else History.of(self.space)

    def tell(
        self, configs: Sequence[Config], scores: np.ndarray, shares: np.ndarray | None = None
    ) -> Self:
        """Return the state that knows these scores, and after which share of a training."""
        return replace(self, history=self.known.add(configs, scores, shares))

    def moved_to(self, space: Space) -> Self:
        """Return the searcher in another Space, with what it knows of this one."""
        return replace(self, space=space, history=self.known.moved_to(space))

    def state(self) -> dict[str, Any]:
        """Return what was asked and told."""
        return {"num_asked": self.num_asked, "history": self.known.state()}

    @classmethod
    def restore(cls, space: Space, seed: int, state: Mapping[str, Any]) -> Self:
        """Return the searcher that ``state`` was taken of."""
        history = History.from_state(space, state["history"])
        return cls(history.space, seed, state["num_asked"], history)
