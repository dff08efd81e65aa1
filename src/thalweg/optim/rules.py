"""Every first-order update rule as one elementwise update with scalar coefficients.

The equations and the rows are in :mod:`thalweg.optim.coefficients`. Here, on the host,
:func:`table` computes the scalars of many steps and members at once, each member of its own kind;
in the compiled program, :func:`update` takes one step of one member, and ``vmap`` adds the others:

.. code-block:: python

    uses = features(kinds)                        # static: what the program must contain
    state = init_state(params, uses, initial)     # one member's; from initial_values(kinds, hp)
    rows = stack(table(kinds, hp, first_step, num_steps, uses=uses), uses)            # [T, K, C]
    params, state = update(params, grads, state, unstack(rows[t, k], uses), uses)

A program that is compiled for some kinds runs any mixture of them, in any order, at any values of
their hyperparameters.

XLA's CPU compiler writes one array by each kernel and reads its operands anew, so that the cost of
an update is the number of times that it touches an array of the parameters' size: 10 for Adam
alone, as in Optax, and 23 for all rules at once. That decides the form here: the direction ``u`` is
computed once and kept (:func:`_step`), norms are sums of short columns (:func:`_norm`), and a large
member that runs alone takes its own branch, 6 to 23 (:func:`_by_group`).
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.errors import SpaceError, unknown_option
from thalweg.optim.coefficients import HUGE, NEUTRAL, RULES, TINY, Rule

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

_ALWAYS = ("learning_rate", "weight_decay")
_READS_W = frozenset({"x_w", "k_w", "w_a", "p_w", "p_z"})

# From how many parameters on a member that runs alone branches on its group; below, a branch costs
# more than the arithmetic that it saves.
_LARGE = 32_768

# What a hyperparameter must satisfy: lowest (allowed) and highest (not allowed).
_RANGES: dict[str, tuple[float, float]] = {
    "momentum": (0.0, 1.0),
    "b1": (0.0, 1.0),
    "b2": (0.0, 1.0),
    "gamma": (TINY, 1.0),
    "final_lr": (TINY, np.inf),
    "threshold": (4.0, np.inf),
}
# Lion's numerator is recovered from the new average, which holds the old one b2 times.
_LION_B2 = (1e-3, 1.0)


# --- host -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Uses:
    """What a compiled :func:`update` contains: static, hashable, the same for any mixture of kinds.

    Attributes:
        groups: Sets of coefficients. Where members run one at a time, each group is a branch and a
            member pays for its own; where they run side by side, all pay for the union.
    """

    groups: tuple[frozenset[str], ...]

    @functools.cached_property
    def union(self) -> frozenset[str]:
        """Return every coefficient that some group has."""
        return frozenset().union(*self.groups)

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the scalars that :func:`update` reads, in a fixed order."""
        named = tuple(name for name in NEUTRAL if name in _ALWAYS or name in self.union)
        return (*named, "group") if len(self.groups) > 1 else named

    @property
    def state(self) -> tuple[str, ...]:
        """Return which of ``m``, ``v`` and ``w`` are kept."""
        return _state_names(self.union)

    def merged(self) -> Uses:
        """Return the same features as one group, for tables made by :func:`blend`."""
        return Uses((self.union,))


def _state_names(group: frozenset[str]) -> tuple[str, ...]:
    kept = {"m": "m_b" in group, "v": "v_b" in group, "w": bool(group & _READS_W)}
    return tuple(name for name, needed in kept.items() if needed)


def _rule(kind: str) -> Rule:
    try:
        return RULES[kind]
    except KeyError:
        raise unknown_option("optimizer", kind, RULES) from None


def _defaults(rule: Rule) -> dict[str, float]:
    return {"learning_rate": rule.learning_rate, "weight_decay": 0.0, **rule.hyperparameters}


@functools.cache
def _own_columns(kind: str) -> frozenset[str]:
    rule = _rule(kind)
    hp = {name: np.array([value]) for name, value in _defaults(rule).items()}
    return frozenset(rule.coefficients(np.ones((1, 1)), hp))


def _class(columns: frozenset[str]) -> int:
    # Kinds that keep a third array, and kinds that need norms, each cost the others something.
    return 2 if "trust" in columns else 1 if columns & _READS_W else 0


def features(kinds: Iterable[str]) -> Uses:
    """Return what a program must contain to run these kinds.

    Args:
        kinds: Names of rules; repeats and order do not matter.

    Returns:
        The static argument of :func:`init_state` and :func:`update`.

    Raises:
        OptionError: A kind is not a row of the table.
    """
    classes: dict[int, frozenset[str]] = {}
    for kind in dict.fromkeys(kinds):
        columns = _own_columns(kind)
        key = _class(columns)
        classes[key] = classes.get(key, frozenset()) | columns
    return Uses(tuple(classes[key] for key in sorted(classes)))


def columns(uses: Uses) -> tuple[str, ...]:
    """Return the names of the scalars that :func:`update` reads, in the order of :func:`stack`."""
    return uses.columns


def hyperparameters(kinds: Sequence[str], hp: Mapping[str, Any]) -> dict[str, Array]:
    """Fill in each member's hyperparameters: what is missing or NaN takes its rule's default.

    Args:
        kinds: Each member's rule, K of them.
        hp: From a hyperparameter's name to K values or one for all. Names that a member's rule does
            not have are ignored for it.

    Returns:
        From every name that a rule in ``kinds`` has, and ``learning_rate`` and ``weight_decay``, to
        float64 [K]; NaN where a member's rule does not have it.

    Raises:
        OptionError: A kind is not a row of the table.
        SpaceError: A value is outside its range.
    """
    defaults = [_defaults(_rule(kind)) for kind in kinds]
    filled = {}
    for name in sorted({name for own in defaults for name in own}):
        default = np.array([own.get(name, np.nan) for own in defaults], np.float64)
        given = np.asarray(hp.get(name, np.nan), np.float64)
        value = np.where(np.isnan(given) | np.isnan(default), default, given)
        _check(name, value, kinds)
        filled[name] = value
    return filled


def _check(name: str, value: Array, kinds: Sequence[str]) -> None:
    for index, (kind, number) in enumerate(zip(kinds, value, strict=True)):
        lion = kind == "lion" and name == "b2"
        low, high = _LION_B2 if lion else _RANGES.get(name, (0.0, np.inf))
        if number < low or number >= high:
            raise SpaceError(
                f"{low:g} <= {name} < {high:g} must hold for {kind}; got {number:g} for member "
                f"{index}: change its value or its range"
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
        first_step: The number of the first step, from 1; one for all or one for each member.
        num_steps: T.
        schedule: What multiplies the base rate, broadcastable to [T, K].
        uses: What the program was compiled for; ``features(kinds)`` where None.
        dtype: The results' dtype; everything is computed in float64 before.

    Returns:
        From each name of ``uses.columns`` to an array [T, K].

    Raises:
        OptionError: A kind is not a row of the table.
        SpaceError: A hyperparameter is outside its range, or ``uses`` lacks what a kind needs.
    """
    kinds = list(kinds)
    filled = hyperparameters(kinds, hp)
    uses = features(kinds) if uses is None else uses
    group_of = _groups(kinds, uses)
    result = {
        name: np.full((num_steps, len(kinds)), NEUTRAL.get(name, 0.0)) for name in uses.columns
    }
    first = np.broadcast_to(np.asarray(first_step, np.float64), (len(kinds),))
    steps = np.arange(num_steps, dtype=np.float64)[:, None] + first
    for kind in dict.fromkeys(kinds):
        members = [index for index, other in enumerate(kinds) if other == kind]
        own = {name: value[members] for name, value in filled.items()}
        for name, value in RULES[kind].coefficients(steps[:, members], own).items():
            result[name][:, members] = value
        if "group" in result:
            result["group"][:, members] = group_of[kind]
    result["learning_rate"][:] = filled["learning_rate"] * np.asarray(schedule, np.float64)
    result["weight_decay"][:] = filled["weight_decay"]
    return {name: np.clip(value, -HUGE, HUGE).astype(dtype) for name, value in result.items()}


def _groups(kinds: Iterable[str], uses: Uses) -> dict[str, int]:
    result = {}
    for kind in dict.fromkeys(kinds):
        own = _own_columns(kind)
        fitting = [index for index, group in enumerate(uses.groups) if own <= group]
        if not fitting:
            raise SpaceError(
                f"uses must cover every kind; got {kind!r}, which it lacks: use features(kinds)"
            )
        result[kind] = fitting[0]
    return result


def stack(coefficients: Mapping[str, Array], uses: Uses) -> Array:
    """Return the columns of a table as one array [T, K, C], so that a step reads one slice."""
    return np.stack([coefficients[name] for name in uses.columns], axis=-1)


def unstack(row: Any, uses: Uses) -> dict[str, Any]:
    """Return the scalars by name from the last axis [C] of what :func:`stack` returned."""
    return {name: row[..., index] for index, name in enumerate(uses.columns)}


def blend(a: Mapping[str, Array], b: Mapping[str, Array], weight: Any) -> dict[str, Array]:
    """Return ``(1 − weight)·a + weight·b``, column by column: a rule between two rules.

    At 0 and 1 these are the two rules. Make both tables with the same ``uses.merged()``; the state
    starts at the same mixture of :func:`initial_values`.

    Args:
        a: A table.
        b: Another for the same members, steps and columns.
        weight: In [0, 1], broadcastable to [T, K].

    Returns:
        A table of the same columns and dtypes.

    Raises:
        SpaceError: The tables were made for groups of kinds, or for different columns.
    """
    if "group" in a or a.keys() != b.keys():
        raise SpaceError(
            "tables must have the same columns and no groups to be blended; got "
            f"{', '.join(sorted(a))} and {', '.join(sorted(b))}: pass uses.merged() to both"
        )
    weight = np.asarray(weight, np.float64)
    return {
        name: ((1 - weight) * np.float64(a[name]) + weight * b[name]).astype(a[name].dtype)
        for name in a
    }


def initial_values(kinds: Sequence[str], hp: Mapping[str, Any]) -> dict[str, Array]:
    """Return the value at which each member's ``m`` and ``v`` start: ``{"m": [K], "v": [K]}``.

    Zero except for Adagrad and Yogi. Raises what :func:`hyperparameters` raises.
    """
    filled = hyperparameters(kinds, hp)
    result = {name: np.zeros(len(kinds), np.float32) for name in ("m", "v")}
    for index, kind in enumerate(kinds):
        own = {name: value[index] for name, value in filled.items()}
        for name, value in RULES[kind].initial(own).items():
            result[name][index] = value
    return result


# --- compiled program -----------------------------------------------------------------------------


def _accumulator_dtype(dtype: Any) -> Any:
    import jax.numpy as jnp

    # An average with decay 0.999 stands still in bfloat16: state is never narrower than float32.
    return jnp.promote_types(dtype, jnp.float32)


def init_state(params: Any, uses: Uses, initial: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return one member's optimizer state: a dict of pytrees like ``params``.

    Args:
        params: A pytree of floating-point arrays.
        uses: From :func:`features`.
        initial: One member's scalars of :func:`initial_values`; zero where None.

    Returns:
        Those of ``m``, ``v`` and ``w`` that ``uses`` keeps, in float32 or wider.
    """
    import jax
    import jax.numpy as jnp

    def full(value: Any) -> Any:
        return jax.tree.map(lambda p: jnp.full(p.shape, value, _accumulator_dtype(p.dtype)), params)

    return {name: full((initial or {}).get(name, 0.0)) for name in uses.state}


def update(
    params: Any,
    grads: Any,
    state: Mapping[str, Any],
    coefficients: Mapping[str, Any],
    uses: Uses,
    alive: Any = None,
    segments: Mapping[str, Sequence[int]] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Take one step of one member, learning rate and weight decay included.

    Under ``vmap`` all members run the same union of what their kinds need.

    Args:
        params: A pytree of floating-point arrays.
        grads: A pytree like ``params``.
        state: From :func:`init_state` or the step before.
        coefficients: One step's scalars by name, as in :func:`table`.
        uses: From :func:`features`; static.
        alive: A Boolean scalar; where it is False everything stays as it was. None means True.
        segments: For a vector of ``params`` that holds several parameters end to end, by its name,
            their sizes: trust ratios are then taken for each of them.

    Returns:
        The new parameters and state, of the same structure and dtypes.
    """
    import jax
    import jax.numpy as jnp

    paths, treedef = jax.tree_util.tree_flatten_with_path(params)
    leaves = [leaf for _, leaf in paths]
    names = [str(getattr(path[-1], "key", "")) if path else "" for path, _ in paths]
    sizes = [tuple((segments or {}).get(name, ())) for name in names]
    slots = {name: treedef.flatten_up_to(state[name]) for name in uses.state}
    scalars = {name: jnp.asarray(coefficients[name]) for name in uses.columns}
    grads = treedef.flatten_up_to(grads)
    if len(uses.groups) > 1 and sum(leaf.size for leaf in leaves) >= _LARGE:
        row = jnp.stack(list(scalars.values()))
        results = _by_group(leaves, slots, grads, row, alive, uses, sizes)
    else:
        results = _step(leaves, slots, grads, scalars, alive, group=uses.union, sizes=sizes)
    return treedef.unflatten(results[0]), {
        name: treedef.unflatten(slot) for name, slot in results[1].items()
    }


def _by_group(
    leaves: Any, slots: Any, grads: Any, row: Any, alive: Any, uses: Uses, sizes: Any
) -> tuple[list[Any], dict[str, list[Any]]]:
    """Update a member by its own group where it runs alone, by the union beside others."""
    import jax
    from jax.custom_batching import custom_vmap

    @custom_vmap
    def step(leaves: Any, slots: Any, grads: Any, row: Any, alive: Any) -> Any:
        own = unstack(row, uses)["group"]
        carry = (leaves, slots)
        for index, group in enumerate(uses.groups):

            def body(_: Any, carry: Any, group: frozenset[str] = group) -> Any:
                # Otherwise products that do not change from round to round are taken in advance.
                (leaves, slots), now, c = jax.lax.optimization_barrier((carry, grads, row))
                scalars = unstack(c, uses)
                return _step(leaves, slots, now, scalars, alive, group=group, sizes=sizes)

            # A loop of no or one round: unlike a conditional's, its results stay where they are.
            carry = jax.lax.fori_loop(0, (own == index).astype(int), body, carry)
        return carry

    @step.def_vmap
    def side_by_side(size: int, batched: Any, *args: Any) -> Any:
        axes = tuple(jax.tree.map(lambda is_batched: 0 if is_batched else None, batched))
        if size == 1:
            first = jax.tree.map(lambda a, axis: a if axis is None else a[0], args, axes)
            result = jax.tree.map(lambda a: a[None], step(*first))
        else:

            def union(leaves: Any, slots: Any, grads: Any, row: Any, alive: Any) -> Any:
                scalars = unstack(row, uses)
                return _step(leaves, slots, grads, scalars, alive, group=uses.union, sizes=sizes)

            result = jax.vmap(union, in_axes=axes, axis_size=size)(*args)
        return result, jax.tree.map(lambda _: True, result)

    return step(leaves, slots, grads, row, alive)


def _scalars_as(scalars: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    return {name: value.astype(dtype) for name, value in scalars.items()}


def _moments(
    g: Any, state: Mapping[str, Any], c: Mapping[str, Any], group: frozenset[str]
) -> dict[str, Any]:
    """Return the new ``m`` and ``v`` of one array."""
    import jax.numpy as jnp

    new: dict[str, Any] = {}
    if "m_b" in group:
        new["m"] = c["m_a"] * state["m"] + c["m_b"] * g
    if "v_b" in group:
        v = state["v"]
        s = g + c["s_m"] * new["m"] if "s_m" in group else g
        if "s_0" in group:
            s = jnp.abs(s) + c["s_0"]
        s = s * s
        gain = c["v_b"] * s
        if "yogi" in group:
            gain = gain * jnp.sign(s - c["yogi"] * v)
        average = c["v_a"] * v + gain if "v_a" in group else gain
        if "v_0" in group:
            average = average + c["v_0"]
        new["v"] = jnp.maximum(c["v_max"] * v, average) if "v_max" in group else average
    return new


def _direction(
    g: Any,
    new: Mapping[str, Any],
    state: Mapping[str, Any],
    c: Mapping[str, Any],
    group: frozenset[str],
) -> Any:
    """Return ``u`` of one array."""
    import jax.numpy as jnp

    numerator = {"n_g": g, "n_m": new.get("m")}
    n = _sum(c, numerator, group)
    if not group & {"v_b", "sign"}:
        return n
    terms = [c["e_out"]] if "e_out" in group else []
    if "v_b" in group:
        x = c["x_v"] * new["v"] if "x_v" in group else new["v"]
        if "x_m" in group:
            # Rounding can leave a variance just below zero, whose root would be NaN.
            x = jnp.maximum(x - c["x_m"] * new["m"] * new["m"], 0)
        if "x_w" in group:
            x = jnp.maximum(c["x_w"] * state["w"], x)
        if "e_in" in group:
            x = x + c["e_in"]
        if "k_w" in group:
            k = c["k_0"] + c["k_w"] * state["w"]
            n, x = n * k, x * k
        terms.append(jnp.sqrt(x))
    if "sign" in group:
        terms.append(c["sign"] * jnp.abs(n))
    d = functools.reduce(operator.add, terms)
    if "d_low" in group:
        d = jnp.minimum(jnp.maximum(d, c["d_low"]), c["d_high"])
    return n / d


def _norm(x: Any) -> Any:
    """Return the Euclidean norm of an array, in blocks of 32 rows first.

    XLA's CPU compiler turns a longer sum into several passes over an array of squares; sums down
    short columns are one pass without it. The barrier keeps the two sums from being joined.
    """
    import jax
    import jax.numpy as jnp

    width = x.shape[-1] if x.ndim > 1 else min(64, x.size)
    blocks = x.size // (32 * width)
    flat, whole = x.reshape(-1), blocks * 32 * width
    total = jnp.sum(jnp.square(flat[whole:]))
    if blocks:
        columns = jnp.sum(jnp.square(flat[:whole].reshape(blocks, 32, width)), axis=1)
        total = total + jnp.sum(jax.lax.optimization_barrier(columns))
    return jnp.sqrt(total)


def _ratio(p: Any, r: Any, c: Mapping[str, Any]) -> Any:
    """Return the trust ratio of one array; 1 where either norm is zero."""
    import jax.numpy as jnp

    p_norm, r_norm = _norm(p), _norm(r)
    usable = (c["trust"] > 0) & (p_norm > 0) & (r_norm > 0)
    coefficient = c.get("trust_coefficient", 1)
    return jnp.where(
        usable, coefficient * p_norm / jnp.where(usable, r_norm + c.get("trust_eps", 0), 1), 1
    )


def _ratios(p: Any, r: Any, c: Mapping[str, Any], sizes: tuple[int, ...]) -> Any:
    """Return the trust ratio of one array, or of each of those that lie end to end in a vector."""
    import jax.numpy as jnp

    if not sizes:
        return _ratio(p, r, c)
    ends = tuple(itertools.accumulate(sizes))
    parts = [
        jnp.broadcast_to(_ratio(p[end - size : end], r[end - size : end], c), (size,))
        for size, end in zip(sizes, ends, strict=True)
    ]
    return jnp.concatenate(parts)


def _step(
    leaves: Any,
    slots: Any,
    grads: Any,
    scalars: Mapping[str, Any],
    alive: Any,
    *,
    group: frozenset[str],
    sizes: Sequence[tuple[int, ...]],
) -> tuple[list[Any], dict[str, list[Any]]]:
    """Update every array of one member."""
    import jax
    import jax.numpy as jnp

    names = _state_names(group)
    new_leaves, new_slots = [], {name: list(slot) for name, slot in slots.items()}
    for index, (param, grad) in enumerate(zip(leaves, grads, strict=True)):
        dtype = _accumulator_dtype(param.dtype)
        c = _scalars_as(scalars, dtype)
        p, g = param.astype(dtype), grad.astype(dtype)
        state = {name: slots[name][index] for name in names}
        new = _moments(g, state, c, group)
        if alive is not None:
            new = {name: jnp.where(alive, value, state[name]) for name, value in new.items()}
        if new:
            # Without the barrier the parameters' kernel computes the moments again from the old
            # ones, which must then be copied before they are overwritten.
            new = jax.lax.optimization_barrier(new)
        u = _direction(g, new, state, c, group)
        decay = c["weight_decay"]
        if "trust" in group:
            u = u + c["trust"] * decay * p
            decay = (1 - c["trust"]) * decay
        if "trust" in group or "w" in names:
            # Several passes read the direction: without the barrier each computes it again.
            u = jax.lax.optimization_barrier(u)
        r = u * _ratios(p, u, c, sizes[index]) if "trust" in group else u
        rate = c["learning_rate"]
        if "w" in names:
            new["w"] = _third(state["w"], new, u, r, rate, c, group)
        if group & {"p_w", "p_z"}:
            late = _sum(c, {"p_w": 1, "p_z": rate}, group)
            step = rate - late * _sum(c, {"w_r": 1, "w_z": rate}, group)
            moved = p - (step * r + rate * decay * p + late * new["w"])
        else:
            moved = p - rate * (r + decay * p)
        if alive is not None:
            moved = jnp.where(alive, moved, p)
            if "w" in names:
                new["w"] = jnp.where(alive, new["w"], state["w"])
        new_leaves.append(moved.astype(param.dtype))
        for name, value in new.items():
            new_slots[name][index] = value
    return new_leaves, new_slots


def _sum(c: Mapping[str, Any], factors: Mapping[str, Any], group: frozenset[str]) -> Any:
    """Return the sum of those coefficients that the group has, each times its factor."""
    terms = [c[name] * factor for name, factor in factors.items() if name in group]
    return functools.reduce(operator.add, terms)


def _third(
    w: Any,
    new: Mapping[str, Any],
    u: Any,
    r: Any,
    rate: Any,
    c: Mapping[str, Any],
    group: frozenset[str],
) -> Any:
    """Return the new ``w`` of one array."""
    import jax.numpy as jnp

    factors = {"w_a": w, "w_u": jnp.square(u), "w_r": r, "w_z": rate * r}
    if "w_x" in group:
        x = c["x_v"] * new["v"] if "x_v" in group else new["v"]
        factors["w_x"] = jnp.maximum(w, x)
    return _sum(c, factors, group)
