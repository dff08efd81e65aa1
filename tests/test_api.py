"""The façade: load, tune, train, Study, Model, and what it says to options that make no sense."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import thalweg as tw
from thalweg.errors import DataError, OptionError, RunError, SpaceError, ThalwegError

SMALL = {"depth": 1, "width": 8, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.01}


@pytest.fixture(scope="module")
def iris():
    return tw.load("iris")


# -------------------------------------------------------------------------------------------- train


def test_train_trains_one_configuration(iris):
    study = tw.train(iris, tw.Config(SMALL), epochs=20)
    assert study.summary["trials"] == {"completed": 1}
    assert study.best_config == tw.Config(SMALL)
    assert study.summary["baselines"] == []
    assert study.directory is None
    model = study.model()
    scores = model.evaluate("iris")
    assert scores["accuracy"] > 0.85
    assert set(model.predict(iris.frame("test"))) <= {"setosa", "versicolor", "virginica"}
    curve = study.records[0]["curve"]
    assert curve["train_loss"][-1] < curve["train_loss"][0]


def test_keywords_replace_and_extend(iris):
    study = tw.train(iris, SMALL, epochs=2, width=4, dropout=0.1)
    assert study.best_config == tw.Config({**SMALL, "width": 4, "dropout": 0.1})


def test_train_without_a_config_does_something_sensible(iris):
    study = tw.train(iris, epochs=8, width=16)
    assert study.best_config["optimizer"] == "adamw"
    assert study.summary["test"]["accuracy"] > 0.6


@pytest.mark.parametrize(
    "extra",
    [
        {"width": (8, 4), "activation": "tanh"},
        {"model": "linear"},
        {"optimizer": "schedule_free_adamw", "learning_rate": 0.03},
        {"clip_norm": 1.0, "ema": 0.9, "schedule": "one_cycle", "warmup": 0.2},
        {"batch_size": "full", "learning_rate": 0.1},
    ],
)
def test_train_takes_every_kind_of_hyperparameter(iris, extra):
    study = tw.train(iris, tw.Config({**SMALL, **extra}), epochs=15)
    for name, value in extra.items():
        assert study.best_config[name] == value
    assert study.summary["test"]["accuracy"] > 0.5


def test_train_repeats_itself_by_seed(iris):
    one, two, other = (tw.train(iris, tw.Config(SMALL), epochs=3, seed=s) for s in (1, 1, 2))
    rows = iris.frame("test")
    np.testing.assert_array_equal(one.model().predict_proba(rows), two.model().predict_proba(rows))
    assert not np.allclose(one.model().predict_proba(rows), other.model().predict_proba(rows))


# ---------------------------------------------------------------------------------- sources, kinds


def test_arrays_and_frames():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    y = np.where(x[:, 0] + 0.1 * rng.normal(size=120) > 0, "up", "down")
    study = tw.train((x, y), tw.Config(SMALL), epochs=25)
    assert (study.model().predict(x) == y).mean() > 0.85
    frame = pl.DataFrame(x, schema=["a", "b", "c"]).with_columns(pl.Series("y", y))
    for table in (frame, frame.to_pandas()):
        study = tw.train(table, tw.Config(SMALL), "y", epochs=25)
        assert (study.model().predict(table) == y).mean() > 0.85


def test_several_regression_targets_in_their_own_units():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    frame = pl.DataFrame(x, schema=["a", "b", "c"]).with_columns(
        near=1000 + 50 * x[:, 0], far=-3 + 0.01 * x[:, 1]
    )
    study = tw.train(frame, tw.Config(SMALL, learning_rate=0.03), ["near", "far"], epochs=60)
    values = study.model().predict(frame)
    assert values.shape == (200, 2)
    errors = np.abs(values - frame.select("near", "far").to_numpy()).mean(0)
    assert (errors < [20, 0.005]).all()
    assert study.model().predict_frame(frame).columns == ["prediction_near", "prediction_far"]


def test_poisson_predicts_rates():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = rng.poisson(np.exp(1 + 0.5 * x[:, 0]))
    frame = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "count": y.astype(float)})
    data = tw.load(frame, "count", task="regression")
    study = tw.train(data, tw.Config(SMALL, loss="poisson"), epochs=40)
    rates = study.model().predict(frame)
    assert (rates > 0).all()
    assert np.corrcoef(rates, np.exp(1 + 0.5 * x[:, 0]))[0, 1] > 0.9
    assert rates.mean() == pytest.approx(y.mean(), rel=0.2)


def test_a_metric_is_chosen_by_name(iris):
    study = tw.tune(
        iris, trials=3, epochs=2, space=SMALL | {"learning_rate": {"low": 0.001, "high": 0.1}},
        metric="log_loss", finalists=0, baselines=False,
    )  # fmt: skip
    assert study.summary["metric"] == "log_loss"
    assert study.summary["direction"] == "minimize"
    best = study.records[study.summary["best_trial"]]
    assert best["score"] == min(r["score"] for r in study.records)


def test_one_network_or_their_average(iris):
    options = {
        "trials": 10, "epochs": 3, "space": SMALL | {"dropout": {"low": 0.0, "high": 0.3}},
        "finalists": 1, "seeds": 2, "baselines": False,
    }  # fmt: skip
    average = tw.tune(iris, **options).model()
    alone = tw.tune(iris, ensemble=False, **options).model()
    assert len(average.members) == 2
    assert len(alone.members) == 1
    # Their average is that of the probabilities.
    parts = []
    for member in average.members:
        average_of_one = tw.Model(
            average.encoder, average.structure, average.inputs, [member], average.config
        )
        parts.append(average_of_one.predict_proba("iris"))
    np.testing.assert_allclose(np.mean(parts, 0), average.predict_proba("iris"), rtol=1e-6)


def test_refit_uses_the_validation_rows_too(iris):
    options = {"trials": 2, "epochs": 4, "space": SMALL, "finalists": 0, "baselines": False}
    plain = tw.tune(iris, **options)
    again = tw.tune(iris, refit=True, **options)
    assert again.summary["refit"] is True
    rows = iris.frame("test")
    assert not np.allclose(plain.model().predict_proba(rows), again.model().predict_proba(rows))
    assert again.summary["test"]["accuracy"] > 0.4


def test_nothing_is_written_unless_asked(iris, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tw.train(iris, tw.Config(SMALL), epochs=1)
    assert list(tmp_path.iterdir()) == []
    study = tw.tune(iris, trials=1, epochs=1, space=SMALL, finalists=0, baselines=False, write=True)
    assert study.directory.path.parts[0] == "runs"
    assert study.directory.path.name.startswith("iris-")


def test_dry_run_compiles_nothing(iris):
    from thalweg.study.budget import Budget
    from thalweg.study.setup import dry_run

    plan = dry_run(iris, budget=Budget.of("60s"))
    assert plan["structures"] >= 1
    assert plan["estimated_seconds"] == 60
    assert plan["estimated_bytes"] > 0
    assert "would train for 60 s" in plan["lines"][0]
    plan = dry_run(iris, budget=Budget.of(None, 20), epochs=5.0)
    assert plan["trials"] == 20
    assert plan["epochs"] == 5
    assert "20 trials of up to 5 epochs" in plan["lines"][0]


# ----------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"trials": 0}, ValueError, "whole number from 1"),
        ({"budget": "soon"}, ValueError, "such as 90s"),
        ({"budget": 0}, ValueError, "longer than nothing"),
        ({"model": "cnn"}, OptionError, "model must be one of linear, mlp; got 'cnn'"),
        ({"search": "bayes"}, OptionError, "search must be one of"),
        ({"loss": "huber"}, OptionError, "loss of a multiclass task"),
        ({"metric": "rmse"}, OptionError, "metric of a multiclass task"),
        ({"epochs": 0}, OptionError, "epochs must be above 0; got 0"),
        ({"epochs": float("nan")}, OptionError, "epochs must be above 0"),
        ({"seeds": -1}, OptionError, "seeds must be a whole number from 0"),
        ({"finalists": 1.5}, OptionError, "finalists must be a whole number"),
        ({"seed": -1}, OptionError, "seed must be a whole number from 0"),
        ({"space": {"learning_rat": 0.1}}, SpaceError, "did you mean 'learning_rate'?"),
        ({"space": "none.toml"}, SpaceError, "cannot be read"),
        ({"space": {"optimizer": "adamm"}}, OptionError, "did you mean 'adam'?"),
        ({"space": {"schedule": "cosin"}}, OptionError, "did you mean 'cosine'?"),
        ({"space": {"schedule": "step", "decay_rate": 7.0}}, SpaceError, "decay_rate"),
        ({"space": {"optimizer": "lion", "b2": 0.0}}, SpaceError, "b2"),
        ({"space": {"normalisation": "batch", "batch_size": 1}}, SpaceError, "'layer'"),
        ({"space": {"model": "transformer"}}, OptionError, "model must be one of"),
    ],
)
def test_options_that_make_no_sense(iris, tmp_path, options, error, says):
    with pytest.raises(error) as caught:
        tw.tune(iris, run=tmp_path / "runs" / "one", **{"epochs": 1, "trials": 2, **options})
    assert isinstance(caught.value, ThalwegError)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_targets_that_are_missing():
    with pytest.raises(DataError) as error:
        tw.tune(pl.DataFrame({"price": [1.0] * 20, "size": range(20)}), "prise", trials=1)
    assert "did you mean 'price'?" in str(error.value)


def test_opening_no_run(tmp_path):
    with pytest.raises(RunError, match="there is no run directory"):
        tw.Study.open(tmp_path / "none")


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=12))
def test_budgets_from_any_text_are_durations_or_one_clear_line(text):
    from thalweg.study.budget import Budget

    try:
        told, seconds = "", Budget.of(text).seconds
    except ThalwegError as error:
        told, seconds = str(error), None
    assert "\n" not in told
    assert told or seconds >= 5


def test_progress_is_shown_where_it_is_wanted(iris, capsys, monkeypatch):
    asked = {"trials": 2, "epochs": 1, "finalists": 0, "baselines": False}
    tw.tune(iris, **asked)
    assert capsys.readouterr().err == ""
    tw.tune(iris, **asked, progress=True)
    assert "2/2 trials" in capsys.readouterr().err
    # A terminal shows it unasked.
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    tw.tune(iris, **asked, progress=False)
    assert capsys.readouterr().err == ""
