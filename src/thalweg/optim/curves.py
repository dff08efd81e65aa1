"""Curves over thresholds: what lies above each, and the area under what follows from it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def share(part: Array, whole: Array) -> Array:
    """Return ``part/whole``, 0 where the whole is 0."""
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)


class Curve:
    """Weights above each threshold, scores [C, N] in descending order; ties share a threshold.

    ``positive`` and ``negative`` [C, N] are the weights down to and with a row, those with
    ``_before`` the ones above its group of ties; ``last`` marks where a group ends.
    """

    def __init__(self, scores: Array, positive: Array, negative: Array) -> None:
        keys, positive, negative = jax.lax.sort(
            (-scores, positive, negative), dimension=-1, num_keys=1
        )
        changes = keys[:, 1:] != keys[:, :-1]
        edge = jnp.ones((len(keys), 1), bool)
        self.last = jnp.concatenate([changes, edge], axis=-1)
        first = jnp.concatenate([edge, changes], axis=-1)
        # One scan for both columns: scans are long programs.
        both = jnp.cumsum(jnp.stack([positive, negative]), axis=-1)
        before = jnp.concatenate([jnp.zeros_like(both[..., :1]), both[..., :-1]], axis=-1)
        # Sums never fall, so that the largest at the beginning of a group is the latest.
        before = jax.lax.cummax(jnp.where(first, before, 0), axis=2)
        self.positive, self.negative = both[0], both[1]
        self.positive_before, self.negative_before = before[0], before[1]


def areas(curve: Curve) -> Array:
    """Return the area under each ROC curve [C] by trapezoids, NaN where a class is missing."""
    positives, negatives = curve.positive[:, -1:], curve.negative[:, -1:]
    width = share(curve.negative - curve.negative_before, negatives)
    height = share(curve.positive + curve.positive_before, 2 * positives)
    area = jnp.sum(jnp.where(curve.last, width * height, 0), axis=-1)
    return jnp.where((positives > 0) & (negatives > 0), area[:, None], jnp.nan)[:, 0]
