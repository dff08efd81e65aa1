"""Structural optimizers: update rules that do not fit one elementwise pass, from Optax.

Muon, L-BFGS, schedule-free AdamW, Prodigy, SAM and others, and any Optax transformation of a user's
own. Each is one structure, compiled by itself; its numeric hyperparameters, the learning rate
included, are traced all the same, because the transformation is made anew inside the traced step
from that step's scalars:

.. code-block:: python

    optimizer = EXTERNAL["muon"]
    state = optimizer.init(params, hp)                       # hp: scalars by name; one member's
    updates, state = optimizer.update(grads, state, params, hp, value, value_fn)
    params = optax.apply_updates(params, updates)
    optimizer.evaluation_params(state, params, hp)           # where predictions are made

All of it is written for one member; ``vmap`` adds the others. ``hp["learning_rate"]`` is the step's
rate, after the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from thalweg.errors import OptionError
from thalweg.optim.coefficients import RULES

if TYPE_CHECKING:
    import optax

__all__ = ["EXTERNAL", "External", "from_optax", "register"]

Tree = Any
Scalars = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class External:
    """One structural optimizer.

    Attributes:
        name: What a Config's ``optimizer`` calls it.
        make: ``hp -> optax.GradientTransformation``, called inside the traced step with every
            hyperparameter, the learning rate included, as a traced scalar.
        hyperparameters: Own hyperparameters with their defaults.
        learning_rate: A usual learning rate, for a default.
        averaged: ``(state, params, hp) -> params`` to evaluate at, where not the parameters.
        extra: What the transformation's update takes by keyword besides the parameters: of
            ``value``, ``grad``, ``value_fn`` and ``grad_fn``.
        num_slots: How many arrays of the parameters' size it keeps, for planning memory.
        num_gradients: About how many gradients a step costs.
        source: Where it comes from.
    """

    name: str
    make: Callable[[Scalars], optax.GradientTransformation]
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float = 0.001
    averaged: Callable[[Any, Tree, Scalars], Tree] | None = None
    extra: tuple[str, ...] = ()
    num_slots: int = 2
    num_gradients: float = 1.0
    source: str = ""

    def init(self, params: Tree, hp: Scalars) -> Any:
        """Return one member's optimizer state.

        Args:
            params: A pytree of floating-point arrays.
            hp: Scalars by name; those left out take their defaults, those not known are ignored.
        """
        return self.make(self._filled(hp)).init(params)

    def update(
        self,
        grads: Tree,
        state: Any,
        params: Tree,
        hp: Scalars,
        value: Any = None,
        value_fn: Callable[[Tree], Any] | None = None,
    ) -> tuple[Tree, Any]:
        """Take one step of one member.

        Args:
            grads: The gradients at ``params``.
            state: From :meth:`init` or the step before.
            params: The parameters.
            hp: This step's scalars by name, as in :meth:`init`.
            value: The loss at ``params``; line searches need it.
            value_fn: ``params -> loss`` on the same batch; line searches and SAM need it.

        Returns:
            What to add to the parameters, and the new state.
        """
        transformation = self.make(self._filled(hp))
        offered: dict[str, Any] = {"value": value, "grad": grads, "value_fn": value_fn}
        if value_fn is not None:
            offered["grad_fn"] = lambda p, _=None: jax.grad(value_fn)(p)
        extra = {key: offered[key] for key in self.extra}
        updates, new_state = transformation.update(grads, state, params, **extra)
        # Scalars in float32 must not widen bfloat16 parameters, or a loop's carry changes its type.
        return _like(updates, params), _like(new_state, state)

    def evaluation_params(self, state: Any, params: Tree, hp: Scalars) -> Tree:
        """Return the parameters to evaluate and predict with."""
        if self.averaged is None:
            return params
        return _like(self.averaged(state, params, self._filled(hp)), params)

    def _filled(self, hp: Scalars) -> dict[str, Any]:
        defaults = {
            "learning_rate": self.learning_rate,
            "weight_decay": 0.0,
            **self.hyperparameters,
        }
        return {name: jnp.asarray(hp.get(name, value)) for name, value in defaults.items()}


def _like(tree: Tree, reference: Tree) -> Tree:
    def cast(value: Any, other: Any) -> Any:
        dtype = getattr(other, "dtype", None)
        return value if dtype is None or value.dtype == dtype else value.astype(dtype)

    return jax.tree.map(cast, tree, reference)


def from_optax(
    transformation: optax.GradientTransformation | Callable[..., optax.GradientTransformation],
    name: str,
    *,
    hyperparameters: Mapping[str, float] | None = None,
    learning_rate: float = 0.001,
    evaluation_params: Callable[[Any, Tree], Tree] | None = None,
    extra: tuple[str, ...] = (),
    num_slots: int = 2,
) -> External:
    """Wrap an Optax transformation, or a function that makes one, as a structural optimizer.

    Args:
        transformation: A function of ``learning_rate`` and of ``hyperparameters``, by keyword, that
            returns a transformation, such as ``optax.adan``; then the learning rate, its schedule
            and the hyperparameters can be searched. Or a finished transformation, whose learning
            rate is then its own.
        name: What a Config's ``optimizer`` will call it.
        hyperparameters: Names and defaults of what to trace and search besides the learning rate.
            They reach the function as traced scalars, so it must not branch on them in Python.
        learning_rate: The default learning rate.
        evaluation_params: ``(state, params) -> params`` to evaluate at, where not the parameters.
        extra: What the transformation's update takes by keyword: of ``value`` (the loss), ``grad``,
            ``value_fn`` (``params -> loss`` on the same batch) and ``grad_fn``. Line searches take
            the first three.
        num_slots: How many arrays of the parameters' size the state holds.

    Returns:
        The optimizer; :func:`register` makes its name known to Configs.

    Raises:
        OptionError: ``transformation`` is neither.
    """
    import optax

    own = dict(hyperparameters or {})

    def averaged(state: Any, params: Tree, _: Scalars) -> Tree:
        return params if evaluation_params is None else evaluation_params(state, params)

    def make(hp: Scalars) -> optax.GradientTransformation:
        if isinstance(transformation, optax.GradientTransformation):
            return transformation
        return transformation(learning_rate=hp["learning_rate"], **{key: hp[key] for key in own})

    if not isinstance(transformation, optax.GradientTransformation) and not callable(
        transformation
    ):
        raise OptionError(
            "an optimizer must be an optax.GradientTransformation or a function of learning_rate "
            f"that returns one; got {type(transformation).__name__} for {name!r}: pass one of these"
        )
    return External(
        name,
        make,
        own,
        learning_rate,
        averaged,
        extra,
        num_slots,
        source="user-supplied",
    )


def register(optimizer: External) -> None:
    """Make a structural optimizer known by its name to Configs and Spaces.

    Args:
        optimizer: From :func:`from_optax` or :class:`External`. Registering a name that was
            registered before replaces it.

    Raises:
        OptionError: The name belongs to Thalweg.
    """
    if optimizer.name in RULES or optimizer.name in _OWN:
        raise OptionError(
            f"a user's optimizer must have a name of its own; got {optimizer.name!r}, which is "
            "Thalweg's: choose another name"
        )
    EXTERNAL[optimizer.name] = optimizer


def _muon(hp: Scalars) -> optax.GradientTransformation:
    """Momentum orthogonalised by five Newton-Schulz steps for matrices, AdamW for the rest."""
    import optax

    return optax.contrib.muon(
        hp["learning_rate"],
        beta=hp["momentum"],
        eps=hp["eps"],
        weight_decay=hp["weight_decay"],
        adam_b1=hp["b1"],
        adam_b2=hp["b2"],
        adam_weight_decay=hp["weight_decay"],
    )


def _lbfgs(hp: Scalars) -> optax.GradientTransformation:
    """Ten pairs of differences and a zoom line search of at most 20 evaluations."""
    import optax

    return optax.lbfgs(hp["learning_rate"], memory_size=10)


def _schedule_free_adamw(hp: Scalars) -> optax.GradientTransformation:
    """Gradients at an interpolation of the iterate and its running average."""
    import optax

    names = ("b1", "b2", "eps", "weight_decay")
    return optax.contrib.schedule_free_adamw(
        hp["learning_rate"], **{name: hp[name] for name in names}
    )


def _schedule_free_average(state: Any, params: Tree, hp: Scalars) -> Tree:
    import optax

    return optax.contrib.schedule_free_eval_params(state, params)


def _prodigy(hp: Scalars) -> optax.GradientTransformation:
    """Adam with its step size estimated from the distance to the start."""
    import optax

    return optax.contrib.prodigy(
        hp["learning_rate"],
        betas=(hp["b1"], hp["b2"]),
        eps=hp["eps"],
        weight_decay=hp["weight_decay"],
    )


def _sam(hp: Scalars) -> optax.GradientTransformation:
    """Momentum with the gradient at ``params + rho·g/‖g‖`` on the same batch."""
    import optax

    outer = optax.chain(
        optax.trace(hp["momentum"]),
        optax.add_decayed_weights(hp["weight_decay"]),
        optax.scale_by_learning_rate(hp["learning_rate"]),
    )
    ascent = optax.chain(optax.contrib.normalize(), optax.sgd(hp["rho"]))
    return optax.contrib.sam(outer, ascent, sync_period=2, opaque_mode=True)


def _adafactor(hp: Scalars) -> optax.GradientTransformation:
    """Second moments of matrices as an outer product of row and column averages."""
    import optax

    return optax.chain(
        optax.adafactor(
            hp["learning_rate"],
            min_dim_size_to_factor=32,
            decay_rate=0.8,
            multiply_by_parameter_scale=False,
            clipping_threshold=1.0,
        ),
        _decay(hp),
    )


def _decay(hp: Scalars) -> optax.GradientTransformation:
    """Decoupled weight decay for rules that have none: ``−η·λ·p``."""
    import optax

    return optax.add_decayed_weights(-hp["learning_rate"] * hp["weight_decay"])


def _adan(hp: Scalars) -> optax.GradientTransformation:
    """Adaptive Nesterov momentum with averages of the gradients' differences."""
    import optax

    return optax.chain(
        optax.adan(hp["learning_rate"], b1=hp["b1"], b2=hp["b2"], b3=hp["b3"], eps=hp["eps"]),
        _decay(hp),
    )


def _ademamix(hp: Scalars) -> optax.GradientTransformation:
    """Adam with a second, much slower average of the gradients."""
    import optax

    names = ("b1", "b2", "b3", "alpha", "eps", "weight_decay")
    return optax.contrib.ademamix(hp["learning_rate"], **{name: hp[name] for name in names})


def _adopt(hp: Scalars) -> optax.GradientTransformation:
    """Adam that divides by the old second moment, before the momentum."""
    import optax

    names = ("b1", "b2", "eps")
    return optax.chain(
        optax.contrib.adopt(hp["learning_rate"], **{name: hp[name] for name in names}),
        _decay(hp),
    )


_ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}

_ADAN = {"b1": 0.98, "b2": 0.92, "b3": 0.99, "eps": 1e-8}
_ADEMAMIX = {**_ADAM, "b3": 0.9999, "alpha": 5.0}
_ADOPT = {"b1": 0.9, "b2": 0.9999, "eps": 1e-6}

_JORDAN = "Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024"
_LIU = "Liu and Nocedal, On the limited memory BFGS method for large scale optimization, 1989"
_DEFAZIO = "Defazio et al., The road less scheduled, 2024"
_MISHCHENKO = (
    "Mishchenko and Defazio, Prodigy: an expeditiously adaptive parameter-free learner, 2023"
)
_FORET = "Foret et al., Sharpness-aware minimization for efficiently improving generalization, 2021"
_SHAZEER = "Shazeer and Stern, Adafactor: adaptive learning rates with sublinear memory cost, 2018"
_XIE = "Xie et al., Adan: adaptive Nesterov momentum for faster optimizing deep models, 2022"
_PAGLIARDINI = "Pagliardini et al., The AdEMAMix optimizer: better, faster, older, 2024"
_TANIGUCHI = (
    "Taniguchi et al., ADOPT: modified Adam can converge with any β2 with the optimal rate, 2024"
)

_ROWS: list[External] = [
    External("muon", _muon, {"momentum": 0.95, **_ADAM}, 0.02, source=_JORDAN),
    External(
        *("lbfgs", _lbfgs, {}, 1.0),
        extra=("value", "grad", "value_fn"),
        num_slots=24,
        num_gradients=4.0,
        source=_LIU,
    ),
    External(
        *("schedule_free_adamw", _schedule_free_adamw, _ADAM, 0.0025, _schedule_free_average),
        source=_DEFAZIO,
    ),
    External("prodigy", _prodigy, _ADAM, 1.0, num_slots=4, source=_MISHCHENKO),
    External(
        *("sam", _sam, {"momentum": 0.9, "rho": 0.05}, 0.01),
        extra=("grad_fn",),
        num_slots=1,
        num_gradients=2.0,
        source=_FORET,
    ),
    External("adafactor", _adafactor, {}, 0.01, num_slots=1, source=_SHAZEER),
    External("adan", _adan, _ADAN, 0.001, num_slots=4, source=_XIE),
    External("ademamix", _ademamix, _ADEMAMIX, 0.001, num_slots=3, source=_PAGLIARDINI),
    External("adopt", _adopt, _ADOPT, 0.001, source=_TANIGUCHI),
]

_OWN = frozenset(optimizer.name for optimizer in _ROWS)

EXTERNAL: dict[str, External] = {optimizer.name: optimizer for optimizer in _ROWS}
"""Every structural optimizer that a Config's ``optimizer`` may name."""
