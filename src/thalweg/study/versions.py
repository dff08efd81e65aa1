"""The versions that a result depends on."""

from __future__ import annotations

import contextlib
import sys

from thalweg import __version__


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"thalweg": __version__, "python": sys.version.split()[0]}
    for name in ("jax", "jaxlib", "numpy", "optax", "polars", "scikit-learn", "scipy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
