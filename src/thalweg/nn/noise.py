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

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

_GOLDEN = np.uint32(0x9E3779B9)


def mix(x: Array) -> Array:
    """Scramble 32-bit integers so that every output bit depends on every input bit."""
    x = (x ^ (x >> 16)) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * np.uint32(0xD35A2D97)
    return x ^ (x >> 15)


def fold(key: Array, data: Array | int) -> Array:
    """Return a new key for ``data`` (a step, a layer's number) under ``key``."""
    return mix(key ^ (jnp.asarray(data).astype(jnp.uint32) * _GOLDEN + _GOLDEN))


def bits(key: Array, shape: tuple[int, ...]) -> Array:
    """Return uniform 32-bit integers of the given shape."""
    size = math.prod(shape)
    counter = lax.iota(jnp.uint32, size).reshape(shape)
    return mix(mix(counter * _GOLDEN + key) ^ (key * np.uint32(0x85EBCA6B)))


def uniform(key: Array, shape: tuple[int, ...]) -> Array:
    """Return float32 values uniform in [0, 1), 24 bits each."""
    return (bits(key, shape) >> 8).astype(jnp.float32) * np.float32(2.0**-24)


def normal(key: Array, shape: tuple[int, ...]) -> Array:
    """Return standard normal float32 values (Box and Muller, 1958)."""
    # 1 - u lies in (0, 1], where the logarithm is finite.
    radius = jnp.sqrt(-2.0 * jnp.log(1.0 - uniform(fold(key, 1), shape)))
    return radius * jnp.cos(np.float32(2.0 * math.pi) * uniform(fold(key, 2), shape))
