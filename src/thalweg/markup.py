"""Small pieces of HTML with which objects show themselves in notebooks.

Colours are those of the notebook (``currentColor`` and transparency), so that light and dark themes
both work; nothing is loaded, and all text is escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

_CELL = "padding:2px 10px;border-bottom:1px solid rgba(128,128,128,.25);white-space:nowrap"
_SMALL = "opacity:.7;font-size:90%"
COLOURS = {"supported": "#1d8a4e", "tie": "#3f74b5", "not enough evidence": "#b07a00"}
"""Colours of verdicts."""
_FOR, _AGAINST = "230,126,34", "52,120,200"


def escape(text: Any) -> str:
    """Return text made safe for an element or an attribute."""
    return html.escape(str(text), quote=True)


def card(title: str, *parts: str, note: str = "") -> str:
    """Return a block with a heading.

    Args:
        title: plain text.
        parts: HTML below it; empty ones are left out.
        note: plain text beside the heading.
    """
    beside = f' <span style="{_SMALL}">{escape(note)}</span>' if note else ""
    body = "".join(f'<div style="margin-top:6px">{part}</div>' for part in parts if part)
    return (
        '<div style="max-width:72em;line-height:1.45;overflow-x:auto">'
        f"<div><strong>{escape(title)}</strong>{beside}</div>{body}</div>"
    )


def page(title: str, body: str) -> str:
    """Return a whole document.

    Args:
        title: plain text.
        body: HTML below the heading.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title></head>"
        '<body style="max-width:60em;margin:2em auto;padding:0 1em;font-family:sans-serif;'
        f'line-height:1.5;color-scheme:light dark"><h1>{escape(title)}</h1>{body}</body></html>'
    )


def lines(texts: Iterable[str]) -> str:
    """Return plain lines below each other."""
    return "".join(f"<div>{escape(text)}</div>" for text in texts)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table of plain values; numbers stand to the right, with 4 digits."""
    head = "".join(
        f'<th scope="col" style="{_CELL};text-align:left">{escape(name)}</th>' for name in header
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        '<table style="border-collapse:collapse;margin:0"><thead><tr>'
        f"{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def bars(pairs: Iterable[tuple[str, float]], most: int = 12) -> str:
    """Return names with numbers as bars, the longest first as given; up to ``most``."""
    shown = [(name, value) for name, value in pairs if math.isfinite(value)][:most]
    reach = max((abs(value) for _, value in shown), default=0.0) or 1.0
    rows = "".join(
        f'<tr><td style="{_CELL};text-align:left">{escape(name)}</td>'
        f'<td style="{_CELL};width:14em"><div style="background:'
        f"{'#4f93b5' if value >= 0 else '#c8642a'};height:.8em;"
        f'width:{100 * abs(value) / reach:.1f}%"></div></td>'
        f'<td style="{_CELL};text-align:right">{short(value)}</td></tr>'
        for name, value in shown
    )
    return f'<table style="border-collapse:collapse;margin:0"><tbody>{rows}</tbody></table>'


def highlighted(pieces: Sequence[tuple[str, float]]) -> str:
    """Return a text whose pieces are coloured by their weights: for in orange, against in blue.

    Args:
        pieces: text and weight of each; the largest weight has the strongest colour.
    """
    most = max((abs(weight) for _, weight in pieces), default=0.0) or 1.0
    marked = "".join(_piece(text, weight / most) for text, weight in pieces)
    return f'<blockquote dir="auto">{marked}</blockquote>'


def _piece(text: str, share: float) -> str:
    if abs(share) < 0.05:
        return escape(text)
    colour = _FOR if share > 0 else _AGAINST
    # Not by colour alone: what speaks against is underlined.
    line = "" if share > 0 else ";text-decoration:underline"
    style = f"background:rgba({colour},{abs(share) * 0.6:.2f}){line}"
    return f'<span style="{style}">{escape(text)}</span>'


def badge(text: str) -> str:
    """Return a word in the colour of its verdict."""
    colour = COLOURS.get(text, "currentColor")
    return (
        f'<span style="color:{colour};border:1px solid {colour};border-radius:9px;padding:0 7px;'
        f'font-size:85%">{escape(text)}</span>'
    )


def short(value: Any) -> str:
    """Return a number with 4 digits, anything else as text."""
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "–"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _cell(value: Any) -> str:
    side = "right" if isinstance(value, (int, float)) and not isinstance(value, bool) else "left"
    text = "" if value is None else short(value)
    return f'<td style="{_CELL};text-align:{side}">{escape(text)}</td>'
