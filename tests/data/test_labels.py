"""Several labels for a row: read, trained on, scored and written."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from sklearn import metrics

import thalweg as tw
from thalweg.data.labels import label_names, read_labels
from thalweg.errors import DataError
from thalweg.optim.losses import LOSSES
from thalweg.optim.metrics import METRICS, score
from thalweg.task import Task

RNG = np.random.default_rng(0)
TOPICS = {"sport": "ball goal match", "money": "bank stock price", "food": "bread soup cook"}


def articles(num: int = 240, separator: str = "|") -> pl.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(num):
        chosen = [topic for topic in TOPICS if rng.random() < 0.5]
        words = [w for t in chosen for w in rng.choice(TOPICS[t].split(), 2)]
        filler = rng.choice(["the", "a", "of", "to", "it", "was", "and", "in", "on", "for"], 8)
        words = rng.permutation([*words, *filler])
        row = {"text": " ".join(words), "topics": separator.join(chosen)}
        rows.append({**row, **{topic: int(topic in chosen) for topic in TOPICS}})
    return pl.DataFrame(rows)


def test_labels_are_read_in_every_form() -> None:
    table = articles()
    names = label_names(table, ["topics"])
    assert names == ("food", "money", "sport")
    expected = table.select(names).to_numpy()
    np.testing.assert_array_equal(read_labels(table, ["topics"], names), expected)
    np.testing.assert_array_equal(read_labels(table, list(names), names), expected)
    for form in (articles(separator="; "), articles(separator=",")):
        np.testing.assert_array_equal(read_labels(form, ["topics"], names), expected)
    lists = table.with_columns(pl.col("topics").str.split("|"))
    # A split of nothing is one empty label, which is none.
    lists = lists.with_columns(pl.col("topics").list.eval(pl.element().filter(pl.element() != "")))
    np.testing.assert_array_equal(read_labels(lists, ["topics"], names), expected)
    np.testing.assert_array_equal(
        read_labels(pl.DataFrame({"topics": ["food|fish", None]}), ["topics"], names)[0], [1, 0, 0]
    )
    with pytest.raises(DataError, match="write the labels of a row as"):
        label_names(pl.DataFrame({"topics": ["a", "a"]}), ["topics"])
    with pytest.raises(DataError, match="must hold 0 and 1"):
        read_labels(pl.DataFrame({"a": [0, 3], "b": [0, 1]}), ["a", "b"], ["a", "b"])


def test_losses_are_those_of_torch_and_metrics_those_of_scikit_learn() -> None:
    torch = pytest.importorskip("torch")
    outputs = RNG.normal(size=(50, 4)).astype(np.float32)
    target = (RNG.random((50, 4)) < 0.4).astype(np.float32)
    target[:, 3] = 0
    found = jax.jit(lambda *rows: LOSSES["multilabel"]["cross_entropy"](*rows))(outputs, target)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(outputs), torch.tensor(target), reduction="none"
    ).mean(1)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)
    plain = LOSSES["multilabel"]["focal"](outputs, target, {"focal_gamma": 0.0})
    np.testing.assert_allclose(plain, found, rtol=1e-5)
    chosen = outputs > 0
    wanted = {
        "f1_micro": metrics.f1_score(target, chosen, average="micro"),
        "f1_macro": metrics.f1_score(target, chosen, average="macro", zero_division=0.0),
        "accuracy": metrics.accuracy_score(target, chosen),
        "hamming_loss": metrics.hamming_loss(target, chosen),
    }
    assert set(wanted) == set(METRICS["multilabel"])
    task = Task("multilabel", ("topics",), ("a", "b", "c", "d"))
    scores = score(task, 1 / (1 + np.exp(-outputs)), target)
    for name, value in wanted.items():
        assert abs(float(METRICS["multilabel"][name](jnp.asarray(outputs), target)) - value) < 1e-6
        assert abs(scores[name] - value) < 1e-9


@pytest.mark.parametrize("target", ["topics", list(TOPICS)])
def test_several_labels_are_learnt(target: str | list[str], tmp_path: Path) -> None:
    table = articles().drop([c for c in (*TOPICS, "topics") if c not in (*target, target)])
    data = tw.load(table, target=target, task="multilabel")
    assert data.task.kind == "multilabel"
    assert data.task.metric == "f1_micro"
    study = tw.tune(data, model="linear", trials=3, epochs=10, finalists=1, seeds=1)
    assert study.summary["test"]["f1_micro"] > 0.85
    assert {b["name"] for b in study.summary["baselines"]} == {"constant", "tfidf_linear"}
    model = study.model()
    model.save(tmp_path / "model")
    frame = tw.Model.load(tmp_path / "model").predict_frame(table.head(5))
    assert frame.columns[0] == "prediction"
    assert len(frame.columns) == 4
    assert all(set(p.split("|")) <= {*TOPICS, ""} for p in frame["prediction"])
