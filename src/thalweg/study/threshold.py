"""The probability from which a rare event is announced, chosen on held-out rows for a goal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thalweg.errors import OptionError

_FREE = ("f1", "balanced_accuracy", "matthews_corrcoef")
_BOUND = ("recall", "precision", "cost")
_HELP = (
    "a goal is f1, balanced_accuracy, matthews_corrcoef, recall=SHARE, precision=SHARE or "
    "cost=RATIO (what a missed event costs in false alarms)"
)


@dataclass(frozen=True)
class Goal:
    """What a threshold is chosen for.

    Args:
        name: ``f1``, ``balanced_accuracy`` or ``matthews_corrcoef`` (the most of it), ``recall``
            (the most precision at that recall or more), ``precision`` (the most recall at that
            precision or more) or ``cost`` (the least expected cost).
        bound: the recall or precision to reach, or the cost of a missed event in false alarms.
    """

    name: str
    bound: float | None = None

    def __str__(self) -> str:
        return self.name if self.bound is None else f"{self.name}={self.bound:g}"

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Read a goal from text such as ``recall=0.9``.

        Raises:
            OptionError: where it is none.
        """
        name, sign, value = text.strip().partition("=")
        if not sign and name in _FREE:
            return cls(name)
        try:
            bound = float(value)
        except ValueError:
            bound = -1.0
        high = np.inf if name == "cost" else 1.0
        if name not in _BOUND or not 0.0 < bound <= high:
            raise OptionError(f"{_HELP}; got {text!r}")
        return cls(name, bound)


def choose_threshold(goal: Goal, probability: np.ndarray, truth: np.ndarray) -> float:
    """Return the probability from which the second class is announced.

    Args:
        goal: what it is chosen for.
        probability: of the second class, held-out rows [N].
        truth: whether a row is of the second class, [N].

    Returns:
        A value between two neighbouring probabilities; of equally good ones the one in the widest
        gap. Where no threshold reaches the bound, the one that comes closest.
    """
    order = np.argsort(-probability, kind="stable")
    score, hit = probability[order], truth[order].astype(float)
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    found = np.concatenate([[0.0], np.cumsum(hit)[last]])
    announced = np.concatenate([[0.0], last + 1.0])
    positives, total = hit.sum(), float(len(hit))
    alarms = announced - found
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.nan_to_num(found / positives)
        precision = np.where(announced > 0, found / announced, 1.0)
        specificity = 1.0 - np.nan_to_num(alarms / (total - positives))
        f1 = np.nan_to_num(2 * found / (announced + positives))
        silent = total - announced
        spread = announced * silent * positives * (total - positives)
        matthews = np.nan_to_num((found * total - announced * positives) / np.sqrt(spread))
    value = {
        "f1": f1,
        "balanced_accuracy": (recall + specificity) / 2,
        "matthews_corrcoef": matthews,
        "recall": _bounded(precision, recall, goal.bound),
        "precision": _bounded(recall, precision, goal.bound),
        "cost": -(alarms + (goal.bound or 0.0) * (positives - found)),
    }[goal.name]
    # The threshold of cut k lies between the last score announced and the first that is not.
    edges = np.concatenate([[1.0], score[last], [0.0]])
    gap = edges[:-1] - edges[1:]
    best = np.flatnonzero(value >= value.max() - 1e-12)
    cut = int(best[np.argmax(gap[best])])
    return float((edges[cut] + edges[cut + 1]) / 2)


def _bounded(wanted: np.ndarray, held: np.ndarray, bound: float | None) -> np.ndarray:
    """Return ``wanted`` where ``held`` reaches the bound, else how little it misses it by."""
    reached = held >= (bound or 0.0) - 1e-12
    return np.where(reached, wanted, held - 2.0)
