"""Baselines of recommenders: exact where there is a closed form, sensible at new ids."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from thalweg.study import rating_baselines
from thalweg.study.rating_baselines import (
    CLICK_BASELINES,
    RATING_BASELINES,
    baselines_of,
    popularity,
    user_item_bias,
)
from thalweg.task import Task

RATING = Task("regression", ("rating",))
CLICK = Task("binary", ("click",), (0, 1))
rng = np.random.default_rng(0)
N, USERS, ITEMS = 400, 12, 9
CODES = np.stack([rng.integers(0, USERS, N), rng.integers(0, ITEMS, N)], 1).astype(np.int32)
FIELDS = {"numeric": np.zeros((N, 0), np.float32), "category": CODES}
RATINGS = 3 + rng.normal(size=USERS)[CODES[:, 0]] + rng.normal(size=ITEMS)[CODES[:, 1]]
RATINGS = (RATINGS + 0.3 * rng.normal(size=N))[:, None]


def test_biases_are_those_of_ridge_regression(monkeypatch):
    monkeypatch.setattr(rating_baselines, "SWEEPS", 300)
    outputs = user_item_bias(RATING, FIELDS, RATINGS)(FIELDS)
    hot = np.concatenate([np.eye(USERS)[CODES[:, 0]], np.eye(ITEMS)[CODES[:, 1]]], 1)
    ridge = Ridge(alpha=rating_baselines.SHRINKAGE, fit_intercept=False)
    want = RATINGS.mean() + ridge.fit(hot, RATINGS - RATINGS.mean()).predict(hot).reshape(-1, 1)
    np.testing.assert_allclose(outputs, want, atol=1e-6)


def test_ratings_baselines_learn_and_have_the_shape_of_the_score():
    errors = {}
    for name, fit in RATING_BASELINES.items():
        outputs = fit(RATING, FIELDS, RATINGS)(FIELDS)
        assert outputs.shape == (N, 1)
        errors[name] = np.abs(outputs - RATINGS).mean()
    assert errors["constant"] == pytest.approx(np.abs(RATINGS - RATINGS.mean()).mean())
    assert errors["user_item_bias"] < 0.5 * errors["constant"]


def test_codes_never_fitted_have_no_bias():
    new = {"category": np.array([[99, 99]], np.int32)}
    outputs = user_item_bias(RATING, FIELDS, RATINGS)(new)
    np.testing.assert_allclose(outputs, [[RATINGS.mean()]])


def test_popular_items_are_likelier():
    codes = np.array([[0, 1]] * 6 + [[0, 2]] * 6 + [[0, 3]] * 6, np.int32)
    clicks = np.array([1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    outputs = popularity(CLICK, {"category": codes}, clicks)
    got = outputs({"category": np.array([[0, 1], [0, 2], [0, 3], [0, 8]], np.int32)})
    assert got.shape == (4, 2)
    np.testing.assert_allclose(got.sum(1), 1)
    assert got[0, 1] > got[1, 1] > got[2, 1] > 0
    assert got[3, 1] == pytest.approx(clicks.mean())


def test_each_task_has_its_own():
    assert baselines_of(RATING) is RATING_BASELINES
    assert baselines_of(CLICK) is CLICK_BASELINES
    for fit in CLICK_BASELINES.values():
        assert fit(CLICK, FIELDS, np.arange(N) % 2)(FIELDS).shape == (N, 2)
