"""Tables beyond the memory that is allowed give what they give within it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import thalweg as tw
from thalweg.errors import DataError


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A CSV of 60,000 rows, and memory for a tenth of it."""
    rng = np.random.default_rng(0)
    num = 60_000
    x = rng.normal(size=(num, 20))
    city = rng.choice(["Rome", "Oslo", "Lima"], num)
    label = np.where(x[:, 0] + (city == "Oslo") + 0.3 * rng.normal(size=num) > 0.4, "yes", "no")
    bought = [None if i % 1000 == 7 else value for i, value in enumerate(label)]
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(20)}).with_columns(
        pl.Series("city", city), pl.Series("bought", bought)
    )
    path = tmp_path / "big.csv"
    frame.write_csv(path)
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("THALWEG_MEMORY", "6M")
    return path, frame


def test_all_rows_are_there_once_and_training_rows_stay_on_disk(table):
    path, frame = table
    data = tw.load(path, target="bought")
    assert data.name == "big"
    assert isinstance(data.train.fields["numeric"], np.memmap)
    total = sum(len(part) for part in data.parts.values())
    assert total == frame["bought"].drop_nulls().len()
    values = np.concatenate([part.fields["numeric"][:, 0] for part in data.parts.values()])
    column = frame.filter(pl.col("bought").is_not_null())["x0"].to_numpy()
    # The same values, scaled by what the sample says.
    assert np.corrcoef(np.sort(values), np.sort(column))[0, 1] > 0.9999
    assert len(data.validation) < 3000 < len(data.train)
    assert any("do not fit into memory" in notice for notice in data.notices)
    assert any("without a target" in notice for notice in data.notices)


def test_a_study_trains_from_the_file(table, monkeypatch):
    data = tw.load(table[0], target="bought")
    monkeypatch.setenv("THALWEG_MEMORY", "16M")
    study = tw.train(data, tw.Config(width=16, depth=1, learning_rate=1e-2), epochs=1)
    assert study.summary["seconds"]["waiting"] > 0
    assert study.summary["test"]["accuracy"] > 0.8


def test_such_a_table_is_split_at_random_only(table):
    with pytest.raises(DataError, match="does not fit into memory"):
        tw.load(table[0], target="bought", group="city")


def test_it_is_said_that_trials_are_judged_on_some_validation_rows(table, monkeypatch):
    data = tw.load(table[0], target="bought", fractions=(0.4, 0.4, 0.2))
    monkeypatch.setenv("THALWEG_MEMORY", "100K")
    monkeypatch.setattr("thalweg.training.engine.check_memory", lambda *sizes: 0)
    study = tw.train(data, tw.Config(width=4, depth=1, learning_rate=1e-2), epochs=0.1)
    notice = next(n for n in study.summary["notices"] if "trials are judged on" in n)
    assert f"of {len(data.validation):,} validation rows" in notice
