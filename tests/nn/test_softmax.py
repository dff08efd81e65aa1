"""Softmax and cross-entropy against SciPy and JAX, gradients included."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from thalweg.nn import softmax

SHAPES = [(5,), (3, 7), (2, 3, 64), (4, 4001)]


@pytest.fixture(params=SHAPES, ids=str)
def scores(request: Any) -> np.ndarray:
    """Scores some of which are far out, and some hidden."""
    rng = np.random.default_rng(0)
    x = 30.0 * rng.normal(size=request.param)
    x[..., 1] = -1e9
    x[..., 2] = -np.inf
    return x.astype(np.float32)


def test_it_equals_scipy(scores: np.ndarray) -> None:
    np.testing.assert_array_equal(softmax.largest(jnp.asarray(scores)), scores.max(-1))
    expected = scipy.special.logsumexp(scores, axis=-1)
    np.testing.assert_allclose(softmax.logsumexp(jnp.asarray(scores)), expected, rtol=1e-6)
    expected = scipy.special.softmax(scores, axis=-1)
    found = softmax.softmax(jnp.asarray(scores))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["softmax", "logsumexp"])
def test_gradients_equal_those_of_jax(name: str, scores: np.ndarray) -> None:
    weight = jnp.asarray(np.random.default_rng(1).normal(size=scores.shape), jnp.float32)
    finite = jnp.where(jnp.isfinite(scores), scores, -60.0)

    def total(function: Any) -> Any:
        def summed(x: Any) -> Any:
            y = function(x)
            return jnp.sum(y * weight if y.shape == weight.shape else y)

        return jax.vmap(jax.grad(summed)) if finite.ndim > 1 else jax.grad(summed)

    if finite.ndim > 1:
        weight = weight[0]
    found = total(getattr(softmax, name))(finite)
    expected = total(partial(getattr(jax.nn, name), axis=-1))(finite)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_nan_is_not_hidden() -> None:
    x = jnp.asarray([[0.0, jnp.nan, 1.0], [0.0, 1.0, 2.0]])
    found = np.isnan(softmax.softmax(x)).all(-1)
    assert found.tolist() == [True, False]
    assert np.isnan(softmax.logsumexp(x)[0])


@pytest.mark.parametrize("smoothing", [None, 0.0, 0.1])
def test_cross_entropy_is_that_of_the_smoothed_target(smoothing: float | None) -> None:
    rng = np.random.default_rng(2)
    logits = jnp.asarray(5.0 * rng.normal(size=(6, 11)), jnp.float32)
    target = jnp.asarray(rng.integers(0, 11, 6))
    weight = jnp.asarray(rng.normal(size=6), jnp.float32)
    epsilon = smoothing or 0.0
    q = (1.0 - epsilon) * jax.nn.one_hot(target, 11) + epsilon / 11
    given = None if smoothing is None else jnp.float32(smoothing)

    def ours(z: Any) -> Any:
        return (weight * softmax.cross_entropy(z, target, given)).sum()

    def plain(z: Any) -> Any:
        return (weight * -(q * jax.nn.log_softmax(z)).sum(-1)).sum()

    np.testing.assert_allclose(ours(logits), plain(logits), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(ours)(logits), jax.grad(plain)(logits), atol=1e-6)
