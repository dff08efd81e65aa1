"""A small anchor-free detector: class probabilities and a box for each cell of 4 × 4 pixels.

Two blocks with stride 2 lead to the grid, a small U-Net of it gathers what lies farther away, and a
1 × 1 convolution gives each cell's outputs; see ``thalweg.nn.boxes``. Sources: Zhou, Wang and
Krähenbühl, "Objects as Points", 2019, section 3; Tian et al., "FCOS", 2019, section 3.1.
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
    chain,
    fill_up,
    filled_up,
    level_widths,
    params_of,
    standardised,
    state_of,
)
from thalweg.models.cnn import Block
from thalweg.nn.boxes import NUM_SIDES, STRIDE
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import Context, Params, State
from thalweg.space import Structure

# A cell's classes begin with a probability of 0.1, as objects are rare: log(0.1 / 0.9). Without it
# the first steps do nothing but learn that. Source: Lin et al., "Focal Loss", 2017, section 3.3.
PRIOR = -2.19
# Boxes begin with sides at a distance of two cells.
REACH = 0.7


@dataclass(frozen=True)
class Detector:
    """[block, stride 2] × 2 → blocks down, with max pooling between levels → blocks up → outputs.

    Args:
        inputs: what the network reads.
        num_classes: classes C.
        widths: channels of each level of the grid, the finest first.
        activation: activation of the blocks.
        normalisation: normalisation of the blocks.
        kernel_size: side of their kernels.
    """

    inputs: InputShape
    num_classes: int
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
        return filled_up(self._image, STRIDE * 2 ** (len(self.widths) - 1))

    def _block(self, name: str, inputs: int, units: int, stride: int = 1) -> Block:
        kind = (self.activation, self.normalisation, self.kernel_size)
        return block(name, inputs, units, *kind, stride=stride)

    @cached_property
    def _stem(self) -> tuple[Block, Block]:
        first = self.widths[0]
        narrow = max(1, first // 2)
        return (
            self._block("stem_0", self._image[2], narrow, stride=2),
            self._block("stem_1", narrow, first, stride=2),
        )

    @cached_property
    def _levels(self) -> Hourglass:
        before = (self.widths[0], *self.widths)
        down = tuple(
            (
                self._block(f"down_{i}_0", before[i], width),
                self._block(f"down_{i}_1", width, width),
            )
            for i, width in enumerate(self.widths)
        )
        up = tuple(
            (
                Upsample(f"spread_{i}", self.widths[i + 1], self.widths[i]),
                (self._block(f"up_{i}", 2 * self.widths[i], self.widths[i]),),
            )
            for i in range(len(self.widths) - 2, -1, -1)
        )
        return Hourglass(down, up)

    @cached_property
    def _output(self) -> Block:
        units = self.num_classes + NUM_SIDES
        return block("output", self.widths[0], units, "identity", "none", 1)

    @property
    def _all(self) -> tuple[Block, ...]:
        return (*self._stem, *self._levels.blocks, self._output)

    def params(self) -> dict[str, Param]:
        """Return the parameters of every layer."""
        return params_of((*self._all, *self._levels.spreads))

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of batch normalisation."""
        return state_of(self._all)

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return class logits and distances [B, h, w, C + 4], and the new running averages."""
        x = standardised(fields, self.inputs, context)
        rows, columns = -(-x.shape[1] // STRIDE), -(-x.shape[2] // STRIDE)
        x, state = chain(self._stem, params, state, fill_up(x, self._size), context)
        x, state = self._levels.apply(params, state, x, context)
        x, state = self._output.apply(params, state, x, context)
        start = np.array([PRIOR] * self.num_classes + [REACH] * NUM_SIDES, np.float32)
        return x[:, :rows, :columns] + start, state

    def flops(self) -> float:
        """Return the multiplications and additions of one image."""
        height, width = self._size
        total = self._stem[0].flops((height, width))
        total += self._stem[1].flops((height // 2, width // 2))
        cells = (height // STRIDE, width // STRIDE)
        return total + self._levels.flops(cells) + self._output.flops(cells)

    def activation_floats(self) -> float:
        """Return the numbers that one image's forward pass computes on its way."""
        pixels = self._size[0] * self._size[1]
        total = pixels / 4 * self._stem[0].conv.units
        for i, width in enumerate(self.widths):
            total += pixels / STRIDE**2 / 4**i * width * 5
        return total + pixels / STRIDE**2 * (self.num_classes + NUM_SIDES) * 2


def build(structure: Structure, inputs: InputShape, num_outputs: int) -> Detector:
    """Return the detector of a structure.

    ``depth`` is the number of levels of the grid and ``width`` the channels of the finest, doubled
    from level to level; or ``width`` lists the channels of all. ``num_outputs`` are the classes.
    """
    widths = level_widths(structure, inputs, STRIDE, "one cell")
    return Detector(
        inputs,
        num_outputs,
        widths,
        structure.activation,
        structure.normalisation,
        int(structure.get("kernel_size")),
    )
