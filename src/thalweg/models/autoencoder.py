"""Networks that squeeze a row into a few numbers and make it again: plain and variational.

Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014; the weight β of the divergence:
Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework",
2017; deviations that are learnt: Rybkin, Daniilidis and Levine, "Simple and Effective VAE Training
with Calibrated Decoders", 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.models.base import InputShape, flat_inputs, flat_size
from thalweg.models.mlp import HiddenLayers, embedding_width
from thalweg.nn import noise
from thalweg.nn.augment import augment
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import Context, Embedding, Params, State, numeric_noise
from thalweg.space import Structure

NUM_TERMS = 3
"""What stands before the code in a row's outputs: see ``Autoencoder.apply``."""

LEAST_SCALE = 0.1
"""Least deviation of a reconstruction: a column that is known exactly has no finite likelihood."""

_SALT, _FIXED = 40_013, 0x5EED


@dataclass(frozen=True)
class Autoencoder:
    """row → hidden layers → code z → hidden layers → row.

    ``p(x | z)`` is normal with mean r(z) and a deviation learnt for each column (one for all pixels
    of an image); a category has the probabilities softmax(r(z)). A variational network draws z from
    ``q(z | x) = N(μ(x), σ²(x))`` in training; its prior is N(0, 1).

    Args:
        inputs: what the network reads and makes.
        latent: length of the code Z.
        widths: units of the encoder's hidden layers; the decoder has them in reverse.
        activation: their nonlinearity.
        normalisation: their normalisation.
        variational: whether the code is a distribution.
    """

    inputs: InputShape
    latent: int
    widths: tuple[int, ...]
    activation: str
    normalisation: str
    variational: bool

    @cached_property
    def num_numbers(self) -> int:
        """Columns of numbers and pixels D."""
        return flat_size(self.inputs)

    @cached_property
    def _embedding(self) -> Embedding | None:
        cards = self.inputs.cardinalities
        return Embedding("embedding", cards, tuple(map(embedding_width, cards))) if cards else None

    @cached_property
    def _encoder(self) -> HiddenLayers:
        size = self.num_numbers + (self._embedding.units if self._embedding else 0)
        codes = 2 * self.latent if self.variational else self.latent
        kind = (self.activation, self.normalisation)
        return HiddenLayers(size, self.widths, codes, *kind, prefix="encoder_", salt=700)

    @cached_property
    def _decoder(self) -> HiddenLayers:
        size = self.num_numbers + sum(self.inputs.cardinalities)
        kind = (self.activation, self.normalisation)
        return HiddenLayers(
            self.latent, self.widths[::-1], size, *kind, prefix="decoder_", salt=720
        )

    @property
    def _num_scales(self) -> int:
        return 1 if self.inputs.image is not None else self.num_numbers

    def params(self) -> dict[str, Param]:
        """Return the parameters of both halves, and the logarithm of the deviations."""
        embedding = self._embedding.params() if self._embedding else {}
        scale = {"log_scale": Param((self._num_scales,), "bias")} if self.num_numbers else {}
        return {**embedding, **self._encoder.params(), **self._decoder.params(), **scale}

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of batch normalisation."""
        return {**self._encoder.state(), **self._decoder.state()}

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return what each row's code and reconstruction are worth, them, and the new averages.

        Returns:
            [B, 3 + Z + D + C]: ``−log p(x | z)``, ``KL(q(z | x) ‖ N(0, 1))`` (0 where the code is
            no distribution), the mean squared error of the numbers in their deviations (of
            categories, the probability of the others); the code μ(x); what is decoded: numbers, and
            a logit for each code of each category.
        """
        if self.inputs.image is not None:
            # Images are made as they were changed, not as they were before.
            changed = augment(self._standardised(fields), context)
            x = changed.reshape(changed.shape[0], -1)
        else:
            x = flat_inputs(self.inputs, fields)
        seen = numeric_noise(x, context)
        if self._embedding is not None:
            vectors = self._embedding.apply(params, fields["category"])
            seen = jnp.concatenate([seen, vectors], axis=-1)
        code, state = self._encoder.apply(params, state, seen, context)
        mean, divergence, drawn = code, jnp.zeros(code.shape[0], code.dtype), code
        if self.variational:
            mean, spread = jnp.split(code, 2, axis=-1)
            spread = jnp.clip(spread, -10.0, 10.0)
            divergence = 0.5 * (jnp.square(mean) + jnp.exp(spread) - 1.0 - spread).sum(-1)
            # Outside training the same draws every time: what is estimated stays put.
            key = jnp.uint32(_FIXED) if context.key is None else context.key
            unit = noise.normal(noise.fold(key, _SALT), mean.shape)
            drawn = mean + jnp.exp(0.5 * spread) * unit
        decoded, after = self._decoder.apply(params, state, drawn, context)
        unlikely = self._unlikely(params, x, fields, decoded)
        if self.variational and not context.train:
            decoded, _ = self._decoder.apply(params, state, mean, context)
        error = self._error(x, fields, decoded)
        terms = jnp.stack([unlikely, divergence, error], axis=-1)
        return jnp.concatenate([terms, mean, decoded], axis=-1), after

    def decode(self, params: Params, state: State, code: Array) -> Array:
        """Return what codes [B, Z] are decoded to, [B, D + C]."""
        return self._decoder.apply(params, state, code, Context())[0]

    def _standardised(self, fields: Mapping[str, Array]) -> Array:
        assert self.inputs.image is not None
        flat = flat_inputs(self.inputs, fields)
        return flat.reshape(flat.shape[0], *self.inputs.image)

    def _choices(self, decoded: Array) -> list[Array]:
        """Return the logarithm of the probabilities of each category's codes, [B, C_i] each."""
        ends = np.cumsum([self.num_numbers, *self.inputs.cardinalities])
        return [jax.nn.log_softmax(decoded[:, start:end]) for start, end in pairwise(ends)]

    def _unlikely(
        self, params: Params, x: Array, fields: Mapping[str, Array], decoded: Array
    ) -> Array:
        """Return ``−log p(x | z)``, [B]."""
        total = jnp.zeros(x.shape[0], x.dtype)
        if self.num_numbers:
            log_scale = jnp.maximum(params["log_scale"], float(np.log(LEAST_SCALE)))
            residual = (x - decoded[:, : self.num_numbers]) * jnp.exp(-log_scale)
            constant = 0.5 * float(np.log(2.0 * np.pi))
            total = (0.5 * jnp.square(residual) + log_scale + constant).sum(-1)
        for i, log_p in enumerate(self._choices(decoded)):
            total = total - _picked(log_p, fields["category"][:, i])
        return total

    def _error(self, x: Array, fields: Mapping[str, Array], decoded: Array) -> Array:
        total = jnp.square(x - decoded[:, : self.num_numbers]).sum(-1)
        for i, log_p in enumerate(self._choices(decoded)):
            total = total + 1.0 - jnp.exp(_picked(log_p, fields["category"][:, i]))
        return total / (self.num_numbers + len(self.inputs.cardinalities))

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        return self._encoder.flops() + self._decoder.flops()

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        both = self._encoder.activation_floats() + self._decoder.activation_floats()
        return both + 4.0 * self.num_numbers


def _picked(log_p: Array, codes: Array) -> Array:
    return jnp.take_along_axis(log_p, codes[:, None].astype(jnp.int32), axis=-1)[:, 0]


def build(structure: Structure, inputs: InputShape, num_outputs: int) -> Autoencoder:
    """Return the network of a structure; ``num_outputs`` has no meaning here.

    ``embedding_size`` numbers are kept of a row.
    """
    del num_outputs
    return Autoencoder(
        inputs,
        int(structure.get("embedding_size")),
        structure.widths,
        structure.activation,
        structure.normalisation,
        structure.model == "vae",
    )
