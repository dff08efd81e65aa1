"""Recordings: made into log-mel spectrograms of one length, split, and encoded for networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from thalweg.data import audio_files
from thalweg.data.audio_files import HOP_SECONDS, Heard
from thalweg.data.audio_sources import Recordings, list_recordings, takes_target
from thalweg.data.columns import shown_names
from thalweg.data.dataset import PARTS, Dataset, Encoder, Part
from thalweg.data.image_files import big_bytes, on_disk
from thalweg.data.sources import source_name
from thalweg.data.splits import Split, check_fractions, split_rows
from thalweg.data.targets import (
    TargetEncoder,
    check_loss,
    choose_task,
    infer_target,
    present_targets,
)
from thalweg.errors import DataError, OptionError
from thalweg.task import Task

SILENCE = -10.0
"""Logarithm of the least power relative to the loudest frame: 43 dB below it."""

_USUAL_SHARE = 0.99
"""Recordings longer than this share of the training recordings are cut to their loudest stretch."""


@dataclass(frozen=True, eq=False)
class AudioEncoder(Encoder):
    """Makes recordings into spectrograms of the rate, bands and length of the training recordings.

    Fields: ``sequence`` float16 [N, T, F], the logarithm of each band's power relative to the
    loudest frame (see ``relative``), silence after the end; ``length`` int32 [N], the frames that
    each recording has.

    Args:
        task: what is predicted.
        target: encodes the target.
        rate: samples a second.
        bands: mel bands F.
        length: frames T.
        mean: mean of each band over the training recordings [F].
        std: its standard deviation [F].
    """

    modality: ClassVar[str] = "audio"

    rate: int
    bands: int
    length: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode recordings; see ``Encoder.encode``.

        Args:
            source: a folder (flat, or by class), a file, a list of files, a glob, a table of files,
                or waveforms at the rate of the training recordings.
            with_target: whether to read the targets too.

        Returns:
            Spectrograms; ``keys["file"]`` names the file of each. Files that cannot be read are
            left out, and ``notices`` says which.
        """
        target = self.task.targets if with_target and takes_target(source) else None
        found = list_recordings(source, target, labelled=with_target)
        heard = hear(found, self.rate, self.bands, self.rate)
        return self._part(found, heard, with_target)

    def _part(self, found: Recordings, heard: Heard, with_target: bool) -> Part:
        listing = found.listing
        notices = [*listing.notices, *heard.notices]
        rows, encoded = np.arange(len(heard)), None
        if with_target:
            values = read_targets(self.target, found, heard)
            present = present_targets(values)
            if not present.any():
                raise DataError("no recording has a label: scoring needs some")
            if not present.all():
                missing = int((~present).sum())
                notices.append(f"{missing:,} recording(s) without a target are left out")
                rows = np.flatnonzero(present)
            encoded = self.target.encode(values[rows])
        fields, more = self.fields(heard, rows)
        keys = keys_of(found, heard.kept[rows])
        return Part(fields, encoded, None, heard.kept[rows], (*notices, *more), keys)

    def fields(self, heard: Heard, rows: np.ndarray) -> tuple[dict[str, np.ndarray], list[str]]:
        """Return the spectrograms of some recordings at one length, and what is worth telling."""
        shape = (len(rows), self.length, self.bands)
        big = int(np.prod(shape, dtype=np.int64)) * 2 > big_bytes()
        out = on_disk(shape, dtype=np.float16) if big else np.empty(shape, np.float16)
        lengths = np.minimum(heard.lengths[rows], self.length).astype(np.int32)
        for place, row in enumerate(rows):
            spectrum = loudest(heard[row], self.length)
            out[place, : len(spectrum)] = relative(spectrum)
            out[place, len(spectrum) :] = SILENCE
        notices = []
        cut = int((heard.lengths[rows] > self.length).sum())
        if cut:
            notices.append(
                f"{cut:,} recording(s) longer than {self.length * HOP_SECONDS:.3g} s are cut to "
                "their loudest stretch"
            )
        return {"sequence": out, "length": lengths}, notices

    @property
    def input_shape(self) -> dict[str, Any]:
        """``{"sequence": [T, F], "masked": True, "band_mean": [...], "band_std": [...]}``."""
        return {
            "sequence": [self.length, self.bands],
            "masked": True,
            "band_mean": list(self.mean),
            "band_std": list(self.std),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            **super().to_dict(),
            "rate": self.rate,
            "bands": self.bands,
            "length": self.length,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> AudioEncoder:
        """Rebuild from ``to_dict``."""
        return cls(
            Task.from_dict(record["task"]),
            TargetEncoder.from_dict(record["target"]),
            record["rate"],
            record["bands"],
            record["length"],
            tuple(record["mean"]),
            tuple(record["std"]),
        )


@dataclass(frozen=True, eq=False, repr=False)
class AudioDataset(Dataset):
    """Recordings with their task and their fixed parts; see ``Dataset``.

    Args:
        shortest: seconds of the shortest recording.
        longest: seconds of the longest.
        skipped: recordings that could not be read, as (path, reason).
    """

    encoder: AudioEncoder
    shortest: float = 0.0
    longest: float = 0.0
    skipped: tuple[tuple[str, str], ...] = ()

    def _rows_text(self, num_rows: int) -> str:
        return (
            f"{num_rows:,} recordings of {self.shortest:.3g} to {self.longest:.3g} s at "
            f"{self.encoder.rate:,} Hz"
        )

    def _input_lines(self) -> Iterator[str]:
        encoder = self.encoder
        yield (
            f"spectrograms: {encoder.length} frames ({encoder.length * HOP_SECONDS:.3g} s) of "
            f"{encoder.bands} mel bands, logarithm of the power, a window of 25 ms every 10 ms"
        )


def load_labelled(
    source: Any,
    found: Recordings,
    target: Any = None,
    *,
    sample_rate: int | None = None,
    mels: int | None = None,
    seconds: float | None = None,
    group: str | None = None,
    task: str | None = None,
    validation: Any = None,
    test: Any = None,
    metric: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] | None = None,
) -> AudioDataset:
    """Read the recordings that were found at a source; see ``recordings.load_audio``."""
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise OptionError(f"seed must be a whole number of 0 or more; got {seed!r}")
    rate, bands = audio_files.check_rate(sample_rate), audio_files.check_bands(mels)
    _check_seconds(seconds)
    wanted = check_fractions(fractions)
    frame = found.listing.frame
    assert frame is not None
    encoder, notices = infer_target(frame, tuple(frame.columns), task)
    sources = {"source": (found, hear(found, rate, bands, sample_rate))}
    rate = sources["source"][1].rate
    for part, other in (("validation", validation), ("test", test)):
        if other is not None:
            more = list_recordings(other, target if takes_target(other) else None)
            sources[part] = (more, hear(more, rate, bands, sample_rate))
    dealt = deal(sources, encoder, wanted, group, seed, notices)
    encoder = encoder.fitted(dealt.values["train"])
    chosen = choose_task(encoder, dealt.values["train"], loss, metric, notices)
    check_loss(chosen, list(dealt.values.values()))
    train_heard, train_rows = dealt.rows["train"]
    lengths = train_heard.lengths[train_rows]
    length = usual_length(lengths, seconds)
    mean, std = band_statistics(train_heard, train_rows)
    fitted = AudioEncoder(chosen, encoder, rate, bands, length, mean, std)
    return dealt.dataset(AudioDataset, _name(source, found), fitted, notices, seed)


def hear(found: Recordings, rate: int | None, bands: int, waves_rate: int | None) -> Heard:
    """Return the spectrograms of recordings, given as files or as waveforms of a known rate."""
    listing = found.listing
    if listing.arrays is None:
        return audio_files.read_recordings(
            listing.paths, rate=rate, bands=bands, names=listing.files or None
        )
    if waves_rate is None:
        raise OptionError(
            "waveforms given as arrays need their rate: say sample_rate, such as 16000"
        )
    return audio_files.hear_waves(listing.arrays, waves_rate, wanted=rate, bands=bands)


def read_targets(encoder: TargetEncoder, found: Recordings, heard: Heard) -> np.ndarray:
    """Read the targets of the recordings that were heard, as ``TargetEncoder.read`` does."""
    frame = found.listing.frame
    if frame is None:
        raise DataError(f"the recordings of {found.listing.name} have no labels: give some")
    if frame.width != len(encoder.names):
        raise DataError(
            f"the recordings have {frame.width} column(s) of labels, the training recordings have "
            f"{len(encoder.names)}"
        )
    frame = frame.rename(dict(zip(frame.columns, encoder.names, strict=True)))
    return encoder.read(frame[heard.kept])


def keys_of(found: Recordings, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return what names recordings in a table of predictions."""
    files = found.listing.files
    return {"file": np.array(files, dtype=object)[rows].astype(str)} if files else {}


def relative(spectrum: np.ndarray) -> np.ndarray:
    """Return a spectrogram [T, F] relative to its loudest frame, float32, at least ``SILENCE``.

    Distance and microphone say nothing about what was said, nor does the noise far below it. What
    is hardly louder than silence stays so.
    """
    values = spectrum.astype(np.float32)
    loudest_frame = float(np.log(np.exp(values).mean(1).max()))
    reference = max(loudest_frame, float(np.log(audio_files.FLOOR)) - SILENCE)
    return np.maximum(values - reference, SILENCE)


def loudest(spectrum: np.ndarray, length: int) -> np.ndarray:
    """Return the stretch of at most ``length`` frames [T, F] with the most power."""
    if len(spectrum) <= length:
        return spectrum
    power = np.exp(spectrum.astype(np.float64)).sum(1)
    total = np.cumsum(np.concatenate([[0.0], power]))
    start = int(np.argmax(total[length:] - total[:-length]))
    return spectrum[start : start + length]


def usual_length(lengths: np.ndarray, seconds: float | None) -> int:
    """Return the frames of spectrograms: those of nearly all recordings, or what is asked for."""
    if seconds is not None:
        return max(1, round(seconds / HOP_SECONDS) + 1)
    longest, usual = int(lengths.max()), int(np.ceil(np.quantile(lengths, _USUAL_SHARE)))
    return longest if longest <= 1.2 * usual else usual


def band_statistics(heard: Heard, rows: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each band over all frames of some recordings."""
    total: Any = 0.0
    squares: Any = 0.0
    count = 0
    for row in rows:
        frames = relative(heard[row]).astype(np.float64)
        total, squares = total + frames.sum(0), squares + np.square(frames).sum(0)
        count += len(frames)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))
    return tuple(mean.tolist()), tuple(np.where(std > 1e-3, std, 1.0).tolist())


def _check_seconds(seconds: Any) -> None:
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if seconds is not None and not (number and 0.02 <= seconds <= 3600):
        raise OptionError(f"seconds must be from 0.02 to 3600; got {seconds!r}")


def _name(source: Any, found: Recordings) -> str:
    name = source_name(source)
    return found.listing.name if name == "table" else name


# Parts -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Dealt:
    """Which recordings went where.

    Args:
        values: targets of each part, as ``TargetEncoder.read`` returns them.
        rows: what was heard and which of it belongs to each part.
        found: where the recordings of each part come from.
        how: how they were split, for people.
        bad: recordings that could not be read.
    """

    values: dict[str, np.ndarray]
    rows: dict[str, tuple[Heard, np.ndarray]]
    found: dict[str, Recordings]
    how: str
    bad: tuple[tuple[str, str], ...]

    def dataset(
        self,
        kind: type[AudioDataset],
        name: str,
        encoder: AudioEncoder,
        notices: list[str],
        seed: int,
    ) -> Any:
        """Return the dataset of these parts with a fitted encoder."""
        parts: dict[str, Part] = {}
        seconds: list[float] = []
        for part in PARTS:
            heard, rows = self.rows[part]
            fields, more = encoder.fields(heard, rows)
            notices += [n if part == "train" else f"the {part} recordings: {n}" for n in more]
            parts[part] = Part(
                fields,
                encoder.target.encode(self.values[part]),
                None,
                heard.kept[rows],
                keys=keys_of(self.found[part], heard.kept[rows]),
            )
            seconds += ((heard.lengths[rows] - 1) * HOP_SECONDS).tolist()
        return kind(
            name=name,
            encoder=encoder,
            train=parts["train"],
            validation=parts["validation"],
            test=parts["test"],
            notices=tuple(dict.fromkeys(notices)),
            seed=seed,
            split=self.how,
            shortest=min(seconds),
            longest=max(seconds),
            skipped=self.bad,
        )


def deal(
    sources: Mapping[str, tuple[Recordings, Heard]],
    encoder: TargetEncoder,
    fractions: tuple[float, float, float],
    group: str | None,
    seed: int,
    notices: list[str],
) -> Dealt:
    """Read targets and split recordings into the parts that have none of their own.

    Args:
        sources: ``"source"``, and ``"validation"`` and ``"test"`` where they have one of their own.
        encoder: reads targets.
        fractions: shares of training, validation and test.
        group: the column that must not be torn apart.
        seed: decides which recordings go where.
        notices: is added to.
    """
    values: dict[str, np.ndarray] = {}
    rows: dict[str, tuple[Heard, np.ndarray]] = {}
    bad: list[tuple[str, str]] = []
    for name, (found, heard) in sources.items():
        prefix = "" if name == "source" else f"the {name} recordings: "
        notices += [f"{prefix}{notice}" for notice in (*found.listing.notices, *heard.notices)]
        bad += heard.bad
        read = read_targets(encoder, found, heard)
        kept = np.flatnonzero(present_targets(read))
        if not len(kept):
            raise DataError(
                f"no recording of {found.listing.name} has a target: fill in "
                f"{shown_names(encoder.names)}"
            )
        if len(kept) < len(read):
            missing = len(read) - len(kept)
            notices.append(f"{prefix}{missing:,} recording(s) without a target are left out")
        values[name], rows[name] = read[kept], (heard, kept)
    found, heard = sources["source"]
    own = values.pop("source")
    _, kept = rows.pop("source")
    said = found.listing.parts
    roles = np.full(len(kept), "train") if said is None else said[heard.kept[kept]]
    origin = {"train": found, **{part: sources[part][0] for part in values}}
    for part in ("validation", "test"):
        if part not in values and (roles == part).any():
            index = np.flatnonzero(roles == part)
            values[part], rows[part], origin[part] = own[index], (heard, kept[index]), found
    fixed = [part for part in ("validation", "test") if part in values]
    index = np.flatnonzero(roles == "train")
    if not len(index):
        raise DataError(f"no training recording of {found.listing.name} can be used")
    shares = [0.0 if part in fixed else share for part, share in zip(PARTS, fractions, strict=True)]
    shares = [share / sum(shares) for share in shares]
    codes = None
    if found.groups is not None:
        names = found.groups[heard.kept]
        codes = np.unique(names, return_inverse=True)[1]
    split, how = _split(
        encoder, own[index], shares, None if codes is None else codes[kept[index]], group, seed
    )
    for part, chosen in zip(PARTS, (split.train, split.validation, split.test), strict=True):
        if part not in values:
            values[part] = own[index[chosen]]
            rows[part], origin[part] = (heard, kept[index[chosen]]), found
    if codes is not None:
        trained = set(codes[rows["train"][1]].tolist())
        for part in fixed:
            if origin[part] is found:
                torn = len(trained & set(codes[rows[part][1]].tolist()))
                if torn:
                    notices.append(
                        f"{torn} of the values of {group} in the {part} part are in the training "
                        "part too: the source says so itself"
                    )
    if "validation" in fixed:
        # Said first: validation recordings that the user chose are never dealt anew.
        own_parts = f"own source for {' and '.join(fixed)}"
        how = own_parts if shares[0] == 1 else f"{own_parts}; the rest {how}"
    elif "test" in fixed:
        how = f"{how}; own source for test"
    elif shares[0] == 1:
        how = "all recordings to learn from"
    return Dealt(values, rows, origin, how, tuple(bad))


def _split(
    encoder: TargetEncoder,
    values: np.ndarray,
    shares: Sequence[float],
    groups: np.ndarray | None,
    group: str | None,
    seed: int,
) -> tuple[Split, str]:
    if groups is not None:
        return split_rows(len(values), shares, groups=groups, seed=seed), f"by group {group}"
    if encoder.kind == "transcription":
        return split_rows(len(values), shares, seed=seed), f"at random, seed {seed}"
    if encoder.kind == "regression":
        split = split_rows(len(values), shares, values=values[:, 0], seed=seed)
        return split, f"at random by deciles of {encoder.names[0]}, seed {seed}"
    labels = values.argmax(axis=1) if values.ndim == 2 else values
    split = split_rows(len(values), shares, labels=labels, seed=seed)
    return split, f"at random by class, seed {seed}"
