"""Independent pieces of work, as many side by side as there are cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor


def run_tasks(
    tasks: Sequence[Callable[[], None]], pool: ThreadPoolExecutor | None, workers: int
) -> None:
    """Run callables on a pool (one of ``workers`` threads by default) and wait for all.

    Raises:
        The first exception that one of them raised, after the others have ended.
    """
    if len(tasks) == 1 or workers == 1:
        for task in tasks:
            task()
        return
    own = pool or ThreadPoolExecutor(workers, thread_name_prefix="thalweg")
    try:
        futures: list[Future[None]] = [own.submit(task) for task in tasks]
        for future in futures:
            future.exception()
        for future in futures:
            future.result()
    finally:
        if pool is None:
            own.shutdown()
