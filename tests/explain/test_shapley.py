"""Shapley values keep their axioms, exact or sampled, and agree with Captum's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from thalweg.explain.shapley import shapley

NUM = 6


def game(seed: int = 0):
    """Return a function of 6 inputs in which 0 and 1 are alike, and 5 does nothing."""
    rng = np.random.default_rng(seed)
    rows, background = rng.standard_normal((4, NUM)), rng.standard_normal((5, NUM))
    rows[:, 1], background[:, 1] = rows[:, 0], background[:, 0]

    def function(x: np.ndarray) -> np.ndarray:
        return (
            x[:, 0] * x[:, 1] * x[:, 4]
            + np.tanh(x[:, 2]) * x[:, 3]
            + np.abs(x[:, 4])
            + x[:, 0]
            + x[:, 1]
        )

    def value(index, present, others):
        return function(np.where(present, rows[index], background[others]))

    return function, value, rows, background


def by_definition(function, row, background):
    """Return Shapley values from their definition, order by order."""
    total = np.zeros(NUM)
    for order in itertools.permutations(range(NUM)):
        x = background.copy()
        before = function(x).mean()
        for player in order:
            x[:, player] = row[player]
            after = function(x).mean()
            total[player] += after - before
            before = after
    return total / math.factorial(NUM)


@pytest.mark.parametrize("num_walks", [None, 400])
def test_axioms(num_walks):
    function, value, rows, background = game()
    found = shapley(value, len(rows), NUM, len(background), num_walks=num_walks)
    assert found.exact == (num_walks is None)
    np.testing.assert_allclose(found.score, function(rows))
    np.testing.assert_allclose(found.base, function(background).mean())
    # Completeness holds whatever is sampled, and so does that of what does nothing.
    np.testing.assert_allclose(found.base + found.values.sum(1), found.score)
    np.testing.assert_allclose(found.values[:, 5], 0.0, atol=1e-12)
    wanted = np.array([by_definition(function, row, background) for row in rows])
    if num_walks is None:
        np.testing.assert_allclose(found.values, wanted)
        np.testing.assert_allclose(found.values[:, 0], found.values[:, 1])
    else:
        assert found.error[:, :5].min() > 0
        assert (np.abs(found.values - wanted) <= 4 * found.error + 1e-12).all()


def test_more_samples_are_closer():
    function, value, rows, background = game(1)
    wanted = np.array([by_definition(function, row, background) for row in rows])
    few, many = (
        np.abs(shapley(value, len(rows), NUM, 5, num_walks=n).values - wanted).mean()
        for n in (10, 1000)
    )
    assert many < few / 3


def test_it_can_be_cut_short():
    _, value, rows, background = game()
    found = shapley(value, len(rows), NUM, len(background), going_on=lambda done: done < 2)
    assert len(found.values) == 2


def test_as_captum():
    torch = pytest.importorskip("torch")
    captum = pytest.importorskip("captum.attr")
    function, _, rows, background = game(2)

    def value(index, present, others):
        return function(np.where(present, rows[index], background[others]))

    def forward(x):
        return torch.tensor(function(x.numpy()))

    ours = shapley(value, len(rows), NUM, 1)
    theirs = captum.ShapleyValues(forward).attribute(
        torch.tensor(rows), baselines=torch.tensor(background[:1])
    )
    np.testing.assert_allclose(ours.values, theirs.numpy(), atol=1e-4)
