"""One network's batch shared out over cores: what differs from training it on one.

Operations of one small network keep one core busy, whatever the compiler does. Here each core (a
device of its own to XLA) takes an equal part of a batch's rows, and losses and gradients are summed
at every step, so that all hold the same weights at all times. The rows, their random numbers and
the result are those of one core, to rounding.

Only for a network that trains alone: several side by side use the cores better.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

SMALL = 1 << 16
_AXIS = "parts"
_EVERYWHERE = PartitionSpec()


@cache
def _mesh(parts: int) -> Mesh:
    return jax.make_mesh((parts,), (_AXIS,), devices=jax.devices()[:parts])


def everywhere(parts: int) -> NamedSharding:
    """Return the layout of arrays that every core holds whole."""
    return NamedSharding(_mesh(parts), _EVERYWHERE)


def shapes_everywhere(tree: Any, parts: int) -> Any:
    """Return the shapes of a tree of arrays that every core holds whole."""
    place = everywhere(parts)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), tree)


def over_parts(program: Callable[..., Any], parts: int) -> Callable[..., Any]:
    """Return a program that runs on every core, on the same arguments, with the same result."""
    return jax.shard_map(
        program, mesh=_mesh(parts), in_specs=_EVERYWHERE, out_specs=_EVERYWHERE, check_vma=False
    )


def part() -> Array:
    """Return the number of the part that this core takes."""
    return lax.axis_index(_AXIS)


def own(rows: Any, parts: int) -> Any:
    """Return this core's part of a tree of rows [B, …]; ``parts`` divides B."""

    def cut(values: Array) -> Array:
        size = values.shape[0] // parts
        return lax.dynamic_slice_in_dim(values, part() * size, size)

    return jax.tree.map(cut, rows)


def share_of(weight: Array | None, parts: int) -> Array | float:
    """Return this core's share of the weight of the batch's rows ([B] on each, None for alike)."""
    if weight is None:
        return 1.0 / parts
    mine = weight.sum()
    total = lax.psum(mine, _AXIS)
    return mine / jnp.where(total > 0, total, 1)


def total(tree: Any) -> Any:
    """Return the sum of trees of arrays over all cores.

    Small arrays go together, as each exchange is waited for; joining large ones costs more.
    """
    leaves, treedef = jax.tree.flatten(tree)
    small = [i for i, leaf in enumerate(leaves) if leaf.size < SMALL]
    together = lax.psum(jnp.concatenate([leaves[i].reshape(-1) for i in small]), _AXIS)
    first = 0
    for i, leaf in enumerate(leaves):
        if i in small:
            leaves[i] = together[first : first + leaf.size].reshape(leaf.shape)
            first += leaf.size
        else:
            leaves[i] = lax.psum(leaf, _AXIS)
    return jax.tree.unflatten(treedef, leaves)


def by_parts(function: Callable[[Any], Any], rows: Any, parts: int) -> Any:
    """Return ``function`` of a tree of rows [N, …], each core's part computed there."""
    num = jax.tree.leaves(rows)[0].shape[0]
    missing = -num % parts

    def padded(values: Array) -> Array:
        return jnp.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1))

    done = function(own(jax.tree.map(padded, rows), parts))
    return jax.tree.map(lambda a: lax.all_gather(a, _AXIS, tiled=True)[:num], done)
