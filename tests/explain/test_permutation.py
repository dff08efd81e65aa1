"""Permutation importance finds the truth, and its intervals cover it as often as they say."""

from __future__ import annotations

import numpy as np
from sklearn.inspection import permutation_importance as theirs
from sklearn.linear_model import LinearRegression

from thalweg.explain.permutation import permutation_importance

WEIGHTS = np.array([2.0, 1.0, 0.0])


def error(outputs: np.ndarray, target: np.ndarray) -> float:
    return float(np.square(outputs[:, 0] - target[:, 0]).mean())


def sample(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((num, 3))
    return x, x @ WEIGHTS[:, None] + rng.standard_normal((num, 1))


def importance(num: int, seed: int, **options):
    x, y = sample(num, seed)

    def shuffled(player: int, order: np.ndarray) -> np.ndarray:
        moved = x.copy()
        moved[:, player] = x[order, player]
        return moved @ WEIGHTS[:, None]

    return permutation_importance(
        x @ WEIGHTS[:, None], shuffled, error, y, 3, sign=-1.0, seed=seed, **options
    )


def test_intervals_cover_the_truth_as_often_as_they_say():
    # Of y = w·x + noise under squared error the importance is 2 w² times the variance of x.
    truth = 2.0 * WEIGHTS**2
    covered = np.zeros(3)
    times = 300
    for seed in range(times):
        found = importance(200, seed)
        covered += (found.low <= truth + 1e-12) & (truth - 1e-12 <= found.high)
    share = covered / times
    assert (share[:2] > 0.93).all()
    assert (share[:2] < 0.99).all()
    # What is not used is never important.
    assert share[2] == 1.0


def test_as_scikit_learn():
    x, y = sample(4000, 0)
    found = importance(4000, 0, repeats=20)
    model = LinearRegression().fit(x, y)
    known = theirs(model, x, y, scoring="neg_mean_squared_error", n_repeats=20, random_state=0)
    np.testing.assert_allclose(found.importance[:2], known.importances_mean[:2], rtol=0.05)
    np.testing.assert_allclose(found.importance[2], 0.0, atol=1e-12)


def test_it_can_be_cut_short():
    found = importance(100, 0, going_on=lambda done: done < 1)
    assert np.isfinite(found.importance[0])
    assert np.isnan(found.importance[1:]).all()
