"""Studies in a process of their own: Ctrl-C, kill, and the promise of a time budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import thalweg as tw
from thalweg.errors import RunError
from thalweg.study.model import Model

SMALL = """
depth = 1
width = 8
batch_size = 16
learning_rate = { low = 1e-3, high = 0.1 }
"""
FIT = [sys.executable, "-m", "thalweg.cli", "fit"]


def start(tables, folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start a study that would take far too long, and wait until it has written trials."""
    space = folder / "space.toml"
    space.write_text(
        "depth = 1\nwidth = 8\nbatch_size = 16\nlearning_rate = {low = 1e-3, high = 0.1}\n"
    )
    process = subprocess.Popen(
        [*FIT, str(tables["train"]), "--target", "bought", "--run", str(folder / "run"),
         "--space", str(space), "--no-baselines", "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    journal = folder / "run" / "journal.log"
    while not journal.exists() or '"intermediate_value"' not in journal.read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_ctrl_c_ends_with_what_has_been_found_so_far(tables, tmp_path):
    process = start(tables, tmp_path, "--trials", "300", "--epochs", "20000")
    try:
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "Ending with what has been found so far" in err
    assert f"thalweg resume {tmp_path / 'run'} goes on" in err.replace("\n", "")
    assert "Traceback" not in err
    summary = json.loads(out.splitlines()[-1])
    assert "interrupted" in summary["plan"]["stopped"]
    study = tw.Study.open(tmp_path / "run")
    assert study.summary == summary
    assert study.model().evaluate(tables["fresh"])["accuracy"] > 0.4


def test_a_kill_leaves_no_half_file(tables, tmp_path):
    process = start(tables, tmp_path, "--trials", "300", "--epochs", "20000")
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    run = tmp_path / "run"
    lines = (run / "journal.log").read_text().splitlines()
    assert sum(json.loads(line)["op_code"] == 4 for line in lines) > 0
    assert not (run / "run.json").exists()
    with pytest.raises(RunError, match="no finished run"):
        tw.Study.open(run)
    with pytest.raises(RunError, match="holds no trained model"):
        Model.load(run)


def test_ten_kills(tmp_path):
    """The command whose hundred kills are told in docs/studies.md, with ten."""
    script = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "10", "--trials", "20", "--epochs", "20"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "10 kills (" in done.stdout.splitlines()[-2]
    assert "a kill cost" in done.stdout.splitlines()[-1]


def owners_of(journal: Path) -> dict[str, int]:
    """Return how many trials each process trained, of those that were finished."""
    owner, found = {}, {}
    for number, log in enumerate(
        log for log in map(json.loads, journal.read_text().splitlines()) if log["op_code"] == 4
    ):
        owner[number] = log["system_attrs"]["thalweg:owner"]
    for log in map(json.loads, journal.read_text().splitlines()):
        if log["op_code"] == 6:
            name = owner[log["trial_id"]]
            found[name] = found.get(name, 0) + 1
    return found


def test_two_processes_share_a_database(tables, tmp_path):
    """Each has a run directory of its own; together they train what one would have."""
    space = tmp_path / "space.toml"
    space.write_text(SMALL)
    options = [
        str(tables["train"]), "--target", "bought", "--space", str(space), "--no-baselines",
        "--trials", "44", "--epochs", "2000", "--seeds", "2", "--processes", "2", "--json",
        "--storage", f"sqlite:///{tmp_path / 'studies.db'}", "--study", "shared",
    ]  # fmt: skip
    both = [
        subprocess.Popen(
            [*FIT, *options, "--run", str(tmp_path / name)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    try:
        ends = [process.communicate(timeout=300) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], ends
    one, two = (tw.Study.open(tmp_path / name) for name in ("one", "two"))
    assert one.best_config == two.best_config
    assert [r["id"] for r in one.records] == [r["id"] for r in two.records] == list(range(44))
    configs = [json.dumps(r["config"]) for r in one.records if r["phase"] == "explore"]
    assert len(configs) == len(set(configs)) == 38
    import optuna

    study = optuna.load_study(study_name="shared", storage=f"sqlite:///{tmp_path / 'studies.db'}")
    assert len({t.system_attrs["thalweg:owner"] for t in study.trials}) == 2
    assert {t.state.name for t in study.trials} <= {"COMPLETE", "PRUNED"}
    proba = [s.model().predict_proba(tables["fresh"]) for s in (one, two)]
    assert abs(proba[0] - proba[1]).max() < 1e-4


@pytest.mark.slow
def test_another_process_joins_a_study(tables, tmp_path):
    options = ("--trials", "44", "--epochs", "8000", "--seeds", "2", "--processes", "2")
    first = start(tables, tmp_path, *options)
    run = tmp_path / "run"
    second = subprocess.Popen(
        [*FIT[:-1], "resume", str(run), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        ends = [process.communicate(timeout=300) for process in (first, second)]
    finally:
        first.kill()
        second.kill()
    assert [first.returncode, second.returncode] == [0, 0], ends
    summaries = [json.loads(out.splitlines()[-1]) for out, _ in ends]
    assert summaries[0]["best_config"] == summaries[1]["best_config"]
    shares = owners_of(run / "journal.log")
    assert len(shares) == 2
    assert sum(shares.values()) == 44
    study = tw.Study.open(run)
    configs = [json.dumps(r["config"]) for r in study.records if r["phase"] == "explore"]
    assert len(configs) == len(set(configs)) == 38
    assert not (run / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("source", "budget"), [("digits", 20), ("breast_cancer", 30)])
def test_a_time_budget_is_kept(source, budget, tmp_path):
    began = time.monotonic()
    done = subprocess.run(
        [*FIT, source, "--budget", f"{budget}s", "--run", str(tmp_path / "run"), "--json"],
        capture_output=True,
        text=True,
        timeout=10 * budget,
        cwd=tmp_path,
    )
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert took <= max(1.1 * budget, budget + 2), summary["seconds"]
    assert summary["budget_seconds"] == budget
    assert summary["seconds"]["total"] == pytest.approx(took, abs=1.5)
    if took < 0.8 * budget:
        assert summary["plan"]["stopped"]
    assert summary["test"]["accuracy"] > 0.9
