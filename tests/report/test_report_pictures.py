"""Pictures: right pixels, right sizes, and in the report whole, described and shown."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image
from synthetic_runs import make_run
from test_report_html import EVIL, outline

from thalweg.report.html import render_report
from thalweg.report.pictures import (
    GOOD,
    PAINTERS,
    PAPER,
    UNCOUNTED,
    Box,
    Cell,
    as_rgb,
    class_colour,
    differing,
    diverging,
    filter_colours,
    masked,
    paint,
    png_size,
    sequential,
    sheet,
)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


IMAGES = [noise(8, 8, 3)[..., :1], noise(8, 8, 3), noise(6, 9, 3)]
CASES: dict[str, dict[str, Any]] = {
    "photos": {
        "images": [IMAGES[:2], [IMAGES[2], None]],
        "captions": [[[("is 3", ""), ("said 4", "bad")], []], [[("x", "soft")], []]],
        "frames": [["bad", "good"], ["", None]],
        "labels": ["first", ""],
        "heads": ["a", "b"],
    },
    "filters": {
        "kernel": np.random.default_rng(0).normal(size=(3, 3, 1, 20)),
        "names": [*"abcdefghijklmnopqrst"],
    },
    "maps": {
        "images": IMAGES[:2],
        "layers": [np.random.default_rng(0).normal(size=(2, n, n, 5)) for n in (8, 4)],
        "labels": ["8 x 8 x 5", "4 x 4 x 5"],
    },
    "masks": {
        "images": IMAGES[:2],
        "truth": [np.eye(8, dtype=np.uint8), np.full((8, 8), 255)],
        "predicted": [np.zeros((8, 8), np.uint8), np.full((8, 8), 2)],
        "classes": ["sky", "tree", "house"],
        "captions": ["12 % wrong", ""],
    },
    "boxes": {
        "images": IMAGES[:2],
        "truth": [np.array([[1.0, 1, 5, 5, 0]]), np.zeros((0, 5))],
        # One beyond the image, one with its corners swapped, one of no known class.
        "predicted": [
            np.array([[-3.0, -2, 30, 30, 1, 0.9], [5, 5, 1, 1, 0, 0.4]]),
            np.array([[0.0, 0, 1, 1, 7, 1.0]]),
        ],
        "classes": ["cat", "dog"],
    },
    "explained": {
        "images": IMAGES[:2],
        "maps": [np.random.default_rng(0).normal(size=(8, 8)), np.zeros((8, 8))],
        "captions": ["7: 95 %", ""],
        "signed": True,
    },
}


@pytest.mark.parametrize("kind", PAINTERS)
def test_every_kind_is_drawn(kind: str) -> None:
    png = paint(kind, CASES[kind])
    width, height = png_size(png)
    drawn = pixels(png)
    assert drawn.shape[:2] == pytest.approx((2 * height, 2 * width), abs=1)
    # More than paper, and a margin of paper all around.
    assert (drawn != PAPER).any()
    for edge in (drawn[:8], drawn[-8:], drawn[:, :8], drawn[:, -8:]):
        assert (edge == PAPER).all()


def test_pixels_become_squares() -> None:
    image = noise(4, 3, 3)
    drawn = pixels(sheet([[Cell(image)]], side=10))
    # Twenty pixels for four: squares of five, within a margin of twelve points.
    assert drawn.shape == (48 + 20, 48 + 15, 3)
    inner = drawn[24:44, 24:39]
    np.testing.assert_array_equal(inner, image.repeat(5, axis=0).repeat(5, axis=1))


def test_large_images_shrink_and_files_stay_small() -> None:
    images = noise(12, 300, 400, 3)
    png = sheet([[Cell(image) for image in images[i : i + 6]] for i in (0, 6)], side=140)
    assert len(png) <= 190_000
    width, height = png_size(png)
    assert width == pytest.approx(6 * 140 + 5 * 14 + 24, abs=12)
    assert height == pytest.approx(2 * 105 + 14 + 24, abs=12)
    tiny = sheet([[Cell(image) for image in images]], side=140, max_bytes=20_000)
    assert len(tiny) <= 20_000


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_any_number_of_channels_has_colours(channels: int) -> None:
    image = noise(5, 4, channels)
    colours = as_rgb(image)
    assert colours.shape == (5, 4, 3)
    assert colours.dtype == np.uint8
    if channels in (3, 6):
        np.testing.assert_array_equal(colours, image[..., :3])
    if channels in (2, 4):
        image[..., -1] = 0
        assert (as_rgb(image) == 255).all()
        image[..., -1] = 255
        np.testing.assert_array_equal(as_rgb(image)[..., 0], image[..., 0])
    np.testing.assert_array_equal(as_rgb(np.array([[300.0, -1.0]]))[0], [[255] * 3, [0] * 3])


def test_signed_numbers_are_told_apart() -> None:
    colours = diverging(np.array([[-2.0, 0.0, 2.0, np.nan]]))[0].astype(int)
    assert (colours[1] == 255).all()
    assert (colours[3] == 255).all()
    assert colours[0, 0] > colours[0, 2]  # orange
    assert colours[2, 2] > colours[2, 0]  # blue
    assert (diverging(np.zeros((2, 2))) == 255).all()


def test_numbers_become_brighter() -> None:
    light = sequential(np.linspace(-1, 3, 50)[None])[0].astype(int).sum(axis=1)
    assert (np.diff(light) >= 0).all()
    assert (sequential(np.ones((2, 2))) == sequential(np.ones((2, 2)))[0, 0]).all()
    fixed = sequential(np.array([[5.0]]), 0.0, 10.0)
    np.testing.assert_array_equal(fixed[0, 0], sequential(np.array([[0, 5, 10.0]]))[0, 1])


def test_filters_in_colour_have_grey_for_zero() -> None:
    kernel = np.zeros((1, 2, 3))
    kernel[0, 1] = (0.5, -0.5, 0.25)
    np.testing.assert_array_equal(filter_colours(kernel)[0], [[128] * 3, [255, 0, 191]])
    np.testing.assert_array_equal(filter_colours(np.ones((1, 1, 2))), diverging(np.ones((1, 1))))


def test_masks_leave_the_first_class_clear() -> None:
    image = noise(2, 2, 1)
    mask = np.array([[0, 1], [2, 255]])
    colours = masked(image, mask, opacity=1.0)
    assert tuple(colours[0, 1]) == class_colour(0)
    assert tuple(colours[1, 0]) == class_colour(1)
    assert tuple(colours[1, 1]) == UNCOUNTED
    assert len(set(colours[0, 0].tolist())) == 1
    wrong = differing(mask, np.array([[0, 2], [2, 0]]))
    assert (wrong[0, 0] == wrong[1, 0]).all()
    assert (wrong[0, 1] != wrong[0, 0]).any()
    assert tuple(wrong[1, 1]) == UNCOUNTED


def test_boxes_lie_where_they_should() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    drawn = pixels(sheet([[Cell(image, boxes=(Box(2, 3, 7, 8, GOOD),))]], side=50))
    green = (drawn == GOOD).all(axis=2)
    rows, columns = np.flatnonzero(green.any(1)) - 24, np.flatnonzero(green.any(0)) - 24
    assert (rows.min(), rows.max()) == (30, 80)
    assert (columns.min(), columns.max()) == (20, 70)


@pytest.mark.parametrize("text", ["Größe", "数字", "a" * 300, "", "tab\tline\nnew", "…"])
def test_any_text_can_be_written(text: str) -> None:
    cell = Cell(noise(8, 8, 3), ((text, ""),))
    width, _ = png_size(sheet([[cell]], side=60, labels=[text], heads=[text], caption_width=80))
    assert width < 2500


def test_size_is_read_from_the_file_alone() -> None:
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "PNG")
    assert png_size(file.getvalue()) == (30, 20)
    for wrong in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(ValueError, match="must be a PNG"):
            png_size(wrong)


def test_the_report_shows_pictures() -> None:
    records, summary = make_run(num_trials=12)
    png = paint("photos", CASES["photos"])
    summary["pictures"] = [
        {"name": "inputs", "title": EVIL, "caption": EVIL, "alt": EVIL, "file": "x"},
        {"name": "lost", "title": "Lost", "caption": "gone", "file": "y"},
        "nonsense",
    ]
    page = render_report(records, summary, [], {"inputs": png, "other": png})
    found = outline(page)
    assert found.scripts == 1
    assert "#pictures" in found.links
    shown = re.findall(
        r'<img class="picture" src="data:image/png;base64,([^"]+)" alt="([^"]+)"', page
    )
    assert len(shown) == 1
    assert base64.b64decode(shown[0][0]) == png
    assert "&lt;script&gt;" in shown[0][1]
    assert "Lost" not in page
    assert "img-src data:" in page


@pytest.mark.parametrize("entries", [None, [], 3, [{"name": "lost"}], [None]])
def test_without_pictures_there_is_no_section(entries: object) -> None:
    records, summary = make_run(num_trials=12)
    summary["pictures"] = entries
    assert "#pictures" not in outline(render_report(records, summary, [])).links
