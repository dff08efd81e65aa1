"""A study that is cut off anywhere goes on, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from customers import SPACE

import thalweg as tw
from thalweg.errors import RunError
from thalweg.study import keeper
from thalweg.study.journal import Journal
from thalweg.study.pacing import part_of_way
from thalweg.training.cohort import Cohort

OPTIONS = {
    "trials": 20,
    "epochs": 18,
    "space": SPACE,
    "finalists": 1,
    "seeds": 2,
    "baselines": False,
    "command": "thalweg fit train.csv",
}


class Killed(BaseException):
    """The process ends here, whatever it was doing."""


@pytest.fixture(autouse=True)
def weights_at_every_rung(monkeypatch):
    """Write weights at every rung, however little time there is between them."""
    monkeypatch.setattr(keeper.Keeper.__init__, "__defaults__", (float("inf"),))


@pytest.fixture
def kill(monkeypatch):
    """Return a function that kills this process at its n-th write, in the middle of it if asked."""
    fsync, append = os.fsync, Journal._append
    state = {"left": -1, "torn": False}

    def write(handle):
        fsync(handle)
        state["left"] -= 1
        if state["left"] == 0:
            raise Killed

    def torn(self, content):
        if state["torn"] and state["left"] == 1:
            state["left"] = 0
            with open(self.path, "ab") as file:
                file.write(content[: len(content) // 2])
            raise Killed
        append(self, content)

    monkeypatch.setattr(os, "fsync", write)
    monkeypatch.setattr(Journal, "_append", torn)

    def at(number, in_the_middle=False):
        state.update(left=number, torn=in_the_middle)

    return at


def start(tables, run, **options):
    return tw.tune(tables["train"], "bought", run=run, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def whole(tables, tmp_path_factory):
    """Return the study that nobody cut off."""
    return start(tables, tmp_path_factory.mktemp("whole") / "run")


def plain(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def assert_same(study, whole):
    assert plain(study.records) == plain(whole.records)
    for name in ("best_config", "best_trial", "validation", "test", "trials"):
        assert study.summary[name] == whole.summary[name], name
    answers = [
        [{k: v for k, v in a.items() if "second" not in k} for a in s.summary["answers"]]
        for s in (study, whole)
    ]
    assert len(answers[0]) == len(answers[1])


def operations(run):
    return [json.loads(line) for line in (run / "journal.log").read_text().splitlines()]


def assert_whole_journal(run, study):
    """Every trial stands there once, with its end."""
    logs = operations(run)
    assert sum(log["op_code"] == 4 for log in logs) == len(study.records)
    ends = [log["trial_id"] for log in logs if log["op_code"] == 6]
    assert sorted(ends) == list(range(len(study.records)))
    steps = [(log["trial_id"], log["step"]) for log in logs if log["op_code"] == 7]
    assert len(set(steps)) == len(steps)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_writes(tables, whole, tmp_path, kill, seed, monkeypatch):
    """One study, killed at some write, and soon after it has been resumed, and so on to its end."""
    run, rng, kills = tmp_path / "run", np.random.default_rng(seed), 0
    restored: list[int] = []
    restore = Cohort.restore

    def noted(cohort, saved):
        restore(cohort, saved)
        restored.append(cohort.step)

    monkeypatch.setattr(Cohort, "restore", noted)
    while True:
        kill(int(rng.integers(1, 12)), in_the_middle=bool(rng.integers(2)))
        try:
            study = tw.resume(run) if (run / "study.json").exists() else start(tables, run)
            break
        except Killed:
            kills += 1
    assert kills >= 4
    assert any(restored)
    assert_same(study, whole)
    assert_whole_journal(run, study)
    assert not (run / "checkpoints").exists()


@pytest.mark.parametrize("options", [
    {"search": "evolution", "trials": 40},
    {"search": "tpe", "trials": 40, "against": "params"},
    {"search": "pbt", "trials": 14},
    {"brackets": "curves", "search": "evolution", "trials": 40},
], ids=["refining", "two objectives", "population", "curves"])  # fmt: skip
def test_every_way_to_search_goes_on(tables, tmp_path, kill, options):
    """What a round decides from all before it, it decides after a crash too."""
    whole = start(tables, tmp_path / "whole", **options)
    run, number, kills = tmp_path / "run", 9, 0
    while True:
        kill(number)
        try:
            study = (
                tw.resume(run) if (run / "study.json").exists() else start(tables, run, **options)
            )
            break
        except Killed:
            kills, number = kills + 1, number + 3
    assert kills >= 2
    assert_same(study, whole)
    for name in ("space", "notices"):
        assert study.summary[name] == whole.summary[name], name
    assert_whole_journal(run, study)


def test_long_rungs_are_left_for_checkpoints(tables, whole, tmp_path, kill, monkeypatch):
    monkeypatch.setattr("thalweg.study.loop.CHECKPOINT_SECONDS", 1e-3)
    run = tmp_path / "run"
    kill(14)
    with pytest.raises(Killed):
        start(tables, run)
    kill(-1)
    assert_same(tw.resume(run), whole)


def test_a_long_rung_is_left_at_every_evaluation_wherever_they_lie() -> None:
    for every in (3, 7, 8, 14):
        found = {part_of_way(0, 15, part / 20, every) for part in range(1, 20)}
        assert found - {0} == set(range(every, 15, every))
    # A rung that begins between two evaluations.
    assert {part_of_way(10, 30, part / 20, 8) for part in range(1, 20)} - {8} == {16, 24}


def test_without_weights_the_rungs_are_trained_again(tables, whole, tmp_path, kill, monkeypatch):
    monkeypatch.setattr(keeper.Keeper.__init__, "__defaults__", (0.0,))
    run = tmp_path / "run"
    kill(11)
    with pytest.raises(Killed):
        start(tables, run)
    assert not list(run.glob("checkpoints/*/cohorts-*"))
    states = [path.read_text() for path in run.glob("checkpoints/*/state*.json")]
    assert any('"decisions":[[' in text for text in states)
    kill(-1)
    assert_same(tw.resume(run), whole)


def damage(path, where=-8):
    content = bytearray(path.read_bytes())
    content[where] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("what", ["newest weights", "all weights", "state", "cut short"])
def test_a_damaged_checkpoint_is_said_and_gone_back_behind(tables, whole, tmp_path, kill, what):
    run = tmp_path / "run"
    kill(11)
    with pytest.raises(Killed):
        start(tables, run)
    kill(-1)
    weights = sorted(run.glob("checkpoints/*/cohorts-*"))
    assert weights
    if what == "newest weights":
        damage(weights[-1])
    elif what == "all weights":
        for path in weights:
            damage(path)
    elif what == "state":
        damage(next(run.glob("checkpoints/*/state.json")))
    else:
        weights[-1].write_bytes(weights[-1].read_bytes()[:100])
    study = tw.resume(run)
    assert_same(study, whole)
    assert_whole_journal(run, study)
    notices = " ".join(study.summary["notices"])
    assert "checkpoint" in notices


def test_a_study_with_no_readable_checkpoint_says_so(tables, tmp_path, kill):
    run = tmp_path / "run"
    kill(9)
    with pytest.raises(Killed):
        start(tables, run)
    kill(-1)
    for path in run.glob("checkpoints/*/state*.json"):
        damage(path)
    with pytest.raises(RunError, match=r"no checkpoint can be read .*damaged.*: start the study"):
        tw.resume(run)


def test_a_time_budget_goes_on_too(tables, tmp_path, kill):
    run = tmp_path / "run"
    kill(12)
    with pytest.raises(Killed):
        start(tables, run, trials=None, budget=9)
    kill(-1)
    study = tw.resume(run)
    # What was spent before counts; the machine may be busy.
    assert study.summary["seconds"]["total"] < 25
    assert_whole_journal(run, study)


def test_after_ctrl_c_it_goes_on_as_well(tables, whole, tmp_path):
    import signal

    from thalweg.study.listener import Silent

    class Interrupter(Silent):
        def update(self, **state):
            if state["trials_done"]:
                signal.raise_signal(signal.SIGINT)

    run = tmp_path / "run"
    first = start(tables, run, listener=Interrupter())
    assert "interrupted" in first.summary["plan"]["stopped"]
    study = tw.resume(run)
    assert_same(study, whole)
    assert_whole_journal(run, study)


# ------------------------------------------------------------------------------------------ trouble


@pytest.fixture
def cut(tables, tmp_path, kill):
    """Return the run directory of a study that was killed."""
    run = tmp_path / "run"
    kill(9)
    with pytest.raises(Killed):
        start(tables, run)
    kill(-1)
    return run


def test_a_finished_study_is_opened(whole):
    assert tw.resume(whole.directory.path).summary["best_trial"] == whole.summary["best_trial"]


def test_what_is_no_study_says_so(tmp_path):
    with pytest.raises(RunError, match="there is no run directory"):
        tw.resume(tmp_path / "nowhere")
    with pytest.raises(RunError, match="holds no study that could be resumed"):
        tw.resume(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        tw.resume(tmp_path)


def test_a_run_that_is_not_finished_says_how_to_go_on(cut, tables):
    with pytest.raises(RunError, match="go on with thalweg resume"):
        tw.Study.open(cut)
    with pytest.raises(RunError, match="not finished: go on with thalweg resume"):
        start(tables, cut)


def test_other_data_are_refused(cut, tables):
    with pytest.raises(RunError, match=r"the data are not those that .* was begun with"):
        tw.resume(cut, tw.load(tables["fresh"], "bought"))


def test_data_that_are_gone_say_so(tables, tmp_path, kill):
    table = tmp_path / "train.csv"
    shutil.copy(tables["train"], table)
    kill(9)
    with pytest.raises(Killed):
        start({"train": table}, tmp_path / "run")
    table.unlink()
    with pytest.raises(tw.ThalwegError, match=r"train\.csv"):
        tw.resume(tmp_path / "run")


def test_arrays_have_to_be_passed_again(tmp_path, kill, tables):
    x = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
    data, run = (x, x[:, 0] > 0), tmp_path / "run"
    kill(9)
    with pytest.raises(Killed):
        tw.tune(data, trials=8, epochs=4, run=run, space={"width": 8, "depth": 1})
    kill(-1)
    with pytest.raises(RunError, match=r"pass them to tw.resume\(run, data\)"):
        tw.resume(run)
    assert len(tw.resume(run, data).records) == 8


@pytest.mark.parametrize(("file", "pattern"), [
    ("study.json", '"format": 1'), ("checkpoints/*/state.json", '"format":1'),
])  # fmt: skip
def test_a_study_of_another_version_says_so(cut, file, pattern):
    import zlib

    path = next(cut.glob(file))
    text = path.read_text()
    assert pattern in text
    text = text.replace(pattern, pattern.replace("1", "7"))
    if file != "study.json":
        body = text.partition("\n")[2].rstrip("\n")
        text = f"{zlib.crc32(body.encode()):08x}\n{body}\n"
    path.write_text(text)
    with pytest.raises(
        RunError, match=r"another version of Thalweg \(format 7, this one reads 1\)"
    ):
        tw.resume(cut)
