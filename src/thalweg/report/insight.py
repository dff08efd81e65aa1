"""Figures of what decides and of what more rows would give."""

from __future__ import annotations

import math
from collections.abc import Mapping

from thalweg.evidence.growth import growth
from thalweg.evidence.layers import layer_courses
from thalweg.evidence.view import View, number, plain
from thalweg.report.drawing import Figure
from thalweg.report.svg import Plot, escape, spread, thin

MOST_SHOWN = 14


def importance(view: View) -> Figure | None:
    """The share of every hyperparameter in what parts the best trials from the rest."""
    entries = view.summary.get("importance")
    if not isinstance(entries, (list, tuple)):
        return None
    shown = [entry for entry in entries if isinstance(entry, Mapping)][:MOST_SHOWN]
    shown = [entry for entry in shown if math.isfinite(number(entry.get("share")))]
    if not shown:
        return None
    left = 170
    top = max(number(entry.get("high")) for entry in shown)
    plot = Plot(
        720, 26 * len(shown) + 46, (0.0, max(top, 0.05)), (len(shown) - 0.5, -0.5),
        "Importance of the settings: "
        + ", ".join(f"{plain(e['name'])} {number(e['share']):.0%}" for e in shown),
        "share of the importance of all", left=left, top=6,
    )  # fmt: skip
    plot.axes(6, 0, "x")
    for place, entry in enumerate(shown):
        y = plot.y_scale(place)
        style = "first" if entry.get("real") else "plain"
        name = plain(entry["name"])
        plot.raw(f'<path class="grid" d="M{left} {y:.1f}H{plot.width - plot.right:.1f}"/>')
        plot.text(left - 10, y + 4, name[:26], f"tick {'strong' if entry.get('real') else ''}",
                  "end")  # fmt: skip
        low, high = (plot.at(number(entry.get(end)), 0)[0] for end in ("low", "high"))
        plot.raw(f'<path class="whisker {style}" d="M{low:.1f} {y:.1f}H{high:.1f}"/>')
        share = number(entry["share"])
        plot.dot(share, place, f"point {style}", f"{name}: {share:.1%}", 4.5)
    return Figure(
        "Which settings matter",
        "How much of what parts the best fifth of the configurations from the rest lies in each "
        "setting (PED-ANOVA), with 95 % intervals. Grey: not told from chance.",
        plot.svg(),
    )


def rows_wanted(view: View) -> Figure | None:
    """The winner's score over the number of training rows, and where it leads."""
    found = growth(view)
    if found is None:
        return None
    rows = [float(size) for size in found.rows]
    scores = view.sign * found.scores
    means = scores.mean(axis=0)
    ahead = 2 * rows[-1]
    bounds = [means[-1] + view.sign * bound for bound in found.doubled.interval]
    target = float(means[-1] + view.sign * found.doubled.value)
    plot = Plot(
        720, 300, (rows[0] * 0.9, ahead * 1.1), spread([*scores.ravel(), *bounds]),
        f"{view.unit} over the number of training rows, extrapolated to twice as many",
        "training rows", view.unit, x_log=True,
    )  # fmt: skip
    plot.axes(6, 5)
    plot.line(rows, means.tolist(), "curve first", "mean over seeds")
    plot.line([rows[-1], ahead], [float(means[-1]), target], "curve naive", "extrapolated")
    for seed in range(scores.shape[0]):
        for size, value in zip(rows, scores[seed], strict=True):
            plot.dot(size, float(value), "point", f"{size:,.0f} rows: {view.say(value)}")
    x, (low, high) = plot.x_scale(ahead), (plot.at(0, bound)[1] for bound in bounds)
    plot.raw(f'<path class="whisker first" d="M{x:.1f} {low:.1f}V{high:.1f}"/>')
    plot.dot(ahead, target, "point first", f"twice the rows: {view.say(target)}", 4.5)
    return Figure(
        "Would more rows help",
        "The winner trained again on parts of the training rows, one point a seed; the dashed line "
        "leads to twice as many rows, with its 95 % interval.",
        plot.svg(),
    )


def layer_gradients(view: View) -> Figure | None:
    """The gradient of each layer, beside its weights, over one training of the winner."""
    steps, courses = layer_courses(view)
    courses = [c for c in courses if (c.relative > 0).sum() > 1]
    if len(courses) < 2 or len(steps) < 3:
        return None
    # The first look stands before the first step, where a logarithmic scale has no place.
    xs = [max(step, 0.5) for step in steps]
    sizes = [float(v) for c in courses for v in c.relative if math.isfinite(v) and v > 0]
    shown = [courses[i] for i in thin(courses, 12)]
    plot = Plot(
        720, 300, (xs[0], max(xs[-1], xs[0] * 2)), (min(sizes) * 0.7, max(sizes) * 1.4),
        f"Gradients of {len(shown)} layers beside their weights over training", "steps",
        "gradient / weight", x_log=True, y_log=True,
    )  # fmt: skip
    plot.axes(7, 5)
    for place, course in enumerate(shown):
        title = f"{course.name}: {course.dead[-1]:.0%} of its units dead at the end"
        plot.line(xs, course.relative.tolist(), f"curve arm arm{place % 6}", title)
    key = "".join(
        f'<span><i class="arm{place % 6}"></i>{escape(course.name)}</span>'
        for place, course in enumerate(shown)
    )
    return Figure(
        "What the layers felt",
        "Root mean square of each layer's gradient beside that of its weights, in one training of "
        "the winner. Lines that run together are healthy; one far below the others hardly learns.",
        f'<p class="key">{key}</p>{plot.svg()}',
    )
