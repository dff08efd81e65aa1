"""Metrics, twice: compiled for one member, and on the host through scikit-learn.

The compiled ones, ``METRICS[kind][name]``, all have one signature,

    metric(outputs [N, O], target, weight [N] or None, units=None, failed=None) -> scalar

with the head's raw outputs (scaled values or logits; ``losses.metric_outputs`` for Poisson) and the
target as in ``thalweg.optim.losses``. Rows of weight 0 (padding, held-out folds) do not count,
whatever they hold. ``units = (mean, scale)``, each [T] or a scalar, turns scaled regression targets
into the user's: ``raw = scaled·scale + mean``, so that errors come out in the user's units.
``failed`` says whether outputs are not finite, where the caller knows: to look costs a pass.

:func:`score` computes the same from finished predictions for the final reports. Definitions are
those of scikit-learn, with these choices where it warns or raises:

* What is not defined is NaN here and left out of ``score``'s answer: ROC AUC with one class,
  average precision without a positive, R² of a single row, top-5 accuracy of at most 5 classes.
* Multiclass ROC AUC is one-vs-rest, the mean over the classes that occur (not over all rows).
* Precision, recall and F1 are 0 where their denominator is 0; macro F1 is the mean over the classes
  that occur among targets or predictions, balanced accuracy over those among targets.
* Where targets are distributions, log loss and Brier score use them, all others the likeliest
  class.
* Outputs that are not finite make every metric NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.errors import DataError, unknown_option
from thalweg.optim import ctc, reconstruction
from thalweg.optim import dense_metrics as dense
from thalweg.optim.curves import Curve, areas, share
from thalweg.optim.losses import LOSSES, Units
from thalweg.optim.text import FROM_OUTPUTS, TEXT_SCORES, text_scores
from thalweg.task import METRICS as NAMES
from thalweg.task import WRITTEN_KINDS, Task

__all__ = ["METRICS", "Metric", "evaluate", "score"]

Array = jax.Array
Metric = Callable[..., Array]

_TOP = 5


def _mean(values: Array, weight: Array) -> Array:
    """Return the weighted mean over rows (axis 0)."""
    weight = weight.reshape(weight.shape + (1,) * (values.ndim - 1))
    return jnp.sum(values * weight, axis=0) / jnp.sum(weight)


def _mean_where(values: Array, where: Array) -> Array:
    """Return the mean of the values that count, NaN where none does."""
    return jnp.sum(jnp.where(where, values, 0)) / jnp.sum(where)


# --- regression ----------------------------------------------------------------------------------


def _error(outputs: Array, target: Array, units: Units) -> Array:
    return (outputs - target) * units[1]


def _mse(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``mean_t mean_i (ŷ − y)²`` in squared user's units."""
    return jnp.mean(_mean(jnp.square(_error(outputs, target, units)), weight))


def _rmse(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``mean_t √(mean_i (ŷ − y)²)`` in the user's units."""
    return jnp.mean(jnp.sqrt(_mean(jnp.square(_error(outputs, target, units)), weight)))


def _mae(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``mean_t mean_i |ŷ − y|`` in the user's units."""
    return jnp.mean(_mean(jnp.abs(_error(outputs, target, units)), weight))


def _r2(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``mean_t (1 − Σ (ŷ − y)²/Σ (y − ȳ)²)``; a constant target gives 1 if met exactly, else 0."""
    residual = _mean(jnp.square(outputs - target), weight)
    total = _mean(jnp.square(target - _mean(target, weight)), weight)
    kept = (weight > 0)[:, None]
    low = jnp.min(target, axis=0, where=kept, initial=jnp.inf)
    high = jnp.max(target, axis=0, where=kept, initial=-jnp.inf)
    varies = high > low
    value = jnp.where(varies, 1 - residual / jnp.where(varies, total, 1), residual == 0)
    return jnp.where(jnp.sum(kept) > 1, jnp.mean(value), jnp.nan)


def _median_absolute_error(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``mean_t median_i |ŷ − y|`` in the user's units; between two rows, their mean."""
    error = jnp.abs(_error(outputs, target, units)).T
    weights = jnp.broadcast_to(weight, error.shape)
    error, weights = jax.lax.sort((error, weights), dimension=-1, num_keys=1)
    cumulative = jnp.cumsum(weights, axis=-1)
    half = cumulative[:, -1:] / 2

    def first(reached: Array) -> Array:
        return jnp.min(error, axis=-1, where=reached & (weights > 0), initial=jnp.inf)

    return jnp.mean((first(cumulative >= half) + first(cumulative > half)) / 2)


def _mape(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``mean_t mean_i |ŷ − y|/max(|y|, 2.2e-16)``, y in the user's units; a ratio, not per cent."""
    raw = jnp.abs(target * units[1] + units[0])
    floor = float(np.finfo(np.float64).eps)
    return jnp.mean(
        _mean(jnp.abs(_error(outputs, target, units)) / jnp.maximum(raw, floor), weight)
    )


def _standardised_mse(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``mean_t mean_i (ŷ − y)²`` in squared deviations of the training targets."""
    return _mse(outputs, target, weight, (0.0, 1.0))


def _standardised_mae(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``mean_t mean_i |ŷ − y|`` in deviations of the training targets."""
    return _mae(outputs, target, weight, (0.0, 1.0))


# --- classes -------------------------------------------------------------------------------------


def _log_loss(kind: str) -> Metric:
    cross_entropy = LOSSES[kind]["cross_entropy"]

    def log_loss(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
        """``mean_i −Σ_c q_c·log p_c``."""
        return _mean(cross_entropy(outputs, target), weight)

    return log_loss


def _accuracy(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """Return the share of rows whose class is right."""
    return _mean((_predicted(outputs) == _labels(outputs, target)).astype(weight.dtype), weight)


def _balanced_accuracy(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """Return the mean recall of the classes among the targets."""
    hits, actual, _ = _counts(outputs, target, weight)
    return _mean_where(share(hits, actual), actual > 0)


def _f1_macro(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``mean_c 2·tp/(2·tp + fp + fn)``."""
    hits, actual, chosen = _counts(outputs, target, weight)
    return _mean_where(share(2 * hits, actual + chosen), actual + chosen > 0)


def _precision(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``tp/(tp + fp)``."""
    hits, _, chosen = _counts(outputs, target, weight)
    return share(hits[1], chosen[1])


def _recall(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``tp/(tp + fn)``."""
    hits, actual, _ = _counts(outputs, target, weight)
    return share(hits[1], actual[1])


def _f1(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``2·tp/(2·tp + fp + fn)``."""
    hits, actual, chosen = _counts(outputs, target, weight)
    return share(2 * hits[1], actual[1] + chosen[1])


def _matthews(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``(tp·tn − fp·fn)/√((tp + fp)(tp + fn)(tn + fp)(tn + fn))``, 0 where that is 0/0."""
    # Shares instead of counts: a product of four counts overflows float32 from 4e9 rows^4 on.
    hits, actual, chosen = _counts(outputs, target, weight / jnp.sum(weight))
    spread = jnp.sqrt(actual[0] * actual[1]) * jnp.sqrt(chosen[0] * chosen[1])
    covariance = hits[0] * hits[1] - (actual[1] - hits[1]) * (actual[0] - hits[0])
    return jnp.where(spread > 0, covariance / jnp.where(spread > 0, spread, 1), 0)


def _brier(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``mean_i (σ(z) − q)²``."""
    return _mean(LOSSES["binary"]["mse"](outputs, target), weight)


def _top_5_accuracy(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """Return the share of rows whose class is among the 5 largest logits (of ties, the last)."""
    num_classes = outputs.shape[-1]
    if num_classes <= _TOP:
        return jnp.full((), jnp.nan, outputs.dtype)
    label = _labels(outputs, target)[:, None]
    own = jnp.take_along_axis(outputs, label, axis=-1)
    ahead = (outputs > own) | ((outputs == own) & (jnp.arange(num_classes) > label))
    return _mean((jnp.sum(ahead, axis=-1) < _TOP).astype(weight.dtype), weight)


def _binary_roc_auc(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``P(score of a positive > of a negative) + ½·P(equal)``."""
    positive = _labels(outputs, target) * weight
    return areas(Curve(outputs.T, positive[None], (weight - positive)[None]))[0]


def _multiclass_roc_auc(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """Return the mean one-vs-rest area over the classes for which it is defined."""
    # The logarithm ranks as the probability does and does not underflow.
    scores = jax.nn.log_softmax(outputs).T
    positive = (_labels(outputs, target) == jnp.arange(len(scores))[:, None]) * weight
    each = areas(Curve(scores, positive, weight - positive))
    return _mean_where(each, ~jnp.isnan(each))


def _average_precision(outputs: Array, target: Array, weight: Array, units: Units) -> Array:
    """``Σ_k (recall_k − recall_{k−1})·precision_k`` over the distinct thresholds."""
    positive = _labels(outputs, target) * weight
    curve = Curve(outputs.T, positive[None], (weight - positive)[None])
    precision = share(curve.positive, curve.positive + curve.negative)
    gained = jnp.where(curve.last, curve.positive - curve.positive_before, 0)
    total = curve.positive[:, -1]
    return jnp.where(total > 0, jnp.sum(gained * precision, -1) / total, jnp.nan)[0]


def _predicted(outputs: Array) -> Array:
    """Return the class chosen for each row [N]; a logit of 0 chooses class 0."""
    if outputs.shape[-1] == 1:
        return (outputs[:, 0] > 0).astype(jnp.int32)
    return jnp.argmax(outputs, axis=-1).astype(jnp.int32)


def _labels(outputs: Array, target: Array) -> Array:
    """Return the (likeliest) true class of each row [N]."""
    if not jnp.issubdtype(target.dtype, jnp.floating):
        return target.reshape(-1).astype(jnp.int32)
    if outputs.shape[-1] == 1:
        return (target.reshape(-1) > 0.5).astype(jnp.int32)
    return jnp.argmax(target, axis=-1).astype(jnp.int32)


def _counts(outputs: Array, target: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return the weights of hits, of true and of chosen classes, [C] each."""
    classes = jnp.arange(max(outputs.shape[-1], 2))[:, None]
    actual = classes == _labels(outputs, target)
    chosen = classes == _predicted(outputs)
    sums = [jnp.sum(mask * weight, axis=-1) for mask in (actual & chosen, actual, chosen)]
    return sums[0], sums[1], sums[2]


# --- families ------------------------------------------------------------------------------------


def _robust(kind: str, metric: Metric) -> Metric:
    """Give a metric the public signature: masked rows, missing weights and units, NaN outputs."""

    def masked(
        outputs: Array,
        target: Array,
        weight: Array | None = None,
        units: Units | None = None,
        failed: Array | None = None,
    ) -> Array:
        outputs, target = jnp.asarray(outputs), jnp.asarray(target)
        if weight is None:
            weight = jnp.ones(outputs.shape[:1], outputs.dtype)
        weight = jnp.asarray(weight, outputs.dtype)
        if kind == "regression":
            target = target.reshape(outputs.shape)
        kept = weight > 0
        rows = kept.reshape((-1,) + (1,) * (target.ndim - 1))
        whole = kept.reshape((-1,) + (1,) * (outputs.ndim - 1))
        if failed is None:
            failed = jnp.any(~jnp.isfinite(outputs) & whole)
            outputs = jnp.where(jnp.isfinite(outputs), outputs, 0)
        failed = failed | ~jnp.any(kept)
        outputs = jnp.where(whole, outputs, 0)
        target = jnp.where(rows, target, jnp.zeros((), target.dtype))
        value = metric(outputs, target, weight, (0.0, 1.0) if units is None else units)
        return jnp.where(failed, jnp.nan, value)

    masked.__name__, masked.__doc__ = metric.__name__.lstrip("_"), metric.__doc__
    return masked


def _label_counts(outputs: Array, target: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return hits, chosen and true labels of each class [C]."""
    chosen, true = (outputs > 0) * weight[:, None], (target > 0.5) * weight[:, None]
    return ((outputs > 0) * true).sum(0), chosen.sum(0), true.sum(0)


def _f1_micro(outputs: Array, target: Array, weight: Array, units: Any = None) -> Array:
    """``2·hits/(chosen + true)`` over all labels of all rows."""
    del units
    hits, chosen, true = (counts.sum() for counts in _label_counts(outputs, target, weight))
    return share(2 * hits, chosen + true)


def _label_f1_macro(outputs: Array, target: Array, weight: Array, units: Any = None) -> Array:
    """``mean_c 2·hits_c/(chosen_c + true_c)``; 0 for a label that is neither."""
    del units
    hits, chosen, true = _label_counts(outputs, target, weight)
    return share(2 * hits, chosen + true).mean()


def _all_labels_right(outputs: Array, target: Array, weight: Array, units: Any = None) -> Array:
    """Return the share of the rows all of whose labels are right."""
    del units
    right = ((outputs > 0) == (target > 0.5)).all(-1)
    return (right * weight).sum() / weight.sum()


def _hamming_loss(outputs: Array, target: Array, weight: Array, units: Any = None) -> Array:
    """Return the share of the labels that are wrong."""
    del units
    wrong = ((outputs > 0) != (target > 0.5)).mean(-1)
    return (wrong * weight).sum() / weight.sum()


def _token_log_loss(outputs: Array, target: Array, weight: Array, units: Any = None) -> Array:
    """``−Σ log p/Σ n`` over all tokens that are predicted."""
    del units
    return -(outputs.sum(-1) * weight).sum() / jnp.maximum((target * weight).sum(), 1.0)


def _perplexity(outputs: Array, target: Array, weight: Array, units: Any = None) -> Array:
    """``e^(log loss)`` of tokens: among how many alike ones a token would be as hard to guess."""
    return jnp.exp(jnp.minimum(_token_log_loss(outputs, target, weight, units), 80.0))


_FUNCTIONS: dict[str, dict[str, Metric]] = {
    "regression": {
        "rmse": _rmse,
        "mse": _mse,
        "mae": _mae,
        "r2": _r2,
        "median_absolute_error": _median_absolute_error,
        "mape": _mape,
        "standardised_mse": _standardised_mse,
        "standardised_mae": _standardised_mae,
    },
    "binary": {
        "accuracy": _accuracy,
        "balanced_accuracy": _balanced_accuracy,
        "f1": _f1,
        "precision": _precision,
        "recall": _recall,
        "matthews_corrcoef": _matthews,
        "roc_auc": _binary_roc_auc,
        "average_precision": _average_precision,
        "log_loss": _log_loss("binary"),
        "brier": _brier,
    },
    "multiclass": {
        "accuracy": _accuracy,
        "balanced_accuracy": _balanced_accuracy,
        "f1_macro": _f1_macro,
        "top_5_accuracy": _top_5_accuracy,
        "roc_auc": _multiclass_roc_auc,
        "log_loss": _log_loss("multiclass"),
    },
    "multilabel": {
        "f1_micro": _f1_micro,
        "f1_macro": _label_f1_macro,
        "accuracy": _all_labels_right,
        "hamming_loss": _hamming_loss,
    },
    "segmentation": {"mean_iou": dense.mean_iou, "pixel_accuracy": dense.pixel_accuracy},
    "embedding": {"roc_auc": dense.verification_roc_auc, "recall_at_1": dense.recall_at_1},
    "detection": {"map_50": dense.map_50},
    "language": {"perplexity": _perplexity, "log_loss": _token_log_loss},
    "transcription": {
        "character_error_rate": ctc.character_error_rate,
        "word_error_rate": ctc.word_error_rate,
    },
    "reconstruction": {
        "reconstruction_error": reconstruction.reconstruction_error,
        "elbo": reconstruction.elbo,
    },
    "translation": FROM_OUTPUTS,
}

METRICS: dict[str, dict[str, Metric]] = {
    kind: {name: _robust(kind, metric) for name, metric in family.items()}
    for kind, family in _FUNCTIONS.items()
}
"""The compiled metrics of each kind of task by name; names as in ``thalweg.task.METRICS``."""


def evaluate(
    kind: str,
    names: Sequence[str],
    outputs: Array,
    target: Array,
    weight: Array | None = None,
    units: Units | None = None,
) -> dict[str, Array]:
    """Compute several metrics of one member inside a compiled program.

    What they share (sorting above all) is computed once, as the compiler merges equal work.

    Args:
        kind: kind of the task.
        names: metrics, static.
        outputs: [N, O], the head's raw outputs.
        target: [N, T] scaled values, [N] classes, or distributions.
        weight: [N], 0 or more; ``None`` weighs all rows alike.
        units: ``(mean, scale)`` of regression targets; ``None`` leaves them as they are.

    Returns:
        Name to scalar; NaN where a metric is not defined (see the module).

    Raises:
        OptionError: a name is not a metric of this kind.
    """
    _check(kind, names)
    return {name: METRICS[kind][name](outputs, target, weight, units) for name in names}


# --- host ----------------------------------------------------------------------------------------


def score(
    task: Task,
    predictions: Any,
    target: Any,
    names: Sequence[str] | None = None,
    *,
    weight: Any = None,
    scale: Any = None,
    threshold: float | None = None,
) -> dict[str, float]:
    """Score finished predictions on the host with scikit-learn.

    Args:
        task: what was predicted.
        predictions: regression: values [N] or [N, T] in the user's units; binary: the probability
            of class 1, [N], [N, 1], or of both classes, [N, 2]; multiclass: probabilities [N, C];
            segmentation: classes [N, H, W]; embedding: vectors of length 1 [N, E]; detection:
            x0, y0, x1, y1, class and score [N, K, 6]; translation: texts [N].
        target: values in the user's units [N] or [N, T]; class indices [N]; or distributions
            (binary: float [N], the probability of class 1; multiclass: float [N, C]); masks
            [N, H, W]; boxes with classes [N, M, 5]; texts [N].
        names: metrics; all of the task's kind where it is None (of texts: ``TEXT_SCORES``).
        weight: [N], 0 or more; ``None`` weighs all rows alike.
        scale: deviation of each regression target over the training rows [T], which standardised
            metrics are told in; they are left out where it is None.
        threshold: binary tasks: the probability from which class 1 is chosen; above 0.5 where it is
            None.

    Returns:
        Name to value, in the order of ``names``; metrics that are not defined for these targets are
        left out (see the module). All are NaN where a prediction is.

    Raises:
        OptionError: a name is not a metric of this kind.
        DataError: there are no rows, or not as many predictions as targets.

    Example:
        >>> task = Task("binary", ("ill",), ("no", "yes"))
        >>> score(task, [0.1, 0.6, 0.8], [0, 0, 1], ["accuracy", "roc_auc"])
        {'accuracy': 0.6666666666666666, 'roc_auc': 1.0}
    """
    if task.kind not in WRITTEN_KINDS:
        names = tuple(NAMES[task.kind]) if names is None else tuple(names)
        _check(task.kind, names)
    predictions, target = np.asarray(predictions), np.asarray(target)
    if len(predictions) != len(target) or not len(target):
        raise DataError(
            "as many predictions as targets, at least one, must be scored; got "
            f"{len(predictions)} and {len(target)}: score the rows that were predicted"
        )
    if task.kind in WRITTEN_KINDS:
        found = text_scores(predictions.tolist(), target.tolist())
        return {name: found[name] for name in names or TEXT_SCORES}
    assert names is not None
    if weight is not None:
        weight = np.asarray(weight, np.float64)
        kept = weight > 0
        predictions, target, weight = predictions[kept], target[kept], weight[kept]
        if not len(target):
            return dict.fromkeys(names, float("nan"))
    if not np.isfinite(predictions).all():
        return dict.fromkeys(names, float("nan"))
    if task.kind not in dense.SCORERS:
        predictions = predictions.astype(np.float64)
    scorers = dict(_scorers(task, predictions, target, weight, threshold))
    if task.kind == "regression" and scale is not None:
        scorers |= _standardised_scorers(predictions, target, weight, scale)
    return {name: float(scorers[name]()) for name in names if name in scorers}


def _scorers(
    task: Task,
    predictions: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    threshold: float | None,
) -> Mapping[str, Callable[[], float]]:
    if task.kind == "regression":
        return _regression_scorers(predictions, target, weight)
    if task.kind == "binary":
        return _binary_scorers(predictions, target, weight, threshold)
    if task.kind == "multilabel":
        return _multilabel_scorers(predictions, target, weight)
    if task.kind == "language":
        return _language_scorers(predictions, target, weight)
    if task.kind in dense.SCORERS:
        if weight is not None:
            raise DataError(f"a {task.kind} task is scored without weights: leave them out")
        return dense.SCORERS[task.kind](predictions, target, len(task.classes))
    return _multiclass_scorers(predictions, target, weight)


def _standardised_scorers(
    predictions: np.ndarray, target: np.ndarray, weight: np.ndarray | None, scale: np.ndarray
) -> Mapping[str, Callable[[], float]]:
    error = (predictions - target.reshape(predictions.shape)) / np.asarray(scale, np.float64)
    return {
        "standardised_mse": lambda: float(np.average(np.square(error), 0, weight).mean()),
        "standardised_mae": lambda: float(np.average(np.abs(error), 0, weight).mean()),
    }


def _regression_scorers(
    predictions: np.ndarray, target: np.ndarray, weight: np.ndarray | None
) -> Mapping[str, Callable[[], float]]:
    from sklearn import metrics

    y = target.reshape(len(target), -1).astype(np.float64)
    p = predictions.reshape(y.shape)

    def call(function: Callable[..., Any]) -> Callable[[], float]:
        return lambda: function(y, p, sample_weight=weight)

    scorers = {
        "rmse": call(metrics.root_mean_squared_error),
        "mse": call(metrics.mean_squared_error),
        "mae": call(metrics.mean_absolute_error),
        "median_absolute_error": call(metrics.median_absolute_error),
        "mape": call(metrics.mean_absolute_percentage_error),
    }
    if len(y) > 1:
        scorers["r2"] = call(metrics.r2_score)
    return scorers


def _binary_scorers(
    predictions: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    threshold: float | None,
) -> Mapping[str, Callable[[], float]]:
    from sklearn import metrics

    p = predictions.reshape(len(predictions), -1)[:, -1]
    q = target.reshape(-1).astype(np.float64)
    y = (q > 0.5).astype(int)
    chosen = ((p > 0.5) if threshold is None else (p >= threshold)).astype(int)

    def call(function: Callable[..., Any], values: np.ndarray, **options: Any) -> Any:
        return lambda: function(y, values, sample_weight=weight, **options)

    def log_loss() -> float:
        return _entropy(np.stack([1 - p, p], -1), np.stack([1 - q, q], -1), weight)

    scorers = {
        "accuracy": call(metrics.accuracy_score, chosen),
        "balanced_accuracy": call(
            metrics.recall_score, chosen, labels=np.unique(y), average="macro", zero_division=0.0
        ),
        "f1": call(metrics.f1_score, chosen, zero_division=0.0),
        "precision": call(metrics.precision_score, chosen, zero_division=0.0),
        "recall": call(metrics.recall_score, chosen, zero_division=0.0),
        "log_loss": log_loss,
        "brier": lambda: float(np.average(np.square(p - q), weights=weight)),
    }
    # scikit-learn warns about a confusion matrix with one label only.
    several = len(np.unique(np.concatenate([y, chosen]))) > 1
    scorers["matthews_corrcoef"] = (
        call(metrics.matthews_corrcoef, chosen) if several else lambda: 0.0
    )
    if y.any():
        scorers["average_precision"] = call(metrics.average_precision_score, p)
        if not y.all():
            scorers["roc_auc"] = call(metrics.roc_auc_score, p)
    return scorers


def _multiclass_scorers(
    predictions: np.ndarray, target: np.ndarray, weight: np.ndarray | None
) -> Mapping[str, Callable[[], float]]:
    from sklearn import metrics

    p = predictions / predictions.sum(axis=-1, keepdims=True)
    num_classes = p.shape[-1]
    y = target.reshape(-1).astype(int) if target.ndim == 1 else target.argmax(axis=-1)
    q = np.eye(num_classes)[y] if target.ndim == 1 else target.astype(np.float64)
    chosen = p.argmax(axis=-1)

    def call(function: Callable[..., Any], values: np.ndarray, **options: Any) -> Any:
        return lambda: function(y, values, sample_weight=weight, **options)

    def roc_auc() -> float:
        areas = [
            metrics.roc_auc_score(y == label, p[:, label], sample_weight=weight)
            for label in np.unique(y)
        ]
        return float(np.mean(areas))

    scorers = {
        "accuracy": call(metrics.accuracy_score, chosen),
        "balanced_accuracy": call(
            metrics.recall_score, chosen, labels=np.unique(y), average="macro", zero_division=0.0
        ),
        "f1_macro": call(metrics.f1_score, chosen, average="macro", zero_division=0.0),
        "log_loss": lambda: _entropy(p, q, weight),
    }
    if num_classes > _TOP:
        scorers["top_5_accuracy"] = call(
            metrics.top_k_accuracy_score, p, k=_TOP, labels=np.arange(num_classes)
        )
    if len(np.unique(y)) > 1:
        scorers["roc_auc"] = roc_auc
    return scorers


def _multilabel_scorers(
    predictions: np.ndarray, target: np.ndarray, weight: np.ndarray | None
) -> Mapping[str, Callable[[], float]]:
    from sklearn import metrics

    true, chosen = (target > 0.5).astype(int), (predictions > 0.5).astype(int)

    def f1(average: str) -> Callable[[], float]:
        return lambda: metrics.f1_score(
            true,
            chosen,
            average=average,
            sample_weight=weight,
            zero_division=0.0,  # pyright: ignore[reportArgumentType]  (its stub knows words only)
        )

    return {
        "f1_micro": f1("micro"),
        "f1_macro": f1("macro"),
        "accuracy": lambda: metrics.accuracy_score(true, chosen, sample_weight=weight),
        "hamming_loss": lambda: metrics.hamming_loss(true, chosen, sample_weight=weight),
    }


def _language_scorers(
    predictions: np.ndarray, target: np.ndarray, weight: np.ndarray | None
) -> Mapping[str, Callable[[], float]]:
    """Return the metrics of tokens' probabilities [N, T] (1 behind the end), n of them a row."""
    logs = np.log(np.maximum(predictions, np.finfo(np.float64).tiny)).sum(axis=1)
    loss = -np.average(logs, weights=weight) / max(float(np.average(target, weights=weight)), 1e-9)
    return {"perplexity": lambda: float(np.exp(loss)), "log_loss": lambda: float(loss)}


def _entropy(p: np.ndarray, q: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean of ``−Σ_c q_c·log p_c`` with scikit-learn's bound on p."""
    bounded = np.clip(p, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    return float(np.average(-np.sum(q * np.log(bounded), axis=-1), weights=weight))


def _check(kind: str, names: Sequence[str]) -> None:
    if kind not in METRICS:
        raise unknown_option("task", kind, METRICS)
    for name in names:
        if name not in METRICS[kind]:
            raise unknown_option(f"metric of a {kind} task", name, METRICS[kind])
