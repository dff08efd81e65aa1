"""Who is told of a study's progress where nobody says."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def listening(listener: Any, progress: bool | None) -> Iterator[Any]:
    """Yield who is told of progress: the listener that is given, or else a display on stderr.

    Args:
        listener: is told of progress; None for a display.
        progress: whether to show one; None shows it on a terminal and in a notebook.

    Yields:
        The listener; None where nothing is to be shown.
    """
    shown = progress
    if shown is None:
        shown = sys.stderr.isatty() or "ipykernel" in sys.modules
    if listener is not None or not shown:
        yield listener
        return
    from rich.console import Console

    from thalweg.report.terminal import Progress

    with Progress(Console(stderr=True, highlight=False)) as display:
        yield display
