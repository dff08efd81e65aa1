"""Whole sequences: each has one label or value, such as a recording and what was done in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg.data.columns import (
    read_flags_loosely,
    read_numbers,
    read_texts,
    require_columns,
    shown_names,
)
from thalweg.data.dataset import PARTS, Dataset, Encoder, Part
from thalweg.data.sources import read_table, source_name
from thalweg.data.splits import Split, check_fractions, split_rows
from thalweg.data.targets import (
    TargetEncoder,
    check_loss,
    choose_task,
    infer_target,
    present_targets,
)
from thalweg.data.windows import carried_forward, read_times
from thalweg.errors import DataError, OptionError, did_you_mean, one_line
from thalweg.task import Task

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences as they were read.

    Args:
        values: each float64 [T_i, V], NaN where missing.
        names: what names each, as in the source; empty where nothing does.
        targets: one row a sequence; None where there is no target.
        channels: names of the channels [V].
    """

    values: list[np.ndarray]
    names: list[str]
    targets: pl.DataFrame | None
    channels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class SequenceEncoder(Encoder):
    """Pads whole sequences to one length.

    Fields: ``sequence`` float32 [N, T, V], channels standardised by training steps and zero after
    the last one; ``length`` int32 [N] where lengths differ.

    Args:
        task: what is predicted.
        target: encodes the target.
        channels: names of the channels, as columns of a table have them.
        length: steps T of the longest training sequence.
        masked: whether lengths differ.
        sequence: column that names the sequence; None for arrays.
        time: column that sequences are ordered by; None where rows are in order.
        mean: mean of each channel over training steps [V].
        scale: its standard deviation [V].
    """

    modality: ClassVar[str] = "sequences"

    channels: tuple[str, ...]
    length: int
    masked: bool = False
    sequence: str | None = None
    time: str | None = None
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def input_shape(self) -> dict[str, Any]:
        """What a network reads: the arguments of ``models.InputShape``."""
        return {"sequence": [self.length, len(self.channels)], "masked": self.masked}

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode whole sequences.

        Args:
            source: arrays ``X`` or ``(X, y)``, an NPZ file of them, or a table with the columns of
                the training table.
            with_target: whether to read labels or values too; sequences without are left out.
        """
        targets = self.target.names
        found = _read(source, targets if with_target else (), self.sequence, self.time, None, self)
        notices: list[str] = []
        rows, values = np.arange(len(found)), None
        if with_target:
            if found.targets is None:
                raise DataError(f"scoring needs {shown_names(targets)}: give (X, y)")
            values = self.target.read(found.targets)
            present = present_targets(values)
            if not present.any():
                raise DataError(f"no sequence has a value in {shown_names(targets)}: scoring needs")
            if not present.all():
                notices.append(f"{int((~present).sum()):,} sequence(s) without a target left out")
                rows, values = rows[present], values[present]
        return self.part(found, rows, values, notices)

    def part(
        self, found: Sequences, rows: np.ndarray, values: np.ndarray | None, notices: Sequence[str]
    ) -> Part:
        """Return some sequences as arrays, with targets as ``TargetEncoder.read`` returns them."""
        told = list(notices)
        padded: np.ndarray = np.zeros((len(rows), self.length, len(self.channels)), np.float32)
        lengths: np.ndarray = np.zeros(len(rows), np.int32)
        mean, scale = np.asarray(self.mean), np.asarray(self.scale)
        cut, gaps = 0, 0
        for place, row in enumerate(rows):
            steps = found.values[row]
            gaps += int((~np.isfinite(steps)).sum())
            cut += len(steps) > self.length
            scaled = np.nan_to_num((carried_forward(steps) - mean) / scale)[: self.length]
            padded[place, : len(scaled)] = scaled
            lengths[place] = len(scaled)
        if not self.masked and (lengths < self.length).any():
            raise DataError(
                f"all training sequences have {self.length} steps; got one of {lengths.min()}: "
                "give whole sequences, or train on some of differing lengths"
            )
        if cut:
            told.append(f"{cut:,} sequence(s) are cut to their first {self.length} steps")
        if gaps:
            told.append(f"{gaps:,} missing value(s) within sequences are filled from the past")
        fields = {"sequence": padded}
        if self.masked:
            fields["length"] = lengths
        keys = {}
        if found.names:
            keys["sequence"] = np.array([found.names[row] for row in rows], dtype=object)
        target = None if values is None else self.target.encode(values)
        return Part(fields, target, None, np.asarray(rows, np.int64), tuple(told), keys)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            **super().to_dict(),
            "channels": list(self.channels),
            "length": self.length,
            "masked": self.masked,
            "sequence": self.sequence,
            "time": self.time,
            "mean": list(self.mean),
            "scale": list(self.scale),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SequenceEncoder:
        """Rebuild from ``to_dict``."""
        return cls(
            task=Task.from_dict(record["task"]),
            target=TargetEncoder.from_dict(record["target"]),
            channels=tuple(record["channels"]),
            length=record["length"],
            masked=record["masked"],
            sequence=record["sequence"],
            time=record["time"],
            mean=tuple(record["mean"]),
            scale=tuple(record["scale"]),
        )


@dataclass(frozen=True, eq=False, repr=False)
class SequenceDataset(Dataset):
    """Whole sequences with their labels or values."""

    encoder: SequenceEncoder
    shortest: int = field(default=0, repr=False)

    @property
    def num_features(self) -> int:
        """Number of channels."""
        return len(self.encoder.channels)

    def _rows_text(self, num_rows: int) -> str:
        encoder = self.encoder
        steps = f"{self.shortest} to {encoder.length}" if encoder.masked else f"{encoder.length}"
        return f"{num_rows:,} sequences of {steps} steps, {len(encoder.channels)} channel(s)"

    def _input_lines(self) -> Iterator[str]:
        yield f"  channels   {shown_names(self.encoder.channels, 8)}"


def load_sequences(
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
    sequence: str | None = None,
    lengths: Any = None,
    drop: Sequence[str] = (),
) -> SequenceDataset:
    """Read whole sequences with a label or value each, and split them at random by class.

    Args:
        source: ``X`` or ``(X, y)``, with X an array [N, T, V] or [N, T], or a list of arrays
            [T_i, V]; an NPZ file with arrays ``X`` and ``y`` (and ``lengths``); or a table with a
            row for each step, whose column ``sequence`` tells the sequences apart.
        target: labels or values [N] where source is ``X``; the column that holds them in a table,
            the same in all rows of a sequence.
        task: overrules the kind of task inferred from the target.
        validation: sequences to validate on, instead of a share of ``source``.
        test: sequences to test on, likewise.
        metric: the metric that chooses; the task's default otherwise.
        loss: the training loss; the task's default otherwise.
        seed: decides which sequences go where.
        fractions: shares of training, validation and test; 64, 16 and 20 % by default.
        time: tables: the column that orders the steps of a sequence; the order of rows otherwise.
        sequence: tables: the column that names the sequence.
        lengths: arrays [N, T, V]: how many steps of each count, from the first.
        drop: tables: columns to leave out.

    Returns:
        The dataset.

    Raises:
        SourceError: a source cannot be found or read.
        DataError: the data cannot be used as asked; the message says what to do.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise OptionError(f"seed must be a whole number of 0 or more; got {seed!r}")
    drop = (drop,) if isinstance(drop, str) else tuple(drop)
    named = isinstance(target, str)
    if target is not None and not named:
        listed = isinstance(target, (list, tuple)) and bool(target) and isinstance(target[0], str)
        if listed and sequence is not None:
            target, named = [str(name) for name in target], True
        else:
            source, target = (source, target), None
    names = ([target] if isinstance(target, str) else target) if named else ["target"]
    assert names is not None
    found = _read(source, names, sequence, time, lengths, None, drop)
    if found.targets is None:
        raise DataError("what is to be predicted of each sequence? Give (X, y)")
    names = found.targets.columns
    notices: list[str] = []
    encoder, more = infer_target(found.targets, names, task)
    notices += more
    values = encoder.read(found.targets)
    present = present_targets(values)
    if not present.all():
        notices.append(f"{int((~present).sum()):,} sequence(s) without a target are left out")
    kept = np.flatnonzero(present)

    fixed = {}
    draft = SequenceEncoder(
        Task("regression", tuple(names)), encoder, found.channels, 1, True, sequence, time
    )
    for part, other in (("validation", validation), ("test", test)):
        if other is not None:
            fixed[part] = _read(other, names, sequence, time, None, draft)
            if fixed[part].targets is None:
                raise DataError(f"the {part} sequences have no targets: give (X, y)")
    shares = list(check_fractions(fractions))
    for place, part in enumerate(PARTS):
        shares[place] = 0.0 if part in fixed else shares[place]
    total = sum(shares)
    split, how = _split(encoder, values[kept], [share / total for share in shares], seed)
    if fixed:
        own = f"own source for {' and '.join(fixed)}"
        if "validation" in fixed:
            how = own if len(fixed) == 2 else f"{own}; the rest {how}"
        else:
            how += f"; {own}"

    train = kept[split.train]
    encoder = encoder.fitted(values[train])
    chosen = choose_task(encoder, values[train], loss, metric, notices)
    sizes = np.array([len(found.values[row]) for row in train])
    every = np.array(
        [len(v) for v in found.values] + [len(v) for f in fixed.values() for v in f.values]
    )
    mean, scale = _statistics([found.values[row] for row in train])
    fitted = replace(
        draft,
        task=chosen,
        target=encoder,
        length=int(every.max()),
        masked=bool((every != every[0]).any()),
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
    )
    parts: dict[str, Part] = {}
    for part, index in zip(PARTS, (split.train, split.validation, split.test), strict=True):
        if part in fixed:
            other = fixed[part]
            assert other.targets is not None
            own_values = encoder.read(other.targets)
            rows = np.flatnonzero(present_targets(own_values))
            if not len(rows):
                raise DataError(f"no {part} sequence has a target: fill it in")
            parts[part] = fitted.part(other, rows, own_values[rows], ())
        else:
            parts[part] = fitted.part(found, kept[index], values[kept[index]], ())
        notices += parts[part].notices
    check_loss(chosen, [encoder.inverse(part.target) for part in parts.values()])
    return SequenceDataset(
        name=_name(source),
        encoder=fitted,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        notices=tuple(dict.fromkeys(notices)),
        seed=seed,
        split=how,
        shortest=int(sizes.min()),
    )


def _name(source: Any) -> str:
    name = source_name(source)
    return name.removesuffix(".npz") if name != "table" else "sequences"


def _split(
    encoder: TargetEncoder, values: np.ndarray, shares: Sequence[float], seed: int
) -> tuple[Split, str]:
    if encoder.kind == "regression":
        split = split_rows(len(values), shares, values=values[:, 0], seed=seed)
        how = f"at random by deciles of {encoder.names[0]}, seed {seed}"
    else:
        labels = values.argmax(axis=1) if values.ndim == 2 else values
        split = split_rows(len(values), shares, labels=labels, seed=seed)
        how = f"at random by class, seed {seed}"
    return split, how if shares[0] < 1 else "all sequences to learn from"


def _statistics(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel over all steps [V]."""
    values = np.concatenate(sequences)
    present = np.isfinite(values)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, values, 0.0).sum(axis=0) / count
    spread = np.where(present, values - mean, 0.0)
    scale = np.sqrt((spread**2).sum(axis=0) / count)
    return mean, np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1e-300), scale, 1.0)


# Reading -----------------------------------------------------------------------------------------


def _read(
    source: Any,
    targets: Sequence[str],
    sequence: str | None,
    time: str | None,
    lengths: Any,
    encoder: SequenceEncoder | None,
    drop: Sequence[str] = (),
) -> Sequences:
    """Read arrays or a table, with the channels of the encoder where there is one."""
    if isinstance(source, (str, os.PathLike)) and str(source).endswith(".npz"):
        source, lengths = _read_npz(source, lengths)
    if sequence is not None and not _is_arrays(source):
        return _read_long(read_table(source), targets, sequence, time, encoder, drop)
    pair: Any = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
    inputs, labels = pair
    values = _arrays(inputs, lengths)
    width = values[0].shape[1]
    channels = tuple(f"x{i}" for i in range(width))
    if encoder is not None:
        if width != len(encoder.channels):
            raise DataError(
                f"the model reads {len(encoder.channels)} channel(s); these sequences have {width}"
            )
        channels = encoder.channels
    frame = None
    if labels is not None:
        frame = _target_frame(labels, targets)
        if frame.height != len(values):
            raise DataError(
                f"X and y must have the same number of sequences; got {len(values):,} and "
                f"{frame.height:,}"
            )
    return Sequences(values, [], frame, channels)


def _target_frame(labels: Any, targets: Sequence[str]) -> pl.DataFrame:
    values = labels.to_numpy() if hasattr(labels, "to_numpy") else labels
    if np.ndim(values) == 2:
        values = np.asarray(values)
        names = list(targets)
        if len(names) != values.shape[1]:
            names = [f"{names[0] if names else 'target'}{i}" for i in range(values.shape[1])]
        return read_table({name: values[:, i] for i, name in enumerate(names)})
    return read_table({targets[0] if targets else "target": values})


def _is_arrays(source: Any) -> bool:
    first = source[0] if isinstance(source, tuple) and len(source) == 2 else source
    if isinstance(first, list):
        return bool(first) and np.ndim(first[0]) > 0
    return getattr(first, "ndim", 0) == 3


def _read_npz(path: Any, lengths: Any) -> tuple[Any, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name.lower(): archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        from thalweg.errors import SourceError

        said = one_line(error)
        raise SourceError(f"cannot read {path} as NPZ: {said}") from None
    if "x" not in arrays:
        raise DataError(f"an NPZ file of sequences needs an array 'X'; {path} has {list(arrays)}")
    given = arrays.get("lengths") if lengths is None else lengths
    return ((arrays["x"], arrays["y"]) if "y" in arrays else arrays["x"]), given


def _arrays(inputs: Any, lengths: Any) -> list[np.ndarray]:
    """Return sequences [T_i, V] from one array or a list of them."""
    ragged = (
        isinstance(inputs, (list, tuple))
        or getattr(getattr(inputs, "dtype", None), "kind", "") == "O"
    )
    try:
        if ragged:
            values = [np.asarray(one, np.float64) for one in inputs]
            values = [one[:, None] if one.ndim == 1 else one for one in values]
        else:
            array = np.asarray(inputs, np.float64)
            values = list(array[:, :, None] if array.ndim == 2 else np.atleast_1d(array))
    except (TypeError, ValueError):
        raise DataError(
            "sequences must be numbers: an array [N, T, V] or [N, T], or a list of arrays [T, V]"
        ) from None
    if not ragged and np.ndim(inputs) not in (2, 3):
        raise DataError(
            f"X must have the shape [N, T, V] or [N, T]; got {np.shape(inputs)}: reshape it"
        )
    if not values or any(one.ndim != 2 or not one.size for one in values):
        shape = next((one.shape for one in values if one.ndim != 2 or not one.size), (0,))
        raise DataError(
            f"sequences must have the shape [N, T, V] or [N, T], each with a step or more; got one "
            f"of {shape}"
        )
    widths = {one.shape[1] for one in values}
    if len(widths) > 1:
        raise DataError(f"all sequences must have the same channels; got {sorted(widths)} of them")
    if lengths is None:
        return values
    counts = np.asarray(lengths)
    if counts.shape != (len(values),) or counts.dtype.kind not in "iu":
        raise DataError(f"lengths must be {len(values)} whole numbers; got shape {counts.shape}")
    longest = max(map(len, values))
    if counts.min() < 1 or counts.max() > longest:
        raise DataError(
            f"lengths must be from 1 to {longest}; got {counts.min()} to {counts.max()}"
        )
    return [one[:count] for one, count in zip(values, counts, strict=True)]


def _read_long(
    frame: pl.DataFrame,
    targets: Sequence[str],
    sequence: str,
    time: str | None,
    encoder: SequenceEncoder | None,
    drop: Sequence[str],
) -> Sequences:
    """Read a table with a row for each step of each sequence."""
    require_columns([sequence], frame.columns, "sequence names the")
    require_columns([time] if time else [], frame.columns, "time names the")
    require_columns(drop, frame.columns, "drop names the")
    for name in targets:
        if name not in frame.columns:
            raise DataError(
                f"the target {name!r} is no column of the table{did_you_mean(name, frame.columns)}"
            )
    taken = {sequence, time, *targets, *drop}
    if encoder is None:
        channels = tuple(name for name in frame.columns if name not in taken)
        channels = tuple(name for name in channels if _is_numeric(frame[name]))
    else:
        channels = encoder.channels
        require_columns(channels, frame.columns, "the model reads the")
    if not channels:
        raise DataError("no column of numbers is left to learn from: sequences need channels")
    names = read_texts(frame[sequence])
    if names.null_count():
        raise DataError(
            f"every row needs the name of its sequence; {names.null_count():,} row(s) have none in "
            f"{sequence!r}: fill it in or remove these rows"
        )
    labels, first, codes = np.unique(
        names.to_numpy().astype(str), return_index=True, return_inverse=True
    )
    place = np.argsort(np.argsort(first))[codes]
    rows = np.arange(frame.height)
    times = read_times(frame[time])[0] if time else rows
    order = np.lexsort((rows, times, place))
    ends = np.cumsum(np.bincount(place))[:-1]
    columns = [_numbers(frame[name]) for name in channels]
    values = np.split(np.stack(columns, axis=1)[order], ends)
    labels = labels[np.argsort(first)]
    found = None
    if targets:
        firsts = order[np.concatenate([[0], ends])]
        for name in targets:
            texts = read_texts(frame[name])
            differs = (texts.ne_missing(texts[firsts[place]])).to_numpy()
            if differs.any():
                row = int(np.flatnonzero(differs)[0])
                raise DataError(
                    f"the target {name!r} must be the same in all rows of a sequence; "
                    f"{str(labels[place[row]])!r} has several values, such as "
                    f"{frame[name][int(firsts[place[row]])]!r} and {frame[name][row]!r}: to "
                    "forecast a column, give horizon instead of sequence"
                )
        found = frame.select(targets)[firsts]
    return Sequences(values, labels.tolist(), found, channels)


def _is_numeric(column: pl.Series) -> bool:
    import polars as pl

    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return True
    if column.dtype != pl.String:
        return False
    values, bad, _ = read_numbers(column)
    return len(values.drop_nulls()) > 0 and len(bad) <= 0.05 * len(column)


def _numbers(column: pl.Series) -> np.ndarray:
    import polars as pl

    if column.dtype == pl.Boolean:
        return read_flags_loosely(column).fill_null(float("nan")).to_numpy()
    return read_numbers(column)[0].fill_null(float("nan")).to_numpy()
