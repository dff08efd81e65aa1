"""Metrics of tasks on images: scikit-learn, examples worked by hand, and program against host."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

from thalweg.errors import DataError
from thalweg.nn import boxes
from thalweg.optim import dense_metrics as dense
from thalweg.optim.losses import predict_outputs
from thalweg.optim.metrics import METRICS, score
from thalweg.task import IGNORE, VISION_KINDS, Task

TASKS = {
    "segmentation": Task("segmentation", ("mask",), (0, 1, 2, 3)),
    "embedding": Task("embedding", ("class",), ("a", "b", "c")),
    "detection": Task("detection", ("boxes",), ("cat", "dog")),
}


def problem(kind: str, seed: int = 0):
    """Return outputs and targets that are neither all right nor all wrong."""
    rng = np.random.default_rng(seed)
    if kind == "segmentation":
        target = rng.integers(0, 4, (5, 6, 7)).astype(np.uint8)
        outputs = 2 * np.eye(4)[target] + rng.standard_normal((5, 6, 7, 4))
        target[rng.random(target.shape) < 0.2] = IGNORE
        return outputs.astype(np.float32), target
    if kind == "embedding":
        target = rng.integers(0, 3, 30).astype(np.int32)
        outputs = np.eye(4)[target] + 0.7 * rng.standard_normal((30, 4))
        return (outputs / np.linalg.norm(outputs, axis=1, keepdims=True)).astype(np.float32), target
    target = np.zeros((6, 2, 5), np.float32)
    target[..., 4] = -1
    outputs = 0.3 * rng.standard_normal((6, 8, 8, 6)).astype(np.float32) - 2
    for image in range(6):
        for m in range(rng.integers(0, 3)):
            x, y = rng.integers(1, 5), rng.integers(1, 5)
            width, height = rng.integers(1, 4, 2)
            label = rng.integers(0, 2)
            target[image, m] = [4 * x, 4 * y, 4 * (x + width), 4 * (y + height), label]
            row, column = int(y + height / 2), int(x + width / 2)
            outputs[image, row, column, (label + (rng.random() < 0.4)) % 2] += 4
            sides = [column - x, row - y, x + width - column - 1, y + height - row - 1]
            reach = np.array(sides) + 0.5
            outputs[image, row, column, 2:] = np.log(reach) + 0.1 * rng.standard_normal(4)
    return outputs, target


def on_host(kind: str, outputs: np.ndarray, target: np.ndarray) -> dict[str, float]:
    values = predict_outputs(kind, outputs)
    return score(TASKS[kind], dense.finished(kind, [values], (32, 32)), target)


@pytest.mark.parametrize("kind", VISION_KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_programs_agree_with_the_host(kind, seed):
    outputs, target = problem(kind, seed)
    expected = on_host(kind, outputs, target)
    assert set(expected) == set(METRICS[kind])
    assert all(0 < value < 1 for value in expected.values())
    for name, metric in METRICS[kind].items():
        assert float(jax.jit(metric)(outputs, target)) == pytest.approx(expected[name], abs=1e-5)


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_rows_without_weight_do_not_count(kind):
    outputs, target = problem(kind)
    kept = np.arange(len(target)) % 3 > 0
    spoilt = np.where(kept.reshape(-1, *[1] * (outputs.ndim - 1)), outputs, np.nan)
    for name, metric in METRICS[kind].items():
        program = jax.jit(metric)
        value = program(spoilt, target, kept.astype(np.float32))
        alone = jax.jit(metric)(outputs[kept], target[kept])
        assert float(value) == pytest.approx(float(alone), abs=1e-5)
        assert np.isnan(program(spoilt, target)), name


@pytest.mark.parametrize("kind", [kind for kind in dense.SUMMARIES if kind in VISION_KINDS])
def test_summaries_in_parts_give_the_same(kind):
    outputs, target = problem(kind)
    summary = dense.SUMMARIES[kind]
    rows = jax.jit(summary.rows)
    parts = [rows(jnp.asarray(outputs[i : i + 2]), target[i : i + 2]) for i in (0, 2, 4)]
    whole = jax.tree.map(lambda *a: jnp.concatenate(a), *parts)
    for name, metric in summary.metrics.items():
        expected = jax.jit(METRICS[kind][name])(outputs, target)
        assert float(metric(whole, jnp.ones(len(target)))) == pytest.approx(float(expected))


def test_mean_iou_is_scikit_learns():
    outputs, target = problem("segmentation")
    kept = target != IGNORE
    expected = sk.jaccard_score(target[kept], outputs.argmax(-1)[kept], average="macro")
    assert on_host("segmentation", outputs, target)["mean_iou"] == pytest.approx(expected)


def test_a_class_that_nobody_saw_is_left_out():
    target = np.zeros((1, 2, 2), np.uint8)
    target[0, 0, 0] = 1
    found = np.zeros((1, 2, 2), np.uint8)
    scores = score(TASKS["segmentation"], found, target)
    assert scores == {"mean_iou": pytest.approx((3 / 4 + 0) / 2), "pixel_accuracy": 0.75}


def test_verification_is_the_area_over_pairs():
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]], np.float32)
    target = np.array([0, 0, 1, 1])
    # Pairs: 01 same .8, 23 same .8; 02 0, 03 .6, 12 .6, 13 .96.
    assert score(TASKS["embedding"], vectors, target)["roc_auc"] == pytest.approx(6 / 8)
    assert score(TASKS["embedding"], vectors, target)["recall_at_1"] == pytest.approx(0.5)
    assert score(TASKS["embedding"], vectors, np.zeros(4)) == {"recall_at_1": 1.0}


def test_average_precision_by_hand():
    target = np.array(
        [[[0, 0, 10, 10, 0], [20, 20, 30, 30, 0]], [[0, 0, 10, 10, 0], [0, 0, 0, 0, -1]]]
    )
    found = np.zeros((2, 3, 6))
    found[0] = [[0, 0, 10, 10, 0, 0.9], [1, 1, 10, 10, 0, 0.8], [20, 20, 30, 29, 0, 0.6]]
    found[1, 0] = [5, 5, 15, 15, 0, 0.7]
    # By score: hit, double (miss), miss, hit: precision 1, 1/2, 1/3, 1/2; two of three boxes found.
    expected = (1 + 1 / 2) / 3
    assert score(TASKS["detection"], found, target)["map_50"] == pytest.approx(expected)
    matches = dense.match(jnp.asarray(found, jnp.float32), jnp.asarray(target, jnp.float32), 2)
    assert matches.hit.tolist() == [[True, False, True], [False, False, False]]
    assert float(dense._map_50(matches, jnp.ones(2))) == pytest.approx(expected)


def test_no_boxes_no_average_precision():
    target = np.full((2, 1, 5), -1.0)
    assert score(TASKS["detection"], np.zeros((2, 3, 6)), target) == {}
    outputs = np.zeros((2, 8, 8, 6), np.float32)
    program = jax.jit(METRICS["detection"]["map_50"])
    assert np.isnan(program(outputs, target.astype(np.float32)))


def test_members_vectors_stand_side_by_side():
    one, two = problem("embedding", 0)[0], problem("embedding", 1)[0]
    both = dense.finished("embedding", [one, two])
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(both @ both.T, (one @ one.T + two @ two.T) / 2, atol=1e-6)


def test_weights_are_refused_on_the_host():
    with pytest.raises(DataError, match="without weights"):
        score(TASKS["detection"], np.zeros((2, 3, 6)), np.zeros((2, 1, 5)), weight=np.ones(2))


def test_peaks_are_local_maxima_in_order():
    values = np.zeros((1, 8, 8, 5), np.float32)
    values[..., 1:] = 4
    values[0, 2, 3, 0], values[0, 2, 4, 0], values[0, 6, 6, 0] = 0.9, 0.8, 0.5
    found = np.asarray(boxes.peaks(jnp.asarray(values), 32, 32))[0]
    np.testing.assert_allclose(found[0], [10, 6, 18, 14, 0, 0.9], rtol=1e-6)
    np.testing.assert_allclose(found[1], [22, 22, 30, 30, 0, 0.5], rtol=1e-6)
    assert not found[2:, 5].any()
