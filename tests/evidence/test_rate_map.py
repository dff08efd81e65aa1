"""Maps of learning rates with a known truth: basins, edges, and remedies that move them or not."""

from __future__ import annotations

import math
from typing import Any

import pytest
from synthetic_rates import make_map

from thalweg.evidence import NOT_ENOUGH, SUPPORTED, TIE, VERDICTS
from thalweg.evidence.rate_map import rate_answers, rate_lines
from thalweg.report.rates import rate_table_lines, render_rates


def ask(question: str, made: tuple[list[dict[str, Any]], dict[str, Any]]) -> Any:
    return next(answer for answer in rate_answers(*made) if question in answer.question)


@pytest.mark.parametrize("quiet", [False, True])
def test_basin_and_edge_are_where_they_were_put(quiet: bool) -> None:
    made = make_map({("adam", "plain"): -1.0}, num=24, quiet=quiet)
    _, lines = rate_lines(*made)
    line = lines[0]
    assert line.edge == pytest.approx(0.1, rel=0.6)
    assert line.low < 10**-2.5 < line.high
    answer = ask("for adam", made)
    assert answer.verdict == SUPPORTED
    assert "unstable" in answer.claim
    assert answer.effect == pytest.approx(10**-2.5, rel=0.6)


MOVES = {
    "clipping moves it": ({("adam", "plain"): -1.5, ("adam", "clipping"): -0.5}, SUPPORTED, "Yes"),
    "it stays": ({("adam", "plain"): -1.0, ("adam", "clipping"): -1.0}, TIE, "No"),
    "it lowers it": ({("adam", "plain"): -0.5, ("adam", "clipping"): -1.5}, SUPPORTED, "lower"),
    "no edge any more": ({("adam", "plain"): -1.0, ("adam", "clipping"): 9.0}, SUPPORTED, "every"),
    "no edge": ({("adam", "plain"): 9.0, ("adam", "clipping"): 9.0}, NOT_ENOUGH, "Not known"),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_what_a_remedy_does_is_said(name: str) -> None:
    edges, verdict, words = MOVES[name]
    answer = ask("clipping", make_map(edges, num=24))
    assert answer.verdict == verdict, answer.claim
    assert words in answer.claim


def test_the_wider_basin_is_easier_to_set() -> None:
    made = make_map({("adam", "plain"): 0.5}, num=24, width=2.0)
    narrow = make_map({("sgd", "plain"): 0.5}, num=24, width=0.5)
    shift = len(made[0])
    records = made[0] + [{**row, "id": row["id"] + shift} for row in narrow[0]]
    entry = narrow[1]["rate_map"][0]
    entry["trials"] = [[i + shift for i in own] for own in entry["trials"]]
    summary = {**made[1], "rate_map": [*made[1]["rate_map"], entry]}
    answer = ask("easiest", (records, summary))
    assert answer.verdict == SUPPORTED
    assert "adam forgives most" in answer.claim


def test_a_basin_at_an_end_asks_for_more_rates() -> None:
    answer = ask("for adam", make_map({("adam", "plain"): 9.0}, best=0.0))
    assert answer.verdict == NOT_ENOUGH
    assert "widen" in answer.advice


@pytest.mark.parametrize("edge", [-9.0, 9.0, -1.0])
@pytest.mark.parametrize("seeds", [1, 2])
def test_every_map_has_answers_and_a_report(edge: float, seeds: int) -> None:
    made = make_map({("adam", "plain"): edge, ("adam", "warmup"): -1.0}, seeds=seeds, num=8)
    answers = rate_answers(*made)
    for answer in answers:
        assert answer.verdict in VERDICTS
        assert "nan" not in answer.claim
    assert "<h1>" in render_rates(*made, answers)
    assert rate_table_lines(*rate_lines(*made))


def test_nothing_at_all() -> None:
    assert rate_answers([], {})[0].verdict == NOT_ENOUGH
    assert "<h1>" in render_rates([], {}, [])
    assert not math.isnan(len(rate_lines([], {})[1]))
