"""What went wrong: runs that diverged, training that was too short, ranges that were too narrow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, Answer, Verdict
from thalweg.evidence.rates import basins
from thalweg.evidence.statistics import ALPHA, fisher_exact, holm, wilson
from thalweg.evidence.view import View, candidate_ids, ids, number, plain, short

DIVERGED_QUESTION = "Did runs diverge?"
LENGTH_QUESTION = "Was training long enough?"
RANGE_QUESTION = "Were the ranges wide enough?"
_TOP = 10


def answer_diverged(view: View) -> list[Answer]:
    """The share of runs that diverged, and at which learning rates."""
    runs = view.networks
    if not runs:
        return []
    bad = [row for row in runs if row.get("status") == "diverged"]
    share = wilson(len(bad), len(runs))
    unit = "share of the runs"
    if not bad:
        return [
            Answer(
                DIVERGED_QUESTION,
                f"No: all {len(runs)} runs stayed finite.",
                0.0, share.interval, unit, SUPPORTED, "Nothing to do.", (),
            )
        ]  # fmt: skip
    claim = f"{len(bad)} of {len(runs)} runs diverged ({share.value:.0%})."
    edges = [basin for basin in basins(view) if basin.edge is not None]
    if edges:
        claim += " Where: " + "; ".join(
            f"{basin.optimizer or 'learning rate'} from {short(basin.edge or 0, 2)} up "
            f"({basin.diverged_above} of {basin.runs_above})"
            for basin in edges[:4]
        ) + "."  # fmt: skip
        advice = "Lower the top of the learning-rate range, or clip gradients."
    else:
        rates = [number((row.get("config") or {}).get("learning_rate")) for row in bad]
        rates = [rate for rate in rates if math.isfinite(rate)]
        if rates:
            claim += f" Their learning rates: {short(min(rates), 2)} to {short(max(rates), 2)}."
        advice = (
            "A few are normal in a wide search."
            if share.value < 0.2
            else "It is not the learning rate alone: look at the other settings and the data."
        )
    if len(bad) == len(runs):
        advice = "Try much lower learning rates, and look for rows with extreme values."
    return [
        Answer(
            DIVERGED_QUESTION, claim, share.value, share.interval, unit, SUPPORTED, advice, ids(bad)
        )
    ]


def still_improving(view: View, record: Mapping[str, Any]) -> bool | None:
    """Whether a run was still getting better when it ended; None where its curve is too short.

    Its best step must lie in the last tenth, and the last quarter of the curve must be better on
    average than the quarter before by more than a quarter of what matters: the last of many
    equal points is the best one now and then by chance.
    """
    curve = record.get("curve") or {}
    steps = [number(step) for step in curve.get("step") or []]
    values = np.array([number(value) for value in curve.get("validation") or []])
    best_step = number(record.get("best_step"))
    if len(values) < 4 or len(steps) != len(values) or not math.isfinite(best_step):
        return None
    quarter = max(1, len(values) // 4)
    last, before = values[-quarter:], values[-2 * quarter : -quarter]
    if not (np.isfinite(last).any() and np.isfinite(before).any()):
        return None
    gain = view.sign * float(np.nanmean(last) - np.nanmean(before))
    return best_step >= 0.9 * steps[-1] and gain > view.margin / 4


def answer_length(view: View) -> list[Answer]:
    """Whether the best runs were still improving when they ended."""
    if view.winner is None:
        return []
    finished = [row for row in view.networks if row.get("status") == "completed"]
    finished = [row for row in finished if math.isfinite(view.goodness(row))]
    finished.sort(key=lambda row: -view.goodness(row))
    judged = [(row, still_improving(view, row)) for row in finished[:_TOP]]
    judged = [(row, state) for row, state in judged if state is not None]
    winner = still_improving(view, view.winner)
    if not judged or winner is None:
        return []
    going = sum(bool(state) for _, state in judged)
    share = wilson(going, len(judged))
    of = f"{going} of the best {len(judged)} runs were still improving at their end"
    if len(judged) == 1:
        of = "no other run can be judged"
    verdict: Verdict = SUPPORTED if len(judged) >= _TOP // 2 else NOT_ENOUGH
    if winner and share.value >= 0.5:
        claim = f"No: the winner and {of}."
        advice = "Allow more steps (or epochs): better scores are probably to be had."
    elif winner or share.value >= 0.5:
        verdict = NOT_ENOUGH
        claim = f"Perhaps not: the winner was {'' if winner else 'not '}still improving, {of}."
        advice = "Train the winner for longer and see."
    else:
        claim = f"Yes: the winner had stopped improving; {of}."
        advice = "Longer training is not where gains lie."
    return [
        Answer(
            LENGTH_QUESTION, claim, share.value, share.interval,
            "share of the best runs still improving", verdict, advice,
            ids(row for row, _ in judged),
        )
    ]  # fmt: skip


def position(domain: Mapping[str, Any], value: object) -> float:
    """Where a value lies in its domain, 0 (bottom) to 1 (top); NaN where that has no meaning."""
    choices = domain.get("choices")
    if choices:
        numeric = [number(choice) for choice in choices]
        if len(choices) < 3 or not all(math.isfinite(choice) for choice in numeric):
            return math.nan
        ordered = sorted(numeric)
        at = number(value)
        return ordered.index(at) / (len(ordered) - 1) if at in ordered else math.nan
    low, high, at = number(domain.get("low")), number(domain.get("high")), number(value)
    if not (math.isfinite(low) and math.isfinite(high) and high > low and math.isfinite(at)):
        return math.nan
    if domain.get("log"):
        if low <= 0 or at <= 0:
            return math.nan
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)


def answer_ranges(view: View) -> list[Answer]:
    """Whether the winner, and the best Configs with it, lie at an end of a range."""
    space = view.summary.get("space")
    if view.winner is None or not isinstance(space, Mapping) or not space:
        return []
    config = view.winner.get("config") or {}
    scored = [c for c in view.candidates if math.isfinite(c.goodness)]
    scored.sort(key=lambda c: (-c.goodness, c.trials))
    top = scored[: min(25, max(8, len(scored) // 10))]
    found: list[tuple[str, str, object, float]] = []
    for name, domain in sorted(space.items()):
        if not isinstance(domain, Mapping):
            continue
        at = position(domain, config.get(name))
        if not math.isfinite(at) or 0.05 < at < 0.95:
            continue
        upper = at >= 0.95
        if not upper and number(domain.get("low")) == 0:
            continue  # zero is "off", not a range cut short

        def outer(value: object, domain: Mapping[str, Any] = domain, upper: bool = upper) -> bool:
            where = position(domain, value)
            return where >= 0.9 if upper else where <= 0.1

        hits = sum(outer(c.config.get(name)) for c in top)
        rest = [c for c in scored if c not in top]
        others = sum(outer(c.config.get(name)) for c in rest)
        p = fisher_exact([[hits, len(top) - hits], [others, len(rest) - others]]) if rest else 1.0
        found.append((name, "top" if upper else "bottom", config.get(name), p))
    if not found:
        return [
            Answer(
                RANGE_QUESTION,
                "Yes: the winner lies inside every range of the space.",
                verdict=SUPPORTED,
                advice="Nothing to do.",
                trials=ids([view.winner]),
            )
        ]
    adjusted = holm([entry[3] for entry in found])
    clear = [entry for entry, p in zip(found, adjusted, strict=True) if p < ALPHA]
    shown = clear or found

    def phrase(entry: tuple[str, str, object, float]) -> str:
        value = entry[2]
        text = short(value, 3) if isinstance(value, float) else str(value)
        return f"{plain(entry[0])} {text} (the {entry[1]} of its range)"

    names = "; ".join(phrase(entry) for entry in shown)
    if clear:
        claim = f"No: the winner has {names}, and so have the best runs more often than the rest."
        advice = "Widen: " + ", ".join(
            f"{plain(name)} {'upwards' if end == 'top' else 'downwards'}"
            for name, end, _, _ in clear
        ) + "."  # fmt: skip
    else:
        claim = f"Perhaps not: the winner has {names}; the other good runs show no such trend."
        advice = "Widen those ranges if there is budget to spare."
    return [
        Answer(
            RANGE_QUESTION, claim, verdict=SUPPORTED if clear else NOT_ENOUGH, advice=advice,
            trials=tuple(sorted({*ids([view.winner]), *candidate_ids(top)})),
        )
    ]  # fmt: skip


def answer_trouble(view: View) -> list[Answer]:
    """All answers about what went wrong."""
    return [*answer_diverged(view), *answer_length(view), *answer_ranges(view)]
