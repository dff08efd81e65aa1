"""Checkpoints: what a study needs to go on after a crash.

    checkpoints/OWNER/state.json           where the study stands, written at every rung
    checkpoints/OWNER/state.old.json       the one before
    checkpoints/OWNER/holder               locked by the process that is at work
    checkpoints/OWNER/cohorts-N.safetensors   weights and optimizer state of those that still train
    checkpoints/OWNER/kept.safetensors     weights of the best trials so far
    checkpoints/OWNER/baselines.safetensors   what the baselines say that are fitted

Every file is written under a temporary name and renamed. ``state.json`` is small. Weights are
written where that takes a twentieth of the time since the last time or less: the decisions of every
rung are known, so that what comes after older weights is trained again, exactly. The one before the
last is kept too, for a disk that damages a file; what is older is removed first.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.errors import RunError
from thalweg.files import write_atomically
from thalweg.study.engines import Group
from thalweg.study.outcome import Weights
from thalweg.study.store import new_owner
from thalweg.training.checkpoint import read_arrays, write_arrays

FORMAT = 1
COST_SHARE = 0.05
"""Share of the time that writing weights may take."""

BYTES_PER_SECOND = 3e8
"""What a disk is taken to write before it has been measured."""

DISK_SHARE = 0.1
"""Share of the free disk that weights may take; larger ones are left out."""


class Keeper:
    """The checkpoints of one owner.

    Args:
        folder: where they are.
        cost_share: share of the time that writing weights may take.

    Attributes:
        owner: whose they are: the folder's name.
        notices: what the user should know.
    """

    def __init__(self, folder: Path, cost_share: float = COST_SHARE) -> None:
        self.folder, self.cost_share = folder, cost_share
        self.owner = folder.name
        self.notices: list[str] = []
        self._number = 0
        self._speed = BYTES_PER_SECOND
        self._last = time.monotonic()
        self._cohorts: list[dict[str, Any]] = []
        self._kept: list[int] = []
        self._holder: int | None = None

    def hold(self) -> bool:
        """Take these checkpoints for this process; False where another living one has them.

        Raises:
            RunError: where the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Held by the system for this process, and given up with it, however it ends.
            self._holder = os.open(self.folder / "holder", os.O_CREAT | os.O_WRONLY, 0o666)
            fcntl.flock(self._holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        except OSError as error:
            raise RunError(
                f"the checkpoints {self.folder} cannot be written ({error.strerror}): make room, "
                "or give another --run"
            ) from None
        return True

    def release(self) -> None:
        """Let another process take these checkpoints."""
        if self._holder is not None:
            os.close(self._holder)
            self._holder = None

    # ------------------------------------------------------------------------------------ writing

    def save(
        self,
        state: Mapping[str, Any],
        groups: Sequence[Group],
        trained: int,
        kept: Mapping[int, Weights],
    ) -> None:
        """Write down where a study stands.

        Args:
            state: JSON-able values.
            groups: what trains; empty between brackets.
            trained: rungs that they have behind them.
            kept: weights of the best trials so far, by trial.

        Raises:
            OSError: where the disk is full or the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if sorted(kept) != self._kept:
            arrays = {}
            for trial, weights in kept.items():
                arrays |= {f"{trial}.params.{n}": v for n, v in weights.params.items()}
                arrays |= {f"{trial}.state.{n}": v for n, v in weights.state.items()}
            write_arrays(self.folder / "kept.safetensors", arrays)
            self._kept = sorted(kept)
        if groups:
            self._save_cohorts(groups, trained)
        elif self._cohorts:
            self._remove(self._cohorts)
            self._cohorts = []
        record = {
            "format": FORMAT,
            "study": state,
            "cohorts": self._cohorts,
            "kept": self._kept,
        }
        text = json.dumps(record, allow_nan=False, separators=(",", ":"))
        path = self.folder / "state.json"
        with contextlib.suppress(FileNotFoundError):
            path.replace(self.folder / "state.old.json")
        write_atomically(path, f"{zlib.crc32(text.encode()):08x}\n{text}\n")

    def _save_cohorts(self, groups: Sequence[Group], trained: int) -> None:
        """Write the weights of what trains, where that costs little."""
        since = time.monotonic() - self._last
        size = sum(len(cohort.members) * cohort.plan.member_bytes // 2 for _, cohort in groups)
        if size / self._speed + 0.01 > self.cost_share * since:
            return
        if size > DISK_SHARE * shutil.disk_usage(self.folder).free:
            notice = (
                f"weights of {size / 2**20:.0f} MiB were too large to be written down: after a "
                "crash their trials are trained again"
            )
            if notice not in self.notices:
                self.notices.append(notice)
            return
        # The disk holds two at a time, and one of them is whole while the other is written.
        self._remove(self._cohorts[:-1])
        self._cohorts = self._cohorts[-1:]
        start = time.monotonic()
        arrays = {
            f"{number}.{name}": values
            for number, (_, cohort) in enumerate(groups)
            for name, values in cohort.snapshot().items()
        }
        self._number += 1
        name = f"cohorts-{self._number}.safetensors"
        size = write_arrays(self.folder / name, arrays)
        self._cohorts.append({"file": name, "trained": trained})
        self._last = time.monotonic()
        self._speed = size / max(self._last - start, 1e-3)

    def _remove(self, cohorts: Sequence[Mapping[str, Any]]) -> None:
        for entry in cohorts:
            (self.folder / entry["file"]).unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove all checkpoints: the study is finished."""
        self.release()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()

    # ------------------------------------------------------------------------------------ reading

    def load(self) -> dict[str, Any] | None:
        """Return where the study stood, or None where nothing was written yet.

        Raises:
            RunError: where nothing that was written can be read, or another version wrote it.
        """
        damaged = None
        for name in ("state.json", "state.old.json"):
            path = self.folder / name
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                damaged = f"{path}: {error.strerror}"
                continue
            head, _, text = content.rstrip(b"\n").partition(b"\n")
            if head != f"{zlib.crc32(text):08x}".encode():
                damaged = f"{path} is damaged"
                continue
            record = json.loads(text)
            if record["format"] != FORMAT:
                raise RunError(
                    f"{path} was written by another version of Thalweg (format "
                    f"{record['format']}, this one reads {FORMAT}): resume it with that version"
                )
            if damaged:
                self.notices.append(f"{damaged}: went on from the checkpoint before it")
            self._cohorts = record["cohorts"]
            self._kept = record["kept"]
            numbers = [int(c["file"].split("-")[1].split(".")[0]) for c in self._cohorts]
            self._number = max(numbers, default=0)
            return record["study"]
        if damaged:
            raise RunError(f"no checkpoint can be read ({damaged}): start the study anew")
        return None

    def load_cohorts(self, make: Callable[[], list[Group]]) -> tuple[list[Group], int]:
        """Return what trained, as late as there are whole weights, and the rungs behind it.

        Args:
            make: returns the cohorts before their first step.
        """
        for entry in reversed(self._cohorts):
            groups = make()
            try:
                arrays = read_arrays(self.folder / entry["file"])
                for number, (_, cohort) in enumerate(groups):
                    prefix = f"{number}."
                    cohort.restore(
                        {
                            name.removeprefix(prefix): values
                            for name, values in arrays.items()
                            if name.startswith(prefix)
                        }
                    )
                return groups, entry["trained"]
            except (RunError, KeyError) as error:
                self.notices.append(f"{error}: its trials were trained again from further back")
        return make(), 0

    def load_kept(self) -> dict[int, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Return parameters and state of the best trials so far, by trial."""
        if not self._kept:
            return {}
        try:
            arrays = read_arrays(self.folder / "kept.safetensors")
        except RunError as error:
            self.notices.append(str(error))
            return {}
        found: dict[int, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = {
            trial: ({}, {}) for trial in self._kept
        }
        for key, values in arrays.items():
            trial, kind, name = key.split(".", 2)
            if int(trial) in found:
                found[int(trial)][kind == "state"][name] = values
        return found


def take(folder: Path, owner: str) -> Keeper:
    """Return the checkpoints that a process goes on with, and hold them.

    Those of the study's first owner, or of any other that has died; where all of them are alive,
    new ones for a process that joins them.

    Args:
        folder: all checkpoints of a run.
        owner: the study's first owner.
    """
    others = sorted(path.name for path in folder.glob("*") if path.name != owner)
    for name in [owner, *others, new_owner()]:
        keeper = Keeper(folder / name)
        if keeper.hold():
            return keeper
    raise RunError(f"the checkpoints {folder} are held by other processes: try again")
