"""How much memory there is: what the kernel, the control group and the user allow."""

from __future__ import annotations

import os
import re
from pathlib import Path

from thalweg.errors import OptionError

_OLD_GROUP = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")
_NO_LIMIT = 1 << 60
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def host_bytes() -> int:
    """Return the memory that is left now, in bytes.

    What the kernel says is available, within the limit of the control group, and within
    ``THALWEG_MEMORY`` (such as ``512M`` or ``2G``) where that is set.

    Raises:
        OptionError: where ``THALWEG_MEMORY`` is no amount of memory.
    """
    return min(_kernel_bytes(), _group_bytes(), _allowed_bytes())


def _kernel_bytes() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 8 << 30


def _group_bytes() -> int:
    """Return what the control group of this process leaves, or a lot where it sets no limit."""
    for limit, used in (("memory.max", "memory.current"), _OLD_GROUP):
        try:
            most = Path("/sys/fs/cgroup", limit).read_text(encoding="ascii").strip()
            now = Path("/sys/fs/cgroup", used).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if most != "max":
            return max(0, int(most) - int(now))
    return _NO_LIMIT


def _allowed_bytes() -> int:
    text = os.environ.get("THALWEG_MEMORY", "")
    if not text:
        return _NO_LIMIT
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise OptionError(f"THALWEG_MEMORY must be an amount such as 512M or 2G; got {text!r}")
    return int(float(found[1]) * _UNITS.get(found[2].upper(), 1))
