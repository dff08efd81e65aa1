"""The HTML report: whole, safe, self-contained, and there for every run however broken."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import broken_runs, make_run

from thalweg.evidence import answers
from thalweg.evidence.view import View
from thalweg.report.figures import FIGURES
from thalweg.report.html import ranges, render_report, write_report
from thalweg.report.markdown import render_markdown, write_markdown
from thalweg.report.svg import Scale, focus, spread, thin, tick_text

BROKEN = broken_runs()
EVIL = "<script>alert('x')</script>\"'&"
_VOID = {"meta", "br", "input", "link", "hr", "img"}


class Outline(HTMLParser):
    """Collects what the tests look at, and fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.unlabelled: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag == "a":
            self.links.append(str(values.get("href")))
        if tag == "svg" and not values.get("aria-label"):
            self.unlabelled.append(self.get_starttag_text() or "")
        self.scripts += tag == "script"
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag not in _VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def report(records: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    return render_report(records, summary, answers(records, summary))


def make_forecasts(rolling: bool = False, num_windows: int = 4) -> dict[str, Any]:
    wave = np.sin(np.arange(30) / 4)
    window = {
        "title": "tides, after 2020-01-01",
        "context": [] if rolling else wave[:20].tolist(),
        "truth": wave[20:].tolist(),
        "forecast": (0.9 * wave[20:]).tolist(),
        "naive": [wave[19]] * 10,
    }
    return {
        "split": "test",
        "step": "hour",
        "horizon": 1 if rolling else 10,
        "naive": "last_value",
        "rolling": rolling,
        "windows": [window] * num_windows,
    }


def test_the_report_is_whole_and_self_contained() -> None:
    records, summary = make_run(num_trials=60)
    summary["predictions"] = {
        "confusion": np.eye(10, dtype=int).tolist(),
        "classes": list("abcdefghij"),
    }
    summary["forecasts"] = make_forecasts()
    summary["importance"] = [
        {"name": "dropout", "share": 0.7, "low": 0.5, "high": 0.9, "real": True},
        {"name": "ema", "share": 0.3, "low": 0.0, "high": 0.6, "real": False},
    ]
    summary["fractions"] = [
        {"trial": i, "rows": size, "score": 0.9 + 0.01 * size / 800}
        for i in (60, 61)
        for size in (100, 200, 400, 800)
    ]
    summary["layers"] = {
        "step": [0, 1, 2, 4],
        "layers": [
            {"name": name, "gradient": [0.1] * 4, "weight": [1.0] * 4, "dead": [0.0] * 4}
            for name in ("hidden_0", "output")
        ],
    }
    page = report(records, summary)
    found = outline(page)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert found.headings[0] == "h1"
    assert found.headings.count("h1") == 1
    assert found.unlabelled == []
    assert not re.search(r"(src|href)=.?https?:|url\(.?https?:|@import", page)
    for draw in FIGURES.values():
        figure = draw(View(records, summary))
        assert figure is not None
        assert figure.title in page
    for answer in answers(records, summary):
        assert answer.question in page


@pytest.mark.parametrize("name", BROKEN)
def test_every_broken_run_has_a_report(name: str) -> None:
    records, summary = BROKEN[name]
    page = report(records, summary)
    outline(page)
    assert "NaN" not in page.split("<script>")[0]
    assert not re.search(r'[ "]-?(nan|inf)[ "]', page)
    render_markdown(records, summary, answers(records, summary))


def test_text_from_data_is_escaped_everywhere() -> None:
    records, summary = make_run(num_trials=30)
    for record in records:
        record["structure"] = EVIL
        record["config"] = {**record["config"], "optimizer": EVIL, EVIL: record["id"], "l": EVIL}
        record["status"] = "completed"
        record["phase"] = EVIL if record["phase"] == "explore" else record["phase"]
    summary |= {"name": EVIL, "command": EVIL, "notices": [EVIL], "device": EVIL, "run": EVIL,
                "versions": {EVIL: EVIL}, "best_config": records[-1]["config"]}  # fmt: skip
    summary["task"] |= {"target": EVIL, "kind": EVIL}
    summary["baselines"][0]["name"] = EVIL
    summary["predictions"] = {"confusion": [[1, 2], [3, 4]], "classes": [EVIL, "b"]}
    page = report(records, summary)
    found = outline(page)
    assert found.scripts == 1
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    many = np.arange(40 * 40).reshape(40, 40)
    summary["predictions"] = {"confusion": many.tolist(), "classes": [EVIL] * 40}
    assert outline(report(records, summary)).scripts == 1
    summary["metric"] = EVIL
    assert outline(report(records, summary)).scripts == 1


def test_residuals_are_drawn() -> None:
    records, summary = make_run(num_trials=20)
    true = np.random.default_rng(0).normal(size=5000)
    summary["predictions"] = {"true": true.tolist(), "predicted": (true + 0.1).tolist()}
    page = report(records, summary)
    assert "Predictions against the truth" in page
    assert "2,000 of 5,000" in page


@pytest.mark.parametrize("rolling", [False, True])
def test_forecasts_are_drawn_over_truth(rolling: bool) -> None:
    _, summary = make_run(num_trials=6)
    summary["forecasts"] = make_forecasts(rolling)
    figure = FIGURES["forecasts"](View([], summary))
    assert figure is not None
    assert figure.body.count("<svg") == 4
    for style in ("curve first", "curve truth", "curve naive"):
        assert figure.body.count(f'class="{style}"') == 4
    assert figure.body.count("curve context") == (0 if rolling else 4)
    assert "last value" in figure.body
    assert "tides, after 2020-01-01" in figure.body
    assert f"mean error {0.1 * np.abs(np.sin(np.arange(20, 30) / 4)).mean():.3g}" in figure.body


@pytest.mark.parametrize(
    "broken",
    [None, {}, [], {"windows": 3}, {"windows": [None, {}]}, {"windows": [{"truth": [None]}]},
     {"windows": [{"truth": [1.0], "forecast": [None, "x"], "context": [float("nan")]}]}],
)  # fmt: skip
def test_broken_forecasts_break_no_report(broken: object) -> None:
    records, summary = make_run(num_trials=6)
    summary["forecasts"] = broken
    page = report(records, summary)
    outline(page)
    assert "NaN" not in page.split("<script>")[0]


def test_a_thousand_trials_stay_small() -> None:
    records, summary = make_run(num_trials=1000, num_points=60, finalists=8)
    page = report(records, summary)
    outline(page)
    assert len(page.encode()) < 3_000_000


def test_writing_replaces_whole_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, summary = make_run(num_trials=6)
    path = write_report(tmp_path / "new" / "report.html", records, summary, [])
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, records, summary | {"name": "another run"}, [])
    assert "another run" not in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_markdown_holds_answers_and_leaderboard(tmp_path: Path) -> None:
    records, summary = make_run(num_trials=40)
    found = answers(records, summary)
    records[0]["structure"] = "a|b *c* <i>"
    text = write_markdown(tmp_path / "report.md", records, summary, found).read_text("utf-8")
    assert text.startswith("# digits\n")
    for answer in found:
        assert f"*{answer.verdict}*" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table]
    assert len(set(cells)) == 1
    assert "<i>" not in text
    assert summary["command"] in text


def test_ranges() -> None:
    assert ranges([3, 1, 2, 7, 9, 10]) == "1–3, 7, 9, 10"
    assert ranges([]) == ""


def test_ticks_are_round_and_inside() -> None:
    for low, high in ((0.0, 1.0), (-3.2, 17.0), (0.97, 0.985), (1e6, 3e6)):
        ticks = Scale(low, high, 0, 100).ticks(5)
        assert 3 <= len(ticks) <= 8
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    for low, high in ((1e-5, 1.0), (0.02, 0.07), (1.0, 30.0)):
        ticks = Scale(low, high, 0, 100, log=True).ticks(5)
        assert 1 <= len(ticks) <= 8
        assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (1e-5, "1e−5"), (20_000, "20k"), (3e6, "3e6"), (-2.5, "−2.5"),
     (1.5e-7, "1.5e−7")],
)  # fmt: skip
def test_tick_text(value: float, text: str) -> None:
    assert tick_text(value) == text


def test_focus_shows_the_good_end() -> None:
    scores = [0.1, 0.1, *np.linspace(0.9, 0.95, 20)]
    low, high = focus(scores, 1)
    assert low > 0.8
    assert high > 0.95
    mirrored = focus([-score for score in scores], -1)
    assert mirrored == pytest.approx((-high, -low))
    assert focus([], 1) == (0, 1)
    assert spread([2.0, 2.0])[0] < 2 < spread([2.0, 2.0])[1]


def test_thin_keeps_the_ends() -> None:
    assert thin(range(100), 5) == [0, 25, 50, 74, 99]
    assert thin(range(3), 5) == [0, 1, 2]
