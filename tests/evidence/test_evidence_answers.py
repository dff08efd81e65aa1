"""The answers on runs with a known truth, on runs without one, and on broken runs."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest
from synthetic_runs import OPTIMIZERS, SPACE, broken_runs, in_another_unit, make_run

from thalweg.evidence import NOT_ENOUGH, SUPPORTED, TIE, VERDICTS, Answer, answers, leaderboard
from thalweg.evidence.factors import FACTORS, answer_factor
from thalweg.evidence.overfitting import answer_help, regulariser_effects
from thalweg.evidence.rates import basins, stable_edge
from thalweg.evidence.trouble import position
from thalweg.evidence.view import View


def ask(question: str, records: list[dict[str, Any]], summary: dict[str, Any]) -> Answer:
    found = [answer for answer in answers(records, summary) if answer.question == question]
    assert len(found) == 1, f"{question}: {len(found)} answers"
    return found[0]


def test_every_answer_is_json_and_names_real_trials() -> None:
    records, summary = make_run()
    known = {record["id"] for record in records}
    found = answers(records, summary)
    asked = {answer.question for answer in found}
    assert {"Which model?", "Which optimizer?", "Which learning rate?"} <= asked
    assert {"Is it overfitting?", "How sure is the choice?", "Did runs diverge?"} <= asked
    for answer in found:
        assert json.loads(json.dumps(answer.to_dict(), allow_nan=False)) == answer.to_dict()
        assert Answer.from_dict(answer.to_dict()) == answer
        assert set(answer.trials) <= known
        assert answer.verdict in VERDICTS
        assert answer.claim.endswith(".")
        assert "nan" not in answer.claim.replace("nadam", "").lower()


# ---- known truths


def test_the_better_optimizer_is_found() -> None:
    records, summary = make_run(
        effects={"adam": 0.02, "sgd": -0.02}, rate_width=None, diverge=False, num_trials=160
    )
    answer = ask("Which optimizer?", records, summary)
    assert answer.verdict == SUPPORTED
    assert answer.claim.startswith("adam is best")
    assert answer.interval is not None
    assert answer.interval[0] < 0.02 < answer.interval[1]


def test_equal_optimizers_are_a_tie_when_there_is_much_evidence() -> None:
    records, summary = make_run(
        rate_width=None, diverge=False, num_trials=240, noise=0.002, rows=500
    )
    answer = ask("Which optimizer?", records, summary)
    assert answer.verdict == TIE


def test_few_trials_are_not_enough() -> None:
    records, summary = make_run(num_trials=20, effects={"adam": 0.004}, rows=100_000)
    assert ask("Which optimizer?", records, summary).verdict == NOT_ENOUGH


def test_trees_that_win_are_said_to_win_and_by_how_much() -> None:
    records, summary = make_run(trees=0.999, rows=20_000, effects=dict.fromkeys(OPTIMIZERS, -0.03))
    answer = ask("Which model?", records, summary)
    assert answer.verdict == SUPPORTED
    assert answer.claim.startswith("Boosted trees win, by")
    assert answer.effect is not None
    assert answer.effect < 0
    assert "boosted trees" in answer.advice


def test_a_network_that_wins_is_said_to_win() -> None:
    records, summary = make_run(trees=0.90, rows=2000)
    answer = ask("Which model?", records, summary)
    assert answer.verdict == SUPPORTED
    assert answer.claim.startswith("The network")


def test_trees_and_network_alike_are_not_separated() -> None:
    records, summary = make_run(rows=200)
    summary["baselines"][2]["test"] = {"accuracy": summary["test"]["accuracy"] - 0.002}
    assert ask("Which model?", records, summary).verdict == NOT_ENOUGH


def test_without_a_known_error_nothing_is_claimed_about_trees() -> None:
    records, summary = make_run(metric="log_loss", direction="minimize", trees=0.9999)
    answer = ask("Which model?", records, summary)
    assert answer.verdict == NOT_ENOUGH
    assert answer.interval is None


def test_baselines_that_write_are_compared_by_what_they_write() -> None:
    records, summary = make_run(metric="perplexity", direction="minimize")
    summary["test"] |= {"bleu": 30.7, "chrf": 54.8}
    summary["baselines"] = [{"name": "nearest_neighbour", "test": {"bleu": 8.75, "chrf": 32.1}}]
    answer = ask("Which model?", records, summary)
    assert "reaches BLEU 30.7, nearest_neighbour 8.8." in answer.claim
    assert answer.advice.startswith("Use ")
    assert "the baseline" not in answer.advice
    summary["baselines"][0]["test"]["bleu"] = 40.0
    assert ask("Which model?", records, summary).advice.startswith("Use the baseline")


def test_the_learning_rate_basin_holds_the_truth() -> None:
    records, summary = make_run(num_trials=300, noise=0.002, rate_width=0.7, effects={"adam": 0.01})
    answer = ask("Which learning rate?", records, summary)
    view = View(records, summary)
    basin = basins(view)[0]
    truth = {"adam": 3e-3, "nadam": 3e-3, "sgd": 1e-1, "rmsprop": 2e-3}[basin.optimizer]
    assert basin.low / 2 < truth < basin.high * 2
    assert answer.verdict == SUPPORTED
    assert basin.edge is not None
    assert truth * 15 < basin.edge < truth * 100  # the generator diverges from 31 times on


def test_a_rate_that_makes_no_difference_is_not_claimed_to() -> None:
    claims = 0
    for seed in range(60):
        records, summary = make_run(seed, 60, rate_width=None, diverge=False, finalists=0)
        claims += ask("Which learning rate?", records, summary).verdict == SUPPORTED
    assert claims <= 8


def test_stable_edge() -> None:
    rates = np.logspace(-5, 0, 40)
    edge, bad, runs = stable_edge(rates, rates > 0.01)
    assert edge == pytest.approx(rates[rates > 0.01][0])
    assert bad == runs == int((rates > 0.01).sum())
    anywhere = np.zeros(40, dtype=bool)
    anywhere[[3, 17, 30]] = True
    assert stable_edge(rates, anywhere) == (None, 0, 0)
    assert stable_edge(rates, np.zeros(40, dtype=bool)) == (None, 0, 0)


def test_overfitting_is_seen() -> None:
    records, summary = make_run(
        gap=0.08, rows=4000, effects=dict.fromkeys(OPTIMIZERS, -0.1), overfit=4
    )
    summary["best_trial"] = max(
        (r for r in records if r["phase"] == "confirm"), key=lambda r: r["score"]
    )["id"]
    answer = ask("Is it overfitting?", records, summary)
    assert answer.verdict == SUPPORTED
    assert answer.claim.startswith("Yes")
    assert "higher at the end" in answer.claim


def test_no_gap_is_no_overfitting() -> None:
    records, summary = make_run(gap=0.0, rows=4000)
    assert ask("Is it overfitting?", records, summary).verdict == TIE


def test_dropout_that_helps_is_an_association() -> None:
    records, summary = make_run(num_trials=200, dropout_effect=0.05, rate_width=None, diverge=False,
                                effects=dict.fromkeys(OPTIMIZERS, -0.04))  # fmt: skip
    answer = ask("What helps against overfitting?", records, summary)
    assert answer.verdict == SUPPORTED
    assert answer.claim.startswith("Dropout went with better scores")
    assert "association" in answer.claim


def test_matched_pairs_are_a_paired_effect() -> None:
    records, summary = make_run(num_trials=8, finalists=0, diverge=False)
    base = dict(records[0]["config"])
    rng = np.random.default_rng(0)
    for seed in range(6):
        noise = rng.normal(0, 0.05)
        for strength in (0.0, 0.2):
            score = 0.8 + noise + 0.02 * (strength > 0) + rng.normal(0, 0.002)
            records.append(
                records[0] | {"id": len(records), "config": base | {"mixup": strength},
                              "seed": seed, "score": score, "status": "completed"}
            )  # fmt: skip
    answer = answer_help(View(records, summary))[0]
    assert "paired effect" in answer.claim
    assert answer.effect == pytest.approx(0.02, abs=0.005)
    assert answer.verdict == SUPPORTED


def ablations(records: list, name: str, change: str, effect: float, seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    confirmed = [r for r in records if r["phase"] == "confirm"]
    return [
        {"name": name, "change": change, "trial": r["id"], "winner": r["score"],
         "score": r["score"] + effect + rng.normal(0, 0.001)}
        for r in confirmed[:5]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "effect", "begins"),
    [
        ("dropout", "without", -0.02, "Dropout helped"),
        ("dropout", "without", 0.02, "Dropout did harm"),
        ("mixup", "with", 0.02, "Mixup helped"),
        ("smaller_model", "half", -0.02, "Smaller model did harm"),
        ("smaller_model", "half", 0.02, "Smaller model helped"),
    ],
)
def test_the_winner_with_one_thing_changed(name, change, effect, begins) -> None:
    records, summary = make_run(num_trials=40, diverge=False)
    summary["ablations"] = ablations(records, name, change, effect)
    answer = ask("What helps against overfitting?", records, summary)
    assert answer.claim.startswith(begins)
    assert answer.verdict == SUPPORTED
    assert abs(answer.effect) == pytest.approx(0.02, abs=0.003)
    assert set(answer.trials) == {entry["trial"] for entry in summary["ablations"]}


def test_what_is_worth_nothing_is_not_claimed() -> None:
    said = []
    for seed in range(40):
        records, summary = make_run(seed=seed, num_trials=12, finalists=1, diverge=False)
        rng = np.random.default_rng(seed)
        summary["ablations"] = [
            {**entry, "score": entry["winner"] + rng.normal(0, 0.004)}
            for name in ("dropout", "l2", "mixup")
            for entry in ablations(records, name, "without", 0.0, seed)
        ]
        said.append(ask("What helps against overfitting?", records, summary).verdict)
    assert said.count(SUPPORTED) <= 5


def test_stopping_early_is_judged_by_the_other_seeds() -> None:
    records, summary = make_run(num_trials=12, finalists=1, diverge=False)
    rng = np.random.default_rng(0)
    falling = np.concatenate([np.linspace(0.5, 0.9, 10), np.linspace(0.9, 0.8, 10)])
    flat = np.concatenate([np.linspace(0.5, 0.9, 10), np.full(10, 0.9)])
    for course, effect in ((falling, 0.1), (flat, 0.0)):
        for record in records:
            noisy = course + rng.normal(0, 0.004, 20)
            record["curve"] = {**record["curve"], "validation": noisy.tolist()}
        (found,) = [
            e for e in regulariser_effects(View(records, summary)) if e.name == "early_stopping"
        ]
        # The best of a noisy flat curve would look like a gain.
        assert found.estimate.value == pytest.approx(effect, abs=0.006)


def test_the_surest_choice_and_a_tie() -> None:
    clear = make_run(finalist_scores=(0.98, 0.95, 0.94, 0.94, 0.93))
    answer = ask("How sure is the choice?", *clear)
    assert answer.verdict == SUPPORTED
    assert "under 1 %" in answer.claim
    same = make_run(finalist_scores=(0.97,) * 5, rows=300)
    assert ask("How sure is the choice?", *same).verdict == TIE


def test_too_short_training_is_seen() -> None:
    records, summary = make_run()
    for record in records:
        rising = np.linspace(0.5, record["score"] or 0.5, 20).tolist()
        record["curve"]["validation"] = rising
        record["best_step"] = record["curve"]["step"][-1]
    answer = ask("Was training long enough?", records, summary)
    assert answer.claim.startswith("No")
    for record in records:
        record["curve"]["validation"] = [record["score"] or 0.5] * 20
        record["best_step"] = record["curve"]["step"][3]
    assert ask("Was training long enough?", records, summary).claim.startswith("Yes")


def test_a_best_at_the_edge_is_seen() -> None:
    records, summary = make_run(
        num_trials=200, dropout_effect=0.08, rate_width=None, diverge=False, noise=0.001,
        effects=dict.fromkeys(OPTIMIZERS, -0.06),
    )  # fmt: skip
    answer = ask("Were the ranges wide enough?", records, summary)
    assert answer.verdict == SUPPORTED
    assert "dropout upwards" in answer.advice


@pytest.mark.parametrize(
    ("domain", "value", "expected"),
    [
        ({"low": 0.0, "high": 2.0}, 0.5, 0.25),
        ({"low": 1e-4, "high": 1.0, "log": True}, 1e-2, 0.5),
        ({"choices": [16, 32, 64]}, 64, 1.0),
        ({"choices": ["a", "b", "c"]}, "a", math.nan),
        ({"low": 1, "high": 1}, 1, math.nan),
        ({"low": 0.0, "high": 1.0, "log": True}, 0.5, math.nan),
        ({}, None, math.nan),
    ],
)
def test_position(domain: dict[str, Any], value: object, expected: float) -> None:
    assert position(domain, value) == pytest.approx(expected, nan_ok=True)


# ---- nulls


def test_no_choice_is_claimed_under_the_null() -> None:
    """Nothing differs: each kind of claim may be made in one run of twenty, no more."""
    runs = 60
    claims = dict.fromkeys(["optimizer", "structure", "schedule", "help", "choice"], 0)
    for seed in range(runs):
        records, summary = make_run(
            seed, 64, rate_width=None, diverge=False, finalist_scores=(0.97,) * 5, seeds=3,
            num_points=2,
        )  # fmt: skip
        view = View(records, summary)
        for name in ("optimizer", "structure", "schedule"):
            claims[name] += answer_factor(view, FACTORS[name])[0].verdict == SUPPORTED
        claims["help"] += answer_help(view)[0].verdict == SUPPORTED
        claims["choice"] += ask("How sure is the choice?", records, summary).verdict == SUPPORTED
    # 8 of 60 has a chance below 1 % at a rate of 5 %.
    assert max(claims.values()) < 8, claims


# ---- invariances


def test_the_order_of_the_records_makes_no_difference() -> None:
    records, summary = make_run()
    shuffled = records[:]
    random.Random(0).shuffle(shuffled)
    assert answers(shuffled, summary) == answers(records, summary)
    assert leaderboard(shuffled) == leaderboard(records)


@pytest.mark.parametrize("factor", [1000.0, 1e-3])
def test_the_scale_of_the_metric_makes_no_difference(factor: float) -> None:
    records, summary = make_run(metric="pinball", direction="minimize")
    scaled = in_another_unit(records, factor)
    other = json.loads(json.dumps(summary))
    for values in [other["validation"], other["test"], *(
        row[split] for row in other["baselines"] for split in ("validation", "test")
    )]:  # fmt: skip
        values.update({key: value * factor for key, value in values.items()})
    for first, second in zip(answers(records, summary), answers(scaled, other), strict=True):
        assert (first.question, first.verdict, first.trials) == (
            second.question, second.verdict, second.trials,
        )  # fmt: skip
        if first.unit.startswith("pinball") and first.effect is not None:
            assert second.effect == pytest.approx(first.effect * factor)
            if first.interval is not None:
                assert second.interval == pytest.approx([b * factor for b in first.interval])


def test_minimising_mirrors_maximising() -> None:
    up = make_run(seed=5, metric="gain")
    down = make_run(seed=5, metric="gain", direction="minimize")
    for first, second in zip(answers(*up), answers(*down), strict=True):
        assert (first.question, first.verdict) == (second.question, second.verdict)


# ---- broken runs


BROKEN = broken_runs()


@pytest.mark.parametrize("name", BROKEN)
def test_broken_runs_are_answered_with_what_cannot_be_said(name: str) -> None:
    records, summary = BROKEN[name]
    found = answers(records, summary)
    assert found
    for answer in found:
        json.dumps(answer.to_dict(), allow_nan=False)
        assert answer.claim
    leaderboard(records, summary.get("direction", "maximize"))


def test_all_diverged_says_so() -> None:
    found = {answer.question: answer for answer in answers(*BROKEN["all diverged"])}
    assert found["Which model?"].verdict == NOT_ENOUGH
    assert "None of" in found["Which model?"].claim
    assert found["Did runs diverge?"].effect == 1


def test_all_equal_claims_no_difference() -> None:
    for answer in answers(*BROKEN["all equal"]):
        if answer.question in ("Which optimizer?", "How sure is the choice?", "Which structure?"):
            assert answer.verdict in (TIE, NOT_ENOUGH)


def test_one_trial_claims_no_choice() -> None:
    for answer in answers(*BROKEN["one trial"]):
        if answer.question not in ("Did runs diverge?",):
            assert answer.verdict == NOT_ENOUGH, answer


# ---- leaderboard


def test_leaderboard_puts_confirmed_first_and_failures_last() -> None:
    records, _ = make_run(num_trials=40)
    rows = leaderboard(records, "maximize", None)
    confirmed = [row["seeds"] > 1 for row in rows]
    assert confirmed == sorted(confirmed, reverse=True)
    means = [row["score"] for row in rows if row["seeds"] > 1]
    assert means == sorted(means, reverse=True)
    scores = [row["score"] for row in rows]
    assert None in scores
    assert all(score is None for score in scores[scores.index(None) :])
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(leaderboard(records, n=3)) == 3


def test_leaderboard_minimises() -> None:
    rows = leaderboard([{"id": i, "config": {"a": i}, "score": s} for i, s in enumerate((3, 1, 2))],
                       "minimize")  # fmt: skip
    assert [row["score"] for row in rows] == [1, 2, 3]


def test_the_space_of_the_fixture_is_that_of_its_configs() -> None:
    records, _ = make_run(num_trials=4)
    assert set(SPACE) <= set(records[0]["config"])
