"""Losses of tasks on images against torch, and against their definitions written as loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.nn import boxes
from thalweg.optim import dense_losses
from thalweg.optim.losses import LOSSES, mixed_loss
from thalweg.space import HYPERPARAMETERS
from thalweg.task import IGNORE, VISION_KINDS

ALL = [(kind, name) for kind in VISION_KINDS for name in LOSSES[kind]]


def pixels(seed: int = 0):
    rng = np.random.default_rng(seed)
    outputs = rng.standard_normal((3, 6, 5, 4)).astype(np.float32)
    target = rng.integers(0, 4, (3, 6, 5)).astype(np.uint8)
    target[rng.random(target.shape) < 0.2] = IGNORE
    return outputs, target


def vectors(num: int = 12, seed: int = 0):
    rng = np.random.default_rng(seed)
    outputs = rng.standard_normal((num, 5)).astype(np.float32)
    outputs /= np.linalg.norm(outputs, axis=1, keepdims=True)
    return outputs, rng.integers(0, 3, num).astype(np.int32)


def scenes(seed: int = 0):
    rng = np.random.default_rng(seed)
    outputs = rng.standard_normal((3, 8, 8, 6)).astype(np.float32)
    target = np.zeros((3, 2, 5), np.float32)
    target[..., 4] = -1
    target[0] = [[2, 3, 14, 19, 1], [16, 8, 31, 30, 0]]
    target[1, 0] = [10, 10, 22, 18, 1]
    return outputs, target


PROBLEMS = {"segmentation": pixels, "embedding": vectors, "detection": scenes}


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_equals_torch(smoothing):
    torch = pytest.importorskip("torch")
    outputs, target = pixels()
    loss = LOSSES["segmentation"]["cross_entropy"](
        jnp.asarray(outputs), jnp.asarray(target), {"label_smoothing": smoothing}
    )
    for row in range(3):
        expected = torch.nn.functional.cross_entropy(
            torch.tensor(outputs[row]).reshape(-1, 4),
            torch.tensor(target[row].astype(np.int64)).reshape(-1),
            ignore_index=IGNORE,
            label_smoothing=smoothing,
        )
        assert float(loss[row]) == pytest.approx(float(expected), rel=1e-5)


def test_focal_is_cross_entropy_at_gamma_zero_and_smaller_above():
    outputs, target = map(jnp.asarray, pixels())
    focal, entropy = LOSSES["segmentation"]["focal"], LOSSES["segmentation"]["cross_entropy"]
    np.testing.assert_allclose(
        focal(outputs, target, {"focal_gamma": 0.0}), entropy(outputs, target), rtol=1e-5
    )
    assert (focal(outputs, target) < entropy(outputs, target)).all()


def test_dice_is_its_definition():
    outputs, target = pixels()
    loss = LOSSES["segmentation"]["dice"](jnp.asarray(outputs), jnp.asarray(target))
    for row in range(3):
        kept = target[row] != IGNORE
        p = np.exp(outputs[row][kept])
        p /= p.sum(-1, keepdims=True)
        q = np.eye(4)[target[row][kept]]
        shares = (2 * (p * q).sum(0) + 1) / ((p + q).sum(0) + 1)
        assert float(loss[row]) == pytest.approx(1 - shares.mean(), rel=1e-5)


def test_an_image_that_is_ignored_costs_nothing():
    outputs, target = pixels()
    target[1] = IGNORE
    for name in ("cross_entropy", "focal", "dice"):
        loss = LOSSES["segmentation"][name]

        def total(z, loss=loss):
            return loss(z, jnp.asarray(target))[1]

        value, slope = jax.value_and_grad(total)(jnp.asarray(outputs))
        assert float(value) == 0.0, name
        assert not np.asarray(slope).any(), name


def test_embedding_losses_are_their_definitions():
    outputs, target = vectors()
    distance = np.linalg.norm(outputs[:, None] - outputs[None], axis=-1)
    similarity = outputs @ outputs.T / 0.1
    expected = {"triplet": [], "triplet_semi_hard": [], "contrastive": []}
    for a in range(len(target)):
        same = [i for i in range(len(target)) if i != a and target[i] == target[a]]
        other = [i for i in range(len(target)) if target[i] != target[a]]
        near = min(distance[a, i] for i in other)
        expected["triplet"].append(max(0, 0.3 + max(distance[a, i] for i in same) - near))
        semi = []
        for p in same:
            beyond = [distance[a, i] for i in other if distance[a, i] > distance[a, p]]
            negative = min(beyond) if beyond else max(distance[a, i] for i in other)
            semi.append(max(0, 0.3 + distance[a, p] - negative))
        expected["triplet_semi_hard"].append(np.mean(semi))
        total = np.log(sum(np.exp(similarity[a, i]) for i in (*same, *other)))
        expected["contrastive"].append(np.mean([total - similarity[a, p] for p in same]))
    for name, values in expected.items():
        got = LOSSES["embedding"][name](jnp.asarray(outputs), jnp.asarray(target))
        np.testing.assert_allclose(got, values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", LOSSES["embedding"])
def test_rows_without_partner_or_class_do_not_count(name):
    outputs, target = vectors()
    loss = LOSSES["embedding"][name]
    alone = float(loss(jnp.asarray(outputs), jnp.asarray(target)).mean())
    more = np.concatenate([outputs, outputs[:3]])
    unknown = np.concatenate([target, [-1, -1, -1]]).astype(np.int32)
    padded = loss(jnp.asarray(more), jnp.asarray(unknown))
    assert float(padded.mean()) == pytest.approx(alone, rel=1e-5)
    assert not np.asarray(padded[-3:]).any()
    nobody = loss(jnp.asarray(outputs), jnp.arange(12))
    assert not np.asarray(nobody).any()


@pytest.mark.parametrize("name", LOSSES["embedding"])
def test_large_batches_are_compared_in_groups(name):
    outputs, target = vectors(2 * dense_losses.GROUP)
    loss = LOSSES["embedding"][name]
    whole = loss(jnp.asarray(outputs), jnp.asarray(target))
    half = dense_losses.GROUP
    parts = [
        loss(jnp.asarray(outputs[i : i + half]), jnp.asarray(target[i : i + half]))
        for i in (0, half)
    ]
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-4, atol=1e-5)


def test_the_heat_map_costs_what_cornernet_says():
    outputs, target = scenes()
    logits = outputs[..., : -boxes.NUM_SIDES]
    heat = np.asarray(boxes.heat_map(jnp.asarray(target), 2, 8, 8))
    p = 1 / (1 + np.exp(-logits))
    cost = np.where(
        heat >= 1, -((1 - p) ** 2) * np.log(p), -((1 - heat) ** 4) * p**2 * np.log(1 - p)
    )
    number = np.maximum((target[..., 4] >= 0).sum(1), 1)
    got = dense_losses._heat_loss(jnp.asarray(logits), jnp.asarray(target))
    np.testing.assert_allclose(got, cost.sum((1, 2, 3)) / number, rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES["detection"])
def test_right_boxes_cost_nothing_but_the_heat_map(name):
    outputs, target = scenes()
    wanted, weight = dense_losses._box_targets(jnp.asarray(target), 8, 8)
    assert np.asarray(weight).sum((1, 2)) == pytest.approx([1, 1, 0])
    centre = (np.arange(8) + 0.5) * boxes.STRIDE
    x, y = centre[None, :], centre[:, None]
    sides = np.stack(
        [x - wanted[..., 0], y - wanted[..., 1], wanted[..., 2] - x, wanted[..., 3] - y], -1
    )
    outputs[..., -4:] = np.log(np.maximum(sides, 1e-3) / boxes.STRIDE)
    whole = LOSSES["detection"][name](jnp.asarray(outputs), jnp.asarray(target))
    heat = dense_losses._heat_loss(jnp.asarray(outputs[..., :-4]), jnp.asarray(target))
    np.testing.assert_allclose(whole, heat, atol=2e-3)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_gradients_are_those_of_finite_differences(kind, name):
    outputs, target = PROBLEMS[kind]()
    rng = np.random.default_rng(1)
    direction = rng.standard_normal(outputs.shape)
    with jax.enable_x64(True):
        loss = LOSSES[kind][name]
        start, fixed = jnp.asarray(outputs, jnp.float64), jnp.asarray(target)

        def total(z):
            return loss(z, fixed).sum()

        slope = float((jax.grad(total)(start) * direction).sum())
        step = 1e-6
        ahead, behind = (float(total(start + s * step * direction)) for s in (1, -1))
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=2e-3, abs=1e-4)


@pytest.mark.parametrize(("kind", "name"), ALL)
@pytest.mark.parametrize("size", [0.0, 1e4])
def test_all_are_finite(kind, name, size):
    outputs, target = PROBLEMS[kind]()
    outputs = outputs * np.float32(size if kind != "embedding" else min(size, 1))

    def total(z):
        return LOSSES[kind][name](z, jnp.asarray(target)).sum()

    value, slope = jax.value_and_grad(total)(jnp.asarray(outputs))
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_mixed_members_equal_their_own_losses(kind):
    outputs, target = map(jnp.asarray, PROBLEMS[kind]())
    names = tuple(LOSSES[kind])
    chosen = {name: jnp.eye(len(names))[:, i] for i, name in enumerate(names)}

    def member(weights):
        return mixed_loss(kind, names, weights, outputs, target)

    together = jax.jit(jax.vmap(member))(chosen)
    for index, name in enumerate(names):
        own = LOSSES[kind][name](outputs, target)
        np.testing.assert_allclose(together[index], own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_hyperparameters_are_known_to_the_space(kind, name):
    for key, default in LOSSES[kind][name].hyperparameters.items():
        assert HYPERPARAMETERS[key].default == default
