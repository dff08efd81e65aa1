"""Recordings made into log-mel spectrograms: decoded on all cores, at one rate, kept in a cache.

Decoding runs in threads: libsndfile, soxr and NumPy's transforms let go of the interpreter's lock.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.data.decoding import entry_of, on_all_cores, write_entry
from thalweg.errors import DataError, MissingExtraError, OptionError, SourceError, one_line

SUFFIXES: tuple[str, ...] = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif")
"""Endings of files that are taken for recordings."""

RATE_CAP = 16_000
"""Without ``sample_rate``, faster recordings are resampled to so many samples a second."""

BANDS = 40
"""Mel bands of a spectrogram where nothing else is asked for."""

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.010
LOWEST_HERTZ = 20.0

FLOOR = 1e-6
"""Least power of a band: about 90 dB below a full-scale tone."""

_MIN_CACHED = 64
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Heard:
    """Log-mel spectrograms of recordings, one after the other.

    Args:
        frames: natural logarithm of the power of each band, float16 [S, F].
        starts: where each recording begins in ``frames``, int64 [M + 1]; the last is S.
        kept: int64 [M], the index of each recording among those given.
        rate: samples a second that all were brought to.
        bad: recordings that cannot be used, as (path, reason).
        notices: what is worth telling.
    """

    frames: np.ndarray
    starts: np.ndarray
    kept: np.ndarray
    rate: int
    bad: tuple[tuple[str, str], ...] = ()
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, place: int) -> np.ndarray:
        return self.frames[self.starts[place] : self.starts[place + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each recording, int64 [M]."""
        return np.diff(self.starts)


def is_audio_name(name: str) -> bool:
    """Whether a file's name ends like a recording's."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


# Spectrograms -------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def mel_filters(bands: int, num_bins: int, rate: int) -> np.ndarray:
    """Return triangular filters with corners at equal distances on the mel scale.

    ``mel(f) = 2595 · log10(1 + f / 700)``; each triangle rises from the centre of the band below to
    its own and falls to that of the band above, with height 1. Source: O'Shaughnessy, "Speech
    Communication", 1987; the form of HTK (Young et al., "The HTK Book", 2006, section 5.4).

    Args:
        bands: number of filters F.
        num_bins: frequencies of a transform, from 0 to half the rate.
        rate: samples a second.

    Returns:
        float64 [num_bins, F].
    """
    corners = _corners(bands, rate)
    hertz = np.linspace(0.0, rate / 2.0, num_bins)[:, None]
    rise = (hertz - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - hertz) / (corners[2:] - corners[1:-1])
    return np.maximum(0.0, np.minimum(rise, fall))


def band_hertz(bands: int, rate: int) -> np.ndarray:
    """Return the frequency at the centre of each mel band, in hertz, float64 [F]."""
    return _corners(bands, rate)[1:-1]


def _corners(bands: int, rate: int) -> np.ndarray:
    mels = np.linspace(_mel(LOWEST_HERTZ), _mel(rate / 2.0), bands + 2)
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)


def _mel(hertz: float) -> float:
    return 2595.0 * float(np.log10(1.0 + hertz / 700.0))


def log_mel(wave: np.ndarray, rate: int, bands: int = BANDS) -> np.ndarray:
    """Return the log-mel spectrogram of a waveform.

    Windows of 25 ms (Hann) every 10 ms, centred on their instants; beyond the ends there is
    silence. ``log max(Σ_k |X_k|² · filter_k, 1e-6)``.

    Args:
        wave: float [S], full scale from -1 to 1.
        rate: samples a second.
        bands: mel bands F.

    Returns:
        float32 [1 + S // hop, F].
    """
    width, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    # Twice the resolution that the window needs: low bands are narrower than its bins.
    size = 2 * (1 << max(width - 1, 1).bit_length())
    window = np.hanning(width + 1)[:-1]
    padded = np.pad(np.asarray(wave, np.float64), width // 2)
    padded = np.pad(padded, (0, max(0, width - len(padded))))
    num_frames = 1 + (len(padded) - width) // hop
    filters = mel_filters(bands, size // 2 + 1, rate)
    out = np.empty((num_frames, bands), np.float32)
    # A minute at a time: transforms take sixteen times the room of their samples.
    for start in range(0, num_frames, 6000):
        count = min(6000, num_frames - start)
        part = padded[start * hop : (start + count - 1) * hop + width]
        windows = np.lib.stride_tricks.sliding_window_view(part, width)[::hop] * window
        power = np.square(np.abs(np.fft.rfft(windows, size)))
        out[start : start + count] = np.log(np.maximum(power @ filters, FLOOR))
    return out


# One recording ------------------------------------------------------------------------------------


def decode(path: str, rate: int | None = None) -> tuple[np.ndarray, int, int]:
    """Decode one recording.

    Args:
        path: a file that libsndfile reads.
        rate: samples a second wanted; the file's own by default.

    Returns:
        The waveform float32 [S], the mean of its channels; its rate; the number of channels.

    Raises:
        Exception: whatever libsndfile raises for a file that is none, or not a whole one.
    """
    import soundfile

    if path.lower().endswith(".wav") and _is_cut(path):
        raise EOFError("truncated")
    with soundfile.SoundFile(path) as file:
        expected, own, channels = file.frames, file.samplerate, file.channels
        values = file.read(dtype="float32", always_2d=True)
    # The length of an MP3 is an estimate.
    if len(values) < expected and not path.lower().endswith(".mp3"):
        raise EOFError("truncated")
    if not len(values):
        raise EOFError("empty")
    wave = values[:, 0] if channels == 1 else values.mean(1)
    if not np.isfinite(wave).all():
        raise ValueError("has samples that are not finite")
    return resampled(wave, own, rate or own), rate or own, channels


def resampled(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return a waveform [S] at another rate, band-limited."""
    if rate == wanted:
        return np.asarray(wave, np.float32)
    import soxr

    return soxr.resample(np.asarray(wave, np.float32), rate, wanted)


def _is_cut(path: str) -> bool:
    """Whether the data of a WAV file end before its header says; libsndfile would not tell."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return False
        place = 12
        while place + 8 <= size:
            file.seek(place)
            name, length = struct.unpack("<4sI", file.read(8))
            if name == b"data":
                # Writers that stream leave the length open.
                return length < 0xFFFFFF00 and place + 8 + length > size
            place += 8 + length + length % 2
    return True


def _probe(path: str) -> tuple[int, int]:
    """Return rate and channels from a file's header."""
    import soundfile

    about = soundfile.info(path)
    return about.samplerate, about.channels


def _reason(error: Exception, path: str) -> str:
    if isinstance(error, FileNotFoundError) or not os.path.exists(path):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission"
    try:
        if not os.path.getsize(path):
            return "empty file"
    except OSError:
        return "unreadable"
    text = one_line(error)
    if text in ("truncated", "empty"):
        return text if text == "truncated" else "has no samples"
    if type(error).__name__ == "LibsndfileError":
        return "no recording" if "not recognised" in text.lower() else "damaged"
    return text[:80] or type(error).__name__


# Many recordings ----------------------------------------------------------------------------------


def check_rate(rate: Any) -> int | None:
    """Return a rate in samples a second; None stays None.

    Raises:
        OptionError: no whole number from 2,000 to 192,000.
    """
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, int) or not 2_000 <= rate <= 192_000:
        raise OptionError(
            f"sample_rate must be a whole number of hertz from 2000 to 192000; got {rate!r}: use "
            "for instance 16000"
        )
    return rate


def check_bands(bands: Any) -> int:
    """Return the number of mel bands.

    Raises:
        OptionError: no whole number from 8 to 256.
    """
    if bands is None:
        return BANDS
    if isinstance(bands, bool) or not isinstance(bands, int) or not 8 <= bands <= 256:
        raise OptionError(f"mels must be a whole number of bands from 8 to 256; got {bands!r}")
    return bands


def read_recordings(
    paths: Sequence[str],
    *,
    rate: int | None = None,
    bands: int = BANDS,
    names: Sequence[str] | None = None,
) -> Heard:
    """Decode recordings into spectrograms, on all cores.

    What was computed is kept in the cache, known by paths, sizes and times of change of all files.

    Args:
        paths: the files.
        rate: samples a second that all are brought to; by default the rate that most have, at most
            ``RATE_CAP``.
        bands: mel bands.
        names: how files are called in notices; their paths by default.

    Returns:
        The spectrograms in the order of their paths, without those that cannot be read.

    Raises:
        MissingExtraError: the libraries that decode are not installed.
        SourceError: not one of the files can be read.
    """
    _require_libraries()
    names = list(paths) if names is None else list(names)
    entry = _entry(paths, rate, bands)
    found = None if entry is None else _load(entry, bands)
    if found is None:
        found = _decode_all(paths, rate, bands)
        if entry is not None and len(found):
            _save(entry, found)
    if not found.bad:
        return found
    name_of = dict(zip(paths, names, strict=True))
    listed = ", ".join(f"{name_of[path]} ({reason})" for path, reason in found.bad[:10])
    more = ", ..." if len(found.bad) > 10 else ""
    text = f"{len(found.bad):,} of {len(paths):,} recordings cannot be read"
    if not len(found):
        raise SourceError(f"{text}: {listed}{more}: none is left to work with")
    notice = f"{text} and are left out: {listed}{more}"
    return Heard(
        found.frames, found.starts, found.kept, found.rate, found.bad, (*found.notices, notice)
    )


def hear_waves(waves: Sequence[Any], rate: int, *, wanted: int | None, bands: int = BANDS) -> Heard:
    """Return the spectrograms of waveforms given as arrays.

    Args:
        waves: each [S], or [S, C] with channels that are averaged; whole numbers are scaled by
            their type's range.
        rate: their samples a second.
        wanted: samples a second that they are brought to; ``rate``, at most ``RATE_CAP``, if None.
        bands: mel bands.

    Raises:
        DataError: an array is empty, or holds what is no number.
    """
    wanted = wanted or min(rate, RATE_CAP)
    spectra: list[Any] = [None] * len(waves)

    def work(start: int, stop: int) -> None:
        for i in range(start, stop):
            spectra[i] = log_mel(resampled(_unit(waves[i], i), rate, wanted), wanted, bands)

    if rate != wanted:
        _require_libraries()
    on_all_cores(work, len(waves))
    return _joined(spectra, list(range(len(waves))), wanted, bands, (), ())


def _unit(wave: Any, place: int) -> np.ndarray:
    values = np.asarray(wave)
    if values.dtype.kind not in "iuf" or values.ndim not in (1, 2) or not values.size:
        raise DataError(
            f"each recording must be an array of samples [S] or [S, C]; number {place} has the "
            f"shape {values.shape} and type {values.dtype}"
        )
    if values.dtype.kind in "iu":
        about = np.iinfo(values.dtype)
        middle = 0.0 if values.dtype.kind == "i" else (about.max + 1) / 2.0
        values = (values.astype(np.float32) - middle) / (about.max + 1 - middle)
    values = values if values.ndim == 1 else values.mean(1)
    if not np.isfinite(values).all():
        raise DataError(f"recording number {place} has samples that are not finite: replace them")
    return values.astype(np.float32)


def _require_libraries() -> None:
    try:
        import soundfile
        import soxr
    except ImportError:
        raise MissingExtraError(
            "recordings need soundfile and soxr: pip install 'thalweg[audio]'"
        ) from None
    del soundfile, soxr


def _decode_all(paths: Sequence[str], rate: int | None, bands: int) -> Heard:
    reasons: list[str | None] = [None] * len(paths)
    rates = np.zeros(len(paths), np.int64)
    channels = np.ones(len(paths), np.int64)

    def look(start: int, stop: int) -> None:
        for i in range(start, stop):
            try:
                rates[i], channels[i] = _probe(paths[i])
            except Exception as error:
                reasons[i] = _reason(error, paths[i])

    on_all_cores(look, len(paths))
    good = np.array([reason is None for reason in reasons])
    if good.any():
        values, counts = np.unique(rates[good], return_counts=True)
        common = int(values[counts.argmax()])
    else:
        common = RATE_CAP
    wanted = rate or min(common, RATE_CAP)
    spectra: list[Any] = [None] * len(paths)

    def work(start: int, stop: int) -> None:
        for i in range(start, stop):
            if reasons[i] is None:
                try:
                    spectra[i] = log_mel(decode(paths[i], wanted)[0], wanted, bands)
                except Exception as error:
                    reasons[i] = _reason(error, paths[i])

    on_all_cores(work, len(paths))
    kept = [i for i, reason in enumerate(reasons) if reason is None]
    bad = tuple((p, r) for p, r in zip(paths, reasons, strict=True) if r is not None)
    notices = []
    others = int((rates[kept] != wanted).sum())
    if others:
        found = ", ".join(f"{value:,}" for value in np.unique(rates[kept])[:5])
        notices.append(f"{others:,} recordings ({found} Hz) are resampled to {wanted:,} Hz")
    several = int((channels[kept] > 1).sum())
    if several:
        notices.append(f"{several:,} recordings have several channels, which are averaged")
    return _joined(spectra, kept, wanted, bands, bad, notices)


def _joined(
    spectra: Sequence[Any],
    kept: Sequence[int],
    rate: int,
    bands: int,
    bad: tuple[tuple[str, str], ...],
    notices: Sequence[str],
) -> Heard:
    chosen = [spectra[i] for i in kept]
    starts = np.concatenate([[0], np.cumsum([len(s) for s in chosen])]).astype(np.int64)
    frames = np.empty((int(starts[-1]), bands), np.float16)
    for start, spectrum in zip(starts, chosen, strict=False):
        frames[start : start + len(spectrum)] = spectrum
    silent = sum(bool((s <= np.log(FLOOR) + 1e-3).all()) for s in chosen)
    notices = list(notices)
    if silent:
        notices.append(f"{silent:,} of {len(chosen):,} recordings are nothing but silence")
    return Heard(frames, starts, np.asarray(kept, np.int64), rate, bad, tuple(notices))


# The cache ----------------------------------------------------------------------------------------


def _entry(paths: Sequence[str], rate: int | None, bands: int) -> Path | None:
    """Return the stem of a set's files in the cache; None where it is not worth it."""
    if len(paths) < _MIN_CACHED:
        return None
    return entry_of("audio", paths, [_FORMAT, rate, RATE_CAP, bands])


def _load(entry: Path, bands: int) -> Heard | None:
    try:
        record = json.loads(entry.with_suffix(".json").read_text(encoding="utf-8"))
        frames = np.load(entry.with_suffix(".npy"), allow_pickle=False)
        os.utime(entry.with_suffix(".npy"))
        starts = np.array(record["starts"], np.int64)
        kept = np.array(record["kept"], np.int64)
        bad = tuple((str(path), str(reason)) for path, reason in record["bad"])
        heard = Heard(frames, starts, kept, int(record["rate"]), bad, tuple(record["notices"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None
    whole = frames.shape == (int(starts[-1]), bands) and len(kept) == len(starts) - 1
    return heard if whole else None


def _save(entry: Path, heard: Heard) -> None:
    record = {
        "starts": heard.starts.tolist(),
        "kept": heard.kept.tolist(),
        "rate": heard.rate,
        "bad": [list(pair) for pair in heard.bad],
        "notices": list(heard.notices),
    }
    write_entry(entry, heard.frames, record)
