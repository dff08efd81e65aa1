"""Population-based training: who does badly goes on from who does well, a little changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thalweg.search.base import Points
from thalweg.search.sobol import Sobol
from thalweg.space import HYPERPARAMETERS, Config, Float, Space, Switch

EXCHANGES = 9
"""How often in a training members are exchanged."""

SHARE = 0.2
FACTORS = (0.8, 1.25)
RESAMPLE = 0.25


@dataclass(frozen=True)
class PBT(Points):
    """A population of Sobol points whose hyperparameters change while they train.

    After each tenth of a training, the worst fifth of the members of a structure take over weights,
    optimizer state and Config of one of the best fifth each (exploit), and the numbers of that
    Config that may change without another program are multiplied by 0.8 or 1.25, or moved by a
    tenth of their range, or one in four drawn anew (explore). All of it is a gather within the
    cohort: nothing is written to disk.

    Source: Jaderberg et al., "Population based training of neural networks", 2017, with truncation
    selection (section 4.1).
    """

    def ask(self, num: int) -> tuple[PBT, list[Config]]:
        """Return the next state and the next ``num`` Configs to begin with."""
        _, configs = Sobol(self.space, self.seed, self.num_asked).ask(num)
        return replace(self, num_asked=self.num_asked + num), configs

    def exchange(
        self, configs: Sequence[Config], scores: np.ndarray, number: int
    ) -> tuple[list[int], list[Config]]:
        """Return whose weights each member goes on with, and with which Config.

        Args:
            configs: of the members of one structure.
            scores: more is better; who has none is among the worst, [N].
            number: tells the exchanges of a study apart.
        """
        rng = np.random.default_rng([0x9B7, self.seed, number])
        num = len(configs)
        order = np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), kind="stable")
        some = int(np.ceil(SHARE * num)) if num > 1 else 0
        some = min(some, num // 2)
        sources, changed = list(range(num)), list(configs)
        for member in order[num - some :]:
            source = int(order[rng.integers(some)])
            if not np.isfinite(scores[source]):
                continue
            sources[member] = source
            changed[member] = explore(self.space, configs[source], rng)
        return sources, changed


def explore(space: Space, config: Config, rng: np.random.Generator) -> Config:
    """Return a Config with its traced numbers changed, within their ranges."""
    values: dict[str, Any] = {}
    for name in space.free:
        domain = space[name]
        leaf = domain.pick(config) if isinstance(domain, Switch) else domain
        if not isinstance(leaf, Float) or name not in config or HYPERPARAMETERS[name].structural:
            continue
        if rng.random() < RESAMPLE:
            values[name] = leaf.decode(float(rng.random()))
            continue
        up = bool(rng.integers(2))
        value = float(config[name])
        if leaf.log:
            value *= FACTORS[up]
        else:
            value += (0.1 if up else -0.1) * (leaf.high - leaf.low)
        values[name] = _nearest(leaf, value)
    return config.with_values(**values)


def _nearest(leaf: Float, value: float) -> float:
    """Return the value of a range that is nearest to a number."""
    inside = min(max(value, leaf.low), leaf.high)
    return leaf.decode(min(leaf.encode(inside), 1.0)) if leaf.step is not None else inside
