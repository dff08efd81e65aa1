"""A study of texts from the command line to predictions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import thalweg as tw
from thalweg.models import FAMILIES, InputShape
from thalweg.space import Config
from thalweg.study.recipes import RECIPES, Question
from thalweg.study.text_recipes import TEXT_FAMILIES
from thalweg.task import Task


def sentences(num: int, seed: int = 0) -> pl.DataFrame:
    """Return texts in two scripts whose label is one word among many, and a number."""
    rng = np.random.default_rng(seed)
    words = ["the", "film", "was", "for", "of", "и", "кино", "这", "电影", "and", "with", "plot"]
    rows = []
    for _ in range(num):
        label = int(rng.integers(2))
        said = list(rng.choice(words, rng.integers(6, 20)))
        said[rng.integers(len(said))] = str(
            rng.choice([["awful", "плохо"], ["great", "好"]][label])
        )
        rows.append(
            {"text": " ".join(said), "number": rng.normal(), "label": ["bad", "good"][label]}
        )
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory):
    return tw.tune(
        sentences(400),
        "label",
        model=("linear", "gru"),
        trials=6,
        epochs=8,
        finalists=1,
        seeds=2,
        run=tmp_path_factory.mktemp("runs") / "texts",
    )


def test_the_words_that_decide_are_found(study) -> None:
    assert study.summary["validation"]["accuracy"] > 0.9
    assert study.summary["test"]["accuracy"] > 0.9
    baselines = {entry["name"] for entry in study.summary["baselines"]}
    assert {"constant", "tfidf_linear"} <= baselines


def test_a_saved_model_reads_new_texts(study, tmp_path: Path) -> None:
    model = tw.Model.load(study.summary["run"])
    fresh = sentences(50, 1)
    frame = model.predict_frame(fresh.drop("label").with_columns(pl.lit("x").alias("other")))
    assert frame.columns == ["prediction", "probability_bad", "probability_good"]
    assert (frame["prediction"] == fresh["label"]).mean() > 0.85
    assert model.evaluate(fresh)["accuracy"] > 0.85
    np.testing.assert_array_equal(
        study.model().predict(fresh), np.array(frame["prediction"].to_list())
    )
    record = json.loads(
        (Path(study.summary["run"]) / "model" / "model.json").read_text(encoding="utf-8")
    )
    assert record["encoder"]["modality"] == "text"


@pytest.mark.parametrize("tokens", [40, 900])
@pytest.mark.parametrize("seconds", [30.0, 600.0])
def test_recipes_name_what_there_is(tokens: int, seconds: float) -> None:
    inputs = InputShape(masked=True, tokens=(tokens, 100), terms=(50, 90))
    task = Task("binary", ("y",), (0, 1))
    asked = Question(task, inputs, 5_000, max_structures=int(seconds / 8), seconds=seconds)
    recipe = RECIPES["text"](asked)
    found = [
        *recipe.first,
        *recipe.space.decode(np.random.default_rng(0).random((40, len(recipe.space.free)))),
    ]
    for config in found:
        assert config["model"] in TEXT_FAMILIES
        FAMILIES[config["model"]]
    for name in TEXT_FAMILIES:
        own = RECIPES["text"](Question(task, inputs, 500, families=(name,)))
        assert isinstance(own.space.decode([[0.5] * max(1, len(own.space.free))])[0], Config)


def test_so_many_families_as_there_is_time_for():
    from thalweg.study.text_recipes import text_families

    assert text_families(20, 48, 5.0) == ("gru", "linear")
    assert text_families(20, 48, 40.0) == ("gru", "linear", "lstm")
    assert len(text_families(20, 48, math.inf)) == 5
    assert len(text_families(4, 48, math.inf)) == 2
    assert text_families(20, 600, math.inf)[0] == "linear"
