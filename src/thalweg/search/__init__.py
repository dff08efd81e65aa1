"""Searchers, one file each, and successive halving."""

from __future__ import annotations

from thalweg.errors import unknown_option
from thalweg.search.base import Searcher
from thalweg.search.grid import Grid
from thalweg.search.random import Random
from thalweg.search.sobol import Sobol
from thalweg.space import Space

SEARCHERS: dict[str, type[Searcher]] = {"sobol": Sobol, "random": Random, "grid": Grid}
"""Searchers by name."""


def make_searcher(name: str, space: Space, seed: int) -> Searcher:
    """Return a searcher by name, before its first proposal.

    Raises:
        OptionError: where the name is not known.
    """
    if name not in SEARCHERS:
        raise unknown_option("search", name, SEARCHERS)
    return SEARCHERS[name].init(space, seed)


__all__ = ["SEARCHERS", "Grid", "Random", "Searcher", "Sobol", "make_searcher"]
