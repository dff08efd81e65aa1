"""What a hyperparameter may be: a range of numbers, a choice, or one of these by another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from thalweg.errors import SpaceError

Value = Any

PRIOR_WIDTH = 0.2
"""Deviation of the distribution around a prior, as a share of the range."""


@dataclass(frozen=True)
class Float:
    """Real numbers from ``low`` to ``high``, both included.

    Args:
        low: smallest value.
        high: largest value.
        log: sample uniformly in the logarithm (for scales such as learning rates).
        step: distance between allowed values, counted from ``low``; all values when None.
        prior: the value that is likeliest to be good. Values are then drawn from a normal
            distribution around it (on the domain's scale, with a fifth of the range as its
            deviation, cut off at the ends), and searchers see coordinates that are stretched there.

    Raises:
        SpaceError: where ``low > high``, a bound is not finite, ``log`` with ``low <= 0``, or a
            prior outside the range.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    prior: float | None = None

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log, self.step)
        if self.prior is not None and not (
            is_number(self.prior) and self.low <= self.prior <= self.high
        ):
            raise SpaceError(
                f"a prior must lie in its range; got prior={self.prior!r} with low={self.low}, "
                f"high={self.high}"
            )

    @cached_property
    def _bell(self) -> tuple[NormalDist, float, float]:
        """The prior on the unit scale, and its distribution function at both ends."""
        assert self.prior is not None
        bell = NormalDist(self._place(self.prior), PRIOR_WIDTH)
        return bell, bell.cdf(0.0), bell.cdf(1.0)

    def decode(self, unit: float) -> float:
        """Map a coordinate in [0, 1) to a value."""
        if self.prior is not None and self.low < self.high:
            bell, start, stop = self._bell
            share = min(max(start + unit * (stop - start), 1e-15), 1 - 1e-15)
            unit = min(max(bell.inv_cdf(share), 0.0), 1.0)
        if self.log:
            value = math.exp(_lerp(math.log(self.low), math.log(self.high), unit))
        else:
            value = _lerp(self.low, self.high, unit)
        if self.step is not None:
            value = self.low + self.step * math.floor((value - self.low) / self.step + 0.5)
        return min(max(value, self.low), self.high)

    def encode(self, value: float) -> float:
        """Map a value to its coordinate in [0, 1]."""
        if self.high == self.low:
            return 0.5
        if self.prior is None:
            return self._place(value)
        bell, start, stop = self._bell
        return (bell.cdf(self._place(value)) - start) / (stop - start)

    def _place(self, value: float) -> float:
        """Return where a value lies between the ends, in [0, 1], on the domain's scale."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def contains(self, value: Value) -> bool:
        """Whether the value lies in the domain."""
        return is_number(value) and self.low <= value <= self.high

    def grid(self, num: int) -> list[float]:
        """Return ``num`` values from ``low`` to ``high`` at equal distances."""
        if num == 1 or self.low == self.high:
            return [self.decode(0.5)]
        values = [self.decode(i / (num - 1)) for i in range(num)]
        return list(dict.fromkeys(values))

    def to_dict(self) -> dict[str, Value]:
        """Return the domain as in a TOML file."""
        record: dict[str, Value] = {"low": self.low, "high": self.high}
        if self.log:
            record["log"] = True
        if self.step is not None:
            record["step"] = self.step
        if self.prior is not None:
            record["prior"] = self.prior
        return record


@dataclass(frozen=True)
class Int:
    """Whole numbers from ``low`` to ``high``, both included.

    Args:
        low: smallest value.
        high: largest value.
        log: sample uniformly in the logarithm.
        step: distance between allowed values, counted from ``low``.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        for name, bound in (("low", self.low), ("high", self.high), ("step", self.step)):
            if not isinstance(bound, int) or isinstance(bound, bool):
                raise SpaceError(f"{name} of an Int must be a whole number; got {bound!r}")
        _check_bounds(self.low, self.high, self.log, self.step)

    def decode(self, unit: float) -> int:
        """Map a coordinate in [0, 1) to a value."""
        if self.log:
            # Half a step either side gives the end points their full share.
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            value = math.floor(math.exp(_lerp(low, high, unit)) + 0.5)
            value = self.low + self.step * round((value - self.low) / self.step)
        else:
            count = (self.high - self.low) // self.step + 1
            value = self.low + self.step * min(int(unit * count), count - 1)
        return min(
            max(value, self.low), self.low + self.step * ((self.high - self.low) // self.step)
        )

    def encode(self, value: int) -> float:
        """Map a value to its coordinate in [0, 1]."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return (math.log(value) - low) / (high - low)
        count = (self.high - self.low) // self.step + 1
        return ((value - self.low) // self.step + 0.5) / count

    def contains(self, value: Value) -> bool:
        """Whether the value lies in the domain."""
        return (
            is_number(value)
            and float(value).is_integer()
            and self.low <= value <= self.high
            and (int(value) - self.low) % self.step == 0
        )

    def grid(self, num: int) -> list[int]:
        """Return up to ``num`` values spread over the domain."""
        return list(dict.fromkeys(self.decode((i + 0.5) / num) for i in range(num)))

    def to_dict(self) -> dict[str, Value]:
        """Return the domain as in a TOML file."""
        record: dict[str, Value] = {"low": self.low, "high": self.high}
        if self.log:
            record["log"] = True
        if self.step != 1:
            record["step"] = self.step
        return record


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Args:
        options: the values; at least one, none twice.
    """

    options: tuple[Value, ...]

    def __init__(self, options: Sequence[Value]) -> None:
        if isinstance(options, str) or not isinstance(options, Sequence):
            raise SpaceError(f"choices must be a list of values; got {options!r}")
        frozen = tuple(tuple(o) if isinstance(o, list) else o for o in options)
        if not frozen:
            raise SpaceError("choices must name at least one value; got an empty list")
        if len(set(frozen)) != len(frozen):
            raise SpaceError(f"choices must not repeat a value; got {list(frozen)!r}")
        object.__setattr__(self, "options", frozen)

    def decode(self, unit: float) -> Value:
        """Map a coordinate in [0, 1) to a value."""
        return self.options[min(int(unit * len(self.options)), len(self.options) - 1)]

    def encode(self, value: Value) -> float:
        """Map a value to its coordinate in [0, 1]."""
        return (self.options.index(value) + 0.5) / len(self.options)

    def contains(self, value: Value) -> bool:
        """Whether the value is one of the options."""
        return value in self.options

    def grid(self, num: int) -> list[Value]:
        """Return every option, whatever ``num`` is."""
        del num
        return list(self.options)

    def to_dict(self) -> dict[str, Value]:
        """Return the domain as in a TOML file."""
        return {"choices": [list(o) if isinstance(o, tuple) else o for o in self.options]}


@dataclass(frozen=True)
class Switch:
    """A domain that depends on another hyperparameter's value.

    Args:
        on: name of the hyperparameter looked at; it stands before this one in the Space.
        cases: the domain for each of its values.
        default: the domain for its other values; None leaves this hyperparameter out then.
    """

    on: str
    cases: Mapping[Value, Float | Int | Choice]
    default: Float | Int | Choice | None = None

    def pick(self, values: Mapping[str, Value]) -> Float | Int | Choice | None:
        """Return the domain that holds where the earlier hyperparameters are ``values``."""
        return self.cases.get(values.get(self.on), self.default)

    def to_dict(self) -> dict[str, Value]:
        """Return the domain as in a TOML file."""
        record: dict[str, Value] = {
            "on": self.on,
            "cases": {str(k): d.to_dict() for k, d in self.cases.items()},
        }
        if self.default is not None:
            record["default"] = self.default.to_dict()
        return record

    def __hash__(self) -> int:
        return hash((self.on, tuple(self.cases.items()), self.default))


Domain = Float | Int | Choice | Switch


def _lerp(low: float, high: float, unit: float) -> float:
    return low + (high - low) * unit


def is_number(value: Value) -> bool:
    """Whether a value is a number; yes and no are none."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _check_bounds(low: float, high: float, log: bool, step: float | None) -> None:
    if not (is_number(low) and is_number(high) and math.isfinite(low) and math.isfinite(high)):
        raise SpaceError(f"low and high must be finite numbers; got low={low!r}, high={high!r}")
    if low > high:
        raise SpaceError(f"low <= high must hold; got low={low}, high={high}: swap them")
    if log and low <= 0:
        raise SpaceError(f"a log scale needs low > 0; got low={low}: raise it, or leave log out")
    if step is not None and not (is_number(step) and math.isfinite(step) and step > 0):
        raise SpaceError(f"step must be a positive number; got step={step!r}")
