"""What a map of learning rates shows: basins, stable edges, and whether a remedy moves the edge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, TIE, Answer, Verdict
from thalweg.evidence.statistics import Estimate, holm, t_interval
from thalweg.evidence.view import View, listed, number, short

BLOWN = 1.5
"""A loss so many times that of hardly trained networks counts as unstable."""


@dataclass(frozen=True)
class RateLine:
    """One optimizer with one remedy over its rates.

    Args:
        optimizer: its name.
        remedy: ``"plain"``, ``"warmup"`` or ``"clipping"``.
        rates: float [R], ascending.
        goodness: mean over seeds, float [R]; NaN where every seed failed.
        unstable: bool [R, S].
        ids: of all trials.
        best: rate of the best mean.
        low: lowest rate of the basin.
        high: highest rate of the basin.
    """

    optimizer: str
    remedy: str
    rates: np.ndarray
    goodness: np.ndarray
    unstable: np.ndarray
    ids: tuple[int, ...]
    best: float
    low: float
    high: float

    @property
    def step(self) -> float:
        """Decades between neighbouring rates."""
        return float(np.log10(self.rates[1] / self.rates[0])) if len(self.rates) > 1 else math.inf

    @property
    def decades(self) -> float:
        """Width of the basin, as the rates' own spacing resolves it."""
        return math.log10(self.high / self.low)

    @cached_property
    def edges(self) -> np.ndarray:
        """log10 of the stable edge under each seed, [S]; NaN where no rate was unstable.

        The edge lies midway between the highest rate below which most are stable and the next:
        where the fewest runs lie on the wrong side.
        """
        logs = np.log10(self.rates)
        found = []
        for bad in self.unstable.T:
            if not bad.any():
                found.append(math.nan)
                continue
            above = np.concatenate([np.cumsum(bad[::-1])[::-1], [0]])
            wrong = (bad.sum() - above) + (len(bad) - np.arange(len(bad) + 1) - above)
            cut = int(np.argmin(wrong))
            if cut in (0, len(bad)):
                found.append(math.nan)
            else:
                found.append(float((logs[cut - 1] + logs[cut]) / 2))
        return np.array(found)

    @property
    def edge(self) -> float:
        """The stable edge over all seeds, or NaN."""
        known = self.edges[np.isfinite(self.edges)]
        return (
            10.0 ** float(known.mean())
            if known.size == self.edges.size and known.size
            else (math.nan)
        )


def rate_lines(
    records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> tuple[View, list[RateLine]]:
    """Read a map of rates from its records and its summary (``summary["rate_map"]``)."""
    view = View([dict(row) for row in records], dict(summary))
    known = {row.get("id"): row for row in records}
    entries = [e for e in summary.get("rate_map") or () if isinstance(e, Mapping)]
    tables = []
    for entry in entries:
        rows = [[known[i] for i in own if i in known] for own in entry.get("trials") or ()]
        rows = [own for own in rows if own]
        if rows:
            tables.append((entry, rows))
    margin = _margin(view, [row for _, rows in tables for own in rows for row in own])
    lines = [_line(view, entry, rows, margin) for entry, rows in tables]
    return view, [line for line in lines if line is not None]


def _margin(view: View, rows: Sequence[Mapping[str, Any]]) -> float:
    """What the validation rows cannot show of the best trial's score."""
    best = max((view.goodness(row) for row in rows if math.isfinite(view.goodness(row))),
               default=math.nan)  # fmt: skip
    error = view.sampling_error(view.sign * best, "validation", own=False)
    if math.isfinite(error) and error > 0:
        return 1.96 * error
    scored = [view.goodness(row) for row in rows if math.isfinite(view.goodness(row))]
    return 0.1 * (max(scored) - float(np.median(scored))) if scored else 0.0


def _line(
    view: View,
    entry: Mapping[str, Any],
    rows: Sequence[Sequence[Mapping[str, Any]]],
    margin: float,
) -> RateLine | None:
    rates = np.array([number((own[0].get("config") or {}).get("learning_rate")) for own in rows])
    seeds = min(map(len, rows))
    scores = np.array([[view.goodness(row) for row in own[:seeds]] for own in rows])
    unstable = np.array([[_unstable(row, rows[0]) for row in own[:seeds]] for own in rows])
    with np.errstate(invalid="ignore"):
        counts = np.isfinite(scores).sum(1)
        means = np.where(counts == seeds, np.nansum(scores, axis=1) / np.maximum(counts, 1), np.nan)
    if not np.isfinite(means).any():
        return None
    best = int(np.nanargmax(means))
    good = np.nan_to_num(means, nan=-np.inf) >= means[best] - margin
    low = high = best
    while low > 0 and good[low - 1]:
        low -= 1
    while high + 1 < len(good) and good[high + 1]:
        high += 1
    return RateLine(
        str(entry.get("optimizer")), str(entry.get("remedy")), rates, means, unstable,
        tuple(sorted(int(row["id"]) for own in rows for row in own)),
        float(rates[best]), float(rates[low]), float(rates[high]),
    )  # fmt: skip


def _unstable(row: Mapping[str, Any], smallest: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a run diverged or ended far above what networks begin with."""
    if row.get("status") == "diverged":
        return True
    begin = [number(v) for other in smallest for v in _losses(other)[:1]]
    end = _losses(row)[-1:]
    if not begin or not end:
        return False
    return not number(end[0]) <= BLOWN * float(np.nanmax(begin))


def _losses(row: Mapping[str, Any]) -> list[Any]:
    return list((row.get("curve") or {}).get("validation_loss") or [])


def shift_of(line: RateLine, plain: RateLine) -> Estimate:
    """How far a remedy moves the edge, in decades, seed by seed; the grid's spacing is added."""
    moved = t_interval(line.edges - plain.edges)
    # Each edge is known to half a step of the grid, uniformly.
    blur = line.step / math.sqrt(6) * 1.96 / math.sqrt(max(len(line.edges), 1))
    return Estimate(moved.value, moved.low - blur, moved.high + blur, moved.p)


def rate_answers(records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> list[Answer]:
    """Answer which rate, how wide the basin, where the edge, and what moves it."""
    view, lines = rate_lines(records, summary)
    plain = {line.optimizer: line for line in lines if line.remedy == "plain"}
    if not plain:
        return [
            Answer(
                "Which learning rate?",
                "Nothing can be said: no training gave a score.",
                advice="Look for what failed: the data, or a budget that was too short.",
                trials=tuple(int(r["id"]) for r in records if isinstance(r.get("id"), int)),
            )
        ]
    found = [_answer_rate(view, line) for line in plain.values()]
    found += _answer_remedies(lines, plain)
    if len(plain) > 1:
        found.append(_answer_width(view, list(plain.values())))
    return found


def _answer_rate(view: View, line: RateLine) -> Answer:
    seeds = line.unstable.shape[1]
    claim = (
        f"{line.optimizer}: {short(line.best, 2)}. Rates from {short(line.low, 2)} to "
        f"{short(line.high, 2)} ({short(line.decades, 2)} decades) come within what "
        f"{view.rows('validation') or 'the validation'} rows can show of its best {view.unit}, "
        f"{view.say(view.sign * float(np.nanmax(line.goodness)))} after this short training."
    )
    top, bottom = line.high == line.rates[-1], line.low == line.rates[0]
    if math.isfinite(line.edge):
        claim += f" From about {short(line.edge, 2)} up it is unstable, under all {seeds} seeds."
    elif line.unstable.any():
        claim += " Where it becomes unstable depends on the seed."
    else:
        claim += f" It stayed stable up to {short(float(line.rates[-1]), 2)}."
    middle = math.sqrt(line.low * line.high)
    advice = f"Search from {short(line.low / 2, 2)} to {short(line.high * 2, 2)}."
    if math.isfinite(line.edge) and line.edge < 2 * line.best:
        advice = (
            f"The best rate is close to the edge: for a longer training take {short(middle, 2)} "
            "or less."
        )
    if top or bottom:
        advice = f"The basin reaches the {'top' if top else 'bottom'} of the rates: widen them."
    return Answer(
        f"Which learning rate for {line.optimizer}?", claim, line.best, (line.low, line.high),
        f"learning rate; the interval is the basin, on a grid of {short(line.step, 2)} decades",
        NOT_ENOUGH if top or bottom else SUPPORTED, advice, line.ids,
    )  # fmt: skip


def _answer_remedies(lines: Sequence[RateLine], plain: Mapping[str, RateLine]) -> list[Answer]:
    answers = []
    for remedy in dict.fromkeys(line.remedy for line in lines if line.remedy != "plain"):
        own = [line for line in lines if line.remedy == remedy and line.optimizer in plain]
        known = [
            line
            for line in own
            if np.isfinite(line.edges).all() and np.isfinite(plain[line.optimizer].edges).all()
        ]
        lifted = [
            line.optimizer
            for line in own
            if not line.unstable.any() and np.isfinite(plain[line.optimizer].edges).all()
        ]
        trials = tuple(sorted({i for line in own for i in (*line.ids, *plain[line.optimizer].ids)}))
        question = f"Does {remedy} move the stable edge?"
        if lifted:
            answers.append(
                Answer(
                    question,
                    f"Yes: with {remedy} {listed(lifted)} stayed stable at every rate tried, which "
                    "without it does not hold. (A stable run need not be a good one.)",
                    verdict=SUPPORTED, advice=f"Use {remedy} where rates have to be high.",
                    trials=trials,
                )
            )  # fmt: skip
            continue
        if not known:
            answers.append(
                Answer(
                    question,
                    "Not known: no edge was found under every seed with it and without it.",
                    advice="Give more trials, or higher rates.", trials=trials,
                )
            )  # fmt: skip
            continue
        shifts = [shift_of(line, plain[line.optimizer]) for line in known]
        adjusted = holm([shift.p for shift in shifts])
        clear = [
            (line, shift)
            for line, shift, p in zip(known, shifts, adjusted, strict=True)
            if shift.excludes_zero and (p < 0.05 or abs(shift.value) > 2 * line.step)
        ]
        shown, size = max(
            clear or list(zip(known, shifts, strict=True)), key=lambda pair: abs(pair[1].value)
        )
        verdict: Verdict
        factor = short(10.0 ** abs(size.value), 2)
        bounds = f"95 % interval {short(size.low, 2)} to {short(size.high, 2)} decades"
        if clear:
            verdict = SUPPORTED
            way = "higher" if size.value > 0 else "lower"
            claim = f"Yes: for {shown.optimizer} the edge is {factor} times {way} ({bounds})."
            advice = f"Use {remedy} where rates have to be high." if size.value > 0 else (
                f"Without {remedy} rates may be higher.")  # fmt: skip
        elif all(shift.within(2 * line.step) for line, shift in zip(known, shifts, strict=True)):
            verdict = TIE
            claim = (
                f"No: it moves by less than two steps of the grid; most for {shown.optimizer} "
                f"({bounds})."
            )
            advice = f"Don't use {remedy} for the sake of higher rates."
        else:
            verdict = NOT_ENOUGH
            claim = f"Not clear: most for {shown.optimizer}, by a factor of {factor} ({bounds})."
            advice = "More seeds would tell."
        answers.append(
            Answer(question, claim, size.value, size.interval,
                   f"decades that {remedy} moves the edge of {shown.optimizer}", verdict, advice,
                   trials)
        )  # fmt: skip
    return answers


def _answer_width(view: View, lines: Sequence[RateLine]) -> Answer:
    ranked = sorted(lines, key=lambda line: (-line.decades, line.optimizer))
    first, second = ranked[0], ranked[1]
    gain = first.decades - second.decades
    blur = 2 * max(first.step, second.step)
    named = [f"{line.optimizer} {short(line.decades, 2)}" for line in ranked]
    clear = gain > blur
    return Answer(
        "Which optimizer is easiest to set?",
        f"Width of the basin in decades: {listed(named, 8)}. "
        + (
            f"{first.optimizer} forgives most."
            if clear
            else f"The first two differ by less than the grid tells ({short(blur, 2)} decades)."
        ),
        gain, (gain - blur, gain + blur),
        f"decades, basin of {first.optimizer} less {second.optimizer}",
        SUPPORTED if clear else TIE if gain + blur < 0.5 else NOT_ENOUGH,
        f"Where there is no time to tune, take {first.optimizer} at {short(first.best, 2)}."
        if clear
        else "Choose by the score.",
        tuple(sorted({*first.ids, *second.ids})),
    )  # fmt: skip
