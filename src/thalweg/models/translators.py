"""Networks that read one sequence of tokens and write another: encoder and decoder.

They read the fields ``source`` int32 [B, S] and ``previous`` int32 [B, T] (the start mark and the
true tokens before each, teacher forcing), and answer logits [B, T, V]. The id 0 pads either. To
write, ``open`` reads the source once and ``step`` continues all versions of all texts by one token;
see ``thalweg.nn.beams``.

The tokens' vectors are the output's weights too, and the source's where both sides share one
vocabulary. Source: Press and Wolf, "Using the Output Embedding to Improve Language Models", 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.errors import SpaceError
from thalweg.models.base import InputShape, Network, Stateless
from thalweg.nn.attention import HIDDEN, EncoderBlock, sinusoids
from thalweg.nn.decoder import DecoderBlock
from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import matmul
from thalweg.nn.layers import Context, Dense, Params, State, dropout
from thalweg.nn.normalisation import LayerNorm
from thalweg.nn.recurrent import GATES, RecurrentStack
from thalweg.nn.softmax import softmax
from thalweg.space import Structure


class Reading(NamedTuple):
    """What a decoder looks at: arrays [B, …] computed once, and which steps count, bool [B, S]."""

    memory: Any
    mask: Array


class Translator(Network, Protocol):
    """A network that can also write."""

    def open(
        self, params: Params, fields: Mapping[str, Array], num_beams: int, num_steps: int
    ) -> tuple[Reading, tuple[Any, Any]]:
        """Read the source; return that and the cache before the first step."""
        ...

    def step(
        self,
        params: Params,
        reading: Reading,
        cache: tuple[Any, Any],
        tokens: Array,
        t: Array,
        ancestors: Array,
    ) -> tuple[Array, Any, Any]:
        """Return logits [B, K, V], what each slot keeps and what each version takes along."""
        ...

    def alignment(self, params: Params, fields: Mapping[str, Array]) -> Array:
        """Return where each written token looks, [B, T, S]; rows sum to 1."""
        ...


@dataclass(frozen=True)
class Vocabulary:
    """Vectors of the tokens of both sides, and the logits that they give.

    Args:
        inputs: what the network reads.
        units: length of a vector.
    """

    inputs: InputShape
    units: int

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of ids of either side."""
        assert self.inputs.source is not None
        assert self.inputs.written is not None
        return self.inputs.source[1], self.inputs.written[1]

    def params(self) -> dict[str, Param]:
        """Return a table [V, units] for the target, one for the source where it has its own."""
        read, written = self.sizes
        specs = {"tokens/target": Param((written, self.units), "embedding", written, self.units)}
        if not self.inputs.shared_vocabulary:
            specs["tokens/source"] = Param((read, self.units), "embedding", read, self.units)
        return {**specs, "tokens/bias": Param((written,), "bias")}

    def read(self, params: Params, tokens: Array, side: str) -> Array:
        """Return vectors [..., units] of mean square 1 at the start."""
        shared = side == "target" or self.inputs.shared_vocabulary
        table = params["tokens/target" if shared else "tokens/source"]
        return table[tokens] * float(np.sqrt(self.units))

    def logits(self, params: Params, x: Array) -> Array:
        """Return the logits [..., V] of vectors [..., units]."""
        flat = matmul(x.reshape(-1, self.units), params["tokens/target"].T)
        return (flat + params["tokens/bias"]).reshape(*x.shape[:-1], -1)

    def flops(self) -> float:
        """Return the multiplications and additions of one token's logits."""
        return 2.0 * self.units * self.sizes[1]


def _typical(inputs: InputShape) -> tuple[float, float]:
    """Return usual lengths of either side: batches of alike lengths have half the longest."""
    assert inputs.source is not None
    assert inputs.written is not None
    return inputs.source[0] / 2, inputs.written[0] / 2


@dataclass(frozen=True)
class TransformerTranslator(Stateless):
    """A Transformer encoder and decoder, normalised before each part.

    Source: Vaswani et al., "Attention Is All You Need", 2017; Xiong et al., 2020, for the place of
    the normalisation.

    Args:
        inputs: what the network reads.
        units: length of a step.
        num_layers: blocks of the encoder, and of the decoder.
        num_heads: heads of each attention.
    """

    inputs: InputShape
    units: int
    num_layers: int
    num_heads: int

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.inputs, self.units)

    @cached_property
    def _encoder(self) -> tuple[EncoderBlock, ...]:
        return tuple(
            EncoderBlock(f"encoder_{i}", self.units, self.num_heads) for i in range(self.num_layers)
        )

    @cached_property
    def _decoder(self) -> tuple[DecoderBlock, ...]:
        return tuple(
            DecoderBlock(f"decoder_{i}", self.units, self.num_heads) for i in range(self.num_layers)
        )

    def params(self) -> dict[str, Param]:
        """Return the parameters of vocabulary, blocks and the last normalisations."""
        specs = self._vocabulary.params()
        for block in (*self._encoder, *self._decoder):
            specs |= block.params()
        return {
            **specs,
            **self._read_norm.params(),
            **self._written_norm.params(),
        }

    @property
    def _read_norm(self) -> LayerNorm:
        return LayerNorm("encoder_norm", self.units)

    @property
    def _written_norm(self) -> LayerNorm:
        return LayerNorm("decoder_norm", self.units)

    def _embed(self, params: Params, tokens: Array, side: str, context: Context) -> Array:
        x = self._vocabulary.read(params, tokens, side)
        x = x + sinusoids(tokens.shape[1], self.units)
        return dropout(x, context, 10 if side == "source" else 11)

    def _read(self, params: Params, source: Array, context: Context) -> tuple[list[Any], Array]:
        """Return the keys and values of every decoder block, and which steps count."""
        mask = source != 0
        x = self._embed(params, source, "source", context)
        for i, block in enumerate(self._encoder):
            x = block.apply(params, x, mask, context, 300 + 2 * i)
        x = self._read_norm.apply(params, x)
        return [block.cross.read(params, x) for block in self._decoder], mask

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return logits [B, T, V]."""
        keys, mask = self._read(params, fields["source"], context)
        x = self._embed(params, fields["previous"], "target", context)
        for i, block in enumerate(self._decoder):
            x = block.apply(params, x, keys[i], mask, context, 400 + 3 * i)
        return self._vocabulary.logits(params, self._written_norm.apply(params, x)), state

    def alignment(self, params: Params, fields: Mapping[str, Array]) -> Array:
        """Return the mean attention of the last block's heads, [B, T, S]."""
        keys, mask = self._read(params, fields["source"], Context())
        x = self._embed(params, fields["previous"], "target", Context())
        *first, last = self._decoder
        for block, own in zip(first, keys, strict=False):
            x = block.apply(params, x, own, mask, Context(), 0)
        return last.look(params, x, keys[-1], mask).mean(1)

    def open(
        self, params: Params, fields: Mapping[str, Array], num_beams: int, num_steps: int
    ) -> tuple[Reading, tuple[Any, Any]]:
        """Read the source; see ``Translator``."""
        keys, mask = self._read(params, fields["source"], Context())
        rows = mask.shape[0]
        slots = [block.empty(rows, num_beams, num_steps) for block in self._decoder]
        return Reading(keys, mask), (slots, ())

    def step(
        self,
        params: Params,
        reading: Reading,
        cache: tuple[Any, Any],
        tokens: Array,
        t: Array,
        ancestors: Array,
    ) -> tuple[Array, Any, Any]:
        """Continue all versions by one token; see ``Translator``."""
        num_rows, num_beams, num_steps = ancestors.shape
        positions = jnp.asarray(sinusoids(num_steps, self.units))
        x = self._vocabulary.read(params, tokens, "target") + positions[t]
        # Version k may look at slot j's step s where slot j is its ancestor of that step.
        own = ancestors[:, :, None, :] == jnp.arange(num_beams)[None, None, :, None]
        past = (own & (jnp.arange(num_steps) <= t)).reshape(num_rows, num_beams, -1)
        slots = []
        for block, kept, keys in zip(self._decoder, cache[0], reading.memory, strict=True):
            x, new = block.step(params, x, kept, keys, reading.mask, past, t)
            slots.append(new)
        x = self._written_norm.apply(params, x)
        return self._vocabulary.logits(params, x), slots, ()

    def flops(self) -> float:
        """Return the multiplications and additions of one row of usual length."""
        read, written = _typical(self.inputs)
        blocks = sum(b.flops(int(read)) for b in self._encoder)
        blocks += sum(b.flops(int(written), int(read)) for b in self._decoder)
        return blocks + written * self._vocabulary.flops()

    def activation_floats(self) -> float:
        """Return the numbers that the longest row's forward pass computes on its way."""
        assert self.inputs.source is not None
        assert self.inputs.written is not None
        (read, _), (written, size) = self.inputs.source, self.inputs.written
        per_block = 18.0 * self.units
        scores = 2.0 * self.num_heads * (read * read + written * (written + read))
        return 2.0 * written * size + self.num_layers * (per_block * (read + written) + scores)


@dataclass(frozen=True)
class RecurrentTranslator(Stateless):
    """A bidirectional recurrent encoder, and a recurrent decoder that looks at all its steps.

    h_t = LSTM(h_{t-1}, [y_{t-1}; summary]),  a_t = softmax(h_tᵀ W m_s),
    out_t = tanh(W_c [Σ_s a_ts m_s; h_t])

    The encoder's last state is an input of every step of the decoder (Cho et al., "Learning Phrase
    Representations using RNN Encoder-Decoder", 2014). Attention: Luong et al., "Effective
    Approaches to Attention-based Neural Machine Translation", 2015, eq. 5 and 8 ("general").
    Differs from the paper: out_t is not fed back, so that training computes all steps at once.

    Args:
        inputs: what the network reads.
        kind: one of ``GATES``.
        widths: units of each layer, of the encoder (both directions together) and the decoder.
    """

    inputs: InputShape
    kind: str
    widths: tuple[int, ...]

    @property
    def _units(self) -> int:
        return self.widths[-1]

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.inputs, self._units)

    @cached_property
    def _encoder(self) -> RecurrentStack:
        halves = tuple(width // 2 for width in self.widths)
        return RecurrentStack("encoder", self.kind, self._units, halves, bidirectional=True)

    @cached_property
    def _decoder(self) -> RecurrentStack:
        return RecurrentStack("decoder", self.kind, 2 * self._units, self.widths)

    @cached_property
    def _layers(self) -> tuple[Dense, Dense]:
        units = self._units
        return (
            Dense("attention/query", units, units, bias=False),
            Dense("attention/output", 2 * units, units),
        )

    def params(self) -> dict[str, Param]:
        """Return the parameters of vocabulary, both stacks and the attention."""
        specs = {**self._vocabulary.params(), **self._encoder.params(), **self._decoder.params()}
        for layer in self._layers:
            specs |= layer.params()
        return specs

    def _read(self, params: Params, source: Array, context: Context) -> tuple[Array, Array, Array]:
        """Return the encoder's steps [B, S, U], its last state [B, U], and which steps count."""
        mask = source != 0
        x = dropout(self._vocabulary.read(params, source, "source"), context, 10)
        steps, last = self._encoder.apply(params, x, mask.sum(-1), context)
        return dropout(steps, context, 12), last, mask

    def _look(self, params: Params, h: Array, memory: Array, mask: Array) -> tuple[Array, Array]:
        """Return out_t of states h [B, T, U], and where they look [B, T, S]."""
        query, output = self._layers
        scores = query.apply(params, h) @ jnp.swapaxes(memory, 1, 2)
        weights = softmax(jnp.where(mask[:, None], scores, HIDDEN))
        both = jnp.concatenate([weights @ memory, h], axis=-1)
        return jnp.tanh(output.apply(params, both)), weights

    def _write(
        self, params: Params, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, Array]:
        memory, last, mask = self._read(params, fields["source"], context)
        x = dropout(self._vocabulary.read(params, fields["previous"], "target"), context, 11)
        summary = jnp.broadcast_to(last[:, None], (*x.shape[:2], last.shape[-1]))
        h, _ = self._decoder.apply(params, jnp.concatenate([x, summary], -1), None, context)
        out, weights = self._look(params, dropout(h, context, 13), memory, mask)
        return dropout(out, context, 14), weights

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return logits [B, T, V]."""
        x, _ = self._write(params, fields, context)
        return self._vocabulary.logits(params, x), state

    def alignment(self, params: Params, fields: Mapping[str, Array]) -> Array:
        """Return the attention, [B, T, S]."""
        return self._write(params, fields, Context())[1]

    def open(
        self, params: Params, fields: Mapping[str, Array], num_beams: int, num_steps: int
    ) -> tuple[Reading, tuple[Any, Any]]:
        """Read the source; see ``Translator``."""
        del num_steps
        memory, last, mask = self._read(params, fields["source"], Context())
        state = [
            (jnp.zeros((mask.shape[0], num_beams, layer[0].units)),) * 2
            for layer in self._decoder.layers
        ]
        return Reading((memory, last), mask), ((), state)

    def step(
        self,
        params: Params,
        reading: Reading,
        cache: tuple[Any, Any],
        tokens: Array,
        t: Array,
        ancestors: Array,
    ) -> tuple[Array, Any, Any]:
        """Continue all versions by one token; see ``Translator``."""
        del t, ancestors
        memory, last = reading.memory
        x = self._vocabulary.read(params, tokens, "target")
        summary = jnp.broadcast_to(last[:, None], (*x.shape[:2], last.shape[-1]))
        x = jnp.concatenate([x, summary], axis=-1)
        state = []
        for (layer,), (h, c) in zip(self._decoder.layers, cache[1], strict=True):
            h, c = layer.step(params, x, h, c)
            state.append((h, c))
            x = h
        out, _ = self._look(params, x, memory, reading.mask)
        return self._vocabulary.logits(params, out), (), state

    def flops(self) -> float:
        """Return the multiplications and additions of one row of usual length."""
        read, written = (int(length) for length in _typical(self.inputs))
        stacks = self._encoder.flops(read) + self._decoder.flops(written)
        look = written * (6.0 * self._units**2 + 4.0 * read * self._units)
        return stacks + look + written * self._vocabulary.flops()

    def activation_floats(self) -> float:
        """Return the numbers that the longest row's forward pass computes on its way."""
        assert self.inputs.source is not None
        assert self.inputs.written is not None
        (read, _), (written, size) = self.inputs.source, self.inputs.written
        per_step = sum((GATES[self.kind] + 3.0) * width for width in self.widths)
        return 2.0 * written * size + per_step * (read + written) + 2.0 * written * read


def _check(structure: Structure, inputs: InputShape) -> None:
    if inputs.source is None or inputs.written is None:
        raise SpaceError(
            f"the family {structure.model} reads one text and writes another; this data has no "
            "such pairs: choose another model"
        )


def build_transformer(structure: Structure, inputs: InputShape, num_outputs: int) -> Network:
    """Return the Transformer of a structure; its width is rounded up to whole heads."""
    del num_outputs
    _check(structure, inputs)
    heads = structure.get("num_heads")
    units = -(-(structure.widths[0] if structure.widths else 128) // heads) * heads
    return TransformerTranslator(inputs, units, structure.depth, heads)


def build_lstm(structure: Structure, inputs: InputShape, num_outputs: int) -> Network:
    """Return the recurrent encoder and decoder of a structure; widths are rounded up to even."""
    del num_outputs
    _check(structure, inputs)
    widths = tuple(width + width % 2 for width in structure.widths)
    return RecurrentTranslator(inputs, "lstm", widths or (128,))
