"""A comparison as tables: one row an arm, one row a pair, ready for CSV, LaTeX and Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.evidence.comparison import FEW_TRIALS, TARGETS, Experiment
from thalweg.evidence.view import View

_TARGET = TARGETS.index(0.95)


def experiment_of(records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> Experiment:
    """Read a comparison from its records and its summary."""
    return Experiment(View([dict(row) for row in records], dict(summary)))


def standings(experiment: Experiment) -> list[dict[str, Any]]:
    """One row for each arm, best first; what is not known is None.

    Returns:
        Rows ``{"rank", "arm", one key for each factor, "trials", "diverged", "seeds", "mean",
        "std" (over seeds, on the rows that judge), "validation", "behind" (the best arm less this
        one), "low", "high" (its interval), "p" (adjusted), "verdict" (against the best),
        "best_of_5", "best_of_all" (of its trials, in validation), "steps" (median to the 95 %
        target), "seconds" (of one), "parameters", "config", "explored", "confirmed" (ids)}``.
    """
    view, rows = experiment.view, []
    for rank, place in enumerate(experiment.order, start=1):
        arm = experiment.arms[place]
        best = experiment.judged[0] if experiment.judged else None
        pair = experiment.pair(best, place) if best is not None and place != best else None
        values = arm.confirmed[np.isfinite(arm.confirmed)]
        steps = math.inf
        if experiment.targets and arm.rows:
            steps = float(np.median(experiment.steps_to_target[place, : len(arm.rows), _TARGET]))
        rows.append(
            {
                "rank": rank,
                "arm": arm.name,
                **dict(zip(experiment.factors, arm.levels, strict=False)),
                "trials": len(arm.explored),
                "diverged": arm.diverged,
                "seeds": int(values.size),
                "mean": _known(view.sign * arm.mean),
                "std": _known(float(np.std(values, ddof=1))) if values.size > 1 else None,
                "validation": _known(view.sign * _mean(arm.validation)),
                "behind": _known(pair.estimate.value) if pair else None,
                "low": _known(pair.estimate.low) if pair else None,
                "high": _known(pair.estimate.high) if pair else None,
                "p": _known(pair.p) if pair else None,
                "verdict": pair.verdict if pair else None,
                f"best_of_{FEW_TRIALS}": _known(view.sign * experiment.best_of_few(place)),
                "best_of_all": _known(view.sign * experiment.best_of_all(place)),
                "steps": _known(steps),
                "seconds": _known(arm.seconds),
                "parameters": _known(arm.num_params),
                "config": dict(arm.config),
                "explored": list(arm.explored_ids),
                "confirmed": list(arm.confirmed_ids),
            }
        )
    return rows


def pair_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """One row for each pair of arms: difference, interval, p, reversal share, verdict."""
    return [
        {
            "better": experiment.arms[pair.first].name,
            "worse": experiment.arms[pair.second].name,
            "difference": _known(pair.estimate.value),
            "low": _known(pair.estimate.low),
            "high": _known(pair.estimate.high),
            "p": _known(pair.estimate.p),
            "p_holm": _known(pair.p),
            "reversal": _known(pair.reversal),
            "verdict": pair.verdict,
        }
        for pair in experiment.pairs
    ]


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
