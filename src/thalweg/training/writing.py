"""Networks that write: compiled decoding of many texts, and their scores with the truth given.

Texts are written in batches of alike length: short ones take fewer steps, and a batch ends when
its last text does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.models.translators import Translator
from thalweg.nn.beams import ALPHA, beam_search
from thalweg.nn.layers import Context
from thalweg.optim.text import FROM_COUNTS, token_counts
from thalweg.training.backend import num_workers, to_device
from thalweg.training.plan import power_of_two
from thalweg.training.programs import Program, compile_program, shapes_of
from thalweg.training.side_by_side import run_tasks

PAD, START, END = 0, 2, 3
"""Ids of the marks in every vocabulary made here."""

BATCH = 64
FORCED_BATCH = 32
_WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256)
MOST_STEPS = 512
"""Tokens of a text whose attention is looked at, at most."""


def _stacked(members: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the members' parameters side by side, [M, …]."""
    return {name: np.stack([member[name] for member in members]) for name in members[0]}


@lru_cache(maxsize=64)
def _writer(
    network: Translator, key: tuple[Any, ...], num_beams: int, num_steps: int, alpha: float
) -> Program:
    num_rows, width, params_key = key

    def write(params: Any, source: Any, limits: Any) -> Any:
        def begin(params: Any) -> Any:
            return network.open(params, {"source": source}, num_beams, num_steps)

        # Members side by side; what each version takes along has its rows and beams in front.
        reading, cache = jax.vmap(begin, out_axes=(0, (0, 2)))(params)

        def step(cache: Any, tokens: Any, t: Any, ancestors: Any) -> Any:
            def one(params: Any, reading: Any, cache: Any) -> Any:
                return network.step(params, reading, cache, tokens, t, ancestors)

            logits, slots, state = jax.vmap(one, in_axes=(0, 0, (0, 2)), out_axes=(0, 0, 2))(
                params, reading, cache
            )
            return mean_log_p(logits), slots, state

        found = beam_search(
            step,
            cache,
            num_rows,
            num_steps=num_steps,
            num_beams=num_beams,
            start=START,
            end=END,
            pad=PAD,
            alpha=alpha,
            length_limit=limits,
        )
        return found.tokens

    shapes = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in params_key}
    arguments = (
        shapes,
        jax.ShapeDtypeStruct((num_rows, width), jnp.int32),
        jax.ShapeDtypeStruct((num_rows,), jnp.int32),
    )
    return compile_program(write, arguments, made_from=(network, key, num_beams, num_steps, alpha))


def mean_log_p(logits: Any) -> Any:
    """Return the logarithm of the members' mean probability, [...] from logits [M, ..., V]."""
    log_p = jax.nn.log_softmax(logits)
    if logits.shape[0] == 1:
        return log_p[0]
    return jax.nn.logsumexp(log_p, axis=0) - float(np.log(logits.shape[0]))


def write(
    network: Translator,
    members: Sequence[Mapping[str, np.ndarray]],
    source: np.ndarray,
    limits: np.ndarray,
    *,
    num_beams: int = 4,
    alpha: float = ALPHA,
    batch: int = BATCH,
) -> np.ndarray:
    """Return what networks write for each row, int32 [N, T].

    Args:
        network: the network.
        members: parameters of several of them, whose probabilities are averaged.
        source: tokens that are read, int32 [N, S], 0 after the last.
        limits: tokens that may be written for each row, the end mark included, int [N].
        num_beams: versions that are followed; 1 is greedy.
        alpha: length penalty of several beams.
        batch: rows written at a time.
    """
    num = len(source)
    longest = int(limits.max(initial=1))
    out = np.full((num, longest), PAD, np.int32)
    params = _stacked(members)
    key = tuple((name, value.shape) for name, value in params.items())
    params = {name: to_device(value) for name, value in params.items()}
    length = (source != PAD).sum(axis=1)
    order = np.lexsort((limits, length))
    size = min(batch, power_of_two(max(num, 1)))
    work = []
    for start in range(0, num, size):
        rows = order[start : start + size]
        width = _fitting(int(length[rows].max()), source.shape[1])
        steps = _fitting(int(limits[rows].max()), longest)
        program = _writer(network, (size, width, key), num_beams, steps, alpha)
        work.append((rows, width, steps, program))

    def written(rows: np.ndarray, width: int, steps: int, program: Program) -> None:
        chosen = np.resize(rows, size)
        tokens = program.call(
            params,
            np.ascontiguousarray(source[chosen, :width], np.int32),
            limits[chosen].astype(np.int32),
        )
        out[rows, :steps] = np.asarray(tokens)[: len(rows)]

    # Batches side by side use the cores better than the operations of one. The longest come first:
    # none is left to one core at the end.
    run_tasks([partial(written, *item) for item in reversed(work)], None, num_workers())
    return out


def _fitting(length: int, most: int) -> int:
    """Return the shortest compiled length that holds so many tokens."""
    return min([width for width in _WIDTHS if width >= length] + [most])


@lru_cache(maxsize=16)
def _scorer(network: Translator, shapes: tuple[Any, ...]) -> Program:
    params_key, fields_key, target_shape = shapes

    def counts(params: Any, fields: Any, target: Any) -> Any:
        def one(params: Any) -> Any:
            return network.apply(params, {}, fields, Context())[0]

        return token_counts(mean_log_p(jax.vmap(one)(params)), target)

    arguments = (
        {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in params_key},
        {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name, shape in fields_key},
        jax.ShapeDtypeStruct(target_shape, jnp.int32),
    )
    return compile_program(counts, arguments, made_from=network)


def forced_scores(
    network: Translator,
    members: Sequence[Mapping[str, np.ndarray]],
    fields: Mapping[str, np.ndarray],
    target: np.ndarray,
) -> dict[str, float]:
    """Return perplexity and token accuracy of the true texts, each token after the true ones.

    Args:
        network: the network.
        members: parameters of several of them, whose probabilities are averaged.
        fields: ``source`` [N, S] and ``previous`` [N, T].
        target: true tokens, int32 [N, T].
    """
    params = _stacked(members)
    key = tuple((name, value.shape) for name, value in params.items())
    counts = []
    for start in range(0, len(target), FORCED_BATCH):
        # Rows of padding alone count nothing.
        padding = ((0, max(0, start + FORCED_BATCH - len(target))), (0, 0))
        some = {
            name: np.pad(fields[name][start : start + FORCED_BATCH], padding)
            for name in ("source", "previous")
        }
        own = np.pad(target[start : start + FORCED_BATCH], padding)
        shapes = tuple((name, value.shape) for name, value in some.items())
        program = _scorer(network, (key, shapes, own.shape))
        counts.append(np.asarray(program.call(params, some, own)))
    whole = to_device(np.concatenate(counts))
    weight = jnp.ones(len(whole))
    return {name: float(metric(whole, weight)) for name, metric in FROM_COUNTS.items()}


def attention(
    network: Translator,
    members: Sequence[Mapping[str, np.ndarray]],
    read: Sequence[Sequence[int]],
    written: Sequence[Sequence[int]],
) -> list[np.ndarray]:
    """Return where each token of some texts looks as it is written, [T, S] of each text.

    Args:
        network: the network.
        members: parameters of several of them, whose attention is averaged.
        read: tokens that are read, for each text.
        written: tokens that are written.
    """
    source = np.full((len(read), _fitting(max(map(len, read)), MOST_STEPS)), PAD, np.int32)
    previous = np.full((len(read), _fitting(max(map(len, written)), MOST_STEPS)), PAD, np.int32)
    previous[:, 0] = START
    for row, (own, out) in enumerate(zip(read, written, strict=True)):
        source[row, : len(own)] = own
        # A token is written after the ones before it; the last is read by none.
        previous[row, 1 : len(out)] = out[:-1]
    params = _stacked(members)

    def looked(params: Any, fields: Any) -> Any:
        return jax.vmap(lambda one: network.alignment(one, fields))(params).mean(0)

    arguments = (params, {"source": source, "previous": previous})
    weights = np.asarray(compile_program(looked, shapes_of(arguments)).call(*arguments))
    return [weights[i, : len(out), : len(read[i])] for i, out in enumerate(written)]
