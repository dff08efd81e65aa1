"""Language models: each token from those before it, by recurrence or attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
from jax import Array

from thalweg.errors import SpaceError
from thalweg.models.base import InputShape, Stateless, shares_of
from thalweg.nn.attention import EncoderBlock, sinusoids
from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import add_bias, matmul
from thalweg.nn.layers import Context, Dense, Params, State, dropout
from thalweg.nn.normalisation import LayerNorm
from thalweg.nn.recurrent import GATES, RecurrentStack
from thalweg.nn.softmax import cross_entropy
from thalweg.space import Structure

_SALT = 800


@dataclass(frozen=True)
class LanguageModel(Stateless):
    """log p(token | those before it) for each token of a row.

    The scores of the next token are products with the same table that embeds tokens. Source: Press
    and Wolf, "Using the Output Embedding to Improve Language Models", 2017.

    Args:
        inputs: what the network reads.
        size: length of a token's vector.
        stack: recurrent layers, or None.
        blocks: causal Transformer blocks, where there are no recurrent layers.
    """

    inputs: InputShape
    size: int
    stack: RecurrentStack | None
    blocks: tuple[EncoderBlock, ...]

    @property
    def _shape(self) -> tuple[int, int]:
        assert self.inputs.tokens is not None
        return self.inputs.tokens

    @property
    def num_steps(self) -> int:
        """Tokens that are predicted in a row, T."""
        return self._shape[0] - 1

    @cached_property
    def cuts(self) -> tuple[dict[str, int], ...]:
        """Numbers of tokens that the network is compiled for."""
        return tuple({"tokens": size} for size in shares_of(self._shape[0]))

    def used(self, fields: Mapping[str, Array]) -> Array:
        """Return how many tokens each row has, [B]."""
        return fields["length"]

    @cached_property
    def _fit(self) -> Dense | None:
        """What brings states to the length of a token's vector."""
        units = self.stack.units if self.stack is not None else self.size
        return Dense("fit", units, self.size) if units != self.size else None

    @property
    def _norm(self) -> LayerNorm:
        return LayerNorm("norm", self.size)

    def params(self) -> dict[str, Param]:
        """Return the table, the layers, and the bias of each token."""
        vocabulary = self._shape[1]
        specs = {"tokens/0": Param((vocabulary, self.size), "embedding", vocabulary, self.size)}
        if self.stack is not None:
            specs |= self.stack.params()
        for block in self.blocks:
            specs |= block.params()
        if self.blocks:
            specs |= self._norm.params()
        if self._fit is not None:
            specs |= self._fit.params()
        return {**specs, "output/bias": Param((vocabulary,), "bias")}

    def states(self, params: Params, tokens: Array, context: Context) -> Array:
        """Return the vector that stands for all up to each token, [B, T, size]."""
        # The table's rows have length 1 on average: as scores they may stay, as inputs they grow.
        x = params["tokens/0"][tokens] * float(self.size**0.5)
        if self.stack is not None:
            x = dropout(x, context, _SALT)
            x, _ = self.stack.apply(params, x, None, context)
        else:
            x = dropout(x + sinusoids(tokens.shape[1], self.size), context, _SALT)
            for i, block in enumerate(self.blocks):
                x = block.apply(params, x, None, context, _SALT + 10 + 2 * i)
            x = self._norm.apply(params, x)
        if self._fit is not None:
            x = self._fit.apply(params, x)
        return dropout(x, context, _SALT + 1)

    def scores(self, params: Params, states: Array) -> Array:
        """Return the scores of all tokens from states [..., size], [..., V]."""
        flat = states.reshape(-1, self.size)
        scores = add_bias(matmul(flat, params["tokens/0"].T), params["output/bias"])
        return scores.reshape(*states.shape[:-1], -1)

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return log-probabilities [B, T], 0 behind the end."""
        tokens = fields["tokens"]
        scores = self.scores(params, self.states(params, tokens[:, :-1], context))
        flat = scores.reshape(-1, scores.shape[-1])
        logs = -cross_entropy(flat, tokens[:, 1:].reshape(-1)).reshape(scores.shape[:-1])
        counts = jnp.arange(1, tokens.shape[1]) < fields["length"][:, None]
        logs = jnp.where(counts, logs, 0.0)
        return jnp.pad(logs, ((0, 0), (0, self.num_steps - logs.shape[1]))), state

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        layers = sum(block.flops(self.num_steps) for block in self.blocks)
        if self.stack is not None:
            layers += self.stack.flops(self.num_steps)
        return layers + 2.0 * self.num_steps * self.size * self._shape[1]

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        per_step = 2.0 * self._shape[1] + 4.0 * self.size
        if self.stack is not None:
            both = [one for layer in self.stack.layers for one in layer]
            per_step += sum((GATES[one.kind] + 3) * one.units for one in both)
        for block in self.blocks:
            per_step += (8 + 2 * block.expansion) * block.units
            per_step += 2 * block.num_heads * self.num_steps
        return self.num_steps * per_step


def build(structure: Structure, inputs: InputShape, num_outputs: int) -> LanguageModel:
    """Return the language model of a structure.

    Raises:
        SpaceError: a family that does not go from token to token.
    """
    del num_outputs
    size = structure.get("embedding_size")
    if structure.model in GATES:
        memory = structure.get("memory_steps")
        widths = structure.widths or (size,)
        stack = RecurrentStack(structure.model, structure.model, size, widths, False, memory)
        return LanguageModel(inputs, size, stack, ())
    if structure.model != "transformer":
        raise SpaceError(
            f"the family {structure.model} is no language model: choose one of "
            f"{', '.join((*GATES, 'transformer'))}"
        )
    heads = structure.get("num_heads")
    size = -(-(structure.widths[0] if structure.widths else size) // heads) * heads
    blocks = tuple(
        EncoderBlock(f"block_{i}", size, heads, causal=True) for i in range(structure.depth)
    )
    return LanguageModel(inputs, size, None, blocks)
