"""Several objectives: who is beaten by nobody, and by how much a front improves."""

from __future__ import annotations

import numpy as np


def fronts(values: np.ndarray) -> np.ndarray:
    """Return the number of the front that each point lies on, 0 for the best, [N].

    A point beats another where it is at least as good in every objective and better in one. Points
    with a value that is not finite lie behind all others.

    Source: Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic
    algorithm: NSGA-II", 2002, section III.

    Args:
        values: of each objective, more is better, [N, M].

    Example:
        >>> fronts(np.array([[0.9, -5.0], [0.8, -1.0], [0.7, -3.0]])).tolist()
        [0, 0, 1]
    """
    values = np.asarray(values, float)
    num = len(values)
    number = np.full(num, -1)
    usable = np.asarray(np.isfinite(values).all(axis=1))
    at_least = (values[:, None, :] >= values[None, :, :]).all(axis=2)
    better = (values[:, None, :] > values[None, :, :]).any(axis=2)
    beats = at_least & better & usable[:, None] & usable[None, :]
    left, front = usable.copy(), 0
    while left.any():
        now = left & ~(beats & left[:, None]).any(axis=0)
        number[now] = front
        left &= ~now
        front += 1
    number[~usable] = front
    return number


def crowding(values: np.ndarray) -> np.ndarray:
    """Return how much room each point of a front has around it, infinite at the ends, [N].

    Source: as ``fronts``; objectives that all points share give no room.

    Args:
        values: of each objective, [N, M].
    """
    values = np.asarray(values, float)
    room = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]] if len(order) else 0.0
        if span <= 0:
            continue
        room[order[[0, -1]]] = np.inf
        room[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return room


def pareto_scores(values: np.ndarray) -> np.ndarray:
    """Return one score for each point, so that the best ones are a well spread front, [N].

    By front, and within a front by crowding: what halving compares and searchers learn from.

    Args:
        values: of each objective, more is better, [N, M].

    Returns:
        Scores in (0, 1], more is better; NaN where a value is not finite.
    """
    values = np.asarray(values, float)
    usable = np.isfinite(values).all(axis=1)
    number = fronts(values)
    order: list[int] = []
    for front in range(int(number[usable].max(initial=-1)) + 1):
        rows = np.flatnonzero((number == front) & usable)
        order += rows[np.lexsort((rows, -crowding(values[rows])))].tolist()
    scores = np.full(len(values), np.nan)
    scores[order] = 1.0 - np.arange(len(order)) / max(len(order), 1)
    return scores


def hypervolume(values: np.ndarray, reference: np.ndarray) -> float:
    """Return the volume that points dominate beyond a reference, for two objectives.

    Args:
        values: of each objective, more is better, [N, 2].
        reference: the worst point that counts, [2].
    """
    values = np.asarray(values, float).reshape(-1, 2)
    values = values[np.isfinite(values).all(axis=1) & (values > reference).all(axis=1)]
    area, height = 0.0, float(reference[1])
    for first, second in values[np.lexsort((-values[:, 1], -values[:, 0]))]:
        if second > height:
            area += (first - reference[0]) * (second - height)
            height = second
    return float(area)
