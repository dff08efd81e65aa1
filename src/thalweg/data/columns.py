"""What the columns of a table mean: their kinds, inferred or given, and how their text is read.

====================  ==============================================================
``number``            a quantity, also written as text (``"1,234"``, ``"$5"``, ``"12%"``)
``yes_no``            two opposite values: booleans, 0/1, yes/no, true/false, on/off
``category``          one of several names
``datetime``          a point in time
``text``              free text; read where it holds sentences, else set aside
``identifier``        names the row and tells nothing about it; dropped
``constant``          the same in every row; dropped
====================  ==============================================================

Kinds are inferred from training rows alone, so that no other row can change them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from thalweg.errors import DataError, OptionError, did_you_mean, unknown_option

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

KINDS: tuple[str, ...] = (
    "number",
    "category",
    "yes_no",
    "datetime",
    "text",
    "identifier",
    "constant",
)
USED_KINDS: frozenset[str] = frozenset({"number", "category", "yes_no", "datetime"})

_ALIASES: dict[str, str] = {
    "numeric": "number",
    "numerical": "number",
    "float": "number",
    "int": "number",
    "integer": "number",
    "categorical": "category",
    "cat": "category",
    "yes/no": "yes_no",
    "yes-no": "yes_no",
    "bool": "yes_no",
    "boolean": "yes_no",
    "binary": "yes_no",
    "date": "datetime",
    "time": "datetime",
    "date_time": "datetime",
    "id": "identifier",
    "ignore": "identifier",
    "drop": "identifier",
}

MISSING = frozenset(
    {"", "?", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing", "-", "--", "."}
)
"""Text of a feature that stands for no value, in lower case."""

MISSING_LABELS = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "null"})
"""Text of a target that stands for no value: narrower, as ``none`` may well be a class."""

_YES = frozenset({"yes", "y", "true", "t", "on"})
_NO = frozenset({"no", "n", "false", "f", "off"})
_PAIRS = (("yes", "no"), ("y", "n"), ("true", "false"), ("t", "f"), ("on", "off"))

# Day before month where both read every value: the larger part of the world writes it so.
_DATE_FORMATS: tuple[str, ...] = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.fZ",
    "%Y-%m-%dT%H:%M:%S%.f%z",
    "%Y-%m-%d %H:%M:%S%.f%z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M",
    "%d/%m/%Y",
    "%d/%m/%Y %H:%M:%S%.f",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M:%S%.f",
    "%m/%d/%Y %H:%M",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M:%S%.f",
    "%d.%m.%Y %H:%M",
    "%d-%m-%Y",
    "%d-%b-%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%Y-%m",
)
_MOSTLY = 0.95
_THOUSANDS = r"^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?$"
_DECIMAL_COMMA = r"^[+-]?\d{1,3}(?:\.\d{3})*,\d+$|^[+-]?\d+,\d+$"
_CURRENCY = "$€£¥₹"
_ID_NAME = re.compile(
    r"^(id|idx|index|uuid|guid|row|rowid|row[ _]?(id|num|number|no)|unnamed.*)$", re.IGNORECASE
)
_ID_SUFFIX = re.compile(r"(_id|-id| id|[a-z]I[Dd])$")


@dataclass(frozen=True)
class Column:
    """What one column is taken for, and why.

    Args:
        name: as in the source.
        kind: one of ``KINDS``.
        reason: why, for people.
        missing: how many training rows have no value.
        distinct: how many different values the training rows have; None where not counted.
        examples: some values.
        given: whether the user chose the kind.
        format: how text is read: a date format, ``"decimal_comma"``, or empty.
    """

    name: str
    kind: str
    reason: str = ""
    missing: int = 0
    distinct: int | None = None
    examples: tuple[str, ...] = ()
    given: bool = False
    format: str = ""

    @property
    def used(self) -> bool:
        """Whether a network sees the column."""
        return self.kind in USED_KINDS

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        record = asdict(self)
        record["examples"] = list(self.examples)
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Column:
        """Rebuild from ``to_dict``."""
        known = {field.name: record[field.name] for field in fields(cls) if field.name in record}
        return cls(**{**known, "examples": tuple(record.get("examples", ()))})


def parse_overrides(
    overrides: Mapping[str, str] | Sequence[str] | None, known: Sequence[str]
) -> dict[str, str]:
    """Check kinds that the user gives.

    Args:
        overrides: ``{name: kind}`` or ``["name=kind", ...]``.
        known: the columns of the source.

    Returns:
        The kind of each named column.

    Raises:
        OptionError: not of the form ``NAME=KIND``, or a kind that does not exist.
        DataError: a column that does not exist.
    """
    if not overrides:
        return {}
    pairs: list[tuple[str, str]] = []
    if isinstance(overrides, Mapping):
        pairs = [(str(name), str(kind)) for name, kind in overrides.items()]
    else:
        for item in [overrides] if isinstance(overrides, str) else overrides:
            name, equals, kind = str(item).rpartition("=")
            if not equals or not name:
                raise OptionError(
                    f"a column's kind is given as NAME=KIND; got {item!r}: write for instance "
                    f"{(known[0] if known else 'age')!s}=category"
                )
            pairs.append((name, kind))
    result: dict[str, str] = {}
    for name, kind in pairs:
        name = name.strip()
        require_columns([name], known, "a kind is given for")
        folded = kind.strip().lower()
        folded = _ALIASES.get(folded, folded)
        if folded not in KINDS:
            raise unknown_option(f"the kind of column {name!r}", kind, KINDS)
        result[name] = folded
    return result


def require_columns(names: Sequence[str], known: Sequence[str], what: str) -> None:
    """Raise a DataError that suggests the near name if one of ``names`` is not a column."""
    for name in names:
        if name not in known:
            listed = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
            hint = did_you_mean(name, known) or f"; the columns are {listed}"
            raise DataError(f"{what} column {name!r}, which the table does not have{hint}")


def shown_names(names: Sequence[str], most: int = 5) -> str:
    """Return names for a message, the first few where they are many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def infer_columns(
    frame: pl.DataFrame,
    *,
    overrides: Mapping[str, str] | None = None,
    rows: np.ndarray | None = None,
    num_source_rows: int | None = None,
    identifiers: bool = True,
) -> list[Column]:
    """Infer the kind of every column of the training rows.

    Args:
        frame: feature columns, training rows.
        overrides: kinds that the user gave.
        rows: index of each row in the source, to recognise a running number.
        num_source_rows: rows of the whole source.
        identifiers: whether to look for identifiers (not in arrays, whose columns have no names).

    Returns:
        One Column for each, in order.

    Raises:
        DataError: a column mixes numbers and text so that neither reading is safe.
    """
    overrides = overrides or {}
    summary = _Summary(frame)
    total = num_source_rows or frame.height
    columns = [
        _infer(frame[name], summary, overrides.get(name), rows, total, identifiers)
        for name in frame.columns
    ]
    if any(column.used for column in columns):
        return columns
    # A line's x = 0, 1, 2, … counts its rows too; as the only column it is what there is.
    return [
        replace(column, kind="number", reason=f"the only column, though {column.reason}")
        if column.kind == "identifier"
        and not column.given
        and frame[column.name].dtype.is_numeric()
        else column
        for column in columns
    ]


class _Summary:
    """Smallest and largest values of all numeric columns, in one pass."""

    def __init__(self, frame: pl.DataFrame) -> None:
        import polars as pl
        import polars.selectors as cs

        numeric = frame.select(cs.numeric())
        floats = numeric.select(cs.float()).columns
        finite = numeric.with_columns(
            pl.when(pl.col(name).is_finite()).then(pl.col(name)).otherwise(None).alias(name)
            for name in floats
        )

        def by_name(row: pl.DataFrame) -> dict[str, Any]:
            return dict(zip(finite.columns, row.row(0), strict=True)) if finite.width else {}

        self.low, self.high = by_name(finite.min()), by_name(finite.max())
        self.missing = by_name(finite.null_count())


def _infer(
    series: pl.Series,
    summary: _Summary,
    given: str | None,
    rows: np.ndarray | None,
    num_source_rows: int,
    identifiers: bool,
) -> Column:
    if given is not None:
        return _given(series, given)
    dtype = series.dtype
    name = series.name
    if dtype.is_numeric():
        low, high, missing = summary.low[name], summary.high[name], summary.missing[name]
        return _infer_number(
            series, low, high, missing, rows, num_source_rows, identifiers, _examples(series), ""
        )
    import polars as pl

    if dtype == pl.Boolean:
        return _infer_flag(series)
    if dtype.is_temporal():
        if dtype in (pl.Time,) or isinstance(dtype, pl.Duration):
            return Column(
                name, "number", "a time span", series.null_count(), None, _examples(series)
            )
        if series.n_unique() <= 1 and not series.null_count():
            return Column(name, "constant", "the same in every row", 0, 1, _examples(series))
        return Column(name, "datetime", "dates", series.null_count(), None, _examples(series))
    if dtype in (pl.String, pl.Categorical, pl.Enum) or dtype == pl.Null:
        return _infer_text(series.cast(pl.String), rows, num_source_rows, identifiers)
    return Column(name, "text", f"nested values ({dtype}) are not read", series.null_count())


def _given(series: pl.Series, kind: str) -> Column:
    name, note = series.name, "as given"
    if kind == "number":
        values, bad, style = read_numbers(series)
        if values.null_count() == values.len():
            raise DataError(
                f"column {name!r} is to be a number but no value reads as one, for instance "
                f"{', '.join(_examples(series)) or 'none'}: choose category or text"
            )
        note += f"; {len(bad)} unreadable value(s) count as missing" if bad else ""
        return Column(name, kind, note, values.null_count(), None, _examples(series), True, style)
    if kind == "datetime":
        _, style = read_datetimes(series)
        if style is None:
            raise DataError(
                f"column {name!r} is to be a date but its values are of no known form, for "
                f"instance {', '.join(_examples(series)) or 'none'}: write them as YYYY-MM-DD"
            )
        return Column(name, kind, note, series.null_count(), None, _examples(series), True, style)
    if kind == "yes_no":
        values = read_flags(series)
        if values is None:
            raise DataError(
                f"column {name!r} is to be yes/no but has values such as "
                f"{', '.join(_examples(series)) or 'none'}: choose category"
            )
        return Column(name, kind, note, values.null_count(), None, _examples(series), True)
    texts = read_texts(series)
    return Column(
        name,
        kind,
        note,
        texts.null_count(),
        texts.drop_nulls().n_unique(),
        _examples(series),
        True,
    )


def _infer_number(
    series: pl.Series,
    low: Any,
    high: Any,
    missing: int,
    rows: np.ndarray | None,
    num_source_rows: int,
    identifiers: bool,
    examples: tuple[str, ...],
    style: str,
) -> Column:
    name = series.name
    if low is None:
        return Column(name, "constant", "no values", missing, 0, examples)
    if low == high and not missing:
        return Column(name, "constant", "the same in every row", 0, 1, examples)
    # Text never counts as whole here: "00123" and "1.0" lose their form when read.
    whole = series.dtype.is_integer() or (
        low == int(low) and high == int(high) and _is_whole(series)
    )
    # Floats may well be counts that training rows happen to have few of: they stay numbers.
    if low == 0 and high == 1 and series.dtype.is_integer():
        return Column(name, "yes_no", "0 and 1", missing, 2, examples, format=style)
    if identifiers and whole and not missing:
        reason = _running_number(series, low, high, rows, num_source_rows)
        if reason:
            return Column(name, "identifier", reason, 0, series.len(), examples)
    if identifiers and whole and series.len() >= 10 and _ID_SUFFIX.search(name):
        distinct = series.n_unique()
        if distinct < series.len() * 0.5:
            return Column(name, "category", "a code by its name", missing, distinct, examples)
    return Column(
        name, "number", f"{_short(low)} to {_short(high)}", missing, None, examples, format=style
    )


def _is_whole(series: pl.Series) -> bool:
    values = series.drop_nulls()
    if not values.dtype.is_float():
        return True
    values = values.filter(values.is_finite())
    return bool((values == values.round(0)).all())


def _running_number(
    series: pl.Series, low: Any, high: Any, rows: np.ndarray | None, num_source_rows: int
) -> str:
    """Say why whole numbers name their rows, or return an empty text."""
    import numpy as np

    count = series.len()
    if count < 3:
        return ""
    if _ID_NAME.match(series.name):
        return "an identifier by its name"
    if high - low + 1 < count:
        return ""
    spread = high - low + 1
    if spread <= 1.02 * num_source_rows + 1:
        values = series.to_numpy().astype(np.int64)
        index = np.arange(count) if rows is None else np.asarray(rows, dtype=np.int64)
        if (values - index == values[0] - index[0]).all():
            return "numbers that count the rows"
        # Drawing this many numbers from so narrow a range without a repeat is no accident.
        if count >= 50 and series.n_unique() == count:
            return "every row has its own number"
    if _ID_SUFFIX.search(series.name) and series.n_unique() == count:
        return "every row has its own number, and the name says so"
    return ""


def _infer_flag(series: pl.Series) -> Column:
    missing = series.null_count()
    distinct = series.drop_nulls().n_unique()
    if distinct == 0 or (distinct == 1 and not missing):
        reason = "the same in every row" if distinct else "no values"
        return Column(series.name, "constant", reason, missing, distinct, _examples(series))
    return Column(series.name, "yes_no", "true and false", missing, distinct, _examples(series))


def _infer_text(
    series: pl.Series, rows: np.ndarray | None, num_source_rows: int, identifiers: bool
) -> Column:
    import polars as pl

    name = series.name
    # Each different text is looked at once: columns of names have few.
    counts = series.value_counts()
    table = (
        pl.DataFrame([read_texts(counts[name]).alias("text"), counts["count"].cast(pl.Int64)])
        .group_by("text")
        .agg(pl.col("count").sum())
        .sort(["count", "text"], descending=[True, False])
    )
    known = table.filter(pl.col("text").is_not_null())
    present = known["text"]
    times = known["count"]
    num_present = int(times.sum())
    missing = series.len() - num_present
    distinct = present.len()
    examples = tuple(_short(text) for text in present.head(3).to_list())
    if not num_present:
        return Column(name, "constant", "no values", missing, 0, examples)
    if distinct == 1 and not missing:
        return Column(name, "constant", "the same in every row", 0, 1, examples)
    if distinct <= 4:
        lowered = set(present.str.to_lowercase().to_list())
        if any(lowered == set(pair) for pair in _PAIRS):
            return Column(name, "yes_no", "/".join(sorted(lowered)), missing, distinct, examples)
    numbers, bad, style = read_numbers(present)
    num_bad = int(times.filter(numbers.is_null()).sum())
    share = 1 - num_bad / num_present
    if share >= _MOSTLY:
        values = read_numbers(series, style)[0]
        column = _infer_number(
            values,
            values.min(),
            values.max(),
            values.null_count(),
            rows,
            num_source_rows,
            identifiers,
            examples,
            style,
        )
        if bad and column.kind == "number":
            shown = ", ".join(repr(text) for text in sorted(bad)[:3])
            reason = f"numbers; {num_bad} value(s) such as {shown} count as missing"
            return replace(column, reason=reason)
        return column
    _, date_format = read_datetimes(present)
    if date_format is not None:
        unread = read_datetimes(series, date_format)[0].null_count()
        reason = f"dates as {date_format}"
        return Column(name, "datetime", reason, unread, None, examples, format=date_format)
    ratio = distinct / num_present

    def mean(lengths: pl.Series) -> float:
        return int((lengths.cast(pl.Int64) * times).sum()) / num_present

    words, letters = mean(present.str.count_matches(r"\S+")), mean(present.str.len_chars())
    if identifiers and _ID_NAME.match(name):
        return Column(name, "identifier", "an identifier by its name", missing, distinct, examples)
    if ratio == 1 and num_present >= 3 and words < 2 and letters <= 64:
        reason = "every row has its own value"
        return Column(name, "identifier", reason, missing, distinct, examples)
    if num_present >= 20 and (
        ratio > 0.9
        or (ratio > 0.5 and distinct > 50 and missing < 0.05 * series.len())
        or (words >= 4 and ratio > 0.3 and distinct > 50)
        or (letters > 50 and ratio > 0.3 and distinct > 20)
    ):
        reason = f"free text, {distinct:,} different of {num_present:,}"
        return Column(name, "text", reason, missing, distinct, examples)
    if share >= 0.2 and distinct > 20:
        reason = (
            f"mixes {num_present - num_bad:,} numbers with text such as {min(bad)!r}; "
            f"{name}=number makes the text missing"
        )
        return Column(name, "category", reason, missing, distinct, examples)
    return Column(name, "category", f"{distinct:,} different", missing, distinct, examples)


def _examples(series: pl.Series, count: int = 3) -> tuple[str, ...]:
    head = series.head(1000).drop_nulls().unique(maintain_order=True).head(count)
    return tuple(_short(value) for value in head.to_list())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return text if len(text) <= 24 else text[:23] + "…"


# Reading values by kind --------------------------------------------------------------------------


def read_texts(series: pl.Series, missing: frozenset[str] = MISSING) -> pl.Series:
    """Return values as text in one form: ``1`` for 1, 1.0 and ``" 1"``; null where missing."""
    import polars as pl

    name = series.name
    dtype = series.dtype
    if dtype.is_float():
        values = series.fill_nan(None)
        whole = values.is_finite() & (values == values.round(0)) & (values.abs() < 2**53)
        ints = values.set(~whole.fill_null(False), None).cast(pl.Int64, strict=False)
        texts = ints.cast(pl.String).zip_with(whole.fill_null(False), values.cast(pl.String))
        return texts.alias(name)
    if dtype.is_numeric() or dtype == pl.Boolean or dtype.is_temporal():
        return series.cast(pl.String)
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return pl.Series(
            name, [None if v is None else str(v) for v in series.to_list()], dtype=pl.String
        )
    texts = series.cast(pl.String).str.strip_chars()
    return texts.set(texts.str.to_lowercase().is_in(list(missing)), None)


def read_numbers(
    series: pl.Series, style: str | None = None, missing: frozenset[str] = MISSING
) -> tuple[pl.Series, list[str], str]:
    """Read numbers, also where they are written as text.

    Args:
        series: any values.
        style: ``"decimal_comma"`` or ``""`` as found in training; None to find out.
        missing: texts that stand for no value.

    Returns:
        Float64 values with null for missing, infinite and unreadable ones; the unreadable texts;
        the style.
    """
    import polars as pl

    name, dtype = series.name, series.dtype
    if isinstance(dtype, pl.Duration):
        return series.dt.total_seconds(fractional=True).alias(name), [], ""
    if dtype == pl.Time:
        return (series.cast(pl.Int64).cast(pl.Float64) / 1e9).alias(name), [], ""
    if dtype.is_temporal():
        return (series.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64) / 1e6), [], ""
    if dtype.is_numeric() or dtype == pl.Boolean:
        values = series.cast(pl.Float64)
        return values.set((~values.is_finite()).fill_null(False), None), [], ""
    texts = read_texts(series, missing)
    values = texts.cast(pl.Float64, strict=False)
    odd = texts.is_not_null() & values.is_null()
    if odd.any():
        rest = texts.filter(odd)
        style = _comma_style(rest) if style is None else style
        cleaned = _clean_numbers(rest, style)
        index = odd.arg_true()
        values = values.scatter(index, cleaned)
        bad = rest.filter(cleaned.is_null()).to_list()
    else:
        bad = []
    values = values.set((~values.is_finite()).fill_null(False), None).alias(name)
    return values, bad, style or ""


def _comma_style(texts: pl.Series) -> str:
    """Return ``decimal_comma`` if the texts read better with a comma before the decimals."""
    core = texts.str.replace_all(rf"[{_CURRENCY}%\s]", "")
    decimal = core.str.contains(_DECIMAL_COMMA)
    thousands = core.str.contains(_THOUSANDS)
    return "decimal_comma" if int((decimal & ~thousands).sum()) > int(thousands.sum()) else ""


def _clean_numbers(texts: pl.Series, style: str) -> pl.Series:
    import polars as pl

    core = texts.str.replace_all(r"[\s\x{00a0}\x{202f}_]", "")
    core = core.str.replace(rf"^([+-]?)[{_CURRENCY}]", "${1}")
    core = core.str.replace(rf"[{_CURRENCY}%]$", "")
    core = core.str.replace("\u2212", "-", literal=True)
    # Accountants write (5) for -5.
    core = core.str.replace(rf"^\([{_CURRENCY}]?(.+)\)$", "-${1}")
    if style == "decimal_comma":
        swap = core.str.contains(_DECIMAL_COMMA) | core.str.contains(r"^[+-]?\d{1,3}(?:\.\d{3})+$")
        swapped = core.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    else:
        swap = core.str.contains(_THOUSANDS)
        swapped = core.str.replace_all(",", "", literal=True)
    return swapped.zip_with(swap, core).cast(pl.Float64, strict=False)


def read_flags(series: pl.Series) -> pl.Series | None:
    """Read yes/no values as 1.0, 0.0 and null; None if other values occur."""
    import polars as pl

    if series.dtype == pl.Boolean:
        return series.cast(pl.Float64)
    texts = read_texts(series).str.to_lowercase()
    yes, no = texts.is_in([*_YES, "1"]), texts.is_in([*_NO, "0"])
    if not (yes | no | texts.is_null()).fill_null(True).all():
        return None
    return yes.cast(pl.Float64).set(texts.is_null(), None)


def read_flags_loosely(series: pl.Series) -> pl.Series:
    """Read yes/no values of rows met after training: what is neither counts as missing."""
    import polars as pl

    if series.dtype == pl.Boolean:
        return series.cast(pl.Float64)
    texts = read_texts(series).str.to_lowercase()
    yes, no = texts.is_in([*_YES, "1", "1.0"]), texts.is_in([*_NO, "0", "0.0"])
    return yes.cast(pl.Float64).set(~(yes | no).fill_null(False), None)


def read_datetimes(
    series: pl.Series, date_format: str | None = None
) -> tuple[pl.Series, str | None]:
    """Read points in time.

    Args:
        series: dates, date-times, or text.
        date_format: the format found in training; None to find out.

    Returns:
        Datetime values in microseconds (UTC where an offset was given), null where missing or
        unreadable; the format, empty where the values were dates already, None where none fits.
    """
    import polars as pl

    if series.dtype.is_temporal():
        if series.dtype in (pl.Date,) or isinstance(series.dtype, pl.Datetime):
            values = series.cast(pl.Datetime("us"))
            if getattr(series.dtype, "time_zone", None):
                values = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
                values = values.cast(pl.Datetime("us"))
            return values, date_format or ""
        return pl.Series(series.name, [None] * series.len(), dtype=pl.Datetime("us")), None
    texts = read_texts(series)
    if date_format:
        return _parse_dates(texts, date_format), date_format
    present = texts.drop_nulls()
    if present.is_empty() or not present.head(20).str.contains(r"\d").all():
        return _parse_dates(texts, _DATE_FORMATS[0]), None
    sample = present.head(1000)
    for candidate in _DATE_FORMATS:
        if _parse_dates(sample, candidate).null_count() > (1 - _MOSTLY) * sample.len():
            continue
        parsed = _parse_dates(texts, candidate)
        if parsed.null_count() - texts.null_count() <= (1 - _MOSTLY) * present.len():
            return parsed, candidate
    return _parse_dates(texts, _DATE_FORMATS[0]), None


def _parse_dates(texts: pl.Series, date_format: str) -> pl.Series:
    import polars as pl

    if date_format == "%Y-%m":
        texts, date_format = texts + "-01", "%Y-%m-%d"
    if "%z" in date_format:
        parsed = texts.str.to_datetime(date_format, strict=False, time_unit="us")
        return parsed.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if "%H" not in date_format:
        return texts.str.to_date(date_format, strict=False).cast(pl.Datetime("us"))
    return texts.str.to_datetime(date_format, strict=False, time_unit="us")
