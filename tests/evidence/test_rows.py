"""Repeats, leaks, shifts and doubtful labels: found where they were put, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg.evidence import NOT_ENOUGH, SUPPORTED, TIE, VERDICTS
from thalweg.evidence.rows import (
    LABEL_QUESTION,
    LEAK_QUESTION,
    REPEAT_QUESTION,
    SHIFT_QUESTION,
    answer_rows,
    column_skill,
    doubtful_labels,
    doubtful_values,
    row_findings,
)
from thalweg.evidence.view import View


def findings(seed: int = 0, num: int = 400, **changes: Any) -> dict[str, Any]:
    """Three honest columns, and whatever is changed about them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, 3))
    y = (x[:, 0] + rng.normal(size=num) > 0).astype(int)
    if changes.get("leak"):
        x[:, 2] = y + 0.01 * rng.normal(size=num)
    if changes.get("shift"):
        x[num // 2 :, 1] += 1.0
    if changes.get("repeat"):
        x[-changes["repeat"] :] = x[: changes["repeat"]]
    half = {"train": slice(0, num // 2), "test": slice(num // 2, num)}
    columns = {
        name: (x[half["train"], i], {"test": x[half["test"], i]}, False)
        for i, name in enumerate("abc")
    }
    keys = {part: [hash(row.tobytes()) for row in x[own]] for part, own in half.items()}
    probability = np.stack([1 - 0.9 * y - 0.05, 0.9 * y + 0.05], 1)
    label = y.copy()
    if changes.get("wrong"):
        label[: changes["wrong"]] = 1 - label[: changes["wrong"]]
    return row_findings(
        keys,
        columns,
        {part: y[own] for part, own in half.items()},
        (probability, label, 1000 + np.arange(num)),
        "binary",
    )


def ask(question: str, found: dict[str, Any]) -> Any:
    view = View([], {"rows": found, "task": {"classes": ["no", "yes"]}})
    return next(answer for answer in answer_rows(view) if answer.question == question)


CASES = {
    "honest": ({}, {REPEAT_QUESTION: SUPPORTED, LEAK_QUESTION: SUPPORTED, SHIFT_QUESTION: TIE,
                    LABEL_QUESTION: SUPPORTED}, ""),
    "a leak": ({"leak": True}, {LEAK_QUESTION: NOT_ENOUGH}, "c alone explains"),
    "a shift": ({"shift": True}, {SHIFT_QUESTION: SUPPORTED}, "b (test"),
    "repeats": ({"repeat": 20}, {REPEAT_QUESTION: SUPPORTED}, "20 of 200 test rows"),
    "wrong labels": ({"wrong": 7}, {LABEL_QUESTION: NOT_ENOUGH}, "7 of 400 rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_there_is_found(name: str) -> None:
    changes, verdicts, words = CASES[name]
    found = findings(**changes)
    for question, verdict in verdicts.items():
        answer = ask(question, found)
        assert answer.verdict == verdict, answer.claim
        if words:
            assert words in answer.claim


def test_no_shift_is_claimed_without_one_more_often_than_stated() -> None:
    claims = sum(ask(SHIFT_QUESTION, findings(seed)).verdict == SUPPORTED for seed in range(200))
    assert claims <= 5  # 1 % of 200 is 2


def test_the_rows_with_wrong_labels_are_named() -> None:
    rows = findings(wrong=3)["labels"]["rows"]
    assert {row["row"] for row in rows} == {1000, 1001, 1002}


def test_column_skill_is_r_squared_and_the_share_of_errors_avoided() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    y = x + rng.normal(size=4000)
    skill = column_skill(x[:2000], y[:2000], x[2000:], y[2000:], "regression")
    assert skill == pytest.approx(0.5, abs=0.05)
    noise = rng.normal(size=4000)
    assert column_skill(noise[:2000], y[:2000], x[2000:], y[2000:], "regression") < 0.03
    label = (x > 0).astype(int)
    assert column_skill(x[:2000], label[:2000], x[2000:], label[2000:], "binary") > 0.9
    missing = np.where(rng.random(4000) < 0.3, np.nan, x)
    assert 0.5 < column_skill(missing[:2000], label[:2000], missing[2000:], label[2000:], "x") < 0.8


def test_values_far_off_are_named_and_heavy_tails_are_not() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.normal(size=500), np.zeros(500)
    assert doubtful_values(predicted, true, np.arange(500))["found"] == 0
    true[[3, 77]] = 60.0, -90.0
    found = doubtful_values(predicted, true, np.arange(500))
    assert [row["row"] for row in found["rows"]] == [77, 3]
    assert doubtful_values(np.zeros(5), np.zeros(5), np.arange(5))["found"] == 0


def test_a_class_that_is_missing_from_the_labels_is_no_error() -> None:
    probability = np.full((4, 3), 1 / 3)
    assert doubtful_labels(probability, np.zeros(4, int), np.arange(4))["judged"] == 4


@pytest.mark.parametrize("found", [None, {}, {"repeats": {}}, {"columns": []}, {"labels": None}])
def test_nothing_known_is_nothing_said(found: Any) -> None:
    assert answer_rows(View([], {"rows": found})) == []


def test_everything_is_json() -> None:
    import json

    for changes, _, _ in CASES.values():
        found = json.loads(json.dumps(findings(**changes)))
        for answer in answer_rows(View([], {"rows": found})):
            assert answer.verdict in VERDICTS
            assert "nan" not in answer.claim
