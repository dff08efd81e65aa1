"""Masks, boxes and identities: found, decoded, brought to their images' size, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

import thalweg as tw
from thalweg.data import Encoder
from thalweg.data.vision import load_vision, padded_boxes, vision_task
from thalweg.errors import DataError, OptionError, SourceError, ThalwegError
from thalweg.task import IGNORE

NUM, SIDE = 24, 16


def scenes(num: int = NUM, height: int = SIDE, width: int = SIDE, seed: int = 0):
    """Return images with one or two bright squares, their masks and their boxes."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (num, height, width)).astype(np.uint8)
    masks = np.zeros((num, height, width), np.uint8)
    boxes = []
    for i in range(num):
        label = i % 2
        x, y = int(rng.integers(0, width - 6)), int(rng.integers(0, height - 6))
        images[i, y : y + 6, x : x + 6] = 120 + 100 * label
        masks[i, y : y + 6, x : x + 6] = label + 1
        boxes.append([(x, y, x + 6, y + 6, label)])
    return images, masks, boxes


def mask_folder(root: Path, **size: int) -> Path:
    images, masks, _ = scenes(**size)
    for name, arrays in (("images", images), ("masks", masks)):
        (root / name).mkdir(parents=True)
        for i, values in enumerate(arrays):
            Image.fromarray(values).save(root / name / f"{i:03d}.png")
    return root


def box_table(root: Path) -> Path:
    images, _, boxes = scenes()
    rows = []
    for i, (values, own) in enumerate(zip(images, boxes, strict=True)):
        Image.fromarray(values).save(root / f"{i:03d}.png")
        rows += [(f"{i:03d}.png", *box[:4], ("cat", "dog")[box[4]]) for box in own]
    names = ["file", "x0", "y0", "x1", "y1", "class"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(root / "boxes.csv")
    return root / "boxes.csv"


# --- masks ---------------------------------------------------------------------------------------


def test_a_folder_of_images_and_masks(tmp_path):
    data = tw.load(mask_folder(tmp_path / "cells"))
    assert data.task.kind == "segmentation"
    assert data.task.classes == (0, 1, 2)
    assert data.name == "cells"
    assert {name: len(part) for name, part in data.parts.items()} == {
        "train": 15, "validation": 4, "test": 5,
    }  # fmt: skip
    images, masks, _ = scenes()
    for part in data.parts.values():
        np.testing.assert_array_equal(part.fields["image"][..., 0], images[part.rows])
        np.testing.assert_array_equal(part.target, masks[part.rows])
        assert part.target.dtype == np.uint8
        assert list(part.keys["file"]) == [f"{row:03d}.png" for row in part.rows]


def test_arrays_tables_and_mappings_say_the_same(tmp_path):
    folder = mask_folder(tmp_path)
    images, masks, _ = scenes()
    rows = [{"image": f"images/{i:03d}.png", "mask": f"masks/{i:03d}.png"} for i in range(NUM)]
    pl.DataFrame(rows).write_csv(tmp_path / "list.csv")
    np.savez(tmp_path / "set.npz", images=images, masks=masks)
    expected = tw.load(folder)
    for source, options in [
        ((images, masks), {}),
        (tmp_path / "list.csv", {}),
        ({"images": images, "masks": masks}, {"task": "segmentation"}),
        (tmp_path / "set.npz", {"task": "segmentation"}),
        (folder / "images", {"masks": folder / "masks"}),
        (images, {"masks": masks}),
    ]:
        assert tw.load(source, **options).fingerprint == expected.fingerprint, source


def test_folders_of_parts(tmp_path):
    for part, num in (("train", 12), ("test", 5)):
        mask_folder(tmp_path / part, num=num)
    data = tw.load(tmp_path)
    assert len(data.test) == 5
    assert len(data.train) + len(data.validation) == 12


def test_masks_are_scaled_and_cropped_with_their_images(tmp_path):
    data = tw.load(mask_folder(tmp_path, height=32, width=48), image_size=16)
    image, mask = data.train.fields["image"][..., 0], data.train.target
    assert mask.shape == (15, 16, 16)
    inner = (mask > 0) & (np.roll(mask, 1, 1) == mask) & (np.roll(mask, 1, 2) == mask)
    inner &= (np.roll(mask, -1, 1) == mask) & (np.roll(mask, -1, 2) == mask)
    assert inner.any()
    assert (image[inner] > 90).all()
    assert (image[mask == 0] < 110).mean() > 0.97


def test_black_and_white_masks_and_ignored_pixels():
    images, masks, _ = scenes()
    data = tw.load((images, np.where(masks > 0, 255, 0).astype(np.uint8)))
    assert data.task.classes == (0, 255)
    assert set(np.unique(data.train.target)) == {0, 1}
    edge = masks.copy()
    edge[:, 0] = IGNORE
    data = tw.load((images, edge))
    assert data.task.classes == (0, 1, 2)
    assert (data.train.target[:, 0] == IGNORE).all()
    assert any("6.2% of the pixels" in notice for notice in data.notices)


def test_predictions_are_written_as_masks(tmp_path):
    folder = mask_folder(tmp_path / "in", height=20, width=30)
    data = load_vision(folder, task="segmentation", image_size=10)
    encoder = Encoder.from_dict(json.loads(json.dumps(data.encoder.to_dict())))
    part = encoder.encode(folder / "images")
    outputs = np.zeros((NUM, 10, 10), np.uint8)
    outputs[:, :5] = 2
    table = encoder.write_masks(outputs, part, tmp_path / "out")
    assert table.columns == ["file", "mask", "share_0", "share_1", "share_2"]
    assert table["share_2"].to_list() == [0.5] * NUM
    assert pl.read_csv(tmp_path / "out" / "index.csv").equals(table)
    written = np.asarray(Image.open(tmp_path / "out" / table["mask"][3]))
    assert written.shape == (20, 30)
    assert (written[:10, 5:25] == 2).all()
    assert (written[10:, 5:25] == 0).all()
    assert (written[:, :5] == IGNORE).all()


def test_masks_of_one_name_do_not_overwrite_each_other():
    images, masks, _ = scenes()
    data = tw.load((images, masks))
    part = data.train.take(np.arange(3))
    files = {"file": np.array(["a/1.png", "b/1.png", "b/2.png"])}
    part = type(part)(part.fields, None, None, part.rows, keys=files)
    assert len(set(data.encoder.mask_names(part))) == 3


# --- boxes ---------------------------------------------------------------------------------------


def test_a_table_of_boxes(tmp_path):
    data = tw.load(box_table(tmp_path))
    assert data.task.kind == "detection"
    assert data.task.classes == ("cat", "dog")
    assert data.train.target.shape == (15, 1, 5)
    expected = scenes()[2]
    for row, target in zip(data.train.rows, data.train.target, strict=True):
        assert target.tolist() == [list(map(float, expected[row][0]))]


def test_coco_and_arrays_say_the_same(tmp_path):
    expected = tw.load(box_table(tmp_path))
    images, _, boxes = scenes()
    coco = {
        "images": [{"id": 5 + i, "file_name": f"{i:03d}.png"} for i in range(NUM)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"image_id": 5 + i, "category_id": (1, 7)[b[4]], "bbox": [b[0], b[1], 6, 6]}
            for i, own in enumerate(boxes)
            for b in own
        ],
    }
    (tmp_path / "set.json").write_text(json.dumps(coco))
    data = tw.load(tmp_path / "set.json")
    assert data.fingerprint == expected.fingerprint
    named = [[(*b[:4], ("cat", "dog")[b[4]]) for b in own] for own in boxes]
    assert tw.load((images, named)).fingerprint == expected.fingerprint
    beside = tw.load(tmp_path, boxes=tmp_path / "boxes.csv")
    assert beside.fingerprint == expected.fingerprint


def test_boxes_are_clipped_dropped_and_told():
    images, _, boxes = scenes()
    boxes[0] = [(-5, -5, 6, 6, 0), (20, 20, 30, 30, 1), (4, 4, 4, 9, 1)]
    boxes[1] = []
    data = tw.load((images, boxes), fractions=(1, 0, 0))
    assert any("1 box(es) reach out" in n or "2 box(es) reach out" in n for n in data.notices)
    assert any("2 box(es) are empty or lie outside" in n for n in data.notices)
    assert any("1 image(s) have no box" in n for n in data.notices)
    row = {int(r): t for r, t in zip(data.train.rows, data.train.target, strict=True)}
    assert row[0].tolist() == [[0, 0, 6, 6, 0]]
    assert row[1][:, 4].tolist() == [-1]


def test_boxes_go_with_scaled_images_and_come_back():
    images, _, boxes = scenes(height=32, width=48)
    data = tw.load((images, boxes), image_size=16, fractions=(1, 0, 0))
    index = next(i for i, row in enumerate(data.train.rows) if 10 < boxes[row][0][0] < 30)
    box = boxes[data.train.rows[index]][0]
    moved = data.train.target[index, 0]
    np.testing.assert_allclose(
        moved[:4], [(box[0] - 8) / 2, box[1] / 2, (box[2] - 8) / 2, box[3] / 2]
    )
    part = data.encode(images[[data.train.rows[index]]])
    outputs = np.array([[[*moved[:4], box[4], 0.9], [0, 0, 1, 1, 0, 0.01]]])
    table = data.encoder.predictions(outputs, part)
    assert table.columns == ["file", "x0", "y0", "x1", "y1", "class", "score"]
    assert table.height == 1
    np.testing.assert_allclose(table.row(0)[1:5], box[:4])
    assert table["class"][0] == box[4]
    assert data.encoder.predictions(outputs, part, 0.95).height == 0


def test_padding():
    made = padded_boxes([np.ones((2, 5)), np.zeros((0, 5))], 3)
    assert made.shape == (2, 3, 5)
    assert made[..., 4].tolist() == [[1, 1, -1], [-1, -1, -1]]
    assert padded_boxes([]).shape == (0, 1, 5)


# --- identities ----------------------------------------------------------------------------------


def faces(root: Path, names: str) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(8):
            values = rng.integers(0, 255, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(values).save(root / name / f"{i}.png")
    return root


def test_identities_and_those_never_seen(tmp_path):
    data = tw.load(
        faces(tmp_path / "a", "abc"), task="embedding", test=faces(tmp_path / "b", "xyb")
    )
    assert data.task.kind == "embedding"
    assert data.task.classes == ("a", "b", "c")
    assert sorted(set(data.test.target.tolist())) == [1, 3, 4]
    assert len(data.train) + len(data.validation) == 24
    assert any("2 class(es) here are none" in notice for notice in data.notices)
    part = data.encode(tmp_path / "b")
    assert part.target is None
    table = data.encoder.predictions(np.ones((len(part), 2)) / np.sqrt(2), part)
    assert table.columns == ["file", "e0", "e1"]


# --- refusals ------------------------------------------------------------------------------------


def wrong_size(root: Path):
    mask_folder(root)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(root / "masks" / "003.png")
    return tw.load(root)


def colours(root: Path):
    mask_folder(root)
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    Image.fromarray(values).save(root / "masks" / "003.png")
    return tw.load(root)


def strange_class(root: Path):
    images, _, boxes = scenes()
    data = tw.load((images, boxes))
    return data.encode((images[:2], [[(0, 0, 5, 5, 9)], []]), with_target=True)


def strange_value(root: Path):
    images, masks, _ = scenes()
    return tw.load((images, masks), test=(images, masks + 7))


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (wrong_size, "a mask must have the size of its image; that of 003.png has 9 x 9"),
        (colours, "turn colours into class numbers"),
        (strange_class, "the class of a box must be one of 0, 1"),
        (strange_value, "the values of masks must be the classes 0, 1, 2"),
        (lambda r: tw.load((scenes()[0], scenes()[1][:5])), "as many masks as images"),
        (lambda r: tw.load((scenes()[0], 0 * scenes()[1])), "one class only"),
        (lambda r: tw.load((scenes()[0], [[]] * NUM), task="detection"), "no training image has"),
        (lambda r: tw.load(scenes()[0], masks=r / "nowhere"), "need images in files"),
        (lambda r: tw.load(r / "none", task="segmentation"), "cannot|not exist|no such"),
        (lambda r: tw.load(scenes()[0], masks=scenes()[1], boxes=[[]]), "different tasks"),
        (lambda r: load_vision(r, task="segmentaton"), "did you mean 'segmentation'"),
        (lambda r: load_vision((scenes()[0], scenes()[1]), "y", task="segmentation"), "no target"),
        (
            lambda r: tw.load((scenes()[0], [[(0, 0, np.nan, 4, 1)]] * NUM)),
            "corners of boxes must be finite",
        ),
        (lambda r: tw.load((scenes()[0], [[(0, 0, 4, 4)]] * NUM), task="detection"), "five values"),
    ],
)
def test_refusals_are_one_line(tmp_path, act, says):
    with pytest.raises(ThalwegError, match=f"(?i){says}") as error:
        act(tmp_path / "x")
    assert "\n" not in str(error.value)
    assert isinstance(error.value, (DataError, OptionError, SourceError))


def test_masks_that_are_missing_or_broken_are_told(tmp_path):
    folder = mask_folder(tmp_path)
    (folder / "masks" / "003.png").unlink()
    (folder / "masks" / "004.png").write_bytes(b"nothing")
    data = tw.load(folder)
    assert sum(map(len, data.parts.values())) == NUM - 2
    assert any("1 image(s) without a mask are left out, such as 003" in n for n in data.notices)
    assert any("1 mask(s) cannot be read" in n for n in data.notices)


def test_what_is_asked_for(tmp_path):
    images, masks, boxes = scenes()
    assert vision_task((images, masks)) == "segmentation"
    assert vision_task((images, boxes)) == "detection"
    assert vision_task((images, np.arange(NUM))) is None
    assert vision_task((images.astype(float), masks)) is None
    assert vision_task("iris") is None
    assert vision_task(faces(tmp_path / "f", "ab"), "embedding") == "embedding"
