"""Random changes of training spectrograms whose strengths are traced: one program for all of them.

They act on the logarithm of each band's power, where what a change of the waveform does is known:
another loudness adds a constant; independent noise adds its power to that of the recording (in
expectation; here it also fluctuates); a later start and another speed move frames; other
frequencies move bands, as those of another speaker do. Masks hide what is left (SpecAugment).

The draws come from the step's key, so every member of a seed sees the same ones and only strengths
differ. A strength of 0 leaves spectrograms exactly as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from thalweg.nn import noise

NAMES: tuple[str, ...] = (
    "time_stretch",
    "time_shift",
    "frequency_warp",
    "background_noise",
    "gain",
    "time_mask",
    "frequency_mask",
)
"""Augmentations in the order in which they act."""

NUM_MASKS = 2
"""Masks along each axis."""

_SALT = 30_011
_STRETCH, _SHIFT, _WARP, _NOISE, _GAIN = range(5)
_TIME, _FREQUENCY = 5, 5 + 2 * NUM_MASKS
_NUM_DRAWS = 5 + 4 * NUM_MASKS
_FLUCTUATION = 0.5
_DECIBEL = float(np.log(10.0) / 10.0)


def changed(
    x: Array, length: Array, strengths: Mapping[str, Array], key: noise.Key, silence: float
) -> tuple[Array, Array]:
    """Change each spectrogram of a batch at random, all but its masks; see ``masked``.

    With u uniform in [−1, 1) and v in [0, 1), drawn for each recording and each purpose:

    - ``time_stretch``: 1 + u · strength times as long, as far as there is room.
    - ``time_shift``: starts later by v · strength of the length T, as far as there is room: nothing
      is cut.
    - ``frequency_warp``: band f is taken from band f / (1 + u · strength): the place on the mel
      scale stands in for the frequency. Source: Jaitly and Hinton, "Vocal Tract Length Perturbation
      (VTLP) improves speech recognition", 2013.
    - ``background_noise``: noise of v · strength times the recording's mean power is added, the
      same in all bands but for a fluctuation.
    - ``gain``: louder by u · strength decibels.

    Args:
        x: logarithm of power [B, T, F].
        length: frames of each recording [B].
        strengths: of the augmentations in use, by name.
        key: the key of the step.
        silence: logarithm of the least power.

    Returns:
        The changed spectrograms and their lengths.
    """
    draws = _draws(key, x.shape[0])
    num_bands = x.shape[2]
    level = None
    if "background_noise" in strengths:
        level = jnp.log(_mean_power(x, length) + 1e-30)
    if "time_stretch" in strengths or "time_shift" in strengths:
        x, length = _moved(x, length, strengths, draws, silence)
    if "frequency_warp" in strengths:
        factor = 1.0 + _signed(draws[_WARP]) * strengths["frequency_warp"]
        places = jnp.arange(num_bands, dtype=x.dtype) / factor[:, None]
        # Beyond the highest band goes on what it has.
        weights = _hats(jnp.minimum(places, num_bands - 1.0), num_bands)
        x = jnp.einsum("btf,bgf->btg", x, weights)
    if level is not None:
        strength = draws[_NOISE] * strengths["background_noise"]
        rough = noise.normal(noise.fold(noise.fold(key, _SALT), 1), x.shape)
        power = jnp.log(strength + 1e-30) + level
        x = jnp.logaddexp(x, power[:, None, None] + _FLUCTUATION * rough)
    if "gain" in strengths:
        louder = _signed(draws[_GAIN]) * strengths["gain"] * _DECIBEL
        # Silence has no loudness to change.
        x = jnp.where(x > silence, jnp.maximum(x + louder[:, None, None], silence), x)
    return x, length


def masked(x: Array, length: Array, strengths: Mapping[str, Array], key: noise.Key) -> Array:
    """Set stretches of time and ranges of bands to 0, the mean of what is standardised.

    Two of each, each as long as v · strength of the recording (or v · strength of the bands), at a
    place drawn at random. Source: Park et al., "SpecAugment: A Simple Data Augmentation Method for
    Automatic Speech Recognition", 2019, section 2.

    Args:
        x: standardised spectrograms [B, T, F].
        length: frames of each recording [B].
        strengths: of the augmentations in use, by name.
        key: the key of the step.
    """
    draws = _draws(key, x.shape[0])
    if "time_mask" in strengths:
        kept = _kept(x.shape[1], length.astype(x.dtype), strengths["time_mask"], draws[_TIME:])
        x = x * kept[:, :, None]
    if "frequency_mask" in strengths:
        bands = jnp.full(x.shape[:1], x.shape[2], x.dtype)
        kept = _kept(x.shape[2], bands, strengths["frequency_mask"], draws[_FREQUENCY:])
        x = x * kept[:, None, :]
    return x


def _draws(key: noise.Key, num_rows: int) -> Array:
    # The barrier keeps XLA from computing small things again for every frame.
    draws = noise.uniform(noise.fold(key, _SALT), (_NUM_DRAWS, num_rows), axis=1)
    return lax.optimization_barrier(draws)


def _signed(draw: Array) -> Array:
    return 2.0 * draw - 1.0


def _mean_power(x: Array, length: Array) -> Array:
    """Return the mean power of all bands over the frames that count, [B]."""
    counts = (jnp.arange(x.shape[1]) < length[:, None]).astype(x.dtype)
    total = (jnp.exp(x).mean(2) * counts).sum(1)
    return total / jnp.maximum(counts.sum(1), 1.0)


def _moved(
    x: Array, length: Array, strengths: Mapping[str, Array], draws: Array, silence: float
) -> tuple[Array, Array]:
    """Return spectrograms played at another speed and later."""
    num_frames = x.shape[1]
    own = jnp.maximum(length.astype(x.dtype), 1.0)
    factor = jnp.ones_like(own)
    if "time_stretch" in strengths:
        factor = 1.0 + _signed(draws[_STRETCH]) * strengths["time_stretch"]
        factor = jnp.minimum(factor, num_frames / own)
    longer = jnp.clip(jnp.round(own * factor), 1.0, num_frames)
    later = jnp.zeros_like(own)
    if "time_shift" in strengths:
        later = draws[_SHIFT] * strengths["time_shift"] * num_frames
        later = jnp.round(jnp.minimum(later, num_frames - longer))
    places = (jnp.arange(num_frames, dtype=x.dtype) - later[:, None]) / factor[:, None]
    weights = _hats(places, num_frames)
    # Where nothing is, there is silence.
    moved = jnp.einsum("bts,bsf->btf", weights, x - silence) + silence
    return moved, (longer + later).astype(length.dtype)


def _hats(places: Array, size: int) -> Array:
    """Return the weights of linear interpolation at places [B, N]: [B, N, size]."""
    grid = jnp.arange(size, dtype=places.dtype)
    return jax.nn.relu(1.0 - jnp.abs(places[..., None] - grid))


def _kept(size: int, extent: Array, strength: Array, draws: Array) -> Array:
    """Return 0 where one of the masks lies and 1 elsewhere, [B, size].

    Args:
        size: frames or bands.
        extent: how many of them count [B].
        strength: widest mask, as a share of them.
        draws: width and place of each mask, [2 · masks, B].
    """
    place = jnp.arange(size, dtype=extent.dtype) + 0.5
    kept = jnp.ones((extent.shape[0], size), extent.dtype)
    for i in range(NUM_MASKS):
        width = draws[2 * i] * strength * extent
        start = (draws[2 * i + 1] * (extent - width))[:, None]
        inside = (place >= start) & (place < start + width[:, None])
        kept = kept * jnp.where(inside, 0.0, 1.0).astype(extent.dtype)
    return kept
