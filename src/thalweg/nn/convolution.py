"""Convolutions over images and sequences as small frozen specs.

Images are [B, H, W, C] and sequences [B, T, C]: channels last. As everywhere in the field, the
kernel is not mirrored (cross-correlation). How they are computed is the matter of ``kernels.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jax import Array

from thalweg.errors import OptionError
from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import Window, add_bias, convolve, convolve_transposed
from thalweg.nn.layers import Params

Padding = Literal["same", "valid", "causal"] | int


def _padding(
    padding: Padding, size: int, kernel: int, stride: int, dilation: int
) -> tuple[int, int]:
    """Return the zeros before and after an axis of this size.

    ``"same"`` gives ceil(size / stride) outputs, with the odd zero at the end (as in Keras).
    """
    reach = dilation * (kernel - 1) + 1
    if isinstance(padding, int):
        return padding, padding
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return reach - 1, 0
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _kernel_params(
    name: str, kernel: tuple[int, ...], inputs: int, units: int, groups: int, bias: bool
) -> dict[str, Param]:
    if inputs % groups or units % groups:
        raise OptionError(
            f"groups must divide the channels of layer {name}; got groups={groups} for {inputs} "
            f"in and {units} out: use a common divisor"
        )
    area = 1
    for side in kernel:
        area *= side
    shape = (*kernel, inputs // groups, units)
    specs = {f"{name}/kernel": Param(shape, "kernel", area * inputs // groups, area * units)}
    if bias:
        specs[f"{name}/bias"] = Param((units,), "bias")
    return specs


@dataclass(frozen=True)
class Conv2D:
    """y[i, j, o] = b[o] + Σ x[s·i + d·a − p, s·j + d·e − p, c] · w[a, e, c, o] over a, e, c.

    Args:
        name: prefix of the parameters.
        inputs: channels in.
        units: channels out.
        kernel_size: side of the kernel, or height and width.
        stride: step of the kernel.
        padding: ``"same"`` (as many outputs as inputs, divided by the stride), ``"valid"`` (none),
            or the zeros at each edge.
        dilation: distance between the pixels that neighbouring entries of the kernel see.
        groups: parts into which the channels are cut, each convolved on its own; ``inputs`` for a
            depthwise convolution.
        bias: whether there is a b.
    """

    name: str
    inputs: int
    units: int
    kernel_size: int | tuple[int, int] = 3
    stride: int | tuple[int, int] = 1
    padding: Padding = "same"
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    bias: bool = True

    def params(self) -> dict[str, Param]:
        """Return kernel [kh, kw, inputs / groups, units] and bias [units].

        Raises:
            OptionError: where ``groups`` does not divide the channels.
        """
        kernel = _pair(self.kernel_size)
        return _kernel_params(self.name, kernel, self.inputs, self.units, self.groups, self.bias)

    def window(self, size: tuple[int, int]) -> Window:
        """Return how the kernel moves over an image of this height and width."""
        kernel, stride, dilation = map(_pair, (self.kernel_size, self.stride, self.dilation))
        rows, columns = (
            _padding(self.padding, *axis)
            for axis in zip(size, kernel, stride, dilation, strict=True)
        )
        return Window(kernel, stride, (rows, columns), dilation)

    def outputs(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the output for an image of this height and width."""
        return self.window(size).outputs(size)

    def apply(self, params: Params, x: Array) -> Array:
        """Map images [B, H, W, inputs] to [B, Ho, Wo, units]."""
        window = self.window((x.shape[1], x.shape[2]))
        y = convolve(x, params[f"{self.name}/kernel"], window, self.groups)
        return add_bias(y, params[f"{self.name}/bias"]) if self.bias else y

    def flops(self, size: tuple[int, int]) -> float:
        """Return the multiplications and additions for one image of this height and width."""
        (kh, kw), (height, width) = _pair(self.kernel_size), self.outputs(size)
        return 2.0 * height * width * kh * kw * (self.inputs // self.groups) * self.units


@dataclass(frozen=True)
class Conv1D:
    """The same over time: y[t, o] = b[o] + Σ x[s·t + d·a − p, c] · w[a, c, o] over a, c.

    Args:
        name: prefix of the parameters.
        inputs: channels in.
        units: channels out.
        kernel_size: steps that the kernel sees.
        stride: step of the kernel.
        padding: as in ``Conv2D``; ``"causal"`` pads before the first step alone, so that no output
            sees a later input.
        dilation: distance between the steps that the kernel sees.
        groups: as in ``Conv2D``.
        bias: whether there is a b.
    """

    name: str
    inputs: int
    units: int
    kernel_size: int = 3
    stride: int = 1
    padding: Padding = "same"
    dilation: int = 1
    groups: int = 1
    bias: bool = True

    def params(self) -> dict[str, Param]:
        """Return kernel [k, inputs / groups, units] and bias [units].

        Raises:
            OptionError: where ``groups`` does not divide the channels.
        """
        kernel = (self.kernel_size,)
        return _kernel_params(self.name, kernel, self.inputs, self.units, self.groups, self.bias)

    def window(self, steps: int) -> Window:
        """Return how the kernel moves over so many steps: an image of one row."""
        own = _padding(self.padding, steps, self.kernel_size, self.stride, self.dilation)
        return Window((1, self.kernel_size), (1, self.stride), ((0, 0), own), (1, self.dilation))

    def outputs(self, steps: int) -> int:
        """Return the number of steps of the output."""
        return self.window(steps).outputs((1, steps))[1]

    def apply(self, params: Params, x: Array) -> Array:
        """Map sequences [B, T, inputs] to [B, To, units]."""
        kernel = params[f"{self.name}/kernel"]
        y = convolve(x[:, None], kernel[None], self.window(x.shape[1]), self.groups)[:, 0]
        return add_bias(y, params[f"{self.name}/bias"]) if self.bias else y

    def flops(self, steps: int) -> float:
        """Return the multiplications and additions for one sequence of so many steps."""
        taps = self.kernel_size * (self.inputs // self.groups)
        return 2.0 * self.outputs(steps) * taps * self.units


def _spread_size(padding: Padding, size: int, kernel: int, stride: int) -> int:
    if padding == "same":
        return size * stride
    cut = 2 * padding if isinstance(padding, int) else 0
    # What ``"valid"`` keeps where the kernel is shorter than its step, as in Keras.
    return (size - 1) * stride + max(kernel, stride if padding == "valid" else 0) - cut


@dataclass(frozen=True)
class ConvTranspose2D:
    """The adjoint of a convolution: every pixel is spread over a patch of a larger image.

    Args:
        name: prefix of the parameters.
        inputs: channels in.
        units: channels out.
        kernel_size: side of the patch, or height and width.
        stride: distance between the patches of neighbouring pixels.
        padding: ``"same"`` (the size times the stride), ``"valid"`` (everything that is reached),
            or pixels cut off at each edge (as in torch).
        bias: whether there is a bias.
    """

    name: str
    inputs: int
    units: int
    kernel_size: int | tuple[int, int] = 2
    stride: int | tuple[int, int] = 2
    padding: Padding = "same"
    bias: bool = True

    def params(self) -> dict[str, Param]:
        """Return kernel [kh, kw, units, inputs] (that of the convolution) and bias [units]."""
        kh, kw = _pair(self.kernel_size)
        # An output is reached by one in stride² of the kernel's entries.
        sh, sw = _pair(self.stride)
        fan_in = max(1, (kh * kw) // (sh * sw)) * self.inputs
        shape = (kh, kw, self.units, self.inputs)
        specs = {f"{self.name}/kernel": Param(shape, "kernel", fan_in, kh * kw * self.units)}
        if self.bias:
            specs[f"{self.name}/bias"] = Param((self.units,), "bias")
        return specs

    def outputs(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the output for an image of this height and width."""
        height, width = (
            _spread_size(self.padding, *axis)
            for axis in zip(size, _pair(self.kernel_size), _pair(self.stride), strict=True)
        )
        return height, width

    def apply(self, params: Params, x: Array) -> Array:
        """Map images [B, H, W, inputs] to [B, Ho, Wo, units]."""
        size = self.outputs((x.shape[1], x.shape[2]))
        kernel, stride = _pair(self.kernel_size), _pair(self.stride)
        rows, columns = (
            _padding(self.padding, *axis, 1) for axis in zip(size, kernel, stride, strict=True)
        )
        window = Window(kernel, stride, (rows, columns))
        y = convolve_transposed(x, params[f"{self.name}/kernel"], window, size)
        return add_bias(y, params[f"{self.name}/bias"]) if self.bias else y

    def flops(self, size: tuple[int, int]) -> float:
        """Return the multiplications and additions for one image of this height and width."""
        kh, kw = _pair(self.kernel_size)
        return 2.0 * size[0] * size[1] * kh * kw * self.inputs * self.units


@dataclass(frozen=True)
class ConvTranspose1D:
    """The adjoint of a convolution over time; arguments as in ``ConvTranspose2D``."""

    name: str
    inputs: int
    units: int
    kernel_size: int = 2
    stride: int = 2
    padding: Padding = "same"
    bias: bool = True

    def _image(self) -> ConvTranspose2D:
        return ConvTranspose2D(
            self.name,
            self.inputs,
            self.units,
            (1, self.kernel_size),
            (1, self.stride),
            self.padding,
            self.bias,
        )

    def params(self) -> dict[str, Param]:
        """Return kernel [k, units, inputs] and bias [units]."""
        specs = self._image().params()
        kernel = specs[f"{self.name}/kernel"]
        specs[f"{self.name}/kernel"] = Param(
            kernel.shape[1:], "kernel", kernel.fan_in, kernel.fan_out
        )
        return specs

    def outputs(self, steps: int) -> int:
        """Return the number of steps of the output."""
        return _spread_size(self.padding, steps, self.kernel_size, self.stride)

    def apply(self, params: Params, x: Array) -> Array:
        """Map sequences [B, T, inputs] to [B, To, units]."""
        own = _padding(self.padding, self.outputs(x.shape[1]), self.kernel_size, self.stride, 1)
        window = Window((1, self.kernel_size), (1, self.stride), ((0, 0), own))
        size = (1, self.outputs(x.shape[1]))
        y = convolve_transposed(x[:, None], params[f"{self.name}/kernel"][None], window, size)[:, 0]
        return add_bias(y, params[f"{self.name}/bias"]) if self.bias else y

    def flops(self, steps: int) -> float:
        """Return the multiplications and additions for one sequence of so many steps."""
        return 2.0 * steps * self.kernel_size * self.inputs * self.units
