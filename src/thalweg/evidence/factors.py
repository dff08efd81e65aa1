"""Which loss, optimizer, schedule …: the levels of one hyperparameter at equal budgets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, TIE, Answer
from thalweg.evidence.statistics import ALPHA, Estimate, best_of, compare_best_of, holm
from thalweg.evidence.view import Candidate, View, candidate_ids, listed, short

MIN_TRIALS = 4
"""A level with fewer trials is named, but not judged."""


@dataclass(frozen=True)
class Factor:
    """A choice to be judged.

    Args:
        question: as a person asks it.
        noun: what one level is.
        level: the level of a Config, or None where the choice does not apply to it.
        always: answer even where only one level was tried.
        cost: tell each level's parameters and seconds too.
        over: what ``compare`` calls it; empty where it compares no such thing.
    """

    question: str
    noun: str
    level: Callable[[Candidate], str | None]
    always: bool = False
    cost: bool = False
    over: str = ""


def _named(name: str, prefix: str = "") -> Callable[[Candidate], str | None]:
    def level(candidate: Candidate) -> str | None:
        value = candidate.config.get(name)
        return None if value is None else f"{prefix}{value}"

    return level


def _yes_no(name: str, yes: str, no: str) -> Callable[[Candidate], str | None]:
    def level(candidate: Candidate) -> str | None:
        if name not in candidate.config:
            return None
        return yes if candidate.config[name] else no

    return level


FACTORS: dict[str, Factor] = {
    "model": Factor("Which kind of network?", "kind", _named("model"), cost=True, over="model"),
    "structure": Factor(
        "Which structure?", "structure", lambda candidate: candidate.structure or None, cost=True
    ),
    "loss": Factor("Which loss?", "loss", _named("loss"), over="loss"),
    "optimizer": Factor(
        "Which optimizer?", "optimizer", _named("optimizer"), always=True, over="optimizer"
    ),
    "schedule": Factor("Which schedule?", "schedule", _named("schedule"), over="schedule"),
    "warmup": Factor(
        "Warmup or not?", "choice", _yes_no("warmup", "warmup", "no warmup"), over="warmup"
    ),
    "clip_norm": Factor(
        "Clip gradients or not?",
        "choice",
        _yes_no("clip_norm", "clipping", "no clipping"),
        over="clipping",
    ),
    "activation": Factor(
        "Which activation?", "activation", _named("activation"), over="activation"
    ),
    "normalisation": Factor(
        "Which normalisation?", "normalisation", _named("normalisation"), over="normalisation"
    ),
    "batch_size": Factor(
        "Which batch size?", "batch size", _named("batch_size", "batch size "), over="batch_size"
    ),
}
"""The choices that are answered wherever more than one level was tried."""


@dataclass(frozen=True)
class Level:
    """One level with what its trials reached.

    Args:
        name: the level.
        candidates: its Configs.
        goodness: float [N], failed Configs counted as the worst seen in the run.
        typical_best: mean best of ``m`` of them.
        m: how many trials that is.
    """

    name: str
    candidates: tuple[Candidate, ...]
    goodness: np.ndarray
    typical_best: float = math.nan
    m: int = 1


@dataclass(frozen=True)
class Comparison:
    """The levels of a choice, best first, and the best against each of the others.

    Args:
        levels: those with enough trials, best first.
        few: names of those with too few.
        differences: the best level less each other one.
        adjusted: their p-values by Holm's procedure.
        m: trials a level at which they were compared.
    """

    levels: tuple[Level, ...]
    few: tuple[str, ...]
    differences: tuple[Estimate, ...]
    adjusted: tuple[float, ...]
    m: int


def compare_levels(view: View, factor: Factor) -> Comparison | None:
    """Compare the levels of a choice by their best of m explored trials, m equal for all.

    Args:
        view: the run.
        factor: the choice.

    Returns:
        The comparison, or None where no level was named by any Config.
    """
    groups: dict[str, list[Candidate]] = {}
    for candidate in view.candidates:
        name = factor.level(candidate)
        if name is not None:
            groups.setdefault(name, []).append(candidate)
    if not groups or not math.isfinite(view.worst):
        return None
    counts = [len(group) for group in groups.values()]
    # A level far behind the others in trials would drag the common budget down for all.
    needed = max(MIN_TRIALS, math.ceil(float(np.median(counts)) / 3))
    judged = {name: group for name, group in groups.items() if len(group) >= needed}
    few = tuple(sorted(set(groups) - set(judged)))
    m = max(1, min((len(group) for group in judged.values()), default=2) // 2)
    levels = []
    for name, group in judged.items():
        goodness = view.filled(group)
        level = Level(name, tuple(group), goodness, m=m)
        levels.append(replace(level, typical_best=best_of(goodness, m)))
    levels.sort(key=lambda level: (-level.typical_best, -float(level.goodness.max()), level.name))
    differences = tuple(
        compare_best_of(levels[0].goodness, other.goodness, m) for other in levels[1:]
    )
    adjusted = tuple(float(p) for p in holm([difference.p for difference in differences]))
    return Comparison(tuple(levels), few, differences, adjusted, m)


def answer_factor(view: View, factor: Factor) -> list[Answer]:
    """Answer one choice, or nothing where it was not put to the test."""
    comparison = compare_levels(view, factor)
    if comparison is None:
        return []
    levels = comparison.levels
    if len(levels) + len(comparison.few) < 2:
        return _one_level(factor, levels) if factor.always else []
    if len(levels) < 2:
        return [_too_few(factor, comparison)]
    first, second = levels[0], levels[1]
    lead = comparison.differences[0]
    unclear = [
        level.name
        for level, d in zip(levels[1:], comparison.differences, strict=True)
        if not (d.p < ALPHA and d.low > 0)
    ]
    beaten = [
        level.name
        for level, d, p in zip(levels[1:], comparison.differences, comparison.adjusted, strict=True)
        if p < ALPHA and d.low > 0
    ]
    trials_each = f"{comparison.m} {'trials' if comparison.m > 1 else 'trial'} of each"
    if not unclear and not lead.within(view.margin):
        verdict = SUPPORTED
        claim = (
            f"{first.name} is best: in {trials_each} the best reaches "
            f"{view.say(view.sign * first.typical_best)} on average, {view.say(lead.value)} "
            f"better than {second.name} ({view.say_range(lead.interval)})."
        )
        advice = f"Use {first.name}."
    elif lead.within(view.margin):
        verdict = TIE
        claim = (
            f"{first.name} and {second.name} are level: in {trials_each} their best differ by "
            f"{view.say(lead.value)} ({view.say_range(lead.interval)}), less than the "
            f"{view.say(view.margin)} that could matter here."
        )
        advice = f"Either of {first.name} and {second.name} will do; take the one you know."
    else:
        verdict = NOT_ENOUGH
        claim = (
            f"{first.name} leads, {view.say(lead.value)} ahead of {second.name} in "
            f"{trials_each} ({view.say_range(lead.interval)}), but cannot be told from "
            f"{listed(unclear)}: labels shuffled at random lead as far in "
            f"{_share(max(d.p for d in comparison.differences))} of the cases."
        )
        advice = _more_trials(lead, first, second)
        if factor.over:
            advice += f" An experiment of its own would: thalweg compare --over {factor.over}."
    claim += _with_few(view, levels)
    rest = [name for name in beaten if unclear or name != second.name]
    if rest:
        claim += f" It beats {listed(rest)}."
    if comparison.few:
        claim += f" Too few trials to judge {listed(list(comparison.few))}."
    if factor.cost:
        claim += _costs(first, second)
    return [
        Answer(
            factor.question,
            claim,
            lead.value,
            lead.interval if math.isfinite(lead.low) else None,
            f"{view.unit}, best of {comparison.m}, {first.name} less {second.name}"
            if view.direction == "maximize"
            else f"{view.unit}, best of {comparison.m}, {second.name} less {first.name}",
            verdict,
            advice,
            candidate_ids(candidate for level in levels for candidate in level.candidates),
        )
    ]


def answer_factors(view: View) -> list[Answer]:
    """Answer every choice of ``FACTORS`` that was put to the test."""
    return [answer for factor in FACTORS.values() for answer in answer_factor(view, factor)]


def _one_level(factor: Factor, levels: tuple[Level, ...]) -> list[Answer]:
    if not levels:
        return []
    return [
        Answer(
            factor.question,
            f"Only {levels[0].name} was tried, so there is nothing to compare it with.",
            verdict=NOT_ENOUGH,
            advice=f"Let the space hold more than one {factor.noun}.",
            trials=candidate_ids(levels[0].candidates),
        )
    ]


def _too_few(factor: Factor, comparison: Comparison) -> Answer:
    names = [level.name for level in comparison.levels] + list(comparison.few)
    return Answer(
        factor.question,
        f"Too few trials to compare {listed(sorted(names))}: each needs at least {MIN_TRIALS}.",
        verdict=NOT_ENOUGH,
        advice=f"Give a larger budget, or leave fewer levels of {factor.noun} to choose from.",
        trials=candidate_ids(c for level in comparison.levels for c in level.candidates),
    )


def _more_trials(lead: Estimate, first: Level, second: Level) -> str:
    """Say how many more trials would show a lead of this size, if it is real."""
    reach = (lead.high - lead.low) / 2
    if lead.value > 0 and math.isfinite(reach):
        times = (reach / lead.value) ** 2
        if 1 < times <= 10:
            return (
                f"Take {first.name} for now; about {math.ceil(times)} times as many "
                f"trials of it and {second.name} would settle it, if the lead is real."
            )
    return f"Take {first.name} for now; nothing speaks against {second.name}."


FEW = 5
"""The small budget whose best is told beside that of all trials."""


def _with_few(view: View, levels: tuple[Level, ...]) -> str:
    """Say who is ahead with little tuning, where that is somebody else than with much."""
    if levels[0].m < 2 * FEW:
        return ""
    few = {level.name: best_of(level.goodness, FEW) for level in levels}
    ahead = max(levels, key=lambda level: (few[level.name], level.name))
    if ahead is levels[0] or few[ahead.name] - few[levels[0].name] <= view.margin / 4:
        return ""
    return (
        f" With the best of only {FEW} trials {ahead.name} is ahead, "
        f"{view.say(view.sign * few[ahead.name])} against "
        f"{view.say(view.sign * few[levels[0].name])}: it is easier to tune."
    )


def _costs(first: Level, second: Level) -> str:
    def cost(level: Level) -> str | None:
        params = [c.num_params for c in level.candidates if math.isfinite(c.num_params)]
        seconds = [c.seconds for c in level.candidates if c.completed and c.seconds > 0]
        parts = []
        if params:
            parts.append(f"{int(np.median(params)):,} parameters")
        if seconds:
            parts.append(f"{short(float(np.median(seconds)), 2)} s a full trial")
        return f"{level.name} {', '.join(parts)}" if parts else None

    costs = [text for text in (cost(first), cost(second)) if text]
    return f" Cost: {'; '.join(costs)}." if costs else ""


def _share(p: float) -> str:
    return f"{100 * p:.0f} %" if p >= 0.01 else "under 1 %"
