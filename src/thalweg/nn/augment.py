"""Random changes of training images whose strengths are traced: one program for all of them.

The draws come from the step's key, so every member of a seed sees the same ones and only strengths
differ: a member that shifts by at most 2 pixels shifts each image the way one with at most 4 does,
half as far. A strength of 0 leaves images exactly as they are, so that a member without an
augmentation gets the same result beside one with it.

Images are float32 [B, H, W, C], standardised: 0 is the mean of the training images.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from thalweg.nn import noise
from thalweg.nn.kernels import apart
from thalweg.nn.layers import Context

NAMES: tuple[str, ...] = (
    "flip",
    "shift",
    "rotation",
    "zoom",
    "cutout",
    "brightness",
    "contrast",
)
"""Augmentations in the order in which they act."""

_SALT = 20_001
_FLIP, _SHIFT_Y, _SHIFT_X, _ROTATION, _ZOOM, _CUT_Y, _CUT_X, _BRIGHTNESS, _CONTRAST = range(9)
_NUM_DRAWS = 9
_STEP, _BOX_Y, _BOX_X = 100, 101, 102


def augment(x: Array, context: Context) -> Array:
    """Change each image of a batch at random, within the strengths of ``context.augment``.

    With u uniform in [−1, 1), drawn for each image and each purpose:

    - ``flip``: mirrored left to right with this probability.
    - ``shift``: moved by round(u · strength · side) whole pixels, along both axes.
    - ``rotation``: turned about the centre by u · strength degrees (bilinear).
    - ``zoom``: enlarged about the centre to 1 + u · strength times its size (bilinear).
    - ``cutout``: a square of strength · (the shorter side), centred anywhere in the image, becomes
      0, the mean. Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural
      Networks with Cutout", 2017.
    - ``brightness``: u · strength deviations are added.
    - ``contrast``: deviations from the mean of the unchanged image grow by 1 + u · strength times.

    Where an image moves out, its mirror image at the edge moves in.

    Args:
        x: standardised images [B, H, W, C].
        context: strengths in ``augment`` (only names that some member uses), the key of the step.

    Returns:
        The changed images; ``x`` itself outside training.
    """
    strengths, key = context.augment, context.key
    if not context.train or key is None or not strengths:
        return x
    # Apart, or each tap of the first convolution would interpolate its own image again.
    return apart(lambda x: _augmented(x, strengths, key), x)


def _augmented(x: Array, strengths: Mapping[str, Array], key: noise.Key) -> Array:
    key = noise.fold(key, _SALT)
    num_images = x.shape[0]

    # The barriers here and below keep XLA from computing small things again for every pixel.
    draws = lax.optimization_barrier(noise.uniform(key, (_NUM_DRAWS, num_images), axis=1))

    def draw(purpose: int) -> Array:
        """Return one number in [0, 1) for each image."""
        return draws[purpose]

    def signed(purpose: int) -> Array:
        return 2.0 * draw(purpose) - 1.0

    flip = draw(_FLIP) < strengths["flip"] if "flip" in strengths else None
    shift = (signed(_SHIFT_Y), signed(_SHIFT_X)) if "shift" in strengths else None
    angle = signed(_ROTATION) * strengths["rotation"] if "rotation" in strengths else None
    factor = 1.0 + signed(_ZOOM) * strengths["zoom"] if "zoom" in strengths else None
    mean = x.mean(axis=(1, 2, 3), keepdims=True) if "contrast" in strengths else None
    x = _move(x, strengths, flip, shift, angle, factor)
    if "cutout" in strengths:
        x = x * _kept(x, strengths["cutout"], draw(_CUT_Y), draw(_CUT_X))
    if mean is not None:
        x = x + (x - mean) * (signed(_CONTRAST) * strengths["contrast"])[:, None, None, None]
    if "brightness" in strengths:
        x = x + (signed(_BRIGHTNESS) * strengths["brightness"])[:, None, None, None]
    return x


def cutmix(x: Array, context: Context) -> Array:
    """Mix each image with the one at the other end of the batch.

    In a share ``context.cutmix`` of the steps a box of the other image, with the proportions of the
    image and the area 1 − ``context.mix``, replaces what lies there; in the other steps, and where
    ``context.cutmix`` is None, the images are blended (mixup). Either way the share of the image
    itself is ``context.mix``, which is what the loss is weighted by.

    Differs from the paper: the box lies wholly inside the image and its edges are soft (pixels that
    it covers in part are blended), so that its area is exact without rounding.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with
    Localizable Features", 2019; Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018.

    Args:
        x: standardised images [B, H, W, C].
        context: ``mix`` (share of the image itself), ``cutmix`` (share of the steps), the key.

    Returns:
        The mixed images; ``x`` itself outside training or without ``mix``.
    """
    if not context.train or context.mix is None:
        return x
    return apart(lambda x: _mixed(x, context), x)


def _mixed(x: Array, context: Context) -> Array:
    assert context.mix is not None
    own: Array = context.mix
    if context.cutmix is not None and context.key is not None:
        key = noise.fold(context.key, _SALT)
        num_images, height, width, _ = x.shape
        side = jnp.sqrt(jnp.clip(1.0 - context.mix, 0.0, 1.0))
        rows = _covered(
            noise.uniform(noise.fold(key, _BOX_Y), (num_images,)), side * height, height
        )
        columns = _covered(
            noise.uniform(noise.fold(key, _BOX_X), (num_images,)), side * width, width
        )
        box = 1.0 - rows[:, :, None, None] * columns[:, None, :, None]
        cut = noise.uniform(noise.fold(key, _STEP), ()) < context.cutmix
        own = jnp.where(cut, box, context.mix)
    return own * x + (1.0 - own) * x[::-1]


def _covered(place: Array, length: Array, side: int) -> Array:
    """Return how much of each of ``side`` pixels an interval covers, [B, side].

    Args:
        place: where it begins, as a share of the room there is, [B].
        length: its length in pixels.
        side: number of pixels.
    """
    start = (place * (side - length))[:, None]
    pixel = jnp.arange(side, dtype=jnp.float32)
    overlap = jnp.minimum(pixel + 1.0, start + length) - jnp.maximum(pixel, start)
    return jnp.clip(overlap, 0.0, 1.0)


def _kept(x: Array, share: Array, place_y: Array, place_x: Array) -> Array:
    """Return 0 for the pixels in the square to erase and 1 for the others, [B, H, W, 1].

    A product with it costs a third of a selection by it behind an interpolation.
    """
    _, height, width, _ = x.shape
    half = 0.5 * share * min(height, width)

    def near(place: Array, side: int) -> Array:
        pixel = jnp.arange(side, dtype=jnp.float32) + 0.5
        return (jnp.abs(pixel - place[:, None] * side) < half).astype(x.dtype)

    rows, columns = near(place_y, height), near(place_x, width)
    return 1.0 - rows[:, :, None, None] * columns[:, None, :, None]


# Geometry ----------------------------------------------------------------------------------------


def _move(
    x: Array,
    strengths: Mapping[str, Array],
    flip: Array | None,
    shift: tuple[Array, Array] | None,
    angle: Array | None,
    factor: Array | None,
) -> Array:
    """Flip, then zoom and turn, then shift: every pixel is read from where it comes from.

    Without rotation rows and columns are found separately; without zoom either, pixels are copied
    and nothing is interpolated.
    """
    if flip is None and shift is None and angle is None and factor is None:
        return x
    num_images, height, width, _ = x.shape
    rows = jnp.broadcast_to(jnp.arange(height, dtype=jnp.float32), (num_images, height))
    columns = jnp.broadcast_to(jnp.arange(width, dtype=jnp.float32), (num_images, width))
    if shift is not None:
        rows = rows - jnp.round(shift[0] * strengths["shift"] * height)[:, None]
        columns = columns - jnp.round(shift[1] * strengths["shift"] * width)[:, None]
    if angle is None and factor is None:
        return _copied(x, _mirrored(rows, height), _flipped(_mirrored(columns, width), flip, width))
    middle_y, middle_x = 0.5 * (height - 1), 0.5 * (width - 1)
    down, right = rows - middle_y, columns - middle_x
    if factor is not None:
        down, right = down / factor[:, None], right / factor[:, None]
    if angle is None:
        y = _mirrored(down + middle_y, height)
        return _separable(x, y, _flipped(_mirrored(right + middle_x, width), flip, width))
    turn = angle * np.float32(np.pi / 180.0)
    cos, sin = jnp.cos(turn)[:, None, None], jnp.sin(turn)[:, None, None]
    down, right = down[:, :, None], right[:, None, :]
    y = _mirrored(cos * down + sin * right + middle_y, height)
    right = _mirrored(cos * right - sin * down + middle_x, width)
    return _interpolated(x, y, _flipped(right, flip, width))


def _mirrored(place: Array, side: int) -> Array:
    """Fold places outside [0, side − 1] back as by mirrors on the first and the last pixel."""
    last = float(side - 1)
    if last == 0.0:
        return jnp.zeros_like(place)
    period = 2.0 * last
    place = place - period * jnp.floor(place / period)
    return last - jnp.abs(place - last)


def _flipped(columns: Array, flip: Array | None, width: int) -> Array:
    if flip is None:
        return columns
    return jnp.where(flip.reshape(-1, *([1] * (columns.ndim - 1))), width - 1 - columns, columns)


def _copied(x: Array, rows: Array, columns: Array) -> Array:
    """Return x[b, rows[b, h], columns[b, w]] for whole-numbered rows [B, H] and columns [B, W]."""
    return _gathered(x, rows.astype(jnp.int32)[:, :, None], columns.astype(jnp.int32)[:, None, :])


def _gathered(x: Array, rows: Array, columns: Array) -> Array:
    batch = jnp.arange(x.shape[0])[:, None, None]
    return x.at[batch, rows, columns].get(mode="promise_in_bounds")


def _separable(x: Array, rows: Array, columns: Array) -> Array:
    """Interpolate between the pixels around rows [B, H] and columns [B, W]."""
    return _interpolated(x, rows[:, :, None], columns[:, None, :])


def _interpolated(x: Array, rows: Array, columns: Array) -> Array:
    """Interpolate bilinearly at places [B, H, W] (or broadcast to it) inside the image."""
    _, height, width, _ = x.shape
    top, left = jnp.floor(rows), jnp.floor(columns)
    below, beside = (rows - top)[..., None], (columns - left)[..., None]
    first_row, first_column = top.astype(jnp.int32), left.astype(jnp.int32)
    # At the last pixel the next one counts for nothing.
    next_row = jnp.minimum(first_row + 1, height - 1)
    next_column = jnp.minimum(first_column + 1, width - 1)
    upper = (1.0 - beside) * _gathered(x, first_row, first_column)
    upper = upper + beside * _gathered(x, first_row, next_column)
    lower = (1.0 - beside) * _gathered(x, next_row, first_column)
    lower = lower + beside * _gathered(x, next_row, next_column)
    return (1.0 - below) * upper + below * lower
