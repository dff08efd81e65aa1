"""Figures of a study's explanations: which inputs matter, and what they add for single rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from thalweg.evidence.view import View, number, plain, short
from thalweg.report.figures import Figure
from thalweg.report.svg import Plot, escape, spread

_MOST_BARS, _MOST_NAMES, _MOST_PANELS = 20, 8, 12


def importance(view: View) -> Figure | None:
    """How much worse the model gets without each column, with intervals."""
    found = _section(view, "importance")
    lines = [
        line
        for line in found.get("columns") or []
        if isinstance(line, Mapping) and math.isfinite(number(line.get("importance")))
    ][:_MOST_BARS]
    if not lines:
        return None
    metric, split = plain(found.get("metric")), found.get("split")
    values = [number(line[key]) for line in lines for key in ("importance", "low", "high")]
    height = 26 * len(lines) + 48
    plot = Plot(
        720, height, spread([0.0, *values]), (len(lines) - 0.5, -0.5),
        f"Importance of {len(lines)} columns, {lines[0]['column']} first", f"{metric} lost",
        left=190, top=4,
    )  # fmt: skip
    plot.axes(6, 0, "x")
    zero = plot.x_scale(0.0)
    for place, line in enumerate(lines):
        value, low, high = (number(line.get(key)) for key in ("importance", "low", "high"))
        y = plot.y_scale(place)
        end = plot.x_scale(value)
        title = f"{line['column']}: {short(value, 3)}"
        if math.isfinite(low):
            title += f" ({short(low, 3)} to {short(high, 3)})"
        plot.text(180, y + 4, _cut(line["column"], 26), "tick", "end")
        plot.raw(_bar(min(zero, end), abs(end - zero), y, "bar", title))
        if math.isfinite(low):
            left, right = (plot.x_scale(plot.x_scale.clip(v)) for v in (low, high))
            plot.raw(f'<path class="whisker first" d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
    plot.raw(f'<path class="axis" d="M{zero:.1f} {plot.top}V{plot.height - plot.bottom}"/>')
    rows = number(found.get("num_rows"))
    return Figure(
        "Which columns matter",
        f"How much worse {metric} gets on {rows:,.0f} {split} rows when a column is shuffled, with "
        "95 % intervals for new rows. Where the interval holds 0, the model may do as well without "
        "the column; of columns that go together either may get the credit.",
        plot.svg(),
    )


def contributions(view: View) -> Figure | None:
    """What each column adds to the predictions of some rows."""
    found = _section(view, "rows")
    by_row: dict[Any, list[Mapping[str, Any]]] = {}
    for line in found.get("lines") or []:
        if isinstance(line, Mapping) and math.isfinite(number(line.get("contribution"))):
            by_row.setdefault(line.get("row"), []).append(line)
    if not by_row:
        return None
    panels = []
    for row, lines in by_row.items():
        panels.append(_row_panel(row, lines, str(found.get("unit"))))
    what = "the probability" if found.get("unit") == "probability" else "the prediction"
    return Figure(
        "What the columns add, row by row",
        f"Shapley values of {len(by_row)} {found.get('split')} rows: what each column adds to "
        f"{what} (blue) or takes from it (orange), from the mean prediction to that of the row.",
        _panels(panels),
    )


def _row_panel(row: Any, lines: Sequence[Mapping[str, Any]], unit: str) -> str:
    ordered = sorted(lines, key=lambda line: -abs(number(line["contribution"])))
    shown, rest = ordered[:_MOST_NAMES], ordered[_MOST_NAMES:]
    entries = [(_named(line), number(line["contribution"])) for line in shown]
    if rest:
        total = math.fsum(number(line["contribution"]) for line in rest)
        entries.append((f"{len(rest)} others", total))
    base, end = number(lines[0].get("base")), number(lines[0].get("prediction"))
    label = lines[0].get("explained")
    head = f"{_cut(label, 16)} {_say(end, unit)}, from {_say(base, unit)}"
    height = 20 * len(entries) + 62
    plot = Plot(
        340, height, spread([0.0, *(value for _, value in entries)]), (len(entries) - 0.5, -0.5),
        f"Row {row}: {head}; most by {entries[0][0]}, {_say(entries[0][1], unit)}",
        left=150, top=26, bottom=30,
    )  # fmt: skip
    plot.axes(3, 0, "x")
    plot.text(6, 14, f"row {row}: {head}", "panel")
    zero = plot.x_scale(0.0)
    for place, (name, value) in enumerate(entries):
        y, at = plot.y_scale(place), plot.x_scale(value)
        plot.text(142, y + 4, _cut(name, 22), "tick", "end")
        style = "bar" if value >= 0 else "bar against"
        plot.raw(_bar(min(zero, at), abs(at - zero), y, style, f"{name}: {_say(value, unit)}"))
    plot.raw(f'<path class="axis" d="M{zero:.1f} {plot.top}V{plot.height - plot.bottom}"/>')
    return plot.svg()


def steps(view: View) -> Figure | None:
    """Which steps of a series matter, one panel an input."""
    found = _section(view, "steps")
    by_input: dict[str, list[Mapping[str, Any]]] = {}
    for line in found.get("steps") or []:
        if isinstance(line, Mapping) and math.isfinite(number(line.get("size"))):
            by_input.setdefault(str(line.get("input")), []).append(line)
    if not by_input:
        return None
    sizes = {name: math.fsum(number(s["size"]) for s in some) for name, some in by_input.items()}
    names = sorted(by_input, key=lambda name: -sizes[name])[:_MOST_PANELS]
    top = max(number(line["size"]) for name in names for line in by_input[name])
    panels = []
    for name in names:
        lines = by_input[name]
        first, last = number(lines[0]["first_step"]), number(lines[-1]["last_step"])
        plot = Plot(
            300, 170, (first - 0.5, last + 0.5), (0.0, top * 1.05 or 1.0),
            f"Mean contribution of {name} by step, from {first:g} to {last:g}", "step", top=26,
        )  # fmt: skip
        plot.axes(4, 3)
        plot.text(plot.left, 14, _cut(name, 34), "panel")
        for line in lines:
            low, high, size = (number(line[key]) for key in ("first_step", "last_step", "size"))
            left, right = plot.x_scale(low - 0.5), plot.x_scale(high + 0.5)
            y = plot.y_scale(size)
            bottom = plot.height - plot.bottom
            span = f"step {low:g}" if low == high else f"steps {low:g} to {high:g}"
            plot.raw(
                f'<rect class="bar" x="{left + 0.5:.1f}" y="{y:.1f}" '
                f'width="{max(right - left - 1, 1):.1f}" height="{max(bottom - y, 0):.1f}">'
                f"<title>{span}: {short(size, 3)}</title></rect>"
            )
        panels.append(plot.svg())
    explained = ", ".join(map(str, found.get("explained") or []))
    return Figure(
        "Which steps matter",
        f"How far each stretch of each input moves the prediction of {explained} on average over "
        f"{number(found.get('num_rows')):,.0f} {found.get('split')} rows, up or down, beside "
        "inputs at their mean (integrated gradients). Steps of a forecast are counted from the "
        "last known one, which is 0.",
        _panels(panels),
    )


EXPLANATIONS = {"importance": importance, "contributions": contributions, "steps": steps}
"""Figures of explanations in the order of a report."""


def _section(view: View, name: str) -> Mapping[str, Any]:
    found = view.summary.get("explanations")
    part = found.get(name) if isinstance(found, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _panels(panels: Sequence[str]) -> str:
    return f'<div class="panels wide">{"".join(f"<div>{one}</div>" for one in panels)}</div>'


def _bar(x: float, width: float, y: float, style: str, title: str) -> str:
    return (
        f'<rect class="{style}" x="{x:.1f}" y="{y - 7:.1f}" width="{max(width, 1):.1f}" '
        f'height="14"><title>{escape(title)}</title></rect>'
    )


def _named(line: Mapping[str, Any]) -> str:
    value = line.get("value")
    name = str(line.get("column"))
    if value is None:
        return name if "value" not in line else f"{name} missing"
    try:
        value = short(float(value), 3)
    except (TypeError, ValueError):
        value = str(value)
    return f"{name} = {value}"


def _say(value: float, unit: str) -> str:
    return f"{100 * value:.1f} %" if unit == "probability" else short(value, 4)


def _cut(text: object, most: int) -> str:
    words = str(text)
    return words if len(words) <= most else f"{words[: most - 1]}…"
