r"""Every first-order update rule as one row of coefficients of one elementwise update.

For one parameter array ``p`` with gradient ``g`` and state ``m, v, w`` (each only where some kind in
use needs it), with lower-case names with an index for the scalar coefficients of the table:

.. code-block:: text

    n  = n_g·g + n_m·m                                   numerator, from the OLD m
    m' = m_a·m + m_b·g
    s  = (|s_g·g + s_m·m| + s_0)²                        what v averages
    v' = max(v_max·v, v_a·v + v_b·s·sign(s − yogi·v) + v_0)
    x  = max(x_w·w, x_v·v' − x_m·m'²)
    k  = k_0 + k_w·w
    d  = √(k·(x + e_in)) + sign·|n| + e_out
    u  = n·clip(k/d, low, high)
    r  = trust·(u + λ·p)                                 trust = 1 and λ = 0 except LAMB and LARS
    w' = x_w·x + w_a·w + w_u·u² + trace·η·r
    p' = p − η·((1 − trace)·r + weight_decay·p) − trace·w'

The coefficients depend on the step and on the hyperparameters, never on ``p``, ``g`` or the state.
:func:`table` computes them on the host in float64 for many steps and members at once, so that bias
corrections are exact and no hyperparameter is ever compiled in; :func:`update` is the elementwise
part, for one member, and ``vmap`` adds the others. Three choices keep it to one square root and one
division for each element: bias corrections are moved out of the root into the numerator and epsilon
(``√(v/c) + ε = (√v + √c·ε)/√c``); the numerator is written in terms of the old ``m``, which Lion needs
exactly and which costs the others nothing; Adadelta's quotient of two roots becomes the root of the
product, ``√(w + ε)/√(v + ε) = (w + ε)/√((w + ε)·(v + ε))``; Adamax keeps its infinity norm squared.

``weight_decay`` is decoupled for every rule (Loshchilov and Hutter, "Decoupled weight decay
regularization", 2019) except for LAMB and LARS, whose definition puts it inside the trust ratio.
The learning rate multiplies the decay, as in Optax and torch.

Where Optax and torch differ, the plain name is Optax's rule and ``*_torch`` is torch's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.errors import SpaceError, unknown_option

if TYPE_CHECKING:
    import jax

__all__ = [
    "RULES",
    "Rule",
    "Uses",
    "blend",
    "columns",
    "features",
    "hyperparameters",
    "init_state",
    "initial_values",
    "stack",
    "table",
    "unstack",
    "update",
]

Array = np.ndarray
Coefficients = dict[str, Any]
_TINY = float(np.finfo(np.float32).tiny)
_HUGE = float(np.finfo(np.float32).max)

# column -> (its neutral value, the feature of Uses that reads it; "" for always)
_COLUMNS: dict[str, tuple[float, str]] = {
    "learning_rate": (0.0, ""),
    "weight_decay": (0.0, ""),
    "n_g": (1.0, ""),
    "n_m": (0.0, "m"),
    "m_a": (0.0, "m"),
    "m_b": (0.0, "m"),
    "s_g": (1.0, "belief"),
    "s_m": (0.0, "belief"),
    "s_0": (0.0, "maximum"),
    "v_max": (0.0, "maximum"),
    "v_a": (0.0, "v"),
    "v_b": (0.0, "v"),
    "v_0": (0.0, "belief"),
    "yogi": (0.0, "yogi"),
    "x_v": (1.0, "scaled"),
    "x_w": (0.0, "running_max"),
    "x_m": (0.0, "centered"),
    "e_in": (0.0, "inner_eps"),
    "e_out": (0.0, "divide"),
    "k_0": (1.0, "adadelta"),
    "k_w": (0.0, "adadelta"),
    "sign": (0.0, "sign"),
    "low": (0.0, "bounds"),
    "high": (_HUGE, "bounds"),
    "w_a": (0.0, "w_linear"),
    "w_u": (0.0, "adadelta"),
    "trace": (0.0, "trace"),
    "outer": (0.0, "trace_outer"),
    "trust": (0.0, "trust"),
    "trust_coefficient": (1.0, "trust"),
    "trust_eps": (0.0, "trust"),
}


@dataclass(frozen=True)
class Uses:
    """What :func:`update` must contain for a set of kinds: static, hashable, ordered by inclusion.

    A cohort of Adam alone compiles to plain Adam; a mixed one contains the union (``a | b``).

    Attributes:
        m: State ``m`` is kept.
        v: State ``v`` is kept.
        w: State ``w`` is kept.
        belief: ``v`` averages ``(g − m')²`` and a constant is added to it at every step.
        maximum: ``v`` may be a decayed running maximum (Adamax).
        yogi: ``v`` may move by a signed step (Yogi).
        scaled: ``v`` is rescaled before the root (RAdam, AMSGrad).
        running_max: ``w`` holds the running maximum of ``v`` (AMSGrad).
        centered: ``m²`` is taken from ``v`` (centred RMSprop).
        inner_eps: Epsilon may stand inside the root.
        adadelta: ``w`` holds the squared updates.
        root: There is a root at all.
        divide: There is a denominator at all.
        sign: The direction may be a sign.
        bounds: The step sizes may be clipped (AdaBound).
        w_linear: ``w`` decays by a factor.
        trace: ``w`` may hold a momentum that is kept after scaling.
        trace_outer: That momentum may exclude the learning rate (torch).
        trust: There may be a trust ratio for each array (LAMB, LARS).
    """

    m: bool = False
    v: bool = False
    w: bool = False
    belief: bool = False
    maximum: bool = False
    yogi: bool = False
    scaled: bool = False
    running_max: bool = False
    centered: bool = False
    inner_eps: bool = False
    adadelta: bool = False
    root: bool = False
    divide: bool = False
    sign: bool = False
    bounds: bool = False
    w_linear: bool = False
    trace: bool = False
    trace_outer: bool = False
    trust: bool = False

    def __or__(self, other: Uses) -> Uses:
        """Return the union of two sets of features."""
        return Uses(
            **{
                f.name: getattr(self, f.name) or getattr(other, f.name)
                for f in dataclasses.fields(self)
            }
        )

    def covers(self, other: Uses) -> bool:
        """Return whether a program compiled for ``self`` can run ``other``'s kinds."""
        return (self | other) == self


@dataclass(frozen=True)
class Rule:
    """One row of the table.

    Attributes:
        name: The kind, as a Config's ``optimizer`` names it.
        coefficients: ``(t, hp) -> {column: array}``; ``t`` is float64 [T, K] counting steps from 1,
            ``hp`` maps each hyperparameter to float64 [K]; results broadcast to [T, K]; columns left
            out are neutral. ``hp["learning_rate"]`` is the base rate, before any schedule.
        hyperparameters: Own hyperparameters with their defaults.
        learning_rate: A usual learning rate, for a default.
        uses: What the elementwise update must contain.
        initial: ``hp -> {"m": [K], "v": [K]}`` for state that does not start at zero.
        source: Where the rule comes from.
    """

    name: str
    coefficients: Callable[[Array, Mapping[str, Array]], Coefficients]
    hyperparameters: Mapping[str, float]
    learning_rate: float
    uses: Uses
    source: str
    initial: Callable[[Mapping[str, Array]], dict[str, Array]] = field(default=lambda hp: {})

    @property
    def state(self) -> frozenset[str]:
        """Return which of ``m``, ``v`` and ``w`` the rule keeps."""
        return frozenset(name for name in ("m", "v", "w") if getattr(self.uses, name))


# --- rows ------------------------------------------------------------------------------------------


def _correction(b: Array, t: Array) -> Array:
    """Return ``1 − bᵗ`` without cancellation for ``b`` near 1."""
    with np.errstate(divide="ignore"):
        return -np.expm1(t * np.log(b))


def _sgd(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``u = g``."""
    return {"e_out": 1.0}


def _momentum(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``m' = μ·m + g``, ``u = m'`` (heavy ball)."""
    mu = hp["momentum"]
    return {"m_a": mu, "m_b": 1.0, "n_g": 1.0, "n_m": mu, "e_out": 1.0}


def _nesterov(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``m' = μ·m + g``, ``u = g + μ·m'``."""
    mu = hp["momentum"]
    return {"m_a": mu, "m_b": 1.0, "n_g": 1.0 + mu, "n_m": mu * mu, "e_out": 1.0}


def _optimistic(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``u = g + (g − g_before)``; the gradient before the first is zero."""
    return {"m_a": 0.0, "m_b": 1.0, "n_g": 2.0, "n_m": -1.0, "e_out": 1.0}


def _signsgd(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``u = sign(g)``, as ``g/|g|`` with 0/0 = 0."""
    return {"sign": 1.0, "e_out": _TINY}


def _signum(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``m' = μ·m + (1 − μ)·g``, ``u = sign(m')``."""
    mu = hp["momentum"]
    return {"m_a": mu, "m_b": 1 - mu, "n_g": 1 - mu, "n_m": mu, "sign": 1.0, "e_out": _TINY}


def _lion(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``u = sign(b1·m + (1 − b1)·g)``, ``m' = b2·m + (1 − b2)·g``."""
    b1, b2 = hp["b1"], hp["b2"]
    return {"m_a": b2, "m_b": 1 - b2, "n_g": 1 - b1, "n_m": b1, "sign": 1.0, "e_out": _TINY}


def _adagrad(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``v' = v + g²``, ``u = g/√(v' + ε)``."""
    return {"v_a": 1.0, "v_b": 1.0, "e_in": hp["eps"]}


def _adagrad_torch(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``v' = v + g²``, ``u = g/(√v' + ε)``."""
    return {"v_a": 1.0, "v_b": 1.0, "e_out": hp["eps"]}


def _adadelta(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``v' = ρ·v + (1 − ρ)·g²``, ``u = g·√(w + ε)/√(v' + ε)``, ``w' = ρ·w + (1 − ρ)·u²``; ρ is b2."""
    rho, eps = hp["b2"], hp["eps"]
    return {
        "v_a": rho,
        "v_b": 1 - rho,
        "e_in": eps,
        "k_0": eps,
        "k_w": 1.0,
        "w_a": rho,
        "w_u": 1 - rho,
    }


def _rmsprop(
    centered: bool, momentum: bool, torch: bool
) -> Callable[[Array, Mapping[str, Array]], Coefficients]:
    """``v' = b2·v + (1 − b2)·g²``, ``u = g/√(v' [− m'²] + ε)``, optionally with momentum after it."""

    def coefficients(t: Array, hp: Mapping[str, Array]) -> Coefficients:
        b2 = hp["b2"]
        row: Coefficients = {"v_a": b2, "v_b": 1 - b2, "e_out" if torch else "e_in": hp["eps"]}
        if centered:
            row |= {"m_a": b2, "m_b": 1 - b2, "x_m": 1.0}
        if momentum:
            row |= {"w_a": hp["momentum"], "trace": 1.0, "outer": float(torch)}
        return row

    return coefficients


def _moments(t: Array, hp: Mapping[str, Array]) -> tuple[Array, Array, Array, Array]:
    """Return ``b1, b2, 1 − b1ᵗ, √(1 − b2ᵗ)``."""
    b1, b2 = hp["b1"], hp["b2"]
    return b1, b2, _correction(b1, t), np.sqrt(_correction(b2, t))


def _adam(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``m̂ = m'/(1 − b1ᵗ)``, ``v̂ = v'/(1 − b2ᵗ)``, ``u = m̂/(√v̂ + ε)``; both sides times √(1 − b2ᵗ)."""
    b1, b2, c1, root2 = _moments(t, hp)
    scale = root2 / c1
    return {
        "m_a": b1,
        "m_b": 1 - b1,
        "v_a": b2,
        "v_b": 1 - b2,
        "n_g": scale * (1 - b1),
        "n_m": scale * b1,
        "e_out": root2 * hp["eps"],
    }


def _amsgrad(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``w' = max(w, v̂)``, ``u = m̂/(√w' + ε)``: the maximum of the corrected average (Optax)."""
    b1, b2, c1, root2 = _moments(t, hp)
    return {
        "m_a": b1,
        "m_b": 1 - b1,
        "v_a": b2,
        "v_b": 1 - b2,
        "x_w": 1.0,
        "x_v": root2**-2,
        "n_g": (1 - b1) / c1,
        "n_m": b1 / c1,
        "e_out": hp["eps"],
    }


def _amsgrad_torch(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``w' = max(w, v')``, ``u = m̂/(√(w'/(1 − b2ᵗ)) + ε)``: the maximum of the raw average."""
    return _adam(t, hp) | {"x_w": 1.0}


def _adamax(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``y' = max(b2·y, |g| + ε)``, ``u = m̂/y'``; kept as ``v = y²``."""
    b1, b2, c1, _ = _moments(t, hp)
    return {
        "m_a": b1,
        "m_b": 1 - b1,
        "s_0": hp["eps"],
        "v_max": b2 * b2,
        "v_b": 1.0,
        "n_g": (1 - b1) / c1,
        "n_m": b1 / c1,
    }


def _nadam(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``u = (b1·m'/(1 − b1ᵗ⁺¹) + (1 − b1)·g/(1 − b1ᵗ))/(√v̂ + ε)``."""
    b1, _, c1, root2 = _moments(t, hp)
    ahead = root2 * b1 / _correction(b1, t + 1)
    return _adam(t, hp) | {"n_g": (root2 / c1 + ahead) * (1 - b1), "n_m": ahead * b1}


def _nadam_torch(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``μₜ = b1·(1 − ½·0.96^(t·ψ))``; ``u = (μₜ₊₁·m'/(1 − Πμ..ₜ₊₁) + (1 − μₜ)·g/(1 − Πμ..ₜ))/(√v̂ + ε)``."""
    b1, psi = hp["b1"], hp["momentum_decay"]
    _, _, _, root2 = _moments(t, hp)

    def mu(step: Array) -> Array:
        return b1 * (1 - 0.5 * 0.96 ** (step * psi))

    # Beyond `stop` steps the product is below b1**stop < 1e-20 and no longer matters.
    stop = np.ceil(-46.1 / np.log(np.clip(np.max(b1, initial=0.0), 1e-9, 1 - 1e-6)))
    history = np.arange(1.0, min(float(np.max(t)), stop) + 1)[:, None]
    products = np.cumprod(mu(history), axis=0)
    index = np.minimum(t, len(products)).astype(int) - 1
    product = np.take_along_axis(products, np.broadcast_to(index, (len(t), products.shape[1])), 0)
    now = root2 * (1 - mu(t)) / (1 - product)
    ahead = root2 * mu(t + 1) / (1 - product * mu(t + 1))
    return _adam(t, hp) | {"n_g": now + ahead * (1 - b1), "n_m": ahead * b1}


def _radam(torch: bool) -> Callable[[Array, Mapping[str, Array]], Coefficients]:
    """``u = r·m̂/(√v̂ + ε)`` where the length ρ of the average reaches the threshold, else ``m̂``."""

    def coefficients(t: Array, hp: Mapping[str, Array]) -> Coefficients:
        b1, b2, c1, root2 = _moments(t, hp)
        length = 2 / (1 - b2) - 1
        rho = length - 2 * t * b2**t / root2**2
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.sqrt((rho - 4) * (rho - 2) * length / ((length - 4) * (length - 2) * rho))
        threshold = 5.0 if torch else hp["threshold"]
        # A short average (b2 < 0.6) has no rectification at any step, so that r may be undefined.
        rectified = ((rho > threshold) if torch else (rho >= threshold)) & np.isfinite(r)
        scale = np.where(rectified, r * root2, 1.0) / c1
        # torch adds its epsilon before the correction of v, Optax after it.
        eps = hp["eps"] * (1.0 if torch else root2)
        return {
            "m_a": b1,
            "m_b": 1 - b1,
            "v_a": b2,
            "v_b": 1 - b2,
            "n_g": scale * (1 - b1),
            "n_m": scale * b1,
            "x_v": rectified * 1.0,
            "e_out": np.where(rectified, eps, 1.0),
        }

    return coefficients


def _adabelief(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``v' = b2·v + (1 − b2)·(g − m')² + ε_root``, ``u = m̂/(√v̂ + ε)``; ``g − m' = b1·(g − m)``."""
    b1 = hp["b1"]
    return _adam(t, hp) | {"s_g": b1, "s_m": -b1, "v_0": hp["eps_root"]}


def _yogi(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``v' = v − (1 − b2)·sign(v − g²)·g²``, ``u = m̂/(√v̂ + ε)``."""
    return _adam(t, hp) | {"v_a": 1.0, "yogi": 1.0}


def _adabound(running_max: bool) -> Callable[[Array, Mapping[str, Array]], Coefficients]:
    """``p' = p − clip(η·√c2/c1/(√v' + ε), low, high)·m'``, the bounds closing in on ``final_lr``."""

    def coefficients(t: Array, hp: Mapping[str, Array]) -> Coefficients:
        b1, b2, c1, root2 = _moments(t, hp)
        # Clipping is done on 1/(√v' + ε), so that the bounds are divided by the factor in front.
        # Both follow the schedule, as in the authors' code, so that only the base rate enters.
        with np.errstate(divide="ignore", invalid="ignore"):
            final = np.where(hp["learning_rate"] > 0, hp["final_lr"] / hp["learning_rate"], 0.0)
        final = final * c1 / root2
        scale = root2 / c1
        return {
            "m_a": b1,
            "m_b": 1 - b1,
            "v_a": b2,
            "v_b": 1 - b2,
            "x_w": float(running_max),
            "n_g": scale * (1 - b1),
            "n_m": scale * b1,
            "e_out": hp["eps"],
            "low": final * (1 - 1 / (hp["gamma"] * t + 1)),
            "high": np.minimum(final * (1 + 1 / (hp["gamma"] * t)), _HUGE),
        }

    return coefficients


def _lamb(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``r = u + λ·p`` with Adam's ``u``; ``p' = p − η·‖p‖/‖r‖·r`` for each array."""
    return _adam(t, hp) | {"trust": 1.0}


def _lars(t: Array, hp: Mapping[str, Array]) -> Coefficients:
    """``r = g + λ·p``; ``w' = μ·w + η·κ·‖p‖/(‖r‖ + ε)·r`` for each array; ``p' = p − w'``."""
    return {
        "e_out": 1.0,
        "trust": 1.0,
        "trust_eps": hp["eps"],
        "w_a": hp["momentum"],
        "trust_coefficient": hp["trust_coefficient"],
        "trace": 1.0,
    }


_ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
_USES_ADAM = Uses(m=True, v=True, root=True, divide=True)
_USES_RMS = Uses(v=True, root=True, divide=True)
_KINGMA = 'Kingma and Ba, "Adam: a method for stochastic optimization", 2015'
_ADAMW = 'Loshchilov and Hutter, "Decoupled weight decay regularization", 2019'
_HINTON = 'Tieleman and Hinton, "Lecture 6.5: RMSProp", 2012'
_GRAVES = 'Graves, "Generating sequences with recurrent neural networks", 2013, eq. 38 to 45'
_DUCHI = 'Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011'
_REDDI = 'Reddi, Kale and Kumar, "On the convergence of Adam and beyond", 2018'
_DOZAT = 'Dozat, "Incorporating Nesterov momentum into Adam", 2016'
_LIU = 'Liu et al., "On the variance of the adaptive learning rate and beyond", 2020'
_LUO = 'Luo et al., "Adaptive gradient methods with dynamic bound of learning rate", 2019'


def _rmsprop_rows() -> list[Rule]:
    rows = []
    for torch in (False, True):
        for centered in (False, True):
            for momentum in (False, True):
                name = "rmsprop" + "_centered" * centered + "_momentum" * momentum
                hp = {"b2": 0.99 if torch else 0.9, "eps": 1e-8}
                if momentum:
                    hp["momentum"] = 0.9
                uses = dataclasses.replace(
                    _USES_RMS,
                    m=centered,
                    centered=centered,
                    inner_eps=not torch,
                    w=momentum,
                    w_linear=momentum,
                    trace=momentum,
                    trace_outer=momentum and torch,
                )
                rows.append(
                    Rule(
                        name + "_torch" * torch,
                        _rmsprop(centered, momentum, torch),
                        hp,
                        0.001,
                        uses,
                        _GRAVES if centered or momentum else _HINTON,
                    )
                )
    return rows


def _accumulator(hp: Mapping[str, Array]) -> dict[str, Array]:
    return {"v": hp["initial_accumulator"]}


def _yogi_initial(hp: Mapping[str, Array]) -> dict[str, Array]:
    # Optax starts the first moment at the same value, which its bias correction then enlarges.
    return {"m": hp["initial_accumulator"], "v": hp["initial_accumulator"]}


def _with(base: Uses, **features_: bool) -> Uses:
    return dataclasses.replace(base, **features_)


_SIGN = Uses(sign=True, divide=True)

_ROWS: list[Rule] = [
    Rule(
        "sgd", _sgd, {}, 0.1, Uses(), 'Robbins and Monro, "A stochastic approximation method", 1951'
    ),
    Rule("gd", _sgd, {}, 0.1, Uses(), 'Cauchy, "Méthode générale", 1847'),
    Rule(
        *("momentum", _momentum, {"momentum": 0.9}, 0.01, Uses(m=True)),
        'Polyak, "Some methods of speeding up the convergence of iteration methods", 1964',
    ),
    Rule(
        *("nesterov", _nesterov, {"momentum": 0.9}, 0.01, Uses(m=True)),
        'Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013',
    ),
    Rule(
        *("optimistic", _optimistic, {}, 0.1, Uses(m=True)),
        'Daskalakis et al., "Training GANs with optimism", 2018',
    ),
    *_rmsprop_rows(),
    Rule(
        "adagrad",
        _adagrad,
        {"eps": 1e-7, "initial_accumulator": 0.1},
        0.01,
        _with(_USES_RMS, inner_eps=True),
        _DUCHI,
        _accumulator,
    ),
    Rule(
        "adagrad_torch",
        _adagrad_torch,
        {"eps": 1e-10, "initial_accumulator": 0.0},
        0.01,
        _USES_RMS,
        _DUCHI,
        _accumulator,
    ),
    Rule(
        "adadelta",
        _adadelta,
        {"b2": 0.9, "eps": 1e-6},
        1.0,
        _with(_USES_RMS, w=True, inner_eps=True, adadelta=True, w_linear=True),
        'Zeiler, "ADADELTA: an adaptive learning rate method", 2012',
    ),
    Rule("adam", _adam, _ADAM, 0.001, _USES_ADAM, _KINGMA),
    Rule("adamw", _adam, _ADAM | {"weight_decay": 1e-4}, 0.001, _USES_ADAM, _ADAMW),
    Rule(
        "amsgrad",
        _amsgrad,
        _ADAM,
        0.001,
        _with(_USES_ADAM, w=True, running_max=True, scaled=True),
        _REDDI,
    ),
    Rule(
        "amsgrad_torch",
        _amsgrad_torch,
        _ADAM,
        0.001,
        _with(_USES_ADAM, w=True, running_max=True),
        _REDDI,
    ),
    Rule(
        "adamax", _adamax, _ADAM, 0.002, _with(_USES_ADAM, maximum=True), _KINGMA + ", section 7.1"
    ),
    Rule("nadam", _nadam, _ADAM, 0.001, _USES_ADAM, _DOZAT),
    Rule("nadamw", _nadam, _ADAM | {"weight_decay": 1e-4}, 0.001, _USES_ADAM, _DOZAT),
    Rule(
        "nadam_torch",
        _nadam_torch,
        _ADAM | {"momentum_decay": 0.004},
        0.002,
        _USES_ADAM,
        _DOZAT,
    ),
    Rule(
        "radam",
        _radam(False),
        _ADAM | {"threshold": 5.0},
        0.001,
        _with(_USES_ADAM, scaled=True),
        _LIU,
    ),
    Rule("radam_torch", _radam(True), _ADAM, 0.001, _with(_USES_ADAM, scaled=True), _LIU),
    Rule(
        "adabelief",
        _adabelief,
        {"b1": 0.9, "b2": 0.999, "eps": 1e-16, "eps_root": 1e-16},
        0.001,
        _with(_USES_ADAM, belief=True),
        'Zhuang et al., "AdaBelief optimizer", 2020',
    ),
    Rule(
        "adabound",
        _adabound(False),
        _ADAM | {"final_lr": 0.1, "gamma": 0.001},
        0.001,
        _with(_USES_ADAM, bounds=True),
        _LUO,
    ),
    Rule(
        "amsbound",
        _adabound(True),
        _ADAM | {"final_lr": 0.1, "gamma": 0.001},
        0.001,
        _with(_USES_ADAM, bounds=True, w=True, running_max=True),
        _LUO,
    ),
    Rule(
        "yogi",
        _yogi,
        {"b1": 0.9, "b2": 0.999, "eps": 1e-3, "initial_accumulator": 1e-6},
        0.01,
        _with(_USES_ADAM, yogi=True),
        'Zaheer et al., "Adaptive methods for nonconvex optimization", 2018',
        _yogi_initial,
    ),
    Rule(
        "lion",
        _lion,
        {"b1": 0.9, "b2": 0.99, "weight_decay": 1e-3},
        0.0001,
        _with(_SIGN, m=True),
        'Chen et al., "Symbolic discovery of optimization algorithms", 2023',
    ),
    Rule(
        *("signsgd", _signsgd, {}, 0.001, _SIGN),
        'Bernstein et al., "signSGD: compressed optimisation for non-convex problems", 2018',
    ),
    Rule(
        *("signum", _signum, {"momentum": 0.9}, 0.001, _with(_SIGN, m=True)),
        'Bernstein et al., "signSGD: compressed optimisation for non-convex problems", 2018',
    ),
    Rule(
        "lamb",
        _lamb,
        {"b1": 0.9, "b2": 0.999, "eps": 1e-6},
        0.001,
        _with(_USES_ADAM, trust=True),
        'You et al., "Large batch optimization for deep learning", 2020',
    ),
    Rule(
        "lars",
        _lars,
        {"momentum": 0.9, "trust_coefficient": 0.001, "eps": 0.0},
        1.0,
        Uses(w=True, w_linear=True, trace=True, trust=True),
        'You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017',
    ),
]

RULES: dict[str, Rule] = {rule.name: rule for rule in _ROWS}
"""Every kind that a Config's ``optimizer`` may name and that a cohort may mix."""

# What a hyperparameter must satisfy: (lowest, highest, whether the highest is allowed)
_RANGES: dict[str, tuple[float, float, bool]] = {
    "momentum": (0.0, 1.0, False),
    "b1": (0.0, 1.0, False),
    "b2": (0.0, 1.0, False),
    "eps": (0.0, np.inf, False),
    "eps_root": (0.0, np.inf, False),
    "learning_rate": (0.0, np.inf, False),
    "weight_decay": (0.0, np.inf, False),
    "initial_accumulator": (0.0, np.inf, False),
    "final_lr": (0.0, np.inf, False),
    "gamma": (_TINY, 1.0, False),
    "trust_coefficient": (0.0, np.inf, False),
    "momentum_decay": (0.0, np.inf, False),
    "threshold": (4.0, np.inf, False),
}


def _rule(kind: str) -> Rule:
    try:
        return RULES[kind]
    except KeyError:
        raise unknown_option("optimizer", kind, RULES) from None


# --- host ------------------------------------------------------------------------------------------


def hyperparameters(kinds: Sequence[str], hp: Mapping[str, Any]) -> dict[str, Array]:
    """Fill in each member's hyperparameters: what is missing or NaN takes its kind's default.

    Args:
        kinds: Each member's rule, K of them.
        hp: From a hyperparameter's name to K values (or one for all); names that a member's rule
            does not have are ignored for it.

    Returns:
        From every name that a rule in ``kinds`` has (with ``learning_rate`` and ``weight_decay``) to
        float64 [K]; NaN where a member's rule does not have it.

    Raises:
        OptionError: A kind is not a row of the table.
        SpaceError: A value is outside its range.
    """
    rules = [_rule(kind) for kind in kinds]
    own = [
        {"weight_decay": 0.0, "learning_rate": rule.learning_rate, **rule.hyperparameters}
        for rule in rules
    ]
    names = sorted({name for defaults in own for name in defaults})
    filled = {}
    for name in names:
        default = np.array([defaults.get(name, np.nan) for defaults in own], np.float64)
        given = np.asarray(hp.get(name, np.nan), np.float64)
        value = np.where(np.isnan(given) | np.isnan(default), default, given)
        low, high, closed = _RANGES[name]
        wrong = (value < low) | (value > high) | ((value == high) & (not closed))
        if wrong.any():
            raise SpaceError(
                f"{low:g} <= {name} {'<=' if closed else '<'} {high:g} must hold; got "
                f"{value[wrong][0]:g} for {kinds[int(np.argmax(wrong))]}: change its range"
            )
        filled[name] = value
    return filled


def features(kinds: Sequence[str]) -> Uses:
    """Return what the elementwise update must contain for these kinds.

    Args:
        kinds: Rules' names; repeats do not matter.

    Returns:
        The union of their needs; compile :func:`update` once for each distinct one.

    Raises:
        OptionError: A kind is not a row of the table.
    """
    uses = Uses()
    for kind in dict.fromkeys(kinds):
        uses = uses | _rule(kind).uses
    if not uses.divide:
        return uses
    return dataclasses.replace(uses, divide=True)


def columns(uses: Uses) -> tuple[str, ...]:
    """Return the names of the coefficients that :func:`update` reads, in the order of :func:`stack`."""
    return tuple(
        name for name, (_, feature) in _COLUMNS.items() if not feature or getattr(uses, feature)
    )


def table(
    kinds: Sequence[str],
    hp: Mapping[str, Any],
    first_step: Any,
    num_steps: int,
    *,
    schedule: Any = 1.0,
    uses: Uses | None = None,
    dtype: Any = np.float32,
) -> dict[str, Array]:
    """Return the coefficients of K members, each of its own kind, for T steps.

    Args:
        kinds: Each member's rule, K of them.
        hp: From a hyperparameter's name to K values or one for all; NaN or a missing name means the
            rule's default. ``learning_rate`` is the base rate.
        first_step: The number of the first step, counted from 1; one for all or one for each member.
        num_steps: T.
        schedule: What multiplies the base rate at each step, broadcastable to [T, K].
        uses: The features of the compiled update; those of ``kinds`` where it is None. Give it when
            fewer kinds remain than the program was compiled for.
        dtype: The results' dtype; everything is computed in float64 before.

    Returns:
        From each name of ``columns(uses)`` to an array [T, K].

    Raises:
        OptionError: A kind is not a row of the table.
        SpaceError: A hyperparameter is outside its range, or ``uses`` lacks what a kind needs.
    """
    kinds = list(kinds)
    filled = hyperparameters(kinds, hp)
    needed = features(kinds)
    uses = needed if uses is None else uses
    if not uses.covers(needed):
        raise SpaceError(
            f"uses must cover every kind; got {uses} for {sorted(set(kinds))}: use features(kinds)"
        )
    num_members = len(kinds)
    names = columns(uses)
    result = {name: np.full((num_steps, num_members), _COLUMNS[name][0]) for name in names}
    first = np.broadcast_to(np.asarray(first_step, np.float64), (num_members,))
    steps = np.arange(num_steps, dtype=np.float64)[:, None] + first
    groups: dict[str, list[int]] = {}
    for index, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(index)
    for kind, members in groups.items():
        own = {name: value[members] for name, value in filled.items()}
        for name, value in RULES[kind].coefficients(steps[:, members], own).items():
            if name in result:
                result[name][:, members] = value
    result["learning_rate"][:] = filled["learning_rate"] * np.asarray(schedule, np.float64)
    result["weight_decay"][:] = filled["weight_decay"]
    limit = float(np.finfo(dtype).max) if np.dtype(dtype).itemsize < 8 else _HUGE
    return {name: np.clip(value, -limit, limit).astype(dtype) for name, value in result.items()}


def stack(coefficients: Mapping[str, Array], uses: Uses) -> Array:
    """Return the columns of a table as one array [T, K, C], so that a step reads one slice."""
    return np.stack([coefficients[name] for name in columns(uses)], axis=-1)


def unstack(row: Any, uses: Uses) -> dict[str, Any]:
    """Return one step's and one member's scalars by name from a row [C] of :func:`stack`."""
    return {name: row[..., index] for index, name in enumerate(columns(uses))}


def blend(a: Mapping[str, Array], b: Mapping[str, Array], weight: Any) -> dict[str, Array]:
    """Return ``(1 − weight)·a + weight·b`` column by column: a rule between two rules.

    At 0 and 1 these are the two rules. Build both tables for the union of their features; the state
    starts at the same mixture of :func:`initial_values`.

    Args:
        a: A table, from :func:`table` with ``uses`` given.
        b: Another for the same members, steps and features.
        weight: In [0, 1], broadcastable to [T, K].

    Returns:
        A table of the same columns and dtype.
    """
    weight = np.asarray(weight, np.float64)
    return {
        name: np.asarray((1 - weight) * a[name] + weight * b[name], a[name].dtype) for name in a
    }


def initial_values(kinds: Sequence[str], hp: Mapping[str, Any]) -> dict[str, Array]:
    """Return the value at which each member's ``m`` and ``v`` start: ``{"m": [K], "v": [K]}``.

    Zero except for Adagrad and Yogi.
    """
    kinds = list(kinds)
    filled = hyperparameters(kinds, hp)
    result = {"m": np.zeros(len(kinds), np.float32), "v": np.zeros(len(kinds), np.float32)}
    for index, kind in enumerate(kinds):
        own = {name: value[index] for name, value in filled.items()}
        for name, value in RULES[kind].initial(own).items():
            result[name][index] = value
    return result


# --- device ----------------------------------------------------------------------------------------


def _state_dtype(dtype: Any) -> Any:
    import jax.numpy as jnp

    # An average with decay 0.999 stands still in bfloat16: the state is never narrower than float32.
    return jnp.promote_types(dtype, jnp.float32)


def init_state(params: Any, uses: Uses, initial: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return one member's optimizer state: a dict of pytrees like ``params``.

    Args:
        params: A pytree of floating-point arrays.
        uses: From :func:`features`.
        initial: One member's scalars of :func:`initial_values`; zero where None.

    Returns:
        A dict with those of ``m``, ``v`` and ``w`` that ``uses`` keeps, at least in float32.
    """
    import jax
    import jax.numpy as jnp

    initial = initial or {}

    def full(name: str) -> Any:
        value = initial.get(name, 0.0)
        return jax.tree.map(lambda p: jnp.full(p.shape, value, _state_dtype(p.dtype)), params)

    return {name: full(name) for name in ("m", "v", "w") if getattr(uses, name)}


def update(
    params: Any,
    grads: Any,
    state: Mapping[str, Any],
    coefficients: Mapping[str, Any],
    uses: Uses,
    alive: Any = None,
) -> tuple[Any, dict[str, Any]]:
    """Take one step of one member, learning rate and weight decay included.

    The equations stand at the top of this module. Every array is read and written once, except with
    a trust ratio, which needs two norms of each array first.

    Args:
        params: A pytree of floating-point arrays.
        grads: A pytree like ``params``.
        state: From :func:`init_state` or the step before.
        coefficients: One step's scalars by name, as in :func:`table`.
        uses: From :func:`features`; static.
        alive: A Boolean scalar; where False everything stays as it was. None means True.

    Returns:
        The new parameters and state, of the same structure and dtypes.
    """
    import jax

    leaves, treedef = jax.tree.flatten(params)
    names = [name for name in ("m", "v", "w") if getattr(uses, name)]
    slots = [treedef.flatten_up_to(state[name]) for name in names]
    results = [
        _update_leaf(
            p,
            g,
            dict(zip(names, [slot[index] for slot in slots], strict=True)),
            coefficients,
            uses,
            alive,
        )
        for index, (p, g) in enumerate(zip(leaves, treedef.flatten_up_to(grads), strict=True))
    ]
    new_params = treedef.unflatten([p for p, _ in results])
    new_state = {
        name: treedef.unflatten([leaf_state[name] for _, leaf_state in results]) for name in names
    }
    return new_params, new_state


def _update_leaf(
    param: jax.Array,
    grad: jax.Array,
    state: dict[str, jax.Array],
    coefficients: Mapping[str, Any],
    uses: Uses,
    alive: Any,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    import jax.numpy as jnp

    dtype = _state_dtype(param.dtype)
    c = {name: jnp.asarray(coefficients[name], dtype) for name in columns(uses)}
    p, g = param.astype(dtype), grad.astype(dtype)
    m, v, w = (state.get(name) for name in ("m", "v", "w"))
    new: dict[str, jax.Array] = {}

    n = c["n_g"] * g
    if m is not None:
        n = n + c["n_m"] * m
        new["m"] = c["m_a"] * m + c["m_b"] * g

    x = None
    if v is not None:
        s = c["s_g"] * g + c["s_m"] * m if uses.belief and m is not None else g
        if uses.maximum:
            s = jnp.abs(s) + c["s_0"]
        s = s * s
        gain = c["v_b"] * s
        if uses.yogi:
            gain = gain * jnp.sign(s - c["yogi"] * v)
        average = c["v_a"] * v + gain
        if uses.belief:
            average = average + c["v_0"]
        new["v"] = jnp.maximum(c["v_max"] * v, average) if uses.maximum else average

        x = new["v"]
        if uses.scaled:
            x = c["x_v"] * x
        if uses.centered:
            # Rounding can leave a variance just below zero, whose root would be NaN.
            x = x - c["x_m"] * new["m"] * new["m"]
        if uses.running_max and w is not None:
            x = jnp.maximum(c["x_w"] * w, x)
        elif uses.centered:
            x = jnp.maximum(x, 0)

    u = n
    if uses.divide:
        k = c["k_0"] + c["k_w"] * w if uses.adadelta and w is not None else None
        d = c["e_out"]
        if x is not None:
            inside = x + c["e_in"] if uses.inner_eps else x
            d = d + jnp.sqrt(inside if k is None else k * inside)
        if uses.sign:
            d = d + c["sign"] * jnp.abs(n)
        if uses.bounds:
            u = n * jnp.clip((1 if k is None else k) / d, c["low"], c["high"])
        else:
            u = (n if k is None else n * k) / d

    r, decay = u, c["weight_decay"]
    if uses.trust:
        r = u + c["trust"] * decay * p
        p_norm, r_norm = jnp.sqrt(jnp.sum(p * p)), jnp.sqrt(jnp.sum(r * r))
        usable = (c["trust"] > 0) & (p_norm > 0) & (r_norm > 0)
        ratio = c["trust_coefficient"] * p_norm / jnp.where(usable, r_norm + c["trust_eps"], 1)
        r = r * jnp.where(usable, ratio, 1)
        decay = decay * (1 - c["trust"])

    rate = c["learning_rate"]
    step = rate * (r + decay * p)
    if w is not None:
        pieces = []
        if uses.running_max and x is not None:
            pieces.append(c["x_w"] * x)
        if uses.w_linear:
            pieces.append(c["w_a"] * w)
        if uses.adadelta:
            pieces.append(c["w_u"] * u * u)
        if uses.trace:
            # The learning rate enters the momentum (Optax) or multiplies it afterwards (torch).
            outer = c["outer"] if uses.trace_outer else jnp.zeros((), dtype)
            pieces.append(c["trace"] * (outer + (1 - outer) * rate) * r)
        new["w"] = sum(pieces[1:], start=pieces[0])
        if uses.trace:
            late = c["trace"] * (outer * rate + (1 - outer))
            step = rate * ((1 - c["trace"]) * r + decay * p) + late * new["w"]
    new_param = p - step
    if alive is not None:
        new_param = jnp.where(alive, new_param, p)
        new = {name: jnp.where(alive, value, state[name]) for name, value in new.items()}
    return new_param.astype(param.dtype), new
