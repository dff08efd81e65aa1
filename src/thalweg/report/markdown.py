"""The report as Markdown: the same answers and leaderboard, for a README, an issue or a mail."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thalweg.evidence.answer import Answer
from thalweg.report.html import write_text
from thalweg.report.terminal import as_answer, leaderboard_cells, summary_lines

_SPECIAL = "\\`*_[]<>|#~&"


def escape(text: object) -> str:
    """Text made safe for Markdown, tables included."""
    escaped = "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in str(text))
    return " ".join(escaped.split())


def render_markdown(
    records: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    answers: Sequence[Answer | Mapping[str, Any]],
    n: int = 20,
) -> str:
    """The report as Markdown text.

    Args:
        records: trial records.
        summary: the run's summary.
        answers: the run's Answers, or their dicts.
        n: Configs in the leaderboard.
    """
    lines = [f"# {escape(summary.get('name') or 'run')}", ""]
    lines += [f"- {escape(line)}" for line in summary_lines(summary)]
    lines += ["", "## Answers", ""]
    for answer in map(as_answer, answers):
        lines += [f"### {escape(answer.question)} *{answer.verdict}*", "", escape(answer.claim), ""]
        if answer.advice:
            lines += [f"**{escape(answer.advice)}**", ""]
    header, rows, baselines = leaderboard_cells(records, summary, n)
    lines += ["## Leaderboard", "", _line(header)]
    lines.append(_line(["---" if place == 1 else "--:" for place in range(len(header))], raw=True))
    lines += [_line(row) for row in [*rows, *baselines]]
    if summary.get("command"):
        fence = "```"
        while fence in str(summary["command"]):
            fence += "`"
        lines += ["", "## How to reproduce it", "", fence, str(summary["command"]), fence]
    return "\n".join(lines) + "\n"


def write_markdown(
    path: str | os.PathLike[str],
    records: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    answers: Sequence[Answer | Mapping[str, Any]],
) -> Path:
    """Write the report as a Markdown file; arguments as of ``thalweg.report.html.write_report``."""
    return write_text(path, render_markdown(records, summary, answers))


def _line(cells: Sequence[str], raw: bool = False) -> str:
    return "| " + " | ".join(cell if raw else escape(cell) for cell in cells) + " |"
