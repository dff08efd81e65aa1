"""The decoder's side of a Transformer: attention to what was read, and to what was written so far.

All steps at once in training, with the true tokens before each (teacher forcing); one step at a
time when something is written, with the keys and values of the steps before kept.

Several versions of a text (beams) are written side by side. A version that branches off another
shares that one's past. Its keys and values are not copied: every version keeps what it wrote at
each step in a slot of its own, all versions of a text look at all slots, and a table of ancestors
says which of them belong to whose past. On a CPU the few more products cost a small part of the
copying, which would move every kept number at every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from thalweg.nn.attention import (
    MultiHeadAttention,
    attend,
    attention_weights,
    join_heads,
    split_heads,
)
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import Context, Dense, Params, dropout
from thalweg.nn.normalisation import LayerNorm


@dataclass(frozen=True)
class CrossAttention:
    """Queries from one sequence, keys and values from another. Source: Vaswani et al., 2017.

    Args:
        name: prefix of the parameters.
        units: length of a step; a multiple of ``num_heads``.
        num_heads: number of heads.
        memory: length of a step of what is looked at; ``units`` where 0.
    """

    name: str
    units: int
    num_heads: int
    memory: int = 0

    @property
    def _layers(self) -> tuple[Dense, Dense, Dense]:
        return (
            Dense(f"{self.name}/query", self.units, self.units),
            Dense(f"{self.name}/key_value", self.memory or self.units, 2 * self.units),
            Dense(f"{self.name}/output", self.units, self.units),
        )

    def params(self) -> dict[str, Param]:
        """Return kernels and biases of queries, of keys and values side by side, and outputs."""
        specs = {name: p for layer in self._layers for name, p in layer.params().items()}
        read = self.memory or self.units
        both = Param((read, 2 * self.units), "kernel", read, self.units)
        return {**specs, f"{self.name}/key_value/kernel": both}

    def read(self, params: Params, memory: Array) -> tuple[Array, Array]:
        """Return keys and values [B, H, S, d] of what is looked at, [B, S, memory]."""
        both = self._layers[1].apply(params, memory)
        key, value = jnp.split(both, 2, axis=-1)
        return split_heads(key, self.num_heads), split_heads(value, self.num_heads)

    def _query(self, params: Params, x: Array) -> Array:
        return split_heads(self._layers[0].apply(params, x), self.num_heads)

    def apply(self, params: Params, x: Array, keys: tuple[Array, Array], mask: Array) -> Array:
        """Return what each step gathers, [B, T, units].

        Args:
            params: parameters by name.
            x: steps [B, T, units].
            keys: from ``read``.
            mask: which steps of the memory count, bool [B, S].
        """
        gathered = attend(self._query(params, x), *keys, mask[:, None, None, :])
        return self._layers[2].apply(params, join_heads(gathered))

    def weights(self, params: Params, x: Array, keys: tuple[Array, Array], mask: Array) -> Array:
        """Return where from each step gathers, [B, H, T, S]; arguments as for ``apply``."""
        return attention_weights(self._query(params, x), keys[0], mask[:, None, None, :])

    def flops(self, num_steps: int, num_read: int) -> float:
        """Return the multiplications and additions of one row."""
        dense = 4.0 * num_steps * self.units**2 + 4.0 * num_read * self.units**2
        return dense + 4.0 * num_steps * num_read * self.units


@dataclass(frozen=True)
class DecoderBlock:
    """x + self-attention(norm(x)), + cross-attention(norm(x)), + MLP(norm(x)), with dropout.

    Normalised before each part, as ``EncoderBlock`` is.

    Args:
        name: prefix of the parameters.
        units: length of a step.
        num_heads: heads of both attentions.
        expansion: width of the MLP's hidden layer in units.
    """

    name: str
    units: int
    num_heads: int
    expansion: int = 4

    @property
    def _own(self) -> MultiHeadAttention:
        return MultiHeadAttention(f"{self.name}/attention", self.units, self.num_heads)

    @property
    def _own_layers(self) -> tuple[Dense, Dense]:
        name = self._own.name
        return (
            Dense(f"{name}/qkv", self.units, 3 * self.units),
            Dense(f"{name}/output", self.units, self.units),
        )

    @property
    def cross(self) -> CrossAttention:
        """The attention to what was read."""
        return CrossAttention(f"{self.name}/cross", self.units, self.num_heads)

    @property
    def _mlp(self) -> tuple[Dense, Dense]:
        wide = self.expansion * self.units
        return (
            Dense(f"{self.name}/wide", self.units, wide),
            Dense(f"{self.name}/narrow", wide, self.units),
        )

    @property
    def _norms(self) -> tuple[LayerNorm, ...]:
        return tuple(LayerNorm(f"{self.name}/norm_{i}", self.units) for i in range(3))

    def params(self) -> dict[str, Param]:
        """Return the parameters of the three parts and their normalisations."""
        specs = {**self._own.params(), **self.cross.params()}
        for layer in self._mlp:
            specs |= layer.params()
        for norm in self._norms:
            specs |= norm.params()
        return specs

    def apply(
        self,
        params: Params,
        x: Array,
        keys: tuple[Array, Array],
        mask: Array,
        context: Context,
        salt: int,
    ) -> Array:
        """Return all steps after the block, [B, T, units].

        Args:
            params: parameters by name.
            x: steps [B, T, units]; none sees a later one.
            keys: of what was read, from ``cross.read``.
            mask: which steps of it count, bool [B, S].
            context: of the pass.
            salt: number of the block's first dropout.
        """
        x = self._before(params, x, context, salt)
        return self._after(params, x, keys, mask, context, salt)

    def look(self, params: Params, x: Array, keys: tuple[Array, Array], mask: Array) -> Array:
        """Return where each step looks in what was read, [B, H, T, S]."""
        x = self._before(params, x, Context(), 0)
        return self.cross.weights(params, self._norms[1].apply(params, x), keys, mask)

    def _before(self, params: Params, x: Array, context: Context, salt: int) -> Array:
        """Return the steps after the attention to those before."""
        found = self._own.apply(params, self._norms[0].apply(params, x), causal=True)
        return x + dropout(found, context, salt)

    def _after(
        self,
        params: Params,
        x: Array,
        keys: tuple[Array, Array],
        mask: Array,
        context: Context,
        salt: int,
    ) -> Array:
        """Do what follows the attention to the steps before."""
        found = self.cross.apply(params, self._norms[1].apply(params, x), keys, mask)
        x = x + dropout(found, context, salt + 1)
        wide, narrow = self._mlp
        hidden = jax.nn.gelu(wide.apply(params, self._norms[2].apply(params, x)))
        return x + dropout(narrow.apply(params, hidden), context, salt + 2)

    def empty(self, num_rows: int, num_beams: int, num_steps: int) -> tuple[Array, Array]:
        """Return room for the keys and values of what will be written, [B, H, K, T, d] each."""
        shape = (num_rows, self.num_heads, num_beams, num_steps, self.units // self.num_heads)
        return jnp.zeros(shape), jnp.zeros(shape)

    def step(
        self,
        params: Params,
        x: Array,
        kept: tuple[Array, Array],
        keys: tuple[Array, Array],
        mask: Array,
        past: Array,
        t: Array,
    ) -> tuple[Array, tuple[Array, Array]]:
        """Return the step that each version writes now, after the block, and what is kept.

        Args:
            params: parameters by name.
            x: one step of each version, [B, K, units].
            kept: keys and values of the steps before, see ``empty``.
            keys: of what was read.
            mask: which steps of it count, bool [B, S].
            past: which slots each version may look at, bool [B, K, K · T], this step's included.
            t: number of the step.
        """
        num_rows = x.shape[0]
        inner, outer = self._own_layers
        both = inner.apply(params, self._norms[0].apply(params, x))
        query, key, value = (split_heads(p, self.num_heads) for p in jnp.split(both, 3, -1))
        new_key, new_value = (
            jax.lax.dynamic_update_slice_in_dim(old, new[:, :, :, None], t, axis=3)
            for old, new in zip(kept, (key, value), strict=True)
        )
        slots = (num_rows, self.num_heads, -1, self.units // self.num_heads)
        weights = attention_weights(query, new_key.reshape(slots), past[:, None])
        gathered = join_heads(weights @ new_value.reshape(slots))
        x = x + outer.apply(params, gathered)
        x = self._after(params, x, keys, mask, Context(), 0)
        return x, (new_key, new_value)

    def flops(self, num_steps: int, num_read: int) -> float:
        """Return the multiplications and additions of one row."""
        mlp = 4.0 * num_steps * self.expansion * self.units**2
        return self._own.flops(num_steps) + self.cross.flops(num_steps, num_read) + mlp
