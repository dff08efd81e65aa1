"""The one place where JAX is set up: version-dependent options, devices, the compilation cache."""

from __future__ import annotations

import contextlib
import math
import os
import platform
from functools import cache
from typing import Any

import jax
import numpy as np
from jax._src import config
from jaxlib.version import __version__ as jaxlib_version

from thalweg.files import cache_dir
from thalweg.memory import host_bytes

# From jaxlib 0.10.2 on, XLA's CPU backend fuses reductions into YNNPACK calls that give silently
# wrong results for some vmapped products (jax issue 39103) and crash on others (39257, 40412).
# Single products are right, and 15 % of a small network's step faster than with the compiler's own
# library: they alone go there. tests/training/test_backend.py guards it.
_YNN_OPTION = "xla_cpu_experimental_ynn_fusion_type"
_YNN_PRODUCTS = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
_YNN_FIRST_VERSION = (0, 10, 2)
_EXCHANGE_TIMEOUTS = (
    "xla_cpu_collective_call_terminate_timeout_seconds",
    "xla_cpu_collective_call_warn_stuck_seconds",
    "xla_cpu_collective_timeout_seconds",
)
MOST_DEVICES = 8
"""Cores at most that share one network's batches; measured on two, and kept modest beyond."""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in text.split(".")[:3])


def compiler_options(*, sequential: bool = False, exchanging: bool = False) -> dict[str, Any]:
    """Return the options that a program is compiled with on the present backend.

    Args:
        sequential: order operations for one core: the program is one of many that run side by
            side, and its operations are too small to share out.
        exchanging: the program runs on several cores, which wait for each other.
    """
    if not on_cpu():
        return {}
    options: dict[str, Any] = {}
    if _version(jaxlib_version) >= _YNN_FIRST_VERSION:
        options[_YNN_OPTION] = _YNN_PRODUCTS
    if sequential:
        options["xla_cpu_enable_concurrency_optimized_scheduler"] = False
    if exchanging:
        # A process that was stopped (Ctrl-Z) and goes on must not take its pause for a deadlock.
        options |= dict.fromkeys(_EXCHANGE_TIMEOUTS, 10**6)
        # Each core has its part to do, and none to give away.
        options["xla_cpu_multi_thread_eigen"] = False
        options["xla_cpu_enable_concurrency_optimized_scheduler"] = False
    return options


@cache
def setup() -> None:
    """Make a device of every core, and turn on the persistent compilation cache.

    Neither where the user has set it up already. A cache that cannot be written is no reason to
    stop: JAX then compiles every time.
    """
    by_flag = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if jax.config.values["jax_num_cpu_devices"] < 0 and not by_flag:
        # Too late where JAX has been used already: a network then trains on one core.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", min(num_cores(), MOST_DEVICES))
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def without_jax_cache() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which JAX's cache keeps nothing that this thread compiles."""
    return config.persistent_cache_min_compile_time_secs(math.inf)


def first_device() -> Any:
    """Return the device that programs run on unless they say otherwise; sets JAX up."""
    setup()
    return jax.devices()[0]


def on_cpu() -> bool:
    """Whether programs run on the CPU."""
    return first_device().platform == "cpu"


def num_workers() -> int:
    """Return how many blocks are trained at a time.

    On CPU one for each core: two blocks side by side use two cores 1.7 to 2 times better than one
    block whose small operations are split over both. An accelerator takes one at a time.
    """
    return num_cores() if on_cpu() else 1


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_name() -> str:
    """Return the device's kind in words, such as ``cpu (2 cores)``."""
    device = first_device()
    if device.platform == "cpu":
        return f"cpu ({num_workers()} cores)"
    return f"{device.platform} ({device.device_kind})"


def machine() -> tuple[str, ...]:
    """Return what machine code depends on: the devices, and what the processor can do."""
    kinds = {f"{d.platform} {d.device_kind} {d.client.platform_version}" for d in jax.devices()}
    flags = os.environ.get("XLA_FLAGS", "")
    features = {platform.machine(), platform.processor()}
    # Linux names the instructions that the processor knows.
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        features |= {line for line in file if line.startswith(("flags", "Features", "model name"))}
    return (flags, str(len(jax.devices())), *sorted(kinds), *sorted(features))


def to_device(array: np.ndarray) -> jax.Array:
    """Return a copy of a host array on the device; ``jnp.array`` compiles a program a shape."""
    return jax.device_put(array, may_alias=False)


def available_bytes() -> int:
    """Return the memory that training may use now, in bytes.

    On CPU half of what is available (``memory.host_bytes``): half stays free for everything else.
    On an accelerator, what its allocator has left.

    Raises:
        OptionError: where ``THALWEG_MEMORY`` is no amount of memory.
    """
    device = first_device()
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(0.85 * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    return host_bytes() // 2
