"""Multi-layer perceptron with embeddings for categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.models.base import InputShape, Lookup, flat_inputs, flat_size
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import (
    ACTIVATIONS,
    Context,
    Dense,
    Embedding,
    Params,
    State,
    dropout,
    mixup,
    numeric_noise,
)
from thalweg.nn.normalisation import BatchNorm, Norm, norm_of, normalise
from thalweg.space import Structure


def embedding_width(cardinality: int) -> int:
    """Return the usual width of a category's vectors: min(50, (cardinality + 1) // 2).

    Source: Howard and Gugger, "fastai: A Layered API for Deep Learning", 2020 (rule of thumb of
    its first version).
    """
    return min(50, (cardinality + 1) // 2)


@dataclass(frozen=True)
class HiddenLayers:
    """[dense → normalisation → activation → dropout] × depth → dense.

    Args:
        inputs: length of a row.
        widths: units of each hidden layer.
        outputs: length of the last layer's image.
        activation: nonlinearity of the hidden layers.
        normalisation: ``"none"``, ``"batch"``, ``"layer"`` or ``"group"``.
        residual: whether a hidden layer whose input has its own width adds that input to its
            output.
        prefix: stands before the names of the parameters.
        salt: number of the first layer's dropout noise.
    """

    inputs: int
    widths: tuple[int, ...]
    outputs: int
    activation: str
    normalisation: str
    residual: bool = False
    prefix: str = ""
    salt: int = 0

    @cached_property
    def _hidden(self) -> tuple[tuple[Dense, Norm | None], ...]:
        layers = []
        size = self.inputs
        for i, width in enumerate(self.widths):
            norm = norm_of(self.normalisation, f"{self.prefix}norm_{i}", width)
            # Batch normalisation takes the mean out again: the gradient of a bias before it is
            # rounding noise, which adaptive rules blow up to full steps.
            bias = not isinstance(norm, BatchNorm)
            layers.append((Dense(f"{self.prefix}hidden_{i}", size, width, bias), norm))
            size = width
        return tuple(layers)

    @cached_property
    def _output(self) -> Dense:
        size = self.widths[-1] if self.widths else self.inputs
        return Dense(f"{self.prefix}output", size, self.outputs)

    def params(self) -> dict[str, Param]:
        """Return the parameters of every layer."""
        specs: dict[str, Param] = {}
        for dense, norm in self._hidden:
            specs |= dense.params()
            if norm is not None:
                specs |= norm.params()
        return {**specs, **self._output.params()}

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of batch normalisation."""
        states: dict[str, np.ndarray] = {}
        for _, norm in self._hidden:
            if isinstance(norm, BatchNorm):
                states |= norm.state()
        return states

    def apply(
        self, params: Params, state: State, x: Array, context: Context
    ) -> tuple[Array, State]:
        """Map [B, inputs] to [B, outputs]; return it and the new running averages."""
        activate = ACTIVATIONS[self.activation]
        for i, (dense, norm) in enumerate(self._hidden):
            h, state = normalise(norm, params, state, dense.apply(params, x), context)
            h = dropout(activate(h), context, self.salt + i)
            x = x + h if self.residual and x.shape == h.shape else h
        return self._output.apply(params, x), state

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        layers = [dense for dense, _ in self._hidden] + [self._output]
        return 2.0 * sum(layer.inputs * layer.units for layer in layers)

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        return float(self.inputs + 3 * sum(self.widths) + self.outputs)


def category_lookups(inputs: InputShape) -> dict[str, Lookup]:
    """Return what is looked up in the tables of an ``Embedding`` called ``embedding``."""
    return {f"embedding/{i}": Lookup("category", i) for i in range(len(inputs.cardinalities))}


@dataclass(frozen=True)
class MLP:
    """A row's numbers and the vectors of its categories, through hidden layers to the outputs."""

    inputs: InputShape
    num_outputs: int
    widths: tuple[int, ...]
    activation: str
    normalisation: str
    residual: bool

    @cached_property
    def _embedding(self) -> Embedding | None:
        cards = self.inputs.cardinalities
        if not cards:
            return None
        return Embedding("embedding", cards, tuple(map(embedding_width, cards)))

    @cached_property
    def _layers(self) -> HiddenLayers:
        size = flat_size(self.inputs) + (self._embedding.units if self._embedding else 0)
        return HiddenLayers(
            size, self.widths, self.num_outputs, self.activation, self.normalisation, self.residual
        )

    def params(self) -> dict[str, Param]:
        """Return the parameters of every layer."""
        embedding = self._embedding.params() if self._embedding else {}
        return {**embedding, **self._layers.params()}

    def lookups(self) -> dict[str, Lookup]:
        """Return the tables of the categories."""
        return category_lookups(self.inputs)

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of batch normalisation."""
        return self._layers.state()

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, O] and the new running averages."""
        x = numeric_noise(flat_inputs(self.inputs, fields), context)
        if self._embedding is not None:
            x = jnp.concatenate([x, self._embedding.apply(params, fields["category"])], axis=-1)
        return self._layers.apply(params, state, mixup(x, context), context)

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        return self._layers.flops()


def build(structure: Structure, inputs: InputShape, num_outputs: int) -> MLP:
    """Return the perceptron of a structure."""
    return MLP(
        inputs=inputs,
        num_outputs=num_outputs,
        widths=structure.widths,
        activation=structure.activation,
        normalisation=structure.normalisation,
        residual=structure.residual,
    )
