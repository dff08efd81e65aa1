"""Every hyperparameter by name: what it defaults to, what it may be, whether it is structural.

A hyperparameter is *traced* (an argument of the compiled program: any value, no recompile) or
*structural* (it changes shapes or program text: each distinct combination is one ``Structure``,
compiled once).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.space.domains import Value, is_number

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
        if not is_number(value) or math.isnan(value):
            return False
        above = value > low if open_low else value >= low
        below = value < high if open_high else value <= high
        return above and below

    return check


def _one_of(options: Sequence[Value]) -> Any:
    return lambda value: value in options


def _whole(low: int, high: int) -> Any:
    return lambda value: is_number(value) and float(value).is_integer() and low <= value <= high


def _is_name(value: Value) -> bool:
    return isinstance(value, str) and value != ""


def _is_bool(value: Value) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_batch_size(value: Value) -> bool:
    return value == "full" or (is_number(value) and float(value).is_integer() and value >= 1)


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
