"""Small parameters side by side in one array, so that a step updates them in one pass.

An operation on a CPU costs about half a microsecond to start and 15 milliseconds to compile,
whatever it works on. Biases, scales and small kernels are therefore kept end to end in one vector;
large kernels stay on their own, because gathering their gradients would cost more than it saves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

SMALL = 8192
PACKED = "packed"


@dataclass(frozen=True)
class Packing:
    """Which parameters share the vector, and where they stand in it.

    Args:
        shapes: name and shape of every parameter of one member, in order.
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @cached_property
    def small(self) -> tuple[tuple[str, tuple[int, ...], int, int], ...]:
        """Name, shape, first and last position of each parameter in the vector."""
        found, start = [], 0
        for name, shape in self.shapes:
            size = math.prod(shape)
            if size < SMALL:
                found.append((name, shape, start, start + size))
                start += size
        return tuple(found)

    @property
    def segments(self) -> dict[str, tuple[int, ...]]:
        """Sizes of the parameters in the vector, for what needs each one's own norm."""
        return {PACKED: tuple(stop - start for _, _, start, stop in self.small)}

    def pack(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Return the large parameters by name and the vector of the small ones; [..., *shape]."""
        names = {name for name, *_ in self.small}
        packed = {name: tree[name] for name, _ in self.shapes if name not in names}
        if self.small:
            xp = np if isinstance(tree[self.small[0][0]], np.ndarray) else jnp
            flat = [
                tree[name].reshape(*tree[name].shape[: tree[name].ndim - len(shape)], -1)
                for name, shape, _, _ in self.small
            ]
            packed[PACKED] = flat[0] if len(flat) == 1 else xp.concatenate(flat, axis=-1)
        return packed

    def unpack(self, packed: Mapping[str, Any]) -> dict[str, Any]:
        """Return every parameter by name, in order; inverse of ``pack``."""
        small = {
            name: packed[PACKED][..., start:stop].reshape(*packed[PACKED].shape[:-1], *shape)
            for name, shape, start, stop in self.small
        }
        return {name: small[name] if name in small else packed[name] for name, _ in self.shapes}
