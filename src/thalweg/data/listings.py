"""Files listed by folders and tables: what images and recordings have in common."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data.image_arrays import Listing, columns_text, label_frame
from thalweg.data.image_sets import LABEL_COLUMNS
from thalweg.errors import DataError, SourceError

if TYPE_CHECKING:
    import polars as pl

PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of folders, or of labels, that say which part files belong to."""

_TABLES = (".csv", ".tsv", ".tab", ".psv", ".parquet", ".pq", ".jsonl", ".ndjson", ".feather")

IsName = Callable[[str], bool]
"""Whether a file's name ends like those looked for."""


def is_table_name(name: str) -> bool:
    """Whether a file's name (in lower case) ends like a table's."""
    return name.removesuffix(".gz").endswith(_TABLES)


def are_names(values: Iterable[Any], is_name: IsName) -> bool:
    """Whether all values that there are, and there are some, are names of files looked for."""
    texts = [str(value) for value in values if value is not None]
    return bool(texts) and all(is_name(text) for text in texts)


def table_has_names(path: Path, is_name: IsName) -> bool:
    """Whether a column of a table holds names of files, judged by its first rows."""
    import polars as pl

    name = path.name.lower()
    try:
        if name.endswith((".parquet", ".pq")):
            frame = pl.scan_parquet(path).head(5).collect()
            return any(
                frame[column].dtype == pl.String and are_names(frame[column], is_name)
                for column in frame.columns
            )
        with gzip.open(path) if name.endswith(".gz") else open(path, "rb") as file:
            head = file.read(1 << 15)
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError):
        # Whoever reads the table next says what is wrong with it.
        return False
    lines = head.decode("utf-8", "replace").splitlines()[1:6]
    fields = [re.split(r'[,;\t|]|"\s*:\s*"', line.replace("}", "")) for line in lines if line]
    columns = zip(*fields, strict=False)
    return any(are_names([cell.strip('"{} ') for cell in column], is_name) for column in columns)


def names_beside(path: Path) -> list[str]:
    """Return what lies beside a path."""
    try:
        return [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []


# Folders -----------------------------------------------------------------------------------------


def walk(folder: str) -> Iterator[str]:
    """Yield the files below a folder, relative to it, in the order of their names."""
    seen = {os.path.realpath(folder)}
    for here, folders, files in os.walk(folder, followlinks=True):
        kept = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(here, name))
            # A link to a folder further up would go round for ever.
            if not name.startswith((".", "__MACOSX")) and real not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        for name in sorted(files):
            yield os.path.relpath(os.path.join(here, name), folder)


def folder_entries(path: Path) -> list[str]:
    """Return the names in a folder, in order, without hidden ones.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise SourceError(f"cannot read the folder {path}: {error.strerror or error}") from None


def by_class(path: Path, name: str, files: Sequence[str], noun: str) -> Listing:
    """List files whose folder is their class.

    Args:
        path: a folder of class folders, or of folders ``train``, ``test``, … of such.
        name: short name of the source.
        files: the files below it, relative to it.
        noun: what one file is: "image", "recording".

    Raises:
        DataError: the files are in no class folders.
    """
    folders = [entry for entry in folder_entries(path) if (path / entry).is_dir()]
    roles: Mapping[str, str | None] | None = {
        folder: PART_NAMES.get(folder.lower()) for folder in folders
    }
    split = "train" in roles.values() and all(
        role is not None or not any(f.startswith(f"{folder}/") for f in files)
        for folder, role in roles.items()
    )
    roles = roles if split else None
    kept: list[str] = []
    labels: list[str] = []
    parts: list[str] = []
    outside: dict[str, int] = {}
    depth = 0 if roles is None else 1
    for file in files:
        steps = file.split("/")
        if len(steps) < depth + 2:
            where = f"{steps[0]}/" if depth and len(steps) > 1 else f"{name}/"
            outside[where] = outside.get(where, 0) + 1
            continue
        kept.append(file)
        labels.append(steps[depth])
        if roles is not None:
            parts.append(roles[steps[0]] or "train")
    classes = sorted(set(labels))
    if not classes:
        tables = [f.name for f in sorted(path.iterdir()) if is_table_name(f.name.lower())]
        hint = f", or give the table {tables[0]} as the source" if tables else ""
        raise DataError(
            f"the {noun}s of {path} are in no class folders: put those of each class into a folder "
            f"with its name{hint}"
        )
    notices = [
        f"{count:,} {noun}(s) of {where} lie in no class folder and are left out"
        for where, count in outside.items()
    ]
    if roles is not None and "train" not in parts:
        raise DataError(f"the training folder of {path} has no class folders with {noun}s in them")
    empty = [
        folder
        for base in ([path] if roles is None else [path / role for role in roles])
        for folder in sorted(f.name for f in base.iterdir() if f.is_dir())
        if folder not in classes and not folder.startswith((".", "__MACOSX"))
    ]
    if empty:
        shown = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        notices.append(f"folders without {noun}s are no classes: {shown}")
    return Listing(
        name,
        tuple(str(path / file) for file in kept),
        tuple(kept),
        frame=label_frame("class", labels),
        parts=None if roles is None else np.array(parts),
        notices=tuple(notices),
    )


def loose_files(files: Sequence[str], labelled: bool, name: str) -> Listing:
    """List single files; the folder that each lies in may be its class."""
    frame = label_frame("class", [os.path.basename(os.path.dirname(file)) for file in files])
    root = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
    shown = tuple(Path(os.path.relpath(os.path.abspath(f), root)).as_posix() for f in files)
    return Listing(name, tuple(files), shown, frame=frame if labelled else None)


# Tables of paths ---------------------------------------------------------------------------------


def path_column(
    frame: pl.DataFrame, targets: Sequence[str], likely: Sequence[str], is_name: IsName
) -> str | None:
    """Return the column that holds names of files, those with likely names first."""
    import polars as pl

    named = {name.lower(): name for name in reversed(frame.columns)}
    order = [named[name] for name in likely if name in named]
    order += [name for name in frame.columns if name not in order]
    for name in order:
        if name not in targets and frame[name].dtype == pl.String:
            texts = frame[name].drop_nulls().head(1000).to_list()
            if sum(is_name(text) for text in texts) > 0.5 * len(texts):
                return name
    return None


def label_column(others: Sequence[str], what: str, likely: Sequence[str] = LABEL_COLUMNS) -> str:
    """Return the column of labels among some: the only one, or the one with a likely name.

    Raises:
        DataError: there is none, or no telling which.
    """
    if len(others) == 1:
        return others[0]
    found = [name for label in likely for name in others if name.lower() == label]
    if found:
        return found[0]
    if not others:
        raise DataError(f"{what} has no column besides that of files: add one with the labels")
    raise DataError(
        f"which column of {what} is to be predicted? Name the target{columns_text(others)}"
    )


def paths_of(frame: pl.DataFrame, column: str, what: str, base: Path) -> tuple[Any, Any]:
    """Return the paths that a column names, relative to ``base``, and how they are written.

    Raises:
        DataError: a row names none.
        SourceError: not one of them exists.
    """
    import polars as pl

    written = frame[column].cast(pl.String)
    if written.null_count():
        raise DataError(
            f"{written.null_count():,} row(s) of {what} name no file in the column {column!r}: "
            "fill it in or remove these rows"
        )
    files = tuple(written.to_list())
    paths = tuple(str(base / Path(file.replace("\\", "/")).expanduser()) for file in files)
    missing = [file for path, file in zip(paths, files, strict=True) if not os.path.exists(path)]
    if len(missing) == len(files):
        raise SourceError(
            f"none of the {len(files):,} files that {what} names exists, such as {missing[0]!r}: "
            f"paths are relative to {base.resolve()}"
        )
    return paths, files
