"""A study from end to end on a small table: budget kept, seed kept, records, interruption."""

from __future__ import annotations

import json
import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from customers import SPACE

import thalweg as tw
from thalweg.errors import BudgetError, DataError
from thalweg.models import InputShape
from thalweg.study.budget import Budget, Clock
from thalweg.study.listener import Silent
from thalweg.study.loop import Study
from thalweg.study.records import Trial
from thalweg.study.settings import Settings
from thalweg.training.feed import TrainingData

CURVE = {"step", "train_loss", "validation_loss", "validation", "train"}


def tune(tables, **options):
    defaults = {
        "trials": 6,
        "epochs": 3,
        "space": SPACE,
        "finalists": 0,
        "baselines": False,
    }
    return tw.tune(tables["train"], "bought", **{**defaults, **options})


def without_times(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


# ---------------------------------------------------------------------------------------- records


def test_the_budget_in_trials_is_kept_exactly(study):
    assert sum(study.summary["trials"].values()) == 14
    assert [r["id"] for r in study.records] == list(range(14))
    phases = [r["phase"] for r in study.records]
    assert phases == ["explore"] * 12 + ["confirm"] * 2


@pytest.mark.parametrize("trials", [1, 2, 7])
def test_small_budgets_are_kept_too(tables, trials):
    found = tune(tables, trials=trials, finalists=3, seeds=5)
    assert sum(found.summary["trials"].values()) == trials
    assert found.model().predict(tables["fresh"]).shape == (50,)


def test_records_say_what_the_contract_asks(study):
    best = study.summary["best_trial"]
    for record in study.records:
        assert record.keys() >= {
            "id", "phase", "config", "structure", "seed", "fold", "status", "rung", "steps",
            "epochs", "curve", "best_step", "score", "validation", "train", "num_params", "seconds",
        }  # fmt: skip
        assert record["status"] in ("completed", "stopped", "diverged")
        assert record["structure"] == "mlp-1x16-relu-b16"
        assert record["num_params"] > 0
        assert set(record["curve"]) >= CURVE
        lengths = {len(values) for values in record["curve"].values()}
        assert len(lengths) == 1
        steps = record["curve"]["step"]
        assert steps == sorted(set(steps))
        assert record["steps"] == steps[-1]
        at = steps.index(record["best_step"])
        assert record["score"] == record["curve"]["validation"][at]
        assert record["validation"]["accuracy"] == record["score"]
        assert record["epochs"] <= 6.1
        tw.Config(record["config"])
    assert study.records[best]["status"] == "completed"


def test_losers_are_dropped_early_and_winners_trained_to_the_end(study):
    explored = [r for r in study.records if r["phase"] == "explore"]
    completed = [r for r in explored if r["status"] == "completed"]
    stopped = [r for r in explored if r["status"] == "stopped"]
    assert 0 < len(completed) < len(explored) / 2
    assert stopped
    assert all(r["steps"] < completed[0]["steps"] for r in stopped)
    # Everybody is judged after the same epochs.
    first = min(r["steps"] for r in explored)

    def best_by(record):
        pairs = zip(record["curve"]["step"], record["curve"]["validation"], strict=True)
        return max(value for step, value in pairs if step <= first)

    kept = [best_by(r) for r in explored if r["steps"] > first and not r["audit"]]
    dropped = [best_by(r) for r in explored if r["steps"] == first]
    assert min(kept) >= max(dropped)


def test_finalists_are_confirmed_under_fresh_seeds(study):
    confirmed = [r for r in study.records if r["phase"] == "confirm"]
    assert [r["seed"] for r in confirmed] == [1, 2]
    assert confirmed[0]["config"] == confirmed[1]["config"] == study.summary["best_config"]
    assert {r["seed"] for r in study.records if r["phase"] == "explore"} == {0}
    assert study.summary["best_trial"] in [r["id"] for r in confirmed]


def test_without_halving_everybody_is_trained_to_the_end(tables):
    found = tune(tables, halving=False)
    assert found.summary["trials"] == {"completed": 6}
    steps = {r["steps"] for r in found.records}
    assert len(steps) == 1


def test_the_users_first_configurations_come_first(tables):
    first = tw.Config(depth=1, width=16, batch_size=16, optimizer="sgd", learning_rate=0.05)
    found = tune(tables, trials=3, first=[first])
    assert found.records[0]["config"] == first.to_dict()


@pytest.mark.parametrize("search", ["sobol", "random", "grid"])
def test_every_searcher(tables, search):
    found = tune(tables, search=search, trials=4, epochs=2)
    assert len({json.dumps(r["config"]) for r in found.records}) == 4


def test_a_space_that_is_used_up_ends_the_study(tables):
    space = {**SPACE, "learning_rate": 0.01, "dropout": [0.0, 0.1], "optimizer": "adamw"}
    found = tune(tables, space=space, search="grid", trials=30)
    assert len(found.records) == 2


# ------------------------------------------------------------------------------------- determinism


def test_the_same_seed_gives_the_same_trials_and_the_same_best(tables, study):
    again = tw.tune(
        tables["train"], "bought", trials=14, epochs=6, space=SPACE, finalists=1, seeds=2
    )
    assert without_times(again.records) == without_times(study.records)
    for name in ("best_config", "best_trial", "validation", "test", "trials", "fingerprint"):
        assert again.summary[name] == study.summary[name], name
    np.testing.assert_allclose(
        again.model().predict_proba(tables["fresh"]),
        study.model().predict_proba(tables["fresh"]),
        rtol=1e-6,
    )


def test_another_seed_gives_other_trials(tables):
    one, two = (tune(tables, trials=3, seed=seed) for seed in (0, 5))
    assert without_times(one.records) != without_times(two.records)
    assert [r["config"] for r in one.records] != [r["config"] for r in two.records]


# ------------------------------------------------------------------------------------------ trouble


def test_a_space_in_which_all_diverge_says_so(tables, tmp_path):
    space = {**SPACE, "optimizer": "sgd", "learning_rate": 1e6, "init_scale": 1e20, "dropout": 0.0}
    with pytest.raises(BudgetError) as error:
        tw.tune(
            tables["regression"], "price", trials=4, epochs=2, space=space, run=tmp_path / "run"
        )
    message = str(error.value)
    assert "no trial gave a finite score: lower the learning rates" in message
    assert "\n" not in message
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_metric_that_is_not_defined_on_the_validation_rows_says_so(tables):
    import polars as pl

    one_class = pl.read_csv(tables["fresh"]).filter(pl.col("bought") == "ja")
    data = tw.load(tables["train"], "bought", validation=one_class, metric="roc_auc")
    with pytest.raises(DataError, match="roc_auc is not defined on the validation rows"):
        tw.tune(data, trials=2, epochs=1, space=SPACE, baselines=False)


def test_one_that_diverges_is_counted_and_does_no_harm(tables):
    space = {**SPACE, "learning_rate": [0.01, 1e6], "optimizer": "sgd", "l2": [0.0, 1e4]}
    found = tune(tables, space=space, search="grid", trials=8, epochs=2, halving=False)
    assert found.summary["trials"]["diverged"] >= 1
    assert found.summary["best_config"]["learning_rate"] == 0.01
    for record in found.records:
        if record["status"] == "diverged":
            json.dumps(record, allow_nan=False)


class Interrupter(Silent):
    """Presses Ctrl-C when the first trials have a score."""

    def update(self, **state):
        if state["trials_done"]:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupted_study_keeps_what_it_found(tables, tmp_path, capsys):
    before = signal.getsignal(signal.SIGINT)
    found = tune(tables, trials=9, epochs=9, listener=Interrupter(), run=tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before
    assert "Ending with what has been found so far" in capsys.readouterr().err
    assert "interrupted" in found.summary["plan"]["stopped"]
    assert sum(found.summary["trials"].values()) == 9
    assert "completed" not in found.summary["trials"]
    again = tw.Study.open(tmp_path / "run")
    assert again.model().evaluate(tables["fresh"])["accuracy"] > 0.5
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


def test_an_interruption_before_any_trial_says_so(tables, tmp_path):
    class Early(Silent):
        def plan(self, text):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(BudgetError, match="interrupted before any trial had a score"):
        tune(tables, listener=Early(), run=tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


class Recorder(Silent):
    """Remembers what it is told."""

    def __init__(self):
        self.plans, self.states = [], []

    def plan(self, text):
        self.plans.append(text)

    def update(self, **state):
        self.states.append(state)


def test_a_listener_is_told_of_progress(tables):
    recorder = Recorder()
    tune(tables, listener=recorder)
    assert recorder.plans
    assert "6 configurations of up to 3 epochs" in recorder.plans[0]
    compiling, *training = recorder.states
    assert compiling["phase"] == "compile"
    assert compiling["best"] is None
    assert training
    for state in training:
        assert state["metric"] == "accuracy"
        assert state["throughput"] > 0
        assert state["seconds_left"] is None
    best = [state["best"] for state in training]
    assert best == sorted(best)


def test_scores_that_are_no_numbers_are_null():
    record = Trial(0, "explore", tw.Config(), "mlp", 0, score=math.nan).to_dict()
    assert record["score"] is None
    json.dumps(record, allow_nan=False)


def study_of_nothing(**options):
    x, y = np.zeros((8, 2), np.float32), np.zeros((8, 1), np.float32)
    data = TrainingData({"numeric": x}, y, {"numeric": x}, y)
    asked = {"budget": Budget(trials=8), "epochs": 1, **options}
    settings = Settings(space=tw.Space(width=8, dropout=tw.Float(0.0, 0.5)), **asked)
    task = tw.Task("regression", ("y",))
    return Study(data, task, InputShape(2), settings, Clock(settings.budget))


@pytest.mark.parametrize("search", ["sobol", "random"])
def test_asking_ends_where_hardly_any_configuration_was_compiled(search):
    study = study_of_nothing(search=search)
    study.at.structures = {tw.Config(width=9).structure()}
    assert study.ask(5) == []


@pytest.mark.parametrize("search", ["sobol", "pbt"])
def test_a_part_that_others_have_begun_says_nothing_of_the_pace(search):
    study = study_of_nothing(search=search)
    study._explore(study.ask(3), 2.0, limit=0)
    assert study.ledger.trials == []
    assert study.pace == 0.0


def test_a_pace_far_below_the_plan_leaves_all_the_time_to_the_first_bracket():
    """Two brackets whose trainings are all cut short are worth less than one that ends."""
    loop = study_of_nothing(budget=Budget(seconds=100.0))
    soon = loop.time.clock.elapsed() + 20.0
    for phase, rung, pace, longer in (
        ("explore", 0, 0.5, True),
        ("explore", 0, 0.12, False),
        ("explore", 1, 0.5, False),
        ("confirm", 0, 0.5, False),
    ):
        loop.at.speed, loop.pace = 0.1, pace
        bracket = SimpleNamespace(phase=phase, rung=rung, full=10.0)
        until = loop._mind_the_pace(bracket, soon)
        assert (until > soon + 30) == longer
        assert loop.at.speed == (pace if longer else 0.1)
    assert loop._mind_the_pace(SimpleNamespace(phase="explore", rung=0), math.inf) == math.inf
