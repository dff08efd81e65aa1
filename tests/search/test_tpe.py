"""Densities of TPE: they integrate to one, draws follow them, the batch is fast."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.search.axes import Axes
from thalweg.search.tpe import Parzen
from thalweg.space import Choice, Float, Space, Switch

SPACE = Space(optimizer=Choice(["adam", "sgd", "lion"]), dropout=Float(0.0, 0.5))


def some_points(axes: Axes, num: int = 7) -> np.ndarray:
    return axes.settle(np.random.default_rng(0).random((num, axes.num)))


def test_density_integrates_to_one():
    axes = Axes(SPACE)
    parzen = Parzen(axes, some_points(axes))
    grid = (np.arange(2000) + 0.5) / 2000
    total = 0.0
    for level in axes.levels[0]:
        points = np.column_stack([np.full(2000, level), grid])
        total += np.exp(parzen.log_density(points)).mean() / 3
    assert total == pytest.approx(1.0, rel=1e-4)


def test_draws_follow_the_density():
    axes = Axes(SPACE)
    parzen = Parzen(axes, some_points(axes))
    drawn = axes.settle(parzen.draw(40_000, np.random.default_rng(1)))
    edges = np.linspace(0, 1, 11)
    for level in axes.levels[0]:
        rows = np.isclose(drawn[:, 0], level)
        counts = np.histogram(drawn[rows, 1], edges)[0] / len(drawn)
        grid = (np.arange(1000) + 0.5) / 1000
        density = np.exp(parzen.log_density(np.column_stack([np.full(1000, level), grid])))
        np.testing.assert_allclose(counts, density.reshape(10, 100).mean(1) / 30, atol=0.008)


def test_kernels_narrow_where_points_gather():
    axes = Axes(Space(dropout=Float(0.0, 0.5), momentum=Float(0.0, 0.9)))
    near = np.array([[0.50, 0.1], [0.53, 0.4], [0.56, 0.7], [0.59, 0.95]])
    sd = Parzen(axes, near).sd
    assert sd.shape == (4, 2)
    # No narrower than lets four kernels meet, no wider than Scott's rule.
    np.testing.assert_allclose(sd[:, 0], 1 / 6)
    np.testing.assert_allclose(sd, np.full((4, 2), 1 / 6), atol=0.01)
    many = np.random.default_rng(0).random((40, 2))
    many[:, 0] = 0.5 + 0.02 * many[:, 0]
    sd = Parzen(axes, many).sd
    np.testing.assert_allclose(sd[:, 0], 1 / 42)
    assert sd[:, 1].mean() > 1.5 / 42


def test_absent_hyperparameters_count_as_uniform():
    space = Space(
        optimizer=Choice(["adam", "sgd"]), momentum=Switch("optimizer", {"sgd": Float(0.0, 0.9)})
    )
    axes = Axes(space)
    parzen = Parzen(axes, axes.settle(np.array([[0.1, 0.3], [0.9, 0.3]])))
    density = parzen.log_density(axes.settle(np.array([[0.1, 0.1], [0.1, 0.9]])))
    assert density[0] == density[1]
    near, far = parzen.log_density(axes.settle(np.array([[0.9, 0.3], [0.9, 0.99]])))
    assert near > far
