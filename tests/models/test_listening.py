"""Families over spectrograms: shapes, what they may not see, and that all of them learn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.models import InputShape, activation_floats, build
from thalweg.models.listening import SILENCE
from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import Context
from thalweg.space import Config
from thalweg.study.recipes import FAMILIES_FOR

FRAMES, BANDS, ROWS = 24, 16, 6
INPUTS = InputShape(
    sequence=(FRAMES, BANDS), masked=True, band_mean=(-3.0,) * BANDS, band_std=(2.0,) * BANDS
)
SMALL = {"width": 8, "depth": 2}


def network(model: str, **more):
    return build(Config(model=model, **{**SMALL, **more}).structure(), INPUTS, 3)


def parameters(net):
    drawn = initial_params(net.params(), ["he_normal"], np.ones(1), 0)
    return {name: values[0] for name, values in drawn.items()}


def recordings(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(-3.0, 2.0, (ROWS, FRAMES, BANDS)).astype(np.float16)
    length = rng.integers(8, FRAMES, ROWS).astype(np.int32)
    for row, last in zip(x, length, strict=True):
        row[last:] = SILENCE
    return {"sequence": x, "length": length}


@pytest.mark.parametrize("model", FAMILIES_FOR["audio"])
def test_every_family_reads_spectrograms(model):
    net = network(model)
    params, fields = parameters(net), recordings()
    out, _ = jax.jit(net.apply, static_argnums=3)(params, net.state(), fields, Context())
    assert out.shape == (ROWS, 3)
    assert out.dtype == jnp.float32
    assert np.isfinite(out).all()
    assert net.flops() > 0
    assert activation_floats(net) > FRAMES * BANDS


@pytest.mark.parametrize("model", ["lstm", "gru", "cnn1d", "transformer"])
def test_frames_after_the_end_do_not_count(model):
    net = network(model, last="mean")
    params, fields = parameters(net), recordings()
    out, _ = net.apply(params, net.state(), fields, Context())
    noisy = {**fields, "sequence": fields["sequence"].copy()}
    for row, last in zip(noisy["sequence"], fields["length"], strict=True):
        row[last:] = 5.0
    again, _ = net.apply(params, net.state(), noisy, Context())
    np.testing.assert_allclose(again, out, atol=1e-5)


def test_training_hears_changes_and_predicting_does_not():
    net = network("cnn", normalisation="none")
    params, fields = parameters(net), recordings()
    strengths = {"gain": jnp.float32(6.0), "time_mask": jnp.float32(0.4)}
    plain, _ = net.apply(params, net.state(), fields, Context())

    def trained(key):
        context = Context(train=True, key=jnp.uint32(key), augment=strengths)
        return net.apply(params, net.state(), fields, context)[0]

    assert not np.allclose(trained(1), plain)
    assert not np.allclose(trained(1), trained(2))
    np.testing.assert_array_equal(trained(1), trained(1))
    same, _ = net.apply(params, net.state(), fields, Context(augment=strengths))
    np.testing.assert_array_equal(same, plain)
