"""Independent pieces of work, as many side by side as there are cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed


def run_tasks(
    tasks: Sequence[Callable[[], None]],
    pool: ThreadPoolExecutor | None,
    workers: int,
    heard: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Run callables on a pool (one of ``workers`` threads by default) and wait for all.

    Args:
        tasks: in the order in which they begin.
        pool: whose threads run them.
        workers: threads at a time.
        heard: told in this thread, as tasks end, how many have and how many there are.

    Raises:
        The first exception that one of them raised, after the others have ended.
    """
    if len(tasks) == 1 or workers == 1:
        for number, task in enumerate(tasks, 1):
            task()
            heard(number, len(tasks))
        return
    own = pool or ThreadPoolExecutor(workers, thread_name_prefix="thalweg")
    try:
        futures: list[Future[None]] = [own.submit(task) for task in tasks]
        for number, _ in enumerate(as_completed(futures), 1):
            heard(number, len(tasks))
        for future in futures:
            future.result()
    finally:
        if pool is None:
            own.shutdown()
