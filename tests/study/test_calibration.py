"""Temperatures and intervals fitted on held-out rows do what they promise on new ones."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

import thalweg as tw
from thalweg.errors import OptionError
from thalweg.study.calibration import (
    LEVELS,
    Calibration,
    conformal_radius,
    fit_temperature,
    needed_rows,
    row_losses,
    temperature_gain,
    tempered,
)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def drawn(num: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities that are too sure by a temperature, and classes."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((num, 4))
    right = softmax(logits)
    truth = np.array([rng.choice(4, p=p) for p in right])
    return softmax(logits * temperature), truth


def test_tempering_divides_logits():
    logits = np.random.default_rng(0).standard_normal((5, 4))
    np.testing.assert_allclose(tempered(softmax(logits), 2.0), softmax(logits / 2.0))
    np.testing.assert_allclose(tempered(np.array([[1.0, 0.0]]), 3.0).sum(1), 1.0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(temperature):
    probabilities, truth = drawn(4000, temperature)
    assert fit_temperature(probabilities, truth) == pytest.approx(temperature, rel=0.08)
    gain, (low, high) = temperature_gain(probabilities, truth)
    assert low < gain < high
    assert (low > 0) == (temperature != 1.0)
    mixed = np.eye(4)[truth]
    assert fit_temperature(probabilities, mixed) == fit_temperature(probabilities, truth)
    np.testing.assert_allclose(row_losses(probabilities, mixed), row_losses(probabilities, truth))


def test_as_scikit_learn_where_it_has_temperatures():
    calibration = pytest.importorskip("sklearn.calibration")
    if not hasattr(calibration, "_TemperatureScaling"):
        pytest.skip("this scikit-learn has no temperature scaling")
    probabilities, truth = drawn(2000, 2.0, 1)
    theirs = calibration._TemperatureScaling().fit(np.log(probabilities), truth)
    ours = fit_temperature(probabilities, truth)
    assert ours == pytest.approx(1.0 / theirs.beta_, rel=0.01)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_intervals_hold_what_they_promise(level):
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        errors = np.abs(rng.standard_t(3, (80, 1)))
        radius = conformal_radius(errors)[LEVELS.index(level)][0]
        shares.append((np.abs(rng.standard_t(3, 200)) <= radius).mean())
    assert level - 0.006 <= np.mean(shares) <= level + 0.02


def test_too_few_rows_for_a_level():
    fitted = Calibration(None, conformal_radius(np.ones((8, 2))), 8)
    assert fitted.radius_of(0.8).tolist() == [1.0, 1.0]
    with pytest.raises(OptionError, match="needs 9 held-out rows; the model had 8"):
        fitted.radius_of(0.9)
    assert needed_rows(0.9) == 9
    assert math.isfinite(conformal_radius(np.ones((9, 1)))[LEVELS.index(0.9)][0])
    for level in (0.3, 1.0):
        with pytest.raises(OptionError, match=r"from 0.5 to 0.99"):
            fitted.radius_of(level)
    with pytest.raises(OptionError, match="regression"):
        Calibration(1.3, (), 20).radius_of(0.9)
    assert Calibration.from_dict(fitted.to_dict()) == fitted


def houses(num: int = 600) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    size = rng.uniform(20, 200, num)
    return pl.DataFrame({"size": size, "price": 10 * size + rng.normal(0, 100, num)})


def test_a_regression_from_fit_to_predict(tmp_path):
    study = tw.tune(
        houses(), "price", trials=1, space={"width": 8, "depth": 1, "learning_rate": 0.01},
        epochs=20, finalists=0, baselines=False,
    )  # fmt: skip
    told = {line["level"]: line for line in study.summary["calibration"]["intervals"]}
    assert told[0.9]["low"] <= 0.9 <= told[0.9]["high"]
    assert told[0.5]["radius"] < told[0.9]["radius"]
    model = tw.Model.load(study.model().save(tmp_path))
    frame = model.predict_frame(houses(50), interval=0.9)
    assert frame.columns == ["prediction", "lower", "upper"]
    np.testing.assert_allclose(
        frame["upper"] - frame["prediction"], model.calibration.radius_of(0.9)[0], rtol=1e-6
    )
    with pytest.raises(OptionError, match="no temperature"):
        model.calibrate()


def test_classes_from_fit_to_predict(tmp_path):
    rng = np.random.default_rng(0)
    frame = houses().with_columns(
        dear=pl.Series(
            rng.random(600) < 1 / (1 + np.exp(-(houses()["size"].to_numpy() - 110) / 30))
        )
    )
    study = tw.tune(
        frame.drop("price"), "dear", trials=1, epochs=20, finalists=0, baselines=False, goal="f1",
        space={"width": 8, "depth": 1, "learning_rate": 0.01},
    )  # fmt: skip
    record = study.summary["calibration"]
    assert not record["applied"]
    assert record["test"].keys() == {"before", "after"}
    model = study.model()
    right = model.calibrate()
    loaded = tw.Model.load(right.save(tmp_path))
    rows = frame.drop("price", "dear")
    np.testing.assert_allclose(
        right.predict_proba(rows), tempered(model.predict_proba(rows), record["temperature"])
    )
    np.testing.assert_allclose(loaded.predict_proba(rows), right.predict_proba(rows))
    # The threshold of the goal moves along: the same rows are announced.
    np.testing.assert_array_equal(right.predict(rows), model.predict(rows))
    assert right.calibrate() is right
    with pytest.raises(OptionError, match="regression"):
        model.predict_frame(rows, interval=0.9)
    applied = tw.tune(
        frame.drop("price"), "dear", trials=1, epochs=20, finalists=0, baselines=False,
        calibrate=True, space={"width": 8, "depth": 1, "learning_rate": 0.01},
    )  # fmt: skip
    assert applied.summary["calibration"]["applied"]
    assert applied.summary["test"]["log_loss"] == pytest.approx(
        record["test"]["after"]["log_loss"], rel=1e-6
    )
