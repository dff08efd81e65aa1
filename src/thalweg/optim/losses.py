"""Losses of one member, example by example: ``loss(outputs [B, O], target, hp) -> [B]``.

Outputs are what the head gives: regression [B, T] values, binary [B, 1] logits, multiclass [B, C]
logits. Targets are

* regression: float [B, T] (or [B] where T = 1), scaled as in training, except for losses whose
  ``target_space`` is ``"raw"``: Poisson wants counts or rates in the user's units, 0 or more;
* binary: whole numbers [B] (0 or 1), or floats [B], the probability of class 1;
* multiclass: whole numbers [B] (class indices), or floats [B, C], full distributions;
* tasks on images: see ``dense_losses.py``; transcriptions: see
  ``ctc.py``; rows made again: see ``reconstruction.py``; written texts: see ``text.py``.

Every classification loss takes full distributions, so that label smoothing (a hyperparameter of
all of them) and mixup (done by the caller on :func:`as_distribution`) need no loss of their own:
with the smoothed target ``q = (1 − ε)·target + ε/C``, cross-entropy, focal loss and hinge are
expectations over ``q``, and the squared error compares with ``q``.

All are finite, with finite gradients, for finite outputs of any size that float32 can square.
Hyperparameters are scalars that may be traced; ``vmap`` adds the members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.errors import OptionError, unknown_option
from thalweg.nn import boxes
from thalweg.optim import ctc, reconstruction, text
from thalweg.optim import dense_losses as dense

__all__ = [
    "LOSSES",
    "Loss",
    "as_distribution",
    "metric_outputs",
    "mixed_loss",
    "predict_outputs",
    "weighted_mean",
]

Array = jax.Array
Units = tuple[Any, Any]
"""``(mean, scale)`` of regression targets, each [T] or a scalar: ``raw = scaled·scale + mean``."""

# Beyond this log rate exp goes on as a straight line (its tangent), which float32 can still hold.
_MAX_LOG_RATE = 30.0


@dataclass(frozen=True)
class Loss:
    """One loss.

    Args:
        fn: ``(outputs [B, O], target, hp) -> [B]``; ``hp`` holds every name of ``hyperparameters``.
        hyperparameters: name in a Config to default.
        target_space: ``"scaled"``: the target as trained on; ``"raw"``: in the user's units. For
            classes the two are the same.
        source: authors, title, year.
    """

    fn: Callable[[Array, Array, Mapping[str, Any]], Array]
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    target_space: Literal["scaled", "raw"] = "scaled"
    source: str = ""

    def __call__(self, outputs: Array, target: Array, hp: Mapping[str, Any] | None = None) -> Array:
        """Return each example's loss; hyperparameters missing from ``hp`` take their default."""
        return self.fn(outputs, target, {**self.hyperparameters, **(hp or {})})


# --- regression ----------------------------------------------------------------------------------


def _error(outputs: Array, target: Array) -> Array:
    return outputs - jnp.reshape(target, outputs.shape).astype(outputs.dtype)


def _mse(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``mean_t (ŷ − y)²``."""
    return jnp.mean(jnp.square(_error(outputs, target)), axis=-1)


def _mae(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``mean_t |ŷ − y|``."""
    return jnp.mean(jnp.abs(_error(outputs, target)), axis=-1)


def _huber(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``mean_t (½·a² + δ·(|r| − a))`` with ``r = ŷ − y``, ``a = min(|r|, δ)``."""
    size = jnp.abs(_error(outputs, target))
    delta = jnp.asarray(hp["huber_delta"], outputs.dtype)
    inner = jnp.minimum(size, delta)
    return jnp.mean(0.5 * inner * inner + delta * (size - inner), axis=-1)


def _log_cosh(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``mean_t log cosh(ŷ − y)``."""
    error = _error(outputs, target)
    size = jnp.abs(error)
    # −½·log(1 − tanh²) keeps small errors exact; the other form cancels there but never overflows.
    near = jnp.where(size < 1, error, 0)
    small = -0.5 * jnp.log1p(-jnp.square(jnp.tanh(near)))
    large = size + jnp.log1p(jnp.exp(-2 * size)) - float(np.log(2.0))
    return jnp.mean(jnp.where(size < 1, small, large), axis=-1)


def _quantile(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``mean_t max(q·(y − ŷ), (q − 1)·(y − ŷ))``, the pinball loss of the q-th quantile."""
    error = -_error(outputs, target)
    q = jnp.asarray(hp["quantile"], outputs.dtype)
    return jnp.mean(jnp.maximum(q * error, (q - 1) * error), axis=-1)


def _poisson(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``mean_t (eᶻ − y·z)``, outputs z = log rate, y in the user's units; ``log y!`` is left out.

    Beyond z = 30 the exponential goes on as its tangent, so that float32 does not overflow.
    """
    rate = jnp.exp(jnp.minimum(outputs, _MAX_LOG_RATE))
    rate = rate * (1 + jnp.maximum(outputs - _MAX_LOG_RATE, 0))
    return jnp.mean(rate - jnp.reshape(target, outputs.shape) * outputs, axis=-1)


# --- binary --------------------------------------------------------------------------------------


def _positive(outputs: Array, target: Array, hp: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return logits z [B] and the smoothed probability q [B] of class 1."""
    smoothing = jnp.asarray(hp["label_smoothing"], outputs.dtype)
    q = jnp.reshape(target, outputs.shape[:-1]).astype(outputs.dtype)
    return outputs[..., 0], q * (1 - smoothing) + 0.5 * smoothing


def _binary_cross_entropy(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``−q·log σ(z) − (1 − q)·log σ(−z)``."""
    z, q = _positive(outputs, target, hp)
    return q * jax.nn.softplus(-z) + (1 - q) * jax.nn.softplus(z)


def _binary_focal(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``−q·σ(−z)^γ·log σ(z) − (1 − q)·σ(z)^γ·log σ(−z)``; γ = 0 is cross-entropy."""
    z, q = _positive(outputs, target, hp)
    gamma = jnp.asarray(hp["focal_gamma"], outputs.dtype)
    up, down = jax.nn.softplus(z), jax.nn.softplus(-z)
    # σ(−z)^γ = exp(−γ·softplus(z)): a power of 0 has no finite derivative, this has.
    return q * jnp.exp(-gamma * up) * down + (1 - q) * jnp.exp(-gamma * down) * up


def _binary_hinge(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``q·max(0, 1 − z) + (1 − q)·max(0, 1 + z)``."""
    z, q = _positive(outputs, target, hp)
    return q * jax.nn.relu(1 - z) + (1 - q) * jax.nn.relu(1 + z)


def _binary_mse(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``(σ(z) − q)²``, the Brier score."""
    z, q = _positive(outputs, target, hp)
    return jnp.square(jax.nn.sigmoid(z) - q)


# --- multiclass ----------------------------------------------------------------------------------


def _distribution(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """Return the smoothed target distribution q [B, C]."""
    num_classes = outputs.shape[-1]
    smoothing = jnp.asarray(hp["label_smoothing"], outputs.dtype)
    q = as_distribution("multiclass", target, num_classes, outputs.dtype)
    return q * (1 - smoothing) + smoothing / num_classes


def _cross_entropy(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``−Σ_c q_c·log softmax(z)_c``."""
    q = _distribution(outputs, target, hp)
    return -jnp.sum(q * jax.nn.log_softmax(outputs), axis=-1)


def _focal(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``−Σ_c q_c·(1 − p_c)^γ·log p_c`` with ``p = softmax(z)``; γ = 0 is cross-entropy."""
    q = _distribution(outputs, target, hp)
    gamma = jnp.asarray(hp["focal_gamma"], outputs.dtype)
    log_p = jax.nn.log_softmax(outputs)
    top = _is_top(outputs)
    # log(1 − p) of the likeliest class from the other logits: 1 − p would be 0 where p rounds to 1.
    others = jax.nn.logsumexp(outputs, axis=-1, where=~top, keepdims=True)
    log_rest_top = others - jax.nn.logsumexp(outputs, axis=-1, keepdims=True)
    # No other class has p above ½; the bound also keeps the branch not taken finite.
    log_rest = jnp.where(top, log_rest_top, jnp.log1p(-jnp.minimum(jnp.exp(log_p), 0.5)))
    return -jnp.sum(q * jnp.exp(gamma * log_rest) * log_p, axis=-1)


def _hinge(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``Σ_c q_c·max(0, 1 − z_c + max_{j≠c} z_j)``."""
    q = _distribution(outputs, target, hp)
    top = _is_top(outputs)
    first = jnp.max(outputs, axis=-1, keepdims=True)
    second = jnp.max(outputs, axis=-1, keepdims=True, where=~top, initial=-jnp.inf)
    rival = jnp.where(top, second, first)
    return jnp.sum(q * jax.nn.relu(1 - outputs + rival), axis=-1)


def _softmax_mse(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``mean_c (softmax(z)_c − q_c)²`` (the multiclass Brier score is C times this)."""
    q = _distribution(outputs, target, hp)
    return jnp.mean(jnp.square(jax.nn.softmax(outputs) - q), axis=-1)


def _is_top(outputs: Array) -> Array:
    """Return a mask [B, C] of the first class with the largest logit."""
    return jnp.arange(outputs.shape[-1]) == jnp.argmax(outputs, axis=-1)[..., None]


_SMOOTHING = {"label_smoothing": 0.0}
_FOCAL = {**_SMOOTHING, "focal_gamma": 2.0}
_LIN = 'Lin et al., "Focal loss for dense object detection", 2017, eq. 4'
_BRIER = 'Brier, "Verification of forecasts expressed in terms of probability", 1950'


def _multilabel(loss: Callable[..., Array]) -> Callable[..., Array]:
    """Return the mean over labels of a loss for yes or no."""

    def each(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
        flat = loss(outputs.reshape(-1, 1), target.reshape(-1), hp)
        return flat.reshape(outputs.shape).mean(-1)

    each.__doc__ = f"The mean over labels of {loss.__doc__}"
    return each


def _language_cross_entropy(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``−Σ_t log p_t · N/Σ n``: the mean over the rows of a batch is the mean over its tokens."""
    del hp
    return -outputs.sum(-1) * (target.shape[0] / jnp.maximum(target.sum(), 1.0))


LOSSES: dict[str, dict[str, Loss]] = {
    "regression": {
        "mse": Loss(_mse, source="Gauss, 1809"),
        "mae": Loss(_mae, source="Boscovich, 1757"),
        "huber": Loss(
            _huber,
            {"huber_delta": 1.0},
            source='Huber, "Robust estimation of a location parameter", 1964',
        ),
        "log_cosh": Loss(
            _log_cosh, source='Chen et al., "Log hyperbolic cosine loss improves VAE", 2019'
        ),
        "quantile": Loss(
            _quantile, {"quantile": 0.5}, source='Koenker and Bassett, "Regression quantiles", 1978'
        ),
        "poisson": Loss(
            _poisson,
            target_space="raw",
            source='Nelder and Wedderburn, "Generalized linear models", 1972',
        ),
    },
    "binary": {
        "cross_entropy": Loss(_binary_cross_entropy, _SMOOTHING),
        "focal": Loss(_binary_focal, _FOCAL, source=_LIN),
        "hinge": Loss(
            _binary_hinge, _SMOOTHING, source='Cortes and Vapnik, "Support-vector networks", 1995'
        ),
        "mse": Loss(_binary_mse, _SMOOTHING, source=_BRIER),
    },
    "multiclass": {
        "cross_entropy": Loss(_cross_entropy, _SMOOTHING),
        "focal": Loss(_focal, _FOCAL, source=_LIN),
        "hinge": Loss(
            _hinge,
            _SMOOTHING,
            source='Crammer and Singer, "On the algorithmic implementation of multiclass '
            'kernel-based vector machines", 2001',
        ),
        "mse": Loss(_softmax_mse, _SMOOTHING, source=_BRIER),
    },
    "multilabel": {
        "cross_entropy": Loss(_multilabel(_binary_cross_entropy), _SMOOTHING),
        "focal": Loss(_multilabel(_binary_focal), {**_FOCAL}, source=_LIN),
    },
    "segmentation": {
        "ce_dice": Loss(dense.pixel_ce_dice, _SMOOTHING, source='Isensee et al., "nnU-Net", 2021'),
        "cross_entropy": Loss(dense.pixel_cross_entropy, _SMOOTHING),
        "focal": Loss(dense.pixel_focal, _FOCAL, source=_LIN),
        "dice": Loss(dense.pixel_dice, source='Milletari et al., "V-Net", 2016'),
    },
    "embedding": {
        "contrastive": Loss(
            dense.contrastive,
            {"temperature": 0.1},
            source='Khosla et al., "Supervised contrastive learning", 2020, eq. 2',
        ),
        "triplet": Loss(
            dense.triplet,
            {"margin": 0.3},
            source='Hermans et al., "In defense of the triplet loss", 2017, eq. 5',
        ),
        "triplet_semi_hard": Loss(
            dense.triplet_semi_hard,
            {"margin": 0.3},
            source='Schroff et al., "FaceNet", 2015, eq. 4',
        ),
    },
    "transcription": {
        "ctc": Loss(
            ctc.loss, source='Graves et al., "Connectionist temporal classification", 2006'
        ),
    },
    "reconstruction": {
        "negative_elbo": Loss(
            reconstruction.loss,
            {"beta": 1.0},
            source='Kingma and Welling, "Auto-encoding variational Bayes", 2014; Higgins et al., '
            '"beta-VAE", 2017',
        ),
    },
    "detection": {
        "giou": Loss(
            dense.detection_giou,
            source='Zhou et al., "Objects as points", 2019; Rezatofighi et al., "GIoU", 2019',
        ),
        "l1": Loss(dense.detection_l1, source='Zhou et al., "Objects as points", 2019'),
    },
    "language": {"cross_entropy": Loss(_language_cross_entropy)},
    "translation": {"cross_entropy": Loss(text.sequence_cross_entropy, _SMOOTHING)},
}
"""The losses of each kind of task by name; names as in ``thalweg.task.LOSSES``.

Label smoothing: Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016,
section 7.
"""


# --- use -----------------------------------------------------------------------------------------


def as_distribution(kind: str, target: Array, num_classes: int = 2, dtype: Any = None) -> Array:
    """Return a target as floats that can be mixed and smoothed.

    Args:
        kind: kind of the task.
        target: see the module.
        num_classes: C of a multiclass task.
        dtype: of the result; float32 (or the target's own floating type) where it is None.

    Returns:
        Multiclass: [B, C], one-hot where the target was indices (all 0 for an index outside
        0 … C − 1). Binary: [B], the probability of class 1. Regression: the target.
    """
    target = jnp.asarray(target)
    floating = jnp.issubdtype(target.dtype, jnp.floating)
    if dtype is None:
        dtype = target.dtype if floating else jnp.float32
    if kind == "multiclass" and not floating:
        return (target[..., None] == jnp.arange(num_classes)).astype(dtype)
    return target.astype(dtype)


def mixed_loss(
    kind: str,
    names: Sequence[str],
    weights: Mapping[str, Any],
    outputs: Array,
    target: Array,
    hp: Mapping[str, Any] | None = None,
    *,
    units: Units | None = None,
) -> Array:
    """Return each example's loss where members of one program use different losses.

    ``Σ_n weights[n]·loss_n(outputs, target)`` over the losses named. A loss with weight 0 is given
    harmless inputs, so that neither its value nor its gradient can spoil the others' with NaN.

    Args:
        kind: kind of the task.
        names: the losses in use in the program, static; a single one is not blended and needs no
            weight.
        weights: name to a scalar that may be traced, 1 for the member's loss and 0 for the others
            (other values blend losses); a missing name counts 0.
        outputs: [B, O].
        target: see the module; for regression the scaled target.
        hp: name to a scalar that may be traced; a missing name takes the loss's default.
        units: ``(mean, scale)`` of a regression target, from which losses with
            ``target_space == "raw"`` get theirs, ``max(target·scale + mean, 0)``. ``None``: the
            target is in the user's units already.

    Returns:
        [B].

    Raises:
        OptionError: a name is not a loss of this kind, or there is none.

    Example:
        >>> outputs, target = jnp.array([[3.0], [0.0]]), jnp.array([[0.0], [0.5]])
        >>> mixed_loss("regression", ("mse", "mae"), {"mae": 1.0}, outputs, target).tolist()
        [3.0, 0.5]
    """
    known = _losses(kind)
    hp = hp or {}
    if not names:
        raise OptionError("names must hold at least one loss; got none: name the task's loss")
    for name in names:
        if name not in known:
            raise unknown_option(f"loss of a {kind} task", name, known)
    if len(names) == 1:
        loss = known[names[0]]
        return loss(outputs, _target_of(loss, outputs, target, units), hp)
    outputs, target = jnp.asarray(outputs), jnp.asarray(target)
    total = jnp.zeros((), outputs.dtype)
    for name in names:
        loss = known[name]
        weight = jnp.asarray(weights.get(name, 0.0), outputs.dtype)
        used = weight != 0
        own_hp = {
            key: jnp.where(used, hp.get(key, default), default)
            for key, default in loss.hyperparameters.items()
        }
        own_target = _target_of(loss, outputs, target, units)
        value = loss(
            jnp.where(used, outputs, 0),
            jnp.where(used, own_target, jnp.zeros((), own_target.dtype)),
            own_hp,
        )
        total = total + jnp.where(used, weight * value, 0)
    return total


def weighted_mean(per_example: Array, weight: Array | None = None) -> Array:
    """Return ``Σ w·x / Σ w``.

    Args:
        per_example: [B] (or any shape, with a weight of the same).
        weight: 0 or more; an example with weight 0 does not count, even where it is NaN. ``None``
            weighs all alike.

    Returns:
        A scalar; 0 where all weights are 0.
    """
    if weight is None:
        return jnp.mean(per_example)
    weight = weight.astype(per_example.dtype)
    total = jnp.sum(weight)
    kept = jnp.where(weight > 0, per_example, 0)
    return jnp.sum(kept * weight) / jnp.where(total > 0, total, 1)


def predict_outputs(kind: str, outputs: Any, loss: str | None = None) -> Any:
    """Return predictions from the head's outputs; NumPy arrays in, NumPy arrays out.

    Args:
        kind: kind of the task.
        outputs: [..., O], NumPy or JAX.
        loss: the member's loss; only ``"poisson"`` matters.

    Returns:
        Regression: the outputs [..., T] (scaled as in training); with Poisson ``eᶻ``, the rate in
        the user's units. Binary: ``σ(z)`` [...], the probability of class 1. Multiclass:
        ``softmax(z)`` [..., C]; segmentation likewise. Detection: probabilities and distances in
        pixels, see ``thalweg.nn.boxes``. Embedding, transcription, reconstruction: the outputs.
        Language: each token's probability. Multilabel: ``σ(z)`` [..., C]. With hinge and focal loss
        probabilities are scores between 0 and 1 that rank and choose as the logits do, but they are
        not calibrated.

    Raises:
        OptionError: the kind or the loss is unknown.
    """
    if loss is not None and loss not in _losses(kind):
        raise unknown_option(f"loss of a {kind} task", loss, _losses(kind))
    xp = outputs.__array_namespace__()
    if kind == "regression":
        return xp.exp(xp.minimum(outputs, 80.0)) if loss == "poisson" else outputs
    if kind in ("embedding", "transcription", "reconstruction"):
        return outputs
    if kind == "language":
        return xp.exp(outputs)
    if kind == "multilabel":
        return xp.exp(-xp.logaddexp(-outputs, xp.zeros_like(outputs)))
    if kind == "detection":
        return boxes.activate(outputs)
    if kind == "binary":
        return xp.exp(-xp.logaddexp(-outputs[..., 0], xp.zeros_like(outputs[..., 0])))
    grown = xp.exp(outputs - xp.max(outputs, axis=-1, keepdims=True))
    return grown / xp.sum(grown, axis=-1, keepdims=True)


def metric_outputs(
    kind: str,
    names: Sequence[str],
    weights: Mapping[str, Any],
    outputs: Array,
    *,
    units: Units | None = None,
) -> Array:
    """Return outputs as the metrics want them: scaled values or logits, whatever the loss.

    Only Poisson's outputs differ (log rates in the user's units): they become
    ``(eᶻ − mean)/scale``.

    Args:
        kind: kind of the task.
        names: the losses in use in the program, static.
        weights: name to a scalar that may be traced, 1 for the member's loss.
        outputs: [N, O].
        units: ``(mean, scale)`` of a regression target.

    Returns:
        [N, O].
    """
    if kind != "regression" or "poisson" not in names:
        return outputs
    mean, scale = (0.0, 1.0) if units is None else units
    rates = (predict_outputs(kind, outputs, "poisson") - mean) / scale
    if len(names) == 1:
        return rates
    return jnp.where(jnp.asarray(weights.get("poisson", 0.0)) != 0, rates, outputs)


def _losses(kind: str) -> dict[str, Loss]:
    try:
        return LOSSES[kind]
    except KeyError:
        raise unknown_option("task", kind, LOSSES) from None


def _target_of(loss: Loss, outputs: Array, target: Array, units: Units | None) -> Array:
    if loss.target_space == "scaled" or units is None:
        return target
    mean, scale = units
    # Scaling and back may leave a count of 0 slightly negative.
    return jnp.maximum(jnp.reshape(target, outputs.shape) * scale + mean, 0)
