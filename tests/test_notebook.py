"""Objects show themselves in notebooks: whole, escaped, and in HTML that a parser can read."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

import thalweg as tw
from thalweg import markup

VOID = {"img", "br"}


class Checker(HTMLParser):
    """Fails where elements are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "style", "b<")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def text_of(shown: object) -> str:
    checker = Checker()
    checker.feed(shown._repr_html_())
    checker.close()
    assert checker.open == []
    assert "nan" not in checker.text.split()
    return checker.text


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 200)
    frame = pl.DataFrame({"a<b": x, "c": rng.choice(["<i>", "y"], 200), "price": 3 * x})
    data = tw.load(frame, target="price")
    space = {"width": 8, "depth": 1, "learning_rate": {"low": 1e-3, "high": 0.1, "log": True}}
    return data, tw.tune(data, trials=6, space=space, epochs=4, finalists=0), frame


def test_dataset(study):
    text = text_of(study[0])
    assert "a<b" in text
    assert "200 rows" in text
    assert "taken for" in text


def test_study_and_answers(study):
    text = text_of(study[1])
    assert "6 trials" in text
    assert "Answers" in text
    answers = study[1].answers()
    text = text_of(answers)
    for answer in answers:
        assert answer.question in text
        assert answer.verdict in text


def test_model(study):
    model = study[1].model()
    text = text_of(model)
    assert "rmse" in text
    assert "learning_rate=" in text
    plain = repr(model)
    assert plain.startswith("<Model of ")
    assert "regression of price, 1 network" in plain
    # No weights, however many there are.
    assert len(plain) < 200


def test_explanations(study):
    model, frame = study[1].model(), study[2]
    for method in ("shapley", "permutation", "dependence", "neighbours"):
        options = {"examples": frame} if method == "neighbours" else {}
        text = text_of(model.explain(frame, method, num_rows=20, **options))
        assert f"Explanation by {method}" in text
        assert "a<b" in text or method == "neighbours"
    rng = np.random.default_rng(0)
    images = tw.load((rng.integers(0, 255, (40, 6, 6, 1), dtype=np.uint8), np.arange(40) % 2))
    one = tw.train(images, model="linear", epochs=1).model().explain(images.test.fields["image"])
    assert '<img alt="' in one._repr_html_()
    text_of(one)


def test_comparison(study):
    found = tw.compare(study[0], over="activation", trials=8, seeds=2, epochs=2)
    text = text_of(found)
    assert "Comparison over activation" in text
    assert "arms" in text


def test_pieces():
    shown = markup.table(("a", "b"), [("<x>", 0.123456), (None, 12345), (True, float("nan"))])
    for piece in ("&lt;x&gt;", "0.1235", "12,345", "True", "–"):
        assert piece in shown
    assert "width:100.0%" in markup.bars([("a", -2.0), ("b", 1.0), ("c", float("nan"))])
    assert markup.badge("tie").count("#3f74b5") == 2
