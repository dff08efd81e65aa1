"""Permutation importance: how much worse the model gets when a column's values are shuffled.

    I_p = sign · (metric(rows) − metric(rows with the column p of other rows))

More is more important; what is not used has 0. The interval is that of a new sample of as many
rows: a delete-a-group jackknife over groups of rows, which holds for any smooth metric.

Sources: Breiman, "Random Forests", 2001; Fisher, Rudin and Dominici, "All Models are Wrong, but
Many are Useful", 2019; the jackknife: Kott, "The Delete-a-Group Jackknife", 2001.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

NUM_GROUPS = 20


@dataclass(frozen=True, eq=False)
class Importance:
    """Importance of players.

    Args:
        importance: loss of the metric [P], more is more important.
        low: lower end of the interval [P].
        high: its upper end [P].
        score: the metric on the rows as they are.
    """

    importance: np.ndarray
    low: np.ndarray
    high: np.ndarray
    score: float


def permutation_importance(
    outputs: np.ndarray,
    shuffled: Callable[[int, np.ndarray], np.ndarray],
    metric: Callable[[np.ndarray, np.ndarray], float],
    target: np.ndarray,
    num_players: int,
    *,
    sign: float = 1.0,
    repeats: int = 5,
    level: float = 0.95,
    seed: int = 0,
    going_on: Callable[[int], bool] = lambda done: True,
) -> Importance:
    """Return the importance of players, with intervals.

    Args:
        outputs: the model's outputs for the rows as they are [N, O].
        shuffled: the outputs where a player has the values of other rows: player, rows [N] ->
            [N, O].
        metric: from outputs and targets to a number.
        target: of the rows [N, …].
        num_players: players P.
        sign: +1 where more of the metric is better, -1 where less is.
        repeats: shuffles of each player.
        level: coverage of the intervals.
        seed: of the shuffles and groups; the same shuffles for every player.
        going_on: told the number of players done; where it returns False, the rest is NaN.
    """
    num = len(target)
    rng = np.random.default_rng([0xBE4, seed])
    orders = [rng.permutation(num) for _ in range(repeats)]
    groups = min(NUM_GROUPS, num)
    group = rng.permutation(np.arange(num) % groups)
    kept = [group != g for g in range(groups)]
    # A row takes part twice, as itself and as the one whose values another row is given.
    pairs_kept = [np.concatenate([keep & keep[order] for order in orders]) for keep in kept]
    whole = metric(outputs, target)
    parts = np.array([metric(outputs[keep], target[keep]) for keep in kept])
    repeated = np.concatenate([target] * repeats)
    quantile = float(stats.t.ppf(0.5 + level / 2, max(groups - 1, 1)))
    found, margin = np.full(num_players, np.nan), np.full(num_players, np.nan)
    for player in range(num_players):
        if not going_on(player):
            break
        changed = np.concatenate([shuffled(player, order) for order in orders])
        found[player] = sign * (whole - metric(changed, repeated))
        without = np.array([metric(changed[pairs], repeated[pairs]) for pairs in pairs_kept])
        differences = parts - without
        differences = differences[np.isfinite(differences)]
        if len(differences) > 1:
            spread = np.square(differences - differences.mean()).sum()
            share = (len(differences) - 1) / len(differences)
            margin[player] = quantile * float(np.sqrt(share * spread))
    return Importance(found, found - margin, found + margin, float(whole))
