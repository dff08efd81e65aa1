"""Thalweg: which network, loss, optimizer and learning rate? Answered by experiment.

    import thalweg as tw

    study = tw.tune(tw.load("train.csv", target="price"), budget="5m")
    print(study.answers())
    model = study.model()

Importing the package loads no JAX and no data library; that happens when they are needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from thalweg.api import Model, Study, load, resume, train, tune
    from thalweg.comparisons import Comparison, compare
    from thalweg.data import Dataset
    from thalweg.errors import ThalwegError
    from thalweg.rate_maps import RateMap, find_rates
    from thalweg.space import Choice, Config, Float, Int, Space, Switch
    from thalweg.task import Task

_HOMES = {
    "Choice": "thalweg.space",
    "Comparison": "thalweg.comparisons",
    "Config": "thalweg.space",
    "Dataset": "thalweg.data",
    "Float": "thalweg.space",
    "Int": "thalweg.space",
    "Model": "thalweg.api",
    "RateMap": "thalweg.rate_maps",
    "Space": "thalweg.space",
    "Study": "thalweg.api",
    "Switch": "thalweg.space",
    "Task": "thalweg.task",
    "ThalwegError": "thalweg.errors",
    "compare": "thalweg.comparisons",
    "find_rates": "thalweg.rate_maps",
    "load": "thalweg.api",
    "resume": "thalweg.api",
    "train": "thalweg.api",
    "tune": "thalweg.api",
}

__all__ = [
    "Choice",
    "Comparison",
    "Config",
    "Dataset",
    "Float",
    "Int",
    "Model",
    "RateMap",
    "Space",
    "Study",
    "Switch",
    "Task",
    "ThalwegError",
    "__version__",
    "compare",
    "find_rates",
    "load",
    "resume",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'thalweg' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
