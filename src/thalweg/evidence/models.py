"""Which model: the chosen network against the baselines, on rows that neither was fitted to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, TIE, Answer, Verdict
from thalweg.evidence.statistics import Estimate, with_error
from thalweg.evidence.view import View, ids, listed, number

QUESTION = "Which model?"
_TREES = ("tree", "boost", "forest", "gbm", "xgb")
WRITTEN = {"bleu": "BLEU", "chrf": "chrF", "rouge1": "ROUGE-1"}
"""Scores of texts that are written, more is better: baselines that write have no others."""
_TRIVIAL = ("constant", "dummy", "majority", "mean", "median", "prior")


def is_trees(name: str) -> bool:
    """Whether a baseline of that name is made of decision trees."""
    return any(word in name.lower() for word in _TREES)


def answer_model(view: View) -> list[Answer]:
    """The winner against the best baseline; trees that win are said to win, and by how much.

    Scores on the test rows are compared where both have them: the winner was chosen on the
    validation rows among many, which flatters it there.
    """
    if view.winner is None:
        return _nothing(view)
    found = _rivals(view)
    name = str(view.winner.get("structure") or "the network")
    behind = ids(view.winner_replicates)
    if found is None:
        claim = (
            f"{name} did best, with {view.unit} {view.say(number(view.winner.get('score')))} on "
            "the validation rows"
        )
        otherwise = _by_written(view)
        if otherwise is None:
            claim += "; there is no baseline to compare it with."
            advice = "Let the baselines run: they cost seconds and show what a network adds."
        else:
            claim += f". {otherwise[0]}"
            advice = f"Use {name if otherwise[1] else 'the baseline'}; how far these rows could "
            advice += "mislead is not known for this metric."
        return [
            Answer(QUESTION, claim, verdict=NOT_ENOUGH, advice=advice, trials=behind),
        ]
    split, own, rivals = found
    rival, rival_value = rivals[0]
    lead = _lead(view, split, own, rivals[0])
    difference, interval = view.sign * (own - rival_value), lead.interval
    known = math.isfinite(lead.low)
    scores = (
        f"{name} reaches {view.unit} {view.say(own)} on the {split} rows, "
        f"{rival} {view.say(rival_value)}"
    )
    bounds = f" ({view.say_range(interval)})" if known else ""
    verdict: Verdict
    if known and lead.low > 0:
        verdict = SUPPORTED
        claim = f"The network: {scores}, so it is {view.say(difference)} better{bounds}."
        advice = f"Use {name}."
    elif known and lead.high < 0:
        verdict = SUPPORTED
        winners = "Boosted trees win" if is_trees(rival) else f"The baseline {rival} wins"
        claim = f"{winners}, by {view.say(-difference)}{bounds}: {scores}."
        advice = f"Use {rival} here, unless you need a network for another reason."
    elif known and lead.within(view.margin):
        verdict = TIE
        claim = f"No difference that matters{bounds}: {scores}."
        advice = f"Take the one that is cheaper to run and to explain: {rival} or {name}."
    else:
        verdict = NOT_ENOUGH
        if difference > 0:
            order = f"The network is {view.say(difference)} ahead"
        elif difference < 0:
            ahead = "Boosted trees are" if is_trees(rival) else f"The baseline {rival} is"
            order = f"{ahead} {view.say(-difference)} ahead"
        else:
            order = "The network and the best baseline score the same"
        reason = (
            f", which {view.rows(split) or 'so few'} rows cannot tell from chance{bounds}"
            if known
            else "; how far these rows could mislead is not known for this metric"
        )
        claim = f"{order}{reason}: {scores}."
        advice = f"Don't choose between {name} and {rival} by score alone; look at cost and use."
    trees = next((pair for pair in rivals[1:] if is_trees(pair[0])), None)
    if trees and not is_trees(rival):
        claim += f" Boosted trees ({trees[0]}) reach {view.say(trees[1])}."
    claim += _others(view, split, own, rivals[1:])
    return [
        Answer(
            QUESTION,
            claim,
            difference,
            interval if known else None,
            f"{view.unit} on {split} rows, improvement over {rival}",
            verdict,
            advice,
            behind,
        )
    ]


def _nothing(view: View) -> list[Answer]:
    if not view.networks:
        claim, advice = "No network was trained.", "Give a larger budget."
    else:
        claim = f"None of the {len(view.networks)} network trials ended with a usable score."
        advice = "Try much lower learning rates, and look for rows with extreme values."
    rivals = [(str(row.get("name")), view.value(row, "validation")) for row in _baselines(view)]
    rivals = [pair for pair in rivals if math.isfinite(pair[1])]
    if rivals:
        name, value = max(rivals, key=lambda pair: view.sign * pair[1])
        claim += f" Best baseline: {name}, {view.unit} {view.say(value)} on the validation rows."
    return [Answer(QUESTION, claim, advice=advice, trials=ids(view.networks))]


def _baselines(view: View) -> list[Mapping[str, Any]]:
    return [row for row in view.summary.get("baselines") or [] if isinstance(row, Mapping)]


def _rivals(view: View) -> tuple[str, float, list[tuple[str, float]]] | None:
    """The split to compare on, the winner's value there, and the baselines', best first."""
    baselines = _baselines(view)
    for split in ("test", "validation"):
        own = view.value(view.summary, split)
        if split == "validation":
            own = _validation_value(view, own)
        rivals = [(str(row.get("name")), view.value(row, split)) for row in baselines]
        rivals = [pair for pair in rivals if math.isfinite(pair[1])]
        if math.isfinite(own) and rivals:
            rivals.sort(key=lambda pair: (-view.sign * pair[1], pair[0]))
            return split, own, rivals
    return None


def _by_written(view: View) -> tuple[str, bool] | None:
    """What is written against what the baselines write, where those have no other score.

    Returns:
        A sentence, and whether the network is ahead.
    """
    own = view.summary.get("test") or {}
    for metric in WRITTEN:
        rivals = [
            (number((row.get("test") or {}).get(metric)), str(row.get("name")))
            for row in _baselines(view)
        ]
        value, name = max(rivals, default=(math.nan, ""))
        reached = number(own.get(metric))
        if math.isfinite(value) and math.isfinite(reached):
            shown = WRITTEN[metric]
            return (
                f"On the test rows it reaches {shown} {reached:.1f}, {name} {value:.1f}.",
                reached > value,
            )
    return None


def _validation_value(view: View, own: float) -> float:
    """The winner's mean over its confirming seeds: fresh runs, free of the luck of the search."""
    values = [view.goodness(row) for row in view.winner_replicates]
    values = [value for value in values if math.isfinite(value)]
    if len(values) > 1:
        return view.sign * float(np.mean(sorted(values)))
    return own if math.isfinite(own) else number((view.winner or {}).get("score"))


def _lead(view: View, split: str, own: float, rival: tuple[str, float]) -> Estimate:
    """The winner's improvement over a baseline, unbounded where no error is known.

    Both scores come from the same rows, so their errors partly cancel. Where the rows were not
    compared one by one that cannot be counted on, and the interval is wider than it need be; then
    it holds for another network of the same configuration too.
    """
    name, value = rival
    difference = view.sign * (own - value)
    row = next((row for row in _baselines(view) if row.get("name") == name), {})
    paired = number((row.get("paired_error") or {}).get(view.metric))
    if split == "test" and math.isfinite(paired):
        return with_error(difference, paired, math.inf)
    errors = [
        view.sampling_error(own, split),
        view.sampling_error(value, split, own=False),
    ]
    if not all(math.isfinite(error) for error in errors):
        return Estimate(difference, -math.inf, math.inf)
    seeds = view.seed_std if math.isfinite(view.seed_std) else 0.0
    return with_error(difference, math.hypot(*errors, seeds), math.inf)


def _others(view: View, split: str, own: float, rivals: list[tuple[str, float]]) -> str:
    """Warn of a trivial baseline that is not clearly beaten; name the plain ones otherwise."""
    close = [
        name
        for name, value in rivals
        if any(word in name.lower() for word in _TRIVIAL)
        and not _lead(view, split, own, (name, value)).low > 0
        and math.isfinite(_lead(view, split, own, (name, value)).low)
    ]
    if close:
        return f" It is not clearly better than {listed(close)}: little was learned."
    return ""
