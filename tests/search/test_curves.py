"""Who goes on, decided on recorded curves: some cross, and halving alone would drop the winner."""

from __future__ import annotations

import numpy as np

from thalweg.search.curves import expected_finals, features
from thalweg.search.halving import survivors

SHARES = np.arange(1, 28) / 27


def recorded(num: int, seed: int) -> np.ndarray:
    """Return curves of two kinds: quick ones that level off low, slow ones that rise for long."""
    rng = np.random.default_rng(seed)
    slow = np.arange(num) % 2 == 0
    end = np.where(slow, 0.95, 0.8) + 0.03 * rng.standard_normal(num)
    speed = np.where(slow, 0.35, 0.06)
    curves = end[:, None] - 0.5 * np.exp(-SHARES[None, :] / speed[:, None])
    return curves + 0.003 * rng.standard_normal(curves.shape)


def kept(curves: np.ndarray, scores: np.ndarray, num: int = 4) -> float:
    """Return how good the best of the survivors gets."""
    return float(curves[survivors(scores, num)[0]].max())


def test_slow_starters_go_on_where_curves_are_known():
    at, best = 1 / 3, []
    for seed in range(10):
        curves, earlier = recorded(24, seed), recorded(12, 100 + seed)
        running = [(SHARES[:9], c[:9]) for c in curves]
        by_score = np.array([features(SHARES[:9], c[:9], at)[0] for c in curves])
        by_curve = expected_finals(running, [(SHARES, c) for c in earlier], at)
        best.append((kept(curves, by_score), kept(curves, by_curve), float(curves.max())))
    halving, foretold, oracle = np.mean(best, axis=0)
    assert halving < oracle - 0.05  # halving drops the slow ones
    assert foretold > oracle - 0.01


def test_with_no_curves_it_is_halving():
    curves = recorded(10, 0)
    running = [(SHARES[:9], c[:9]) for c in curves]
    scores = expected_finals(running, [(SHARES, c) for c in recorded(3, 1)], 1 / 3)
    np.testing.assert_allclose(scores, curves[:, :9].max(axis=1))


def test_what_is_foretold_is_about_right():
    curves, earlier = recorded(40, 2), recorded(40, 3)
    running = [(SHARES[:9], c[:9]) for c in curves]
    found = expected_finals(running, [(SHARES, c) for c in earlier], 1 / 3)
    error = found - curves.max(axis=1)
    assert abs(error.mean()) < 0.015
    assert error.std() < 0.045
    assert np.isnan(expected_finals([(SHARES, np.full(27, np.nan))], [], 0.5)).all()
