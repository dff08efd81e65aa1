"""Tables that do not fit into memory: read in batches, encoded into files, trained from there.

A random sample that does fit is loaded as any table is: from it columns are inferred, the encoder
is fitted, and validation and test rows are taken. All other rows are training rows. They are
encoded batch by batch into arrays in a file, which training fetches from.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data.dataset import Part
from thalweg.data.image_files import on_disk
from thalweg.data.sources import source_name
from thalweg.data.table_loading import load_table
from thalweg.data.tables import TableDataset
from thalweg.errors import DataError, SourceError, one_line
from thalweg.memory import host_bytes

if TYPE_CHECKING:
    import polars as pl

_EXPANSION = {".csv": 4.0, ".tsv": 4.0, ".parquet": 10.0, ".jsonl": 4.0, ".ndjson": 4.0}
"""About how many bytes a byte of a file takes while it is read whole."""

BATCH_ROWS = 50_000
MAX_SAMPLE = 500_000


def is_big(source: Any) -> bool:
    """Whether reading a source whole would take more than half of the memory there is."""
    paths = _paths(source)
    if not paths or any(path.suffix.lower() not in _EXPANSION for path in paths):
        return False
    need = sum(path.stat().st_size * _EXPANSION[path.suffix.lower()] for path in paths)
    return need > host_bytes() / 2


def _paths(source: Any) -> list[Path]:
    if not isinstance(source, (str, os.PathLike)):
        return []
    text = os.fspath(source)
    if os.path.isfile(text):
        return [Path(text)]
    return [Path(found) for found in sorted(glob.glob(text)) if os.path.isfile(found)]


def _batches(paths: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Yield the rows of files in their order, some at a time; CSV cells as text."""
    import polars as pl

    for path in paths:
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            scan = pl.scan_parquet(path)
        elif suffix in (".jsonl", ".ndjson"):
            scan = pl.scan_ndjson(path)
        else:
            separator = "\t" if suffix == ".tsv" else _separator(path)
            scan = pl.scan_csv(path, separator=separator, infer_schema=False)
        try:
            yield from scan.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)
        except pl.exceptions.PolarsError as error:
            reason = one_line(error)
            raise SourceError(f"{path} cannot be read in batches: {reason[:200]}") from None


def _separator(path: Path) -> str:
    with path.open("rb") as file:
        header = file.readline(1 << 16).decode("utf-8", "replace")
    return max(",;\t|", key=header.count)


def _sample(paths: Sequence[Path], rng: np.random.Generator) -> tuple[Any, list[np.ndarray]]:
    """Return a random sample that fits into memory, and which rows of each batch are in it."""
    import polars as pl

    total = sum(path.stat().st_size * _EXPANSION[path.suffix.lower()] for path in paths)
    share = min(1.0, host_bytes() / 8 / total)
    taken, masks, rows = [], [], 0
    for batch in _batches(paths):
        mask = rng.random(batch.height) < share
        if rows + mask.sum() > MAX_SAMPLE:
            mask[:] = False
        rows += int(mask.sum())
        masks.append(mask)
        taken.append(batch.filter(mask))
    if not rows:
        raise DataError(f"{paths[0]} holds no rows: give a table with rows")
    return pl.concat(taken), masks


def load_big_table(source: Any, target: Any, options: dict[str, Any]) -> TableDataset:
    """Load a table that does not fit into memory.

    Args:
        source: a CSV, TSV, Parquet or JSON lines file, or a glob of such.
        target: the column to predict, or several.
        options: of ``load_table``.

    Returns:
        The dataset; the fields of its training part are mapped from a file.

    Raises:
        SourceError, DataError: as ``load_table``; rows of such a table cannot be split by group or
            by time.
    """
    for name in ("group", "time"):
        if options.get(name) is not None:
            raise DataError(
                f"{source} does not fit into memory, and is then split at random only: leave "
                f"{name} out, or raise THALWEG_MEMORY"
            )
    paths = _paths(source)
    sample, masks = _sample(paths, np.random.default_rng([0xB16, options.get("seed") or 0]))
    data = load_table(sample, target, **options)
    num_rows = sum(int((~mask).sum()) for mask in masks)
    room = len(data.train) + num_rows
    fields = {
        name: on_disk((room, *values.shape[1:]), dtype=values.dtype)
        for name, values in data.train.fields.items()
    }
    targets = on_disk((room, *data.train.target.shape[1:]), dtype=data.train.target.dtype)
    filled, without, foreign = 0, 0, 0

    def put(part: Part) -> None:
        nonlocal filled
        for name, values in part.fields.items():
            fields[name][filled : filled + len(part)] = values
        targets[filled : filled + len(part)] = part.target
        filled += len(part)

    put(data.train)
    for batch, mask in zip(_batches(paths), masks, strict=True):
        rest = batch.filter(~mask)
        known, dropped = _known(data, rest)
        foreign += dropped
        if not known.height:
            continue
        try:
            part = data.encoder.encode(known, with_target=True)
        except DataError:
            without += known.height
            continue
        without += known.height - len(part)
        put(part)
    notices = [
        f"{room + sum(map(len, (data.validation, data.test))):,} rows do not fit into memory: "
        f"columns were inferred and encoders fitted on a random sample of {sample.height:,}, "
        "validation and test rows are of that sample, and training reads from a file"
    ]
    if without:
        notices.append(f"{without:,} row(s) without a target are left out")
    if foreign:
        notices.append(f"{foreign:,} row(s) of classes that the sample has not are left out")
    train = Part(
        {name: values[:filled] for name, values in fields.items()},
        targets[:filled],
        None,
        np.arange(filled),
    )
    return replace(
        data,
        name=source_name(source),
        train=train,
        notices=(*notices, *data.notices),
        split="a sample " + data.split,
    )


def _known(data: TableDataset, rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return the rows whose class is known, and how many are not."""
    import polars as pl

    if not data.task.classes or len(data.task.targets) > 1:
        return rows, 0
    name: str = next(iter(data.task.targets))
    known = rows.filter(
        pl.col(name).is_null()
        | pl.col(name).cast(pl.String).str.strip_chars().is_in([str(c) for c in data.task.classes])
    )
    return known, rows.height - known.height
