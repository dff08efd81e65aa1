"""Images and what is known of them move together."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.nn import geometry
from thalweg.task import IGNORE

KEY = jnp.uint32(7)
H, W = 24, 32


def squares(num: int = 16, seed: int = 0):
    """Return images with one bright square each, its mask and its box."""
    rng = np.random.default_rng(seed)
    images = np.zeros((num, H, W, 1), np.uint8)
    masks = np.zeros((num, H, W), np.uint8)
    boxes = np.zeros((num, 2, 5), np.float32)
    boxes[..., 4] = -1
    for i in range(num):
        x, y = rng.integers(8, 18), rng.integers(6, 12)
        images[i, y : y + 6, x : x + 7] = 200
        masks[i, y : y + 6, x : x + 7] = 1
        boxes[i, 0] = [x, y, x + 7, y + 6, 0]
    return images, masks, boxes


def box_of(plane: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(plane.any(1)), np.flatnonzero(plane.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def moved(strengths, kind):
    images, masks, boxes = squares()
    target = masks if kind == "segmentation" else boxes
    scalars = {name: jnp.float32(value) for name, value in strengths.items()}
    step = jax.jit(lambda x, t, s: geometry.together(kind, x, t, s, KEY))
    image, target = step(images, target, scalars)
    assert np.isfinite(target).all()
    assert image.dtype == np.uint8
    assert image.shape == images.shape
    return np.asarray(image)[..., 0], np.asarray(target)


EXACT = [{"flip": 0.5}, {"shift": 0.2}, {"flip": 0.5, "shift": 0.2}]
BENT = [{"rotation": 20.0}, {"zoom": 0.3}, {"rotation": 15.0, "zoom": 0.2, "flip": 0.5}]


@pytest.mark.parametrize("strengths", [*EXACT, *BENT])
def test_masks_lie_over_their_images(strengths):
    image, mask = moved(strengths, "segmentation")
    before = squares()[0][..., 0]
    assert not np.array_equal(image, before)
    kept = mask != IGNORE
    differ = (image[kept] > 100) != (mask[kept] == 1)
    assert differ.mean() == 0 if strengths in EXACT else differ.mean() < 0.02


@pytest.mark.parametrize("strengths", [*EXACT, *BENT])
def test_boxes_lie_around_their_images(strengths):
    image, boxes = moved(strengths, "detection")
    assert (boxes[:, 1, 4] == -1).all()
    assert (boxes[:, 0, 4] == 0).mean() > 0.7
    for plane, box in zip(image, boxes[:, 0], strict=True):
        if box[4] < 0:
            continue
        inner = np.array(box_of(plane > 100))
        slack = 0.01 if strengths in EXACT else 3.0
        # The hull of a turned box is larger than the turned square.
        assert (np.abs(inner - box[:4]) <= slack).all()


def test_what_moves_out_is_ignored_or_clipped():
    _, masks = moved({"shift": 0.5}, "segmentation")
    assert (masks == IGNORE).any()
    images, _, boxes = squares()
    boxes[:, 0, :4] = [0, 0, 8, 8]
    step = {"shift": jnp.float32(0.5)}
    boxes = np.asarray(geometry.together("detection", images, boxes, step, KEY)[1])
    assert (boxes[..., 0] >= 0).all()
    assert (boxes[..., 2] <= W).all()
    assert (boxes[:, 0, 4] == -1).any()
    assert (boxes[:, 0, 4] == 0).any()


@pytest.mark.parametrize("kind", geometry.TOGETHER)
def test_strength_zero_changes_nothing(kind):
    image, target = moved(dict.fromkeys(geometry.MOVES, 0.0), kind)
    before = squares()
    np.testing.assert_array_equal(image, before[0][..., 0])
    np.testing.assert_allclose(target, before[1 if kind == "segmentation" else 2], atol=1e-4)


@pytest.mark.parametrize("kind", geometry.TOGETHER)
def test_members_share_their_draws(kind):
    images, masks, boxes = squares()
    target = masks if kind == "segmentation" else boxes
    strengths = {"shift": jnp.array([0.0, 0.1, 0.2]), "rotation": jnp.array([0.0, 5.0, 5.0])}

    def member(s):
        return geometry.together(kind, jnp.asarray(images), jnp.asarray(target), s, KEY)

    together = jax.jit(jax.vmap(member))(strengths)
    for i in range(3):
        alone = jax.jit(member)({name: values[i] for name, values in strengths.items()})
        for ours, theirs in zip(together, alone, strict=True):
            np.testing.assert_allclose(ours[i], theirs, atol=1.0 if kind == "detection" else 0)


def test_other_augmentations_are_left_to_the_network():
    images, masks, _ = squares()
    image, mask = geometry.together("segmentation", images, masks, {"cutout": 0.5}, KEY)
    assert image is images
    assert mask is masks
