"""Small drawings as SVG text: scales, axes, marks. Colours are CSS classes, so themes apply."""

from __future__ import annotations

import html
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


def escape(text: object) -> str:
    """Text made safe for an element or an attribute."""
    return html.escape(str(text), quote=True)


def tick_text(value: float) -> str:
    """A tick's value as short text: ``0.001``, ``1e-5``, ``20k``."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        mantissa, exponent = f"{value:.3g}".split("e") if "e" in f"{value:.3g}" else ("", "")
        if not exponent:
            mantissa, exponent = f"{value:.2e}".split("e")
            mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    if size >= 1e4:
        return f"{value / 1e3:g}k".replace("-", "−")
    return f"{value:.6g}".replace("-", "−")


@dataclass(frozen=True)
class Scale:
    """A mapping from data to pixels.

    Args:
        low: data at ``start``.
        high: data at ``end``; differs from ``low``.
        start: pixel of ``low``.
        end: pixel of ``high``.
        log: logarithmic; ``low`` and ``high`` positive.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value, not clipped."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def clip(self, value: float) -> float:
        """The value, moved to the nearer end where it lies outside."""
        return min(max(value, min(self.low, self.high)), max(self.low, self.high))

    def holds(self, value: float) -> bool:
        """Whether a value lies within the ends."""
        return min(self.low, self.high) <= value <= max(self.low, self.high)

    def ticks(self, count: int = 5) -> list[float]:
        """About ``count`` round values within the ends."""
        low, high = min(self.low, self.high), max(self.low, self.high)
        if self.log:
            first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
            every = max(1, math.ceil((last - first + 1) / count))
            powers = [10.0**power for power in range(first, last + 1, every)]
            if len(powers) >= 2:
                return powers
            return [
                mantissa * 10.0**power
                for power in range(first - 1, last + 2)
                for mantissa in (1, 2, 5)
                if low <= mantissa * 10.0**power <= high
            ]
        raw = (high - low) / max(count, 1)
        size = 10.0 ** math.floor(math.log10(raw))
        step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.99)
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        return [round(step * index, 12) for index in range(first, last + 1)]


def spread(values: Iterable[float], pad: float = 0.05) -> tuple[float, float]:
    """Ends that hold all values with a little room; never equal."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if low == high:
        room = abs(low) * 0.05 or 0.5
        return low - room, high + room
    room = (high - low) * pad
    return low - room, high + room


def focus(values: Iterable[float], sign: float, pad: float = 0.06) -> tuple[float, float]:
    """Ends that show the good values well; hopeless ones fall off the bad end.

    The bad end lies at the worse quartile less one and a half interquartile ranges, or at the
    worst value where that is nearer.

    Args:
        values: scores.
        sign: +1 where more is better, -1 where less is.
        pad: room beyond the good end, as a share.
    """
    ordered = sorted(sign * value for value in values if math.isfinite(value))
    if not ordered:
        return 0.0, 1.0
    lower, upper = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    low = max(ordered[0], lower - 1.5 * (upper - lower))
    low, high = spread([low, ordered[-1]], pad)
    return (low, high) if sign > 0 else (-high, -low)


@dataclass
class Plot:
    """One drawing with two axes, built mark by mark.

    Args:
        width, height: size in pixels.
        x, y: ends of the data, and whether the axis is logarithmic.
        x_label, y_label: axis titles.
        label: what the drawing shows, for those who cannot see it.
        left, right, top, bottom: margins in pixels.
    """

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    label: str
    x_label: str = ""
    y_label: str = ""
    x_log: bool = False
    y_log: bool = False
    left: float = 54
    right: float = 14
    top: float = 12
    bottom: float = 40
    marks: list[str] = field(default_factory=list)
    _frame: str = ""

    def __post_init__(self) -> None:
        self.x_scale = Scale(*self.x, self.left, self.width - self.right, self.x_log)
        self.y_scale = Scale(*self.y, self.height - self.bottom, self.top, self.y_log)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixels of a point, clipped into the frame."""
        return self.x_scale(self.x_scale.clip(x)), self.y_scale(self.y_scale.clip(y))

    def axes(self, x_ticks: int = 5, y_ticks: int = 5, numbers: str = "xy") -> Plot:
        """Draw grid lines, tick texts and axis titles; ``numbers`` names the axes with texts."""
        bottom, right = self.height - self.bottom, self.width - self.right
        parts = []
        for value in self.y_scale.ticks(y_ticks):
            at = self.y_scale(value)
            parts.append(f'<path class="grid" d="M{self.left:.1f} {at:.1f}H{right:.1f}"/>')
            if "y" in numbers:
                parts.append(
                    f'<text class="tick" x="{self.left - 7:.1f}" y="{at + 3.6:.1f}" '
                    f'text-anchor="end">{tick_text(value)}</text>'
                )
        for value in self.x_scale.ticks(x_ticks):
            at = self.x_scale(value)
            parts.append(f'<path class="axis" d="M{at:.1f} {bottom:.1f}v4"/>')
            if "x" in numbers:
                parts.append(
                    f'<text class="tick" x="{at:.1f}" y="{bottom + 16:.1f}" '
                    f'text-anchor="middle">{tick_text(value)}</text>'
                )
        parts.append(f'<path class="axis" d="M{self.left:.1f} {bottom:.1f}H{right:.1f}"/>')
        if self.x_label:
            parts.append(
                f'<text class="label" x="{(self.left + right) / 2:.1f}" '
                f'y="{self.height - 5:.1f}" text-anchor="middle">{escape(self.x_label)}</text>'
            )
        if self.y_label:
            middle = (self.top + bottom) / 2
            parts.append(
                f'<text class="label" transform="translate(12 {middle:.1f}) rotate(-90)" '
                f'text-anchor="middle">{escape(self.y_label)}</text>'
            )
        self.marks = parts + self.marks
        return self

    def line(self, xs: Sequence[float], ys: Sequence[float], style: str, title: str = "") -> Plot:
        """Draw a line; it breaks where a value is not finite, and leaves the frame unseen."""
        return self.lines([(xs, ys)], style, title)

    def lines(
        self, series: Iterable[tuple[Sequence[float], Sequence[float]]], style: str, title: str = ""
    ) -> Plot:
        """Draw many lines as one mark: an element apiece would make a page slow."""
        data = "".join(self._path(xs, ys) for xs, ys in series)
        if data:
            if not self._frame:
                self._frame = f"frame-{zlib.crc32(self.label.encode()):08x}"
                self.marks.append(
                    f'<clipPath id="{self._frame}"><rect x="{self.left - 2:.1f}" '
                    f'y="{self.top - 2:.1f}" width="{self.width - self.left - self.right + 4:.1f}" '
                    f'height="{self.height - self.top - self.bottom + 3:.1f}"/></clipPath>'
                )
            self.marks.append(
                f'<path class="{style}" clip-path="url(#{self._frame})" d="{data}">'
                f"{_title(title)}</path>"
            )
        return self

    def _path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        parts, pen = [], "M"
        for x, y in zip(xs, ys, strict=False):
            finite = math.isfinite(x) and math.isfinite(y)
            if not finite or (self.x_log and x <= 0) or (self.y_log and y <= 0):
                pen = "M"
                continue
            px = self.x_scale(self.x_scale.clip(x))
            # Far outside is far enough: a diverging loss would ask for absurd coordinates.
            py = min(max(self.y_scale(y), -2 * self.height), 3 * self.height)
            parts.append(f"{pen}{px:.1f} {py:.1f}")
            pen = "L"
        return "".join(parts)

    def dots(self, points: Iterable[tuple[float, float]], style: str) -> Plot:
        """Draw many points as one path: small, but without titles of their own."""
        parts = []
        for x, y in points:
            if math.isfinite(x) and math.isfinite(y):
                px, py = self.at(x, y)
                parts.append(f"M{px:.1f} {py:.1f}h0")
        if parts:
            self.marks.append(f'<path class="dots {style}" d="{"".join(parts)}"/>')
        return self

    def dot(self, x: float, y: float, style: str, title: str = "", radius: float = 3) -> Plot:
        """Draw a point with a title that shows on hovering."""
        if math.isfinite(x) and math.isfinite(y):
            px, py = self.at(x, y)
            self.marks.append(
                f'<circle class="{style}" cx="{px:.1f}" cy="{py:.1f}" r="{radius:g}">'
                f"{_title(title)}</circle>"
            )
        return self

    def cross(self, x: float, y: float, style: str, title: str = "") -> Plot:
        """Draw a small cross."""
        px, py = self.at(x, y)
        self.marks.append(
            f'<path class="{style}" d="M{px - 2.5:.1f} {py - 2.5:.1f}l5 5m0 -5l-5 5">'
            f"{_title(title)}</path>"
        )
        return self

    def band(self, low: float, high: float, style: str, title: str = "") -> Plot:
        """Shade a range of x over the whole height."""
        left, right = self.x_scale(self.x_scale.clip(low)), self.x_scale(self.x_scale.clip(high))
        self.marks.append(
            f'<rect class="{style}" x="{left:.1f}" y="{self.top:.1f}" '
            f'width="{max(right - left, 2):.1f}" '
            f'height="{self.height - self.bottom - self.top:.1f}">{_title(title)}</rect>'
        )
        return self

    def text(self, x: float, y: float, words: str, style: str, anchor: str = "start") -> Plot:
        """Write at pixels (not data)."""
        self.marks.append(
            f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
            f"{escape(words)}</text>"
        )
        return self

    def raw(self, mark: str) -> Plot:
        """Add a mark drawn elsewhere."""
        self.marks.append(mark)
        return self

    def svg(self) -> str:
        """The drawing."""
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f'aria-label="{escape(self.label)}" style="max-width:{self.width:g}px">'
            f"{''.join(self.marks)}</svg>"
        )


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def thin(values: Sequence[Any], count: int) -> list[int]:
    """Indices of at most ``count`` values, evenly apart, the first and last among them."""
    n = len(values)
    if n <= count:
        return list(range(n))
    return sorted({round(index * (n - 1) / (count - 1)) for index in range(count)})
