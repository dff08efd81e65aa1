"""Read a table from wherever it is: files, globs, URLs, frames, arrays and built-in sets.

Everything comes back as one Polars frame with unique, non-empty column names and at least one row.
Text stays text here unless a whole column reads as numbers or booleans; what the columns mean is
decided in ``thalweg.data.columns``.
"""

from __future__ import annotations

import glob as globbing
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.data.built_in import BUILT_IN, read_built_in
from thalweg.data.file_formats import COMPRESSIONS, FORMATS, decode
from thalweg.data.frames import checked, frame_of, is_array, pair_frame
from thalweg.errors import DataError, MissingExtraError, SourceError, did_you_mean, one_line

if TYPE_CHECKING:
    import polars as pl

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]*://")


def read_table(source: Any) -> pl.DataFrame:
    """Read any supported source into one Polars frame.

    Args:
        source: a path, a glob (files with the same columns are stacked in the order of their
            names), a URL, the name of a built-in set (``BUILT_IN``; a file of that name wins), a
            pandas, Polars or Arrow frame, a mapping from column name to values, an array
            ``X [rows, columns]`` (columns ``x0, x1, ...``) or a pair ``(X, y)`` (the target is
            the column ``target``).

    Returns:
        The rows in the order of the source.

    Raises:
        SourceError: nothing is there, or it cannot be read as what its name says.
        DataError: there is a table, but it is empty, ragged or has columns of the same name.
    """
    if isinstance(source, (str, os.PathLike)):
        return checked(_read_location(os.fspath(source)), str(source))
    if isinstance(source, tuple) and len(source) == 2:
        return pair_frame(*source)[0]
    return checked(frame_of(source), "the table given")


def source_name(source: Any) -> str:
    """Return a short name for a source: a file's stem, a built-in set's name, or ``"table"``."""
    if not isinstance(source, (str, os.PathLike)):
        return "table"
    text = os.fspath(source).rstrip("/")
    stem = re.split(r"[\\/]", text)[-1]
    if "*" in stem or "?" in stem or "[" in stem:
        parent = re.split(r"[\\/]", text)[-2:-1]
        stem = stem.split("*")[0].strip("-_.") or (parent[0] if parent else "table")
    while (suffix := Path(stem).suffix.lower()) in FORMATS or suffix in COMPRESSIONS:
        stem = stem[: -len(suffix)]
    if stem.lower() in ("train", "training", "data"):
        # The folder tells more: adult/train.csv is adult.
        parent = re.split(r"[\\/]", text)[-2:-1]
        stem = parent[0] if parent and parent[0] not in ("", ".", "..") else stem
    return stem or "table"


def peek_header(source: Any) -> list[str] | None:
    """Return a source's column names without reading its rows; None where that is not possible."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source).expanduser()
        if not path.is_file() or path.suffix.lower() not in (".csv", ".tsv", ".txt", ".tab"):
            return None
        try:
            with path.open(encoding="utf-8-sig", errors="replace") as stream:
                line = stream.readline(65_536).strip()
        except OSError:
            return None
        return [name.strip().strip("\"'") for name in re.split(r"[,;\t|]", line)]
    if is_array(source) or isinstance(source, tuple):
        return None
    names = list(source) if isinstance(source, Mapping) else getattr(source, "columns", None)
    return None if names is None else [str(name) for name in names]


def _read_location(location: str) -> pl.DataFrame:
    if not location.strip():
        raise SourceError("a source must be a path, a URL or a built-in set; got an empty text")
    if _URL.match(location):
        return decode(_fetch(location), location.split("?")[0].split("#")[0], location)
    path = Path(location).expanduser()
    try:
        exists = path.exists()
    except OSError:
        exists = False
    if exists and path.is_dir():
        raise SourceError(
            f"{location} is a folder, a table is one or several files: give them as a glob, such "
            f"as {os.path.join(location, '*.csv')}"
        )
    if exists:
        return decode(_read_bytes(path), path.name, location)
    if location in BUILT_IN:
        return read_built_in(location)
    if globbing.has_magic(location):
        return _read_glob(location)
    raise SourceError(f"no such file: {location}{_near_file(path, location)}")


def _near_file(path: Path, location: str) -> str:
    try:
        siblings = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"; its folder {path.parent} does not exist either"
    hint = did_you_mean(path.name, [*siblings, *BUILT_IN])
    if hint or os.sep in location or path.suffix:
        return hint
    return f" (built-in sets are {', '.join(BUILT_IN)})"


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError:
        raise SourceError(f"no permission to read {path}: check its access rights") from None
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from None


def _read_glob(pattern: str) -> pl.DataFrame:
    paths = sorted(p for p in globbing.glob(os.path.expanduser(pattern), recursive=True))
    paths = [path for path in paths if os.path.isfile(path)]
    if not paths:
        raise SourceError(f"no file matches {pattern}: check the folder and the ending")
    frames: list[pl.DataFrame] = []
    for path in paths:
        frame = checked(decode(_read_bytes(Path(path)), os.path.basename(path), path), path)
        if frames:
            missing = [name for name in frames[0].columns if name not in frame.columns]
            extra = [name for name in frame.columns if name not in frames[0].columns]
            if missing or extra:
                what = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r} besides"
                raise DataError(
                    f"files of one glob must have the same columns; {path} {what}, compared with "
                    f"{paths[0]}: fix the file or narrow the pattern"
                )
            frame = frame.select(frames[0].columns)
        frames.append(frame)
    return stack(frames)


def stack(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Stack frames of the same column names; a column of conflicting types becomes text."""
    import polars as pl

    first = frames[0]
    casts: dict[str, list[Any]] = {}
    for name in first.columns:
        dtypes = [frame.schema[name] for frame in frames]
        if any(dtype != dtypes[0] for dtype in dtypes):
            numeric = all(dtype.is_numeric() or dtype == pl.Null for dtype in dtypes)
            integer = all(dtype.is_integer() or dtype == pl.Null for dtype in dtypes)
            casts[name] = [pl.Int64 if integer else pl.Float64 if numeric else pl.String]
    if casts:
        frames = [
            frame.with_columns(pl.col(name).cast(to[0], strict=False) for name, to in casts.items())
            for frame in frames
        ]
    return pl.concat(frames, how="vertical")


def _fetch(url: str) -> bytes:
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError("reading a URL needs fsspec: pip install 'thalweg[url]'") from None
    try:
        with fsspec.open(url, "rb") as stream:
            return stream.read()  # type: ignore[union-attr]
    except ImportError as error:
        raise MissingExtraError(
            f"reading {url} needs another package ({error}): pip install 'thalweg[url]' for "
            "http(s), or the fsspec package of that protocol"
        ) from None
    except FileNotFoundError:
        raise SourceError(f"nothing found at {url}: check the address") from None
    except ValueError as error:
        raise SourceError(f"cannot read {url}: {one_line(error)}") from None
    except Exception as error:
        raise SourceError(
            f"cannot read {url} ({type(error).__name__}: {one_line(error)}): check the address "
            "and the connection"
        ) from None
