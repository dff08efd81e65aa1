"""The winner with one thing changed: what is tried, and that nothing else differs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from customers import SPACE

import thalweg as tw
from thalweg.optim import rules
from thalweg.space import Config
from thalweg.study.ablations import Variant, variants_of
from thalweg.training.member import Features


def features(**used: Any) -> Features:
    return Features(rules.features(["adam"]), ("cross_entropy",), **used)


def test_one_thing_is_changed_at_a_time() -> None:
    config = Config(model="mlp", width=32, dropout=0.3, weight_decay=0.01, l1=0.0, mixup=0.0)
    found = variants_of(config, features(dropout=True, mixup=True))
    changed = {(v.name, v.change): v.config for v in found}
    assert set(changed) == {
        ("smaller_model", "half"), ("dropout", "without"), ("weight_decay", "without"),
        ("mixup", "with"),
    }  # fmt: skip
    for variant in found:
        assert len([name for name in config if variant.config[name] != config[name]]) == 1
    assert changed["smaller_model", "half"]["width"] == 16
    assert changed["dropout", "without"]["dropout"] == 0


def test_nothing_is_tried_that_the_program_cannot_do() -> None:
    config = Config(model="mlp", width=4, dropout=0.0, label_smoothing=0.0)
    assert [v.name for v in variants_of(config, features(label_smoothing=True))] == [
        "label_smoothing"
    ]


def test_augmentation_is_one_thing() -> None:
    config = Config(model="cnn", width=4, shift=0.1, rotation=10.0, flip=0.0)
    (found,) = variants_of(config, features(augment=("shift", "rotation", "flip")))
    assert (found.name, found.change) == ("augmentation", "without")
    assert found.config["shift"] == found.config["rotation"] == 0


@pytest.fixture(scope="module")
def study(tables: Any) -> tw.Study:
    space = {**SPACE, "dropout": 0.5, "width": 16}
    return tw.tune(
        tables["train"], "bought", trials=40, epochs=3, space=space, finalists=1, seeds=3
    )


def test_a_study_measures_what_its_winner_is_made_of(study: tw.Study) -> None:
    entries = study.summary["ablations"]
    assert {entry["name"] for entry in entries} >= {"dropout", "smaller_model"}
    confirmed = {r["id"]: r["score"] for r in study.records if r["phase"] == "confirm"}
    assert len(confirmed) == 3
    for entry in entries:
        assert entry["winner"] == pytest.approx(confirmed[entry["trial"]])
        assert np.isfinite(entry["score"])
    (answer,) = [a for a in study.answers() if a.question == "What helps against overfitting?"]
    assert "nothing else differed" in answer.claim


def test_a_variant_is_paired_with_its_replicate(
    tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The winner itself as a variant scores what its replicates scored: nothing else differs."""
    monkeypatch.setattr(
        "thalweg.study.ablations.variants_of",
        lambda config, features: [Variant("dropout", "with", config)],
    )
    study = tw.tune(
        tables["train"], "bought", trials=40, epochs=2, space=SPACE, finalists=1, seeds=3
    )
    entries = study.summary["ablations"]
    assert len(entries) == 3
    for entry in entries:
        assert entry["score"] == pytest.approx(entry["winner"])


def test_nothing_is_changed_where_nobody_wants_it(tables: Any) -> None:
    study = tw.tune(
        tables["train"], "bought", trials=40, epochs=1, space=SPACE, finalists=1, seeds=2,
        growth=False,
    )  # fmt: skip
    assert "ablations" not in study.summary
