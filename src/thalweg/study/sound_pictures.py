"""Pictures of a finished study on recordings: what is heard, and what is heard wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.data import Dataset, Part
from thalweg.space import Config
from thalweg.study.model import Model
from thalweg.study.sketches import (
    MOST_SCORED,
    SALT,
    Sketch,
    augmentation,
    in_rows,
    labels_of,
    listed,
    photos_of,
    shortened,
    some_rows,
    where_of,
)

_SHOWN_SPECTRA = 6


def spectrograms(dataset: Dataset, config: Config) -> Sketch:
    """A sample of training recordings, and what the winner's augmentation made of them."""
    from thalweg.data.images import sample_rows

    part = dataset.train
    strengths = augmentation(config)
    index = np.sort(sample_rows(part, _SHOWN_SPECTRA, dataset.seed))
    names = labels_of(dataset, part, index)
    rows = [photos_of(part, index)]
    if strengths:
        rows += _reheard(dataset, part.take(index), strengths, 3)
    said = ", ".join(f"{name} {value:.3g}" for name, value in strengths.items())
    how = (
        f", and 3 random versions of each by the winner's augmentation ({said})"
        if strengths
        else "; the winner's training changes none"
    )
    return Sketch(
        "inputs",
        "What the network hears" + (", with augmentation" if strengths else ""),
        f"Log-mel spectrograms of {len(index)} of {len(part):,} training recordings{how}. Time "
        "runs to the right, low bands lie at the bottom, bright is loud.",
        f"Spectrograms of {len(index)} training recordings{listed(names)}.",
        "photos",
        {
            "images": rows,
            "heads": names,
            "labels": ["as read", *[f"version {i}" for i in range(1, len(rows))]],
            "side": 150,
            "caption_width": 150,
        },
    )


def _reheard(
    dataset: Dataset, part: Part, strengths: Mapping[str, float], num_draws: int
) -> list[list[np.ndarray]]:
    """Return random versions of recordings as pictures, a list for each draw."""
    from thalweg.models import InputShape
    from thalweg.models.listening import heard
    from thalweg.nn.layers import Context
    from thalweg.training.programs import compile_program, shapes_of

    inputs = InputShape.from_dict(dataset.input_shape)
    fields = {
        name: np.tile(values, (num_draws, *[1] * (values.ndim - 1)))
        for name, values in part.fields.items()
    }

    def changed(fields: Any, key: Any, strengths: Any) -> Any:
        return heard(inputs, fields, Context(train=True, key=key, augment=strengths))

    arguments = (
        fields,
        np.asarray(SALT + dataset.seed, np.uint32),
        {name: np.asarray(value, np.float32) for name, value in strengths.items()},
    )
    x, length = compile_program(changed, shapes_of(arguments)).call(*arguments)
    fields = {"sequence": np.asarray(x), "length": np.asarray(length)}
    shown = photos_of(Part(fields, None, None, np.arange(len(x))), np.arange(len(x)))
    return [shown[i : i + len(part)] for i in range(0, len(shown), len(part))]


def misheard(
    dataset: Dataset, model: Model, part: Part, outputs: np.ndarray | None = None
) -> Sketch:
    """The recordings whose transcripts have most errors, with what was said and what was heard."""
    from thalweg.optim.ctc import edits

    rows, found = np.arange(len(part)), outputs
    if found is None:
        rows = some_rows(len(part), MOST_SCORED)
        found = model.outputs({name: values[rows] for name, values in part.fields.items()})
    truth = [str(text) for text in dataset.encoder.target.labels(part.target[rows])]
    said = [str(text) for text in dataset.encoder.target.labels(found)]
    wrong = np.array([edits(list(a), list(b)) for a, b in zip(said, truth, strict=True)])
    order = np.argsort(-wrong / np.maximum([len(text) for text in truth], 1), kind="stable")[:8]
    where = where_of(dataset, part)
    right = int((wrong == 0).sum())
    columns = 2
    captions = [
        [
            (f"is: {shortened(truth[i], 60)}", ""),
            (f"heard: {shortened(said[i], 60)}", "bad" if wrong[i] else "soft"),
        ]
        for i in order
    ]
    return Sketch(
        "mistakes",
        "Worst transcripts",
        f"{right:,} of {len(rows):,} {where} transcripts are right to the last character; these "
        f"{len(order)} have the largest share of errors.",
        f"Spectrograms of {len(order)} {where} recordings with true and heard transcripts.",
        "photos",
        {
            "images": in_rows(photos_of(part, rows[order]), columns),
            "captions": in_rows(captions, columns),
            "side": 480,
            "caption_width": 480,
        },
    )
