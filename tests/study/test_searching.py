"""Searchers in the loop: rounds that learn, budgets in epochs and by progress, brackets, ranges."""

from __future__ import annotations

import pytest
from customers import SPACE as RECORD

import thalweg as tw
from thalweg.errors import BudgetError, OptionError
from thalweg.space import Config, Float, Space
from thalweg.study.budget import Budget

SPACE = Space.from_dict(RECORD)


def tune(tables, **options):
    defaults = {"epochs": 4, "space": SPACE, "finalists": 0, "baselines": False}
    return tw.tune(tables["train"], "bought", **{**defaults, **options})


def configs(study) -> list[dict]:
    return [record["config"] for record in study.records]


@pytest.mark.parametrize("search", ["gp", "tpe"])
def test_what_learns_explores_then_refines(tables, search):
    study = tune(tables, trials=20, search=search)
    phases = [record["phase"] for record in study.records]
    assert phases == ["explore"] * 8 + ["refine"] * 12
    brackets = [record["bracket"] for record in study.records]
    assert brackets == [0] * 8 + [1] * 8 + [2] * 4
    assert len({Config(c) for c in configs(study)}) == 20
    again = tune(tables, trials=20, search=search)
    assert configs(again) == configs(study)
    assert again.summary["validation"] == study.summary["validation"]


def test_a_budget_of_epochs_is_kept(tables):
    study = tune(tables, total_epochs=60, search="gp", finalists=2, seeds=2)
    spent = sum(record["epochs"] for record in study.records)
    assert 40 < spent <= 63
    assert [r["phase"] for r in study.records].count("confirm") in (2, 4)
    assert "epochs are spent on searching" in study.summary["plan"]["stopped"]


def test_until_stalled_says_why(tables):
    study = tune(tables, until_stalled=True, epochs=1, space={"learning_rate": 0.01, "depth": 1,
                 "width": 4, "dropout": {"low": 0.0, "high": 0.5}})  # fmt: skip
    said = study.summary["plan"]["stopped"]
    assert said.startswith("the search has stopped improving: trial ")
    assert len(study.records) >= 144


@pytest.mark.parametrize("brackets", ["hyperband", "curves"])
def test_other_ways_to_drop(tables, brackets):
    study = tune(tables, trials=27, epochs=9, search="tpe", brackets=brackets)
    assert sum(study.summary["trials"].values()) == 27
    rungs = [
        {r["rung"] for r in study.records if r["bracket"] == b}
        for b in range(1 + study.records[-1]["bracket"])
    ]
    assert max(rungs[0]) >= 1
    if brackets == "hyperband":
        assert max(rungs[1]) < max(rungs[0])


def test_ranges_grow_where_the_best_sit_at_an_edge(tables):
    narrow = SPACE.with_domains(learning_rate=Float(1e-5, 1e-3, log=True))
    edge = [Config(SPACE.decode([[0.1, 0.5, d]])[0], learning_rate=1e-3) for d in (0.1, 0.3, 0.5)]
    options = {"trials": 18, "search": "gp", "space": narrow, "first": edge}
    study = tune(tables, **options)
    assert any(
        "learning_rate was widened from 1e-05 to 0.001" in n for n in study.summary["notices"]
    )
    assert study.summary["space"]["learning_rate"]["high"] > 1e-3
    assert max(c["learning_rate"] for c in configs(study)) > 1.01e-3
    kept = tune(tables, widen=False, **options)
    assert max(c["learning_rate"] for c in configs(kept)) <= 1e-3
    assert kept.summary["space"]["learning_rate"]["high"] == 1e-3


def test_the_answer_states_the_false_kill_rate(tables):
    study = tune(tables, trials=27, epochs=9)
    [answer] = [a for a in study.answers() if a.question == "Was anything good dropped early?"]
    assert "false-kill rate" in answer.claim
    spared = [r["id"] for r in study.records if r["audit"]]
    assert list(answer.trials) == spared
    assert spared


def test_wrong_options_are_told(tables):
    with pytest.raises(OptionError, match="did you mean 'hyperband'"):
        tune(tables, trials=2, brackets="hyperban")
    with pytest.raises(BudgetError, match="either a time or a number of epochs"):
        tune(tables, budget="60s", total_epochs=5)


def test_populations_exchange_and_finalists_replay(tables):
    space = SPACE.with_domains(learning_rate=Float(1e-5, 0.3, log=True))
    options = {"search": "pbt", "trials": 14, "epochs": 5, "space": space, "finalists": 1}
    study = tune(tables, seeds=2, **options)
    grown = [r for r in study.records if r["schedule"]]
    assert grown
    for record in grown:
        epochs = [step["epochs"] for step in record["schedule"]]
        assert epochs[0] == 0.0
        assert epochs == sorted(epochs)
        assert record["schedule"][-1]["config"] == record["config"]
    assert all(r["status"] == "completed" for r in study.records if r["phase"] == "explore")
    again = tune(tables, seeds=2, **options)
    assert configs(again) == configs(study)
    with pytest.raises(OptionError, match="leave refit out"):
        tune(tables, trials=2, search="pbt", refit=True)


def test_the_usual_searcher_follows_scores_where_they_can_be_trusted():
    from thalweg.study.setup import usual_search

    assert usual_search(Budget(seconds=60.0), 5_000) == "gp"
    assert usual_search(Budget(trials=96), 5_000) == "gp"
    assert usual_search(Budget(epochs=100.0), 5_000) == "gp"
    assert usual_search(Budget(seconds=60.0), 999) == "sobol"
    assert usual_search(Budget(trials=95, seconds=60.0), 5_000) == "sobol"
    assert usual_search(Budget(), 5_000) == "sobol"
