"""How sure: the finalists over seeds, and what the rows that judged them could show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, TIE, Answer, Verdict
from thalweg.evidence.statistics import ALPHA, SeedComparison, compare_seeds
from thalweg.evidence.view import View, config_key, ids, number

CHOICE_QUESTION = "How sure is the choice?"
NEW_ROWS_QUESTION = "How good will it be on new rows?"


def finalist_table(view: View) -> tuple[list[str], np.ndarray, tuple[int, ...]]:
    """The finalists' scores under the seeds (and folds) that all of them finished.

    Returns:
        Their Config keys, the winner's first and the others by mean; goodness float [K, S]; the
        ids of those trials. S is 0 where no seed is common.
    """
    finished = {
        key: {at: row for at, row in rows.items() if math.isfinite(view.goodness(row))}
        for key, rows in view.finalists.items()
    }
    winner = config_key(view.winner.get("config")) if view.winner is not None else ""
    most = max((len(rows) for rows in finished.values()), default=0)
    # A finalist that lost seeds (diverged, or out of time) must not cost the others theirs.
    kept = {key: rows for key, rows in finished.items() if rows and len(rows) >= most / 2}
    if finished.get(winner):
        kept[winner] = finished[winner]
    common = sorted(set.intersection(*map(set, kept.values())) if kept else set(), key=repr)
    table = {key: [view.goodness(rows[at]) for at in common] for key, rows in kept.items()}
    keys = sorted(table, key=lambda key: (key != winner, -float(np.sum(table[key])), key))
    records = [kept[key][at] for key in keys for at in common]
    scores = np.array([table[key] for key in keys], dtype=float).reshape(len(keys), len(common))
    return keys, scores, ids(records)


def answer_choice(view: View) -> list[Answer]:
    """Whether the winner is really better than the runner-up, over the same seeds."""
    if view.winner is None:
        return []
    keys, scores, trials = finalist_table(view)
    if len(keys) < 2 or scores.shape[1] < 2:
        return [_unconfirmed(view, keys, scores, trials)]
    folds = {at[1] for rows in view.finalists.values() for at in rows if at[1] is not None}
    comparison = compare_seeds(scores, 1 / (len(folds) - 1) if len(folds) > 1 else 0.0)
    lead, chance = comparison.differences[0], comparison.chances[0]
    names = _names(view, keys)
    seeds = f"{comparison.num_seeds} {'seeds and folds' if folds else 'seeds'}"
    detail = (
        f"over {seeds} {names[0]} averages {view.say(view.sign * comparison.means[0])} and "
        f"{names[1]} {view.say(view.sign * comparison.means[1])}, an improvement of "
        f"{view.say(lead.value)} ({view.say_range(lead.interval)})"
    )
    odds = f"The chance that the second is really the better one is {_percent(chance)}."
    verdict: Verdict
    if lead.p < ALPHA and lead.low > 0:
        verdict = SUPPORTED
        claim = f"Sure of the first place: {detail}. {odds}"
        advice = "Keep the winner."
    elif lead.within(view.margin):
        verdict = TIE
        claim = f"The first two are level: {detail}. {odds}"
        advice = "Take the cheaper of the two."
    else:
        verdict = NOT_ENOUGH
        claim = f"Not sure of the first place: {detail}. {odds}"
        advice = "Confirm over more seeds if the difference matters to you."
    claim += _spread(view, comparison) + _failures(view)
    return [
        Answer(
            CHOICE_QUESTION, claim, lead.value, lead.interval,
            f"{view.unit}, improvement of the winner over the runner-up, paired by seed",
            verdict, advice, trials,
        )
    ]  # fmt: skip


def _unconfirmed(
    view: View, keys: list[str], scores: np.ndarray, trials: tuple[int, ...]
) -> Answer:
    winner = view.winner or {}
    own = config_key(winner.get("config"))
    others = [c for c in view.all_candidates if config_key(c.config) != own]
    others = [c for c in others if math.isfinite(c.goodness)]
    lead = math.nan
    if len(keys) == 1 and scores.shape[1] >= 2:
        mean, spread = float(scores[0].mean()), float(scores[0].std(ddof=1))
        claim = (
            f"Only the winner was run over seeds: {view.say(view.sign * mean)} on average over "
            f"{scores.shape[1]}, with a standard deviation of {view.say(spread)}."
        )
        advice = "Confirm the runner-up over the same seeds to know whether it is worse."
        behind = trials
    elif others:
        second = max(others, key=lambda c: c.goodness)
        lead = view.goodness(winner) - second.goodness
        claim = (
            f"Not known: the first place rests on one run, {view.say(lead)} ahead of the second, "
            f"chosen among {len(others) + 1} configurations."
        )
        advice = "Give a budget that lets the finalists run again over seeds."
        behind = tuple(sorted({*ids([winner]), *second.trials}))
    else:
        claim = "Not known: a single configuration gave a usable score."
        advice = "Give a larger budget."
        behind = ids([winner])
    return Answer(
        CHOICE_QUESTION,
        claim + _failures(view),
        lead if math.isfinite(lead) else None,
        None,
        f"{view.unit}, improvement of the winner over the runner-up",
        NOT_ENOUGH,
        advice,
        behind,
    )


def answer_new_rows(view: View) -> list[Answer]:
    """The test score with the interval that the number of test rows allows."""
    if view.winner is None:
        return []
    value = view.value(view.summary, "test")
    if not math.isfinite(value):
        return []
    error = view.sampling_error(value, "test")
    known = math.isfinite(error)
    reach = 1.96 * error
    low, high = value - reach, value + reach
    if view.metric in ("accuracy", "balanced_accuracy", "roc_auc", "f1", "f1_macro"):
        low, high = max(low, 0.0), min(high, 1.0)
    count = view.rows("test")
    on = f"{count} test rows" if count else "the test rows"
    claim = f"{view.unit.capitalize()} {view.say(value)} on {on}, which chose nothing"
    claim += f" ({view.say_range((low, high))})." if known else "."
    validation = _chosen_value(view)
    advice = "Expect this of rows like these; a shift in the data can cost more than the interval."
    if math.isfinite(validation):
        drop = view.sign * (validation - value)
        claim += f" Validation had promised {view.say(validation)}."
        if known and drop > 2 * reach:
            claim += " The difference is more than chance explains."
            advice = "Check that validation and test rows come from the same source and period."
    if not known:
        advice = "More test rows would tell more; no interval is known for this metric."
    return [
        Answer(
            NEW_ROWS_QUESTION, claim, value, (low, high) if known else None,
            f"{view.unit} on test rows", SUPPORTED if known else NOT_ENOUGH, advice,
            ids([view.winner]),
        )
    ]  # fmt: skip


def answer_certainty(view: View) -> list[Answer]:
    """Both answers about certainty."""
    return [*answer_choice(view), *answer_new_rows(view)]


def _chosen_value(view: View) -> float:
    value = view.value(view.summary, "validation")
    return value if math.isfinite(value) else number((view.winner or {}).get("score"))


def _names(view: View, keys: list[str]) -> list[str]:
    """Short names of finalists: structure and optimizer, told apart by trial where equal."""
    names = []
    for key in keys:
        row: Mapping[str, Any] = next(iter(view.finalists[key].values()))
        config = row.get("config") or {}
        parts = [str(row.get("structure") or "network")]
        if config.get("optimizer"):
            parts.append(f"with {config['optimizer']}")
        names.append(" ".join(parts))
    if len(names) > 1 and names[0] == names[1]:
        names[:2] = [f"the winner ({names[0]})", "the second (of the same structure)"]
    return names


def _spread(view: View, comparison: SeedComparison) -> str:
    text = f" One configuration varies by {view.say(comparison.seed_std)} (standard deviation)"
    text += " from seed to seed"
    trials = _trial_std(view)
    if math.isfinite(trials):
        text += f"; the better half of the configurations by {view.say(trials)} among each other"
    text += "."
    error = view.sampling_error(view.sign * comparison.means[0], "validation")
    if math.isfinite(error) and error > 0:
        text += (
            f" The {view.rows('validation') or ''} validation rows themselves leave every score "
            f"uncertain by ±{view.say(1.96 * error)}."
        ).replace("  ", " ")
    return text


def _trial_std(view: View) -> float:
    """Standard deviation of the better half of the explored Configs that ran to the end."""
    values = sorted(c.goodness for c in view.candidates if c.completed)
    values = [value for value in values if math.isfinite(value)]
    half = values[len(values) // 2 :]
    return float(np.std(half, ddof=1)) if len(half) >= 4 else math.nan


def _failures(view: View) -> str:
    replicates = view.winner_replicates
    failed = sum(not math.isfinite(view.goodness(row)) for row in replicates)
    if failed and len(replicates) > 1:
        return f" {failed} of the winner's {len(replicates)} seeds failed: it is not stable."
    return ""


def _percent(share: float) -> str:
    if share < 0.01:
        return "under 1 %"
    if share > 0.99:
        return "over 99 %"
    return f"{100 * share:.0f} %"
