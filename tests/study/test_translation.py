"""A study that translates, from pairs of texts to predictions, and its saved model."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import thalweg as tw
from thalweg.space import Config
from thalweg.study.model import Model
from thalweg.study.retrieval import nearest_neighbour
from thalweg.task import Task
from thalweg.training.writing import attention, write

pytest.importorskip("tokenizers")
pytest.importorskip("sacrebleu")

NOUNS = {
    "dog": "Hund",
    "cat": "Katze",
    "man": "Mann",
    "tree": "Baum",
    "house": "Haus",
    "boy": "Junge",
}
VERBS = {
    "runs": "läuft",
    "sleeps": "schläft",
    "stands": "steht",
    "falls": "fällt",
    "sings": "singt",
}
SMALL: dict[str, Any] = {
    "width": 32, "depth": 1, "batch_size": 16, "optimizer": "adamw", "learning_rate": 1e-2,
    "init": "glorot_uniform", "clip_norm": 1.0, "dropout": 0.0,
}  # fmt: skip


def pairs() -> pl.DataFrame:
    """Return sentences of two nouns and a verb, whose German keeps the order."""
    rows = [
        (f"the {a} and the {b} : {v}", f"{NOUNS[a]} und {NOUNS[b]} : {VERBS[v]}")
        for a in NOUNS
        for b in NOUNS
        for v in VERBS
    ]
    return pl.DataFrame(rows, schema=["en", "de"], orient="row")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tw.Study:
    data = tw.load(pairs(), "de", source_column="en", tokens="words")
    run = tmp_path_factory.mktemp("runs") / "run"
    return tw.tune(
        data, trials=1, space={"model": "seq2seq_transformer", **SMALL}, epochs=30, run=run
    )


def test_a_small_language_is_learnt(study: tw.Study) -> None:
    summary = study.summary
    assert summary["metric"] == "perplexity"
    assert summary["test"]["bleu"] > 80
    assert set(summary["test"]) >= {"perplexity", "token_accuracy", "bleu", "chrf", "rouge1"}
    (baseline,) = summary["baselines"]
    assert baseline["name"] == "nearest_neighbour"
    assert summary["test"]["chrf"] > baseline["test"]["chrf"]


def test_the_saved_model_writes_the_same(study: tw.Study) -> None:
    assert study.directory is not None
    model = Model.load(study.directory.path)
    rows = ["the dog and the cat : sings", "", "🙂"]
    written = model.predict(rows)
    assert written.tolist() == study.model().predict(rows).tolist()
    assert written[0] == "Hund und Katze : singt"
    frame = model.predict_frame(pl.DataFrame({"en": rows}))
    assert frame.columns == ["prediction"]
    scores = model.evaluate(pairs().head(20))
    assert scores["bleu"] > 80
    assert scores["perplexity"] < 2


def test_several_members_write_by_their_mean(study: tw.Study) -> None:
    """Twice the same network is that network; rows do not depend on their neighbours."""
    model = study.model()
    network: Any = next(iter(model.networks()))[0]
    params = model.members[0][0]
    encoder: Any = model.encoder
    source = encoder.encode(pairs()["en"].head(9).to_list()).fields["source"]
    limits = encoder.limits(source)
    one = write(network, [params], source, limits)
    np.testing.assert_array_equal(write(network, [params, params], source, limits), one)
    np.testing.assert_array_equal(write(network, [params], source[:1], limits[:1])[0], one[0])


def test_an_lstm_learns_too() -> None:
    data = tw.load(pairs(), "de", source_column="en", tokens="words")
    trained = tw.train(data, Config(model="seq2seq_lstm", **SMALL), epochs=30)
    assert trained.summary["test"]["bleu"] > 60


def test_the_nearest_neighbour_answers_with_what_belongs_to_it() -> None:
    source = np.array([[5, 6, 0], [7, 8, 9], [5, 8, 0]])
    target = np.array(["a", "b", "c"], object)
    outputs = nearest_neighbour(Task("translation", ("y",)), {"source": source}, target)
    assert outputs({"source": np.array([[7, 8, 0], [5, 6, 0]])}).tolist() == ["b", "a"]


def test_the_report_shows_what_is_written_and_where_it_looks(study: tw.Study, tmp_path):
    entries = study.summary["written"]
    assert {entry["kind"] for entry in entries} == {"usual", "worst"}
    for entry in entries:
        assert entry["source"].startswith("the ")
        assert 0 <= entry["score"] <= 1
    worst = [entry["score"] for entry in entries if entry["kind"] == "worst"]
    assert worst == sorted(worst)
    aligned = [entry["alignment"] for entry in entries if entry.get("alignment")]
    assert len(aligned) == 3
    for one in aligned:
        weights = np.array(one["weights"])
        assert weights.shape == (len(one["wrote"]), len(one["read"]))
        np.testing.assert_allclose(weights.sum(1), 1.0, atol=0.02)
    page = study.report(tmp_path / "report.html").read_text("utf-8")
    assert "Where it looks" in page
    assert "What the model writes" in page


def test_attention_is_that_of_the_tokens_given(study: tw.Study):
    """The tokens before each, and no other, are what it is written after."""
    model = study.model()
    network = next(iter(model.networks()))[0]
    members = [params for params, _ in model.members]
    read, wrote = [5, 6, 7, 8], [9, 10, 11]
    whole = attention(network, members, [read], [wrote])[0]
    part = attention(network, members, [read], [wrote[:2]])[0]
    np.testing.assert_allclose(whole[:2], part, atol=1e-5)
    other = attention(network, members, [read], [[9, 10, 12]])[0]
    np.testing.assert_allclose(whole, other, atol=1e-5)


def test_a_time_budget_keeps_room_for_writing():
    from thalweg.study.budget import Budget, Clock
    from thalweg.study.setup import prepare
    from thalweg.study.timeplan import TimePlan

    data = tw.load(pairs(), "de", source_column="en", tokens="words")
    for seconds, most in ((100.0, 60.0), (10.0, 9.0)):
        budget = Budget(seconds=seconds)
        _, settings = prepare(data, None, budget)
        plan = TimePlan(settings, Clock(budget))
        assert 10.0 < settings.writing_seconds < 11.0
        assert 0.5 * seconds * 0.2 < plan.reserve < most
