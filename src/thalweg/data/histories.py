"""Histories: tables of series, a row for each step, read and put in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data.columns import (
    MISSING,
    MISSING_LABELS,
    read_datetimes,
    read_flags,
    read_flags_loosely,
    read_numbers,
    read_texts,
    require_columns,
    shown_names,
)
from thalweg.data.frames import pair_frame
from thalweg.data.sources import read_table
from thalweg.data.windows import read_times
from thalweg.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_AVERAGED = 0.01
_NUMBERED_TIMES = {"t", "time", "timestamp", "step", "ds", "date", "epoch", "period", "year"}


@dataclass(frozen=True)
class Layout:
    """Which columns of a table make up series.

    Args:
        channels: columns that networks see: the targets, other inputs, those known ahead.
        num_targets: how many first channels are forecast.
        num_known: how many last channels are known for future steps.
        flags: channels whose values are yes and no.
        time: column of time; None where rows are in order.
        series: column that names the series; None where there is one.
    """

    channels: tuple[str, ...]
    num_targets: int
    num_known: int = 0
    flags: tuple[str, ...] = ()
    time: str | None = None
    series: str | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns that are forecast."""
        return self.channels[: self.num_targets]

    @property
    def known(self) -> tuple[str, ...]:
        """Columns that are known for future steps."""
        return self.channels[len(self.channels) - self.num_known :]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        named = [name for name in (self.time, self.series) if name is not None]
        return (*named, *self.channels)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "channels": list(self.channels),
            "num_targets": self.num_targets,
            "num_known": self.num_known,
            "flags": list(self.flags),
            "time": self.time,
            "series": self.series,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Layout:
        """Rebuild from ``to_dict``."""
        lists = {name: tuple(record[name]) for name in ("channels", "flags")}
        return cls(**{**record, **lists})


@dataclass(frozen=True, eq=False)
class Line:
    """The rows of one series in the order of time: times [L], channels [L, C], source rows [L]."""

    name: str
    times: np.ndarray
    values: np.ndarray
    rows: np.ndarray


def read_history(source: Any) -> pl.DataFrame:
    """Read a history; the dates that index a pandas frame become a column."""
    if isinstance(source, (list, tuple)) and source and not isinstance(source[0], str):
        if isinstance(source, tuple) and len(source) == 2 and np.ndim(source[0]) > 0:
            return pair_frame(*source)[0]
        if np.ndim(source[0]) == 0:
            source = np.asarray(source)
    return read_table(_with_dates(source) if hasattr(source, "reset_index") else source)


def _with_dates(frame: Any) -> Any:
    """Turn the dates that index a pandas frame or series into a column."""
    if hasattr(frame.index, "to_timestamp"):
        frame = frame.to_timestamp()
    if hasattr(frame, "to_frame"):
        frame = frame.to_frame(frame.name or "value")
    if getattr(frame.index.dtype, "kind", "") != "M":
        return frame
    return frame.rename_axis(frame.index.name or "time").reset_index()


def read_lines(
    frame: pl.DataFrame, layout: Layout, format: str | None, notices: list[str]
) -> tuple[list[Line], str | None]:
    """Sort rows into series and by time; refuse or average what happens twice at one time.

    Returns:
        The series in the order of their first rows, and the format of times (None: not dates).
    """
    values = np.stack([_channel(frame[name], layout) for name in layout.channels], axis=1)
    rows = np.arange(frame.height)
    times: np.ndarray = rows.astype(np.int64)
    if layout.time is not None:
        times, format = read_times(frame[layout.time], format)
    names, codes = [""], np.zeros(frame.height, np.int64)
    if layout.series is not None:
        texts = read_texts(frame[layout.series])
        if texts.null_count():
            raise DataError(
                f"every row needs the name of its series; {texts.null_count():,} row(s) have none "
                f"in {layout.series!r}: fill it in or remove these rows"
            )
        labels, first, codes = np.unique(
            texts.to_numpy().astype(str), return_index=True, return_inverse=True
        )
        order = np.argsort(first)
        names, codes = labels[order].tolist(), np.argsort(order)[codes]
    order = np.lexsort((rows, times, codes)) if layout.time else np.argsort(codes, kind="stable")
    within = np.argsort(codes, kind="stable")
    if layout.time and (order != within).any():
        moved = int((order != within).sum())
        notices.append(f"{moved:,} row(s) were not in the order of {layout.time}: rows are sorted")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))[:-1]
    lines = []
    for name, index in zip(names, np.split(order, ends), strict=True):
        own = times[index] if layout.time else np.arange(len(index), dtype=np.int64)
        lines.append(Line(name, own, values[index], rows[index]))
    if layout.time is not None:
        lines = _without_repeats(lines, frame, layout, notices)
    return lines, format


def _channel(series: pl.Series, layout: Layout) -> np.ndarray:
    if series.name in layout.flags:
        return read_flags_loosely(series).fill_null(float("nan")).to_numpy()
    is_target = series.name in layout.targets
    if is_target and series.dtype.is_temporal():
        raise DataError(
            f"the target {series.name!r} is a date or time: a forecast needs a column of numbers"
        )
    values, bad, _ = read_numbers(series, missing=MISSING_LABELS if is_target else MISSING)
    if bad and is_target:
        raise DataError(
            f"the target {series.name!r} must be numbers to be forecast; {len(bad):,} value(s) are "
            f"not, such as {bad[0]!r}: correct them or choose another column"
        )
    return values.fill_null(float("nan")).to_numpy()


def _without_repeats(
    lines: list[Line], frame: pl.DataFrame, layout: Layout, notices: list[str]
) -> list[Line]:
    """Keep one row of each time: equal rows once, few that differ averaged, many refused."""
    same, differing, first = 0, 0, ""
    kept = []
    for line in lines:
        starts = np.flatnonzero(np.concatenate([[True], line.times[1:] != line.times[:-1]]))
        if len(starts) == len(line.times):
            kept.append(line)
            continue
        group = np.cumsum(np.isin(np.arange(len(line.times)), starts)) - 1
        present = np.isfinite(line.values)
        counts = np.zeros((len(starts), line.values.shape[1]))
        sums = np.zeros_like(counts)
        np.add.at(counts, group, present)
        np.add.at(sums, group, np.where(present, line.values, 0.0))
        with np.errstate(invalid="ignore"):
            means = sums / counts
        deviates = present & (np.abs(line.values - means[group]) > 1e-9 * np.abs(means[group]))
        torn = np.unique(group[deviates.any(axis=1)])
        repeats = len(line.times) - len(starts)
        in_torn = int(np.isin(group, torn).sum()) - len(torn)
        same, differing = same + repeats - in_torn, differing + in_torn
        if len(torn) and not first:
            first = _shown_time(line.times[starts[torn[0]]])
            first += f" in series {line.name!r}" if line.name else ""
        kept.append(Line(line.name, line.times[starts], means, line.rows[starts]))
    if same:
        notices.append(f"{same:,} row(s) repeat another one: each counts once")
    if differing > _AVERAGED * frame.height:
        raise DataError(
            f"each time occurs once in a series; {differing:,} row(s) repeat the time of another "
            f"with other values, the first at {first}: {_series_hint(frame, layout)}"
        )
    if differing:
        notices.append(
            f"{differing:,} row(s) repeat the time of another with other values, the first at "
            f"{first}: they are averaged"
        )
    return kept


def _series_hint(frame: pl.DataFrame, layout: Layout) -> str:
    taken = {*layout.columns} - {*layout.channels[layout.num_targets :]}
    for name in frame.columns:
        if name in taken or frame[name].dtype.is_float():
            continue
        named = [column for column in (layout.series, layout.time) if column is not None]
        if frame.select([*named, name]).is_unique().all():
            return f"does {name!r} name the series? Then give series={name!r}"
    return "keep one row for each, or name the column that tells the series apart (series=...)"


def _shown_time(time: Any) -> str:
    if isinstance(time, np.datetime64):
        return str(time.astype("datetime64[s]")).replace("T", " ").removesuffix(" 00:00:00")
    return f"{time:g}"


# What the columns are ----------------------------------------------------------------------------


def history_and_target(source: Any, target: Any) -> tuple[pl.DataFrame, Any]:
    """Return the table and the names of its targets; arrays of targets become columns."""
    if isinstance(source, tuple) and len(source) == 2 and np.ndim(source[0]) > 0:
        frame, names = pair_frame(*source, target if isinstance(target, str) else None)
        return frame, names
    frame = read_history(source)
    listed = [target] if isinstance(target, str) else target
    if listed is None or all(isinstance(name, str) for name in listed):
        return frame, listed
    return pair_frame(frame, target)


def infer_layout(
    frame: pl.DataFrame,
    target: Sequence[str] | None,
    time: str | None,
    series: str | None,
    known: Sequence[str],
    drop: Sequence[str],
    notices: list[str],
) -> Layout:
    """Decide which column is what."""
    known = (known,) if isinstance(known, str) else tuple(known)
    drop = (drop,) if isinstance(drop, str) else tuple(drop)
    target = None if target is None else [str(name) for name in target]
    for names, what in ((known, "known names the"), (drop, "drop names the")):
        require_columns(names, frame.columns, what)
    for names, what in (([time], "time names the"), ([series], "series names the")):
        require_columns([n for n in names if n is not None], frame.columns, what)
    if target is not None:
        require_columns(target, frame.columns, "the target is the")
        if not target or len(set(target)) < len(target):
            raise DataError(f"each target is named once; got {', '.join(target) or 'none'}")
    roles: dict[str, str] = {}
    given = [("target", name) for name in target or ()] + [("known", name) for name in known]
    given += [("drop", name) for name in drop]
    given += [(role, name) for role, name in (("time", time), ("series", series)) if name]
    for role, name in given:
        if name in roles:
            raise DataError(f"a column has one part to play; {name!r} is {roles[name]} and {role}")
        roles[name] = role
    free = [name for name in frame.columns if name not in roles]
    if time is None:
        time = _time_column(frame, free, series)
        if time is None:
            notices.append("no column of times: rows are taken in their order, one step each")
        else:
            free.remove(time)
    numbers, flags, left = [], [], []
    for name in free:
        kind = _kind_of(frame[name])
        if kind == "number" and target != [name] and _counts_rows(frame[name]):
            notices.append(f"{name} counts the rows and is left out")
        elif kind is None:
            left.append(name)
        else:
            (flags if kind == "yes_no" else numbers).append(name)
    if target is None:
        usual = [name for name in numbers if name.lower() in ("target", "y")]
        target = usual[:1] or numbers
        if not target:
            raise DataError(
                f"a forecast needs a column of numbers; the columns are "
                f"{shown_names(frame.columns, 12)}: name the target"
            )
        if len(target) > 1:
            notices.append(f"no target was named: all {len(target)} columns of numbers are")
    for name in known:
        kind = _kind_of(frame[name])
        if kind is None:
            raise DataError(
                f"what is known ahead must be numbers or yes and no; {name!r} holds others, such "
                f"as {_example(frame[name])}: turn it into numbers, or leave it out"
            )
        if kind == "yes_no":
            flags.append(name)
    if left:
        notices.append(f"columns that are no numbers are not used: {shown_names(left)}")
    past = [name for name in free if name in (*numbers, *flags) and name not in target]
    return Layout((*target, *past, *known), len(target), len(known), tuple(flags), time, series)


def _example(column: pl.Series) -> str:
    present = column.drop_nulls()
    return repr(present[0]) if len(present) else "nothing"


def _kind_of(column: pl.Series) -> str | None:
    """Return ``"number"``, ``"yes_no"``, or None for what a network cannot read as one input."""
    import polars as pl

    if column.dtype == pl.Boolean:
        return "yes_no"
    if column.dtype.is_numeric():
        return "number"
    if column.dtype != pl.String:
        return None
    texts = read_texts(column).drop_nulls()
    if not len(texts):
        return None
    _, bad, _ = read_numbers(texts)
    if len(bad) <= 0.05 * len(texts):
        return "number"
    return "yes_no" if read_flags(texts) is not None else None


def _counts_rows(column: pl.Series) -> bool:
    if not column.dtype.is_integer() or column.null_count() or len(column) < 3:
        return False
    values = column.to_numpy().astype(np.int64)
    return bool((np.diff(values) == 1).all())


def _time_column(frame: pl.DataFrame, free: Sequence[str], series: str | None) -> str | None:
    import polars as pl

    for name in free:
        column = frame[name]
        if column.dtype in (pl.Date, pl.Datetime) or column.dtype == pl.String:
            values, found = read_datetimes(column)
            if found is not None and values.null_count() < 0.5 * len(values):
                return name
    for name in free:
        column = frame[name]
        if name.lower() in _NUMBERED_TIMES and column.dtype.is_numeric():
            named = [name] if series is None else [series, name]
            numbers = read_numbers(column)[0]
            whole = numbers.null_count() == 0 and bool((numbers == numbers.round(0)).all())
            if whole and frame.select(named).is_unique().all():
                return name
    return None
