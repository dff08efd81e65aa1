"""Figures of calibration: are 80 % right of what is said to be 80 % sure?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from thalweg.evidence.view import View, number, plain, short
from thalweg.report.figures import Figure
from thalweg.report.svg import Plot, escape


def calibration(view: View) -> Figure | None:
    """Reliability of probabilities, or coverage of intervals."""
    found = view.summary.get("calibration")
    if not isinstance(found, Mapping):
        return None
    if isinstance(found.get("test"), Mapping):
        return _reliability(found)
    lines = [line for line in found.get("intervals") or [] if math.isfinite(_of(line, "coverage"))]
    return _coverage(found, lines) if lines else None


def _reliability(found: Mapping[str, Any]) -> Figure | None:
    curves = {}
    for name in ("before", "after"):
        side = found["test"].get(name)
        curve = side.get("reliability") if isinstance(side, Mapping) else None
        if not isinstance(curve, Mapping) or not curve.get("confidence"):
            return None
        curves[name] = (side, curve)
    plot = Plot(
        460, 420, (0.0, 1.0), (0.0, 1.0),
        "Reliability diagram: share that came true over probability, before and after a "
        "temperature", "probability", "share that came true",
    )  # fmt: skip
    plot.axes(5, 5)
    plot.line([0.0, 1.0], [0.0, 1.0], "mark", "perfectly calibrated")
    for name, style in (("before", "second"), ("after", "first")):
        curve = curves[name][1]
        points = [
            [number(v) for v in curve[key]]
            for key in ("confidence", "outcome", "low", "high", "count")
        ]
        if name == "before":
            plot.line(points[0], points[1], f"curve {style}", "as trained")
        for p, y, low, high, count in zip(*points, strict=True):
            if name == "after":
                (x, top), (_, bottom) = plot.at(p, high), plot.at(p, low)
                plot.raw(f'<path class="whisker first" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
            title = f"{name}: {p:.1%} claimed, {y:.1%} came true, {count:.0f} rows"
            plot.dot(p, y, f"point {style}", title, 3.5)
        if name == "after":
            plot.line(points[0], points[1], f"curve {style}", "with the temperature")
    at = plot.width - plot.right
    plot.text(at, plot.height - plot.bottom - 26, "as trained", "name second", "end")
    plot.text(at, plot.height - plot.bottom - 10, "with the temperature", "name first", "end")
    before, after = curves["before"], curves["after"]
    temperature = short(number(found.get("temperature")), 3)
    gain, interval = number(found.get("gain")), found.get("interval") or (math.nan, math.nan)
    low, high = (number(v) for v in interval)
    used = "is applied" if found.get("applied") else "is not applied (--calibrate does)"
    verdict = "lowers" if low > 0 else "raises" if high < 0 else "makes no sure difference to"
    return Figure(
        "Are the probabilities right?",
        "Test rows in bins of their probability: on the dashed line, of what is said to be 80 % "
        f"sure 80 % come true; bars are 95 % intervals. Calibration error {_error(before[1])} as "
        f"trained, {_error(after[1])} with a temperature of {temperature}. "
        f"The temperature {verdict} the log loss of held-out rows (by {short(-gain, 2)}, "
        f"{short(-high, 2)} to {short(-low, 2)}) and {used}.",
        plot.svg(),
    )


def _error(curve: Mapping[str, Any]) -> str:
    low, high = (number(v) for v in curve.get("interval") or (math.nan, math.nan))
    return f"{number(curve.get('error')):.1%} ({low:.1%} to {high:.1%})"


def _coverage(found: Mapping[str, Any], lines: list[Mapping[str, Any]]) -> Figure:
    plot = Plot(
        460, 380, (0.4, 1.0), (0.4, 1.0),
        "Share of test rows within their interval, over the interval's level", "level",
        "share within",
    )  # fmt: skip
    plot.axes(6, 6)
    plot.line([0.4, 1.0], [0.4, 1.0], "mark", "as promised")
    said = []
    for line in lines:
        level, share, low, high, radius = (
            _of(line, key) for key in ("level", "coverage", "low", "high", "radius")
        )
        (x, top), (_, bottom) = plot.at(level, high), plot.at(level, low)
        plot.raw(f'<path class="whisker first" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
        plot.dot(level, share, "point first", f"{level:.0%}: {share:.1%} within", 4)
        said.append(f"{level:.0%}: ± {short(radius, 3)} holds {share:.1%}")
    return Figure(
        "Are the intervals right?",
        f"Intervals around predictions from the errors on {number(found.get('num_rows')):,.0f} "
        f"held-out rows, and the share of {number(found.get('num_tested')):,.0f} test rows that "
        f"they hold ({'; '.join(said)}). On the dashed line they hold what they promise.",
        plot.svg(),
    )


def _of(line: Any, key: str) -> float:
    return number(line.get(key)) if isinstance(line, Mapping) else math.nan


def combinations(view: View) -> Figure | None:
    """What the survivors are worth together, beside what is handed over."""
    rows = []
    for one in view.summary.get("combinations") or []:
        gain = _of(one, "gain")
        if not math.isfinite(gain):
            continue
        low, high = (number(v) for v in one.get("interval") or (math.nan, math.nan))
        verdict = "better" if low > 0 else "worse" if high < 0 else "no sure difference"
        members = ", ".join(
            f"{number(member.get('share')):.0%} of trials {_trials(member.get('trials') or [])}"
            for member in one.get("members") or []
        )
        how = "handed over" if one.get("used") else f"--combine {one.get('name')}"
        size = f"{short(gain, 3)} ({short(low, 3)} to {short(high, 3)})"
        beside = f"{plain(one.get('loss'))} over {one.get('over')}"
        cells = [one.get("name"), members, size, beside, verdict, how]
        rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    if not rows:
        return None
    heads = ("what", "of", "gain (95 %)", "in", "verdict", "how to get it")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return Figure(
        "What the survivors are worth together",
        "The finalists averaged as it helps (greedy), and one network of averaged weights (soup): "
        "how much less the loss of held-out rows is, chosen on four fifths of them and scored on "
        "the rest.",
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>",
    )


def _trials(numbers: list[Any]) -> str:
    shown = ", ".join(map(str, numbers[:6]))
    return shown if len(numbers) <= 6 else f"{shown}, …"
