"""Score against size: fronts in halving, proposals and answers."""

from __future__ import annotations

import numpy as np
import pytest
from customers import SPACE as RECORD

import thalweg as tw
from thalweg.errors import OptionError
from thalweg.evidence.tradeoff import front
from thalweg.search.pareto import fronts, hypervolume
from thalweg.space import Choice, Space
from thalweg.study.objectives import scalarised, weight_of

SPACE = Space.from_dict(RECORD)


@pytest.mark.parametrize("search", ["sobol", "gp"])
def test_small_networks_are_found(tables, search):
    space = SPACE.with_domains(width=Choice([2, 8, 32]))
    options = {"space": space, "epochs": 3, "finalists": 0, "baselines": False, "trials": 18}
    study = tw.tune(tables["train"], "bought", search=search, against="params", **options)
    points = study.front()
    assert [p["cost"] for p in points] == sorted(p["cost"] for p in points)
    costs = {r["id"]: r["cost"] for r in study.records}
    assert all(costs[r["id"]] == r["num_params"] for r in study.records)
    values = np.array([[r["score"], -r["cost"]] for r in study.records if r["score"] is not None])
    named = {(p["score"], -p["cost"]) for p in points}
    assert named == {tuple(v) for v in values[fronts(values) == 0]}
    # What went on to the end is no single size.
    ended = {r["num_params"] for r in study.records if r["status"] == "completed"}
    assert len(ended) >= 2
    [answer] = [a for a in study.answers() if a.question == "Would a smaller network do?"]
    assert "Beaten by none in both" in answer.claim


def test_latency_is_measured_once_for_each_structure(tables):
    space = SPACE.with_domains(width=Choice([2, 1024]), depth=Choice([3]))
    options = {"space": space, "epochs": 1, "finalists": 0, "baselines": False, "trials": 8}
    study = tw.tune(tables["train"], "bought", search="random", against="latency", **options)
    costs = {}
    for record in study.records:
        costs.setdefault(record["structure"], set()).add(record["cost"])
    assert all(len(known) == 1 for known in costs.values())
    by_width = {name.split("x")[1].split("-")[0]: known.pop() for name, known in costs.items()}
    assert 1.0 < by_width["2"] < by_width["1024"] < 1e6
    [answer] = [a for a in study.answers() if a.question == "Would a smaller network do?"]
    assert "microseconds a row" in answer.claim


def test_scalarised_best_points_are_on_the_front():
    values = np.random.default_rng(0).random((200, 2)) * [5.0, 0.1]
    found = {int(np.nanargmax(scalarised(values, weight_of(k)))) for k in range(40)}
    assert found <= set(np.flatnonzero(fronts(values) == 0))
    reference = values.min(axis=0)
    whole = hypervolume(values, reference)
    assert hypervolume(values[sorted(found)], reference) > 0.85 * whole
    assert len({round(weight_of(k), 3) for k in range(40)}) == 40


def test_front_leaves_out_what_diverged():
    rows = [
        {"id": 0, "status": "completed", "score": 0.9, "num_params": 100, "phase": "explore"},
        {"id": 1, "status": "diverged", "score": 0.99, "num_params": 1, "phase": "explore"},
        {"id": 2, "status": "stopped", "score": 0.8, "num_params": 10, "phase": "refine"},
        {"id": 3, "status": "completed", "score": 0.7, "num_params": 50, "phase": "explore"},
        {"id": 4, "status": "completed", "score": None, "num_params": 5, "phase": "explore"},
    ]
    assert [row["trial"] for row in front(rows)] == [2, 0]
    assert [row["trial"] for row in front(rows, "minimize")] == [2, 3]


def test_wrong_names_are_told(tables):
    with pytest.raises(OptionError, match="against"):
        tw.tune(tables["train"], "bought", trials=2, against="size", space=SPACE)
