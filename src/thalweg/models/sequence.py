"""Networks for sequences: recurrent, convolutional, attention, and DLinear for forecasts.

All read the field ``sequence`` [B, T, V] and answer [B, O]. Forecasts have O = H · V' outputs, step
by step with all V' targets of a step together; the targets are the sequence's first channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.models.base import InputShape, Network, Stateless, activation_floats
from thalweg.nn.attention import EncoderBlock, sinusoids
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import (
    ACTIVATIONS,
    Context,
    Dense,
    Params,
    State,
    dropout,
    mixup,
    numeric_noise,
)
from thalweg.nn.recurrent import GATES, RecurrentStack
from thalweg.space import Structure


@dataclass(frozen=True)
class Head:
    """From what a sequence was boiled down to, and what is known besides, to the outputs.

    Args:
        inputs: what the network reads.
        units: length of the vector that stands for the sequence.
        num_outputs: width of the output.
        hidden: units of a dense layer before the output; 0 for none.
        activation: its nonlinearity.
    """

    inputs: InputShape
    units: int
    num_outputs: int
    hidden: int = 0
    activation: str = "relu"

    @cached_property
    def _layers(self) -> list[Dense]:
        size = self.units + _beside(self.inputs)
        if not self.hidden:
            return [Dense("output", size, self.num_outputs)]
        return [Dense("head", size, self.hidden), Dense("output", self.hidden, self.num_outputs)]

    def params(self) -> dict[str, Param]:
        """Return the parameters of the one or two layers."""
        return {name: p for layer in self._layers for name, p in layer.params().items()}

    def apply(
        self, params: Params, x: Array, fields: Mapping[str, Array], context: Context
    ) -> Array:
        """Map vectors [B, units] to outputs [B, O]."""
        parts = [x]
        if self.inputs.future is not None:
            parts.append(fields["future"].reshape(x.shape[0], -1))
        if self.inputs.numeric:
            parts.append(fields["numeric"])
        x = dropout(jnp.concatenate(parts, axis=-1), context, 900)
        *hidden, output = self._layers
        for layer in hidden:
            x = dropout(ACTIVATIONS[self.activation](layer.apply(params, x)), context, 901)
        return output.apply(params, x)

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        return 2.0 * sum(layer.inputs * layer.units for layer in self._layers)


def _beside(inputs: InputShape) -> int:
    future = int(np.prod(inputs.future)) if inputs.future is not None else 0
    return future + inputs.numeric


def _steps(inputs: InputShape) -> tuple[int, int]:
    assert inputs.sequence is not None
    return inputs.sequence


def _read(fields: Mapping[str, Array], context: Context) -> Array:
    return mixup(numeric_noise(fields["sequence"], context), context)


def _mask(inputs: InputShape, fields: Mapping[str, Array]) -> Array | None:
    """Return which steps count, bool [B, T]; None where all do."""
    if not inputs.masked:
        return None
    return jnp.arange(fields["sequence"].shape[1]) < fields["length"][:, None]


def pooled(x: Array, mask: Array | None, how: str) -> Array:
    """Return one vector for all steps [B, T, U]: the last, the mean or the largest of them."""
    if how == "last":
        if mask is None:
            return x[:, -1]
        last = jnp.maximum(mask.sum(1) - 1, 0)
        return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
    if how == "max":
        return (x if mask is None else jnp.where(mask[..., None], x, -jnp.inf)).max(1)
    if mask is None:
        return x.mean(1)
    return (x * mask[..., None]).sum(1) / jnp.maximum(mask.sum(1, keepdims=True), 1)


@dataclass(frozen=True)
class RecurrentNetwork(Stateless):
    """Stacked RNN, LSTM or GRU; the last state (or a mean or maximum of all) goes to the head."""

    inputs: InputShape
    head: Head
    stack: RecurrentStack
    last: str

    def params(self) -> dict[str, Param]:
        """Return the parameters of cells and head."""
        return {**self.stack.params(), **self.head.params()}

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, O]."""
        length = fields["length"] if self.inputs.masked else None
        x, last = self.stack.apply(params, _read(fields, context), length, context)
        if self.last != "last":
            last = pooled(x, _mask(self.inputs, fields), self.last)
        return self.head.apply(params, last, fields, context), state

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        return self.stack.flops(_steps(self.inputs)[0]) + self.head.flops()

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        per_step = sum(
            (GATES[one.kind] + 3) * one.units for both in self.stack.layers for one in both
        )
        return float(_steps(self.inputs)[0] * per_step)


@dataclass(frozen=True)
class ConvolutionNetwork(Stateless):
    """Causal convolutions whose dilation doubles, with skip connections.

    Source: Bai, Kolter and Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent
    Networks for Sequence Modeling", 2018 (without its weight normalisation).
    """

    inputs: InputShape
    head: Head
    widths: tuple[int, ...]
    kernel_size: int
    activation: str
    last: str

    @cached_property
    def _layers(self) -> list[tuple[Dense, Dense | None, int]]:
        """Taps side by side × matrix, what fits the skip connection's width, and dilation."""
        made, size = [], _steps(self.inputs)[1]
        for i, width in enumerate(self.widths):
            skip = Dense(f"skip_{i}", size, width, bias=False) if size != width else None
            made.append((Dense(f"conv_{i}", self.kernel_size * size, width), skip, 2**i))
            size = width
        return made

    def params(self) -> dict[str, Param]:
        """Return the parameters of convolutions and head."""
        specs: dict[str, Param] = {}
        for conv, skip, _ in self._layers:
            specs |= conv.params()
            specs |= skip.params() if skip is not None else {}
        return {**specs, **self.head.params()}

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, O]."""
        x = _read(fields, context)
        num_steps = x.shape[1]
        activate = ACTIVATIONS[self.activation]
        for i, (conv, skip, dilation) in enumerate(self._layers):
            reach = dilation * (self.kernel_size - 1)
            padded = jnp.pad(x, [(0, 0), (reach, 0), (0, 0)])
            taps = [
                padded[:, k * dilation : k * dilation + num_steps] for k in range(self.kernel_size)
            ]
            h = activate(conv.apply(params, jnp.concatenate(taps, axis=-1)))
            h = dropout(h, context, 200 + i)
            x = h + (x if skip is None else skip.apply(params, x))
        x = pooled(x, _mask(self.inputs, fields), self.last)
        return self.head.apply(params, x, fields, context), state

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        per_step = sum(
            conv.inputs * conv.units + (skip.inputs * skip.units if skip else 0)
            for conv, skip, _ in self._layers
        )
        return 2.0 * _steps(self.inputs)[0] * per_step + self.head.flops()

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        per_step = sum(conv.inputs + 2 * conv.units for conv, _, _ in self._layers)
        return float(_steps(self.inputs)[0] * per_step)


@dataclass(frozen=True)
class TransformerNetwork(Stateless):
    """A Transformer encoder over patches of steps.

    Source: Vaswani et al., 2017; patches: Nie et al., "A Time Series is Worth 64 Words", 2023.
    """

    inputs: InputShape
    head: Head
    units: int
    blocks: tuple[EncoderBlock, ...]
    patch: int
    last: str

    @property
    def _num_tokens(self) -> int:
        return -(-_steps(self.inputs)[0] // self.patch)

    @property
    def _embed(self) -> Dense:
        return Dense("embed", self.patch * _steps(self.inputs)[1], self.units)

    def params(self) -> dict[str, Param]:
        """Return the parameters of embedding, blocks, last normalisation and head."""
        specs = self._embed.params()
        for block in self.blocks:
            specs |= block.params()
        return {**specs, **self.head.params()}

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, O]."""
        x = _read(fields, context)
        num_rows, num_steps, channels = x.shape
        # Whole patches: zeros stand before the first step.
        num_tokens = -(-num_steps // self.patch)
        missing = num_tokens * self.patch - num_steps
        mask = _mask(self.inputs, fields)
        if mask is None:
            x = jnp.pad(x, [(0, 0), (missing, 0), (0, 0)])
        else:
            x = jnp.pad(x, [(0, 0), (0, missing), (0, 0)])
            mask = jnp.pad(mask, [(0, 0), (0, missing)])
            mask = mask.reshape(num_rows, num_tokens, self.patch).any(-1)
        tokens = x.reshape(num_rows, num_tokens, self.patch * channels)
        x = self._embed.apply(params, tokens) + sinusoids(num_tokens, self.units)
        for i, block in enumerate(self.blocks):
            x = block.apply(params, x, mask, context, 300 + 2 * i)
        if self.head.units > self.units:
            x = x.reshape(num_rows, -1)
        else:
            x = pooled(x, mask, self.last)
        return self.head.apply(params, x, fields, context), state

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        tokens = self._num_tokens
        embed = 2.0 * tokens * self._embed.inputs * self.units
        return embed + sum(b.flops(tokens) for b in self.blocks) + self.head.flops()

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        per_token = sum(
            (8 + 2 * b.expansion) * b.units + 2 * b.num_heads * self._num_tokens
            for b in self.blocks
        )
        return float(self._num_tokens * (per_token + 2 * self.units))


TREND_STEPS = 25


@dataclass(frozen=True)
class DLinear(Stateless):
    """Each target's past, as trend and remainder, by two linear maps that all targets share.

    ŷ_{h,v} = Σ_t A_{h,t}·trend_{t,v} + Σ_t B_{h,t}·(x − trend)_{t,v} + b_h
              + Σ_k W_{k,v}·future_{h,k}

    The trend is a moving average over 25 steps with the ends repeated; inputs known ahead enter
    linearly, step by step. Source: Zeng et al., "Are Transformers Effective for Time Series
    Forecasting?", 2023, sec. 4.
    """

    inputs: InputShape
    num_outputs: int

    @property
    def _horizon(self) -> int:
        return self.num_outputs // self.inputs.num_targets

    def params(self) -> dict[str, Param]:
        """Return the maps [T, H] of trend and remainder, a bias [H], and [K, V] of the future."""
        steps = _steps(self.inputs)[0]
        shape = (steps, self._horizon)
        specs = {
            "trend/kernel": Param(shape, "kernel", *shape),
            "remainder/kernel": Param(shape, "kernel", *shape),
            "remainder/bias": Param((self._horizon,), "bias"),
        }
        if self.inputs.future is not None:
            shape = (self.inputs.future[1], self.inputs.num_targets)
            specs["future/kernel"] = Param(shape, "kernel", *shape)
        return specs

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return forecasts [B, H·V]."""
        x = numeric_noise(fields["sequence"], context)[:, :, : self.inputs.num_targets]
        x = jnp.swapaxes(x, 1, 2)
        num_steps = x.shape[-1]
        width = min(TREND_STEPS, num_steps)
        # The moving average is a fixed matrix: one product instead of many shifted sums.
        trend = x @ _moving_average(num_steps, width)
        rest = x - trend
        y = trend @ params["trend/kernel"] + rest @ params["remainder/kernel"]
        y = jnp.swapaxes(y + params["remainder/bias"], 1, 2)
        if self.inputs.future is not None:
            y = y + fields["future"] @ params["future/kernel"]
        return mixup(y.reshape(x.shape[0], self.num_outputs), context), state

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        steps = _steps(self.inputs)[0]
        return 2.0 * self.inputs.num_targets * steps * (2 * self._horizon + steps)


def _moving_average(num_steps: int, width: int) -> np.ndarray:
    """Return the matrix [T, T] that averages over ``width`` steps, the ends repeated."""
    matrix = np.zeros((num_steps, num_steps), np.float32)
    for t in range(num_steps):
        for k in range(width):
            source = min(max(t + k - (width - 1) // 2, 0), num_steps - 1)
            matrix[source, t] += 1.0 / width
    return matrix


@dataclass(frozen=True)
class InstanceNormalised:
    """A forecaster that sees each window without its level, and gives the level back.

    ``"last"`` takes out the last step of each channel (NLinear: Zeng et al., 2023), ``"mean_std"``
    its mean and deviation over the window (Kim et al., "Reversible Instance Normalization", 2022,
    without its learnt scale).
    """

    network: Network
    inputs: InputShape
    how: str

    def params(self) -> dict[str, Param]:
        """Return the network's parameters."""
        return self.network.params()

    def state(self) -> dict[str, np.ndarray]:
        """Return the network's state."""
        return self.network.state()

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return forecasts [B, H·V] with the window's level in them."""
        x = fields["sequence"]
        if self.how == "last":
            level, spread = x[:, -1:], jnp.ones((), x.dtype)
        else:
            level = x.mean(1, keepdims=True)
            spread = jnp.sqrt(jnp.square(x - level).mean(1, keepdims=True) + 1e-5)
        unit = {**fields, "sequence": (x - level) / spread}
        outputs, state = self.network.apply(params, state, unit, context)
        num = self.inputs.num_targets
        steps = outputs.reshape(x.shape[0], -1, num)
        if self.how != "last":
            steps = steps * spread[:, :, :num]
        steps = steps + mixup(level[:, :, :num], context)
        return steps.reshape(outputs.shape), state

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        return self.network.flops()

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        return activation_floats(self.network)


def _head(structure: Structure, inputs: InputShape, num_outputs: int, units: int) -> Head:
    hidden = structure.get("head_width")
    return Head(inputs, units, num_outputs, hidden, structure.activation)


def build_recurrent(structure: Structure, inputs: InputShape, num_outputs: int) -> Network:
    """Return the recurrent network of a structure."""
    channels = _steps(inputs)[1]
    both = structure.get("bidirectional")
    kind, memory = structure.model, structure.get("memory_steps")
    stack = RecurrentStack(kind, kind, channels, structure.widths, both, memory)
    head = _head(structure, inputs, num_outputs, stack.units)
    return RecurrentNetwork(inputs, head, stack, structure.get("last"))


def build_convolution(structure: Structure, inputs: InputShape, num_outputs: int) -> Network:
    """Return the convolutional network of a structure."""
    head = _head(structure, inputs, num_outputs, structure.widths[-1])
    return ConvolutionNetwork(
        inputs,
        head,
        structure.widths,
        structure.get("kernel_size"),
        structure.activation,
        structure.get("last"),
    )


def build_transformer(structure: Structure, inputs: InputShape, num_outputs: int) -> Network:
    """Return the Transformer of a structure; its width is rounded up to whole heads."""
    heads = structure.get("num_heads")
    units = -(-(structure.widths[0] if structure.widths else 64) // heads) * heads
    blocks = tuple(EncoderBlock(f"block_{i}", units, heads) for i in range(structure.depth))
    patch = structure.get("patch")
    tokens = -(-_steps(inputs)[0] // patch)
    # A forecast reads all patches, as PatchTST does; a class is read off their pool.
    size = units * tokens if inputs.num_targets else units
    head = _head(structure, inputs, num_outputs, size)
    last = "mean" if structure.get("last") == "last" else structure.get("last")
    return TransformerNetwork(inputs, head, units, blocks, patch, last)


def build_dlinear(structure: Structure, inputs: InputShape, num_outputs: int) -> Network:
    """Return the linear forecaster."""
    del structure
    return DLinear(inputs, num_outputs)
