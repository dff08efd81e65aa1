"""Explanations of texts: in whose words, and that they add up."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from networks import random_model

import thalweg as tw
from thalweg.data.texts import TextReader
from thalweg.errors import OptionError
from thalweg.explain.words import MOST_PIECES

GOOD, BAD = ("grand", "bright", "witty"), ("dull", "grey", "limp")


def reviews(num: int = 400, seed: int = 0) -> pl.DataFrame:
    """Return texts whose class is told by one word."""
    rng = np.random.default_rng(seed)
    filler = np.array(
        [
            "the",
            "a",
            "film",
            "plot",
            "was",
            "and",
            "with",
            "so",
            "it",
            "that",
            "scene",
            "actor",
            "of",
            "in",
        ]
    )
    lines = []
    for i in range(num):
        told = rng.choice(GOOD if i % 2 else BAD)
        before, after = (rng.choice(filler, rng.integers(3, 7)) for _ in range(2))
        lines.append(" ".join([*before, told, *after]) + "!")
    return pl.DataFrame({"text": lines, "liked": np.arange(num) % 2})


@pytest.fixture(scope="module")
def data():
    return tw.load(reviews(), target="liked")


@pytest.fixture(scope="module")
def trained(data):
    return tw.train(data, model="textcnn", width=16, epochs=20, learning_rate=0.01).model()


@pytest.mark.parametrize("method", ["occlusion", "shapley", "integrated_gradients"])
def test_the_word_that_tells_is_found(trained, method):
    rows = reviews(12, seed=5)
    found = trained.explain(rows, method, num_rows=12)
    assert found.method == method
    for row in range(12):
        words = found.frame.filter(pl.col("row") == row)
        largest = words.sort(pl.col("contribution").abs(), descending=True)["word"][0]
        assert largest in (*GOOD, *BAD)
        sign = 1 if largest in GOOD else -1
        assert sign * words.sort(pl.col("contribution").abs())["contribution"][-1] > 0
    told = {word for text in rows["text"] for word in text.split() if word in (*GOOD, *BAD)}
    assert {name for name, _ in found.totals()[: len(told)]} == told


def test_words_are_those_of_the_text(trained):
    text = "  « It was grand: grand! »"
    found = trained.explain([text], "occlusion")
    pieces = found.passages[0]
    assert "".join(piece for piece, _ in pieces) == text[2:]
    for start, word in found.frame.select("first_character", "word").iter_rows():
        assert text[start:].startswith(word)
    assert found.captions[0].endswith("%")
    assert "<blockquote" in found._repr_html_()


def test_shapley_values_add_up(trained):
    frame = trained.explain(reviews(4, seed=2), "shapley", samples=4).frame
    sums = frame.group_by("row", maintain_order=True).agg(
        pl.col("contribution").sum(), pl.col("base", "prediction").first()
    )
    np.testing.assert_allclose(
        (sums["base"] + sums["contribution"]).to_numpy(), sums["prediction"].to_numpy(), atol=1e-6
    )


def test_a_linear_model_is_taken_apart_exactly(data):
    # A term's weight is scaled by the norm of all of them, so that leaving a word out moves others:
    # what is exact is the difference itself.
    model = random_model(data, model="linear", depth=0)
    text = "the plot was grand and the scene was grey"
    found = model.explain([text], "occlusion").frame
    words = text.split()
    for place, (word, value) in enumerate(found.select("word", "contribution").iter_rows()):
        assert word == words[place]
        rest = " ".join([*words[:place], *words[place + 1 :]])
        own, without = (model.predict_proba([one])[0, 1] for one in (text, rest))
        np.testing.assert_allclose(value, own - without, atol=1e-6)


def test_networks_of_terms_have_no_path(data):
    model = random_model(data, model="linear", depth=0)
    with pytest.raises(OptionError, match="take occlusion or shapley"):
        model.explain(["the plot"], "integrated_gradients")


def test_a_long_text_is_taken_apart_into_stretches(trained):
    text = " ".join(["film"] * 300)
    found = trained.explain([text])
    assert len(found) <= MOST_PIECES
    assert "".join(piece for piece, _ in found.passages[0]) == text
    assert len(trained.explain([text], cells=3)) == 3


def test_texts_without_words(trained):
    found = trained.explain(["", "   ", "grand"], "shapley")
    assert found.frame["row"].to_list() == [2]


def test_a_page_of_texts(trained, tmp_path):
    found = trained.explain(["<b>grand</b> & dull"])
    files = found.save(tmp_path / "why")
    assert [file.name for file in files] == [
        "explanation.csv", "explanation.json", "explanation.html",
    ]  # fmt: skip
    page = (tmp_path / "why" / "explanation.html").read_text("utf-8")
    assert "&lt;" in page
    assert "<b>" not in page


def test_texts_in_a_folder_are_named(trained, tmp_path):
    for label, text in (("good", "a grand film"), ("bad", "a dull film")):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text(text, "utf-8")
    found = trained.explain(tmp_path)
    assert found.frame["file"].unique().sort().to_list() == ["bad/1.txt", "good/1.txt"]


def test_which_columns_matter():
    frame = reviews()
    noise = np.random.default_rng(3).standard_normal(frame.height)
    mixed = tw.load(frame.with_columns(noise=pl.Series(noise)), target="liked")
    model = tw.train(mixed, model="textcnn", width=16, epochs=20, learning_rate=0.01).model()
    found = model.explain(frame.with_columns(noise=pl.Series(noise)), "permutation").frame
    assert found["column"].to_list() == ["text", "noise"]
    assert found["importance"][0] > 0.3 > abs(found["importance"][1])


def test_pieces_are_whole_words():
    frame = pl.DataFrame({"text": ["one two three four five", "我喜欢电影", "…"]})
    from thalweg.data.texts import TextOptions

    reader = TextReader.fit(frame, ["text"], TextOptions())
    passage = reader.passage("one two three four five", 2)
    assert passage.pieces == ("one two three ", "four five")
    assert passage.kept([False, True]) == "four five"
    assert reader.passage("我喜欢电影", 40).pieces == tuple("我喜欢电影")
    assert reader.passage("\n\t", 40).pieces == ()


def test_the_path_agrees_with_captum(data):
    """On token vectors, against Captum on the same network rebuilt in PyTorch."""
    torch = pytest.importorskip("torch")
    captum = pytest.importorskip("captum.attr")
    model = random_model(
        data, model="textcnn", width=6, embedding_size=5, kernel_size=3, activation="tanh"
    )
    rows = reviews(5, seed=9)["text"].to_list()
    found = model.explain(rows, "integrated_gradients", target=1)
    encoder = model.encoder
    fields = encoder.encode(rows).fields
    params = {name: torch.tensor(values) for name, values in model.members[0][0].items()}
    length = torch.tensor(fields["length"])
    counts = torch.arange(fields["tokens"].shape[1])[None] < length[:, None]

    def network(x, own):
        x = x * own[:, :, None]
        parts = []
        for size in (3, 4, 5):
            kernel = params[f"conv_{size}/kernel"].reshape(5, size, -1).permute(2, 0, 1)
            left = (size - 1) // 2
            padded = torch.nn.functional.pad(x.transpose(1, 2), (left, size - 1 - left))
            response = torch.conv1d(padded, kernel, params[f"conv_{size}/bias"])
            response = torch.tanh(response).masked_fill(~own[:, None], -torch.inf)
            parts.append(response.amax(2))
        out = torch.cat(parts, 1)
        for name in sorted({n.split("/")[0] for n in params if n.startswith("hidden")}):
            out = torch.tanh(out @ params[f"{name}/kernel"] + params[f"{name}/bias"])
        return torch.sigmoid(out @ params["output/kernel"] + params["output/bias"])[:, 0]

    table = params["tokens/0"]
    x = table[torch.tensor(fields["tokens"]).long()]
    base = table[1].expand_as(x)
    theirs = captum.IntegratedGradients(network).attribute(
        x, baselines=base, additional_forward_args=(counts,), n_steps=256
    ).sum(2)  # fmt: skip
    for row in range(5):
        sums = found.frame.filter(pl.col("row") == row)["contribution"].sum()
        own = theirs[row][: int(length[row])].sum()
        np.testing.assert_allclose(sums, float(own), atol=2e-3)
