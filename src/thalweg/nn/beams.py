"""Writing one token after the other: the likeliest sequence, looked for with several beams.

A beam is one version of the text so far. At each step every beam is continued by every token, and
of all continuations the likeliest are kept; those that end are set aside. All sequences of a batch
are written by one compiled loop, which ends when none can still be improved.

An end mark counts where it is among the likeliest continuations, as in fairseq. So one beam is
greedy decoding: it ends where the end mark is the likeliest token.

Source of the length penalty: Wu et al., "Google's Neural Machine Translation System", 2016,
eq. 14: score = log P / ((5 + length) / 6)^alpha, where the length counts the end mark.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

ALPHA = 0.6
"""Default length penalty: Wu et al. found 0.6 to 0.7 best."""

_LOWEST = -1e30

Step = Callable[[Any, Array, Array, Array], tuple[Array, Any, Any]]
"""``(cache, tokens [B, K], t, ancestors [B, K, T]) -> (log p [B, K, V], slots, state)``.

``slots`` is what every version keeps of its own at each step, ``state`` what it takes along, with
leading axes [B, K]; the cache is the pair of them.
"""


class Written(NamedTuple):
    """What was written: tokens [B, T], ``pad`` after the end mark; scores [B]; lengths [B]."""

    tokens: Array
    scores: Array
    lengths: Array


class _Search(NamedTuple):
    t: Array
    cache: Any
    last: Array
    tokens: Array
    ancestors: Array
    log_p: Array
    done_tokens: Array
    done_score: Array


def penalty(length: Any, alpha: float) -> Any:
    """Return what the log probability of so many tokens is divided by."""
    return ((5.0 + length) / 6.0) ** alpha


def beam_search(
    step: Step,
    cache: tuple[Any, Any],
    num_rows: int,
    *,
    num_steps: int,
    num_beams: int,
    start: int,
    end: int,
    pad: int,
    alpha: float = ALPHA,
    length_limit: Array | None = None,
) -> Written:
    """Return the best sequence found for each row.

    Args:
        step: continues all beams by one token; see ``Step``.
        cache: before the first step.
        num_rows: sequences to write, B.
        num_steps: tokens at most, the end mark included, T.
        num_beams: versions that are followed, K.
        start: the token that stands before the first.
        end: the token that ends a sequence.
        pad: the token after it.
        alpha: 0 for none, more for longer sequences; a single beam has none.
        length_limit: tokens of each row at most, int [B]; ``num_steps`` for all where None.

    Returns:
        The sequences; one that did not end within its limit is the likeliest of those unfinished.
    """
    alpha = alpha if num_beams > 1 else 0.0
    beams = jnp.arange(num_beams)
    # All beams start out equal: only the first one counts at the first step.
    first = jnp.where(beams == 0, 0.0, _LOWEST)
    shape = (num_rows, num_beams)
    limit = jnp.full(num_rows, num_steps) if length_limit is None else length_limit
    limit = jnp.clip(limit, 1, num_steps)
    longest = penalty(limit.astype(jnp.float32), alpha)
    begin = _Search(
        t=jnp.zeros((), jnp.int32),
        cache=cache,
        last=jnp.full(shape, start, jnp.int32),
        tokens=jnp.full((*shape, num_steps), pad, jnp.int32),
        ancestors=jnp.zeros((*shape, num_steps), jnp.int32),
        log_p=jnp.broadcast_to(first, shape),
        done_tokens=jnp.full((num_rows, num_steps), pad, jnp.int32),
        done_score=jnp.full(num_rows, _LOWEST),
    )

    def go_on(search: _Search) -> Array:
        # Log probabilities only fall, and no penalty is larger than that of the longest sequence:
        # this bounds what a beam can still reach.
        hopeful = (search.log_p[:, 0] / longest > search.done_score) & (search.t < limit)
        return hopeful.any()

    def body(search: _Search) -> _Search:
        t = search.t
        # What a beam writes now stands in its own slot.
        ancestors = search.ancestors.at[:, :, t].set(beams)
        log_p, slots, state = step(search.cache, search.last, t, ancestors)
        total = search.log_p[:, :, None] + log_p
        ending = total[:, :, end]
        value, parent, token = best_of(total.at[:, :, end].set(_LOWEST), num_beams)
        above = (value[:, None] > ending[..., None]).sum(-1)
        above = above + (ending[:, None] > ending[..., None]).sum(-1)
        reached = jnp.where(above < num_beams, ending / penalty(t + 1.0, alpha), _LOWEST)
        score, best = reached.max(-1), reached.argmax(-1)
        better = (score > search.done_score) & (t < limit)
        text = jnp.take_along_axis(search.tokens, best[:, None, None], axis=1)[:, 0]

        def of_parent(values: Array) -> Array:
            index = parent.reshape(*parent.shape, *[1] * (values.ndim - 2))
            return jnp.take_along_axis(values, index, axis=1)

        # A row that has reached its limit stays as it is.
        active = (t < limit)[:, None]
        tokens = of_parent(search.tokens).at[:, :, t].set(token)
        return _Search(
            t=t + 1,
            cache=(slots, jax.tree.map(of_parent, state)),
            last=token,
            tokens=jnp.where(active[..., None], tokens, search.tokens),
            ancestors=of_parent(ancestors),
            log_p=jnp.where(active, value, search.log_p),
            done_tokens=jnp.where(better[:, None], text.at[:, t].set(end), search.done_tokens),
            done_score=jnp.where(better, score, search.done_score),
        )

    found = lax.while_loop(go_on, body, begin)
    # Where nothing has ended, the likeliest version stands as it is.
    ended = found.done_score > _LOWEST / 2
    tokens = jnp.where(ended[:, None], found.done_tokens, found.tokens[:, 0])
    scores = jnp.where(ended, found.done_score, found.log_p[:, 0] / longest)
    return Written(tokens, scores, (tokens != pad).sum(-1).astype(jnp.int32))


def best_of(total: Array, num: int) -> tuple[Array, Array, Array]:
    """Return the ``num`` largest entries of [B, K, V] by row, their beam and their token, [B, num].

    First of each beam, then of all: the long axis is read once.
    """
    num_beams, size = total.shape[1:]
    each = min(num, size)
    value, token = lax.top_k(total, each)
    flat, place = lax.top_k(value.reshape(-1, num_beams * each), num)
    token = jnp.take_along_axis(token.reshape(-1, num_beams * each), place, axis=1)
    return flat, (place // each).astype(jnp.int32), token.astype(jnp.int32)
