"""A batch shared out over cores: the same training, to rounding, as on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from populations import distance, flat, problem, same_curves

from thalweg.models import InputShape, build
from thalweg.nn import noise
from thalweg.optim.losses import LOSSES, weighted_mean
from thalweg.space import Config
from thalweg.task import Task
from thalweg.training import backend, plan, sharing
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.scalars import features_of

COMMON = {"depth": 1, "width": 8, "batch_size": 16, "optimizer": "sgd", "learning_rate": 0.05}


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share even the smallest network, where there are two devices."""
    if jax.device_count() < 2 or jax.default_backend() != "cpu":
        pytest.skip("sharing a batch takes two CPU devices")
    monkeypatch.setattr(plan, "FLOPS_WORTH_AN_EXCHANGE", 0.0)
    monkeypatch.setattr(plan, "FLOPS_WORTH_A_GRADIENT", 0.0)


def both(engine: Engine, config: Config, num_steps: int = 12) -> tuple[Cohort, Cohort]:
    """Train a Config on one core and on two."""
    found = []
    for alone in (False, True):
        cohort = Cohort(engine, [config], [3], num_steps, num_steps // 2, alone=alone)
        assert cohort.plan.parts == 1 + alone
        cohort.advance(num_steps)
        found.append(cohort)
    return found[0], found[1]


def check_same(engine: Engine, config: Config) -> None:
    one, two = both(engine, config)
    assert distance(flat(two), flat(one)) < 1e-4
    assert distance(flat(two, best=True), flat(one, best=True)) < 1e-4
    same_curves(one, 0, two, 0, rtol=1e-3)


def test_a_part_draws_what_the_whole_batch_draws() -> None:
    key = jnp.uint32(12345)
    whole = noise.normal(noise.fold(key, 7), (12, 5))
    parts = [noise.normal(noise.fold(noise.PartKey(key, p, 3), 7), (4, 5)) for p in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    whole = noise.uniform(key, (2, 12, 3), axis=1)
    parts = [noise.uniform(noise.PartKey(key, p, 3), (2, 4, 3), axis=1) for p in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    # What is drawn once for the whole batch is the same everywhere.
    assert noise.uniform(noise.PartKey(key, 2, 3), ()) == noise.uniform(key, ())


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("weighted", [False, True])
def test_tables(any_size: None, kind: str, weighted: bool) -> None:
    extra = {"dropout": 0.3, "input_noise": 0.1, "l2": 1e-3, "clip_norm": 1.0}
    if kind != "regression":
        extra |= {"label_smoothing": 0.1, "class_weight": 1.0}
    config = Config({**COMMON, **extra})
    data, task, inputs = problem(kind, categories=True)
    if weighted:
        weight = np.random.default_rng(0).integers(0, 3, data.num_rows).astype(np.float32)
        data = replace(data, weight=weight)
    features = features_of([config], task, row_weight=weighted)
    check_same(Engine(data, task, inputs, features, workers=2), config)


def test_full_batches(any_size: None) -> None:
    config = Config({**COMMON, "batch_size": "full", "dropout": 0.2})
    data, task, inputs = problem("binary")
    check_same(Engine(data, task, inputs, features_of([config], task), workers=2), config)


def test_images_that_are_moved(any_size: None) -> None:
    config = Config({**COMMON, "model": "cnn", "flip": 0.5, "shift": 0.2, "dropout": 0.2})
    rng = np.random.default_rng(0)
    images = rng.normal(size=(64, 16, 16, 1)).astype(np.float32)
    target = (images[:, :8].mean((1, 2, 3)) > 0).astype(np.int32)
    data = TrainingData({"image": images[:48]}, target[:48], {"image": images[48:]}, target[48:])
    task, inputs = (
        Task("binary", ("y",), (0, 1)),
        InputShape(image=(16, 16, 1), image_mean=(0.0,), image_std=(1.0,)),
    )
    check_same(Engine(data, task, inputs, features_of([config], task), workers=2), config)


@pytest.mark.parametrize("model", ["gru", "transformer"])
def test_texts_of_differing_lengths(any_size: None, model: str) -> None:
    config = Config({**COMMON, "model": model, "embedding_size": 8, "token_dropout": 0.1})
    rng = np.random.default_rng(0)
    length = rng.integers(1, 33, 80).astype(np.int32)
    tokens = rng.integers(2, 20, (80, 32)).astype(np.int32)
    tokens[np.arange(32) >= length[:, None]] = 0
    target = (tokens == 5).any(1).astype(np.int32)
    fields = {"tokens": tokens, "length": length}
    data = TrainingData(
        {n: v[:48] for n, v in fields.items()},
        target[:48],
        {n: v[48:] for n, v in fields.items()},
        target[48:],
    )
    task, inputs = Task("binary", ("y",), (0, 1)), InputShape(masked=True, tokens=(32, 20))
    check_same(Engine(data, task, inputs, features_of([config], task), workers=2), config)


def test_translations_in_several_lengths(any_size: None) -> None:
    rng = np.random.default_rng(0)
    long = np.arange(64) % 3 == 0
    counts = {name: np.where(long, 12, 4) for name in ("source", "previous", "target")}
    token = rng.integers(4, 9, (2, 64, 12))
    source, target = (np.where(np.arange(12) < counts["source"][:, None], t, 0) for t in token)
    previous = np.concatenate([np.full((64, 1), 2), target[:, :-1]], axis=1)
    fields = {"source": source.astype(np.int32), "previous": previous.astype(np.int32)}
    target = target.astype(np.int32)
    judged = {name: values[:9] for name, values in fields.items()}
    data = TrainingData(fields, target, judged, target[:9], lengths=counts)
    task = Task("translation", ("y",))
    inputs = InputShape(source=(12, 9), written=(12, 9), shared_vocabulary=True)
    config = Config({**COMMON, "model": "seq2seq_transformer", "num_heads": 2, "dropout": 0.1})
    engine = Engine(data, task, inputs, features_of([config], task), workers=2)
    assert engine.buckets is not None
    check_same(engine, config)


def test_windows_of_a_text_count_by_their_tokens(any_size: None) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, 20, (48, 17)).astype(np.int32)
    # The last of a text's windows are short.
    length = rng.integers(2, 18, 48).astype(np.int32)
    counted = (length - 1).astype(np.float32)
    fields = {"tokens": tokens, "length": length}
    judged = {name: values[:9] for name, values in fields.items()}
    data = TrainingData(fields, counted, judged, counted[:9])
    task = Task("language", ("next",))
    inputs = InputShape(tokens=(17, 20), masked=True, language=True)
    config = Config({**COMMON, "model": "transformer", "num_heads": 2, "dropout": 0.1})
    check_same(Engine(data, task, inputs, features_of([config], task), workers=2), config)


def test_it_goes_on_from_a_checkpoint_and_from_weights_of_the_cohort(any_size: None) -> None:
    config = Config(COMMON)
    data, task, inputs = problem("binary")
    engine = Engine(data, task, inputs, features_of([config], task), workers=2)
    whole = Cohort(engine, [config], [0], 12, 6, alone=True)
    whole.advance(12)
    first = Cohort(engine, [config], [0], 12, 6, alone=True)
    first.advance(6)
    second = Cohort(engine, [config], [0], 12, 6, alone=True)
    second.restore(first.snapshot())
    second.advance(6)
    for name, values in flat(whole).items():
        np.testing.assert_array_equal(flat(second)[name], values)


def test_a_member_that_diverges_is_frozen_on_all_cores(any_size: None) -> None:
    config = Config({**COMMON, "learning_rate": 1e6})
    data, task, inputs = problem("regression")
    engine = Engine(data, task, inputs, features_of([config], task), workers=2)
    cohort = Cohort(engine, [config], [0], 12, 6, alone=True)
    cohort.advance(12)
    assert not cohort.alive[0]


def some_boxes(rng: np.random.Generator) -> np.ndarray:
    """Return two boxes an image, left, top, right, bottom and class; some of them none."""
    corner = rng.uniform(0, 12, (8, 2, 2))
    size = rng.uniform(4, 10, (8, 2, 2))
    kind = rng.integers(-1, 3, (8, 2, 1))
    return np.concatenate([corner, corner + size, kind], axis=-1).astype(np.float32)


LOSS_SHAPES: dict[str, tuple[tuple[int, ...], Any]] = {
    "regression": ((3,), lambda rng: rng.normal(size=(8, 3)).astype(np.float32)),
    "binary": ((1,), lambda rng: rng.integers(0, 2, 8).astype(np.int32)),
    "multiclass": ((4,), lambda rng: rng.integers(0, 4, 8).astype(np.int32)),
    "multilabel": ((4,), lambda rng: rng.integers(0, 2, (8, 4)).astype(np.float32)),
    "segmentation": ((5, 5, 3), lambda rng: rng.integers(0, 3, (8, 5, 5)).astype(np.int32)),
    "detection": ((6, 6, 3 + 4), some_boxes),
    "transcription": ((9, 5), lambda rng: rng.integers(1, 4, (8, 3)).astype(np.int32)),
    "reconstruction": ((7,), lambda rng: rng.normal(size=(8, 4)).astype(np.float32)),
    "translation": ((6, 5), lambda rng: rng.integers(0, 5, (8, 6)).astype(np.int32)),
}


@pytest.mark.parametrize("kind", sorted(set(plan.SHARED) - {"language"}))
def test_losses_take_each_row_by_itself(kind: str) -> None:
    rng = np.random.default_rng(0)
    shape, make = LOSS_SHAPES[kind]
    outputs, target = rng.normal(size=(8, *shape)).astype(np.float32), make(rng)
    for name, loss in LOSSES[kind].items():
        hp = dict(loss.hyperparameters)
        whole = np.asarray(loss(jnp.asarray(outputs), jnp.asarray(target), hp))
        half = np.asarray(loss(jnp.asarray(outputs[:4]), jnp.asarray(target[:4]), hp))
        np.testing.assert_allclose(half, whole[:4], rtol=1e-5, err_msg=name)


def test_what_is_shared_and_what_is_not() -> None:
    task = Task("binary", ("y",), (0, 1))
    inputs = InputShape(image=(28, 28, 1))

    def parts(kind: str = "binary", cores: int = 4, **values: Any) -> int:
        config = Config({**COMMON, "model": "cnn", "width": 64, "batch_size": 32, **values})
        rows = np.zeros((64, 28, 28, 1), np.float32)
        data = TrainingData({"image": rows}, np.arange(64) % 2, {"image": rows}, np.arange(64) % 2)
        engine = Engine(data, task, inputs, features_of([config], task))
        network = engine.network(config.structure(()))
        size = int(values.get("batch_size", 32))
        return plan.parts_of(network, engine.features, kind, size, cores)

    assert parts() == 4
    assert parts(cores=3) == 2
    assert parts(batch_size=16, width=128) == 2
    assert parts(batch_size=33, width=128) == 3
    assert parts(cores=1) == 1
    # The batch as a whole matters, or there is too little to do.
    assert parts(normalisation="batch") == 1
    assert parts(mixup=0.2) == 1
    assert parts("embedding") == 1
    assert parts(width=4) == 1
    wide = Config({**COMMON, "width": 2048, "batch_size": 32})
    network = build(wide.structure(()), InputShape(784), 10)
    assert plan.step_flops(network, 32) > plan.FLOPS_WORTH_AN_EXCHANGE
    features = features_of([wide], Task("multiclass", ("y",), tuple(range(10))))
    assert plan.parts_of(network, features, "multiclass", 32, 4) == 1


def test_shares_of_weight_add_up() -> None:
    weights = jnp.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    rows = jnp.array([[3.0, 9.0, 6.0], [1.0, 1.0, 1.0]])

    def contribution(rows: Any, weight: Any) -> Any:
        return weighted_mean(rows, weight) * sharing.share_of(weight, 2)

    found = jax.vmap(contribution, axis_name="parts")(rows, weights)
    np.testing.assert_allclose(found.sum(), weighted_mean(rows.ravel(), weights.ravel()))


@pytest.mark.slow
def test_a_training_of_one_network_uses_the_cores() -> None:
    """In a process of its own, where nobody has said how many devices there are."""
    if backend.num_cores() < 2:
        pytest.skip("one core")
    code = (
        "import json, numpy as np, thalweg as tw\n"
        "from thalweg.training import plan\n"
        "plan.FLOPS_WORTH_AN_EXCHANGE = plan.FLOPS_WORTH_A_GRADIENT = 0.0\n"
        "seen = []\n"
        "made = plan.make_plan\n"
        "import thalweg.training.engine as e\n"
        "e.make_plan = lambda *a, **k: (seen.append(k['parts']), made(*a, **k))[1]\n"
        "study = tw.train('iris', batch_size=16, epochs=2)\n"
        "print(json.dumps([max(seen), study.summary['test']['accuracy']]))\n"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=300
    )
    assert done.returncode == 0, done.stderr
    parts, accuracy = json.loads(done.stdout.splitlines()[-1])
    assert parts == 2
    assert 0 <= accuracy <= 1


def test_masks_and_the_summaries_they_are_judged_by(any_size: None) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(57, 16, 16, 1)).astype(np.float32)
    masks = (images[..., 0] > 0).astype(np.int32)
    data = TrainingData({"image": images[:48]}, masks[:48], {"image": images[48:]}, masks[48:])
    task = Task("segmentation", ("mask",), ("no", "yes"))
    inputs = InputShape(image=(16, 16, 1), image_mean=(0.0,), image_std=(1.0,))
    config = Config({**COMMON, "model": "unet", "flip": 0.5, "normalisation": "none"})
    check_same(Engine(data, task, inputs, features_of([config], task), workers=2), config)


def test_reconstructions_with_draws_of_their_own(any_size: None) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(57, 6)).astype(np.float32)
    data = TrainingData({"numeric": rows[:48]}, rows[:48], {"numeric": rows[48:]}, rows[48:])
    config = Config({**COMMON, "model": "vae"})
    task = Task("reconstruction", ("row",))
    features = features_of([config], task)
    one, two = both(Engine(data, task, InputShape(6), features, workers=2), config)
    # Draws outside training go by the place in a part, so that scores differ by chance.
    assert distance(flat(two), flat(one)) < 1e-4
