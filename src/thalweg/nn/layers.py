"""Layers of tables' networks: small frozen specs with ``params`` and ``apply``.

Everything is written for ONE member; the cohort adds its axis by vmap. A layer declares its
parameters (``params() -> {name: Param}``) and computes its output; stateful layers also declare
``state()`` and return the new state. Shapes: B rows, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from thalweg.nn import noise
from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import add_bias, matmul
from thalweg.nn.noise import Key

Params = dict[str, Array]
State = dict[str, Array]


@dataclass(frozen=True)
class Context:
    """What a forward pass needs to know besides its inputs.

    Args:
        train: whether dropout acts and batch statistics are used.
        dropout: the member's rate, or None where the program has no dropout in it.
        key: the step's key (one for all members of a seed), or None outside training.
        weight: weight of each row, [B], or None where all count alike.
        input_noise: deviation of the noise on numeric inputs, or None where nobody has any.
        mix: each row's share in its mixture with another row (mixup), or None.
        cutmix: share of the steps at which mixing cuts out boxes of images, or None.
        augment: strengths of the augmentations in use by name, or None.
    """

    train: bool = False
    dropout: Array | None = None
    key: Key | None = None
    weight: Array | None = None
    input_noise: Array | None = None
    mix: Array | None = None
    cutmix: Array | None = None
    augment: Mapping[str, Array] | None = None


def mish(x: Array) -> Array:
    """Return x · tanh(softplus(x)). Source: Misra, "Mish", 2019."""
    return x * jnp.tanh(jax.nn.softplus(x))


def gelu(x: Array) -> Array:
    """Return x · Φ(x), exact. Source: Hendrycks and Gimpel, 2016."""
    return jax.nn.gelu(x, approximate=False)


def leaky_relu(x: Array) -> Array:
    """Return max(x, 0.01 x). Source: Maas et al., 2013."""
    return jax.nn.leaky_relu(x, 0.01)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "leaky_relu": leaky_relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "gelu": gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "mish": mish,
    "identity": lambda x: x,
}
"""Activation functions by name (the names of ``thalweg.space.ACTIVATIONS``)."""

RISING = frozenset(("relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "softplus", "identity"))
"""Those that never fall: the largest of their values is the value of the largest."""


@dataclass(frozen=True)
class Dense:
    """y = x W + b, from [..., inputs] to [..., units].

    Args:
        name: prefix of the parameters.
        inputs: length of a row.
        units: length of its image.
        bias: whether there is a b.
    """

    name: str
    inputs: int
    units: int
    bias: bool = True

    def params(self) -> dict[str, Param]:
        """Return kernel [inputs, units] and bias [units]."""
        shape = (self.inputs, self.units)
        specs = {f"{self.name}/kernel": Param(shape, "kernel", *shape)}
        if self.bias:
            specs[f"{self.name}/bias"] = Param((self.units,), "bias")
        return specs

    def apply(self, params: Params, x: Array) -> Array:
        """Return the affine map of ``x`` [..., inputs], by one product of all rows."""
        kernel = params[f"{self.name}/kernel"]
        if x.ndim > 2:
            flat = matmul(x.reshape(-1, self.inputs), kernel)
            if self.bias:
                flat = add_bias(flat, params[f"{self.name}/bias"])
            return flat.reshape(*x.shape[:-1], self.units)
        product = x @ kernel
        return product + params[f"{self.name}/bias"] if self.bias else product


@dataclass(frozen=True)
class Embedding:
    """One table of vectors for each categorical column; the vectors of a row are concatenated.

    Args:
        name: prefix of the parameters.
        cardinalities: number of codes of each column (code 0 stands for unseen, rare or missing).
        widths: length of each column's vectors.
    """

    name: str
    cardinalities: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def units(self) -> int:
        """Length of the concatenated vector."""
        return sum(self.widths)

    def params(self) -> dict[str, Param]:
        """Return one table [cardinality, width] a column."""
        return {
            f"{self.name}/{i}": Param((c, w), "embedding", c, w)
            for i, (c, w) in enumerate(zip(self.cardinalities, self.widths, strict=True))
        }

    def apply(self, params: Params, codes: Array) -> Array:
        """Map codes [B, C] to [B, units]."""
        columns = [params[f"{self.name}/{i}"][codes[:, i]] for i in range(len(self.widths))]
        return jnp.concatenate(columns, axis=-1)


def dropout(x: Array, context: Context, salt: int) -> Array:
    """Drop entries with the member's rate and scale the rest up.

    The uniform noise is common to the members of a seed and compared with each one's own rate, so a
    member with a higher rate drops all that one with a lower rate drops. Source: Srivastava et al.,
    2014 (in the inverted form).
    """
    if not context.train or context.dropout is None or context.key is None:
        return x
    keep = noise.uniform(noise.fold(context.key, salt), x.shape) >= context.dropout
    return jnp.where(keep, x / (1.0 - context.dropout), 0.0)


def spatial_dropout(x: Array, context: Context, salt: int) -> Array:
    """Drop whole channels of x [B, ..., C] with the member's rate and scale the rest up.

    Neighbouring pixels say nearly the same, so that dropping single ones takes little away. Source:
    Tompson et al., "Efficient Object Localization Using Convolutional Networks", 2015, section 3.2.
    """
    if not context.train or context.dropout is None or context.key is None:
        return x
    shape = (x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])
    keep = noise.uniform(noise.fold(context.key, salt), shape) >= context.dropout
    return x * jnp.where(keep, 1.0 / (1.0 - context.dropout), 0.0).astype(x.dtype)


def numeric_noise(x: Array, context: Context) -> Array:
    """Add Gaussian noise of the member's deviation to numeric inputs [B, F]."""
    if not context.train or context.input_noise is None or context.key is None:
        return x
    return x + context.input_noise * noise.normal(noise.fold(context.key, 10_001), x.shape)


def mixup(x: Array, context: Context) -> Array:
    """Mix each row with the one at the other end of the batch. Source: Zhang et al., 2018."""
    if not context.train or context.mix is None:
        return x
    return context.mix * x + (1.0 - context.mix) * x[::-1]
