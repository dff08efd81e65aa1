"""Convolutional networks that classify images, or predict numbers from them.

| family | what it is | source |
| --- | --- | --- |
| ``cnn`` | [convolution → pooling] × depth → dense: every textbook's | |
| ``lenet`` | two 5×5 convolutions with pooling, then dense 120 and 84 | LeCun et al., 1998 |
| ``vgg`` | [convolution × 2 → pooling] × depth → dense | Simonyan and Zisserman, 2015 |
| ``resnet`` | residual blocks of two convolutions, then the mean over pixels | He et al., 2016 |

``width`` is the channels of the first block, doubled from block to block; or the list of all. All
read ``image`` uint8 [B, H, W, C], standardise it by the training images' statistics, and augment
and mix it in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.errors import SpaceError
from thalweg.models.base import InputShape, images_of
from thalweg.nn.augment import augment, cutmix
from thalweg.nn.convolution import Conv2D, Padding
from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import add_bias
from thalweg.nn.layers import (
    ACTIVATIONS,
    RISING,
    Context,
    Dense,
    Params,
    State,
    dropout,
    numeric_noise,
    spatial_dropout,
)
from thalweg.nn.normalisation import BatchNorm, Norm, norm_of, normalise
from thalweg.nn.pooling import convolve_and_pool, global_average_pool, max_pool
from thalweg.space import Structure

Size = tuple[int, int]
# An unpadded network must leave at least so many pixels a side.
LEAST_SIDE = 4


@dataclass(frozen=True)
class Block:
    """convolution → normalisation → activation, and perhaps 2×2 max pooling.

    Args:
        conv: the convolution.
        norm: the normalisation, or None.
        activation: name of the activation; ``"identity"`` for none.
        pool: whether pooling follows.
    """

    conv: Conv2D
    norm: Norm | None
    activation: str
    pool: bool = False

    def params(self) -> dict[str, Param]:
        """Return the parameters of convolution and normalisation."""
        return {**self.conv.params(), **(self.norm.params() if self.norm else {})}

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of batch normalisation."""
        return self.norm.state() if isinstance(self.norm, BatchNorm) else {}

    def outputs(self, size: Size) -> Size:
        """Return height and width of the result."""
        height, width = self.conv.outputs(size)
        return (height // 2, width // 2) if self.pool else (height, width)

    def apply(
        self, params: Params, state: State, x: Array, context: Context
    ) -> tuple[Array, State]:
        """Return the block of images [B, H, W, C] and the new running averages."""
        activate = ACTIVATIONS[self.activation]
        early = self.pool and self.activation in RISING
        if early and self.norm is None:
            # The same constant on all pixels and a rising function: both may come after pooling,
            # which leaves a quarter of the work.
            window = self.conv.window((x.shape[1], x.shape[2]))
            x = convolve_and_pool(x, params[f"{self.conv.name}/kernel"], window)
            return activate(add_bias(x, params[f"{self.conv.name}/bias"])), state
        x, state = normalise(self.norm, params, state, self.conv.apply(params, x), context)
        if early:
            return activate(max_pool(x)), state
        x = activate(x)
        return (max_pool(x) if self.pool else x), state

    def flops(self, size: Size) -> float:
        """Return the multiplications and additions for one image of this size."""
        return self.conv.flops(size)

    def floats(self, size: Size) -> float:
        """Return the numbers that one image's forward pass computes."""
        height, width = self.conv.outputs(size)
        passes = 1.0 + (self.norm is not None) + (not self.pool) + 0.25 * self.pool
        return passes * height * width * self.conv.units


@dataclass(frozen=True)
class ResidualBlock:
    """activation(shortcut(x) + norm(conv(block(x)))): two convolutions around a shortcut.

    The shortcut is x itself, or a 1×1 convolution where channels or size change.

    Args:
        first: convolution, normalisation, activation; it carries the stride.
        second: convolution and normalisation.
        shortcut: 1×1 convolution and normalisation, or None.
        activation: name of the activation of the sum.
    """

    first: Block
    second: Block
    shortcut: Block | None
    activation: str

    @property
    def _parts(self) -> tuple[Block, ...]:
        return (self.first, self.second, *((self.shortcut,) if self.shortcut else ()))

    def params(self) -> dict[str, Param]:
        """Return the parameters of all parts."""
        return {n: p for part in self._parts for n, p in part.params().items()}

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of all parts."""
        return {n: v for part in self._parts for n, v in part.state().items()}

    def outputs(self, size: Size) -> Size:
        """Return height and width of the result."""
        return self.first.outputs(size)

    def apply(
        self, params: Params, state: State, x: Array, context: Context
    ) -> tuple[Array, State]:
        """Return the block of images [B, H, W, C] and the new running averages."""
        h, state = self.first.apply(params, state, x, context)
        h, state = self.second.apply(params, state, h, context)
        if self.shortcut is not None:
            x, state = self.shortcut.apply(params, state, x, context)
        return ACTIVATIONS[self.activation](x + h), state

    def flops(self, size: Size) -> float:
        """Return the multiplications and additions for one image of this size."""
        shortcut = self.shortcut.flops(size) if self.shortcut else 0.0
        return self.first.flops(size) + self.second.flops(self.outputs(size)) + shortcut

    def floats(self, size: Size) -> float:
        """Return the numbers that one image's forward pass computes."""
        after = self.outputs(size)
        shortcut = self.shortcut.floats(size) if self.shortcut else 0.0
        own = after[0] * after[1] * self.second.conv.units
        return self.first.floats(size) + self.second.floats(after) + shortcut + own


@dataclass(frozen=True)
class CNN:
    """blocks → flattening (or the mean over pixels) → dense layers → output.

    Dropout acts before each dense layer; with ``spatial`` it also drops whole channels between the
    blocks.

    Args:
        inputs: what the network reads.
        num_outputs: width of the output.
        blocks: the blocks in order.
        hidden: units of the dense layers before the output.
        activation: their nonlinearity.
        average: whether each channel is averaged over the pixels rather than flattened.
        spatial: whether channels are dropped between the blocks.
    """

    inputs: InputShape
    num_outputs: int
    blocks: tuple[Block | ResidualBlock, ...]
    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    average: bool = False
    spatial: bool = False

    @cached_property
    def _sizes(self) -> tuple[Size, ...]:
        """Height and width before each block and after the last."""
        assert self.inputs.image is not None
        sizes = [self.inputs.image[:2]]
        for block in self.blocks:
            sizes.append(block.outputs(sizes[-1]))
        return tuple(sizes)

    @cached_property
    def _channels(self) -> int:
        last = self.blocks[-1]
        return (last.second if isinstance(last, ResidualBlock) else last).conv.units

    @cached_property
    def _dense(self) -> tuple[Dense, ...]:
        height, width = self._sizes[-1]
        size = self._channels * (1 if self.average else height * width) + self.inputs.numeric
        sizes = (size, *self.hidden, self.num_outputs)
        names = (*(f"hidden_{i}" for i in range(len(self.hidden))), "output")
        return tuple(
            Dense(name, before, after)
            for name, before, after in zip(names, sizes[:-1], sizes[1:], strict=True)
        )

    def params(self) -> dict[str, Param]:
        """Return the parameters of every layer."""
        return {n: p for layer in (*self.blocks, *self._dense) for n, p in layer.params().items()}

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of batch normalisation."""
        return {n: v for block in self.blocks for n, v in block.state().items()}

    def features(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return what the output layer reads, [B, F], and the new running averages."""
        x = cutmix(augment(images_of(self.inputs, fields), context), context)
        for i, block in enumerate(self.blocks):
            x, state = block.apply(params, state, x, context)
            if self.spatial:
                x = spatial_dropout(x, context, 500 + i)
        x = global_average_pool(x) if self.average else x.reshape(x.shape[0], -1)
        if self.inputs.numeric:
            x = jnp.concatenate([x, numeric_noise(fields["numeric"], context)], axis=-1)
        for i, layer in enumerate(self._dense[:-1]):
            x = ACTIVATIONS[self.activation](layer.apply(params, dropout(x, context, i)))
        return x, state

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, O] and the new running averages."""
        x, state = self.features(params, state, fields, context)
        return self._dense[-1].apply(params, dropout(x, context, len(self.hidden))), state

    def flops(self) -> float:
        """Return the multiplications and additions of one image."""
        blocks = sum(b.flops(s) for b, s in zip(self.blocks, self._sizes[:-1], strict=True))
        return blocks + 2.0 * sum(layer.inputs * layer.units for layer in self._dense)

    def activation_floats(self) -> float:
        """Return the numbers that one image's forward pass computes on its way."""
        height, width = self._sizes[0]
        assert self.inputs.image is not None
        image = float(height * width * self.inputs.image[2])
        blocks = sum(b.floats(s) for b, s in zip(self.blocks, self._sizes[:-1], strict=True))
        return image + blocks + sum(layer.inputs + layer.units for layer in self._dense)


# --------------------------------------------------------------------------------------- builders


def _image(structure: Structure, inputs: InputShape) -> tuple[int, int, int]:
    if inputs.image is None:
        raise SpaceError(
            f"the family {structure.model} reads images; this data has none: choose mlp or linear"
        )
    return inputs.image


def _widths(structure: Structure) -> tuple[int, ...]:
    """Return the channels of each block: the given ones, or doubled from block to block."""
    if isinstance(structure.width, tuple):
        return structure.width
    return tuple(structure.width * 2**i for i in range(max(1, structure.depth)))


def _hidden(structure: Structure) -> tuple[int, ...]:
    width = int(structure.get("head_width"))
    return (width,) if width else ()


def _block(
    structure: Structure,
    name: str,
    inputs: int,
    units: int,
    *,
    padding: Padding = "same",
    pool: bool = False,
    stride: int = 1,
    kernel_size: int | None = None,
    activation: str | None = None,
) -> Block:
    norm = norm_of(structure.normalisation, f"{name}/norm", units, spatial=True)
    size = int(structure.get("kernel_size")) if kernel_size is None else kernel_size
    # A normalisation adds a bias of its own, and takes out what batch statistics would make noise.
    conv = Conv2D(name, inputs, units, size, stride, padding, bias=norm is None)
    return Block(conv, norm, activation or structure.activation, pool)


def _halvings(structure: Structure, side: int, num: int) -> None:
    if side >> num < 1:
        raise SpaceError(
            f"{num} blocks of {structure.model} halve an image of side {side} below one pixel: "
            f"lower depth to {int(np.log2(side))} or less"
        )


def build_cnn(structure: Structure, inputs: InputShape, num_outputs: int) -> CNN:
    """Return the textbook's network: ``depth`` times convolution, activation and pooling.

    Convolutions are unpadded, as in the textbooks, where at least 4×4 pixels remain at the end;
    otherwise all are padded to keep the size.

    Raises:
        SpaceError: where the data has no images, or too small ones for the depth.
    """
    height, width, channels = _image(structure, inputs)
    widths = _widths(structure)
    side = least = min(height, width)
    for _ in widths:
        least = (least - int(structure.get("kernel_size")) + 1) // 2
    padding: Padding = "valid" if least >= LEAST_SIDE else "same"
    _halvings(structure, side, len(widths))
    before = (channels, *widths)
    blocks = tuple(
        _block(structure, f"conv_{i}", before[i], units, padding=padding, pool=True)
        for i, units in enumerate(widths)
    )
    return CNN(inputs, num_outputs, blocks, _hidden(structure), structure.activation)


def build_lenet(structure: Structure, inputs: InputShape, num_outputs: int) -> CNN:
    """Return LeNet-5 with 6 and 16 channels of 5×5 kernels and dense layers of 120 and 84 units.

    Differs from the paper: max pooling, full connections between the convolutions, the activation
    that the structure names, and a linear output; ``depth`` and ``width`` have no meaning.

    Raises:
        SpaceError: where the data has no images, or images below 8×8.
    """
    height, width, channels = _image(structure, inputs)
    if min(height, width) < 8:
        raise SpaceError(
            f"the family lenet needs images of 8 x 8 or more; got {height} x {width}: choose mlp"
        )
    # The paper's digits stand in 32×32 pixels; smaller images are padded to lose nothing.
    first: Padding = "valid" if min(height, width) >= 32 else "same"
    second: Padding = "valid" if min(height, width) >= 16 else "same"
    blocks = (
        _block(structure, "conv_0", channels, 6, padding=first, pool=True, kernel_size=5),
        _block(structure, "conv_1", 6, 16, padding=second, pool=True, kernel_size=5),
    )
    return CNN(inputs, num_outputs, blocks, (120, 84), structure.activation)


def build_vgg(structure: Structure, inputs: InputShape, num_outputs: int) -> CNN:
    """Return ``depth`` blocks of two padded convolutions and pooling.

    Raises:
        SpaceError: where the data has no images, or too small ones for the depth.
    """
    height, width, channels = _image(structure, inputs)
    widths = _widths(structure)
    _halvings(structure, min(height, width), len(widths))
    blocks: list[Block] = []
    before = channels
    for i, units in enumerate(widths):
        blocks.append(_block(structure, f"conv_{i}_0", before, units))
        blocks.append(_block(structure, f"conv_{i}_1", units, units, pool=True))
        before = units
    return CNN(inputs, num_outputs, tuple(blocks), _hidden(structure), structure.activation)


BLOCKS_PER_STAGE = 2


def build_resnet(structure: Structure, inputs: InputShape, num_outputs: int) -> CNN:
    """Return a small ResNet: a convolution, ``depth`` stages of two residual blocks, the mean.

    Every stage after the first halves the image and doubles the channels. ``normalisation`` is
    what the structure says; the paper's is ``"batch"``.

    Raises:
        SpaceError: where the data has no images, or too small ones for the depth.
    """
    height, width, channels = _image(structure, inputs)
    widths = _widths(structure)
    _halvings(structure, min(height, width), len(widths) - 1)
    blocks: list[Block | ResidualBlock] = [_block(structure, "stem", channels, widths[0])]
    before = widths[0]
    for stage, units in enumerate(widths):
        for i in range(BLOCKS_PER_STAGE):
            name, stride = f"stage_{stage}_{i}", 2 if stage and not i else 1
            plain = stride == 1 and before == units
            blocks.append(
                ResidualBlock(
                    _block(structure, f"{name}/first", before, units, stride=stride),
                    _block(structure, f"{name}/second", units, units, activation="identity"),
                    None
                    if plain
                    else _block(
                        structure,
                        f"{name}/shortcut",
                        before,
                        units,
                        stride=stride,
                        kernel_size=1,
                        activation="identity",
                    ),
                    structure.activation,
                )
            )
            before = units
    hidden = _hidden(structure)
    return CNN(inputs, num_outputs, tuple(blocks), hidden, structure.activation, average=True)
