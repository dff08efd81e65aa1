"""How far a job of known length has come: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console

LINE_EVERY_SECONDS = 10.0


class Counting:
    """A bar that shows how much of a job is done; it leaves nothing behind.

    Args:
        console: where to show it.
        text: what is being done.
        clock: seconds from any start, rising; tests pass their own.
    """

    def __init__(
        self, console: Console, text: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._text, self._clock = console, text, clock
        self._bar: Any = None
        self._task: Any = None
        self._last = clock()

    def __enter__(self) -> Counting:
        if self._console.is_terminal:
            from rich.progress import Progress

            self._bar = Progress(console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._text, total=None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int) -> None:
        """Show that so much of the whole is done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif self._clock() - self._last > LINE_EVERY_SECONDS:
            self._last = self._clock()
            self._console.print(f"{self._text}: {done:,} of {total:,}", soft_wrap=True)
