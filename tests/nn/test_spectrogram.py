"""Changes of spectrograms against what the same change of a waveform does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.data import audio
from thalweg.data.audio_files import log_mel
from thalweg.models.listening import SILENCE
from thalweg.nn.spectrogram import NAMES, changed, masked

KEY = jnp.uint32(321)
STRONG = {
    "time_stretch": 0.4,
    "time_shift": 0.5,
    "frequency_warp": 0.2,
    "background_noise": 0.5,
    "gain": 12.0,
    "time_mask": 0.6,
    "frequency_mask": 0.6,
}


def spectra(count=16, frames=30, bands=12, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(-4.0, 2.0, (count, frames, bands)).astype(np.float32)
    length = rng.integers(10, frames - 5, count).astype(np.int32)
    for row, last in zip(x, length, strict=True):
        row[last:] = SILENCE
    return x, length


def run(x, length, key=KEY, **strengths):
    traced = {name: jnp.float32(value) for name, value in strengths.items()}

    @jax.jit
    def program(x, length, traced, key):
        moved, frames = changed(x, length, traced, key, SILENCE)
        return masked(moved, frames, traced, key), frames

    return tuple(np.asarray(v) for v in program(x, length, traced, key))


def test_every_name_has_a_strength_here():
    assert set(STRONG) == set(NAMES)
    assert SILENCE == audio.SILENCE


@pytest.mark.parametrize("names", [*[(name,) for name in NAMES], NAMES], ids="+".join)
def test_strength_zero_changes_nothing(names):
    x, length = spectra()
    same, frames = run(x, length, **dict.fromkeys(names, 0.0))
    np.testing.assert_allclose(same, x, atol=2e-5)
    np.testing.assert_array_equal(frames, length)


@pytest.mark.parametrize("name", NAMES)
def test_every_change_changes_and_steps_differ(name):
    x, length = spectra()
    one = run(x, length, **{name: STRONG[name]})[0]
    assert not np.allclose(one, x, atol=1e-3)
    assert not np.allclose(one, run(x, length, jnp.uint32(9), **{name: STRONG[name]})[0], atol=1e-3)


def test_gain_is_what_a_louder_waveform_gives():
    rng = np.random.default_rng(0)
    wave = 0.1 * rng.normal(size=4000)
    x = log_mel(wave, 8000, 20)[None]
    louder, _ = run(x, np.array([x.shape[1]]), gain=6.0)
    decibels = float((louder - x).mean()) * 10 / np.log(10)
    assert 0 < abs(decibels) <= 6
    np.testing.assert_allclose(
        louder[0], log_mel(wave * 10 ** (decibels / 20), 8000, 20), atol=1e-3
    )


def test_noise_adds_its_power():
    x = np.full((400, 20, 16), np.log(0.01), np.float32)
    noisy, _ = run(x, np.full(400, 20), background_noise=0.5)
    added = np.exp(noisy.astype(float)).mean((1, 2)) / 0.01 - 1.0
    # The fluctuation's mean is exp(0.5² / 2).
    share = added / np.exp(0.125)
    assert share.min() >= 0
    # 320 draws a row leave 3 % of a row's mean uncertain.
    assert share.max() < 0.56
    assert share.mean() == pytest.approx(0.25, abs=0.02)


def test_a_shift_only_starts_later_and_cuts_nothing():
    x, length = spectra(64)
    moved, frames = run(x, length, time_shift=1.0)
    starts = frames - length
    assert starts.min() >= 0
    assert len(set(starts.tolist())) > 5
    assert (frames <= x.shape[1]).all()
    for row, new, last, start in zip(x, moved, length, starts, strict=True):
        np.testing.assert_allclose(new[start : start + last], row[:last], atol=1e-4)
        np.testing.assert_allclose(new[:start], SILENCE, atol=1e-4)


def test_a_stretch_interpolates():
    x, length = spectra(32)
    moved, frames = run(x, length, time_stretch=0.4)
    for row, new, last, longer in zip(x, moved, length, frames, strict=True):
        # The factor is known up to the rounding of the new length: try those that give it.
        trials = np.linspace((longer - 0.5) / last, (longer + 0.5) / last, 400)
        places = np.arange(longer - 2)
        errors = [
            np.abs(np.interp(places / f, np.arange(x.shape[1]), row[:, 3]) - new[: longer - 2, 3])
            for f in trials
        ]
        assert min(error.max() for error in errors) < 0.15


def test_a_warp_moves_a_tone_to_another_band():
    x = np.full((200, 4, 40), -10.0, np.float32)
    x[:, :, 20] = 0.0
    moved, _ = run(x, np.full(200, 4), frequency_warp=0.2)
    peaks = moved[:, 0].argmax(1)
    assert peaks.min() >= 16
    assert peaks.max() <= 24
    assert len(set(peaks.tolist())) > 5


def test_masks_lie_within_the_recording():
    x, length = spectra(300)
    x = np.abs(x) + 1.0
    hidden, _ = run(x, length, time_mask=0.5)
    gone = (hidden == 0).all(2)
    for row, last in zip(gone, length, strict=True):
        assert not row[last:].any()
        assert row.sum() <= last + 2
    assert 0.2 < gone.sum() / length.sum() < 0.5
    bands = (run(x, length, frequency_mask=0.5)[0] == 0).all(1)
    assert 0.2 < bands.mean() < 0.5


def test_members_see_the_same_draws():
    x, length = spectra(40)
    weak, _ = run(x, length, gain=1.0)
    strong, _ = run(x, length, gain=3.0)
    inside = (x > SILENCE + 5) & (strong > SILENCE)
    np.testing.assert_allclose((strong - x)[inside], 3 * (weak - x)[inside], atol=1e-3)
