"""The report of a map of learning rates: one page, and plain lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.evidence.answer import Answer
from thalweg.evidence.rate_map import RateLine, rate_lines
from thalweg.evidence.view import View, plain, short
from thalweg.report.html import (
    answers_html,
    cost_html,
    figure_html,
    footer_html,
    page,
    reproduce_html,
)
from thalweg.report.svg import Plot, escape, focus
from thalweg.report.terminal import as_answer, duration

_STYLES = {"plain": "arm0", "warmup": "arm2", "clipping": "arm1"}


def render_rates(
    records: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    answers: Sequence[Answer | Mapping[str, Any]],
) -> str:
    """The report as HTML.

    Args:
        records: trial records.
        summary: of the map.
        answers: its Answers, or their dicts.
    """
    view, lines = rate_lines(records, summary)
    name = str(summary.get("name") or "rates")
    sections = [
        ("answers", "Answers", answers_html(list(map(as_answer, answers)))),
        ("figures", "Map", _map(view, lines)),
        ("table", "Table", _table(view, lines)),
        ("cost", "What was tried, and what it cost", cost_html(view)),
        ("reproduce", "How to reproduce it", reproduce_html(view)),
    ]
    seconds = (summary.get("seconds") or {}).get("total")
    told = f", {duration(float(seconds))}" if seconds is not None else ""
    header = (
        f'<p class="kicker">Thalweg learning rates</p><h1>{escape(name)}: learning rate</h1>'
        f'<p class="lead">{len(view.records):,} real trainings{told}: every optimizer at each '
        "rate, plainly, with warmup and with clipping, under several seeds</p>"
    )
    return page(name, header, sections, footer_html(view))


def rate_cells(view: View, lines: Sequence[RateLine]) -> tuple[list[str], list[list[str]]]:
    """The map as short text: header and rows, one a line."""
    header = ["optimizer", "remedy", "best rate", f"best {plain(view.metric)}", "basin",
              "decades", "stable edge"]  # fmt: skip
    rows = []
    for line in lines:
        edge = short(line.edge, 2) if math.isfinite(line.edge) else (
            "none found" if not line.unstable.any() else "by seed")  # fmt: skip
        rows.append(
            [
                line.optimizer, line.remedy, short(line.best, 2),
                view.say(view.sign * float(np.nanmax(line.goodness))),
                f"{short(line.low, 2)} to {short(line.high, 2)}", short(line.decades, 2), edge,
            ]
        )  # fmt: skip
    return header, rows


def rate_table_lines(view: View, lines: Sequence[RateLine]) -> list[str]:
    """The map as aligned plain lines, for a terminal or a pipe."""
    header, rows = rate_cells(view, lines)
    cells = [header, *rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _table(view: View, lines: Sequence[RateLine]) -> str:
    header, rows = rate_cells(view, lines)
    head = "".join(
        f'<th scope="col"{" class=n" if place > 1 else ""}>{escape(text)}</th>'
        for place, text in enumerate(header)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=n' if place > 1 else ''}>{escape(text)}</td>"
            for place, text in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def _map(view: View, lines: Sequence[RateLine]) -> str:
    scores = [view.sign * float(v) for line in lines for v in line.goodness if math.isfinite(v)]
    if not scores:
        return ""
    y = focus(scores, view.sign)
    panels = []
    for optimizer in dict.fromkeys(line.optimizer for line in lines):
        own = [line for line in lines if line.optimizer == optimizer]
        ends = (float(own[0].rates[0]) * 0.8, float(own[0].rates[-1]) * 1.25)
        plot = Plot(
            520, 260, ends, y,
            f"validation {view.unit} over learning rate for {optimizer}, "
            + ", ".join(line.remedy for line in own),
            "learning rate", view.unit, x_log=True, top=26,
        )  # fmt: skip
        plot.axes(6, 5)
        plot.text(plot.left, 14, optimizer, "panel")
        for line in own:
            style = _STYLES.get(line.remedy, "arm3")
            if line.remedy == "plain":
                title = f"basin {short(line.low, 2)} to {short(line.high, 2)}"
                plot.band(line.low, line.high, "basin", title)
            values = [view.sign * float(v) for v in line.goodness]
            plot.line(line.rates.tolist(), values, f"curve arm {style}", line.remedy)
            if math.isfinite(line.edge) and plot.x_scale.holds(line.edge):
                at = plot.x_scale(line.edge)
                plot.raw(
                    f'<path class="line {style}" stroke-dasharray="4 3" d="M{at:.1f} {plot.top}'
                    f'V{plot.height - plot.bottom}"><title>{escape(line.remedy)}: unstable from '
                    f"about {short(line.edge, 2)}</title></path>"
                )
            best = int(np.nanargmax(line.goodness))
            title = f"{line.remedy}: {view.say(values[best])} at {short(line.best, 2)}"
            plot.dot(line.best, values[best], "point", title, 3.5)
        panels.append(f"<div>{plot.svg()}</div>")
    key = "".join(
        f'<span><i class="{_STYLES.get(remedy, "arm3")}"></i>{escape(remedy)}</span>'
        for remedy in dict.fromkeys(line.remedy for line in lines)
    )
    return figure_html(
        "Score over learning rate",
        "The mean over seeds after a short training at a constant rate. Shaded: the basin of the "
        "plain rule, the rates that come within what the validation rows can show of its best. "
        "Dashed: the stable edge, above which most runs diverge or end far worse than they began.",
        f'<p class="key">{key}</p><div class="panels pair">{"".join(panels)}</div>',
    )
