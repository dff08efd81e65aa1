"""The Space: hyperparameters with their domains, from Python or a TOML file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.errors import SpaceError, did_you_mean
from thalweg.space.config import Config, checked
from thalweg.space.domains import Choice, Domain, Float, Int, Switch, Value, is_number
from thalweg.space.hyperparameters import HYPERPARAMETERS


class Space(Mapping[str, Domain]):
    """The hyperparameters of a study with their domains.

    Args:
        domains: name to ``Float``, ``Int``, ``Choice`` or ``Switch``, or to a plain value, which
            is then fixed.

    Raises:
        SpaceError: for unknown names, values that make no sense, or a ``Switch`` on something
            that does not stand before it.

    Example:
        >>> space = Space(learning_rate=Float(1e-4, 1e-1, log=True), optimizer=Choice(["adam"]))
        >>> space.decode([[0.5, 0.0]])[0]["optimizer"]
        'adam'
    """

    def __init__(self, domains: Mapping[str, Any] | None = None, **keywords: Any) -> None:
        merged = {**(domains or {}), **keywords}
        self._domains: dict[str, Domain] = {}
        for name, domain in merged.items():
            made = domain if isinstance(domain, Float | Int | Choice | Switch) else Choice([domain])
            if isinstance(made, Switch) and made.on not in self._domains:
                raise SpaceError(
                    f"{name} depends on {made.on!r}, which must stand before it in the space; "
                    f"it stands {'after it' if made.on in merged else 'nowhere'}"
                )
            for leaf in leaves(made):
                for value in _extremes(leaf):
                    checked(name, value)
            self._domains[name] = made

    def __getitem__(self, name: str) -> Domain:
        return self._domains[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._domains)

    def __len__(self) -> int:
        return len(self._domains)

    def __repr__(self) -> str:
        return "Space(" + ", ".join(f"{k}={v!r}" for k, v in self._domains.items()) + ")"

    @cached_property
    def free(self) -> tuple[str, ...]:
        """Names whose domain has more than one value, in order: the axes of ``decode``."""
        return tuple(name for name, domain in self._domains.items() if not _is_fixed(domain))

    def decode(self, units: Any) -> list[Config]:
        """Map points of the unit cube to Configs.

        Args:
            units: array [N, len(free)] with entries in [0, 1).

        Returns:
            N Configs; hyperparameters that a ``Switch`` leaves out are absent.
        """
        configs = []
        for row in np.asarray(units, dtype=float).reshape(-1, max(len(self.free), 1)):
            unit_of = dict(zip(self.free, row, strict=False))
            values: dict[str, Value] = {}
            for name, domain in self._domains.items():
                leaf = domain.pick(values) if isinstance(domain, Switch) else domain
                if leaf is not None:
                    values[name] = leaf.decode(float(unit_of.get(name, 0.5)))
            configs.append(Config(values))
        return configs

    def encode(self, config: Mapping[str, Value]) -> np.ndarray:
        """Map a Config to its point of the unit cube, [len(free)]; absent values are NaN."""
        point = np.full(len(self.free), np.nan)
        for axis, name in enumerate(self.free):
            domain = self._domains[name]
            leaf = domain.pick(config) if isinstance(domain, Switch) else domain
            if leaf is not None and name in config:
                point[axis] = leaf.encode(config[name])
        return point

    def contains(self, config: Mapping[str, Value]) -> bool:
        """Whether every value of the Config lies in its domain."""
        for name, value in config.items():
            domain = self._domains.get(name)
            leaf = domain.pick(config) if isinstance(domain, Switch) else domain
            if leaf is None or not leaf.contains(value):
                return False
        return True

    def with_domains(self, **domains: Any) -> Space:
        """Return a Space with some domains replaced or added."""
        return Space({**self._domains, **domains})

    def to_dict(self) -> dict[str, Value]:
        """Return the Space as JSON-able values, in the form of a TOML file."""
        return {name: domain.to_dict() for name, domain in self._domains.items()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Value]) -> Space:
        """Build a Space from the form of a TOML file (see ``load``)."""
        domains: dict[str, Any] = {}
        for name, value in record.items():
            domains[name] = _domain_from(name, value, domains)
        return cls(domains)

    @classmethod
    def load(cls, path: str | Path) -> Space:
        """Read a Space from a TOML or JSON file.

        Each hyperparameter is a table with ``low`` and ``high`` (and ``log``, ``step``), or with
        ``choices``, or a plain value; ``when = {optimizer = ["sgd"]}`` makes it conditional, and
        ``on``/``cases``/``default`` give it a domain for each value of another.

        Raises:
            SpaceError: where the file cannot be read or says something impossible.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            record = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except OSError as error:
            raise SpaceError(f"the space file {path} cannot be read: {error.strerror}") from None
        except (ValueError, UnicodeDecodeError) as error:
            raise SpaceError(f"the space file {path} is not valid: {error}") from None
        if isinstance(record, dict):
            record = record.get("space", record)
        if not isinstance(record, dict):
            raise SpaceError(f"the space file {path} must hold a table of hyperparameters")
        return cls.from_dict(record)


def _is_fixed(domain: Domain) -> bool:
    if isinstance(domain, Switch):
        return all(_is_fixed(leaf) for leaf in leaves(domain))
    if isinstance(domain, Choice):
        return len(domain.options) == 1
    return domain.low == domain.high


def leaves(domain: Domain) -> list[Float | Int | Choice]:
    """Return the domains that a domain may turn out to be: itself, or a Switch's cases."""
    if not isinstance(domain, Switch):
        return [domain]
    return [*domain.cases.values(), *([domain.default] if domain.default is not None else [])]


def _extremes(leaf: Float | Int | Choice) -> tuple[Value, ...]:
    return leaf.options if isinstance(leaf, Choice) else (leaf.low, leaf.high)


_DOMAIN_KEYS = {
    "low",
    "high",
    "log",
    "step",
    "prior",
    "choices",
    "when",
    "on",
    "cases",
    "default",
    "value",
}


def _domain_from(name: str, value: Value, before: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return Choice(value)
    if not isinstance(value, Mapping):
        return value
    unknown = set(value) - _DOMAIN_KEYS
    if unknown:
        key = sorted(unknown)[0]
        raise SpaceError(
            f"{name} has the unknown key {key!r}{did_you_mean(key, _DOMAIN_KEYS)}"
            f" (keys: {', '.join(sorted(_DOMAIN_KEYS))})"
        )
    if "cases" in value:
        if "on" not in value:
            raise SpaceError(
                f"{name} has cases but not the hyperparameter they depend on: add 'on'"
            )
        default, on = value.get("default"), value["on"]
        _check_cases(name, on, value["cases"], before.get(on))
        if not isinstance(value["cases"], Mapping):
            raise SpaceError(
                f"cases of {name} must be a table from values of {on} to domains; "
                f"got {value['cases']!r}"
            )
        return Switch(
            on,
            {
                _case(key, before.get(on)): _leaf_from(name, leaf)
                for key, leaf in value["cases"].items()
            },
            None if default is None else _leaf_from(name, default),
        )
    if "when" in value:
        when = value["when"]
        if not isinstance(when, Mapping) or len(when) != 1:
            raise SpaceError(
                f"'when' of {name} must name one hyperparameter and its values, such as "
                f'when = {{ optimizer = ["sgd"] }}; got {when!r}'
            )
        (on, values), *_ = when.items()
        _check_cases(name, on, values if isinstance(values, list) else [values], before.get(on))
        leaf = _leaf_from(name, {k: v for k, v in value.items() if k != "when"})
        return Switch(on, dict.fromkeys(values if isinstance(values, list) else [values], leaf))
    return _leaf_from(name, value)


def _check_cases(name: str, on: str, cases: Any, domain: Any) -> None:
    """Refuse cases that never come up."""
    if not isinstance(domain, Float | Int | Choice | Switch) or not isinstance(cases, Iterable):
        return
    found = leaves(domain)
    if not all(isinstance(leaf, Choice) for leaf in found):
        return
    options = [o for leaf in found if isinstance(leaf, Choice) for o in leaf.options]
    known = {str(o) for o in options} | {str(o).lower() for o in options}
    for case in cases:
        if str(case) not in known:
            raise SpaceError(
                f"{name} depends on {on} = {case!r}, which {on} never is"
                f"{did_you_mean(str(case), sorted(known))} ({on}: "
                f"{', '.join(str(o) for o in options)})"
            )


def _case(key: str, domain: Any) -> Value:
    """Return the value that a case stands for: the keys of a TOML table are always text."""
    for leaf in leaves(domain) if isinstance(domain, Float | Int | Choice | Switch) else []:
        options = leaf.options if isinstance(leaf, Choice) else ()
        if isinstance(leaf, Int):
            options = range(leaf.low, leaf.high + 1, leaf.step)
        for option in options:
            if key in (str(option), str(option).lower()):
                return option
    return key


def _leaf_from(name: str, value: Value) -> Float | Int | Choice:
    if isinstance(value, list):
        return Choice(value)
    if not isinstance(value, Mapping):
        return Choice([value])
    try:
        if "choices" in value:
            return Choice(value["choices"])
        if "value" in value:
            return Choice([value["value"]])
        if "low" not in value or "high" not in value:
            raise SpaceError("a domain needs low and high, or choices")
        low, high = value["low"], value["high"]
        log, step = bool(value.get("log", False)), value.get("step")
        known = HYPERPARAMETERS.get(name)
        whole = all(isinstance(v, int) for v in (low, high, step if step is not None else 1))
        if whole and known is not None and known.structural:
            if "prior" in value:
                raise SpaceError("a prior is for ranges of real numbers: leave it out")
            return Int(low, high, log=log, step=1 if step is None else step)
        if is_number(low) and is_number(high):
            low, high = float(low), float(high)
        return Float(low, high, log=log, step=step, prior=value.get("prior"))
    except SpaceError as error:
        raise SpaceError(f"{name}: {error}") from None
