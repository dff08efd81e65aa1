"""Transcripts: the alphabet of training rows, and what is outside it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import thalweg as tw
from thalweg.data.dataset import Encoder
from thalweg.data.load import load
from thalweg.data.speech import UNKNOWN, TranscriptEncoder, normal
from thalweg.errors import DataError, OptionError, SpaceError
from thalweg.space import Config

soundfile = pytest.importorskip("soundfile")
TONES = {"a": 400.0, "b": 900.0, "c": 1600.0}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path_factory.mktemp("cache")))


def spoken(text, seed):
    """Return a waveform in which every character is a tone of its own."""
    rng = np.random.default_rng(seed)
    pieces = [np.zeros(400)]
    for symbol in text:
        t = np.arange(int(rng.integers(700, 1000))) / 8000
        tone = 0.3 * np.sin(2 * np.pi * TONES[symbol] * t) if symbol in TONES else 0 * t
        pieces += [tone, np.zeros(200)]
    wave = np.concatenate(pieces)
    return (wave + 0.003 * rng.normal(size=wave.size)).astype(np.float32)


def corpus(folder, count=60, seed=0, name="clips.csv"):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    texts = [
        "".join(rng.choice(list("abc  "), rng.integers(3, 7))).strip() or "a" for _ in range(count)
    ]
    for i, text in enumerate(texts):
        soundfile.write(folder / f"{seed}_{i}.wav", spoken(normal(text), i), 8000)
    pl.DataFrame(
        {"file": [f"{seed}_{i}.wav" for i in range(count)], "transcript": texts}
    ).write_csv(folder / name)
    return folder / name


def test_transcripts_are_recognised_and_come_back(tmp_path):
    data = load(str(corpus(tmp_path)))
    assert data.modality == "speech"
    assert data.task.kind == "transcription"
    assert data.task.classes == (" ", "a", "b", "c", UNKNOWN)
    assert data.task.num_outputs == 6
    assert "3 characters and the space" in data.headline()
    encoder = Encoder.from_dict(data.encoder.to_dict())
    part = encoder.encode(str(tmp_path / "clips.csv"), with_target=True)
    texts = pl.read_csv(tmp_path / "clips.csv")["transcript"].to_list()
    assert encoder.target.labels(part.target).tolist() == [normal(text) for text in texts]
    assert part.fields["sequence"].dtype == np.float16
    assert len({p.target.shape[1] for p in data.parts.values()}) == 1


def test_normal_form():
    assert normal("  Grüße\t AN u\u0308 ") == "grüße an ü"
    encoder = TranscriptEncoder("transcription", ("t",)).fitted(np.array(["ba", "c a"], object))
    assert encoder.encode(np.array(["a cab", "x"], object)).tolist() == [
        [2, 1, 4, 2, 3],
        [5, 0, 0, 0, 0],
    ]


def test_characters_outside_the_alphabet_are_told(tmp_path):
    train = corpus(tmp_path)
    other = corpus(tmp_path, 30, seed=1, name="test.csv")
    frame = pl.read_csv(other)
    frame = frame.with_columns(
        transcript=pl.when(pl.int_range(pl.len()) < 2).then(pl.lit("a?é")).otherwise("transcript")
    )
    frame.write_csv(other)
    data = load(str(train), test=str(other))
    assert any(
        "2 of the test transcripts have characters" in n and "? é" in n for n in data.notices
    )
    part = data.encode(str(other), with_target=True)
    assert any("they count as errors" in notice for notice in part.notices)
    assert (part.target[:2, :3] == [2, 5, 5]).all()


def test_what_is_missing_or_too_short(tmp_path):
    train = corpus(tmp_path)
    frame = pl.read_csv(train)
    frame = frame.with_columns(
        transcript=pl.when(pl.int_range(pl.len()) == 0)
        .then(pl.lit("abcabc" * 40))
        .when(pl.int_range(pl.len()) == 1)
        .then(None)
        .otherwise("transcript")
    )
    frame.write_csv(train)
    data = load(str(train), fractions=(0.8, 0.2, 0))
    assert any("1 recording(s) without a target" in notice for notice in data.notices)
    short = [n for n in data.notices if "too short for their transcripts" in n]
    assert len(short) == (0 not in data.validation.rows)
    with pytest.raises(OptionError, match="seconds cuts"):
        load(str(train), seconds=1.0)
    with pytest.raises(DataError, match="has its classes already"):
        load(str(tmp_path), "transcript", modality="audio")


@pytest.mark.parametrize("model", ["gru", "cnn1d"])
def test_tones_are_transcribed(tmp_path, model):
    data = load(str(corpus(tmp_path, 200)))
    config = Config(
        model=model,
        width=32,
        depth=2 if model == "cnn1d" else 1,
        bidirectional=model == "gru",
        kernel_size=5,
        patch=2,
        batch_size=16,
        optimizer="adamw",
        learning_rate=1e-2,
        schedule="one_cycle",
        clip_norm=5.0,
        time_stretch=0.05,
    )
    study = tw.train(data, config, epochs=14)
    assert study.summary["test"]["character_error_rate"] < 0.15
    shown = study.summary["written"]
    assert {entry["kind"] for entry in shown} == {"usual", "worst"}
    assert all(entry["source"] is None for entry in shown)
    # What is shown are texts, mostly right ones.
    assert np.mean([entry["score"] for entry in shown if entry["kind"] == "usual"]) > 0.8
    model_ = study.model()
    model_.save(tmp_path / "model")
    again = tw.Model.load(tmp_path / "model")
    again.members = [*again.members, *again.members]
    table = again.predict_frame(str(tmp_path / "clips.csv"))
    assert table.columns == ["file", "prediction"]
    truth = [normal(t) for t in pl.read_csv(tmp_path / "clips.csv")["transcript"]]
    right = [a == b for a, b in zip(table["prediction"], truth, strict=True)]
    assert np.mean(right) > 0.5
    again.beam = 1
    scores = again.evaluate(str(tmp_path / "clips.csv"))
    assert set(scores) == {"character_error_rate", "word_error_rate"}
    with pytest.raises(DataError, match="no class probabilities"):
        again.predict_proba(str(tmp_path / "clips.csv"))


def test_families_that_hear_all_at_once_are_refused(tmp_path):
    data = load(str(corpus(tmp_path)))
    with pytest.raises((OptionError, SpaceError), match=r"model must be one of|frame by frame"):
        tw.train(data, Config(model="cnn", width=8), epochs=1)
