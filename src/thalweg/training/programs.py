"""Compiling a function once, on this machine, for good: the only home of ``jit``.

Two things are kept on disk. XLA's machine code is kept by JAX itself, found by the program's text.
Writing that text again, from Python, takes longer than reading the machine code, so the text is
kept too (``jax.export``: a flat buffer, nothing is unpickled), found by what it was made from: the
sources of the modules that write programs, the versions, and every value that the program was
specialised to. Measured on 2 cores, loading included, perceptrons compiled before: 0.08 to 0.11
instead of 0.19 to 0.31 s; the first in a process 0.27 instead of 0.30 s.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from jaxlib.version import __version__ as jaxlib_version

from thalweg.files import cache_dir, write_atomically
from thalweg.training import backend
from thalweg.training.member import Carry, Rows

WRITERS = ("models", "nn", "optim", "training")
"""Subpackages whose code ends up in programs."""

for _kind in (Carry, Rows):
    export.register_namedtuple_serialization(_kind, serialized_name=f"thalweg.{_kind.__name__}")


@dataclass(frozen=True)
class Program:
    """A compiled function and what it cost to make."""

    call: Callable[..., Any]
    compile_seconds: float
    peak_bytes: int


def compile_program(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    donate: tuple[int, ...] = (),
    *,
    sequential: bool = False,
    exchanging: bool = False,
    made_from: Any = None,
) -> Program:
    """Compile ``function`` for arguments of these shapes.

    Args:
        function: pure function of arrays.
        arguments: arrays, or ``jax.ShapeDtypeStruct``, in its argument order.
        donate: positions of arguments whose memory the result may take over.
        sequential: whether its operations are too small to run side by side.
        exchanging: whether it runs on several cores, which wait for each other.
        made_from: all values that the function closes over (dataclasses, arrays, plain values), by
            which its text is kept; None keeps none.
    """
    backend.setup()
    start = time.perf_counter()
    text = None if made_from is None else _exported(function, arguments, made_from)
    jitted = jax.jit(function if text is None else text.call, donate_argnums=donate)
    lowered = jitted.lower(*arguments)
    options = backend.compiler_options(sequential=sequential, exchanging=exchanging)
    compiled = lowered.compile(compiler_options=options)
    analysis = compiled.memory_analysis()
    peak = int(getattr(analysis, "temp_size_in_bytes", 0) or 0)
    return Program(compiled, time.perf_counter() - start, peak)


def shapes_of(tree: Any) -> Any:
    """Return the shapes and dtypes of a tree of arrays."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype), tree)


# -------------------------------------------------------------------------------- kept on the disk


def _exported(
    function: Callable[..., Any], arguments: Sequence[Any], made_from: Any
) -> export.Exported | None:
    """Return the function's text, from disk where it is known; None where it cannot be kept."""
    try:
        shapes = shapes_of(list(arguments))
        known = fingerprint((function.__qualname__, made_from, str(jax.tree.structure(shapes)),
                             jax.tree.leaves(shapes)))  # fmt: skip
    except TypeError:
        # Somebody's own function is part of it, which has no text that could be compared.
        return None
    path = cache_dir() / "programs" / f"{known}.bin"
    # No file, half a file, or one that cannot be read: it is made again.
    with contextlib.suppress(Exception):
        return export.deserialize(bytearray(path.read_bytes()))
    try:
        text = export.export(jax.jit(function))(*arguments)
        content = bytes(text.serialize())
    except (ValueError, NotImplementedError):
        # Some operations have no text that JAX promises to read again.
        return None
    # As with JAX's own cache, a folder that cannot be written is no reason to stop.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    return text


def fingerprint(value: Any) -> str:
    """Return a hash of nested plain values, dataclasses, arrays and shapes, and of all sources.

    Raises:
        TypeError: for anything else, such as a function.
    """
    digest = hashlib.sha256(_sources())
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Add a value to a hash, its type and size first."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        digest.update(f"{type(value).__name__}:{value!r};".encode())
    elif isinstance(value, jax.ShapeDtypeStruct):
        digest.update(f"shape:{value.shape}{value.dtype};".encode())
    elif isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise TypeError(f"an array of {array.dtype} has no bytes to compare")
        digest.update(f"array:{array.shape}{array.dtype};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    elif is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        digest.update(f"{type(value).__module__}.{type(value).__qualname__}{names};".encode())
        for name in names:
            _feed(digest, getattr(value, name))
    elif isinstance(value, Mapping):
        digest.update(f"mapping:{len(value)};".encode())
        for key, item in value.items():
            _feed(digest, key)
            _feed(digest, item)
    elif isinstance(value, frozenset | set):
        digest.update(f"set:{len(value)};".encode())
        for item in sorted(value):
            _feed(digest, item)
    elif isinstance(value, Sequence):
        digest.update(f"{type(value).__name__}:{len(value)};".encode())
        for item in value:
            _feed(digest, item)
    else:
        raise TypeError(f"{type(value).__name__} cannot be compared by its content")


@cache
def _sources() -> bytes:
    """Return a hash of the code that writes programs, of the versions and of the backend."""
    setting = (jax.__version__, jaxlib_version, jax.default_backend(), jax.config.values)
    digest = hashlib.sha256(repr(setting).encode())
    package = Path(__file__).parent.parent
    for folder in WRITERS:
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(str(path.relative_to(package)).encode())
            digest.update(path.read_bytes())
    return digest.digest()
