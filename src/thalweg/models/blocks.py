"""What the networks of vision tasks are put together from.

Images stay [B, H, W, C] throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jax import Array

from thalweg.models.base import InputShape, images_of
from thalweg.models.cnn import Block
from thalweg.nn.augment import augment
from thalweg.nn.convolution import Conv2D
from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import add_bias, matmul
from thalweg.nn.layers import Context, Params, State
from thalweg.nn.normalisation import norm_of


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
