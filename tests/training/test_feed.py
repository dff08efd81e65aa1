"""Rows fetched a few steps ahead give what rows in memory give."""

from __future__ import annotations

import numpy as np
import pytest
from populations import problem, same_curves

from thalweg.errors import OptionError
from thalweg.models import InputShape
from thalweg.space import Config
from thalweg.training import backend
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.scalars import features_of

CONFIGS = [
    Config(width=8, depth=1, batch_size=16, learning_rate=rate, dropout=0.2, optimizer="adam")
    for rate in (1e-3, 3e-3, 1e-2)
]


def engine(memory: int | None, num_rows: int = 400) -> Engine:
    data, task, inputs = problem("multiclass", num_rows=num_rows)
    return Engine(data, task, inputs, features_of(CONFIGS, task), memory=memory)


def test_the_same_training_from_memory_and_from_outside():
    inside, outside = engine(None), engine(4_000)
    assert inside.feed is None
    assert outside.feed is not None
    # Judged on the same rows.
    outside.evaluated, outside.num_validation = inside.evaluated, inside.num_validation
    cohorts = []
    for one in (inside, outside):
        cohort = Cohort(one, CONFIGS, [0, 0, 1], 120, 30)
        cohort.advance(70)
        cohort.select([0, 2])
        cohort.advance(50)
        cohorts.append(cohort)
    assert cohorts[1].plan.table_steps < cohorts[0].plan.table_steps
    for member in (0, 2):
        same_curves(cohorts[0], member, cohorts[1], member)
    assert outside.feed.wait_seconds > 0


def test_what_is_resident_stays_within_the_memory_given():
    outside = engine(3_000)
    assert outside.train is None
    assert outside.resident_bytes < 3 * 3_000
    assert outside.num_validation < len(outside.data.validation_target)


def test_full_batches_need_all_rows():
    with pytest.raises(ValueError, match="full batches need all rows in memory"):
        Cohort(engine(4_000), [Config(batch_size="full")], [0], 10, 5)


def test_rows_from_a_file(tmp_path):
    data, task, inputs = problem("regression", num_rows=300)
    mapped = np.lib.format.open_memmap(
        tmp_path / "rows.npy", "w+", np.float32, data.fields["numeric"].shape
    )
    mapped[:] = data.fields["numeric"]
    config = [Config(width=8, depth=1, batch_size=16, learning_rate=1e-2)]
    features = features_of(config, task)
    on_disk = type(data)(
        {**data.fields, "numeric": mapped}, data.target, data.validation_fields,
        data.validation_target, units=data.units,
    )  # fmt: skip
    losses = []
    for rows, memory in ((data, None), (on_disk, 20_000)):
        one = Engine(rows, task, InputShape.from_dict(inputs.to_dict()), features, memory=memory)
        cohort = Cohort(one, config, [0], 60, 60)
        cohort.advance(60)
        losses.append(cohort.curves[0].train_loss[-1])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512 << 20), ("2GiB", 2 << 30), ("1.5 kb", 1536), ("100", 100)]
)
def test_memory_that_is_allowed(monkeypatch, text, size):
    monkeypatch.setenv("THALWEG_MEMORY", text)
    assert backend.available_bytes() == size // 2


def test_memory_that_is_no_amount(monkeypatch):
    monkeypatch.setenv("THALWEG_MEMORY", "lots")
    with pytest.raises(OptionError, match="THALWEG_MEMORY must be an amount"):
        backend.available_bytes()
