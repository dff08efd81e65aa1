"""Texts: columns, folders and lists, read as tokens and as terms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

import thalweg as tw
from thalweg.data.dataset import Encoder
from thalweg.data.terms import Terms
from thalweg.data.text_columns import whole_texts
from thalweg.data.text_loading import load_text
from thalweg.data.texts import TextDataset
from thalweg.data.tokens import UNKNOWN, fit_tokeniser
from thalweg.errors import DataError, OptionError

GOOD = ["a lovely and moving film", "great fun for the whole family today", "superb acting"]
BAD = ["dull , slow and far too long", "a waste of two hours of my life", "awful script"]


def reviews(num: int = 60) -> pl.DataFrame:
    """Return texts with a label, a number, a category and a second column of texts."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(num):
        label = i % 2
        said = " and ".join(rng.choice([BAD, GOOD][label], 2))
        rows.append(
            {
                "review": f"{said} , said number {rng.integers(9)} of them",
                "title": f"words about the film of night {i} by critic {rng.integers(99)}",
                "stars": float(rng.normal() + label),
                "where": str(rng.choice(["here", "there"])),
                "liked": ["no", "yes"][label],
            }
        )
    return pl.DataFrame(rows)


def test_sentences_are_read_beside_numbers_and_categories() -> None:
    data = tw.load(reviews(), target="liked")
    assert isinstance(data, TextDataset)
    assert data.modality == "text"
    assert data.reader.columns == ("review", "title")
    fields = data.train.fields
    assert set(fields) == {"numeric", "tokens", "length", "terms", "term_weight"}
    shape = data.input_shape
    assert fields["tokens"].shape[1] == shape["tokens"][0]
    assert fields["tokens"].max() < shape["tokens"][1]
    assert fields["terms"].max() < shape["terms"][1]
    assert fields["numeric"].shape[1] == shape["numeric"] == 3
    assert "texts of up to" in data.headline()
    text = data.texts("train")[0]
    ids = fields["tokens"][0, : fields["length"][0]]
    assert data.reader.tokeniser.decode(ids) == text
    # What was learnt is JSON, and encodes the same.
    encoder = Encoder.from_dict(json.loads(json.dumps(data.encoder.to_dict())))
    again = encoder.encode(reviews(), with_target=True).take(data.train.rows)
    for name, values in fields.items():
        np.testing.assert_allclose(again.fields[name], values, rtol=1e-5)
    np.testing.assert_array_equal(again.target, data.train.target)


def test_training_rows_alone_are_learnt_from() -> None:
    table = reviews().with_columns(pl.Series("odd", np.arange(60)))
    data = tw.load(table.drop("odd"), target="liked")
    rows = set(data.train.rows.tolist())
    strange = pl.when(pl.col("odd").is_in(list(rows))).then(pl.col("review"))
    changed = table.with_columns(
        strange.otherwise(pl.format("zzyzx{} quux{}", "odd", "odd")).alias("review")
    )
    other = tw.load(changed.drop("odd"), target="liked")
    np.testing.assert_array_equal(other.train.rows, data.train.rows)
    assert other.encoder.to_dict()["reader"] == data.encoder.to_dict()["reader"]


def test_names_are_set_aside_unless_asked_for() -> None:
    names = pl.DataFrame(
        {
            "name": [f"Mr. Nr{i} Someone" for i in range(40)],
            "x": np.random.default_rng(0).normal(size=40),
            "y": [i % 2 for i in range(40)],
        }
    )
    data = tw.load(names, target="y")
    assert data.modality == "table"
    assert "name=text reads it" in " ".join(data.notices)
    assert tw.load(names, target="y", columns={"name": "text"}).modality == "text"
    assert tw.load(names, target="y", text="name").reader.columns == ("name",)
    # As the only column they are what there is.
    assert tw.load(names.drop("x"), target="y").modality == "text"


def test_lists_and_pairs_of_texts() -> None:
    table = reviews()
    texts, labels = table["review"].to_list(), table["liked"].to_list()
    for data in (tw.load((texts, labels)), tw.load(texts, target=labels)):
        assert data.reader.columns == ("text",)
        part = data.encode(["a lovely film", ""])
        assert part.fields["length"].tolist() == [len(["a", "lovely", "film"]), 1] or len(part) == 2
    assert len(data.encode(["half a \ud800 character"])) == 1
    scored = data.encode((texts[:5], labels[:5]), with_target=True)
    assert data.encoder.target.labels(scored.target).tolist() == labels[:5]


def test_folders_of_text_files(tmp_path: Path) -> None:
    for i, row in enumerate(reviews(30).iter_rows(named=True)):
        folder = tmp_path / "films" / row["liked"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:02}.txt").write_text(row["review"], encoding="utf-8")
    (tmp_path / "films" / "yes" / "99.txt").write_bytes(b"caf\xe9 \xff\xfe lovely and moving film")
    data = tw.load(tmp_path / "films")
    assert data.name == "films"
    assert data.task.classes == ("no", "yes")
    assert data.notices[0].startswith("1 file(s) are not UTF-8")
    part = data.encode(tmp_path / "films")
    assert part.keys["file"][0].endswith("01.txt") or part.keys["file"][0].endswith("00.txt")
    assert len(part) == 31


ODD = [
    "",
    "   ",
    "👩‍👩‍👧 ❤",
    "שלום עולם מה שלומך",
    "日本語のテキスト",
    "x" * 500,
    "a\x00b",
]


@pytest.mark.parametrize("tokens", ["bpe", "words", "characters"])
def test_odd_texts_are_read(tokens: str) -> None:
    data = load_text(reviews(), "liked", text="review", tokens=tokens, max_tokens=12)
    part = data.encode(pl.DataFrame({"review": ODD, "title": ODD, "stars": 0.0, "where": "x"}))
    fields = part.fields
    assert fields["tokens"].shape == (len(ODD), 12)
    assert (fields["length"] >= 1).all()
    assert np.isfinite(fields["term_weight"]).all()
    assert fields["tokens"][0, 0] == UNKNOWN
    told = " ".join(part.notices)
    assert "are empty: read as one unknown word" in told
    assert "longer than 12 tokens" in told or tokens == "words"
    if tokens == "words":
        assert "hold unknown words only" in told


def test_missing_and_nested_texts() -> None:
    table = reviews().with_columns(
        pl.when(pl.int_range(60) % 5 == 0).then(None).otherwise(pl.col("review")).alias("review"),
        pl.Series("tags", [["a", "b"], ["c"]] * 30),
        pl.Series("raw", [b"caf\xe9 au lait", b"bytes of a text"] * 30),
    )
    data = load_text(table, "liked", text=("review", "tags", "raw"))
    assert data.texts("train")[0].count("\n") == 2
    assert "could not be decoded" in " ".join(data.notices)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OptionError, match="max_tokens must be a whole number from 1; got 0"):
        tw.load(reviews(), target="liked", max_tokens=0)
    with pytest.raises(OptionError, match="one of bpe, words, characters; got 'letters'"):
        tw.load(reviews(), target="liked", tokens="letters")
    with pytest.raises(DataError, match="text names the column 'revue'"):
        tw.load(reviews(), target="liked", text="revue")
    with pytest.raises(DataError, match="no column holds texts"):
        tw.load(reviews().select("stars", "where", "liked"), target="liked", tokens="words")
    data = tw.load(reviews(), target="liked")
    with pytest.raises(DataError, match="'title'"):
        data.encode(reviews().drop("title"))


def test_terms_are_those_of_scikit_learn() -> None:
    texts = reviews()["review"].to_list()
    words = fit_tokeniser(texts, kind="words", min_count=1, vocabulary=1000)
    tokens = words.encode(texts)
    terms = Terms.fit(tokens, words.size)
    ids, weights = terms.encode(tokens)
    matrix = np.zeros((len(texts), terms.size))
    np.put_along_axis(matrix, ids.astype(int), weights, 1)
    oracle = TfidfVectorizer(
        sublinear_tf=True,
        ngram_range=(1, 2),
        min_df=2,
        analyzer="word",
        token_pattern=r"\w+|[^\w\s]",
    )
    expected = oracle.fit_transform(texts).toarray()
    assert terms.size == expected.shape[1] + 1
    # The same terms under other numbers: the products of all pairs of texts agree.
    np.testing.assert_allclose(matrix @ matrix.T, expected @ expected.T, atol=1e-5)
    assert (np.diff(weights, axis=1) <= 1e-7).all()
    few = terms.encode(tokens, 3)
    np.testing.assert_array_equal(few[0], ids[:, :3])
    again = Terms.from_dict(json.loads(json.dumps(terms.to_dict())))
    np.testing.assert_array_equal(again.encode(tokens)[0], ids)
    assert terms.encode(words.encode(["", "unheard"]))[1].max() == 0


def test_phrases_stay_with_their_sentence() -> None:
    rng = np.random.default_rng(0)
    rows, owner = [], []
    for number in range(40):
        words = [f"w{number}x{i}" for i in range(12)]
        rows.append(" ".join(words))
        owner.append(number)
        for _ in range(5):
            start, size = rng.integers(0, 8), rng.integers(2, 5)
            rows.append(" ".join(words[start : start + size]))
            owner.append(number)
    order = rng.permutation(len(rows))
    rows, owner = [rows[i] for i in order], np.array(owner)[order]
    table = pl.DataFrame({"text": rows, "label": owner % 2})
    found = whole_texts(table, ["text"])
    assert found is not None
    for number in range(40):
        assert len(set(found[owner == number])) == 1
    assert len(set(found)) == 40
    data = tw.load(table, target="label")
    assert data.split.startswith("by whole texts")
    held = set(owner[data.validation.rows]) | set(owner[data.test.rows])
    assert not held & set(owner[data.train.rows])
    assert whole_texts(reviews(), ["review"]) is None
