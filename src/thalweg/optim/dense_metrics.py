"""Metrics of tasks on images, compiled for one member and on the host.

The compiled ones take raw outputs and targets as ``dense_losses.py`` does. The metrics of
segmentation and detection need little of what a network puts out for an image: ``SUMMARIES`` boils
each row down to it, so that an evaluation over many images, some at a time, keeps only that.

* ``mean_iou``: intersection over union of each class, summed over all pixels of all images, and the
  mean over the classes that occur among targets or predictions; ``pixel_accuracy``.
* ``roc_auc`` of an embedding: whether a pair of rows of the same class is more similar (by cosine)
  than a pair of different classes; ``recall_at_1``: the share of rows whose most similar other row
  is of their class, among those whose class has another. Within a compiled program they are
  computed from ``MOST_ROWS`` rows at most.
* ``map_50``: the area under the precision-recall curve of each class (precision made
  non-increasing, every point counts), detections matched in the order of their scores to the free
  box of their class that they overlap most, at an IoU of 0.5 at least; the mean over the classes
  that occur among the targets. Source: Everingham et al., "The PASCAL Visual Object Classes
  Challenge", 2015, section 4.2, with COCO's way of matching (the best box that is still free).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from thalweg.nn import boxes
from thalweg.optim import ctc, reconstruction
from thalweg.optim.curves import Curve, areas, share
from thalweg.optim.dense_losses import pixel_targets
from thalweg.optim.text import FROM_COUNTS, token_counts
from thalweg.task import IGNORE

MOST_ROWS = 512
"""Rows whose pairs a compiled metric compares."""

MOST_HOST_ROWS = 3000
"""Rows whose pairs the host compares."""

MATCH = 0.5
"""Intersection over union from which a detection finds a box."""

Units = tuple[Any, Any] | None


# --- segmentation --------------------------------------------------------------------------------


def pixel_counts(outputs: Array, target: Array) -> Array:
    """Return each row's pixels of each class: hits, true and chosen, [B, 3, C]."""
    num_classes = outputs.shape[-1]
    actual, counts = pixel_targets(target, num_classes, jnp.float32)
    actual = actual * counts[..., None]
    best = jnp.argmax(outputs, axis=-1)[..., None] == jnp.arange(num_classes)
    chosen = best.astype(jnp.float32) * counts[..., None]
    parts = (actual * chosen, actual, chosen)
    return jnp.stack([part.sum((1, 2)) for part in parts], axis=1)


def _mean_iou(counts: Array, weight: Array) -> Array:
    hits, actual, chosen = jnp.einsum("b,bkc->kc", weight, counts)
    union = actual + chosen - hits
    return share(hits, union).sum() / (union > 0).sum()


def _pixel_accuracy(counts: Array, weight: Array) -> Array:
    hits, actual, _ = jnp.einsum("b,bkc->kc", weight, counts)
    return hits.sum() / actual.sum()


def mean_iou(outputs: Array, target: Array, weight: Array, units: Units = None) -> Array:
    """``mean_c hits_c/(true_c + chosen_c − hits_c)`` over all pixels."""
    return _mean_iou(pixel_counts(outputs, target), weight)


def pixel_accuracy(outputs: Array, target: Array, weight: Array, units: Units = None) -> Array:
    """Return the share of the pixels whose class is right."""
    return _pixel_accuracy(pixel_counts(outputs, target), weight)


# --- embedding -----------------------------------------------------------------------------------


def _some(outputs: Array, target: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return at most ``MOST_ROWS`` rows, evenly spread."""
    num = outputs.shape[0]
    if num <= MOST_ROWS:
        return outputs, target, weight
    index = np.linspace(0, num - 1, MOST_ROWS).astype(np.int32)
    return outputs[index], target[index], weight[index]


def verification_roc_auc(
    outputs: Array, target: Array, weight: Array, units: Units = None
) -> Array:
    """``P(similarity of a pair of one class > of a pair of two) + ½·P(equal)``."""
    outputs, target, weight = _some(outputs, target, weight)
    first, second = np.triu_indices(outputs.shape[0], 1)
    if not len(first):
        return jnp.full((), jnp.nan, outputs.dtype)
    similarity = (outputs @ outputs.T)[first, second]
    pairs = weight[first] * weight[second]
    positive = (target[first] == target[second]) * pairs
    return areas(Curve(similarity[None], positive[None], (pairs - positive)[None]))[0]


def recall_at_1(outputs: Array, target: Array, weight: Array, units: Units = None) -> Array:
    """Return the share of rows whose most similar other row has their class."""
    outputs, target, weight = _some(outputs, target, weight)
    others = ~jnp.eye(outputs.shape[0], dtype=bool) & (weight > 0)[None, :]
    nearest = jnp.argmax(jnp.where(others, outputs @ outputs.T, -jnp.inf), axis=1)
    same = target[:, None] == target[None, :]
    asked = weight * (same & others).any(1)
    return (asked * (target[nearest] == target)).sum() / asked.sum()


# --- detection -----------------------------------------------------------------------------------


class Matches(NamedTuple):
    """Detections of rows against their boxes.

    Attributes:
        label: class of each detection, [B, K].
        score: its score, [B, K]; 0 where there is none.
        hit: whether it found a box, [B, K].
        boxes: boxes of each class, [B, C].
    """

    label: Array
    score: Array
    hit: Array
    boxes: Array


def match(found: Array, target: Array, num_classes: int) -> Matches:
    """Match detections, best first, to boxes that are still free.

    Args:
        found: x0, y0, x1, y1, class, score, [B, K, 6], by descending score in each row.
        target: boxes and classes [B, M, 5].
        num_classes: C.
    """
    overlaps = boxes.iou(found[:, :, None, :4], target[:, None, :, :4])
    fitting = (found[:, :, None, 4] == target[:, None, :, 4]) & (overlaps >= MATCH)
    overlaps = jnp.where(fitting, overlaps, 0)

    def step(free: Array, candidates: Array) -> tuple[Array, Array]:
        values = jnp.where(free, candidates, 0)
        best = jnp.argmax(values, axis=1)[:, None] == jnp.arange(values.shape[1])
        taken = best & (values > 0)
        return free & ~taken, taken.any(1)

    free = target[..., 4] >= 0
    _, hit = lax.scan(step, free, jnp.swapaxes(overlaps, 0, 1))
    numbers = target[..., 4, None] == jnp.arange(num_classes)
    return Matches(found[..., 4], found[..., 5], hit.T, numbers.sum(1).astype(found.dtype))


def matched(outputs: Array, target: Array) -> Matches:
    """Return the matches of a detector's raw outputs."""
    rows, columns, channels = outputs.shape[1:]
    size = (rows * boxes.STRIDE, columns * boxes.STRIDE)
    found = boxes.peaks(boxes.activate(outputs), *size)
    return match(found, target, channels - boxes.NUM_SIDES)


def _map_50(matches: Matches, weight: Array) -> Array:
    num_classes = matches.boxes.shape[-1]
    total = (matches.boxes * weight[:, None]).sum(0)
    kept = weight[:, None] * (matches.score > 0)
    order = (-matches.score.reshape(-1), matches.label.reshape(-1))
    values = (matches.hit * kept, kept)
    _, label, hit, count = lax.sort(
        (*order, *(v.astype(matches.score.dtype).reshape(-1) for v in values)), num_keys=1
    )
    own = (label == jnp.arange(num_classes)[:, None]).astype(hit.dtype)
    hits, counts = jnp.cumsum(own * hit, axis=1), jnp.cumsum(own * count, axis=1)
    # What a class's own detection has, or any later one: precision never rises with recall.
    precision = lax.cummax(jnp.where(own > 0, share(hits, counts), 0), axis=1, reverse=True)
    area = (own * hit * precision).sum(1) / jnp.maximum(total, 1e-9)
    present = total > 0
    return jnp.where(present, area, 0).sum() / present.sum()


def map_50(outputs: Array, target: Array, weight: Array, units: Units = None) -> Array:
    """Return the mean average precision at an intersection over union of 0.5."""
    return _map_50(matched(outputs, target), weight)


# --- in parts ------------------------------------------------------------------------------------


class Summary(NamedTuple):
    """What an evaluation keeps of each row, and the metrics of that.

    Attributes:
        rows: ``(outputs [B, ...], target [B, ...])`` to arrays [B, ...].
        metrics: name to ``(what rows gave, weight [B]) -> scalar``.
    """

    rows: Callable[[Array, Array], Any]
    metrics: Mapping[str, Callable[[Any, Array], Array]]


SUMMARIES: dict[str, Summary] = {
    "segmentation": Summary(
        pixel_counts, {"mean_iou": _mean_iou, "pixel_accuracy": _pixel_accuracy}
    ),
    "detection": Summary(matched, {"map_50": _map_50}),
    "transcription": Summary(ctc.error_counts, ctc.RATES),
    "reconstruction": Summary(reconstruction.terms, reconstruction.RATES),
    "translation": Summary(token_counts, FROM_COUNTS),
}
"""Kinds of tasks whose outputs are large and whose metrics need little of them."""


# --- host ----------------------------------------------------------------------------------------


def finished(
    kind: str, values: Sequence[np.ndarray], size: tuple[int, int] | None = None
) -> np.ndarray:
    """Return predictions from what ``losses.predict_outputs`` gives for several members.

    Args:
        kind: kind of the task.
        values: of each member: probabilities [N, H, W, C]; vectors [N, E]; or probabilities and
            distances [N, h, w, C + 4].
        size: height and width of the images, for detection.

    Returns:
        Segmentation: the class of the largest mean probability, uint8 [N, H, W]. Embedding: the
        members' vectors side by side, as long as one, [N, members · E]: members map to different
        spaces, and a product of such vectors is the mean of the members' products. Detection: the
        peaks of the mean, [N, K, 6].
    """
    if kind == "embedding":
        return np.concatenate(values, axis=1) / np.sqrt(np.float32(len(values)))
    mean = sum(values[1:], start=values[0]) / len(values)
    if kind == "segmentation":
        return mean.argmax(-1).astype(np.uint8)
    assert size is not None
    return np.asarray(boxes.peaks(jnp.asarray(mean), *size))


Scorers = Mapping[str, Callable[[], float]]


def segmentation_scorers(predictions: np.ndarray, target: np.ndarray, num_classes: int) -> Scorers:
    """Return the metrics of class masks [N, H, W] against true ones."""
    kept = target != IGNORE
    truth, chosen = target[kept].astype(np.int64), predictions[kept].astype(np.int64)
    table = np.bincount(truth * num_classes + chosen, minlength=num_classes**2)
    table = table.reshape(num_classes, num_classes)
    hits, union = table.diagonal(), table.sum(0) + table.sum(1) - table.diagonal()
    if not len(truth):
        return {}
    return {
        "mean_iou": lambda: float((hits / np.maximum(union, 1))[union > 0].mean()),
        "pixel_accuracy": lambda: float(hits.sum() / len(truth)),
    }


def embedding_scorers(predictions: np.ndarray, target: np.ndarray, num_classes: int) -> Scorers:
    """Return the metrics of vectors [N, E] against classes [N]."""
    from sklearn.metrics import roc_auc_score

    if len(target) > MOST_HOST_ROWS:
        chosen = np.random.default_rng(0).choice(len(target), MOST_HOST_ROWS, replace=False)
        predictions, target = predictions[chosen], target[chosen]
    similarity = predictions @ predictions.T
    same = target[:, None] == target[None, :]
    first, second = np.triu_indices(len(target), 1)
    scorers: dict[str, Callable[[], float]] = {}
    positive = same[first, second]
    if positive.any() and not positive.all():
        scorers["roc_auc"] = lambda: float(roc_auc_score(positive, similarity[first, second]))
    np.fill_diagonal(similarity, -np.inf)
    asked = same.sum(1) > 1
    if asked.any():
        right = target[similarity.argmax(1)] == target
        scorers["recall_at_1"] = lambda: float(right[asked].mean())
    return scorers


def detection_scorers(predictions: np.ndarray, target: np.ndarray, num_classes: int) -> Scorers:
    """Return the metrics of detections [N, K, 6] against boxes [N, M, 5]."""
    if not (target[..., 4] >= 0).any():
        return {}
    return {"map_50": lambda: float(np.mean(average_precisions(predictions, target)))}


def average_precisions(predictions: np.ndarray, target: np.ndarray) -> list[float]:
    """Return the average precision at IoU 0.5 of each class that occurs among the boxes."""
    result = []
    for label in np.unique(target[..., 4][target[..., 4] >= 0]):
        scores: list[float] = []
        hits: list[bool] = []
        number = 0
        for found, truth in zip(predictions, target, strict=True):
            own = truth[truth[:, 4] == label, :4]
            number += len(own)
            free = np.ones(len(own), bool)
            mine = found[(found[:, 4] == label) & (found[:, 5] > 0)]
            for row in mine[np.argsort(-mine[:, 5], kind="stable")]:
                overlaps = np.where(free, _iou(row[:4], own), 0.0)
                best = int(overlaps.argmax()) if len(own) else -1
                hit = best >= 0 and bool(overlaps[best] >= MATCH)
                if hit:
                    free[best] = False
                scores.append(float(row[5]))
                hits.append(hit)
        order = np.argsort(-np.array(scores), kind="stable")
        right = np.array(hits, float)[order]
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        result.append(float((right * envelope).sum() / number))
    return result


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    area = np.prod(box[2:] - box[:2])
    return common / np.maximum(area + np.prod(others[:, 2:] - others[:, :2], axis=1) - common, 1e-9)


SCORERS: dict[str, Callable[[np.ndarray, np.ndarray, int], Scorers]] = {
    "segmentation": segmentation_scorers,
    "embedding": embedding_scorers,
    "detection": detection_scorers,
    "transcription": ctc.scorers,
    "reconstruction": reconstruction.scorers,
}
"""The metrics of finished predictions: (predictions, target, number of classes) -> by name."""
