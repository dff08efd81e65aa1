"""A Space in Optuna's words, so that its plots, importances and dashboard know what was searched.

Optuna wants one distribution for each parameter of a study. A ``Switch`` of numbers becomes the
range that holds all of its cases, on a log scale where all of them are positive and one is; a
``Switch`` with other values becomes one choice of all of them. What a value of Optuna's may not be
(a tuple of widths) is written as JSON text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from thalweg.space import Choice, Config, Domain, Int, Space, leaves


@dataclass(frozen=True)
class Distribution:
    """One of Optuna's distributions.

    Args:
        name: its class there.
        attributes: its arguments.
    """

    name: str
    attributes: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the text that Optuna stores."""
        return json.dumps({"name": self.name, "attributes": self.attributes})

    def internal(self, value: Any) -> float | None:
        """Return the number that Optuna stores for a value; None where it has none for it."""
        if self.name == "CategoricalDistribution":
            choices, plain = self.attributes["choices"], _plain(value)
            # True is 1 to Python.
            same = [i for i, c in enumerate(choices) if type(c) is type(plain) and c == plain]
            return float(same[0]) if same else None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if number and math.isfinite(value) else None

    def external(self, number: float) -> Any:
        """Return the value of a number that Optuna stores."""
        if self.name == "CategoricalDistribution":
            return self.attributes["choices"][int(number)]
        return int(number) if self.name == "IntDistribution" else float(number)


def distributions_of(space: Space, first: Iterable[Config] = ()) -> dict[str, Distribution]:
    """Return the distribution of every hyperparameter that is searched.

    Args:
        space: what is searched.
        first: Configs that are tried besides; their values belong to the distributions too.
    """
    configs = list(first)
    found = {}
    for name, domain in space.items():
        tried = [config[name] for config in configs if name in config]
        distribution = _distribution(domain, tried)
        if distribution is not None:
            found[name] = distribution
    return found


def _distribution(domain: Domain, tried: list[Any]) -> Distribution | None:
    parts = leaves(domain)
    values = [v for leaf in parts if isinstance(leaf, Choice) for v in leaf.options] + tried
    ranges = [leaf for leaf in parts if not isinstance(leaf, Choice)]
    numeric = all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values
    )
    if ranges and numeric:
        low = min([*(leaf.low for leaf in ranges), *values])
        high = max([*(leaf.high for leaf in ranges), *values])
        log = low > 0 and any(leaf.log for leaf in ranges)
        whole = all(isinstance(leaf, Int) for leaf in ranges) and all(
            float(v).is_integer() for v in values
        )
        if whole:
            bounds = {"log": log, "step": 1, "low": int(low), "high": int(high)}
            return Distribution("IntDistribution", bounds)
        bounds = {"step": None, "low": float(low), "high": float(high), "log": log}
        return Distribution("FloatDistribution", bounds)
    for leaf in ranges:
        # Numbers and names side by side: the names stand for themselves, the numbers for their
        # range's ends, and what lies between has no place in a choice.
        values += [leaf.low, leaf.high]
    choices: list[Any] = []
    for value in map(_plain, values):
        if not any(type(c) is type(value) and c == value for c in choices):
            choices.append(value)
    return (
        Distribution("CategoricalDistribution", {"choices": choices}) if len(choices) > 1 else None
    )


def _plain(value: Any) -> Any:
    """Return the value as Optuna may store it: None, bool, int, float or text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return json.dumps(list(value))


def internal_values(distributions: Mapping[str, Distribution], config: Config) -> dict[str, float]:
    """Return the numbers that Optuna stores for a Config, by name."""
    found = {}
    for name, distribution in distributions.items():
        if name in config:
            number = distribution.internal(config[name])
            if number is not None:
                found[name] = number
    return found
