"""Pairs of texts: reading, splitting, tokens, and what is wrong with a source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import thalweg as tw
from thalweg.data import Encoder
from thalweg.data.tokens import END, PAD, START, UNKNOWN
from thalweg.data.translations import load_translation
from thalweg.errors import DataError, OptionError

pytest.importorskip("tokenizers")

NOUNS = {"dog": "Hund", "cat": "Katze", "man": "Mann", "tree": "Baum", "house": "Haus"}
VERBS = {"runs": "läuft", "sleeps": "schläft", "stands": "steht", "falls": "fällt"}
PAIRS = [(f"the {n} {v}", f"{NOUNS[n]} {VERBS[v]}") for n in NOUNS for v in VERBS]


def table(pairs: Any = PAIRS) -> pl.DataFrame:
    return pl.DataFrame({"en": [p[0] for p in pairs], "de": [p[1] for p in pairs]})


def test_every_way_to_give_pairs_reads_the_same(tmp_path: Path) -> None:
    frame = table()
    frame.write_csv(tmp_path / "pairs.csv")
    frame.write_csv(tmp_path / "pairs.tsv", separator="\t")
    frame.write_parquet(tmp_path / "pairs.parquet")
    frame.write_ndjson(tmp_path / "pairs.jsonl")
    for side in ("en", "de"):
        (tmp_path / f"train.{side}").write_text("\n".join(frame[side]) + "\n", encoding="utf-8")
    wanted = load_translation(frame, "de", source_column="en")
    sources = [
        *((tmp_path / f"pairs.{end}", "de") for end in ("csv", "tsv", "parquet", "jsonl")),
        (tmp_path / "train.en", str(tmp_path / "train.de")),
    ]
    for source, target in sources:
        column = None if "train" in str(source) else "en"
        data = tw.load(str(source), target, source_column=column)
        assert data.modality == "translation"
        np.testing.assert_array_equal(data.train.target, wanted.train.target)
        np.testing.assert_array_equal(data.test.fields["source"], wanted.test.fields["source"])
    lists = load_translation((frame["en"].to_list(), frame["de"].to_list()))
    np.testing.assert_array_equal(lists.train.target, wanted.train.target)


def test_targets_follow_the_tokens_before_them() -> None:
    data = load_translation(table(), "de", source_column="en")
    part = data.train
    assert set(part.fields) == {"source", "previous"}
    assert (part.fields["previous"][:, 0] == START).all()
    for previous, target, text in zip(
        part.fields["previous"], part.target, data.labels("train"), strict=True
    ):
        count = int((target != PAD).sum())
        assert target[count - 1] == END
        np.testing.assert_array_equal(previous[1:count], target[: count - 1])
        assert data.encoder.text_of(target[None])[0] == text
    assert part.weight is not None
    assert part.weight.mean() == pytest.approx(1.0, rel=1e-5)


def test_equal_sources_stay_in_one_part() -> None:
    pairs = [
        (text.upper() if i % 2 else f" {text} ", f"{t} {i}") for i in range(4) for text, t in PAIRS
    ]
    data = load_translation(table(pairs), "de", source_column="en")
    seen = [
        {" ".join(t.lower().split()) for t in part.texts["source"]} for part in data.parts.values()
    ]
    assert sum(map(len, seen)) == len(PAIRS)


def test_vocabularies_are_shared_where_the_alphabets_agree() -> None:
    assert load_translation(table(), "de", source_column="en").encoder.shared
    chinese = [(en, "狗跑" if "runs" in en else "猫睡觉") for en, _ in PAIRS]
    encoder = load_translation(table(chinese), "de", source_column="en").encoder
    assert not encoder.shared
    # By characters: one token each.
    assert encoder.writer.encode(["狗跑"]).lengths.tolist() == [2]
    assert encoder.input_shape["written"][1] == encoder.writer.size


def test_a_saved_encoder_encodes_the_same() -> None:
    data = load_translation(table(), "de", source_column="en")
    again = Encoder.from_dict(json.loads(json.dumps(data.encoder.to_dict())))
    rows = ["the dog sleeps", "", "🙂 שלום"]
    np.testing.assert_array_equal(
        again.encode(rows).fields["source"], data.encoder.encode(rows).fields["source"]
    )
    assert again.input_shape == data.encoder.input_shape
    assert data.encoder.encode(rows).fields["source"][1].tolist()[:2] == [UNKNOWN, PAD]


def test_what_is_missing_or_too_long_is_told() -> None:
    long = "the dog " * 80
    pairs = [*PAIRS, ("", "leer"), ("no partner", None), (long, "lang"), *PAIRS]
    data = load_translation(table(pairs), "de", source_column="en", max_tokens=12)
    said = " ".join(data.notices)
    assert "1 pair(s) without a text in en are left out" in said
    assert "1 pair(s) without a text in de are left out" in said
    part = data.encode([long, ""])
    assert "longer than" in " ".join(part.notices)
    assert "empty" in " ".join(part.notices)
    assert sum(len(p) for p in data.parts.values()) == len(pairs) - 2


def test_sources_that_also_occur_in_training_are_told() -> None:
    data = load_translation(table(), "de", source_column="en", test=table(PAIRS[:3]))
    assert "3 of 3 test sources also occur in training" in data.notices


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: load_translation((["a"] * 5, ["b"] * 4)), "got 5 and 4"),
        (lambda: load_translation(table(), "fr", source_column="en"), "'fr'"),
        (lambda: load_translation(table(), "de", source_column="ne"), "'ne'"),
        (lambda: load_translation(table(), "de", source_column="de"), "name two"),
        (lambda: load_translation(table().with_columns(x=1), "de"), "which column is read"),
        (lambda: load_translation(table(), None, source_column="en"), "target"),
        (lambda: load_translation(table(PAIRS[:2]), "de", source_column="en"), "give more"),
        (lambda: tw.load(table(), "de", source_column="en", horizon=3), "horizon"),
        (lambda: tw.load(table(), "de", source_column="en", task="binary"), "translation task"),
        (lambda: load_translation(table(), "de", source_column="en", metric="blue"), "perplexity"),
        (lambda: load_translation(table(), "de", source_column="en", max_tokens=1), "from 4"),
    ],
)
def test_bad_sources_are_refused_in_one_line(make: Any, says: str) -> None:
    with pytest.raises((DataError, OptionError)) as error:
        make()
    assert says in str(error.value)
    assert "\n" not in str(error.value)
