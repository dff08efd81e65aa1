"""What the rows themselves give cause to doubt: repeats, shifts, leaks and labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, TIE, Answer
from thalweg.evidence.statistics import holm
from thalweg.evidence.view import View, listed, number, plain

REPEAT_QUESTION = "Are rows repeated across the splits?"
LEAK_QUESTION = "Does one column give the answer away?"
SHIFT_QUESTION = "Do the splits look alike?"
LABEL_QUESTION = "Which labels look wrong?"

LEAKING = 0.97
"""Share of the best possible that one column alone must explain to be suspected."""

SHIFTED = 0.1
"""Distance (Kolmogorov and Smirnov's) from which a shift is told."""

MOST_ROWS = 20_000
SHOWN = 20
_RANDOM_SEED = 20_240_229


def repeated_rows(keys: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """How many validation and test rows are training rows too.

    Args:
        keys: a hash of each row, part by part: equal hashes are equal rows.

    Returns:
        ``{"distinct": share of the training rows that occur once, "validation": count, …,
        "rows": {part: number of rows}}``.
    """
    train = list(keys.get("train") or ())
    seen = set(train)
    found: dict[str, Any] = {
        "distinct": len(seen) / len(train) if train else 1.0,
        "rows": {name: len(rows) for name, rows in keys.items()},
    }
    for name, rows in keys.items():
        if name != "train":
            found[name] = sum(row in seen for row in rows)
    return found


def column_skill(
    train: np.ndarray, target: np.ndarray, held: np.ndarray, held_target: np.ndarray, kind: str
) -> float:
    """How much of the target one column alone explains on rows it was not fitted to, 0 to 1.

    The column is cut into at most 32 groups (values of their own where there are so few, else
    equally full ranges); each group predicts its training mean, or its most frequent class. Of a
    regression it is R², of classes the share of the majority class's errors that it avoids.

    Args:
        train: the column's training values, float [N], NaN where missing.
        target: float [N], or classes [N].
        held: the column's values on the other rows, [M].
        held_target: their targets, [M].
        kind: ``"regression"``, or any other for classes.
    """
    groups, other = _grouped(train, held)
    num = int(max(groups.max(initial=0), other.max(initial=0))) + 1
    if kind == "regression":
        sums = np.bincount(groups, target, num)
        counts = np.bincount(groups, minlength=num)
        overall = float(target.mean())
        means = np.where(counts > 0, sums / np.maximum(counts, 1), overall)
        total = float(np.sum((held_target - overall) ** 2))
        if total == 0:
            return 0.0
        return max(0.0, 1 - float(np.sum((held_target - means[other]) ** 2)) / total)
    classes = int(max(target.max(initial=0), held_target.max(initial=0))) + 1
    table = np.zeros((num, classes))
    np.add.at(table, (groups, target.astype(int)), 1)
    majority = int(np.bincount(target.astype(int), minlength=classes).argmax())
    choice = np.where(table.sum(1) > 0, table.argmax(1), majority)
    base = float(np.mean(held_target != majority))
    wrong = float(np.mean(held_target != choice[other]))
    return max(0.0, 1 - wrong / base) if base > 0 else 0.0


def _grouped(train: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of every value, 0 for missing ones."""
    known = train[np.isfinite(train)]
    values = np.unique(known)
    if len(values) > 32:
        values = np.unique(np.quantile(known, np.linspace(0, 1, 33)[1:-1]))

    def group(column: np.ndarray) -> np.ndarray:
        place = np.searchsorted(values, np.nan_to_num(column), side="right") + 1
        return np.where(np.isfinite(column), place, 0)

    return group(train), group(held)


def leaks_and_shifts(
    columns: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray], bool]],
    targets: Mapping[str, np.ndarray],
    kind: str,
) -> list[dict[str, Any]]:
    """For every column: what it explains alone, and how its distribution differs in other parts.

    Args:
        columns: name -> (training values, values of the other parts by name, whether the numbers
            are codes of categories).
        targets: of every part, by name.
        kind: of the task.

    Returns:
        ``[{"name", "skill", "shift": {part: {"distance", "p"}}}]``. Distances are Kolmogorov and
        Smirnov's, of categories the total variation; p-values are not corrected.
    """
    found = []
    for name, (train, others, is_category) in columns.items():
        train, target = _sampled(train, targets["train"])
        judged = next((part for part in ("validation", "test") if len(others.get(part, ()))), None)
        skill = 0.0
        if judged is not None and len(train):
            skill = column_skill(train, target, others[judged], targets[judged], kind)
        shift = {
            part: _distance(train, values, is_category)
            for part, values in others.items()
            if len(values) > 1 and len(train) > 1
        }
        found.append({"name": name, "skill": skill, "shift": shift})
    return found


def _sampled(train: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(train) <= MOST_ROWS:
        return train, target
    keep = np.random.default_rng(_RANDOM_SEED).choice(len(train), MOST_ROWS, replace=False)
    return train[keep], target[keep]


def _distance(train: np.ndarray, other: np.ndarray, is_category: bool) -> dict[str, float]:
    a, b = train[np.isfinite(train)], other[np.isfinite(other)]
    if len(a) < 2 or len(b) < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0 and a[0] == b[0]):
        return {"distance": 0.0, "p": 1.0}
    if is_category:
        values = np.unique(np.concatenate([a, b]))
        counts = np.array([[np.sum(own == v) for v in values] for own in (a, b)], dtype=float)
        shares = counts / counts.sum(1, keepdims=True)
        outcome: Any = stats.chi2_contingency(counts)
        return {
            "distance": float(np.abs(shares[0] - shares[1]).sum() / 2),
            "p": float(outcome.pvalue),
        }
    outcome = stats.ks_2samp(a, b, method="asymp")
    return {"distance": float(outcome.statistic), "p": float(outcome.pvalue)}


def doubtful_labels(probability: np.ndarray, label: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """Rows whose label a network, that was not trained on them, contradicts with confidence.

    A row is a candidate where some other class reaches that class's own mean probability among
    the rows labelled so, and is more likely than the label. Source: Northcutt, Jiang and Chuang,
    "Confident Learning" (2021).

    Args:
        probability: float [N, C].
        label: classes [N].
        rows: number of each row in its source, [N].

    Returns:
        ``{"kind": "classes", "judged", "found", "rows": [{"row", "label", "predicted",
        "probability"}]}``, the surest first.
    """
    num, classes = probability.shape
    typical = np.array(
        [
            probability[label == c, c].mean() if np.any(label == c) else np.inf
            for c in range(classes)
        ]
    )
    sure = np.where(probability >= typical, probability, -1.0)
    sure[np.arange(num), label] = -1.0
    other = sure.argmax(1)
    own = probability[np.arange(num), label]
    gain = sure[np.arange(num), other] - own
    candidates = np.flatnonzero((sure.max(1) > 0) & (gain > 0))
    order = candidates[np.argsort(-gain[candidates], kind="stable")]
    return {
        "kind": "classes",
        "judged": num,
        "found": len(order),
        "rows": [
            {
                "row": int(rows[i]),
                "label": int(label[i]),
                "predicted": int(other[i]),
                "probability": float(probability[i, other[i]]),
            }
            for i in order[:SHOWN]
        ],
    }


def doubtful_values(predicted: np.ndarray, true: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """Rows whose value lies far outside the spread of the errors of a network not trained on them.

    Args:
        predicted: float [N].
        true: float [N].
        rows: number of each row in its source, [N].

    Returns:
        ``{"kind": "values", "judged", "found", "rows": [{"row", "label", "predicted",
        "probability" (how many robust deviations off)}]}``, the farthest first.
    """
    error = true - predicted
    centre = float(np.median(error))
    spread = 1.4826 * float(np.median(np.abs(error - centre)))
    far = np.abs(error - centre) / spread if spread > 0 else np.zeros(len(error))
    # Ten: heavy-tailed errors are common, and no reason to doubt a label.
    candidates = np.flatnonzero(far > 10)
    order = candidates[np.argsort(-far[candidates], kind="stable")]
    return {
        "kind": "values",
        "judged": len(true),
        "found": len(order),
        "rows": [
            {
                "row": int(rows[i]),
                "label": float(true[i]),
                "predicted": float(predicted[i]),
                "probability": float(far[i]),
            }
            for i in order[:SHOWN]
        ],
    }


def row_findings(
    keys: Mapping[str, Sequence[int]] | None,
    columns: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray], bool]],
    targets: Mapping[str, np.ndarray] | None,
    held: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    kind: str,
) -> dict[str, Any]:
    """Everything about the rows that a run's summary keeps under ``rows``.

    Args:
        keys: of ``repeated_rows``, or None where rows overlap anyway.
        columns: of ``leaks_and_shifts``.
        targets: of every part, one number a row, or None.
        held: outputs, targets and row numbers of rows that networks were not trained on, or None.
        kind: of the task.
    """
    found: dict[str, Any] = {}
    if keys is not None:
        found["repeats"] = repeated_rows(keys)
    if targets is not None and len(targets.get("train", ())):
        classes = kind != "regression"
        found["targets"] = {
            part: _distance(targets["train"].astype(float), values.astype(float), classes)
            for part, values in targets.items()
            if part != "train" and len(values) > 1
        }
        if columns:
            found["columns"] = leaks_and_shifts(columns, targets, kind)
    if held is not None:
        outputs, target, rows = held
        if kind == "regression":
            found["labels"] = doubtful_values(outputs[:, 0], target[:, 0], rows)
        else:
            label = target.argmax(1) if target.ndim == 2 else target.astype(int)
            found["labels"] = doubtful_labels(outputs, label, rows)
    return found


# ----------------------------------------------------------------------------------------- answers


def answer_rows(view: View) -> list[Answer]:
    """What the rows give cause to doubt, read from ``summary["rows"]``."""
    found = view.summary.get("rows")
    if not isinstance(found, Mapping):
        return []
    return [
        *_answer_repeats(found.get("repeats")),
        *_answer_leaks(found.get("columns")),
        *_answer_shift(found.get("columns"), found.get("targets")),
        *_answer_labels(view, found.get("labels")),
    ]


def _answer_repeats(found: object) -> list[Answer]:
    if not isinstance(found, Mapping):
        return []
    rows = found.get("rows") or {}
    counts = {part: (int(found.get(part) or 0), int(rows.get(part) or 0)) for part in rows}
    counts.pop("train", None)
    counts = {part: pair for part, pair in counts.items() if pair[1]}
    if not counts:
        return []
    hits, total = (sum(pair[i] for pair in counts.values()) for i in (0, 1))
    share = hits / total
    if not hits:
        return [
            Answer(
                REPEAT_QUESTION,
                f"No: none of the {total:,} other rows is a training row.",
                0.0, None, "share of the other rows", SUPPORTED, "Nothing to do.",
            )
        ]  # fmt: skip
    named = listed([f"{a:,} of {b:,} {part} rows" for part, (a, b) in counts.items() if a])
    few = number(found.get("distinct")) < 0.9
    claim = f"Yes: {named} are training rows too, value by value."
    if few:
        claim += " Many training rows are equal to each other as well: the inputs are coarse."
    return [
        Answer(
            REPEAT_QUESTION, claim, share, None, "share of the other rows", SUPPORTED,
            "Expected of such inputs; if rows are copies, drop them or split by --group."
            if few
            else "Drop the copies, or split by what they share (--group): scores on them flatter.",
        )
    ]  # fmt: skip


def _columns(found: object) -> list[Mapping[str, Any]]:
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _answer_leaks(found: object) -> list[Answer]:
    columns = _columns(found)
    if not columns:
        return []
    ranked = sorted(columns, key=lambda row: -number(row.get("skill")))
    suspects = [row for row in ranked if number(row.get("skill")) >= LEAKING]
    best = ranked[0]
    skill = number(best.get("skill"))
    if suspects:
        names = listed([str(row["name"]) for row in suspects])
        verb = "explains" if len(suspects) == 1 else "each explain"
        claim = (
            f"Perhaps: {names} alone {verb} {skill:.0%} of what there is to explain. Real inputs "
            "seldom do."
        )
        advice = (
            f"Ask whether {names} {'is' if len(suspects) == 1 else 'are'} known before the answer "
            "is; if not, leave it out with --drop."
        )
        return [
            Answer(
                LEAK_QUESTION, claim, skill, None, "share that one column explains", NOT_ENOUGH,
                advice,
            )
        ]  # fmt: skip
    claim = f"No: the strongest, {best.get('name')}, explains {skill:.0%} alone."
    return [
        Answer(
            LEAK_QUESTION, claim, skill, None, "share that one column explains", SUPPORTED,
            "Nothing to do.",
        )
    ]  # fmt: skip


def _answer_shift(found: object, targets: object) -> list[Answer]:
    tests: list[tuple[str, str, float, float]] = []
    for row in _columns(found):
        for part, shift in (row.get("shift") or {}).items():
            distance, p = number(shift.get("distance")), number(shift.get("p"))
            tests.append((str(row["name"]), part, distance, p))
    for part, shift in (targets if isinstance(targets, Mapping) else {}).items():
        tests.append(("the target", part, number(shift.get("distance")), number(shift.get("p"))))
    tests = [test for test in tests if math.isfinite(test[3])]
    if not tests:
        return []
    adjusted = holm([test[3] for test in tests])
    clear = [
        test for test, p in zip(tests, adjusted, strict=True) if p < 0.01 and test[2] >= SHIFTED
    ]
    clear.sort(key=lambda test: -test[2])
    widest = max(tests, key=lambda test: test[2])
    unit = "distance of distributions, 0 to 1"
    if clear:
        named = listed([f"{n} ({part}, {d:.2f})" for n, part, d, _ in clear], 4)
        return [
            Answer(
                SHIFT_QUESTION,
                f"No: {named} {'is' if len(clear) == 1 else 'are'} distributed otherwise than in "
                "training, by more than chance.",
                clear[0][2], None, unit, SUPPORTED,
                "Expected of splits by time or group; otherwise look where the rows come from.",
            )
        ]  # fmt: skip
    return [
        Answer(
            SHIFT_QUESTION,
            f"Yes: no column differs by more than chance and {SHIFTED:g}; the largest distance is "
            f"{widest[2]:.2f} ({widest[0]}, {widest[1]}).",
            widest[2], None, unit, TIE, "Nothing to do.",
        )
    ]  # fmt: skip


def _answer_labels(view: View, found: object) -> list[Answer]:
    if not isinstance(found, Mapping) or not found.get("judged"):
        return []
    judged, count = int(found["judged"]), int(found.get("found") or 0)
    if not count:
        return [
            Answer(
                LABEL_QUESTION,
                f"None stands out among the {judged:,} rows that networks were not trained on.",
                0.0, None, "share of the rows judged", SUPPORTED, "Nothing to do.",
            )
        ]  # fmt: skip
    task = view.summary.get("task")
    classes = list(task.get("classes") or []) if isinstance(task, Mapping) else []
    first = []
    for row in list(found.get("rows") or ())[:3]:
        if found.get("kind") == "classes":
            names = [
                str(classes[int(i)]) if int(i) < len(classes) else str(i)
                for i in (row["label"], row["predicted"])
            ]
            said = f"labelled {names[0]}, taken for {names[1]} at {number(row['probability']):.2f}"
        else:
            said = f"{number(row['label']):.4g}, predicted {number(row['predicted']):.4g}"
        first.append(f"row {row['row']} ({said})")
    return [
        Answer(
            LABEL_QUESTION,
            f"{count:,} of {judged:,} rows contradict networks that were not trained on them: "
            f"{listed(first)}{' first' if count > len(first) else ''}. A wrong label and a hard "
            "row look the same to a network.",
            count / judged, None, "share of the rows judged", NOT_ENOUGH,
            f"Look at these rows; the first {min(count, SHOWN)} stand in the report and in "
            f"run.json under {plain('rows.labels')}.",
        )
    ]  # fmt: skip
