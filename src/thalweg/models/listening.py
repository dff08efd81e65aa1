"""Networks that read spectrograms: those for images and for sequences, behind one ear.

What is heard is changed at random in training, standardised band by band, and masked; then an image
of frames and bands is read by the families for images, a sequence of frames by those for sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.models.base import InputShape, Network, activation_floats
from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import apart
from thalweg.nn.layers import Context, Params, State
from thalweg.nn.spectrogram import changed, masked
from thalweg.space import Structure

SILENCE = -10.0
"""Logarithm of the least power of a band: that of ``thalweg.data.audio``."""


@dataclass(frozen=True)
class Listening:
    """A network that reads spectrograms.

    Args:
        network: reads the field ``image`` or ``sequence``, standardised.
        inputs: what is heard.
        as_image: whether it reads images [B, T, F, 1].
    """

    network: Network
    inputs: InputShape
    as_image: bool

    def params(self) -> dict[str, Param]:
        """Return the network's parameters."""
        return self.network.params()

    def state(self) -> dict[str, np.ndarray]:
        """Return the network's state."""
        return self.network.state()

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return the network's outputs and its new state."""
        x, length = heard(self.inputs, fields, context)
        # What changes images has no meaning for spectrograms.
        inner = replace(context, augment=None)
        if self.as_image:
            return self.network.apply(params, state, {"image": x[..., None]}, inner)
        return self.network.apply(params, state, {"sequence": x, "length": length}, inner)

    def flops(self) -> float:
        """Return the multiplications and additions of one recording."""
        return self.network.flops()

    def activation_floats(self) -> float:
        """Return the numbers that one recording's forward pass computes on its way."""
        assert self.inputs.sequence is not None
        return activation_floats(self.network) + 2.0 * float(np.prod(self.inputs.sequence))


def heard(inputs: InputShape, fields: Mapping[str, Array], context: Context) -> tuple[Array, Array]:
    """Return standardised spectrograms [B, T, F], changed in training, and their lengths."""
    x, length = fields["sequence"].astype(jnp.float32), fields["length"]
    mean = np.asarray(inputs.band_mean, np.float32)
    scale = 1.0 / np.maximum(np.asarray(inputs.band_std, np.float32), 1e-6)
    strengths, key = context.augment, context.key
    if not context.train or key is None or not strengths:
        return (x - mean) * scale, length

    def altered(x: Array) -> tuple[Array, Array]:
        moved, frames = changed(x, length, strengths, key, SILENCE)
        return masked((moved - mean) * scale, frames, strengths, key), frames

    # Apart, or each tap of the first convolution would compute its own spectrogram again.
    return apart(altered, x)


def listening(
    build: Callable[[Structure, InputShape, int], Network],
    structure: Structure,
    inputs: InputShape,
    num_outputs: int,
    *,
    as_image: bool,
) -> Listening:
    """Return a family's network behind an ear."""
    assert inputs.sequence is not None
    if as_image:
        # What arrives is standardised already.
        inner = InputShape(image=(*inputs.sequence, 1), image_mean=(0.0,), image_std=(1.0,))
    else:
        inner = InputShape(sequence=inputs.sequence, masked=inputs.masked)
    return Listening(build(structure, inner, num_outputs), inputs, as_image)
