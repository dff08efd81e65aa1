"""Tables as text: CSV and its kin, whatever the delimiter, the encoding and the quotes."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from thalweg.errors import DataError, SourceError, one_line

if TYPE_CHECKING:
    import polars as pl

DELIMITERS = (",", ";", "\t", "|")
READABLE = (
    "CSV, TSV, Parquet, JSON lines or Feather/Arrow, plain or compressed (.gz, .zst, .bz2, .xz, "
    ".zip)"
)


def as_utf8(data: bytes, where: str) -> bytes:
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
                    f"{READABLE}"
                ) from None
    head = data[:65536]
    controls = sum(head.count(code) for code in (0, 1, 2, 3, 4, 5, 6, 14, 15, 16, 127))
    if b"\x00" in head or controls > max(8, len(head) // 50):
        raise SourceError(f"{where} is a binary file, not text: give {READABLE}")
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
        raise SourceError(f"cannot split the text into columns: {one_line(error)}") from None
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
    return [name or unnamed(index, seen) for index, name in enumerate(names)]


def unnamed(index: int, taken: set[str]) -> str:
    """Return a name for a column without one, which no other column has."""
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


def read_delimited(data: bytes, where: str, delimiter: str | None) -> pl.DataFrame:
    """Read a file's bytes as a table of delimited text; without a delimiter it is found out.

    Raises:
        DataError: it is empty, or its lines differ in length.
        SourceError: it is no text.
    """
    import polars as pl

    text = as_utf8(data, where)
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
