"""The geometry of boxes and of the grid that a detector predicts on."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.nn import boxes


@pytest.mark.parametrize(
    ("a", "b", "iou", "giou"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0, 1.0),
        ([0, 0, 10, 10], [5, 0, 15, 10], 1 / 3, 1 / 3),
        ([0, 0, 10, 10], [20, 0, 30, 10], 0.0, -1 / 3),
        ([0, 0, 10, 10], [3, 3, 3, 3], 0.0, 0.0),
        ([0, 0, 4, 4], [2, 2, 6, 6], 4 / 28, 4 / 28 - 8 / 36),
    ],
)
def test_overlap(a, b, iou, giou):
    a, b = jnp.array(a, jnp.float32), jnp.array(b, jnp.float32)
    assert float(boxes.iou(a, b)) == pytest.approx(iou, abs=1e-6)
    if float(boxes.iou(a, b)) or iou:
        assert float(boxes.giou(a, b)) == pytest.approx(giou, abs=1e-6)


def test_distances_lead_back_to_the_box():
    sides = np.zeros((1, 3, 4, 4), np.float32)
    box = np.array([1.0, 2.0, 9.0, 11.0])
    x, y = (2 + 0.5) * boxes.STRIDE, (1 + 0.5) * boxes.STRIDE
    sides[0, 1, 2] = [x - box[0], y - box[1], box[2] - x, box[3] - y]
    np.testing.assert_allclose(boxes.boxes_of(jnp.asarray(sides))[0, 1, 2], box)


def test_the_heat_map_is_one_at_centres_and_falls_off():
    target = np.array([[[4, 4, 20, 20, 1], [8, 20, 32, 28, 0], [0, 0, 0, 0, -1]]], np.float32)
    heat = np.asarray(boxes.heat_map(jnp.asarray(target), 2, 8, 8))[0]
    assert heat[3, 3, 1] == 1
    assert heat[6, 5, 0] == 1
    assert (heat == 1).sum() == 2
    assert 0 < heat[3, 4, 1] < 1
    assert heat[0, 0].max() < 0.01
    nothing = np.full((2, 3, 5), -1, np.float32)
    assert not np.asarray(boxes.heat_map(jnp.asarray(nothing), 2, 8, 8)).any()


def test_the_largest_neighbour():
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 3)).astype(np.float32)
    got = np.asarray(boxes.max_3x3(jnp.asarray(x)))
    for i in range(5):
        for j in range(6):
            around = x[:, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
            np.testing.assert_array_equal(got[:, i, j], around.max((1, 2)))


def test_activation_is_the_same_in_numpy():
    outputs = np.random.default_rng(0).standard_normal((2, 3, 3, 6)).astype(np.float32) * 5
    ours = boxes.activate(outputs)
    assert isinstance(ours, np.ndarray)
    np.testing.assert_allclose(ours, boxes.activate(jnp.asarray(outputs)), rtol=1e-5)
    np.testing.assert_allclose(ours[..., :2], 1 / (1 + np.exp(-outputs[..., :2])), rtol=1e-5)


def test_the_grid_covers_the_image():
    assert boxes.grid_size(64, 64) == (16, 16)
    assert boxes.grid_size(65, 30) == (17, 8)
