"""Figures of explanations: drawn from what the summary holds, and left out where it holds none."""

from __future__ import annotations

import pytest

from thalweg.evidence.view import View
from thalweg.report.explanations import EXPLANATIONS
from thalweg.report.html import render_report

RECORD = {
    "importance": {
        "metric": "rmse", "score": 1.0, "num_rows": 100, "split": "test",
        "columns": [
            {"column": "<size>", "importance": 2.0, "low": 1.5, "high": 2.5},
            {"column": "age", "importance": -0.1, "low": None, "high": None},
        ],
    },
    "rows": {
        "split": "test", "unit": "probability",
        "lines": [
            {"row": row, "explained": "yes", "prediction": 0.8, "base": 0.5, "column": f"c{i}",
             "value": value, "contribution": 0.1 - 0.02 * i}
            for row in (3, 5)
            for i, value in enumerate(["1.23456", "Bonn", None, *"abcdefgh"])
        ],
    },
    "steps": {
        "split": "test", "unit": "value", "explained": ["load"], "num_rows": 32,
        "steps": [
            {"input": name, "first_step": 2 * i - 10, "last_step": 2 * i - 9, "size": 0.1 * i}
            for name in ("load", "heat") for i in range(5)
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_each_figure(name):
    figure = EXPLANATIONS[name](View([], {"explanations": RECORD}))
    assert figure is not None
    assert figure.body.count("<svg") == {"importance": 1, "contributions": 2, "steps": 2}[name]
    assert "nan" not in figure.body
    assert "<size>" not in figure.body


@pytest.mark.parametrize("name", EXPLANATIONS)
@pytest.mark.parametrize("record", [None, {}, {"importance": None, "rows": {}, "steps": []}])
def test_nothing_is_drawn_of_nothing(name, record):
    assert EXPLANATIONS[name](View([], {"explanations": record})) is None


def test_rows_tell_values_and_the_rest():
    body = EXPLANATIONS["contributions"](View([], {"explanations": RECORD})).body
    for text in ("c0 = 1.23", "c1 = Bonn", "c2 missing", "3 others", "row 3: yes 80.0 %"):
        assert text in body


def test_the_report_has_a_section():
    page = render_report([], {"name": "x", "explanations": RECORD}, [])
    assert '<section id="explanations"' in page
    assert '<section id="explanations"' not in render_report([], {"name": "x"}, [])
