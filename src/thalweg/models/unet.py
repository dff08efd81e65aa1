"""A small U-Net: a class for each pixel.

Source: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", 2015, figure 1. Differs from the paper: convolutions keep the size, so that nothing
is cropped, and are normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jax import Array

from thalweg.models.base import InputShape
from thalweg.models.blocks import (
    Hourglass,
    Upsample,
    block,
    fill_up,
    filled_up,
    level_widths,
    params_of,
    standardised,
    state_of,
)
from thalweg.models.cnn import Block
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import Context, Params, State
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
        return filled_up(self._image, 2 ** (len(self.widths) - 1))

    def _blocks(self, name: str, inputs: int, units: int) -> tuple[Block, Block]:
        kind = (self.activation, self.normalisation, self.kernel_size)
        return (
            block(f"{name}_0", inputs, units, *kind),
            block(f"{name}_1", units, units, *kind),
        )

    @cached_property
    def _levels(self) -> Hourglass:
        channels = (self._image[2], *self.widths)
        down = tuple(
            self._blocks(f"down_{i}", channels[i], width) for i, width in enumerate(self.widths)
        )
        up = tuple(
            (
                Upsample(f"spread_{i}", self.widths[i + 1], self.widths[i]),
                self._blocks(f"up_{i}", 2 * self.widths[i], self.widths[i]),
            )
            for i in range(len(self.widths) - 2, -1, -1)
        )
        return Hourglass(down, up)

    @cached_property
    def _output(self) -> Block:
        return block("output", self.widths[0], self.num_outputs, "identity", "none", 1)

    def params(self) -> dict[str, Param]:
        """Return the parameters of every layer."""
        return params_of((*self._levels.blocks, self._output, *self._levels.spreads))

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of batch normalisation."""
        return state_of((*self._levels.blocks, self._output))

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return logits [B, H, W, C] and the new running averages."""
        x = standardised(fields, self.inputs, context)
        height, width = x.shape[1:3]
        x, state = self._levels.apply(params, state, fill_up(x, self._size), context)
        x, state = self._output.apply(params, state, x, context)
        return x[:, :height, :width], state

    def flops(self) -> float:
        """Return the multiplications and additions of one image."""
        return self._levels.flops(self._size) + self._output.flops(self._size)

    def activation_floats(self) -> float:
        """Return the numbers that one image's forward pass computes on its way."""
        total = 0.0
        for i, width in enumerate(self.widths):
            pixels = (self._size[0] >> i) * (self._size[1] >> i)
            total += pixels * width * (6 if i < len(self.widths) - 1 else 2)
        return total + self._size[0] * self._size[1] * self.num_outputs * 2


def build(structure: Structure, inputs: InputShape, num_outputs: int) -> UNet:
    """Return the U-Net of a structure.

    ``depth`` is the number of levels and ``width`` the channels of the finest, doubled from level
    to level; or ``width`` lists the channels of all.
    """
    widths = level_widths(structure, inputs, 1, "one pixel")
    return UNet(
        inputs,
        num_outputs,
        widths,
        structure.activation,
        structure.normalisation,
        int(structure.get("kernel_size")),
    )
