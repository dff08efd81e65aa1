"""Tables: how their rows are encoded, and what a data set of them holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg.data.columns import (
    Column,
    read_datetimes,
    read_flags_loosely,
    read_numbers,
    read_texts,
)
from thalweg.data.dataset import Dataset, Encoder, Part
from thalweg.data.frames import is_array, pair_frame
from thalweg.data.preprocess import Preprocessor
from thalweg.data.sources import read_table
from thalweg.data.targets import (
    TargetEncoder,
    present_targets,
)
from thalweg.errors import DataError
from thalweg.task import Task

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class TableEncoder(Encoder):
    """Encodes the columns of a table.

    Args:
        task: what is predicted.
        target: encodes the target.
        preprocessor: encodes the columns.
        source_columns: feature columns of the training table in order, used or not; rows given as
            arrays are matched to them by position.
        ignored: other columns of the training table (group, dropped ones), not worth a notice.
    """

    modality: ClassVar[str] = "table"

    preprocessor: Preprocessor
    source_columns: tuple[str, ...]
    ignored: tuple[str, ...] = ()

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode raw rows; see ``Encoder.encode``.

        Arrays have their columns in the order of the training table.
        """
        frame = self.frame_of(source)
        rows = np.arange(frame.height)
        notices: list[str] = []
        target = None
        if with_target:
            values = self.target.read(frame)
            present = present_targets(values)
            if not present.any():
                raise DataError(
                    f"no row has a value in the target {', '.join(self.task.targets)}: scoring "
                    "needs some"
                )
            if not present.all():
                notices.append(f"{int((~present).sum()):,} row(s) without a target are left out")
                frame, rows, values = frame.filter(present), rows[present], values[present]
            target = self.target.encode(values)
        fields, more = self.fields(frame)
        known = {*self.source_columns, *self.ignored, *self.task.targets}
        extra = [name for name in frame.columns if name not in known]
        if extra:
            shown = ", ".join(extra[:5]) + (", ..." if len(extra) > 5 else "")
            notices.append(f"columns unknown in training are ignored: {shown}")
        return Part(fields, target, None, rows, (*notices, *more))

    def fields(self, frame: pl.DataFrame) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Return the arrays of some rows, and what is worth telling of them."""
        return self.preprocessor.transform(frame)

    @property
    def input_shape(self) -> dict[str, Any]:
        """``{"numeric": D, "cardinalities": [...]}``."""
        return {
            "numeric": len(self.preprocessor.feature_names),
            "cardinalities": list(self.preprocessor.cardinalities),
        }

    def frame_of(self, source: Any) -> pl.DataFrame:
        """Read rows into a frame whose columns have the training table's names."""
        if isinstance(source, tuple) and len(source) == 2 and not is_array(list(source)):
            inputs, targets = source
            features = self.frame_of(inputs)
            frame, names = pair_frame(features, targets, "\x00target")
            if len(names) != len(self.task.targets):
                raise DataError(
                    f"the model has {len(self.task.targets)} target column(s); y has {len(names)}"
                )
            frame = frame.drop([name for name in self.task.targets if name in features.columns])
            return frame.rename(dict(zip(names, self.task.targets, strict=True)))
        frame = read_table(source)
        if not is_array(source):
            return frame
        for names in (self.source_columns, self.preprocessor.columns):
            if frame.width == len(names):
                return frame.rename(dict(zip(frame.columns, names, strict=True)))
        raise DataError(
            f"rows given as an array must have the {len(self.source_columns)} columns of the "
            f"training table; got {frame.width}: give a table with column names, or all columns"
        )

    def columns_of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the columns that are used, read but not encoded.

        Numbers are floats, yes/no booleans, dates datetimes, categories text; null where missing.
        """
        import polars as pl

        columns: list[pl.Series] = []
        for encoder in self.preprocessor.encoders:
            series = frame[encoder.name]
            if encoder.kind == "number":
                columns.append(read_numbers(series, encoder.style)[0])
            elif encoder.kind == "yes_no":
                columns.append(read_flags_loosely(series).cast(pl.Boolean))
            elif encoder.kind == "datetime":
                columns.append(read_datetimes(series, encoder.format or None)[0])
            else:
                columns.append(read_texts(series))
        return pl.DataFrame(columns)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            **super().to_dict(),
            "preprocessor": self.preprocessor.to_dict(),
            "source_columns": list(self.source_columns),
            "ignored": list(self.ignored),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TableEncoder:
        """Rebuild from ``to_dict``."""
        return cls(
            Task.from_dict(record["task"]),
            TargetEncoder.from_dict(record["target"]),
            Preprocessor.from_dict(record["preprocessor"]),
            tuple(record["source_columns"]),
            tuple(record.get("ignored", ())),
        )


@dataclass(frozen=True, eq=False, repr=False)
class TableDataset(Dataset):
    """A table with its task and its fixed parts; see ``Dataset``.

    Args:
        columns: what each feature column is taken for, and why.
        tables: the raw rows of each part: a frame and the rows in it.
    """

    encoder: TableEncoder
    columns: tuple[Column, ...] = ()
    tables: Mapping[str, tuple[pl.DataFrame, np.ndarray]] = field(default_factory=dict, repr=False)

    @property
    def preprocessor(self) -> Preprocessor:
        """What encodes the columns, fitted on training rows."""
        return self.encoder.preprocessor

    @property
    def num_features(self) -> int:
        """Number of source columns that networks see."""
        return len(self.preprocessor.encoders)

    def _about(self) -> dict[str, Any]:
        return {
            "features": self.preprocessor.feature_names,
            "categories": self.preprocessor.category_names,
        }

    def frame(self, part: str) -> pl.DataFrame:
        """Return a part's feature columns, read but not encoded.

        Numbers are floats, yes/no booleans, dates datetimes, categories text; null where missing.
        """
        table, rows = self.tables[part]
        return self.encoder.columns_of(table[rows])

    def native(self, part: str) -> tuple[np.ndarray, tuple[bool, ...]]:
        """Return one float64 column for each feature column [N, F], and which are categories.

        Numbers are unscaled with NaN where missing, categories are codes: what boosted trees like.
        """
        table, rows = self.tables[part]
        return self.encoder.preprocessor.native(table[rows])

    def _input_lines(self) -> Iterator[str]:
        if len(self.columns) <= 40:
            width = max(len(column.name) for column in self.columns)
            width = min(width, 32)
            for column in self.columns:
                missing = f"; {column.missing:,} missing" if column.missing else ""
                yield f"  {column.name:<{width}}  {column.kind:<10}  {column.reason}{missing}"
            return
        for kind in dict.fromkeys(column.kind for column in self.columns):
            names = [column.name for column in self.columns if column.kind == kind]
            shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            yield f"  {len(names)} {kind}: {shown}"

    def column_records(self) -> list[dict[str, Any]]:
        """Return what each feature column is taken for, as JSON-able records."""
        return [column.to_dict() for column in self.columns]
