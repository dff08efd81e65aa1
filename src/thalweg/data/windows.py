"""Time axes: the step at which series run, their gaps, their season, and windows over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data.columns import read_datetimes, read_numbers, read_texts
from thalweg.errors import DataError

if TYPE_CHECKING:
    import polars as pl

MAX_GAP = 10
"""So many missing steps in a row are filled; a longer gap cuts the series in two."""

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_ON_GRID = 0.05
_UNITS = (
    ("week", 7 * _DAY),
    ("day", _DAY),
    ("hour", 3_600 * _SECOND),
    ("minute", 60 * _SECOND),
    ("second", _SECOND),
)


# The step of time --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clock:
    """How the steps of a series follow each other.

    Args:
        unit: ``"row"`` (rows are steps), ``"number"`` (times are numbers), ``"microsecond"``,
            ``"business_day"`` or ``"month"``.
        size: how many units a step has.
        month_end: whether months are dated by their last day.
        irregular: whether times keep to no step: rows are then steps, and ``size`` is typical.
        format: how times are written in text; empty for dates, date-times and numbers.
    """

    unit: str = "row"
    size: float = 1.0
    month_end: bool = False
    irregular: bool = False
    format: str = ""

    @property
    def dated(self) -> bool:
        """Whether times are dates."""
        return self.unit in ("microsecond", "business_day", "month")

    @property
    def in_order(self) -> bool:
        """Whether rows are steps, so that none can be missing."""
        return self.unit == "row" or self.irregular

    def positions(self, times: np.ndarray) -> np.ndarray:
        """Return the whole step that each of a series' sorted times falls on, int64 [L].

        The first is counted from one origin for all series, the others from their predecessor, so
        that times that are a little off do not add up.
        """
        if self.in_order or not len(times):
            return np.arange(len(times), dtype=np.int64)
        units = self._units(times)
        first = np.round(units[:1] / self.size)
        steps = np.maximum(np.round(np.diff(units) / self.size), 1)
        return np.concatenate([first, first + np.cumsum(steps)]).astype(np.int64)

    def _units(self, times: np.ndarray) -> np.ndarray:
        if self.unit == "month":
            return times.astype("datetime64[M]").astype(np.int64).astype(np.float64)
        if self.unit == "business_day":
            days = times.astype("datetime64[D]")
            origin = np.datetime64("1970-01-01", "D")
            return np.asarray(np.busday_count(origin, days), np.float64)
        if self.unit == "microsecond":
            return times.astype("datetime64[us]").astype(np.int64).astype(np.float64)
        return times.astype(np.float64)

    def ahead(self, times: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return the times so many steps after given ones; shapes broadcast."""
        times, steps = np.broadcast_arrays(times, np.asarray(steps, np.int64))
        if self.unit == "month":
            months = times.astype("datetime64[M]")
            dates = times.astype("datetime64[D]")
            there = months + (steps * int(self.size)).astype("timedelta64[M]")
            last = (there + 1).astype("datetime64[D]") - there.astype("datetime64[D]") - 1
            day = dates - months.astype("datetime64[D]")
            day = last if self.month_end else np.minimum(day, last)
            return (there.astype("datetime64[D]") + day).astype("datetime64[us]") + (times - dates)
        if self.unit == "business_day":
            dates = times.astype("datetime64[D]")
            there = np.busday_offset(dates, steps, roll="backward")
            return there.astype("datetime64[us]") + (times - dates)
        if self.unit == "microsecond":
            return times + (steps * round(self.size)).astype("timedelta64[us]")
        there = times + steps * self.size
        return there.astype(times.dtype) if self.unit == "row" else there

    @property
    def candidates(self) -> tuple[int, ...]:
        """Periods in steps that the calendar suggests, the shortest first."""
        if self.unit == "month":
            per_year = 12 / self.size
            return (int(per_year),) if per_year.is_integer() and per_year >= 2 else ()
        if self.unit == "business_day":
            return (5,)
        if self.unit != "microsecond":
            return ()
        if self.size == _DAY:
            return (7, 365)
        if self.size == 7 * _DAY:
            return (52,)
        found = []
        lengths = (60 * _SECOND, 3_600 * _SECOND, _DAY, 7 * _DAY)
        for length in lengths[2:] if self.size >= 60 * _SECOND else lengths:
            steps = length / self.size
            if steps.is_integer() and steps >= 2:
                found.append(int(steps))
        return tuple(found)

    @property
    def name(self) -> str:
        """The step in words: ``"hour"``, ``"15 minutes"``, ``"month"``."""
        if self.unit == "row":
            return "row"
        if self.unit == "business_day":
            return "business day"
        if self.unit == "number":
            return "step" if self.size == 1 else f"{self.size:g}"
        if self.unit == "month":
            count, word = int(self.size), "month"
            if count % 12 == 0:
                count, word = count // 12, "year"
            elif count == 3:
                count, word = 1, "quarter"
            return word if count == 1 else f"{count} {word}s"
        for word, length in _UNITS:
            if self.size % length == 0:
                count = int(self.size // length)
                return word if count == 1 else f"{count} {word}s"
        return f"{self.size / _SECOND:g} seconds"

    def written(self, times: np.ndarray) -> pl.Series:
        """Return times as the source writes them: text in its format, dates or numbers."""
        import polars as pl

        if not self.dated:
            values = np.asarray(times)
            if values.dtype.kind == "f" and np.all(values == np.round(values)):
                values = values.astype(np.int64)
            return pl.Series("time", values)
        stamps = pl.Series("time", np.asarray(times).astype("datetime64[us]"))
        if self.format:
            # The offset was taken away when times were read: they are in UTC.
            return stamps.dt.strftime(self.format.replace("%z", "+0000"))
        if len(stamps) and (stamps == stamps.dt.truncate("1d")).all():
            return stamps.cast(pl.Date)
        return stamps

    def calendar(self, times: np.ndarray, cycles: Sequence[str]) -> np.ndarray:
        """Return the phase of each calendar cycle as sine and cosine, float32 [..., 2 · cycles].

        Args:
            times: dates of any shape.
            cycles: names of ``cycles``.
        """
        stamps = np.asarray(times).astype("datetime64[us]")
        days = stamps.astype("datetime64[D]")
        phases = []
        for cycle in cycles:
            if cycle == "day":
                phase = (stamps - days).astype(np.int64) / _DAY
            elif cycle == "week":
                # 1970-01-01 was a Thursday; the phase begins with Monday.
                phase = (days.astype(np.int64) + 3) % 7 / 7
            else:
                years = stamps.astype("datetime64[Y]")
                start = years.astype("datetime64[us]")
                length = (years + 1).astype("datetime64[us]") - start
                phase = (stamps - start) / length
            phases += [np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)]
        if not phases:
            return np.zeros((*stamps.shape, 0), np.float32)
        return np.stack(phases, axis=-1).astype(np.float32)

    def cycles(self, num_steps: int) -> tuple[str, ...]:
        """Return the calendar cycles that so many steps go through at least twice.

        A cycle seen once tells a network which training rows it looks at, and nothing about others.
        """
        if not self.dated:
            return ()
        step = {"month": 30.4 * _DAY, "business_day": 1.4 * _DAY}.get(self.unit, 1.0) * self.size
        lengths = {"day": _DAY, "week": 7 * _DAY, "year": 365.25 * _DAY}
        # Months and quarters turn with the year, though their lengths do not divide it evenly.
        return tuple(
            name
            for name, length in lengths.items()
            if step <= length / 1.9 and num_steps * step >= 2 * length
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "unit": self.unit,
            "size": self.size,
            "month_end": self.month_end,
            "irregular": self.irregular,
            "format": self.format,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Clock:
        """Rebuild from ``to_dict``."""
        return cls(**record)


def read_times(series: pl.Series, format: str | None = None) -> tuple[np.ndarray, str | None]:
    """Read a column of times.

    Args:
        series: dates, date-times, numbers, or text of them.
        format: how training times were written; None to find out.

    Returns:
        ``datetime64[us] [N]`` with the format (empty for dates), or float64 [N] with None.

    Raises:
        DataError: some value is neither a date nor a number, or is missing.
    """
    values, found = read_datetimes(series, format or None)
    if format and values.null_count() > 0.5 * len(values):
        values, found = read_datetimes(series)
    if found is None and not series.dtype.is_temporal():
        # One word among dates must not hide that they are dates.
        texts = read_texts(series)
        likely = read_datetimes(texts.filter(texts.str.contains(r"\d").fill_null(False)))[1]
        if likely is not None:
            values, found = read_datetimes(series, likely)
    if found is None:
        numbers, bad, _ = read_numbers(series)
        if numbers.null_count() == 0:
            epoch = _from_epoch(numbers.to_numpy(), series.name)
            return (numbers.to_numpy(), None) if epoch is None else (epoch, "")
        if bad and len(bad) > 0.5 * len(series):
            raise DataError(
                f"the time column {series.name!r} must hold dates or numbers; got {bad[0]!r}: name "
                "another column, or write dates as 2024-01-31 or 2024-01-31 13:00"
            )
        values = numbers
    if values.null_count():
        row = int(values.is_null().arg_true()[0])
        shown = read_texts(series)[row]
        what = "is missing" if shown is None else f"is {shown!r}, unlike the others"
        raise DataError(
            f"every row needs a time; {values.null_count():,} of {len(values):,} in "
            f"{series.name!r} cannot be read, the first in row {row + 1:,}, which {what}: correct "
            "or remove these rows"
        )
    return values.to_numpy().astype("datetime64[us]"), found


def _from_epoch(numbers: np.ndarray, name: str) -> np.ndarray | None:
    """Return dates where numbers count seconds or milliseconds since 1970, as names say."""
    if not any(word in name.lower() for word in ("timestamp", "epoch", "unix")) or not len(numbers):
        return None
    low, high = numbers.min(), numbers.max()
    for low_bound, high_bound, factor in ((1e8, 5e9, 1e6), (1e11, 5e12, 1e3)):
        if low_bound <= low and high < high_bound:
            return (numbers * factor).astype(np.int64).astype("datetime64[us]")
    return None


def infer_clock(groups: Sequence[np.ndarray], format: str | None) -> tuple[Clock, str]:
    """Find the step of sorted times without repeats, one array for each series.

    Args:
        groups: ``datetime64[us] [L]`` or float64 [L].
        format: as ``read_times`` returns it.

    Returns:
        The clock, and a notice where the times keep to no step (empty otherwise).
    """
    dated = format is not None
    differences = np.concatenate([np.diff(group) for group in groups])
    values = differences.astype(np.int64).astype(np.float64) if dated else differences
    if not len(values):
        return (Clock("microsecond", _DAY, format=format or "") if dated else Clock("number")), ""
    steps, counts = np.unique(values, return_counts=True)
    mode, share = float(steps[counts.argmax()]), counts.max() / len(values)
    if dated:
        clock = _calendar_clock(groups, mode, share, float(np.median(values)), format or "")
        if clock is not None:
            return clock, ""
    size = mode if share >= 0.5 else float(np.median(values))
    multiple = np.round(values / size)
    off = float((np.abs(values / size - multiple) > 0.25 + 0.01 * multiple).mean())
    unit = "microsecond" if dated else "number"
    clock = Clock(unit, size, irregular=off > _ON_GRID, format=format or "")
    if not clock.irregular:
        return clock, ""
    return clock, (
        f"times keep to no step ({off:.0%} are off the typical one, {clock.name}): rows are taken "
        "as equally long steps"
    )


def _calendar_clock(
    groups: Sequence[np.ndarray], mode: float, share: float, median: float, format: str
) -> Clock | None:
    """Return a clock of months or business days where times keep to one."""
    days = np.concatenate(groups).astype("datetime64[D]")
    months = [group.astype("datetime64[M]").astype(np.int64) for group in groups]
    if median >= 20 * _DAY and all(len(np.unique(month)) == len(month) for month in months):
        starts = days.astype("datetime64[M]")
        last = days + 1 == (starts + 1).astype("datetime64[D]")
        number = (days - starts.astype("datetime64[D]")).astype(np.int64)
        same = bool((number == number[0]).all())
        if same or share < 0.9:
            steps = np.concatenate([np.diff(month) for month in months])
            counts = np.bincount(steps)
            return Clock("month", float(counts.argmax()), bool(last.all()), format=format)
    if mode == _DAY and len(days) >= 5:
        weekday = (days.astype(np.int64) + 3) % 7
        weekend = np.concatenate([np.diff(group) for group in groups]).astype(np.int64) == 3 * _DAY
        if weekday.max() < 5 and weekend.any():
            return Clock("business_day", 1.0, format=format)
    return None


# Segments: unbroken stretches of a series --------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Segment:
    """An unbroken stretch of one series, a value for each step.

    Args:
        name: name of the series.
        start: position of the first step on the clock.
        times: time of each step [L].
        inputs: channels [L, C], gaps carried forward from the past; NaN where there is none.
        targets: targets [L, V], gaps interpolated.
        observed: whether all targets of a step were in the source [L].
        rows: the row of the source that each step is from, or the last before it [L].
        ahead: channels known for the steps after the last [F, C].
    """

    name: str
    start: int
    times: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    observed: np.ndarray
    rows: np.ndarray
    ahead: np.ndarray

    def __len__(self) -> int:
        return len(self.times)

    @property
    def positions(self) -> np.ndarray:
        """Position of each step on the clock [L]."""
        return self.start + np.arange(len(self))


@dataclass
class Filling:
    """Counts of what was filled or cut while segments were made."""

    missing_steps: int = 0
    missing_values: int = 0
    cuts: int = 0
    longest: int = 0
    leading: int = 0
    trailing: int = 0

    def notices(self, step: str) -> list[str]:
        """Say it in words."""
        told = []
        if self.missing_steps:
            told.append(
                f"gaps: {self.missing_steps:,} missing step(s) of one {step} are filled from "
                "the past; as targets they are interpolated, and not scored"
            )
        if self.missing_values:
            told.append(f"{self.missing_values:,} missing value(s) are filled from the past")
        if self.cuts:
            told.append(
                f"{self.cuts:,} gap(s) of more than {MAX_GAP} steps (the longest {self.longest:,}) "
                "are not bridged: no window reaches over one"
            )
        if self.leading:
            told.append(f"{self.leading:,} row(s) before the first target are left out")
        if self.trailing:
            told.append(f"{self.trailing:,} row(s) after the last target are left out")
        return told


def segments_of(
    name: str,
    clock: Clock,
    times: np.ndarray,
    values: np.ndarray,
    rows: np.ndarray,
    num_targets: int,
    filling: Filling,
    max_gap: int = MAX_GAP,
) -> list[Segment]:
    """Put the rows of one series on the grid of its clock, fill short gaps and cut at long ones.

    Args:
        name: name of the series.
        clock: its step.
        times: sorted times without repeats [L].
        values: channels, targets first, NaN where missing [L, C].
        rows: index of each row in its source [L].
        num_targets: how many channels are targets.
        filling: counts what is done.
        max_gap: most steps in a row without any target that are filled.

    Returns:
        Segments in order; none where no row has a target.
    """
    has_target = np.isfinite(values[:, :num_targets]).any(axis=1)
    known = np.flatnonzero(has_target)
    if not len(known):
        return []
    positions = clock.positions(times)
    filling.leading += int(known[0])
    filling.trailing += len(times) - 1 - int(known[-1])
    jumps = np.diff(positions[known]) - 1
    cut = np.flatnonzero(jumps > max_gap)
    filling.cuts += len(cut)
    filling.longest = max(filling.longest, int(jumps.max(initial=0)))
    bounds = [0, *(cut + 1).tolist(), len(known)]
    segments = []
    for begin, end in pairwise(bounds):
        first, last = int(known[begin]), int(known[end - 1])
        ahead = values[last + 1 :] if end == len(known) else values[:0]
        if end == len(known):
            # Only steps that follow without a gap are known ahead.
            steps = positions[last + 1 :] - positions[last]
            ahead = ahead[: int((steps == np.arange(1, len(steps) + 1)).cumprod().sum())]
        stretch = slice(first, last + 1)
        segments.append(
            _segment(
                name,
                clock,
                times[stretch],
                positions[stretch],
                values[stretch],
                rows[stretch],
                num_targets,
                ahead,
                filling,
            )
        )
    return segments


def _segment(
    name: str,
    clock: Clock,
    times: np.ndarray,
    positions: np.ndarray,
    values: np.ndarray,
    rows: np.ndarray,
    num_targets: int,
    ahead: np.ndarray,
    filling: Filling,
) -> Segment:
    start, length = int(positions[0]), int(positions[-1] - positions[0] + 1)
    at = positions - start
    source = np.zeros(length, np.int64)
    source[at] = np.arange(len(at))
    source = np.maximum.accumulate(source)
    grid = np.full((length, values.shape[1]), np.nan)
    grid[at] = values
    targets = grid[:, :num_targets]
    observed = np.asarray(np.isfinite(targets).all(axis=1))
    filling.missing_steps += length - len(at)
    filling.missing_values += int((~np.isfinite(values)).sum())
    return Segment(
        name,
        start,
        times if length == len(at) else clock.ahead(times[source], np.arange(length) - at[source]),
        carried_forward(grid),
        _interpolated(targets),
        observed,
        rows[source],
        ahead,
    )


def carried_forward(values: np.ndarray) -> np.ndarray:
    """Return ``[L, C]`` with each gap filled by the last value before it; NaN before the first."""
    present = np.isfinite(values)
    if present.all():
        return values
    index = np.where(present, np.arange(len(values))[:, None], 0)
    index = np.maximum.accumulate(index, axis=0)
    return np.take_along_axis(values, index, axis=0)


def _interpolated(values: np.ndarray) -> np.ndarray:
    present = np.isfinite(values)
    if present.all():
        return values
    steps = np.arange(len(values))
    filled = values.copy()
    for column in range(values.shape[1]):
        there = present[:, column]
        if there.any():
            filled[~there, column] = np.interp(steps[~there], steps[there], values[there, column])
    return filled


# Season ------------------------------------------------------------------------------------------


def autocorrelation(values: np.ndarray, num_lags: int) -> np.ndarray:
    """Return the autocorrelation of a series about its straight line, [num_lags + 1].

        r_k = Σ_t x_t x_{t+k} / (n - k)  /  (Σ_t x_t² / n)

    Args:
        values: the series [n].
        num_lags: the longest lag, below n.
    """
    steps = np.arange(len(values)) - (len(values) - 1) / 2
    centred = values - values.mean()
    slope = (centred * steps).sum() / max((steps**2).sum(), 1.0)
    residual = centred - slope * steps
    size = 1 << (2 * len(values) - 1).bit_length()
    spectrum = np.fft.rfft(residual, size)
    sums = np.fft.irfft(spectrum * np.conj(spectrum), size)[: num_lags + 1]
    if sums[0] <= 1e-12 * max(float((values**2).sum()), 1e-300):
        return np.zeros(num_lags + 1)
    return sums / sums[0] * len(values) / (len(values) - np.arange(num_lags + 1))


def infer_season(series: Sequence[np.ndarray], candidates: Sequence[int]) -> tuple[int, str]:
    """Find the period after which series repeat themselves.

    A period of the calendar is taken where the autocorrelation of the series, or else of its
    changes from step to step, falls by 0.1 or more on the way to it and rises to a peak of at least
    0.1 there, the first so high; a longer one only where its peak is higher by 0.1. Without one,
    the highest autocorrelation after it first turns negative is taken, where it is at least 0.35
    and the series goes through the period five times.

    Args:
        series: training values of each series.
        candidates: periods in steps that the calendar suggests, the shortest first.

    Returns:
        The period in steps, 1 where there is none, and the reason.
    """
    longest = sorted(series, key=len)[-20:]
    longest = [values for values in longest if len(values) >= max(8, 0.5 * len(longest[-1]))]
    if not longest:
        return 1, "too few steps to tell"
    num_steps = min(len(values) for values in longest)
    curve = _mean_autocorrelation(longest, num_steps // 2)
    period, height = _calendar_period(curve, candidates, num_steps)
    if period > 1:
        return period, f"by the calendar; autocorrelation {height:.2f}"
    # Slow ups and downs may hide the day: changes from step to step show it.
    changes = _mean_autocorrelation([np.diff(values) for values in longest], num_steps // 2 - 1)
    period, height = _calendar_period(changes, candidates, num_steps)
    if period > 1:
        return period, f"by the calendar; autocorrelation of changes {height:.2f}"
    negative = np.flatnonzero(curve < 0)
    limit = num_steps // 5
    if len(negative) and negative[0] + 2 < limit:
        after = curve[negative[0] : limit + 1]
        # The first peak of that height: its multiples are as high.
        high = after >= after.max() - 0.05
        first = int(high.argmax())
        length = int((~high[first:]).argmax()) or len(high) - first
        period = int(negative[0] + first + after[first : first + length].argmax())
        if after.max() >= 0.35 and negative[0] < period < limit:
            return period, f"by the highest autocorrelation, {after.max():.2f}"
    return 1, "no period stands out"


def _mean_autocorrelation(series: Sequence[np.ndarray], num_lags: int) -> np.ndarray:
    return np.mean([autocorrelation(values, num_lags) for values in series], axis=0)


def _calendar_period(
    curve: np.ndarray, candidates: Sequence[int], num_steps: int
) -> tuple[int, float]:
    """Return the candidate at which the autocorrelation has its peak, and how high; or 1."""
    best, height = 1, 0.0
    for period in candidates:
        if 2.5 * period > num_steps:
            continue
        around = curve[period - period // 4 : period + period // 4 + 1]
        peak = float(curve[max(1, period - period // 20) : period + period // 20 + 1].max())
        dip = float(curve[1:period].min())
        stands_out = peak >= 0.1 and peak - dip >= 0.1 and peak >= 0.8 * around.max()
        if stands_out:
            # A multiple of a shorter period has a peak as well, but not the first of its height.
            fallen = int(np.argmax(curve < peak - 0.1))
            stands_out = curve[fallen : 3 * period // 4].max(initial=-1.0) < peak - 0.05
        if stands_out and (best == 1 or peak > height + 0.1):
            best, height = period, peak
    return best, height


# Windows -----------------------------------------------------------------------------------------


def windows(values: np.ndarray, length: int, starts: np.ndarray) -> np.ndarray:
    """Return copies of stretches of a series: ``[n, length, C]`` from ``[L, C]``."""
    width = values.shape[1]
    view = np.lib.stride_tricks.sliding_window_view(values, (length, width))
    return np.ascontiguousarray(view[starts, 0])
