r"""The rows of the coefficient table: every first-order update rule as scalars of one update.

For one parameter array ``p`` with gradient ``g`` and state ``m, v, w`` (each kept only where some
rule in use needs it), the elementwise update of :mod:`thalweg.optim.rules` is

.. code-block:: text

    m' = m_a·m + m_b·g
    s  = (|g + s_m·m'| + s_0)²
    v' = max(v_max·v, v_a·v + v_b·s·sign(s − yogi·v) + v_0)
    x  = max(x_w·w, x_v·v' − x_m·m'²)
    n  = n_g·g + n_m·m'
    k  = k_0 + k_w·w
    u  = n·k/clip(√(k·(x + e_in)) + sign·|n| + e_out, d_low, d_high)
    r  = trust·(u + λ·p)                      trust = 1 and λ = 0 except LAMB and LARS
    w' = w_x·max(w, x_v·v') + w_a·w + w_u·u² + γ·r              γ = w_r + w_z·η
    p' = p − (η − κ·γ)·r − η·weight_decay·p − κ·w'               κ = p_w + p_z·η

Everything with an index is a coefficient, η is ``learning_rate``. A row gives its coefficients as
functions of the step ``t`` (counted from 1) and of its hyperparameters; those that it leaves out
are neutral, and what no row in use sets is left out of the compiled program. Everything here is
float64 NumPy on the host: bias corrections are exact, and no hyperparameter is ever compiled in.

Some rewriting keeps the update to one root and one quotient for each element. Bias corrections move
out of the root, into the numerator and epsilon: ``√(v/c) + ε = (√v + √c·ε)/√c``. Adadelta's
quotient of roots becomes the root of a product:
``√(w + ε)/√(v + ε) = (w + ε)/√((w + ε)·(v + ε))``. Adamax keeps the square of its infinity norm.
AdaBound's limits of a step size become limits of the denominator. A sign is ``n/|n|``, 0/0 = 0.

``weight_decay`` is decoupled for every rule (Loshchilov and Hutter, "Decoupled weight decay
regularization", 2019; times the learning rate, as in Optax and torch) except for LAMB and LARS,
whose definitions put it inside the trust ratio.

Where Optax and torch differ, the plain name is Optax's rule and ``*_torch`` is torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["NEUTRAL", "RULES", "Rule"]

Array = np.ndarray
Hyperparameters = Mapping[str, Array]
Coefficients = dict[str, Any]

TINY = float(np.finfo(np.float32).tiny)
HUGE = float(np.finfo(np.float32).max)

NEUTRAL: dict[str, float] = {
    "learning_rate": 0.0,
    "weight_decay": 0.0,
    "m_a": 0.0,
    "m_b": 0.0,
    "s_m": 0.0,
    "s_0": 0.0,
    "v_max": 0.0,
    "v_a": 0.0,
    "v_b": 0.0,
    "v_0": 0.0,
    "yogi": 0.0,
    "x_w": 0.0,
    "x_v": 1.0,
    "x_m": 0.0,
    "n_g": 0.0,
    "n_m": 0.0,
    "k_0": 1.0,
    "k_w": 0.0,
    "e_in": 0.0,
    "sign": 0.0,
    "e_out": 0.0,
    "d_low": 0.0,
    "d_high": HUGE,
    "trust": 0.0,
    "trust_coefficient": 1.0,
    "trust_eps": 0.0,
    "w_x": 0.0,
    "w_a": 0.0,
    "w_u": 0.0,
    "w_r": 0.0,
    "w_z": 0.0,
    "p_w": 0.0,
    "p_z": 0.0,
}
"""Every coefficient with the value at which it does nothing, in the order of a stacked table."""


@dataclass(frozen=True)
class Rule:
    """One row of the table.

    Attributes:
        name: The kind, as a Config's ``optimizer`` names it.
        coefficients: ``(t, hp) -> {name: array}``; ``t`` is float64 [T, K] counting steps from 1,
            ``hp`` maps each hyperparameter to float64 [K]; results broadcast to [T, K]; those left
            out are neutral. ``hp["learning_rate"]`` is the base rate, before any schedule.
        hyperparameters: Own hyperparameters with their defaults.
        learning_rate: A usual learning rate, for a default.
        source: Where the rule comes from.
        initial: ``hp -> {"m": [K], "v": [K]}`` for state that does not start at zero.
    """

    name: str
    coefficients: Callable[[Array, Hyperparameters], Coefficients]
    hyperparameters: Mapping[str, float]
    learning_rate: float
    source: str
    initial: Callable[[Hyperparameters], dict[str, Array]] = field(default=lambda hp: {})


def _correction(b: Array, t: Array) -> Array:
    """Return ``1 − bᵗ`` without cancellation for ``b`` near 1."""
    with np.errstate(divide="ignore"):
        return -np.expm1(t * np.log(b))


def _corrections(t: Array, hp: Hyperparameters) -> tuple[Array, Array]:
    """Return ``1 − b1ᵗ`` and ``√(1 − b2ᵗ)``."""
    return _correction(hp["b1"], t), np.sqrt(_correction(hp["b2"], t))


def _averages(hp: Hyperparameters) -> Coefficients:
    """``m' = b1·m + (1 − b1)·g`` and ``v' = b2·v + (1 − b2)·g²``."""
    return {"m_a": hp["b1"], "m_b": 1 - hp["b1"], "v_a": hp["b2"], "v_b": 1 - hp["b2"]}


def _sgd(t: Array, hp: Hyperparameters) -> Coefficients:
    """``u = g``."""
    return {"n_g": 1.0, "e_out": 1.0}


def _momentum(t: Array, hp: Hyperparameters) -> Coefficients:
    """``m' = μ·m + g``, ``u = m'`` (heavy ball)."""
    return {"m_a": hp["momentum"], "m_b": 1.0, "n_m": 1.0, "e_out": 1.0}


def _nesterov(t: Array, hp: Hyperparameters) -> Coefficients:
    """``m' = μ·m + g``, ``u = g + μ·m'``."""
    return _momentum(t, hp) | {"n_g": 1.0, "n_m": hp["momentum"]}


def _signsgd(t: Array, hp: Hyperparameters) -> Coefficients:
    """``u = sign(g)``."""
    return {"n_g": 1.0, "sign": 1.0, "e_out": TINY}


def _signum(t: Array, hp: Hyperparameters) -> Coefficients:
    """``m' = μ·m + (1 − μ)·g``, ``u = sign(m')``."""
    mu = hp["momentum"]
    return {"m_a": mu, "m_b": 1 - mu, "n_m": 1.0, "sign": 1.0, "e_out": TINY}


def _lion(t: Array, hp: Hyperparameters) -> Coefficients:
    """``u = sign(b1·m + (1 − b1)·g)``, ``m' = b2·m + (1 − b2)·g``.

    From the new average: ``b2·(b1·m + (1 − b1)·g) = b1·m' + (b2 − b1)·g``, which has the same sign
    and, for b2 >= b1, as little cancellation.
    """
    b1, b2 = hp["b1"], hp["b2"]
    return {"m_a": b2, "m_b": 1 - b2, "n_g": b2 - b1, "n_m": b1, "sign": 1.0, "e_out": TINY}


def _adagrad(t: Array, hp: Hyperparameters) -> Coefficients:
    """``v' = v + g²``, ``u = g/√(v' + ε)``."""
    return {"n_g": 1.0, "v_a": 1.0, "v_b": 1.0, "e_in": hp["eps"]}


def _adagrad_torch(t: Array, hp: Hyperparameters) -> Coefficients:
    """``v' = v + g²``, ``u = g/(√v' + ε)``."""
    return {"n_g": 1.0, "v_a": 1.0, "v_b": 1.0, "e_out": hp["eps"]}


def _adadelta(t: Array, hp: Hyperparameters) -> Coefficients:
    """``v' = b2·v + (1 − b2)·g²``, ``u = g·√(w + ε)/√(v' + ε)``, ``w' = b2·w + (1 − b2)·u²``."""
    b2, eps = hp["b2"], hp["eps"]
    averages = {"v_a": b2, "v_b": 1 - b2, "w_a": b2, "w_u": 1 - b2}
    return averages | {"n_g": 1.0, "e_in": eps, "k_0": eps, "k_w": 1.0}


def _rmsprop(
    centered: bool, momentum: bool, torch: bool
) -> Callable[[Array, Hyperparameters], Coefficients]:
    """``v' = b2·v + (1 − b2)·g²``, ``u = g/√(v' + ε)``; ε is outside the root in torch.

    Centred: ``m' = b2·m + (1 − b2)·g`` and ``v' − m'²`` in place of ``v'``. With momentum:
    ``w' = μ·w + η·u``, ``p' = p − w'``; in torch ``w' = μ·w + u``, ``p' = p − η·w'``.
    """

    def coefficients(t: Array, hp: Hyperparameters) -> Coefficients:
        b2 = hp["b2"]
        row: Coefficients = {"n_g": 1.0, "v_a": b2, "v_b": 1 - b2}
        row["e_out" if torch else "e_in"] = hp["eps"]
        if centered:
            row |= {"m_a": b2, "m_b": 1 - b2, "x_m": 1.0}
        if momentum:
            mu = hp["momentum"]
            row |= {"w_a": mu} | ({"w_r": 1.0, "p_z": 1.0} if torch else {"w_z": 1.0, "p_w": 1.0})
        return row

    return coefficients


def _adam(t: Array, hp: Hyperparameters) -> Coefficients:
    """``u = m̂/(√v̂ + ε)`` with ``m̂ = m'/(1 − b1ᵗ)`` and ``v̂ = v'/(1 − b2ᵗ)``."""
    c1, root2 = _corrections(t, hp)
    return _averages(hp) | {"n_m": root2 / c1, "e_out": root2 * hp["eps"]}


def _amsgrad(t: Array, hp: Hyperparameters) -> Coefficients:
    """``w' = max(w, v̂)``, ``u = m̂/(√w' + ε)``: the maximum of the corrected average (Optax)."""
    c1, root2 = _corrections(t, hp)
    maximum = {"x_v": root2**-2, "x_w": 1.0, "w_x": 1.0}
    return _averages(hp) | maximum | {"n_m": 1 / c1, "e_out": hp["eps"]}


def _amsgrad_torch(t: Array, hp: Hyperparameters) -> Coefficients:
    """``w' = max(w, v')``, ``u = m̂/(√(w'/(1 − b2ᵗ)) + ε)``: the maximum of the raw average."""
    return _adam(t, hp) | {"x_w": 1.0, "w_x": 1.0}


def _adamax(t: Array, hp: Hyperparameters) -> Coefficients:
    """``y' = max(b2·y, |g| + ε)``, ``u = m̂/y'``; kept as ``v = y²``."""
    b1, b2 = hp["b1"], hp["b2"]
    norm = {"s_0": hp["eps"], "v_max": b2 * b2, "v_b": 1.0}
    return norm | {"m_a": b1, "m_b": 1 - b1, "n_m": 1 / _correction(b1, t)}


def _nadam(t: Array, hp: Hyperparameters) -> Coefficients:
    """``u = (b1·m'/(1 − b1ᵗ⁺¹) + (1 − b1)·g/(1 − b1ᵗ))/(√v̂ + ε)``."""
    b1 = hp["b1"]
    c1, root2 = _corrections(t, hp)
    ahead = root2 * b1 / _correction(b1, t + 1)
    return _adam(t, hp) | {"n_g": (1 - b1) * root2 / c1, "n_m": ahead}


def _nadam_torch(t: Array, hp: Hyperparameters) -> Coefficients:
    """``u = (μₜ₊₁·m'/(1 − μ₁⋯μₜ₊₁) + (1 − μₜ)·g/(1 − μ₁⋯μₜ))/(√v̂ + ε)``.

    ``μₜ = b1·(1 − ½·0.96^(t·momentum_decay))``.
    """
    b1, decay = hp["b1"], hp["momentum_decay"]
    _, root2 = _corrections(t, hp)

    def mu(step: Array) -> Array:
        return b1 * (1 - 0.5 * 0.96 ** (step * decay))

    # After `last` steps the product is below b1**last < 1e-20 and no longer matters.
    last = np.ceil(-46.1 / np.log(np.clip(np.max(b1), 1e-9, 1 - 1e-6)))
    history = np.arange(1.0, min(float(np.max(t)), last) + 1)[:, None]
    products = np.cumprod(mu(history), axis=0)
    index = np.minimum(t, len(products)).astype(int) - 1
    product = np.take_along_axis(products, index, axis=0)
    now = root2 * (1 - mu(t)) / (1 - product)
    ahead = root2 * mu(t + 1) / (1 - product * mu(t + 1))
    return _adam(t, hp) | {"n_g": now, "n_m": ahead}


def _radam(torch: bool) -> Callable[[Array, Hyperparameters], Coefficients]:
    """``u = r·m̂/(√v̂ + ε)`` where the average is as long as the threshold, else ``u = m̂``.

    ``ρ = ρ∞ − 2·t·b2ᵗ/(1 − b2ᵗ)``, ``ρ∞ = 2/(1 − b2) − 1``,
    ``r² = (ρ − 4)·(ρ − 2)·ρ∞/((ρ∞ − 4)·(ρ∞ − 2)·ρ)``. torch adds ε before the correction of v.
    """

    def coefficients(t: Array, hp: Hyperparameters) -> Coefficients:
        b2 = hp["b2"]
        c1, root2 = _corrections(t, hp)
        longest = 2 / (1 - b2) - 1
        length = longest - 2 * t * b2**t / root2**2
        long = length > 5 if torch else length >= hp["threshold"]
        with np.errstate(invalid="ignore", divide="ignore"):
            square = (length - 4) * (length - 2) * longest
            r = np.sqrt(square / ((longest - 4) * (longest - 2) * length))
        eps = hp["eps"] if torch else root2 * hp["eps"]
        return _averages(hp) | {
            "n_m": np.where(long, r * root2, 1.0) / c1,
            "x_v": np.where(long, 1.0, 0.0),
            "e_out": np.where(long, eps, 1.0),
        }

    return coefficients


def _adabelief(t: Array, hp: Hyperparameters) -> Coefficients:
    """``v' = b2·v + (1 − b2)·(g − m')² + ε_root``, ``u = m̂/(√v̂ + ε)``."""
    return _adam(t, hp) | {"s_m": -1.0, "v_0": hp["eps_root"]}


def _yogi(t: Array, hp: Hyperparameters) -> Coefficients:
    """``v' = v − (1 − b2)·sign(v − g²)·g²``, ``u = m̂/(√v̂ + ε)``."""
    return _adam(t, hp) | {"v_a": 1.0, "yogi": 1.0}


def _adabound(t: Array, hp: Hyperparameters) -> Coefficients:
    """``p' = p − clip(η·√(1 − b2ᵗ)/(1 − b1ᵗ)/(√v' + ε), low, high)·m'``.

    ``low = final·(1 − 1/(γ·t + 1))``, ``high = final·(1 + 1/(γ·t))``, and ``final`` is ``final_lr``
    scaled by the schedule, as in the authors' code.
    """
    c1, root2 = _corrections(t, hp)
    # What is clipped here is √v' + ε, between what the bounds leave of the factor in front of it.
    rate = hp["learning_rate"]
    unit = rate / hp["final_lr"] * root2 / c1
    with np.errstate(divide="ignore", invalid="ignore"):
        low = unit / (1 + 1 / (hp["gamma"] * t))
        high = np.where(rate > 0, unit / (1 - 1 / (hp["gamma"] * t + 1)), HUGE)
    bounds = {"d_low": low, "d_high": high}
    return _averages(hp) | bounds | {"n_m": root2 / c1, "e_out": hp["eps"]}


def _amsbound(t: Array, hp: Hyperparameters) -> Coefficients:
    """AdaBound with ``w' = max(w, v')`` in place of ``v'``."""
    return _adabound(t, hp) | {"x_w": 1.0, "w_x": 1.0}


def _lamb(t: Array, hp: Hyperparameters) -> Coefficients:
    """``r = u + λ·p`` with Adam's ``u``; ``p' = p − η·‖p‖/‖r‖·r`` for each array."""
    return _adam(t, hp) | {"trust": 1.0}


def _lars(t: Array, hp: Hyperparameters) -> Coefficients:
    """``r = g + λ·p``; ``w' = μ·w + η·κ·‖p‖/(‖r‖ + ε)·r`` for each array; ``p' = p − w'``."""
    mu = hp["momentum"]
    trust = {"trust": 1.0, "trust_coefficient": hp["trust_coefficient"], "trust_eps": hp["eps"]}
    return trust | {"n_g": 1.0, "e_out": 1.0, "w_a": mu, "w_z": 1.0, "p_w": 1.0}


def _accumulator(hp: Hyperparameters) -> dict[str, Array]:
    return {"v": hp["initial_accumulator"]}


def _both_moments(hp: Hyperparameters) -> dict[str, Array]:
    return {"m": hp["initial_accumulator"], "v": hp["initial_accumulator"]}


_ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
_ADAMW = _ADAM | {"weight_decay": 1e-4}
_BOUND = _ADAM | {"final_lr": 0.1, "gamma": 0.001}
_YOGI = {"b1": 0.9, "b2": 0.999, "eps": 1e-3, "initial_accumulator": 1e-6}
_LARS = {"momentum": 0.9, "trust_coefficient": 0.001, "eps": 0.0}

_CAUCHY = "Cauchy, Méthode générale pour la résolution des systèmes d'équations simultanées, 1847"
_ROBBINS = "Robbins and Monro, A stochastic approximation method, 1951"
_POLYAK = "Polyak, Some methods of speeding up the convergence of iteration methods, 1964"
_SUTSKEVER = (
    "Sutskever, Martens, Dahl and Hinton, On the importance of initialization and momentum in deep "
    "learning, 2013"
)
_BERNSTEIN = "Bernstein et al., signSGD: compressed optimisation for non-convex problems, 2018"
_CHEN = "Chen et al., Symbolic discovery of optimization algorithms, 2023"
_DUCHI = (
    "Duchi, Hazan and Singer, Adaptive subgradient methods for online learning and stochastic "
    "optimization, 2011"
)
_ZEILER = "Zeiler, ADADELTA: an adaptive learning rate method, 2012"
_HINTON = "Tieleman and Hinton, Lecture 6.5: RMSProp, 2012"
_GRAVES = "Graves, Generating sequences with recurrent neural networks, 2013"
_KINGMA = "Kingma and Ba, Adam: a method for stochastic optimization, 2015"
_LOSHCHILOV = "Loshchilov and Hutter, Decoupled weight decay regularization, 2019"
_REDDI = "Reddi, Kale and Kumar, On the convergence of Adam and beyond, 2018"
_DOZAT = "Dozat, Incorporating Nesterov momentum into Adam, 2016"
_LIU = "Liu et al., On the variance of the adaptive learning rate and beyond, 2020"
_ZHUANG = "Zhuang et al., AdaBelief: adapting stepsizes by the belief in observed gradients, 2020"
_ZAHEER = "Zaheer et al., Adaptive methods for nonconvex optimization, 2018"
_LUO = "Luo et al., Adaptive gradient methods with dynamic bound of learning rate, 2019"
_YOU_LAMB = (
    "You et al., Large batch optimization for deep learning: training BERT in 76 minutes, 2020"
)
_YOU_LARS = "You, Gitman and Ginsburg, Large batch training of convolutional networks, 2017"


def _rmsprop_rows() -> list[Rule]:
    rows = []
    for torch in (False, True):
        for centered in (False, True):
            for momentum in (False, True):
                parts = ["rmsprop", *["centered"] * centered, *["momentum"] * momentum]
                hp = {"b2": 0.99 if torch else 0.9, "eps": 1e-8}
                hp |= {"momentum": 0.9} if momentum else {}
                name = "_".join(parts + ["torch"] * torch)
                source = _GRAVES if centered or momentum else _HINTON
                rows.append(Rule(name, _rmsprop(centered, momentum, torch), hp, 0.001, source))
    return rows


_ROWS: list[Rule] = [
    Rule("gd", _sgd, {}, 0.1, _CAUCHY),
    Rule("sgd", _sgd, {}, 0.1, _ROBBINS),
    Rule("momentum", _momentum, {"momentum": 0.9}, 0.01, _POLYAK),
    Rule("nesterov", _nesterov, {"momentum": 0.9}, 0.01, _SUTSKEVER),
    *_rmsprop_rows(),
    Rule(
        *("adagrad", _adagrad, {"eps": 1e-7, "initial_accumulator": 0.1}, 0.01, _DUCHI),
        initial=_accumulator,
    ),
    Rule(
        *("adagrad_torch", _adagrad_torch, {"eps": 1e-10, "initial_accumulator": 0.0}, 0.01),
        *(_DUCHI, _accumulator),
    ),
    Rule("adadelta", _adadelta, {"b2": 0.9, "eps": 1e-6}, 1.0, _ZEILER),
    Rule("adam", _adam, _ADAM, 0.001, _KINGMA),
    Rule("adamw", _adam, _ADAMW, 0.001, _LOSHCHILOV),
    Rule("amsgrad", _amsgrad, _ADAM, 0.001, _REDDI),
    Rule("amsgrad_torch", _amsgrad_torch, _ADAM, 0.001, _REDDI),
    Rule("adamax", _adamax, _ADAM, 0.002, _KINGMA + ", section 7.1"),
    Rule("nadam", _nadam, _ADAM, 0.001, _DOZAT),
    Rule("nadamw", _nadam, _ADAMW, 0.001, _DOZAT),
    Rule("nadam_torch", _nadam_torch, _ADAM | {"momentum_decay": 0.004}, 0.002, _DOZAT),
    Rule("radam", _radam(False), _ADAM | {"threshold": 5.0}, 0.001, _LIU),
    Rule("radam_torch", _radam(True), _ADAM, 0.001, _LIU),
    Rule(
        *("adabelief", _adabelief, {"b1": 0.9, "b2": 0.999, "eps": 1e-16, "eps_root": 1e-16}),
        *(0.001, _ZHUANG),
    ),
    Rule("adabound", _adabound, _BOUND, 0.001, _LUO),
    Rule("amsbound", _amsbound, _BOUND, 0.001, _LUO),
    # Optax starts the first moment at the accumulator's value too, and then corrects its bias.
    Rule("yogi", _yogi, _YOGI, 0.01, _ZAHEER, _both_moments),
    Rule("lion", _lion, {"b1": 0.9, "b2": 0.99, "weight_decay": 1e-3}, 0.0001, _CHEN),
    Rule("signsgd", _signsgd, {}, 0.001, _BERNSTEIN),
    Rule("signum", _signum, {"momentum": 0.9}, 0.001, _BERNSTEIN),
    Rule("lamb", _lamb, {"b1": 0.9, "b2": 0.999, "eps": 1e-6}, 0.001, _YOU_LAMB),
    Rule("lars", _lars, _LARS, 1.0, _YOU_LARS),
]

RULES: dict[str, Rule] = {rule.name: rule for rule in _ROWS}
"""Every kind that a Config's ``optimizer`` may name and that a cohort may mix."""
