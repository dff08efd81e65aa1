"""Recurrence over time: simple RNN, LSTM and GRU, with torch's gates and biases.

The inputs' share of all gates is one product before the loop over time, and the gradient of the
recurrent weights is one product after it: inside the loop remain one small product and what is done
entry by entry. JAX's own gradient of a scan adds up the weights' gradient step by step, which costs
a second product and a pass over the weights at each. A sigmoid is computed by tanh, which XLA's CPU
compiler has as vector code: an LSTM's forward pass takes half the time.

Gates stand side by side along the last axis, in torch's order: LSTM i, f, g, o; GRU r, z, n.
Sources: Elman, "Finding Structure in Time", 1990; Hochreiter and Schmidhuber, "Long Short-Term
Memory", 1997, with the forget gate of Gers et al., 2000; Cho et al., "Learning Phrase
Representations using RNN Encoder-Decoder", 2014, in the form of cuDNN (the reset gate acts after
the product).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import add_bias, barrier, matmul, sum_rows, transposed_product
from thalweg.nn.layers import Context, Params, dropout

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
"""Gates of each kind of cell."""

FORGET_BIAS = 1.0
"""Added to the forget gate: a new cell keeps what it has. Source: Jozefowicz et al., 2015."""


class _Cell(NamedTuple):
    """One step forwards and backwards.

    ``forward(inputs [B, G·U], recurrent [B, G·U], h, c) -> (h, c, kept)`` and ``backward(kept, dh,
    dc) -> (d_inputs, d_recurrent, dh_before, dc_before)``, where ``dh_before`` leaves out what
    comes through the recurrent product. Cells without a second state carry an empty one. What is
    kept is what the backward pass multiplies with, each factor in an array of its own: reading
    several gates from one array at every step, the compiler makes no vector code (4 instead of 1 µs
    for a gate of 32 × 64).
    """

    forward: Any
    backward: Any


def _rnn_forward(inputs: Array, recurrent: Array, h: Array, c: Array) -> Any:
    new = jnp.tanh(inputs + recurrent)
    return new, c, (new,)


def _rnn_backward(kept: Any, dh: Array, dc: Array) -> Any:
    d = dh * (1.0 - jnp.square(kept[0]))
    return d, d, jnp.zeros_like(dh), dc


def _sigmoid(x: Array) -> Array:
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def _lstm_forward(inputs: Array, recurrent: Array, h: Array, c: Array) -> Any:
    units = h.shape[-1]
    # All four at once: sigmoid(x) = tanh(x / 2) / 2 + 1/2 for i, f and o, tanh for g.
    scale = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), units)
    shift = np.repeat(np.array([0.5, 0.5, 0.0, 0.5], np.float32), units)
    gates = jnp.tanh((inputs + recurrent) * scale) * scale + shift
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    cell = f * c + i * g
    squashed = jnp.tanh(cell)
    kept = (
        g * i * (1.0 - i),
        c * f * (1.0 - f),
        i * (1.0 - jnp.square(g)),
        squashed * o * (1.0 - o),
        f,
        o * (1.0 - jnp.square(squashed)),
    )
    return o * squashed, cell, kept


def _lstm_backward(kept: Any, dh: Array, dc: Array) -> Any:
    by_i, by_f, by_g, by_o, f, through = kept
    dc = dc + dh * through
    d = jnp.concatenate([dc * by_i, dc * by_f, dc * by_g, dh * by_o], axis=-1)
    return d, d, jnp.zeros_like(dh), dc * f


def _gru_forward(inputs: Array, recurrent: Array, h: Array, c: Array) -> Any:
    xr, xz, xn = jnp.split(inputs, 3, axis=-1)
    hr, hz, hn = jnp.split(recurrent, 3, axis=-1)
    r, z = _sigmoid(xr + hr), _sigmoid(xz + hz)
    n = jnp.tanh(xn + r * hn)
    kept = (
        (1.0 - z) * (1.0 - jnp.square(n)),
        (h - n) * z * (1.0 - z),
        hn * r * (1.0 - r),
        r,
        z,
    )
    return n + z * (h - n), c, kept


def _gru_backward(kept: Any, dh: Array, dc: Array) -> Any:
    by_n, by_z, by_r, r, z = kept
    dn = dh * by_n
    dz, dr = dh * by_z, dn * by_r
    d_inputs = jnp.concatenate([dr, dz, dn], axis=-1)
    return d_inputs, jnp.concatenate([dr, dz, dn * r], axis=-1), dh * z, dc


_CELLS = {
    "rnn": _Cell(_rnn_forward, _rnn_backward),
    "lstm": _Cell(_lstm_forward, _lstm_backward),
    "gru": _Cell(_gru_forward, _gru_backward),
}


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(kind: str, inputs: Array, kernel: Array, bias: Array, keep: Array | None) -> Array:
    """Return the hidden states of all steps, [T, B, U], from an initial state of zeros.

    Args:
        kind: one of ``GATES``.
        inputs: the inputs' share of the gates, [T, B, G·U].
        kernel: recurrent weights, [U, G·U].
        bias: recurrent bias, [G·U].
        keep: 1 where a step counts and 0 where the state stays as it is, [T, B, 1], or None.
    """
    return _forward(kind, inputs, kernel, bias, keep)[0]


def _forward(kind: str, inputs: Array, kernel: Array, bias: Array, keep: Array | None) -> Any:
    cell = _CELLS[kind]
    start = jnp.zeros((inputs.shape[1], kernel.shape[0]), inputs.dtype)
    memory = start if kind == "lstm" else jnp.zeros((), inputs.dtype)

    inside = kind == "gru"
    inputs = inputs if inside else inputs + bias

    def step(carry: Any, now: Any) -> Any:
        h, c = carry
        x, m = now
        product = h @ kernel
        new_h, new_c, kept = cell.forward(x, product + bias if inside else product, h, c)
        if m is not None:
            new_h = h + m * (new_h - h)
            new_c = c + m * (new_c - c) if kind == "lstm" else new_c
        return (new_h, new_c), (new_h, kept)

    _, (states, kept) = lax.scan(step, (start, memory), (inputs, keep))
    return states, (states, kept, kernel, keep)


def _backward(kind: str, saved: Any, d_states: Array) -> Any:
    states, kept, kernel, keep = saved
    cell = _CELLS[kind]
    zero = jnp.zeros_like(states[0])
    before = jnp.concatenate([zero[None], states[:-1]])
    memory = zero if kind == "lstm" else jnp.zeros((), states.dtype)

    # Turned over once, and not by the product of every step.
    turned = barrier(kernel.T)

    def step(carry: Any, now: Any) -> Any:
        dh, dc = carry
        d_state, kept, m = now
        dh = dh + d_state
        new_dh, new_dc = (dh, dc) if m is None else (m * dh, m * dc if kind == "lstm" else dc)
        d_inputs, d_recurrent, back_h, back_c = cell.backward(kept, new_dh, new_dc)
        # What is the same for both is recorded once.
        own = None if d_inputs is d_recurrent else d_inputs
        back_h = back_h + d_recurrent @ turned
        if m is not None:
            back_h = back_h + (1.0 - m) * dh
            back_c = back_c + (1.0 - m) * dc if kind == "lstm" else back_c
        return (back_h, back_c), (own, d_recurrent)

    _, (d_inputs, d_recurrent) = lax.scan(
        step, (zero, memory), (d_states, kept, keep), reverse=True
    )
    d_inputs = d_recurrent if d_inputs is None else d_inputs
    width = d_recurrent.shape[-1]
    flat = d_recurrent.reshape(-1, width)
    d_kernel = transposed_product(before.reshape(-1, before.shape[-1]), flat)
    return d_inputs, d_kernel, sum_rows(flat), None


recur.defvjp(_forward, _backward)


@dataclass(frozen=True)
class Recurrent:
    """One layer of cells over time, from [B, T, inputs] to [B, T, units].

    Args:
        name: prefix of the parameters.
        kind: ``"rnn"``, ``"lstm"`` or ``"gru"``.
        inputs: channels of a step.
        units: length of the hidden state.
        reverse: whether time runs backwards.
        memory: longest time in steps that gates keep what they have before training: the units'
            times are spread from 1 step to so many. 0: LSTM's forget gates start with a bias of 1,
            GRU's update gates with none. Source: Tallec and Ollivier, "Can recurrent neural
            networks warp time?", 2018, sec. 3.
    """

    name: str
    kind: str
    inputs: int
    units: int
    reverse: bool = False
    memory: int = 0

    def params(self) -> dict[str, Param]:
        """Return kernel [inputs, G·units], recurrent [units, G·units] and two biases [G·units]."""
        width = GATES[self.kind] * self.units
        specs = {
            f"{self.name}/kernel": Param((self.inputs, width), "kernel", self.inputs, self.units),
            f"{self.name}/recurrent": Param((self.units, width), "kernel", self.units, self.units),
            f"{self.name}/bias": Param((width,), "bias"),
        }
        if self.kind == "gru":
            # Only GRU's new state can tell the two biases apart.
            specs[f"{self.name}/recurrent_bias"] = Param((width,), "bias")
        return specs

    def apply(self, params: Params, x: Array, length: Array | None = None) -> Array:
        """Return the hidden states [B, T, units].

        Args:
            params: parameters by name.
            x: inputs [B, T, inputs].
            length: steps that count, from the start, [B]; after them the state stays as it is.
        """
        num_rows, num_steps, _ = x.shape
        kernel, bias = params[f"{self.name}/kernel"], params[f"{self.name}/bias"]
        bias = bias + self._start
        steps = jnp.swapaxes(x, 0, 1)
        flat = add_bias(matmul(steps.reshape(num_steps * num_rows, self.inputs), kernel), bias)
        gates = flat.reshape(num_steps, num_rows, -1)
        keep = None
        if length is not None:
            keep = (jnp.arange(num_steps)[:, None] < length[None, :]).astype(x.dtype)[..., None]
        if self.reverse:
            gates = gates[::-1]
            keep = None if keep is None else keep[::-1]
        recurrent_bias = params.get(f"{self.name}/recurrent_bias", jnp.zeros_like(bias))
        states: Any = recur(
            self.kind, gates, params[f"{self.name}/recurrent"], recurrent_bias, keep
        )
        return jnp.swapaxes(states[::-1] if self.reverse else states, 0, 1)

    def step(self, params: Params, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        """Return the states after one step, for what is written one step at a time.

        Args:
            params: parameters by name.
            x: inputs of the step [..., inputs].
            h: hidden states before it [..., units].
            c: LSTM's memory before it [..., units]; passed through by the other kinds.
        """
        inputs = x @ params[f"{self.name}/kernel"] + params[f"{self.name}/bias"] + self._start
        recurrent = h @ params[f"{self.name}/recurrent"]
        if self.kind == "gru":
            recurrent = recurrent + params[f"{self.name}/recurrent_bias"]
        h, c, _ = _CELLS[self.kind].forward(inputs, recurrent, h, c)
        return h, c

    @property
    def _start(self) -> np.ndarray:
        """What is added to the gates' biases, [G·units]."""
        start = np.zeros((GATES[self.kind], self.units), np.float32)
        if self.kind == "rnn":
            return start.reshape(-1)
        if self.memory > 1:
            times = np.log(np.linspace(1.0, self.memory - 1.0, self.units) + 1e-3)
            start[1] = times
            if self.kind == "lstm":
                start[0] = -times
        elif self.kind == "lstm":
            start[1] = FORGET_BIAS
        return start.reshape(-1)

    def flops(self, num_steps: int) -> float:
        """Return the multiplications and additions of one row."""
        return 2.0 * num_steps * GATES[self.kind] * self.units * (self.inputs + self.units)


@dataclass(frozen=True)
class RecurrentStack:
    """Layers of cells over each other, in one direction or both.

    Args:
        name: prefix of the parameters.
        kind: ``"rnn"``, ``"lstm"`` or ``"gru"``.
        inputs: channels of a step.
        widths: units of each layer.
        bidirectional: whether each layer also reads backwards; its output is then twice as wide.
        memory: of the cells; see ``Recurrent``.
    """

    name: str
    kind: str
    inputs: int
    widths: tuple[int, ...]
    bidirectional: bool = False
    memory: int = 0

    @property
    def units(self) -> int:
        """Length of a step's output."""
        return self.widths[-1] * (2 if self.bidirectional else 1)

    @property
    def layers(self) -> list[list[Recurrent]]:
        """The layers, each with its one or two directions."""
        made, size = [], self.inputs
        for i, width in enumerate(self.widths):
            both = [Recurrent(f"{self.name}_{i}", self.kind, size, width, memory=self.memory)]
            if self.bidirectional:
                both.append(replace(both[0], name=f"{self.name}_{i}_back", reverse=True))
            made.append(both)
            size = width * len(both)
        return made

    def params(self) -> dict[str, Param]:
        """Return the parameters of all layers."""
        return {n: p for both in self.layers for one in both for n, p in one.params().items()}

    def apply(
        self, params: Params, x: Array, length: Array | None, context: Context
    ) -> tuple[Array, Array]:
        """Return all steps [B, T, units] and each direction's final state, [B, units]."""
        last = x
        for i, both in enumerate(self.layers):
            outputs = [one.apply(params, x, length) for one in both]
            # Beyond its length a row's state stays: the final one is that of its last step.
            last = jnp.concatenate([outputs[0][:, -1], *(o[:, 0] for o in outputs[1:])], axis=-1)
            x = jnp.concatenate(outputs, axis=-1)
            if i < len(self.layers) - 1:
                x = dropout(x, context, 100 + i)
        return x, last

    def flops(self, num_steps: int) -> float:
        """Return the multiplications and additions of one row."""
        return sum(one.flops(num_steps) for both in self.layers for one in both)
