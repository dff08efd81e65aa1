"""Ranking metrics against scikit-learn, by hand, and at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from thalweg.errors import DataError, OptionError
from thalweg.optim.ranking import (
    mean_reciprocal_rank,
    ndcg_at_k,
    ranking_scores,
    ranks_of,
    recall_at_k,
)

rng = np.random.default_rng(0)
SCORES = rng.normal(size=(30, 25))
RELEVANT = rng.random((30, 25)) < 0.15
RELEVANT[:, 0] |= ~RELEVANT.any(1)


@pytest.mark.parametrize("k", [1, 3, 10, 25])
def test_ndcg_is_scikit_learns(k):
    ranks, users = ranks_of(SCORES, RELEVANT)
    want = ndcg_score(RELEVANT.astype(float), SCORES, k=k)
    assert ndcg_at_k(ranks, users, k) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("k", [1, 5])
def test_recall_and_reciprocal_rank_by_counting(k):
    ranks, users = ranks_of(SCORES, RELEVANT)
    order = np.argsort(-SCORES, axis=1)
    sorted_relevant = np.take_along_axis(RELEVANT, order, axis=1)
    recall = (sorted_relevant[:, :k].sum(1) / RELEVANT.sum(1)).mean()
    assert recall_at_k(ranks, users, k) == pytest.approx(recall)
    first = (1 / (sorted_relevant.argmax(1) + 1)).mean()
    assert mean_reciprocal_rank(ranks, users) == pytest.approx(first)


def test_items_that_do_not_compete_take_no_rank():
    scores = np.array([[3.0, 2.0, 1.0]])
    relevant = np.array([[False, False, True]])
    ranks, users = ranks_of(scores, relevant, np.array([[True, False, False]]))
    assert ranks.tolist() == [2.0]
    assert users.tolist() == [0]


def test_equal_scores_gain_nothing():
    relevant = np.zeros((1, 101), bool)
    relevant[0, 0] = True
    ranks, users = ranks_of(np.zeros((1, 101)), relevant)
    assert ranks.tolist() == [51.0]
    assert recall_at_k(ranks, users, 10) == 0.0


def test_an_item_that_is_no_candidate_is_a_miss():
    scores = ranking_scores(np.array([np.inf, 1.0]), np.array([4, 7]), cuts=(10,))
    assert scores == {"recall@10": 0.5, "ndcg@10": 0.5, "mrr": 0.5}


@pytest.mark.parametrize(
    ("ranks", "users", "words"),
    [
        ([], [], "one length above 0"),
        ([1.0], [1, 2], "one length above 0"),
        ([0.0, 2.0], [1, 2], "1 or more; got 0"),
        ([np.nan, 2.0], [1, 2], "NaN"),
    ],
)
def test_senseless_ranks_are_refused(ranks, users, words):
    with pytest.raises(DataError, match=words):
        recall_at_k(np.array(ranks), np.array(users), 3)


def test_senseless_lengths_and_shapes_are_refused():
    with pytest.raises(OptionError, match="k must be a whole number of 1 or more; got 0"):
        ndcg_at_k(np.array([1.0]), np.array([1]), 0)
    with pytest.raises(DataError, match="one shape"):
        ranks_of(np.zeros((2, 3)), np.zeros((3, 2), bool))
