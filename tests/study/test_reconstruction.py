"""Rows made again: from raw tables and images to codes, reconstructions, samples and scores."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import thalweg as tw
from thalweg.errors import DataError, OptionError
from thalweg.space import Choice, Config, Space

SMALL = {
    "width": (32, 16),
    "embedding_size": 2,
    "activation": "gelu",
    "batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 5e-3,
    "schedule": "cosine",
}


def table(num=600, seed=0):
    """Return rows on a curved surface: two numbers decide the others."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-1, 1, (2, num))
    return pl.DataFrame(
        {
            "a": 10 + 3 * u,
            "b": u * v + 0.02 * rng.normal(size=num),
            "c": np.sin(2 * u) + 0.02 * rng.normal(size=num),
            "d": 100 * v,
            "e": u**2 - v + 0.02 * rng.normal(size=num),
            "side": np.where(v > 0, "left", "right"),
            "label": rng.integers(0, 2, num),
        }
    )


def strange(rows, seed=1):
    """Return rows whose columns come from different rows: each is usual, together they are not."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame({n: rows[n].to_numpy()[rng.permutation(rows.height)] for n in rows.columns})


def test_a_table_from_rows_to_scores(tmp_path):
    rows = table()
    rows.write_csv(tmp_path / "rows.csv")
    data = tw.load(str(tmp_path / "rows.csv"), "label", task="reconstruction")
    assert data.task.kind == "reconstruction"
    assert any("label is set aside" in notice for notice in data.notices)
    assert "made again" in data.headline()
    study = tw.tune(
        data,
        space=Space({"model": Choice(["autoencoder", "vae"]), **SMALL, "beta": Choice([0.1, 1.0])}),
        trials=4,
        epochs=25,
        halving=False,
        finalists=0,
        run=tmp_path / "run",
    )
    test, baselines = study.summary["test"], study.summary["baselines"]
    errors = {b["name"]: b["test"]["reconstruction_error"] for b in baselines}
    assert test["reconstruction_error"] < errors["pca"] < errors["mean_row"]
    model = tw.Model.load(tmp_path / "run")
    model.members = [*model.members, *model.members]
    usual, odd = (model.predict_frame(r) for r in (table(200, 5), strange(table(200, 5))))
    assert usual.columns == ["anomaly_score", "reconstruction_error", "z0", "z1"]
    assert odd["anomaly_score"].median() > usual["anomaly_score"].quantile(0.9)
    np.testing.assert_allclose(model.predict(rows), model.predict_frame(rows)["anomaly_score"])
    again = model.reconstruct(rows)
    assert again.columns == ["a", "b", "c", "d", "e", "side"]
    assert np.corrcoef(again["d"], rows["d"])[0, 1] > 0.95
    assert (again["side"] == rows["side"]).mean() > 0.9
    assert model.evaluate(rows)["reconstruction_error"] < errors["pca"]
    with pytest.raises(DataError, match="no class probabilities"):
        model.predict_proba(rows)


def test_the_variational_one_is_judged_by_its_bound_and_makes_rows_up(tmp_path):
    data = tw.load(table(), "label", task="reconstruction")
    study = tw.tune(
        data,
        model="vae",
        space=Space({"model": "vae", **SMALL, "beta": Choice([0.5, 1.0])}),
        trials=2,
        epochs=20,
        halving=False,
        finalists=0,
        baselines=False,
    )
    assert study.summary["metric"] == "elbo"
    assert study.summary["direction"] == "maximize"
    made = study.model().draw(50)
    assert made.height == 50
    assert set(made["side"]) == {"left", "right"}
    assert 5 < made["a"].mean() < 15
    assert made.equals(study.model().draw(50))
    assert not made.equals(study.model().draw(50, seed=1))
    plain = tw.train(data, Config(model="autoencoder", **SMALL), epochs=1).model()
    with pytest.raises(DataError, match="no distribution to draw codes from"):
        plain.draw(3)


def test_images_from_pixels_to_samples(tmp_path):
    from sklearn.datasets import load_digits

    digits = (load_digits().images[:500] * 255 / 16).astype(np.uint8)
    data = tw.load(digits, task="reconstruction")
    assert data.modality == "unlabelled_images"
    study = tw.train(data, Config(model="vae", **{**SMALL, "embedding_size": 6}), epochs=25)
    assert study.summary["test"]["reconstruction_error"] < 0.75
    study.model().save(tmp_path / "model")
    model = tw.Model.load(tmp_path / "model")
    again = model.reconstruct(digits[:20])
    assert again.shape == (20, 8, 8, 1)
    assert again.dtype == np.uint8
    assert np.corrcoef(again.ravel(), digits[:20].ravel())[0, 1] > 0.7
    assert model.draw(7).shape == (7, 8, 8, 1)
    noise = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    assert model.predict(noise).min() > np.median(model.predict(digits[:20]))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"horizon": 3}, OptionError, "horizon does not go with task='reconstruction'"),
        ({"modality": "ratings"}, OptionError, "takes tables and images"),
        ({"image_size": 8}, OptionError, "options of images"),
        ({"drop": ["nothing"]}, DataError, "drop names the"),
        ({"loss": "mse"}, OptionError, "loss of a reconstruction task must be"),
    ],
)
def test_what_cannot_be_is_refused(options, error, said):
    with pytest.raises(error, match=said):
        tw.load(table(60), task="reconstruction", **options)


def test_models_that_predict_make_nothing_again():
    model = tw.train("iris", Config(width=4, depth=1), epochs=1).model()
    with pytest.raises(DataError, match="trained with task='reconstruction'"):
        model.reconstruct("iris")


@pytest.mark.slow
def test_anomalies_of_mammography_stand_out(shared_data):
    """As well as to a forest of isolation trees, within three hundredths of the area."""
    from sklearn.ensemble import IsolationForest
    from sklearn.metrics import roc_auc_score

    path = shared_data / "mammography.csv"
    rows = pl.read_csv(path)
    truth, numbers = rows["class"].to_numpy(), rows.drop("class").to_numpy()
    data = tw.load(str(path), "class", task="reconstruction")
    study = tw.train(data, Config(model="vae", **SMALL, clip_norm=100.0), epochs=20)
    ours = roc_auc_score(truth, study.model().predict(str(path)))
    forest = IsolationForest(random_state=0).fit(numbers)
    assert ours > roc_auc_score(truth, -forest.score_samples(numbers)) - 0.03
