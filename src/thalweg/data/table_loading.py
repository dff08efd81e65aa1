"""Reading a table into a data set: columns are inferred, rows are split and encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data.built_in import is_built_in
from thalweg.data.columns import (
    Column,
    infer_columns,
    parse_overrides,
    read_datetimes,
    read_numbers,
    read_texts,
    require_columns,
    shown_names,
)
from thalweg.data.dataset import PARTS, Part
from thalweg.data.frames import is_array, pair_frame
from thalweg.data.preprocess import Preprocessor
from thalweg.data.sources import read_table, source_name
from thalweg.data.splits import check_fractions, split_rows
from thalweg.data.tables import TableDataset, TableEncoder
from thalweg.data.targets import (
    TargetEncoder,
    check_loss,
    choose_task,
    infer_target,
    present_targets,
)
from thalweg.data.text_columns import text_columns, whole_texts
from thalweg.data.texts import TextOptions, with_texts
from thalweg.data.tokens import has_tokenizers
from thalweg.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import polars as pl


def load_table(
    source: Any,
    target: Any = None,
    *,
    task: str | None = None,
    validation: Any = None,
    test: Any = None,
    group: str | None = None,
    time: str | None = None,
    drop: Sequence[str] = (),
    columns: Mapping[str, str] | Sequence[str] | None = None,
    metric: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] | None = None,
    texts: TextOptions | None = None,
) -> TableDataset:
    """Read a table, infer what it holds, split it, and encode it.

    Args:
        source: a path, glob, URL, built-in set, frame, mapping of columns, array, or ``(X, y)``;
            see ``read_table``.
        target: the column to predict, or several for regression on all of them; arrays of targets
            where ``source`` is ``X`` alone. Built-in sets and ``(X, y)`` imply it.
        task: overrules the kind of task inferred from the target: ``"regression"``, ``"binary"``,
            ``"multiclass"``, ``"classification"`` or ``"multilabel"``.
        validation: a source of validation rows, instead of a share of ``source``.
        test: a source of test rows, instead of a share of ``source``.
        group: a column whose equal values must not be torn apart (patients, users); no feature.
        time: a column to order rows by: the newest are the test rows.
        drop: columns to leave out.
        columns: kinds that overrule the inferred ones, ``{name: kind}`` or ``["name=kind"]``.
        metric: the metric that chooses; the task's default otherwise.
        loss: the training loss; the task's default otherwise.
        seed: decides which rows go where.
        fractions: shares of training, validation and test rows; 64, 16 and 20 % by default. A part
            that has a source of its own takes none.
        texts: how columns of texts are read; see ``load_text``.

    Returns:
        The dataset; a ``TextDataset`` where columns hold texts.

    Raises:
        SourceError: a source cannot be found or read.
        DataError: the rows or columns cannot be used as asked; the message says what to do.
        OptionError: an unknown task, metric, loss or kind.

    Example:
        >>> load_table("iris").task.classes
        ('setosa', 'versicolor', 'virginica')
    """
    name = source_name(source)
    if target is None and is_built_in(source):
        target = "target"
    frame, targets, from_arrays = _read_source(source, target)
    if frame.height == 1:
        raise DataError(f"{name} has one row, which is not enough to learn from: give 10 or more")
    overrides, drop = _check_columns(frame, targets, group, time, drop, columns)
    given = {"validation": validation, "test": test}
    fixed = {
        part: _read_fixed(other, frame.columns, targets, part, from_arrays)
        for part, other in given.items()
        if other is not None
    }
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        from thalweg.errors import OptionError

        raise OptionError(f"seed must be a whole number of 0 or more; got {seed!r}")

    notices: list[str] = []
    encoder, more = infer_target(frame, targets, task)
    notices += more
    values, kept = _read_kept(encoder, frame, name, notices)
    parts: dict[str, tuple[pl.DataFrame, np.ndarray, np.ndarray]] = {}
    shares = _shares(check_fractions(fractions), fixed)
    names = [column for column in frame.columns if column not in {*targets, *drop}]
    whole = None
    if group is None and time is None and min(shares) < 1:
        whole = whole_texts(frame, names)
    row_split, how = _split(encoder, frame, values, kept, shares, group, time, seed, whole)
    indices = (row_split.train, row_split.validation, row_split.test)
    for part, index in zip(PARTS, indices, strict=True):
        parts[part] = (frame, kept[index], values[index])
    for part, other in fixed.items():
        other_values, other_kept = _read_kept(encoder, other, f"the {part} rows", notices)
        parts[part] = (other, other_kept, other_values)
    if "validation" in fixed:
        # Said first: validation rows that the user chose are never dealt anew.
        own = f"own source for {' and '.join(fixed)}"
        how = own if shares[0] == 1 else f"{own}; the rest {how}"
    elif "test" in fixed:
        how += "; own source for test"
    elif shares[0] == 1:
        how = "all rows to learn from"

    encoder = encoder.fitted(parts["train"][2])
    chosen = choose_task(encoder, parts["train"][2], loss, metric, notices)
    check_loss(chosen, [values for _, _, values in parts.values()])
    left_out = {*targets, *drop, *([group] if group else [])}
    feature_names = [column for column in frame.columns if column not in left_out]
    if not feature_names:
        raise DataError("no column is left to predict from: the table holds the target alone")
    train_rows = parts["train"][1]
    train_frame = frame.select(feature_names)[train_rows]
    inferred = infer_columns(
        train_frame,
        overrides=overrides,
        rows=train_rows,
        num_source_rows=frame.height,
        identifiers=not from_arrays,
    )
    named = texts.columns if texts else ()
    read = text_columns(inferred, train_frame, named, asked=texts is not None)
    if read and texts is None and not has_tokenizers():
        notices.append(f"to read {shown_names(read)} as text: pip install 'thalweg[text]'")
        read = []
    inferred = [
        replace(column, kind="text") if column.name in read else column for column in inferred
    ]
    preprocessor = Preprocessor.fit(train_frame, inferred, bare=bool(read))
    notices += _column_notices(inferred, read)
    if group is not None:
        notices.append(f"{group} groups the rows and is no feature")
    notices += preprocessor.notices
    encoded: dict[str, Part] = {}
    for part, (table, rows, part_values) in parts.items():
        # A frame without columns forgets how many rows it has.
        seen = table.select(preprocessor.columns or table.columns)
        fields, _ = preprocessor.transform(train_frame if part == "train" else seen[rows])
        encoded[part] = Part(fields, encoder.encode(part_values), None, rows)
    names = tuple(column.name for column in inferred)
    ignored = tuple(sorted(left_out - set(targets)))
    dataset = TableDataset(
        name=name,
        encoder=TableEncoder(chosen, encoder, preprocessor, names, ignored),
        train=encoded["train"],
        validation=encoded["validation"],
        test=encoded["test"],
        notices=tuple(notices),
        seed=seed,
        split=how,
        columns=tuple(inferred),
        tables={part: (table, rows) for part, (table, rows, _) in parts.items()},
    )
    return with_texts(dataset, read, texts or TextOptions()) if read else dataset


# Steps of load -----------------------------------------------------------------------------------


def _read_source(source: Any, target: Any) -> tuple[pl.DataFrame, list[str], bool]:
    """Return the table, the names of its targets, and whether its columns have no real names."""
    names = [target] if isinstance(target, str) else target
    named = names is None or (
        isinstance(names, (list, tuple))
        and len(names) > 0
        and all(isinstance(name, str) for name in names)
    )
    if isinstance(source, tuple) and len(source) == 2:
        if target is not None and not (named and len(names or ()) == 1):
            raise DataError("(X, y) has its targets already: leave target out, or name y with it")
        frame, found = pair_frame(source[0], source[1], names[0] if names else None)
        return frame, found, is_array(source[0])
    if not named:
        frame, found = pair_frame(read_table(source), target)
        return frame, found, is_array(source)
    frame = read_table(source)
    if names is None:
        likely = [n for n in frame.columns if n.lower() in _LIKELY_TARGETS]
        hint = f" (perhaps {likely[0]!r})" if likely else ""
        raise DataError(
            f"which column is to be predicted? Name the target{hint}; the columns are "
            f"{', '.join(frame.columns[:12])}{', ...' if frame.width > 12 else ''}"
        )
    targets = [str(name) for name in names]
    for name in targets:
        if name not in frame.columns:
            shown = ", ".join(frame.columns[:12]) + (", ..." if frame.width > 12 else "")
            raise DataError(
                f"the target {name!r} is no column of the table"
                f"{did_you_mean(name, frame.columns) or f'; the columns are {shown}'}"
            )
    if len(set(targets)) < len(targets):
        raise DataError(f"each target is named once; got {', '.join(targets)}")
    return frame, targets, is_array(source)


_LIKELY_TARGETS = {"target", "label", "class", "y", "outcome", "response"}


def _check_columns(
    frame: pl.DataFrame,
    targets: Sequence[str],
    group: str | None,
    time: str | None,
    drop: Sequence[str],
    columns: Mapping[str, str] | Sequence[str] | None,
) -> tuple[dict[str, str], tuple[str, ...]]:
    drop = (drop,) if isinstance(drop, str) else tuple(drop)
    require_columns(drop, frame.columns, "drop names the")
    for what, column in (("group", group), ("time", time)):
        if column is not None:
            require_columns([column], frame.columns, f"{what} names the")
            if column in targets:
                raise DataError(f"{what} and target must be different columns; both are {column!r}")
    if group is not None and time is not None:
        raise DataError("rows are split by group or by time, not both: give one of them")
    for name in targets:
        if name in drop:
            raise DataError(f"{name!r} is the target and cannot be dropped")
    overrides = parse_overrides(columns, frame.columns)
    for name in targets:
        if name in overrides:
            raise DataError(f"{name!r} is the target: say what it is with task, not with a kind")
    return overrides, drop


def _read_fixed(
    source: Any, names: Sequence[str], targets: Sequence[str], part: str, from_arrays: bool
) -> pl.DataFrame:
    if isinstance(source, tuple) and len(source) == 2:
        frame, found = pair_frame(source[0], source[1], "\x00target")
        if len(found) == len(targets):
            frame = frame.rename(dict(zip(found, targets, strict=True)))
    else:
        frame = read_table(source)
    if from_arrays and is_array(source) and frame.width == len(names):
        frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
    for name in targets:
        if name not in frame.columns:
            raise DataError(
                f"the {part} rows lack the target column {name!r}"
                f"{did_you_mean(name, frame.columns)}"
            )
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise DataError(
            f"the {part} rows lack the column {missing[0]!r}"
            f"{did_you_mean(missing[0], frame.columns)}: they need the columns of the training rows"
        )
    return frame


def _read_kept(
    encoder: TargetEncoder, frame: pl.DataFrame, what: str, notices: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the targets of rows that have one, and the indices of these rows."""
    values = encoder.read(frame)
    present = present_targets(values)
    kept = np.flatnonzero(present)
    if not len(kept):
        raise DataError(f"no row of {what} has a target: fill in {', '.join(encoder.names)}")
    if len(kept) < len(values):
        notices.append(f"{what}: {len(values) - len(kept):,} row(s) without a target are left out")
    return values[kept], kept


def _shares(
    fractions: tuple[float, float, float], fixed: Mapping[str, Any]
) -> tuple[float, float, float]:
    """Return the shares of the main source, nothing going to parts with a source of their own."""
    train, validation, test = fractions
    validation = 0.0 if "validation" in fixed else validation
    test = 0.0 if "test" in fixed else test
    total = train + validation + test
    return train / total, validation / total, test / total


def _split(
    encoder: TargetEncoder,
    frame: pl.DataFrame,
    values: np.ndarray,
    kept: np.ndarray,
    shares: tuple[float, float, float],
    group: str | None,
    time: str | None,
    seed: int,
    whole: np.ndarray | None,
) -> tuple[Any, str]:
    labels = numbers = groups = times = None
    if group is not None:
        groups = read_texts(frame[group]).fill_null("").to_numpy()[kept]
        groups = np.unique(groups.astype(str), return_inverse=True)[1]
        how = f"by group {group}"
    elif time is not None:
        times = _times(frame, time)[kept]
        how = f"by time {time}, the newest last"
    elif whole is not None:
        groups = np.unique(whole[kept], return_inverse=True)[1]
        how = f"by whole texts, as rows are parts of others, seed {seed}"
    elif encoder.kind == "regression":
        numbers, how = values[:, 0], f"at random by deciles of {encoder.names[0]}, seed {seed}"
    else:
        labels = values.argmax(axis=1) if values.ndim == 2 else values
        how = f"at random by class, seed {seed}"
    return (
        split_rows(
            len(kept),
            shares,
            labels=labels,
            values=numbers,
            groups=groups,
            times=times,
            seed=seed,
        ),
        how,
    )


def _times(frame: pl.DataFrame, time: str) -> np.ndarray:
    import polars as pl

    series = frame[time]
    dates, date_format = read_datetimes(series)
    if date_format is not None:
        values = dates.cast(pl.Int64).cast(pl.Float64)
    else:
        values = read_numbers(series)[0]
    missing = values.null_count()
    if missing:
        raise DataError(
            f"rows cannot be ordered by {time!r}: {missing:,} value(s) are missing or are neither "
            "dates nor numbers; correct them, or split without time"
        )
    return values.to_numpy()


def _column_notices(columns: Sequence[Column], read: Sequence[str]) -> list[str]:
    notices: list[str] = []
    for kind in ("identifier", "constant"):
        dropped = [column for column in columns if column.kind == kind and not column.given]
        for reason in dict.fromkeys(column.reason for column in dropped):
            names = [column.name for column in dropped if column.reason == reason]
            notices.append(f"dropped as {kind}: {shown_names(names)} ({reason})")
    for column in columns:
        if column.kind == "text" and column.name not in read:
            notices.append(
                f"{column.name} is set aside: {column.reason} ({column.name}=text reads it, "
                f"{column.name}=category keeps it)"
            )
        elif column.used and ("count as missing" in column.reason or "mixes" in column.reason):
            notices.append(f"{column.name}: {column.reason}")
    return notices
