"""A small U-Net: a class for each pixel.

Source: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", 2015, figure 1. Differs from the paper: convolutions keep the size, so that nothing
is cropped, and are normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.errors import SpaceError
from thalweg.models.base import InputShape
from thalweg.models.blocks import Upsample, block, chain, params_of, standardised, state_of
from thalweg.models.cnn import Block
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import Context, Params, State, dropout
from thalweg.nn.pooling import max_pool
from thalweg.space import Structure


@dataclass(frozen=True)
class UNet:
    """Levels of two blocks each: down by max pooling, up by transposed convolution, with bridges.

    Args:
        inputs: what the network reads.
        num_outputs: classes C.
        widths: channels of each level, the finest first.
        activation: activation of the blocks.
        normalisation: normalisation of the blocks.
        kernel_size: side of their kernels.
    """

    inputs: InputShape
    num_outputs: int
    widths: tuple[int, ...]
    activation: str
    normalisation: str
    kernel_size: int

    @property
    def _image(self) -> tuple[int, int, int]:
        assert self.inputs.image is not None
        return self.inputs.image

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Height and width, filled up so that every level can be halved."""
        step = 2 ** (len(self.widths) - 1)
        height, width, _ = self._image
        return -(-height // step) * step, -(-width // step) * step

    def _blocks(self, name: str, inputs: int, units: int) -> tuple[Block, Block]:
        kind = (self.activation, self.normalisation, self.kernel_size)
        return (
            block(f"{name}_0", inputs, units, *kind),
            block(f"{name}_1", units, units, *kind),
        )

    @cached_property
    def _down(self) -> tuple[tuple[Block, Block], ...]:
        channels = (self._image[2], *self.widths)
        return tuple(
            self._blocks(f"down_{i}", channels[i], width) for i, width in enumerate(self.widths)
        )

    @cached_property
    def _up(self) -> tuple[tuple[Upsample, tuple[Block, Block]], ...]:
        """The way up, the coarsest level first."""
        levels = range(len(self.widths) - 2, -1, -1)
        return tuple(
            (
                Upsample(f"spread_{i}", self.widths[i + 1], self.widths[i]),
                self._blocks(f"up_{i}", 2 * self.widths[i], self.widths[i]),
            )
            for i in levels
        )

    @cached_property
    def _output(self) -> Block:
        return block("output", self.widths[0], self.num_outputs, "identity", "none", 1)

    @cached_property
    def _all(self) -> tuple[Block, ...]:
        down = [one for level in self._down for one in level]
        up = [one for _, level in self._up for one in level]
        return (*down, *up, self._output)

    def params(self) -> dict[str, Param]:
        """Return the parameters of every layer."""
        return params_of((*self._all, *(spread for spread, _ in self._up)))

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of batch normalisation."""
        return state_of(self._all)

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return logits [B, H, W, C] and the new running averages."""
        x = standardised(fields, self.inputs, context)
        height, width = x.shape[1:3]
        spare = (self._size[0] - height, self._size[1] - width)
        if any(spare):
            x = jnp.pad(x, ((0, 0), (0, spare[0]), (0, spare[1]), (0, 0)), mode="edge")
        bridges = []
        for i, level in enumerate(self._down):
            if i:
                bridges.append(x)
                x = max_pool(x)
            x, state = chain(level, params, state, x, context)
        x = dropout(x, context, 0)
        for spread, level in self._up:
            x = jnp.concatenate([bridges.pop(), spread.apply(params, x)], axis=-1)
            x, state = chain(level, params, state, x, context)
        x, state = self._output.apply(params, state, x, context)
        return x[:, :height, :width] if any(spare) else x, state

    def flops(self) -> float:
        """Return the multiplications and additions of one image."""
        total = 0.0
        for i, level in enumerate(self._down):
            total += sum(one.flops(self._at(i)) for one in level)
        for i, (spread, level) in enumerate(reversed(self._up)):
            total += spread.flops(self._at(i + 1))
            total += sum(one.flops(self._at(i)) for one in level)
        return total + self._output.flops(self._at(0))

    def activation_floats(self) -> float:
        """Return the numbers that one image's forward pass computes on its way."""
        total = 0.0
        for i, width in enumerate(self.widths):
            pixels = self._at(i)[0] * self._at(i)[1]
            total += pixels * width * (6 if i < len(self.widths) - 1 else 2)
        return total + self._size[0] * self._size[1] * self.num_outputs * 2

    def _at(self, level: int) -> tuple[int, int]:
        return self._size[0] >> level, self._size[1] >> level


def build(structure: Structure, inputs: InputShape, num_outputs: int) -> UNet:
    """Return the U-Net of a structure.

    ``depth`` is the number of levels and ``width`` the channels of the finest, doubled from level
    to level; or ``width`` lists the channels of all.
    """
    if inputs.image is None:
        raise SpaceError("the family unet reads images; this data has none: choose another model")
    widths = structure.width
    if not isinstance(widths, tuple):
        widths = tuple(widths * 2**level for level in range(max(1, structure.depth)))
    if 2 ** (len(widths) - 1) > min(inputs.image[:2]):
        raise SpaceError(
            f"{len(widths)} levels halve an image of {inputs.image[0]} x {inputs.image[1]} below "
            "one pixel: lower depth"
        )
    return UNet(
        inputs,
        num_outputs,
        widths,
        structure.activation,
        structure.normalisation,
        int(structure.get("kernel_size")),
    )
