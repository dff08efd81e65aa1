"""Recordings of either kind: with a label each, or with what is said in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.data.audio import load_labelled
from thalweg.data.audio_sources import is_audio_source, list_recordings
from thalweg.data.dataset import Dataset
from thalweg.data.speech import is_transcript, load_speech
from thalweg.errors import OptionError


def claims(source: Any, options: Mapping[str, Any]) -> bool:
    """Whether a source holds recordings, judged by names alone; see ``load_audio``."""
    return is_audio_source(source)


def load_audio(
    source: Any,
    target: Any = None,
    *,
    seconds: float | None = None,
    task: str | None = None,
    **options: Any,
) -> Dataset:
    """Read recordings with their labels, make them into log-mel spectrograms, and split them.

    WAV, FLAC, OGG, Opus, MP3 and AIFF at any rate; several channels are averaged. All are brought
    to the rate that most have, at most 16 kHz. Spectrograms are as long as 99 % of the training
    recordings; what is longer is cut to its loudest stretch. Files that cannot be read, are cut off
    or have no samples are counted, named and left out. What was decoded is cached.

    Args:
        source: a folder with one folder for each class (or with ``train``, ``test`` and
            ``validation`` folders of such), a table with a column of files relative to it, a list
            of files with labels, or waveforms as ``(list of arrays, labels)`` with ``sample_rate``.
            A column ``split`` of a table that says train, validation or test in every row is
            followed.
        target: the column of labels of a table; labels for recordings that come without.
        seconds: length of the spectrograms.
        task: overrules the kind of task: ``"binary"``, ``"multiclass"``, ``"classification"``,
            ``"regression"``, or ``"transcription"``, see ``load_speech``.
        **options: ``sample_rate``, samples a second that all are brought to; ``mels``, bands of the
            spectrograms, 40 by default; ``group``, a table's column whose equal values (speakers)
            must not be torn apart; ``validation`` and ``test``, sources of their own instead of a
            share of ``source``; ``metric``, ``loss``, ``seed`` and ``fractions`` as of ``load``.

    Returns:
        The dataset; see ``AudioEncoder`` for its fields.

    Raises:
        SourceError: a source cannot be found or read.
        DataError: the recordings or labels cannot be used as asked; the message says what to do.
        OptionError: an unknown task, metric, loss, rate or length.
        MissingExtraError: soundfile and soxr are not installed.
    """
    found = list_recordings(source, target, group=options.get("group"))
    frame = found.listing.frame
    if not (
        task == "transcription" or (task is None and frame is not None and is_transcript(frame))
    ):
        return load_labelled(source, found, target, seconds=seconds, task=task, **options)
    if seconds is not None:
        raise OptionError("seconds cuts recordings, which transcripts do not allow: leave it")
    return load_speech(source, target, **options)
