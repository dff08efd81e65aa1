"""Arrays on disk that survive a crash: written aside, renamed, and checked when they are read.

The format is safetensors: a table of names, shapes and dtypes, and the bytes. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from thalweg.errors import RunError


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> int:
    """Write arrays under a temporary name beside ``path`` and rename it; return the bytes written.

    A checksum of every array stands in the file.

    Args:
        path: the file; its folder must exist.
        arrays: host arrays by name.

    Raises:
        OSError: where the folder cannot be written or the disk is full; ``path`` is unchanged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # NumPy makes one-dimensional what has no dimension.
    whole = {n: np.ascontiguousarray(a).reshape(np.shape(a)) for n, a in arrays.items()}
    sums = {name: _checksum(values) for name, values in whole.items()}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        try:
            save_file(whole, temporary, {"crc32": json.dumps(sums)})
        except SafetensorError as error:
            # Its own exception for what the system refused.
            raise OSError(f"{path} could not be written: {error}") from None
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        size = os.path.getsize(temporary)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return size


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file that ``write_arrays`` wrote.

    Raises:
        RunError: where it is missing, cut short or changed.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            sums = json.loads((file.metadata() or {})["crc32"])
            arrays = {name: file.get_tensor(name) for name in sums}
    except Exception as error:
        raise RunError(f"the checkpoint {path} cannot be read: {error}") from None
    for name, values in arrays.items():
        if _checksum(np.ascontiguousarray(values)) != sums[name]:
            raise RunError(f"the checkpoint {path} is damaged: {name} does not match its checksum")
    return arrays


def _checksum(values: np.ndarray) -> int:
    return zlib.crc32(values.reshape(-1).view(np.uint8).data)
