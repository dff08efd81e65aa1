"""The networks of segmentation, detection and embedding: shapes, sizes, members, refusals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.errors import SpaceError
from thalweg.models import InputShape, activation_floats, build, count_params
from thalweg.models.blocks import Upsample
from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import Context
from thalweg.space import Structure

FAMILIES = ("unet", "detector", "embedder")


def made(model: str, size=(16, 20, 3), **structure):
    inputs = InputShape(image=size, image_mean=(100.0,) * size[2], image_std=(50.0,) * size[2])
    network = build(Structure(model=model, depth=2, width=4, **structure), inputs, 5)
    params = initial_params(network.params(), ["he_normal"], np.ones(1), 0)
    state = {name: jnp.asarray(value) for name, value in network.state().items()}
    images = np.random.default_rng(0).integers(0, 256, (3, *size)).astype(np.uint8)
    return network, {n: jnp.asarray(v[0]) for n, v in params.items()}, state, {"image": images}


def shape_of(model: str, size: tuple[int, ...]) -> tuple[int, ...]:
    if model == "unet":
        return (3, size[0], size[1], 5)
    if model == "detector":
        return (3, -(-size[0] // 4), -(-size[1] // 4), 5 + 4)
    return (3, 64)


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("normalisation", ["none", "batch", "group"])
@pytest.mark.parametrize("size", [(16, 20, 3), (17, 27, 1)])
def test_outputs_have_their_shape(model, normalisation, size):
    network, params, state, fields = made(model, size, normalisation=normalisation)
    assert bool(state) == (normalisation == "batch")
    for train in (False, True):
        outputs, after = network.apply(params, state, fields, Context(train=train))
        assert outputs.shape == shape_of(model, size)
        assert np.isfinite(outputs).all()
        assert set(after) == set(state)
    assert count_params(network) == sum(v.size for v in params.values())
    assert network.flops() > 0
    assert activation_floats(network) > 0


@pytest.mark.parametrize("model", FAMILIES)
def test_every_parameter_has_a_gradient(model):
    network, params, state, fields = made(model, normalisation="batch")
    weights = np.random.default_rng(1).standard_normal(shape_of(model, (16, 20)))

    def total(params):
        return (network.apply(params, state, fields, Context(train=True))[0] * weights).sum()

    for name, slope in jax.grad(total)(params).items():
        assert np.abs(slope).max() > 0, name


@pytest.mark.parametrize("model", FAMILIES)
def test_members_equal_themselves_alone(model):
    network, params, state, fields = made(model)
    several = {n: jnp.stack([v, 0.5 * v, 2 * v]) for n, v in params.items()}

    def apply(params):
        return network.apply(params, state, fields, Context())[0]

    together = jax.jit(jax.vmap(apply))(several)
    for i in range(3):
        alone = jax.jit(apply)({n: v[i] for n, v in several.items()})
        np.testing.assert_allclose(together[i], alone, rtol=1e-4, atol=1e-4)


def test_embeddings_have_length_one():
    network, params, state, fields = made("embedder", options=(("embedding_size", 7),))
    outputs, _ = network.apply(params, state, fields, Context())
    assert outputs.shape == (3, 7)
    np.testing.assert_allclose(np.linalg.norm(outputs, axis=1), 1, rtol=1e-5)
    blank = {n: 0 * v for n, v in params.items()}
    assert np.isfinite(network.apply(blank, state, fields, Context())[0]).all()


def test_the_bridges_carry_what_is_fine():
    network, params, state, fields = made("unet")
    one = network.apply(params, state, fields, Context())[0]
    coarse = {n: 0 * v if n.startswith("spread") else v for n, v in params.items()}
    other = network.apply(coarse, state, fields, Context())[0]
    assert not np.allclose(one, other)
    assert other.std((1, 2)).max() > 0


def test_upsampling_spreads_each_pixel_over_its_own_square():
    layer = Upsample("up", 2, 3)
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((2, 12)).astype(np.float32)
    x = rng.standard_normal((1, 2, 3, 2)).astype(np.float32)
    params = {"up/kernel": jnp.asarray(kernel), "up/bias": jnp.arange(3.0)}
    out = np.asarray(layer.apply(params, jnp.asarray(x)))
    assert out.shape == (1, 4, 6, 3)
    squares = kernel.reshape(2, 2, 2, 3)
    for i, j, a, b in np.ndindex(2, 3, 2, 2):
        expected = x[0, i, j] @ squares[:, a, b] + np.arange(3)
        np.testing.assert_allclose(out[0, 2 * i + a, 2 * j + b], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", FAMILIES)
def test_widths_may_be_listed(model):
    inputs = InputShape(image=(16, 16, 1), image_mean=(0.0,), image_std=(1.0,))
    doubled = build(Structure(model=model, depth=2, width=4), inputs, 3)
    listed = build(Structure(model=model, depth=9, width=(4, 8)), inputs, 3)
    assert doubled.params() == listed.params()


@pytest.mark.parametrize("model", FAMILIES)
def test_what_cannot_be_built(model):
    with pytest.raises(SpaceError, match="reads images"):
        build(Structure(model=model), InputShape(numeric=3), 3)
    small = InputShape(image=(8, 8, 1), image_mean=(0.0,), image_std=(1.0,))
    with pytest.raises(SpaceError, match="lower depth"):
        build(Structure(model=model, depth=6, width=4), small, 3)
