"""A comparison's standings as CSV, LaTeX and Markdown text, and as plain lines."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thalweg.evidence.comparison import FEW_TRIALS, Experiment
from thalweg.evidence.standings import standings
from thalweg.evidence.view import number, plain
from thalweg.report.markdown import escape as escape_markdown

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def standings_csv(experiment: Experiment) -> str:
    """The standings as CSV: full precision, the configuration as JSON, trial ids in one cell."""
    rows = standings(experiment)
    out = io.StringIO()
    if not rows:
        return ""
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = dict(row)
        cells["config"] = json.dumps(row["config"], sort_keys=True, default=str)
        for name in ("explored", "confirmed"):
            cells[name] = " ".join(map(str, row[name]))
        writer.writerow(cells)
    return out.getvalue()


def standings_cells(experiment: Experiment) -> tuple[list[str], list[list[str]]]:
    """The standings as short text for people: header and rows."""
    view = experiment.view
    names = [plain(name) for name in experiment.factors]
    header = [
        "#", *names, f"{experiment.split} {plain(view.metric)}", "± seeds", "behind",
        "95 % interval", "p", f"best of {FEW_TRIALS}", f"of {experiment.trials_each}", "steps",
        "diverged",
    ]  # fmt: skip
    rows = []
    for row in standings(experiment):

        def say(name: str, row: Mapping[str, Any] = row) -> str:
            value = number(row[name])
            return view.say(value) if math.isfinite(value) else "–"

        bounds = "–"
        if row["low"] is not None and row["high"] is not None:
            bounds = f"{say('low')} to {say('high')}"
        p = number(row["p"])
        rows.append(
            [
                str(row["rank"]),
                *[str(row[name]) for name in experiment.factors],
                say("mean") if row["mean"] is not None else "failed",
                say("std"),
                say("behind"),
                bounds,
                "–" if not math.isfinite(p) else "<0.001" if p < 0.001 else f"{p:.3f}",
                say(f"best_of_{FEW_TRIALS}"),
                say("best_of_all"),
                f"{row['steps']:,.0f}" if row["steps"] is not None else "–",
                f"{row['diverged']}/{row['trials']}",
            ]
        )
    return header, rows


def standings_markdown(experiment: Experiment) -> str:
    """The standings as a Markdown table."""
    header, rows = standings_cells(experiment)
    first = 1 + len(experiment.factors)
    rule = ["---" if 0 < place < first else "--:" for place in range(len(header))]
    lines = [_row(header), "| " + " | ".join(rule) + " |", *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(escape_markdown(cell) for cell in cells) + " |"


def standings_latex(experiment: Experiment) -> str:
    """The standings as a LaTeX table (booktabs), the best arm and those level with it in bold."""
    header, rows = standings_cells(experiment)
    factors = len(experiment.factors)
    best = standings(experiment)
    lines = [
        r"\begin{tabular}{r" + "l" * factors + "r" * (len(header) - 1 - factors) + "}",
        r"\toprule",
        " & ".join(latex(cell) for cell in header) + r" \\",
        r"\midrule",
    ]
    for cells, row in zip(rows, best, strict=True):
        shown = [latex(cell) for cell in cells]
        if row["rank"] == 1 or row["verdict"] == "tie":
            shown[1 + factors] = rf"\textbf{{{shown[1 + factors]}}}"
        lines.append(" & ".join(shown) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def latex(text: object) -> str:
    """Text made safe for LaTeX."""
    escaped = "".join(_LATEX.get(letter, letter) for letter in str(text))
    return escaped.replace("±", r"$\pm$").replace("–", "--").replace("<", "$<$")


def standings_lines(experiment: Experiment) -> list[str]:
    """The standings as aligned plain lines, for a terminal or a pipe."""
    header, rows = standings_cells(experiment)
    cells = [header, *rows]
    left = range(1, 1 + len(experiment.factors))
    widths = [max(len(row[place]) for row in cells) for place in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


FORMATS: dict[str, Callable[[Experiment], str]] = {
    ".csv": standings_csv,
    ".md": standings_markdown,
    ".tex": standings_latex,
}
"""How the standings are written, by the file's ending."""
