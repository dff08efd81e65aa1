"""Series: what comes next is forecast from what was, one or many steps ahead.

A history becomes windows: the last ``context`` steps of all channels, and the ``horizon`` steps of
the targets that follow. Windows never reach from one series into another, nor over a long gap.
Parts follow each other in time: the targets of a validation or test window lie wholly in its part,
while its past may reach back into the part before, as it would on the day of the forecast.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from thalweg.data.columns import read_datetimes, shown_names
from thalweg.data.dataset import PARTS, Dataset, Part
from thalweg.data.histories import Layout, Line, history_and_target, infer_layout, read_lines
from thalweg.data.sequences import SequenceDataset, SequenceEncoder, load_sequences
from thalweg.data.series_encoder import SeriesEncoder
from thalweg.data.sources import peek_header, read_table, source_name
from thalweg.data.splits import check_fractions
from thalweg.data.targets import TargetEncoder, check_loss
from thalweg.data.windows import Clock, Filling, Segment, infer_clock, infer_season
from thalweg.errors import DataError, OptionError, unknown_option
from thalweg.task import Task

__all__ = [
    "SequenceDataset",
    "SequenceEncoder",
    "SeriesDataset",
    "SeriesEncoder",
    "claims",
    "load_sequences",
    "load_series",
]

DEFAULT_FRACTIONS = (0.7, 0.1, 0.2)
"""Shares of the time axis: the oldest steps are for training, the newest for the test."""

SHORT_FRACTIONS = (0.6, 0.2, 0.2)
"""Shares where a tenth of the series is less than three horizons, too little to choose by."""

MIN_STEPS = 10
"""Shorter series are refused."""

MAX_BYTES = 2**30
"""Windows of one part that would take more memory are thinned."""

_LONGEST_SEASONAL_CONTEXT = 168
_TASKS = ("regression", "forecast", "forecasting")


@dataclass(frozen=True, eq=False, repr=False)
class SeriesDataset(Dataset):
    """Series with their windows.

    Args:
        num_series: how many series there are.
        num_steps: steps of all of them together.
        season_reason: why the season is what it is.
    """

    encoder: SeriesEncoder
    num_series: int = 1
    num_steps: int = 0
    season_reason: str = field(default="", repr=False)

    @property
    def num_features(self) -> int:
        """Number of channels and of inputs known ahead."""
        return len(self.encoder.layout.channels) + self.encoder.num_future

    def headline(self) -> str:
        """Return one line: steps, what is forecast, from what, how far."""
        encoder = self.encoder
        many = f"{self.num_series:,} series, " if self.num_series > 1 else ""
        ahead = "1 step" if encoder.horizon == 1 else f"{encoder.horizon} steps"
        step = "" if encoder.clock.unit == "row" else f" of one {encoder.clock.name}"
        return (
            f"{many}{self.num_steps:,} steps{step}, "
            f"{shown_names(encoder.layout.targets)} forecast {ahead} ahead from the last "
            f"{encoder.context}"
        )

    def _about(self) -> dict[str, Any]:
        return {"inputs": self.input_shape, "channels": self.encoder.layout.channels}

    def _input_lines(self) -> Iterator[str]:
        encoder, layout = self.encoder, self.encoder.layout
        yield f"  past       {encoder.context} steps of {shown_names(layout.channels, 8)}"
        ahead = list(layout.known)
        if encoder.lagged:
            ahead.insert(0, f"{shown_names(layout.targets)} {encoder.season} steps before")
        ahead += [f"time of {cycle}" for cycle in encoder.cycles]
        if ahead:
            yield f"  known ahead  {', '.join(ahead)}"
        season = "none" if encoder.season == 1 else f"{encoder.season} steps"
        yield f"  season     {season} ({self.season_reason})"


def claims(source: Any, options: Mapping[str, Any]) -> bool:
    """Whether a source is a series: by its options, or a file of nothing but dates and one number.

    Args:
        source: what ``load`` was given.
        options: options that were given, by name.
    """
    own = ("horizon", "context", "series", "known", "season", "sequence")
    if any(options.get(name) not in (None, ()) for name in own):
        return True
    if not isinstance(source, (str, os.PathLike)) or not os.path.isfile(source):
        return False
    names = peek_header(source)
    if os.path.getsize(source) > 5_000_000 or (names is not None and len(names) != 2):
        return False
    try:
        frame = read_table(source)
    except DataError:
        return False
    if frame.width != 2 or frame.height < 20:
        return False
    values, found = read_datetimes(frame[frame.columns[0]])
    if found is None or values.null_count() or not frame[frame.columns[1]].dtype.is_numeric():
        return False
    steps = np.diff(values.to_numpy()).astype(np.int64)
    return bool((steps > 0).all() and steps.max() <= 31 * np.median(steps))


def load_series(
    source: Any,
    target: Any = None,
    *,
    task: str | None = None,
    validation: Any = None,
    test: Any = None,
    metric: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] | None = None,
    time: str | None = None,
    series: str | None = None,
    horizon: int | None = None,
    context: int | None = None,
    known: Sequence[str] = (),
    season: int | None = None,
    calendar: bool = True,
    drop: Sequence[str] = (),
    sequence: str | None = None,
    lengths: Any = None,
) -> SeriesDataset | SequenceDataset:
    """Read series, put them on a regular time axis, split them by time, and cut windows.

    Args:
        source: a path, glob, URL, frame, mapping of columns or array: a row for each step (and
            series). The dates that index a pandas frame are read too.
        target: column or columns to forecast; where it is left out, the only column of numbers, or
            all of them. Other columns of numbers, and of yes and no, are inputs of the past.
        task: ``"regression"`` or ``"forecast"``, which are the same here.
        validation: a source of later rows to validate on, instead of a share of ``source``; where
            they continue the training rows, windows reach back into these.
        test: a source of test rows, likewise.
        metric: the metric that chooses; by default ``mae`` for one target and
            ``standardised_mse`` for several, whose units differ.
        loss: the training loss; the task's default otherwise.
        seed: kept for studies; the split is by time and needs none.
        fractions: training, validation and test, as shares of the time axis that add up to 1, or as
            numbers of steps from its beginning, such as (8640, 2880, 2880), whose rest is unused.
            70, 10 and 20 % by default; 60, 20 and 20 where a tenth holds less than three horizons.
        time: the column of times; by default the first column of dates. Without one, rows are in
            order.
        series: the column that names the series, where there are several.
        horizon: how many steps ahead; 1 by default.
        context: how many steps of the past networks see. By default two seasons, one where two are
            more than 168 steps and one is not, 48 steps otherwise; at least three horizons up to
            336 steps; and at most a third of the training steps.
        known: columns that are known ahead (promotions, holidays): they are inputs for the steps
            that are forecast, too.
        season: the period in steps; inferred from the step of time (24 hours, 7 days, 12 months...)
            where the autocorrelation agrees, else from the autocorrelation. 1 for none.
        calendar: whether the time of day, week and year of the steps that are forecast is an input.
        drop: columns to leave out.
        sequence: the column that names whole sequences to classify: see ``load_sequences``.
        lengths: likewise.

    Returns:
        The dataset; a SequenceDataset where ``sequence`` or ``lengths`` is given.

    Raises:
        SourceError: a source cannot be found or read.
        DataError: the rows or columns cannot be used as asked; the message says what to do.
        OptionError: an unknown or unsuitable option.
    """
    if sequence is not None or lengths is not None:
        return load_sequences(
            source,
            target,
            task=task,
            validation=validation,
            test=test,
            metric=metric,
            loss=loss,
            seed=seed,
            fractions=fractions,
            time=time,
            sequence=sequence,
            lengths=lengths,
            drop=drop,
        )
    if task is not None and task not in _TASKS:
        hint = "; classes of whole sequences are learnt with sequence=COLUMN"
        error = unknown_option("task of a series", task, _TASKS)
        raise OptionError(f"{error}{hint if task not in _TASKS else ''}")
    horizon = _whole("horizon", horizon, 1)
    given_context = None if context is None else _whole("context", context, 1)
    given_season = None if season is None else _whole("season", season, 0)
    notices: list[str] = []
    frame, target = history_and_target(source, target)
    layout = infer_layout(frame, target, time, series, known, drop, notices)
    lines, written = read_lines(frame, layout, None, notices)
    clock = Clock()
    if layout.time is not None:
        clock, notice = infer_clock([line.times for line in lines], written)
        notices += [notice] if notice else []
    filling = Filling()
    draft = SeriesEncoder(
        Task("regression", layout.targets, horizon=horizon),
        TargetEncoder("regression", layout.targets),
        layout,
        clock,
        context=1,
    )
    stretches = [s for line in lines for s in draft.segments(line, filling)]
    notices += filling.notices(clock.name)
    if not stretches:
        raise DataError(
            f"no row has a value in the target {shown_names(layout.targets)}: fill it in, or "
            "choose another column"
        )

    later = {"validation": validation, "test": test}
    later = {name: other for name, other in later.items() if other is not None}
    longest = max(map(len, stretches))
    if longest < MIN_STEPS:
        raise DataError(
            f"a series needs at least {MIN_STEPS} steps; the longest stretch without a long gap "
            f"has {longest}: give more rows"
        )
    if horizon >= longest:
        raise DataError(
            f"the horizon must be shorter than the series; got {horizon} steps ahead and at most "
            f"{longest:,} without a long gap: forecast fewer steps or give more rows"
        )
    if fractions is None:
        fractions = DEFAULT_FRACTIONS if longest >= 30 * horizon else SHORT_FRACTIONS
    shares = _fractions(fractions, later)
    bounds, how = _bounds(stretches, clock, shares, horizon)
    training = [_before(s, bounds[s.name][0]) for s in stretches]
    training = [s for s in training if len(s)]
    _check_varies(training, layout)
    lengths_of = sorted((len(s) for s in training), reverse=True)
    if given_season is None:
        columns = [s.targets[:, i] for s in training for i in range(layout.num_targets)]
        found, reason = infer_season(columns, clock.candidates)
    else:
        found, reason = max(1, given_season), "given"
    typical = lengths_of[len(lengths_of) // 2]
    chosen = given_context or _default_context(typical, horizon, found)
    # The value of a season before is worth an input where the context does not reach back to it.
    lagged = found > chosen and horizon <= found and lengths_of[0] >= 2 * found + horizon
    mean, scale = _statistics(training)
    tiled = [np.tile(values[: layout.num_targets], horizon) for values in (mean, scale)]
    default = "mae" if layout.num_targets == 1 else "standardised_mse"
    chosen_task = Task(
        "regression", layout.targets, (), loss or "", metric or default, horizon=horizon
    )
    encoder = replace(
        draft,
        task=chosen_task,
        target=TargetEncoder(
            "regression", layout.targets, (), tuple(tiled[0].tolist()), tuple(tiled[1].tolist())
        ),
        context=chosen,
        season=found,
        lagged=lagged,
        cycles=clock.cycles(lengths_of[0]) if calendar else (),
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
    )

    name = source_name(source)
    parts: dict[str, Part] = {}
    for place, part in enumerate(PARTS):
        if part in later:
            continue
        edges = {key: ((-np.inf, *cuts)[place], float(cuts[place])) for key, cuts in bounds.items()}
        chosen_origins = _in_part(encoder, stretches, edges, part, notices)
        _check_part(part, encoder, stretches, edges, chosen_origins, shares[place])
        parts[part] = encoder.part(stretches, chosen_origins, name)
    earlier = lines
    for part, other in later.items():
        parts[part], earlier = _later_part(encoder, earlier, other, part, name, notices)
    check_loss(chosen_task, [encoder.target.inverse(part.target) for part in parts.values()])
    if later:
        own = f"own source for {' and '.join(later)}"
        how = own if len(later) == 2 else f"{own}; the rest {how}"
    return SeriesDataset(
        name=name,
        encoder=encoder,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        notices=tuple(dict.fromkeys(notices)),
        seed=seed,
        split=how,
        num_series=len({s.name for s in stretches}),
        num_steps=sum(len(s) for s in stretches),
        season_reason=reason,
    )


# Steps of load_series ----------------------------------------------------------------------------


def _whole(name: str, value: Any, least: int) -> int:
    if value is None:
        return least
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise OptionError(f"{name} must be a whole number of {least} or more; got {value!r}")
    return int(value)


def _fractions(fractions: Sequence[float], later: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return shares that add up to 1, or numbers of steps."""
    try:
        values = [float(value) for value in fractions]
    except (TypeError, ValueError):
        values = []
    counts = bool(values) and max(values) > 1
    if counts and not (
        len(values) == 3 and all(v >= 0 and v.is_integer() for v in values) and values[0] > 0
    ):
        raise OptionError(
            "fractions must be three shares that add up to 1, or three whole numbers of steps "
            f"(train, validation, test); got {fractions!r}: use for instance (0.7, 0.1, 0.2) or "
            "(8640, 2880, 2880)"
        )
    if not counts:
        values = list(check_fractions(fractions))
    for place, part in enumerate(PARTS):
        if part in later:
            values[place] = 0.0
    if not counts:
        values = [value / sum(values) for value in values]
    return values[0], values[1], values[2]


def _bounds(
    segments: Sequence[Segment],
    clock: Clock,
    shares: tuple[float, float, float],
    horizon: int,
) -> tuple[dict[str, tuple[int, int, int]], str]:
    """Return the positions at which training, validation and test end, for each series."""
    names = list(dict.fromkeys(segment.name for segment in segments))
    what = "steps" if clock.unit == "row" else f"steps of one {clock.name}"

    def cuts(own: Sequence[Segment], strict: bool) -> tuple[tuple[int, int, int], list[int]]:
        positions = np.unique(np.concatenate([segment.positions for segment in own]))
        counts = _counts(len(positions), shares, strict)
        edges = [*positions.tolist(), int(positions[-1]) + 1]
        ends = [edges[i] for i in np.cumsum(counts)]
        return (ends[0], ends[1], ends[2]), [*counts, len(positions) - sum(counts)]

    if not clock.in_order or len(names) == 1:
        bound, counts = cuts(segments, True)
        used = [part for part in range(3) if shares[part] > 0]
        complete = 0
        for name in names:
            own = [segment for segment in segments if segment.name == name]
            complete += all(_has_window(own, bound, part, horizon) for part in used)
        # Series of different years share no axis: each is then cut by its own.
        if len(names) == 1 or complete > 0.5 * len(names):
            told = ", ".join(f"{count:,}" for count in counts[:3])
            rest = f", the last {counts[3]:,} unused" if counts[3] else ""
            return dict.fromkeys(names, bound), f"by time: the first {told} {what}{rest}"
    each = {name: cuts([s for s in segments if s.name == name], False)[0] for name in names}
    told = "/".join(f"{share:g}" for share in shares)
    return each, f"by time within each series, {told}"


def _counts(num_steps: int, shares: tuple[float, float, float], strict: bool) -> list[int]:
    if sum(shares) > 1 + 1e-6:
        if sum(shares) > num_steps and strict:
            raise OptionError(
                f"fractions ask for {int(sum(shares)):,} steps; there are {num_steps:,}: ask for "
                "fewer, or give shares that add up to 1"
            )
        ends = np.minimum(np.cumsum(shares), num_steps).astype(int)
    else:
        ends = np.round(np.cumsum(shares) * num_steps).astype(int)
    return np.diff(ends, prepend=0).tolist()


def _has_window(
    own: Sequence[Segment], bound: tuple[int, int, int], part: int, horizon: int
) -> bool:
    low, high = (-np.inf, *bound)[part : part + 2]
    return any(
        int(((s.positions >= low) & (s.positions < high)).sum()) >= horizon + (part == 0)
        for s in own
    )


def _before(segment: Segment, end: float) -> Segment:
    """Return the steps of a segment before a position."""
    count = int(np.clip(end - segment.start, 0, len(segment)))
    arrays = {
        name: getattr(segment, name)[:count]
        for name in ("times", "inputs", "targets", "observed", "rows")
    }
    return replace(segment, **arrays)


def _check_varies(training: Sequence[Segment], layout: Layout) -> None:
    if not training:
        raise DataError("the split leaves no training steps: give more rows, or other fractions")
    values = np.concatenate([segment.targets for segment in training])
    for index, name in enumerate(layout.targets):
        column = values[:, index]
        column = column[np.isfinite(column)]
        if not len(column):
            raise DataError(
                f"the target {name!r} has no value among the training steps: fill it in, or choose "
                "another column"
            )
        if column.min() == column.max():
            raise DataError(
                f"the target {name!r} is {column[0]:g} in every training step: nothing can be "
                "learnt; choose another column, or give more rows"
            )


def _statistics(training: Sequence[Segment]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel over training steps [C]."""
    values = np.concatenate([segment.inputs for segment in training])
    present = np.isfinite(values)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, values, 0.0).sum(axis=0) / count
    spread = np.where(present, values - mean, 0.0)
    scale = np.sqrt((spread**2).sum(axis=0) / count)
    return mean, np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1e-300), scale, 1.0)


def _default_context(num_steps: int, horizon: int, season: int) -> int:
    """Return how many steps networks see where the user did not say."""
    if 2 * season <= _LONGEST_SEASONAL_CONTEXT:
        base = 2 * season if season > 1 else 24
    else:
        base = season if season <= _LONGEST_SEASONAL_CONTEXT else 48
    base = max(base, min(3 * horizon, 336))
    return max(1, min(base, (num_steps - horizon) // 3))


def _in_part(
    encoder: SeriesEncoder,
    segments: Sequence[Segment],
    edges: Mapping[str, tuple[float, float]],
    part: str,
    notices: list[str],
) -> list[np.ndarray]:
    """Return the origins of a part's windows: scored ones have real targets, and memory holds."""
    chosen = [encoder.origins(s, *edges[s.name]) for s in segments]
    if part != "train":
        complete = [o[encoder.observed(s, o)] for s, o in zip(segments, chosen, strict=True)]
        left_out = sum(map(len, chosen)) - sum(map(len, complete))
        if sum(map(len, complete)) >= 0.5 * sum(map(len, chosen)):
            chosen = complete
        elif left_out:
            notices.append(
                f"{part}: {left_out:,} windows have targets that were missing and are interpolated"
            )
    per_window = 4 * (
        encoder.context * len(encoder.layout.channels)
        + encoder.horizon * (encoder.num_future + encoder.layout.num_targets)
    )
    total = sum(map(len, chosen))
    stride = -(-total * per_window // MAX_BYTES)
    if stride > 1:
        chosen = [origins[::stride] for origins in chosen]
        notices.append(
            f"{part}: every {stride}th of {total:,} windows is used, as all would take "
            f"{total * per_window / 2**30:.1f} GiB: a shorter context keeps more"
        )
    return chosen


def _check_part(
    part: str,
    encoder: SeriesEncoder,
    segments: Sequence[Segment],
    edges: Mapping[str, tuple[float, float]],
    origins: Sequence[np.ndarray],
    share: float,
) -> None:
    if sum(map(len, origins)) or share == 0:
        return
    steps = 0
    for segment in segments:
        low, high = edges[segment.name]
        steps = max(steps, int(((segment.positions >= low) & (segment.positions < high)).sum()))
    if part == "train":
        raise DataError(
            f"training needs {encoder.need} steps of context and a horizon of {encoder.horizon}; "
            f"the longest training stretch has {steps:,} step(s): give more rows, or a shorter "
            "context or horizon"
        )
    raise DataError(
        f"the {part} part has {steps:,} step(s) of a series, which hold no window of horizon "
        f"{encoder.horizon}: give more rows, a shorter horizon or context, or other fractions"
    )


def _later_part(
    encoder: SeriesEncoder,
    earlier: Sequence[Line],
    source: Any,
    part: str,
    name: str,
    notices: list[str],
) -> tuple[Part, list[Line]]:
    """Cut windows from a source of its own; where it continues a series, they reach back into it.

    Returns:
        The part, and all lines so far.
    """
    frame = encoder.frame_of(source)
    found, _ = read_lines(frame, encoder.layout, encoder.clock.format or None, notices)
    before = {line.name: line for line in earlier}
    joined, low = [], {}
    for line in found:
        past = before.get(line.name)
        if past is None or encoder.clock.in_order or line.times[-1] < past.times[0]:
            joined.append(line)
            low[line.name] = -np.inf
            continue
        new = line.times > past.times[-1]
        if not new.any():
            continue
        merged = Line(
            line.name,
            np.concatenate([past.times, line.times[new]]),
            np.concatenate([past.values, line.values[new]]),
            np.concatenate([past.rows, line.rows[new]]),
        )
        joined.append(merged)
        low[line.name] = int(encoder.clock.positions(merged.times)[len(past.times)])
    if not joined:
        raise DataError(
            f"the {part} rows must be later than those before them; none is: give rows of a later "
            "time"
        )
    filling = Filling()
    segments = [s for line in joined for s in encoder.segments(line, filling)]
    edges = {key: (value, np.inf) for key, value in low.items()}
    origins = _in_part(encoder, segments, edges, part, notices)
    _check_part(part, encoder, segments, edges, origins, 1.0)
    kept = {**before, **{line.name: line for line in joined}}
    return encoder.part(segments, origins, name), list(kept.values())
