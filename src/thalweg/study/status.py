"""The live state of a run, for ``thalweg watch`` in another terminal."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from thalweg.study.listener import Listener
from thalweg.study.store import is_gone, new_owner

FILE = "status.json"


class Reporter:
    """A Listener that passes everything on, and keeps the last of it in a file.

    Args:
        listener: who is told as well.
        folder: the run directory.
    """

    def __init__(self, listener: Listener, folder: Path) -> None:
        self.listener, self.path = listener, folder / FILE
        self._state: dict[str, Any] = {
            "owner": new_owner(),
            "started": round(time.time(), 2),
            "messages": [],
        }

    def plan(self, text: str) -> None:
        """Say what is going to be done."""
        self.listener.plan(text)
        self._write(plan=text)

    def message(self, text: str) -> None:
        """Say what the user should know at once."""
        self.listener.message(text)
        self._write(messages=[*self._state["messages"][-4:], text])

    def update(self, **state: Any) -> None:
        """Say where the study stands."""
        self.listener.update(**state)
        self._write(**state)

    def _write(self, **state: Any) -> None:
        self._state |= {**state, "time": round(time.time(), 2)}
        temporary = self.path.with_name(f".{FILE}.{os.getpid()}")
        # Nothing depends on it: where the disk is full, the study says so elsewhere.
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(self._state))
            temporary.replace(self.path)


def read_status(folder: Path) -> dict[str, Any] | None:
    """Return the last state of a run, or None where there is none yet."""
    try:
        return json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def why_over(folder: Path) -> str | None:
    """Return why nothing more is going to happen in a run directory, None while something may.

    An empty text means that the study is finished.
    """
    if (folder / "run.json").exists():
        return ""
    state = read_status(folder)
    if state is not None and is_gone(state["owner"]):
        return (
            "the process that carried it out has ended before the study was finished: go on with "
            f"thalweg resume {folder}"
        )
    return None
