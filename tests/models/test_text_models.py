"""Networks that read texts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.errors import SpaceError
from thalweg.models import InputShape, build, cut_fields, cuts_of
from thalweg.models.text import UNKNOWN, changed_tokens
from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import Context
from thalweg.space import Config
from thalweg.study.text_recipes import TEXT_FAMILIES

INPUTS = InputShape(numeric=2, cardinalities=(3,), masked=True, tokens=(40, 50), terms=(64, 90))
RNG = np.random.default_rng(0)
LENGTHS = np.array([3, 40, 17, 1, 9, 25], np.int32)


@cache
def rows() -> dict:
    num = len(LENGTHS)
    tokens = RNG.integers(2, 50, (num, 40)).astype(np.int32)
    tokens[np.arange(40) >= LENGTHS[:, None]] = 0
    counts = np.minimum(2 * LENGTHS - 1, 64)
    weight = RNG.random((num, 64)).astype(np.float32) + 0.1
    terms = RNG.integers(1, 90, (num, 64)).astype(np.int32)
    none = np.arange(64) >= counts[:, None]
    weight[none], terms[none] = 0, 0
    return {
        "tokens": tokens,
        "length": LENGTHS,
        "terms": terms,
        "term_weight": weight,
        "numeric": RNG.normal(size=(num, 2)).astype(np.float32),
        "category": RNG.integers(0, 3, (num, 1)).astype(np.int32),
    }


def made(model: str, inputs: InputShape = INPUTS, num_outputs: int = 3, **options):
    config = Config(model=model, width=16, depth=1, embedding_size=8, num_heads=2, **options)
    network = build(config.structure(), inputs, num_outputs)
    drawn = initial_params(network.params(), ["he_normal"], np.ones(1), 0)
    return network, {name: jnp.asarray(v[0]) for name, v in drawn.items()}


def outputs(network, params, fields, context: Context = Context()) -> np.ndarray:  # noqa: B008
    return np.asarray(network.apply(params, network.state(), fields, context)[0])


@pytest.mark.parametrize("model", [name for name in TEXT_FAMILIES if name != "bert"])
def test_what_stands_behind_the_end_changes_nothing(model: str) -> None:
    network, params = made(model)
    full = outputs(network, params, rows())
    assert full.shape == (6, 3)
    junk = dict(rows())
    junk["tokens"] = np.where(np.arange(40) >= LENGTHS[:, None], 7, junk["tokens"])
    junk["terms"] = np.where(junk["term_weight"] > 0, junk["terms"], 5)
    np.testing.assert_allclose(outputs(network, params, junk), full, atol=1e-5)
    # Each row's result is the same among rows that are cut to its length.
    for cut in cuts_of(network):
        fits = np.asarray(network.used(rows())) <= next(iter(cut.values()))
        some = {name: values[fits] for name, values in cut_fields(rows(), cut).items()}
        np.testing.assert_allclose(outputs(network, params, some), full[fits], atol=1e-5)
    assert len(cuts_of(network)) > 1
    # Numbers, categories and the text all count.
    for name in ("numeric", "category", "tokens" if model not in ("linear", "mlp") else "terms"):
        other = {**rows(), name: rows()[name][::-1]}
        if name == "category":
            other[name] = (rows()[name] + 1) % 3
        assert np.abs(outputs(network, params, other) - full).max() > 1e-4


def test_linear_is_a_product_with_the_weights() -> None:
    inputs = replace(INPUTS, numeric=0, cardinalities=())
    network, params = made("linear", inputs)
    dense = np.zeros((6, 90))
    np.add.at(dense, (np.arange(6)[:, None], rows()["terms"]), rows()["term_weight"])
    expected = dense @ np.asarray(params["terms"]) + np.asarray(params["output/bias"])
    np.testing.assert_allclose(outputs(network, params, rows()), expected, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("first", [1, 2, 3])
def test_convolutions_are_those_of_torch(first: int, activation: str) -> None:
    torch = pytest.importorskip("torch")
    inputs = replace(INPUTS, numeric=0, cardinalities=())
    network, params = made("textcnn", inputs, kernel_size=first, activation=activation)
    activate = {"relu": torch.relu, "gelu": torch.nn.functional.gelu}[activation]
    vectors = np.asarray(params["tokens/0"])[rows()["tokens"]]
    vectors *= (np.arange(40) < LENGTHS[:, None])[:, :, None]
    found = []
    for size in (first, first + 1, first + 2):
        # [E, size · F] to torch's [F, E, size].
        kernel = np.asarray(params[f"conv_{size}/kernel"]).reshape(8, size, 16).transpose(2, 0, 1)
        x = torch.tensor(vectors).transpose(1, 2)
        left = (size - 1) // 2
        x = torch.nn.functional.pad(x, (left, size - 1 - left))
        y = activate(torch.nn.functional.conv1d(x, torch.tensor(kernel.copy()))).numpy()
        for row, length in enumerate(LENGTHS):
            y[row, :, length:] = -np.inf
        found.append(y.max(2))
    expected = np.concatenate(found, 1) @ np.asarray(params["output/kernel"])
    np.testing.assert_allclose(outputs(network, params, rows()), expected, atol=1e-4)


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_windows_are_averaged(model: str) -> None:
    inputs = replace(INPUTS, numeric=0, cardinalities=())
    network, params = made(model, inputs, window=16, last="mean")
    full = outputs(network, params, rows())
    tokens = rows()["tokens"]
    for row, length in enumerate(LENGTHS):
        parts = []
        for start in range(0, length, 16):
            piece = np.zeros((1, 40), np.int32)
            size = min(16, length - start)
            piece[0, :size] = tokens[row, start : start + size]
            short = {"tokens": piece, "length": np.array([size], np.int32)}
            parts.append(outputs(network, params, short))
        # The head is linear: the mean of the windows' outputs is the output of their mean.
        np.testing.assert_allclose(np.mean(parts, 0)[0], full[row], atol=1e-5)


def test_tokens_are_dropped_and_swapped_at_the_rates_given() -> None:
    tokens = jnp.asarray(np.tile(np.arange(10, 50, dtype=np.int32), (400, 1)))
    length = jnp.full(400, 30)
    key = jnp.uint32(7)

    def changed(**rates: float) -> np.ndarray:
        augment = {name: jnp.float32(rate) for name, rate in rates.items()}
        context = Context(train=True, key=key, augment=augment)
        return np.asarray(changed_tokens(tokens, length, context))

    dropped = changed(token_dropout=0.3)
    assert abs((dropped[:, :30] == UNKNOWN).mean() - 0.3) < 0.02
    np.testing.assert_array_equal(dropped[:, 30:], tokens[:, 30:])
    kept = dropped != UNKNOWN
    np.testing.assert_array_equal(dropped[kept], np.asarray(tokens)[kept])
    swapped = changed(token_swap=0.2)
    # The same tokens in another order, none further than one place.
    np.testing.assert_array_equal(np.sort(swapped, 1), np.sort(np.asarray(tokens), 1))
    moved = np.abs(swapped - np.asarray(tokens))
    assert set(np.unique(moved)) == {0, 1}
    assert abs(moved[:, :30].mean() / 2 - 0.2 / 1.2) < 0.03
    assert (moved[:, 30:] == 0).all()
    # No rate, no change; none of it outside training.
    np.testing.assert_array_equal(changed(token_dropout=0.0, token_swap=0.0), tokens)
    still = Context(augment={"token_dropout": jnp.float32(0.9)})
    np.testing.assert_array_equal(changed_tokens(tokens, length, still), tokens)


def test_terms_are_dropped_without_bias() -> None:
    network, params = made("linear", replace(INPUTS, numeric=0, cardinalities=()))
    full = outputs(network, params, rows())
    drawn = [
        outputs(
            network,
            params,
            rows(),
            Context(train=True, key=jnp.uint32(i), augment={"token_dropout": jnp.float32(0.4)}),
        )
        for i in range(300)
    ]
    assert np.abs(drawn[0] - full).max() > 1e-3
    assert np.abs(np.mean(drawn, 0) - full).max() < 5 * np.std(drawn, 0).max() / np.sqrt(300)


def test_families_for_texts_need_texts() -> None:
    with pytest.raises(SpaceError, match="the family textcnn reads texts"):
        build(Config(model="textcnn").structure(), InputShape(numeric=3), 2)
