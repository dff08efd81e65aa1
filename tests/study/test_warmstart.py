"""Beginning with what is known: an earlier study, a file, the user's settings."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from customers import SPACE

import thalweg as tw
from thalweg.errors import OptionError, RunError
from thalweg.study.recipes import FAMILIES_FOR
from thalweg.study.warmstart import read_configs, warm_start


def test_the_best_of_an_earlier_study_come_first(study, tables):
    data = tw.load(tables["train"], "bought")
    warmth = warm_start(study.directory.path, data)
    assert warmth.first[0].to_dict() == study.summary["best_config"]
    finished = [r for r in study.records if r["status"] == "completed"]
    assert len(warmth.known) == len(finished)
    assert max(rank for _, rank in warmth.known) == max(r["score"] for r in finished)
    again = tw.tune(
        data, trials=3, epochs=2, space=SPACE, baselines=False, finalists=0,
        warm_start=study.directory.path,
    )  # fmt: skip
    assert again.records[0]["config"] == study.summary["best_config"]
    (told,) = [text for text in again.summary["notices"] if "warm start" in text]
    assert f"what {len(finished)} of its trials reached is known" in told


def test_of_other_data_only_the_configurations_are_taken(study, tables):
    other = tw.load(tables["regression"], "price")
    warmth = warm_start(study.directory.path, other)
    assert warmth.first
    assert warmth.known == ()
    assert all("loss" not in config for config in warmth.first)
    assert "its scores do not count" in warmth.told("earlier")


def test_another_kind_of_data_is_refused(study, monkeypatch):
    monkeypatch.setitem(FAMILIES_FOR, "ratings", ("mf",))
    ratings = SimpleNamespace(
        modality="ratings",
        fingerprint="",
        task=SimpleNamespace(kind="multiclass", metric="accuracy"),
    )
    with pytest.raises(RunError, match="holds no configuration for ratings"):
        warm_start(study.directory.path, ratings)


def test_configurations_are_read_from_text_and_files(tmp_path):
    known = tw.Config(optimizer="adam", learning_rate=0.01)
    assert read_configs("optimizer=adam, learning_rate=0.01") == [known]
    one, some = tmp_path / "one.json", tmp_path / "some.json"
    one.write_text(json.dumps(known.to_dict()))
    some.write_text(json.dumps([known.to_dict(), {"width": 8}]))
    assert read_configs(one) == [known]
    assert read_configs(some) == [known, tw.Config(width=8)]
    table = tmp_path / "some.toml"
    table.write_text('[mine]\noptimizer = "adam"\nlearning_rate = 0.01\n[other]\nwidth = 8\n')
    assert read_configs(table) == [known, tw.Config(width=8)]
    table.write_text('optimizer = "adam"\nlearning_rate = 0.01\n')
    assert read_configs(table) == [known]
    lines = tmp_path / "some.jsonl"
    lines.write_text('{"width": 8}\n\n{"width": 9}\n')
    assert [c["width"] for c in read_configs(lines)] == [8, 9]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("adam", "a configuration is NAME=VALUE"),
        ("width=-3", "in the configuration width=-3: "),
        ("lerning_rate=1", "learning_rate"),
        ("nowhere.json", "cannot be read"),
    ],
)
def test_what_makes_no_sense_says_so(given, message):
    with pytest.raises(OptionError, match=message) as error:
        read_configs(given)
    assert "\n" not in str(error.value)


def test_files_that_hold_no_configurations_say_so(tmp_path):
    path = tmp_path / "x.json"
    for text in ("[1, 2]", "{"):
        path.write_text(text)
        with pytest.raises(OptionError, match=r"x\.json"):
            read_configs(path)
