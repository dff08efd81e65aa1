"""What a store writes is read by Optuna itself: that is the oracle here."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading

import numpy as np
import optuna
import pytest

import thalweg as tw
from thalweg.commands import command_line
from thalweg.errors import MissingExtraError, RunError
from thalweg.space import Choice, Config, Float, Int, Space, Switch
from thalweg.study.database import Database, with_driver
from thalweg.study.distributions import distributions_of, internal_values
from thalweg.study.journal import Journal
from thalweg.study.records import Trial
from thalweg.study.request import without_password
from thalweg.study.storage import open_store
from thalweg.study.store import is_gone, new_owner

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = Space(
    depth=Int(1, 3),
    width=Choice([16, 32, (32, 16)]),
    optimizer=Choice(["adamw", "sgd"]),
    learning_rate=Switch(
        "optimizer", {"adamw": Float(1e-4, 1e-2, log=True)}, Float(1e-3, 0.5, log=True)
    ),
    weight_decay=Switch("optimizer", {"adamw": Float(1e-5, 0.1, log=True)}, Choice([0.0])),
    dropout=Float(0.0, 0.5),
    batch_size=32,
)
KNOWN = distributions_of(SPACE)


def store(kind, folder, owner="me", name="study", **options):
    facts = {"maximise": True, "metric": "accuracy", "distributions": KNOWN, "about": {"data": "d"}}
    if kind == "journal":
        return Journal(folder / "journal.log", name, owner, **{**facts, **options})
    return Database(f"sqlite:///{folder / 'studies.db'}", name, owner, **{**facts, **options})


def seen_by_optuna(kind, folder, name="study"):
    if kind == "journal":
        backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
        storage = optuna.storages.JournalStorage(backend)
    else:
        storage = f"sqlite:///{folder / 'studies.db'}"
    return optuna.load_study(study_name=name, storage=storage)


def trials(num, seed=0):
    configs = SPACE.decode(np.random.default_rng(seed).random((num, len(SPACE.free))))
    return [Trial(-1, "explore", config, "mlp", 0, num_params=7) for config in configs]


def train(trial, steps, status="completed"):
    values = [round(0.5 + 0.01 * s, 4) for s in range(steps)]
    trial.curve = {
        name: list(values) for name in ("train_loss", "validation_loss", "validation", "train")
    }
    trial.curve["step"] = [10.0 * (s + 1) for s in range(steps)]
    trial.score, trial.rank, trial.status = values[-1], values[-1], status


kinds = pytest.mark.parametrize("kind", ["journal", "sqlite"])


@kinds
def test_optuna_reads_what_was_written(kind, tmp_path):
    own = store(kind, tmp_path)
    some = trials(4)
    own.begin(lambda _: some)
    assert [t.id for t in some] == [0, 1, 2, 3]
    study = seen_by_optuna(kind, tmp_path)
    assert [t.state.name for t in study.trials] == ["RUNNING"] * 4
    for trial in some:
        train(trial, 2)
    some[1].curve["validation"][1] = math.nan
    some[2].status, some[3].status = "stopped", "diverged"
    own.report(some, some[2:])
    for trial in some[:2]:
        train(trial, 3)
    own.report(some, some)
    study = seen_by_optuna(kind, tmp_path)
    assert study.directions[0].name == "MAXIMIZE"
    assert study.user_attrs["metric"] == "accuracy"
    assert study.metric_names == ["accuracy"]
    assert [t.state.name for t in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL"]
    for trial, theirs in zip(some, study.trials, strict=True):
        for name, value in theirs.params.items():
            own_value = trial.config[name]
            if isinstance(own_value, tuple):
                own_value = "[32, 16]"
            assert value == pytest.approx(own_value) if name != "optimizer" else value == own_value
        assert set(theirs.params) == {n for n in trial.config if n in KNOWN}
        assert theirs.user_attrs["phase"] == "explore"
        assert theirs.user_attrs["status"] == trial.status
        assert tw.Config(theirs.user_attrs["config"]) == trial.config
        theirs._validate()
    assert study.trials[0].intermediate_values == {10: 0.5, 20: 0.51, 30: 0.52}
    assert math.isnan(study.trials[1].intermediate_values[20])
    assert study.best_value == 0.52


@kinds
def test_another_process_reads_everything_back(kind, tmp_path):
    own = store(kind, tmp_path)
    own.beat()
    some = trials(3)
    own.begin(lambda _: some)
    for trial in some:
        train(trial, 2)
    own.report(some, some[:1])
    for snapshot in (own.read(), store(kind, tmp_path, "you").read()):
        assert [s.state for s in snapshot.trials.values()] == [1, 0, 0]
        assert [s.seen for s in snapshot.trials.values()] == [2, 2, 2]
        assert snapshot.is_alive("me")
        assert not snapshot.is_alive("them")
    record = snapshot.trials[0].record
    assert Trial.from_state(record) == some[0]
    assert snapshot.trials[1].facts["config"] == some[1].config.to_dict()
    # What is finished stays as it is.
    train(some[0], 9)
    again = store(kind, tmp_path)
    again.read()
    again.report(some, some)
    assert len(seen_by_optuna(kind, tmp_path).trials[0].intermediate_values) == 2
    again.give_up([0, 1, 2])
    assert [t.state.name for t in seen_by_optuna(kind, tmp_path).trials] == ["COMPLETE"] * 3


@kinds
def test_many_writers_never_share_a_number(kind, tmp_path):
    stores = [store(kind, tmp_path, f"owner{i}") for i in range(4)]
    found: list[int] = []

    def write(own, seed):
        for turn in range(5):
            some = trials(3, seed + turn)
            own.begin(lambda _, some=some: some)
            for trial in some:
                train(trial, 1)
            own.report(some, some)
            found.extend(trial.id for trial in some)

    threads = [threading.Thread(target=write, args=(s, 10 * i)) for i, s in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(60))
    study = seen_by_optuna(kind, tmp_path)
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 60
    read = stores[0].read().trials
    assert {s.owner for s in read.values()} == {f"owner{i}" for i in range(4)}


@kinds
def test_two_studies_in_one_place(kind, tmp_path):
    one, two = (store(kind, tmp_path, name=name) for name in ("one", "two"))
    for own, seed in ((one, 0), (two, 1), (one, 2)):
        some = trials(2, seed)
        own.begin(lambda _, some=some: some)
        for trial in some:
            train(trial, 1)
        own.report(some, some)
    assert len(seen_by_optuna(kind, tmp_path, "one").trials) == 4
    assert len(seen_by_optuna(kind, tmp_path, "two").trials) == 2
    assert store(kind, tmp_path, "x", name="two").read().trials.keys() == {0, 1}


def test_optuna_and_thalweg_write_to_one_journal(tmp_path):
    own = store("journal", tmp_path)
    own.begin(lambda _: trials(2))
    study = seen_by_optuna("journal", tmp_path)
    study.tell(study.ask({"dropout": optuna.distributions.FloatDistribution(0.0, 0.5)}), 0.25)
    study.set_user_attr("note", "seen")
    some = trials(1)
    own.begin(lambda _: some)
    assert some[0].id == 3
    assert len(seen_by_optuna("journal", tmp_path).trials) == 4


def test_a_line_cut_short_is_removed(tmp_path):
    own = store("journal", tmp_path)
    own.begin(lambda _: trials(1))
    path = tmp_path / "journal.log"
    whole = path.read_bytes()
    with open(path, "ab") as file:
        file.write(b'{"op_code":4,"stu')
    again = store("journal", tmp_path, "you")
    assert path.read_bytes().startswith(whole)
    assert len(again.read().trials) == len(seen_by_optuna("journal", tmp_path).trials) == 1


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path):
    code = (
        "import os, sys, pathlib; from thalweg.study.journal import _locked\n"
        "with _locked(pathlib.Path(sys.argv[1])): os._exit(9)"
    )
    path = tmp_path / "journal.log"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert os.path.islink(f"{path}.lock")
    own = store("journal", tmp_path)
    own.begin(lambda _: trials(1))
    assert not os.path.islink(f"{path}.lock")


def test_a_full_disk_leaves_the_journal_whole(tmp_path, monkeypatch):
    own = store("journal", tmp_path)
    some = trials(2)
    own.begin(lambda _: some)
    before = (tmp_path / "journal.log").read_bytes()
    for trial in some:
        train(trial, 2)

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            own.report(some, some)
    assert (tmp_path / "journal.log").read_bytes() == before
    own.report(some, some)
    assert [t.state.name for t in seen_by_optuna("journal", tmp_path).trials] == ["COMPLETE"] * 2


def test_what_is_no_journal_says_so(tmp_path):
    (tmp_path / "journal.log").write_text("hello\n")
    with pytest.raises(RunError, match="is no journal of Optuna's"):
        store("journal", tmp_path)


@pytest.mark.parametrize("url", ["nonsense://x/y", "sqlite:////nowhere/at/all/x.db"])
def test_a_database_that_is_not_there_says_so(url):
    facts = {"maximise": True, "metric": "accuracy", "distributions": KNOWN, "about": {}}
    with pytest.raises(
        RunError, match=r"cannot be opened .*: start its server, or correct"
    ) as error:
        Database(url, "study", "me", **facts)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:se:c@ret@db.example.com:5432/s", "postgresql://ann:***@db.example.com:5432/s"),
        ("mysql+pymysql://ann@db/s", "mysql+pymysql://ann@db/s"),
        ("postgresql://db/s?user=ann&password=secret&x=1", "postgresql://db/s?user=ann&password=***&x=1"),
        ("thalweg fit x.csv --storage postgresql://a:b@c/d --trials 3",
         "thalweg fit x.csv --storage postgresql://a:***@c/d --trials 3"),
        ("sqlite:///studies.db", "sqlite:///studies.db"),
    ],
)  # fmt: skip
def test_passwords_are_not_shown(url, shown):
    assert without_password(url) == shown


def test_the_command_that_a_run_remembers_has_no_password(monkeypatch) -> None:
    typed = ["fit", "x.csv", "--storage", "postgresql://ann:secret@db/studies"]
    monkeypatch.setattr("sys.argv", ["thalweg", *typed])
    assert "secret" not in command_line()
    assert "://ann:***@db/studies" in command_line()


def test_whichever_driver_is_installed_does(monkeypatch) -> None:
    there = {"psycopg2"}
    monkeypatch.setattr("thalweg.study.database.find_spec", lambda name: name in there or None)
    assert with_driver("postgresql://ann@db/x") == "postgresql+psycopg2://ann@db/x"
    assert with_driver("postgres://ann@db/x") == "postgresql+psycopg2://ann@db/x"
    there.add("psycopg")
    assert with_driver("postgresql://ann@db/x") == "postgresql+psycopg://ann@db/x"
    for named in ("postgresql+asyncpg://ann@db/x", "sqlite:///a.db"):
        assert with_driver(named) == named
    with pytest.raises(MissingExtraError, match=r"MySQL needs a driver: pip install 'thalweg"):
        with_driver("mysql://ann@db/x")


def test_distributions_hold_every_value():
    assert KNOWN.keys() == {
        "depth",
        "width",
        "optimizer",
        "learning_rate",
        "weight_decay",
        "dropout",
    }
    assert KNOWN["learning_rate"].attributes == {
        "step": None, "low": 1e-4, "high": 0.5, "log": True,
    }  # fmt: skip
    assert KNOWN["weight_decay"].attributes["log"] is False
    assert KNOWN["width"].attributes["choices"] == [16, 32, "[32, 16]"]
    for known in KNOWN.values():
        optuna.distributions.json_to_distribution(known.to_json())
    more = distributions_of(SPACE, [Config(optimizer="lion", learning_rate=0.9, depth=5)])
    assert more["optimizer"].attributes["choices"] == ["adamw", "sgd", "lion"]
    assert more["learning_rate"].attributes["high"] == 0.9
    assert more["depth"].attributes["high"] == 5
    mixed = distributions_of(Space(clip_norm=Choice([math.inf, 1.0])))
    assert mixed["clip_norm"].attributes["choices"] == ["inf", 1.0]
    assert internal_values(mixed, Config(clip_norm=math.inf)) == {"clip_norm": 0.0}


def test_an_owner_that_is_gone_is_known():
    assert not is_gone(new_owner())
    assert not is_gone("elsewhere~1~ab")
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    host = new_owner().partition("~")[0]
    assert is_gone(f"{host}~{process.pid}~ab")


def test_the_password_is_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.delenv("THALWEG_STORAGE", raising=False)
    study = tw.tune("iris", trials=2, epochs=1, run=tmp_path / "run", baselines=False)
    from dataclasses import replace

    from thalweg.study.request import Request

    request = replace(Request.read(study.directory.path), storage="postgresql://a:***@b/c")
    with pytest.raises(RunError, match=r"password of .* is not kept: give the URL again"):
        open_store(request, study.directory, tw.load("iris").task, "me")


@kinds
def test_of_two_that_want_the_same_one_gets_it(kind, tmp_path):
    from thalweg.study.ledger import Ledger
    from thalweg.task import Task

    ledgers = [
        Ledger(Task("binary", ("y",), classes=("a", "b")), 1, store(kind, tmp_path, f"owner{i}"))
        for i in range(2)
    ]
    for ledger in ledgers:
        ledger.store.beat()
    one, two = trials(6), trials(6)
    ledgers[0]._begin(one[:4], 8)
    ledgers[0].trials += one[:4]
    ledgers[1]._begin(two, 5)
    # The first four are taken, and one more is allowed.
    assert [trial.id for trial in two] == [-1, -1, -1, -1, 4, -1]
    assert ledgers[0].count("explore") == 5
    assert ledgers[0].num_alive == 2
    assert ledgers[0].waits_for("explore")
    ledgers[1].store.close()
    # What its owner gave up without finishing is to be had again.
    assert not store(kind, tmp_path, "owner0").read().is_alive("owner1")
    assert not ledgers[0].waits_for("explore")
    assert ledgers[0].count("explore") == 4
    assert seen_by_optuna(kind, tmp_path).trials[4].state.name == "FAIL"


def test_a_study_of_other_data_is_refused(tmp_path):
    options = {"trials": 2, "epochs": 1, "baselines": False, "study": "mine"}
    options["storage"] = str(tmp_path / "all.log")
    tw.tune("iris", run=tmp_path / "one", **options)
    with pytest.raises(RunError, match="holds a study 'mine' already, with another fingerprint"):
        tw.tune("wine", run=tmp_path / "two", **options)
