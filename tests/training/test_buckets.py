"""Batches of alike length: what they hold, and that cutting padding off changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.models import InputShape
from thalweg.space import Config
from thalweg.task import Task
from thalweg.training.buckets import make_buckets
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.scalars import features_of

ROWS, READ, WRITTEN, SIZE = 48, 12, 10, 9


def lengths(seed: int = 0, rows: int = 1000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    read = rng.integers(2, 40, rows)
    return {"source": read, "target": np.minimum(read + rng.integers(0, 5, rows), 40)}


def test_every_row_is_seen_once_an_epoch_in_full_batches() -> None:
    known = lengths()
    buckets = make_buckets(known, {"source": 40, "target": 40})
    assert buckets is not None
    rows, which = buckets.batches(3, 50, 0, 40)
    assert sorted(rows[:20].reshape(-1)) == sorted(rows[20:].reshape(-1)) == list(range(1000))
    for batch, bucket in zip(rows, which, strict=True):
        for name, values in known.items():
            assert values[batch].max() <= buckets.widths[bucket][name]
    # The same steps asked for in another way are the same batches.
    again, _ = buckets.batches(3, 50, 7, 15)
    np.testing.assert_array_equal(again, rows[7:22])
    other, _ = buckets.batches(4, 50, 0, 40)
    assert (other != rows).any()


def test_buckets_leave_less_padding_and_are_left_out_where_they_save_little() -> None:
    known = lengths()
    buckets = make_buckets(known, {"source": 40, "target": 40})
    assert buckets is not None
    _, which = buckets.batches(0, 50, 0, 20)
    padded = np.mean([sum(buckets.widths[i].values()) for i in which])
    assert sum(v.mean() for v in known.values()) < padded < 0.75 * 80
    assert buckets.widths[-1] == {"source": 40, "target": 40}
    assert make_buckets({"source": np.full(100, 20)}, {"source": 20}) is None


def data(cut: bool) -> TrainingData:
    rng = np.random.default_rng(0)
    # Two lengths, so that two programs are compiled.
    long = np.arange(ROWS) % 3 == 0
    read, written = np.where(long, READ, 4), np.where(long, WRITTEN, 4)
    source = np.where(np.arange(READ) < read[:, None], rng.integers(4, SIZE, (ROWS, READ)), 0)
    target = np.where(
        np.arange(WRITTEN) < written[:, None], rng.integers(4, SIZE, (ROWS, WRITTEN)), 0
    )
    previous = np.concatenate([np.full((ROWS, 1), 2), target[:, :-1]], axis=1)
    fields = {"source": source.astype(np.int32), "previous": previous.astype(np.int32)}
    counts = {"source": read, "previous": written, "target": written}
    return TrainingData(
        fields,
        target.astype(np.int32),
        {name: v[:8] for name, v in fields.items()},
        target[:8].astype(np.int32),
        weight=(written / written.mean()).astype(np.float32),
        lengths=counts if cut else None,
    )


def test_a_step_without_the_padding_is_the_same_step(monkeypatch: Any) -> None:
    """Two members, the same batches, with and without cutting. By SGD, as Adam blows up noise."""
    task = Task("translation", ("y",))
    inputs = InputShape(source=(READ, SIZE), written=(WRITTEN, SIZE), shared_vocabulary=True)
    configs = [
        Config(
            model="seq2seq_transformer",
            depth=1,
            width=8,
            num_heads=2,
            batch_size=16,
            optimizer="sgd",
            learning_rate=rate,
            label_smoothing=0.1,
        )
        for rate in (1e-2, 1e-1)
    ]
    features = features_of(configs, task, row_weight=True)
    cut = Engine(data(True), task, inputs, features)
    assert cut.buckets is not None
    assert len(cut.buckets.widths) == 2
    whole = Engine(data(False), task, inputs, features)

    def same_batches(seed: int, rows: int, size: int, first: int, num: int, _: Any) -> Any:
        del rows
        assert cut.buckets is not None
        return cut.buckets.batches(seed, size, first, num)[0]

    monkeypatch.setattr("thalweg.training.cohort.batch_indices", same_batches)
    found = []
    for engine in (cut, whole):
        cohort = Cohort(engine, configs, [0, 0], 6, 3)
        cohort.advance(6)
        found.append([cohort.weights(k, best=False)[0] for k in range(2)])
        assert np.isfinite(cohort.best_score).all()
    for ours, other in zip(*found, strict=True):
        for name, values in ours.items():
            np.testing.assert_allclose(values, other[name], rtol=2e-4, atol=2e-5, err_msg=name)
