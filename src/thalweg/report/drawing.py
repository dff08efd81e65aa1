"""What every figure is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One figure.

    Args:
        title: its heading.
        caption: how to read it.
        body: HTML, most often SVG.
    """

    title: str
    caption: str
    body: str
