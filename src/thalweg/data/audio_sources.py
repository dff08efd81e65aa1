"""Where recordings come from: folders by class, tables of files, lists of files, waveforms."""

from __future__ import annotations

import glob as globbing
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.data.audio_files import SUFFIXES, is_audio_name
from thalweg.data.columns import read_texts, require_columns
from thalweg.data.image_arrays import Listing, columns_text, is_frame, label_frame
from thalweg.data.image_sets import LABEL_COLUMNS
from thalweg.data.listings import (
    PART_NAMES,
    are_names,
    by_class,
    is_table_name,
    label_column,
    loose_files,
    names_beside,
    path_column,
    paths_of,
    table_has_names,
    walk,
)
from thalweg.data.sources import read_table, source_name
from thalweg.errors import DataError, SourceError, did_you_mean

PATH_COLUMNS: tuple[str, ...] = (
    "path",
    "file",
    "audio",
    "recording",
    "wav",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "audio_path",
    "audio_file",
    "audio_filepath",
)
"""Names of a table's column of recordings, the likeliest first."""

TRANSCRIPTS: tuple[str, ...] = ("transcript", "transcription", "sentence", "text", "words")
"""Names of a table's column of transcripts."""

SPLIT_COLUMNS: tuple[str, ...] = ("split", "part", "subset", "set")
"""Names of a column that says which part a recording belongs to."""


@dataclass(frozen=True, eq=False)
class Recordings:
    """Recordings that a source holds, not decoded yet.

    Args:
        listing: their files or waveforms, targets and parts.
        groups: what must not be torn apart, one text a recording, or None.
    """

    listing: Listing
    groups: np.ndarray | None = None


def is_audio_source(source: Any) -> bool:
    """Whether a source holds recordings, judged by names alone."""
    if isinstance(source, (str, os.PathLike)):
        return _is_audio_location(os.fspath(source))
    if is_frame(source):
        names = [str(name) for name in source.columns]
        return any(
            name in names and are_names(source[name][:5], is_audio_name) for name in PATH_COLUMNS
        )
    if isinstance(source, (list, tuple)) and source:
        first = source[0]
        if isinstance(first, (list, tuple)) and len(source) == 2:
            return bool(first) and all(_is_audio_path(item) for item in first)
        return all(_is_audio_path(item) for item in source)
    return False


def _is_audio_path(item: Any) -> bool:
    return isinstance(item, (str, os.PathLike)) and is_audio_name(os.fspath(item))


def _is_audio_location(location: str) -> bool:
    path = Path(location).expanduser()
    try:
        if path.is_dir():
            for count, name in enumerate(walk(str(path))):
                if is_audio_name(name):
                    return True
                if count > 5000:
                    break
            return False
        if not path.is_file():
            return globbing.has_magic(location) and is_audio_name(location)
    except OSError:
        return False
    name = path.name.lower()
    return is_audio_name(name) or (is_table_name(name) and table_has_names(path, is_audio_name))


def takes_target(source: Any) -> bool:
    """Whether a source is a table, where a target names a column."""
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        return not (os.path.isdir(os.path.expanduser(name)) or is_audio_name(name))
    return is_frame(source) or isinstance(source, Mapping)


def list_recordings(
    source: Any, target: Any = None, *, labelled: bool = True, group: str | None = None
) -> Recordings:
    """Find the recordings of a source, and their targets.

    Args:
        source: see ``load_audio``.
        target: a table's target column or columns, or labels for recordings that come without.
        labelled: whether targets are needed.
        group: a table's column whose equal values must not be torn apart.

    Raises:
        SourceError: nothing is there, or it cannot be read.
        DataError: there are recordings, but no targets or not as many.
    """
    if isinstance(source, (str, os.PathLike)):
        found = _list_location(os.fspath(source), target, labelled, group)
    elif is_frame(source) or isinstance(source, Mapping):
        found = _list_table(source, target, labelled, None, group)
    elif isinstance(source, (list, tuple)) or hasattr(source, "shape"):
        found = Recordings(_list_sequence(source, target))
    else:
        raise SourceError(
            "recordings must be a folder, a file, a glob, a table of files, a list of files, or "
            f"waveforms as (list of arrays, labels); got {type(source).__name__}"
        )
    listing = found.listing
    if group is not None and found.groups is None:
        raise DataError(
            f"group={group!r} names a column of a table of recordings; {listing.name} is none: "
            "give a table with the columns file, label and group"
        )
    if not len(listing):
        raise SourceError(f"{listing.name} holds no recordings: give at least one")
    if labelled and listing.frame is None:
        raise DataError(
            f"the recordings of {listing.name} have no labels: give a folder with one folder for "
            "each class, or a table with a column of files and one of labels"
        )
    return found


def _list_location(location: str, target: Any, labelled: bool, group: str | None) -> Recordings:
    path = Path(location).expanduser()
    name = source_name(location)
    if path.is_dir():
        if target is not None:
            raise DataError(
                f"a folder of recordings has its classes already; got target={target!r}: leave "
                "target out, or give a table"
            )
        return Recordings(_list_folder(path, labelled))
    if path.is_file() and not is_audio_name(path.name):
        return _list_table(location, target, labelled, path.parent, group)
    if not path.is_file():
        if not globbing.has_magic(location):
            near = did_you_mean(path.name, names_beside(path))
            raise SourceError(f"no such file or folder: {location}{near}")
        files = sorted(globbing.glob(str(path), recursive=True))
        files = [file for file in files if os.path.isfile(file) and is_audio_name(file)]
        if not files:
            raise SourceError(f"no recording matches {location}: check the folder and the ending")
        return Recordings(loose_files(files, labelled, name))
    return Recordings(loose_files([str(path)], labelled, name))


def _list_folder(path: Path, labelled: bool) -> Listing:
    name = source_name(path) if path.name not in ("", ".", "..") else path.resolve().name
    found = list(walk(str(path)))
    files = [Path(file).as_posix() for file in found if is_audio_name(file)]
    files = [file for file in files if not os.path.basename(file).startswith("._")]
    if not files:
        shown = ", ".join(SUFFIXES)
        raise SourceError(
            f"the folder {path} holds no recordings, but {len(found):,} other file(s): recordings "
            f"end in {shown}"
        )
    if not labelled:
        return Listing(name, tuple(str(path / f) for f in files), tuple(files))
    return by_class(path, name, files, "recording")


def _list_table(
    source: Any, target: Any, labelled: bool, folder: Path | None, group: str | None
) -> Recordings:
    frame = read_table(source)
    what = str(source) if isinstance(source, str) else "the table"
    targets = [target] if isinstance(target, str) else list(target or ())
    for name in targets:
        if labelled and name not in frame.columns:
            raise DataError(
                f"the target {name!r} is no column of {what}"
                f"{did_you_mean(name, frame.columns) or columns_text(frame.columns)}"
            )
    require_columns([group] if group else [], frame.columns, "group names the")
    column = path_column(frame, [*targets, group or ""], PATH_COLUMNS, is_audio_name)
    if column is None:
        raise DataError(
            f"no column of {what} holds recordings{columns_text(frame.columns)}: name files with "
            "their ending, such as clips/1.wav, in a column 'file'"
        )
    parts, split = _parts_of(frame, (column, group, *targets))
    others = [name for name in frame.columns if name not in (column, group, split)]
    if labelled and not targets:
        targets = [label_column(others, what, (*LABEL_COLUMNS, *TRANSCRIPTS))]
    base = Path() if folder is None else folder
    paths, files = paths_of(frame, column, what, base)
    unused = [name for name in others if name not in targets]
    notices = []
    if unused and labelled:
        shown = ", ".join(unused[:5]) + (", ..." if len(unused) > 5 else "")
        notices.append(f"only the recordings are listened to, not the column(s) {shown}")
    if split is not None and labelled:
        notices.append(f"the column {split} says which recordings are for training and for what")
    present = [name for name in targets if name in frame.columns]
    listing = Listing(
        source_name(source),
        paths,
        files,
        frame=frame.select(present) if labelled and present else None,
        whole=False,
        parts=parts if labelled else None,
        notices=tuple(notices),
    )
    groups = None
    if group is not None:
        groups = read_texts(frame[group]).fill_null("").to_numpy().astype(str)
    return Recordings(listing, groups)


def _parts_of(frame: Any, taken: Sequence[str | None]) -> tuple[np.ndarray | None, str | None]:
    """Return the part of each row where a column names one for all rows, and that column."""
    lower = {name.lower(): name for name in reversed(frame.columns) if name not in taken}
    for likely in SPLIT_COLUMNS:
        if likely in lower:
            texts = read_texts(frame[lower[likely]]).fill_null("").to_list()
            roles = [PART_NAMES.get(text.lower()) for text in texts]
            if all(role is not None for role in roles) and "train" in roles:
                return np.array(roles), lower[likely]
    return None, None


def _list_sequence(source: Any, target: Any) -> Listing:
    """List files or waveforms, alone or with labels: ``[…]`` or ``([…], labels)``."""
    labels = None if target is None or isinstance(target, str) else target
    pair = isinstance(source, tuple) and len(source) == 2 and not _is_audio_path(source[0])
    if pair:
        source, labels = source
    items = list(source)
    if not items:
        raise SourceError("the list of recordings is empty: give at least one")
    if all(isinstance(item, (str, os.PathLike)) for item in items):
        files = tuple(os.fspath(item) for item in items)
        listing = Listing("recordings", files, files)
    else:
        listing = Listing("recordings", arrays=items)
    if labels is None:
        return listing
    frame = label_frame("label", labels)
    if frame.height != len(items):
        raise DataError(
            f"there must be as many labels as recordings; got {frame.height:,} labels for "
            f"{len(items):,} recordings"
        )
    return replace(listing, frame=frame)
