"""Optuna's journal file, written in bulk and without importing Optuna (half a second).

The format is that of ``optuna.storages.journal.JournalFileBackend``: one JSON object a line, each
an operation; trials are numbered in the order of their lines. A writer holds the lock that Optuna's
own processes hold, a symbolic link beside the file, from reading to writing, so that numbers are
known at once and two processes never step on each other.

A process that is killed while it writes leaves a line cut short. Optuna would stop at it; the next
writer here removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from thalweg.errors import RunError
from thalweg.study.distributions import Distribution, internal_values
from thalweg.study.records import Trial
from thalweg.study.store import (
    FAIL,
    LEASE,
    LEASE_SECONDS,
    OWNER,
    RECORD,
    RUNNING,
    THIS_PROCESS,
    Choose,
    Snapshot,
    Stored,
    facts_of,
    results_of,
    state_of,
)

CREATE_STUDY, DELETE_STUDY, STUDY_USER, STUDY_SYSTEM, CREATE_TRIAL = range(5)
TRIAL_PARAM, TRIAL_STATE, TRIAL_VALUE, TRIAL_USER, TRIAL_SYSTEM = range(5, 10)
LOCK_SECONDS = 30.0
"""A lock that is held for so long belonged to a process that died with it; as in Optuna."""


class Journal:
    """One study in a journal file.

    Args:
        path: the file; made where there is none.
        name: the study's name in it; made where there is none.
        owner: who writes.
        maximise: whether more is better.
        metric: what the trials' values are.
        distributions: what is searched.
        about: user attributes of the study.

    Raises:
        RunError: where the file cannot be written, or is no journal.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        owner: str,
        *,
        maximise: bool,
        metric: str,
        distributions: Mapping[str, Distribution],
        about: Mapping[str, Any],
    ) -> None:
        self.path, self.name, self.owner = path, name, owner
        self.distributions = distributions
        self._texts = {name: known.to_json() for name, known in distributions.items()}
        self._reader = _Reader(name)
        self._offset = 0
        self._lock = threading.Lock()
        with self._writing() as write:
            if self._reader.study is None:
                write(CREATE_STUDY, {"study_name": name, "directions": [2 if maximise else 1]})
                number = self._reader.num_studies
                facts = {"metric": metric, **about}
                for key, value in facts.items():
                    write(STUDY_USER, {"study_id": number, "user_attr": {key: value}})
                names = {"study:metric_names": [metric]}
                write(STUDY_SYSTEM, {"study_id": number, "system_attr": names})
        self.about: Mapping[str, Any] = self._reader.about

    # --------------------------------------------------------------------------------- operations

    def begin(self, choose: Choose) -> None:
        """Give the chosen trials their numbers, and write that they are running."""
        now = _now()
        with self._writing() as write:
            for trial in choose(self._reader.snapshot):
                trial.id = self._reader.begin(self.owner)
                values = internal_values(self.distributions, trial.config)
                own = {name: self._texts[name] for name in values}
                write(
                    CREATE_TRIAL,
                    {
                        "study_id": self._reader.study,
                        "datetime_start": now,
                        "state": RUNNING,
                        "value": None,
                        "values": None,
                        "distributions": own,
                        "params": values,
                        "user_attrs": facts_of(trial),
                        "system_attrs": {OWNER: self.owner},
                        "intermediate_values": {},
                    },
                )

    def report(self, trials: Sequence[Trial], finished: Sequence[Trial]) -> None:
        """Write what is new of trials, and of those among them that are finished, all."""
        now = _now()
        with self._writing() as write:
            known = self._reader.snapshot.trials
            for trial in trials:
                stored = known[trial.id]
                if stored.state != RUNNING:
                    continue
                steps = trial.curve.get("step", [])
                values = trial.curve.get("validation", [])
                for step, value in zip(steps[stored.seen :], values[stored.seen :], strict=True):
                    write(
                        TRIAL_VALUE,
                        {
                            "trial_id": stored.key,
                            "step": int(step),
                            "intermediate_value": value,
                        },
                    )
                stored.seen = max(stored.seen, len(steps))
            for trial in finished:
                stored = known[trial.id]
                if stored.state != RUNNING:
                    continue
                for key, value in results_of(trial).items():
                    write(TRIAL_USER, {"trial_id": stored.key, "user_attr": {key: value}})
                record = {RECORD: trial.state()}
                write(TRIAL_SYSTEM, {"trial_id": stored.key, "system_attr": record})
                stored.state = state_of(trial)
                score = [trial.score] if math.isfinite(trial.score) else None
                if score is None:
                    # Optuna has no finished trial without a value.
                    stored.state = FAIL
                write(
                    TRIAL_STATE,
                    {
                        "trial_id": stored.key,
                        "state": stored.state,
                        "values": None if stored.state == FAIL else score,
                        "datetime_complete": now,
                    },
                )

    def give_up(self, numbers: Sequence[int]) -> None:
        """Mark running trials as failed: nobody trains them any more."""
        now = _now()
        with self._writing() as write:
            for number in numbers:
                stored = self._reader.snapshot.trials[number]
                if stored.state == RUNNING:
                    stored.state = FAIL
                    end = {"state": FAIL, "values": None, "datetime_complete": now}
                    write(TRIAL_STATE, {"trial_id": stored.key, **end})

    def read(self) -> Snapshot:
        """Return what all owners have done."""
        with self._lock:
            self._catch_up()
        return self._reader.snapshot

    def beat(self) -> None:
        """Renew this owner's lease."""
        self._lease(time.time() + LEASE_SECONDS)

    def close(self) -> None:
        """Give up the lease."""
        self._lease(0.0)

    def _lease(self, until: float) -> None:
        with self._writing() as write:
            attribute = {LEASE + self.owner: [round(until, 1), THIS_PROCESS]}
            write(STUDY_USER, {"study_id": self._reader.study, "user_attr": attribute})

    # ---------------------------------------------------------------------------------- the file

    def _catch_up(self) -> None:
        """Read what has been written since the last time."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                self._reader.apply(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(f"{self.path} is no journal of Optuna's: {error}") from None
        self._offset += len(whole)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        """Hold the lock, know all that was written, and write what is passed to the function."""
        lines: list[str] = []
        news: list[Mapping[str, Any]] = []

        def write(operation: int, fields: Mapping[str, Any]) -> None:
            log = {"op_code": operation, "worker_id": self.owner, **fields}
            lines.append(json.dumps(log, separators=(",", ":")))
            if operation in (CREATE_STUDY, STUDY_USER):
                news.append(log)

        with self._lock, _locked(self.path):
            self._catch_up()
            yield write
            if not lines:
                return
            try:
                self._append(("\n".join(lines) + "\n").encode())
            except OSError:
                # What was written down of the trials here did not happen.
                self._reader, self._offset = _Reader(self.name), 0
                raise
            for log in news:
                self._reader.apply(log)

    def _append(self, content: bytes) -> None:
        with open(self.path, "ab") as file:
            # What stands beyond the last whole line was cut short by a crash.
            file.truncate(self._offset)
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self.path, self._offset)
                raise
        self._offset += len(content)


class _Reader:
    """Follows a journal: which study is ours, and what is known of its trials."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.study: int | None = None
        self.num_studies = 0
        self.num_keys = 0
        self.snapshot = Snapshot()
        self.about: dict[str, Any] = {}
        self._alive: dict[int, str] = {}
        self._by_key: dict[int, Stored] = {}

    def begin(self, owner: str) -> int:
        """Return the number of a trial that is about to be written."""
        stored = Stored(len(self.snapshot.trials), self.num_keys, RUNNING, owner)
        self.snapshot.trials[stored.number] = self._by_key[stored.key] = stored
        self.num_keys += 1
        return stored.number

    def apply(self, log: Mapping[str, Any]) -> None:
        """Take in one operation."""
        operation = log["op_code"]
        if operation == CREATE_STUDY:
            if log["study_name"] not in self._alive.values():
                self._alive[self.num_studies] = log["study_name"]
                if log["study_name"] == self.name:
                    self.study = self.num_studies
                self.num_studies += 1
        elif operation == DELETE_STUDY:
            self._alive.pop(log["study_id"], None)
            if log["study_id"] == self.study:
                self.study, self.snapshot, self.about = None, Snapshot(), {}
                self._by_key = {}
        elif operation == STUDY_USER:
            if log["study_id"] == self.study:
                for key, value in log["user_attr"].items():
                    if key.startswith(LEASE):
                        until, process = value
                        self.snapshot.leases[key.removeprefix(LEASE)] = float(until), process
                    else:
                        self.about[key] = value
        elif operation == CREATE_TRIAL:
            if log["study_id"] in self._alive:
                if log["study_id"] == self.study:
                    self._created(log)
                else:
                    self.num_keys += 1
        elif operation in (TRIAL_VALUE, TRIAL_STATE, TRIAL_SYSTEM):
            stored = self._by_key.get(log["trial_id"])
            if stored is not None and stored.state in (RUNNING, 4):
                self._changed(stored, operation, log)

    def _created(self, log: Mapping[str, Any]) -> None:
        attributes = log.get("system_attrs", {})
        number = self.begin(attributes.get(OWNER, ""))
        stored = self.snapshot.trials[number]
        stored.facts = log.get("user_attrs", {})
        stored.state = log.get("state", RUNNING)
        stored.record = attributes.get(RECORD)
        stored.seen = len(log.get("intermediate_values", {}))

    def _changed(self, stored: Stored, operation: int, log: Mapping[str, Any]) -> None:
        if operation == TRIAL_VALUE:
            stored.seen += 1
        elif operation == TRIAL_STATE:
            stored.state = log["state"]
        else:
            stored.record = log["system_attr"].get(RECORD, stored.record)
            stored.owner = log["system_attr"].get(OWNER, stored.owner)


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="microseconds")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a journal: a symbolic link that only one process can make.

    Among processes of Thalweg it is the system's lock that counts, which dies with its process:
    whoever holds that one and finds a link of ours has found what a killed process left behind.
    """
    lock, target = f"{path}.lock", f"{path.parent}/./{path.name}"
    pause, since, mark = 0.001, time.monotonic(), None
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        while True:
            try:
                os.symlink(target, lock)
                break
            except FileExistsError:
                with contextlib.suppress(OSError):
                    changed = os.lstat(lock).st_mtime_ns
                    if changed != mark:
                        since, mark = time.monotonic(), changed
                    if os.readlink(lock) == target:
                        _release(lock)
                        continue
                if time.monotonic() - since > LOCK_SECONDS:
                    _release(lock)
                    since = time.monotonic()
                    continue
                time.sleep(pause)
                pause = min(2 * pause, 0.1)
        try:
            yield
        finally:
            _release(lock)


def _release(lock: str) -> None:
    aside = f"{lock}{uuid.uuid4()}.rename"
    with contextlib.suppress(OSError):
        os.rename(lock, aside)
        os.unlink(aside)
