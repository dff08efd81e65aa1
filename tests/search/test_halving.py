"""Successive halving: who goes on, at which epochs, and who is kept as an audit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.search.halving import num_rungs_for, rungs, survivors

scores = st.lists(
    st.floats(-10, 10) | st.just(math.nan) | st.just(-math.inf), min_size=1, max_size=40
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(scores, st.integers(0, 40), st.integers(0, 5), st.booleans())
def test_survivors(values, num_keep, num_audit, stratified):
    strata = [i % 3 for i in range(len(values))] if stratified else None
    kept, audit = survivors(values, num_keep, num_audit=num_audit, strata=strata)
    usable = {i for i, v in enumerate(values) if math.isfinite(v)}
    # Nobody without a finite score goes on, nobody twice.
    assert set(kept) <= usable
    assert set(audit) <= usable - set(kept)
    assert len(set(kept)) == len(kept)
    assert len(set(audit)) == len(audit) == min(num_audit, len(usable) - len(kept))
    assert [values[i] for i in kept] == sorted((values[i] for i in kept), reverse=True)
    if not stratified:
        assert len(kept) == min(num_keep, len(usable))
        if kept:
            worst = values[kept[-1]]
            assert all(values[i] <= worst for i in usable - set(kept))
    else:
        assert {strata[i] for i in kept} == {strata[i] for i in usable}
        assert len(kept) >= min(num_keep, len(usable))


def test_ties_go_to_the_first_proposed():
    assert survivors([1.0, 2.0, 1.0, 2.0], 3)[0] == [1, 3, 0]


def test_strata_keep_their_share():
    values = [9, 8, 7, 6, 5, 4, 0, -1, -2]
    strata = ["a"] * 6 + ["b"] * 3
    kept, _ = survivors(values, 4, strata=strata)
    assert kept == [0, 1, 6, 7]
    kept, _ = survivors(values, 5, strata=strata)
    assert kept == [0, 1, 2, 6, 7]
    kept, _ = survivors(values, 1, strata=strata)
    assert kept == [0, 6]


def test_audits_are_drawn_evenly_from_those_that_are_dropped():
    counts = np.zeros(10)
    for seed in range(600):
        _, audit = survivors(range(10), 2, num_audit=2, rng=np.random.default_rng(seed))
        counts[audit] += 1
    assert counts[8:].sum() == 0
    np.testing.assert_allclose(counts[:8] / 600, 0.25, atol=0.08)


def test_audits_are_repeatable():
    draws = [
        survivors(range(30), 3, num_audit=4, rng=np.random.default_rng(5))[1] for _ in range(2)
    ]
    assert draws[0] == draws[1]


@given(st.floats(0.5, 1000), st.integers(2, 5), st.integers(1, 8))
def test_rungs_are_geometric_and_end_full(full, factor, num):
    levels = rungs(full, factor, num)
    assert len(levels) == num
    assert levels[-1] == full
    np.testing.assert_allclose(np.array(levels[1:]) / levels[:-1], factor)


@given(st.integers(1, 2000), st.floats(0.5, 500), st.integers(2, 4), st.floats(0.1, 5))
def test_num_rungs(num_members, full, factor, shortest):
    num = num_rungs_for(num_members, full, factor, shortest)
    assert num >= 1
    if num > 1:
        assert rungs(full, factor, num)[0] >= shortest * (1 - 1e-6)
        assert num_members >= factor ** (num - 1) * (1 - 1e-6)


@pytest.mark.parametrize(
    ("num_members", "full", "expected"),
    [(27, 27.0, 4), (26, 27.0, 3), (1000, 3.0, 2), (1, 99.0, 1)],
)
def test_exact_powers(num_members, full, expected):
    assert num_rungs_for(num_members, full, 3, 1.0) == expected
