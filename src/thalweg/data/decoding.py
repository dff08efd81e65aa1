"""What reading many files has in common, whatever is in them: all cores, and a cache of the result.

A set in the cache is two files of one stem: an array (``.npy``) and what is to be said about it
(``.json``), found by a hash of paths, sizes, times of change and settings.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.files import cache_dir, write_atomically

CACHE_BYTES = 8 << 30
"""Arrays of one kind of data that are kept; those not used for longest go first."""

_CHUNK = 16


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_all_cores(work: Callable[[int, int], None], num_items: int) -> None:
    """Call ``work(start, stop)`` for each chunk of items, in threads."""
    starts = range(0, num_items, _CHUNK)
    stops = [min(start + _CHUNK, num_items) for start in starts]
    workers = min(num_cores(), len(starts))
    if workers <= 1:
        for start, stop in zip(starts, stops, strict=True):
            work(start, stop)
        return
    with ThreadPoolExecutor(workers, "decode") as pool:
        for _ in pool.map(work, starts, stops):
            pass


def entry_of(kind: str, paths: Sequence[str], settings: Sequence[Any]) -> Path:
    """Return the stem of a set's files in the cache.

    Args:
        kind: the cache's folder.
        paths: files of the set, in order.
        settings: all else that the result depends on, as JSON.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(settings).encode())
    for path in paths:
        try:
            status = os.stat(path)
            about = f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}\0"
        except OSError:
            about = f"{os.path.abspath(path)}\0-\0"
        digest.update(about.encode("utf-8", "surrogateescape"))
    return cache_dir() / kind / digest.hexdigest()


def write_entry(entry: Path, array: np.ndarray, record: Mapping[str, Any]) -> bool:
    """Write a set into the cache, and tell whether that was possible.

    A cache that cannot be written is no reason to stop: the files are decoded every time.
    """
    temporary = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=entry.parent, prefix=".decoding.")
        with os.fdopen(handle, "wb") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)
        os.replace(temporary, entry.with_suffix(".npy"))
        # Written last: an entry without it does not count.
        write_atomically(entry.with_suffix(".json"), json.dumps(record))
        prune_cache(entry)
    except (OSError, UnicodeEncodeError):
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        return False
    return True


def prune_cache(newest: Path) -> None:
    """Delete the arrays that were not used for longest from a full cache, never the newest."""
    arrays = sorted(newest.parent.glob("*.npy"), key=lambda path: -path.stat().st_mtime)
    total = 0
    for array in arrays:
        total += array.stat().st_size
        if total > CACHE_BYTES and array.stem != newest.stem:
            array.with_suffix(".json").unlink(missing_ok=True)
            array.unlink(missing_ok=True)
