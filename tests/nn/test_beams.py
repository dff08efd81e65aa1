"""Beam search against the enumeration of all sequences, and against greedy decoding."""

from __future__ import annotations

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.nn.beams import beam_search, best_of, penalty

PAD, START, END, SIZE, STEPS = 0, 1, 2, 6, 4


def chain(seed: int, num_rows: int = 3) -> np.ndarray:
    """Return log probabilities of the next token after each pair of tokens, [B, V, V, V]."""
    rng = np.random.default_rng(seed)
    logits = 2.0 * rng.standard_normal((num_rows, SIZE, SIZE, SIZE))
    logits[..., [PAD, START]] = -np.inf
    return np.array(jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)))


def search(table: np.ndarray, num_beams: int, alpha: float, limit: Any = None) -> Any:
    """Return what beam search finds; the state is the token before the last."""
    log_p = jnp.asarray(table)

    def step(cache: Any, tokens: Any, t: Any, ancestors: Any) -> Any:
        del t, ancestors
        before = cache[1]
        rows = jnp.arange(len(table))[:, None]
        return log_p[rows, before, tokens], (), tokens

    start = jnp.full((len(table), num_beams), START)
    return beam_search(
        step,
        ((), start),
        len(table),
        num_steps=STEPS,
        num_beams=num_beams,
        start=START,
        end=END,
        pad=PAD,
        alpha=alpha,
        length_limit=limit,
    )


def log_probability(table: np.ndarray, tokens: list[int]) -> float:
    before, last, total = START, START, 0.0
    for token in tokens:
        total += float(table[before, last, token])
        before, last = last, token
    return total


def exact(table: np.ndarray, alpha: float) -> tuple[list[int], float]:
    """Return the best of all sequences that end within the limit."""
    found: list[tuple[float, list[int]]] = []
    for length in range(STEPS):
        for words in product(range(3, SIZE), repeat=length):
            tokens = [*words, END]
            score = log_probability(table, tokens) / penalty(float(len(tokens)), alpha)
            found.append((score, tokens))
    score, tokens = max(found)
    return tokens, score


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_enough_beams_find_the_exact_best(seed: int, alpha: float) -> None:
    table = chain(seed)
    found = search(table, 120, alpha)
    for row in range(len(table)):
        tokens, score = exact(table[row], alpha)
        assert found.tokens[row].tolist() == tokens + [PAD] * (STEPS - len(tokens))
        assert float(found.scores[row]) == pytest.approx(score, rel=1e-5)
        assert int(found.lengths[row]) == len(tokens)


@pytest.mark.parametrize("seed", range(4))
def test_one_beam_is_greedy(seed: int) -> None:
    table = chain(seed)
    found = search(table, 1, 0.6)
    for row in range(len(table)):
        before, last, tokens = START, START, []
        while len(tokens) < STEPS and last != END:
            tokens.append(int(table[row, before, last].argmax()))
            before, last = last, tokens[-1]
        assert found.tokens[row].tolist() == tokens + [PAD] * (STEPS - len(tokens))
        best = log_probability(table[row], tokens)
        assert float(found.scores[row]) == pytest.approx(best, rel=1e-5)


def test_what_never_ends_is_cut_at_its_own_limit() -> None:
    table = chain(0, 2)
    table[..., END] = -1e9
    found = search(table, 2, 0.6, jnp.array([2, 4]))
    assert found.lengths.tolist() == [2, 4]
    assert END not in np.array(found.tokens)
    alone = search(table[:1], 2, 0.6, jnp.array([2]))
    assert found.tokens[0].tolist() == alone.tokens[0].tolist()


def test_best_of_is_the_sorted_top() -> None:
    total = np.random.default_rng(0).standard_normal((4, 3, 7)).astype(np.float32)
    value, beam, token = best_of(jnp.asarray(total), 5)
    for row in range(4):
        order = np.argsort(-total[row].reshape(-1))[:5]
        np.testing.assert_array_equal(value[row], total[row].reshape(-1)[order])
        assert beam[row].tolist() == (order // 7).tolist()
        assert token[row].tolist() == (order % 7).tolist()
