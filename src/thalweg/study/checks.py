"""The arrays that the evidence about rows is drawn from: the parts, and held-out predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.data import Dataset, concatenate
from thalweg.study.model import Model
from thalweg.study.outcome import Outcome
from thalweg.study.setup import fold_index
from thalweg.study.summary import held_out
from thalweg.training.feed import TrainingData

OWN_ROWS = ("table", "images")
"""Kinds of data whose rows stand for themselves: windows of a series overlap, ratings repeat."""


MOST_BYTES = 256 << 20
"""Inputs beyond this are not looked through for repeats."""


def row_keys(dataset: Dataset) -> dict[str, list[int]] | None:
    """Return a hash of every row's inputs, part by part.

    None where rows overlap anyway, and where there are too many to look through.
    """
    total = sum(a.nbytes for part in dataset.parts.values() for a in part.fields.values())
    if dataset.modality not in OWN_ROWS or total > MOST_BYTES:
        return None
    keys = {}
    for name, part in dataset.parts.items():
        arrays = [np.ascontiguousarray(part.fields[field]) for field in sorted(part.fields)]
        flat = [array.reshape(len(part), -1).view(np.uint8) for array in arrays if len(part)]
        joined = np.concatenate(flat, axis=1) if flat else np.zeros((0, 0), np.uint8)
        keys[name] = [hash(row.tobytes()) for row in joined]
    return keys


def native_columns(
    dataset: Dataset,
) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray], bool]]:
    """Return a table's columns as numbers, part by part.

    Empty for other kinds of data, and for tables too large to be held at once.
    """
    native: Any = getattr(dataset, "native", None)
    encoder: Any = dataset.encoder
    if dataset.modality != "table" or native is None:
        return {}
    tables = {name: native(name) for name, part in dataset.parts.items() if len(part)}
    if any(len(values) != len(dataset.parts[name]) for name, (values, _) in tables.items()):
        # A table that is read in batches keeps but a sample of its rows in this form.
        return {}
    values, categories = tables.pop("train")
    return {
        name: (
            values[:, i],
            {part: own[0][:, i] for part, own in tables.items()},
            bool(categories[i]),
        )
        for i, name in enumerate(encoder.preprocessor.columns)
    }


def plain_targets(dataset: Dataset) -> dict[str, np.ndarray] | None:
    """Return the targets of every part as one number a row; None for tasks on images and such."""
    kind = dataset.task.kind
    if kind not in ("regression", "binary", "multiclass") or len(dataset.task.targets) > 1:
        return None
    found = {}
    for name, part in dataset.parts.items():
        target = dataset.raw_target(part)
        if kind == "regression":
            found[name] = target[:, 0]
        else:
            found[name] = target.argmax(1) if target.ndim == 2 else target.astype(int)
    return found


def held_predictions(
    dataset: Dataset,
    model: Model,
    outcome: Outcome,
    explored: TrainingData,
    folds: Sequence[TrainingData],
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return outputs, targets and row numbers of rows that the networks were not trained on.

    With folds every training and validation row is judged by the network that left it out;
    without, the validation rows are. None for kinds of tasks without one label or value a row.
    """
    kind = dataset.task.kind
    if kind not in ("regression", "binary", "multiclass") or len(dataset.task.targets) > 1:
        return None
    pairs = held_out(model, outcome, explored, folds)
    if len(pairs) == 1:
        part = dataset.validation
        index = [np.arange(len(part))]
        rows = part
    else:
        rows = concatenate([dataset.train, dataset.validation])
        held = [own for _, own in fold_index(dataset, len(folds))]
        index = [held[t.fold] for t in outcome.replicates if t.fold is not None]
    taken = [rows.take(own) for own in index]
    outputs = [alone.outputs(own.fields) for (alone, _), own in zip(pairs, taken, strict=True)]
    targets = [dataset.raw_target(own) for own in taken]
    return np.concatenate(outputs), np.concatenate(targets), np.concatenate([t.rows for t in taken])
