"""Augmentation against SciPy and NumPy; strengths are traced and draws are common."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from thalweg.nn import noise
from thalweg.nn.augment import NAMES, augment, cutmix
from thalweg.nn.layers import Context

KEY = jnp.uint32(12345)
FULL = {
    "flip": 0.5,
    "shift": 0.25,
    "rotation": 30.0,
    "zoom": 0.3,
    "cutout": 0.5,
    "brightness": 0.4,
    "contrast": 0.4,
}


def images(count=6, height=12, width=9, channels=3, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, height, width, channels))
    return jnp.asarray(values.astype(np.float32))


def run(x, key=KEY, **strengths):
    traced = {name: jnp.float32(value) for name, value in strengths.items()}
    program = jax.jit(lambda x, s, k: augment(x, Context(train=True, key=k, augment=s)))
    return np.asarray(program(x, traced, key))


def test_every_name_has_a_strength_here():
    assert set(FULL) == set(NAMES)


@pytest.mark.parametrize("names", [*[(name,) for name in NAMES], NAMES], ids="+".join)
def test_strength_zero_changes_nothing(names):
    x = images()
    np.testing.assert_array_equal(run(x, **dict.fromkeys(names, 0.0)), np.asarray(x))


@pytest.mark.parametrize("name", NAMES)
def test_every_augmentation_changes_images(name):
    x = images()
    assert not np.array_equal(run(x, **{name: FULL[name]}), np.asarray(x))


def test_nothing_happens_outside_training():
    x = images()
    strengths = {name: jnp.float32(value) for name, value in FULL.items()}
    assert augment(x, Context(train=False, key=KEY, augment=strengths)) is x
    assert augment(x, Context(train=True, key=None, augment=strengths)) is x
    assert augment(x, Context(train=True, key=KEY)) is x


def test_steps_differ():
    x = images()
    assert not np.array_equal(run(x, **FULL), run(x, jnp.uint32(999), **FULL))


def test_flip_mirrors_left_to_right():
    x = images(64)
    np.testing.assert_array_equal(run(x, flip=1.0), np.asarray(x)[:, :, ::-1])
    some = run(x, flip=0.5)
    flipped = [np.array_equal(image, other[:, ::-1]) for image, other in zip(some, x, strict=True)]
    same = [np.array_equal(image, other) for image, other in zip(some, x, strict=True)]
    assert np.logical_xor(flipped, same).all()
    assert 16 < sum(flipped) < 48


def test_shift_is_by_whole_pixels_with_mirrored_edges():
    x = images(32, 8, 8, 2)
    shifted = run(x, shift=0.25)
    seen = set()
    for image, original in zip(shifted, np.asarray(x), strict=True):
        padded = np.pad(original, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        matches = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if np.array_equal(image, padded[2 - dy : 10 - dy, 2 - dx : 10 - dx])
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert {dy for dy, _ in seen} == {-2, -1, 0, 1, 2} == {dx for _, dx in seen}


def affine(image, angle, factor):
    """Turn counter-clockwise on the screen by ``angle`` and enlarge by ``factor``, with SciPy."""
    turn = np.deg2rad(angle)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / factor
    middle = (np.array(image.shape[:2]) - 1) / 2
    planes = [
        ndimage.affine_transform(
            image[..., c], matrix, middle - matrix @ middle, order=1, mode="mirror"
        )
        for c in range(image.shape[2])
    ]
    return np.stack(planes, axis=-1)


def fitted(result, original, angles, factors):
    """Return the angle and factor with which SciPy comes closest, and by how much."""
    errors = {
        (a, f): np.abs(affine(original, a, f) - result).max() for a in angles for f in factors
    }
    best = min(errors, key=lambda pair: errors[pair])
    return best, errors[best]


def draws(number, count):
    """Return the signed draws of a purpose, as the module makes them."""
    key = noise.fold(KEY, 20_001)
    return 2.0 * np.asarray(noise.uniform(key, (9, count)), np.float64)[number] - 1.0


def test_rotation_equals_scipy():
    x = images(5)
    turned = run(x, rotation=40.0)
    for image, original, u in zip(turned, np.asarray(x), draws(3, 5), strict=True):
        np.testing.assert_allclose(image, affine(original, 40.0 * u, 1.0), atol=2e-5)


def test_zoom_equals_scipy():
    x = images(5)
    zoomed = run(x, zoom=0.5)
    for image, original, u in zip(zoomed, np.asarray(x), draws(4, 5), strict=True):
        np.testing.assert_allclose(image, affine(original, 0.0, 1.0 + 0.5 * u), atol=2e-5)


def test_a_half_turn_is_exact_enough_to_be_seen_without_the_draws():
    x = images(40, 7, 7, 1)
    turned = run(x, rotation=90.0)
    grid = np.arange(-90.0, 90.01, 1.0)
    (angle, _), error = fitted(turned[0], np.asarray(x)[0], grid, [1.0])
    assert error < 0.2
    assert abs(angle - 90.0 * draws(3, 40)[0]) <= 1.0


def test_zooming_far_out_repeats_the_mirrored_image():
    x = images(3, 6, 6, 1)
    zoomed = run(x, zoom=0.9)
    assert np.isfinite(zoomed).all()
    for image, original, u in zip(zoomed, np.asarray(x), draws(4, 3), strict=True):
        np.testing.assert_allclose(image, affine(original, 0.0, 1.0 + 0.9 * u), atol=1e-4)


def test_rotation_of_strength_zero_beside_others_changes_little():
    # The program with rotation interpolates in one go; that without takes rows and columns apart.
    x = images()
    alone = run(x, flip=0.5, shift=0.2, zoom=0.2)
    beside = run(x, flip=0.5, shift=0.2, zoom=0.2, rotation=0.0)
    np.testing.assert_allclose(alone, beside, atol=1e-5)


def test_copied_and_interpolated_shifts_agree():
    x = images()
    np.testing.assert_array_equal(
        run(x, flip=0.5, shift=0.2), run(x, flip=0.5, shift=0.2, zoom=0.0)
    )


def test_cutout_erases_one_square():
    x = images(64, 16, 16, 2) + 10.0
    cut = run(x, cutout=0.5)
    erased = (cut == 0.0).all(-1)
    np.testing.assert_array_equal(cut[~erased], np.asarray(x)[~erased])
    sizes = erased.sum((1, 2))
    assert sizes.max() == 64
    assert sizes.min() >= 16
    for mask in erased:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_brightness_and_contrast():
    x = images()
    added = run(x, brightness=0.5) - np.asarray(x)
    np.testing.assert_allclose(
        added, np.broadcast_to(0.5 * draws(7, 6)[:, None, None, None], added.shape), atol=1e-6
    )
    grown = run(x, contrast=0.5)
    mean = np.asarray(x).mean((1, 2, 3), keepdims=True)
    factor = 1.0 + 0.5 * draws(8, 6)[:, None, None, None]
    np.testing.assert_allclose(grown, mean + (np.asarray(x) - mean) * factor, atol=1e-5)


def test_members_share_draws_and_differ_by_strength():
    x = images()
    strengths = {name: jnp.asarray([0.0, 0.5 * full, full]) for name, full in FULL.items()}
    member = jax.jit(
        jax.vmap(lambda s: augment(x, Context(train=True, key=KEY, augment=s)), in_axes=(0,))
    )
    together = np.asarray(member(strengths))
    np.testing.assert_array_equal(together[0], np.asarray(x))
    for index in range(3):
        alone = run(x, **{name: float(values[index]) for name, values in strengths.items()})
        np.testing.assert_allclose(together[index], alone, atol=1e-5)
    # The same draw, so twice the strength is twice the change.
    bright = jax.vmap(lambda s: augment(x, Context(train=True, key=KEY, augment={"brightness": s})))
    weak, strong = np.asarray(bright(jnp.asarray([0.1, 0.2]))) - np.asarray(x)
    np.testing.assert_allclose(strong, 2.0 * weak, atol=1e-6)


def test_a_nan_stays_in_its_image():
    x = images().at[2, 3, 3, 0].set(jnp.nan)
    bad = np.isnan(run(x, **FULL)).any((1, 2, 3))
    assert not bad[[0, 1, 3, 4, 5]].any()


def test_an_image_of_one_pixel():
    x = images(4, 1, 1, 1)
    assert np.isfinite(run(x, **FULL)).all()


# Mixing -------------------------------------------------------------------------------------------


def mixed(x, mix, share=None, key=KEY):
    context = Context(
        train=True,
        key=key,
        mix=jnp.float32(mix),
        cutmix=None if share is None else jnp.float32(share),
    )
    return np.asarray(cutmix(x, context))


def test_without_cutmix_images_are_blended():
    x = images()
    expected = 0.7 * np.asarray(x) + 0.3 * np.asarray(x)[::-1]
    np.testing.assert_allclose(mixed(x, 0.7), expected, atol=1e-6)
    np.testing.assert_allclose(mixed(x, 0.7, 0.0), expected, atol=1e-6)


def test_nothing_is_mixed_outside_training_or_at_share_one():
    x = images()
    assert cutmix(x, Context(train=False, key=KEY, mix=jnp.float32(0.5))) is x
    assert cutmix(x, Context(train=True, key=KEY)) is x
    np.testing.assert_array_equal(mixed(x, 1.0, 1.0), np.asarray(x))


@pytest.mark.parametrize("mix", [0.5, 0.6, 0.83, 0.99])
def test_the_box_has_exactly_the_area(mix):
    x = jnp.concatenate([jnp.zeros((3, 14, 10, 1)), jnp.ones((3, 14, 10, 1))])
    result = mixed(x, mix, 1.0)
    np.testing.assert_allclose(result[:3].mean((1, 2, 3)), 1.0 - mix, atol=1e-5)
    np.testing.assert_allclose(result[3:].mean((1, 2, 3)), mix, atol=1e-5)
    whole = result[0, :, :, 0] > 0.999
    touched = result[0, :, :, 0] > 0.0
    assert touched.sum() - whole.sum() <= 2 * (14 + 10)


def test_boxes_lie_in_different_places():
    x = jnp.concatenate([jnp.zeros((8, 14, 10, 1)), jnp.ones((8, 14, 10, 1))])
    result = mixed(x, 0.7, 1.0)[:8]
    assert len({image.tobytes() for image in result}) == 8


def test_a_share_of_the_steps_cuts():
    x = jnp.concatenate([jnp.zeros((4, 8, 8, 1)), jnp.ones((4, 8, 8, 1))])
    cut = [mixed(x, 0.75, 0.5, jnp.uint32(step))[0].max() > 0.9 for step in range(60)]
    assert 15 < sum(cut) < 45
