"""Training ONE configuration, top to bottom: forward, loss, backward, clip, update, evaluate.

Everything here is pure and written for one member; ``engine.py`` maps it over many and compiles it.
What no member of a cohort uses is left out of the program (``Features`` is static); what they use
with different values is an argument (the scalars of a step, one row of the cohort's table).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import Array, lax

from thalweg.models.base import Network, Ragged, cut_fields, cuts_of
from thalweg.nn import augment, geometry, noise, spectrogram
from thalweg.nn.layers import Context
from thalweg.optim import rules
from thalweg.optim.clipping import clip_by_global_norm, clip_by_value
from thalweg.optim.dense_metrics import SUMMARIES
from thalweg.optim.external import External
from thalweg.optim.losses import metric_outputs, mixed_loss, weighted_mean
from thalweg.optim.metrics import METRICS
from thalweg.task import Task
from thalweg.training import sharing
from thalweg.training.packing import Packing

Tree = dict[str, Any]
Units = tuple[Any, Any]
"""Mean and scale of each regression target, [T] each."""
AUGMENTATIONS = (*augment.NAMES, *spectrogram.NAMES, "token_dropout", "token_swap")
"""Hyperparameters that change training images, recordings or texts."""
COUNTING = ("accuracy", "balanced_accuracy", "top_5_accuracy", "f1", "f1_macro")
"""Metrics that count rows: many members, and many steps of one member, are level."""


@dataclass(frozen=True)
class Features:
    """What the members of a study use: static, so that the rest costs nothing.

    Attributes:
        uses: terms of the rule table's update.
        losses: names of the losses in use.
        external: the structural optimizer that takes the table's place, or None.
        dropout: whether any member drops units.
        l1: whether any member has an L1 penalty.
        l2: whether any member has an L2 penalty.
        clip_norm: whether any member clips by global norm.
        clip_value: whether any member clips by value.
        label_smoothing: whether any member smooths its labels.
        mixup: whether any member mixes pairs of rows.
        input_noise: whether any member adds noise to its inputs.
        ema: whether any member averages its weights.
        augment: names of the image augmentations that any member uses.
        cutmix: whether any member mixes by cutting out boxes.
        class_weight: number of classes where any member weights them, else 0.
        row_weight: whether the rows carry weights.
    """

    uses: rules.Uses
    losses: tuple[str, ...]
    external: External | None = None
    dropout: bool = False
    l1: bool = False
    l2: bool = False
    clip_norm: bool = False
    clip_value: bool = False
    label_smoothing: bool = False
    mixup: bool = False
    input_noise: bool = False
    ema: bool = False
    augment: tuple[str, ...] = ()
    cutmix: bool = False
    class_weight: int = 0
    row_weight: bool = False

    @property
    def loss_hyperparameters(self) -> tuple[str, ...]:
        """Names of the constants that the losses in use read."""
        names = ["label_smoothing"] if self.label_smoothing else []
        owners = {
            "focal": "focal_gamma",
            "huber": "huber_delta",
            "quantile": "quantile",
            "triplet": "margin",
            "triplet_semi_hard": "margin",
            "contrastive": "temperature",
            "negative_elbo": "beta",
        }
        own = dict.fromkeys(owners[loss] for loss in self.losses if loss in owners)
        return (*names, *own)

    @property
    def constants(self) -> tuple[str, ...]:
        """Names of the members' constants that the program reads."""
        own = ("dropout", "l1", "l2", "clip_norm", "clip_value", "input_noise", "cutmix")
        used = (name for name in own if getattr(self, name))
        return (*used, *self.augment, *self.loss_hyperparameters)

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the structural optimizer's own hyperparameters."""
        return tuple(self.external.hyperparameters) if self.external else ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of a member's scalars at a step, in the order of a row of the cohort's table.

        Those of the rule table change from step to step, and so may ``mixup`` and ``ema``; the
        others are the member's constants.
        """
        stepwise = tuple(name for name in ("mixup", "ema") if getattr(self, name))
        losses = tuple(f"loss:{name}" for name in self.losses) if len(self.losses) > 1 else ()
        classes = tuple(f"class:{i}" for i in range(self.class_weight))
        return (*self.uses.columns, *stepwise, *self.constants, *losses, *classes, *self.own)


class Rows(NamedTuple):
    """Some rows of a data set on the device: fields [B, …], target [B, …], weight [B] or None.

    ``bucket`` is the number of the length that the rows fit into, where there are several.
    """

    fields: dict[str, Array]
    target: Array
    weight: Array | None = None
    bucket: Array | None = None

    def take(self, index: Array) -> Rows:
        """Return the rows with these indices."""
        return Rows(
            {name: values[index] for name, values in self.fields.items()},
            self.target[index],
            None if self.weight is None else self.weight[index],
        )

    def cut(self, widths: Mapping[str, int]) -> Rows:
        """Return the rows with these fields (``"target"`` is the target) cut to a length."""
        return self._replace(
            fields={n: v[:, : widths[n]] if n in widths else v for n, v in self.fields.items()},
            target=self.target[:, : widths["target"]] if "target" in widths else self.target,
            bucket=None,
        )


class Carry(NamedTuple):
    """What one member carries from step to step (members on the host: NumPy arrays, [K, …]).

    ``params``, the slots of ``opt``, ``ema`` and ``best`` are packed (see ``packing.py``). ``best``
    holds the weights and state at the best evaluation so far, ``ema`` the averaged weights (empty
    without the feature), ``loss_sum`` the batch losses since the last evaluation.
    """

    params: Tree
    opt: Any
    state: Tree
    ema: Tree
    best: tuple[Tree, Tree]
    best_score: Any
    loss_sum: Any
    alive: Any


class Record(NamedTuple):
    """What one evaluation of a member yields, all scalars (of members on the host: [K])."""

    train_loss: Any
    validation_loss: Any
    validation: Any
    probe: Any
    probe_loss: Any
    alive: Any
    score: Any


@dataclass(frozen=True)
class Member:
    """The static part of training one member.

    Args:
        network: the network of its structure.
        task: what is predicted and which metric chooses.
        features: what the program must contain.
        units: mean and scale of the targets, for metrics in the user's units.
        num_validation: the first so many evaluated rows are the validation set; the rest probe
            the training set.
        chunk: rows that are predicted at a time in an evaluation; all at once where None.
        widths: lengths that a step's rows may be cut to, see ``buckets.py``; empty for none.
        parts: cores that share each batch, see ``sharing.py``.
    """

    network: Network
    task: Task
    features: Features
    units: Units | None
    num_validation: int
    chunk: int | None = None
    widths: tuple[Mapping[str, int], ...] = ()
    parts: int = 1

    @cached_property
    def packing(self) -> Packing:
        """How the parameters are kept between steps."""
        return Packing(tuple((n, spec.shape) for n, spec in self.network.params().items()))

    def scalars(self, row: Array) -> Tree:
        """Return a member's scalars by name from a row [C] of the cohort's table."""
        return {name: row[i] for i, name in enumerate(self.features.columns)}

    # ------------------------------------------------------------------------------------- loss

    def loss(
        self, params: Tree, state: Tree, rows: Rows, scalars: Tree, key: noise.Key
    ) -> tuple[Array, tuple[Tree, Array]]:
        """Return a batch's mean loss (what its rows add to it, where cores share the batch).

        With it come the new state and the same loss.
        """
        features = self.features
        weight = rows.weight
        if features.class_weight:
            by_class = jnp.stack([scalars[f"class:{i}"] for i in range(features.class_weight)])
            by_class = class_weights_of(rows.target, by_class)
            weight = by_class if weight is None else weight * by_class
        strengths = {name: scalars[name] for name in features.augment}
        if self.task.kind in geometry.TOGETHER:
            # What moves an image moves its mask or its boxes with it.
            rows, strengths = self._move(rows, strengths, key)
        context = Context(
            train=True,
            dropout=scalars["dropout"] if features.dropout else None,
            key=key,
            weight=rows.weight,
            input_noise=scalars["input_noise"] if features.input_noise else None,
            mix=scalars["mixup"] if features.mixup else None,
            cutmix=scalars["cutmix"] if features.cutmix else None,
            augment=strengths or None,
        )
        outputs, state = self.network.apply(params, state, rows.fields, context)
        per_row = self._loss_of(outputs, rows.target, scalars)
        if features.mixup:
            # The order within a batch is random, so its reverse is a random pairing. (With full
            # batches a row keeps its partner, and only their shares change.)
            share = scalars["mixup"]
            other = self._loss_of(outputs, rows.target[::-1], scalars)
            per_row = share * per_row + (1.0 - share) * other
        value = weighted_mean(per_row, weight)
        if self.parts > 1:
            # A batch of windows of a text is the mean over its tokens.
            counts = rows.target if self.task.kind == "language" else weight
            value = value * sharing.share_of(counts, self.parts)
        return value, (state, value)

    def _move(self, rows: Rows, strengths: Tree, key: noise.Key) -> tuple[Rows, Tree]:
        """Move images and targets alike; return them and the strengths of the other changes."""
        image, target = geometry.together(
            self.task.kind, rows.fields["image"], rows.target, strengths, key
        )
        moved = Rows({**rows.fields, "image": image}, target, rows.weight)
        return moved, {n: v for n, v in strengths.items() if n not in geometry.MOVES}

    def _loss_of(self, outputs: Array, target: Array, scalars: Tree) -> Array:
        return mixed_loss(
            self.task.kind,
            self.features.losses,
            self._loss_weights(scalars),
            outputs,
            target,
            {n: scalars[n] for n in self.features.loss_hyperparameters if n in scalars},
            units=self.units,
        )

    def _loss_weights(self, scalars: Tree) -> Tree:
        """Return 1 for the member's loss and 0 for the others in use; nothing if all use one."""
        if len(self.features.losses) == 1:
            return {}
        return {name: scalars[f"loss:{name}"] for name in self.features.losses}

    def gradients(
        self, carry: Carry, rows: Rows, scalars: Tree, key: noise.Key
    ) -> tuple[Array, Tree, Tree]:
        """Return loss, clipped gradients (penalties included) and the new state."""
        if rows.bucket is not None:

            def at(widths: Mapping[str, int]) -> Callable[..., tuple[Array, Tree, Tree]]:
                return lambda carry, rows, scalars, key: self.gradients(
                    carry, rows.cut(widths), scalars, key
                )

            branches = [at(widths) for widths in self.widths]
            return lax.switch(rows.bucket, branches, carry, rows, scalars, key)
        features = self.features
        params = self.packing.unpack(carry.params)

        def both(rows: Rows) -> Any:
            return jax.value_and_grad(self.loss, has_aux=True)(
                params, carry.state, rows, scalars, key
            )

        (value, (state, _)), grads = self._by_length(both, rows)
        if self.parts > 1:
            value, grads = sharing.total((value, grads))
        if features.l1 or features.l2:
            # The penalties' own gradients: l1·sign(w) + l2·w on kernels and embeddings.
            regularised = regularised_names(self.network)
            grads = {
                name: g + self._penalty_gradient(params[name], scalars)
                if name in regularised
                else g
                for name, g in grads.items()
            }
        if features.clip_value:
            grads = clip_by_value(grads, scalars["clip_value"])
        if features.clip_norm:
            grads = clip_by_global_norm(grads, scalars["clip_norm"])
        return value, grads, state

    def _by_length(self, function: Callable[[Any], Any], rows: Any) -> Any:
        """Return ``function`` of rows, without the columns that none of them fills.

        The rows of a batch are the same for all members of a seed, so that one branch is computed.
        """
        cuts = cuts_of(self.network)
        if not cuts:
            return function(rows)
        fields = rows.fields if isinstance(rows, Rows) else rows
        longest = cast(Ragged, self.network).used(fields).max()
        sizes = jnp.array([next(iter(cut.values())) for cut in cuts[:-1]])

        def shortened(cut: Mapping[str, int]) -> Callable[[], Any]:
            short = cut_fields(fields, cut)
            return lambda: function(
                rows._replace(fields=short) if isinstance(rows, Rows) else short
            )

        return lax.switch((longest > sizes).sum(), [shortened(cut) for cut in cuts])

    def _penalty_gradient(self, w: Array, scalars: Tree) -> Array:
        terms = []
        if self.features.l1:
            terms.append(scalars["l1"] * jnp.sign(w))
        if self.features.l2:
            terms.append(scalars["l2"] * w)
        return sum(terms[1:], start=terms[0])

    # ------------------------------------------------------------------------------------- step

    def step(self, carry: Carry, rows: Rows, row: Array, key: noise.Key) -> Carry:
        """Take one optimisation step.

        Args:
            carry: the member before the step.
            rows: its batch.
            row: the member's scalars, [C], in the order of ``features.columns``.
            key: the step's random key, common to the members of a seed.
        """
        features = self.features
        scalars = self.scalars(row)
        value, grads, state = self.gradients(carry, rows, scalars, key)
        # A member whose loss is no longer finite is frozen where it is; its neighbours go on.
        alive = carry.alive & jnp.isfinite(value)
        if features.external is not None:
            params, opt = self._external_step(carry, grads, value, rows, scalars, key)
            params, opt = freeze(alive, (params, opt), (carry.params, carry.opt))
        else:
            params, opt = rules.update(
                carry.params,
                self.packing.pack(grads),
                carry.opt,
                scalars,
                features.uses,
                alive,
                segments=self.packing.segments,
            )
        ema = carry.ema
        if features.ema:
            decay = scalars["ema"]
            ema = {n: decay * e + (1.0 - decay) * params[n] for n, e in carry.ema.items()}
        return carry._replace(
            params=params,
            opt=opt,
            state=freeze(alive, state, carry.state) if state else state,
            ema=freeze(alive, ema, carry.ema) if features.ema else ema,
            loss_sum=carry.loss_sum + value,
            alive=alive,
        )

    def _external_step(
        self,
        carry: Carry,
        grads: Tree,
        value: Array,
        rows: Rows,
        scalars: Tree,
        key: noise.Key,
    ) -> tuple[Tree, Any]:
        external = self.features.external
        assert external is not None

        def value_fn(params: Tree) -> Array:
            return self.loss(params, carry.state, rows, scalars, key)[0]

        params = self.packing.unpack(carry.params)
        updates, opt = external.update(grads, carry.opt, params, scalars, value, value_fn)
        return self.packing.pack(jax.tree.map(jnp.add, params, updates)), opt

    # --------------------------------------------------------------------------------- evaluate

    def _rank(self, validation: Array, loss: Array) -> Array:
        """Return the signed metric; between equal counts of right rows the smaller loss decides.

        The loss moves the score by less than half of what one row does.
        """
        score = self.task.sign * validation
        if self.task.metric in COUNTING:
            score = score - (0.5 / max(self.num_validation, 1)) * loss / (1.0 + loss)
        return score

    def weights(self, carry: Carry, scalars: Tree) -> Tree:
        """Return the (packed) weights that predict: averaged ones where the member averages."""
        external = self.features.external
        if external is not None and external.averaged is not None:
            params = self.packing.unpack(carry.params)
            return self.packing.pack(external.evaluation_params(carry.opt, params, scalars))
        return carry.ema if self.features.ema else carry.params

    def predict(self, params: Tree, state: Tree, fields: Mapping[str, Array]) -> Array:
        """Return raw outputs [B, O] (or whatever the head gives for each row)."""

        def outputs(fields: Mapping[str, Array]) -> Array:
            return self.network.apply(params, state, fields, Context())[0]

        return self._by_chunk(lambda some: self._by_length(outputs, some), fields)

    def _by_chunk(self, function: Callable[[Any], Any], rows: Any) -> Any:
        """Return ``function`` of a tree of rows [N, …], computed on some of them at a time."""
        if self.parts > 1:
            return sharing.by_parts(lambda own: self._chunked(function, own), rows, self.parts)
        return self._chunked(function, rows)

    def _chunked(self, function: Callable[[Any], Any], rows: Any) -> Any:
        num = jax.tree.leaves(rows)[0].shape[0]
        if self.chunk is None or self.chunk >= num:
            return function(rows)
        size = self.chunk
        count = -(-num // size)

        def chunked(values: Array) -> Array:
            padding = [(0, count * size - num)] + [(0, 0)] * (values.ndim - 1)
            return jnp.pad(values, padding).reshape(count, size, *values.shape[1:])

        done = lax.map(function, jax.tree.map(chunked, rows))
        return jax.tree.map(lambda a: a.reshape(count * size, *a.shape[2:])[:num], done)

    def evaluate(
        self, carry: Carry, rows: Rows, row: Array, num_steps: Array
    ) -> tuple[Carry, Record]:
        """Score the member on the validation rows and on the probe of the training rows.

        The best weights so far are kept; the running loss starts anew.
        """
        scalars = self.scalars(row)
        params = self.weights(carry, scalars)
        scalars.pop("label_smoothing", None)
        if self.task.kind in SUMMARIES:
            both = self._summary_scores(self.packing.unpack(params), carry.state, rows, scalars)
        else:
            raw = self.predict(self.packing.unpack(params), carry.state, rows.fields)
            both = self._both_scores(raw, rows.target, scalars)
        (validation, loss, tie), (probe, probe_loss, _) = both
        alive = carry.alive & jnp.isfinite(loss)
        score = jnp.where(alive, self._rank(validation, tie), -jnp.inf)
        improved = score > carry.best_score
        best = freeze(improved, (params, carry.state), carry.best)
        train_loss = carry.loss_sum / jnp.maximum(num_steps, 1).astype(jnp.float32)
        record = Record(train_loss, loss, validation, probe, probe_loss, alive, score)
        carry = carry._replace(
            best=best,
            best_score=jnp.maximum(score, carry.best_score),
            loss_sum=jnp.zeros_like(carry.loss_sum),
            alive=alive,
        )
        return carry, record

    def _both_scores(
        self, raw: Array, target: Array, scalars: Tree
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Return metric, mean loss and what breaks ties, of validation rows and of the probe's."""
        task, cut, losses = self.task, self.num_validation, self.features.losses
        metrics = METRICS[task.kind]

        def scores(raw: Array, target: Array) -> tuple[Array, ...]:
            weights = self._loss_weights(scalars)
            outputs = metric_outputs(task.kind, losses, weights, raw, units=self.units)
            loss = self._loss_of(raw, target, scalars).mean()
            # Outputs that are not finite have spoilt it: the metric need not look again.
            failed = ~jnp.isfinite(loss)
            value = metrics[task.metric](outputs, target, None, self.units, failed)
            tie = loss
            if task.metric in COUNTING and len(losses) > 1:
                # Members with different losses are compared by one that is the same for all.
                tie = metrics["log_loss"](outputs, target, None, self.units, failed)
            return value, loss, tie

        if raw.shape[0] == 2 * cut:
            # Both at once: half the program to compile.
            halves = (
                raw.reshape(2, cut, *raw.shape[1:]),
                target.reshape(2, cut, *target.shape[1:]),
            )
            both = jax.vmap(scores)(*halves)
            return tuple(v[0] for v in both), tuple(v[1] for v in both)
        return scores(raw[:cut], target[:cut]), scores(raw[cut:], target[cut:])

    def _summary_scores(
        self, params: Tree, state: Tree, rows: Rows, scalars: Tree
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Do the same where outputs are too large to be kept for all rows: from their summaries."""
        summary = SUMMARIES[self.task.kind]

        def part(rows: tuple[Mapping[str, Array], Array]) -> Any:
            fields, target = rows
            raw = self.network.apply(params, state, fields, Context())[0]
            # A row that is not finite spoils its loss, and with it the member.
            return summary.rows(raw, target), self._loss_of(raw, target, scalars)

        kept, losses = self._by_chunk(part, (rows.fields, rows.target))
        metric, cut = summary.metrics[self.task.metric], self.num_validation

        def scores(chosen: slice) -> tuple[Array, ...]:
            loss = losses[chosen].mean()
            return (
                metric(jax.tree.map(lambda a: a[chosen], kept), jnp.ones_like(losses[chosen])),
                loss,
                loss,
            )

        return scores(slice(cut)), scores(slice(cut, None))


def freeze(go: Array, new: Any, old: Any) -> Any:
    """Return ``new`` where ``go`` holds, else ``old``, entry by entry of two trees."""
    return jax.tree.map(lambda a, b: jnp.where(go, a, b), new, old)


def class_weights_of(target: Array, by_class: Array) -> Array:
    """Return each row's weight from its class, or from its distribution over classes."""
    if target.ndim == 2:
        return target @ by_class
    return by_class[target]


def regularised_names(network: Network) -> frozenset[str]:
    """Return the parameters that L1 and L2 act on: kernels and embeddings, not biases or scales."""
    return frozenset(
        name for name, spec in network.params().items() if spec.role in ("kernel", "embedding")
    )


def step_key(seed_key: Array, step: Array) -> Array:
    """Return the random key of a step: a function of seed and step alone."""
    return noise.fold(seed_key, step)
