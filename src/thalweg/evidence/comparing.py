"""The answers of a comparison: which is best, how easily tuned, how fast, and what went wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, TIE, Answer, Verdict
from thalweg.evidence.comparison import FEW_TRIALS, TARGETS, Experiment, Pair, interaction
from thalweg.evidence.statistics import ALPHA, Estimate, compare_best_of, wilson
from thalweg.evidence.trouble import position
from thalweg.evidence.view import View, listed, number, plain, short

_SHOWN_TARGET = TARGETS.index(0.95)


def comparison_answers(
    records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> list[Answer]:
    """Answer the question that a comparison was made for, and those that come with it.

    Args:
        records: trial records.
        summary: of the comparison; ``summary["comparison"]`` is its protocol.

    Returns:
        The answers; the first one is the question's own.
    """
    experiment = Experiment(View([dict(row) for row in records], dict(summary)))
    asked = (
        answer_best, answer_interaction, answer_tuning, answer_speed, answer_failures, answer_edges,
    )  # fmt: skip
    return [answer for ask in asked for answer in ask(experiment)]


def question_of(experiment: Experiment) -> str:
    """The comparison's question as a person asks it."""
    return f"Which {' and '.join(map(plain, experiment.factors)) or 'arm'}?"


def answer_best(experiment: Experiment) -> list[Answer]:
    """Which arm is best, told from which others, and from which not."""
    view, arms, judged = experiment.view, experiment.arms, experiment.judged
    question = question_of(experiment)
    if not judged:
        return [
            Answer(
                question,
                f"Nothing can be said: no arm of {len(arms)} has a score under every seed.",
                advice="Look for what failed: rates, the data, or a budget that was too short.",
                trials=_ids(experiment, range(len(arms))),
            )
        ]
    best = arms[judged[0]]
    failed = [arm.name for arm in arms if not arm.complete]
    lost = f" No score under every seed: {listed(failed)}." if failed else ""
    where = _where(experiment)
    score = view.say(view.sign * best.mean)
    if len(judged) < 2 or not experiment.pairs:
        why = "it is the only one with a score" if len(judged) < 2 else "one seed tells no error"
        return [
            Answer(
                question,
                f"{best.name} did best with {view.unit} {score} on {where}, but {why}.{lost}",
                advice="Give a longer budget, or more seeds.",
                trials=_ids(experiment, judged),
            )
        ]
    own = [pair for place in judged[1:] if (pair := experiment.pair(judged[0], place)) is not None]
    lead = own[0]
    open_pairs = [pair for pair in own if pair.verdict != SUPPORTED]
    beaten = [arms[pair.second].name for pair in own if pair.verdict == SUPPORTED]
    second = arms[lead.second].name
    seeds = len(best.confirmed)
    detail = (
        f"{view.unit} {score} on {where} (mean of {seeds} seeds), {view.say(lead.estimate.value)} "
        f"better than {second} ({view.say_range(lead.estimate.interval)})"
    )
    verdict: Verdict
    if not open_pairs:
        verdict = SUPPORTED
        claim = f"{best.name} is best: {detail}."
        advice = f"Use {best.name}."
        beaten = beaten[1:]
    else:
        level = [arms[pair.second].name for pair in open_pairs if pair.verdict == TIE]
        unclear = [arms[pair.second].name for pair in open_pairs if pair.verdict != TIE]
        if not unclear:
            verdict = TIE
            claim = (
                f"{best.name} and {listed(level)} are level: {best.name} has {detail}; the "
                f"difference is smaller than the {view.say(experiment.margin)} that could matter "
                "here."
            )
            advice = f"Any of {listed([best.name, *level])} will do; take the one you know."
        else:
            verdict = NOT_ENOUGH
            claim = f"{best.name} leads with {detail}, but cannot be told from {listed(unclear)}"
            claim += f" and is level with {listed(level)}." if level else "."
            claim += _why_open([pair for pair in open_pairs if pair.verdict != TIE])
            advice = f"Take {best.name} for now; more trials or more seeds may settle it."
    if beaten:
        claim += f" It beats {listed(beaten)}."
    cost = _costs(experiment, judged)
    return [
        Answer(
            question, claim + lost + cost, lead.estimate.value, lead.estimate.interval,
            f"{view.unit}, improvement of {best.name} over {second}, paired by seed",
            verdict, advice, _ids(experiment, judged),
        )
    ]  # fmt: skip


def _why_open(pairs: Sequence[Pair]) -> str:
    """Say what keeps a lead from counting: the seeds and rows, or the luck of the search."""
    shaky = [p for p in pairs if p.p < ALPHA and p.estimate.low > 0 and p.reversal >= ALPHA]
    if not shaky:
        return ""
    worst = max(pair.reversal for pair in shaky)
    return (
        f" The seeds alone would tell them apart, but the search was short: with other points the "
        f"order would turn in up to {worst:.0%} of the cases."
    )


def _where(experiment: Experiment) -> str:
    count = experiment.view.rows(experiment.split)
    return f"{count:,} {experiment.split} rows" if count else f"the {experiment.split} rows"


def _ids(experiment: Experiment, places: Any) -> tuple[int, ...]:
    return tuple(
        sorted(
            {
                i
                for place in places
                for i in (
                    *experiment.arms[place].explored_ids,
                    *experiment.arms[place].confirmed_ids,
                )
            }
        )
    )


def _costs(experiment: Experiment, judged: Sequence[int]) -> str:
    """Say what the arms cost where their networks differ."""
    arms = [experiment.arms[place] for place in judged]
    sizes = {arm.num_params for arm in arms if math.isfinite(arm.num_params)}
    if len(sizes) < 2:
        return ""
    parts = [
        f"{arm.name} {arm.num_params:,.0f} parameters, {short(arm.seconds, 2)} s a training"
        for arm in arms[:3]
        if math.isfinite(arm.num_params) and math.isfinite(arm.seconds)
    ]
    return f" Cost: {'; '.join(parts)}." if parts else ""


def answer_interaction(experiment: Experiment) -> list[Answer]:
    """For a pair of factors: whether the effect of one depends on the other."""
    if len(experiment.factors) != 2:
        return []
    first, second = map(plain, experiment.factors)
    question = f"Do {first} and {second} interact?"
    found = interaction(experiment)
    if found is None:
        return [
            Answer(
                question,
                "Not known: an arm has no score under every seed, or there is only one seed.",
                advice="Leave out what fails, or give more seeds.",
                trials=_ids(experiment, range(len(experiment.arms))),
            )
        ]
    view = experiment.view
    where = f"{found.cell[0]} with {found.cell[1]}"
    more = "better" if found.largest.value >= 0 else "worse"
    size = (
        f"{where} is {view.say(abs(found.largest.value))} {more} than the two effects added up "
        f"({view.say_range(found.largest.interval)})"
    )
    verdict: Verdict
    if found.p < ALPHA and found.largest.excludes_zero:
        verdict = SUPPORTED
        claim = f"Yes: {size}."
        if found.reverses:
            claim += f" Which {first} is best even depends on the {second}."
            advice = f"Choose {first} and {second} together."
        else:
            advice = f"Look at the combinations before choosing {first} or {second} alone."
    elif found.largest.within(experiment.margin):
        verdict = TIE
        claim = f"No: their effects add up. The largest departure: {size}."
        advice = f"Choose {first} and {second} one after the other."
    else:
        verdict = NOT_ENOUGH
        claim = f"Not clear. The largest departure from adding their effects up: {size}."
        advice = "More seeds would tell."
    return [
        Answer(
            question, claim, found.largest.value, found.largest.interval,
            f"{view.unit}, improvement of {where} beyond both effects added",
            verdict, advice, _ids(experiment, range(len(experiment.arms))),
        )
    ]  # fmt: skip


def answer_tuning(experiment: Experiment) -> list[Answer]:
    """What each arm gains from a search of all its trials over one of five."""
    num = experiment.trials_each
    if num <= FEW_TRIALS or len(experiment.judged) < 2:
        return []
    view = experiment.view
    places = experiment.judged
    few = {place: experiment.best_of_few(place) for place in places}
    full = {place: experiment.best_of_all(place) for place in places}
    gain = {place: full[place] - few[place] for place in places}
    order = sorted(places, key=lambda place: -few[place])
    easiest, hardest = order[0], max(places, key=lambda place: gain[place])
    name = {place: experiment.arms[place].name for place in places}

    def said(place: int) -> str:
        return (
            f"{name[place]} reaches {view.say(view.sign * few[place])} with the best of "
            f"{FEW_TRIALS} trials and {view.say(view.sign * full[place])} with that of {num}"
        )

    runner = order[1]
    lead = compare_best_of(
        experiment.filled[easiest], experiment.filled[runner], min(FEW_TRIALS, num - 1)
    )
    clear = lead.p < ALPHA / (len(places) - 1) and lead.low > 0
    claim = f"Least: {said(easiest)}."
    if hardest != easiest:
        claim += f" Most: {said(hardest)}."
    turned = max(places, key=lambda place: full[place])
    if turned != easiest:
        claim += (
            f" With little tuning {name[easiest]} is ahead, with all of it {name[turned]}: the "
            "answer depends on the budget."
        )
    verdict: Verdict = SUPPORTED if clear else TIE if lead.within(view.margin) else NOT_ENOUGH
    return [
        Answer(
            "How much tuning does each need?", claim, lead.value, lead.interval,
            f"{view.unit}, best of {FEW_TRIALS}, {name[easiest]} less {name[runner]}"
            if view.direction == "maximize"
            else f"{view.unit}, best of {FEW_TRIALS}, {name[runner]} less {name[easiest]}",
            verdict,
            f"With few trials to spare take {name[easiest]}."
            if clear
            else f"Over a short search nothing parts {name[easiest]} from {name[runner]}.",
            _ids(experiment, places),
        )
    ]  # fmt: skip


def answer_speed(experiment: Experiment) -> list[Answer]:
    """Which arm's best comes near the best result in the fewest steps."""
    if not experiment.targets or len(experiment.judged) < 2:
        return []
    view = experiment.view
    places = experiment.judged
    steps = experiment.steps_to_target[list(places)][:, :, _SHOWN_TARGET]
    target = view.say(view.sign * experiment.targets[_SHOWN_TARGET])
    reached = np.isfinite(steps).mean(axis=1)
    typical = np.where(reached > 0.5, np.median(steps, axis=1), np.inf)
    if not np.isfinite(typical).any():
        return []
    order = sorted(range(len(places)), key=lambda i: (typical[i], i))
    name = [experiment.arms[place].name for place in places]
    fast = order[0]
    seconds = typical[fast] * experiment.step_seconds(places[fast])
    claim = (
        f"{name[fast]} reaches validation {view.unit} {target} in {short(typical[fast], 3)} steps "
        f"({short(seconds, 2)} s), the median of {steps.shape[1]} seeds"
    )
    others = [i for i in order[1:] if math.isfinite(typical[i])]
    never = [name[i] for i in order if not math.isfinite(typical[i])]
    verdict: Verdict = NOT_ENOUGH
    effect: Estimate | None = None
    if others:
        i = others[0]
        claim += f"; {name[i]} needs {short(typical[i], 3)}"
        both = np.isfinite(steps[fast]) & np.isfinite(steps[i])
        if both.sum() >= 2:
            from thalweg.evidence.statistics import t_interval

            logs = np.log2(steps[i][both] / steps[fast][both])
            effect = t_interval(logs)
            if effect.p < ALPHA / len(others) and effect.low > 0 and both.all():
                verdict = SUPPORTED
            elif effect.within(math.log2(1.1)):
                verdict = TIE
    elif never:
        verdict = SUPPORTED if reached[fast] == 1 and not reached[order[1:]].any() else NOT_ENOUGH
    claim += f". Never there in half of the seeds: {listed(never)}." if never else "."
    if effect is not None:
        low, high = (2.0**bound for bound in effect.interval)
        claim += f" Ratio to the next {short(2**effect.value, 3)}" + (
            f" (95 % interval {short(low, 3)} to {short(high, 3)})."
            if math.isfinite(low) and math.isfinite(high)
            else "."
        )
    return [
        Answer(
            "Which is fastest to the target?", claim,
            None if effect is None else 2.0**effect.value,
            None if effect is None or not math.isfinite(effect.low)
            else (2.0**effect.low, 2.0**effect.high),
            "times as many steps of the next",
            verdict,
            f"Where training time is short take {name[fast]}."
            if verdict == SUPPORTED
            else "Choose by the score, not by the speed.",
            _ids(experiment, places),
        )
    ]  # fmt: skip


def answer_failures(experiment: Experiment) -> list[Answer]:
    """The share of each arm's trials that diverged."""
    arms = experiment.arms
    total = sum(len(arm.explored) for arm in arms)
    bad = sum(arm.diverged for arm in arms)
    if not total:
        return []
    share = wilson(bad, total)
    if not bad:
        claim, advice = f"No: all {total} trials stayed finite.", "Nothing to do."
    else:
        worst = sorted(arms, key=lambda arm: -arm.diverged)[:4]
        named = [f"{a.name} {a.diverged} of {len(a.explored)}" for a in worst if a.diverged]
        claim = f"{bad} of {total} trials diverged ({share.value:.0%}): {listed(named)}."
        advice = "They count as failed trials of their arm; lower the top of its range of rates."
    ids = [
        int(row["id"])
        for row in experiment.view.records
        if row.get("status") == "diverged" and isinstance(row.get("id"), int)
    ]
    return [
        Answer(
            "Did runs diverge?", claim, share.value, share.interval, "share of the trials",
            SUPPORTED, advice, tuple(ids),
        )
    ]  # fmt: skip


def answer_edges(experiment: Experiment) -> list[Answer]:
    """Whether the best of an arm lies at an end of a range: then the arm was not tuned fairly."""
    found, checked = [], 0
    for entry, arm in zip(experiment.protocol.get("arms") or (), experiment.arms, strict=False):
        space = entry.get("space") if isinstance(entry, Mapping) else None
        for name, domain in (space or {}).items():
            at = position(domain, arm.config.get(name)) if isinstance(domain, Mapping) else math.nan
            if not math.isfinite(at) or domain.get("choices"):
                continue
            checked += 1
            low_is_off = number(domain.get("low")) == 0
            if at > 0.95 or (at < 0.05 and not low_is_off):
                end = "top" if at > 0.5 else "bottom"
                value = short(number(arm.config.get(name)), 2)
                found.append((arm.name, name, f"{plain(name)} {value} at the {end}"))
    if not checked:
        return []
    question = "Were the ranges wide enough?"
    places = range(len(experiment.arms))
    if not found:
        return [
            Answer(
                question,
                "Yes: the best of every arm lies inside its ranges.",
                verdict=SUPPORTED, advice="Nothing to do.", trials=_ids(experiment, places),
            )
        ]  # fmt: skip
    named = [f"{arm} ({where})" for arm, _, where in found]
    return [
        Answer(
            question,
            f"Perhaps not: the best of {listed(named)} of its range; a wider one might help it.",
            verdict=NOT_ENOUGH,
            advice="Widen these ranges with a space of your own, and compare again.",
            trials=_ids(experiment, places),
        )
    ]
