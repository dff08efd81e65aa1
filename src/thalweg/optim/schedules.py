"""Learning-rate schedules on the host: the factor on the peak rate for many steps and members.

Every schedule is a NumPy function of the share of its course that is done; :func:`factors` adds
the linear warmup that all of them have and holds the last value beyond the end. Nothing is
compiled, and float64 keeps long courses exact. With total steps ``N``, warmup steps
``W = round(warmup·N)`` and the step ``t = 0, 1, …``::

    factor(t) = (t + 1)/(W + 1)                          for t < W
    factor(t) = decay((min(t, N) − W)/(N − W))           for t ≥ W

so that no step is wasted at rate 0 and the peak is reached at ``t = W``. The course ends at
``t = N``, as in Optax: the last of N steps (``t = N − 1``) is one step away from the final factor.

``one_cycle`` and ``inverse_sqrt`` define their own warmup; see their rows. ``reduce_on_plateau``
reads the loss: its factor here is that of ``constant``, to be multiplied by ``PlateauState.scale``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from thalweg.errors import SpaceError, unknown_option

__all__ = [
    "SCHEDULES",
    "PlateauState",
    "Schedule",
    "factors",
    "hyperparameters",
    "plateau_init",
    "plateau_update",
]

Array = np.ndarray


class Course(NamedTuple):
    """Where the members are: float64 whole numbers; ``step`` is [T, k], the others [k]."""

    step: Array
    total_steps: Array
    warmup_steps: Array

    @property
    def decay_steps(self) -> Array:
        """Steps from the end of the warmup to the end; at least 1."""
        return np.maximum(self.total_steps - self.warmup_steps, 1)

    @property
    def since_warmup(self) -> Array:
        """Steps since the warmup, from 0."""
        return np.maximum(self.step - self.warmup_steps, 0)

    @property
    def progress(self) -> Array:
        """Share of the course after the warmup that is done, from 0 to 1."""
        return self.since_warmup / self.decay_steps


Factor = Callable[[Course, Mapping[str, Array]], Array]


@dataclass(frozen=True)
class Schedule:
    """One schedule.

    Args:
        name: as in a Config.
        factor: ``(course, hp) -> [T, k]``, the multiplier of the peak rate after the warmup.
        hyperparameters: name to default; ``warmup`` belongs to every schedule and is left out.
        own_warmup: whether ``factor`` covers the warmup as well.
        stateful: whether :func:`plateau_update` adds a factor that depends on the loss.
        default_warmup: share of the steps taken where ``warmup`` is 0 or missing.
        source: authors, title, year.
    """

    name: str
    factor: Factor
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    own_warmup: bool = False
    stateful: bool = False
    default_warmup: float = 0.0
    source: str = ""


# --- rows ----------------------------------------------------------------------------------------


def _constant(course: Course, hp: Mapping[str, Array]) -> Array:
    """``1``."""
    return np.ones_like(course.progress)


def _exponential(course: Course, hp: Mapping[str, Array]) -> Array:
    """``f^progress``: the same ratio from each step to the next."""
    return hp["final_factor"] ** course.progress


def _step(course: Course, hp: Mapping[str, Array]) -> Array:
    """``max(f, decay_rate^⌊s/I⌋)`` with ``I = round(step_fraction·(N − W))``, at least 1 step."""
    interval = np.maximum(_round(hp["step_fraction"] * course.decay_steps), 1)
    drops = np.floor(course.since_warmup / interval)
    return np.maximum(hp["decay_rate"] ** drops, hp["final_factor"])


def _polynomial(course: Course, hp: Mapping[str, Array]) -> Array:
    """``f + (1 − f)·(1 − progress)^power``."""
    final = hp["final_factor"]
    return final + (1 - final) * (1 - course.progress) ** hp["power"]


def _linear(course: Course, hp: Mapping[str, Array]) -> Array:
    """``f + (1 − f)·(1 − progress)``."""
    return _polynomial(course, {**hp, "power": np.ones(())})


def _cosine(course: Course, hp: Mapping[str, Array]) -> Array:
    """``f + (1 − f)·(1 + cos(π·progress))/2``."""
    return _anneal(course.progress, 1.0, hp["final_factor"])


def _cosine_restarts(course: Course, hp: Mapping[str, Array]) -> Array:
    """``f + (1 − f)·(1 + cos(π·phase))/2``, ``phase`` from 0 to 1 in each of n equal cycles."""
    cycles = np.maximum(_round(hp["num_cycles"]), 1)
    # A quotient of whole numbers is exact where a cycle begins: no phase is 1 − 1e-16 there.
    position = course.since_warmup * cycles / course.decay_steps
    phase = np.where(position >= cycles, 1.0, position - np.floor(position))
    return _anneal(phase, 1.0, hp["final_factor"])


def _one_cycle(course: Course, hp: Mapping[str, Array]) -> Array:
    """Cosine rise from the initial factor to 1 in W steps, cosine fall to the final factor."""
    rise = np.minimum(course.step / np.maximum(course.warmup_steps, 1), 1.0)
    return np.where(
        course.step < course.warmup_steps,
        _anneal(rise, hp["initial_factor"], 1.0),
        _anneal(course.progress, 1.0, hp["final_factor"]),
    )


def _inverse_sqrt(course: Course, hp: Mapping[str, Array]) -> Array:
    """``max(f, √((W + 1)/(t + 1)))``."""
    factor = np.sqrt((course.warmup_steps + 1) / (course.step + 1))
    return np.maximum(np.minimum(factor, 1.0), hp["final_factor"])


def _warmup_stable_decay(course: Course, hp: Mapping[str, Array]) -> Array:
    """1 for ``round(stable·N)`` steps, then linearly to the final factor at step N."""
    stable = np.minimum(_round(hp["stable"] * course.total_steps), course.decay_steps)
    decay = np.maximum(course.decay_steps - stable, 1)
    done = np.maximum(course.since_warmup - stable, 0) / decay
    return 1 - (1 - hp["final_factor"]) * done


_SGDR = 'Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017'

SCHEDULES: dict[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        Schedule("constant", _constant),
        Schedule("exponential", _exponential, {"final_factor": 0.01}),
        Schedule("step", _step, {"decay_rate": 0.1, "step_fraction": 1 / 3, "final_factor": 0.0}),
        Schedule("polynomial", _polynomial, {"power": 2.0, "final_factor": 0.0}),
        Schedule("linear", _linear, {"final_factor": 0.0}),
        Schedule(
            "cosine", _cosine, {"final_factor": 0.0}, source=_SGDR + ", eq. 5 without restarts"
        ),
        Schedule(
            "cosine_restarts",
            _cosine_restarts,
            {"num_cycles": 3.0, "final_factor": 0.0},
            source=_SGDR + ", eq. 5",
        ),
        Schedule(
            "one_cycle",
            _one_cycle,
            {"initial_factor": 1 / 25, "final_factor": 1 / 25e4},
            own_warmup=True,
            default_warmup=0.3,
            source='Smith and Topin, "Super-convergence", 2018, with the cosine of Optax and torch',
        ),
        Schedule(
            "inverse_sqrt",
            _inverse_sqrt,
            {"final_factor": 0.0},
            source='Vaswani et al., "Attention is all you need", 2017, eq. 3, with a peak of 1',
        ),
        Schedule(
            "warmup_stable_decay",
            _warmup_stable_decay,
            {"stable": 0.7, "final_factor": 0.0},
            source='Hu et al., "MiniCPM", 2024, section 4, with a linear decay',
        ),
        Schedule(
            "reduce_on_plateau",
            _constant,
            {
                "plateau_factor": 0.1,
                "plateau_patience": 5.0,
                "plateau_cooldown": 0.0,
                "plateau_rtol": 1e-4,
                "plateau_atol": 0.0,
                "final_factor": 0.0,
            },
            stateful=True,
            source="torch.optim.lr_scheduler.ReduceLROnPlateau; optax.contrib.reduce_on_plateau",
        ),
    )
}
"""The schedules by name."""

# name -> (low, high), both included
_RANGES: dict[str, tuple[float, float]] = {
    "warmup": (0.0, 1.0),
    "initial_factor": (0.0, np.inf),
    "final_factor": (0.0, np.inf),
    "decay_rate": (0.0, 1.0),
    "step_fraction": (0.0, 1.0),
    "power": (0.0, np.inf),
    "num_cycles": (1.0, np.inf),
    "stable": (0.0, 1.0),
    "plateau_factor": (0.0, 1.0),
    "plateau_patience": (1.0, np.inf),
    "plateau_cooldown": (0.0, np.inf),
    "plateau_rtol": (0.0, 1.0),
    "plateau_atol": (0.0, np.inf),
}


# --- assembly ------------------------------------------------------------------------------------


def hyperparameters(kinds: Sequence[str], hp: Mapping[str, Any]) -> dict[str, Array]:
    """Fill in each member's schedule hyperparameters: what is missing or NaN takes its default.

    Args:
        kinds: each member's schedule, K of them.
        hp: name to K values or one for all; names that no schedule in ``kinds`` reads are ignored.

    Returns:
        Every name that a schedule in ``kinds`` reads, with ``warmup``, to float64 [K]; NaN where a
        member's schedule does not read it.

    Raises:
        OptionError: a kind is not a schedule.
        SpaceError: a value that a member reads is outside its range.
    """
    schedules = [_schedule(kind) for kind in kinds]
    names = sorted({"warmup"}.union(*(s.hyperparameters for s in schedules)))
    filled = {}
    for name in names:
        if name == "warmup":
            default = np.array([s.default_warmup for s in schedules], np.float64)
        else:
            default = np.array([s.hyperparameters.get(name, np.nan) for s in schedules], np.float64)
        given = np.broadcast_to(np.asarray(hp.get(name, np.nan), np.float64), default.shape)
        missing = np.isnan(given) | np.isnan(default)
        if name == "warmup":
            missing = missing | (given == 0)
        value = np.where(missing, default, given)
        low, high = _RANGES[name]
        wrong = (value < low) | (value > high)
        if wrong.any():
            bound = f"{low:g} <= {name} <= {high:g}" if np.isfinite(high) else f"{name} >= {low:g}"
            raise SpaceError(
                f"{bound} must hold; got {value[wrong][0]:g} for schedule "
                f"{kinds[int(np.argmax(wrong))]}: change its range"
            )
        filled[name] = value
    return filled


def factors(
    kinds: Sequence[str],
    hp: Mapping[str, Any],
    first_step: Any,
    num_steps: int,
    total_steps: Any,
) -> Array:
    """Return the multiplier of the peak learning rate at each of T steps for each of K members.

    Args:
        kinds: each member's schedule, K of them, names of ``SCHEDULES``.
        hp: name to K values or one for all; NaN or a missing name means the schedule's default.
            Read are ``warmup`` (share of all steps), ``final_factor`` (last rate as a share of the
            peak; a floor for ``step`` and ``inverse_sqrt``; unused by ``constant``),
            ``decay_rate``, ``step_fraction`` (of the steps after the warmup), ``power``,
            ``num_cycles`` (rounded), ``stable`` (share of all steps), ``initial_factor``.
            ``one_cycle`` reads ``warmup`` as the share of its rise (0.3 where it is 0).
        first_step: the first step, counted from 0; one for all or one for each member.
        num_steps: T.
        total_steps: length of each member's whole course in steps, at least 1; [K] or one for all.

    Returns:
        float64 [T, K]; beyond a member's ``total_steps`` the last value is held.

    Raises:
        OptionError: a kind is not a schedule.
        SpaceError: a hyperparameter is outside its range or a course has no step.

    Example:
        >>> factors(["linear", "constant"], {"warmup": [0.0, 0.5]}, 0, 5, 4).T
        array([[1.        , 0.75      , 0.5       , 0.25      , 0.        ],
               [0.33333333, 0.66666667, 1.        , 1.        , 1.        ]])
    """
    kinds = list(kinds)
    filled = hyperparameters(kinds, hp)
    num_members = len(kinds)
    total = np.broadcast_to(np.asarray(total_steps, np.float64), (num_members,))
    if (total < 1).any():
        raise SpaceError(
            f"total_steps must be at least 1; got {total.min():g}: train for at least one step"
        )
    first = np.broadcast_to(np.asarray(first_step, np.float64), (num_members,))
    step = np.minimum(np.arange(num_steps, dtype=np.float64)[:, None] + first, total)
    warmup = _round(filled["warmup"] * total)
    result = np.empty((num_steps, num_members))
    for kind in dict.fromkeys(kinds):
        members = np.array([index for index, other in enumerate(kinds) if other == kind])
        schedule = SCHEDULES[kind]
        course = Course(step[:, members], total[members], warmup[members])
        own = {name: value[members] for name, value in filled.items()}
        factor = schedule.factor(course, own)
        if not schedule.own_warmup:
            rising = (course.step + 1) / (course.warmup_steps + 1)
            factor = np.where(course.step < course.warmup_steps, rising, factor)
        result[:, members] = factor
    return result


def _schedule(kind: str) -> Schedule:
    try:
        return SCHEDULES[kind]
    except KeyError:
        raise unknown_option("schedule", kind, SCHEDULES) from None


def _anneal(progress: Array, start: Any, end: Any) -> Array:
    return end + (start - end) * (1 + np.cos(np.pi * progress)) / 2


def _round(value: Array) -> Array:
    # Halves go up: rounding to even would make a course depend on the parity of its length.
    return np.floor(value + 0.5)


# --- reduce on plateau ---------------------------------------------------------------------------


class PlateauState(NamedTuple):
    """What reduce-on-plateau remembers of K members; arrays [K] of one array library."""

    scale: Any
    """Factor on the learning rate, from 1 down."""
    best: Any
    """Best loss so far; infinity before the first."""
    num_bad: Any
    """Evaluations since the best, outside cooldowns."""
    cooldown: Any
    """Evaluations of cooldown that are left."""


def plateau_init(num_members: int) -> PlateauState:
    """Return the state before the first evaluation, NumPy float64 [K].

    Args:
        num_members: K.

    Returns:
        Scale 1, no best loss, no count.
    """
    zeros = np.zeros(num_members)
    return PlateauState(np.ones(num_members), np.full(num_members, np.inf), zeros, zeros.copy())


def plateau_update(state: PlateauState, loss: Any, hp: Mapping[str, Any]) -> PlateauState:
    """Return the state after one evaluation: reduce the rate where the loss stopped improving.

    An evaluation is an improvement where ``loss < best − rtol·|best| − atol``. After
    ``plateau_patience`` evaluations in a row without one (cooldowns do not count),
    ``scale ← max(scale·plateau_factor, final_factor)`` and a cooldown begins. A NaN loss is no
    improvement.

    The patience is that of Optax and Keras: torch reduces one evaluation later, so that torch's
    patience p is p + 1 here. Differs from both where losses are negative: their tolerance
    ``best·(1 − rtol)`` then calls a slightly worse loss an improvement.

    Args:
        state: from :func:`plateau_init` or an earlier update; NumPy, JAX or any array-API arrays.
        loss: [K], lower is better (negate a metric that is maximised).
        hp: ``plateau_factor``, ``plateau_patience`` (evaluations), ``plateau_cooldown``
            (evaluations), ``plateau_rtol``, ``plateau_atol``, ``final_factor`` (smallest scale),
            each [K] or one for all; missing ones take their default, and so do NaN.

    Returns:
        The new state; ``state`` is left as it was.
    """
    xp = state.scale.__array_namespace__()
    defaults = SCHEDULES["reduce_on_plateau"].hyperparameters

    def value(name: str) -> Any:
        given = xp.asarray(hp.get(name, defaults[name]))
        return xp.where(xp.isnan(given), defaults[name], given)

    loss = xp.asarray(loss, dtype=state.best.dtype)
    first = ~xp.isfinite(state.best)
    best = xp.where(first, 0.0, state.best)
    tolerance = value("plateau_rtol") * xp.abs(best) + value("plateau_atol")
    improved = loss < xp.where(first, state.best, best - tolerance)
    cooling = state.cooldown > 0
    num_bad = xp.where(improved | cooling, 0.0, state.num_bad + 1)
    reduce = num_bad >= value("plateau_patience")
    # A floor above the present scale must not raise it.
    reduced = xp.minimum(
        state.scale, xp.maximum(state.scale * value("plateau_factor"), value("final_factor"))
    )
    dtype = state.scale.dtype
    return PlateauState(
        scale=xp.where(reduce, reduced, state.scale).astype(dtype),
        best=xp.where(improved, loss, state.best),
        num_bad=xp.where(reduce, 0.0, num_bad).astype(dtype),
        cooldown=xp.where(
            reduce, value("plateau_cooldown"), xp.maximum(state.cooldown - 1, 0.0)
        ).astype(dtype),
    )
