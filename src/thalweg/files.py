"""Where files are kept, and writing them so that a crash leaves the old one or the new one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file under a temporary name beside ``path`` and rename it.

    Args:
        path: the file; its folder must exist.
        content: text (written as UTF-8) or bytes.

    Raises:
        OSError: where the folder cannot be written or the disk is full; ``path`` is unchanged.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner can read; give them the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def cache_dir() -> Path:
    """Return where what can be made again is kept: ``THALWEG_CACHE`` or the user's cache folder."""
    base = os.environ.get("THALWEG_CACHE")
    if base:
        return Path(base)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "thalweg"


def prune(folder: Path, most_bytes: int, newest: str) -> None:
    """Delete the files that were not used for longest from a full folder, never the newest.

    Args:
        folder: what holds the files; using one sets its time (``os.utime``).
        most_bytes: that may stay.
        newest: name of the file that was written last.

    Raises:
        OSError: where the folder cannot be read, or another process deletes a file meanwhile.
    """
    total = 0
    for path in sorted(folder.iterdir(), key=lambda path: -path.stat().st_mtime):
        total += path.stat().st_size
        if total > most_bytes and path.name != newest:
            path.unlink(missing_ok=True)
