"""Splits: disjoint, complete, deterministic, and in the promised proportions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.data.splits import DEFAULT_FRACTIONS, Split, fold_ids, split_rows
from thalweg.errors import DataError, OptionError


def check(split: Split, num_rows: int) -> None:
    together = np.concatenate([split.train, split.validation, split.test])
    assert sorted(together.tolist()) == list(range(num_rows))
    for part in (split.train, split.validation, split.test):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


@given(st.lists(st.integers(0, 6), min_size=10, max_size=300), st.integers(0, 99))
@settings(deadline=None)
def test_stratified_splits(labels: list[int], seed: int) -> None:
    codes = np.array(labels)
    split = split_rows(len(codes), labels=codes, seed=seed)
    check(split, len(codes))
    for label in np.unique(codes):
        rows = np.flatnonzero(codes == label)
        counts = [np.isin(rows, part).sum() for part in (split.train, split.validation, split.test)]
        assert counts[0] > 0
        if len(rows) >= 3:
            assert min(counts) > 0
        for count, share in zip(counts, DEFAULT_FRACTIONS, strict=True):
            assert abs(count - share * len(rows)) <= 2.5


def test_proportions_are_those_of_scikit_learn() -> None:
    from sklearn.model_selection import train_test_split

    labels = np.random.default_rng(0).choice(4, 5000, p=[0.7, 0.2, 0.07, 0.03])
    split = split_rows(5000, labels=labels)
    rest, test = train_test_split(np.arange(5000), test_size=0.2, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=0.2, stratify=labels[rest], random_state=0)
    for ours, theirs in zip(
        (split.train, split.validation, split.test), (train, validation, test), strict=True
    ):
        assert len(ours) == len(theirs)
        left, right = np.bincount(labels[ours]), np.bincount(labels[theirs])
        assert np.abs(left - right).max() <= 1


def test_deterministic_by_seed() -> None:
    labels = np.arange(100) % 3
    first, again = split_rows(100, labels=labels, seed=3), split_rows(100, labels=labels, seed=3)
    assert first.train.tolist() == again.train.tolist()
    assert first.train.tolist() != split_rows(100, labels=labels, seed=4).train.tolist()


def test_regression_targets_are_spread() -> None:
    values = np.random.default_rng(0).lognormal(size=500)
    spread = []
    for seed in range(10):
        split = split_rows(500, values=values, seed=seed)
        check(split, 500)
        spread.append(np.median(values[split.test]) - np.median(values))
    assert np.abs(spread).max() < 0.15


@given(st.lists(st.integers(0, 30), min_size=30, max_size=200), st.integers(0, 99))
@settings(deadline=None)
def test_groups_stay_together(groups: list[int], seed: int) -> None:
    codes = np.array(groups)
    if np.unique(codes).size < 3:
        return
    split = split_rows(len(codes), groups=codes, seed=seed)
    check(split, len(codes))
    parts = [set(codes[part]) for part in (split.train, split.validation, split.test)]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_groups_of_one_size_keep_the_fractions() -> None:
    split = split_rows(1000, groups=np.arange(1000) // 10)
    assert [len(split.train), len(split.validation), len(split.test)] == [640, 160, 200]


def test_time_order() -> None:
    times = np.random.default_rng(0).permutation(np.repeat(np.arange(50), 4)).astype(float)
    split = split_rows(200, times=times)
    check(split, 200)
    assert times[split.train].max() < times[split.validation].min()
    assert times[split.validation].max() < times[split.test].min()


def test_fractions() -> None:
    split = split_rows(4, (1, 0, 0))
    assert [len(split.train), len(split.validation), len(split.test)] == [4, 0, 0]
    split = split_rows(100, (0.5, 0.5, 0), labels=np.arange(100) % 2)
    assert [len(split.train), len(split.validation), len(split.test)] == [50, 50, 0]
    for wrong in [(0.5, 0.5), (0.5, 0.6, 0.1), (0, 0.5, 0.5), (-1, 1, 1), ("a", 0, 0), 3]:
        with pytest.raises(OptionError, match="add up to 1"):
            split_rows(100, wrong)  # type: ignore[arg-type]


def test_too_little_to_split() -> None:
    with pytest.raises(DataError, match="at least 10 rows; got 4"):
        split_rows(4)
    with pytest.raises(DataError, match="at least 3 groups"):
        split_rows(100, groups=np.arange(100) % 2)
    with pytest.raises(DataError, match="different times"):
        split_rows(100, times=np.zeros(100))


@given(st.integers(2, 10), st.integers(10, 100), st.integers(0, 9))
@settings(deadline=None)
def test_folds(num_folds: int, num_rows: int, seed: int) -> None:
    labels = np.arange(num_rows) % 3
    folds = fold_ids(num_rows, num_folds, labels=labels, seed=seed)
    sizes = np.bincount(folds, minlength=num_folds)
    assert np.ptp(sizes) <= 1
    for label in range(3):
        assert np.ptp(np.bincount(folds[labels == label], minlength=num_folds)) <= 1
    values = np.random.default_rng(0).normal(size=num_rows)
    assert np.ptp(np.bincount(fold_ids(num_rows, num_folds, values=values, seed=seed))) <= 1
    groups = np.arange(num_rows) // 2
    if np.unique(groups).size >= num_folds:
        by_group = fold_ids(num_rows, num_folds, groups=groups, seed=seed)
        assert (by_group[: 2 * (num_rows // 2) : 2] == by_group[1::2]).all()
    with pytest.raises(OptionError, match="number of folds"):
        fold_ids(num_rows, 1)
