"""The counter-based generator: uniform, normal, and independent in every direction that is used."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from thalweg.nn import noise

KEYS = np.array([0, 1, 2, 12345, 2**31, 2**32 - 1], np.uint32)
SHAPE = (64, 257)


@jax.jit
def draws(key):
    """Return uniforms, normals and those of the next layers and steps, [.., 64, 257]."""
    return {
        "uniform": noise.uniform(key, SHAPE),
        "normal": noise.normal(key, SHAPE),
        "layers": jnp.stack([noise.uniform(noise.fold(key, i), SHAPE) for i in range(4)]),
        "steps": jax.vmap(lambda t: noise.uniform(noise.fold(key, t), SHAPE))(
            jnp.arange(4, dtype=jnp.int32)
        ),
    }


def correlation(a, b) -> float:
    """Return the correlation in units of its own standard error."""
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    return float(np.corrcoef(a, b)[0, 1] * np.sqrt(a.size))


@pytest.mark.parametrize("key", KEYS)
def test_uniform(key):
    u = np.asarray(draws(key)["uniform"])
    assert u.dtype == np.float32
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-4
    # Eight equally likely cells in three dimensions, from successive triples.
    cells = (u.ravel()[: u.size // 3 * 3].reshape(-1, 3) >= 0.5) @ [4, 2, 1]
    assert stats.chisquare(np.bincount(cells, minlength=8)).pvalue > 1e-4


@pytest.mark.parametrize("key", KEYS)
def test_normal(key):
    z = np.asarray(draws(key)["normal"])
    assert z.dtype == np.float32
    assert np.isfinite(z).all()
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-4


@pytest.mark.parametrize("key", KEYS)
def test_entries_of_one_array_are_independent(key):
    u = np.asarray(draws(key)["uniform"])
    for lag in (1, 2, 3, SHAPE[1]):
        assert abs(correlation(u.ravel()[:-lag], u.ravel()[lag:])) < 5
    assert abs(correlation(u[:, :-1], u[:, 1:])) < 5
    assert len(np.unique(u)) > 0.99 * u.size


def test_layers_steps_and_seeds_are_independent():
    made = [draws(key) for key in KEYS]
    streams = [np.asarray(m["uniform"]) for m in made]
    for m in made[:2]:
        streams += list(np.asarray(m["layers"]))[1:]
    for i, a in enumerate(streams):
        for b in streams[:i]:
            assert abs(correlation(a, b)) < 5
            # The hash of a counter must not be a shifted copy of another key's.
            assert np.intersect1d(a.ravel()[:500], b.ravel()[:500]).size < 5


def test_steps_fold_as_layers_do():
    made = draws(KEYS[3])
    np.testing.assert_array_equal(made["layers"], made["steps"])


def test_keys_of_many_steps_do_not_collide():
    steps = np.arange(200_000, dtype=np.int32)
    keys = np.asarray(jax.jit(jax.vmap(lambda t: noise.fold(np.uint32(7), t)))(steps))
    # A birthday paradox: about size²/2³³ = 4.7 collisions of random 32-bit keys are expected,
    # none of a bijection of the step.
    assert len(np.unique(keys)) == len(keys)


def test_every_bit_of_the_key_changes_half_of_the_bits():
    key = jnp.uint32(0xDEADBEEF)
    plain = np.asarray(noise.bits(key, (4096,)))
    for bit in range(32):
        other = np.asarray(noise.bits(key ^ jnp.uint32(1 << bit), (4096,)))
        share = np.unpackbits((plain ^ other).view(np.uint8)).mean()
        assert share == pytest.approx(0.5, abs=0.01)


def test_keys_that_differ_by_the_counters_step_do_not_shift_the_stream():
    key, step = np.uint32(12345), int(noise._GOLDEN)
    plain = np.asarray(noise.bits(jnp.uint32(key), (4096,)))
    for times in (1, 2, 3):
        other = np.asarray(noise.bits(jnp.uint32((int(key) + times * step) % 2**32), (4096,)))
        assert (plain[times:] == other[:-times]).mean() < 0.01


def test_the_shape_only_reshapes_the_stream():
    key = jnp.uint32(3)
    np.testing.assert_array_equal(
        np.asarray(noise.uniform(key, (6, 4))).ravel(), noise.uniform(key, (24,))
    )
