"""Where the trials of a study are written, for Optuna, its dashboard and other processes to read.

A store numbers trials, writes them in bulk, and keeps apart what several processes do: each one is
an *owner*, and what an owner has begun is its own as long as its lease runs.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from thalweg.study.records import Trial

RUNNING, COMPLETE, PRUNED, FAIL, WAITING = range(5)
"""States of a trial, by Optuna's numbers."""

RECORD = "thalweg:record"
OWNER = "thalweg:owner"
LEASE = "thalweg:lease:"
LEASE_SECONDS = 60.0
"""An owner that has not been heard of for so long is taken for dead."""


def new_owner() -> str:
    """Return a name for this process, unlike that of any other."""
    return f"{socket.gethostname()}~{os.getpid()}~{time.time_ns():x}"


THIS_PROCESS = new_owner()


def is_gone(owner: str) -> bool:
    """Whether an owner is a process of this machine that no longer runs."""
    host, pid, *_ = [*owner.split("~"), ""]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    if int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@dataclass
class Stored:
    """What a store knows of one trial.

    Attributes:
        number: its number in the study.
        key: its identity in the store.
        state: one of Optuna's.
        owner: who trains it, or did.
        seen: how many of its evaluations are written.
        facts: its user attributes, where another process began it, or this one in an earlier life.
        record: the whole trial, where another process finished it, or this one in an earlier life.
    """

    number: int
    key: int
    state: int
    owner: str
    seen: int = 0
    facts: Mapping[str, Any] | None = None
    record: Mapping[str, Any] | None = None


@dataclass
class Snapshot:
    """What all owners have done.

    Attributes:
        trials: by number.
        leases: until when each owner is sure to be alive (seconds since 1970), and its process.
    """

    trials: dict[int, Stored] = field(default_factory=dict[int, Stored])
    leases: dict[str, tuple[float, str]] = field(default_factory=dict[str, tuple[float, str]])

    def is_alive(self, owner: str) -> bool:
        """Whether an owner may still be at work."""
        until, process = self.leases.get(owner, (0.0, owner))
        return until > time.time() and not is_gone(process)


Choose = Callable[[Snapshot], Sequence[Trial]]
"""Says which of some trials may begin, knowing all that others have begun."""


class Store(Protocol):
    """Trials of one study.

    Attributes:
        owner: who writes.
        about: the study's user attributes, from whoever began it.
    """

    owner: str
    about: Mapping[str, Any]

    def begin(self, choose: Choose) -> None:
        """Give the chosen trials their numbers (``id``), and write that they are running.

        Nobody else begins any between the choice and the writing.
        """
        ...

    def report(self, trials: Sequence[Trial], finished: Sequence[Trial]) -> None:
        """Write what is new of trials, and of those among them that are finished, all."""
        ...

    def give_up(self, numbers: Sequence[int]) -> None:
        """Mark running trials as failed: nobody trains them any more."""
        ...

    def read(self) -> Snapshot:
        """Return what all owners have done."""
        ...

    def beat(self) -> None:
        """Renew this owner's lease."""
        ...

    def close(self) -> None:
        """Give up the lease, and whatever is open."""
        ...


class Unstored:
    """The store of a study that leaves nothing behind: it only numbers trials."""

    def __init__(self) -> None:
        self.owner = new_owner()
        self.about: Mapping[str, Any] = {}
        self._count = 0

    def begin(self, choose: Choose) -> None:
        """Give the chosen trials their numbers."""
        for trial in choose(Snapshot()):
            trial.id = self._count
            self._count += 1

    def report(self, trials: Sequence[Trial], finished: Sequence[Trial]) -> None:
        """Write nothing."""

    def give_up(self, numbers: Sequence[int]) -> None:
        """Write nothing."""

    def read(self) -> Snapshot:
        """Return nothing."""
        return Snapshot()

    def beat(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def state_of(trial: Trial) -> int:
    """Return Optuna's state of a finished trial."""
    return {"completed": COMPLETE, "stopped": PRUNED, "diverged": FAIL}[trial.status]


def facts_of(trial: Trial) -> dict[str, Any]:
    """Return what Optuna's user attributes say of a trial from its beginning."""
    facts = {
        "phase": trial.phase,
        "structure": trial.structure,
        "seed": trial.seed,
        "num_params": trial.num_params,
        "config": trial.config.to_dict(),
    }
    return facts if trial.fold is None else {**facts, "fold": trial.fold}


def results_of(trial: Trial) -> dict[str, Any]:
    """Return what Optuna's user attributes say of a finished trial."""
    return {
        "status": trial.status,
        "rung": trial.rung,
        "epochs": round(trial.epochs, 4),
        "seconds": round(trial.seconds, 4),
    }
