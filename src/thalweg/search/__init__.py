"""Searchers, one file each, and successive halving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.errors import unknown_option
from thalweg.search.base import Searcher
from thalweg.search.bayesian import GaussianProcess
from thalweg.search.cmaes import CMAES
from thalweg.search.evolution import Evolution
from thalweg.search.grid import Grid
from thalweg.search.halton import Halton
from thalweg.search.pbt import PBT
from thalweg.search.random import Random
from thalweg.search.sobol import Sobol
from thalweg.search.tpe import TPE
from thalweg.space import Space

SEARCHERS: dict[str, type[Searcher]] = {
    "sobol": Sobol,
    "halton": Halton,
    "random": Random,
    "grid": Grid,
    "gp": GaussianProcess,
    "tpe": TPE,
    "cmaes": CMAES,
    "evolution": Evolution,
    "pbt": PBT,
}
"""Searchers by name."""

LEARNING = ("gp", "tpe", "cmaes", "evolution")
"""Those that learn from scores."""

REFINING = ("gp", "tpe", "evolution")
"""Those whose ranges are widened where the best Configs sit at an edge."""


def make_searcher(
    name: str, space: Space, seed: int, state: Mapping[str, Any] | None = None
) -> Searcher:
    """Return a searcher by name: before its first proposal, or as it was in ``state``.

    Raises:
        OptionError: where the name is not known.
    """
    if name not in SEARCHERS:
        raise unknown_option("search", name, SEARCHERS)
    kind = SEARCHERS[name]
    return kind.init(space, seed) if state is None else kind.restore(space, seed, state)


__all__ = [
    "CMAES",
    "LEARNING",
    "PBT",
    "REFINING",
    "SEARCHERS",
    "TPE",
    "Evolution",
    "GaussianProcess",
    "Grid",
    "Halton",
    "Random",
    "Searcher",
    "Sobol",
    "make_searcher",
]
