"""Pictures of a finished study on images or recordings: inputs, what was learnt, mistakes.

This module chooses what to show and computes it; ``thalweg.report.pictures`` draws it. (A study
knows no report, so it is handed what draws.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.data import Dataset, Part
from thalweg.space import Config
from thalweg.study.again_pictures import reconstructions, samples
from thalweg.study.model import Model
from thalweg.study.sketches import (
    MOST_SCORED,
    NUM_SAMPLES,
    SALT,
    Sketch,
    audible,
    augmentation,
    in_rows,
    labels_of,
    listed,
    number,
    percent,
    photos_of,
    pictured,
    shortened,
    some_rows,
    values_text,
    where_of,
)
from thalweg.study.sound_pictures import misheard, spectrograms
from thalweg.task import IGNORE

Painter = Callable[[str, Mapping[str, Any]], bytes]
"""Draws a kind of picture from named arguments as a PNG: ``thalweg.report.pictures.paint``."""

NUM_DRAWS = 4
NUM_MISTAKES = 18
NUM_FILTERS = 64
NUM_MAPS = 10
MAX_LAYERS = 4
_SHOWN_MASKS, _SHOWN_BOXES, _QUERIES, _NEIGHBOURS = 6, 10, 6, 8
SURE = 0.3
"""Score from which a predicted box is drawn."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture: name, title, caption and alternative text as of ``Sketch``, and the PNG file."""

    name: str
    title: str
    caption: str
    alt: str
    png: bytes

    @property
    def file(self) -> str:
        """Path within the run directory."""
        return f"pictures/{self.name}.png"

    def to_dict(self) -> dict[str, str]:
        """Return what a run's summary says of it."""
        return {
            "name": self.name,
            "title": self.title,
            "caption": self.caption,
            "alt": self.alt,
            "file": self.file,
        }


def make_pictures(
    dataset: Dataset,
    model: Model,
    config: Config,
    paint: Painter,
    *,
    outputs: np.ndarray | None = None,
    seconds: float = math.inf,
    failed: list[str] | None = None,
) -> list[Picture]:
    """Draw the pictures of a study; none where the data are no images or recordings.

    Args:
        dataset: the images or recordings.
        model: the winner, trained.
        config: the winner's configuration: its augmentation is shown.
        paint: what draws.
        outputs: the model's outputs for the test images where they are known already.
        seconds: what may be spent; what does not fit into it is left out.
        failed: gets a line for each picture that could not be drawn. A picture is no reason to lose
            a finished study; without the list, errors are raised.

    Returns:
        The pictures in the order of a report.
    """
    start = time.perf_counter()
    drawn: dict[str, Picture] = {}
    for name, cost, make in _makers(dataset, model, config, outputs):
        if seconds - (time.perf_counter() - start) < cost:
            continue
        try:
            sketch = make()
            if sketch is not None:
                png = paint(sketch.kind, sketch.arguments)
                drawn[name] = Picture(sketch.name, sketch.title, sketch.caption, sketch.alt, png)
        except Exception as error:
            if failed is None:
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            failed.append(f"the picture {name} could not be drawn ({reason})")
    return [drawn[name] for name in ORDER if name in drawn]


ORDER = (
    "inputs",
    "reconstructions",
    "samples",
    "mistakes",
    "masks",
    "boxes",
    "neighbours",
    "filters",
    "feature_maps",
)
"""Names of the pictures in the order of a report."""


def _makers(
    dataset: Dataset, model: Model, config: Config, outputs: np.ndarray | None
) -> Iterator[tuple[str, float, Callable[[], Sketch | None]]]:
    """Yield what there is to draw, the most telling first: name, seconds it may take, maker."""
    if not len(dataset.train) or not (pictured(dataset.train) or audible(dataset)):
        return
    kind = dataset.task.kind
    # Without test images those of the validation show where it fails.
    shown = dataset.test if len(dataset.test) else dataset.validation
    known = outputs if shown is dataset.test else None
    if len(shown) and kind in ("binary", "multiclass", "regression"):
        yield "mistakes", 0.4, lambda: mistakes(dataset, model, shown, known)
    if len(shown) and kind == "transcription":
        yield "mistakes", 0.6, lambda: misheard(dataset, model, shown, known)
    if len(shown) and kind == "segmentation":
        yield "masks", 0.5, lambda: masks(dataset, model, shown, known)
    if len(shown) and kind == "detection":
        yield "boxes", 0.5, lambda: boxes(dataset, model, shown, known)
    if len(shown) and kind == "embedding":
        yield "neighbours", 0.5, lambda: neighbours(dataset, model, shown, known)
    if len(shown) and kind == "reconstruction":
        yield "reconstructions", 0.4, lambda: reconstructions(dataset, model, shown)
        if model.structure.model == "vae":
            yield "samples", 0.4, lambda: samples(model)
    if audible(dataset):
        yield "inputs", 0.8, lambda: spectrograms(dataset, config)
        return
    yield "inputs", 0.8, lambda: inputs(dataset, config)
    yield "filters", 0.3, lambda: filters(dataset, model)
    if len(shown):
        yield "feature_maps", 1.2, lambda: feature_maps(dataset, model, shown)


# What goes in -------------------------------------------------------------------------------------


def inputs(dataset: Dataset, config: Config) -> Sketch:
    """A sample of training images, and what the winner's augmentation made of them."""
    from thalweg.data.images import sample_rows

    part = dataset.train
    strengths = augmentation(config)
    count = NUM_SAMPLES if strengths else 2 * NUM_SAMPLES
    index = np.sort(sample_rows(part, count, dataset.seed))
    images = part.fields["image"][index]
    names = labels_of(dataset, part, index)
    rows: list[Any]
    if not strengths:
        rows = [images[i : i + NUM_SAMPLES] for i in range(0, len(images), NUM_SAMPLES)]
        texts = [
            [[(name, "soft")] if name else [] for name in names[i : i + NUM_SAMPLES]]
            for i in range(0, len(images), NUM_SAMPLES)
        ]
        return Sketch(
            "inputs",
            "What the network is trained on",
            f"{len(images)} of {len(part):,} training images; the winner's training changes none.",
            f"{len(images)} training images{listed(names)}.",
            "photos",
            {"images": rows, "captions": texts, "side": 96, "caption_width": 96},
        )
    draws = augmented(dataset, images, strengths, NUM_DRAWS)
    said = ", ".join(f"{name} {value:g}" for name, value in strengths.items())
    also = [n for n in ("mixup", "cutmix") if number(config, n) > 0]
    more = f" Training mixes pairs of images besides ({' and '.join(also)})." if also else ""
    return Sketch(
        "inputs",
        "What the network is trained on, with augmentation",
        f"{len(images)} of {len(part):,} training images, and {NUM_DRAWS} random versions of each "
        f"by the winner's augmentation ({said}).{more}",
        f"{len(images)} training images{listed(names)}, each above {NUM_DRAWS} randomly changed "
        "versions of it.",
        "photos",
        {
            "images": [images, *draws],
            "heads": names,
            "labels": ["as loaded", *[f"version {i + 1}" for i in range(len(draws))]],
            "side": 96,
            "caption_width": 84,
        },
    )


def augmented(
    dataset: Dataset, images: np.ndarray, strengths: Mapping[str, float], num_draws: int
) -> np.ndarray:
    """Return random versions of images, uint8 [draws, N, H, W, C].

    Args:
        dataset: whose channel statistics standardise images for training.
        images: uint8 [N, H, W, C].
        strengths: of the augmentations by name.
        num_draws: versions of each image.
    """
    from thalweg.nn.augment import augment
    from thalweg.nn.layers import Context
    from thalweg.training.programs import compile_program, shapes_of

    mean, std = _channel_units(dataset, images)
    scaled = (np.tile(images, (num_draws, 1, 1, 1)) - mean) / std

    def changed(x: Any, key: Any, strengths: Any) -> Any:
        return augment(x, Context(train=True, key=key, augment=strengths))

    arguments = (
        scaled.astype(np.float32),
        np.asarray(SALT + dataset.seed, np.uint32),
        {name: np.asarray(value, np.float32) for name, value in strengths.items()},
    )
    result = np.asarray(compile_program(changed, shapes_of(arguments)).call(*arguments))
    pixels = np.clip((result * std + mean).round(), 0, 255).astype(np.uint8)
    return pixels.reshape(num_draws, *images.shape)


def _channel_units(dataset: Dataset, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shape = dataset.input_shape
    channels = images.shape[-1]
    mean = np.asarray(shape.get("image_mean") or [0.0] * channels, np.float32)
    std = np.asarray(shape.get("image_std") or [255.0] * channels, np.float32)
    return mean, std


# Where it fails -----------------------------------------------------------------------------------


def mistakes(
    dataset: Dataset, model: Model, part: Part, outputs: np.ndarray | None = None
) -> Sketch | None:
    """The images or recordings whose truth the model found least probable (or missed by most)."""
    what = "images" if pictured(part) else "recordings"
    rows = np.arange(len(part))
    where = where_of(dataset, part)
    if outputs is None:
        rows = some_rows(len(part), 4096)
        outputs = model.outputs({name: values[rows] for name, values in part.fields.items()})
    target = part.target[rows]
    if dataset.task.kind == "regression":
        return _largest_errors(dataset, part, rows, outputs)
    truth = target.argmax(1) if target.ndim == 2 else target.astype(int)
    chosen = outputs.argmax(1)
    if dataset.task.kind == "binary" and model.threshold is not None:
        chosen = (outputs[:, 1] >= model.threshold).astype(int)
    sure = outputs[np.arange(len(truth)), truth]
    wrong = chosen != truth
    order = np.lexsort((sure, ~wrong))[:NUM_MISTAKES]
    classes = [str(label) for label in dataset.task.classes]
    columns = 9 if max(map(len, classes)) <= 4 else 6
    order = order[: 2 * 9 if columns == 9 else NUM_MISTAKES]
    captions, frames, said = [], [], []
    for i in order:
        right, taken = classes[truth[i]], classes[chosen[i]]
        captions.append(
            [
                (f"is {shortened(right)}, {percent(sure[i])}", ""),
                (
                    f"said {shortened(taken)}, {percent(outputs[i, chosen[i]])}",
                    "bad" if wrong[i] else "soft",
                ),
            ]
        )
        frames.append("bad" if wrong[i] else "")
        if wrong[i]:
            said.append(f"{shortened(right)} taken for {shortened(taken)}")
    num_wrong = int(wrong.sum())
    shown = min(num_wrong, len(order))
    begin = f"The model is wrong on {num_wrong:,} of {len(rows):,} {where} {what}"
    if not num_wrong:
        begin += f"; these {len(order)} it was least sure of."
    elif shown < len(order):
        begin += "; then come those that it was least sure of."
    else:
        begin += "; these are the worst of them." if num_wrong > shown else "; these are all."
    return Sketch(
        "mistakes",
        "Worst mistakes",
        f"{begin} Below each: the truth, what the model said, and the probability it gave to "
        "either.",
        f"{len(order)} {where} {what}, the worst mistakes first"
        + (f": {'; '.join(said[:9])}" if said else "")
        + ".",
        "photos",
        {
            "images": in_rows(photos_of(part, rows[order]), columns),
            "captions": in_rows(captions, columns),
            "frames": in_rows(frames, columns),
            "side": 100 if columns == 9 else 144,
            "caption_width": 100 if columns == 9 else 154,
        },
    )


def _largest_errors(dataset: Dataset, part: Part, rows: np.ndarray, outputs: np.ndarray) -> Sketch:
    target = dataset.raw_target(part)[rows]
    scale = np.maximum(dataset.raw_target(dataset.train).std(0), 1e-12)
    error = (np.abs(outputs - target) / scale).mean(1)
    order = np.argsort(-error, kind="stable")[:NUM_MISTAKES]
    captions = [
        [
            (f"is {values_text(target[i])}", ""),
            (f"said {values_text(outputs[i])}", "bad"),
        ]
        for i in order
    ]
    where = where_of(dataset, part)
    what = "images" if pictured(part) else "recordings"
    return Sketch(
        "mistakes",
        "Largest errors",
        f"The {len(order)} of {len(rows):,} {where} {what} that the model misses by most, with the "
        "truth and what it said.",
        f"{len(order)} {where} {what}, the largest errors first.",
        "photos",
        {
            "images": in_rows(photos_of(part, rows[order]), 6),
            "captions": in_rows(captions, 6),
            "side": 144,
            "caption_width": 154,
        },
    )


def masks(
    dataset: Dataset, model: Model, part: Part, outputs: np.ndarray | None = None
) -> Sketch | None:
    """Images with the true and the predicted class of each pixel: the worst, and some others."""
    rows, outputs = _scored(model, part, outputs)
    predicted = outputs.argmax(-1) if outputs.ndim == 4 else outputs
    truth = np.asarray(part.target[rows])
    counts = truth != IGNORE
    num_counted = np.maximum(counts.sum(axis=(1, 2)), 1)
    wrong = ((predicted != truth) & counts).sum(axis=(1, 2)) / num_counted
    worst = np.argsort(-wrong, kind="stable")[: _SHOWN_MASKS // 2]
    others = np.setdiff1d(np.arange(len(rows)), worst)
    order = np.concatenate([worst, others[: _SHOWN_MASKS - len(worst)]])
    where = where_of(dataset, part)
    return Sketch(
        "masks",
        "Masks over images",
        f"{len(order)} {where} images, the {len(worst)} worst of {len(rows):,} first: the true "
        "class of each pixel, the predicted one, and where they differ. Class "
        f"{dataset.task.classes[0]} is left clear.",
        f"{len(order)} {where} images with true and predicted masks; of their pixels "
        f"{', '.join(percent(wrong[i]) for i in order)} are wrong.",
        "masks",
        {
            "images": list(part.fields["image"][rows[order]]),
            "truth": list(truth[order]),
            "predicted": list(predicted[order]),
            "classes": list(dataset.task.classes),
            "captions": [f"{percent(wrong[i])} wrong" for i in order],
        },
    )


def boxes(
    dataset: Dataset, model: Model, part: Part, outputs: np.ndarray | None = None
) -> Sketch | None:
    """Images with true and predicted boxes."""
    rows, outputs = _scored(model, part, outputs, _SHOWN_BOXES)
    rows, outputs = rows[:_SHOWN_BOXES], outputs[:_SHOWN_BOXES]
    truth = [boxes[boxes[:, 4] >= 0] for boxes in np.asarray(part.target[rows], float)]
    sure = [found[(found[:, 5] >= SURE) & (found[:, 4] >= 0)] for found in outputs]
    where = where_of(dataset, part)
    num_true, num_found = sum(map(len, truth)), sum(map(len, sure))
    return Sketch(
        "boxes",
        "Boxes over images",
        f"{len(rows)} {where} images: true boxes in green, predicted ones in the colour of their "
        f"class, with their scores where these are {SURE:g} or more.",
        f"{len(rows)} {where} images with {num_true} true and {num_found} predicted boxes.",
        "boxes",
        {
            "images": list(part.fields["image"][rows]),
            "truth": truth,
            "predicted": sure,
            "classes": list(dataset.task.classes),
        },
    )


def neighbours(
    dataset: Dataset, model: Model, part: Part, outputs: np.ndarray | None = None
) -> Sketch | None:
    """Some images, each with those whose vectors are nearest to its own."""
    rows = some_rows(len(part), 2048)
    if outputs is None:
        outputs = model.outputs({"image": part.fields["image"][rows]})
    else:
        outputs = outputs[rows]
    if len(rows) < 3:
        return None
    unit = outputs / np.maximum(np.linalg.norm(outputs, axis=1, keepdims=True), 1e-12)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    truth = np.asarray(part.target[rows])
    count = min(_NEIGHBOURS, len(rows) - 1)
    # Of as many classes as there is room for.
    places = np.linspace(0, len(rows) - 1, min(_QUERIES, len(rows))).astype(int)
    queries = np.argsort(truth, kind="stable")[places]
    images = part.fields["image"][rows]
    found = [np.argsort(-near[i], kind="stable")[:count] for i in queries]
    right = [truth[order] == truth[i] for i, order in zip(queries, found, strict=True)]
    share = float(np.mean(np.concatenate(right)))
    where = where_of(dataset, part)
    said = [
        [
            [("searched", "")],
            *(
                [(f"{near[i, j]:.2f}", "good" if same else "bad")]
                for j, same in zip(order, hits, strict=True)
            ),
        ]
        for i, order, hits in zip(queries, found, right, strict=True)
    ]
    return Sketch(
        "neighbours",
        "Nearest neighbours",
        f"Left an image, beside it those of {len(rows):,} {where} images that are nearest to it, "
        "with the cosine of the angle between the vectors. Green frames are of the same class, red "
        "ones of another.",
        f"{len(queries)} images with their {count} nearest neighbours each; {percent(share)} of "
        "these are of the same class.",
        "photos",
        {
            "images": [
                [images[i], *images[order]] for i, order in zip(queries, found, strict=True)
            ],
            "captions": said,
            "frames": [["", *("good" if hit else "bad" for hit in hits)] for hits in right],
            "side": 92,
            "caption_width": 92,
        },
    )


# What was learnt ----------------------------------------------------------------------------------


def filters(dataset: Dataset, model: Model) -> Sketch | None:
    """The first layer's filters, or the weights of an image's pixels in a dense first layer."""
    shape = dataset.input_shape["image"]
    found = first_kernel(model, shape)
    if found is None:
        return None
    kernel, dense = found
    num = kernel.shape[-1]
    several = len(model.members) > 1
    of = f" of the first of {len(model.members)} networks" if several else ""
    colour = (
        "in the colours that they answer to (grey is 0)"
        if shape[2] == 3
        else "blue where more light answers more, orange where less"
    )
    if dense:
        # Whole images of weights: the largest tell most.
        norms = np.square(kernel).sum(axis=(0, 1, 2))
        classes = list(dataset.task.classes) if num == len(dataset.task.classes) else []
        index = np.arange(num) if classes else np.argsort(-norms, kind="stable")
        index = index[:24]
        what = "classes" if classes else "units"
        return Sketch(
            "filters",
            "What the first layer looks for",
            f"Weights of the pixels for {len(index)} of {num} {what} of the first layer{of}, "
            f"{colour}.",
            f"{len(index)} images of weights, one for each of {num} {what}.",
            "filters",
            {
                "kernel": kernel[..., index],
                "columns": 8 if len(index) > 10 else 5,
                "side": 100,
                "names": [str(classes[i]) for i in index] if classes else [],
            },
        )
    shown = min(num, NUM_FILTERS)
    large = min(kernel.shape[:2]) >= 5
    noise = " Noise without form means too little training or too much freedom." if large else ""
    some = f"{num}" if shown == num else f"The first {shown} of {num}"
    return Sketch(
        "filters",
        "Learnt filters",
        f"{some} filters of {kernel.shape[0]} x {kernel.shape[1]} pixels in the first "
        f"convolution{of}, {colour}.{noise}",
        f"{shown} learnt filters of {kernel.shape[0]} by {kernel.shape[1]} pixels.",
        "filters",
        {"kernel": kernel[..., :shown], "columns": 16},
    )


def first_kernel(model: Model, shape: Sequence[int]) -> tuple[np.ndarray, bool] | None:
    """Return the kernel that reads the image, [h, w, C, units], and whether it is a dense layer's.

    Args:
        model: the model; of several networks the first is looked at.
        shape: height, width and channels of the images.
    """
    from thalweg.models import InputShape, build

    params = model.members[0][0]
    network = build(model.structure, InputShape.from_dict(model.inputs), model.task.num_outputs)
    size = math.prod(shape)
    # In the network's own order: that of a saved file is the alphabet's.
    names = [name for name in network.params() if name.endswith("kernel") and name in params]
    kernels = [np.asarray(params[name], np.float32) for name in names]
    for values in kernels:
        if values.ndim == 4 and values.shape[2] == shape[2]:
            return (values, False) if max(values.shape[:2]) > 1 else None
    if kernels and all(values.ndim == 2 for values in kernels) and len(kernels[0]) == size:
        return kernels[0].reshape(*shape, -1), True
    return None


def feature_maps(dataset: Dataset, model: Model, part: Part) -> Sketch | None:
    """What the first network makes of two images on the way, at each size that they go through."""
    from thalweg.data.images import sample_rows

    rows = np.sort(sample_rows(part, 2, dataset.seed + 1))
    images = part.fields["image"][rows]
    layers = intermediate(model, images)[:MAX_LAYERS]
    if not layers:
        return None
    chosen, labels = [], []
    for values in layers:
        # Channels that differ most over the images say most.
        spread = values.std(axis=(0, 1, 2))
        best = np.argsort(-spread, kind="stable")[:NUM_MAPS]
        chosen.append(values[..., np.sort(best)])
        labels.append(f"{values.shape[1]} x {values.shape[2]} x {values.shape[3]}")
    where = where_of(dataset, part)
    several = len(model.members) > 1
    of = f"the first of {len(model.members)} networks" if several else "the network"
    return Sketch(
        "feature_maps",
        "Feature maps",
        f"What {of} makes of {len(images)} {where} images on the way to its output: for each size "
        f"(rows x columns x channels) the last maps of that size, up to {NUM_MAPS} channels that "
        "vary most. Brighter is more.",
        f"{len(images)} images and their feature maps of the sizes {', '.join(labels)}.",
        "maps",
        {"images": list(images), "layers": chosen, "labels": labels},
    )


def intermediate(model: Model, images: np.ndarray) -> list[np.ndarray]:
    """Return maps that the model's first network computes on the way, float32 [N, h, w, C] each.

    Every network is a sequence of array operations; of the results with rows, columns and at least
    four channels, the last of each size is returned, in the order of the network.

    Args:
        model: the model.
        images: uint8 [N, H, W, C].
    """
    import jax
    from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

    from thalweg.models import InputShape, build
    from thalweg.nn.layers import Context
    from thalweg.training.programs import compile_program, shapes_of

    network = build(model.structure, InputShape.from_dict(model.inputs), model.task.num_outputs)
    params, state = model.members[0]
    arguments = (dict(params), dict(state), images)

    def forward(params: Any, state: Any, images: Any) -> Any:
        return network.apply(params, state, {"image": images}, Context())[0]

    traced = jax.make_jaxpr(forward)(*shapes_of(arguments))
    program = traced.jaxpr
    result = traced.out_avals[0].shape
    last: dict[tuple[int, int], Any] = {}
    for variable in (v for equation in program.eqns for v in equation.outvars):
        # Logits of pixels are no features.
        if _is_map(variable.aval, len(images)) and variable.aval.shape != result:
            # A decoder comes back to sizes that an encoder had.
            size = variable.aval.shape[1:3]
            last.pop(size, None)
            last[size] = variable
    if not last:
        return []
    # The same program with other results.
    about = program.debug_info._replace(result_paths=("",) * len(last))
    program = program.replace(outvars=list(last.values()), debug_info=about)
    run = jaxpr_as_fun(ClosedJaxpr(program, traced.consts))

    def maps(*arguments: Any) -> Any:
        return run(*jax.tree.leaves(arguments))

    found = compile_program(maps, shapes_of(arguments)).call(*arguments)
    return [np.asarray(values, np.float32) for values in found]


def _is_map(value: Any, num_images: int) -> bool:
    """Whether a type is that of features [N, h, w, C]: rows, columns, at least four channels."""
    shape = getattr(value, "shape", ())
    if len(shape) != 4 or shape[0] != num_images or "float" not in value.dtype.name:
        return False
    return min(shape[1:3]) > 1 and shape[3] >= 4


# Words --------------------------------------------------------------------------------------------


def _scored(
    model: Model, part: Part, outputs: np.ndarray | None, most: int = MOST_SCORED
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of some images and the model's outputs for them."""
    rows = some_rows(len(part), most)
    if outputs is not None:
        return rows, np.asarray(outputs)[rows]
    return rows, np.asarray(model.outputs({"image": part.fields["image"][rows]}))
