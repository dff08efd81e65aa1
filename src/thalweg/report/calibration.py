"""Figures of calibration: are 80 % right of what is said to be 80 % sure?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from thalweg.evidence.view import View, number, short
from thalweg.report.figures import Figure
from thalweg.report.svg import Plot


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
    gain, interval = number(found.get("gain")), found.get("interval") or (math.nan, math.nan)
    low, high = (number(v) for v in interval)
    used = "is applied" if found.get("applied") else "is not applied (--calibrate does)"
    verdict = "lowers" if low > 0 else "raises" if high < 0 else "makes no sure difference to"
    return Figure(
        "Are the probabilities right?",
        f"Test rows in bins of their probability: on the dashed line, of what is said to be 80 % "
        f"sure 80 % come true; bars are 95 % intervals. Calibration error {_error(before[1])} as "
        f"trained, {_error(after[1])} with a temperature of {short(found.get('temperature'), 3)}, "
        f"which {verdict} the log loss of held-out rows ({short(gain, 2)} less, "
        f"{short(low, 2)} to {short(high, 2)}) and {used}.",
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
