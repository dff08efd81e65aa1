"""Boxes in images: the grid that a detector predicts on, and the geometry of corners.

A detector divides the image into cells of ``STRIDE`` pixels and gives each cell C class logits and
the logarithms of four distances, in cells, from the cell's centre to the left, upper, right and
lower side of the box that lies over it (as FCOS does). Boxes are ``x0, y0, x1, y1`` in pixels, x to
the right, y downwards, corners between pixels: a box over the whole image is ``0, 0, W, H``.
Targets are float32 [N, M, 5], box and class, with class -1 where an image has fewer than M.

Sources: Zhou, Wang and Krähenbühl, "Objects as Points", 2019 (peaks of a heat map instead of
suppressing overlapping boxes); Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection",
2019 (distances to the four sides).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

STRIDE = 4
"""Pixels in a side of a cell."""

NUM_SIDES = 4
NUM_PEAKS = 50
"""Detections kept for an image at most."""

# exp(6) cells are 1,600 pixels: no box reaches further, and no exponential overflows.
_LONGEST = 6.0


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of the grid over an image."""
    return -(-height // STRIDE), -(-width // STRIDE)


def activate(outputs: Any) -> Any:
    """Return class probabilities and distances in pixels from raw outputs [..., C + 4].

    NumPy arrays in, NumPy arrays out; shapes stay.
    """
    xp = outputs.__array_namespace__()
    heat, sides = outputs[..., :-NUM_SIDES], outputs[..., -NUM_SIDES:]
    heat = xp.exp(-xp.logaddexp(-heat, xp.zeros_like(heat)))
    sides = STRIDE * xp.exp(xp.clip(sides, -_LONGEST, _LONGEST))
    return xp.concat([heat, sides], axis=-1)


def boxes_of(sides: Array) -> Array:
    """Return corners [..., h, w, 4] from distances in pixels [..., h, w, 4]."""
    rows, columns = sides.shape[-3:-1]
    y = (jnp.arange(rows, dtype=sides.dtype)[:, None] + 0.5) * STRIDE
    x = (jnp.arange(columns, dtype=sides.dtype)[None, :] + 0.5) * STRIDE
    left, top, right, bottom = (sides[..., i] for i in range(NUM_SIDES))
    return jnp.stack([x - left, y - top, x + right, y + bottom], axis=-1)


def overlap(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """Return intersection, union and area of the hull of boxes, whose shapes broadcast.

    Args:
        a: corners [..., 4].
        b: corners [..., 4].
    """
    low = jnp.maximum(a[..., :2], b[..., :2])
    high = jnp.minimum(a[..., 2:4], b[..., 2:4])
    common = jnp.prod(jnp.maximum(high - low, 0), axis=-1)
    hull = jnp.maximum(a[..., 2:4], b[..., 2:4]) - jnp.minimum(a[..., :2], b[..., :2])
    areas = [jnp.prod(jnp.maximum(box[..., 2:4] - box[..., :2], 0), axis=-1) for box in (a, b)]
    return common, areas[0] + areas[1] - common, jnp.prod(jnp.maximum(hull, 0), axis=-1)


def iou(a: Array, b: Array) -> Array:
    """Return intersection over union of boxes [..., 4] whose shapes broadcast; 0 for empty ones."""
    common, union, _ = overlap(a, b)
    return common / jnp.maximum(union, 1e-9)


def giou(a: Array, b: Array) -> Array:
    """``iou − (hull − union)/hull``, in [-1, 1].

    Source: Rezatofighi et al., "Generalized Intersection over Union", 2019.
    """
    common, union, hull = overlap(a, b)
    rest = (hull - union) / jnp.maximum(hull, 1e-9)
    return common / jnp.maximum(union, 1e-9) - rest


def max_3x3(x: Array) -> Array:
    """Return the largest value among each cell [..., h, w, C] and its eight neighbours."""
    for axis in (-3, -2):
        size = x.shape[axis]
        widths = [(0, 0)] * x.ndim
        widths[axis] = (1, 1)
        padded = jnp.pad(x, widths, constant_values=-jnp.inf)
        parts = [lax.slice_in_dim(padded, i, i + size, axis=axis % x.ndim) for i in range(3)]
        x = jnp.maximum(jnp.maximum(parts[0], parts[1]), parts[2])
    return x


def peaks(values: Array, height: int, width: int, num_peaks: int = NUM_PEAKS) -> Array:
    """Return the most probable detections of each image, the best first.

    Args:
        values: class probabilities and distances, [B, h, w, C + 4], from ``activate``.
        height: of the image in pixels; boxes are clipped to it.
        width: of the image in pixels.
        num_peaks: so many are kept, K, or all cells and classes where there are fewer.

    Returns:
        x0, y0, x1, y1, class, score, [B, K, 6]; cells that are no local maximum have score 0.
    """
    heat, sides = values[..., :-NUM_SIDES], values[..., -NUM_SIDES:]
    num_classes = heat.shape[-1]
    batch = heat.shape[0]
    tops = jnp.where(heat >= max_3x3(heat), heat, 0).reshape(batch, -1)
    score, index = lax.top_k(tops, min(num_peaks, tops.shape[1]))
    corners = boxes_of(sides).reshape(batch, -1, NUM_SIDES)
    # A product with indicators would be a matrix as large as the grid; few rows are gathered.
    corners = jnp.take_along_axis(corners, (index // num_classes)[..., None], axis=1)
    limit = jnp.array([width, height, width, height], corners.dtype)
    corners = jnp.clip(corners, 0, limit)
    label = (index % num_classes).astype(corners.dtype)
    return jnp.concatenate([corners, label[..., None], score[..., None]], axis=-1)


def heat_map(target: Array, num_classes: int, rows: int, columns: int) -> Array:
    """Return what a detector's class probabilities should be near, [B, h, w, C].

    1 in the cell of each box's centre, and around it a Gaussian of the box's own proportions; where
    several lie over each other, the largest.

    Args:
        target: boxes and classes, [B, M, 5].
        num_classes: C.
        rows: rows of the grid, h.
        columns: columns of the grid, w.
    """
    bells = bells_of(target, rows, columns)
    label = target[..., 4].astype(jnp.int32)
    shape = (target.shape[0], rows, columns, num_classes)

    def add(m: int, heat: Array) -> Array:
        own = label[:, m, None] == jnp.arange(num_classes)
        return jnp.maximum(heat, bells[:, m, :, :, None] * own[:, None, None, :])

    return jax.lax.fori_loop(0, target.shape[1], add, jnp.zeros(shape, target.dtype))


def bells_of(target: Array, rows: int, columns: int) -> Array:
    """Return each box's Gaussian over the grid, [B, M, h, w], 0 where there is no box.

    Its deviation is 0.09 of the box's sides, and at least 0.3 cells: ``α/6`` with ``α = 0.54``.
    Source: Liu et al., "Training-Time-Friendly Network for Real-Time Object Detection", 2020,
    eq. 1.
    """
    corners = target[..., :4] / STRIDE
    middle = (corners[..., :2] + corners[..., 2:]) / 2
    last = jnp.array([columns - 1, rows - 1], target.dtype)
    cell = jnp.clip(jnp.floor(middle), 0, last)
    deviation = jnp.maximum(0.09 * (corners[..., 2:] - corners[..., :2]), 0.3)
    x = (jnp.arange(columns) - cell[..., :1]) / deviation[..., :1]
    y = (jnp.arange(rows) - cell[..., 1:]) / deviation[..., 1:]
    bell = jnp.exp(-0.5 * jnp.square(y))[..., :, None] * jnp.exp(-0.5 * jnp.square(x))[..., None, :]
    return jnp.where((target[..., 4] >= 0)[..., None, None], bell, 0)
