"""Gradients by layer against finite differences; dead units where they were made; what is said."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.evidence import SUPPORTED, TIE
from thalweg.evidence.layers import QUESTION, answer_layers
from thalweg.evidence.view import View
from thalweg.models import InputShape
from thalweg.space import Config
from thalweg.study.engines import Engines
from thalweg.study.inside import look_inside
from thalweg.study.records import Trial
from thalweg.task import Task
from thalweg.training.cohort import Cohort
from thalweg.training.feed import TrainingData
from thalweg.training.probe import Prober


def made(config: Config, num: int = 64) -> tuple[Engines, Trial]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    data = TrainingData({"numeric": x}, y, {"numeric": x[:16]}, y[:16])
    task = Task("binary", ("y",), (0, 1))
    return Engines(data, (), task, InputShape(numeric=4), [config]), Trial(
        0, "confirm", config, "", 1
    )


BASE = {"width": 8, "depth": 2, "batch_size": 16, "optimizer": "sgd", "learning_rate": 0.1,
        "dropout": 0.3}  # fmt: skip


def test_gradients_are_those_of_finite_differences() -> None:
    config = Config(BASE, activation="tanh")
    engines, _ = made(config)
    engine = engines.first()
    prober = Prober(engine, config, ())
    cohort = Cohort(engine, [config], [0], 4, 4)
    params, state = cohort.weights(0, best=False)
    found = prober.measure(params, state)

    def loss(params: Any) -> float:
        from thalweg.training.member import step_key

        key = step_key(jnp.uint32(0), jnp.int32(0))
        return float(prober.member.loss(params, state, prober.rows, prober.scalars, key)[0])

    name = "hidden_1/kernel"
    rng = np.random.default_rng(1)
    squares = []
    for _ in range(40):
        at = tuple(int(rng.integers(size)) for size in params[name].shape)
        up, down = ({**params, name: params[name].copy()} for _ in range(2))
        up[name][at] += 1e-2
        down[name][at] -= 1e-2
        squares.append(((loss(up) - loss(down)) / 2e-2) ** 2)
    assert found.gradient[name] == pytest.approx(np.sqrt(np.mean(squares)), rel=0.3)
    assert found.weight[name] == pytest.approx(float(np.sqrt(np.mean(params[name] ** 2))))


def test_units_that_never_fire_are_dead() -> None:
    config = Config(BASE, activation="relu")
    engines, _ = made(config)
    engine = engines.first()
    cohort = Cohort(engine, [config], [0], 4, 4)
    params, state = cohort.weights(0, best=False)
    params["hidden_0/bias"][:3] = -1e3
    found = Prober(engine, config, ()).measure(params, state)
    assert found.dead["hidden_0/kernel"] >= 3 / 8
    assert found.dead["output/kernel"] < 0.5
    params["hidden_0/bias"][:] = -1e3
    assert Prober(engine, config, ()).measure(params, state).dead["hidden_0/kernel"] == 1.0


def test_deep_sigmoid_networks_vanish_and_shallow_relu_networks_do_not() -> None:
    deep = Config({**BASE, "depth": 10}, activation="sigmoid")
    for config, verdict, word in ((deep, SUPPORTED, "vanish"), (Config(BASE), TIE, "Yes")):
        engines, trial = made(config)
        found = look_inside(engines, trial, 2.0)
        assert found is not None
        assert found["step"][0] == 0
        assert (
            len({len(layer["gradient"]) for layer in found["layers"]} | {len(found["step"])}) == 1
        )
        answer = answer_layers(View([], {"layers": found}))[0]
        assert answer.question == QUESTION
        assert answer.verdict == verdict, answer.claim
        assert word in answer.claim


@pytest.mark.parametrize("found", [None, {}, {"step": [], "layers": []}, {"layers": [{}, {}]}])
def test_nothing_known_is_nothing_said(found: Any) -> None:
    assert answer_layers(View([], {"layers": found})) == []
