"""A Config, one point of a Space, and the Structure that it is compiled to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thalweg.errors import SpaceError, did_you_mean
from thalweg.space.domains import Value
from thalweg.space.hyperparameters import HYPERPARAMETERS, STRUCTURAL_OPTIONS

_WITHOUT_LAYERS = ("linear", "dlinear", "bias")
"""Families that have no hidden layers."""


@dataclass(frozen=True)
class Structure:
    """The structural part of a Config: one compiled program each."""

    model: str = "mlp"
    depth: int = 2
    width: int | tuple[int, ...] = 128
    activation: str = "relu"
    normalisation: str = "none"
    residual: bool = False
    batch_size: int | str = 32
    external: str | None = None
    options: tuple[tuple[str, Value], ...] = ()

    def get(self, name: str) -> Value:
        """Return the value of a structural hyperparameter that only some families have."""
        return dict(self.options).get(name, HYPERPARAMETERS[name].default)

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of each hidden layer."""
        return self.width if isinstance(self.width, tuple) else (self.width,) * self.depth

    @property
    def name(self) -> str:
        """A short name for tables, such as ``mlp-2x128-relu-b32``."""
        parts = [self.model]
        if self.model not in _WITHOUT_LAYERS:
            same = len(set(self.widths)) <= 1
            shape = f"{self.depth}x{self.widths[0]}" if same and self.widths else ""
            parts.append(shape or "-".join(map(str, self.widths)) or "0")
            parts.append(self.activation)
            if self.normalisation != "none":
                parts.append(self.normalisation)
            if self.residual:
                parts.append("residual")
        parts += [_shortly(name, value) for name, value in self.options if value != _usual(name)]
        parts.append("full" if self.batch_size == "full" else f"b{self.batch_size}")
        if self.external:
            parts.append(self.external)
        return "-".join(parts)


def _usual(name: str) -> Value:
    """Return the value of a structural option that a name need not mention."""
    return HYPERPARAMETERS[name].default


def _shortly(name: str, value: Value) -> str:
    """Return an option for a structure's name: ``bidirectional``, ``embedding64``, ``last=max``."""
    if value is True:
        return name
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{name.removeprefix('num_').removesuffix('_size').removesuffix('_width')}{value}"
    return f"{name}={value}"


class Config(Mapping[str, Value]):
    """One point of a Space: hyperparameter names to values.

    Only what is given is stored; ``get_or_default`` fills in the rest from ``HYPERPARAMETERS``.

    Args:
        values: a mapping, keywords, or both (keywords win).

    Raises:
        SpaceError: for a name that is not known or a value that makes no sense.

    Example:
        >>> Config(optimizer="adam", learning_rate=0.01).get_or_default("batch_size")
        32
    """

    __slots__ = ("_hash", "_values")

    def __init__(self, values: Mapping[str, Value] | None = None, **keywords: Value) -> None:
        merged = {**(values or {}), **keywords}
        self._values = {name: checked(name, value) for name, value in merged.items()}
        self._hash: int | None = None

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._values.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and self._values == dict(other)

    def __repr__(self) -> str:
        return "Config(" + ", ".join(f"{k}={v!r}" for k, v in self._values.items()) + ")"

    def get_or_default(self, name: str) -> Value:
        """Return the value of ``name``, or what it is where a Config leaves it out."""
        if name in self._values:
            return self._values[name]
        return HYPERPARAMETERS[name].default

    def with_values(self, **values: Value) -> Config:
        """Return a Config with some values replaced or added."""
        return Config(self._values, **values)

    def structure(self, external: Sequence[str] = ()) -> Structure:
        """Return the structural part.

        Args:
            external: the optimizers that are structural; any other is a row of the rule table.
        """
        get = self.get_or_default
        width = get("width")
        depth = len(width) if isinstance(width, tuple) else get("depth")
        optimizer = get("optimizer")
        chosen = optimizer if optimizer in external else None
        if get("model") in _WITHOUT_LAYERS:
            return Structure(
                model=get("model"), depth=0, width=(), batch_size=get("batch_size"), external=chosen
            )
        return Structure(
            model=get("model"),
            depth=depth,
            width=width,
            activation=get("activation"),
            normalisation=get("normalisation"),
            residual=get("residual"),
            batch_size=get("batch_size"),
            external=chosen,
            options=tuple(
                (name, self._values[name]) for name in STRUCTURAL_OPTIONS if name in self._values
            ),
        )

    def to_dict(self) -> dict[str, Value]:
        """Return the values as JSON-able ones (infinity as the string ``"inf"``)."""
        return {name: _plain(value) for name, value in self._values.items()}


def _plain(value: Value) -> Value:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    return value


def checked(name: str, value: Value) -> Value:
    """Return a hyperparameter's value in plain Python.

    Raises:
        SpaceError: the name is not known, or the value makes no sense.
    """
    known = HYPERPARAMETERS.get(name)
    if known is None:
        hint = did_you_mean(name, HYPERPARAMETERS)
        raise SpaceError(f"{name!r} is not a hyperparameter{hint or '; see thalweg info --space'}")
    if isinstance(value, np.generic):
        value = value.item()
    if value == "inf" and name.startswith("clip"):
        value = math.inf
    if isinstance(value, list):
        value = tuple(value)
    if not known.check(value):
        raise SpaceError(f"{name} must be {known.rule}; got {value!r}")
    return value
