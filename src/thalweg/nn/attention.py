"""Attention: every step of a sequence looks at every other."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.nn.initialisers import Param
from thalweg.nn.layers import Context, Dense, Params, dropout
from thalweg.nn.normalisation import LayerNorm
from thalweg.nn.softmax import softmax


@dataclass(frozen=True)
class MultiHeadAttention:
    """softmax(Q Kᵀ / √d) V in several heads, from [B, T, units] to [B, T, units].

    Source: Vaswani et al., "Attention Is All You Need", 2017, sec. 3.2.

    Args:
        name: prefix of the parameters.
        units: length of a step; a multiple of ``num_heads``.
        num_heads: number of heads.
    """

    name: str
    units: int
    num_heads: int

    @property
    def _projections(self) -> tuple[Dense, Dense]:
        inner = Dense(f"{self.name}/qkv", self.units, 3 * self.units)
        return inner, Dense(f"{self.name}/output", self.units, self.units)

    def params(self) -> dict[str, Param]:
        """Return kernels and biases: queries, keys and values side by side, and the output's."""
        inner, outer = self._projections
        kernel = Param((self.units, 3 * self.units), "kernel", self.units, self.units)
        return {**inner.params(), f"{self.name}/qkv/kernel": kernel, **outer.params()}

    def apply(
        self, params: Params, x: Array, mask: Array | None = None, *, causal: bool = False
    ) -> Array:
        """Return what each step gathers.

        Args:
            params: parameters by name.
            x: steps [B, T, units].
            mask: which steps may be looked at, bool [B, T], or None for all.
            causal: whether a step sees no later ones.
        """
        num_rows, num_steps, _ = x.shape
        inner, outer = self._projections
        size = self.units // self.num_heads
        both = inner.apply(params, x).reshape(num_rows, num_steps, 3, self.num_heads, size)
        query, key, value = (jnp.moveaxis(both[:, :, i], 2, 1) for i in range(3))
        scores = query @ jnp.swapaxes(key, -1, -2) * float(1.0 / np.sqrt(size))
        # A finite stand-in for minus infinity: rows without any step stay finite.
        if mask is not None:
            scores = jnp.where(mask[:, None, None, :], scores, -1e9)
        if causal:
            lower = jnp.tril(jnp.ones((num_steps, num_steps), bool))
            scores = jnp.where(lower, scores, -1e9)
        gathered = softmax(scores) @ value
        flat = jnp.moveaxis(gathered, 1, 2).reshape(num_rows, num_steps, self.units)
        return outer.apply(params, flat)

    def flops(self, num_steps: int) -> float:
        """Return the multiplications and additions of one row."""
        return 8.0 * num_steps * self.units**2 + 4.0 * num_steps**2 * self.units


def sinusoids(num_steps: int, units: int) -> np.ndarray:
    """Return fixed positions [T, units]: sines and cosines of wavelengths up to 10,000 steps.

    Source: Vaswani et al., 2017, sec. 3.5.
    """
    half = -(-units // 2)
    rate = 10_000.0 ** (-np.arange(half) / max(half, 1))
    angle = np.arange(num_steps)[:, None] * rate
    both = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(num_steps, -1)
    return both[:, :units].astype(np.float32)


@dataclass(frozen=True)
class EncoderBlock:
    """x + attention(norm(x)), then x + MLP(norm(x)), both with dropout.

    The normalisation stands before each part, which needs no warmup. Source: Xiong et al., "On
    Layer Normalization in the Transformer Architecture", 2020.

    Args:
        name: prefix of the parameters.
        units: length of a step.
        num_heads: heads of the attention.
        expansion: width of the MLP's hidden layer in units.
        causal: whether a step sees no later ones.
    """

    name: str
    units: int
    num_heads: int
    expansion: int = 4
    causal: bool = False

    @property
    def _attention(self) -> MultiHeadAttention:
        return MultiHeadAttention(f"{self.name}/attention", self.units, self.num_heads)

    @property
    def _mlp(self) -> tuple[Dense, Dense]:
        wide = self.expansion * self.units
        return (
            Dense(f"{self.name}/wide", self.units, wide),
            Dense(f"{self.name}/narrow", wide, self.units),
        )

    @property
    def _norms(self) -> tuple[LayerNorm, LayerNorm]:
        names = (f"{self.name}/norm_{i}" for i in range(2))
        first, second = (LayerNorm(name, self.units) for name in names)
        return first, second

    def params(self) -> dict[str, Param]:
        """Return the parameters of both parts and their normalisations."""
        specs = self._attention.params()
        for layer in self._mlp:
            specs |= layer.params()
        for norm in self._norms:
            specs |= norm.params()
        return specs

    def apply(
        self, params: Params, x: Array, mask: Array | None, context: Context, salt: int
    ) -> Array:
        """Return the steps after the block, [B, T, units]."""
        first, second = self._norms
        gathered = self._attention.apply(params, first.apply(params, x), mask, causal=self.causal)
        x = x + dropout(gathered, context, salt)
        wide, narrow = self._mlp
        hidden = jax.nn.gelu(wide.apply(params, second.apply(params, x)))
        return x + dropout(narrow.apply(params, hidden), context, salt + 1)

    def flops(self, num_steps: int) -> float:
        """Return the multiplications and additions of one row."""
        mlp = 4.0 * num_steps * self.expansion * self.units**2
        return self._attention.flops(num_steps) + mlp
