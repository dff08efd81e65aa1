"""What every family of networks offers to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.nn.initialisers import Param
from thalweg.nn.layers import Context, Params, State


@dataclass(frozen=True)
class InputShape:
    """What the network reads: the shape of each field that there is.

    Args:
        numeric: number of numeric columns.
        cardinalities: number of codes of each categorical column.
        image: height, width and channels of the field ``image``, uint8 [N, H, W, C].
        image_mean: mean of each channel over the training images, in units of 0 to 255.
        image_std: standard deviation of each channel.
        sequence: steps and channels of the field ``sequence``, float32 [N, T, V].
        masked: whether the field ``length`` [N] says how many steps of a sequence count.
        future: steps and channels of the field ``future``, inputs known ahead, float32 [N, H, K].
        band_mean: mean of each band where the sequence is a spectrogram, the logarithm of power.
        band_std: standard deviation of each band.
        stepwise: whether an output is wanted at each step of the sequence.
        num_targets: so many first channels of a sequence are what is forecast.
        tokens: columns and number of ids of the field ``tokens``, int32 [N, T].
        terms: columns and number of ids of the field ``terms``, int32 [N, M]; their weights are
            the field ``term_weight``, float32 [N, M].
        language: whether each token is to be predicted from those before it.
        pretrained: JSON of what is known of a pretrained encoder; empty for none.
        source: length and number of ids of the field ``source``, int32 [N, S], a text to translate.
        written: the same of what is written, the field ``previous``, int32 [N, T].
        shared_vocabulary: whether both have the same ids.
    """

    numeric: int = 0
    cardinalities: tuple[int, ...] = ()
    image: tuple[int, int, int] | None = None
    image_mean: tuple[float, ...] = ()
    image_std: tuple[float, ...] = ()
    sequence: tuple[int, int] | None = None
    masked: bool = False
    future: tuple[int, int] | None = None
    band_mean: tuple[float, ...] = ()
    band_std: tuple[float, ...] = ()
    stepwise: bool = False
    num_targets: int = 0
    tokens: tuple[int, int] | None = None
    terms: tuple[int, int] | None = None
    language: bool = False
    pretrained: str = ""
    source: tuple[int, int] | None = None
    written: tuple[int, int] | None = None
    shared_vocabulary: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        record = {f.name: getattr(self, f.name) for f in fields(self)}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in record.items()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> InputShape:
        """Rebuild from ``to_dict``; what the record leaves out is not there."""
        values: dict[str, Any] = {
            n: tuple(v) if isinstance(v, list) else v for n, v in record.items()
        }
        return cls(**values)


def flat_size(inputs: InputShape) -> int:
    """Return the length of what ``flat_inputs`` gives for a row."""
    shapes = (inputs.image, inputs.sequence, inputs.future)
    return inputs.numeric + int(sum(np.prod(shape) for shape in shapes if shape is not None))


def flat_inputs(inputs: InputShape, fields: Mapping[str, Array]) -> Array:
    """Return all numbers of a row side by side, [B, D]: columns, pixels, steps."""
    parts = [fields["numeric"]] if inputs.numeric else []
    if inputs.image is not None:
        image = images_of(inputs, fields)
        parts.append(image.reshape(image.shape[0], -1))
    for name in ("sequence", "future"):
        if getattr(inputs, name) is not None:
            parts.append(fields[name].reshape(fields[name].shape[0], -1))
    if not parts:
        return jnp.zeros((next(iter(fields.values())).shape[0], 0), jnp.float32)
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def images_of(inputs: InputShape, fields: Mapping[str, Array]) -> Array:
    """Return images [B, H, W, C] with mean 0 and deviation 1 in each channel."""
    mean = np.asarray(inputs.image_mean, np.float32)
    scale = 1.0 / np.maximum(np.asarray(inputs.image_std, np.float32), 1e-6)
    return (fields["image"].astype(jnp.float32) - mean) * scale


@dataclass(frozen=True)
class Lookup:
    """Where the rows of a table of vectors are looked up, for one of a network's parameters.

    Args:
        field: the field that holds the codes.
        column: its column that does; None where every entry of the field does (tokens).
        zero_unknown: whether code 0 counts as a vector of zeros, whatever the table has there.
    """

    field: str
    column: int | None
    zero_unknown: bool = False


def lookups_of(network: Network) -> Mapping[str, Lookup]:
    """Return the parameters that are tables of vectors, with what is looked up in them.

    Networks that have any say so by a method ``lookups``.
    """
    own = getattr(network, "lookups", None)
    return own() if own is not None else {}


class Network(Protocol):
    """A network of one family and structure, for one member."""

    def params(self) -> dict[str, Param]:
        """Return the parameters by name."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return the state besides parameters (running averages) before training."""
        ...

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return raw outputs [B, O] and the new state."""
        ...

    def flops(self) -> float:
        """Return the multiplications and additions of one row's forward pass."""
        ...


class Ragged(Protocol):
    """A network that reads rows of differing lengths, and costs less where all are short."""

    @property
    def cuts(self) -> tuple[dict[str, int], ...]:
        """Columns of each field that the network may be given instead of all, the fewest first."""
        ...

    def used(self, fields: Mapping[str, Array]) -> Array:
        """Return how many columns of the first of these fields each row fills, [B]."""
        ...


SHARES = (0.25, 0.5, 1.0)
"""Shares of the full length that a network for rows of differing lengths is compiled for."""
SHORTEST = 16


def shares_of(columns: int) -> tuple[int, ...]:
    """Return the lengths worth a program of their own, the full one last."""
    made = sorted({min(columns, -(-int(columns * share) // 8) * 8) for share in SHARES})
    return tuple(size for size in made if size >= min(SHORTEST, columns))


def cuts_of(network: Network) -> tuple[dict[str, int], ...]:
    """Return the cuts of a ``Ragged`` network; none of others, or where there is one only."""
    cuts = getattr(network, "cuts", ())
    return cuts if len(cuts) > 1 else ()


def cut_fields(fields: Mapping[str, Any], cut: Mapping[str, int]) -> dict[str, Any]:
    """Return fields of which some have their first columns only."""
    return {name: v[:, : cut[name]] if name in cut else v for name, v in fields.items()}


class Stateless:
    """A network that carries nothing from step to step besides its parameters."""

    def state(self) -> dict[str, np.ndarray]:
        """Return nothing: there is no state."""
        return {}


def count_params(network: Network) -> int:
    """Return the number of trained numbers in a network."""
    return int(sum(np.prod(spec.shape, dtype=np.int64) for spec in network.params().values()))


def activation_floats(network: Network) -> float:
    """Return the numbers that a row's forward pass computes on its way.

    Networks whose layers have more of them than units say so by a method of that name.
    """
    own = getattr(network, "activation_floats", None)
    if own is not None:
        return float(own())
    return float(sum(spec.shape[-1] for spec in network.params().values() if len(spec.shape) > 1))
