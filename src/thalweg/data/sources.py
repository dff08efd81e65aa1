"""Read a table from wherever it is: files, globs, URLs, frames, arrays and built-in sets.

Everything comes back as one Polars frame with unique, non-empty column names and at least one row.
Text stays text here unless a whole column reads as numbers or booleans; what the columns mean is
decided in ``thalweg.data.columns``.
"""

from __future__ import annotations

import contextlib
import glob as globbing
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.errors import DataError, MissingExtraError, SourceError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

BUILT_IN: tuple[str, ...] = ("digits", "breast_cancer", "wine", "iris", "diabetes")
"""Names that ``read_table`` knows without a file; they are data files of scikit-learn."""

DELIMITERS = (",", ";", "\t", "|")

_FORMATS: dict[str, str] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".psv": "csv",
    ".txt": "csv",
    ".data": "csv",
    ".dat": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".feather": "arrow",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrow",
}
_COMPRESSIONS: dict[str, str] = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bzip2",
    ".xz": "xz",
    ".zip": "zip",
}
# First bytes of files, to catch one whose name promises something else.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"\x89PNG", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"%PDF", "PDF document"),
    (b"\x93NUMPY", "NumPy array"),
    (b"\xd0\xcf\x11\xe0", "Excel workbook"),
    (b"SQLite format 3", "SQLite database"),
)
_SUFFIX_OF = {
    "parquet": ".parquet",
    "arrow": ".arrow",
    "gzip": ".gz",
    "zstd": ".zst",
    "bzip2": ".bz2",
    "xz": ".xz",
    "zip": ".zip",
}
_READABLE = (
    "CSV, TSV, Parquet, JSON lines or Feather/Arrow, plain or compressed (.gz, .zst, .bz2, .xz, "
    ".zip)"
)
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
        return _checked(_read_location(os.fspath(source)), str(source))
    if isinstance(source, tuple) and len(source) == 2:
        return pair_frame(*source)[0]
    return _checked(_frame_of(source), "the table given")


def source_name(source: Any) -> str:
    """Return a short name for a source: a file's stem, a built-in set's name, or ``"table"``."""
    if not isinstance(source, (str, os.PathLike)):
        return "table"
    text = os.fspath(source).rstrip("/")
    stem = re.split(r"[\\/]", text)[-1]
    if "*" in stem or "?" in stem or "[" in stem:
        parent = re.split(r"[\\/]", text)[-2:-1]
        stem = stem.split("*")[0].strip("-_.") or (parent[0] if parent else "table")
    while (suffix := Path(stem).suffix.lower()) in _FORMATS or suffix in _COMPRESSIONS:
        stem = stem[: -len(suffix)]
    if stem.lower() in ("train", "training", "data"):
        # The folder tells more: adult/train.csv is adult.
        parent = re.split(r"[\\/]", text)[-2:-1]
        stem = parent[0] if parent and parent[0] not in ("", ".", "..") else stem
    return stem or "table"


def is_built_in(source: Any) -> bool:
    """Whether a source names a built-in set and no file of that name is in the way."""
    return isinstance(source, str) and source in BUILT_IN and not os.path.exists(source)


def is_array(source: Any) -> bool:
    """Whether a source is an array ``X`` or a list of rows: columns have no names of their own."""
    if hasattr(source, "dtype") and hasattr(source, "shape") and hasattr(source, "ndim"):
        return getattr(source.dtype, "names", None) is None and not hasattr(source, "name")
    return isinstance(source, list) and bool(source) and isinstance(source[0], (list, tuple))


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


def pair_frame(
    inputs: Any, target: Any, target_name: str | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """Join ``(X, y)`` into one frame.

    Args:
        inputs: features, an array ``[rows, columns]`` or a frame.
        target: an array ``[rows]`` or ``[rows, targets]``, a series, or a frame.
        target_name: name for a single target; the series' own name or ``"target"`` by default.

    Returns:
        The frame with the target columns last, and their names.

    Raises:
        DataError: the lengths differ, or the target's name is already a feature.
    """
    import numpy as np
    import polars as pl

    features = _frame_of(inputs)
    own = getattr(target, "name", None)
    name = target_name or (own if isinstance(own, str) and own else "target")
    if not hasattr(target, "ndim") and hasattr(target, "__array__"):
        target = np.asarray(target)
    if isinstance(target, (list, tuple)) or getattr(target, "ndim", 0) == 1:
        columns = pl.DataFrame([_series(name, target)])
    elif hasattr(target, "columns"):
        columns = _frame_of(target)
    elif getattr(target, "ndim", 0) == 2:
        array = np.asarray(target)
        width = array.shape[1]
        names = [name] if width == 1 else [f"{name}{index}" for index in range(width)]
        columns = pl.DataFrame([_series(names[i], array[:, i]) for i in range(width)])
    else:
        raise DataError(
            "y must have the shape [rows] or [rows, targets]; got "
            f"{type(target).__name__} of shape {getattr(target, 'shape', '?')}"
        )
    if columns.height != features.height:
        raise DataError(
            f"X and y must have the same number of rows; got {features.height:,} and "
            f"{columns.height:,}"
        )
    clash = [column for column in columns.columns if column in features.columns]
    if clash:
        raise DataError(
            f"the target's name {clash[0]!r} is also a column of X: rename the target or drop the "
            "column"
        )
    joined = pl.concat([features, columns], how="horizontal")
    return _checked(joined, "the arrays given"), columns.columns


# Locations ---------------------------------------------------------------------------------------


def _read_location(location: str) -> pl.DataFrame:
    if not location.strip():
        raise SourceError("a source must be a path, a URL or a built-in set; got an empty text")
    if _URL.match(location):
        return _decode(_fetch(location), location.split("?")[0].split("#")[0], location)
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
        return _decode(_read_bytes(path), path.name, location)
    if location in BUILT_IN:
        return _read_built_in(location)
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
        frame = _checked(_decode(_read_bytes(Path(path)), os.path.basename(path), path), path)
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
        raise SourceError(f"cannot read {url}: {_one_line(error)}") from None
    except Exception as error:
        raise SourceError(
            f"cannot read {url} ({type(error).__name__}: {_one_line(error)}): check the address "
            "and the connection"
        ) from None


# Bytes -------------------------------------------------------------------------------------------


def _decode(data: bytes, name: str, where: str) -> pl.DataFrame:
    """Turn the bytes of one file into a frame; ``name`` promises the format, ``where`` is shown."""
    stem, suffix = os.path.splitext(name.lower())
    if suffix in _COMPRESSIONS:
        if not data:
            raise DataError(f"{where} is empty (0 bytes): give a file with a header and rows")
        data, inner = _decompress(data, _COMPRESSIONS[suffix], where)
        return _decode(data, inner or stem, where)
    if not data:
        raise DataError(f"{where} is empty (0 bytes): give a file with a header and rows")
    promised = _FORMATS.get(suffix)
    found = next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
    if suffix in (".xlsx", ".xls", ".ods") or (found == "Excel workbook" and promised is None):
        raise SourceError(f"{where} is a spreadsheet: save the sheet as CSV and give that file")
    if found is not None and found != promised:
        if promised is None and found in ("parquet", "arrow"):
            promised = found
        elif promised is None and found in _COMPRESSIONS.values():
            data, inner = _decompress(data, found, where)
            return _decode(data, inner or "", where)
        else:
            kind = {"csv": "text", "tsv": "text"}.get(promised or "", promised)
            label = f"a {found} file" if found in _SUFFIX_OF else f"a {found}"
            remedy = (
                f"rename it to end in {_SUFFIX_OF[found]}"
                if found in _SUFFIX_OF
                else f"give {_READABLE}"
            )
            said = f"its name promises {kind} but its content is {label}" if kind else f"is {label}"
            raise SourceError(f"{where}: {said}: {remedy}")
    if promised == "parquet":
        return _read_parquet(data, where)
    if promised == "arrow":
        return _read_arrow(data, where)
    if promised in ("jsonl", "json"):
        return _read_json(data, where)
    return _read_delimited(data, where, "\t" if promised == "tsv" else None)


def _decompress(data: bytes, how: str, where: str) -> tuple[bytes, str | None]:
    """Return the content and, where the archive tells it, the name of the file inside."""
    import zlib

    try:
        if how == "gzip":
            import gzip

            return gzip.decompress(data), None
        if how == "bzip2":
            import bz2

            return bz2.decompress(data), None
        if how == "xz":
            import lzma

            return lzma.decompress(data), None
        if how == "zip":
            return _unzip(data, where)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise SourceError(f"{where} is not a whole {how} file ({_one_line(error)})") from None
    except Exception as error:
        if type(error).__name__ in ("BadZipFile", "LZMAError"):
            raise SourceError(f"{where} is not a whole {how} file ({_one_line(error)})") from None
        raise
    return _unzstd(data, where), None


def _unzip(data: bytes, where: str) -> tuple[bytes, str]:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [
            name
            for name in archive.namelist()
            if not name.endswith("/") and not name.startswith("__MACOSX/")
        ]
        if len(names) != 1:
            listed = ", ".join(names[:5]) or "none"
            raise DataError(
                f"a zip file must hold exactly one table; {where} holds {len(names)} ({listed}): "
                "unpack it and give the one you mean"
            )
        return archive.read(names[0]), os.path.basename(names[0])


def _unzstd(data: bytes, where: str) -> bytes:
    try:
        import pyarrow as pa

        with pa.CompressedInputStream(io.BytesIO(data), "zstd") as stream:
            return stream.read()
    except ImportError:
        pass
    except Exception as error:
        raise SourceError(f"{where} is not a whole zstd file ({_one_line(error)})") from None
    try:
        import zstandard  # type: ignore[import-not-found]

        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream:
            return stream.read()
    except ImportError:
        pass
    # Polars unpacks zstd itself, but only on the way to a CSV: read the lines as one column.
    import polars as pl

    try:
        lines = pl.read_csv(
            io.BytesIO(data),
            has_header=False,
            separator="\x01",
            quote_char=None,
            infer_schema=False,
            new_columns=["line"],
        )["line"]
    except Exception as error:
        raise SourceError(f"{where} cannot be unpacked ({_one_line(error)})") from None
    return "\n".join(lines.fill_null("").to_list()).encode()


def _read_parquet(data: bytes, where: str) -> pl.DataFrame:
    import polars as pl

    try:
        return pl.read_parquet(io.BytesIO(data))
    except Exception as error:
        raise SourceError(f"{where} is not a readable Parquet file: {_one_line(error)}") from None


def _read_arrow(data: bytes, where: str) -> pl.DataFrame:
    import polars as pl

    try:
        if data.startswith(b"ARROW1"):
            return pl.read_ipc(io.BytesIO(data))
        if data.startswith(b"FEA1"):
            raise SourceError(
                f"{where} is a Feather file of version 1: write it again with version 2"
            )
        return pl.read_ipc_stream(io.BytesIO(data))
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"{where} is not a readable Feather/Arrow file: {_one_line(error)}"
        ) from None


def _read_json(data: bytes, where: str) -> pl.DataFrame:
    import polars as pl

    text = _as_utf8(data, where)
    if not text.strip():
        raise DataError(f"{where} is empty: give one JSON object a line")
    start = text.lstrip()[:1]
    try:
        if start == b"[":
            return pl.read_json(io.BytesIO(text), infer_schema_length=None)
        return pl.read_ndjson(io.BytesIO(text), infer_schema_length=None)
    except Exception as error:
        detail = _bad_json_line(text) or _one_line(error)
        raise SourceError(
            f"{where} is not readable as JSON lines (one object with the same names a line): "
            f"{detail}"
        ) from None


def _bad_json_line(text: bytes) -> str:
    import json

    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            return f"line {number}: {_one_line(error)}"
        if not isinstance(value, dict):
            return f"line {number} is not an object"
    return ""


# Delimited text ----------------------------------------------------------------------------------


def _as_utf8(data: bytes, where: str) -> bytes:
    """Return the text as UTF-8 without a byte order mark, or say what is wrong with it."""
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    for mark, codec in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            try:
                return data.decode(codec).encode("utf-8")
            except UnicodeDecodeError:
                raise SourceError(
                    f"{where} starts like UTF-16 text but is not: is it a binary file? Give "
                    f"{_READABLE}"
                ) from None
    head = data[:65536]
    controls = sum(head.count(code) for code in (0, 1, 2, 3, 4, 5, 6, 14, 15, 16, 127))
    if b"\x00" in head or controls > max(8, len(head) // 50):
        raise SourceError(f"{where} is a binary file, not text: give {_READABLE}")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"{where} is not UTF-8 text (byte 0x{data[error.start]:02x} in line {line}): convert "
            f"it with `iconv -f WINDOWS-1252 -t UTF-8 IN > OUT`"
        ) from None
    return data


def _records(text: bytes, delimiter: str, limit: int | None = None) -> list[list[str]]:
    import csv

    stream = io.StringIO(text.decode("utf-8"), newline="")
    csv.field_size_limit(2**31 - 1)
    rows: list[list[str]] = []
    try:
        for row in csv.reader(stream, delimiter=delimiter):
            rows.append(row)
            if limit is not None and len(rows) >= limit:
                break
    except csv.Error as error:
        raise SourceError(f"cannot split the text into columns: {_one_line(error)}") from None
    return rows


def _sniff(text: bytes) -> str:
    """Choose the delimiter that splits the first rows into the most columns consistently."""
    sample = text[:65536]
    if len(text) > len(sample):
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    while True:
        try:
            sample.decode("utf-8")
            break
        except UnicodeDecodeError:
            sample = sample[:-1]
    best, best_score = ",", (0.0, 0)
    for delimiter in DELIMITERS:
        rows = [row for row in _records(sample, delimiter, 200) if row]
        if not rows or len(rows[0]) < 2:
            continue
        width = len(rows[0])
        agreeing = sum(len(row) == width for row in rows) / len(rows)
        score = (round(agreeing, 1), width)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _header(text: bytes, delimiter: str, where: str) -> list[str]:
    rows = _records(text[: 1 << 20].rsplit(b"\n", 1)[0] + b"\n", delimiter, 1)
    names = [name.strip() for name in rows[0]] if rows else []
    seen: set[str] = set()
    twice = [name for name in names if name and (name in seen or seen.add(name))]
    if twice:
        numbers = sum(_is_number(name) for name in names)
        if numbers * 2 > len(names):
            raise DataError(
                f"the first line of {where} looks like data, not like column names "
                f"({', '.join(names[:4])}...): add a header line"
            )
        raise DataError(
            f"column names must differ; {where} has {twice[0]!r} more than once: rename one of them"
        )
    return [name or _unnamed(index, seen) for index, name in enumerate(names)]


def _unnamed(index: int, taken: set[str]) -> str:
    name = f"unnamed_{index}"
    while name in taken:
        name += "_"
    return name


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_delimited(data: bytes, where: str, delimiter: str | None) -> pl.DataFrame:
    import polars as pl

    text = _as_utf8(data, where)
    if b"\r" in text and b"\n" not in text:
        text = text.replace(b"\r", b"\n")
    text = text.lstrip(b"\r\n")
    if not text.strip():
        raise DataError(f"{where} is empty: give a file with a header and rows")
    separator = delimiter or _sniff(text)
    names = _header(text, separator, where)
    fallback = _ragged(text, separator, len(names), where)
    if not fallback:
        try:
            frame = _with_names(text, separator, names)
            return _without_blank_lines(frame, text)
        except pl.exceptions.NoDataError:
            raise _header_only(where) from None
        except Exception:
            # Quotes in the middle of a field and the like: the standard library reads more kindly.
            pass
    rows = [row for row in _records(text, separator)[1:] if row]
    if not rows:
        raise _header_only(where)
    cells = list(zip(*rows, strict=True))
    return pl.DataFrame([_typed(name, list(cells[i])) for i, name in enumerate(names)])


def _with_names(text: bytes, separator: str, names: list[str]) -> pl.DataFrame:
    import polars as pl

    frame = pl.read_csv(io.BytesIO(text), separator=separator, infer_schema_length=None)
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _header_only(where: str) -> DataError:
    return DataError(f"{where} has a header but no rows: give a file with rows")


def _typed(name: str, cells: list[str]) -> pl.Series:
    import polars as pl

    column = pl.Series(name, [cell or None for cell in cells], dtype=pl.String)
    for dtype in (pl.Int64, pl.Float64):
        try:
            return column.cast(dtype)
        except pl.exceptions.InvalidOperationError:
            continue
    return column


def _without_blank_lines(frame: pl.DataFrame, text: bytes) -> pl.DataFrame:
    """Drop the all-missing rows that Polars makes of blank lines in a table of several columns."""
    import polars as pl

    blank = re.search(rb"\n[ \t]*\r?\n", text) is not None or text.endswith(b"\n\n")
    if frame.width < 2 or not blank:
        return frame
    return frame.filter(~pl.all_horizontal(pl.all().is_null()))


def _ragged(text: bytes, separator: str, width: int, where: str) -> bool:
    """Raise if a row has more or fewer fields than the header.

    Returns:
        Whether the quotes are so irregular that only the slow reader will do.
    """
    import numpy as np

    data = np.frombuffer(text if text.endswith(b"\n") else text + b"\n", dtype=np.uint8)
    quote, newline, comma = ord('"'), ord("\n"), ord(separator)
    special = np.flatnonzero((data == comma) | (data == newline) | (data == quote))
    codes = data[special]
    quoted = (np.cumsum(codes == quote) % 2).astype(bool)
    ends = np.flatnonzero((codes == newline) & ~quoted)
    commas = np.cumsum((codes == comma) & ~quoted)
    counts = np.diff(commas[ends], prepend=0)
    starts = np.concatenate([[0], special[ends[:-1]] + 1])
    lengths = special[ends] - starts
    # A blank line (perhaps with its carriage return) is no row.
    blank = (lengths == 0) | ((lengths == 1) & (data[np.minimum(starts, data.size - 1)] == 13))
    bad = (counts + 1 != width) & ~blank
    has_quotes = bool((codes == quote).any())
    if not bad.any() and not (has_quotes and quoted[-1]):
        return False
    if has_quotes:
        lines = _records(text, separator)
        widths = [(number, len(row)) for number, row in enumerate(lines, start=1) if row]
    else:
        # Blank lines count: the number is where an editor finds the row.
        widths = [(int(i) + 1, int(counts[i]) + 1) for i in np.flatnonzero(bad)[:1]]
    wrong = next(((number, fields) for number, fields in widths if fields != width), None)
    if wrong is None:
        return True
    number, fields = wrong
    raise DataError(
        f"every row must have the {width} fields of the header; row {number} of {where} has "
        f"{fields} (fields split at {separator!r}): fix or quote that row"
    )


# Frames and arrays -------------------------------------------------------------------------------


def _frame_of(source: Any) -> pl.DataFrame:
    import numpy as np
    import polars as pl

    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, Mapping):
        return _from_mapping(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, pl.Series):
        return source.alias(source.name or "x0").to_frame()
    if isinstance(source, (list, tuple)):
        if source and isinstance(source[0], Mapping):
            return pl.DataFrame([dict(row) for row in source], infer_schema_length=None)
        try:
            return _from_array(np.asarray(source))
        except ValueError:
            raise DataError("rows must all have the same length: check the list given") from None
    frame = _from_foreign(source)
    if frame is not None:
        return frame
    if hasattr(source, "toarray"):
        return _from_array(np.asarray(source.toarray()))
    if hasattr(source, "__array__"):
        return _from_array(np.asarray(source))
    raise SourceError(
        "a source must be a path, URL, built-in set, data frame, mapping of columns, array or "
        f"(X, y); got {type(source).__name__}"
    )


def _from_foreign(source: Any) -> pl.DataFrame | None:
    """Convert a pandas, Arrow or other frame through Narwhals; None if it is no frame."""
    import narwhals as nw

    try:
        wrapped = nw.from_native(source, pass_through=True, allow_series=True)
    except nw.exceptions.DuplicateError:
        _require_different([str(name) for name in source.columns])
        raise
    if isinstance(wrapped, nw.LazyFrame):
        wrapped = wrapped.collect()
    if isinstance(wrapped, nw.Series):
        wrapped = wrapped.alias(str(wrapped.name or "x0")).to_frame()
    if not isinstance(wrapped, nw.DataFrame):
        return None
    names = [str(name) for name in wrapped.columns]
    _require_different(names)
    columns: list[pl.Series] = []
    for series, name in zip(wrapped.iter_columns(), names, strict=True):
        try:
            columns.append(series.to_polars().alias(name))
        except Exception:
            # pandas without pyarrow, or a column of mixed objects.
            columns.append(_series(name, series.to_list()))
    import polars as pl

    return pl.DataFrame(columns)


def _require_different(names: Sequence[str]) -> None:
    if len(set(names)) == len(names):
        return
    twice = next(name for index, name in enumerate(names) if name in names[:index])
    raise DataError(
        f"column names must differ; the frame has {twice!r} more than once: rename one of them"
    )


def _from_mapping(source: Mapping[Any, Any]) -> pl.DataFrame:
    import numpy as np
    import polars as pl

    columns: list[pl.Series] = []
    for key, values in source.items():
        array = None if isinstance(values, pl.Series) else np.asarray(values, dtype=_dtype(values))
        if array is not None and array.ndim == 2 and array.shape[1] != 1:
            columns.extend(_series(f"{key}{i}", array[:, i]) for i in range(array.shape[1]))
        elif array is not None and array.ndim == 0:
            raise DataError(f"column {str(key)!r} must be a list or an array; got {values!r}")
        else:
            columns.append(_series(str(key), values if array is None else array.reshape(-1)))
    lengths = {column.len() for column in columns}
    if len(lengths) > 1:
        described = ", ".join(f"{column.name}: {column.len():,}" for column in columns[:6])
        raise DataError(f"columns must have the same number of rows; got {described}")
    return pl.DataFrame(columns)


def _dtype(values: Any) -> Any:
    """Keep a list of mixed Python values as objects: NumPy would turn numbers into text."""
    if isinstance(values, (list, tuple)):
        kinds = {type(value) for value in values if value is not None}
        if str in kinds or bool in kinds or None in values:
            return object
    return None


def _from_array(array: np.ndarray) -> pl.DataFrame:
    import polars as pl

    if array.dtype.names:
        return pl.DataFrame([_series(name, array[name]) for name in array.dtype.names])
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise DataError(
            f"X must have the shape [rows, columns]; got {array.shape}: reshape it, for instance "
            "with X.reshape(len(X), -1)"
        )
    return pl.DataFrame([_series(f"x{i}", array[:, i]) for i in range(array.shape[1])])


def _series(name: str, values: Any) -> pl.Series:
    import numpy as np
    import polars as pl

    if isinstance(values, pl.Series):
        return values.alias(name)
    if hasattr(values, "to_numpy") and not isinstance(values, np.ndarray):
        values = values.to_numpy()
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "biuf":
            if values.dtype == np.float16:
                values = values.astype(np.float32)
            if not values.dtype.isnative:
                values = values.astype(values.dtype.newbyteorder("="))
            return pl.Series(name, np.ascontiguousarray(values))
        if values.dtype.kind == "M":
            return pl.Series(name, values.astype("datetime64[us]"))
        if values.dtype.kind == "c":
            raise DataError(f"column {name!r} holds complex numbers: split them into two columns")
        values = values.tolist()
    cells = [None if isinstance(value, float) and value != value else value for value in values]
    kinds = {type(value) for value in cells if value is not None}
    if kinds <= {int, float} or len(kinds) <= 1:
        # What Polars has no type for (whole numbers beyond 128 bits, objects) is kept as text.
        with contextlib.suppress(pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
            return pl.Series(name, cells, strict=False)
    return pl.Series(name, [None if v is None else str(v) for v in cells], dtype=pl.String)


# Built-in sets -----------------------------------------------------------------------------------


def _read_built_in(name: str) -> pl.DataFrame:
    """Read a set from scikit-learn's data files, without the second that importing it costs."""
    import importlib.util

    import numpy as np
    import polars as pl

    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"the built-in set {name!r} comes with scikit-learn: pip install scikit-learn"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data"
    try:
        if name == "digits":
            values = _numbers_of(folder / "digits.csv.gz", ",").astype(np.int64)
            names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
            columns = [pl.Series(n, values[:, i].astype(np.float64)) for i, n in enumerate(names)]
            return pl.DataFrame([*columns, pl.Series("target", values[:, -1])])
        if name == "diabetes":
            values = _numbers_of(folder / "diabetes_data_raw.csv.gz")
            target = _numbers_of(folder / "diabetes_target.csv.gz")
            columns = [pl.Series(n, values[:, i]) for i, n in enumerate(_DIABETES)]
            return pl.DataFrame([*columns, pl.Series("target", target)])
        file = {"wine": "wine_data.csv"}.get(name, f"{name}.csv")
        lines = (folder / file).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SourceError(
            f"scikit-learn is installed without its data file for {name!r} ({error}): reinstall it"
        ) from None
    classes = lines[0].split(",")[2:]
    values = np.array([line.split(",") for line in lines[1:] if line], dtype=np.float64)
    names = {"iris": _IRIS, "wine": _WINE, "breast_cancer": _BREAST_CANCER}[name]
    columns = [pl.Series(n, values[:, i]) for i, n in enumerate(names)]
    labels = [classes[int(code)] for code in values[:, -1]]
    return pl.DataFrame([*columns, pl.Series("target", labels)])


def _numbers_of(path: Path, delimiter: str | None = None) -> np.ndarray:
    import gzip

    import numpy as np

    lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
    return np.array([line.split(delimiter) for line in lines], dtype=np.float64).squeeze()


_DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
_IRIS = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
_WINE = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280/od315_of_diluted_wines",
    "proline",
)
_CELL = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
_BREAST_CANCER = (
    *(f"mean {name}" for name in _CELL),
    *(f"{name} error" for name in _CELL),
    *(f"worst {name}" for name in _CELL),
)


# Checks ------------------------------------------------------------------------------------------


def _checked(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    if frame.width == 0:
        raise DataError(f"{where} has no columns: give a table with a header and rows")
    if frame.height == 0:
        raise DataError(f"{where} has a header but no rows: give a table with rows")
    stripped = [name.strip() for name in frame.columns]
    if stripped != frame.columns or "" in stripped:
        taken = set(stripped)
        stripped = [name or _unnamed(index, taken) for index, name in enumerate(stripped)]
        if len(set(stripped)) < len(stripped):
            twice = next(name for name in stripped if stripped.count(name) > 1)
            raise DataError(
                f"column names must differ; {where} has {twice!r} more than once: rename one of "
                "them"
            )
        frame = frame.rename(dict(zip(frame.columns, stripped, strict=True)))
    return frame


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
