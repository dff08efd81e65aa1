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
    while not (folder / "run" / "trials.jsonl").exists():
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
    for line in (run / "trials.jsonl").read_text().splitlines():
        assert json.loads(line)["config"]
    assert not (run / "run.json").exists()
    with pytest.raises(RunError, match="no finished run"):
        tw.Study.open(run)
    with pytest.raises(RunError, match="holds no trained model"):
        Model.load(run)


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
