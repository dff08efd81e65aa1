"""Texts in the report: mistakes with the words that misled, and what a language model writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_FOR, _AGAINST = "230,126,34", "52,120,200"


def mistakes(entries: Any) -> str:
    """Return the surest mistakes as HTML; empty where there are none.

    Args:
        entries: records with ``true``, ``predicted``, ``probability`` and ``words``.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return ""
    return "".join(_mistake(entry) for entry in entries if isinstance(entry, Mapping))


def _mistake(entry: Mapping[str, Any]) -> str:
    words = [pair for pair in entry.get("words") or [] if len(pair) == 2]
    most = max((abs(float(weight)) for _, weight in words), default=0.0) or 1.0
    marked = "".join(_word(str(word), float(weight) / most) for word, weight in words)
    sure = entry.get("probability")
    shown = f" ({float(sure):.1%})" if sure is not None else ""
    head = f"predicted {entry.get('predicted')}{shown}, true {entry.get('true')}"
    return f'<p><strong>{escape(head)}</strong></p><blockquote dir="auto">{marked}</blockquote>'


def _word(word: str, share: float) -> str:
    if abs(share) < 0.05:
        return escape(word)
    colour = _FOR if share > 0 else _AGAINST
    # Not by colour alone: what spoke against is underlined.
    line = "" if share > 0 else ";text-decoration:underline"
    style = f"background:rgba({colour},{abs(share) * 0.6:.2f}){line}"
    return f'<span style="{style}">{escape(word)}</span>'


def written(texts: Any) -> str:
    """Return texts that a language model wrote as HTML; empty where there are none."""
    if not isinstance(texts, Sequence) or isinstance(texts, str):
        return ""
    return "".join(f'<blockquote dir="auto">{escape(str(text))}</blockquote>' for text in texts)
