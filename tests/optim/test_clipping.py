"""Clipping against Optax and torch, and what neither does: huge gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.optim import clipping

clip = jax.jit(clipping.clip)
clip_by_global_norm = jax.jit(clipping.clip_by_global_norm)
clip_by_value = jax.jit(clipping.clip_by_value)
global_norm = jax.jit(clipping.global_norm)


def gradients(scale: float = 1.0, dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        "kernel": jnp.asarray(scale * rng.standard_normal((7, 5)), dtype),
        "bias": [jnp.asarray(scale * rng.standard_normal(5), dtype), jnp.asarray(0.1, dtype)],
    }


def assert_same(ours, theirs, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), ours, theirs)


@pytest.mark.parametrize("max_norm", [1e-3, 0.7, 5.0, 100.0])
def test_global_norm_equals_optax_and_torch(max_norm):
    torch = pytest.importorskip("torch")
    grads = gradients()
    ours = clip_by_global_norm(grads, max_norm)
    transform = optax.clip_by_global_norm(max_norm)
    assert_same(ours, transform.update(grads, transform.init(grads))[0], rtol=2e-6)
    np.testing.assert_allclose(global_norm(grads), optax.tree.norm(grads), rtol=1e-6)
    leaves = [torch.zeros(np.shape(g)) for g in jax.tree.leaves(grads)]
    for leaf, g in zip(leaves, jax.tree.leaves(grads), strict=True):
        leaf.grad = torch.tensor(np.array(g))
    torch.nn.utils.clip_grad_norm_(leaves, max_norm)
    for leaf, g in zip(leaves, jax.tree.leaves(ours), strict=True):
        np.testing.assert_allclose(g, leaf.grad.numpy(), rtol=3e-6)


@pytest.mark.parametrize("max_value", [1e-3, 0.7, 100.0])
def test_value_equals_optax_and_torch(max_value):
    torch = pytest.importorskip("torch")
    grads = gradients()
    ours = clip_by_value(grads, max_value)
    transform = optax.clip(max_value)
    assert_same(ours, transform.update(grads, transform.init(grads))[0], rtol=0)
    leaf = torch.zeros(7, 5)
    leaf.grad = torch.tensor(np.array(grads["kernel"]))
    torch.nn.utils.clip_grad_value_([leaf], max_value)
    np.testing.assert_array_equal(ours["kernel"], leaf.grad.numpy())


def test_infinity_and_none_switch_off_bit_for_bit():
    grads = gradients()
    assert_same(clip(grads, jnp.inf, jnp.inf), grads, rtol=0)
    assert_same(clip(grads), grads, rtol=0)
    assert_same(clip_by_global_norm(grads, 1e6), grads, rtol=0)


def test_both_bounds_hold_together():
    clipped = clip(gradients(10.0), 3.0, 0.5)
    assert float(global_norm(clipped)) <= 3.0 * (1 + 1e-6)
    assert max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(clipped)) <= 0.5
    by_hand = clip_by_global_norm(clip_by_value(gradients(10.0), 0.5), 3.0)
    assert_same(clipped, by_hand, rtol=0)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e8, 1e25])
@pytest.mark.parametrize("max_norm", [1e-4, 1.0, 1e4])
def test_extreme_gradients_keep_their_direction(scale, max_norm):
    clipped = clip_by_global_norm(gradients(scale), max_norm)
    exact = [np.asarray(g, np.float64) for g in jax.tree.leaves(gradients(scale))]
    norm = np.sqrt(sum((g**2).sum() for g in exact))
    for ours, g in zip(jax.tree.leaves(clipped), exact, strict=True):
        np.testing.assert_allclose(ours, g * min(1, max_norm / norm), rtol=1e-5)


def test_zero_and_nan():
    zero = {"a": jnp.zeros(3)}
    assert_same(clip_by_global_norm(zero, 1.0), zero, rtol=0)
    spoilt = {"a": jnp.array([1.0, jnp.nan]), "b": jnp.array([2.0])}
    clipped = clip(spoilt, 1.0, 0.5)
    assert bool(jnp.isnan(clipped["a"][1]))
    infinite = {"a": jnp.array([jnp.inf, 1.0])}
    assert_same(clip_by_global_norm(infinite, jnp.inf), infinite, rtol=0)


def test_members_have_their_own_thresholds():
    grads = jax.tree.map(lambda g: jnp.stack([g, 100 * g, jnp.full_like(g, jnp.nan)]), gradients())
    max_norm = jnp.array([0.5, jnp.inf, 1.0])
    together = jax.jit(jax.vmap(clip))(grads, max_norm, jnp.array([jnp.inf, 2.0, 1.0]))
    for member, value in ((0, jnp.inf), (1, 2.0)):
        alone = clip(jax.tree.map(lambda g, m=member: g[m], grads), max_norm[member], value)
        assert_same(jax.tree.map(lambda g, m=member: g[m], together), alone, rtol=1e-6)


def test_half_precision_keeps_its_dtype_and_does_not_overflow():
    grads = gradients(1e4, jnp.float16)
    clipped = clip(grads, jnp.float32(1.0), jnp.float32(1e5))
    assert {g.dtype for g in jax.tree.leaves(clipped)} == {jnp.dtype(jnp.float16)}
    assert float(global_norm(clipped)) == pytest.approx(1.0, rel=1e-2)
