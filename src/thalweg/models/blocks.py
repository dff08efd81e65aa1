"""What convolutional networks of vision tasks are put together from.

Images stay [B, H, W, C] throughout. A block is convolution → normalisation → activation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.models.base import InputShape
from thalweg.nn.augment import augment
from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import Window, add_bias, convolve, matmul
from thalweg.nn.layers import ACTIVATIONS, Context, Params, State
from thalweg.nn.normalisation import BatchNorm

GROUPS = 8
"""Groups of channels that group normalisation normalises together, where there are so many."""


def standardised(fields: Mapping[str, Array], inputs: InputShape, context: Context) -> Array:
    """Return images float32 [B, H, W, C] with mean 0 and deviation 1, augmented in training."""
    mean = np.array(inputs.image_mean or (127.5,), np.float32)
    std = np.array(inputs.image_std or (127.5,), np.float32)
    # As one product and sum: the division is done here, once.
    images = fields["image"].astype(jnp.float32) * (1.0 / std) - mean / std
    return augment(images, context)


@dataclass(frozen=True)
class ConvBlock:
    """Convolution that keeps the size (or divides it by its stride), normalisation, activation.

    Args:
        name: prefix of the parameters.
        inputs: channels in.
        units: channels out.
        activation: name of the activation; ``"identity"`` for none.
        normalisation: ``"none"``, ``"batch"``, ``"layer"`` (over channels and pixels of an image,
            which is group normalisation with one group) or ``"group"``.
        kernel_size: side of the kernel.
        stride: step of the kernel.
    """

    name: str
    inputs: int
    units: int
    activation: str = "relu"
    normalisation: str = "none"
    kernel_size: int = 3
    stride: int = 1

    @cached_property
    def _norm(self) -> BatchNorm:
        return BatchNorm(f"{self.name}/norm", self.units)

    @property
    def _groups(self) -> int:
        """The largest number of groups up to ``GROUPS`` that divides the channels."""
        if self.normalisation == "layer":
            return 1
        return next(g for g in range(min(GROUPS, self.units), 0, -1) if self.units % g == 0)

    def params(self) -> dict[str, Param]:
        """Return kernel [k, k, inputs, units], and bias or the normalisation's parameters."""
        area = self.kernel_size**2
        shape = (self.kernel_size, self.kernel_size, self.inputs, self.units)
        specs = {f"{self.name}/kernel": Param(shape, "kernel", area * self.inputs, self.units)}
        if self.normalisation == "none":
            specs[f"{self.name}/bias"] = Param((self.units,), "bias")
            return specs
        return specs | self._norm.params()

    def state(self) -> dict[str, np.ndarray]:
        """Return running averages, where there are any."""
        return self._norm.state() if self.normalisation == "batch" else {}

    def outputs(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the output for an input of this size."""
        return -(-size[0] // self.stride), -(-size[1] // self.stride)

    def window(self, size: tuple[int, int]) -> Window:
        """Return the kernel's window on an image of this size, padded as evenly as it goes."""
        padding = []
        for n, m in zip(size, self.outputs(size), strict=True):
            total = max((m - 1) * self.stride + self.kernel_size - n, 0)
            padding.append((total // 2, total - total // 2))
        return Window(
            (self.kernel_size, self.kernel_size),
            (self.stride, self.stride),
            (padding[0], padding[1]),
        )

    def apply(
        self, params: Params, state: State, x: Array, context: Context
    ) -> tuple[Array, State]:
        """Return the block of images [B, H, W, inputs], and the new running averages."""
        window = self.window((x.shape[1], x.shape[2]))
        x = convolve(x, params[f"{self.name}/kernel"], window)
        if self.normalisation == "none":
            x = add_bias(x, params[f"{self.name}/bias"])
        elif self.normalisation == "batch":
            x, state = self._batch_norm(params, state, x, context)
        else:
            x = self._group_norm(params, x)
        return ACTIVATIONS[self.activation](x), state

    def _batch_norm(
        self, params: Params, state: State, x: Array, context: Context
    ) -> tuple[Array, State]:
        """Normalise over rows and pixels alike."""
        pixels = x.shape[1] * x.shape[2]
        weight = None if context.weight is None else jnp.repeat(context.weight, pixels)
        flat, state = self._norm.apply(
            params,
            state,
            x.reshape(-1, self.units),
            Context(train=context.train, weight=weight),
        )
        return flat.reshape(x.shape), state

    def _group_norm(self, params: Params, x: Array) -> Array:
        """Normalise the channels of a group over an image. Source: Wu and He, 2018, eq. 1."""
        grouped = x.reshape(x.shape[0], -1, self._groups, self.units // self._groups)
        mean = grouped.mean((1, 3), keepdims=True)
        var = jnp.square(grouped - mean).mean((1, 3), keepdims=True)
        unit = ((grouped - mean) / jnp.sqrt(var + self._norm.eps)).reshape(x.shape)
        scale, bias = params[f"{self.name}/norm/scale"], params[f"{self.name}/norm/bias"]
        return unit * scale + bias

    def flops(self, size: tuple[int, int]) -> float:
        """Return multiplications and additions for one image of this size."""
        height, width = self.outputs(size)
        return 2.0 * height * width * self.kernel_size**2 * self.inputs * self.units


@dataclass(frozen=True)
class Upsample:
    """Twice the height and width: a transposed 2 × 2 convolution with stride 2.

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
            f"{self.name}/kernel": Param(shape, "kernel", self.inputs, self.units),
            f"{self.name}/bias": Param((self.units,), "bias"),
        }

    def apply(self, params: Params, x: Array) -> Array:
        """Map [B, H, W, inputs] to [B, 2H, 2W, units]."""
        num, height, width, _ = x.shape
        # Each pixel becomes a square of four that none other touches: one matrix product.
        out = matmul(x.reshape(-1, self.inputs), params[f"{self.name}/kernel"])
        out = out.reshape(num, height, width, 2, 2, self.units).transpose(0, 1, 3, 2, 4, 5)
        out = out.reshape(num, 2 * height, 2 * width, self.units)
        return add_bias(out, params[f"{self.name}/bias"])

    def flops(self, size: tuple[int, int]) -> float:
        """Return multiplications and additions for one image of this size."""
        return 8.0 * size[0] * size[1] * self.inputs * self.units


def chain(
    blocks: Sequence[ConvBlock], params: Params, state: State, x: Array, context: Context
) -> tuple[Array, State]:
    """Apply blocks one after the other."""
    for block in blocks:
        x, state = block.apply(params, state, x, context)
    return x, state
