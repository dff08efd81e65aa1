"""The table as files, and one finished study of it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from customers import SPACE, make_table


@pytest.fixture(scope="session")
def tables(tmp_path_factory) -> dict[str, Path]:
    """Return CSV files: training rows, and new rows as they come in practice."""
    folder = tmp_path_factory.mktemp("tables")
    train, fresh = make_table(400, 0), make_table(50, 1)
    paths = {name: folder / f"{name}.csv" for name in ("train", "fresh", "messy", "regression")}
    train.drop("price").write_csv(paths["train"])
    train.drop("bought").write_csv(paths["regression"])
    fresh.write_csv(paths["fresh"])
    # Other order, no target, a category that training never saw, gaps, and a column too many.
    messy = fresh.drop("bought", "price").with_columns(
        pl.when(pl.int_range(pl.len()) % 7 == 0)
        .then(pl.lit("Atlantis"))
        .otherwise("city")
        .alias("city"),
        pl.lit("x").alias("note"),
    )
    messy.select(sorted(messy.columns, reverse=True)).write_csv(paths["messy"])
    return paths


@pytest.fixture(scope="session")
def study(tables, tmp_path_factory):
    """Return a finished study with a run directory."""
    import thalweg as tw

    return tw.tune(
        tables["train"],
        "bought",
        trials=14,
        epochs=6,
        space=SPACE,
        finalists=1,
        seeds=2,
        run=tmp_path_factory.mktemp("runs") / "run",
        command="thalweg fit train.csv",
    )
