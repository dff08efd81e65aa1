"""Hyperparameters, their domains, and the Space and Config made of them.

A hyperparameter is *traced* (an argument of the compiled program: any value, no recompile) or
*structural* (it changes shapes or program text: each distinct combination is one ``Structure``,
compiled once). ``HYPERPARAMETERS`` says which is which.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from thalweg.errors import SpaceError, did_you_mean

Value = Any

PRIOR_WIDTH = 0.2
"""Deviation of the distribution around a prior, as a share of the range."""

ACTIVATIONS = (
    "relu",
    "sigmoid",
    "tanh",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "softplus",
    "mish",
    "identity",
)
NORMALISATIONS = ("none", "batch", "layer", "group")
INITIALISERS = (
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
)


# --------------------------------------------------------------------------------------- domains


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
            _is_number(self.prior) and self.low <= self.prior <= self.high
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
        return _is_number(value) and self.low <= value <= self.high

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
            _is_number(value)
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


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _check_bounds(low: float, high: float, log: bool, step: float | None) -> None:
    if not (_is_number(low) and _is_number(high) and math.isfinite(low) and math.isfinite(high)):
        raise SpaceError(f"low and high must be finite numbers; got low={low!r}, high={high!r}")
    if low > high:
        raise SpaceError(f"low <= high must hold; got low={low}, high={high}: swap them")
    if log and low <= 0:
        raise SpaceError(f"a log scale needs low > 0; got low={low}: raise it, or leave log out")
    if step is not None and not (_is_number(step) and math.isfinite(step) and step > 0):
        raise SpaceError(f"step must be a positive number; got step={step!r}")


# ----------------------------------------------------------------------------- hyperparameters


@dataclass(frozen=True)
class Hyperparameter:
    """What is known of one hyperparameter by name.

    Args:
        structural: whether it changes shapes or program text.
        default: its value where a Config leaves it out.
        check: tells whether a value makes sense.
        rule: the rule that ``check`` holds to, in words.
        about: one line for people.
    """

    structural: bool
    default: Value
    check: Callable[[Value], bool]
    rule: str
    about: str


def _number(low: float, high: float, *, open_low: bool = False, open_high: bool = False) -> Any:
    def check(value: Value) -> bool:
        if not _is_number(value) or math.isnan(value):
            return False
        above = value > low if open_low else value >= low
        below = value < high if open_high else value <= high
        return above and below

    return check


def _one_of(options: Sequence[Value]) -> Any:
    return lambda value: value in options


def _whole(low: int, high: int) -> Any:
    return lambda value: _is_number(value) and float(value).is_integer() and low <= value <= high


def _is_name(value: Value) -> bool:
    return isinstance(value, str) and value != ""


def _is_bool(value: Value) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_batch_size(value: Value) -> bool:
    return value == "full" or (_is_number(value) and float(value).is_integer() and value >= 1)


def _is_width(value: Value) -> bool:
    if isinstance(value, tuple | list):
        return len(value) > 0 and all(_whole(1, 65536)(w) for w in value)
    return _whole(1, 65536)(value)


_INF = math.inf
_UNIT = _number(0.0, 1.0)
_BELOW_ONE = _number(0.0, 1.0, open_high=True)
_NOT_NEGATIVE = _number(0.0, _INF)
_POSITIVE = _number(0.0, _INF, open_low=True)

HYPERPARAMETERS: dict[str, Hyperparameter] = {
    # Structural: one compiled program for each combination.
    "model": Hyperparameter(True, "mlp", _is_name, "the name of a family", "family of networks"),
    "depth": Hyperparameter(True, 2, _whole(0, 256), "a whole number from 0", "hidden layers"),
    "width": Hyperparameter(
        True, 128, _is_width, "a whole number from 1, or a list of them", "units of a hidden layer"
    ),
    "activation": Hyperparameter(
        True,
        "relu",
        _one_of(ACTIVATIONS),
        "one of " + ", ".join(ACTIVATIONS),
        "nonlinearity between layers",
    ),
    "normalisation": Hyperparameter(
        True,
        "none",
        _one_of(NORMALISATIONS),
        "one of " + ", ".join(NORMALISATIONS),
        "normalisation of hidden layers",
    ),
    "residual": Hyperparameter(True, False, _is_bool, "true or false", "skip connections"),
    "batch_size": Hyperparameter(
        True, 32, _is_batch_size, "a whole number from 1, or 'full'", "rows in a step"
    ),
    "kernel_size": Hyperparameter(
        True, 3, _whole(1, 63), "a whole number from 1", "side of a convolution's kernel"
    ),
    "head_width": Hyperparameter(
        True, 0, _whole(0, 65536), "a whole number from 0", "units before the output (0: none)"
    ),
    "bidirectional": Hyperparameter(
        True, False, _is_bool, "true or false", "recurrence in both directions"
    ),
    "memory_steps": Hyperparameter(
        True,
        0,
        _whole(0, 1_000_000),
        "a whole number from 0",
        "steps that recurrent gates remember before training",
    ),
    "num_heads": Hyperparameter(
        True, 4, _whole(1, 64), "a whole number from 1", "heads of an attention"
    ),
    "patch": Hyperparameter(
        True, 1, _whole(1, 512), "a whole number from 1", "steps that a Transformer reads as one"
    ),
    "last": Hyperparameter(
        True,
        "last",
        _one_of(("last", "mean", "max")),
        "last, mean or max",
        "what is kept of a sequence",
    ),
    "instance_norm": Hyperparameter(
        True,
        "none",
        _one_of(("none", "last", "mean_std")),
        "none, last or mean_std",
        "what is taken out of each window and put back into its forecast",
    ),
    "embedding_size": Hyperparameter(
        True, 64, _whole(1, 4096), "a whole number from 1", "length of an embedding or code"
    ),
    "window": Hyperparameter(
        True,
        128,
        _whole(0, 65536),
        "a whole number from 0",
        "tokens of a text that are read at once (0: all)",
    ),
    "layer_decay": Hyperparameter(
        True,
        0.9,
        _UNIT,
        "in [0, 1]",
        "pretrained encoder: rate of a layer relative to the one above (0: frozen)",
    ),
    # Traced: arguments of the program.
    "optimizer": Hyperparameter(False, "adam", _is_name, "the name of an optimizer", "update rule"),
    "learning_rate": Hyperparameter(
        False, None, _number(0.0, 1e6), "from 0 to 1e6", "peak learning rate"
    ),
    "momentum": Hyperparameter(False, None, _BELOW_ONE, "in [0, 1)", "decay of the velocity"),
    "b1": Hyperparameter(False, None, _BELOW_ONE, "in [0, 1)", "decay of the first moment"),
    "b2": Hyperparameter(False, None, _BELOW_ONE, "in [0, 1)", "decay of the second moment"),
    "eps": Hyperparameter(False, None, _NOT_NEGATIVE, "0 or more", "added to the denominator"),
    "weight_decay": Hyperparameter(
        False, None, _NOT_NEGATIVE, "0 or more", "decoupled weight decay"
    ),
    "l1": Hyperparameter(False, 0.0, _NOT_NEGATIVE, "0 or more", "weight of sum |w| in the loss"),
    "l2": Hyperparameter(False, 0.0, _NOT_NEGATIVE, "0 or more", "weight of sum w²/2 in the loss"),
    "dropout": Hyperparameter(False, 0.0, _BELOW_ONE, "in [0, 1)", "share of units dropped"),
    "clip_norm": Hyperparameter(
        False, _INF, _POSITIVE, "above 0", "largest global norm of the gradient"
    ),
    "clip_value": Hyperparameter(
        False, _INF, _POSITIVE, "above 0", "largest absolute value of a gradient entry"
    ),
    "label_smoothing": Hyperparameter(
        False, 0.0, _BELOW_ONE, "in [0, 1)", "share of the target spread over all classes"
    ),
    "mixup": Hyperparameter(
        False, 0.0, _NOT_NEGATIVE, "0 or more", "alpha of the Beta that mixes pairs of rows"
    ),
    "cutmix": Hyperparameter(
        False, 0.0, _UNIT, "in [0, 1]", "share of the steps whose mixup cuts out boxes instead"
    ),
    "flip": Hyperparameter(
        False, 0.0, _UNIT, "in [0, 1]", "share of the images mirrored left to right"
    ),
    "shift": Hyperparameter(
        False, 0.0, _number(0.0, 0.5), "in [0, 0.5]", "largest shift, as a share of the side"
    ),
    "rotation": Hyperparameter(
        False, 0.0, _number(0.0, 180.0), "in [0, 180]", "largest rotation in degrees"
    ),
    "zoom": Hyperparameter(
        False, 0.0, _number(0.0, 0.9), "in [0, 0.9]", "largest relative change of size"
    ),
    "cutout": Hyperparameter(
        False, 0.0, _BELOW_ONE, "in [0, 1)", "side of the square blanked out, as a share"
    ),
    "brightness": Hyperparameter(
        False, 0.0, _NOT_NEGATIVE, "0 or more", "largest change of brightness in deviations"
    ),
    "contrast": Hyperparameter(
        False, 0.0, _BELOW_ONE, "in [0, 1)", "largest relative change of contrast"
    ),
    "token_dropout": Hyperparameter(
        False, 0.0, _BELOW_ONE, "in [0, 1)", "share of the words that become unknown"
    ),
    "token_swap": Hyperparameter(
        False, 0.0, _BELOW_ONE, "in [0, 1)", "share of the words that change places with the next"
    ),
    "time_mask": Hyperparameter(
        False, 0.0, _BELOW_ONE, "in [0, 1)", "longest stretch of a recording masked, as a share"
    ),
    "frequency_mask": Hyperparameter(
        False, 0.0, _BELOW_ONE, "in [0, 1)", "widest range of bands masked, as a share"
    ),
    "time_shift": Hyperparameter(
        False, 0.0, _UNIT, "in [0, 1]", "latest start of a recording, as a share of the length"
    ),
    "time_stretch": Hyperparameter(
        False, 0.0, _number(0.0, 0.9), "in [0, 0.9]", "largest relative change of speed"
    ),
    "frequency_warp": Hyperparameter(
        False, 0.0, _number(0.0, 0.5), "in [0, 0.5]", "largest relative change of frequencies"
    ),
    "background_noise": Hyperparameter(
        False, 0.0, _NOT_NEGATIVE, "0 or more", "largest power of noise, relative to the recording"
    ),
    "gain": Hyperparameter(
        False, 0.0, _NOT_NEGATIVE, "0 or more", "largest change of loudness in decibels"
    ),
    "input_noise": Hyperparameter(
        False, 0.0, _NOT_NEGATIVE, "0 or more", "deviation of Gaussian noise on numeric inputs"
    ),
    "init": Hyperparameter(
        False,
        "he_normal",
        _one_of(INITIALISERS),
        "one of " + ", ".join(INITIALISERS),
        "initialiser of the weights",
    ),
    "init_scale": Hyperparameter(
        False, 1.0, _NOT_NEGATIVE, "0 or more", "factor on the initial weights"
    ),
    "schedule": Hyperparameter(
        False, "constant", _is_name, "the name of a schedule", "course of the learning rate"
    ),
    "warmup": Hyperparameter(
        False, 0.0, _UNIT, "in [0, 1]", "share of the steps over which the rate rises"
    ),
    "ema": Hyperparameter(
        False, 0.0, _BELOW_ONE, "in [0, 1)", "decay of the averaged weights that are evaluated"
    ),
    "class_weight": Hyperparameter(
        False, 0.0, _UNIT, "in [0, 1]", "power of the inverse class frequency in the loss"
    ),
    "loss": Hyperparameter(False, None, lambda v: v is None or _is_name(v), "a loss", "loss"),
    "focal_gamma": Hyperparameter(
        False, 2.0, _NOT_NEGATIVE, "0 or more", "focusing exponent of the focal loss"
    ),
    "beta": Hyperparameter(
        False, 1.0, _NOT_NEGATIVE, "0 or more", "weight of a code's divergence from its prior"
    ),
    "margin": Hyperparameter(
        False, 0.3, _POSITIVE, "above 0", "by how much a triplet's negative should be farther"
    ),
    "temperature": Hyperparameter(
        False, 0.1, _POSITIVE, "above 0", "what the contrastive loss divides similarities by"
    ),
    "huber_delta": Hyperparameter(
        False, 1.0, _POSITIVE, "above 0", "where the Huber loss turns linear (scaled targets)"
    ),
    "quantile": Hyperparameter(
        False, 0.5, _number(0, 1, open_low=True, open_high=True), "in (0, 1)", "quantile predicted"
    ),
}
"""Every hyperparameter that Thalweg's own families, rules, schedules and losses read."""


STRUCTURAL_OPTIONS = (
    "kernel_size",
    "head_width",
    "bidirectional",
    "memory_steps",
    "num_heads",
    "patch",
    "last",
    "instance_norm",
    "embedding_size",
    "window",
    "layer_decay",
)
"""Structural hyperparameters that only some families read."""


def _owned(name_rules: dict[str, str]) -> dict[str, Hyperparameter]:
    """Return numeric hyperparameters whose default and range are their owner's."""
    return {
        name: Hyperparameter(False, None, _number(-_INF, _INF), "a number", about)
        for name, about in name_rules.items()
    }


# Rules and schedules define these (and check their ranges); here they only get their names.
HYPERPARAMETERS |= _owned(
    {
        "initial_accumulator": "Adagrad, Yogi: first value of the squared average",
        "momentum_decay": "NAdam in torch's form: decay of the momentum",
        "threshold": "RAdam: length of the average from which it is rectified",
        "eps_root": "AdaBelief: constant added to the variance at every step",
        "final_lr": "AdaBound: the SGD rate that it ends with",
        "gamma": "AdaBound: speed at which its bounds close",
        "trust_coefficient": "LARS: factor on the trust ratio",
        "final_factor": "schedules: last rate as a share of the peak",
        "initial_factor": "one_cycle: first rate as a share of the peak",
        "decay_rate": "step: factor at each drop",
        "step_fraction": "step: share of the steps between drops",
        "power": "polynomial: exponent",
        "num_cycles": "cosine_restarts: number of cycles",
        "stable": "warmup_stable_decay: share of the steps at the peak",
        "plateau_factor": "reduce_on_plateau: factor at each reduction",
        "plateau_patience": "reduce_on_plateau: evaluations without improvement",
        "plateau_cooldown": "reduce_on_plateau: evaluations of rest after a reduction",
        "plateau_rtol": "reduce_on_plateau: relative improvement that counts",
        "plateau_atol": "reduce_on_plateau: absolute improvement that counts",
        "rho": "SAM: radius of the neighbourhood",
        "b3": "Adan: decay of the squared average; AdEMAMix: decay of the slow average",
        "alpha": "AdEMAMix: weight of the slow average",
    }
)


# ------------------------------------------------------------------------------ Config, Structure


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
        self._values = {name: _checked(name, value) for name, value in merged.items()}
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


def _checked(name: str, value: Value) -> Value:
    known = HYPERPARAMETERS.get(name)
    if known is None:
        hint = did_you_mean(name, HYPERPARAMETERS)
        raise SpaceError(f"{name!r} is not a hyperparameter{hint or '; see thalweg info --space'}")
    if isinstance(value, np.generic):
        value = value.item()
    if value == "inf" and name.startswith("clip"):
        value = _INF
    if isinstance(value, list):
        value = tuple(value)
    if not known.check(value):
        raise SpaceError(f"{name} must be {known.rule}; got {value!r}")
    return value


# -------------------------------------------------------------------------------------------- Space


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
                    _checked(name, value)
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
        if _is_number(low) and _is_number(high):
            low, high = float(low), float(high)
        return Float(low, high, log=log, step=step, prior=value.get("prior"))
    except SpaceError as error:
        raise SpaceError(f"{name}: {error}") from None
