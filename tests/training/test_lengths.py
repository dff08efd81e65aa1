"""Rows of differing lengths: batches of one length, and branches for short ones."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.models import InputShape, build, cut_fields, cuts_of
from thalweg.models.text import BagNetwork, ReadingNetwork
from thalweg.space import Config
from thalweg.task import Task
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.outputs import network_outputs
from thalweg.training.scalars import POOL, batch_indices, features_of

INPUTS = InputShape(masked=True, tokens=(64, 30), terms=(80, 40))
COMMON = {"depth": 1, "width": 8, "embedding_size": 6, "batch_size": 16, "optimizer": "adam"}
MODELS = ("linear", "mlp", "textcnn", "gru", "transformer")


@cache
def data() -> TrainingData:
    rng = np.random.default_rng(0)
    length = rng.integers(1, 65, 240).astype(np.int32)
    tokens = rng.integers(2, 30, (240, 64)).astype(np.int32)
    tokens[np.arange(64) >= length[:, None]] = 0
    weight = rng.random((240, 80)).astype(np.float32)
    weight[np.arange(80) >= np.minimum(length, 80)[:, None]] = 0
    terms = np.where(weight > 0, rng.integers(1, 40, (240, 80)), 0).astype(np.int32)
    target = (tokens == 5).any(1).astype(np.int32)
    fields = {"tokens": tokens, "length": length, "terms": terms, "term_weight": weight}
    return TrainingData(
        {n: v[:160] for n, v in fields.items()},
        target[:160],
        {n: v[160:] for n, v in fields.items()},
        target[160:],
    )


def config(model: str, **more) -> Config:
    return Config({**COMMON, "model": model, "learning_rate": 0.01, **more})


def trained(configs: list[Config], num_steps: int = 12):
    task = Task("binary", ("y",), ("no", "yes"))
    engine = Engine(data(), task, INPUTS, features_of(configs, task), workers=1)
    cohort = Cohort(engine, configs, [0] * len(configs), num_steps, 6)
    cohort.advance(num_steps)
    return cohort


def test_batches_hold_rows_of_one_length_and_each_row_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    plain = batch_indices(3, 1000, 16, 0, 2 * POOL)
    sorted_ = batch_indices(3, 1000, 16, 0, 2 * POOL, lengths)
    for pool in range(2):
        own = slice(pool * POOL, (pool + 1) * POOL)
        assert sorted(sorted_[own].ravel()) == sorted(plain[own].ravel())
    spread = np.ptp(lengths[sorted_], axis=1).mean()
    assert spread < 0.2 * np.ptp(lengths[plain], axis=1).mean()
    # Any stretch of steps is the same as part of a longer one, and batches come in any order.
    part = batch_indices(3, 1000, 16, 20, 30, lengths)
    np.testing.assert_array_equal(part, sorted_[20:50])
    assert np.abs(np.diff(lengths[sorted_].mean(1))).mean() > 10


@pytest.mark.parametrize("model", MODELS)
def test_short_branches_train_as_the_whole_program_does(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rule that is smooth in the gradient: Adam's first steps turn rounding into whole steps.
    rule = {"optimizer": "sgd", "learning_rate": 0.1}
    short = trained([config(model, **rule)])
    assert len(cuts_of(short.member.network)) == 3
    owner = BagNetwork if model in ("linear", "mlp") else ReadingNetwork
    columns = {"terms": 80, "term_weight": 80} if owner is BagNetwork else {"tokens": 64}
    # Two branches, both of the full length: the same batches without anything cut.
    monkeypatch.setattr(owner, "cuts", (columns, columns))
    whole = trained([config(model, **rule)])
    for name, values in short.weights(0, best=False)[0].items():
        np.testing.assert_allclose(values, whole.weights(0, best=False)[0][name], atol=2e-5)
    np.testing.assert_allclose(
        short.curves[0].validation_loss, whole.curves[0].validation_loss, 1e-4
    )


@pytest.mark.parametrize("model", ["mlp", "textcnn"])
def test_members_together_are_what_they_are_apart(model: str) -> None:
    rows = [
        {"dropout": 0.3, "token_dropout": 0.2},
        {"learning_rate": 0.003, "token_dropout": 0.0},
        {"mixup": 0.3, "weight_decay": 0.1},
    ]
    if model == "textcnn":
        rows[1]["token_swap"] = 0.3
    configs = [config(model, **row) for row in rows]
    together = trained(configs)
    for i, own in enumerate(configs):
        alone = trained([own])
        for name, values in alone.weights(0, best=False)[0].items():
            found = together.weights(i, best=False)[0][name]
            np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5)


def test_predictions_keep_the_order_of_rows() -> None:
    network = build(config("textcnn").structure(), INPUTS, 1)
    params, _ = trained([config("textcnn")]).weights(0)
    fields = dict(data().fields)
    once = network_outputs(network, params, {}, fields, max_rows=256)
    parts = network_outputs(network, params, {}, fields, max_rows=32)
    np.testing.assert_allclose(once, parts, atol=1e-5)


def test_gradients_of_a_cut_are_those_of_the_whole() -> None:
    network = build(config("gru").structure(), INPUTS, 1)
    assert isinstance(network, ReadingNetwork)
    params = {n: jnp.asarray(v) for n, v in trained([config("gru")]).weights(0)[0].items()}
    kept = data().fields["length"] <= 16
    fields = {n: jnp.asarray(v[kept]) for n, v in data().fields.items()}

    def loss(params, fields):
        from thalweg.nn.layers import Context

        return jnp.square(network.apply(params, {}, fields, Context())[0]).sum()

    whole = jax.grad(loss)(params, fields)
    short = jax.grad(loss)(params, cut_fields(fields, {"tokens": 16}))
    for name, values in whole.items():
        np.testing.assert_allclose(short[name], values, atol=1e-5)
