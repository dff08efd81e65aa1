"""A file's bytes as a table: by its name, by its first bytes, and out of what compresses it."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from thalweg.data.delimited import READABLE, as_utf8, read_delimited
from thalweg.errors import DataError, SourceError, one_line

if TYPE_CHECKING:
    import polars as pl

FORMATS: dict[str, str] = {
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
COMPRESSIONS: dict[str, str] = {
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


def decode(data: bytes, name: str, where: str) -> pl.DataFrame:
    """Turn the bytes of one file into a frame; ``name`` promises the format, ``where`` is shown."""
    stem, suffix = os.path.splitext(name.lower())
    if suffix in COMPRESSIONS:
        if not data:
            raise DataError(f"{where} is empty (0 bytes): give a file with a header and rows")
        data, inner = _decompress(data, COMPRESSIONS[suffix], where)
        return decode(data, inner or stem, where)
    if not data:
        raise DataError(f"{where} is empty (0 bytes): give a file with a header and rows")
    promised = FORMATS.get(suffix)
    found = next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
    if suffix in (".xlsx", ".xls", ".ods") or (found == "Excel workbook" and promised is None):
        raise SourceError(f"{where} is a spreadsheet: save the sheet as CSV and give that file")
    if found is not None and found != promised:
        if promised is None and found in ("parquet", "arrow"):
            promised = found
        elif promised is None and found in COMPRESSIONS.values():
            data, inner = _decompress(data, found, where)
            return decode(data, inner or "", where)
        else:
            kind = {"csv": "text", "tsv": "text"}.get(promised or "", promised)
            label = f"a {found} file" if found in _SUFFIX_OF else f"a {found}"
            remedy = (
                f"rename it to end in {_SUFFIX_OF[found]}"
                if found in _SUFFIX_OF
                else f"give {READABLE}"
            )
            said = f"its name promises {kind} but its content is {label}" if kind else f"is {label}"
            raise SourceError(f"{where}: {said}: {remedy}")
    if promised == "parquet":
        return _read_parquet(data, where)
    if promised == "arrow":
        return _read_arrow(data, where)
    if promised in ("jsonl", "json"):
        return _read_json(data, where)
    return read_delimited(data, where, "\t" if promised == "tsv" else None)


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
        raise SourceError(f"{where} is not a whole {how} file ({one_line(error)})") from None
    except Exception as error:
        if type(error).__name__ in ("BadZipFile", "LZMAError"):
            raise SourceError(f"{where} is not a whole {how} file ({one_line(error)})") from None
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
        raise SourceError(f"{where} is not a whole zstd file ({one_line(error)})") from None
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
        raise SourceError(f"{where} cannot be unpacked ({one_line(error)})") from None
    return "\n".join(lines.fill_null("").to_list()).encode()


def _read_parquet(data: bytes, where: str) -> pl.DataFrame:
    import polars as pl

    try:
        return pl.read_parquet(io.BytesIO(data))
    except Exception as error:
        raise SourceError(f"{where} is not a readable Parquet file: {one_line(error)}") from None


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
            f"{where} is not a readable Feather/Arrow file: {one_line(error)}"
        ) from None


def _read_json(data: bytes, where: str) -> pl.DataFrame:
    import polars as pl

    text = as_utf8(data, where)
    if not text.strip():
        raise DataError(f"{where} is empty: give one JSON object a line")
    start = text.lstrip()[:1]
    try:
        if start == b"[":
            return pl.read_json(io.BytesIO(text), infer_schema_length=None)
        return pl.read_ndjson(io.BytesIO(text), infer_schema_length=None)
    except Exception as error:
        detail = _bad_json_line(text) or one_line(error)
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
            return f"line {number}: {one_line(error)}"
        if not isinstance(value, dict):
            return f"line {number} is not an object"
    return ""
