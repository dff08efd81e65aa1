"""Which hyperparameters matter: their share in what parts the best trials from the rest."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, Answer
from thalweg.evidence.view import Candidate, View, candidate_ids, listed, number, plain

QUESTION = "Which settings matter?"
MIN_TRIALS = 24
TOP = 0.2
"""The share of the Configs that counts as the best."""

HALVES = 16
PERMUTATIONS = 20
"""A share above all of so many shuffles has a p-value below 1/21."""

_MOST_CANDIDATES = 256
_RANDOM_SEED = 20_240_229


@dataclass(frozen=True)
class Importance:
    """How much one hyperparameter decides.

    Args:
        name: of the hyperparameter.
        share: of the importance of all, 0 to 1.
        low: lower end of its 95 % interval.
        high: upper end.
        real: whether no shuffle of the scores gave any hyperparameter so large a share of the
            divergence.
    """

    name: str
    share: float
    low: float
    high: float
    real: bool

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "name": self.name,
            "share": self.share,
            "low": self.low,
            "high": self.high,
            "real": self.real,
        }


def importances(
    records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the importance of every hyperparameter that varied, the largest first.

    PED-ANOVA, as Optuna computes it: how far the distribution of a hyperparameter among the best
    fifth of the Configs is from its distribution among all. Diverged and otherwise failed Configs
    are left out (that a rate of 10 fails says nothing about rates worth trying). Intervals come
    from random halves of the Configs, whose spread is that of the whole estimate; whether a share
    is more than chance from shuffled scores. Source: Watanabe, Bansal and Hutter, "PED-ANOVA:
    Efficiently quantifying hyperparameter importance in arbitrary subspaces" (2023).

    Args:
        records: trial records.
        summary: the run's summary.

    Returns:
        ``[{"name", "share", "low", "high", "real"}]``; empty with fewer than 24 usable Configs.
    """
    view = View([dict(row) for row in records], dict(summary))
    return [entry.to_dict() for entry in _importances(view)]


def _importances(view: View) -> list[Importance]:
    usable = sorted(
        (c for c in view.all_candidates if math.isfinite(c.goodness)), key=lambda c: c.trials
    )
    usable = usable[:: max(1, math.ceil(len(usable) / _MOST_CANDIDATES))]
    if len(usable) < MIN_TRIALS or len({c.goodness for c in usable}) < 3:
        return []
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            return _measured(usable, optuna)
        finally:
            optuna.logging.set_verbosity(verbosity)


def _measured(usable: Sequence[Candidate], optuna: Any) -> list[Importance]:
    columns = _columns(usable, optuna)
    if not columns:
        return []
    study = optuna.create_study(direction="minimize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={n: values[i] for n, (_, values) in columns.items() if i in values},
                distributions={n: domain for n, (domain, values) in columns.items() if i in values},
                value=-candidate.goodness,
            )
            for i, candidate in enumerate(usable)
        ]
    )
    loss = -np.array([candidate.goodness for candidate in usable])
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP)
    names = list(columns)

    def evaluate(values: np.ndarray) -> np.ndarray:
        # A trial whose value is not finite is left out.
        found = optuna.importance.get_param_importances(
            study,
            evaluator=evaluator,
            params=names,
            target=lambda trial: float(values[trial.number]),
            normalize=False,
        )
        return np.array([max(float(found[name]), 0.0) for name in names])

    def shares(raw: np.ndarray) -> np.ndarray:
        return raw / raw.sum() if raw.sum() > 0 else raw

    rng = np.random.default_rng(_RANDOM_SEED)
    raw = evaluate(loss)
    null = max(float(evaluate(rng.permutation(loss)).max()) for _ in range(PERMUTATIONS))
    halves = []
    for _ in range(HALVES):
        kept = rng.permutation(len(loss)) < len(loss) / 2
        halves.append(shares(evaluate(np.where(kept, loss, np.inf))))
    # The variance over random halves is that of the whole, (n - d)/d = 1.
    spread = np.std(halves, axis=0, ddof=1)
    whole = shares(raw)
    found = [
        Importance(
            name,
            float(whole[i]),
            float(max(0.0, whole[i] - 1.96 * spread[i])),
            float(min(1.0, whole[i] + 1.96 * spread[i])),
            bool(raw[i] > null),
        )
        for i, name in enumerate(names)
    ]
    return sorted(found, key=lambda entry: (-entry.share, entry.name))


def _columns(usable: Sequence[Candidate], optuna: Any) -> dict[str, tuple[Any, dict[int, Any]]]:
    """Return each varied hyperparameter's distribution and its values by place."""
    columns: dict[str, tuple[Any, dict[int, Any]]] = {}
    for name in sorted({name for candidate in usable for name in candidate.config}):
        values = {i: c.config[name] for i, c in enumerate(usable) if name in c.config}
        numbers = [number(value) for value in values.values()]
        distinct = set(map(repr, values.values()))
        if len(distinct) < 2:
            continue
        if all(map(math.isfinite, numbers)) and len(distinct) > 6:
            low, high = min(numbers), max(numbers)
            # Drawn on a logarithmic scale, most values crowd at the low end.
            log = low > 0 and float(np.median(numbers)) - low < 0.2 * (high - low)
            domain = optuna.distributions.FloatDistribution(low, high, log=log)
            columns[name] = domain, {i: float(value) for i, value in values.items()}
        else:
            choices = tuple(sorted(distinct))
            domain = optuna.distributions.CategoricalDistribution(choices)
            columns[name] = domain, {i: repr(value) for i, value in values.items()}
    return columns


def answer_importance(view: View) -> list[Answer]:
    """Which hyperparameters part the best trials from the rest, read from the summary."""
    entries = view.summary.get("importance")
    if not isinstance(entries, (list, tuple)) or not entries:
        return []
    found = [entry for entry in entries if isinstance(entry, Mapping)]
    real = [entry for entry in found if entry.get("real")]
    rest = [plain(entry["name"]) for entry in found if not entry.get("real")]
    trials = candidate_ids(c for c in view.all_candidates if math.isfinite(c.goodness))
    first = found[0]

    def said(entry: Mapping[str, Any]) -> str:
        low, high = number(entry.get("low")), number(entry.get("high"))
        return f"{plain(entry['name'])} {number(entry.get('share')):.0%} ({low:.0%} to {high:.0%})"

    if real:
        claim = (
            f"What parts the best fifth of the configurations from the rest: "
            f"{listed([said(entry) for entry in real])}."
        )
        if rest:
            claim += f" Of {listed(rest)} nothing can be told from chance."
        advice = f"Spend the next trials on {listed([plain(e['name']) for e in real[:3]])}."
    else:
        claim = (
            f"No setting parts the best fifth of the configurations from the rest by more than "
            f"chance; the largest share: {said(first)}."
        )
        advice = "More trials would tell; until then any of the good ones will do."
    return [
        Answer(
            QUESTION, claim, number(first.get("share")),
            (number(first.get("low")), number(first.get("high"))),
            f"share of {plain(first['name'])} in the importance of all settings",
            SUPPORTED if real else NOT_ENOUGH, advice, trials,
        )
    ]  # fmt: skip
