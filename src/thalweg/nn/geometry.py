"""Augmentations that move an image and what is known of its pixels together.

Rotation, change of size, shift and mirroring are one affine map from the pixels of the new image to
places in the old one: images are read there with bilinear weights, masks at the nearest pixel, and
boxes take the hull of their corners' new places. Outside the old image its border goes on, and a
mask says "ignore" there; boxes are clipped, and those of which less than a quarter is left are
dropped. The draws are common to the members of a seed and scaled by each one's own strength.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.nn import noise
from thalweg.nn.kernels import apart
from thalweg.task import IGNORE

MOVES = ("flip", "shift", "rotation", "zoom")
"""Augmentations that move pixels."""

TOGETHER = ("segmentation", "detection")
"""Kinds of tasks whose targets move with the image."""

LEAST_LEFT = 0.25
"""A box of which a smaller share remains in the image is dropped."""

_SALT = 20_011


def together(
    kind: str, image: Array, target: Array, strengths: Mapping[str, Array], key: noise.Key
) -> tuple[Array, Array]:
    """Move images and their targets.

    Args:
        kind: kind of the task, one of ``TOGETHER``.
        image: uint8 or float [B, H, W, C].
        target: masks [B, H, W], or boxes with classes [B, M, 5].
        strengths: of the augmentations, by name; only ``MOVES`` are read.
        key: the step's key.

    Returns:
        Images and targets of the same shapes and types.
    """
    if not any(name in strengths for name in MOVES):
        return image, target
    # Apart, or each tap of the first convolution would read its own moved image again.
    return apart(lambda image: _together(kind, image, target, strengths, key), image)


def _together(
    kind: str, image: Array, target: Array, strengths: Mapping[str, Array], key: noise.Key
) -> tuple[Array, Array]:
    num, height, width = image.shape[:3]
    matrix, offset = _maps(num, height, width, strengths, key)
    only_flips = not any(name in strengths for name in MOVES if name != "flip")
    if only_flips:
        flipped = matrix[:, 0, 0] < 0
        image = jnp.where(flipped[:, None, None, None], image[:, :, ::-1], image)
        if kind == "segmentation":
            return image, jnp.where(flipped[:, None, None], target[:, :, ::-1], target)
        return image, _moved_boxes(target, matrix, offset, height, width)
    x, y = _places(matrix, offset, height, width)
    # Mirrors and shifts by whole pixels copy: reading one pixel is enough.
    bent = "rotation" in strengths or "zoom" in strengths
    image = _read_bilinear(image, x, y) if bent else _take(image, x, y)
    if kind == "segmentation":
        return image, _read_nearest(target, x, y)
    return image, _moved_boxes(target, matrix, offset, height, width)


def _maps(
    num: int, height: int, width: int, strengths: Mapping[str, Array], key: noise.Key
) -> tuple[Array, Array]:
    """Return the affine maps from new places to old ones about the centre: [B, 2, 2] and [B, 2]."""
    draws = noise.uniform(noise.fold(key, _SALT), (5, num), axis=1)
    signed = 2 * draws - 1
    zero = jnp.zeros(num)
    turn = jnp.deg2rad(strengths["rotation"]) * signed[0] if "rotation" in strengths else zero
    size = jnp.exp(-strengths["zoom"] * signed[1]) if "zoom" in strengths else zero + 1
    mirror = jnp.where(draws[2] < strengths["flip"], -1.0, 1.0) if "flip" in strengths else zero + 1
    cos, sin = jnp.cos(turn) * size, jnp.sin(turn) * size
    matrix = jnp.stack(
        [jnp.stack([mirror * cos, -mirror * sin], -1), jnp.stack([sin, cos], -1)], axis=1
    )
    if "shift" not in strengths:
        return matrix, jnp.zeros((num, 2))
    sides = jnp.array([width, height], jnp.float32)
    # Whole pixels: a shift alone then blurs nothing.
    return matrix, jnp.round(strengths["shift"] * signed[3:].T * sides)


def _places(matrix: Array, offset: Array, height: int, width: int) -> tuple[Array, Array]:
    """Return where each new pixel's centre was, x and y in pixel indices [B, H, W]."""
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    columns = jnp.arange(width) - middle_x
    rows = (jnp.arange(height) - middle_y)[:, None]
    x, y = (
        matrix[:, i, 0, None, None] * columns
        + matrix[:, i, 1, None, None] * rows
        + offset[:, i, None, None]
        for i in (0, 1)
    )
    return x + middle_x, y + middle_y


def _read_bilinear(image: Array, x: Array, y: Array) -> Array:
    left, top = jnp.floor(x), jnp.floor(y)
    right_share, low_share = (x - left)[..., None], (y - top)[..., None]
    total = jnp.zeros((), jnp.float32)
    for down, row_share in ((0, 1 - low_share), (1, low_share)):
        for over, share in ((0, 1 - right_share), (1, right_share)):
            values = _take(image, left + over, top + down)
            total = total + row_share * share * values.astype(jnp.float32)
    if jnp.issubdtype(image.dtype, jnp.integer):
        total = jnp.round(total)
    return total.astype(image.dtype)


def _read_nearest(mask: Array, x: Array, y: Array) -> Array:
    height, width = mask.shape[1:]
    x, y = jnp.round(x), jnp.round(y)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return jnp.where(inside, _take(mask, x, y), np.asarray(IGNORE, mask.dtype))


def _take(values: Array, x: Array, y: Array) -> Array:
    """Return values [B, H, W, …] at whole places [B, H, W], the border going on outside."""
    num, height, width = values.shape[:3]
    column = jnp.clip(x, 0, width - 1).astype(jnp.int32)
    row = jnp.clip(y, 0, height - 1).astype(jnp.int32)
    index = (row * width + column).reshape(num, -1)
    flat = values.reshape(num, height * width, -1)
    return jnp.take_along_axis(flat, index[..., None], axis=1).reshape(values.shape)


def _moved_boxes(target: Array, matrix: Array, offset: Array, height: int, width: int) -> Array:
    """Return boxes after the inverse map, clipped; those that hardly remain have class -1."""
    sides = jnp.array([width, height], target.dtype)
    x0, y0, x1, y1, label = (target[..., i] for i in range(5))
    corners = jnp.stack(
        [jnp.stack([x, y], -1) for x, y in ((x0, y0), (x1, y0), (x0, y1), (x1, y1))], axis=2
    )
    a, b, c, d = (matrix[:, i, j] for i in (0, 1) for j in (0, 1))
    inverse = jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], axis=1)
    inverse = inverse / (a * d - b * c)[:, None, None]
    from_middle = corners - sides / 2 - offset[:, None, None, :]
    # A sum of two terms: a product of matrices this small costs more to start than to compute.
    moved = from_middle[..., :1] * inverse[:, None, None, :, 0]
    moved = moved + from_middle[..., 1:] * inverse[:, None, None, :, 1] + sides / 2
    low, high = moved.min(axis=2), moved.max(axis=2)
    inner_low, inner_high = jnp.clip(low, 0, sides), jnp.clip(high, 0, sides)
    left = jnp.prod(inner_high - inner_low, -1) / jnp.maximum(jnp.prod(high - low, -1), 1e-9)
    kept = (label >= 0) & (left >= LEAST_LEFT)
    boxes = jnp.concatenate([inner_low, inner_high], axis=-1)
    return jnp.concatenate([boxes, jnp.where(kept, label, -1)[..., None]], axis=-1)
