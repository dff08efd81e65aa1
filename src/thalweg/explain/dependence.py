"""Partial dependence: the mean prediction when a column is set to each of some values.

    d_p(v) = mean_i f(x_i with column p = v)

The other columns keep the values that they have in each row, so where columns go together it asks
about rows that do not exist: the spread of the rows' own curves (individual conditional
expectation) tells when the mean hides something.

Sources: Friedman, "Greedy Function Approximation", 2001; Goldstein et al., "Peeking Inside the
Black Box", 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NUM_VALUES = 20
SPREAD = (10.0, 90.0)
"""Percentiles of the rows' own curves that are told beside their mean."""


@dataclass(frozen=True, eq=False)
class Dependence:
    """Predictions over the values of one column.

    Args:
        values: the column's values [V], in order.
        mean: mean score at each [V].
        low: 10th percentile of the rows' scores [V].
        high: 90th percentile [V].
    """

    values: list[Any]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def grid_rows(values: Sequence[Any], most: int = NUM_VALUES) -> np.ndarray:
    """Return rows that hold the values to try: numbers at quantiles, others by frequency.

    Args:
        values: one column, None or NaN where missing.
        most: values to try at most.
    """
    first: dict[Any, int] = {}
    count: dict[Any, int] = {}
    for row, value in enumerate(values):
        if value is None or value != value:
            continue
        first.setdefault(value, row)
        count[value] = count.get(value, 0) + 1
    ordered = all(not isinstance(value, (str, bool)) for value in first)
    if not ordered:
        common = sorted(first, key=lambda value: (-count[value], str(value)))[:most]
        return np.array([first[value] for value in common], int)
    levels = sorted(first)
    if len(levels) > most:
        # At equal steps of rank: where the rows are, not where nobody is.
        ranked = sorted(v for v in values if v is not None and v == v)
        places = np.linspace(0, len(ranked) - 1, most).round().astype(int)
        levels = list(dict.fromkeys(ranked[place] for place in places))
    return np.array([first[value] for value in levels], int)


def partial_dependence(
    exchanged: Callable[[int], np.ndarray], rows: np.ndarray, values: Sequence[Any]
) -> Dependence:
    """Return the predictions over some values of one column.

    Args:
        exchanged: the scores [N] of all rows with the column's value of one row.
        rows: rows that hold the values to try [V], see ``grid_rows``.
        values: the column.
    """
    curves = np.array([exchanged(int(row)) for row in rows]).reshape(len(rows), -1)
    low, high = np.percentile(curves, SPREAD, axis=1)
    return Dependence([values[int(row)] for row in rows], curves.mean(1), low, high)
