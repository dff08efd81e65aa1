"""Several labels for a row: sets of names in one column, or a column of yes and no for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.errors import DataError

if TYPE_CHECKING:
    import polars as pl

SEPARATORS = ("|", ";", ",")
"""What may stand between the labels of a row; the first that occurs in a column counts."""

MOST_LABELS = 1_000


def label_names(frame: pl.DataFrame, names: Sequence[str]) -> tuple[Any, ...]:
    """Return the labels of target columns: the names of several, or what one column lists.

    Raises:
        DataError: fewer than two labels, or far too many.
    """
    if len(names) > 1:
        return tuple(names)
    found = sorted({label for row in _sets(frame[names[0]]) for label in row or ()})
    if len(found) < 2:
        raise DataError(
            f"several labels are to be predicted, and {names[0]!r} holds {len(found)}: write the "
            "labels of a row as a|b, or name a column of 0 and 1 for each"
        )
    if len(found) > MOST_LABELS:
        raise DataError(
            f"{names[0]!r} holds {len(found):,} labels, more than {MOST_LABELS:,}, such as "
            f"{found[0]!r}: keep the frequent ones"
        )
    return tuple(found)


def read_labels(frame: pl.DataFrame, names: Sequence[str], classes: Sequence[Any]) -> np.ndarray:
    """Return which labels each row has, float64 [N, C] of 0 and 1; NaN in rows without a value.

    A label that is none of the classes counts for nothing.
    """
    from thalweg.data.columns import read_flags

    if len(names) > 1:
        columns = []
        for name in names:
            flags = read_flags(frame[name])
            if flags is None:
                raise DataError(
                    f"the target {name!r} must hold 0 and 1 (or yes and no) for several labels; "
                    f"it holds values such as {frame[name].drop_nulls()[0]!r}"
                )
            columns.append(flags.fill_null(float("nan")).to_numpy())
        return np.stack(columns, axis=1)
    place = {label: i for i, label in enumerate(classes)}
    values = np.zeros((frame.height, len(classes)))
    for row, labels in enumerate(_sets(frame[names[0]])):
        if labels is None:
            values[row] = np.nan
            continue
        for label in labels:
            if label in place:
                values[row, place[label]] = 1.0
    return values


def _sets(series: pl.Series) -> list[list[str] | None]:
    """Return the labels of each row; None where the value is missing, none where it is empty."""
    if series.dtype.is_nested():
        return [None if v is None else [str(label).strip() for label in v] for v in series]
    texts = [None if v is None else str(v) for v in series.to_list()]
    mark = next((m for m in SEPARATORS if any(m in text for text in texts if text)), SEPARATORS[0])
    return [
        None if text is None else [part.strip() for part in text.split(mark) if part.strip()]
        for text in texts
    ]


def shown_labels(chosen: np.ndarray, classes: Sequence[Any]) -> np.ndarray:
    """Return each row's labels as one text, ``a|b``, from probabilities or 0 and 1 [N, C]."""
    rows = np.asarray(chosen) > 0.5
    texts = ["|".join(str(classes[i]) for i in np.flatnonzero(row).tolist()) for row in rows]
    return np.array(texts, dtype=object)
