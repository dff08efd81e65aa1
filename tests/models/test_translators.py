"""Networks that translate: writing step by step equals all steps at once; shared vocabularies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.errors import SpaceError
from thalweg.models import FAMILIES, InputShape, activation_floats, build, count_params
from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import Context
from thalweg.space import Structure

TRANSLATORS = ("seq2seq_transformer", "seq2seq_lstm")
SHAPE = InputShape(source=(7, 11), written=(6, 9))
ROWS = 3


def made(family: str, inputs: InputShape = SHAPE) -> tuple[Any, dict[str, Any]]:
    structure = Structure(model=family, depth=2, width=8, options=(("num_heads", 2),))
    network = build(structure, inputs, 0)
    drawn = initial_params(network.params(), ["glorot_normal"], np.ones(1), 3)
    return network, {name: jnp.asarray(value[0]) for name, value in drawn.items()}


def fields(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    source = rng.integers(4, 9, (ROWS, 7))
    source[0, 4:], source[1, 1:] = 0, 0
    previous = rng.integers(4, 9, (ROWS, 6))
    previous[:, 0] = 2
    return {"source": jnp.asarray(source), "previous": jnp.asarray(previous)}


@pytest.mark.parametrize("family", TRANSLATORS)
@pytest.mark.parametrize("shared", [False, True])
def test_cached_steps_are_the_whole_pass(family: str, shared: bool) -> None:
    inputs = InputShape(source=(7, 9), written=(6, 9), shared_vocabulary=shared)
    network, params = made(family, inputs)
    assert ("tokens/source" in params) is not shared
    rows = fields()
    whole, _ = network.apply(params, {}, rows, Context())
    assert whole.shape == (ROWS, 6, 9)
    reading, cache = network.open(params, rows, 2, 6)
    ancestors = jnp.broadcast_to(jnp.arange(2)[None, :, None], (ROWS, 2, 6))
    for t in range(6):
        tokens = jnp.broadcast_to(rows["previous"][:, t : t + 1], (ROWS, 2))
        logits, *cache = network.step(
            params, reading, tuple(cache), tokens, jnp.int32(t), ancestors
        )
        for version in range(2):
            np.testing.assert_allclose(logits[:, version], whole[:, t], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", TRANSLATORS)
def test_padding_changes_nothing(family: str) -> None:
    network, params = made(family)
    rows = fields()
    whole, _ = network.apply(params, {}, rows, Context())
    one = {"source": rows["source"][:1, :4], "previous": rows["previous"][:1]}
    alone, _ = network.apply(params, {}, one, Context())
    np.testing.assert_allclose(alone[0], whole[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", TRANSLATORS)
def test_no_step_sees_what_comes_after_it(family: str) -> None:
    network, params = made(family)
    rows = fields()
    before, _ = network.apply(params, {}, rows, Context())
    changed = {**rows, "previous": rows["previous"].at[:, 3:].set(5)}
    after, _ = network.apply(params, {}, changed, Context())
    np.testing.assert_allclose(after[:, :3], before[:, :3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", TRANSLATORS)
def test_alignments_look_at_the_source_alone(family: str) -> None:
    network, params = made(family)
    weights = np.array(network.alignment(params, fields()))
    assert weights.shape == (ROWS, 6, 7)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert weights[0, :, 4:].max() == 0.0


def test_sizes_are_told_and_other_data_is_refused() -> None:
    for family in TRANSLATORS:
        network, params = made(family)
        assert count_params(network) == sum(v.size for v in params.values())
        assert network.flops() > 0
        assert activation_floats(network) > 2 * 6 * 9
        assert family in FAMILIES
        with pytest.raises(SpaceError, match="no such pairs"):
            build(Structure(model=family), InputShape(numeric=3), 1)
