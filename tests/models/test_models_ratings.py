"""Recommenders: shapes, equations, unknown ids, towers that keep apart, and what is learnt."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.errors import SpaceError
from thalweg.models import InputShape, build, count_params
from thalweg.models.ratings import BIAS_GAIN, FACTOR_DEVIATION
from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import Context
from thalweg.space import Config
from thalweg.task import Task
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.scalars import features_of

RECOMMENDERS = ("bias", "mf", "neumf", "two_tower")
B = 12
PLAIN = InputShape(0, (7, 6))
SIDES = InputShape(4, (7, 6, 3, 5))
"""Two numbers and one category for each side."""


def rows(inputs: InputShape, seed: int = 0):
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(1, c, B) for c in inputs.cardinalities], 1)
    return {
        "numeric": rng.normal(size=(B, inputs.numeric)).astype(np.float32),
        "category": codes.astype(np.int32),
    }


def parameters(network, seed: int = 0):
    rng = np.random.default_rng(seed)
    drawn = initial_params(network.params(), ["he_normal"], np.ones(1), seed)
    return {
        n: (p[0] + 0.3 * rng.normal(size=p.shape[1:])).astype(np.float32) for n, p in drawn.items()
    }


def make(model: str, inputs: InputShape = SIDES, **values):
    return build(Config({"width": 4, "depth": 1, "model": model, **values}).structure(), inputs, 1)


def outputs(network, params, fields):
    return np.asarray(network.apply(params, network.state(), fields, Context())[0])


@pytest.mark.parametrize("inputs", [PLAIN, SIDES])
@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("model", RECOMMENDERS)
def test_shapes_gradients_and_size(model, depth, inputs):
    network = make(model, inputs, depth=depth)
    params, fields = parameters(network), rows(inputs)
    # Every code must occur.
    codes = np.stack([np.arange(B) % c for c in inputs.cardinalities], 1)
    fields["category"] = codes.astype(np.int32)

    @jax.jit
    def total(params):
        out, state = network.apply(params, network.state(), fields, Context(train=True))
        assert out.shape == (B, 1)
        assert out.dtype == jnp.float32
        assert state.keys() == network.state().keys()
        return jnp.sum(out**2)

    grads = jax.grad(total)(params)
    for name, gradient in grads.items():
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0, name
    assert count_params(network) == sum(v.size for v in params.values())
    assert network.flops() > 0
    assert network.activation_floats() > 0


def test_bias_and_factorisation_are_their_equations():
    fields = rows(SIDES)
    codes, x = fields["category"], fields["numeric"]
    network = make("mf")
    p = parameters(network)
    bias = p["mean"] + BIAS_GAIN * sum(p[f"bias/{c}"][codes[:, c]] for c in range(4))
    bias = bias + x @ p["bias/numeric"]
    product = (p["factors/user"][codes[:, 0]] * p["factors/item"][codes[:, 1]]).sum(1)
    np.testing.assert_allclose(outputs(network, p, fields), bias + product[:, None], rtol=1e-4)
    alone = {name: v for name, v in p.items() if name.startswith(("bias", "mean"))}
    np.testing.assert_allclose(outputs(make("bias"), alone, fields), bias, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", ["mf", "neumf", "two_tower"])
def test_unknown_ids_are_judged_without_their_vectors(model):
    network = make(model)
    params, fields = parameters(network), rows(SIDES)
    fields["category"][:, 0] = 0
    before = outputs(network, params, fields)
    for name in params:
        if name.endswith("factors/user"):
            params[name][0] = 100.0
    np.testing.assert_array_equal(outputs(network, params, fields), before)
    # The bias of code 0 does count, and so does side information.
    params["bias/0"][0] += 1.0
    np.testing.assert_allclose(outputs(network, params, fields), before + BIAS_GAIN, rtol=1e-4)


@pytest.mark.parametrize("depth", [0, 1])
def test_towers_meet_in_their_product_alone(depth):
    network = make("two_tower", depth=depth)
    params = parameters(network)
    fields = rows(SIDES)
    # Without biases, the outputs over all pairs of users and items have the rank of the factors.
    params = {
        n: np.zeros_like(v) if n.startswith(("bias", "mean")) else v for n, v in params.items()
    }
    u, i = (grid.ravel() for grid in np.meshgrid(np.arange(B), np.arange(B), indexing="ij"))
    numeric, codes = fields["numeric"], fields["category"]
    pairs = {
        "numeric": np.concatenate([numeric[u, :2], numeric[i, 2:]], 1),
        "category": np.stack([codes[u, 0], codes[i, 1], codes[u, 2], codes[i, 3]], 1),
    }
    values = np.linalg.svd(outputs(network, params, pairs).reshape(B, B))[1]
    assert values[3] > 1e-3 * values[0]
    assert values[4] < 1e-5 * values[0]


def test_factors_start_small_and_biases_at_zero():
    network = make("mf", InputShape(0, (400, 300)), width=16)
    drawn = initial_params(network.params(), ["he_normal", "he_normal"], np.array([1.0, 2.0]), 0)
    assert drawn["factors/user"][0].std() == pytest.approx(FACTOR_DEVIATION, rel=0.05)
    np.testing.assert_allclose(drawn["factors/user"][1], 2 * drawn["factors/user"][0])
    assert np.abs(drawn["bias/0"]).max() < 1e-2


@pytest.mark.parametrize("model", RECOMMENDERS)
def test_tables_that_are_no_pairs_are_refused(model):
    structure = Config(model=model).structure()
    with pytest.raises(SpaceError, match="is for ratings"):
        build(structure, InputShape(3), 1)
    with pytest.raises(SpaceError, match="got 3 columns of codes"):
        build(structure, InputShape(0, (3, 4, 5)), 1)
    with pytest.raises(SpaceError, match="got 2 outputs"):
        build(structure, PLAIN, 2)


@pytest.mark.parametrize("model", ["mf", "neumf", "two_tower"])
def test_interactions_are_learnt_that_biases_cannot_tell(model):
    rng = np.random.default_rng(0)
    users, items, num = 40, 30, 3000
    codes = np.stack([rng.integers(0, users, num), rng.integers(0, items, num)], 1)
    taste, kind = rng.choice([-1.0, 1.0], users), rng.choice([-1.0, 1.0], items)
    target = (taste[codes[:, 0]] * kind[codes[:, 1]]).astype(np.float32)[:, None]
    fields = {
        "numeric": np.zeros((num, 0), np.float32),
        "category": (codes + 1).astype(np.int32),
    }
    cut = 2400
    data = TrainingData(
        {n: v[:cut] for n, v in fields.items()},
        target[:cut],
        {n: v[cut:] for n, v in fields.items()},
        target[cut:],
    )
    task, inputs = Task("regression", ("rating",)), InputShape(0, (users + 1, items + 1))
    found = {}
    for name in (model, "bias"):
        common = {"batch_size": 64, "width": 4, "depth": 1, "optimizer": "adam", "dropout": 0.0}
        config = Config({**common, "model": name, "learning_rate": 0.02, "l2": 1e-5})
        engine = Engine(data, task, inputs, features_of([config], task), workers=1)
        cohort = Cohort(engine, [config], [0], 400, 100)
        cohort.advance(400)
        found[name] = min(cohort.curves[0].validation)
    assert found["bias"] > 0.9
    assert found[model] < 0.2
