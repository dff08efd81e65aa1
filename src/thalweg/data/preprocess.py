"""Turn the columns of a table into the arrays that a network reads.

A ``Preprocessor`` is fitted on training rows alone and is a list of small encoders, one a column;
what they learnt fits into JSON. Every encoder is bounded and total: missing, infinite, unreadable
and never-seen values have their place, whatever the rows met later hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg.data.columns import (
    Column,
    read_datetimes,
    read_flags_loosely,
    read_numbers,
    read_texts,
    shown_names,
)
from thalweg.errors import DataError

if TYPE_CHECKING:
    import polars as pl

CLIP = 8.0
"""Standardised numbers are kept within this many standard deviations."""

ONE_HOT_LEVELS = 24
"""Categories with at most so many levels become indicator columns, others embedding codes."""

MAX_LEVELS = 5000
NUM_KNOTS = 257

# From here on a distribution is called skewed or heavy-tailed: an exponential has 2 and 6.
SKEWNESS = 2.5
EXCESS_KURTOSIS = 12.0
_MIN_ROWS_FOR_QUANTILES = 100
_MIN_DISTINCT_FOR_QUANTILES = 24
_MIN_KNOTS = 10

MIN_BLOCK = 16
"""So many columns of one range are taken for measurements of the same thing."""

MISSING_LEVEL = "(missing)"


@dataclass(frozen=True)
class NumberEncoder:
    """A quantity: ``clip((x − center) / scale, ±CLIP)``, or by quantiles to a normal distribution.

    Args:
        name: column.
        center: subtracted; the training mean.
        scale: divided by; the training standard deviation.
        fill: value in the place of missing ones; the training median.
        indicator: whether a second column tells that a value was missing.
        knots: values ``[K]`` at which the quantile map bends; empty for the standard map.
        scores: normal scores ``[K]`` at the knots.
        style: how text is read, see ``columns.read_numbers``.
    """

    name: str
    center: float
    scale: float
    fill: float
    indicator: bool = False
    knots: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    style: str = ""

    kind: ClassVar[str] = "number"

    def names(self) -> list[str]:
        """Return the column's name, and that of its indicator."""
        return [self.name, f"{self.name} missing"] if self.indicator else [self.name]

    def transform(self, series: pl.Series) -> tuple[np.ndarray, int]:
        """Return float32 [N, 1 or 2], and how many values are missing."""
        values = _numbers(series, self.style)
        absent = np.isnan(values)
        values = np.where(absent, self.fill, values)
        if self.knots:
            scaled = np.interp(values, np.asarray(self.knots), np.asarray(self.scores))
        else:
            scaled = np.clip((values - self.center) / self.scale, -CLIP, CLIP)
        if not self.indicator:
            return scaled.astype(np.float32)[:, None], int(absent.sum())
        return _columns_of(scaled, absent), int(absent.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        record = {key: value for key, value in vars(self).items() if value != ()}
        for key in ("knots", "scores"):
            if key in record:
                record[key] = list(record[key])
        return {"kind": self.kind, **record}


@dataclass(frozen=True)
class FlagEncoder:
    """Two opposite values as 1 and 0; missing ones take the more frequent of the two."""

    name: str
    fill: float
    indicator: bool = False

    kind: ClassVar[str] = "yes_no"

    def names(self) -> list[str]:
        """Return the column's name, and that of its indicator."""
        return [self.name, f"{self.name} missing"] if self.indicator else [self.name]

    def transform(self, series: pl.Series) -> tuple[np.ndarray, int]:
        """Return float32 [N, 1 or 2], and how many values are missing."""
        values = _flags(series)
        absent = np.isnan(values)
        filled = np.where(absent, self.fill, values)
        columns = [filled, absent] if self.indicator else [filled]
        return _columns_of(*columns), int(absent.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {"kind": self.kind, **vars(self)}


_DAY = 86_400.0
_PERIODS: dict[str, float] = {"day": _DAY, "week": 7 * _DAY, "year": 365.2425 * _DAY}


@dataclass(frozen=True)
class DatetimeEncoder:
    """A point in time: elapsed time, and the angle within each period that training rows fill.

    The elapsed time is standardised; each period gives ``sin`` and ``cos`` of
    ``2π · (t mod period) / period``, so that midnight is close to a minute before.

    Args:
        name: column.
        center: mean of the training times, seconds since 1970.
        scale: their standard deviation in seconds.
        fill: time in the place of missing ones; the training median.
        periods: which of day, week and year.
        indicator: whether a column tells that a value was missing.
        format: how text is read, see ``columns.read_datetimes``.
    """

    name: str
    center: float
    scale: float
    fill: float
    periods: tuple[str, ...] = ()
    indicator: bool = False
    format: str = ""

    kind: ClassVar[str] = "datetime"

    def names(self) -> list[str]:
        """Return ``name elapsed``, two columns a period, and the indicator."""
        waves = [
            f"{self.name} {wave} of {period}" for period in self.periods for wave in ("sin", "cos")
        ]
        return [f"{self.name} elapsed", *waves, *([f"{self.name} missing"] * self.indicator)]

    def transform(self, series: pl.Series) -> tuple[np.ndarray, int]:
        """Return float32 [N, 1 + 2 · periods (+ 1)], and how many values are missing."""
        seconds = _seconds(series, self.format)
        absent = np.isnan(seconds)
        seconds = np.where(absent, self.fill, seconds)
        columns = [np.clip((seconds - self.center) / self.scale, -CLIP, CLIP)]
        for period in self.periods:
            angle = 2 * np.pi * np.mod(seconds, _PERIODS[period]) / _PERIODS[period]
            # Where the time is unknown it has no direction.
            columns += [np.where(absent, 0, np.sin(angle)), np.where(absent, 0, np.cos(angle))]
        if self.indicator:
            columns.append(absent)
        return _columns_of(*columns), int(absent.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {"kind": self.kind, **vars(self), "periods": list(self.periods)}


@dataclass(frozen=True)
class CategoryEncoder:
    """Names as indicator columns, or as codes for an embedding.

    Code 0 is for rare and never-seen names (and missing ones where training rows hardly have any);
    ``levels[i]`` has the code i + 1.

    Args:
        name: column.
        levels: names by falling frequency; ``MISSING_LEVEL`` stands for no value.
        one_hot: indicator columns instead of codes.
        other: whether an indicator column stands for code 0; only where training rows have it.
    """

    name: str
    levels: tuple[str, ...]
    one_hot: bool
    other: bool = False

    kind: ClassVar[str] = "category"

    @property
    def cardinality(self) -> int:
        """Number of codes, that of rare and unseen names included."""
        return len(self.levels) + 1

    def names(self) -> list[str]:
        """Return one name for each indicator column; none for codes."""
        if not self.one_hot:
            return []
        names = [f"{self.name}={level}" for level in self.levels]
        return [*names, f"{self.name}=(other)"] if self.other else names

    def codes(self, series: pl.Series) -> np.ndarray:
        """Return codes int32 [N]."""
        import polars as pl

        if not self.levels or not series.len():
            return np.zeros(series.len(), np.int32)
        # Each different value is looked up once.
        values = series.unique()
        texts = read_texts(values).fill_null(MISSING_LEVEL)
        known = np.arange(1, len(self.levels) + 1, dtype=np.int32)
        codes = texts.replace_strict(list(self.levels), known, default=0, return_dtype=pl.Int32)
        return series.replace_strict(values, codes, return_dtype=pl.Int32).to_numpy()

    def hot(self, codes: np.ndarray) -> np.ndarray:
        """Return codes as zeros and ones, float32 [N, levels (+ 1)]."""
        hot = np.zeros((len(codes), self.cardinality), np.float32)
        hot[np.arange(len(codes)), codes] = 1.0
        return np.concatenate([hot[:, 1:], hot[:, :1]], axis=1) if self.other else hot[:, 1:]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {"kind": self.kind, **vars(self), "levels": list(self.levels)}


ENCODERS: dict[str, Any] = {
    encoder.kind: encoder
    for encoder in (NumberEncoder, FlagEncoder, DatetimeEncoder, CategoryEncoder)
}
"""Encoders by the kind of column that they read."""


@dataclass(frozen=True)
class Preprocessor:
    """Turns a frame with the training table's columns into arrays.

    Args:
        encoders: one for each column used, in the order of the training table.
        notices: what the fit did that is worth telling.
    """

    encoders: tuple[Any, ...]
    notices: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def fit(
        cls,
        frame: pl.DataFrame,
        columns: Sequence[Column],
        weight: np.ndarray | None = None,
        *,
        bare: bool = False,
    ) -> Preprocessor:
        """Learn scales, medians, quantiles and levels.

        Args:
            frame: training rows, and no other.
            columns: what the columns are; unused kinds are passed over.
            weight: weight of each row [N], 0 or more; rows of weight 0 count for nothing.
            bare: whether it may have no column at all.

        Returns:
            The fitted preprocessor.

        Raises:
            DataError: no column is left to learn from, or no row has weight.
        """
        used = [column for column in columns if column.used]
        if not used and not bare:
            raise DataError(
                "no column is left to predict from: "
                + ", ".join(f"{column.name} is {column.kind}" for column in columns[:6])
                + "; say what a column is (NAME=KIND) to keep it"
            )
        if weight is not None:
            weight = np.asarray(weight, np.float64)
            if not np.isfinite(weight).all() or (weight < 0).any() or weight.sum() <= 0:
                raise DataError("row weights must be 0 or more, finite, and not all 0")
            kept = weight > 0
            if not kept.all():
                frame, weight = frame.filter(kept), weight[kept]
            if (weight == weight[0]).all():
                weight = None
        notices: list[str] = []
        encoders = tuple(
            _FITS[column.kind](frame[column.name], column, weight, notices) for column in used
        )
        encoders = _common_scale(frame, encoders, notices)
        bent = [e.name for e in encoders if isinstance(e, NumberEncoder) and e.knots]
        if bent:
            notices.append(
                "skewed or heavy-tailed, so mapped by quantiles to a normal distribution: "
                + shown_names(bent)
            )
        return cls(encoders, tuple(notices))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the source columns it reads."""
        return tuple(encoder.name for encoder in self.encoders)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of ``numeric`` [D]."""
        return tuple(name for encoder in self.encoders for name in encoder.names())

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the columns of ``category`` [C]."""
        return tuple(encoder.name for encoder in self._coded)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each column of ``category`` [C]."""
        return tuple(encoder.cardinality for encoder in self._coded)

    @property
    def _coded(self) -> list[CategoryEncoder]:
        return [e for e in self.encoders if isinstance(e, CategoryEncoder) and not e.one_hot]

    def transform(self, frame: pl.DataFrame) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Turn rows into arrays.

        Args:
            frame: rows with at least the columns learnt from, in any order.

        Returns:
            ``{"numeric": float32 [N, D]}``, with ``"category": int32 [N, C]`` where there are
            codes; and notices (names never seen in training, texts for numbers, values missing
            where none were).

        Raises:
            DataError: a column is missing.
        """
        require_present(frame.columns, self.columns)
        notices: list[str] = []
        blocks: list[np.ndarray] = []
        codes: list[np.ndarray] = []
        for encoder in self.encoders:
            series = frame[encoder.name]
            if isinstance(encoder, CategoryEncoder):
                code = encoder.codes(series)
                if not encoder.other and (unseen := int((code == 0).sum())):
                    notices.append(
                        f"{encoder.name}: {unseen:,} row(s) have a name never seen in training"
                    )
                if encoder.one_hot:
                    blocks.append(encoder.hot(code))
                else:
                    codes.append(code)
                continue
            block, absent = encoder.transform(series)
            blocks.append(block)
            if isinstance(encoder, NumberEncoder) and not series.dtype.is_numeric():
                bad = read_numbers(series, encoder.style)[1]
                if bad:
                    notices.append(
                        f"{encoder.name}: value(s) such as {', '.join(map(repr, sorted(bad)[:3]))} "
                        "are no numbers and count as missing"
                    )
            if absent and not encoder.indicator:
                notices.append(
                    f"{encoder.name}: {absent:,} row(s) have no value, which no training row "
                    "lacked; a typical one is put in"
                )
        numeric = (
            np.concatenate(blocks, axis=1) if blocks else np.zeros((frame.height, 0), np.float32)
        )
        fields = {"numeric": np.ascontiguousarray(numeric)}
        if codes:
            fields["category"] = np.ascontiguousarray(np.stack(codes, axis=1))
        return fields, tuple(notices)

    def native(self, frame: pl.DataFrame) -> tuple[np.ndarray, tuple[bool, ...]]:
        """Return one float64 column for each source column, as decision trees like them.

        Returns:
            Values [N, columns]: numbers unscaled, NaN where missing, categories as codes; and
            which columns are categories.
        """
        columns: list[np.ndarray] = []
        for encoder in self.encoders:
            series = frame[encoder.name]
            if isinstance(encoder, CategoryEncoder):
                columns.append(encoder.codes(series).astype(np.float64))
            elif isinstance(encoder, FlagEncoder):
                columns.append(_flags(series))
            elif isinstance(encoder, DatetimeEncoder):
                columns.append(_seconds(series, encoder.format))
            else:
                columns.append(_numbers(series, encoder.style))
        kinds = tuple(isinstance(encoder, CategoryEncoder) for encoder in self.encoders)
        return np.stack(columns, axis=1), kinds

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {"encoders": [encoder.to_dict() for encoder in self.encoders]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Preprocessor:
        """Rebuild from ``to_dict``."""
        return cls(tuple(_encoder_from_dict(entry) for entry in record["encoders"]))


def require_present(given: Sequence[str], needed: Sequence[str]) -> None:
    """Raise a DataError naming the columns that a model needs and the rows do not have."""
    missing = [name for name in needed if name not in given]
    if not missing:
        return
    from thalweg.errors import did_you_mean

    shown = ", ".join(repr(name) for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
    word = "column" if len(missing) == 1 else f"{len(missing)} columns"
    hint = did_you_mean(missing[0], [name for name in given if name not in needed])
    raise DataError(f"the rows lack the {word} {shown} that the model was trained with{hint}")


def _encoder_from_dict(record: Mapping[str, Any]) -> Any:
    values = {key: value for key, value in record.items() if key != "kind"}
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return ENCODERS[record["kind"]](**values)


def _columns_of(*columns: np.ndarray) -> np.ndarray:
    return np.stack(columns, axis=1, dtype=np.float32, casting="unsafe")


# Reading as float64 with NaN ---------------------------------------------------------------------


def _numbers(series: pl.Series, style: str) -> np.ndarray:
    import polars as pl

    if series.dtype.is_numeric():
        values = series.cast(pl.Float64).to_numpy()
        odd = ~np.isfinite(values)
        return np.where(odd, np.nan, values) if odd.any() else values
    return read_numbers(series, style)[0].fill_null(float("nan")).to_numpy()


def _flags(series: pl.Series) -> np.ndarray:
    if series.dtype.is_numeric():
        return np.clip(_numbers(series, ""), 0.0, 1.0)
    return read_flags_loosely(series).fill_null(float("nan")).to_numpy()


def _seconds(series: pl.Series, date_format: str) -> np.ndarray:
    import polars as pl

    values = read_datetimes(series, date_format or None)[0]
    return (values.cast(pl.Int64).cast(pl.Float64) / 1e6).fill_null(float("nan")).to_numpy()


# Fitting -----------------------------------------------------------------------------------------


def _fit_number(
    series: pl.Series, column: Column, weight: np.ndarray | None, notices: list[str]
) -> NumberEncoder:
    values = _numbers(series, column.format)
    absent = np.isnan(values)
    indicator = bool(absent.any())
    if absent.all():
        # A column may have values in other rows only: it then tells nothing, harmlessly.
        return NumberEncoder(column.name, 0.0, 1.0, 0.0, indicator, style=column.format)
    present = values[~absent]
    mass = None if weight is None else weight[~absent]
    center, scale, skewness, kurtosis = _moments(present, mass)
    fill = float(_quantiles(present, mass, np.array([0.5]))[0])
    knots: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    heavy = abs(skewness) > SKEWNESS or kurtosis > EXCESS_KURTOSIS
    if heavy and present.size >= _MIN_ROWS_FOR_QUANTILES:
        knots, scores = _normal_knots(present, mass)
    return NumberEncoder(column.name, center, scale, fill, indicator, knots, scores, column.format)


def _common_scale(
    frame: pl.DataFrame, encoders: tuple[Any, ...], notices: list[str]
) -> tuple[Any, ...]:
    """Give columns that measure the same thing, such as pixels, one scale.

    Dividing each by its own deviation would blow up the pixels at the edge, which hardly vary.
    Columns are taken for such a block where at least ``MIN_BLOCK`` of them begin at the same value
    and most of them also end at the same value.
    """
    numbers = [e for e in encoders if isinstance(e, NumberEncoder) and not e.indicator]
    if len(numbers) < MIN_BLOCK:
        return encoders
    ranges = {}
    for encoder in numbers:
        values = _numbers(frame[encoder.name], encoder.style)
        ranges[encoder.name] = (float(values.min()), float(values.max()))
    lows = [low for low, _ in ranges.values()]
    low = max(set(lows), key=lows.count)
    members = [name for name, (least, _) in ranges.items() if least == low]
    high = max(ranges[name][1] for name in members)
    if len(members) < MIN_BLOCK or sum(ranges[m][1] == high for m in members) < len(members) / 2:
        return encoders
    chosen = set(members)
    scale = float(np.sqrt(np.mean([e.scale**2 for e in numbers if e.name in chosen])))
    notices.append(
        f"{len(members)} columns from {low:g} to {high:g} keep their common scale, like pixels"
    )
    return tuple(
        replace(e, scale=scale, knots=(), scores=()) if e.name in chosen else e for e in encoders
    )


def _moments(values: np.ndarray, mass: np.ndarray | None) -> tuple[float, float, float, float]:
    """Return mean, standard deviation (never 0), skewness and excess kurtosis."""
    # Values near the largest float overflow when squared: work in units of the largest.
    unit = float(np.abs(values).max()) or 1.0
    shrunk = values / unit
    mean = float(np.average(shrunk, weights=mass))
    deviation = shrunk - mean
    square = deviation * deviation
    variance = float(np.average(square, weights=mass))
    if variance <= 1e-20:
        return mean * unit, unit if variance == 0 else max(variance**0.5 * unit, 1e-300), 0.0, 0.0
    third = float(np.average(square * deviation, weights=mass))
    fourth = float(np.average(square * square, weights=mass))
    return (
        mean * unit,
        max(variance**0.5 * unit, 1e-300),
        third / variance**1.5,
        fourth / variance**2 - 3.0,
    )


def _quantiles(values: np.ndarray, mass: np.ndarray | None, levels: np.ndarray) -> np.ndarray:
    if mass is None:
        return np.quantile(values, levels)
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(mass[order])
    middle = (cumulative - 0.5 * mass[order]) / cumulative[-1]
    return np.interp(levels, middle, values[order])


def _normal_knots(
    values: np.ndarray, mass: np.ndarray | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return values and the normal scores of their ranks, ties at their mean rank.

    Empty where there are too few different values: the map would be a staircase.
    """
    from statistics import NormalDist

    if np.unique(values).size < _MIN_DISTINCT_FOR_QUANTILES:
        return (), ()
    levels = np.linspace(0, 1, NUM_KNOTS)
    found = _quantiles(values, mass, levels)
    knots, start, counts = np.unique(found, return_index=True, return_counts=True)
    if knots.size < _MIN_KNOTS:
        return (), ()
    rank = levels[start] + (counts - 1) / 2 / (NUM_KNOTS - 1)
    # The ends get the score of the most extreme of so many draws rather than infinity.
    edge = 0.5 / min(values.size, 2000)
    normal = NormalDist()
    scores = [normal.inv_cdf(min(max(float(p), edge), 1 - edge)) for p in rank]
    scores_array = np.asarray(scores)
    # Ties shift the scores off centre; a network starts best at mean 0 and deviation 1.
    mapped = np.interp(values, knots, scores_array)
    mean, scale, _, _ = _moments(mapped, mass)
    scores_array = np.clip((scores_array - mean) / scale, -CLIP, CLIP)
    return tuple(knots.tolist()), tuple(scores_array.tolist())


def _fit_flag(
    series: pl.Series, column: Column, weight: np.ndarray | None, notices: list[str]
) -> FlagEncoder:
    values = _flags(series)
    absent = np.isnan(values)
    if absent.all():
        return FlagEncoder(column.name, 0.0, True)
    mean = np.average(values[~absent], weights=None if weight is None else weight[~absent])
    return FlagEncoder(column.name, float(mean >= 0.5), bool(absent.any()))


def _fit_datetime(
    series: pl.Series, column: Column, weight: np.ndarray | None, notices: list[str]
) -> DatetimeEncoder:
    seconds = _seconds(series, column.format)
    absent = np.isnan(seconds)
    if absent.all():
        return DatetimeEncoder(column.name, 0.0, 1.0, 0.0, (), True, column.format)
    present = seconds[~absent]
    mass = None if weight is None else weight[~absent]
    center, scale, _, _ = _moments(present, mass)
    span = float(present.max() - present.min())
    periods = []
    if np.unique(np.mod(present, _DAY)).size > 1:
        periods.append("day")
    if span >= 2 * _DAY and np.unique(np.floor(np.mod(present, 7 * _DAY) / _DAY)).size > 1:
        periods.append("week")
    if span >= 60 * _DAY:
        periods.append("year")
    fill = float(_quantiles(present, mass, np.array([0.5]))[0])
    return DatetimeEncoder(
        column.name, center, scale, fill, tuple(periods), bool(absent.any()), column.format
    )


def _fit_category(
    series: pl.Series, column: Column, weight: np.ndarray | None, notices: list[str]
) -> CategoryEncoder:
    import polars as pl

    mass = pl.Series("weight", np.ones(series.len()) if weight is None else weight)
    raw = (
        pl.DataFrame([series.alias("level"), mass])
        .group_by("level")
        .agg(pl.len().alias("rows"), pl.col("weight").sum())
    )
    counts = (
        raw.with_columns(read_texts(raw["level"]).fill_null(MISSING_LEVEL).alias("level"))
        .group_by("level")
        .agg(pl.col("rows").sum(), pl.col("weight").sum().round(6))
        .sort(["weight", "level"], descending=[True, False])
    )
    num_rows = series.len()
    # Fewer rows than this teach a network nothing about a level.
    fewest = min(max(round(0.001 * num_rows), 5), 50) if num_rows >= 50 else 1
    frequent = counts.filter(pl.col("rows") >= fewest)
    if frequent.is_empty():
        frequent = counts.head(ONE_HOT_LEVELS)
    frequent = frequent.head(MAX_LEVELS)
    levels = tuple(frequent["level"].to_list())
    merged = counts.height - len(levels)
    if merged:
        rows = num_rows - int(frequent["rows"].sum())
        notices.append(
            f"{column.name}: {merged:,} rare name(s) in {rows:,} training row(s) merged into one"
        )
    return CategoryEncoder(column.name, levels, len(levels) <= ONE_HOT_LEVELS, merged > 0)


_FITS = {
    "number": _fit_number,
    "yes_no": _fit_flag,
    "datetime": _fit_datetime,
    "category": _fit_category,
}
