"""Language models: data, networks, Kneser–Ney, samples, a study."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.data.dataset import Encoder
from thalweg.data.language import LanguageDataset, stretches
from thalweg.data.tokens import END, START, Tokens
from thalweg.errors import DataError, OptionError, SpaceError
from thalweg.models import InputShape, build
from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import Context
from thalweg.optim.metrics import score
from thalweg.space import Config
from thalweg.study.kneser_ney import KneserNey, kneser_ney
from thalweg.task import Task
from thalweg.training.generation import filtered

RNG = np.random.default_rng(0)
ANIMALS, VERBS = ["cat", "dog", "cow", "hen"], ["sees", "likes", "hears"]


def texts(num: int = 300) -> list[str]:
    """Return sentences of a small grammar: its perplexity is known."""
    rng = np.random.default_rng(1)
    return [
        f"the {rng.choice(ANIMALS)} {rng.choice(VERBS)} the {rng.choice(ANIMALS)}"
        for _ in range(num)
    ]


def test_texts_are_cut_into_rows_that_overlap_by_a_token() -> None:
    tokens = Tokens(np.arange(10, 17, dtype=np.int32), np.array([0, 5, 5, 7]))
    ids, length, owner = stretches(tokens, 4)
    assert owner.tolist() == [0, 0, 1, 2]
    assert ids.tolist() == [
        [START, 10, 11, 12, 13],
        [13, 14, END, 0, 0],
        [START, END, 0, 0, 0],
        [START, 15, 16, END, 0],
    ]
    assert length.tolist() == [5, 3, 2, 4]


@pytest.fixture(scope="module")
def data() -> LanguageDataset:
    found = tw.load(texts(), task="language", tokens="words")
    assert isinstance(found, LanguageDataset)
    return found


def test_texts_are_their_own_target(data: LanguageDataset, tmp_path: Path) -> None:
    assert data.task.kind == "language"
    assert data.modality == "language"
    assert data.train.target.sum() == 6 * len(data.train)
    encoder = Encoder.from_dict(json.loads(json.dumps(data.encoder.to_dict())))
    part = encoder.encode(texts(5))
    np.testing.assert_array_equal(part.fields["length"], 7)
    (tmp_path / "a.txt").write_text("\n".join(texts(30)), encoding="utf-8")
    for source in (tmp_path / "a.txt", {"said": texts(30), "by": list(range(30))}):
        again = tw.load(source, task="language", tokens="characters")
        assert sum(map(len, again.parts.values())) >= 30
    with pytest.raises(OptionError, match="their own target"):
        tw.load(texts(), "text", task="language")
    with pytest.raises(DataError, match="3 texts or more; got 1"):
        tw.load(["one text"], task="language")
    with pytest.raises(DataError, match="no column holds texts"):
        tw.load({"a": [1, 2, 3]}, task="language")


INPUTS = InputShape(tokens=(25, 30), masked=True, language=True)


def made(model: str):
    config = Config(model=model, width=16, depth=2, embedding_size=12, num_heads=2)
    network = build(config.structure(), INPUTS, 0)
    drawn = initial_params(network.params(), ["he_normal"], np.ones(1), 0)
    return network, {name: jnp.asarray(v[0]) for name, v in drawn.items()}


@pytest.mark.parametrize("model", ["lstm", "gru", "rnn", "transformer"])
def test_tokens_are_predicted_from_those_before_them(model: str) -> None:
    network, params = made(model)
    tokens = RNG.integers(3, 30, (4, 25)).astype(np.int32)
    fields = {"tokens": jnp.asarray(tokens), "length": jnp.array([25, 25, 8, 2])}
    logs = np.asarray(network.apply(params, {}, fields, Context())[0])
    assert logs.shape == (4, 24)
    assert (logs[2, 7:] == 0).all()
    assert (logs[3, 1:] == 0).all()
    changed = tokens.copy()
    changed[:, 12] = 4
    other = {**fields, "tokens": jnp.asarray(changed)}
    moved = np.asarray(network.apply(params, {}, other, Context())[0])
    np.testing.assert_allclose(moved[:2, :11], logs[:2, :11], atol=1e-5)
    assert np.abs(moved[:2, 12:] - logs[:2, 12:]).max() > 1e-4
    # Over all tokens the probabilities of the next one add up to 1.
    total = 0.0
    for token in range(30):
        own = {**fields, "tokens": jnp.asarray(np.where(np.arange(25) == 24, token, tokens))}
        total += np.exp(np.asarray(network.apply(params, {}, own, Context())[0])[0, 23])
    assert abs(total - 1) < 1e-4
    with pytest.raises(SpaceError, match="is no language model"):
        build(Config(model="textcnn").structure(), INPUTS, 0)


def test_kneser_ney_is_a_distribution_and_follows_its_formula() -> None:
    rows = [RNG.integers(2, 9, 12).tolist() for _ in range(30)]
    model = KneserNey(rows, 10, 3)
    for context in [(), (3,), (3, 4), tuple(rows[0][:2]), (9, 9)]:
        total = sum(model.probability(context, token) for token in range(10))
        assert abs(total - 1) < 1e-9
    # The highest order by hand: the discounted share of what was seen, and the rest from below.
    pairs = Counter((row[i], row[i + 1]) for row in rows for i in range(11))
    triples = Counter(tuple(row[i : i + 3]) for row in rows for i in range(10))
    context = rows[0][0], rows[0][1]
    ones, twos = (sum(c == k for c in triples.values()) for k in (1, 2))
    discount = ones / (ones + 2 * twos)
    seen = {t[2]: c for t, c in triples.items() if t[:2] == context}
    total = sum(seen.values())
    below = discount * len(seen) / total
    for token in range(10):
        expected = max(seen.get(token, 0) - discount, 0) / total
        expected += below * model.probability(context[1:], token)
        assert abs(model.probability(context, token) - expected) < 1e-9
    assert pairs


def test_kneser_ney_knows_the_grammar(data: LanguageDataset) -> None:
    outputs = kneser_ney(data.task, data.train.fields, data.train.target)
    found = score(data.task, outputs(data.test.fields), data.test.target)
    # the · animal · verb · the · animal · end: four, three and four alike.
    exact = np.exp((2 * np.log(4) + np.log(3)) / 6)
    assert exact < found["perplexity"] < 1.1 * exact
    assert abs(np.log(found["perplexity"]) - found["log_loss"]) < 1e-9


def test_what_may_be_drawn_is_filtered() -> None:
    scores = jnp.log(jnp.array([0.5, 0.25, 0.15, 0.1]))
    kept = lambda t, k, p: np.isfinite(np.asarray(filtered(scores, t, k, p)))  # noqa: E731
    assert kept(1.0, 4, 1.0).all()
    assert kept(1.0, 2, 1.0).tolist() == [True, True, False, False]
    assert kept(1.0, 4, 0.6).tolist() == [True, True, False, False]
    assert kept(1.0, 4, 1e-6).tolist() == [True, False, False, False]
    np.testing.assert_allclose(filtered(scores, 0.5, 4, 1.0), 2 * scores, rtol=1e-6)


@pytest.fixture(scope="module")
def study(data: LanguageDataset, tmp_path_factory: pytest.TempPathFactory):
    config = {"model": "lstm", "depth": 1, "width": 24, "embedding_size": 24, "batch_size": 16}
    space = {**config, "optimizer": "adam", "learning_rate": [0.01, 0.02], "schedule": "cosine"}
    return tw.tune(
        data,
        space=space,
        trials=2,
        epochs=12,
        seeds=2,
        finalists=1,
        run=tmp_path_factory.mktemp("runs") / "language",
    )


def test_the_grammar_is_learnt(study) -> None:
    exact = np.exp((2 * np.log(4) + np.log(3)) / 6)
    assert exact * 0.97 < study.summary["test"]["perplexity"] < 1.15 * exact
    assert {entry["name"] for entry in study.summary["baselines"]} == {"kneser_ney"}
    assert len(study.summary["samples"]) == 6


def test_samples_are_sentences(study) -> None:
    model = tw.Model.load(study.summary["run"])
    found = model.sample(num=20, length=12, temperature=0.5, seed=3)
    words = {*ANIMALS, *VERBS, "the"}
    proper = [t for t in found if set(t.split()) <= words and len(t.split()) == 5]
    assert len(proper) >= 15
    assert found == model.sample(num=20, length=12, temperature=0.5, seed=3)
    assert len(set(found)) > 3
    greedy = model.sample("the cat", num=3, length=12, temperature=0)
    assert len(set(greedy)) == 1
    assert greedy[0].startswith("the cat ")
    frame = model.predict_frame(texts(4))
    assert frame.columns == ["tokens", "log_probability", "perplexity"]
    assert frame["perplexity"].max() < 4
    assert model.evaluate(texts(40))["perplexity"] < 3
    with pytest.raises(OptionError, match="top_p above 0 and at most 1; got 0"):
        model.sample(top_p=0)


def test_others_do_not_write() -> None:
    study = tw.train("iris", model="linear", epochs=1)
    with pytest.raises(OptionError, match="continued by language models"):
        study.model().sample()
    assert Task("language", ("next",)).metric == "perplexity"
