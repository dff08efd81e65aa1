"""What turns histories into windows, and outputs into dated forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg.data.columns import shown_names
from thalweg.data.dataset import Encoder, Part
from thalweg.data.histories import Layout, Line, read_history, read_lines
from thalweg.data.sources import source_name
from thalweg.data.targets import TargetEncoder
from thalweg.data.windows import (
    MAX_GAP,
    Clock,
    Filling,
    Segment,
    infer_clock,
    segments_of,
    windows,
)
from thalweg.errors import DataError, did_you_mean
from thalweg.task import Task

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class SeriesEncoder(Encoder):
    """Turns histories into windows, and outputs into dated forecasts.

    Fields: ``sequence`` float32 [N, context, C], channels standardised by training steps, targets
    first; where anything is known ahead, ``future`` float32 [N, horizon, K]: the targets one
    season before (where the season is longer than the context), known channels, and sine and cosine
    of the calendar's cycles.

    Args:
        task: what is forecast, and how far.
        target: mean and scale of each output, the targets' own for each step [horizon · V].
        layout: which columns make up series.
        clock: the step of time.
        context: steps of the past that networks see.
        season: period in steps; 1 where there is none.
        lagged: whether the targets one season before are inputs.
        cycles: cycles of the calendar that are inputs.
        mean: mean of each channel over training steps [C].
        scale: its standard deviation [C].
    """

    modality: ClassVar[str] = "series"

    layout: Layout
    clock: Clock
    context: int
    season: int = 1
    lagged: bool = False
    cycles: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def horizon(self) -> int:
        """Steps ahead."""
        return self.task.horizon

    @property
    def num_future(self) -> int:
        """Number of inputs K that are known ahead."""
        lags = self.layout.num_targets if self.lagged else 0
        return lags + self.layout.num_known + 2 * len(self.cycles)

    @property
    def need(self) -> int:
        """Steps of history that a forecast takes."""
        return max(self.context, self.season if self.lagged else 0)

    @property
    def input_shape(self) -> dict[str, Any]:
        """What a network reads: the arguments of ``models.InputShape``."""
        shape: dict[str, Any] = {
            "sequence": [self.context, len(self.layout.channels)],
            "num_targets": self.layout.num_targets,
        }
        if self.num_future:
            shape["future"] = [self.horizon, self.num_future]
        return shape

    # Encoding ------------------------------------------------------------------------------------

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode a history.

        Args:
            source: rows with the columns of the training rows. Rows after the last one that has a
                target hold what is known ahead.
            with_target: False: one window a series, its last steps, for the forecast of what comes
                next. True: all windows whose targets are known.

        Returns:
            The windows; ``rows`` are the rows of their last known steps, ``keys`` the series and
            the time of that step.

        Raises:
            DataError: a column is missing, times repeat, or no series is long enough.
        """
        frame = self.frame_of(source)
        notices: list[str] = []
        written = self.clock.format or None
        lines, found = read_lines(frame, self.layout, written, notices)
        if self.layout.time is not None and (found is None) == self.clock.dated:
            raise DataError(
                f"the model was trained on {'dates' if self.clock.dated else 'numbers'} as times; "
                f"{self.layout.time!r} holds {'numbers' if found is None else 'dates'}: give times "
                "of the same kind"
            )
        label = source_name(source)
        if not self.clock.in_order:
            self._check_step(lines)
        filling = Filling()
        if with_target:
            part = self._scored(lines, label, filling)
        else:
            part = self._latest(lines, label, filling, notices)
        if not with_target:
            filling.leading = filling.trailing = 0
        notices += filling.notices(self.clock.name)
        return replace(part, notices=tuple(notices))

    def frame_of(self, source: Any) -> pl.DataFrame:
        """Read a history and check that it has the columns of the training rows."""
        frame = read_history(source)
        if frame.width == 1 and len(self.layout.columns) == 1:
            return frame.rename({frame.columns[0]: self.layout.columns[0]})
        for name in self.layout.columns:
            if name not in frame.columns:
                raise DataError(
                    f"the history lacks the column {name!r}{did_you_mean(name, frame.columns)}: it "
                    "needs the columns of the training rows"
                )
        return frame

    def _check_step(self, lines: Sequence[Line]) -> None:
        times = [line.times for line in lines if len(line.times) > 3]
        if not times:
            return
        found, _ = infer_clock(times, self.clock.format if self.clock.dated else None)
        same_unit = found.unit == self.clock.unit
        if not found.irregular and (
            (same_unit and not 0.6 < found.size / self.clock.size < 1.6)
            or ("month" in (found.unit, self.clock.unit) and not same_unit)
        ):
            raise DataError(
                f"the model was trained on steps of one {self.clock.name}; these rows are one "
                f"{found.name} apart: give rows of the same step"
            )

    def _scored(self, lines: Sequence[Line], label: str, filling: Filling) -> Part:
        stretches = [s for line in lines for s in self.segments(line, filling)]
        chosen = [self.origins(s) for s in stretches]
        complete = [o[self.observed(s, o)] for s, o in zip(stretches, chosen, strict=True)]
        if sum(map(len, complete)):
            chosen = complete
        if not sum(map(len, chosen)):
            longest = max((len(s) for s in stretches), default=0)
            raise DataError(
                f"scoring needs {self.need} steps of history and {self.horizon} to compare with; "
                f"the longest stretch without a long gap has {longest:,}: give more rows"
            )
        return self.part(stretches, chosen, label)

    def _latest(
        self, lines: Sequence[Line], label: str, filling: Filling, notices: list[str]
    ) -> Part:
        stretches, short, longest = [], [], 0
        for line in lines:
            known = np.flatnonzero(np.isfinite(line.values[:, : self.layout.num_targets]).any(1))
            if not len(known):
                short.append(line.name)
                continue
            # Enough rows, and back to one with a target, as gaps are filled from the past.
            start = max(0, int(known[-1]) + 1 - self.need)
            start = int(known[known <= start][-1]) if known[0] <= start else int(known[0])
            recent = Line(line.name, line.times[start:], line.values[start:], line.rows[start:])
            found = self.segments(recent, filling, max_gap=self.need)[-1:]
            longest = max(longest, len(found[0]))
            if len(found[0]) < self.need:
                short.append(line.name)
            else:
                stretches += found
        if not stretches:
            raise DataError(
                f"a forecast needs the last {self.need} steps; the longest series has "
                f"{longest:,} without a long gap: give more rows"
            )
        if short:
            notices.append(
                f"{len(short):,} series with fewer than {self.need} steps are left out: "
                f"{shown_names(short)}"
            )
        origins = [np.array([len(stretch) - 1]) for stretch in stretches]
        return self.part(stretches, origins, label, with_target=False)

    def segments(self, line: Line, filling: Filling, max_gap: int = MAX_GAP) -> list[Segment]:
        """Return the unbroken stretches of one series."""
        return segments_of(
            line.name,
            self.clock,
            line.times,
            line.values,
            line.rows,
            self.layout.num_targets,
            filling,
            max_gap,
        )

    def origins(self, segment: Segment, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
        """Return the last known steps of windows whose targets lie in the positions [low, high)."""
        steps = np.arange(self.need - 1, len(segment) - self.horizon)
        first = segment.start + steps + 1
        return steps[(first >= low) & (first + self.horizon <= high)]

    def observed(self, segment: Segment, origins: np.ndarray) -> np.ndarray:
        """Whether every target of a window was in the source, bool [n]."""
        if segment.observed.all() or not len(origins):
            return np.ones(len(origins), bool)
        view = np.lib.stride_tricks.sliding_window_view(segment.observed, self.horizon)
        return np.asarray(view[origins + 1].all(axis=1))

    def part(
        self,
        segments: Sequence[Segment],
        origins: Sequence[np.ndarray],
        label: str,
        *,
        with_target: bool = True,
    ) -> Part:
        """Return windows as arrays.

        Args:
            segments: stretches of series.
            origins: last known step of each window of each segment.
            label: stands for the name of a series that has none.
            with_target: whether the steps that follow are targets too.
        """
        pairs = [(s, o) for s, o in zip(segments, origins, strict=True) if len(o)]
        mean, scale = np.asarray(self.mean), np.asarray(self.scale)
        num_targets = self.layout.num_targets
        past, future, target = [], [], []
        for segment, at in pairs:
            scaled = np.nan_to_num((segment.inputs - mean) / scale).astype(np.float32)
            past.append(windows(scaled, self.context, at - self.context + 1))
            if self.num_future:
                future.append(self._future(segment, scaled, at, with_target))
            if with_target:
                units = (segment.targets - mean[:num_targets]) / scale[:num_targets]
                steps = windows(units.astype(np.float32), self.horizon, at + 1)
                target.append(steps.reshape(len(at), -1))
        fields = {"sequence": _stacked(past, (0, self.context, len(self.layout.channels)))}
        if self.num_future:
            fields["future"] = _stacked(future, (0, self.horizon, self.num_future))
        width = self.horizon * num_targets
        dates = "datetime64[us]" if self.clock.dated else np.float64
        if self.clock.unit == "row":
            dates = np.int64
        return Part(
            fields,
            _stacked(target, (0, width)) if with_target else None,
            None,
            _stacked([s.rows[o] for s, o in pairs], (0,), np.int64),
            keys={
                "series": np.array([s.name or label for s, o in pairs for _ in o], dtype=object),
                "time": _stacked([s.times[o] for s, o in pairs], (0,), dates),
            },
        )

    def _future(
        self, segment: Segment, scaled: np.ndarray, origins: np.ndarray, with_target: bool
    ) -> np.ndarray:
        """Return what is known of the steps after each origin, float32 [n, horizon, K]."""
        parts = []
        if self.lagged:
            lags = scaled[:, : self.layout.num_targets]
            parts.append(windows(lags, self.horizon, origins + 1 - self.season))
        if self.layout.num_known:
            first = len(self.layout.channels) - self.layout.num_known
            if with_target:
                parts.append(windows(scaled[:, first:], self.horizon, origins + 1))
            else:
                parts.append(self._known_ahead(segment)[None])
        if self.cycles:
            steps = np.arange(1, self.horizon + 1)
            times = self.clock.ahead(segment.times[origins][:, None], steps[None])
            parts.append(self.clock.calendar(times, self.cycles))
        return np.concatenate(parts, axis=2)

    def _known_ahead(self, segment: Segment) -> np.ndarray:
        ahead = segment.ahead[: self.horizon, len(self.layout.channels) - self.layout.num_known :]
        whole = np.isfinite(ahead).all(axis=1)
        if len(ahead) < self.horizon or not whole.all():
            missing = int(np.argmin(whole)) if not whole.all() else len(ahead)
            of = f" of series {segment.name!r}" if segment.name else ""
            raise DataError(
                f"a forecast of {self.horizon} step(s) needs {shown_names(self.layout.known)} for "
                f"each of them; step {missing + 1}{of} has none: add rows after the last known one "
                "with these columns filled in and the target empty"
            )
        mean = np.asarray(self.mean)[-self.layout.num_known :]
        scale = np.asarray(self.scale)[-self.layout.num_known :]
        return ((ahead - mean) / scale).astype(np.float32)

    # Forecasts as tables -------------------------------------------------------------------------

    def predictions(
        self, outputs: np.ndarray, part: Part, threshold: float | None = None
    ) -> pl.DataFrame:
        """Return forecasts as a table, a row for each series and step.

        Args:
            outputs: forecasts in the user's units [N, horizon · V], step by step.
            part: the windows that they belong to.
            threshold: has no meaning here.

        Returns:
            ``series``, ``time`` (of the step that is forecast), ``step`` (from 1), and
            ``prediction``, or ``prediction_<target>`` where there are several.
        """
        import polars as pl

        steps = np.arange(1, self.horizon + 1)
        times = self.clock.ahead(np.asarray(part.keys["time"])[:, None], steps[None])
        values = np.asarray(outputs, np.float64).reshape(-1, self.layout.num_targets)
        names = ["prediction"]
        if self.layout.num_targets > 1:
            names = [f"prediction_{name}" for name in self.layout.targets]
        columns = [
            pl.Series("series", np.repeat(part.keys["series"], self.horizon), dtype=pl.String),
            self.clock.written(times.reshape(-1)),
            pl.Series("step", np.tile(steps, len(part))),
            *(pl.Series(name, column) for name, column in zip(names, values.T, strict=True)),
        ]
        return pl.DataFrame(columns)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            **super().to_dict(),
            "layout": self.layout.to_dict(),
            "clock": self.clock.to_dict(),
            "context": self.context,
            "season": self.season,
            "lagged": self.lagged,
            "cycles": list(self.cycles),
            "mean": list(self.mean),
            "scale": list(self.scale),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SeriesEncoder:
        """Rebuild from ``to_dict``."""
        return cls(
            task=Task.from_dict(record["task"]),
            target=TargetEncoder.from_dict(record["target"]),
            layout=Layout.from_dict(record["layout"]),
            clock=Clock.from_dict(record["clock"]),
            context=record["context"],
            season=record["season"],
            lagged=record["lagged"],
            cycles=tuple(record["cycles"]),
            mean=tuple(record["mean"]),
            scale=tuple(record["scale"]),
        )


def _stacked(parts: Sequence[np.ndarray], shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
    if not parts:
        return np.zeros(shape, np.float32 if dtype is None else dtype)
    joined = np.concatenate(parts)
    return joined if dtype is None else joined.astype(dtype)
