"""Who is told how a running study is doing."""

from __future__ import annotations

from typing import Any, Protocol


class Listener(Protocol):
    """What is told of a running study."""

    def plan(self, text: str) -> None:
        """Say what is going to be done."""
        ...

    def message(self, text: str) -> None:
        """Say what the user should know at once."""
        ...

    def update(
        self,
        *,
        phase: str,
        trials_done: int,
        total: int | None,
        best: float | None,
        metric: str,
        rung: str,
        throughput: float,
        seconds_left: float | None,
    ) -> None:
        """Say where the study stands."""
        ...


class Silent:
    """A Listener that says nothing."""

    def plan(self, text: str) -> None:
        """Say nothing."""

    def message(self, text: str) -> None:
        """Say nothing."""

    def update(self, **state: Any) -> None:
        """Say nothing."""
