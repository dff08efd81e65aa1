"""The run directory: what a study leaves behind.

    study.json     what was asked, and of which data (see ``request.py``)
    journal.log    the trials, in Optuna's journal format, while the study runs and after
    status.json    how far the study is, while it runs
    checkpoints/   where the study stands; removed when it is finished (see ``keeper.py``)
    run.json       the summary, as printed by ``fit --json``; written last
    trials.jsonl   one record a line
    model/         the trained model (see ``model.py``)
    pictures/      images, filters, mistakes (PNG), where the data are images
    report.html    for people

Every file is written under a temporary name and renamed.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from thalweg.errors import RunError
from thalweg.files import write_atomically
from thalweg.study.records import Trial


class RunDirectory:
    """Paths and contents of one run.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._made: list[Path] = []

    @classmethod
    def create(cls, path: str | Path | None, name: str) -> RunDirectory:
        """Make the folder of a new run; ``runs/NAME-DATE-TIME`` where no path is given.

        Raises:
            RunError: where it holds another run already, or cannot be made.
        """
        if path is None:
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
            safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[:40] or "run"
            base = Path("runs") / f"{safe}-{stamp}"
            path, number = base, 1
            while Path(path).exists():
                number += 1
                path = base.with_name(f"{base.name}-{number}")
        folder = Path(path)
        cls.check_vacant(folder)
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise RunError(
                f"the run directory {folder} cannot be written ({error.strerror}): "
                "give another with --run"
            ) from None
        directory = cls(folder)
        directory._made = missing
        return directory

    def abandon(self) -> None:
        """Remove what a study that found nothing has written, and the folders made for it."""
        for path in (self.path / "study.json", self.journal_path, self.status_path):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return

    @staticmethod
    def check_vacant(path: str | Path) -> None:
        """Make sure that a folder holds no run yet.

        Raises:
            RunError: where it does.
        """
        if (Path(path) / "run.json").exists():
            raise RunError(f"{path} already holds a finished run: give another --run, or remove it")
        if (Path(path) / "study.json").exists():
            raise RunError(
                f"{path} already holds a study that is not finished: go on with thalweg resume "
                f"{path}, or give another --run"
            )

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Open the folder of a finished run.

        Raises:
            RunError: where it is none.
        """
        folder = Path(path)
        if not folder.exists():
            raise RunError(f"there is no run directory {folder}: check the path")
        if not (folder / "run.json").exists():
            hint = f": go on with thalweg resume {folder}"
            unfinished = hint if (folder / "study.json").exists() else ""
            raise RunError(f"{folder} holds no finished run (run.json is missing){unfinished}")
        return cls(folder)

    @property
    def model_path(self) -> Path:
        """The folder of the trained model."""
        return self.path / "model"

    @property
    def journal_path(self) -> Path:
        """The file that holds the trials for Optuna."""
        return self.path / "journal.log"

    @property
    def status_path(self) -> Path:
        """The file that says how far a running study is."""
        return self.path / "status.json"

    @property
    def is_finished(self) -> bool:
        """Whether the study has come to its end."""
        return (self.path / "run.json").exists()

    @property
    def was_interrupted(self) -> bool:
        """Whether its user stopped it before its budget was spent."""
        return self.is_finished and self.read_summary()["plan"]["stopped"].startswith("interrupted")

    @property
    def checkpoints(self) -> Path:
        """The folder of all checkpoints."""
        return self.path / "checkpoints"

    @property
    def report_path(self) -> Path:
        """The report's file."""
        return self.path / "report.html"

    def write_trials(self, trials: Iterable[Trial]) -> None:
        """Write the records of all trials."""
        lines = [json.dumps(trial.to_dict(), allow_nan=False) for trial in trials]
        write_atomically(self.path / "trials.jsonl", "\n".join(lines) + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the summary."""
        text = json.dumps(json_ready(summary), indent=1, allow_nan=False)
        write_atomically(self.path / "run.json", text + "\n")

    def write_pictures(self, pictures: Mapping[str, bytes]) -> None:
        """Write the pictures, PNG by name, into ``pictures/NAME.png``."""
        folder = self.path / "pictures"
        if pictures:
            folder.mkdir(exist_ok=True)
        for name, png in pictures.items():
            write_atomically(folder / f"{name}.png", png)

    def read_pictures(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the pictures with these names; those that are no longer there are left out."""
        found = {}
        for name in names:
            # Names come from a file: one that leads elsewhere is no picture of this run.
            path = self.path / "pictures" / f"{Path(name).name}.png"
            if path.is_file():
                found[name] = path.read_bytes()
        return found

    def read_trials(self) -> list[dict[str, Any]]:
        """Return the records of all trials."""
        try:
            text = (self.path / "trials.jsonl").read_text(encoding="utf-8")
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise RunError(f"the trials of {self.path} cannot be read: {error}") from None

    def read_summary(self) -> dict[str, Any]:
        """Return the summary."""
        try:
            return json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"the summary of {self.path} cannot be read: {error}") from None


def json_ready(value: Any) -> Any:
    """Return a copy of nested values in which everything is JSON; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, Sequence):
        return [json_ready(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return json_ready(value.item())
    if hasattr(value, "tolist"):
        return json_ready(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) else str(value)
