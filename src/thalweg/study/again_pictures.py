"""Pictures of a finished study that makes images again, or up."""

from __future__ import annotations

import numpy as np

from thalweg.data import Dataset, Part
from thalweg.study.model import Model
from thalweg.study.sketches import (
    MOST_SCORED,
    NUM_SAMPLES,
    Sketch,
    in_rows,
    some_rows,
    where_of,
)


def reconstructions(dataset: Dataset, model: Model, part: Part) -> Sketch:
    """The images made worst, and some others, above what is made of them."""
    rows = some_rows(len(part), MOST_SCORED)
    images = part.fields["image"][rows]
    scores = model.outputs({"image": images})
    error = scores[:, 2]
    worst = np.argsort(-error, kind="stable")[:NUM_SAMPLES]
    others = np.setdiff1d(np.arange(len(rows)), worst)
    order = [worst, others[np.linspace(0, len(others) - 1, NUM_SAMPLES).astype(int)]]
    order = [index for index in order if len(index)] if len(others) else [worst]
    made = [model.reconstruct_fields({"image": images[index]}) for index in order]
    where = where_of(dataset, part)
    pairs = zip(order, made, strict=True)
    return Sketch(
        "reconstructions",
        "Images and what is made of them",
        f"Above: the {len(worst)} of {len(rows):,} {where} images with the largest errors; below: "
        "others. Under each image what is made of its code, and its error.",
        f"{sum(map(len, order))} {where} images, each above its reconstruction.",
        "photos",
        {
            "images": [row for index, again in pairs for row in (images[index], again)],
            "captions": [
                row
                for index in order
                for row in (
                    [[] for _ in index],
                    [[(f"error {error[i]:.3g}", "soft")] for i in index],
                )
            ],
            "side": 96,
            "caption_width": 84,
        },
    )


def samples(model: Model) -> Sketch:
    """Images made of codes drawn from the prior."""
    made = model.draw(4 * NUM_SAMPLES)
    return Sketch(
        "samples",
        "Images that never were",
        f"{len(made)} images made of codes drawn from the prior, a standard normal distribution.",
        f"{len(made)} images made up by the model.",
        "photos",
        {"images": in_rows(list(made), NUM_SAMPLES), "side": 96},
    )
