"""Frames of other libraries, mappings and arrays as one Polars frame."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thalweg.data.delimited import unnamed
from thalweg.errors import DataError, SourceError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


def is_array(source: Any) -> bool:
    """Whether a source is an array ``X`` or a list of rows: columns have no names of their own."""
    if hasattr(source, "dtype") and hasattr(source, "shape") and hasattr(source, "ndim"):
        return getattr(source.dtype, "names", None) is None and not hasattr(source, "name")
    return isinstance(source, list) and bool(source) and isinstance(source[0], (list, tuple))


def pair_frame(
    inputs: Any, target: Any, target_name: str | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """Join ``(X, y)`` into one frame.

    Args:
        inputs: features, an array ``[rows, columns]`` or a frame.
        target: an array ``[rows]`` or ``[rows, targets]``, a series, or a frame.
        target_name: name for a single target; the series' own name or ``"target"`` by default.

    Returns:
        The frame with the target columns last, and their names.

    Raises:
        DataError: the lengths differ, or the target's name is already a feature.
    """
    import numpy as np
    import polars as pl

    features = frame_of(inputs)
    own = getattr(target, "name", None)
    name = target_name or (own if isinstance(own, str) and own else "target")
    if not hasattr(target, "ndim") and hasattr(target, "__array__"):
        target = np.asarray(target)
    if isinstance(target, (list, tuple)) or getattr(target, "ndim", 0) == 1:
        columns = pl.DataFrame([series_of(name, target)])
    elif hasattr(target, "columns"):
        columns = frame_of(target)
    elif getattr(target, "ndim", 0) == 2:
        array = np.asarray(target)
        width = array.shape[1]
        names = [name] if width == 1 else [f"{name}{index}" for index in range(width)]
        columns = pl.DataFrame([series_of(names[i], array[:, i]) for i in range(width)])
    else:
        raise DataError(
            "y must have the shape [rows] or [rows, targets]; got "
            f"{type(target).__name__} of shape {getattr(target, 'shape', '?')}"
        )
    if columns.height != features.height:
        raise DataError(
            f"X and y must have the same number of rows; got {features.height:,} and "
            f"{columns.height:,}"
        )
    clash = [column for column in columns.columns if column in features.columns]
    if clash:
        raise DataError(
            f"the target's name {clash[0]!r} is also a column of X: rename the target or drop the "
            "column"
        )
    joined = pl.concat([features, columns], how="horizontal")
    return checked(joined, "the arrays given"), columns.columns


def frame_of(source: Any) -> pl.DataFrame:
    """Return a frame of another library, a mapping or an array as a Polars frame.

    Raises:
        DataError: the source is none of these, or its columns differ in length.
    """
    import numpy as np
    import polars as pl

    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, Mapping):
        return _from_mapping(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, pl.Series):
        return source.alias(source.name or "x0").to_frame()
    if isinstance(source, (list, tuple)):
        if source and isinstance(source[0], Mapping):
            return pl.DataFrame([dict(row) for row in source], infer_schema_length=None)
        try:
            return _from_array(np.asarray(source))
        except ValueError:
            raise DataError("rows must all have the same length: check the list given") from None
    frame = _from_foreign(source)
    if frame is not None:
        return frame
    if hasattr(source, "toarray"):
        return _from_array(np.asarray(source.toarray()))
    if hasattr(source, "__array__"):
        return _from_array(np.asarray(source))
    raise SourceError(
        "a source must be a path, URL, built-in set, data frame, mapping of columns, array or "
        f"(X, y); got {type(source).__name__}"
    )


def _from_foreign(source: Any) -> pl.DataFrame | None:
    """Convert a pandas, Arrow or other frame through Narwhals; None if it is no frame."""
    import narwhals as nw

    try:
        wrapped = nw.from_native(source, pass_through=True, allow_series=True)
    except nw.exceptions.DuplicateError:
        _require_different([str(name) for name in source.columns])
        raise
    if isinstance(wrapped, nw.LazyFrame):
        wrapped = wrapped.collect()
    if isinstance(wrapped, nw.Series):
        wrapped = wrapped.alias(str(wrapped.name or "x0")).to_frame()
    if not isinstance(wrapped, nw.DataFrame):
        return None
    names = [str(name) for name in wrapped.columns]
    _require_different(names)
    columns: list[pl.Series] = []
    for series, name in zip(wrapped.iter_columns(), names, strict=True):
        try:
            columns.append(series.to_polars().alias(name))
        except Exception:
            # pandas without pyarrow, or a column of mixed objects.
            columns.append(series_of(name, series.to_list()))
    import polars as pl

    return pl.DataFrame(columns)


def _require_different(names: Sequence[str]) -> None:
    if len(set(names)) == len(names):
        return
    twice = next(name for index, name in enumerate(names) if name in names[:index])
    raise DataError(
        f"column names must differ; the frame has {twice!r} more than once: rename one of them"
    )


def _from_mapping(source: Mapping[Any, Any]) -> pl.DataFrame:
    import numpy as np
    import polars as pl

    columns: list[pl.Series] = []
    for key, values in source.items():
        array = None if isinstance(values, pl.Series) else np.asarray(values, dtype=_dtype(values))
        if array is not None and array.ndim == 2 and array.shape[1] != 1:
            columns.extend(series_of(f"{key}{i}", array[:, i]) for i in range(array.shape[1]))
        elif array is not None and array.ndim == 0:
            raise DataError(f"column {str(key)!r} must be a list or an array; got {values!r}")
        else:
            columns.append(series_of(str(key), values if array is None else array.reshape(-1)))
    lengths = {column.len() for column in columns}
    if len(lengths) > 1:
        described = ", ".join(f"{column.name}: {column.len():,}" for column in columns[:6])
        raise DataError(f"columns must have the same number of rows; got {described}")
    return pl.DataFrame(columns)


def _dtype(values: Any) -> Any:
    """Keep a list of mixed Python values as objects: NumPy would turn numbers into text."""
    if isinstance(values, (list, tuple)):
        kinds = {type(value) for value in values if value is not None}
        if str in kinds or bool in kinds or None in values:
            return object
    return None


def _from_array(array: np.ndarray) -> pl.DataFrame:
    import polars as pl

    if array.dtype.names:
        return pl.DataFrame([series_of(name, array[name]) for name in array.dtype.names])
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise DataError(
            f"X must have the shape [rows, columns]; got {array.shape}: reshape it, for instance "
            "with X.reshape(len(X), -1)"
        )
    return pl.DataFrame([series_of(f"x{i}", array[:, i]) for i in range(array.shape[1])])


def series_of(name: str, values: Any) -> pl.Series:
    """Return values of any kind as a column."""
    import numpy as np
    import polars as pl

    if isinstance(values, pl.Series):
        return values.alias(name)
    if hasattr(values, "to_numpy") and not isinstance(values, np.ndarray):
        values = values.to_numpy()
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "biuf":
            if values.dtype == np.float16:
                values = values.astype(np.float32)
            if not values.dtype.isnative:
                values = values.astype(values.dtype.newbyteorder("="))
            return pl.Series(name, np.ascontiguousarray(values))
        if values.dtype.kind == "M":
            return pl.Series(name, values.astype("datetime64[us]"))
        if values.dtype.kind == "c":
            raise DataError(f"column {name!r} holds complex numbers: split them into two columns")
        values = values.tolist()
    cells = [None if isinstance(value, float) and value != value else value for value in values]
    kinds = {type(value) for value in cells if value is not None}
    if kinds <= {int, float} or len(kinds) <= 1:
        # What Polars has no type for (whole numbers beyond 128 bits, objects) is kept as text.
        with contextlib.suppress(pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
            return pl.Series(name, cells, strict=False)
    return pl.Series(name, [None if v is None else str(v) for v in cells], dtype=pl.String)


def checked(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """Return a frame whose columns have different names that are not empty.

    Raises:
        DataError: it has no columns or no rows, or two columns of one name.
    """
    if frame.width == 0:
        raise DataError(f"{where} has no columns: give a table with a header and rows")
    if frame.height == 0:
        raise DataError(f"{where} has a header but no rows: give a table with rows")
    stripped = [name.strip() for name in frame.columns]
    if stripped != frame.columns or "" in stripped:
        taken = set(stripped)
        stripped = [name or unnamed(index, taken) for index, name in enumerate(stripped)]
        if len(set(stripped)) < len(stripped):
            twice = next(name for name in stripped if stripped.count(name) > 1)
            raise DataError(
                f"column names must differ; {where} has {twice!r} more than once: rename one of "
                "them"
            )
        frame = frame.rename(dict(zip(frame.columns, stripped, strict=True)))
    return frame
