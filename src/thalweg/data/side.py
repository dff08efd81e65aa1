"""What is known of users and items besides their ids: tables joined on the id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data.columns import infer_columns, read_texts, shown_names
from thalweg.data.pairs import usual_column
from thalweg.data.preprocess import Preprocessor
from thalweg.data.sources import read_table
from thalweg.errors import DataError

if TYPE_CHECKING:
    import polars as pl

MAX_TOKENS = 100
"""Values kept of a column that holds several in one cell, the most frequent."""


@dataclass(frozen=True, eq=False)
class Side:
    """What is known of users, or of items, besides their ids.

    Args:
        ids: whose rows they are.
        numeric: float32 [n, D], standardised.
        category: int32 [n, C], codes of categories of many names.
        names: names of the columns of ``numeric``.
        categories: names of the columns of ``category``.
        cardinalities: number of codes of each category.
    """

    ids: tuple[str, ...] = ()
    numeric: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    category: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    cardinalities: tuple[int, ...] = ()

    def rows(self, ids: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers [N, D] and codes [N, C] of ids; zeros where nothing is known."""
        index = positions(ids, self.ids)
        numeric = np.zeros((len(index), len(self.names)), np.float32)
        category = np.zeros((len(index), len(self.categories)), np.int32)
        known = index >= 0
        if self.ids:
            numeric[known], category[known] = (
                self.numeric[index[known]],
                self.category[index[known]],
            )
        return numeric, category

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "ids": list(self.ids),
            "numeric": [[round(float(v), 6) for v in row] for row in self.numeric],
            "category": self.category.tolist(),
            "names": list(self.names),
            "categories": list(self.categories),
            "cardinalities": list(self.cardinalities),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Side:
        """Rebuild from ``to_dict``."""
        names, categories = tuple(record["names"]), tuple(record["categories"])
        return cls(
            tuple(record["ids"]),
            np.asarray(record["numeric"], np.float32).reshape(len(record["ids"]), len(names)),
            np.asarray(record["category"], np.int32).reshape(len(record["ids"]), len(categories)),
            names,
            categories,
            tuple(record["cardinalities"]),
        )


def positions(values: pl.Series, known: Sequence[str]) -> np.ndarray:
    """Return the position of each value among the known ones, -1 where it is none; int64 [N]."""
    import polars as pl

    if not len(values) or not known:
        return np.full(len(values), -1, np.int64)
    place = pl.Series(np.arange(len(known), dtype=np.int64))
    found = values.replace_strict(
        pl.Series(list(known), dtype=pl.String), place, default=-1, return_dtype=pl.Int64
    )
    return found.fill_null(-1).to_numpy()


def read_side(
    table: Any, ids: pl.Series, id_names: Sequence[str], what: str, notices: list[str]
) -> Side:
    """Read a table of users or items and encode it, with scales learnt from the ids in training."""
    import polars as pl

    frame = read_table(table)
    key = id_names[0] if id_names[0] in frame.columns else usual_column(frame, id_names)
    if key is None:
        raise DataError(
            f"the table of {what}s needs a column {id_names[0]!r} to join on; its columns are "
            f"{shown_names(frame.columns, 8)}: rename the one that holds the ids"
        )
    frame = frame.with_columns(read_texts(frame[key]).alias(key))
    given = frame.height
    frame = frame.filter(pl.col(key).is_not_null()).unique(key, keep="first", maintain_order=True)
    if frame.height < given:
        notices.append(
            f"{given - frame.height:,} row(s) of the table of {what}s have no id or one that came "
            "before: left out"
        )
    own = frame.drop(key)
    own = _spread_lists(own, notices)
    known = frame[key].is_in(ids.unique().to_list()).to_numpy()
    absent = ids.n_unique() - int(known.sum())
    if absent:
        notices.append(f"nothing is known of {absent:,} {what}(s): they are in no row of its table")
    if not known.any():
        raise DataError(
            f"no {what} of the ratings is in the table of {what}s (column {key!r}): check that "
            "both use the same ids"
        )
    if not own.width:
        return Side()
    columns = infer_columns(own.filter(known))
    unused = [column.name for column in columns if not column.used]
    if unused:
        notices.append(f"set aside in the table of {what}s: {shown_names(unused)}")
    if len(unused) == len(columns):
        return Side()
    preprocessor = Preprocessor.fit(own.filter(known), columns)
    fields, _ = preprocessor.transform(own.select(preprocessor.columns))
    category = fields.get("category", np.zeros((frame.height, 0), np.int32))
    return Side(
        tuple(frame[key].to_list()),
        np.round(fields["numeric"], 6),
        category,
        preprocessor.feature_names,
        preprocessor.category_names,
        preprocessor.cardinalities,
    )


def _spread_lists(frame: pl.DataFrame, notices: list[str]) -> pl.DataFrame:
    """Replace columns with several values in a cell (``Action|Comedy``) by one flag a value."""
    import polars as pl

    made: list[pl.Series] = []
    for name in frame.columns:
        lists = _lists_of(frame[name])
        if lists is None:
            made.append(frame[name])
            continue
        counts = lists.explode().drop_nulls().value_counts(sort=True, name="count")
        counts = counts.filter(pl.col(lists.name).str.len_chars() > 0).sort(
            ["count", lists.name], descending=[True, False]
        )
        tokens = counts.filter(pl.col("count") >= 2)[lists.name].to_list()[:MAX_TOKENS]
        dropped = counts.height - len(tokens)
        notices.append(
            f"{name} holds several values in a cell: {len(tokens)} of them are flags"
            + (f", {dropped} rare ones are left out" if dropped else "")
        )
        made += [lists.list.contains(token).alias(f"{name}={token}") for token in tokens]
    return pl.DataFrame(made)


def _lists_of(series: pl.Series) -> pl.Series | None:
    """Return the values of each cell as a list of texts; None where cells hold one value."""
    import polars as pl

    if isinstance(series.dtype, pl.List):
        texts = series.list.eval(pl.element().cast(pl.String).str.strip_chars())
        return texts.fill_null([]).alias(series.name)
    if series.dtype != pl.String:
        return None
    texts = read_texts(series)
    several = texts.str.contains("|", literal=True).fill_null(False)
    if several.mean() is None or several.sum() < max(2, 0.05 * texts.len()):
        return None
    lists = texts.fill_null("").str.split("|").list.eval(pl.element().str.strip_chars())
    if lists.explode().n_unique() > 0.5 * max(texts.drop_nulls().n_unique(), 4) + MAX_TOKENS:
        return None
    return lists.alias(series.name)
