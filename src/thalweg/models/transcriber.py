"""Networks that say, for every few frames of a spectrogram, which character is spoken.

Frames are stacked in patches, a convolution looks around each, and recurrence in both directions,
attention, or more convolutions of growing reach carry what is heard along time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
from jax import Array

from thalweg.errors import SpaceError
from thalweg.models.base import InputShape, Stateless
from thalweg.models.listening import heard
from thalweg.nn.attention import EncoderBlock, sinusoids
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import ACTIVATIONS, Context, Dense, Params, State, dropout
from thalweg.nn.recurrent import GATES, RecurrentStack
from thalweg.space import Structure

UNHEARD = -100.0
"""Logit of every output but the blank, output 0, after the end of a recording."""


@dataclass(frozen=True)
class Transcriber(Stateless):
    """patches → convolutions over time → recurrence or attention → outputs of each patch.

    Args:
        inputs: what is heard.
        num_outputs: characters and the blank K.
        patch: frames in a patch.
        convolutions: channels of each convolution.
        dilated: whether the reach of each convolution is twice that of the one before.
        kernel_size: patches that a convolution sees.
        activation: their nonlinearity.
        stack: recurrent layers after them, or None.
        blocks: blocks of attention after them.
    """

    inputs: InputShape
    num_outputs: int
    patch: int
    convolutions: tuple[int, ...]
    dilated: bool
    kernel_size: int
    activation: str
    stack: RecurrentStack | None = None
    blocks: tuple[EncoderBlock, ...] = ()

    @property
    def num_steps(self) -> int:
        """Patches of the longest recording."""
        assert self.inputs.sequence is not None
        return -(-self.inputs.sequence[0] // self.patch)

    @cached_property
    def _layers(self) -> list[tuple[Dense, int]]:
        """Taps side by side × matrix, and the distance between taps."""
        assert self.inputs.sequence is not None
        made, size = [], self.patch * self.inputs.sequence[1]
        for i, width in enumerate(self.convolutions):
            dense = Dense(f"conv_{i}", self.kernel_size * size, width)
            made.append((dense, 2**i if self.dilated else 1))
            size = width
        return made

    @cached_property
    def _output(self) -> Dense:
        before = self.stack.units if self.stack is not None else self.convolutions[-1]
        return Dense("output", before, self.num_outputs)

    def params(self) -> dict[str, Param]:
        """Return the parameters of all layers."""
        specs: dict[str, Param] = {}
        for dense, _ in self._layers:
            specs |= dense.params()
        if self.stack is not None:
            specs |= self.stack.params()
        for block in self.blocks:
            specs |= block.params()
        return specs | self._output.params()

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return logits [B, T / patch, K], the blank for certain after the end."""
        x, length = heard(self.inputs, fields, context)
        num_rows, num_frames, bands = x.shape
        steps = -(-num_frames // self.patch)
        x = jnp.pad(x, [(0, 0), (0, steps * self.patch - num_frames), (0, 0)])
        x = x.reshape(num_rows, steps, self.patch * bands)
        length = -(-length // self.patch)
        mask = jnp.arange(steps) < length[:, None]
        for i, (dense, distance) in enumerate(self._layers):
            h = ACTIVATIONS[self.activation](dense.apply(params, self._taps(x, distance)))
            h = dropout(h, context, 600 + i)
            # What is as wide as before is only added to.
            x = x + h if i and h.shape[-1] == x.shape[-1] else h
        if self.stack is not None:
            x, _ = self.stack.apply(params, x, length, context)
            x = dropout(x, context, 650)
        if self.blocks:
            x = x + sinusoids(steps, x.shape[-1])
            for i, block in enumerate(self.blocks):
                x = block.apply(params, x, mask, context, 660 + 2 * i)
        logits = self._output.apply(params, x)
        certain = jnp.where(jnp.arange(self.num_outputs) == 0, 0.0, UNHEARD)
        return jnp.where(mask[..., None], logits, certain), state

    def _taps(self, x: Array, distance: int) -> Array:
        """Return each step with its neighbours side by side."""
        steps, reach = x.shape[1], distance * (self.kernel_size // 2)
        padded = jnp.pad(x, [(0, 0), (reach, reach), (0, 0)])
        taps = [padded[:, k * distance : k * distance + steps] for k in range(self.kernel_size)]
        return jnp.concatenate(taps, axis=-1)

    def flops(self) -> float:
        """Return the multiplications and additions of one recording."""
        steps = self.num_steps
        dense = sum(layer.inputs * layer.units for layer, _ in self._layers)
        dense += self._output.inputs * self._output.units
        recurrent = self.stack.flops(steps) if self.stack is not None else 0.0
        return 2.0 * steps * dense + recurrent + sum(b.flops(steps) for b in self.blocks)

    def activation_floats(self) -> float:
        """Return the numbers that one recording's forward pass computes on its way."""
        per_step = sum(layer.inputs + 2 * layer.units for layer, _ in self._layers)
        # The loss keeps the outputs of all steps, and sums over paths.
        per_step += 6 * self.num_outputs
        if self.stack is not None:
            per_step += sum(
                (GATES[one.kind] + 3) * one.units for both in self.stack.layers for one in both
            )
        for block in self.blocks:
            per_step += (
                8 + 2 * block.expansion
            ) * block.units + 2 * block.num_heads * self.num_steps
        return float(self.num_steps * per_step)


def build(structure: Structure, inputs: InputShape, num_outputs: int) -> Transcriber:
    """Return the network of a structure.

    ``width`` units in each of ``depth`` layers: of cells (in both directions where
    ``bidirectional``), blocks of attention or convolutions; ``patch`` frames are read as one.

    Raises:
        SpaceError: a family that does not read recordings frame by frame.
    """
    assert inputs.sequence is not None
    widths = structure.widths or (64,)
    kernel = int(structure.get("kernel_size"))
    # A kernel has a middle.
    kernel += 1 - kernel % 2
    patch, activation = int(structure.get("patch")), structure.activation
    common = (inputs, num_outputs, patch)
    if structure.model in GATES:
        both, memory = structure.get("bidirectional"), structure.get("memory_steps")
        stack = RecurrentStack(structure.model, structure.model, widths[0], widths, both, memory)
        return Transcriber(*common, widths[:1], False, kernel, activation, stack)
    if structure.model == "transformer":
        heads = int(structure.get("num_heads"))
        units = -(-widths[0] // heads) * heads
        blocks = tuple(EncoderBlock(f"block_{i}", units, heads) for i in range(structure.depth))
        return Transcriber(*common, (units,), False, kernel, activation, None, blocks)
    if structure.model == "cnn1d":
        return Transcriber(*common, widths, True, kernel, activation)
    raise SpaceError(
        f"the family {structure.model} reads a recording as a whole; transcripts need one that "
        "reads it frame by frame: lstm, gru, rnn, cnn1d or transformer"
    )
