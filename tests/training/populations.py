"""Small problems, engines and cohorts that the tests of training share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from thalweg.models import InputShape
from thalweg.space import Config
from thalweg.task import Task
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.scalars import features_of

Weights = Mapping[str, np.ndarray]


@cache
def problem(kind: str, num_rows: int = 96, categories: bool = False, seed: int = 0):
    """Return data that can be learnt in part, its task and its inputs."""
    rng = np.random.default_rng([seed, num_rows])
    total, num_features = num_rows + 40, 6
    numeric = rng.normal(size=(total, num_features)).astype(np.float32)
    fields = {"numeric": numeric}
    if categories:
        fields["category"] = rng.integers(0, 4, (total, 2)).astype(np.int32)
    signal = np.tanh(numeric @ rng.normal(size=(num_features, 3)))
    noisy = signal + 0.3 * rng.normal(size=signal.shape)
    units: Any = None
    if kind == "regression":
        task = Task("regression", ("a", "b"))
        target = noisy[:, :2].astype(np.float32)
        units = (np.float32([3.0, -1.0]), np.float32([2.0, 0.5]))
    elif kind == "binary":
        task = Task("binary", ("y",), ("no", "yes"))
        target = (noisy[:, 0] > 0.4).astype(np.int32)
    else:
        task = Task("multiclass", ("y",), ("a", "b", "c"))
        target = noisy.argmax(1).astype(np.int32)
    cut = num_rows
    data = TrainingData(
        fields={name: values[:cut] for name, values in fields.items()},
        target=target[:cut],
        validation_fields={name: values[cut:] for name, values in fields.items()},
        validation_target=target[cut:],
        units=units,
    )
    return data, task, InputShape(num_features, (4, 4) if categories else ())


def make_engine(
    kind: str, configs: Sequence[Config], *, workers: int = 1, **options: Any
) -> Engine:
    """Return an engine for these Configs on the problem of a kind."""
    data, task, inputs = problem(kind, **options)
    return Engine(data, task, inputs, features_of(configs, task), workers=workers)


def trained(
    engine: Engine,
    configs: Sequence[Config],
    seeds: Sequence[int] | None = None,
    num_steps: int = 20,
    every: int = 10,
) -> Cohort:
    """Return a cohort after so many steps."""
    cohort = Cohort(engine, configs, seeds or [0] * len(configs), num_steps, every)
    cohort.advance(num_steps)
    return cohort


def alone(kind: str, config: Config, seed: int = 0, num_steps: int = 20, **options: Any) -> Cohort:
    """Return a Config trained by itself: its own engine, its own lean program."""
    return trained(make_engine(kind, [config], **options), [config], [seed], num_steps)


def flat(cohort: Cohort, member: int = 0, *, best: bool = False) -> dict[str, np.ndarray]:
    """Return a member's parameters and state by name."""
    params, state = cohort.weights(member, best=best)
    return {**params, **state}


def distance(ours: Weights, theirs: Weights) -> float:
    """Return the largest difference of an entry, relative to its array's largest entry."""
    assert ours.keys() == theirs.keys()
    worst = 0.0
    for name in ours:
        a, b = np.asarray(ours[name], np.float64), np.asarray(theirs[name], np.float64)
        assert a.shape == b.shape
        assert np.isfinite(a).all()
        assert np.isfinite(b).all()
        scale = max(np.abs(b).max(initial=0.0), 1e-3)
        worst = max(worst, float(np.abs(a - b).max(initial=0.0)) / scale)
    return worst


def same_curves(a: Cohort, i: int, b: Cohort, j: int, rtol: float = 1e-5) -> None:
    """Check that two members evaluated alike."""
    for name in ("step", "train_loss", "validation_loss", "validation", "train"):
        mine, other = getattr(a.curves[i], name), getattr(b.curves[j], name)
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=1e-6, err_msg=name)
