"""Is it overfitting, and what helps: the gap between training and validation, and regularisers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, TIE, Answer, Verdict
from thalweg.evidence.rates import basins
from thalweg.evidence.statistics import (
    ALPHA,
    Estimate,
    holm,
    paired_difference,
    welch_difference,
    with_error,
)
from thalweg.evidence.view import (
    Candidate,
    View,
    candidate_ids,
    config_key,
    ids,
    listed,
    number,
    plain,
    short,
)

GAP_QUESTION = "Is it overfitting?"
HELP_QUESTION = "What helps against overfitting?"
REGULARISERS = (
    "dropout", "weight_decay", "l1", "l2", "label_smoothing", "mixup", "input_noise",
    "augmentation", "ema",
)  # fmt: skip
"""The hyperparameters whose strength is looked at, each None or 0 where it is off."""
_ADVICE = {
    "early_stopping": (
        "Train for fewer epochs, or let the rate fall sooner.",
        "Train to the end: the last weights are as good as any.",
    ),
    "smaller_model": (
        "Take the smaller network, and try a smaller one still.",
        "Keep the width; a larger one may be better still.",
    ),
}
_SMALL_SHARE = 0.05  # of the winner's lead over the weakest baseline: a gap too small to matter
_MIN_SIDE = 6  # trials on either side of a regulariser's split


def gap_of(view: View, record: Mapping[str, Any]) -> float:
    """How much better the metric is on training rows than on validation rows, or NaN."""
    return view.sign * (view.value(record, "train") - view.value(record, "validation"))


def gap_estimate(view: View) -> Estimate:
    """The winner's gap, averaged over its confirming seeds.

    Its error has two sources: the seeds, and the sampling of the validation rows.
    """
    gaps = [gap_of(view, record) for record in view.winner_replicates]
    gaps = sorted(gap for gap in gaps if math.isfinite(gap))
    if not gaps:
        return Estimate(math.nan, -math.inf, math.inf)
    mean = float(np.mean(gaps))
    score = number((view.winner or {}).get("score"))
    sampling = view.sampling_error(score, "validation")
    if len(gaps) > 1:
        seeds = float(np.std(gaps, ddof=1)) / math.sqrt(len(gaps))
        if math.isfinite(sampling) and sampling > 0:
            # Welch and Satterthwaite: the rows' error is known, the seeds' has few degrees.
            variance = seeds**2 + sampling**2
            df = math.inf if seeds == 0 else variance**2 / (seeds**4 / (len(gaps) - 1))
            return with_error(mean, math.sqrt(variance), df)
        return with_error(mean, seeds, len(gaps) - 1)
    if math.isfinite(sampling) and sampling > 0:
        return with_error(mean, sampling, math.inf)
    return Estimate(mean, -math.inf, math.inf)


def answer_gap(view: View) -> list[Answer]:
    """Whether the winner does better on the rows it was trained on than on the others."""
    if view.winner is None:
        return []
    gap = gap_estimate(view)
    if not math.isfinite(gap.value):
        return []
    known = math.isfinite(gap.low)
    margin = max(view.margin, _SMALL_SHARE * _skill(view))
    scores = (
        f"training {view.say(_mean(view, 'train'))}, validation "
        f"{view.say(_mean(view, 'validation'))}"
    )
    bounds = f" ({view.say_range(gap.interval)})" if known else ""
    course, rises = _course(view)
    verdict: Verdict
    if known and gap.low > 0:
        verdict = SUPPORTED
        degree = "A little" if gap.within(margin) else "Yes"
        claim = f"{degree}: {view.unit} is {view.say(gap.value)} better in training{bounds}"
        advice = (
            "More regularisation or more rows may help; see what helped below."
            if degree == "Yes"
            else "The gap is too small to be worth much effort."
        )
    elif known and gap.within(margin):
        verdict = TIE
        claim = f"Hardly: the gap is {view.say(gap.value)}{bounds}, too small to matter"
        advice = "Room for a larger model or longer training, rather than for regularisation."
    else:
        verdict = NOT_ENOUGH
        claim = f"The gap is {view.say(gap.value)}{bounds}, which these rows cannot tell from none"
        if not known:
            claim = f"The gap is {view.say(gap.value)} in one run, with no measure of its error"
        advice = "Confirm over more seeds, or hold out more validation rows."
    if rises and verdict != SUPPORTED:
        advice = "The loss says what the metric does not yet: stop early, or regularise more."
    return [
        Answer(
            GAP_QUESTION,
            f"{claim}: {scores}.{course}",
            gap.value,
            gap.interval if known else None,
            f"{view.unit}, training better than validation",
            verdict,
            advice,
            ids(view.winner_replicates),
        )
    ]


def _mean(view: View, split: str) -> float:
    values = [view.value(record, split) for record in view.winner_replicates]
    values = sorted(value for value in values if math.isfinite(value))
    return float(np.mean(values)) if values else math.nan


def _skill(view: View) -> float:
    """The winner's lead over the weakest baseline: what the task has to give."""
    own = number((view.winner or {}).get("score"))
    rows = view.summary.get("baselines") or []
    values = [view.value(row, "validation") for row in rows if isinstance(row, Mapping)]
    leads = [view.sign * (own - value) for value in values if math.isfinite(value)]
    return max([lead for lead in leads if math.isfinite(lead)], default=0.0)


def _course(view: View) -> tuple[str, bool]:
    """Whether the winner's validation loss turned up again, as a sentence and a fact."""
    curve = (view.winner or {}).get("curve") or {}
    steps = [number(step) for step in curve.get("step") or []]
    losses = np.array([number(loss) for loss in curve.get("validation_loss") or []])
    if len(losses) < 4 or len(steps) != len(losses) or not np.isfinite(losses).any():
        return "", False
    lowest = int(np.nanargmin(losses))
    tail = losses[-max(1, len(losses) // 5) :]
    if not np.isfinite(tail).any() or losses[lowest] <= 0:
        return "", False
    rise = float(np.nanmean(tail)) / float(losses[lowest]) - 1
    if rise > 0.05 and lowest < len(losses) - len(tail):
        return (
            f" Its validation loss was lowest at step {short(steps[lowest], 6)} of "
            f"{short(steps[-1], 6)} and {rise:.0%} higher at the end; the weights kept are from "
            f"step {short(number((view.winner or {}).get('best_step')), 6)}.",
            True,
        )
    return " Its validation loss did not turn up again before the end.", False


@dataclass(frozen=True)
class Effect:
    """What more of a regulariser went with.

    Args:
        name: the hyperparameter.
        phrase: the two sides that were compared.
        estimate: improvement of the metric with more of it.
        paired: whether pairs of trials that differ in nothing else were compared.
        counts: trials with more and with less of it.
        trials: their ids.
    """

    name: str
    phrase: str
    estimate: Estimate
    paired: bool
    counts: tuple[int, int]
    trials: tuple[int, ...]


def regulariser_effects(view: View) -> list[Effect]:
    """The effect of each regulariser that varied, the surest way that the trials allow.

    Best is the winner trained again with nothing else changed (``summary["ablations"]``), then
    matched pairs of trials where there are three. Otherwise the mean scores of the trials with more
    and with less of it are compared, among the explored trials that ran to the end at a learning
    rate near their optimizer's basin: rates that fail whatever the regulariser would only add
    noise. Those trials differ in other settings too, so that is an association.
    """
    effects = [*_ablations(view), *_early_stopping(view)]
    measured = {effect.name for effect in effects}
    comparable = _comparable(view)
    for name in REGULARISERS:
        if name in measured:
            continue
        effect = _paired_effect(view, name) or _associated_effect(view, name, comparable)
        if effect is not None:
            effects.append(effect)
    return effects


_PHRASES = {
    "without": "with {} against without",
    "with": "with some {} against without",
    "half": "with half the width against the winner's",
}


def _ablations(view: View) -> Iterator[Effect]:
    """What the winner is worth without one of its regularisers, with one more, or at half size."""
    groups: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for entry in view.summary.get("ablations") or ():
        if not isinstance(entry, Mapping):
            continue
        winner, score = number(entry.get("winner")), number(entry.get("score"))
        if math.isfinite(winner) and math.isfinite(score):
            key = (str(entry.get("name")), str(entry.get("change")))
            row = (view.sign * winner, view.sign * score, int(number(entry.get("trial"))))
            groups.setdefault(key, []).append(row)
    for (name, change), rows in groups.items():
        if len(rows) < 2 or change not in _PHRASES:
            continue
        winner, score, trials = zip(*rows, strict=True)
        pair = (winner, score) if change == "without" else (score, winner)
        yield Effect(
            name, _PHRASES[change].format(plain(name)), paired_difference(*pair), True,
            (len(rows), len(rows)), tuple(sorted(trials)),
        )  # fmt: skip


def _early_stopping(view: View) -> Iterator[Effect]:
    """What the weights of the best moment are worth against the last ones.

    The moment is chosen on the curves of the other seeds, so that a lucky moment counts for
    nothing.
    """
    curves, chosen = [], []
    for record in view.winner_replicates:
        values = [number(v) for v in (record.get("curve") or {}).get("validation") or []]
        if len(values) >= 4 and all(map(math.isfinite, values)):
            curves.append(view.sign * np.array(values))
            chosen.append(record)
    if len(curves) < 3 or len({len(curve) for curve in curves}) > 1:
        return
    table = np.array(curves)
    others = (table.sum(axis=0) - table) / (len(table) - 1)
    stopped = table[np.arange(len(table)), others.argmax(axis=1)]
    yield Effect(
        "early_stopping", "stopped at the best moment against those trained to the end",
        paired_difference(stopped, table[:, -1]), True, (len(table), len(table)), ids(chosen),
    )  # fmt: skip


def _strength(config: Mapping[str, Any], name: str) -> float:
    value = config.get(name)
    if isinstance(value, bool) or value is None:
        return float(bool(value))
    return number(value)


def _paired_effect(view: View, name: str) -> Effect | None:
    groups: dict[str, dict[bool, list[Mapping[str, Any]]]] = {}
    for record in view.networks:
        config = record.get("config") or {}
        strength = _strength(config, name)
        if name not in config or not math.isfinite(strength):
            continue
        if record.get("status") == "completed" and math.isfinite(view.goodness(record)):
            rest = {key: value for key, value in config.items() if key != name}
            rest |= {"\0seed": record.get("seed"), "\0fold": record.get("fold")}
            rest |= {"\0phase": record.get("phase"), "\0steps": record.get("steps")}
            groups.setdefault(config_key(rest), {}).setdefault(strength > 0, []).append(record)
    pairs = [group for group in groups.values() if len(group) == 2]
    if len(pairs) < 3:
        return None
    on = [float(np.mean([view.goodness(row) for row in pair[True]])) for pair in pairs]
    off = [float(np.mean([view.goodness(row) for row in pair[False]])) for pair in pairs]
    rows = [row for pair in pairs for side in pair.values() for row in side]
    return Effect(
        name, f"with {plain(name)} against without", paired_difference(on, off), True,
        (len(pairs), len(pairs)), ids(rows),
    )  # fmt: skip


def _comparable(view: View) -> list[Candidate]:
    ranges = {basin.optimizer: (basin.low / 3.2, basin.high * 3.2) for basin in basins(view)}
    finished = [c for c in view.candidates if c.completed and math.isfinite(c.goodness)]

    def near(candidate: Candidate) -> bool:
        rate = number(candidate.config.get("learning_rate"))
        low, high = ranges.get(str(candidate.config.get("optimizer", "")), (0.0, math.inf))
        return not math.isfinite(rate) or low <= rate <= high

    close = [candidate for candidate in finished if near(candidate)]
    return close if len(close) >= 2 * _MIN_SIDE else finished


def _associated_effect(view: View, name: str, comparable: Sequence[Candidate]) -> Effect | None:
    varied = [
        (strength, candidate)
        for candidate in comparable
        if name in candidate.config and math.isfinite(strength := _strength(candidate.config, name))
    ]
    if len(varied) < 2 * _MIN_SIDE:
        return None
    strengths = np.array([strength for strength, _ in varied])
    off = float(np.mean(strengths == 0))
    if 0.2 <= off <= 0.8:
        cut, phrase = 0.0, f"with {plain(name)} against without"
    else:
        cut = float(np.median(strengths))
        phrase = f"with {plain(name)} above {short(cut, 2)} against the rest"
    more = [c for strength, c in varied if strength > cut]
    less = [c for strength, c in varied if strength <= cut]
    if min(len(more), len(less)) < _MIN_SIDE:
        return None
    estimate = welch_difference([c.goodness for c in more], [c.goodness for c in less])
    return Effect(
        name, phrase, estimate, False, (len(more), len(less)), candidate_ids([*more, *less])
    )


def answer_help(view: View) -> list[Answer]:
    """Which regularisers went with better or worse validation scores, Holm-corrected."""
    effects = regulariser_effects(view)
    if not effects:
        return []
    adjusted = holm([effect.estimate.p for effect in effects])
    ranked = sorted(
        zip(effects, adjusted, strict=True), key=lambda pair: (pair[1], pair[0].estimate.p)
    )
    clear = [effect for effect, p in ranked if p < ALPHA]
    shown = clear[0] if clear else ranked[0][0]
    value = shown.estimate.value
    counts = (
        f"{shown.counts[0]} matched pairs"
        if shown.paired
        else f"{shown.counts[0]} against {shown.counts[1]} trials"
    )
    direction = "better" if value >= 0 else "worse"
    body = (
        f"trials {shown.phrase} scored {view.say(abs(value))} {direction} in validation "
        f"({view.say_range(shown.estimate.interval)} for the improvement; {counts})"
    )
    kind = (
        "This is a paired effect: nothing else differed."
        if shown.paired
        else "This is an association: those trials differ in other settings too."
    )
    names = [plain(effect.name) for effect in effects]
    verdict: Verdict
    if clear:
        verdict = SUPPORTED
        if shown.paired:
            verb = "helped" if value > 0 else "did harm"
        else:
            verb = f"went with {direction} scores"
        claim = f"{plain(shown.name).capitalize()} {verb}: {body}. {kind}"
        good = [plain(e.name) for e in clear[1:] if e.estimate.value > 0]
        bad = [plain(e.name) for e in clear[1:] if e.estimate.value < 0]
        claim += f" Also better: {listed(good)}." if good else ""
        claim += f" Also worse: {listed(bad)}." if bad else ""
        if shown.name in _ADVICE:
            advice = _ADVICE[shown.name][value <= 0]
        elif value > 0:
            advice = f"Keep {plain(shown.name)} in the space and give its upper part more trials."
        else:
            advice = f"Lower {plain(shown.name)}, or leave it out."
    elif all(effect.estimate.within(view.margin) for effect in effects):
        verdict = TIE
        claim = f"Nothing that matters came from {listed(names)}. The largest: {body}. {kind}"
        advice = "Leave them at their defaults; look for gains elsewhere."
    else:
        verdict = NOT_ENOUGH
        claim = f"No clear effect of {listed(names)}. The largest: {body}. {kind}"
        if shown.estimate.excludes_zero:
            claim += f" Alone it would pass; among the {len(effects)} looked at, it may be luck."
        advice = (
            "If it matters, an experiment of its own tells: thalweg compare --over regularisation."
        )
    return [
        Answer(
            HELP_QUESTION, claim, value, shown.estimate.interval,
            f"{view.unit}, improvement {shown.phrase}", verdict, advice, shown.trials,
        )
    ]  # fmt: skip


def answer_overfitting(view: View) -> list[Answer]:
    """Both answers about overfitting."""
    return [*answer_gap(view), *answer_help(view)]
