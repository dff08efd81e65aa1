"""Where a study stands between two rungs: all that its decisions depend on, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from thalweg.space import Config, Structure
from thalweg.training.plan import Plan


@dataclass
class Standing:
    """What a study has to remember besides its trials.

    Attributes:
        pending: the user's Configs that are still to be tried.
        queue: Configs that were asked for and are tried next.
        searcher: the searcher's state, None before its first proposal.
        structures: those that there was time to compile, None where all are.
        plan: what was planned, for the record.
        size: Configs of the first round.
        most: members that fit into memory at once.
        speed: seconds of a member-epoch, as measured last.
        brackets: explored so far.
        stale: how many in a row found nothing better.
        best: the best rank so far.
        confirmed: whether finalists have been trained again.
        reason: why exploring ended, once it has.
        train_start: seconds from the start to the first step.
        compile_seconds: spent by earlier processes.
        reserve: seconds kept for what comes after the loop.
        confirm_limit: seconds that confirming may take, once it is known.
        memory: bytes that training rows may take.
        layouts: how each structure is laid out.
        notices: what the user should know, from earlier processes.
    """

    pending: list[Config] = field(default_factory=list[Config])
    queue: list[Config] = field(default_factory=list[Config])
    searcher: dict[str, Any] | None = None
    structures: set[Structure] | None = None
    plan: dict[str, Any] = field(default_factory=dict[str, Any])
    size: int = 0
    most: int = 0
    speed: float = 0.0
    brackets: int = 0
    stale: int = 0
    best: float = -math.inf
    confirmed: bool = False
    reason: str = ""
    train_start: float | None = None
    compile_seconds: float = 0.0
    reserve: float | None = None
    confirm_limit: float | None = None
    memory: int | None = None
    layouts: dict[Structure, Plan] = field(default_factory=dict[Structure, Plan])
    notices: list[str] = field(default_factory=list[str])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        record = {f.name: getattr(self, f.name) for f in fields(self)}
        return record | {
            "pending": [config.to_dict() for config in self.pending],
            "queue": [config.to_dict() for config in self.queue],
            "structures": (
                None
                if self.structures is None
                else sorted((asdict(s) for s in self.structures), key=str)
            ),
            "best": None if math.isinf(self.best) else self.best,
            "layouts": [[asdict(s), p.to_dict()] for s, p in self.layouts.items()],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Standing:
        """Return what ``to_dict`` was taken of."""
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in record.items() if name in known}
        structures = record["structures"]
        return cls(
            **{
                **values,
                "pending": [Config(v) for v in record["pending"]],
                "queue": [Config(v) for v in record["queue"]],
                "structures": (
                    None if structures is None else {structure_from(s) for s in structures}
                ),
                "best": -math.inf if record["best"] is None else record["best"],
                "layouts": {structure_from(s): Plan(**plan) for s, plan in record["layouts"]},
            }
        )


def structure_from(record: Mapping[str, Any]) -> Structure:
    """Return the structure of JSON-able values."""

    def frozen(value: Any) -> Any:
        return tuple(frozen(v) for v in value) if isinstance(value, list) else value

    return Structure(**{name: frozen(value) for name, value in record.items()})
