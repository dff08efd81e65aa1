"""Ranges that are widened where the best Configs sit at an edge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from thalweg.errors import SpaceError
from thalweg.space import HYPERPARAMETERS, Config, Domain, Float, Space, Switch

EDGE = 0.06
"""How near an end counts as its edge, as a share of the range."""

NUM_BEST = 5
FACTOR = 0.5
"""By how much a range grows, as a share of its length on its own scale."""


def widened(space: Space, best: Sequence[Config]) -> tuple[Space, list[str]]:
    """Return the Space with wider ranges where they were too narrow, and a notice about each.

    A range of real numbers grows by half of its length where the best Config and most of the best
    five lie within 6 % of one of its ends, as far as the hyperparameter allows. Where a Switch has
    a range for each case, only those of the Configs concerned are looked at. Whole numbers and
    choices stay: they are other structures, or were meant as they are.

    Args:
        space: what was searched.
        best: Configs, best first.
    """
    domains: dict[str, Domain] = {}
    notices = []
    for name, domain in space.items():
        if isinstance(domain, Float):
            found = _wider(name, domain, [c for c in best if name in c])
            if found is not None:
                domains[name] = found
                notices.append(_notice(name, domain, found))
        elif isinstance(domain, Switch):
            grown = _wider_cases(name, domain, best)
            if grown is not None:
                domains[name] = grown[0]
                notices += grown[1]
    return (space.with_domains(**domains) if domains else space), notices


def _wider_cases(
    name: str, domain: Switch, best: Sequence[Config]
) -> tuple[Switch, list[str]] | None:
    cases, default, notices = dict(domain.cases), domain.default, []
    for case, leaf in domain.cases.items():
        mine = [c for c in best if c.get(domain.on) == case and name in c]
        found = _wider(name, leaf, mine) if isinstance(leaf, Float) else None
        if found is not None and isinstance(leaf, Float):
            cases[case] = found
            notices.append(_notice(f"{name} for {case}", leaf, found))
    rest = [c for c in best if c.get(domain.on) not in domain.cases and name in c]
    found = _wider(name, default, rest) if isinstance(default, Float) else None
    if found is not None and isinstance(default, Float):
        notices.append(_notice(name, default, found))
        default = found
    return (replace(domain, cases=cases, default=default), notices) if notices else None


def _wider(name: str, leaf: Float, configs: Sequence[Config]) -> Float | None:
    """Return a wider range, or None where this one is wide enough."""
    places = np.array([leaf.encode(c[name]) for c in configs if leaf.contains(c[name])])[:NUM_BEST]
    if len(places) < 3 or leaf.low == leaf.high or leaf.step is not None:
        return None
    if places[0] < EDGE and np.median(places) < EDGE:
        bounds = _allowed(name, leaf, low=True)
    elif places[0] > 1 - EDGE and np.median(places) > 1 - EDGE:
        bounds = _allowed(name, leaf, low=False)
    else:
        return None
    return None if bounds is None else replace(leaf, low=bounds[0], high=bounds[1])


def _allowed(name: str, leaf: Float, *, low: bool) -> tuple[float, float] | None:
    """Return the bounds of the widest range that the hyperparameter allows, at most half longer."""
    for share in (FACTOR, FACTOR / 2, FACTOR / 4, FACTOR / 8):
        if leaf.log:
            ratio = (leaf.high / leaf.low) ** share
            bounds = (leaf.low / ratio, leaf.high) if low else (leaf.low, leaf.high * ratio)
        else:
            more = share * (leaf.high - leaf.low)
            bounds = (leaf.low - more, leaf.high) if low else (leaf.low, leaf.high + more)
        bounds = (_rounded(bounds[0]), _rounded(bounds[1]))
        if all(map(HYPERPARAMETERS[name].check, bounds)):
            try:
                Float(*bounds, log=leaf.log)
            except SpaceError:
                continue
            return bounds
    return None


def _rounded(value: float) -> float:
    """Return the number with three digits."""
    return float(f"{value:.3g}") if math.isfinite(value) else value


def _notice(what: str, before: Float, after: Float) -> str:
    return (
        f"{what} was widened from {before.low:g} to {before.high:g} to {after.low:g} to "
        f"{after.high:g}: the best trials sat at its edge"
    )
