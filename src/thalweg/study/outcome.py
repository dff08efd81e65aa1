"""What a study found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg.space import Structure
from thalweg.study.records import Trial


@dataclass
class Weights:
    """A trained member: its structure, parameters and state."""

    structure: Structure
    params: dict[str, np.ndarray]
    state: dict[str, np.ndarray]


@dataclass
class Outcome:
    """What a study found.

    Attributes:
        trials: every trial.
        best: the trial that won (with replicates, the best of the winner's).
        replicates: trials of the winner under fresh seeds, or just ``best``.
        weights: trained weights of ``replicates``, or what they were trained to again.
        fold_weights: those that never saw their own fold.
        kept: weights of all trials that survived, by number.
        compile_seconds: time spent compiling, summed over programs.
        train_seconds: time from the first step to the last.
        wait_seconds: time in which training waited for rows from disk.
        stopped: why the study ended.
        notices: what the user should know.
        plan: what was planned, for the record.
    """

    trials: list[Trial]
    best: Trial
    replicates: list[Trial]
    weights: list[Weights]
    fold_weights: list[Weights]
    compile_seconds: float
    train_seconds: float
    wait_seconds: float
    stopped: str
    notices: list[str] = field(default_factory=list)
    plan: dict[str, Any] = field(default_factory=dict)
    kept: dict[int, Weights] = field(default_factory=dict)
