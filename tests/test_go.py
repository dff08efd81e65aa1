"""go.py, the front door: what it installs, and its one-line errors. CI runs it for real."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

GO = Path(__file__).resolve().parent.parent / "go.py"


@pytest.fixture
def go() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(GO), run_name="go"))


def test_without_a_command_it_says_what_it_does() -> None:
    done = subprocess.run([sys.executable, str(GO)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "python go.py demo" in done.stdout
    assert "python go.py test" in done.stdout


def test_an_old_python_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(GO), run_name="__main__")
    assert "Python 3.11 or later is needed" in str(error.value)
    assert "\n" not in str(error.value)


def test_groups_are_resolved_and_torch_is_apart(go: SimpleNamespace) -> None:
    found = go.requirements(["test", "lint"])
    assert any(item.startswith("matplotlib") for item in found)
    assert any(item.startswith("import-linter") for item in found)
    assert not any(item.startswith("torch") for item in found)
    assert go.requirements(["oracles"])[0].startswith("torch==")
    assert go.requirements([]) == []


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("WARNING: Retrying after NewConnectionError\nERROR: No matching distribution", "registry"),
        ("ERROR: Could not find it\nERROR: No space left on device\n", "No space left on device"),
        ("", "pip failed"),
    ],
)
def test_failures_of_pip_are_one_line(
    go: SimpleNamespace, tmp_path: Path, log: str, message: str
) -> None:
    path = tmp_path / "install.log"
    path.write_text(log, encoding="utf-8")
    go.fail_to_install.__globals__["LOG"] = path
    with pytest.raises(SystemExit, match=message) as error:
        go.fail_to_install()
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
