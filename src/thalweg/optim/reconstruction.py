"""Loss and metrics of networks that make their inputs again.

Outputs begin with ``−log p(x | z)``, ``KL(q(z | x) ‖ p(z))`` and the squared error of each row; see
``thalweg.models.autoencoder``. There is no target: it is the row itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array


def loss(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``−log p(x | z) + β·KL(q(z | x) ‖ p(z))``; with β = 1 the negative evidence lower bound."""
    return outputs[:, 0] + jnp.asarray(hp["beta"], outputs.dtype) * outputs[:, 1]


def terms(outputs: Array, target: Array) -> Array:
    """Return each row's ``−log p(x | z)``, divergence and squared error, [B, 3]."""
    return outputs[:, :3]


def _mean(values: Array, weight: Array) -> Array:
    return jnp.sum(values * weight) / jnp.sum(weight)


def _error(kept: Array, weight: Array) -> Array:
    return _mean(kept[:, 2], weight)


def _elbo(kept: Array, weight: Array) -> Array:
    # A code that is no distribution has no divergence, and no bound.
    bound = _mean(-kept[:, 0] - kept[:, 1], weight)
    return jnp.where((kept[:, 1] > 0).any(), bound, jnp.nan)


RATES: dict[str, Callable[[Array, Array], Array]] = {
    "reconstruction_error": _error,
    "elbo": _elbo,
}
"""Metrics from what ``terms`` gives, [B, 3], and the weight of each row [B]."""


def reconstruction_error(outputs: Array, target: Array, weight: Array, units: Any = None) -> Array:
    """Mean squared error of the reconstruction, in squared deviations of the columns."""
    return _error(terms(outputs, target), weight)


def elbo(outputs: Array, target: Array, weight: Array, units: Any = None) -> Array:
    """``E_q log p(x | z) − KL(q(z | x) ‖ p(z))`` in nats a row, from one draw of z."""
    return _elbo(terms(outputs, target), weight)


def scorers(
    predictions: np.ndarray, target: np.ndarray, num_classes: int
) -> dict[str, Callable[[], float]]:
    """Return the metrics of finished outputs [N, 3 or more]."""
    del target, num_classes
    found: dict[str, Callable[[], float]] = {
        "reconstruction_error": lambda: float(predictions[:, 2].mean())
    }
    if (predictions[:, 1] > 0).any():
        found["elbo"] = lambda: float(-(predictions[:, 0] + predictions[:, 1]).mean())
    return found
