"""Fixtures that every part of the tests shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before JAX is first used: some tests share a batch out over cores.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data sets, or skip where it is absent."""
    here = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.get("THALWEG_DATA", here.parent / "shared" / "data"))
    if not (folder / "README.md").exists():
        pytest.skip(f"no real data sets in {folder} (set THALWEG_DATA to their folder)")
    return folder
