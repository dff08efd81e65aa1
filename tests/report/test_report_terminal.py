"""The terminal display: tables, plain lines, and the live progress."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console
from synthetic_runs import broken_runs, make_run

from thalweg.evidence import answers
from thalweg.report.terminal import (
    Progress,
    answers_lines,
    answers_panel,
    duration,
    leaderboard_lines,
    leaderboard_table,
    summary_lines,
    telling_names,
)

BROKEN = broken_runs()


def shown(renderable: object, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_leaderboard_names_winner_and_baselines() -> None:
    records, summary = make_run(num_trials=40)
    text = shown(leaderboard_table(records, summary))
    assert "boosted trees" in text
    assert summary["best_config"]["optimizer"] in text.splitlines()[1]
    assert "accuracy" in text
    lines = leaderboard_lines(records, summary, 5)
    assert len(lines) == 1 + 5 + 3
    assert len({line.index("structure") for line in lines[:1]}) == 1


def test_markup_in_data_stays_text() -> None:
    records, summary = make_run(num_trials=6, finalists=0)
    records[0]["structure"] = "[red]evil[/red] [/"
    assert "[red]evil[/red] [/" in shown(leaderboard_table(records, summary))
    answer = {"question": "[bold]?", "claim": "[/]", "verdict": "tie", "advice": "[x]"}
    text = shown(answers_panel([answer]))
    assert "[bold]?" in text
    assert "[/]" in text
    assert "[x]" in text


def test_answers_have_verdict_claim_and_advice() -> None:
    found = answers(*make_run(num_trials=60))
    text, lines = shown(answers_panel(found), 4000), answers_lines(found)
    for answer in found:
        assert answer.question in text
        assert answer.claim in text
        assert f"{answer.question} [{answer.verdict}]" in lines
        assert f"  -> {answer.advice}" in lines
    assert answers_lines([answer.to_dict() for answer in found]) == lines


def test_summary_lines() -> None:
    _, summary = make_run(num_trials=20)
    lines = "\n".join(summary_lines(summary))
    for word in ("accuracy: validation", "test", "optimizer=", "boosted trees", "61.2 in all",
                 "note: Dropped", "run: runs/digits-1"):  # fmt: skip
        assert word in lines
    assert summary_lines({}) == []


@pytest.mark.parametrize("name", BROKEN)
def test_broken_runs_are_shown(name: str) -> None:
    records, summary = BROKEN[name]
    shown(leaderboard_table(records, summary))
    shown(answers_panel(answers(records, summary)))
    leaderboard_lines(records, summary)
    summary_lines(summary)


def test_telling_names_leave_out_what_never_varies() -> None:
    configs = [{"optimizer": "adam", "eps": 1e-8, "dropout": d, "width": 8} for d in (0.1, 0.2)]
    assert telling_names(configs) == ["optimizer", "dropout"]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_prints_lines_now_and_then_when_piped() -> None:
    out, clock = io.StringIO(), Clock()
    with Progress(Console(file=out, width=60), clock=clock) as progress:
        progress.plan("64 trials of 2 structures")
        for second in range(25):
            clock.now = float(second)
            progress.update(
                second, 64, 0.9 + second / 1000, "accuracy", 1, 12345.6, 60 - second, "explore"
            )
        progress.update(phase="confirm")
    lines = out.getvalue().splitlines()
    assert lines[0] == "64 trials of 2 structures"
    assert len(lines) == 1 + 3 + 1  # at 0, 10 and 20 s, then the new phase
    assert lines[2] == (
        "10 s  explore  10/64 trials  rung 1  best accuracy 0.91  12,346 member-steps/s  50 s left"
    )
    assert "confirm" in lines[-1]


def test_progress_is_live_on_a_terminal_and_leaves_only_the_plan() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    with Progress(console) as progress:
        progress.plan("plan [not markup]")
        progress.update(3, 10, 0.5, "rmse", phase="explore")
        assert progress._live is not None
        assert "best rmse 0.5" in shown(progress._render())
    assert progress._live is None
    assert "plan [not markup]" in out.getvalue()


def test_progress_can_be_silent_and_survives_odd_values() -> None:
    out = io.StringIO()
    with Progress(Console(file=out), enabled=False) as progress:
        progress.plan("plan")
        progress.update(1, 2, phase="explore")
    assert out.getvalue() == ""
    with Progress(Console(file=out)) as progress:
        progress.update(0, 0, float("nan"), None, None, 0.0, float("inf"), "compile")
        shown(progress._render())
    assert "nan" not in out.getvalue()


def test_progress_closes_its_display_when_interrupted() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    progress = Progress(console)
    with pytest.raises(KeyboardInterrupt), progress:
        raise KeyboardInterrupt
    assert progress._live is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1:00"), (3723, "1:02:03"), (float("nan"), "unknown")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_import_is_light() -> None:
    code = (
        "import sys, thalweg.report.terminal; "
        "print([m for m in ('numpy', 'scipy', 'jax', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
