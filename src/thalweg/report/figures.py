"""The figures of the report; each is None where the records hold too little to show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.evidence.answer import Answer
from thalweg.evidence.certainty import finalist_table
from thalweg.evidence.rates import basins
from thalweg.evidence.view import Candidate, View, listed, number, plain, short
from thalweg.report.drawing import Figure
from thalweg.report.insight import importance, layer_gradients, rows_wanted
from thalweg.report.svg import Plot, Scale, escape, focus, spread, thin
from thalweg.space import HYPERPARAMETERS

TOP = 8
MAX_FAINT_CURVES = 160
MAX_POINTS = 48
MAX_PANELS = 12
CHARACTERS = 42
"""Characters of a tick that fit side by side under a panel."""
NOISY = ("dropout", "mixup", "cutmix", "label_smoothing", "input_noise", "token_dropout")
"""What makes a training loss larger than the same weights' loss on the same rows."""
MAX_PARALLEL = 400
_MAX_CLASSES = 30


def trial_title(view: View, record: Mapping[str, Any]) -> str:
    """What hovering over a trial shows."""
    config = record.get("config") or {}
    parts = [f"trial {record.get('id')}"]
    if record.get("structure"):
        parts.append(str(record["structure"]))
    if config.get("optimizer"):
        parts.append(str(config["optimizer"]))
    rate = number(config.get("learning_rate"))
    if math.isfinite(rate):
        parts.append(f"rate {short(rate, 2)}")
    goodness = view.goodness(record)
    ended = str(record.get("status") or "")
    parts.append(view.say(view.sign * goodness) if math.isfinite(goodness) else ended)
    return " · ".join(parts)


def _candidate_title(view: View, candidate: Candidate) -> str:
    trials = ", ".join(map(str, candidate.trials[:4])) + (" …" if len(candidate.trials) > 4 else "")
    score = (
        view.say(view.sign * candidate.goodness) if math.isfinite(candidate.goodness) else "failed"
    )
    return f"trial {trials}: {score}"


def _scored(view: View) -> list[Candidate]:
    scored = [c for c in view.all_candidates if math.isfinite(c.goodness)]
    return sorted(scored, key=lambda c: (c.goodness, c.trials))


def _curve(record: Mapping[str, Any], name: str) -> tuple[list[float], list[float]]:
    """Epochs (or steps, where epochs are unknown) and one series of a curve."""
    curve = record.get("curve") or {}
    steps = [number(step) for step in curve.get("step") or []]
    values = [number(value) for value in curve.get(name) or []]
    epochs, total = number(record.get("epochs")), number(record.get("steps"))
    if math.isfinite(epochs) and total > 0:
        steps = [step * epochs / total for step in steps]
    count = min(len(steps), len(values))
    return steps[:count], values[:count]


def _span(records: Sequence[Mapping[str, Any]]) -> str:
    known = all(math.isfinite(number(row.get("epochs"))) for row in records)
    return "epochs" if known else "steps"


def learning_curves(view: View) -> Figure | None:
    """The metric on validation rows over training, the best trials before the rest."""
    rows = [row for row in view.searched or view.networks if len(_curve(row, "validation")[0]) > 1]
    if not rows:
        return None
    scored = [row for row in rows if math.isfinite(view.goodness(row))]
    top = sorted(scored, key=lambda row: -view.goodness(row))[:TOP]
    shown = {row.get("id") for row in top}
    rest = [row for row in rows if row.get("id") not in shown]
    rest = [rest[index] for index in thin(rest, MAX_FAINT_CURVES)]
    all_y = []
    for row in [*top, *rest]:
        series = _curve(row, "validation")[1]
        # The steep beginning would take most of the height; the end is what is compared.
        all_y += series[len(series) // 3 :] if row.get("id") in shown else series[-1:]
    xs = [x for row in top + rest for x in _curve(row, "validation")[0] if x > 0]
    if not xs or not any(math.isfinite(y) for y in all_y):
        return None
    plot = Plot(
        720, 340, (min(xs), max(max(xs), min(xs) * 1.01)), focus(all_y, view.sign),
        f"Learning curves of {len(top) + len(rest)} trials: {view.unit} on validation rows over "
        f"{_span(rows)}", _span(rows), view.unit, x_log=max(xs) / min(xs) > 12,
    )  # fmt: skip
    plot.axes(8, 6)
    plot.lines((_thinned(row, "validation", 24) for row in rest), "curve faint")
    for place, row in reversed(list(enumerate(top))):
        x, y = _thinned(row, "validation", MAX_POINTS)
        plot.line(x, y, "curve first" if place == 0 else "curve good", trial_title(view, row))
    return Figure(
        "Learning curves",
        f"{plain(view.metric).capitalize()} on the validation rows as training went on. The best "
        f"trial of the search is drawn strongest, the next {max(len(top) - 1, 0)} in colour, "
        f"{len(rest)} others in grey.",
        plot.svg(),
    )


def _thinned(record: Mapping[str, Any], name: str, count: int) -> tuple[list[float], list[float]]:
    x, y = _curve(record, name)
    keep = thin(x, count)
    return [x[index] for index in keep], [y[index] for index in keep]


def winner_losses(view: View) -> Figure | None:
    """Training and validation loss of the winner."""
    if view.winner is None:
        return None
    x, train = _curve(view.winner, "train_loss")
    _, validation = _curve(view.winner, "validation_loss")
    values = [y for y in train + validation if math.isfinite(y)]
    if len(x) < 2 or not values or len(validation) < 2:
        return None
    log = min(values) > 0 and max(values) / min(values) > 20
    ends = (min(values) * 0.9, max(values) * 1.1) if log else spread(values)
    plot = Plot(
        720, 280, (x[0], x[-1] if x[-1] > x[0] else x[0] + 1), ends,
        "Training and validation loss of the winner over training", _span([view.winner]), "loss",
        y_log=log, right=90,
    )  # fmt: skip
    plot.axes(8, 5)
    keep = thin(x, 120)
    for name, series, style in (
        ("training", train, "curve second"), ("validation", validation, "curve first"),
    ):  # fmt: skip
        if len(series) != len(x):
            continue
        plot.line([x[i] for i in keep], [series[i] for i in keep], style, f"{name} loss")
        last = next((y for y in reversed(series) if math.isfinite(y)), math.nan)
        if math.isfinite(last):
            other = validation if series is train else train
            end = next((y for y in reversed(other) if math.isfinite(y)), last)
            nudge = 4 + (6 if plot.at(x[-1], last)[1] > plot.at(x[-1], end)[1] else -4)
            at = plot.at(x[-1], last)
            apart = abs(at[1] - plot.at(x[-1], end)[1]) > 14
            plot.text(at[0] + 6, at[1] + (4 if apart else nudge), name, f"name {style[6:]}")
    epochs, steps = number(view.winner.get("epochs")), number(view.winner.get("steps"))
    best = number(view.winner.get("best_step"))
    if math.isfinite(epochs) and steps > 0:
        best *= epochs / steps
    if math.isfinite(best) and plot.x_scale.holds(best):
        at = plot.x_scale(best)
        plot.raw(f'<path class="mark" d="M{at:.1f} {plot.top}V{plot.height - plot.bottom}"/>')
        plot.text(at - 4, plot.top + 10, "weights kept", "tick", "end")
    config = view.winner.get("config") or {}
    noisy = [plain(name) for name in NOISY if number(config.get(name)) > 0]
    harder = ""
    if noisy:
        harder = f"The training loss is that of steps made harder by {listed(noisy)}. "
    return Figure(
        "Loss of the winner in training and validation",
        "Where the two lines part, the network begins to learn the training rows by heart. "
        f"{harder}The weights of the dashed step were kept (trial {view.winner.get('id')}).",
        plot.svg(),
    )


def rate_map(view: View) -> Figure | None:
    """Score over learning rate, one panel an optimizer, with basin and edge."""
    found = [basin for basin in basins(view) if len(basin.candidates) >= 3][:MAX_PANELS]
    if not found:
        return None
    tested = [rate for basin in found for rate in basin.tested]
    ends = (min(tested) * 0.8, max(tested) * 1.25)
    scores = [
        view.sign * c.goodness for b in found for c in b.candidates if math.isfinite(c.goodness)
    ]
    y = focus(scores, view.sign)
    worse = y[0] if view.sign > 0 else y[1]
    panels = []
    for basin in found:
        name = basin.optimizer or "learning rate"
        plot = Plot(
            300, 210, ends, y,
            f"{view.unit} over learning rate for {name}; good from {short(basin.low, 2)} to "
            f"{short(basin.high, 2)}", "learning rate", x_log=True, top=26,
        )  # fmt: skip
        plot.axes(5, 4)
        plot.text(plot.left, 14, name, "panel")
        plot.band(
            basin.low, basin.high, "basin",
            f"within {view.say(basin.tolerance)} of the best: {short(basin.low, 2)} to "
            f"{short(basin.high, 2)}",
        )  # fmt: skip
        for c in basin.candidates:
            rate = number(c.config.get("learning_rate"))
            title = f"{_candidate_title(view, c)} at rate {short(rate, 3)}"
            if math.isfinite(c.goodness):
                best = rate == basin.best
                style = "point first" if best else "point"
                plot.dot(rate, view.sign * c.goodness, style, title, 4 if best else 2.5)
            else:
                plot.cross(rate, worse, "failed", title)
        if basin.edge is not None:
            at = plot.x_scale(plot.x_scale.clip(basin.edge))
            plot.raw(
                f'<path class="edge" d="M{at:.1f} {plot.top}V{plot.height - plot.bottom}">'
                f"<title>from {short(basin.edge, 2)} up {basin.diverged_above} of "
                f"{basin.runs_above} diverged</title></path>"
            )
        panels.append(plot.svg())
    return Figure(
        "Learning-rate map",
        "One point a configuration; the shaded range came within "
        f"{view.say(found[0].tolerance)} of the optimizer's best. Crosses failed; the red line is "
        "where most runs begin to diverge. Hopeless scores lie on the edge of the scale.",
        _panels(panels),
    )


def isolation_plots(view: View) -> Figure | None:
    """Score over each hyperparameter that varied."""
    scored = _scored(view)
    names = varied_names(scored)[:MAX_PANELS]
    if len(scored) < 3 or not names:
        return None
    y = focus([view.sign * c.goodness for c in scored], view.sign)
    panels = []
    for name in names:
        known = HYPERPARAMETERS.get(name)
        usual = known.default if known else None
        axis = axis_of(view, name, [c.config.get(name, usual) for c in scored])
        plot = Plot(
            300, 200, axis.ends, y, f"{view.unit} over {plain(name)}", x_log=axis.log, top=26,
            bottom=34,
        )  # fmt: skip
        plot.axes(5, 4, "xy" if not axis.levels else "y")
        plot.text(plot.left, 14, plain(name), "panel")
        for place, level in enumerate(axis.levels):
            at = plot.x_scale(place)
            # Every other one stands a line lower, and is cut where it would meet the next but one.
            fits = max(4, int(2 * CHARACTERS / len(axis.levels)) - 1)
            text = level if len(level) <= fits else level[: fits - 1] + "…"
            lower = 11 * (place % 2) if len(axis.levels) > 3 else 0
            plot.text(at, plot.height - 17 + lower, text, "tick", "middle")
        points, best = [], scored[-1]
        for place, c in enumerate(scored):
            value = axis.place(c.config.get(name, usual))
            if axis.levels and math.isfinite(value):
                value += 0.32 * (((place * 0.618) % 1) - 0.5)  # spread, the same every time
            points.append((value, view.sign * c.goodness, c))
        plot.dots([(x, s) for x, s, c in points if c is not best], "point")
        for x, s, c in points:
            if c is best:
                plot.dot(x, s, "point first", _candidate_title(view, c), 4)
        panels.append(plot.svg())
    return Figure(
        "Each hyperparameter alone",
        "Every configuration's score over one of its settings. What all good points share matters; "
        "a cloud of the same height everywhere does not. The best is marked.",
        _panels(panels),
    )


@dataclass(frozen=True)
class Axis:
    """How a hyperparameter is laid out.

    Args:
        ends: of the axis.
        log: logarithmic.
        levels: texts of its levels where it is not a number; empty otherwise.
    """

    ends: tuple[float, float]
    log: bool
    levels: tuple[str, ...]

    def place(self, value: object) -> float:
        """The value's place on the axis, NaN where it has none."""
        if self.levels:
            text = _level(value)
            return float(self.levels.index(text)) if text in self.levels else math.nan
        at = number(value)
        return math.nan if self.log and not at > 0 else at


def _level(value: object) -> str:
    return "none" if value is None else str(value)


def axis_of(view: View, name: str, values: Sequence[object]) -> Axis:
    """Lay out a hyperparameter by its values, and by the space where the summary holds it."""
    numbers = [number(value) for value in values]
    finite = [value for value in numbers if math.isfinite(value)]
    distinct = len(set(finite))
    space = view.summary.get("space")
    domain = space.get(name) if isinstance(space, Mapping) else None
    domain = domain if isinstance(domain, Mapping) else {}
    all_numbers = len(finite) == len([v for v in values if v is not None]) and bool(finite)
    if not all_numbers or distinct <= 4 or domain.get("choices"):
        levels = sorted({_level(value) for value in values}, key=_level_order)
        return Axis((-0.5, max(len(levels) - 0.5, 0.5)), False, tuple(levels))
    positive = min(finite) > 0
    log = bool(domain["log"]) if "log" in domain else positive and max(finite) / min(finite) > 50
    log = log and positive
    if log:
        return Axis((min(finite) * 0.8, max(finite) * 1.25), True, ())
    return Axis(spread(finite), False, ())


def _level_order(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def varied_names(candidates: Sequence[Candidate]) -> list[str]:
    """Names of the hyperparameters with more than one value, the most asked for first."""
    first = ["optimizer", "learning_rate", "schedule", "loss", "model", "depth", "width",
             "activation", "batch_size", "dropout", "weight_decay"]  # fmt: skip
    seen: dict[str, set[str]] = {}
    for candidate in candidates:
        for name, value in candidate.config.items():
            seen.setdefault(name, set()).add(repr(value))
    varied = [name for name, values in seen.items() if len(values) > 1]
    return [name for name in first if name in varied] + sorted(
        name for name in varied if name not in first
    )


def parallel_coordinates(view: View) -> Figure | None:
    """All settings of all Configs at once, one line each."""
    scored = _scored(view)
    names = varied_names(scored)[:7]
    if len(scored) < 3 or len(names) < 2:
        return None
    count = min(len(scored), MAX_PARALLEL)
    best = scored[-max(1, min(12, len(scored) // 8)) :]
    shown = [scored[i] for i in thin(scored, count)]
    width, height, top, bottom, side = 1040, 330, 34, 24, 60
    label = f"Parallel coordinates of {len(shown)} configurations over {len(names)} settings"
    axes = [axis_of(view, name, [c.config.get(name) for c in scored]) for name in names]
    score_ends = focus([view.sign * c.goodness for c in scored], view.sign)
    gap = (width - 2 * side) / len(names)
    parts: list[str] = []
    scales = [Scale(*axis.ends, height - bottom, top, axis.log) for axis in axes]
    score_scale = Scale(*score_ends, height - bottom, top)

    def line(c: Candidate) -> str:
        path, pen = [], "M"
        for place, (name, axis, scale) in enumerate(zip(names, axes, scales, strict=True)):
            value = axis.place(c.config.get(name))
            if math.isfinite(value):
                path.append(f"{pen}{side + place * gap:.0f} {scale(scale.clip(value)):.1f}")
                pen = "L"
        at = score_scale(score_scale.clip(view.sign * c.goodness))
        return "".join(path) + f"{pen}{side + len(names) * gap:.0f} {at:.1f}"

    faint = "".join(line(c) for c in shown if c not in best)
    parts.append(f'<path class="curve faint" d="{faint}"/>')
    for c in best:
        style = "curve first" if c is best[-1] else "curve good"
        title = escape(_candidate_title(view, c))
        parts.append(f'<path class="{style}" d="{line(c)}"><title>{title}</title></path>')
    for place, name in enumerate([*names, view.metric]):
        x = side + place * gap
        parts.append(f'<path class="axis" d="M{x:.0f} {top}V{height - bottom}"/>')
        parts.append(
            f'<text class="panel" x="{x:.0f}" y="16" text-anchor="middle">'
            f"{escape(plain(name))}</text>"
        )
        scale = scales[place] if place < len(names) else score_scale
        levels = axes[place].levels if place < len(names) else ()
        ticks: list[tuple[float, str]]
        if levels:
            ticks = [(scale(index), level[:14]) for index, level in enumerate(levels)]
        else:
            ticks = [(scale(value), _tick(value)) for value in scale.ticks(5)]
        for at, text in ticks:
            if top - 1 <= at <= height - bottom + 1:
                parts.append(
                    f'<text class="tick halo" x="{x + 5:.0f}" y="{at + 3.5:.1f}">'
                    f"{escape(text)}</text>"
                )
    svg = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
    svg = f'<div class="scroll">{svg}</div>'
    return Figure(
        "All settings together",
        f"One line a configuration; the best {len(best)} in colour. Where the coloured lines run "
        "together, that setting matters.",
        svg,
    )


def _tick(value: float) -> str:
    from thalweg.report.svg import tick_text

    return tick_text(value)


def finalists(view: View) -> Figure | None:
    """The finalists' scores under each seed."""
    keys, scores, _ = finalist_table(view)
    if len(keys) < 2 or scores.shape[1] < 2:
        return None
    keys, scores = keys[:12], scores[:12]
    shown = view.sign * scores
    row_height, left = 30, 300
    height = row_height * len(keys) + 46
    plot = Plot(
        720, height, spread(shown.ravel()), (len(keys) - 0.5, -0.5),
        f"{view.unit} of {len(keys)} finalists over {scores.shape[1]} seeds", view.unit,
        left=left, top=6,
    )  # fmt: skip
    plot.axes(6, 0, "x")
    for place, key in enumerate(keys):
        rows = view.finalists[key]
        first = next(iter(rows.values()))
        config = first.get("config") or {}
        name = " · ".join(
            str(part) for part in (first.get("structure"), config.get("optimizer")) if part
        )
        y = plot.y_scale(place)
        plot.raw(f'<path class="grid" d="M{left} {y:.1f}H{plot.width - plot.right:.1f}"/>')
        style = "first" if place == 0 else "good"
        text = name if len(name) <= 44 else name[:43] + "…"
        plot.text(left - 10, y + 4, text, f"tick {'strong' if place == 0 else ''}", "end")
        for value in shown[place]:
            plot.dot(value, place, f"point {style} soft", view.say(value), 4)
        mean = float(shown[place].mean())
        at = plot.x_scale(mean)
        plot.raw(
            f'<path class="mean {style}" d="M{at:.1f} {y - 9:.1f}v18">'
            f"<title>mean {view.say(mean)}</title></path>"
        )
    return Figure(
        "The finalists, run again over seeds",
        "One point a seed, the bar their mean. Only what stands apart from the points' spread is a "
        "difference between configurations.",
        plot.svg(),
    )


def baselines(view: View) -> Figure | None:
    """The winner beside the baselines, with what the number of rows leaves uncertain."""
    rows = [row for row in view.summary.get("baselines") or [] if isinstance(row, Mapping)]
    split = "test" if math.isfinite(view.value(view.summary, "test")) else "validation"
    own = view.value(view.summary, split)
    entries = [(str(row.get("name")), view.value(row, split)) for row in rows]
    entries = [pair for pair in entries if math.isfinite(pair[1])]
    if not entries or not math.isfinite(own):
        return None
    name = str((view.winner or {}).get("structure") or "network")
    bars = [(name, own, True)] + [(*pair, False) for pair in entries]
    bars.sort(key=lambda bar: -view.sign * bar[1])
    errors = [view.sampling_error(value, split, own=ours) for _, value, ours in bars]
    reach = [1.96 * error if math.isfinite(error) else 0.0 for error in errors]
    near = len(bars)
    if near > 2 and abs(bars[-1][1] - bars[0][1]) > 4 * abs(bars[-2][1] - bars[0][1]):
        near -= 1  # a constant's score far off would press all others together
    ends = spread(
        [
            value + side * r
            for (_, value, _), r in zip(bars[:near], reach[:near], strict=True)
            for side in (-1, 1)
        ]
    )
    left = 300
    plot = Plot(
        720, 30 * len(bars) + 46, ends, (len(bars) - 0.5, -0.5),
        f"{view.unit} on {split} rows: " + ", ".join(f"{n} {view.say(v)}" for n, v, _ in bars),
        f"{view.unit} on {split} rows", left=left, top=6, right=70,
    )  # fmt: skip
    plot.axes(6, 0, "x")
    for place, ((text, value, ours), r) in enumerate(zip(bars, reach, strict=True)):
        y = plot.y_scale(place)
        plot.raw(f'<path class="grid" d="M{left} {y:.1f}H{plot.width - plot.right:.1f}"/>')
        style = "first" if ours else "plain"
        plot.text(left - 10, y + 4, text[:44], f"tick {'strong' if ours else ''}", "end")
        if r and plot.x_scale.holds(value):
            low, high = plot.at(value - r, 0)[0], plot.at(value + r, 0)[0]
            plot.raw(f'<path class="whisker {style}" d="M{low:.1f} {y:.1f}H{high:.1f}"/>')
        title = f"{text}: {view.say(value)}" + (f" ± {view.say(r)}" if r else "")
        if plot.x_scale.holds(value):
            plot.dot(value, place, f"point {style}", title, 5)
        else:
            away = "‹ off the scale" if value < ends[0] else "off the scale ›"
            end = plot.at(value, 0)[0]
            plot.text(end, y + 4, away, "tick", "start" if value < ends[0] else "end")
        plot.text(plot.width - plot.right + 10, y + 4, view.say(value), "tick")
    note = " Lines are 95 % intervals from the number of rows alone." if any(reach) else ""
    return Figure(
        "Beside the baselines",
        f"The winner and the baselines on the same {split} rows.{note}",
        plot.svg(),
    )


def train_against_validation(view: View) -> Figure | None:
    """Training score over validation score of every trial."""
    points = []
    for row in view.networks:
        x, y = view.value(row, "validation"), view.value(row, "train")
        if math.isfinite(x) and math.isfinite(y) and math.isfinite(view.goodness(row)):
            points.append((x, y, row))
    if len(points) < 3:
        return None
    ends = focus([x for x, _, _ in points] + [y for _, y, _ in points], view.sign)
    plot = Plot(
        420, 360, ends, ends, f"{view.unit} in training over {view.unit} in validation",
        f"validation {view.unit}", f"training {view.unit}",
    )  # fmt: skip
    plot.axes(5, 5)
    plot.line(list(ends), list(ends), "diagonal", "no gap")
    winner = view.winner or {}
    plot.dots([(x, y) for x, y, row in points if row.get("id") != winner.get("id")], "point")
    for x, y, row in points:
        if row.get("id") == winner.get("id"):
            plot.dot(x, y, "point first", trial_title(view, row), 5)
    side = "above" if view.sign > 0 else "below"
    return Figure(
        "Training against validation",
        f"One point a trial. The further {side} the diagonal, the larger the gap: the network "
        "knows its training rows better than new ones. The winner is marked.",
        plot.svg(),
    )


def predictions(view: View) -> Figure | None:
    """Confusion matrix or predicted-against-true scatter, where the summary holds the data."""
    data = view.summary.get("predictions")
    if not isinstance(data, Mapping):
        return None
    split = str(data.get("split", "test"))
    if data.get("confusion") is not None:
        return _confusion(np.asarray(data["confusion"], dtype=float), data.get("classes"), split)
    if data.get("true") is not None and data.get("predicted") is not None:
        return _residuals(view, data, split)
    return None


def _confusion(counts: np.ndarray, classes: object, split: str) -> Figure | None:
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        return None
    size = counts.shape[0]
    names = [str(name) for name in classes] if isinstance(classes, (list, tuple)) else []
    names = names if len(names) == size else [str(index) for index in range(size)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    title = "Which classes are confused"
    hits = int(np.trace(counts))
    caption = (
        f"Rows are the truth, columns the prediction, on the {split} rows: {hits:,} of "
        f"{int(counts.sum()):,} lie on the diagonal. Shading is the share of the row."
    )
    if size > _MAX_CLASSES:
        wrong = counts - np.diag(np.diag(counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:20]
        rows = "".join(
            f"<tr><td>{escape(names[i])}</td><td>{escape(names[j])}</td>"
            f'<td class="n">{int(wrong[i, j]):,}</td></tr>'
            for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
            if wrong[i, j] > 0
        )
        table = (
            '<table><thead><tr><th scope="col">truth</th><th scope="col">predicted</th>'
            f'<th scope="col" class="n">rows</th></tr></thead><tbody>{rows}</tbody></table>'
        )
        return Figure(title, f"The pairs most often confused on the {split} rows.", table)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = []
    for i in range(size):
        cells = []
        for j in range(size):
            kind = "hit" if i == j else "miss"
            strength = round(100 * float(shares[i, j]) ** 0.5)
            strong = " deep" if strength > 62 else ""
            text = f"{int(counts[i, j]):,}" if counts[i, j] else "·"
            cells.append(
                f'<td class="{kind}{strong}" style="--share:{strength}%" '
                f'title="{escape(names[i])} taken for {escape(names[j])}: '
                f'{int(counts[i, j]):,} ({shares[i, j]:.1%})">{text}</td>'
            )
        body.append(f'<tr><th scope="row">{escape(names[i])}</th>{"".join(cells)}</tr>')
    table = (
        f'<div class="scroll"><table class="confusion"><thead><tr><td class="corner">truth ↓ '
        f"predicted →</td>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )
    return Figure(title, caption, table)


def _residuals(view: View, data: Mapping[str, Any], split: str) -> Figure | None:
    true = [number(value) for value in data["true"]]
    predicted = [number(value) for value in data["predicted"]]
    pairs = [
        (t, p) for t, p in zip(true, predicted, strict=False)
        if math.isfinite(t) and math.isfinite(p)
    ]  # fmt: skip
    if len(pairs) < 2:
        return None
    shown = [pairs[index] for index in thin(pairs, 2000)]
    ends = spread([value for pair in shown for value in pair])
    task = view.summary.get("task")
    target = task.get("target") if isinstance(task, Mapping) else None
    if isinstance(target, (list, tuple)):
        target = target[0] if target else None
    target = plain(target or "target")
    plot = Plot(
        420, 360, ends, ends, f"Predicted over true {target} for {len(shown)} rows",
        f"true {target}", "predicted",
    )  # fmt: skip
    plot.axes(5, 5)
    plot.line(list(ends), list(ends), "diagonal", "perfect")
    plot.dots(shown, "point")
    residual = np.array([p - t for t, p in shown])
    x = [t for t, _ in shown]
    below = Plot(
        420, 360, ends, spread(residual), f"Prediction less truth over true {target}",
        f"true {target}", "predicted less true",
    )  # fmt: skip
    below.axes(5, 5)
    below.line(list(ends), [0.0, 0.0], "diagonal", "perfect")
    below.dots(zip(x, residual.tolist(), strict=True), "point")
    return Figure(
        "Predictions against the truth",
        f"One point a row of the {split} rows ({len(shown):,} of {len(pairs):,} shown). A trend or "
        "a funnel on the right says what the network has not learned.",
        _panels([plot.svg(), below.svg()], wide=True),
    )


def forecasts(view: View) -> Figure | None:
    """Forecasts over truth for some windows, with what came before and the naive forecast.

    Read from ``summary["forecasts"]``: ``windows`` (each ``title, context, truth, forecast,
    naive``), ``rolling``, ``step``, ``naive``, ``horizon``, ``split``.
    """
    data = view.summary.get("forecasts")
    windows = data.get("windows") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(windows, (list, tuple)):
        return None
    rolling, step = bool(data.get("rolling")), str(data.get("step") or "step")
    naive = plain(data.get("naive") or "naive forecast")
    windows = [window for window in windows if isinstance(window, Mapping)]
    size = (1040, 280) if len(windows) == 1 else (520, 240)
    panels = [
        _forecast_panel(window, f"Window {i}", rolling, step, naive, size)
        for i, window in enumerate(windows, 1)
    ]
    panels = [panel for panel in panels if panel]
    if not panels:
        return None
    split = str(data.get("split") or "test")
    if rolling:
        horizon = number(data.get("horizon"))
        ahead = " (the first step of each forecast)" if horizon > 1 else ""
        how = f"The last {split} windows one after the other, each forecast one step ahead{ahead}"
    else:
        how = (
            f"{len(panels)} windows from the first to the last of the {split} part: the past that "
            "the network saw, left of the dashed line, then truth and forecast"
        )
    names = (("context", "past"), ("truth", "truth"), ("first", "forecast"), ("naive", naive))
    key = "".join(
        f'<span><i class="{style}"></i>{escape(name)}</span>'
        for style, name in names
        if not (rolling and style == "context")
    )
    return Figure(
        "Forecasts over truth",
        f"{how}. The dashed orange line is the naive forecast ({naive}), which a "
        "network has to beat.",
        f'<p class="key">{key}</p><div class="panels pair">{"".join(panels)}</div>',
    )


def _forecast_panel(
    window: Mapping[str, Any],
    name: str,
    rolling: bool,
    step: str,
    naive: str,
    size: tuple[int, int],
) -> str:
    lines = {
        key: [number(value) for value in window.get(key) or []]
        for key in ("context", "truth", "naive", "forecast")
    }
    past, ahead = lines["context"], max(len(lines["truth"]), len(lines["forecast"]))
    values = [value for line in lines.values() for value in line if math.isfinite(value)]
    if ahead < 1 or not values:
        return ""
    title = str(window.get("title") or "")
    first = 1 if rolling or not past else 1 - len(past)
    error = [
        abs(t - f)
        for t, f in zip(lines["truth"], lines["forecast"], strict=False)
        if math.isfinite(t) and math.isfinite(f)
    ]
    said = f"; mean error {short(math.fsum(error) / len(error), 3)}" if error else ""
    plot = Plot(
        *size, (first, max(ahead, first + 1)), spread(values),
        f"{name}: forecast, truth and {naive} over {ahead} steps {title}{said}",
        "windows" if rolling else "steps" if step in ("row", "step") else f"steps ({step})", top=26,
    )  # fmt: skip
    plot.axes(6, 5)
    plot.text(plot.left, 14, title, "panel")
    if past:
        at = plot.x_scale(0)
        plot.raw(f'<path class="mark" d="M{at:.1f} {plot.top}V{plot.height - plot.bottom}"/>')
        plot.line([x - len(past) + 1 for x in range(len(past))], past, "curve context", "past")
    # Lines ahead begin at the last known value.
    start = past[-1:] if not rolling else []
    for key, style in (
        ("naive", "curve naive"),
        ("truth", "curve truth"),
        ("forecast", "curve first"),
    ):
        joined = [*start, *lines[key]]
        xs = [float(x + 1 - len(start)) for x in range(len(joined))]
        name = naive if key == "naive" else key
        plot.line(xs, joined, style, name)
    return plot.svg()


def interval_glyph(answer: Answer) -> str:
    """A small drawing of an effect and its interval beside zero, or nothing.

    Only differences have a zero that means something; other effects are left to the text.
    """
    if answer.effect is None or answer.interval is None or not _is_difference(answer):
        return ""
    low, high = answer.interval
    if not all(math.isfinite(value) for value in (low, high, answer.effect)):
        return ""
    reach = max(abs(low), abs(high)) * 1.08
    if reach == 0:
        return ""
    scale = Scale(-reach, reach, 4, 176)
    label = f"effect {answer.effect:.3g}, 95 % interval {low:.3g} to {high:.3g}"
    return (
        f'<svg class="glyph" viewBox="0 0 180 30" role="img" aria-label="{escape(label)}">'
        f"<title>{escape(label)}</title>"
        '<path class="grid" d="M4 13H176"/>'
        f'<path class="zero" d="M{scale(0):.1f} 3V21"/>'
        f'<path class="whisker first" d="M{scale(low):.1f} 13H{scale(high):.1f}"/>'
        f'<circle class="point first" cx="{scale(answer.effect):.1f}" cy="13" r="4.5"/>'
        f'<text class="tick" x="4" y="29">worse</text>'
        f'<text class="tick" x="176" y="29" text-anchor="end">better</text></svg>'
    )


def _is_difference(answer: Answer) -> bool:
    return "improvement" in answer.unit or " less " in answer.unit


def _panels(panels: Sequence[str], wide: bool = False) -> str:
    style = "panels wide" if wide else "panels"
    return f'<div class="{style}">' + "".join(f"<div>{p}</div>" for p in panels) + "</div>"


FIGURES: dict[str, Callable[[View], Figure | None]] = {
    "curves": learning_curves,
    "rates": rate_map,
    "finalists": finalists,
    "baselines": baselines,
    "losses": winner_losses,
    "gap": train_against_validation,
    "forecasts": forecasts,
    "predictions": predictions,
    "parallel": parallel_coordinates,
    "isolation": isolation_plots,
    "importance": importance,
    "growth": rows_wanted,
    "layers": layer_gradients,
}
"""The figures in the order of the report."""
