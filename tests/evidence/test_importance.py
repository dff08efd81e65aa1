"""Which settings matter: found where they do, not claimed where they do not, never out of order."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from synthetic_runs import make_run

from thalweg.evidence import NOT_ENOUGH, SUPPORTED
from thalweg.evidence.importance import MIN_TRIALS, answer_importance, importances
from thalweg.evidence.view import View


def run_of(seed: int, num: int, effect: float) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A score that depends on the learning rate alone, by ``effect``."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(num):
        config = {
            "learning_rate": float(10 ** rng.uniform(-4, -1)),
            "dropout": float(rng.uniform(0, 0.5)),
            "optimizer": str(rng.choice(["adam", "sgd"])),
        }
        loss = effect * (np.log10(config["learning_rate"]) + 2.5) ** 2
        records.append(
            {"id": i, "phase": "explore", "config": config, "structure": "mlp",
             "status": "completed", "score": float(0.9 - loss + 0.01 * rng.normal())}
        )  # fmt: skip
    return records, {"metric": "accuracy", "direction": "maximize"}


def test_what_decides_is_found() -> None:
    records, summary = run_of(0, 80, 0.1)
    found = importances(records, summary)
    assert found[0]["name"] == "learning_rate"
    assert found[0]["real"]
    assert 0 <= found[0]["low"] <= found[0]["share"] <= found[0]["high"] <= 1
    assert sum(entry["share"] for entry in found) == pytest.approx(1)
    answer = answer_importance(View(records, {**summary, "importance": found}))[0]
    assert answer.verdict == SUPPORTED
    assert "learning rate" in answer.claim


def test_nothing_is_claimed_where_nothing_decides() -> None:
    claims = 0
    for seed in range(8):
        records, summary = run_of(seed, 48, 0.0)
        found = importances(records, summary)
        answer = answer_importance(View(records, {**summary, "importance": found}))[0]
        claims += answer.verdict != NOT_ENOUGH
    assert claims <= 2


def test_the_shares_are_optunas() -> None:
    import optuna

    records, summary = run_of(1, 60, 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction="maximize")
        rates = [r["config"]["learning_rate"] for r in records]
        drops = [r["config"]["dropout"] for r in records]
        domains = {
            "learning_rate": optuna.distributions.FloatDistribution(
                min(rates), max(rates), log=True
            ),
            "dropout": optuna.distributions.FloatDistribution(min(drops), max(drops)),
            "optimizer": optuna.distributions.CategoricalDistribution(["adam", "sgd"]),
        }
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params=r["config"], distributions=domains, value=r["score"]
                )
                for r in records
            ]
        )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.2)
        theirs = optuna.importance.get_param_importances(study, evaluator=evaluator)
    ours = {entry["name"]: entry["share"] for entry in importances(records, summary)}
    assert ours == pytest.approx(theirs)


def test_few_or_equal_trials_say_nothing() -> None:
    records, summary = run_of(0, MIN_TRIALS - 1, 0.1)
    assert importances(records, summary) == []
    records, summary = run_of(0, 40, 0.1)
    assert importances([r | {"score": 0.5} for r in records], summary) == []
    assert importances([], {}) == []
    assert answer_importance(View(records, summary)) == []


def test_order_and_unit_do_not_matter() -> None:
    records, summary = make_run(num_trials=40)
    assert importances(records[::-1], summary) == importances(records, summary)
