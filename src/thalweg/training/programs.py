"""Compiling a function once, on this machine, for good: the only home of ``jit``.

What is compiled is kept on disk as it runs (``jax.experimental.serialize_executable``), found by
what it was made from: the sources of the modules that write programs, the versions, the machine,
and every value that the program was specialised to. Having it again needs no tracing: 0.02 s a
program, where tracing and JAX's own cache, which knows programs by their text, take 0.1 to 0.2 s
(perceptrons, 2 cores). JAX's cache serves what is not kept here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import serialize_executable
from jaxlib.version import __version__ as jaxlib_version

from thalweg.files import cache_dir, prune, write_atomically
from thalweg.training import backend

WRITERS = ("models", "nn", "optim", "training")
"""Subpackages whose code ends up in programs."""
CACHE_BYTES = 1 << 30
"""Of programs that are kept; what was not used for longest is deleted first."""

_DIGEST_BYTES = hashlib.sha256().digest_size

_found = threading.local()


def _note(event: str, **_: Any) -> None:
    """Note in the thread that compiles that JAX has found the program in its cache."""
    if event == "/jax/compilation_cache/cache_hits":
        _found.in_jax_cache = True


jax.monitoring.register_event_listener(_note)


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
    num_devices: int = 1,
    made_from: Any = None,
) -> Program:
    """Compile ``function`` for arguments of these shapes.

    Args:
        function: pure function of arrays.
        arguments: arrays, or ``jax.ShapeDtypeStruct``, in its argument order.
        donate: positions of arguments whose memory the result may take over.
        sequential: whether its operations are too small to run side by side.
        num_devices: devices that it runs on, exchanging values.
        made_from: all values that the function closes over (dataclasses, arrays, plain values), by
            which it is kept; None keeps it in JAX's cache only.
    """
    backend.setup()
    start = time.perf_counter()
    options = backend.compiler_options(sequential=sequential, exchanging=num_devices > 1)
    path = None
    if made_from is not None:
        path = _place((function.__qualname__, made_from, arguments, donate, options, num_devices))
    compiled = _load(path, num_devices)
    if compiled is None:
        lowered = jax.jit(function, donate_argnums=donate).lower(*arguments)
        if path is not None and _stands_alone(lowered):
            _found.in_jax_cache = False
            with backend.without_jax_cache():
                compiled = lowered.compile(compiler_options=options)
            # What has been read from one file cannot be written to another.
            if not _found.in_jax_cache:
                _keep(compiled, path)
        else:
            compiled = lowered.compile(compiler_options=options)
    analysis = compiled.memory_analysis()
    peak = int(getattr(analysis, "temp_size_in_bytes", 0) or 0)
    return Program(compiled, time.perf_counter() - start, peak)


def shapes_of(tree: Any) -> Any:
    """Return the shapes and dtypes of a tree of arrays."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype), tree)


# -------------------------------------------------------------------------------- kept on the disk


def _place(made_from: tuple[Any, ...]) -> Path | None:
    """Return the file of a program; None where what it was made from cannot be compared."""
    function, values, arguments, *how = made_from
    shapes = shapes_of(list(arguments))
    known = (function, values, str(jax.tree.structure(shapes)), jax.tree.leaves(shapes), how)
    try:
        return cache_dir() / "programs" / f"{fingerprint(known)}.bin"
    except TypeError:
        # Somebody's own function is part of it.
        return None


def _load(path: Path | None, num_devices: int) -> jax.stages.Compiled | None:
    """Return the program that a file holds; None where there is none that is whole."""
    if path is None:
        return None
    # No file, half a file, or one that this JAX cannot read: it is made again.
    with contextlib.suppress(Exception):
        content = path.read_bytes()
        digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() == digest:
            # What was used last is deleted last, where the folder may be written.
            with contextlib.suppress(OSError):
                os.utime(path)
            devices = jax.devices()[:num_devices]
            return serialize_executable.deserialize_and_load(
                *pickle.loads(content), execution_devices=devices
            )
    return None


def _stands_alone(lowered: jax.stages.Lowered) -> bool:
    """Whether a program calls nothing that another process would have to load first."""
    text = lowered.as_text()
    return "lapack" not in text and "callback" not in text


def _keep(compiled: jax.stages.Compiled, path: Path) -> None:
    """Write a program to a file, as far as that is possible."""
    # Not every backend can write its programs down. As with JAX's own cache, that is no reason to
    # stop, nor is a folder that cannot be written.
    with contextlib.suppress(Exception):
        content = pickle.dumps(serialize_executable.serialize(compiled))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, hashlib.sha256(content).digest() + content)
        prune(path.parent, CACHE_BYTES, path.name)


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
    """Return a hash of the code that writes programs, of versions and settings, and the machine."""
    setting = (jax.__version__, jaxlib_version, jax.config.values, backend.machine())
    digest = hashlib.sha256(repr(setting).encode())
    package = Path(__file__).parent.parent
    for folder in WRITERS:
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(str(path.relative_to(package)).encode())
            digest.update(path.read_bytes())
    return digest.digest()
