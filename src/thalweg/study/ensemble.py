"""What the survivors are worth together: chosen ensembles, and weights averaged.

A study ends with several trained networks. Three ways to put them together cost nothing more, and
are measured on rows that none of them was trained on:

- ``seeds``: the mean prediction of the winner's seeds, which is what ``fit`` hands over;
- ``greedy``: the mean of those finalists that together have the least loss, chosen one at a time
  and as often as that helps. Source: Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection
  from Libraries of Models", 2004;
- ``soup``: one network whose weights are the mean of several that began with the same weights and
  ended near each other, taken in while that helps. Source: Wortsman et al., "Model soups", 2022.

A choice made on some rows looks too good on them: gains are measured by choosing on four fifths of
the rows and scoring the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from thalweg.study.calibration import held_out_outputs, row_losses
from thalweg.study.model import Model
from thalweg.study.outcome import Weights
from thalweg.study.records import Trial
from thalweg.training.feed import TrainingData

COMBINATIONS = ("seeds", "greedy", "soup")
"""What may be handed over."""

AnyModel = TypeVar("AnyModel", bound=Model)

MOST_PICKS = 20
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Unit:
    """A Config's trained networks.

    Args:
        trials: under which seeds (and on which folds) it was trained.
        weights: what came of each.
    """

    trials: tuple[Trial, ...]
    weights: tuple[Weights, ...]


@dataclass(frozen=True, eq=False)
class Combination:
    """Units put together, and what that is worth.

    Args:
        name: one of ``COMBINATIONS``.
        over: what it is compared with.
        units: what is put together.
        shares: weight of each in the mean, summing to 1.
        gain: how much less the loss of held-out rows is.
        interval: its 95 % interval.
        loss: name of that loss: ``log_loss`` or ``mse``.
        num_rows: held-out rows.
    """

    name: str
    over: str
    units: tuple[Unit, ...]
    shares: tuple[float, ...]
    gain: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    loss: str = ""
    num_rows: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values: the trials and their shares instead of their weights."""
        return {
            "name": self.name,
            "over": self.over,
            "members": [
                {"trials": [t.id for t in unit.trials], "share": share}
                for unit, share in zip(self.units, self.shares, strict=True)
            ],
            "gain": self.gain,
            "interval": list(self.interval),
            "loss": self.loss,
            "num_rows": self.num_rows,
        }


@dataclass(eq=False)
class _Held:
    """Held-out rows, and what each unit predicts for them."""

    truth: np.ndarray
    outputs: list[np.ndarray] = field(default_factory=list)


def units_of(trials: Sequence[Trial], weights: dict[int, Weights]) -> list[Unit]:
    """Return what may be put together: each finalist with its seeds, the best first.

    Where nothing was confirmed, it is single trials.

    Args:
        trials: of a study.
        weights: those that were kept, by the number of their trial.
    """
    confirmed = [t for t in trials if t.phase == "confirm" and t.status == "completed"]
    groups: dict[Any, list[Trial]] = {}
    for trial in confirmed:
        if trial.id in weights:
            groups.setdefault(trial.config, []).append(trial)
    most = max(map(len, groups.values()), default=0)
    found = [group for group in groups.values() if len(group) == most]
    if not found:
        found = [[t] for t in trials if t.id in weights and math.isfinite(t.score)]
    found.sort(key=lambda group: -float(np.mean([t.rank for t in group])))
    return [Unit(tuple(g), tuple(weights[t.id] for t in g)) for g in found]


def pairs_of(
    model: Model,
    units: Sequence[Unit],
    shares: Sequence[float],
    explored: TrainingData,
    folds: Sequence[TrainingData],
) -> list[tuple[Model, TrainingData]]:
    """Return models of some units with rows that they were not trained on.

    With folds, one model a fold, of the networks that did not see it; without, one model of all
    networks with the validation rows.
    """
    if not folds or any(trial.fold is None for unit in units for trial in unit.trials):
        return [(model_of(model, units, shares), explored)]
    pairs = []
    for fold in sorted({t.fold for t in units[0].trials if t.fold is not None}):
        some = []
        for unit in units:
            kept = [i for i, trial in enumerate(unit.trials) if trial.fold == fold]
            some.append(
                Unit(tuple(unit.trials[i] for i in kept), tuple(unit.weights[i] for i in kept))
            )
        pairs.append((model_of(model, some, shares), folds[fold]))
    return pairs


def model_of(model: AnyModel, units: Sequence[Unit], shares: Sequence[float]) -> AnyModel:
    """Return a model whose prediction is the mean of units' predictions, by their shares.

    Args:
        model: gives everything but networks.
        units: what is put together; the first one's Config is the model's.
        shares: of each, summing to 1.
    """
    members, structures, losses, weights = [], [], [], []
    for unit, share in zip(units, shares, strict=True):
        for one in unit.weights:
            members.append((one.params, one.state))
            structures.append(one.structure)
            losses.append(unit.trials[0].config.get_or_default("loss") or model.task.loss)
            weights.append(share / len(unit.weights))
    return replace(
        model,
        structure=structures[0],
        config=units[0].trials[0].config,
        members=members,
        structures=tuple(structures),
        losses=tuple(losses),
        shares=tuple(weights),
    )


def combine(
    model: Model,
    trials: Sequence[Trial],
    weights: dict[int, Weights],
    explored: TrainingData,
    folds: Sequence[TrainingData],
    *,
    going_on: Callable[[], bool] = lambda: True,
) -> list[Combination]:
    """Return the ways to put the survivors together, with their gains over the winner's seeds.

    Args:
        model: the winner's model: encoder, inputs and task.
        trials: all trials.
        weights: kept weights by the number of their trial.
        explored: what exploring trained and chose on.
        folds: splits of the finalists, where the data is small.
        going_on: asked before more is predicted; where it returns False, there is nothing.

    Returns:
        ``greedy``, measured beside ``seeds``, where two or more units survived; ``soup``, measured
        beside the best single network, where two or more trials of one structure began with the
        same weights and were judged on the same rows.
    """
    if model.task.kind not in ("regression", "binary", "multiclass"):
        return []
    plain = replace(model, calibrated=False, threshold=None)
    found = []
    units = units_of(trials, weights)
    if len(units) > 1:
        held = _predicted(plain, units, explored, folds, going_on)
        if held is not None:
            found.append(_greedy(plain, units, held))
    mates = _mates(trials, weights)
    if len(mates) > 1 and going_on():
        found.append(_soup(plain, mates, explored, going_on))
    return found


def _predicted(
    model: Model,
    units: Sequence[Unit],
    explored: TrainingData,
    folds: Sequence[TrainingData],
    going_on: Callable[[], bool],
) -> _Held | None:
    held = _Held(np.empty(0))
    for unit in units:
        if not going_on():
            return None
        one = held_out_outputs(pairs_of(model, [unit], [1.0], explored, folds))
        held.outputs.append(one.outputs)
        held.truth = one.truth
    return held


def _losses(model: Model, outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the loss of each row [N]: log loss, or the mean square error."""
    if model.task.kind == "regression":
        return np.square(outputs - truth).mean(1)
    return row_losses(outputs, truth)


def pick(
    outputs: Sequence[np.ndarray],
    losses: Callable[[np.ndarray], np.ndarray],
    most: int = MOST_PICKS,
) -> np.ndarray:
    """Return how often each unit is picked [U], by greedy selection with replacement.

    Args:
        outputs: of each unit [N, O].
        losses: from outputs to the loss of each row.
        most: picks at most; it ends before where none lowers the mean loss.
    """
    count = np.zeros(len(outputs), int)
    total = np.zeros_like(outputs[0])
    best = math.inf
    while count.sum() < most:
        size = count.sum() + 1
        tried = [float(losses((total + one) / size).mean()) for one in outputs]
        chosen = int(np.argmin(tried))
        # With replacement, the same mean again is no gain.
        if tried[chosen] >= best - 1e-12:
            break
        best = tried[chosen]
        count[chosen] += 1
        total = total + outputs[chosen]
    return count


def _greedy(model: Model, units: Sequence[Unit], held: _Held) -> Combination:
    truth = held.truth
    base = _losses(model, held.outputs[0], truth)
    gain = np.zeros(len(truth))
    for inside, outside in _splits(len(truth)):
        count = pick(
            [one[outside] for one in held.outputs],
            lambda outputs, outside=outside: _losses(model, outputs, truth[outside]),
        )
        mean = _mean([one[inside] for one in held.outputs], count)
        gain[inside] = base[inside] - _losses(model, mean, truth[inside])
    count = pick(held.outputs, lambda outputs: _losses(model, outputs, truth))
    kept = np.flatnonzero(count)
    # The one with the largest share first: its Config stands for the model.
    kept = kept[np.argsort(-count[kept], kind="stable")]
    shares = tuple((count[kept] / count.sum()).tolist())
    return _measured(model, "greedy", "seeds", [units[i] for i in kept], shares, gain)


def _splits(num: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which rows a choice is scored on, and which it is made on."""
    fold = np.random.default_rng(0xE5).permutation(np.arange(num) % _FOLDS)
    for k in range(min(_FOLDS, num)):
        if (fold != k).any():
            yield fold == k, fold != k


def _mates(trials: Sequence[Trial], weights: dict[int, Weights]) -> list[Unit]:
    """Return single trials that may be averaged: one structure, one seed, the same rows."""
    single = [t for t in trials if t.id in weights and t.fold is None and math.isfinite(t.score)]
    single = [t for t in single if t.phase != "confirm"]
    single.sort(key=lambda t: (-t.rank, t.id))
    return [
        Unit((t,), (weights[t.id],))
        for t in single
        if weights[t.id].structure == weights[single[0].id].structure and t.seed == single[0].seed
    ]


def _soup(
    model: Model, mates: Sequence[Unit], explored: TrainingData, going_on: Callable[[], bool]
) -> Combination:
    """Average weights, the best trial first, as long as that lowers the loss."""
    known: dict[tuple[int, ...], np.ndarray] = {}

    def losses(chosen: tuple[int, ...]) -> np.ndarray:
        if chosen not in known:
            one = model_of(model, [averaged([mates[i] for i in chosen])], [1.0])
            held = held_out_outputs([(one, explored)])
            known[chosen] = _losses(model, held.outputs, held.truth)
        return known[chosen]

    def chosen_on(rows: np.ndarray) -> tuple[int, ...]:
        kept = (0,)
        for mate in range(1, len(mates)):
            if going_on() and losses((*kept, mate))[rows].mean() < losses(kept)[rows].mean():
                kept = (*kept, mate)
        return kept

    alone = losses((0,))
    gain = np.zeros(len(alone))
    for inside, outside in _splits(len(alone)):
        gain[inside] = alone[inside] - losses(chosen_on(outside))[inside]
    kept = chosen_on(np.ones(len(alone), bool))
    soup = averaged([mates[i] for i in kept])
    return _measured(model, "soup", "the best single network", [soup], (1.0,), gain)


def averaged(units: Sequence[Unit]) -> Unit:
    """Return one network whose weights are the mean of those of several."""
    parts = [one for unit in units for one in unit.weights]
    mean = Weights(
        parts[0].structure,
        {n: np.mean([p.params[n] for p in parts], axis=0) for n in parts[0].params},
        {n: np.mean([p.state[n] for p in parts], axis=0) for n in parts[0].state},
    )
    # It predicts as one network, and tells of all trials that are in it.
    return Unit(tuple(t for unit in units for t in unit.trials), (mean,))


def _mean(outputs: Sequence[np.ndarray], count: np.ndarray) -> np.ndarray:
    total = sum((c * one for c, one in zip(count, outputs, strict=True)), start=0.0 * outputs[0])
    return total / count.sum()


def _measured(
    model: Model,
    name: str,
    over: str,
    units: Sequence[Unit],
    shares: tuple[float, ...],
    gain: np.ndarray,
) -> Combination:
    mean = float(gain.mean())
    margin = 1.96 * float(gain.std(ddof=1)) / math.sqrt(len(gain)) if len(gain) > 1 else math.inf
    loss = "mse" if model.task.kind == "regression" else "log_loss"
    interval = (mean - margin, mean + margin)
    return Combination(name, over, tuple(units), shares, mean, interval, loss, len(gain))
