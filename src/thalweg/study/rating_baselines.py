"""What a recommender has to beat: means and biases for ratings, popularity for clicks.

A baseline is fitted from encoded fields, whose first two columns of ``category`` are user and item
(see ``thalweg.models.ratings``), and answers in the form that ``score`` wants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from thalweg.study.baselines import Outputs
from thalweg.task import Task

SHRINKAGE = 5.0
"""Ratings' worth of prior that a bias is shrunk by: the usual order of 2 to 25."""

SWEEPS = 20


def global_mean(task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Outputs:
    """Return the baseline that answers each pair with the mean rating, or the share of clicks."""
    mean = np.asarray(target, np.float64).mean()
    return lambda new: _shaped(task, np.full(len(new["category"]), mean))


def user_item_bias(task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Outputs:
    """Return the baseline μ + b_u + b_i, by ridge regression.

    Minimises Σ (y − μ − b_u − b_i)² + λ (Σ b_u² + Σ b_i²) by sweeps of exact coordinate descent,
    b_i = Σ (y − μ − b_u) / (λ + n_i) and likewise b_u. Unknown ids have what code 0 has. Source:
    Koren, "Factorization Meets the Neighborhood", 2008, sec. 2.1.
    """
    user, item = _ends(fields)
    values = np.asarray(target, np.float64).reshape(len(user), -1)[:, 0]
    mean = values.mean()
    users, items = np.zeros(user.max() + 1), np.zeros(item.max() + 1)
    num_users = np.bincount(user, minlength=len(users)) + SHRINKAGE
    num_items = np.bincount(item, minlength=len(items)) + SHRINKAGE
    for _ in range(SWEEPS):
        items = np.bincount(item, values - mean - users[user], len(items)) / num_items
        users = np.bincount(user, values - mean - items[item], len(users)) / num_users

    def outputs(new: Mapping[str, np.ndarray]) -> np.ndarray:
        user, item = _ends(new)
        return _shaped(task, mean + _looked_up(users, user) + _looked_up(items, item))

    return outputs


def popularity(task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Outputs:
    """Return the baseline that ranks items by how often they were clicked.

    An item's probability is (clicks + s) / (rows + 1), s the share of clicks among all rows.
    """
    _, item = _ends(fields)
    clicked = np.asarray(target, np.float64).reshape(-1)
    share = clicked.mean()
    clicks = np.bincount(item, clicked)
    rows = np.bincount(item, minlength=len(clicks))
    # Rows of an item are its clicks and its turns as a sampled negative, which are alike for all:
    # the ratio grows with the clicks alone.
    probability = (clicks + share) / (rows + 1.0)

    def outputs(new: Mapping[str, np.ndarray]) -> np.ndarray:
        _, item = _ends(new)
        known = item < len(probability)
        return _shaped(task, np.where(known, probability[np.where(known, item, 0)], share))

    return outputs


RATING_BASELINES: dict[str, Callable[[Task, Mapping[str, np.ndarray], np.ndarray], Outputs]] = {
    "constant": global_mean,
    "user_item_bias": user_item_bias,
}
"""Baselines of ratings by name: ``(task, fields, target) -> outputs``, in the user's units."""

CLICK_BASELINES: dict[str, Callable[[Task, Mapping[str, np.ndarray], np.ndarray], Outputs]] = {
    "constant": global_mean,
    "popularity": popularity,
}
"""Baselines of clicks by name."""


def baselines_of(task: Task) -> Mapping[str, Any]:
    """Return the baselines of a task on ratings."""
    return RATING_BASELINES if task.kind == "regression" else CLICK_BASELINES


def _ends(fields: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    codes = np.asarray(fields["category"], np.int64)
    return codes[:, 0], codes[:, 1]


def _looked_up(biases: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the biases of codes; nothing for those that no fitted row has."""
    known = codes < len(biases)
    return np.where(known, biases[np.where(known, codes, 0)], 0.0)


def _shaped(task: Task, values: np.ndarray) -> np.ndarray:
    """Return ratings [N, 1], or the probabilities of no click and of a click [N, 2]."""
    if task.kind == "regression":
        return values[:, None]
    return np.stack([1.0 - values, values], axis=1)
