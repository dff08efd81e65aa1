"""Figures of calibration and of combinations, and the line that offers what is better."""

from __future__ import annotations

import numpy as np

from thalweg.evidence.calibration import before_and_after
from thalweg.evidence.view import View
from thalweg.report.calibration import calibration, combinations
from thalweg.report.terminal import summary_lines

COMBINATION = {
    "name": "greedy", "over": "seeds", "loss": "log_loss", "gain": 0.02, "interval": [0.01, 0.03],
    "num_rows": 100, "used": False,
    "members": [{"trials": list(range(9)), "share": 0.75}, {"trials": [11], "share": 0.25}],
}  # fmt: skip


def test_reliability_diagram():
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, 300)
    truth = (rng.random(300) < p).astype(int)
    before = np.stack([1 - p, p], axis=1)
    record = {
        "temperature": 1.4, "gain": 0.01, "interval": [-0.01, 0.03], "num_rows": 100,
        "applied": False, "test": before_and_after(before, 0.5 + 0.5 * (before - 0.5), truth),
    }  # fmt: skip
    figure = calibration(View([], {"calibration": record}))
    assert figure is not None
    assert figure.body.count("<circle") == 20
    assert "makes no sure difference to the log loss" in figure.caption
    assert "--calibrate" in figure.caption
    assert "nan" not in figure.body + figure.caption


def test_coverage():
    lines = [{"level": 0.9, "radius": 2.0, "coverage": 0.92, "low": 0.85, "high": 0.97}]
    record = {"num_rows": 50, "num_tested": 60, "intervals": lines}
    figure = calibration(View([], {"calibration": record}))
    assert figure is not None
    assert "90%: ± 2 holds 92.0%" in figure.caption
    without = {"num_rows": 50, "intervals": [{"level": 0.9, "radius": 2.0}]}
    assert calibration(View([], {"calibration": without})) is None


def test_combinations():
    figure = combinations(View([], {"combinations": [COMBINATION]}))
    assert figure is not None
    for text in ("75% of trials 0, 1, 2, 3, 4, 5, …", "better", "--combine greedy", "log loss"):
        assert text in figure.body
    used = combinations(View([], {"combinations": [{**COMBINATION, "used": True}]}))
    assert used is not None
    assert "handed over" in used.body
    for empty in ({}, {"combinations": []}, {"calibration": None}, {"calibration": {}}):
        assert combinations(View([], empty)) is None
        assert calibration(View([], empty)) is None


def test_only_what_is_surely_better_is_offered():
    summary = {"metric": "accuracy", "direction": "maximize", "combinations": [COMBINATION]}
    assert any("--combine greedy lowers log_loss by 0.02" in s for s in summary_lines(summary))
    for other in ({"used": True}, {"interval": [-0.1, 0.2]}, {"interval": [None, None]}):
        summary["combinations"] = [{**COMBINATION, **other}]
        assert not any("offered" in line for line in summary_lines(summary))
