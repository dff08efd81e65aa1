"""How long a study may take, and the clock that keeps it to that."""

from __future__ import annotations

import math
import os
import re
import time
from dataclasses import dataclass

from thalweg.errors import BudgetError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS = "seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d"
_DURATION = re.compile(rf"(\d+(?:\.\d+)?)({_WORDS})?")
SHORTEST_SECONDS = 5.0


def parse_seconds(text: str | float) -> float:
    """Return the seconds in ``"90"``, ``"90s"``, ``"5m"``, ``"1h30m"`` or a number.

    Raises:
        BudgetError: where it is no duration, or not a positive one.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        seconds = float(text)
    else:
        compact = str(text).strip().lower().replace(" ", "")
        parts = _DURATION.findall(compact)
        if not compact or "".join(a + b for a, b in parts) != compact:
            raise BudgetError(
                f"a budget is a time such as 90s, 5m or 1h30m; got {text!r} "
                "(for a number of trials, use --trials, trials= in Python)"
            )
        seconds = sum(float(number) * _UNITS[(unit or "s")[0]] for number, unit in parts)
    if not math.isfinite(seconds) or seconds <= 0:
        raise BudgetError(f"a budget must be longer than nothing; got {text!r}: try 60s")
    return seconds


@dataclass(frozen=True)
class Budget:
    """What a study may spend: a time, a number of trials, or a default number of trials.

    Args:
        seconds: from the start of the process (or call) to the end, or None.
        trials: number of trials, replicates of finalists included, or None.
        epochs: passes over the training rows, summed over all trials, or None.
        until_stalled: whether to end when the search has stopped improving.
    """

    seconds: float | None = None
    trials: int | None = None
    epochs: float | None = None
    until_stalled: bool = False

    def __post_init__(self) -> None:
        if self.seconds is not None and self.seconds < SHORTEST_SECONDS:
            raise BudgetError(
                f"a budget of {self.seconds:g} s is too short to compile and train anything: "
                f"give {SHORTEST_SECONDS:g}s or more, or a number of trials"
            )
        if self.trials is not None and (
            isinstance(self.trials, bool) or not float(self.trials).is_integer() or self.trials < 1
        ):
            raise BudgetError(f"trials must be a whole number from 1; got {self.trials!r}")
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            raise BudgetError(f"a budget of epochs must be above 0; got {self.epochs!r}")
        if self.epochs is not None and self.seconds is not None:
            raise BudgetError(
                f"a budget is either a time or a number of epochs; got {self.seconds:g} s and "
                f"{self.epochs:g} epochs: leave one out"
            )

    @classmethod
    def of(
        cls,
        budget: str | float | None = None,
        trials: int | None = None,
        epochs: float | None = None,
        until_stalled: bool = False,
    ) -> Budget:
        """Return the budget of these options.

        Raises:
            BudgetError: where one of them makes no sense.
        """
        seconds = None if budget is None else parse_seconds(budget)
        return cls(seconds, trials, epochs, until_stalled)

    def describe(self) -> str:
        """Return the budget in words."""
        parts = []
        if self.seconds is not None:
            parts.append(f"{self.seconds:g} s")
        if self.trials is not None:
            parts.append(f"{self.trials} trials")
        if self.epochs is not None:
            parts.append(f"{self.epochs:g} epochs")
        if self.until_stalled:
            parts.append("until it stops improving")
        return " and ".join(parts) or "the default number of trials"


class Clock:
    """Counts from the start of the work; ``left`` is what remains of the budget.

    Args:
        budget: the promise to keep.
        start: ``time.perf_counter()`` at the start; now by default.
    """

    def __init__(self, budget: Budget, start: float | None = None) -> None:
        self.budget = budget
        self.start = time.perf_counter() if start is None else start

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self.start

    def left(self) -> float:
        """Return the seconds left; infinity without a time budget."""
        if self.budget.seconds is None:
            return math.inf
        return self.budget.seconds - self.elapsed()


def process_start() -> float:
    """Return ``time.perf_counter()`` as it was when this process began.

    Imports are part of what a user waits for, so that the command line counts from here.
    """
    now = time.perf_counter()
    try:
        with open("/proc/self/stat", encoding="ascii") as file:
            ticks = float(file.read().rpartition(")")[2].split()[19])
        with open("/proc/uptime", encoding="ascii") as file:
            uptime = float(file.read().split()[0])
        age = uptime - ticks / os.sysconf("SC_CLK_TCK")
        return now - max(0.0, age)
    except (OSError, ValueError, IndexError, AttributeError):
        return now
