"""What a study writes down of each trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableSequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

from thalweg.space import Config

Status = Literal["completed", "stopped", "diverged"]
Phase = Literal["explore", "refine", "confirm"]


@dataclass
class Trial:
    """One Config under one seed (and fold), with its curves, status and cost.

    Attributes:
        id: number of the trial in its study.
        phase: why it was trained.
        config: what was trained.
        structure: name of its structure.
        seed: seed of initial weights, noise and data order.
        fold: number of the held-out fold, or None on the fixed split.
        status: ``completed``, ``stopped`` (dropped at a rung, or out of time) or ``diverged``.
        rung: number of the last rung it reached, from 0.
        steps: optimisation steps taken.
        epochs: passes over the training rows.
        curve: lists ``step, train_loss, validation_loss, validation, train`` of its evaluations.
        best_step: step of the best evaluation.
        score: the metric at that step, NaN where there is none.
        num_params: trained numbers in its network.
        seconds: time spent on it.
        audit: whether it went on by chance, to measure how often dropping is a mistake.
        bracket: number of the bracket that it began in, from 0.
        cost: what its network costs, where that is weighed against the score.
        schedule: epochs and the Config from there on, where it changed while training; ``config``
            is the last one.
        rank: what it is ranked by, more is better: the signed score, ties broken by the loss.
    """

    id: int
    phase: Phase
    config: Config
    structure: str
    seed: int
    fold: int | None = None
    status: Status = "stopped"
    rung: int = 0
    steps: int = 0
    epochs: float = 0.0
    curve: dict[str, MutableSequence[float]] = field(default_factory=dict)
    best_step: int = 0
    score: float = math.nan
    num_params: int = 0
    seconds: float = 0.0
    audit: bool = False
    bracket: int = 0
    cost: float = math.nan
    schedule: list[tuple[float, Config]] = field(default_factory=list[tuple[float, Config]])
    rank: float = -math.inf
    validation: dict[str, float] = field(default_factory=dict)
    train: dict[str, float] = field(default_factory=dict)

    def shape(self, sign: float, full: float) -> tuple[np.ndarray, np.ndarray]:
        """Return its validation curve: shares of a full training, and signed scores, [T].

        Args:
            sign: 1 where more is better, -1 otherwise.
            full: epochs of a full training.
        """
        steps = np.array(self.curve.get("step") or [], float)
        values = np.array(
            [math.nan if v is None else v for v in self.curve.get("validation") or []]
        )
        per_step = self.epochs / max(self.steps, 1)
        return steps * per_step / full, sign * values.astype(float)

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as a JSON-able record."""
        return {
            "id": self.id,
            "phase": self.phase,
            "config": self.config.to_dict(),
            "structure": self.structure,
            "seed": self.seed,
            "fold": self.fold,
            "status": self.status,
            "rung": self.rung,
            "steps": self.steps,
            "epochs": round(self.epochs, 4),
            "curve": {
                name: [v if name == "step" else finite(v) for v in values]
                for name, values in self.curve.items()
            },
            "best_step": self.best_step,
            "score": finite(self.score),
            "validation": {k: finite(v) for k, v in self.validation.items()},
            "train": {k: finite(v) for k, v in self.train.items()},
            "num_params": self.num_params,
            "seconds": round(self.seconds, 6),
            "audit": self.audit,
            "bracket": self.bracket,
            "cost": finite(self.cost),
            "schedule": [{"epochs": at, "config": c.to_dict()} for at, c in self.schedule],
        }

    def state(self) -> dict[str, Any]:
        """Return all of the trial, with every digit, as JSON-able values."""
        record = {f.name: getattr(self, f.name) for f in fields(self)}
        return record | {
            "config": self.config.to_dict(),
            "curve": {name: [_exact(v) for v in values] for name, values in self.curve.items()},
            "score": _exact(self.score),
            "cost": _exact(self.cost),
            "schedule": [[at, config.to_dict()] for at, config in self.schedule],
            "rank": _exact(self.rank),
            "validation": {name: _exact(v) for name, v in self.validation.items()},
            "train": {name: _exact(v) for name, v in self.train.items()},
        }

    @classmethod
    def from_state(cls, record: Mapping[str, Any]) -> Trial:
        """Return the trial that ``state`` was taken of."""

        def numbers(values: Mapping[str, Any]) -> dict[str, float]:
            return {name: math.nan if v is None else v for name, v in values.items()}

        curve = {
            name: [math.nan if v is None else v for v in values]
            for name, values in record["curve"].items()
        }
        return cls(
            **{
                **record,
                "config": Config(record["config"]),
                "curve": curve,
                "score": math.nan if record["score"] is None else record["score"],
                "cost": math.nan if record["cost"] is None else record["cost"],
                "schedule": [(at, Config(values)) for at, values in record["schedule"]],
                "rank": -math.inf if record["rank"] is None else record["rank"],
                "validation": numbers(record["validation"]),
                "train": numbers(record["train"]),
            }
        )


def _exact(value: float) -> float | None:
    """Return the number, or None where JSON has no word for it."""
    return value if math.isfinite(value) else None


def finite(value: float | None) -> float | None:
    """Return the number with 7 digits, or None where JSON has no word for it."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.7g}")
