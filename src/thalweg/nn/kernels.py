"""Products, sums and convolutions in the form that XLA's CPU compiler runs fast.

Everything here equals a plain JAX expression; only the lowering differs, and on accelerators the
plain expression is what runs. Measured on CPU (2 cores, AVX-512), inside a training loop:

- XLA moves a convolution to its fast library call only if it is NHWC/HWIO in form. The gradients
  that JAX derives are not, once the compiler has joined transposes with them; hence the explicit
  gradients below, with transposes behind ``lax.optimization_barrier``.
- A sum over rows is vectorised where it reads a matrix from memory, and 20 to 80 times slower
  where the compiler fuses it with what made the matrix, or sums over several axes.
- xᵀ·y with x wider than y runs at half to a fifth of the speed of (yᵀ·x)ᵀ.
- What is cheap to compute, sums of short rows included, is computed again by everything that reads
  it: the gradients of a chain of layer normalisations were half of a Transformer's step. A sum over
  the last axis as a product with ones is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

barrier = lax.optimization_barrier
NHWC = ("NHWC", "HWIO", "NHWC")
# Up to so many input channels, gathering patches costs less than the library's own gathering,
# which copies runs of one pixel's channels.
FEW_CHANNELS = 4


def on_cpu() -> bool:
    """Return whether programs are compiled for the CPU."""
    return jax.default_backend() == "cpu"


def apart(function: Callable[[Array], Any], x: Array) -> Any:
    """Return ``function(x)``, stored once and not computed again by everything that reads it.

    XLA's CPU compiler joins cheap operations into each of their readers, so that a pixel's maximum
    would be found four times more. It never joins across a branch. The other branch, taken where
    the first entry is not finite, gives NaN.
    """
    if not on_cpu():
        return function(x)

    def nothing(x: Array) -> Any:
        def empty(s: jax.ShapeDtypeStruct) -> Array:
            return jnp.full(
                s.shape, jnp.nan if jnp.issubdtype(s.dtype, jnp.floating) else 0, s.dtype
            )

        return jax.tree.map(empty, jax.eval_shape(function, x))

    return lax.cond(x[(0,) * x.ndim] < jnp.inf, function, nothing, x)


# ---------------------------------------------------------------------------------------- products


def transposed_product(x: Array, y: Array) -> Array:
    """Return xᵀ·y of x [M, I] and y [M, J]: [I, J]."""
    rows = (((0,), (0,)), ((), ()))
    if x.shape[1] <= y.shape[1]:
        return lax.dot_general(x, y, rows)
    return barrier(lax.dot_general(y, x, rows)).T


@jax.custom_vjp
def matmul(x: Array, w: Array) -> Array:
    """Return x·w of x [M, I] and w [I, J], with gradients in the fast orientation."""
    return x @ w


def _matmul_forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ w, (x, w)


def _matmul_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, w = saved
    return lax.dot_general(dy, w, (((1,), (1,)), ((), ()))), transposed_product(x, dy)


matmul.defvjp(_matmul_forward, _matmul_backward)


def sum_rows(x: Array, weight: Array | None = None) -> Array:
    """Return the (weighted) sum of x [..., C] over all axes but the last, [C].

    Args:
        x: what is summed.
        weight: a number for each row of the matrix that x is, [M]; or None for 1.
    """
    rows = x.reshape(-1, x.shape[-1])
    if weight is None:
        if not on_cpu():
            return rows.sum(0)
        weight = jnp.ones(rows.shape[0], x.dtype)
    return lax.dot_general(
        weight[None], rows, (((1,), (0,)), ((), ())), precision=lax.Precision.HIGHEST
    )[0]


def sum_last(x: Array) -> Array:
    """Return the sum of x [..., C] over its last axis, [...]."""
    if not on_cpu():
        return x.sum(-1)
    ones = jnp.ones(x.shape[-1], x.dtype)
    return lax.dot_general(
        x, ones, (((x.ndim - 1,), (0,)), ((), ())), precision=lax.Precision.HIGHEST
    )


@jax.custom_vjp
def add_bias(x: Array, bias: Array) -> Array:
    """Return x [..., C] + bias [C], with the bias' gradient as a fast sum."""
    return x + bias


def _add_bias_forward(x: Array, bias: Array) -> tuple[Array, None]:
    return x + bias, None


def _add_bias_backward(_: None, dy: Array) -> tuple[Array, Array]:
    return dy, sum_rows(dy)


add_bias.defvjp(_add_bias_forward, _add_bias_backward)


@jax.custom_vjp
def affine(x: Array, scale: Array, bias: Array) -> Array:
    """Return x [..., C] · scale [C] + bias [C], with the gradients of both as fast sums."""
    return x * scale + bias


def _affine_forward(x: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    return x * scale + bias, (x, scale)


def _affine_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array, Array]:
    x, scale = saved
    return dy * scale, sum_rows(dy * x), sum_rows(dy)


affine.defvjp(_affine_forward, _affine_backward)


# ------------------------------------------------------------------------------------ convolutions


@dataclass(frozen=True)
class Window:
    """How a kernel moves over an image.

    Args:
        kernel: its height and width.
        stride: step in each direction.
        padding: zeros before and after, in each direction.
        dilation: distance between the inputs that neighbouring entries of the kernel see.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)

    def outputs(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the result for an input of this height and width."""
        reach = (d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        height, width = (
            (n + sum(p) - r) // s + 1
            for n, p, r, s in zip(size, self.padding, reach, self.stride, strict=True)
        )
        return height, width

    @property
    def pointwise(self) -> bool:
        """Whether this is a 1×1 kernel over every pixel."""
        return self.kernel == (1, 1) == self.stride and self.padding == ((0, 0), (0, 0))


def _offsets(window: Window) -> list[tuple[int, int]]:
    """Return the position of each entry of the kernel in the padded input, row by row."""
    (kh, kw), (dh, dw) = window.kernel, window.dilation
    return [(i * dh, j * dw) for i in range(kh) for j in range(kw)]


def shifted(x: Array, window: Window) -> list[Array]:
    """Return what each entry of the kernel sees: kh·kw arrays [N, Ho, Wo, C]."""
    n, height, width, c = x.shape
    (sh, sw), (ho, wo) = window.stride, window.outputs((height, width))
    if window.padding != ((0, 0), (0, 0)):
        x = jnp.pad(x, ((0, 0), *window.padding, (0, 0)))
    return [
        lax.slice(x, (0, i, j, 0), (n, i + sh * (ho - 1) + 1, j + sw * (wo - 1) + 1, c),
                  (1, sh, sw, 1))
        for i, j in _offsets(window)
    ]  # fmt: skip


def _patches(x: Array, window: Window) -> Array:
    """Return the inputs of every output, [N·Ho·Wo, kh·kw·C]."""
    taps = jnp.concatenate(shifted(x, window), axis=-1)
    return barrier(taps.reshape(-1, taps.shape[-1]))


def _gather(x: Array, window: Window) -> bool:
    """Return whether a convolution of ``x`` is a product with gathered patches."""
    return window.pointwise or x.shape[-1] <= FEW_CHANNELS


def _rows(x: Array, window: Window) -> Array:
    return x.reshape(-1, x.shape[-1]) if window.pointwise else _patches(x, window)


def _forward(x: Array, w: Array, window: Window) -> Array:
    """Return the convolution of x [N, H, W, C] with w [kh, kw, C, O]."""
    if _gather(x, window):
        out = _rows(x, window) @ w.reshape(-1, w.shape[-1])
        return out.reshape(x.shape[0], *window.outputs((x.shape[1], x.shape[2])), w.shape[-1])
    return lax.conv_general_dilated(
        x, w, window.stride, window.padding, rhs_dilation=window.dilation, dimension_numbers=NHWC
    )


def _dense_gradient(
    window: Window, size: tuple[int, int], outputs: tuple[int, int], channels: int
) -> bool:
    """Return whether a convolution's input gradient is best taken as a convolution itself.

    That convolution also multiplies the zeros it is padded with; the alternative, a product whose
    columns are then added up where they belong, moves more memory.
    """
    if window.stride != (1, 1) or window.pointwise or channels < 16:
        return False
    reach = [d * (k - 1) for k, d in zip(window.kernel, window.dilation, strict=True)]
    if any(low > r for (low, _), r in zip(window.padding, reach, strict=True)):
        return False
    return size[0] * size[1] <= 1.3 * outputs[0] * outputs[1]


def _input_gradient(dy: Array, w: Array, window: Window, size: tuple[int, int]) -> Array:
    """Return the gradient of a convolution's input [N, H, W, C] from that of its output."""
    (n, ho, wo, o), c = dy.shape, w.shape[2]
    (top, _), (left, _) = window.padding
    (sh, sw), (height, width) = window.stride, size
    if _dense_gradient(window, size, (ho, wo), c):
        reach = [d * (k - 1) for k, d in zip(window.kernel, window.dilation, strict=True)]
        return lax.conv_general_dilated(
            dy,
            barrier(jnp.flip(w, (0, 1)).swapaxes(2, 3)),
            (1, 1),
            [(reach[0] - top, height - ho + top), (reach[1] - left, width - wo + left)],
            rhs_dilation=window.dilation,
            dimension_numbers=NHWC,
        )
    taps = lax.dot_general(dy.reshape(-1, o), w.reshape(-1, c, o), (((1,), (2,)), ((), ())))
    if window.pointwise:
        return taps.reshape(n, ho, wo, c)

    def added(taps: Array) -> Array:
        taps = taps.reshape(n, ho, wo, -1, c)
        total = None
        for k, (i, j) in enumerate(_offsets(window)):
            # Where the padding is cut off again, so is what reached into it.
            low = (i - top, j - left)
            reach = (low[0] + sh * (ho - 1) + 1, low[1] + sw * (wo - 1) + 1)
            sides = (
                (0, 0, 0),
                (low[0], height - reach[0], sh - 1),
                (low[1], width - reach[1], sw - 1),
                (0, 0, 0),
            )
            part = lax.pad(taps[:, :, :, k], jnp.zeros((), dy.dtype), sides)
            total = part if total is None else total + part
        assert total is not None
        return total

    return apart(added, taps)


def _weight_gradient(x: Array, dy: Array, window: Window) -> Array:
    """Return the gradient of a convolution's kernel [kh, kw, C, O]."""
    kernel, c, o = window.kernel, x.shape[-1], dy.shape[-1]
    if window.pointwise or (_gather(x, window) and window.stride != (1, 1)):
        product = transposed_product(_rows(x, window), dy.reshape(-1, o))
        return product.reshape(*kernel, c, o)
    # The rows of the batch take the place of the channels: x is [C, H, W, N] and dy the kernel.
    padding = []
    for n, k, m, s, d, (low, _) in zip(
        x.shape[1:3], kernel, dy.shape[1:3], window.stride, window.dilation, window.padding,
        strict=True,
    ):  # fmt: skip
        padding.append((low, d * (k - 1) + s * (m - 1) + 1 - n - low))
    for axis, (_, high) in enumerate(padding):
        if high < 0:
            x = lax.slice_in_dim(x, 0, x.shape[axis + 1] + high, axis=axis + 1)
    grad = lax.conv_general_dilated(
        barrier(x.transpose(3, 1, 2, 0)),
        barrier(dy.transpose(1, 2, 0, 3)),
        window.dilation,
        [(low, max(high, 0)) for low, high in padding],
        rhs_dilation=window.stride,
        dimension_numbers=NHWC,
    )
    return grad.transpose(1, 2, 0, 3)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: Array, w: Array, window: Window) -> Array:
    return _forward(x, w, window)


def _convolve_forward(x: Array, w: Array, window: Window) -> tuple[Array, tuple[Array, Array]]:
    return _forward(x, w, window), (x, w)


def _convolve_backward(
    window: Window, saved: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, w = saved
    size = (x.shape[1], x.shape[2])
    return _input_gradient(dy, w, window, size), _weight_gradient(x, dy, window)


_convolve.defvjp(_convolve_forward, _convolve_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _spread(x: Array, w: Array, window: Window, size: tuple[int, int]) -> Array:
    return _input_gradient(x, w, window, size)


def _spread_forward(
    x: Array, w: Array, window: Window, size: tuple[int, int]
) -> tuple[Array, tuple[Array, Array]]:
    return _input_gradient(x, w, window, size), (x, w)


def _spread_backward(
    window: Window, size: tuple[int, int], saved: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, w = saved
    return _forward(dy, w, window), _weight_gradient(dy, x, window)


_spread.defvjp(_spread_forward, _spread_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _depthwise(x: Array, w: Array, window: Window) -> Array:
    taps = shifted(x, window)
    return sum((t * w[k] for k, t in enumerate(taps[1:], 1)), start=taps[0] * w[0])


def _depthwise_forward(x: Array, w: Array, window: Window) -> tuple[Array, tuple[Array, Array]]:
    return _depthwise(x, w, window), (x, w)


def _depthwise_backward(
    window: Window, saved: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, w = saved
    taps, pull = jax.vjp(lambda x: shifted(x, window), x)
    (dx,) = pull([dy * w[k] for k in range(len(taps))])
    return dx, jnp.stack([sum_rows(t * dy) for t in taps])


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def convolve(x: Array, w: Array, window: Window, groups: int = 1) -> Array:
    """Return the convolution (cross-correlation, as everywhere in the field) of images.

    y[n, i, j, o] = Σ x[n, s·i + d·a − p, s·j + d·b − p, c] · w[a, b, c, o] over a, b, c

    Args:
        x: images, [N, H, W, C].
        w: kernel, [kh, kw, C / groups, O].
        window: stride, padding and dilation.
        groups: parts into which channels are cut, each with its own kernels; C for depthwise.

    Returns:
        [N, Ho, Wo, O].
    """
    channels, outputs = x.shape[-1], w.shape[-1]
    if not on_cpu():
        return lax.conv_general_dilated(
            x, w, window.stride, window.padding, rhs_dilation=window.dilation,
            dimension_numbers=NHWC, feature_group_count=groups,
        )  # fmt: skip
    if groups == 1:
        return _convolve(x, w, window)
    if groups == channels:
        # Output o reads channel o // multiplier.
        repeated = jnp.repeat(x, outputs // channels, axis=-1) if outputs > channels else x
        return _depthwise(repeated, w.reshape(-1, outputs), window)
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(w, groups, axis=-1), strict=True)
    return jnp.concatenate([_convolve(a, b, window) for a, b in parts], axis=-1)


def convolve_transposed(x: Array, w: Array, window: Window, size: tuple[int, int]) -> Array:
    """Return the adjoint of a convolution: what spreads each input over a patch of the output.

    Args:
        x: images, [N, Ho, Wo, O], of the size that a convolution of ``size`` would give.
        w: kernel of that convolution, [kh, kw, C, O].
        window: its stride, padding and dilation.
        size: height and width of the result.

    Returns:
        [N, *size, C].
    """
    if on_cpu():
        return _spread(x, w, window, size)
    padding = [
        (d * (k - 1) - low, n + low - 1 - s * (m - 1))
        for n, m, k, s, d, (low, _) in zip(
            size, x.shape[1:3], window.kernel, window.stride, window.dilation, window.padding,
            strict=True,
        )
    ]  # fmt: skip
    return lax.conv_general_dilated(
        x, jnp.flip(w, (0, 1)).swapaxes(2, 3), (1, 1), padding, lhs_dilation=window.stride,
        rhs_dilation=window.dilation, dimension_numbers=NHWC,
    )  # fmt: skip
