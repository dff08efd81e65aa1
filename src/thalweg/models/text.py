"""Networks for texts: bags of terms, convolution, and the sequence networks on token vectors.

A text comes as ``tokens`` [B, T] with its ``length`` [B], and as ``terms`` [B, M] with their
``term_weight``. Numbers and categories beside it enter where the text has become one vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array

from thalweg.errors import SpaceError
from thalweg.models.base import (
    InputShape,
    Lookup,
    Network,
    Stateless,
    activation_floats,
    shares_of,
)
from thalweg.models.mlp import HiddenLayers, embedding_width
from thalweg.models.sequence import Head, pooled
from thalweg.nn import noise
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import (
    ACTIVATIONS,
    RISING,
    Context,
    Dense,
    Embedding,
    Params,
    State,
    dropout,
    mixup,
    numeric_noise,
)
from thalweg.space import Structure

UNKNOWN = 1
"""The id that dropped tokens get."""

_SALT = 700


def _vocabulary(inputs: InputShape) -> tuple[int, int]:
    assert inputs.tokens is not None
    return inputs.tokens


def changed_tokens(tokens: Array, length: Array, context: Context) -> Array:
    """Return tokens [B, T] some of which are unknown, or exchanged with their neighbour.

    ``token_dropout`` is the share that becomes unknown, ``token_swap`` the share of places at which
    two neighbours change places. Sources: Iyyer et al., "Deep Unordered Composition Rivals
    Syntactic Methods", 2015, sec. 3.3 (dropout); Wei and Zou, "EDA", 2019 (swaps).
    """
    if not context.train or context.key is None or context.augment is None:
        return tokens
    place = jnp.arange(tokens.shape[1])
    if "token_swap" in context.augment:
        draw = noise.uniform(noise.fold(context.key, _SALT), tokens.shape)
        swap = (draw < context.augment["token_swap"]) & (place + 1 < length[:, None])
        before = jnp.pad(swap[:, :-1], ((0, 0), (1, 0)))
        # Of places in a row that were drawn, the first counts: none moves twice.
        swap = swap & ~before
        back = jnp.pad(swap[:, :-1], ((0, 0), (1, 0)))
        later = jnp.pad(tokens[:, 1:], ((0, 0), (0, 1)))
        earlier = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)))
        tokens = jnp.where(swap, later, jnp.where(back, earlier, tokens))
    if "token_dropout" in context.augment:
        draw = noise.uniform(noise.fold(context.key, _SALT + 1), tokens.shape)
        drop = (draw < context.augment["token_dropout"]) & (place < length[:, None])
        tokens = jnp.where(drop, UNKNOWN, tokens)
    return tokens


@dataclass(frozen=True)
class Beside:
    """The numbers and categories beside a text, as one vector.

    Args:
        inputs: what the network reads.
    """

    inputs: InputShape

    @cached_property
    def _embedding(self) -> Embedding | None:
        cards = self.inputs.cardinalities
        return Embedding("category", cards, tuple(map(embedding_width, cards))) if cards else None

    @property
    def units(self) -> int:
        """Length of the vector."""
        return self.inputs.numeric + (self._embedding.units if self._embedding else 0)

    def params(self) -> dict[str, Param]:
        """Return the tables of categories."""
        return self._embedding.params() if self._embedding else {}

    def lookups(self) -> dict[str, Lookup]:
        """Return the table of each category."""
        columns = range(len(self.inputs.cardinalities))
        return {f"category/{i}": Lookup("category", i) for i in columns}

    def join(
        self, params: Params, x: Array, fields: Mapping[str, Array], context: Context
    ) -> Array:
        """Return the text's vector [B, U] with what stands beside it, mixed where rows are."""
        parts = [x]
        if self.inputs.numeric:
            parts.append(numeric_noise(fields["numeric"], context))
        if self._embedding is not None:
            parts.append(self._embedding.apply(params, fields["category"]))
        return mixup(jnp.concatenate(parts, axis=-1) if len(parts) > 1 else x, context)


@dataclass(frozen=True)
class BagNetwork:
    """Σ_j w_j E[term_j] through ``depth`` − 1 hidden layers to the outputs.

    With no width it is a linear model on TF-IDF weights; else averaged embeddings. Sources: Joulin
    et al., "Bag of Tricks for Efficient Text Classification", 2017; Iyyer et al., 2015.

    Args:
        inputs: what the network reads.
        num_outputs: width of the output.
        widths: length of a term's vector, then units of the hidden layers; empty for a linear
            model.
        activation: nonlinearity.
        normalisation: ``"none"``, ``"batch"``, ``"layer"`` or ``"group"``.
    """

    inputs: InputShape
    num_outputs: int
    widths: tuple[int, ...]
    activation: str = "relu"
    normalisation: str = "none"

    @property
    def _table(self) -> Param:
        assert self.inputs.terms is not None
        size = self.inputs.terms[1]
        if self.widths:
            return Param((size, self.widths[0]), "embedding", size, self.widths[0])
        return Param((size, self.num_outputs), "kernel", size, self.num_outputs)

    @cached_property
    def cuts(self) -> tuple[dict[str, int], ...]:
        """Numbers of terms that the network is compiled for."""
        assert self.inputs.terms is not None
        return tuple(
            {"terms": size, "term_weight": size} for size in shares_of(self.inputs.terms[0])
        )

    def used(self, fields: Mapping[str, Array]) -> Array:
        """Return how many terms each row has, [B]."""
        return (fields["term_weight"] > 0).sum(1)

    def lookups(self) -> dict[str, Lookup]:
        """Return which tables the terms and the categories are looked up in."""
        return {"terms": Lookup("terms", None), **self._beside.lookups()}

    @cached_property
    def _beside(self) -> Beside:
        return Beside(self.inputs)

    @cached_property
    def _layers(self) -> HiddenLayers | None:
        if not self.widths:
            return None
        size = self.widths[0] + self._beside.units
        return HiddenLayers(
            size, self.widths[1:], self.num_outputs, self.activation, self.normalisation
        )

    @property
    def _direct(self) -> Dense:
        return Dense("output", self._beside.units, self.num_outputs)

    def params(self) -> dict[str, Param]:
        """Return the terms' table, those of categories, and the layers."""
        layers = self._direct if self._layers is None else self._layers
        return {"terms": self._table, **self._beside.params(), **layers.params()}

    def state(self) -> dict:
        """Return the running averages of batch normalisation."""
        return {} if self._layers is None else self._layers.state()

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, O]."""
        weights = fields["term_weight"]
        rate = (context.augment or {}).get("token_dropout")
        if context.train and context.key is not None and rate is not None:
            draw = noise.uniform(noise.fold(context.key, _SALT + 1), weights.shape)
            weights = jnp.where(draw >= rate, weights / (1.0 - rate), 0.0)
        vectors = params["terms"][fields["terms"]]
        bag = (weights[:, :, None] * vectors).sum(1)
        if self._layers is None:
            beside = self._beside.join(params, jnp.zeros_like(bag[:, :0]), fields, context)
            # A linear map of a mixture is the mixture of the maps.
            return mixup(bag, context) + self._direct.apply(params, beside), state
        x = dropout(self._beside.join(params, bag, fields, context), context, _SALT + 2)
        return self._layers.apply(params, state, x, context)

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        assert self.inputs.terms is not None
        layers = 0.0 if self._layers is None else self._layers.flops()
        # Fetching a vector costs about as much as ten products with it.
        return 10.0 * self.inputs.terms[0] * self._table.shape[1] + layers

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        assert self.inputs.terms is not None
        layers = 0.0 if self._layers is None else self._layers.activation_floats()
        return 2.0 * self.inputs.terms[0] * self._table.shape[1] + layers


class Body(Protocol):
    """What turns token vectors into one vector a row."""

    @property
    def units(self) -> int:
        """Length of that vector."""
        ...

    def params(self) -> dict[str, Param]:
        """Return the parameters by name."""
        ...

    def apply(self, params: Params, x: Array, length: Array, context: Context) -> Array:
        """Map token vectors [B, T, E] of so many tokens [B] to vectors [B, units]."""
        ...

    def flops(self, num_tokens: int) -> float:
        """Return the multiplications and additions of one row."""
        ...

    def activation_floats(self, num_tokens: int) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        ...


@dataclass(frozen=True)
class Convolutions:
    """The largest response of each filter anywhere in the text, for filters of several widths.

    Each token stands side by side with its neighbours, as many as the widest filter sees, so that
    all filters are one product; narrower ones have zeros at the edges. Bias and, where it never
    falls, activation come after the largest response. Products of single taps, added up with their
    shifts, took two to three times as long. Source: Kim, "Convolutional Neural Networks for
    Sentence Classification", 2014.

    Args:
        channels: length of a token's vector.
        filters: filters of each width.
        sizes: the widths, in tokens.
        activation: nonlinearity.
    """

    channels: int
    filters: int
    sizes: tuple[int, ...]
    activation: str

    @property
    def units(self) -> int:
        """Length of what comes out."""
        return self.filters * len(self.sizes)

    def params(self) -> dict[str, Param]:
        """Return a kernel [E, size · F] and a bias [F] for each width."""
        specs: dict[str, Param] = {}
        for size in self.sizes:
            shape = (self.channels, size * self.filters)
            specs[f"conv_{size}/kernel"] = Param(
                shape, "kernel", self.channels * size, self.filters
            )
            specs[f"conv_{size}/bias"] = Param((self.filters,), "bias")
        return specs

    def apply(self, params: Params, x: Array, length: Array, context: Context) -> Array:
        """Map token vectors [B, T, E] to [B, units]."""
        del context
        num_rows, num_tokens, _ = x.shape
        shifts = self._shifts(max(self.sizes))
        seen = jnp.concatenate([_shifted(x, shift) for shift in shifts], axis=-1)
        y = seen.reshape(num_rows * num_tokens, -1) @ self._kernel(params)
        y = y.reshape(num_rows, num_tokens, self.units)
        bias = jnp.concatenate([params[f"conv_{size}/bias"] for size in self.sizes])
        counts = jnp.arange(num_tokens) < length[:, None]
        activate = ACTIVATIONS[self.activation]
        if self.activation in RISING:
            return activate(pooled(y, counts, "max") + bias)
        return pooled(activate(y + bias), counts, "max")

    @staticmethod
    def _shifts(size: int) -> range:
        """Return which tokens a filter sees at place t: t + each of these."""
        first = -((size - 1) // 2)
        return range(first, first + size)

    def _kernel(self, params: Params) -> Array:
        """Return all filters as one matrix, [widest · E, units]."""
        widest = self._shifts(max(self.sizes))
        parts = []
        for size in self.sizes:
            shifts = self._shifts(size)
            edges = (shifts[0] - widest[0], widest[-1] - shifts[-1])
            kernel = params[f"conv_{size}/kernel"].reshape(self.channels, size, self.filters)
            kernel = jnp.pad(kernel.transpose(1, 0, 2), (edges, (0, 0), (0, 0)))
            parts.append(kernel.reshape(-1, self.filters))
        return jnp.concatenate(parts, axis=1)

    def flops(self, num_tokens: int) -> float:
        """Return the multiplications and additions of one row."""
        return 2.0 * num_tokens * self.channels * self.units * max(self.sizes)

    def activation_floats(self, num_tokens: int) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        return float(num_tokens * (self.channels * max(self.sizes) + 2 * self.units))


def _shifted(x: Array, steps: int) -> Array:
    """Return x [B, T, C] with x[t + steps] at place t, zero beyond the ends."""
    if steps > 0:
        return jnp.pad(x[:, steps:], ((0, 0), (0, steps), (0, 0)))
    if steps < 0:
        return jnp.pad(x[:, :steps], ((0, 0), (-steps, 0), (0, 0)))
    return x


@dataclass(frozen=True)
class _NoHead(Head):
    """A head that hands its vector on."""

    def params(self) -> dict[str, Param]:
        return {}

    def apply(
        self, params: Params, x: Array, fields: Mapping[str, Array], context: Context
    ) -> Array:
        return x

    def flops(self) -> float:
        return 0.0


@dataclass(frozen=True)
class SequenceBody:
    """A network for sequences up to the vector that its head would read.

    Args:
        network: the network, whose head hands its vector on.
        units: length of that vector.
    """

    network: Network
    units: int

    def params(self) -> dict[str, Param]:
        """Return the network's parameters."""
        return self.network.params()

    def apply(self, params: Params, x: Array, length: Array, context: Context) -> Array:
        """Map token vectors [B, T, E] to [B, units]."""
        return self.network.apply(params, {}, {"sequence": x, "length": length}, context)[0]

    def flops(self, num_tokens: int) -> float:
        """Return the multiplications and additions of one row of the window's length."""
        del num_tokens
        return self.network.flops()

    def activation_floats(self, num_tokens: int) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        del num_tokens
        return activation_floats(self.network)


@dataclass(frozen=True)
class ReadingNetwork(Stateless):
    """Token vectors → body → [windows pooled] → head, with what stands beside the text.

    A text longer than a window is read window by window, and the windows' vectors are averaged.

    Args:
        inputs: what the network reads.
        num_outputs: width of the output.
        size: length of a token's vector.
        body: from token vectors to one vector.
        window: tokens of a window; 0 for the whole text.
        hidden: units of a dense layer before the output; 0 for none.
        activation: its nonlinearity.
    """

    inputs: InputShape
    num_outputs: int
    size: int
    body: Body
    window: int
    hidden: int
    activation: str

    @cached_property
    def cuts(self) -> tuple[dict[str, int], ...]:
        """Numbers of tokens that the network is compiled for."""
        return tuple({"tokens": size} for size in shares_of(_vocabulary(self.inputs)[0]))

    def used(self, fields: Mapping[str, Array]) -> Array:
        """Return how many tokens each row has, [B]."""
        return fields["length"]

    def lookups(self) -> dict[str, Lookup]:
        """Return which tables the tokens and the categories are looked up in."""
        return {"tokens/0": Lookup("tokens", None), **self._beside.lookups()}

    @cached_property
    def _table(self) -> Embedding:
        return Embedding("tokens", (_vocabulary(self.inputs)[1],), (self.size,))

    @cached_property
    def _beside(self) -> Beside:
        return Beside(self.inputs)

    @cached_property
    def _layers(self) -> HiddenLayers:
        hidden = (self.hidden,) if self.hidden else ()
        size = self.body.units + self._beside.units
        return HiddenLayers(
            size, hidden, self.num_outputs, self.activation, "none", salt=_SALT + 10
        )

    def params(self) -> dict[str, Param]:
        """Return the tables, the body's parameters and the last layers'."""
        tables = {**self._table.params(), **self._beside.params()}
        return {**tables, **self.body.params(), **self._layers.params()}

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, O]."""
        length = fields["length"]
        tokens = changed_tokens(fields["tokens"], length, context)
        num_rows, num_tokens = tokens.shape
        windows = -(-num_tokens // self.window) if self.window else 1
        inside = replace(context, mix=None, input_noise=None)
        if windows > 1:
            tokens = jnp.pad(tokens, ((0, 0), (0, windows * self.window - num_tokens)))
            tokens = tokens.reshape(num_rows * windows, self.window)
            first = jnp.arange(windows) * self.window
            sizes = jnp.clip(length[:, None] - first, 0, self.window)
            # What is beyond the end is read as one token, and left out of the mean.
            vectors = self._vectors(params, tokens, jnp.maximum(sizes, 1).reshape(-1), inside)
            x = pooled(vectors.reshape(num_rows, windows, -1), sizes > 0, "mean")
        else:
            x = self._vectors(params, tokens, length, inside)
        x = self._beside.join(params, x, fields, context)
        return self._layers.apply(params, state, dropout(x, context, _SALT + 4), context)

    def _vectors(self, params: Params, tokens: Array, length: Array, context: Context) -> Array:
        table = params["tokens/0"]
        x = table[tokens]
        counts = jnp.arange(tokens.shape[1]) < length[:, None]
        x = dropout(x * counts[:, :, None].astype(x.dtype), context, _SALT + 3)
        return self.body.apply(params, x, length, context)

    def _reads(self) -> tuple[int, int]:
        """Return the windows of a text and the tokens of a window."""
        num_tokens = _vocabulary(self.inputs)[0]
        if not self.window or self.window >= num_tokens:
            return 1, num_tokens
        return -(-num_tokens // self.window), self.window

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        windows, size = self._reads()
        return windows * (self.body.flops(size) + 10.0 * size * self.size) + self._layers.flops()

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        windows, size = self._reads()
        return windows * (self.body.activation_floats(size) + 2.0 * size * self.size)


def build_bag(structure: Structure, inputs: InputShape, num_outputs: int) -> BagNetwork:
    """Return the linear model or the averaged embeddings of a structure."""
    return BagNetwork(
        inputs, num_outputs, structure.widths, structure.activation, structure.normalisation
    )


def build_reader(
    structure: Structure,
    inputs: InputShape,
    num_outputs: int,
    of_sequences: Callable[[Structure, InputShape, int], Any] | None = None,
) -> ReadingNetwork:
    """Return the network of a structure that reads tokens in their order.

    Args:
        structure: family, widths and so on.
        inputs: what the network reads.
        num_outputs: width of the output head.
        of_sequences: builds the family's network for sequences, which reads token vectors here;
            None for the convolutions of ``textcnn``.

    Raises:
        SpaceError: where the data holds no texts.
    """
    if inputs.tokens is None:
        raise SpaceError(
            f"the family {structure.model} reads texts; this data has none: choose another model"
        )
    num_tokens, size = inputs.tokens[0], structure.get("embedding_size")
    window = structure.get("window")
    if of_sequences is None:
        # The largest response is the same with windows and without.
        window = 0
        first = structure.get("kernel_size")
        body: Body = Convolutions(
            size,
            structure.widths[0] if structure.widths else 64,
            (first, first + 1, first + 2),
            structure.activation,
        )
    else:
        steps = min(window or num_tokens, num_tokens)
        own = InputShape(sequence=(steps, size), masked=True)
        network = of_sequences(structure, own, num_outputs)
        units = network.head.units
        network = replace(network, head=_NoHead(own, units, units))
        body = SequenceBody(network, units)
    return ReadingNetwork(
        inputs,
        num_outputs,
        size,
        body,
        window,
        structure.get("head_width"),
        structure.activation,
    )
