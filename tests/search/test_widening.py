"""Ranges grow where the best Configs sit at an edge, and nowhere else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from thalweg.search import REFINING, make_searcher
from thalweg.search.widening import widened
from thalweg.space import Choice, Config, Float, Int, Space, Switch

SPACE = Space(
    optimizer=Choice(["adam", "nesterov"]),
    learning_rate=Switch(
        "optimizer", {"nesterov": Float(1e-3, 0.1, log=True)}, Float(1e-4, 1e-2, log=True)
    ),
    dropout=Float(0.0, 0.5),
    depth=Int(1, 3),
)


def configs(optimizer: str, rate: float, dropout: float = 0.2) -> list[Config]:
    return [
        Config(optimizer=optimizer, learning_rate=rate, dropout=dropout, depth=3) for _ in range(5)
    ]


def test_only_the_case_concerned_grows():
    space, notices = widened(SPACE, configs("nesterov", 0.099))
    rate = space["learning_rate"]
    assert isinstance(rate, Switch)
    assert rate.cases["nesterov"] == Float(1e-3, 1.0, log=True)
    assert rate.default == Float(1e-4, 1e-2, log=True)
    assert space["dropout"] == SPACE["dropout"]
    assert space["depth"] == SPACE["depth"]
    assert notices == [
        "learning_rate for nesterov was widened from 0.001 to 0.1 to 0.001 to 1: "
        "the best trials sat at its edge"
    ]


def test_in_the_middle_nothing_grows():
    space, notices = widened(SPACE, configs("adam", 1e-3))
    assert space is SPACE
    assert notices == []
    assert widened(SPACE, configs("adam", 9.9e-3)[:2])[1] == []  # two are not enough


def test_no_further_than_the_hyperparameter_allows():
    space, notices = widened(SPACE, configs("adam", 1e-3, dropout=0.0))
    assert space is SPACE
    assert notices == []
    space, _ = widened(Space(dropout=Float(0.0, 0.9)), [Config(dropout=0.9)] * 4)
    assert space["dropout"] == SPACE["dropout"] or 0.9 < space["dropout"].high < 1.0


@pytest.mark.parametrize("name", REFINING)
def test_searchers_keep_what_they_know(name):
    searcher = make_searcher(name, SPACE, 0)
    searcher, asked = searcher.ask(24)
    scores = np.array([np.log(c["learning_rate"]) for c in asked])
    searcher = searcher.tell(asked, scores)
    space, _ = widened(SPACE, configs("nesterov", 0.099))
    moved = searcher.moved_to(space)
    _, proposed = moved.ask(24)
    assert max(c["learning_rate"] for c in proposed) > 0.1
    again = make_searcher(name, SPACE, 0, json.loads(json.dumps(moved.state())))
    assert again.ask(24)[1] == proposed
