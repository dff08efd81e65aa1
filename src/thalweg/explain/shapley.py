"""Shapley values: what each player adds, on average over all orders in which they may enter.

    φ_p = Σ_{S ∌ p} |S|! (P − |S| − 1)! / P! · (v(S ∪ p) − v(S)),    v(S) = mean_b f(x_S, b_{∖S})

Absent players take their values from background rows b, all at once and regardless of those that
are present (the interventional form). Exact for few players; else sampled: each order is walked
forwards and backwards (antithetic pairs), over the same background row, and each background row has
equally many walks. Every walk ends at f(x) and begins at f(b), so that base value and contributions
sum to the prediction whatever is sampled.

Sources: Shapley, "A value for n-person games", 1953; Štrumbelj and Kononenko, "Explaining
prediction models and individual predictions with feature contributions", 2014; antithetic orders:
Mitchell et al., "Sampling Permutations for Shapley Value Estimation", 2022.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EXACT_PLAYERS = 8
"""Up to so many players all coalitions are tried."""

NUM_WALKS = 64
"""Walks of a row by default, half of them forwards."""

_AT_ONCE = 16_384

Value = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Score [K] of rows (by index [K]) with present players (bool [K, P]) and background rows [K]."""


@dataclass(frozen=True, eq=False)
class Shapley:
    """Contributions of players.

    Args:
        values: contributions [N, P].
        error: their standard errors by sampling [N, P]; 0 where exact.
        base: mean score of the background rows [N].
        score: score of the rows themselves [N]: ``base + values.sum(1)``.
        exact: whether all coalitions were tried.
    """

    values: np.ndarray
    error: np.ndarray
    base: np.ndarray
    score: np.ndarray
    exact: bool


def shapley(
    value: Value,
    num_rows: int,
    num_players: int,
    num_background: int,
    *,
    num_walks: int | None = None,
    seed: int = 0,
    going_on: Callable[[int], bool] = lambda done: True,
) -> Shapley:
    """Return the contributions of players to the scores of rows.

    Args:
        value: the score; see ``Value``.
        num_rows: rows N to explain.
        num_players: players P.
        num_background: background rows M.
        num_walks: walks of each row, rounded up to an even number of walks of every background
            row; where it is given, the values are sampled even for few players.
        seed: of the orders; the same orders for every row.
        going_on: told the number of rows done; where it returns False, the rest is left out.

    Returns:
        The contributions of all rows that were done.
    """
    exact = num_players <= EXACT_PLAYERS and num_walks is None
    rng = np.random.default_rng([0x5AB, seed])
    walks = NUM_WALKS if num_walks is None else num_walks
    repeats = max(1, math.ceil(walks / (2 * num_background)))
    orders = [rng.permutation(num_players) for _ in range(repeats * num_background)]
    found = []
    for row in range(num_rows):
        if not going_on(row):
            break
        if exact:
            found.append(_exact(value, row, num_players, num_background))
        else:
            found.append(_sampled(value, row, orders, num_background))
    values, error, base, score = (np.array(part) for part in zip(*found, strict=True))
    return Shapley(values, error, base, score, exact)


def _exact(
    value: Value, row: int, num_players: int, num_background: int
) -> tuple[np.ndarray, np.ndarray, float, float]:
    coalitions = np.array(list(itertools.product((False, True), repeat=num_players)), bool)
    coalitions = coalitions.reshape(-1, num_players)
    present = np.repeat(coalitions, num_background, axis=0)
    background = np.tile(np.arange(num_background), len(coalitions))
    worth = _in_parts(value, row, present, background)
    worth = worth.reshape(len(coalitions), num_background).mean(1)
    size = coalitions.sum(1)
    weight = np.array(
        [math.factorial(s) * math.factorial(num_players - s - 1) for s in range(num_players)]
    ) / math.factorial(num_players)
    found = np.zeros(num_players)
    for player in range(num_players):
        without = np.flatnonzero(~coalitions[:, player])
        # In the order of the product, the coalition with the player lies a power of two further on.
        gain = worth[without + 2 ** (num_players - 1 - player)] - worth[without]
        found[player] = float((weight[size[without]] * gain).sum())
    return found, np.zeros(num_players), float(worth[0]), float(worth[-1])


def _sampled(
    value: Value, row: int, orders: list[np.ndarray], num_background: int
) -> tuple[np.ndarray, np.ndarray, float, float]:
    num_players = len(orders[0])
    steps = np.arange(num_players)
    blocks = []
    for order in orders:
        for walk in (order, order[::-1]):
            rank = np.empty(num_players, int)
            rank[walk] = steps
            # After k steps those of rank below k are present.
            blocks.append(rank[None] < np.arange(1, num_players)[:, None])
    which = np.repeat(np.arange(len(orders)) % num_background, 2 * (num_players - 1))
    ends = np.zeros((num_background + 1, num_players), bool)
    ends[-1] = True
    present = np.concatenate([ends, *blocks])
    background = np.concatenate([np.arange(num_background), [0], which])
    worth = _in_parts(value, row, present, background)
    empty, full = worth[:num_background], worth[num_background]
    middle = worth[num_background + 1 :].reshape(len(orders), 2, num_players - 1)
    pairs = np.zeros((len(orders), num_players))
    for i, order in enumerate(orders):
        for j, walk in enumerate((order, order[::-1])):
            path = np.concatenate([[empty[i % num_background]], middle[i, j], [full]])
            pairs[i, walk] += np.diff(path) / 2
    error = np.zeros(num_players)
    if len(pairs) > 1:
        error = pairs.std(0, ddof=1) / math.sqrt(len(pairs))
    return pairs.mean(0), error, float(empty.mean()), float(full)


def _in_parts(value: Value, row: int, present: np.ndarray, background: np.ndarray) -> np.ndarray:
    rows = np.full(len(present), row)
    return np.concatenate(
        [
            value(rows[i : i + _AT_ONCE], present[i : i + _AT_ONCE], background[i : i + _AT_ONCE])
            for i in range(0, len(present), _AT_ONCE)
        ]
    )
