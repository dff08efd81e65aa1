"""Texts that a model gets most wrong, with the words that misled it; and texts that it writes."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.data import Dataset
from thalweg.data.texts import TextDataset
from thalweg.study.model import Model
from thalweg.study.sampling import sample

NUM_MISTAKES = 6
MOST_PIECES = 80
"""Pieces that a text is taken apart into; of longer ones each has several words."""

NUM_SAMPLES = 6
SAMPLE_TOKENS = 60


def passages(dataset: Dataset, model: Model, outputs: np.ndarray | None) -> list[dict[str, Any]]:
    """Return the surest mistakes on test texts (validation texts, where there are none).

    A word's weight is what the probability of the predicted class (or the prediction) loses when
    the word is left out: occlusion. Source: Li et al., "Understanding Neural Networks through
    Representation Erasure", 2016.

    Args:
        dataset: the texts; other data has none.
        model: the trained model.
        outputs: its outputs for the test rows, where they are known.

    Returns:
        Records with ``row``, ``true``, ``predicted``, ``probability`` (None for numbers) and
        ``words``, pairs of a word and its weight.
    """
    if not isinstance(dataset, TextDataset) or dataset.task.kind == "multilabel":
        return []
    name = "test" if len(dataset.test) else "validation"
    part = dataset.parts[name]
    if outputs is None or name == "validation":
        outputs = model.outputs(part.fields)
    labels, decided = dataset.labels(part), dataset.encoder.decide(outputs, model.threshold)
    if dataset.task.kind == "regression":
        if outputs.shape[1] > 1:
            return []
        wrong = np.arange(len(part))
        size = np.abs(decided - labels)
    else:
        wrong = np.flatnonzero(decided != labels)
        size = outputs.max(1)
    found = []
    for i in wrong[np.argsort(-size[wrong], kind="stable")][:NUM_MISTAKES]:
        classed = dataset.task.kind != "regression"
        column = int(outputs[i].argmax()) if classed else 0
        found.append(
            {
                "row": int(part.rows[i]),
                "true": _plain(labels[i]),
                "predicted": _plain(decided[i]),
                "probability": float(outputs[i, column]) if classed else None,
                "words": _weighed(dataset, model, name, int(i), column),
            }
        )
    return found


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _weighed(
    dataset: TextDataset, model: Model, name: str, place: int, column: int
) -> list[tuple[str, float]]:
    """Return the words of a text, each with what its absence takes from an output."""
    passage = dataset.reader.passage(dataset.texts(name)[place], MOST_PIECES)
    variants = [np.ones(len(passage), bool), *~np.eye(len(passage), dtype=bool)]
    fields, _ = dataset.reader.fields_of([passage.kept(present) for present in variants])
    # What stands beside the text stays as it is.
    own = dataset.parts[name].fields
    beside = {
        n: np.repeat(values[place : place + 1], len(variants), axis=0)
        for n, values in own.items()
        if n not in fields
    }
    values = model.outputs({**beside, **fields})[:, column]
    return [
        (piece, round(float(values[0] - values[i + 1]), 4))
        for i, piece in enumerate(passage.pieces)
    ]


def samples(dataset: Dataset, model: Model) -> list[str]:
    """Return some texts that a language model writes; none of other models."""
    if dataset.modality != "language":
        return []
    return sample(model, num=NUM_SAMPLES, length=SAMPLE_TOKENS, top_p=0.95, temperature=0.8)
