"""Random numbers inside a training step: a counter hashed with a key.

One stream serves a whole cohort: the key depends on seed, step and purpose, never on the member, so
that every member of a seed sees the same noise (common random numbers). A counter-based integer
hash costs a few multiplications an entry and fuses into whatever reads it; JAX's default generator
(threefry, 20 rounds) costs several times that and a good part of the compile time.

Source of the mixing constants: C. Wellons, "Prospecting for Hash Functions", 2018 (the function
called ``lowbias32``, improved constants by T. Ettinger).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

_GOLDEN = np.uint32(0x9E3779B9)


@dataclass(frozen=True)
class PartKey:
    """The key of one of several equal parts of a batch.

    With it a part's rows get the numbers that they would have got in the whole batch.
    """

    value: Array
    part: Array | int
    parts: int


jax.tree_util.register_dataclass(PartKey, data_fields=["value", "part"], meta_fields=["parts"])


Key = Array | PartKey
"""What random numbers are drawn with: a 32-bit integer, or that and a part of the batch."""

_SomeKey = TypeVar("_SomeKey", bound=Key)


def mix(x: Array) -> Array:
    """Scramble 32-bit integers so that every output bit depends on every input bit."""
    x = (x ^ (x >> 16)) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * np.uint32(0xD35A2D97)
    return x ^ (x >> 15)


def fold(key: _SomeKey, data: Array | int) -> _SomeKey:
    """Return a new key for ``data`` (a step, a layer's number) under ``key``."""
    if isinstance(key, PartKey):
        return cast("_SomeKey", replace(key, value=fold(key.value, data)))
    salt = jnp.asarray(data).astype(jnp.uint32) * _GOLDEN + _GOLDEN
    return cast("_SomeKey", mix(key ^ salt))


def bits(key: Key, shape: tuple[int, ...], axis: int = 0) -> Array:
    """Return uniform 32-bit integers of the given shape, whose rows lie along ``axis``."""
    counter = lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    if isinstance(key, PartKey):
        if shape:
            counter = _counter_of_part(key, shape, axis)
        key = key.value
    # The inner round knows only places, which are the same at every step: XLA computes it once.
    return mix(mix(counter * _GOLDEN + _GOLDEN) ^ key)


def _counter_of_part(key: PartKey, shape: tuple[int, ...], axis: int) -> Array:
    """Return the places that a part's entries have in the whole batch."""
    outer = lax.iota(jnp.uint32, math.prod(shape[:axis]))[:, None]
    own = math.prod(shape[axis:])
    first = jnp.asarray(key.part).astype(jnp.uint32) * np.uint32(own)
    places = outer * np.uint32(key.parts * own) + first + lax.iota(jnp.uint32, own)
    return places.reshape(shape)


def uniform(key: Key, shape: tuple[int, ...], axis: int = 0) -> Array:
    """Return float32 values uniform in [0, 1), 24 bits each; rows lie along ``axis``."""
    return (bits(key, shape, axis) >> 8).astype(jnp.float32) * np.float32(2.0**-24)


def normal(key: Key, shape: tuple[int, ...]) -> Array:
    """Return standard normal float32 values (Box and Muller, 1958)."""
    # 1 - u lies in (0, 1], where the logarithm is finite.
    radius = jnp.sqrt(-2.0 * jnp.log(1.0 - uniform(fold(key, 1), shape)))
    return radius * jnp.cos(np.float32(2.0 * math.pi) * uniform(fold(key, 2), shape))
