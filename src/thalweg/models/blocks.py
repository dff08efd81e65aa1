"""What the networks of vision tasks are put together from.

Images stay [B, H, W, C] throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.errors import SpaceError
from thalweg.models.base import InputShape, images_of
from thalweg.models.cnn import Block
from thalweg.nn.augment import augment
from thalweg.nn.convolution import Conv2D
from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import add_bias, matmul
from thalweg.nn.layers import Context, Params, State, dropout
from thalweg.nn.normalisation import norm_of
from thalweg.nn.pooling import max_pool
from thalweg.space import Structure


def standardised(fields: Mapping[str, Array], inputs: InputShape, context: Context) -> Array:
    """Return images float32 [B, H, W, C] with mean 0 and deviation 1, augmented in training."""
    return augment(images_of(inputs, fields), context)


def block(
    name: str,
    inputs: int,
    units: int,
    activation: str,
    normalisation: str,
    kernel_size: int = 3,
    *,
    stride: int = 1,
    pool: bool = False,
) -> Block:
    """Return convolution → normalisation → activation (→ max pooling).

    Args:
        name: prefix of the parameters.
        inputs: channels in.
        units: channels out.
        activation: name of the activation; ``"identity"`` for none.
        normalisation: ``"none"``, ``"batch"``, ``"layer"`` or ``"group"``.
        kernel_size: side of the kernel.
        stride: step of the kernel.
        pool: whether 2 × 2 max pooling follows.
    """
    norm = norm_of(normalisation, f"{name}/norm", units, spatial=True)
    # Normalisation takes a bias out again.
    conv = Conv2D(name, inputs, units, kernel_size, stride, bias=norm is None)
    return Block(conv, norm, activation, pool)


@dataclass(frozen=True)
class Upsample:
    """Twice the height and width: a transposed 2 × 2 convolution with stride 2.

    Each pixel becomes a square of four that no other reaches: one matrix product, four times as
    fast on CPU as the general form.

    Args:
        name: prefix of the parameters.
        inputs: channels in.
        units: channels out.
    """

    name: str
    inputs: int
    units: int

    def params(self) -> dict[str, Param]:
        """Return kernel [inputs, 4 · units] and bias [units]."""
        shape = (self.inputs, 4 * self.units)
        return {
            f"{self.name}/kernel": Param(shape, "kernel", self.inputs, 4 * self.units),
            f"{self.name}/bias": Param((self.units,), "bias"),
        }

    def apply(self, params: Params, x: Array) -> Array:
        """Map [B, H, W, inputs] to [B, 2H, 2W, units]."""
        num, height, width, _ = x.shape
        out = matmul(x.reshape(-1, self.inputs), params[f"{self.name}/kernel"])
        out = out.reshape(num, height, width, 2, 2, self.units).transpose(0, 1, 3, 2, 4, 5)
        out = out.reshape(num, 2 * height, 2 * width, self.units)
        return add_bias(out, params[f"{self.name}/bias"])

    def flops(self, size: tuple[int, int]) -> float:
        """Return multiplications and additions for one image of this size."""
        return 8.0 * size[0] * size[1] * self.inputs * self.units


def chain(
    blocks: Sequence[Block], params: Params, state: State, x: Array, context: Context
) -> tuple[Array, State]:
    """Apply blocks one after the other."""
    for one in blocks:
        x, state = one.apply(params, state, x, context)
    return x, state


def params_of(layers: Iterable[Block | Upsample]) -> dict[str, Param]:
    """Return the parameters of layers."""
    specs: dict[str, Param] = {}
    for layer in layers:
        specs |= layer.params()
    return specs


def state_of(blocks: Iterable[Block]) -> dict[str, np.ndarray]:
    """Return the running averages of blocks."""
    states: dict[str, np.ndarray] = {}
    for one in blocks:
        states |= one.state()
    return states


@dataclass(frozen=True)
class Hourglass:
    """Levels of blocks: down by max pooling, up by transposed convolution, with bridges across.

    Args:
        down: blocks of each level on the way down, the finest first.
        up: the way up, the coarsest first: what spreads the level below, and the blocks after it.
    """

    down: tuple[tuple[Block, ...], ...]
    up: tuple[tuple[Upsample, tuple[Block, ...]], ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, down and up."""
        return tuple(one for level in (*self.down, *(b for _, b in self.up)) for one in level)

    @property
    def spreads(self) -> tuple[Upsample, ...]:
        """What spreads each level on the way up."""
        return tuple(spread for spread, _ in self.up)

    def apply(
        self, params: Params, state: State, x: Array, context: Context
    ) -> tuple[Array, State]:
        """Return features of the finest level, [B, H, W, C]; dropout acts at the coarsest."""
        bridges = []
        for i, level in enumerate(self.down):
            if i:
                bridges.append(x)
                x = max_pool(x)
            x, state = chain(level, params, state, x, context)
        x = dropout(x, context, 0)
        for spread, level in self.up:
            x = jnp.concatenate([bridges.pop(), spread.apply(params, x)], axis=-1)
            x, state = chain(level, params, state, x, context)
        return x, state

    def flops(self, size: tuple[int, int]) -> float:
        """Return multiplications and additions for one image of this size at the finest level."""
        total = 0.0
        for i, level in enumerate(self.down):
            total += sum(one.flops((size[0] >> i, size[1] >> i)) for one in level)
        for i, (spread, level) in enumerate(reversed(self.up)):
            total += spread.flops((size[0] >> i + 1, size[1] >> i + 1))
            total += sum(one.flops((size[0] >> i, size[1] >> i)) for one in level)
        return total


def filled_up(image: tuple[int, int, int], step: int) -> tuple[int, int]:
    """Return height and width, filled up to multiples of ``step``."""
    return -(-image[0] // step) * step, -(-image[1] // step) * step


def fill_up(x: Array, size: tuple[int, int]) -> Array:
    """Repeat the lower and right border of images [B, H, W, C] until they have this size."""
    spare = (size[0] - x.shape[1], size[1] - x.shape[2])
    if not any(spare):
        return x
    return jnp.pad(x, ((0, 0), (0, spare[0]), (0, spare[1]), (0, 0)), mode="edge")


def level_widths(
    structure: Structure, inputs: InputShape, step: int, least: str
) -> tuple[int, ...]:
    """Return the channels of each level, the finest first.

    Args:
        structure: ``depth`` levels from ``width`` channels on, doubled from level to level; or
            ``width`` lists the channels of all.
        inputs: what the network reads.
        step: pixels of the image in one of the finest level.
        least: what is the least that may remain, in words.

    Raises:
        SpaceError: where there are no images, or less than that would remain.
    """
    if inputs.image is None:
        raise SpaceError(
            f"the family {structure.model} reads images; this data has none: choose another model"
        )
    widths = structure.width
    if not isinstance(widths, tuple):
        widths = tuple(widths * 2**level for level in range(max(1, structure.depth)))
    if step * 2 ** (len(widths) - 1) > min(inputs.image[:2]):
        raise SpaceError(
            f"{len(widths)} levels halve an image of {inputs.image[0]} x {inputs.image[1]} below "
            f"{least}: lower depth"
        )
    return widths
