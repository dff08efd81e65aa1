"""Pooling of images and sequences.

Max pooling is the maximum of strided slices, which compiles to one vectorised pass on CPU
(``lax.reduce_window`` takes seven times as long there). Which of a window's entries was largest is
kept in a byte, and the gradient goes to that entry; among equal ones to the first, as in torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
from jax import Array, lax

from thalweg.nn.kernels import FEW_CHANNELS, Window, apart, convolve, on_cpu, shifted


def _first_largest(taps: Sequence[Array]) -> tuple[Array, Array]:
    """Return the entrywise maximum and the number of the first array that has it."""
    if len(taps) == 1:
        return taps[0], jnp.zeros(taps[0].shape, jnp.int8)
    half = len(taps) // 2
    (a, i), (b, j) = _first_largest(taps[:half]), _first_largest(taps[half:])
    # A NaN on either side must show.
    return jnp.maximum(a, b), jnp.where(a >= b, i, j + jnp.int8(half))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: Array, window: Window) -> Array:
    return _first_largest(shifted(x, window))[0]


def _max_pool_forward(x: Array, window: Window) -> tuple[Array, tuple[Array, Array]]:
    best, which = apart(lambda x: _first_largest(shifted(x, window)), x)
    # Only the shape of x is needed; an empty array carries it.
    return best, (which, jnp.zeros((0, *x.shape[1:3]), x.dtype))


def _max_pool_backward(window: Window, saved: tuple[Array, Array], dy: Array) -> tuple[Array]:
    which, like = saved
    (n, ho, wo, c), (height, width) = dy.shape, like.shape[1:]
    (kh, kw), (sh, sw) = window.kernel, window.stride
    number = jnp.arange(kh * kw, dtype=jnp.int8)
    if window.kernel == window.stride:
        own = which[:, :, None, :, None] == number.reshape(kh, 1, kw, 1)
        dx = jnp.where(own, dy[:, :, None, :, None], 0).reshape(n, ho * kh, wo * kw, c)
        rest = ((0, 0), (0, height - ho * kh), (0, width - wo * kw), (0, 0))
        return (jnp.pad(dx, rest) if height > ho * kh or width > wo * kw else dx,)
    dx = jnp.zeros((n, height, width, c), dy.dtype)
    for k in range(kh * kw):
        i, j = divmod(k, kw)
        part = jnp.where(which == number[k], dy, 0)
        high = (height - i - sh * (ho - 1) - 1, width - j - sw * (wo - 1) - 1)
        dx = dx + lax.pad(
            part, jnp.zeros((), dy.dtype),
            ((0, 0, 0), (i, high[0], sh - 1), (j, high[1], sw - 1), (0, 0, 0)),
        )  # fmt: skip
    return (dx,)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def max_pool(x: Array, size: int = 2, stride: int | None = None) -> Array:
    """Return the largest entry of each window of each channel, [N, H, W, C] to [N, Ho, Wo, C].

    Rows and columns that no longer fill a window are left out.
    """
    step = stride or size
    return cast(Array, _max_pool(x, Window((size, size), (step, step))))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _largest_of_groups(x: Array, groups: int) -> Array:
    return _first_largest(jnp.split(x, groups, axis=-1))[0]


def _largest_of_groups_forward(x: Array, groups: int) -> tuple[Array, Array]:
    return apart(lambda x: _first_largest(jnp.split(x, groups, axis=-1)), x)


def _largest_of_groups_backward(groups: int, which: Array, dy: Array) -> tuple[Array]:
    parts = [jnp.where(which == jnp.int8(k), dy, 0) for k in range(groups)]
    return (jnp.concatenate(parts, axis=-1),)


_largest_of_groups.defvjp(_largest_of_groups_forward, _largest_of_groups_backward)


def convolve_and_pool(x: Array, w: Array, window: Window, groups: int = 1) -> Array:
    """Return ``max_pool(convolve(x, w, window, groups))``, in fewer operations on CPU.

    Outputs that no pooling window needs are not computed. An image of few channels is convolved for
    the four places of a pooling window at once: a kernel one pixel larger, at every other pixel,
    with the four places as groups of channels, halves the gathering of patches and needs no
    interleaving of the places.
    """
    (kh, kw), (height, width) = window.kernel, x.shape[1:3]
    ho, wo = window.outputs((height, width))
    plain = window.stride == (1, 1) == window.dilation and groups == 1
    if not (on_cpu() and plain):
        return max_pool(convolve(x, w, window, groups))
    if x.shape[-1] <= FEW_CHANNELS and window.kernel != (1, 1):
        places = [(p, q) for p in (0, 1) for q in (0, 1)]
        wide = [jnp.pad(w, ((p, 1 - p), (q, 1 - q), (0, 0), (0, 0))) for p, q in places]
        both = Window((kh + 1, kw + 1), (2, 2), window.padding)
        return _largest_of_groups(convolve(x, jnp.concatenate(wide, axis=-1), both), len(places))
    cut = []
    for (low, high), over, size in zip(
        window.padding, (ho % 2, wo % 2), (height, width), strict=True
    ):
        # Less padding first, then less of the image.
        less = min(high, over)
        cut.append(((low, high - less), size - (over - less)))
    (rows, height), (columns, width) = cut
    return max_pool(convolve(x[:, :height, :width], w, Window((kh, kw), padding=(rows, columns))))


def average_pool(x: Array, size: int = 2, stride: int | None = None) -> Array:
    """Return the mean of each window of each channel, [N, H, W, C] to [N, Ho, Wo, C]."""
    step = stride or size
    taps = shifted(x, Window((size, size), (step, step)))
    return sum(taps[1:], start=taps[0]) / len(taps)


def max_pool_steps(x: Array, size: int = 2, stride: int | None = None) -> Array:
    """Return the largest entry of each window of steps, [B, T, C] to [B, To, C]."""
    pooled = _max_pool(x[:, None], Window((1, size), (1, stride or size)))
    return cast(Array, pooled)[:, 0]


def average_pool_steps(x: Array, size: int = 2, stride: int | None = None) -> Array:
    """Return the mean of each window of steps, [B, T, C] to [B, To, C]."""
    taps = shifted(x[:, None], Window((1, size), (1, stride or size)))
    return (sum(taps[1:], start=taps[0]) / len(taps))[:, 0]


def global_average_pool(x: Array) -> Array:
    """Return the mean over all positions of each channel, [B, ..., C] to [B, C]."""
    return x.reshape(x.shape[0], -1, x.shape[-1]).mean(1)


def global_max_pool(x: Array) -> Array:
    """Return the largest entry of each channel, [B, ..., C] to [B, C]."""
    return x.reshape(x.shape[0], -1, x.shape[-1]).max(1)
