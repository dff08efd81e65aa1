"""Problems built so that one choice must win, and some in which nothing can: the verdict is right.

Each trains for a second or two; what is compared is what a reader would compare.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import thalweg as tw
from thalweg.evidence import SUPPORTED, TIE


class Case(NamedTuple):
    """A comparison and what must come of it: the winner, or None where nothing may be claimed."""

    data: Any
    over: str
    levels: list[Any]
    space: dict[str, Any]
    epochs: float
    metric: str
    winner: str | None


LINEAR = {"model": "linear", "batch_size": 32}
SMALL = {"width": 16, "depth": 1, "batch_size": 32}
RATE = {"low": 3e-3, "high": 0.1, "log": True}


def parts(x: np.ndarray, y: np.ndarray, num: int) -> tw.Dataset:
    """The first rows train, the rest are halved into validation and test rows."""
    middle = (len(x) + num) // 2
    return tw.load(
        (x[:num], y[:num]), validation=(x[num:middle], y[num:middle]), test=(x[middle:], y[middle:])
    )


def normal(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)


def noise(rows: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=rows)


def a_rate() -> Case:
    """A rate so small that nothing is learned."""
    x = normal(900, 3)
    data = parts(x, x @ np.array([1.0, -1.0, 0.5]) + 0.1 * noise(900), 300)
    return Case(data, "learning_rate", [1e-6, 0.03], LINEAR, 5, "rmse", "0.03")


def a_penalty() -> Case:
    """Fewer rows than columns, most of which are noise: without a penalty the noise is fitted."""
    x = normal(2040, 60)
    data = parts(x, x[:, 0] + x[:, 1] + 1.5 * noise(2040), 40)
    space = {**LINEAR, "batch_size": "full", "optimizer": "adam", "learning_rate": 0.02}
    return Case(data, "l2", [0.0, 1.0], space, 400, "rmse", "1")


def a_loss() -> Case:
    """Errors with tails so heavy that a squared one follows the worst rows."""
    x = normal(2400, 3)
    tails = np.clip(np.random.default_rng(2).standard_cauchy(2400), -200, 200)
    data = parts(x, x @ np.array([1.0, -1.0, 0.5]) + tails, 400)
    return Case(data, "loss", ["mse", "mae"], {**LINEAR, "learning_rate": RATE}, 15, "mae", "mae")


def an_activation() -> Case:
    """A parabola: a network without a bend cannot follow it."""
    x = normal(1200, 1)
    data = parts(x, x[:, 0] ** 2 + 0.1 * noise(1200), 400)
    space = {**SMALL, "learning_rate": RATE}
    return Case(data, "activation", ["identity", "tanh"], space, 15, "rmse", "tanh")


def an_optimizer() -> Case:
    """Columns of very different scales, encoded as they are: a step for each weight is needed."""
    x = normal(900, 8) @ np.linalg.qr(normal(8, 8))[0].astype(np.float32)
    mixed = x + 8 * x.mean(1, keepdims=True)
    data = parts(mixed, x @ np.arange(8) + 0.1 * noise(900), 300)
    space = {
        **LINEAR,
        "batch_size": "full",
        "learning_rate": {"low": 3e-3, "high": 0.3, "log": True},
    }
    return Case(data, "optimizer", ["sgd", "nesterov"], space, 60, "rmse", "nesterov")


def nothing_in_noise() -> Case:
    """A target that has nothing to do with the inputs: no network is better than another."""
    x = normal(1600, 4)
    data = parts(x, noise(1600), 400)
    space = {**SMALL, "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}}
    return Case(data, "activation", ["relu", "tanh", "gelu"], space, 4, "rmse", None)


def nothing_at_the_end() -> Case:
    """A convex problem trained to its end: how the rate came down no longer matters."""
    x = normal(900, 3)
    data = parts(x, x @ np.array([1.0, -1.0, 0.5]) + 0.5 * noise(900), 300)
    rate = {"low": 0.1, "high": 0.3, "log": True}
    space = {**LINEAR, "batch_size": "full", "learning_rate": rate, "optimizer": "sgd"}
    return Case(data, "schedule", ["constant", "cosine"], space, 120, "rmse", None)


@pytest.mark.parametrize(
    "make",
    [a_rate, a_penalty, a_loss, an_activation, an_optimizer, nothing_in_noise, nothing_at_the_end],
)
def test_the_verdict_is_right(make: Any) -> None:
    case = make()
    found = tw.compare(
        case.data,
        over=case.over,
        levels=case.levels,
        space=case.space,
        epochs=case.epochs,
        metric=case.metric,
        trials=8,
        seeds=4,
    )
    answer = found.answers()[0]
    if case.winner is None:
        assert answer.verdict != SUPPORTED, answer.claim
        assert all(row["verdict"] in (TIE, "not enough evidence") for row in found.pairs())
    else:
        assert answer.verdict == SUPPORTED, answer.claim
        assert answer.claim.startswith(f"{case.winner} is best")
