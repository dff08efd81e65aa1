"""Thresholds against a search over all of them with scikit-learn's metrics."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

import thalweg as tw
from thalweg.errors import OptionError
from thalweg.study.threshold import Goal, choose_threshold


@pytest.fixture
def rare() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.random(800) < 0.08
    probability = 1 / (1 + np.exp(-(rng.normal(size=800) + 2.5 * truth - 2.5)))
    return np.round(probability, 3), truth


@pytest.mark.parametrize(
    ("goal", "metric"),
    [
        ("f1", metrics.f1_score),
        ("balanced_accuracy", metrics.balanced_accuracy_score),
        ("matthews_corrcoef", metrics.matthews_corrcoef),
        ("cost=7", lambda y, p: -np.sum(p & ~y) - 7 * np.sum(y & ~p)),
    ],
)
def test_no_other_threshold_is_better(rare, goal, metric):
    probability, truth = rare
    chosen = choose_threshold(Goal.parse(goal), probability, truth)
    best = max(metric(truth, probability >= cut) for cut in np.linspace(0.0005, 0.9995, 1000))
    assert metric(truth, probability >= chosen) == pytest.approx(best)


@pytest.mark.parametrize("held", ["recall", "precision"])
def test_bounds_are_held_at_the_best_of_the_other(rare, held):
    probability, truth = rare
    scores = {"recall": metrics.recall_score, "precision": metrics.precision_score}
    other = scores["precision" if held == "recall" else "recall"]
    chosen = choose_threshold(Goal(held, 0.6), probability, truth)
    assert scores[held](truth, probability >= chosen) >= 0.6
    reached = [
        other(truth, probability >= cut)
        for cut in np.linspace(0.0005, 0.9995, 1000)
        if (probability >= cut).any() and scores[held](truth, probability >= cut) >= 0.6
    ]
    assert other(truth, probability >= chosen) == pytest.approx(max(reached))


@pytest.mark.parametrize("text", ["f2", "recall", "recall=2", "precision=x", "cost=-1", "f1=0.3"])
def test_what_is_no_goal(text):
    with pytest.raises(OptionError, match="a goal is"):
        Goal.parse(text)


def test_a_model_keeps_its_threshold(tmp_path):
    study = tw.tune("breast_cancer", trials=4, epochs=3, goal="recall=0.99", run=tmp_path / "run")
    model = tw.Model.load(tmp_path / "run")
    assert model.threshold == study.summary["threshold"] != 0.5
    rows = tw.load("breast_cancer")
    table = rows.frame("test")
    positive = rows.task.classes[1]
    announced = model.predict(table) == positive
    assert (announced == (model.predict_proba(table)[:, 1] >= model.threshold)).all()
    assert study.summary["goal"] == "recall=0.99"
    assert study.summary["validation"]["recall"] >= 0.98


def test_a_goal_needs_two_classes():
    with pytest.raises(OptionError, match="goal is for binary tasks"):
        tw.tune("iris", trials=2, goal="f1")
