"""Pictures of a study: what is chosen and computed for them, on a small network of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pytest
from jax import Array, lax

import thalweg as tw
from thalweg.data.images import load_images
from thalweg.data.vision import load_vision
from thalweg.models import FAMILIES, InputShape, build
from thalweg.nn.initialisers import Param
from thalweg.report.pictures import paint, png_size
from thalweg.space import Config
from thalweg.study import pictures
from thalweg.study.model import Model
from thalweg.study.pictures import (
    ORDER,
    augmentation,
    augmented,
    feature_maps,
    filters,
    first_kernel,
    inputs,
    intermediate,
    make_pictures,
    masks,
    mistakes,
    neighbours,
)

SIDE, CLASSES = 8, ("circle", "square", "star")


@dataclass(frozen=True)
class SmallNetwork:
    """Convolution, ReLU, halving, convolution, ReLU, mean over places, dense."""

    inputs: InputShape
    num_outputs: int

    def params(self) -> dict[str, Param]:
        assert self.inputs.image is not None
        channels = self.inputs.image[2]
        return {
            "conv_0/kernel": Param((3, 3, channels, 5), "kernel", 9 * channels, 45),
            "conv_1/kernel": Param((3, 3, 5, 6), "kernel", 45, 54),
            "output/kernel": Param((6, self.num_outputs), "kernel", 6, self.num_outputs),
        }

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def apply(
        self, params: dict, state: dict, fields: Mapping[str, Array], context: Any
    ) -> tuple[Array, dict]:
        x = fields["image"].astype("float32") / 255.0
        x = jax.nn.relu(self._conv(x, params["conv_0/kernel"]))
        x = jax.nn.relu(self._conv(x[:, ::2, ::2], params["conv_1/kernel"]))
        return x.mean((1, 2)) @ params["output/kernel"], state

    @staticmethod
    def _conv(x: Array, w: Array) -> Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=layout)

    def flops(self) -> float:
        return 1e4


@pytest.fixture(autouse=True)
def family(monkeypatch):
    monkeypatch.setitem(FAMILIES, "small", "cnn.build_small")
    monkeypatch.setattr(
        "thalweg.models.cnn.build_small",
        lambda structure, inputs, num: SmallNetwork(inputs, num),
        raising=False,
    )


def images_of(num: int = 60, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(num) % len(CLASSES)
    values = rng.integers(0, 256, (num, SIDE, SIDE, channels)).astype(np.uint8)
    return values, np.array(CLASSES)[labels]


def model_of(dataset: Any, model: str = "small", **values: Any) -> Model:
    shape = InputShape.from_dict(dataset.input_shape)
    config = Config(model=model, **values)
    network = build(config.structure(), shape, dataset.task.num_outputs)
    rng = np.random.default_rng(1)
    params = {
        name: rng.normal(0, 0.3, spec.shape).astype(np.float32)
        for name, spec in network.params().items()
    }
    members = [(params, network.state())] * 2
    return Model(dataset.encoder, config.structure(), dataset.input_shape, members, config)


@pytest.fixture(scope="module")
def dataset():
    return load_images(images_of())


def test_all_pictures_of_a_classifier_are_drawn(dataset):
    model = model_of(dataset, flip=0.5, shift=0.1, mixup=0.2)
    drawn = make_pictures(dataset, model, model.config, paint)
    names = [picture.name for picture in drawn]
    assert names == ["inputs", "mistakes", "filters", "feature_maps"]
    assert names == [name for name in ORDER if name in names]
    for picture in drawn:
        assert len(picture.png) < 200_000
        assert min(png_size(picture.png)) > 20
        for text in (picture.title, picture.caption, picture.alt):
            assert text
            assert "  " not in text
        assert picture.to_dict()["file"] == f"pictures/{picture.name}.png"
        assert set(picture.to_dict()) == {"name", "title", "caption", "alt", "file"}


def test_tables_have_no_pictures():
    table = tw.load("iris")
    assert make_pictures(table, None, Config(), paint) == []  # pyright: ignore


def test_what_does_not_fit_into_the_time_is_left_out(dataset):
    model = model_of(dataset)
    assert make_pictures(dataset, model, model.config, paint, seconds=0.0) == []
    few = make_pictures(dataset, model, model.config, paint, seconds=0.7)
    assert "feature_maps" not in [picture.name for picture in few]


def test_a_picture_that_fails_costs_no_study(dataset):
    model = model_of(dataset)

    def fail(kind: str, arguments: Mapping[str, Any]) -> bytes:
        if kind == "filters":
            raise ZeroDivisionError("no\nluck")
        return paint(kind, arguments)

    failed: list[str] = []
    drawn = make_pictures(dataset, model, model.config, fail, failed=failed)
    assert [p.name for p in drawn] == ["inputs", "mistakes", "feature_maps"]
    assert failed == ["the picture filters could not be drawn (ZeroDivisionError: no luck)"]
    with pytest.raises(ZeroDivisionError):
        make_pictures(dataset, model, model.config, fail)


# What goes in -------------------------------------------------------------------------------------


def test_augmentation_is_the_training_one(dataset):
    config = Config(model="small", flip=0.5, rotation=10, zoom=0.0, dropout=0.3)
    assert augmentation(config) == {"flip": 0.5, "rotation": 10.0}
    images = dataset.train.fields["image"][:4]
    mirrored = augmented(dataset, images, {"flip": 1.0}, 2)
    assert mirrored.shape == (2, *images.shape)
    assert mirrored.dtype == np.uint8
    for draw in mirrored:
        np.testing.assert_array_equal(draw, images[:, :, ::-1])
    shifted = augmented(dataset, images, {"shift": 0.4}, 3)
    assert (shifted != images).any()
    assert (shifted[0] != shifted[1]).any()
    np.testing.assert_array_equal(shifted, augmented(dataset, images, {"shift": 0.4}, 3))


def test_inputs_say_what_was_done(dataset):
    plain = inputs(dataset, Config(model="small"))
    assert "changes none" in plain.caption
    assert sum(len(row) for row in plain.arguments["images"]) == 18
    changed = inputs(dataset, Config(model="small", flip=0.5, shift=0.125, cutmix=0.5))
    assert "flip 0.5, shift 0.125" in changed.caption
    assert "cutmix" in changed.caption
    assert len(changed.arguments["images"]) == 5
    assert set(changed.arguments["heads"]) == set(CLASSES)
    # The images stand below the names of their own classes.
    for image, name in zip(changed.arguments["images"][0], changed.arguments["heads"], strict=True):
        place = (dataset.train.fields["image"] == image).all(axis=(1, 2, 3)).argmax()
        assert dataset.labels("train")[place] == name


# Where it fails -----------------------------------------------------------------------------------


def test_the_worst_mistakes_come_first(dataset):
    part = dataset.test
    rng = np.random.default_rng(3)
    outputs = rng.dirichlet(np.ones(3), len(part))
    # Two are badly wrong, and one image is right without being sure.
    truth = part.target
    outputs[:] = 0.1
    outputs[np.arange(len(part)), truth] = 0.8
    for row, sure in ((4, 0.001), (1, 0.01)):
        outputs[row] = (1 - sure) / 2 - 0.1
        outputs[row, truth[row]] = sure
        outputs[row, (truth[row] + 1) % 3] = (1 - sure) / 2 + 0.1
    outputs[7, truth[7]] = 0.45
    sketch = mistakes(dataset, model_of(dataset), part, outputs)
    assert sketch is not None
    shown = [image for row in sketch.arguments["images"] for image in row]
    for image, row in zip(shown, (4, 1, 7), strict=False):
        np.testing.assert_array_equal(image, part.fields["image"][row])
    frames = [tone for row in sketch.arguments["frames"] for tone in row]
    assert frames[:3] == ["bad", "bad", ""]
    (is_, _), (said, tone) = sketch.arguments["captions"][0][0]
    assert is_ == f"is {CLASSES[truth[4]]}, 0.1 %"
    assert said == f"said {CLASSES[(truth[4] + 1) % 3]}, 60 %"
    assert tone == "bad"
    assert f"wrong on 2 of {len(part)} test images" in sketch.caption
    assert f"{CLASSES[truth[4]]} taken for" in sketch.alt


def test_errors_of_numbers_are_shown_by_size():
    values, _ = images_of()
    data = load_images((values, np.arange(60.0)), task="regression")
    part = data.test
    outputs = data.raw_target(part).copy()
    outputs[5] += 30.0
    sketch = mistakes(data, model_of(data), part, outputs)
    assert sketch is not None
    np.testing.assert_array_equal(sketch.arguments["images"][0][0], part.fields["image"][5])
    value = data.raw_target(part)[5, 0]
    assert sketch.arguments["captions"][0][0] == [
        (f"is {value:g}", ""),
        (f"said {value + 30:g}", "bad"),
    ]


def test_a_threshold_decides_what_is_wrong():
    values, labels = images_of()
    data = load_images((values, labels == "star"))
    model = replace(model_of(data), threshold=0.9)
    outputs = np.tile([0.3, 0.7], (len(data.test), 1))
    sketch = mistakes(data, model, data.test, outputs)
    assert sketch is not None
    num_true = int((data.test.target == 1).sum())
    assert f"wrong on {num_true} of" in sketch.caption


# What was learnt ----------------------------------------------------------------------------------


def test_the_first_layer_is_found(dataset):
    model = model_of(dataset)
    kernel, dense = first_kernel(model, (SIDE, SIDE, 3)) or (np.zeros(0), True)
    assert not dense
    np.testing.assert_array_equal(kernel, model.members[0][0]["conv_0/kernel"])
    sketch = filters(dataset, model)
    assert sketch is not None
    assert "of the first of 2 networks" in sketch.caption


def test_maps_are_those_of_the_network(dataset):
    model = model_of(dataset)
    images = dataset.test.fields["image"][:2]
    first, second = intermediate(model, images)
    assert first.shape == (2, SIDE, SIDE, 5)
    assert second.shape == (2, SIDE // 2, SIDE // 2, 6)
    params = model.members[0][0]
    # Correlation with zeros around, place by place.
    padded = np.pad(images / 255.0, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    wanted = np.einsum("nijcab,abco->nijo", taps, params["conv_0/kernel"]).clip(0)
    np.testing.assert_allclose(first, wanted, atol=1e-5)
    raw = second.mean((1, 2)) @ params["output/kernel"]
    exact = np.exp(raw - raw.max(1, keepdims=True))
    members = model.outputs({"image": images})
    np.testing.assert_allclose(exact / exact.sum(1, keepdims=True), members, atol=1e-5)
    sketch = feature_maps(dataset, model, dataset.test)
    assert sketch is not None
    assert sketch.arguments["labels"] == ["8 x 8 x 5", "4 x 4 x 6"]


# Pixels, boxes, vectors ---------------------------------------------------------------------------


def test_masks_put_the_worst_first():
    values, _ = images_of(50, 1)
    truth = np.zeros((50, SIDE, SIDE), np.uint8)
    truth[:, :4] = 1
    truth[:, 0] = 255
    data = load_vision((values, truth), task="segmentation")
    part = data.test
    predicted = np.where(part.target == 255, 0, part.target).astype(np.uint8)
    predicted[3, 4:] = 1
    model: Any = None
    sketch = masks(data, model, part, predicted)
    assert sketch is not None
    np.testing.assert_array_equal(sketch.arguments["images"][0], part.fields["image"][3])
    # Half of the 64 pixels, of which 8 do not count.
    assert sketch.arguments["captions"][:2] == ["57 % wrong", "0.0 % wrong"]
    assert png_size(paint(sketch.kind, sketch.arguments))


def test_boxes_are_true_ones_and_sure_ones():
    values, _ = images_of(30, 1)
    data = load_vision((values, [[(1, 1, 5, 6, "cat")] for _ in values]), task="detection")
    part = data.test
    outputs = np.zeros((len(part), 4, 6))
    outputs[:, 0] = (1, 1, 5, 5, 0, 0.9)
    outputs[:, 1] = (0, 0, 8, 8, 0, 0.1)
    sketch = pictures.boxes(data, None, part, outputs)  # pyright: ignore
    assert sketch is not None
    for true, found in zip(sketch.arguments["truth"], sketch.arguments["predicted"], strict=True):
        np.testing.assert_array_equal(true, [[1, 1, 5, 6, 0]])
        np.testing.assert_array_equal(found, [[1, 1, 5, 5, 0, 0.9]])
    assert png_size(paint(sketch.kind, sketch.arguments))


def test_neighbours_are_the_nearest():
    values, labels = images_of()
    data = load_vision((values, labels), task="embedding")
    part = data.test
    angle = part.target * 2.0 + np.linspace(0, 0.2, len(part))
    outputs = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    sketch = neighbours(data, None, part, outputs)  # pyright: ignore
    assert sketch is not None
    same = [int((part.target == code).sum()) - 1 for code in range(3)]
    for frames in sketch.arguments["frames"]:
        assert frames[0] == ""
        assert frames[1 : 1 + min(same)] == ["good"] * min(same)
    assert png_size(paint(sketch.kind, sketch.arguments))


# In a study ---------------------------------------------------------------------------------------


def test_a_study_leaves_its_pictures(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(FAMILIES, "cnn", "cnn.build_small")
    run = tmp_path / "run"
    study = tw.tune(
        dataset,
        trials=1,
        epochs=1,
        space={"model": "cnn", "batch_size": 8, "learning_rate": 1e-3, "flip": 0.5},
        finalists=0,
        baselines=False,
        run=run,
    )
    entries = study.summary["pictures"]
    names = [entry["name"] for entry in entries]
    assert names[:4] == ["inputs", "mistakes", "filters", "feature_maps"]
    # What explains rows is drawn where the time allows.
    assert names[4:] in ([], ["explained"])
    assert "flip 0.5" in entries[0]["caption"]
    for entry in entries:
        assert (run / entry["file"]).read_bytes() == study.pictures[entry["name"]]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("<img ") == len(entries)
    # The report can be written again from what lies in the run directory.
    (run / "pictures" / "filters.png").unlink()
    again = tw.Study.open(run).report(tmp_path / "again.html").read_text(encoding="utf-8")
    assert again.count("<img ") == len(entries) - 1
