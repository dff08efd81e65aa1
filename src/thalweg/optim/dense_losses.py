"""Losses of tasks on images: a class for each pixel, a vector for each image, boxes.

As in ``losses.py`` a loss is ``loss(outputs, target, hp) -> [B]`` for one member.

* segmentation: outputs logits [B, H, W, C], target classes [B, H, W]; pixels of class ``IGNORE``
  (255) do not count.
* embedding: outputs vectors of length 1 [B, E], target classes [B]; rows of a negative class do not
  count. What a row loses depends on the others of its batch, so that batches need several rows of
  each class; more than ``GROUP`` rows are compared within groups of so many.
* detection: outputs [B, h, w, C + 4] as in ``thalweg.nn.boxes``, target boxes [B, M, 5].

All are finite for any finite outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from thalweg.nn import boxes
from thalweg.task import IGNORE

GROUP = 128
"""Rows of an embedding that are compared with each other at most."""

BOX_WEIGHT = 2.0
"""What the distance between boxes counts beside the heat map."""

Hyperparameters = Mapping[str, Any]


# --- segmentation --------------------------------------------------------------------------------


def pixel_targets(target: Array, num_classes: int, dtype: Any) -> tuple[Array, Array]:
    """Return indicators of each pixel's class [B, H, W, C] and whether it counts [B, H, W]."""
    counts = (target != IGNORE).astype(dtype)
    label = target.astype(jnp.int32)[..., None]
    return (label == jnp.arange(num_classes)).astype(dtype), counts


def _smoothed(outputs: Array, target: Array, hp: Hyperparameters) -> tuple[Array, Array]:
    q, counts = pixel_targets(target, outputs.shape[-1], outputs.dtype)
    smoothing = jnp.asarray(hp["label_smoothing"], outputs.dtype)
    return q * (1 - smoothing) + smoothing / outputs.shape[-1], counts


def _pixel_mean(values: Array, counts: Array) -> Array:
    """Return the mean over the pixels of each image that count; 0 where none does."""
    total = counts.sum((1, 2))
    return (values * counts).sum((1, 2)) / jnp.maximum(total, 1)


def pixel_cross_entropy(outputs: Array, target: Array, hp: Hyperparameters) -> Array:
    """``mean over pixels of −Σ_c q_c·log softmax(z)_c``."""
    q, counts = _smoothed(outputs, target, hp)
    return _pixel_mean(-(q * jax.nn.log_softmax(outputs)).sum(-1), counts)


def pixel_focal(outputs: Array, target: Array, hp: Hyperparameters) -> Array:
    """``mean over pixels of −Σ_c q_c·(1 − p_c)^γ·log p_c``, p = softmax(z)."""
    q, counts = _smoothed(outputs, target, hp)
    gamma = jnp.asarray(hp["focal_gamma"], outputs.dtype)
    log_p = jax.nn.log_softmax(outputs)
    # Where p rounds to 1 the power of 0 would have no finite derivative for γ < 1.
    rest = jnp.maximum(-jnp.expm1(log_p), 1e-7)
    return _pixel_mean(-(q * rest**gamma * log_p).sum(-1), counts)


def pixel_dice(outputs: Array, target: Array, hp: Hyperparameters) -> Array:
    """``1 − mean_c (2·Σ p·q + 1)/(Σ p + Σ q + 1)``, sums over an image's pixels that count.

    Source: Milletari, Navab and Ahmadi, "V-Net", 2016 (with the sums unsquared and 1 added, so that
    a class that is not in the image costs nothing when it is not predicted).
    """
    q, counts = pixel_targets(target, outputs.shape[-1], outputs.dtype)
    p = jax.nn.softmax(outputs) * counts[..., None]
    q = q * counts[..., None]
    both, either = (p * q).sum((1, 2)), (p + q).sum((1, 2))
    return 1 - ((2 * both + 1) / (either + 1)).mean(-1)


def pixel_ce_dice(outputs: Array, target: Array, hp: Hyperparameters) -> Array:
    """Cross-entropy and Dice loss, added up. Source: Isensee et al., "nnU-Net", 2021."""
    return pixel_cross_entropy(outputs, target, hp) + pixel_dice(outputs, target, hp)


# --- embedding -----------------------------------------------------------------------------------


def _in_groups(loss: Callable[[Array, Array, Hyperparameters], tuple[Array, Array]]) -> Any:
    """Give a loss over all pairs of a group the signature of a loss.

    ``loss`` returns each row's value and whether it has one. The values are scaled so that their
    mean over the batch is the mean over the rows that have one.
    """

    def grouped(outputs: Array, target: Array, hp: Hyperparameters) -> Array:
        num = outputs.shape[0]
        count = -(-num // GROUP)
        if count == 1:
            value, valid = loss(outputs, target, hp)
        else:
            size = -(-num // count)
            spare = count * size - num
            rows = jnp.pad(outputs, ((0, spare), (0, 0))).reshape(count, size, -1)
            labels = jnp.pad(target, (0, spare), constant_values=-1).reshape(count, size)
            value, valid = jax.lax.map(lambda part: loss(part[0], part[1], hp), (rows, labels))
            value, valid = value.reshape(-1)[:num], valid.reshape(-1)[:num]
        share = valid.mean(dtype=value.dtype)
        return jnp.where(valid, value, 0) / jnp.maximum(share, 1 / num)

    grouped.__name__, grouped.__doc__ = loss.__name__.lstrip("_"), loss.__doc__
    return grouped


def _pairs(target: Array) -> tuple[Array, Array]:
    """Return which pairs of different rows [B, B] have the same class, and which another."""
    known = target >= 0
    both = known[:, None] & known[None, :]
    same = target[:, None] == target[None, :]
    return both & same & ~jnp.eye(len(target), dtype=bool), both & ~same


def _distances(outputs: Array) -> Array:
    """Return distances between rows [B, B]; the gradient at distance 0 is 0."""
    square = jnp.square(outputs).sum(-1)
    squares = square[:, None] + square[None, :] - 2 * outputs @ outputs.T
    apart = squares > 1e-8
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1)), 0)


def _triplet(outputs: Array, target: Array, hp: Hyperparameters) -> tuple[Array, Array]:
    """``max(0, m + max_p d(a, p) − min_n d(a, n))`` of each anchor a.

    Source: Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person
    Re-Identification", 2017, eq. 5 (batch hard).
    """
    same, other = _pairs(target)
    distance = _distances(outputs)
    far = jnp.max(distance, axis=1, where=same, initial=0)
    near = jnp.min(distance, axis=1, where=other, initial=4)
    valid = same.any(1) & other.any(1)
    margin = jnp.asarray(hp["margin"], outputs.dtype)
    return jax.nn.relu(margin + far - near), valid


def _triplet_semi_hard(outputs: Array, target: Array, hp: Hyperparameters) -> tuple[Array, Array]:
    """``mean_p max(0, m + d(a, p) − d(a, n_p))``, n_p the nearest negative farther than p.

    Where none is farther, it is the farthest negative. Source: Schroff, Kalenichenko and Philbin,
    "FaceNet", 2015, eq. 4.
    """
    same, other = _pairs(target)
    distance = _distances(outputs)
    # Axes: anchor, positive, negative.
    farther = other[:, None, :] & (distance[:, None, :] > distance[:, :, None])
    next_one = jnp.min(
        jnp.broadcast_to(distance[:, None, :], farther.shape), axis=2, where=farther, initial=4
    )
    last = jnp.max(distance, axis=1, where=other, initial=0)[:, None]
    negative = jnp.where(farther.any(2), next_one, last)
    margin = jnp.asarray(hp["margin"], outputs.dtype)
    hinge = jnp.where(same, jax.nn.relu(margin + distance - negative), 0)
    valid = same.any(1) & other.any(1)
    return hinge.sum(1) / jnp.maximum(same.sum(1), 1), valid


def _contrastive(outputs: Array, target: Array, hp: Hyperparameters) -> tuple[Array, Array]:
    """``−mean_p log (exp(z·z_p/τ)/Σ_{a≠i} exp(z·z_a/τ))`` over the rows p of the same class.

    Source: Khosla et al., "Supervised Contrastive Learning", 2020, eq. 2. With two rows of each
    class it is the NT-Xent loss of Chen et al., "SimCLR", 2020.
    """
    same, other = _pairs(target)
    temperature = jnp.asarray(hp["temperature"], outputs.dtype)
    scaled = outputs @ outputs.T / jnp.maximum(temperature, 1e-3)
    either = same | other
    highest = jnp.max(scaled, axis=1, where=either, initial=-1e9, keepdims=True)
    shifted = jnp.where(either, scaled - jax.lax.stop_gradient(highest), 0)
    total = jnp.where(either, jnp.exp(shifted), 0).sum(1, keepdims=True)
    log_p = shifted - jnp.log(jnp.maximum(total, 1e-30))
    valid = same.any(1) & other.any(1)
    return -jnp.where(same, log_p, 0).sum(1) / jnp.maximum(same.sum(1), 1), valid


triplet = _in_groups(_triplet)
triplet_semi_hard = _in_groups(_triplet_semi_hard)
contrastive = _in_groups(_contrastive)


# --- detection -----------------------------------------------------------------------------------


def _heat_loss(logits: Array, target: Array) -> Array:
    """``−(1/boxes)·Σ (1 − p)²·log p`` at centres, and ``(1 − y)⁴·p²·log(1 − p)`` elsewhere.

    y is the heat map of the boxes. Source: Law and Deng, "CornerNet", 2018, eq. 1.
    """
    rows, columns, num_classes = logits.shape[1:]
    heat = boxes.heat_map(target, num_classes, rows, columns)
    up, down = jax.nn.softplus(logits), jax.nn.softplus(-logits)
    # log p = −down, log(1 − p) = −up; powers through exp stay differentiable at 0.
    centre = jnp.exp(-2 * up) * down
    elsewhere = (1 - heat) ** 4 * jnp.exp(-2 * down) * up
    total = jnp.where(heat >= 1, centre, elsewhere).sum((1, 2, 3))
    return total / _num_boxes(target)


def _num_boxes(target: Array) -> Array:
    return jnp.maximum((target[..., 4] >= 0).sum(1), 1).astype(target.dtype)


def _box_targets(target: Array, rows: int, columns: int) -> tuple[Array, Array]:
    """Return the box that each cell should predict [B, h, w, 4] and its weight [B, h, w].

    The weight is the box's Gaussian (of the nearest box, where there are several) down to a tenth;
    the weights of an image add up to 1.
    """
    bells = boxes.bells_of(target, rows, columns)
    nearest = jnp.argmax(bells, axis=1)
    best = jnp.max(bells, axis=1)
    own = nearest[:, None] == jnp.arange(target.shape[1])[:, None, None]
    wanted = jnp.einsum("bmhw,bmk->bhwk", own.astype(target.dtype), target[..., :4])
    weight = jnp.where(best > 0.1, best, 0)
    return wanted, weight / jnp.maximum(weight.sum((1, 2), keepdims=True), 1e-9)


def _detection(distance: Callable[[Array, Array], Array]) -> Any:
    def loss(outputs: Array, target: Array, hp: Hyperparameters) -> Array:
        """Heat map's loss + ``BOX_WEIGHT`` · weighted mean distance between boxes."""
        wanted, weight = _box_targets(target, *outputs.shape[1:3])
        values = boxes.activate(outputs[..., -boxes.NUM_SIDES :])
        found = boxes.boxes_of(values)
        apart = (weight * jnp.where(weight > 0, distance(found, wanted), 0)).sum((1, 2))
        return _heat_loss(outputs[..., : -boxes.NUM_SIDES], target) + BOX_WEIGHT * apart

    return loss


def _giou_distance(found: Array, wanted: Array) -> Array:
    return 1 - boxes.giou(found, wanted)


def _l1_distance(found: Array, wanted: Array) -> Array:
    """Return the mean distance of the sides as a share of the box's mean side."""
    side = ((wanted[..., 2:] - wanted[..., :2]).sum(-1)) / 2
    return jnp.abs(found - wanted).mean(-1) / jnp.maximum(side, 1) * 2


detection_giou = _detection(_giou_distance)
detection_l1 = _detection(_l1_distance)
