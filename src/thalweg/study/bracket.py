"""A bracket: Configs that begin together and are judged at the same rungs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from thalweg.search.halving import survivors
from thalweg.space import Config
from thalweg.study.engines import Group
from thalweg.study.records import Phase, Trial

Kind = Literal["halving", "population", "replay"]


class Decision(NamedTuple):
    """Who goes on from a rung.

    Attributes:
        alive: indices of the Configs that do.
        levels: the epochs of all rungs, as they were planned from then on.
    """

    alive: list[int]
    levels: list[float]


@dataclass
class Bracket:
    """Configs that train together, rung by rung.

    Attributes:
        phase: why they are trained.
        kind: what happens at the end of a rung: ``halving``, the worst are dropped;
            ``population``, they go on from the best; ``replay``, each goes on with what its
            schedule has from there on. Only the first can be gone on with between two rungs after
            a crash; the others begin anew.
        configs: what is trained.
        seeds: the seed of each.
        folds: the fold that each leaves out, None for the fixed split.
        full: epochs of a full training.
        levels: epochs after which members are judged; the last is a full training, unless time made
            it shorter.
        factor: one in so many goes on at each rung.
        num_audit: members that go on by chance at each rung.
        rng: draws them.
        num_rungs: rungs that were planned.
        workers: members that train side by side at least: fewer take no less time. Where time is
            no matter it is 1.
        groups: where the Configs train.
        trials: their trials, by index; a Config that there was no time to compile has none.
        alive: indices of those that still train.
        audited: those that went on by chance at some rung.
        rung: the rung that they are on their way to, or reached last, from 0.
        decisions: who went on from each rung before.
        trained: decisions that the cohorts have carried out; fewer than there are where a
            checkpoint was older.
    """

    phase: Phase
    kind: Kind
    configs: list[Config]
    seeds: list[int]
    folds: list[int | None]
    full: float
    levels: list[float]
    factor: int
    num_audit: int
    rng: np.random.Generator
    num_rungs: int
    workers: int = 1
    groups: list[Group] = field(default_factory=list[Group])
    trials: dict[int, Trial] = field(default_factory=dict[int, Trial])
    alive: list[int] = field(default_factory=list[int])
    audited: set[int] = field(default_factory=set[int])
    rung: int = 0
    decisions: list[Decision] = field(default_factory=list["Decision"])
    trained: int = 0

    @property
    def has_begun(self) -> bool:
        """Whether any step has been taken."""
        return any(cohort.step for _, cohort in self.groups)

    @property
    def level(self) -> float:
        """Epochs at the end of this rung."""
        return self.levels[self.rung]

    @property
    def is_last(self) -> bool:
        """Whether there is no rung after this one."""
        return self.rung == len(self.levels) - 1

    @property
    def label(self) -> str:
        """The rung in words, such as ``2/3``."""
        return f"{self.rung + 1}/{self.num_rungs}"

    def news(self) -> tuple[list[Config], np.ndarray, np.ndarray]:
        """Return who came to this rung, their scores [N], and their shares of a full training."""
        trials = [self.trials[i] for i in self.alive]
        shares = [min(t.epochs / self.levels[-1], 1.0) for t in trials]
        return [t.config for t in trials], np.array([t.rank for t in trials]), np.array(shares)

    def judge(self, seconds: float, left: float, scores: np.ndarray | None = None) -> bool:
        """Decide who goes on to the next rung, and drop the others; False where nobody does.

        Args:
            seconds: what this rung took.
            left: seconds that are left for the bracket; infinity where it is not short of time.
            scores: what those that are alive are judged by; their best so far by default.
        """
        before = self.levels[self.rung - 1] if self.rung else 0.0
        side_by_side = max(len(self.alive), self.workers)
        per_member_epoch = seconds / max(side_by_side * (self.level - before), 1e-9)
        if scores is None:
            scores = np.array([self.trials[i].rank for i in self.alive])
        keep = max(1, round(len(self.configs) / self.factor ** (self.rung + 1)))
        num_audit = self.num_audit if keep > 1 else 0
        if math.isfinite(left):
            # Cores that would have nothing to do may as well train the next best.
            room = max(self.workers, self._affordable(max(left, 0.0), per_member_epoch))
            keep = min(max(keep, self.workers), room)
            if keep + num_audit + len(self.audited.intersection(self.alive)) > room:
                # What chance has spared may not take the time of the best.
                num_audit = 0
                self._audit_no_more()
        kept, audit = survivors(scores, keep, num_audit=num_audit, rng=self.rng)
        if not kept:
            return False
        for position in audit:
            self.trials[self.alive[position]].audit = True
            self.audited.add(self.alive[position])
        self.alive = sorted(
            self.alive[p]
            for p in {*kept, *audit}
            | {p for p, i in enumerate(self.alive) if i in self.audited and np.isfinite(scores[p])}
        )
        self.decisions.append(Decision(self.alive, self.levels))
        self.rung += 1
        self.carry_out()
        return True

    def carry_out(self) -> None:
        """Let the cohorts follow the next decision that they have not carried out yet."""
        decision = self.decisions[self.trained]
        self.shorten(decision)
        still = set(decision.alive)
        for members, cohort in self.groups:
            cohort.select([k for k, i in enumerate(members) if i in still])
        self.trained += 1

    def shorten(self, decision: Decision) -> None:
        """Let the cohorts' schedules end where a decision has cut training short."""
        level = decision.levels[len(decision.levels) - 2] if len(decision.levels) > 1 else 0.0
        for _, cohort in self.groups:
            engine, structure = cohort.engine, cohort.structure
            total = engine.steps(structure, decision.levels[-1])
            if total < cohort.total_steps:
                # A step after the rung of the decision at the soonest.
                cohort.total_steps = max(total, engine.steps(structure, level) + 1)

    def _audit_no_more(self) -> None:
        """Treat those who went on by chance, and are not at the end yet, like the others."""
        for i in self.audited.intersection(self.alive):
            self.trials[i].audit = False
        self.audited.difference_update(self.alive)

    def _affordable(self, left: float, per_member_epoch: float) -> int:
        """Return how many can go on in the time that is left."""
        gap = self.levels[self.rung + 1] - self.level
        slow = 1.5 * per_member_epoch * self.workers
        affordable = self.workers * int(left / max(slow * gap, 1e-9))
        if not affordable:
            # Slower than planned: the best ones' training is cut short, schedule and all, rather
            # than broken off in the middle.
            reach = self.level + left / max(slow, 1e-9)
            self.levels = [*self.levels[: self.rung + 1], min(reach, self.levels[-1])]
        return affordable

    def state(self) -> dict[str, Any]:
        """Return all but the cohorts, as JSON-able values."""
        return {
            "phase": self.phase,
            "kind": self.kind,
            "configs": [config.to_dict() for config in self.configs],
            "seeds": self.seeds,
            "folds": self.folds,
            "full": self.full,
            "levels": self.levels,
            "factor": self.factor,
            "num_audit": self.num_audit,
            "rng": self.rng.bit_generator.state,
            "num_rungs": self.num_rungs,
            "workers": self.workers,
            "alive": self.alive,
            "audited": sorted(self.audited),
            "rung": self.rung,
            "decisions": self.decisions,
            "trials": {str(i): trial.state() for i, trial in self.trials.items()},
        }

    @classmethod
    def from_state(cls, record: Mapping[str, Any]) -> Bracket:
        """Return the bracket that ``state`` was taken of, without cohorts."""
        rng = np.random.default_rng(0)
        rng.bit_generator.state = record["rng"]
        return cls(
            **{
                **record,
                "configs": [Config(values) for values in record["configs"]],
                "rng": rng,
                "audited": set(record["audited"]),
                "decisions": [Decision(*values) for values in record["decisions"]],
                "trials": {int(i): Trial.from_state(t) for i, t in record["trials"].items()},
            }
        )

    def audit(self, num_best: int) -> tuple[int, int]:
        """Return how many were spared by chance, and how many of them ended among the best."""
        best = sorted((t.rank for t in self.trials.values()), reverse=True)[:num_best]
        spared = [self.trials[i] for i in self.audited]
        return len(spared), sum(t.rank >= best[-1] for t in spared)
