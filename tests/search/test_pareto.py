"""Fronts, crowding and hypervolume, against Optuna and by hand."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from thalweg.search.pareto import crowding, fronts, hypervolume, pareto_scores


def test_first_front_is_optunas():
    values = np.random.default_rng(0).random((60, 2))
    study = optuna.create_study(directions=["maximize", "maximize"])
    for row in values:
        study.add_trial(optuna.trial.create_trial(values=row.tolist()))
    best = sorted(t.number for t in study.best_trials)
    assert np.flatnonzero(fronts(values) == 0).tolist() == best


def test_hypervolume_is_optunas():
    from optuna._hypervolume import compute_hypervolume

    values = np.random.default_rng(1).random((40, 2))
    expected = compute_hypervolume(-values, np.zeros(2))
    assert hypervolume(values, np.zeros(2)) == pytest.approx(expected)
    assert hypervolume(np.array([[0.5, np.nan], [-1.0, 3.0]]), np.zeros(2)) == 0.0
    assert hypervolume(np.array([[2.0, 1.0], [1.0, 2.0]]), np.zeros(2)) == 3.0


def test_scores_put_a_spread_front_first():
    values = np.array([[0.9, 1.0], [0.1, 9.0], [0.5, 5.0], [0.51, 4.9], [0.4, 0.5], [np.nan, 99.0]])
    scores = pareto_scores(values)
    assert np.isnan(scores[5])
    assert set(np.argsort(-scores[:5])[:2]) == {0, 1}
    assert scores[:4].min() > scores[4]
    np.testing.assert_array_equal(pareto_scores(np.empty((0, 2))), [])


def test_crowding_of_ends_is_infinite():
    room = crowding(np.array([[0.0, 3.0], [1.0, 2.0], [1.1, 1.9], [3.0, 0.0]]))
    assert np.isinf(room[[0, 3]]).all()
    assert room[1] < room[2]
