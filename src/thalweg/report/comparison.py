"""The report of a comparison: one self-contained page, and the same as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.evidence.answer import Answer
from thalweg.evidence.comparison import TARGETS, Experiment
from thalweg.evidence.effort import expected_best, performance_profile
from thalweg.evidence.standings import experiment_of, pair_rows
from thalweg.evidence.view import number, plain, short
from thalweg.report.drawing import Figure
from thalweg.report.figures import trial_title
from thalweg.report.html import (
    answers_html,
    cost_html,
    figure_html,
    footer_html,
    page,
    reproduce_html,
)
from thalweg.report.markdown import escape as escape_markdown
from thalweg.report.svg import Plot, escape, focus, spread
from thalweg.report.tables import standings_cells, standings_latex, standings_markdown
from thalweg.report.terminal import as_answer, config_text, duration

MAX_LINES = 12
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


def render_comparison(
    records: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    answers: Sequence[Answer | Mapping[str, Any]],
) -> str:
    """The report of a comparison as HTML.

    Args:
        records: trial records.
        summary: the comparison's summary.
        answers: its Answers, or their dicts.
    """
    experiment = experiment_of(records, summary)
    name = str(summary.get("name") or "comparison")
    figures = [draw(experiment) for draw in COMPARISON_FIGURES.values()]
    sections = [
        ("answers", "Answers", answers_html(list(map(as_answer, answers)))),
        ("standings", "Standings", _standings(experiment)),
        (
            "figures",
            "Figures",
            "".join(figure_html(f.title, f.caption, f.body) for f in figures if f is not None),
        ),
        ("pairs", "Every pair", _pairs(experiment)),
        ("protocol", "Protocol", _protocol(experiment)),
        ("export", "The table for a paper", _export(experiment)),
        ("cost", "What was tried, and what it cost", cost_html(experiment.view)),
        ("reproduce", "How to reproduce it", reproduce_html(experiment.view)),
    ]
    return page(name, _header(experiment, name), sections, footer_html(experiment.view))


def render_comparison_markdown(
    records: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    answers: Sequence[Answer | Mapping[str, Any]],
) -> str:
    """The report of a comparison as Markdown; arguments as of ``render_comparison``."""
    experiment = experiment_of(records, summary)
    title = f"{summary.get('name') or 'comparison'}: {' and '.join(map(plain, experiment.factors))}"
    lines = [f"# {escape_markdown(title)}", "", "## Answers", ""]
    for answer in map(as_answer, answers):
        lines += [f"### {escape_markdown(answer.question)} *{answer.verdict}*", ""]
        lines += [escape_markdown(answer.claim), ""]
        if answer.advice:
            lines += [f"**{escape_markdown(answer.advice)}**", ""]
    lines += ["## Standings", "", standings_markdown(experiment), "## Protocol", ""]
    lines += [f"- {term}: {escape_markdown(text)}" for term, text in protocol_facts(experiment)]
    if summary.get("command"):
        lines += ["", "## How to reproduce it", "", "```", str(summary["command"]), "```"]
    return "\n".join(lines) + "\n"


def protocol_facts(experiment: Experiment) -> list[tuple[str, str]]:
    """The protocol in words: what is scientific, nuisance and fixed, and how much each arm got."""
    protocol, view = experiment.protocol, experiment.view
    levels = protocol.get("levels") or {}
    facts = [
        (
            "scientific",
            "; ".join(f"{plain(name)}: {', '.join(map(str, of))}" for name, of in levels.items()),
        )
    ]
    nuisance = protocol.get("nuisance") or {}
    text = "; ".join(f"{plain(name)} {_domain(domain)}" for name, domain in nuisance.items())
    own = [name for name in nuisance if len(_domains(experiment, name)) > 1]
    if own:
        text += f" (each arm has a range of its own of {', '.join(map(plain, own))})"
    facts.append(("nuisance, tuned anew for each arm", text or "nothing"))
    fixed = protocol.get("fixed") or {}
    facts.append(
        ("fixed", ", ".join(f"{plain(n)} {config_text(v)}" for n, v in fixed.items()) or "nothing")
    )
    facts += [
        (
            "trials",
            f"{experiment.trials_each} of each arm, at the same points of a scrambled Sobol "
            "sequence, trained to the end on the same batches with the same noise",
        ),
        (
            "seeds",
            f"{protocol.get('seeds')} fresh ones for the best of each arm, the same for all",
        ),
        ("length", f"{short(number(protocol.get('epochs')), 4)} epochs each"),
        (
            "scores",
            f"{plain(view.metric)} on the {experiment.split} rows, of the weights that were best "
            "on the validation rows",
        ),
        (
            "verdicts",
            "supported where the interval over seeds and rows, corrected by Holm over all pairs, "
            "excludes no difference and the order holds in 95 % of searches on resampled points; "
            f"a tie where it lies within {view.say(experiment.margin)}",
        ),
    ]
    return facts


def _domain(domain: object) -> str:
    if not isinstance(domain, Mapping):
        return str(domain)
    if domain.get("choices"):
        return "of " + ", ".join(map(config_text, domain["choices"]))
    low, high = (short(number(domain.get(end)), 3) for end in ("low", "high"))
    return f"{low} to {high}{' (log)' if domain.get('log') else ''}"


def _domains(experiment: Experiment, name: str) -> set[str]:
    return {
        _domain(entry["space"][name])
        for entry in experiment.protocol.get("arms") or ()
        if name in (entry.get("space") or {})
    }


def _header(experiment: Experiment, name: str) -> str:
    view = experiment.view
    facts: list[tuple[str, str, str]] = []
    if experiment.judged:
        best = experiment.arms[experiment.judged[0]]
        facts.append(
            (
                plain(view.metric),
                view.say(view.sign * best.mean),
                f"{best.name}, mean of {len(best.confirmed)} seeds, {experiment.split} rows",
            )
        )
    facts.append(("arms", str(len(experiment.arms)), ", ".join(map(plain, experiment.factors))))
    facts.append(
        ("trials", f"{len(view.records):,}", f"{experiment.trials_each} of each arm, then seeds")
    )
    seconds = view.summary.get("seconds")
    if isinstance(seconds, Mapping) and math.isfinite(number(seconds.get("total"))):
        facts.append(("time", duration(number(seconds["total"])), ""))
    items = "".join(
        f"<div><dt>{escape(term)}</dt><dd>{escape(text)}<small>{escape(note)}</small></dd></div>"
        for term, text, note in facts
    )
    what = " and ".join(map(plain, experiment.factors))
    return (
        f'<p class="kicker">Thalweg comparison</p><h1>{escape(name)}: {escape(what)}</h1>'
        '<p class="lead">Every arm tuned with equally many trials, the best of each over the same '
        f'seeds</p><dl class="facts">{items}</dl>'
    )


def _standings(experiment: Experiment) -> str:
    header, rows = standings_cells(experiment)
    if not rows:
        return ""
    left = set(range(1, 1 + len(experiment.factors)))
    head = "".join(
        f'<th scope="col"{"" if place in left else " class=n"}>{escape(text)}</th>'
        for place, text in enumerate(header)
    )
    body = "".join(
        f"<tr{' class=winner' if place == 0 else ''}>"
        + "".join(
            f"<td{'' if at in left else ' class=n'}>{escape(text)}</td>"
            for at, text in enumerate(row)
        )
        + "</tr>"
        for place, row in enumerate(rows)
    )
    return (
        '<p class="lead">"Behind" is how far an arm\'s best lies behind the best arm\'s, with its '
        'interval and its p-value corrected for all pairs; "best of" is what so many of its '
        'trials reach in validation, "steps" how many it takes to come 95 % of the way to the '
        f'median arm\'s score.</p><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _pairs(experiment: Experiment) -> str:
    view = experiment.view
    rows = pair_rows(experiment)
    if not rows:
        return ""
    heads = ["better", "worse", "difference", "95 % interval", "p (Holm)", "order turns", "verdict"]
    head = "".join(
        f'<th scope="col"{" class=n" if 2 <= place <= 5 else ""}>{text}</th>'
        for place, text in enumerate(heads)
    )
    body = ""
    for row in rows:
        kind = {"supported": "supported", "tie": "tie"}.get(row["verdict"], "not-enough")
        turns = f"{row['reversal']:.0%}" if row["reversal"] is not None else "–"
        bounds = "–"
        if row["low"] is not None and row["high"] is not None:
            bounds = f"{view.say(row['low'])} to {view.say(row['high'])}"
        p = number(row["p_holm"])
        body += (
            f"<tr><td>{escape(row['better'])}</td><td>{escape(row['worse'])}</td>"
            f'<td class="n">{view.say(number(row["difference"]))}</td><td class="n">{bounds}</td>'
            f'<td class="n">{"<0.001" if p < 0.001 else f"{p:.3f}"}</td><td class="n">{turns}</td>'
            f'<td><span class="badge {kind}">{escape(row["verdict"])}</span></td></tr>'
        ).replace("<0.001", "&lt;0.001")
    return (
        '<p class="lead">"Order turns" is how often the second would have come out ahead had the '
        "search drawn other points.</p>"
        f"<details{' open' if len(rows) <= 12 else ''}><summary>{len(rows)} pairs</summary>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div></details>"
    )


def _protocol(experiment: Experiment) -> str:
    rows = "".join(
        f"<tr><td>{escape(term)}</td><td>{escape(text)}</td></tr>"
        for term, text in protocol_facts(experiment)
    )
    return f'<table class="facts-table"><tbody>{rows}</tbody></table>'


def _export(experiment: Experiment) -> str:
    return (
        "<details><summary>LaTeX</summary><pre><code>"
        f"{escape(standings_latex(experiment))}</code></pre></details>"
        "<details><summary>Markdown</summary><pre><code>"
        f"{escape(standings_markdown(experiment))}</code></pre></details>"
    )


# ----------------------------------------------------------------------------------------- figures


def _line_style(place: int) -> tuple[str, str]:
    """Class and dashes of the place-th best arm: told apart without colour too."""
    return f"curve arm arm{place % 6}", _DASHES[(place // 6) % len(_DASHES)]


def _key(experiment: Experiment, places: Sequence[int]) -> str:
    return (
        '<p class="key">'
        + "".join(
            f'<span><i class="arm{rank % 6}"></i>{escape(experiment.arms[place].name)}</span>'
            for rank, place in enumerate(places)
        )
        + "</p>"
    )


def intervals(experiment: Experiment) -> Figure | None:
    """Each arm's best over the seeds: points, mean and, beside it, its interval behind the best."""
    places = experiment.judged[:24]
    if not places:
        return None
    view = experiment.view
    values = [view.sign * experiment.arms[place].confirmed for place in places]
    left = 190
    plot = Plot(
        760, 28 * len(places) + 46, spread(np.concatenate(values)), (len(places) - 0.5, -0.5),
        f"{view.unit} of each arm's best over the seeds", f"{view.unit} on {experiment.split} rows",
        left=left, top=6,
    )  # fmt: skip
    plot.axes(6, 0, "x")
    for rank, (place, own) in enumerate(zip(places, values, strict=True)):
        arm = experiment.arms[place]
        y = plot.y_scale(rank)
        plot.raw(f'<path class="grid" d="M{left} {y:.1f}H{plot.width - plot.right:.1f}"/>')
        plot.text(left - 10, y + 4, arm.name[:30], f"tick {'strong' if not rank else ''}", "end")
        style = "first" if not rank else "good"
        for value, row in zip(own, arm.rows, strict=False):
            title = f"{arm.name}, seed {row.get('seed')}, trial {row.get('id')}: {view.say(value)}"
            plot.dot(float(value), rank, f"point {style} soft", title, 4)
        at = plot.x_scale(view.sign * arm.mean)
        plot.raw(
            f'<path class="mean {style}" d="M{at:.1f} {y - 9:.1f}v18">'
            f"<title>mean {view.say(view.sign * arm.mean)}</title></path>"
        )
    return Figure(
        "The best of each arm, over the same seeds",
        f"One point a seed on the {experiment.split} rows, the bar their mean.",
        plot.svg(),
    )


def tuning_curves(experiment: Experiment) -> Figure | None:
    """Expected best validation score over the number of trials, one line an arm."""
    num = experiment.trials_each
    places = list(experiment.judged[:MAX_LINES])
    if num < 3 or not places:
        return None
    view = experiment.view
    lines = {place: view.sign * expected_best(experiment.filled[place]) for place in places}
    shown = [float(value) for line in lines.values() for value in line[1:]]
    plot = Plot(
        720, 320, (1, num), focus(shown, view.sign),
        f"Expected best validation {view.unit} over the number of trials, for {len(places)} arms",
        "trials", f"best {view.unit}",
    )  # fmt: skip
    plot.axes(8, 6)
    _arm_lines(plot, experiment, places, lambda place: (list(range(1, num + 1)), lines[place]))
    return Figure(
        "How much tuning each needs",
        "What a search of so many trials finds on average in validation. An arm that is high at "
        "the left is easy to tune; lines that cross say that the answer depends on the budget.",
        _key(experiment, places) + plot.svg(),
    )


def _arm_lines(
    plot: Plot,
    experiment: Experiment,
    places: Sequence[int],
    line: Callable[[int], tuple[Sequence[float], Any]],
) -> None:
    for rank, place in reversed(list(enumerate(places))):
        style, dash = _line_style(rank)
        x, y = line(place)
        before = len(plot.marks)
        plot.line(x, [float(value) for value in y], style, experiment.arms[place].name)
        if dash and len(plot.marks) > before:
            plot.marks[-1] = plot.marks[-1].replace(
                "<path ", f'<path stroke-dasharray="{dash}" ', 1
            )


def course(experiment: Experiment) -> Figure | None:
    """The best of each arm as training went on, the mean over seeds."""
    places = experiment.judged[:MAX_LINES]
    view = experiment.view
    lines: dict[int, tuple[list[float], np.ndarray]] = {}
    for place in places:
        curves = [row.get("curve") or {} for row in experiment.arms[place].rows]
        series = [[number(v) for v in curve.get("validation") or []] for curve in curves]
        steps = [number(step) for step in (curves[0].get("step") or [])] if curves else []
        if steps and all(len(own) == len(steps) for own in series):
            lines[place] = steps, np.mean(series, axis=0)
    if not lines or max(len(steps) for steps, _ in lines.values()) < 2:
        return None
    ends = [float(v) for _, own in lines.values() for v in own if math.isfinite(v)]
    most = max(steps[-1] for steps, _ in lines.values())
    least = min(steps[0] for steps, _ in lines.values())
    plot = Plot(
        720, 320, (least, max(most, least + 1)), focus(ends, view.sign),
        f"Validation {view.unit} of each arm's best over training", "steps", view.unit,
        x_log=least > 0 and most / least > 12,
    )  # fmt: skip
    plot.axes(8, 6)
    for share, target in zip(TARGETS, experiment.targets, strict=False):
        if share == 0.95 and plot.y_scale.holds(view.sign * target):
            at = plot.y_scale(view.sign * target)
            end = plot.width - plot.right
            plot.raw(f'<path class="mark" d="M{plot.left} {at:.1f}H{end:.1f}"/>')
            plot.text(end - 4, at - 4, "target", "tick", "end")
    shown = [place for place in places if place in lines]
    _arm_lines(plot, experiment, shown, lambda place: lines[place])
    return Figure(
        "The course of training",
        "The mean over the seeds of each arm's best, on the validation rows. The dashed line is "
        "the target that steps are counted to.",
        _key(experiment, shown) + plot.svg(),
    )


def profiles(experiment: Experiment) -> Figure | None:
    """Performance profiles over all seeds and targets."""
    places = experiment.judged[:MAX_LINES]
    if len(places) < 2 or not experiment.targets:
        return None
    table = experiment.steps_to_target[list(places)]
    seeds = min(len(experiment.arms[place].rows) for place in places)
    times = table[:, :seeds].reshape(len(places), -1).T
    times = times[np.isfinite(times).any(axis=1)]
    if not len(times):
        return None
    finite = times[np.isfinite(times)]
    ratios = np.geomspace(1, max(2.0, min(32.0, float(finite.max() / finite.min()))), 80)
    shares = performance_profile(times, ratios)
    plot = Plot(
        720, 300, (1.0, float(ratios[-1])), (0.0, 1.02),
        f"Performance profiles of {len(places)} arms over {len(times)} problems",
        "steps, as a multiple of the fastest arm's", "share of problems", x_log=True,
    )  # fmt: skip
    plot.axes(6, 5)
    _arm_lines(plot, experiment, places, lambda place: (list(ratios), shares[places.index(place)]))
    return Figure(
        "Performance profiles",
        f"The share of {len(times)} problems (every seed, and targets from "
        f"{TARGETS[0]:.0%} to {TARGETS[-1]:.0%} of the way to the median arm's score) that each "
        "arm solves within so many times the steps of the fastest. Higher is better; the left end "
        "says how often it is the fastest, the right end how often it gets there at all.",
        _key(experiment, places) + plot.svg(),
    )


def rates(experiment: Experiment) -> Figure | None:
    """Validation score over the learning rate, one panel an arm."""
    view = experiment.view
    known = {row.get("id"): row for row in view.records}
    panels, points = [], {}
    for place in experiment.order[:12]:
        rows = [known[i] for i in experiment.arms[place].explored_ids]
        own = [
            (number((row.get("config") or {}).get("learning_rate")), view.goodness(row), row)
            for row in rows
        ]
        points[place] = [entry for entry in own if entry[0] > 0]
    all_rates = [rate for own in points.values() for rate, _, _ in own]
    scores = [view.sign * g for own in points.values() for _, g, _ in own if math.isfinite(g)]
    if len(set(all_rates)) < 3 or not scores:
        return None
    ends = (min(all_rates) * 0.8, max(all_rates) * 1.25)
    y = focus(scores, view.sign)
    worse = y[0] if view.sign > 0 else y[1]
    for place, own in points.items():
        arm = experiment.arms[place]
        plot = Plot(
            300, 200, ends, y, f"validation {view.unit} over learning rate for {arm.name}",
            "learning rate", x_log=True, top=26,
        )  # fmt: skip
        plot.axes(5, 4)
        plot.text(plot.left, 14, arm.name[:34], "panel")
        best = max((g for _, g, _ in own if math.isfinite(g)), default=math.nan)
        for rate, goodness, row in own:
            title = trial_title(view, row)
            if math.isfinite(goodness):
                first = goodness == best
                style = "point first" if first else "point"
                plot.dot(rate, view.sign * goodness, style, title, 4 if first else 2.5)
            else:
                plot.cross(rate, worse, "failed", title)
        panels.append(f"<div>{plot.svg()}</div>")
    return Figure(
        "Learning-rate map",
        "One point a trial, the best of each arm marked; crosses failed.",
        f'<div class="panels">{"".join(panels)}</div>',
    )


def interactions(experiment: Experiment) -> Figure | None:
    """For a pair of factors: the mean of each combination, one line a level of the second."""
    grid = experiment.grid
    if grid is None:
        return None
    view = experiment.view
    rows, columns = experiment.level_names
    means = view.sign * grid.mean(axis=2)
    plot = Plot(
        720, 320, (-0.3, len(rows) - 0.7), spread(means.ravel()),
        f"{view.unit} of every combination of {' and '.join(experiment.factors)}",
        plain(experiment.factors[0]), view.unit,
    )  # fmt: skip
    plot.axes(0, 6, "y")
    for place, name in enumerate(rows):
        plot.text(plot.x_scale(place), plot.height - 24, name[:14], "tick", "middle")
    for which, name in enumerate(columns):
        style, _ = _line_style(which)
        plot.line(list(range(len(rows))), means[:, which].tolist(), style, name)
        for place in range(len(rows)):
            title = f"{rows[place]} with {name}: {view.say(means[place, which])}"
            plot.dot(place, float(means[place, which]), "point", title, 3.5)
    key = "".join(
        f'<span><i class="arm{which % 6}"></i>{escape(name)}</span>'
        for which, name in enumerate(columns)
    )
    return Figure(
        "The two together",
        "Parallel lines: the effects add up, and each can be chosen alone. Lines that cross: "
        "they have to be chosen together.",
        f'<p class="key">{key}</p>{plot.svg()}',
    )


COMPARISON_FIGURES: dict[str, Callable[[Experiment], Figure | None]] = {
    "intervals": intervals,
    "interactions": interactions,
    "tuning": tuning_curves,
    "course": course,
    "profiles": profiles,
    "rates": rates,
}
"""The figures of a comparison's report, in order."""
