"""The report of a comparison: whole, safe, and there for every comparison however broken."""

from __future__ import annotations

import re
from typing import Any

import pytest
from synthetic_arms import make_comparison
from test_report_html import EVIL, outline

from thalweg.evidence.comparing import comparison_answers
from thalweg.evidence.standings import experiment_of
from thalweg.report.comparison import (
    COMPARISON_FIGURES,
    render_comparison,
    render_comparison_markdown,
)
from thalweg.report.tables import (
    latex,
    standings_cells,
    standings_csv,
    standings_latex,
    standings_lines,
    standings_markdown,
)


def report(records: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    return render_comparison(records, summary, comparison_answers(records, summary))


def test_the_report_is_whole_and_self_contained() -> None:
    effects = {"adam · x": 0.0, "adam · y": -0.02, "sgd · x": -0.03, "sgd · y": -0.01}
    records, summary = make_comparison(effects, over=("optimizer", "schedule"))
    page = report(records, summary)
    found = outline(page)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert found.headings.count("h1") == 1
    assert found.unlabelled == []
    assert not re.search(r"(src|href)=.?https?:|url\(.?https?:|@import", page)
    for draw in COMPARISON_FIGURES.values():
        figure = draw(experiment_of(records, summary))
        assert figure is not None
        assert figure.title in page
    for answer in comparison_answers(records, summary):
        assert answer.question in page


@pytest.mark.parametrize(
    "options",
    [{"seeds": 0}, {"seeds": 1}, {"num": 1}, {"num": 2}, {"failed": ("a",)},
     {"failed": ("a", "b")}, {"noise": 0.0, "point_noise": 0.0, "spread": 0.0},
     {"direction": "minimize", "metric": "mae"}],
    ids=str,
)  # fmt: skip
def test_every_broken_comparison_has_a_report(options: dict[str, Any]) -> None:
    records, summary = make_comparison({"a": 0.0, "b": -0.05}, **options)
    page = report(records, summary)
    outline(page)
    assert "nan" not in page.lower().replace("nuisance", "")
    assert render_comparison_markdown(records, summary, comparison_answers(records, summary))


def test_nothing_at_all_has_a_report() -> None:
    outline(report([], {}))
    assert standings_csv(experiment_of([], {})) == ""


def test_names_from_data_are_never_markup() -> None:
    records, summary = make_comparison({EVIL: 0.0, "b": -0.05})
    summary["name"] = EVIL
    page = report(records, summary)
    outline(page)
    assert "<script>alert" not in page
    assert "<script>alert" not in render_comparison_markdown(records, summary, [])


def test_tables_have_the_same_cells_in_every_format() -> None:
    records, summary = make_comparison({"rms_prop": 0.0, "b": -0.05})
    experiment = experiment_of(records, summary)
    header, rows = standings_cells(experiment)
    assert len({len(header), *map(len, rows)}) == 1
    assert len(standings_lines(experiment)) == 1 + len(rows)
    assert len(standings_markdown(experiment).splitlines()) == 2 + len(rows)
    text = standings_latex(experiment)
    assert r"rms\_prop" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert {line.count(" & ") for line in body} == {len(header) - 1}
    assert latex("5 % & <x_1> ±") == r"5 \% \& $<$x\_1> $\pm$"
