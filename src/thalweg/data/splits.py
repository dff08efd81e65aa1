"""Split rows into training, validation and test: by class, by group, by time; and into folds.

Everything is decided by the seed and the row order alone. Index arrays come back sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thalweg.errors import DataError, OptionError

DEFAULT_FRACTIONS = (0.64, 0.16, 0.20)
"""Training, validation and test; the test rows are the usual fifth."""

MIN_ROWS = 10
"""Fewer rows than this are not split three ways."""


@dataclass(frozen=True)
class Split:
    """Row indices of the three parts, each int64 and sorted, without a row in two of them."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def check_fractions(fractions: Sequence[float] | None) -> tuple[float, float, float]:
    """Return valid fractions of training, validation and test rows.

    Raises:
        OptionError: not three numbers from 0 to 1 with the sum 1 and training rows among them.
    """
    if fractions is None:
        return DEFAULT_FRACTIONS
    try:
        values = tuple(float(value) for value in fractions)
    except (TypeError, ValueError):
        values = ()
    if (
        len(values) != 3
        or not all(0 <= value <= 1 for value in values)
        or abs(sum(values) - 1) > 1e-6
        or values[0] <= 0
    ):
        raise OptionError(
            "fractions (--split) must be three numbers (train, validation, test) that add up to "
            f"1, with train above 0; got {fractions!r}: use for instance (0.64, 0.16, 0.2)"
        )
    return values[0], values[1], values[2]


def split_rows(
    num_rows: int,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    *,
    labels: np.ndarray | None = None,
    values: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    times: np.ndarray | None = None,
    seed: int = 0,
) -> Split:
    """Split the rows once.

    Args:
        num_rows: number of rows N.
        fractions: shares of training, validation and test rows; 0 leaves a part empty.
        labels: class indices [N]: every part gets its share of each class, and of a rare class
            at least one row where there are enough.
        values: regression targets [N]: every part gets its share of each decile.
        groups: group codes [N]: no group is in two parts.
        times: sort keys [N]: the newest rows are the test rows, those before them validation; rows
            of the same time stay together.
        seed: decides which rows.

    Returns:
        The parts.

    Raises:
        DataError: too few rows, groups or times for the parts asked for.
    """
    shares = np.asarray(check_fractions(fractions))
    parts = int((shares > 0).sum())
    if parts == 1:
        return Split(np.arange(num_rows), _none(), _none())
    if num_rows < (MIN_ROWS if parts == 3 else 2):
        raise DataError(
            f"a split into training, validation and test rows needs at least {MIN_ROWS} rows; got "
            f"{num_rows}: give more rows"
        )
    if times is not None:
        blocks = _by_time(np.asarray(times), shares)
    elif groups is not None:
        blocks = _by_group(np.asarray(groups), shares, seed)
    else:
        strata = labels if labels is not None else _deciles(values, shares)
        blocks = _by_stratum(num_rows, shares, strata, seed)
    for block, share, name in zip(blocks, shares, ("training", "validation", "test"), strict=True):
        if share > 0 and not len(block):
            what = "different times" if times is not None else "groups"
            raise DataError(
                f"the split leaves no {name} rows: there are too few {what}; change fractions or "
                "split by rows"
            )
    return Split(*(np.sort(block).astype(np.int64) for block in blocks))


def _none() -> np.ndarray:
    return np.empty(0, np.int64)


def _apportion(total: int, shares: np.ndarray) -> np.ndarray:
    """Return whole numbers that add up to ``total``, by largest remainders."""
    exact = total * shares
    counts = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return counts


def _deciles(values: np.ndarray | None, shares: np.ndarray) -> np.ndarray | None:
    if values is None or values.size < 50:
        return None
    order = np.argsort(values, kind="stable")
    strata = np.empty(values.size, np.int64)
    strata[order] = np.arange(values.size) * 10 // values.size
    return strata


def _by_stratum(
    num_rows: int, shares: np.ndarray, strata: np.ndarray | None, seed: int
) -> list[np.ndarray]:
    rng = np.random.default_rng([seed, 0x7A1])
    order = rng.permutation(num_rows)
    totals = _apportion(num_rows, shares)
    for part in np.flatnonzero((totals == 0) & (shares > 0)):
        totals[part] += 1
        totals[np.argmax(totals)] -= 1
    if strata is None:
        return np.split(order, np.cumsum(totals)[:-1])
    _, codes, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    counts = _stratum_counts(sizes, shares, totals)
    blocks: list[list[np.ndarray]] = [[], [], []]
    by_stratum = order[np.argsort(codes[order], kind="stable")]
    for rows, sizes_of in zip(np.split(by_stratum, np.cumsum(sizes)[:-1]), counts, strict=True):
        for part, block in enumerate(np.split(rows, np.cumsum(sizes_of)[:-1])):
            blocks[part].append(block)
    return [np.concatenate(block) for block in blocks]


def _stratum_counts(sizes: np.ndarray, shares: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return how many rows of each stratum go into each part, [strata, parts].

    Each is the exact share rounded up or down so that the columns keep to ``totals``; then every
    part that a stratum has the rows for gets at least one: training first, then test, then
    validation.
    """
    exact = sizes[:, None] * shares[None, :]
    counts = np.floor(exact + 1e-9).astype(np.int64)
    left = sizes - counts.sum(1)
    wanted = totals - counts.sum(0)
    remainders = exact - counts
    # The largest remainders first, as long as the stratum and the part both lack rows.
    for index in np.argsort(-remainders, axis=None, kind="stable"):
        row, part = divmod(int(index), 3)
        if left[row] > 0 and wanted[part] > 0 and shares[part] > 0:
            counts[row, part] += 1
            left[row] -= 1
            wanted[part] -= 1
    counts[:, 0] += left
    order = [part for part in (0, 2, 1) if shares[part] > 0]
    for row in range(len(sizes)):
        for part in order[: int(sizes[row])]:
            if counts[row, part] == 0:
                donor = int(np.argmax(counts[row]))
                if counts[row, donor] > 1:
                    counts[row, donor] -= 1
                    counts[row, part] += 1
        if counts[row, 0] == 0:
            donor = int(np.argmax(counts[row]))
            counts[row, donor] -= 1
            counts[row, 0] += 1
    return counts


def _by_group(groups: np.ndarray, shares: np.ndarray, seed: int) -> list[np.ndarray]:
    """Deal whole groups out, the largest first, each to the part that lacks the most."""
    names, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    parts = np.flatnonzero(shares > 0)
    if names.size < parts.size:
        raise DataError(
            f"a split by group needs at least {parts.size} groups, one for each part; got "
            f"{names.size}: split by rows, or by another column"
        )
    rng = np.random.default_rng([seed, 0x6B2])
    order = rng.permutation(names.size)
    order = order[np.argsort(-sizes[order], kind="stable")]
    target = len(groups) * shares
    filled = np.zeros(3)
    home = np.empty(names.size, np.int64)
    for place, group in enumerate(order):
        empty = [int(part) for part in parts if filled[part] == 0]
        open_parts = empty if names.size - place <= len(empty) else parts
        lack = (target - filled)[open_parts] / target[open_parts]
        # Absolute need first, so that large groups go where there is room for them.
        need = (target - filled)[open_parts]
        choice = int(open_parts[int(np.lexsort((-lack, -need))[0])])
        home[group] = choice
        filled[choice] += sizes[group]
    assigned = home[codes]
    return [np.flatnonzero(assigned == part) for part in range(3)]


def _by_time(times: np.ndarray, shares: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    cuts = np.cumsum(_apportion(len(times), shares))[:-1]
    # Rows of one moment are not torn apart: the cut moves to where that moment begins.
    cuts = [
        int(np.searchsorted(ordered, ordered[cut])) if cut < len(times) else cut for cut in cuts
    ]
    return np.split(order, cuts)


def fold_ids(
    num_rows: int,
    num_folds: int = 5,
    *,
    labels: np.ndarray | None = None,
    values: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Deal rows into folds for cross-validation.

    Args:
        num_rows: number of rows N.
        num_folds: number of folds.
        labels: class indices [N], spread evenly over the folds.
        values: regression targets [N], spread evenly over the folds.
        groups: group codes [N], none of which is in two folds.
        seed: decides which rows.

    Returns:
        The fold of each row, int64 [N] from 0 to num_folds - 1; sizes differ by at most one (with
        groups as little as they allow).

    Raises:
        OptionError: fewer than two folds, or more folds than rows or groups.
    """
    most = num_rows if groups is None else int(np.unique(groups).size)
    if not 2 <= num_folds <= most:
        raise OptionError(
            f"the number of folds must be from 2 to the number of "
            f"{'rows' if groups is None else 'groups'} ({most}); got {num_folds}"
        )
    rng = np.random.default_rng([seed, 0xF01D])
    if groups is not None:
        _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        order = rng.permutation(sizes.size)
        order = order[np.argsort(-sizes[order], kind="stable")]
        load = np.zeros(num_folds)
        home = np.empty(sizes.size, np.int64)
        for group in order:
            home[group] = int(np.argmin(load))
            load[home[group]] += sizes[group]
        return home[codes]
    order = rng.permutation(num_rows)
    if labels is not None:
        order = order[np.argsort(np.asarray(labels)[order], kind="stable")]
    elif values is not None:
        # Neighbours in value go to different folds, in a random order within each such handful.
        order = order[np.argsort(np.asarray(values)[order], kind="stable")]
        handful = np.arange(num_rows) // num_folds
        order = order[np.lexsort((rng.random(num_rows), handful))]
    folds = np.empty(num_rows, np.int64)
    folds[order] = np.arange(num_rows) % num_folds
    return folds
