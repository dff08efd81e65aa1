"""The questions that every study answers, in the order in which a person asks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thalweg.evidence.answer import Answer
from thalweg.evidence.certainty import answer_certainty
from thalweg.evidence.dropping import answer_dropping
from thalweg.evidence.factors import answer_factors
from thalweg.evidence.growth import answer_growth
from thalweg.evidence.importance import answer_importance
from thalweg.evidence.layers import answer_layers
from thalweg.evidence.models import answer_model
from thalweg.evidence.overfitting import answer_overfitting
from thalweg.evidence.rates import answer_rates
from thalweg.evidence.rows import answer_rows
from thalweg.evidence.tradeoff import answer_tradeoff
from thalweg.evidence.trouble import answer_trouble
from thalweg.evidence.view import View

QUESTIONS: dict[str, Callable[[View], list[Answer]]] = {
    "model": answer_model,
    "certainty": answer_certainty,
    "factors": answer_factors,
    "rates": answer_rates,
    "importance": answer_importance,
    "overfitting": answer_overfitting,
    "tradeoff": answer_tradeoff,
    "trouble": answer_trouble,
    "dropping": answer_dropping,
    "growth": answer_growth,
    "layers": answer_layers,
    "rows": answer_rows,
}
"""Each family of answers; every function gives none where its question was not put to the test."""


def answers(
    records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any] | None = None
) -> list[Answer]:
    """Answer what the trials of a run can answer, and say where they cannot.

    The result depends neither on the order of the records nor on the unit of the metric, and a
    run's answers are the same every time they are asked for.

    Args:
        records: trial records, as in ``RUN/trials.jsonl``; scores may be null or NaN.
        summary: the run's summary, as in ``RUN/run.json``; any key may be missing. The metric's
            ``direction`` is taken to be ``"maximize"`` unless it says ``"minimize"``.

    Returns:
        The answers, the most asked questions first.

    Example:
        >>> trial = {"id": 0, "phase": "explore", "config": {"optimizer": "adam"},
        ...          "structure": "linear", "status": "completed", "score": 0.9}
        >>> answers([trial], {"metric": "accuracy", "direction": "maximize"})[0].question
        'Which model?'
    """
    view = View([dict(record) for record in records], dict(summary or {}))
    return [answer for ask in QUESTIONS.values() for answer in ask(view)]
