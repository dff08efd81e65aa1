"""Speech and its transcripts: an alphabet found in training rows, recordings kept whole."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg.data import audio_files
from thalweg.data.audio import (
    AudioDataset,
    AudioEncoder,
    Dealt,
    band_statistics,
    deal,
    hear,
)
from thalweg.data.audio_files import HOP_SECONDS, Heard
from thalweg.data.audio_sources import TRANSCRIPTS, Recordings, list_recordings, takes_target
from thalweg.data.columns import read_texts
from thalweg.data.dataset import Part
from thalweg.data.sources import source_name
from thalweg.data.splits import check_fractions
from thalweg.data.targets import TargetEncoder
from thalweg.errors import DataError, OptionError
from thalweg.task import Task

if TYPE_CHECKING:
    import polars as pl

    from thalweg.data.audio import AudioDataset as Whole

UNKNOWN = "\ufffd"
"""Stands in the alphabet for characters that no training transcript has."""

FRAMES_A_CHARACTER = 2
"""A recording with fewer frames a character than that cannot be told from its transcript."""


@dataclass(frozen=True)
class TranscriptEncoder(TargetEncoder):
    """Transcripts as outputs: 0 after the end, 1 a space, 2 and more the other characters.

    ``classes`` holds the characters in the order of the outputs from 1 on: the space, those of the
    training transcripts, and ``UNKNOWN`` for all others.

    Args:
        length: characters that there is room for at least.
    """

    length: int = 1

    def read(self, frame: pl.DataFrame) -> np.ndarray:
        """Return transcripts [N] in their normal form, None where missing."""
        if self.names[0] not in frame.columns:
            raise DataError(f"the rows lack the transcripts, column {self.names[0]!r}")
        texts = read_texts(frame[self.names[0]]).to_list()
        return np.array([None if text is None else normal(text) for text in texts], dtype=object)

    def fitted(self, values: np.ndarray) -> TranscriptEncoder:
        """Return the encoder with the alphabet of training transcripts [N]."""
        found = sorted(set("".join(values)) - {" ", UNKNOWN})
        return replace(self, classes=(" ", *found, UNKNOWN))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return outputs int32 [N, L], 0 after the end of each transcript."""
        codes = {symbol: i + 1 for i, symbol in enumerate(self.classes)}
        unknown = len(self.classes)
        longest = max([self.length, *map(len, values)])
        out: np.ndarray = np.zeros((len(values), longest), np.int32)
        for row, text in zip(out, values, strict=True):
            row[: len(text)] = [codes.get(symbol, unknown) for symbol in text]
        return out

    def inverse(self, scaled: Any) -> np.ndarray:
        """Return outputs as they are."""
        return np.asarray(scaled)

    def labels(self, codes: Any) -> np.ndarray:
        """Return the texts [N] of outputs [N, L]."""
        symbols = ("", *self.classes)
        return np.array(
            ["".join(symbols[code] for code in row) for row in np.asarray(codes)], dtype=object
        )

    @property
    def units(self) -> None:
        """Nothing: characters have no unit."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {**super().to_dict(), "length": self.length}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TranscriptEncoder:
        """Rebuild from ``to_dict``."""
        return cls(
            kind=record["kind"],
            names=tuple(record["names"]),
            classes=tuple(record["classes"]),
            length=record["length"],
        )


def normal(text: str) -> str:
    """Return a text in lower case, composed (NFC), with single spaces and none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


@dataclass(frozen=True, eq=False)
class SpeechEncoder(AudioEncoder):
    """Recordings and their transcripts."""

    modality: ClassVar[str] = "speech"

    def _part(self, found: Recordings, heard: Heard, with_target: bool) -> Part:
        part = super()._part(found, heard, False)
        if not with_target:
            return part
        values = _transcripts(self.target, found, heard)
        rows = np.flatnonzero([bool(text) for text in values])
        if not len(rows):
            raise DataError("no recording has a transcript: scoring needs some")
        notices = list(part.notices)
        if len(rows) < len(values):
            notices.append(
                f"{len(values) - len(rows):,} recording(s) without a transcript are left out"
            )
        notices += strange_characters(self.target, values[rows], "the")
        return replace(
            part.take(rows), target=self.target.encode(values[rows]), notices=tuple(notices)
        )

    def fields(self, heard: Heard, rows: np.ndarray) -> tuple[dict[str, np.ndarray], list[str]]:
        """Return the spectrograms of some recordings, cut at the end where they are too long."""
        ends = heard.lengths[rows] > self.length
        fields, _ = super().fields(heard, rows)
        notices = []
        if ends.any():
            notices.append(
                f"{int(ends.sum()):,} recording(s) are longer than {self.length * HOP_SECONDS:.3g} "
                "s, the longest of training: only their loudest stretch is transcribed; cut them "
                "into sentences"
            )
        return fields, notices

    @property
    def input_shape(self) -> dict[str, Any]:
        """As of every recording, with an output wanted at each step."""
        return {**super().input_shape, "stepwise": True}

    def decide(self, outputs: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Return transcripts [N] from outputs [N, L]."""
        return self.target.labels(outputs)

    def predictions(
        self, outputs: np.ndarray, part: Part, threshold: float | None = None
    ) -> pl.DataFrame:
        """Return ``file`` and ``prediction``, the transcript."""
        import polars as pl

        columns: dict[str, Any] = {name: list(values) for name, values in part.keys.items()}
        texts = self.target.labels(outputs).tolist()
        return pl.DataFrame({**columns, "prediction": pl.Series(texts, dtype=pl.String)})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SpeechEncoder:
        """Rebuild from ``to_dict``."""
        return cls(
            Task.from_dict(record["task"]),
            TranscriptEncoder.from_dict(record["target"]),
            record["rate"],
            record["bands"],
            record["length"],
            tuple(record["mean"]),
            tuple(record["std"]),
        )


@dataclass(frozen=True, eq=False, repr=False)
class SpeechDataset(AudioDataset):
    """Recordings with transcripts; see ``AudioDataset``."""

    def _kind(self) -> str:
        return f"{self.task.kind}, {len(self.task.classes) - 2} characters and the space"


def is_transcript(frame: pl.DataFrame) -> bool:
    """Whether a target holds texts that are spoken: one column of many different texts."""
    import polars as pl

    if frame.width != 1 or frame.to_series(0).dtype != pl.String:
        return False
    texts = frame.to_series(0).drop_nulls()
    distinct = texts.n_unique()
    named = frame.columns[0].lower() in TRANSCRIPTS
    return len(texts) >= 20 and distinct > (20 if named else 0.5 * len(texts))


def load_speech(
    source: Any,
    target: Any = None,
    *,
    sample_rate: int | None = None,
    mels: int | None = None,
    group: str | None = None,
    validation: Any = None,
    test: Any = None,
    metric: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] | None = None,
) -> Whole:
    """Read recordings with their transcripts and split them; see ``load_audio`` for the arguments.

    Transcripts are taken in lower case, with single spaces. The alphabet is that of the training
    transcripts; other characters count as errors wherever they are scored. A recording that is too
    short for its transcript is left out of training. Recordings are never cut.
    """
    rate, bands = audio_files.check_rate(sample_rate), audio_files.check_bands(mels)
    wanted = check_fractions(fractions)
    found = list_recordings(source, target, group=group)
    frame = found.listing.frame
    assert frame is not None
    if frame.width != 1:
        raise OptionError(f"transcripts are one column; got {', '.join(frame.columns)}")
    draft = TranscriptEncoder("transcription", tuple(frame.columns))
    sources = {"source": (found, hear(found, rate, bands, sample_rate))}
    rate = sources["source"][1].rate
    for part, other in (("validation", validation), ("test", test)):
        if other is not None:
            more = list_recordings(other, target if takes_target(other) else None)
            sources[part] = (more, hear(more, rate, bands, sample_rate))
    notices: list[str] = []
    dealt = deal(sources, draft, wanted, group, seed, notices)
    dealt = _without_short(dealt, notices)
    encoder = draft.fitted(dealt.values["train"])
    longest = max(len(text) for values in dealt.values.values() for text in values)
    encoder = replace(encoder, length=longest)
    for part in ("validation", "test"):
        notices += strange_characters(encoder, dealt.values[part], f"the {part}")
    task = Task("transcription", encoder.names, encoder.classes, loss or "", metric or "")
    heard, rows = dealt.rows["train"]
    mean, std = band_statistics(heard, rows)
    length = max(int(h.lengths[r].max()) for h, r in dealt.rows.values() if len(r))
    fitted = SpeechEncoder(task, encoder, rate, bands, length, mean, std)
    name = source_name(source)
    name = found.listing.name if name == "table" else name
    return dealt.dataset(SpeechDataset, name, fitted, notices, seed)


def strange_characters(encoder: TargetEncoder, values: np.ndarray, what: str) -> list[str]:
    """Say which characters of transcripts are not in the alphabet; nothing where all are."""
    known = set(encoder.classes)
    strange = [set(text) - known for text in values]
    num = sum(map(bool, strange))
    if not num:
        return []
    found = sorted(set().union(*strange))
    shown = " ".join(found[:10]) + (" …" if len(found) > 10 else "")
    return [
        f"{num:,} of {what} transcripts have characters that no training transcript has ({shown}): "
        "they count as errors"
    ]


def _transcripts(encoder: TargetEncoder, found: Recordings, heard: Heard) -> np.ndarray:
    frame = found.listing.frame
    if frame is None:
        raise DataError(f"the recordings of {found.listing.name} have no transcripts: give some")
    frame = frame.rename(dict(zip(frame.columns, encoder.names, strict=True)))
    return encoder.read(frame[heard.kept])


def _without_short(dealt: Dealt, notices: list[str]) -> Dealt:
    """Leave out training recordings that have too few frames for their transcripts."""
    heard, rows = dealt.rows["train"]
    needed = [len(text) + sum(a == b for a, b in pairwise(text)) for text in dealt.values["train"]]
    enough = heard.lengths[rows] >= FRAMES_A_CHARACTER * np.array(needed)
    if enough.all():
        return dealt
    if not enough.any():
        raise DataError("all training recordings are too short for their transcripts")
    notices.append(
        f"{int((~enough).sum()):,} training recording(s) are too short for their transcripts and "
        "are left out"
    )
    return replace(
        dealt,
        values={**dealt.values, "train": dealt.values["train"][enough]},
        rows={**dealt.rows, "train": (heard, rows[enough])},
    )
