"""Gradient clipping for one member, with traced thresholds.

A threshold of infinity switches a clip off without changing the program; ``None`` leaves it out of
the program. ``vmap`` adds the members.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["clip", "clip_by_global_norm", "clip_by_value", "global_norm"]

# Squares are taken of entries relative to the threshold times this, so that float32 overflows only
# beyond 1e31 thresholds; what underflows is below 1e-11 of the threshold and cannot matter.
_SHIFT = 2.0**-40


def global_norm(tree: Any) -> jax.Array:
    """Return ``√(Σ g²)`` over every entry of every array.

    Args:
        tree: pytree of floating-point arrays.

    Returns:
        A scalar; 0 for an empty tree. Overflows to infinity beyond 1.8e19 in float32.
    """
    return jnp.sqrt(_sum_of_squares(tree, 1.0))


def clip_by_global_norm(tree: Any, max_norm: Any) -> Any:
    """Scale all arrays together so that their global norm is at most ``max_norm``.

    ``g ← g·min(1, max_norm/‖g‖)`` with ``‖g‖ = √(Σ g²)`` over the whole tree. Gradients within the
    bound are returned bit for bit; NaN stays NaN.

    The same as Optax; torch divides by ``‖g‖ + 1e-6`` instead. Unlike both it still works where the
    squares overflow float32.

    Args:
        tree: pytree of gradients.
        max_norm: bound above 0, a scalar that may be traced; infinity switches the clip off.

    Returns:
        The clipped gradients, of the same structure and dtypes.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
    2013, algorithm 1.
    """
    scale = _SHIFT / jnp.asarray(max_norm)
    ratio = jnp.sqrt(_sum_of_squares(tree, scale)) / _SHIFT
    above = ratio > 1
    # A comparison with NaN is false: gradients that are NaN already pass through unchanged.
    factor = jnp.where(above, 1 / jnp.where(above, ratio, 1), 1)
    return jax.tree.map(lambda g: g * factor.astype(g.dtype), tree)


def clip_by_value(tree: Any, max_value: Any) -> Any:
    """Clip every entry: ``g ← min(max(g, −max_value), max_value)``.

    Args:
        tree: pytree of gradients.
        max_value: bound above 0, a scalar that may be traced; infinity switches the clip off.

    Returns:
        The clipped gradients, of the same structure and dtypes.

    Source: Mikolov, "Statistical language models based on neural networks", 2012, section 3.3.
    """

    def clipped(g: jax.Array) -> jax.Array:
        bound = jnp.asarray(max_value).astype(g.dtype)
        return jnp.clip(g, -bound, bound)

    return jax.tree.map(clipped, tree)


def clip(tree: Any, max_norm: Any = None, max_value: Any = None) -> Any:
    """Clip by value, then by global norm, so that both bounds hold in the end.

    In this order one outlying entry cannot shrink all others to nothing.

    Args:
        tree: pytree of gradients.
        max_norm: as for :func:`clip_by_global_norm`; ``None`` leaves this clip out of the program.
        max_value: as for :func:`clip_by_value`; ``None`` leaves this clip out of the program.

    Returns:
        The clipped gradients, of the same structure and dtypes.

    Example:
        >>> clip({"w": jnp.array([3.0, -4.0])}, max_value=2.0)["w"].tolist()
        [2.0, -2.0]
    """
    if max_value is not None:
        tree = clip_by_value(tree, max_value)
    if max_norm is not None:
        tree = clip_by_global_norm(tree, max_norm)
    return tree


def _sum_of_squares(tree: Any, scale: Any) -> jax.Array:
    total = jnp.zeros(())
    for leaf in jax.tree.leaves(tree):
        # At least float32: the squares of a half-precision gradient overflow at 256.
        wide = jnp.promote_types(leaf.dtype, jnp.float32)
        scaled = leaf.astype(wide) * jnp.asarray(scale).astype(wide)
        total = total + jnp.sum(jnp.square(scaled))
    return total
