"""A network that maps images to vectors of length 1: alike where the same is on them.

Distances between the vectors tell whether two images show the same (verification) and which are
most alike (retrieval), also for classes that training never saw. Source: Schroff, Kalenichenko and
Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015, section 3.
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
from thalweg.models.blocks import block, chain, params_of, standardised, state_of
from thalweg.models.cnn import Block
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import Context, Dense, Params, State, dropout
from thalweg.space import Structure


@dataclass(frozen=True)
class Embedder:
    """[block → max pooling] × depth → dense → length 1.

    Args:
        inputs: what the network reads.
        widths: channels of each block.
        embedding_size: length of the vectors E.
        activation: activation of the blocks.
        normalisation: normalisation of the blocks.
        kernel_size: side of their kernels.
    """

    inputs: InputShape
    widths: tuple[int, ...]
    embedding_size: int
    activation: str
    normalisation: str
    kernel_size: int

    @property
    def _image(self) -> tuple[int, int, int]:
        assert self.inputs.image is not None
        return self.inputs.image

    @cached_property
    def _blocks(self) -> tuple[Block, ...]:
        before = (self._image[2], *self.widths)
        return tuple(
            block(
                f"block_{i}",
                before[i],
                width,
                self.activation,
                self.normalisation,
                self.kernel_size,
                pool=True,
            )
            for i, width in enumerate(self.widths)
        )

    def _at(self, level: int) -> tuple[int, int]:
        return self._image[0] >> level, self._image[1] >> level

    @cached_property
    def _dense(self) -> Dense:
        height, width = self._at(len(self.widths))
        return Dense("embedding", height * width * self.widths[-1], self.embedding_size)

    def params(self) -> dict[str, Param]:
        """Return the parameters of every layer."""
        return {**params_of(self._blocks), **self._dense.params()}

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of batch normalisation."""
        return state_of(self._blocks)

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return vectors of length 1 [B, E] and the new running averages."""
        x = standardised(fields, self.inputs, context)
        x, state = chain(self._blocks, params, state, x, context)
        x = dropout(x.reshape(x.shape[0], -1), context, 0)
        x = self._dense.apply(params, x)
        # A vector of 0 has no direction, and its length no derivative.
        length = jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)
        return x / length, state

    def flops(self) -> float:
        """Return the multiplications and additions of one image."""
        flops = sum(one.flops(self._at(i)) for i, one in enumerate(self._blocks))
        return flops + 2.0 * self._dense.inputs * self._dense.units

    def activation_floats(self) -> float:
        """Return the numbers that one image's forward pass computes on its way."""
        return sum(one.floats(self._at(i)) for i, one in enumerate(self._blocks))


def build(structure: Structure, inputs: InputShape, num_outputs: int) -> Embedder:
    """Return the network of a structure.

    ``depth`` is the number of blocks and ``width`` the channels of the first, doubled from block to
    block; or ``width`` lists the channels of all. ``num_outputs`` has no meaning here.
    """
    if inputs.image is None:
        raise SpaceError("the family embedder reads images; this data has none: choose another")
    widths = structure.width
    if not isinstance(widths, tuple):
        widths = tuple(widths * 2**block for block in range(max(1, structure.depth)))
    if min(inputs.image[:2]) >> len(widths) < 1:
        raise SpaceError(
            f"{len(widths)} blocks halve an image of {inputs.image[0]} x {inputs.image[1]} below "
            "one pixel: lower depth"
        )
    return Embedder(
        inputs,
        widths,
        int(structure.get("embedding_size")),
        structure.activation,
        structure.normalisation,
        int(structure.get("kernel_size")),
    )
