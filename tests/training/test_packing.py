"""Packed parameters unpack to what they were, for one member and for many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.training.packing import Packing

shapes = st.lists(
    st.lists(st.sampled_from([1, 2, 3, 40, 300]), min_size=1, max_size=2).map(tuple),
    min_size=1,
    max_size=6,
)


@given(shapes, st.sampled_from([(), (1,), (5,)]))
def test_round_trip(shapes, leading):
    packing = Packing(tuple((f"p{i}", shape) for i, shape in enumerate(shapes)))
    rng = np.random.default_rng(0)
    params = {f"p{i}": rng.normal(size=(*leading, *s)) for i, s in enumerate(shapes)}
    packed = packing.pack(params)
    again = packing.unpack(packed)
    assert again.keys() == params.keys()
    for name in params:
        np.testing.assert_array_equal(again[name], params[name])
    assert sum(np.size(v) for v in packed.values()) == sum(v.size for v in params.values())
    assert len(packed) <= len(params)


@pytest.mark.parametrize("leading", [(), (3,)])
def test_small_arrays_share_one_vector(leading):
    packing = Packing((("a", (3,)), ("b", (2, 2)), ("c", (1,))))
    params = {n: np.ones((*leading, *s)) for n, s in (("a", (3,)), ("b", (2, 2)), ("c", (1,)))}
    assert len(packing.pack(params)) == 1
