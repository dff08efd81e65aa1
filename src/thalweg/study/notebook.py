"""Writing a study down while it runs, and taking it up again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from thalweg.errors import RunError
from thalweg.study.bracket import Bracket
from thalweg.study.callbacks import Callback, Callbacks
from thalweg.study.engines import Engines, Group, only, structure_of
from thalweg.study.keeper import Keeper
from thalweg.study.ledger import Ledger
from thalweg.study.listener import Listener
from thalweg.study.outcome import Weights
from thalweg.study.records import Trial
from thalweg.study.settings import Settings
from thalweg.study.standing import Standing
from thalweg.study.store import LEASE_SECONDS
from thalweg.study.timeplan import TimePlan

LONGEST_WAIT_SECONDS = 300.0
"""How long a study waits for a disk or a database without which it cannot go on."""


class Notebook:
    """Checkpoints and trials of a running study, written together.

    The checkpoint comes first: what it knows and the store does not is written to the store again.
    Where one of them fails, training goes on, and the next rung tries again.

    Args:
        keeper: writes checkpoints, or None.
        ledger: has the trials.
        time: has the clock.
        listener: is told of trouble.
        interrupted: whether the user wants to stop.
        callbacks: told of every rung.
    """

    def __init__(
        self,
        keeper: Keeper | None,
        ledger: Ledger,
        time: TimePlan,
        listener: Listener,
        interrupted: Callable[[], bool],
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.keeper, self.ledger, self.time = keeper, ledger, time
        self.listener, self.interrupted = listener, interrupted
        self._saved: dict[str, Any] | None = keeper.load() if keeper else None
        self._trouble: list[str] = []
        self._heart: threading.Event | None = None
        ledger.insist = self.insist
        if keeper is not None:
            # Others see from now on that there is one more.
            self.insist(ledger.store.beat)
        self.callbacks = Callbacks(callbacks, self._complain)

    @property
    def notices(self) -> list[str]:
        """What the user should know."""
        return [*self._trouble, *(self.keeper.notices if self.keeper else [])]

    # -------------------------------------------------------------------------------- taking it up

    def standing(self, settings: Settings) -> Standing:
        """Return where the study stands: at its beginning, or where it was left."""
        saved = self._saved
        if saved is None:
            return Standing(pending=list(settings.first))
        at = Standing.from_dict(saved)
        # What earlier processes spent is spent.
        self.time.clock.start -= saved["elapsed"]
        if at.reserve is not None:
            self.time.reserve = at.reserve
        self.time.confirm_limit = at.confirm_limit
        return at

    def bracket(self, engines: Engines) -> Bracket | None:
        """Return the bracket that was left behind, with its cohorts; None where there is none.

        The ledger learns of all earlier trials.
        """
        saved, self._saved = self._saved, None
        if self.keeper is None:
            return None
        if saved is None:
            # Trials may have been begun before there was a checkpoint.
            self.ledger.recall([], [], [])
            return None
        record = saved["bracket"]
        bracket = None if record is None else Bracket.from_state(record)
        current = list(bracket.trials.values()) if bracket else []
        unwritten = [Trial.from_state(trial) for trial in saved["unwritten"]]
        self.ledger.recall(saved["numbers"], current, unwritten)
        trials = {trial.id: trial for trial in self.ledger.trials}
        for number, (params, state) in self.keeper.load_kept().items():
            if number in trials:
                structure = structure_of(trials[number].config)
                self.ledger.weights[number] = Weights(structure, params, state)
        if bracket is None:
            return None

        def make() -> list[Group]:
            groups = engines.groups(bracket.configs, bracket.seeds, bracket.folds, bracket.full)
            groups = [g for g in groups if any(i in bracket.trials for i in g.members)]
            only(groups, bracket.trials)
            return groups

        bracket.groups, bracket.trained = self.keeper.load_cohorts(make)
        for decision in bracket.decisions[: bracket.trained]:
            bracket.shorten(decision)
        return bracket

    # ---------------------------------------------------------------------------------- writing

    def save(self, at: Standing, bracket: Bracket, compiled: float, *, over: bool) -> None:
        """Write down where the study stands, and what its trials did.

        Args:
            at: all but trials and time.
            bracket: what trains.
            compiled: seconds that this process compiled.
            over: whether the bracket is at its end.
        """
        trials = list(bracket.trials.values())
        alive = set() if over else {bracket.trials[i].id for i in bracket.alive}
        unwritten = self.ledger.unwritten
        finished = [trial for trial in trials if trial.id not in alive]
        self.ledger.queue(trials, finished)
        self.callbacks.rung(trials, finished)
        keeper = self.keeper
        if keeper is None:
            self.attempt(self.ledger.flush)
            return
        current = {trial.id for trial in trials}
        state = at.to_dict() | {
            "compile_seconds": round(at.compile_seconds + compiled, 3),
            "elapsed": round(self.time.clock.elapsed(), 3),
            "reserve": self.time.reserve,
            "confirm_limit": self.time.confirm_limit,
            "numbers": self.ledger.numbers(),
            "unwritten": [t.state() for t in [*unwritten, *(trials if over else [])]],
            "bracket": None if over else bracket.state(),
        }
        kept = {
            number: weights
            for number, weights in self.ledger.weights.items()
            if over or number not in current
        }
        groups = [] if over or not bracket.has_begun else bracket.groups
        self.attempt(lambda: keeper.save(state, groups, bracket.trained, kept))
        self.attempt(self.ledger.flush)
        if self._heart is None:
            self._heart = threading.Event()
            threading.Thread(target=self._beat, args=(self._heart,), daemon=True).start()

    def tell(self, bracket: Bracket) -> None:
        """Say what trials did at a rung that is no place to go on from after a crash."""
        trials = list(bracket.trials.values())
        self.ledger.queue(trials, [])
        self.callbacks.rung(trials, [])
        self.attempt(self.ledger.flush)

    def attempt(self, work: Callable[[], None]) -> bool:
        """Write something; where that fails say so, and return False: the next rung tries again."""
        try:
            work()
        except RunError:
            raise
        except OSError as error:
            self._complain(f"{_reason(error)}: training goes on, and writing is tried again")
            return False
        return True

    def insist(self, work: Callable[[], None]) -> None:
        """Write something without which the study cannot go on, however long it takes.

        Raises:
            RunError: where it could not be written for minutes, or the time is over.
        """
        start, pause = time.monotonic(), 0.5
        while True:
            try:
                work()
                return
            except RunError:
                raise
            except OSError as error:
                waited = time.monotonic() - start
                over = self.interrupted() or self.time.is_over()
                if over or waited > LONGEST_WAIT_SECONDS:
                    raise RunError(
                        f"{_reason(error)}: put that right, then go on with thalweg resume"
                    ) from None
                self._complain(f"{_reason(error)}: waiting for it")
                time.sleep(pause)
                pause = min(2 * pause, 10.0)

    def _complain(self, text: str) -> None:
        if text not in self._trouble:
            self._trouble.append(text)
            self.listener.message(text)

    def _beat(self, done: threading.Event) -> None:
        while not done.wait(LEASE_SECONDS / 3):
            # One that fails is made up for by the next.
            self.attempt(self.ledger.store.beat)

    def rest(self) -> None:
        """Let the lease run out: this process does no more."""
        if self._heart is not None:
            self._heart.set()

    def close(self) -> None:
        """Write what is left to write, and give up the lease.

        Raises:
            RunError: where it cannot be written.
        """
        self.insist(self.ledger.flush)
        self.insist(self.ledger.give_up_lost)
        self.attempt(self.ledger.store.close)


def _reason(error: OSError) -> str:
    place = f" {error.filename}" if error.filename else ""
    return f"the study{place} cannot be written ({error.strerror or error})"
