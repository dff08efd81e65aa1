"""Texts in the report: mistakes with the words that misled, and what models write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from thalweg.markup import highlighted


def mistakes(entries: Any) -> str:
    """Return the surest mistakes as HTML; empty where there are none.

    Args:
        entries: records with ``true``, ``predicted``, ``probability`` and ``words``.
    """
    return "".join(map(_mistake, _records(entries)))


def _mistake(entry: Mapping[str, Any]) -> str:
    words = [pair for pair in entry.get("words") or [] if len(pair) == 2]
    sure = entry.get("probability")
    shown = f" ({float(sure):.1%})" if sure is not None else ""
    head = f"predicted {entry.get('predicted')}{shown}, true {entry.get('true')}"
    marked = highlighted([(str(word), float(weight)) for word, weight in words])
    return f"<p><strong>{escape(head)}</strong></p>{marked}"


def written(texts: Any) -> str:
    """Return texts that a language model wrote as HTML; empty where there are none."""
    if not isinstance(texts, Sequence) or isinstance(texts, str):
        return ""
    return "".join(f'<blockquote dir="auto">{escape(str(text))}</blockquote>' for text in texts)


def translations(entries: Any) -> str:
    """Return what a translator or transcriber wrote beside what was wanted, as HTML.

    Args:
        entries: records with ``kind``, ``source``, ``true`` and ``written``.
    """
    records = _records(entries)
    if not records:
        return ""
    has_source = any(entry.get("source") is not None for entry in records)
    heads = ["", *(["read"] if has_source else []), "written", "wanted"]
    header = "".join(f'<th scope="col">{head}</th>' for head in heads)
    rows = []
    for entry in records:
        texts = [entry.get("source")] if has_source else []
        texts += [entry.get("written"), entry.get("true")]
        cells = "".join(f'<td dir="auto">{escape(str(text or ""))}</td>' for text in texts)
        rows.append(f'<tr><th scope="row">{escape(str(entry.get("kind", "")))}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table class="texts"><thead><tr>{header}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def alignments(entries: Any) -> str:
    """Return where written tokens looked, as tables whose cells are the darker the more they count.

    Args:
        entries: records whose ``alignment`` has ``read``, ``wrote`` and ``weights``.
    """
    found = [entry["alignment"] for entry in _records(entries) if entry.get("alignment")]
    return "".join(_alignment(one) for one in found)


def _alignment(one: Mapping[str, Any]) -> str:
    head = "".join(
        f'<th scope="col" style="writing-mode:vertical-rl;text-align:right" dir="auto">'
        f"{escape(str(token))}</th>"
        for token in one["read"]
    )
    rows = []
    for token, weights in zip(one["wrote"], one["weights"], strict=True):
        cells = "".join(
            f'<td style="--share:{100 * float(weight):.0f}%" title="{float(weight):.0%}"></td>'
            for weight in weights
        )
        rows.append(f'<tr><th scope="row" dir="auto">{escape(str(token))}</th>{cells}</tr>')
    return (
        '<div class="scroll"><table class="alignment"><thead><tr><td></td>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _records(entries: Any) -> list[Mapping[str, Any]]:
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return []
    return [entry for entry in entries if isinstance(entry, Mapping)]
