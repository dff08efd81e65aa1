"""Normalisation of activations: over the rows of a batch, the units of a row, or groups of them.

All work on [B, units], [B, T, units] and [B, H, W, units]; statistics that go over positions too
(batch and group normalisation) count every step or pixel. Gradients are written out, as three sums
over rows and one elementwise pass, because the compiler's own form of them is several times slower
on CPU (see ``kernels.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import affine, sum_last, sum_rows
from thalweg.nn.layers import Context, Params, State


def _scale_and_bias(name: str, units: int) -> dict[str, Param]:
    return {f"{name}/scale": Param((units,), "scale"), f"{name}/bias": Param((units,), "bias")}


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(x: Array, scale: Array, bias: Array, eps: float) -> Array:
    """Return (x − mean) / sqrt(var + ε) · scale + bias over the last axis of x [..., units]."""
    return _layer_norm_forward(x, scale, bias, eps)[0]


def _layer_norm_forward(
    x: Array, scale: Array, bias: Array, eps: float
) -> tuple[Array, tuple[Array, ...]]:
    mean = (sum_last(x) / x.shape[-1])[..., None]
    rate = lax.rsqrt((sum_last(jnp.square(x - mean)) / x.shape[-1])[..., None] + eps)
    return (x - mean) * rate * scale + bias, (x, scale, mean, rate)


def _layer_norm_backward(
    eps: float, saved: tuple[Array, ...], dy: Array
) -> tuple[Array, Array, Array]:
    del eps
    x, scale, mean, rate = saved
    unit = (x - mean) * rate
    du = dy * scale
    along = (sum_last(du * unit) / x.shape[-1])[..., None]
    dx = rate * (du - (sum_last(du) / x.shape[-1])[..., None] - unit * along)
    return dx, sum_rows(dy * unit), sum_rows(dy)


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


@dataclass(frozen=True)
class LayerNorm:
    """(x − mean) / sqrt(var + ε) · scale + bias over the units of each row, step or pixel.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016.

    Args:
        name: prefix of the parameters.
        units: length of the last axis.
        eps: added to the variance.
    """

    name: str
    units: int
    eps: float = 1e-5

    def params(self) -> dict[str, Param]:
        """Return scale and bias, [units] each."""
        return _scale_and_bias(self.name, self.units)

    def apply(self, params: Params, x: Array) -> Array:
        """Normalise the last axis of ``x``."""
        scale, bias = params[f"{self.name}/scale"], params[f"{self.name}/bias"]
        return cast(Array, layer_norm(x, scale, bias, self.eps))


Normalised = tuple[Array, Array, Array]


def _normalised(x: Array, scale: Array, bias: Array, share: Array, eps: float) -> Normalised:
    mean = sum_rows(x, share)
    var = sum_rows(jnp.square(x - mean), share)
    slope = scale * lax.rsqrt(var + eps)
    return (x - mean) * slope + bias, mean, var


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _normalise_columns(x: Array, scale: Array, bias: Array, share: Array, eps: float) -> Normalised:
    """Normalise the columns of x [M, C] by row shares [M] that sum to 1.

    Returns the result, the means and the variances. No gradient flows through the latter two.
    """
    return _normalised(x, scale, bias, share, eps)


def _normalise_columns_forward(
    x: Array, scale: Array, bias: Array, share: Array, eps: float
) -> tuple[Normalised, tuple[Array, ...]]:
    y, mean, var = _normalised(x, scale, bias, share, eps)
    return (y, mean, var), (x, scale, share, mean, lax.rsqrt(var + eps))


def _normalise_columns_backward(
    eps: float, saved: tuple[Array, ...], gradients: Normalised
) -> tuple[Array, Array, Array, Array]:
    del eps
    (x, scale, share, mean, rate), dy = saved, gradients[0]
    d_bias = sum_rows(dy)
    d_scale = sum_rows(dy * (x - mean)) * rate
    # With u = r·(x − m): dx = r·a·(dy − s·Σ dy − s·u·Σ u·dy), for rows of share s and scale a.
    dx = (rate * scale) * (dy - share[:, None] * (d_bias + (x - mean) * (rate * d_scale)))
    return dx, d_scale, d_bias, jnp.zeros_like(share)


_normalise_columns.defvjp(_normalise_columns_forward, _normalise_columns_backward)


@dataclass(frozen=True)
class BatchNorm:
    """(x − mean) / sqrt(var + ε) · scale + bias over the rows (and steps or pixels) of a batch.

    Rows count by their weight, so that rows held out by weight 0 leak nowhere. Evaluation uses
    running averages (decay 0.9, the variance unbiased, as in torch). Source: Ioffe and Szegedy,
    "Batch Normalization", 2015, algorithms 1 and 2.

    Args:
        name: prefix of the parameters.
        units: length of the last axis.
        eps: added to the variance.
        decay: what a step keeps of the running averages.
    """

    name: str
    units: int
    eps: float = 1e-5
    decay: float = 0.9

    def params(self) -> dict[str, Param]:
        """Return scale and bias, [units] each."""
        return _scale_and_bias(self.name, self.units)

    def state(self) -> dict[str, np.ndarray]:
        """Return the running mean and variance before training, [units] each."""
        return {
            f"{self.name}/mean": np.zeros(self.units, np.float32),
            f"{self.name}/var": np.ones(self.units, np.float32),
        }

    def apply(
        self, params: Params, state: State, x: Array, context: Context
    ) -> tuple[Array, State]:
        """Normalise ``x`` [B, ..., units]; return it and the running averages."""
        running_mean, running_var = state[f"{self.name}/mean"], state[f"{self.name}/var"]
        scale, bias = params[f"{self.name}/scale"], params[f"{self.name}/bias"]
        if not context.train:
            # As one product and sum an entry.
            slope = scale * lax.rsqrt(running_var + self.eps)
            return x * slope + (bias - running_mean * slope), state
        rows = jnp.asarray(x).reshape(-1, self.units)
        positions = rows.shape[0] // x.shape[0]
        if context.weight is None:
            count = jnp.float32(rows.shape[0])
            share = jnp.full(rows.shape[0], 1.0 / rows.shape[0], rows.dtype)
        else:
            total = jnp.maximum(context.weight.sum() * positions, 1e-12)
            squares = jnp.maximum(jnp.square(context.weight).sum() * positions, 1e-12)
            count = jnp.square(total) / squares
            share = jnp.repeat(context.weight / total, positions).astype(rows.dtype)
        y, mean, var = cast(Normalised, _normalise_columns(rows, scale, bias, share, self.eps))
        unbiased = var * (count / jnp.maximum(count - 1.0, 1.0))
        state = {
            **state,
            f"{self.name}/mean": self.decay * running_mean + (1 - self.decay) * mean,
            f"{self.name}/var": self.decay * running_var + (1 - self.decay) * unbiased,
        }
        return y.reshape(x.shape), state


def _row_sums(x: Array) -> Array:
    """Return the sum of x [B, P, C] over P, [B, C], as a product (see ``sum_rows``)."""
    ones = jnp.ones((x.shape[0], 1, x.shape[1]), x.dtype)
    return lax.dot_general(ones, x, (((2,), (1,)), ((0,), (0,))), precision=lax.Precision.HIGHEST)[
        :, 0
    ]


def _group_means(x: Array, groups: int) -> Array:
    """Return the mean of x [B, P, C] over P and the channels of a group, for each of them."""
    size = x.shape[1] * x.shape[2] // groups
    sums = _row_sums(x).reshape(x.shape[0], groups, -1).sum(-1) / size
    return jnp.repeat(sums, x.shape[2] // groups, axis=-1)[:, None]


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _standardise_groups(x: Array, groups: int, eps: float) -> Array:
    mean = _group_means(x, groups)
    return (x - mean) * lax.rsqrt(_group_means(jnp.square(x - mean), groups) + eps)


def _standardise_groups_forward(
    x: Array, groups: int, eps: float
) -> tuple[Array, tuple[Array, Array, Array]]:
    mean = _group_means(x, groups)
    rate = lax.rsqrt(_group_means(jnp.square(x - mean), groups) + eps)
    return (x - mean) * rate, (x, mean, rate)


def _standardise_groups_backward(
    groups: int, eps: float, saved: tuple[Array, Array, Array], du: Array
) -> tuple[Array]:
    del eps
    x, mean, rate = saved
    unit = (x - mean) * rate
    return (rate * (du - _group_means(du, groups) - unit * _group_means(du * unit, groups)),)


_standardise_groups.defvjp(_standardise_groups_forward, _standardise_groups_backward)


@dataclass(frozen=True)
class GroupNorm:
    """(x − mean) / sqrt(var + ε) · scale + bias over all positions of a row's group of channels.

    With one group it normalises each row (image) as a whole. Source: Wu and He, "Group
    Normalization", 2018, equation 1.

    Args:
        name: prefix of the parameters.
        units: length of the last axis.
        groups: number of groups; it must divide ``units``.
        eps: added to the variance.
    """

    name: str
    units: int
    groups: int
    eps: float = 1e-5

    def params(self) -> dict[str, Param]:
        """Return scale and bias, [units] each."""
        return _scale_and_bias(self.name, self.units)

    def apply(self, params: Params, x: Array) -> Array:
        """Normalise ``x`` [B, ..., units]."""
        flat = x.reshape(x.shape[0], -1, self.units)
        unit = cast(Array, _standardise_groups(flat, self.groups, self.eps)).reshape(x.shape)
        return affine(unit, params[f"{self.name}/scale"], params[f"{self.name}/bias"])


MOST_GROUPS = 8
Norm = BatchNorm | LayerNorm | GroupNorm


def norm_of(kind: str, name: str, units: int, *, spatial: bool = False) -> Norm | None:
    """Return the normalisation layer of this kind, or None for ``"none"``.

    Args:
        kind: ``"none"``, ``"batch"``, ``"layer"`` or ``"group"`` (of at most 8 groups, the largest
            number that divides ``units``).
        name: prefix of its parameters.
        units: length of the last axis.
        spatial: whether there are positions (pixels) that ``"layer"`` is to normalise over too.
    """
    if kind == "batch":
        return BatchNorm(name, units)
    if kind == "layer":
        return GroupNorm(name, units, 1) if spatial else LayerNorm(name, units)
    if kind == "group":
        most = min(MOST_GROUPS, units)
        return GroupNorm(name, units, next(g for g in range(most, 0, -1) if units % g == 0))
    return None


def normalise(
    norm: Norm | None, params: Params, state: State, x: Array, context: Context
) -> tuple[Array, State]:
    """Apply a normalisation of any kind; return the result and the new running averages."""
    if norm is None:
        return x, state
    if isinstance(norm, BatchNorm):
        return norm.apply(params, state, x, context)
    return norm.apply(params, x), state
