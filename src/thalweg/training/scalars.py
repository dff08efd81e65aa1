"""What a step is given besides its member: the rows of its batch and the member's scalars.

All of it is a function of Config, seed and step alone, computed on the host in float64, so that a
run can be taken up at any step and a member gets the same in every cohort.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from thalweg.errors import SpaceError
from thalweg.optim import rules, schedules
from thalweg.optim.external import EXTERNAL
from thalweg.space import HYPERPARAMETERS, Config
from thalweg.task import LABEL_KINDS, ROW_KINDS, Task
from thalweg.training.member import AUGMENTATIONS, Features

EPOCHS_ROWS = 4096


@lru_cache(maxsize=64)
def _epochs_order(seed: int, chunk: int, num_epochs: int, num_rows: int) -> np.ndarray:
    """Return the row order of ``num_epochs`` epochs in a row, [num_epochs · num_rows]."""
    rng = np.random.default_rng([0xBA7C, seed, chunk])
    rows = np.tile(np.arange(num_rows, dtype=np.int32), (num_epochs, 1))
    return rng.permuted(rows, axis=1, out=rows).reshape(-1)


POOL = 32
"""Batches among which rows are sorted by length."""


def batch_indices(
    seed: int,
    num_rows: int,
    batch_size: int,
    first_step: int,
    num_steps: int,
    lengths: np.ndarray | None = None,
) -> np.ndarray:
    """Return the rows of each batch, [num_steps, batch_size], a function of seed and step alone.

    Epochs follow each other without a gap: every row is seen once an epoch, every batch is full,
    and a batch may straddle two epochs.

    Args:
        seed: seed of the order.
        num_rows: rows to choose from.
        batch_size: rows of a batch.
        first_step: the first step asked for.
        num_steps: how many steps.
        lengths: where given, the rows of 32 batches are dealt to them by their lengths [num_rows],
            and the batches come in random order.
    """
    if lengths is not None:
        first, last = first_step // POOL, (first_step + num_steps - 1) // POOL
        pools = [
            _pool(seed, num_rows, batch_size, pool, lengths) for pool in range(first, last + 1)
        ]
        start = first_step - first * POOL
        return np.concatenate(pools)[start : start + num_steps]
    # Epochs of few rows are drawn many at a time: making a generator costs more than the draw.
    num_epochs = max(1, EPOCHS_ROWS // num_rows)
    size = num_epochs * num_rows
    start, stop = first_step * batch_size, (first_step + num_steps) * batch_size
    chunks = range(start // size, (stop - 1) // size + 1)
    order = np.concatenate([_epochs_order(seed, chunk, num_epochs, num_rows) for chunk in chunks])
    offset = start - chunks[0] * size
    return order[offset : offset + stop - start].reshape(num_steps, batch_size)


def _pool(
    seed: int, num_rows: int, batch_size: int, number: int, lengths: np.ndarray
) -> np.ndarray:
    """Return the batches of a pool, [POOL, batch_size], each of rows of about one length."""
    rows = batch_indices(seed, num_rows, batch_size, number * POOL, POOL).reshape(-1)
    batches = rows[np.argsort(lengths[rows], kind="stable")].reshape(POOL, batch_size)
    return batches[np.random.default_rng([0xB0C, seed, number]).permutation(POOL)]


@lru_cache(maxsize=256)
def _mixup_uniform(seed: int, first_step: int, num_steps: int) -> np.ndarray:
    steps = range(first_step, first_step + num_steps)
    return np.array([np.random.default_rng([0x3117, seed, step]).random() for step in steps])


def features_of(
    configs: Iterable[Mapping[str, Any]], task: Task, *, row_weight: bool = False
) -> Features:
    """Return what a program must contain to train these Configs.

    Pass all Configs of a study, so that each structure is compiled once.

    Raises:
        OptionError: for an optimizer or loss that is not known.
    """
    configs = [c if isinstance(c, Config) else Config(c) for c in configs]

    def values(name: str) -> set[Any]:
        return {c.get_or_default(name) for c in configs}

    def beyond(name: str, neutral: Any) -> bool:
        return any(value != neutral for value in values(name))

    optimizers = values("optimizer")
    external = [EXTERNAL[name] for name in sorted(optimizers & EXTERNAL.keys())]
    if len(external) > 1:
        raise SpaceError(
            "structural optimizers are compiled one by one; got "
            + ", ".join(sorted(optimizers & EXTERNAL.keys()))
        )
    if task.kind not in (*ROW_KINDS, *LABEL_KINDS) and beyond("mixup", 0.0):
        raise SpaceError(
            f"mixup mixes labels, which a {task.kind} task has none of to mix: leave it out, or 0"
        )
    losses = sorted({c.get_or_default("loss") or task.loss for c in configs})
    for name in losses:
        task.with_choice(loss=name)
    return Features(
        uses=rules.features([] if external else sorted(optimizers)),
        losses=tuple(losses),
        external=external[0] if external else None,
        dropout=beyond("dropout", 0.0),
        l1=beyond("l1", 0.0),
        l2=beyond("l2", 0.0),
        clip_norm=beyond("clip_norm", np.inf),
        clip_value=beyond("clip_value", np.inf),
        label_smoothing=beyond("label_smoothing", 0.0),
        mixup=beyond("mixup", 0.0),
        input_noise=beyond("input_noise", 0.0),
        ema=beyond("ema", 0.0),
        augment=tuple(name for name in AUGMENTATIONS if beyond(name, 0.0)),
        cutmix=beyond("cutmix", 0.0) and beyond("mixup", 0.0),
        class_weight=(
            max(len(task.classes), 2)
            if beyond("class_weight", 0.0) and task.kind in ("binary", "multiclass")
            else 0
        ),
        row_weight=row_weight,
    )


def constants_of(
    configs: Sequence[Config], task: Task, features: Features, class_share: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return the members' constants by column, float64 [K] each."""
    table = {
        name: np.array([c.get_or_default(name) for c in configs], np.float64)
        for name in features.constants
    }
    if len(features.losses) > 1:
        chosen = [c.get_or_default("loss") or task.loss for c in configs]
        for name in features.losses:
            table[f"loss:{name}"] = np.array([c == name for c in chosen], np.float64)
    if features.class_weight:
        assert class_share is not None
        power = np.array([c.get_or_default("class_weight") for c in configs])[:, None]
        inverse = np.maximum(class_share, 1e-12)[None] ** -power
        # The mean weight over the training rows is one, so that learning rates keep their meaning.
        weights = inverse / (inverse * class_share[None]).sum(1, keepdims=True)
        for i in range(features.class_weight):
            table[f"class:{i}"] = weights[:, i]
    if features.external is not None:
        for name, default in features.external.hyperparameters.items():
            table[name] = np.array([c.get(name, default) for c in configs], np.float64)
    return table


def scalars_of(
    configs: Sequence[Config],
    seeds: Sequence[int],
    features: Features,
    constants: Mapping[str, np.ndarray],
    schedule: np.ndarray,
    first_step: int,
) -> np.ndarray:
    """Return the scalars of K members for T steps, float32 [T, K, C] by ``features.columns``.

    Args:
        configs: each member's Config.
        seeds: each member's seed.
        features: what the program contains.
        constants: from ``constants_of``, for these members.
        schedule: factor on the learning rate, [T, K].
        first_step: number of the first step, from 0.
    """
    num_steps, num_members = schedule.shape
    given = numeric_columns(configs)
    columns: dict[str, np.ndarray] = {}
    if features.external is None:
        kinds = [c.get_or_default("optimizer") for c in configs]
        columns |= _rule_columns(kinds, given, schedule, first_step, features.uses)
    else:
        rate = [c.get("learning_rate", features.external.learning_rate) for c in configs]
        columns["learning_rate"] = schedule * np.array(rate)
        columns["weight_decay"] = np.array([c.get("weight_decay", 0.0) for c in configs])
    if features.mixup:
        alpha = np.array([c.get_or_default("mixup") for c in configs])
        unit = np.stack([_mixup_uniform(s, first_step, num_steps) for s in seeds], 1)
        columns["mixup"] = _mixup_share(alpha, unit)
    if features.ema:
        decay = np.array([c.get_or_default("ema") for c in configs])
        steps = np.arange(first_step, first_step + num_steps)[:, None]
        # A short history is averaged over its own length, so that the start does not linger.
        columns["ema"] = np.minimum(decay, (1.0 + steps) / (10.0 + steps)) * (decay > 0)
    out = np.empty((num_steps, num_members, len(features.columns)), np.float32)
    for i, name in enumerate(features.columns):
        out[..., i] = columns[name] if name in columns else constants[name]
    return out


def _rule_columns(
    kinds: Sequence[str],
    given: Mapping[str, np.ndarray],
    schedule: np.ndarray,
    first_step: int,
    uses: rules.Uses,
) -> dict[str, np.ndarray]:
    """Return the rule table of K members, computed once for members that share all coefficients.

    Members mostly differ in learning rate and weight decay, which are columns of their own.
    """
    filled = rules.hyperparameters(kinds, given)
    # AdaBound's bounds depend on the learning rate; for all others it is a factor outside.
    inside = [
        name
        for name in filled
        if name != "weight_decay" and (name != "learning_rate" or "final_lr" in filled)
    ]
    chosen, place = _distinct(kinds, {name: filled[name] for name in inside})
    distinct = rules.table(
        [kinds[i] for i in chosen],
        {name: values[chosen] for name, values in filled.items()},
        first_step + 1,
        len(schedule),
        uses=uses,
    )
    if len(chosen) == 1:
        columns: dict[str, np.ndarray] = dict(distinct)
    else:
        columns = {name: values[:, place] for name, values in distinct.items()}
    columns["learning_rate"] = schedule * filled["learning_rate"]
    columns["weight_decay"] = filled["weight_decay"]
    return columns


def schedule_of(
    configs: Sequence[Config], first_step: int, num_steps: int, total_steps: int
) -> np.ndarray:
    """Return the factor on each learning rate, float64 [T, K], computed once for equals."""
    kinds = [c.get_or_default("schedule") for c in configs]
    filled = schedules.hyperparameters(kinds, numeric_columns(configs))
    chosen, place = _distinct(kinds, filled)
    distinct = schedules.factors(
        [kinds[i] for i in chosen],
        {name: values[chosen] for name, values in filled.items()},
        first_step,
        num_steps,
        np.full(len(chosen), total_steps),
    )
    return distinct[:, place]


def _distinct(
    kinds: Sequence[str], values: Mapping[str, np.ndarray]
) -> tuple[list[int], np.ndarray]:
    """Return one member of each group that agrees in kind and values, and each member's group."""
    groups: dict[tuple[Any, ...], int] = {}
    chosen: list[int] = []
    place = np.empty(len(kinds), int)
    for i, kind in enumerate(kinds):
        # NaN marks what a kind does not have, and is not equal to itself.
        own = (float(column[i]) for column in values.values())
        key = (kind, *(None if value != value else value for value in own))
        if key not in groups:
            groups[key] = len(chosen)
            chosen.append(i)
        place[i] = groups[key]
    return chosen, place


def _mixup_share(alpha: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return the larger share of the mixture, Beta(alpha, alpha) at the quantiles ``unit``."""
    from scipy.special import betaincinv

    shape = np.maximum(alpha, 1e-6)
    share = betaincinv(shape, shape, unit)
    return np.where(alpha > 0, np.maximum(share, 1.0 - share), 1.0)


def numeric_columns(configs: Sequence[Config]) -> dict[str, np.ndarray]:
    """Return the traced numeric hyperparameters that some Config gives, float64 [K] each.

    NaN stands where a Config leaves one to its rule or schedule.
    """
    names = dict.fromkeys(name for c in configs for name in c)
    columns = {}
    for name in names:
        values = [c.get(name) for c in configs]
        if HYPERPARAMETERS[name].structural or any(isinstance(v, str | bool) for v in values):
            continue
        columns[name] = np.array([np.nan if v is None else v for v in values], np.float64)
    return columns
