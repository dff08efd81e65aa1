"""Decoding: modes, sizes, broken files, the cache."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from thalweg.data import decoding, image_files
from thalweg.data.image_files import (
    check_size,
    choose_shape,
    crop_box,
    decode,
    image_grid,
    read_images,
    resize,
    select,
    to_png,
)
from thalweg.errors import OptionError, SourceError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "cache"))


def gradient(height=8, width=6):
    rows = np.arange(height)[:, None] * 20 + np.arange(width)[None] * 5
    return rows.astype(np.uint8)


def save(path, values, mode=None, **options):
    image = Image.fromarray(values)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return str(path)


def many(folder, count, shape=(8, 8), colour=True, seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    values = rng.integers(0, 256, (count, *shape, *([3] if colour else [])), dtype=np.uint8)
    return [save(folder / f"{i:05}.png", image) for i, image in enumerate(values)], values


# Modes --------------------------------------------------------------------------------------------


def test_grey_and_colour_come_back_exactly(tmp_path):
    grey = gradient()
    np.testing.assert_array_equal(decode(save(tmp_path / "g.png", grey))[..., 0], grey)
    colour = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(save(tmp_path / "c.png", colour)), colour)
    np.testing.assert_array_equal(decode(save(tmp_path / "c.bmp", colour)), colour)
    np.testing.assert_array_equal(decode((tmp_path / "c.png").read_bytes()), colour)


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 0] = 200
    pixels[0, :, 3] = [0, 128, 255]
    result = decode(save(tmp_path / "a.png", pixels))
    np.testing.assert_allclose(result[0, :, 0], [255, 227, 200], atol=1)
    np.testing.assert_allclose(result[0, :, 1], [255, 127, 0], atol=1)
    grey = np.array([[[10, 0], [10, 255]]], np.uint8)
    assert decode(save(tmp_path / "la.png", grey)).ravel().tolist() == [255, 10]


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 250, 10, 20])
    image.putdata([0, 1])
    image.save(tmp_path / "p.gif", transparency=0)
    np.testing.assert_array_equal(
        decode(str(tmp_path / "p.gif")), [[[255, 255, 255], [250, 10, 20]]]
    )


def test_cmyk_becomes_rgb(tmp_path):
    flat = np.zeros((16, 16, 3), np.uint8) + np.array([200, 40, 90], np.uint8)
    path = save(tmp_path / "c.jpg", flat, "CMYK", quality=95)
    with Image.open(path) as image:
        assert image.mode == "CMYK"
    np.testing.assert_allclose(decode(path), flat, atol=6)


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_the_same_for_all(tmp_path, ending):
    values = np.array([[0, 257, 25700], [65535, 128 * 257, 300]], np.uint16)
    path = str(tmp_path / f"x.{ending}")
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(decode(path)[..., 0], np.rint(values / 257))


def test_bits_and_floats(tmp_path):
    bits = np.array([[True, False], [False, True]])
    Image.fromarray(bits).save(tmp_path / "b.png")
    np.testing.assert_array_equal(decode(str(tmp_path / "b.png"))[..., 0], bits * 255)
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)).save(tmp_path / "f.tif")
    assert decode(str(tmp_path / "f.tif")).ravel().tolist() == [0, 128, 255]
    Image.fromarray(np.array([[0.0, 100.4, 254.0]], np.float32)).save(tmp_path / "g.tif")
    assert decode(str(tmp_path / "g.tif")).ravel().tolist() == [0, 100, 254]


def test_the_camera_orientation_is_applied(tmp_path):
    values = np.zeros((20, 40, 3), np.uint8)
    values[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "e.jpg", values, exif=exif, quality=95)
    turned = decode(path)
    assert turned.shape == (40, 20, 3)
    assert turned[:18].mean() > 250
    assert turned[22:].mean() < 5
    assert read_images([path]).images.shape[:3] == (1, 40, 20)
    png = save(tmp_path / "e.png", values, exif=exif)
    np.testing.assert_array_equal(decode(png), np.rot90(values, -1))


# Sizes --------------------------------------------------------------------------------------------


def test_the_centre_is_kept():
    assert crop_box(10, 20, (5, 5)) == (5.0, 0.0, 15.0, 10.0)
    assert crop_box(20, 10, (5, 5)) == (0.0, 5.0, 10.0, 15.0)
    assert crop_box(6, 6, (12, 12)) == (0.0, 0.0, 6.0, 6.0)


def test_fitting_crops_and_never_distorts(tmp_path):
    values = np.zeros((10, 30, 3), np.uint8)
    values[:, 10:20] = 255
    path = save(tmp_path / "x.png", values)
    assert decode(path, (5, 5))[:, 1:4].min() == 255
    assert decode(path, (5, 15))[:, :5].max() < 60


def test_scaling_down_averages(tmp_path):
    checker = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = decode(save(tmp_path / "c.png", checker), (8, 8))
    np.testing.assert_allclose(small, 127.5, atol=2)


@pytest.mark.parametrize(
    ("given", "shape"),
    [(64, (64, 64)), ((48, 64), (48, 64)), ("48x64", (48, 64)), ("32", (32, 32)), ([8, 9], (8, 9))],
)
def test_sizes_are_read(given, shape):
    assert check_size(given) == shape


@pytest.mark.parametrize("given", [0, -3, "big", 1.5, (1, 2, 3), 5000, "4x", True and "x"])
def test_wrong_sizes_are_refused(given):
    with pytest.raises(OptionError, match="image_size must be"):
        check_size(given)


def test_the_shape_chosen():
    assert choose_shape(np.array([[28, 28]] * 5), None) == ((28, 28), None)
    shape, notice = choose_shape(np.array([[480, 640]] * 3), None)
    assert shape == (48, 64)
    assert notice is not None
    assert "480 x 640 are scaled to 48 x 64; image_size" in notice
    shape, notice = choose_shape(np.array([[30, 20]] * 3 + [[50, 60]] * 2), None)
    assert shape == (30, 20)
    assert notice is not None
    assert "2 sizes, from 30 x 20 to 50 x 60" in notice
    shape, _ = choose_shape(np.array([[100, 300], [200, 200], [300, 100], [200, 210]]), None)
    assert shape == (62, 64)
    assert choose_shape(np.array([[480, 640]]), (32, 32))[0] == (32, 32)
    assert choose_shape(np.array([[1, 5000]]), None)[0] == (1, 64)


def test_images_of_all_sizes_and_modes_together(tmp_path):
    paths = [
        save(tmp_path / "a.png", gradient(20, 20)),
        save(tmp_path / "b.png", np.zeros((30, 10, 3), np.uint8) + np.uint8([0, 9, 5])),
        save(tmp_path / "c.png", np.zeros((20, 20, 4), np.uint8)),
    ]
    found = read_images(paths)
    assert found.images.shape == (3, 20, 20, 3)
    assert found.images.dtype == np.uint8
    assert found.images[2].min() == 255
    assert "2 sizes" in found.notices[0]


def test_grey_images_in_colour_files_get_one_channel(tmp_path):
    grey = np.repeat(gradient()[..., None], 3, axis=2)
    paths = [save(tmp_path / f"{i}.png", grey) for i in range(3)]
    assert read_images(paths).images.shape == (3, 8, 6, 1)
    assert read_images(paths, channels=3).images.shape == (3, 8, 6, 3)
    colour = grey.copy()
    colour[0, 0, 0] += 1
    assert read_images([*paths, save(tmp_path / "z.png", colour)]).images.shape == (4, 8, 6, 3)
    luma = read_images([save(tmp_path / "z.png", colour)], channels=1)
    assert luma.images.shape == (1, 8, 6, 1)


def test_arrays_are_resized_as_files_are(tmp_path):
    _, values = many(tmp_path, 20, (20, 30))
    sizes = [image_files.decode(str(tmp_path / f"{i:05}.png"), (8, 10)) for i in range(20)]
    np.testing.assert_array_equal(resize(values, (8, 10)), np.stack(sizes))
    five = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 5), dtype=np.uint8)
    assert resize(five, (8, 10)).shape == (3, 8, 10, 5)


# Broken files -------------------------------------------------------------------------------------


def test_broken_files_are_counted_and_named(tmp_path):
    paths, values = many(tmp_path, 6, (40, 40))
    whole = (tmp_path / "00001.png").read_bytes()
    (tmp_path / "00001.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "00003.png").write_bytes(b"")
    (tmp_path / "00004.png").write_text("hello")
    found = read_images([*paths, str(tmp_path / "gone.png")], names=[*"abcdef", "gone.png"])
    assert found.kept.tolist() == [0, 2, 5]
    np.testing.assert_array_equal(found.images, values[[0, 2, 5]])
    reasons = [reason for _, reason in found.bad]
    assert reasons == ["truncated", "empty file", "no image", "no such file"]
    assert found.notices[-1] == (
        "4 of 7 image files cannot be read and are left out: b (truncated), d (empty file), "
        "e (no image), gone.png (no such file)"
    )


def test_nothing_readable(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"no")
    with pytest.raises(SourceError, match=r"1 of 1 image files cannot be read: .*no image"):
        read_images([str(path)])


def test_a_truncated_jpeg(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    good = save(tmp_path / "a.jpg", values)
    bad = tmp_path / "b.jpg"
    bad.write_bytes((tmp_path / "a.jpg").read_bytes()[:2000])
    found = read_images([good, str(bad)])
    assert found.kept.tolist() == [0]
    assert found.bad == ((str(bad), "truncated"),)


# The cache and all cores --------------------------------------------------------------------------


def test_decoded_images_are_cached(tmp_path, monkeypatch):
    paths, values = many(tmp_path / "images", 80)
    (tmp_path / "images" / "00007.png").write_bytes(b"broken")
    first = read_images(paths)
    monkeypatch.setattr(image_files, "decode", None)
    again = read_images(paths)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.kept, again.kept)
    assert (first.bad, first.notices) == (again.bad, again.notices)
    assert len(again.images) == 79
    monkeypatch.undo()
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "cache"))
    save(tmp_path / "images" / "00007.png", values[7])
    assert len(read_images(paths).images) == 80
    assert read_images(paths, image_size=(4, 4)).images.shape == (80, 4, 4, 3)


def test_a_damaged_cache_is_made_again(tmp_path):
    paths, values = many(tmp_path / "images", 70)
    read_images(paths)
    for entry in (tmp_path / "cache" / "images").glob("*.npy"):
        entry.write_bytes(entry.read_bytes()[:200])
    np.testing.assert_array_equal(read_images(paths).images, values)


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "file"))
    paths, values = many(tmp_path / "images", 70)
    np.testing.assert_array_equal(read_images(paths).images, values)


def test_big_sets_are_mapped_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "BIG_BYTES", 1000)
    paths, values = many(tmp_path / "images", 70)
    (tmp_path / "images" / "00003.png").write_bytes(b"broken")
    for _ in range(2):
        found = read_images(paths)
        assert isinstance(found.images, np.memmap)
        np.testing.assert_array_equal(found.images, np.delete(values, 3, axis=0))
    part = select(found.images, np.array([5, 2, 9, *range(10, 40)]))
    assert isinstance(part, np.memmap)
    np.testing.assert_array_equal(part, found.images[[5, 2, 9, *range(10, 40)]])
    view = select(found.images, np.arange(10, 50))
    assert np.shares_memory(view, found.images)
    assert not list((tmp_path / "cache" / "images").glob(".*"))


def test_the_cache_is_kept_small(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "CACHE_BYTES", 20_000)
    for seed in range(3):
        paths, _ = many(tmp_path / str(seed), 70, seed=seed)
        read_images(paths)
    assert len(list((tmp_path / "cache" / "images").glob("*.npy"))) == 1
    assert len(list((tmp_path / "cache" / "images").glob("*.json"))) == 1


def test_files_are_decoded_on_all_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "num_cores", lambda: 3)
    paths, _ = many(tmp_path, 100)
    barrier, threads, original = threading.Barrier(3, timeout=20), set(), image_files.decode

    def watched(*arguments):
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            barrier.wait()
        return original(*arguments)

    monkeypatch.setattr(image_files, "decode", watched)
    read_images(paths)
    assert len(threads) == 3


# Pictures -----------------------------------------------------------------------------------------


def test_grid_and_png():
    images = np.stack([np.full((3, 4, 1), value, np.uint8) for value in (10, 20, 30)])
    grid = image_grid(images, 2, gap=1)
    assert grid.shape == (7, 9, 1)
    assert grid[0, 0, 0] == 10
    assert grid[0, 5, 0] == 20
    assert grid[4, 0, 0] == 30
    assert grid[3].min() == 255
    np.testing.assert_array_equal(decode(to_png(grid)), grid)
    assert decode(to_png(grid, scale=3)).shape == (21, 27, 1)
