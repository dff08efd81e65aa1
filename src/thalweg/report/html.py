"""The report: one self-contained HTML file that needs no network and works without script."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thalweg.evidence.answer import SUPPORTED, TIE, Answer
from thalweg.evidence.ranking import leaderboard
from thalweg.evidence.view import View, number, plain, short
from thalweg.files import write_atomically
from thalweg.report.calibration import calibration, combinations
from thalweg.report.explanations import EXPLANATIONS
from thalweg.report.figures import FIGURES, interval_glyph
from thalweg.report.page import SCRIPT, STYLE
from thalweg.report.passages import alignments, mistakes, translations, written
from thalweg.report.pictures import png_size
from thalweg.report.svg import escape
from thalweg.report.terminal import as_answer, config_text, duration, telling_names

SHOWN_ROWS = 20
MAX_ROWS = 1_000
PREDICTED = ("forecasts", "predictions")
"""Figures that stand in the section on predictions."""

_SECURITY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def write_report(
    path: str | os.PathLike[str],
    records: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    answers: Sequence[Answer | Mapping[str, Any]],
    pictures: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the report of a run.

    The file is written under a temporary name and renamed, so that a reader never sees half.

    Args:
        path: where to; folders on the way are made.
        records: trial records.
        summary: the run's summary. Optional beyond the usual keys: ``space`` (name -> ``{"low",
            "high", "log", "choices"}``) and ``predictions`` (``{"confusion": [[int]], "classes":
            [...]}`` or ``{"true": [...], "predicted": [...]}``, with ``"split"``, default
            ``"test"``), ``pictures`` (``[{"name", "title", "caption", "alt"}]``) and
            ``forecasts`` (see ``figures.forecasts``).
        answers: the run's Answers, or their dicts.
        pictures: PNG files by their names in ``summary["pictures"]``; what is missing is not
            shown.

    Returns:
        The path written.
    """
    return write_text(path, render_report(records, summary, answers, pictures))


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file whole or not at all.

    Args:
        path: where to; folders on the way are made.
        text: what to write, as UTF-8.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, text)
    return target


def render_report(
    records: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    answers: Sequence[Answer | Mapping[str, Any]],
    pictures: Mapping[str, bytes] | None = None,
) -> str:
    """The report as text; arguments as of ``write_report``."""
    view = View([dict(record) for record in records], dict(summary))
    name = str(summary.get("name") or "run")
    figures = {key: draw(view) for key, draw in FIGURES.items()}
    shown = {key: figure for key, figure in figures.items() if figure is not None}
    predicted = [shown.pop(key) for key in PREDICTED if key in shown]
    predicted += [f for draw in (calibration, combinations) if (f := draw(view)) is not None]
    sections = [
        ("answers", "Answers", answers_html(list(map(as_answer, answers)))),
        ("leaderboard", "Leaderboard", _leaderboard(view)),
        (
            "figures",
            "Figures",
            "".join(
                figure_html(figure.title, figure.caption, figure.body) for figure in shown.values()
            ),
        ),
        (
            "predictions",
            "Predictions",
            "".join(figure_html(figure.title, figure.caption, figure.body) for figure in predicted),
        ),
        (
            "explanations",
            "Explanations",
            "".join(
                figure_html(figure.title, figure.caption, figure.body)
                for draw in EXPLANATIONS.values()
                if (figure := draw(view)) is not None
            ),
        ),
        ("pictures", "Pictures", _pictures(view, pictures or {})),
        ("passages", "Texts", _texts(view)),
        ("cost", "What was tried, and what it cost", cost_html(view)),
        ("reproduce", "How to reproduce it", reproduce_html(view)),
    ]
    return page(name, _header(view, name), sections, footer_html(view))


def page(name: str, header: str, sections: Sequence[tuple[str, str, str]], footer: str) -> str:
    """The whole page.

    Args:
        name: of the run.
        header: HTML of its head, with the ``h1``.
        sections: id, title and HTML of each; empty ones are left out.
        footer: HTML.
    """
    shown = [section for section in sections if section[2]]
    links = " ".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in shown)
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">'
        f"{escape(title)}</h2>{content}</section>"
        for key, title, content in shown
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_SECURITY}">'
        f"<title>{escape(name)}: Thalweg report</title><style>{STYLE}</style></head><body>"
        '<a class="skip" href="#answers">Skip to the answers</a>'
        f'<header class="top">{header}<nav aria-label="Sections">{links}</nav>'
        f"</header><main>{body}</main>{footer}<script>{SCRIPT}</script></body></html>\n"
    )


def figure_html(title: str, caption: str, body: str) -> str:
    """A figure with its heading and how to read it."""
    if body.startswith("<svg"):
        body = f'<div class="scroll">{body}</div>'
    return (
        f"<figure><h3>{escape(title)}</h3><figcaption>{escape(caption)}</figcaption>{body}</figure>"
    )


def _pictures(view: View, pictures: Mapping[str, bytes]) -> str:
    entries = view.summary.get("pictures")
    if not isinstance(entries, (list, tuple)):
        return ""
    parts = []
    for entry in entries:
        name = str(entry.get("name")) if isinstance(entry, Mapping) else ""
        try:
            width, height = png_size(pictures.get(name, b""))
        except ValueError:
            continue
        data = base64.b64encode(pictures[name]).decode("ascii")
        alt = escape(entry.get("alt") or entry.get("caption") or entry.get("title") or name)
        image = (
            f'<div class="scroll"><img class="picture" src="data:image/png;base64,{data}" '
            f'alt="{alt}" width="{width}" height="{height}" loading="lazy"></div>'
        )
        title, caption = str(entry.get("title") or name), str(entry.get("caption") or "")
        parts.append(figure_html(title, caption, image))
    return "".join(parts)


def _texts(view: View) -> str:
    entries = view.summary.get("written")
    figures = (
        (
            "Worst mistakes",
            "The surest mistakes. Orange words spoke for what was predicted, underlined blue ones "
            "against it: by how much the prediction changes when the word is left out.",
            mistakes(view.summary.get("passages")),
        ),
        (
            "What the model writes",
            "Some test rows as they come, and those where what was written is least like what was "
            "wanted.",
            translations(entries),
        ),
        (
            "Where it looks",
            "For each token that was written (rows) the tokens that were read (columns) that the "
            "decoder's last attention looked at: the darker, the more.",
            alignments(entries),
        ),
        (
            "Samples",
            "Texts that the model wrote, from nothing.",
            written(view.summary.get("samples")),
        ),
    )
    return "".join(figure_html(title, caption, body) for title, caption, body in figures if body)


def _header(view: View, name: str) -> str:
    summary = view.summary
    task = summary.get("task") if isinstance(summary.get("task"), Mapping) else {}
    facts: list[tuple[str, str, str]] = []
    winner = view.winner or {}
    split = "test" if math.isfinite(view.value(summary, "test")) else "validation"
    value = view.value(summary, split)
    if not math.isfinite(value):
        value = number(winner.get("score"))
    if math.isfinite(value):
        error = view.sampling_error(value, split)
        note = f"on the {split} rows"
        if math.isfinite(error):
            note = f"± {view.say(1.96 * error)} (95 %), {note}"
        facts.append((plain(view.metric), view.say(value), note))
    if winner:
        params = number(winner.get("num_params"))
        note = f"{params:,.0f} parameters" if math.isfinite(params) else ""
        facts.append(("the winner", str(winner.get("structure") or "network"), note))
    rivals = [
        (str(row.get("name")), view.value(row, split))
        for row in summary.get("baselines") or []
        if isinstance(row, Mapping)
    ]
    rivals = [pair for pair in rivals if math.isfinite(pair[1])]
    if rivals:
        rival = max(rivals, key=lambda pair: view.sign * pair[1])
        facts.append(("best baseline", view.say(rival[1]), rival[0]))
    counts = _counts(view)
    total = sum(counts.values())
    detail = ", ".join(f"{count} {status}" for status, count in counts.items())
    facts.append(("trials", f"{total:,}", detail))
    seconds = summary.get("seconds")
    if isinstance(seconds, Mapping) and math.isfinite(number(seconds.get("total"))):
        budget = number(summary.get("budget_seconds"))
        note = f"of a budget of {duration(budget)}" if math.isfinite(budget) else ""
        facts.append(("time", duration(number(seconds["total"])), note))
    rows = task.get("rows") if isinstance(task, Mapping) else None
    parts = []
    if isinstance(task, Mapping) and task:
        target = task.get("target") or task.get("targets")
        target = ", ".join(map(str, target)) if isinstance(target, (list, tuple)) else target
        parts.append(f"{plain(task.get('kind') or 'task').capitalize()}")
        if target:
            parts[-1] += f" of {target}"
        classes = task.get("classes")
        if isinstance(classes, (list, tuple)) and classes:
            parts.append(f"{len(classes)} classes")
        features = number(task.get("features"))
        if math.isfinite(features):
            parts.append(f"{features:,.0f} features")
    if isinstance(rows, Mapping):
        known = [(split, number(count)) for split, count in rows.items()]
        parts.append(
            ", ".join(f"{count:,.0f} {split}" for split, count in known if math.isfinite(count))
            + " rows"
        )
    items = "".join(
        f"<div><dt>{escape(term)}</dt><dd>{escape(text)}<small>{escape(note)}</small></dd></div>"
        for term, text, note in facts
    )
    return (
        f'<p class="kicker">Thalweg report</p><h1>{escape(name)}</h1>'
        f'<p class="lead">{escape("; ".join(parts))}</p><dl class="facts">{items}</dl>'
    )


def _counts(view: View) -> dict[str, int]:
    given = view.summary.get("trials")
    if isinstance(given, Mapping) and given:
        known = {str(status): number(count) for status, count in given.items()}
        return {status: int(n) for status, n in known.items() if math.isfinite(n)}
    counts: dict[str, int] = {}
    for row in view.networks:
        status = str(row.get("status"))
        counts[status] = counts.get(status, 0) + 1
    return counts


def answers_html(answers: Sequence[Answer]) -> str:
    """The answers, each with its verdict, its interval drawn, its advice and its trials."""
    if not answers:
        return "<p>No question could be put to these trials.</p>"
    items = []
    for answer in answers:
        kind = {SUPPORTED: "supported", TIE: "tie"}.get(answer.verdict, "not-enough")
        count = len(answer.trials)
        trials = (
            f"<details><summary>from {count:,} {'trials' if count != 1 else 'trial'}"
            f"{f'; {escape(answer.unit)}' if answer.unit else ''}</summary>"
            f"<p>Trials {escape(ranges(answer.trials))}</p></details>"
            if count
            else ""
        )
        advice = f'<p class="advice">{escape(answer.advice)}</p>' if answer.advice else ""
        items.append(
            f'<li><div><div class="head"><h3>{escape(answer.question)}</h3>'
            f'<span class="badge {kind}">{escape(answer.verdict)}</span></div>'
            f"<p>{escape(answer.claim)}</p>{advice}</div>"
            f"<div>{interval_glyph(answer)}</div>{trials}</li>"
        )
    return (
        '<p class="lead">Each answer says how sure it is: <em>supported</em> by the trials, a '
        "<em>tie</em> (the difference is known to be too small to matter), or <em>not enough "
        f'evidence</em>.</p><ul class="answers">{"".join(items)}</ul>'
    )


def ranges(numbers: Sequence[int]) -> str:
    """Whole numbers as text, runs of them joined: ``0–4, 7, 9–10``."""
    parts: list[str] = []
    run: list[int] = []
    for value in sorted(set(numbers)):
        if run and value != run[-1] + 1:
            parts.append(_run(run))
            run = []
        run.append(value)
    if run:
        parts.append(_run(run))
    return ", ".join(parts)


def _run(run: Sequence[int]) -> str:
    if len(run) == 1:
        return str(run[0])
    return f"{run[0]}{'–' if len(run) > 2 else ', '}{run[-1]}"


def _leaderboard(view: View) -> str:
    entries = leaderboard(view.networks, view.direction, MAX_ROWS)
    baselines = [row for row in view.summary.get("baselines") or [] if isinstance(row, Mapping)]
    if not entries and not baselines:
        return ""
    names = telling_names([entry["config"] for entry in entries[:SHOWN_ROWS]])[:5]
    head = ["#", "trial", "structure", *map(plain, names), plain(view.metric), "± seeds",
            "parameters", "seconds"]  # fmt: skip
    numeric = {0, 1, *range(3 + len(names), 7 + len(names))}
    numeric |= {
        3 + place
        for place, name in enumerate(names)
        if all(
            isinstance(entry["config"].get(name), (int, float, type(None)))
            for entry in entries[:SHOWN_ROWS]
        )
    }
    rows = []
    for entry in entries:
        score, std = number(entry["score"]), number(entry["std"])
        params = number(entry["num_params"])
        cells: list[tuple[object, str]] = [
            (entry["rank"], str(entry["rank"])),
            (entry["trial"], str(entry["trial"])),
            (entry["structure"], entry["structure"]),
            *[
                (entry["config"].get(name, ""), config_text(entry["config"].get(name)))
                for name in names
            ],
            (
                score if math.isfinite(score) else "",
                view.say(score) if score == score else _why(entry),
            ),
            (
                std if math.isfinite(std) else "",
                f"{view.say(std)} ({entry['seeds']})" if math.isfinite(std) else "",
            ),
            (params if math.isfinite(params) else "", f"{params:,.0f}" if params == params else ""),
            (entry["seconds"], short(entry["seconds"], 3)),
        ]
        style = "winner" if entry["rank"] == 1 else "more" if entry["rank"] > SHOWN_ROWS else ""
        rows.append(_row(cells, numeric, style))
    for row in baselines:
        value, seconds = view.value(row, "validation"), number(row.get("seconds"))
        cells = [("", "–"), ("", ""), (row.get("name"), f"{row.get('name')} (baseline)")]
        cells += [("", "")] * len(names)
        cells += [
            (value if math.isfinite(value) else "", view.say(value) if value == value else "–"),
            ("", ""),
            ("", ""),
            (
                seconds if math.isfinite(seconds) else "",
                short(seconds, 3) if seconds == seconds else "",
            ),
        ]
        rows.append(_row(cells, numeric, "baseline"))
    header = "".join(
        f'<th scope="col"{" class=n" if place in numeric else ""}>{escape(text)}</th>'
        for place, text in enumerate(head)
    )
    left_out = len(leaderboard(view.networks, view.direction, None)) - len(entries)
    note = f" {left_out:,} more are in the run's records." if left_out > 0 else ""
    return (
        '<p class="lead">One row a configuration, by its score on the validation rows; those run '
        f"again over several seeds come first, with their mean.{note}</p>"
        '<div class="tools" hidden><label for="filter">Filter</label> '
        '<input id="filter" type="search" placeholder="adam 128 relu" autocomplete="off">'
        '<button type="button" id="more" aria-expanded="false">Show all</button>'
        '<span id="count" role="status"></span></div>'
        '<div class="scroll"><table class="sortable" data-filter="filter" data-more="more" '
        f'data-count="count"><thead><tr>{header}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(cells: Sequence[tuple[object, str]], numeric: set[int], style: str) -> str:
    parts = []
    for place, (value, text) in enumerate(cells):
        kind = "n" if place in numeric else "structure" if place == 2 else ""
        attribute = f' class="{kind}"' if kind else ""
        if place in numeric:
            plain_value = "" if value is None else value
            attribute += f' data-value="{escape(plain_value)}"'
        parts.append(f"<td{attribute}>{escape(text)}</td>")
    return f"<tr{f' class={style}' if style else ''}>{''.join(parts)}</tr>"


def _why(entry: Mapping[str, Any]) -> str:
    return str(entry["status"] or "no score")


def cost_html(view: View) -> str:
    """What was trained, how it ended, how long it took, and what is worth knowing."""
    phases: dict[str, list[Mapping[str, Any]]] = {}
    for row in view.records:
        phases.setdefault(str(row.get("phase") or "search"), []).append(row)
    rows = []
    for phase, members in phases.items():
        counts: dict[str, int] = {}
        for row in members:
            status = str(row.get("status") or "unknown")
            counts[status] = counts.get(status, 0) + 1
        seconds = math.fsum(number(row.get("seconds") or 0) for row in members)
        steps = math.fsum(number(row.get("steps") or 0) for row in members)
        rows.append(
            f"<tr><td>{escape(phase)}</td>"
            + "".join(
                f'<td class="n">{counts.get(status, 0):,}</td>'
                for status in ("completed", "stopped", "diverged")
            )
            + f'<td class="n">{steps:,.0f}</td><td class="n">{short(seconds, 4)}</td></tr>'
        )
    heads = ["phase", "completed", "stopped early", "diverged", "steps", "seconds"]
    header = "".join(
        f'<th scope="col"{" class=n" if place else ""}>{head}</th>'
        for place, head in enumerate(heads)
    )
    table = (
        f'<div class="scroll"><table><thead><tr>{header}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        if rows
        else "<p>No trial was run.</p>"
    )
    parts = []
    seconds = view.summary.get("seconds")
    if isinstance(seconds, Mapping):
        parts = [
            f"{plain(name)} {duration(number(value))}"
            for name, value in seconds.items()
            if math.isfinite(number(value))
        ]
    device = view.summary.get("device")
    text = "; ".join([*(["Wall clock: " + ", ".join(parts)] if parts else []),
                      *([f"on {_device(device)}"] if device else [])])  # fmt: skip
    notices = view.summary.get("notices") or []
    listed = (
        "<h3>Notices</h3><ul class=notices>"
        + "".join(f"<li>{escape(notice)}</li>" for notice in notices)
        + "</ul>"
        if notices
        else ""
    )
    return f"{table}<p>{escape(text)}{'.' if text else ''}</p>{listed}"


def _device(device: object) -> str:
    if isinstance(device, Mapping):
        return ", ".join(f"{plain(name)} {value}" for name, value in device.items())
    return str(device)


def reproduce_html(view: View) -> str:
    """The command, the winner's settings and the versions."""
    summary = view.summary
    parts = []
    if summary.get("command"):
        parts.append(f"<pre><code>{escape(summary['command'])}</code></pre>")
    facts = [(name, summary.get(name)) for name in ("run", "seed") if summary.get(name) is not None]
    versions = summary.get("versions")
    if isinstance(versions, Mapping):
        facts += list(versions.items())
    config = summary.get("best_config") or (view.winner or {}).get("config") or {}
    tables = []
    if config:
        rows = [(plain(name), config_text(value)) for name, value in config.items()]
        tables.append("<div><h3>The winner's settings</h3>" + _facts_table(rows) + "</div>")
    if facts:
        rows = [(plain(name), str(value)) for name, value in facts]
        tables.append("<div><h3>The run</h3>" + _facts_table(rows) + "</div>")
    if tables:
        parts.append(f'<div class="columns">{"".join(tables)}</div>')
    return "".join(parts)


def _facts_table(rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows
    )
    return f'<table class="facts-table"><tbody>{body}</tbody></table>'


def footer_html(view: View) -> str:
    """Who made the page."""
    versions = view.summary.get("versions")
    version = versions.get("thalweg", "") if isinstance(versions, Mapping) else ""
    return (
        f"<footer>Made by Thalweg {escape(version)}. Hover over a line or a point for its trial. "
        "This file is complete in itself.</footer>"
    )
