"""Texts from a language model: token after token, at random or the likeliest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from thalweg.models.language_model import LanguageModel
from thalweg.nn import noise
from thalweg.nn.layers import Context
from thalweg.training.programs import Program, compile_program

FORBIDDEN = 3
"""The ids below this one (padding, unknown, start) are never drawn."""


def filtered(scores: Array, temperature: Array, top_k: Array, top_p: Array) -> Array:
    """Return the scores that may be drawn from, [..., V]; minus infinity for the others.

    Scores are divided by the temperature; the ``top_k`` largest remain, and of these the fewest
    whose probabilities add up to ``top_p``. Sources: Fan et al., "Hierarchical Neural Story
    Generation", 2018 (top k); Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020
    (nucleus).

    Args:
        scores: unnormalised log-probabilities.
        temperature: above 0.
        top_k: how many remain at most.
        top_p: share of the probability that remains at least.
    """
    scores = scores / temperature
    order = jnp.sort(scores, axis=-1, descending=True)
    share = jax.nn.softmax(jnp.where(jnp.arange(scores.shape[-1]) < top_k, order, -jnp.inf))
    before = jnp.cumsum(share, axis=-1) - share
    kept = (jnp.arange(scores.shape[-1]) < top_k) & (before < top_p)
    # The first one always remains.
    least = jnp.where(kept, order, jnp.inf).min(-1, keepdims=True)
    return jnp.where(scores >= least, scores, -jnp.inf)


@lru_cache(maxsize=16)
def _program(network: LanguageModel, num_members: int, num_rows: int) -> Program:
    width = network.num_steps

    def generate(
        members: Any, tokens: Array, length: Array, steps: Array, settings: Array, key: Array
    ) -> Array:
        def step(number: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            tokens, length = carry
            # The window that ends with the last token.
            first = jnp.maximum(length - width, 0)
            seen = lax.dynamic_slice(tokens, (0, first), (num_rows, width))
            last = length - 1 - first
            total = jnp.zeros(())
            for params in members:
                states = network.states(params, seen, Context())
                own = lax.dynamic_index_in_dim(states, last, 1, False)
                total = total + jax.nn.softmax(network.scores(params, own))
            scores = jnp.log(total / num_members)
            scores = jnp.where(jnp.arange(scores.shape[-1]) < FORBIDDEN, -jnp.inf, scores)
            temperature, top_k, top_p = settings
            kept = filtered(scores, jnp.maximum(temperature, 1e-6), top_k, top_p)
            unit = noise.uniform(noise.fold(key, number), kept.shape)
            gumbel = -jnp.log(-jnp.log(jnp.clip(unit, 1e-9, 1.0 - 1e-7)))
            drawn = (kept + jnp.where(temperature > 0, gumbel, 0.0)).argmax(-1)
            tokens = lax.dynamic_update_slice(
                tokens, drawn.astype(tokens.dtype)[:, None], (0, length)
            )
            return tokens, length + 1

        return lax.fori_loop(0, steps, step, (tokens, length))[0]

    specs = {n: jax.ShapeDtypeStruct(s.shape, jnp.float32) for n, s in network.params().items()}
    scalar = jax.ShapeDtypeStruct((), jnp.int32)
    shapes = (
        [specs] * num_members,
        jax.ShapeDtypeStruct((num_rows, MOST_TOKENS), jnp.int32),
        scalar,
        scalar,
        jax.ShapeDtypeStruct((3,), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.uint32),
    )
    return compile_program(generate, shapes, made_from=(network, num_members, num_rows))


MOST_TOKENS = 1024
"""Tokens of a text that is generated, its beginning included."""


def generate_tokens(
    network: LanguageModel,
    members: Sequence[Mapping[str, np.ndarray]],
    prompt: Sequence[int],
    *,
    num: int,
    length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
) -> np.ndarray:
    """Continue a prompt ``num`` times by ``length`` tokens.

    Args:
        network: the language model.
        members: parameters of one or several networks, whose probabilities are averaged.
        prompt: tokens that the texts begin with, the start mark first.
        num: how many texts.
        length: tokens to add; what follows an end mark means nothing.
        temperature: divides the scores; 0 takes the likeliest token.
        top_k: draw from so many of the likeliest tokens; 0 for all.
        top_p: draw from the likeliest tokens that have this share of the probability.
        seed: of the draws.

    Returns:
        int32 [num, len(prompt) + length].
    """
    given = list(prompt)[-(MOST_TOKENS - length) :]
    tokens = np.zeros((num, MOST_TOKENS), np.int32)
    tokens[:, : len(given)] = given
    vocabulary = network.inputs.tokens[1] if network.inputs.tokens else 0
    settings = np.array([temperature, top_k or vocabulary, top_p], np.float32)
    program = _program(network, len(members), num)
    done = program.call(
        [dict(params) for params in members],
        tokens,
        np.int32(len(given)),
        np.int32(length),
        settings,
        np.uint32(np.random.SeedSequence([0x6E5, seed]).generate_state(1)[0]),
    )
    return np.asarray(done)[:, : len(given) + length]
