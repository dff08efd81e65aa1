"""The book of a study: its trials, and the weights of those that may win."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.errors import BudgetError, DataError
from thalweg.space import Config
from thalweg.study.engines import Group
from thalweg.study.outcome import Weights
from thalweg.study.records import Phase, Trial
from thalweg.study.store import FAIL, RUNNING, Snapshot, Store, Stored, Unstored, facts_of
from thalweg.task import Task
from thalweg.training.cohort import Cohort


class Ledger:
    """All trials of a study, and the weights that are worth keeping.

    Args:
        task: what is predicted.
        num_kept: trials whose weights are kept, besides those of finalists.
        store: where trials are written; it numbers them.

    Attributes:
        trials: every trial, in the order they were begun.
        weights: trained weights by the number of their trial.
        member_epochs: epochs trained so far, summed over members.
        insist: calls what has to be written before the study can go on, until it is.
    """

    def __init__(self, task: Task, num_kept: int, store: Store | None = None) -> None:
        self.task, self.num_kept = task, max(1, num_kept)
        self.store: Store = store or Unstored()
        self.trials: list[Trial] = []
        self.insist: Callable[[Callable[[], None]], None] = lambda work: work()
        self._foreign: set[int] = set()
        self._lost: dict[str, list[int]] = {}
        self._unwritten: list[tuple[list[Trial], list[Trial]]] = []
        self.weights: dict[int, Weights] = {}
        self.member_epochs = 0.0

    def open(
        self,
        groups: Sequence[Group],
        configs: Sequence[Config],
        seeds: Sequence[int],
        folds: Sequence[int | None],
        phase: Phase,
        limit: float | None = None,
    ) -> dict[int, Trial]:
        """Begin a trial for each Config that is in a group, and return them by its index.

        Args:
            groups: what is ready to train.
            configs: all Configs that were asked for.
            seeds: the seed of each.
            folds: the fold that each leaves out.
            phase: why they are trained.
            limit: trials of this phase that all processes together may begin. What another process
                has begun already, or what is beyond the limit, is not begun.
        """
        trials = {}
        bracket = max((trial.bracket for trial in self.trials), default=-1) + 1
        known = {i: cohort for members, cohort in groups for i in members}
        for i in sorted(known):
            trials[i] = Trial(
                id=-1,
                phase=phase,
                config=configs[i],
                structure=known[i].structure.name,
                seed=seeds[i],
                fold=folds[i],
                num_params=known[i].num_params,
                bracket=bracket,
            )
        self._begin(list(trials.values()), limit)
        trials = {i: trial for i, trial in trials.items() if trial.id >= 0}
        self.trials += trials.values()
        return trials

    def _begin(self, trials: Sequence[Trial], limit: float | None) -> None:
        """Give trials their numbers: those they had before a crash, or new ones.

        What others have begun already, or what is beyond the limit, gets none.
        """
        new = []
        for trial in trials:
            numbers = self._lost.get(_identity(facts_of(trial)))
            if numbers:
                trial.id = numbers.pop(0)
            else:
                new.append(trial)

        def choose(snapshot: Snapshot) -> list[Trial]:
            for trial in new:
                # Numbers of an attempt that could not be written.
                trial.id = -1
            others = self._others(snapshot)
            taken = {_identity(stored.facts or {}) for stored in others}
            free = [trial for trial in new if _identity(facts_of(trial)) not in taken]
            if limit is None:
                return free
            phase = trials[0].phase
            mine = sum(
                _alike(trial.phase, phase) and trial.id >= 0 and trial.id not in self._foreign
                for trial in [*self.trials, *trials]
            )
            known = mine + sum(_alike((stored.facts or {})["phase"], phase) for stored in others)
            return free if math.isinf(limit) else free[: max(0, int(limit) - known)]

        if new:
            self.insist(lambda: self.store.begin(choose))

    # ------------------------------------------------------------------- what other processes do

    def _others(self, snapshot: Snapshot) -> list[Stored]:
        """Return other owners' trials, but those that were given up."""
        return [
            stored
            for stored in snapshot.trials.values()
            if stored.owner not in ("", self.store.owner)
            and stored.facts
            and (stored.state != FAIL or stored.record is not None)
        ]

    def taken(self, phase: Phase) -> set[Config]:
        """Return the Configs of a phase that other processes have begun."""
        others = [stored.facts or {} for stored in self._others(self.store.read())]
        return {Config(facts["config"]) for facts in others if _alike(facts["phase"], phase)}

    @property
    def num_alive(self) -> int:
        """Processes at work on this study, this one included."""
        snapshot = self.store.read()
        return 1 + sum(
            snapshot.is_alive(owner) for owner in snapshot.leases if owner != self.store.owner
        )

    def count(self, phase: Phase) -> int:
        """Return how many trials of a phase have been begun, by all processes."""
        mine = sum(
            _alike(trial.phase, phase) for trial in self.trials if trial.id not in self._foreign
        )
        others = self._others(self.store.read())
        return mine + sum(_alike((stored.facts or {})["phase"], phase) for stored in others)

    def waits_for(self, phase: Phase) -> bool:
        """Whether another process is still training trials of a phase.

        Those of processes that have died are given up; their Configs are to be had again.
        """
        snapshot = self.store.read()
        running = [
            stored
            for stored in self._others(snapshot)
            if stored.state == RUNNING and _alike((stored.facts or {})["phase"], phase)
        ]
        dead = [stored for stored in running if not snapshot.is_alive(stored.owner)]
        if dead:
            self.insist(lambda: self.store.give_up([stored.number for stored in dead]))
        return len(running) > len(dead)

    def merge(self) -> list[Trial]:
        """Take in what other processes have finished, and return it."""
        known = {trial.id for trial in self.trials}
        new = [
            Trial.from_state(stored.record)
            for stored in self._others(self.store.read())
            if stored.record is not None and stored.number not in known
        ]
        self._foreign |= {trial.id for trial in new}
        self.trials = sorted([*self.trials, *new], key=lambda trial: trial.id)
        return new

    def queue(self, trials: Sequence[Trial], finished: Sequence[Trial]) -> None:
        """Note that there is something new to write of trials, and those that are finished."""
        self._unwritten.append((list(trials), list(finished)))

    def flush(self) -> None:
        """Write what was queued.

        Raises:
            OSError: where it cannot be written; it stays in the queue.
        """
        while self._unwritten:
            self.store.report(*self._unwritten[0])
            self._unwritten.pop(0)

    @property
    def unwritten(self) -> list[Trial]:
        """Finished trials that are not written yet."""
        return [trial for _, finished in self._unwritten for trial in finished]

    def recall(
        self, stretches: Sequence[Sequence[int]], current: Sequence[Trial], fresh: Sequence[Trial]
    ) -> None:
        """Know again what was known before a crash.

        Args:
            stretches: this owner's trials at the last checkpoint, as ``numbers`` returned them.
            current: those of them that were training.
            fresh: those that were finished, but perhaps not written.
        """
        numbers = {n for first, last in stretches for n in range(first, last + 1)}
        known = {trial.id: trial for trial in [*current, *fresh]}
        if fresh:
            self.queue([], fresh)
        for number, stored in self.store.read().trials.items():
            if number in known:
                self.trials.append(known[number])
            elif stored.owner == self.store.owner:
                if number in numbers:
                    if stored.record is not None:
                        self.trials.append(Trial.from_state(stored.record))
                elif stored.facts is not None:
                    # Begun after the checkpoint: it is going to be begun once more.
                    self._lost.setdefault(_identity(stored.facts), []).append(number)
        self.member_epochs = sum(trial.epochs for trial in self.trials)

    def note(self, trial: Trial, cohort: Cohort, member: int, rung: int) -> None:
        """Write down how far a trial has come."""
        curve = cohort.curves[member]
        before = trial.epochs
        trial.rung = rung
        trial.steps = curve.step[-1] if curve.step else 0
        trial.epochs = trial.steps * cohort.batch_size / cohort.engine.data.num_rows
        self.member_epochs += trial.epochs - before
        trial.curve = {
            "step": [float(s) for s in curve.step],
            "train_loss": curve.train_loss,
            "validation_loss": curve.validation_loss,
            "validation": curve.validation,
            "train": curve.train,
        }
        trial.seconds = float(cohort.seconds[member])
        score = cohort.best_score[member]
        if np.isfinite(score):
            trial.rank = float(score)
            trial.best_step = int(cohort.best_step[member])
            at = curve.step.index(trial.best_step)
            trial.score = curve.validation[at]
            trial.validation = {
                self.task.metric: curve.validation[at],
                "loss": curve.validation_loss[at],
            }
            trial.train = {self.task.metric: curve.train[at], "loss": curve.probe_loss[at]}
        if not cohort.alive[member]:
            trial.status = "diverged"
        elif trial.steps >= cohort.total_steps:
            trial.status = "completed"
        else:
            trial.status = "stopped"

    def close(self, trials: Iterable[Trial]) -> None:
        """Keep the curves of trials that are finished in a quarter of the memory."""
        for trial in trials:
            trial.curve = {name: array("d", values) for name, values in trial.curve.items()}

    def keep_weights(self, groups: Sequence[Group], trials: dict[int, Trial]) -> None:
        """Keep the weights of the best trials so far, so that ending early loses nothing."""
        # Finalists keep theirs besides: those who explored may be put together in other ways.
        ranked = sorted(
            (t for t in self.trials if t.phase != "confirm" and math.isfinite(t.score)),
            key=lambda t: (-t.rank, t.id),
        )
        wanted = {t.id for t in ranked[: self.num_kept]}
        for members, cohort in groups:
            for k in cohort.members:
                trial = trials[members[k]]
                if trial.id in wanted or trial.phase == "confirm":
                    params, state = cohort.weights(k)
                    self.weights[trial.id] = Weights(cohort.structure, params, state)
        confirmed = {t.id for t in self.trials if t.phase == "confirm"}
        for known in list(self.weights):
            if known not in wanted and known not in confirmed:
                del self.weights[known]

    def give_up_lost(self) -> None:
        """Mark as failed what was begun before a crash and then not begun once more."""
        self.store.give_up([number for numbers in self._lost.values() for number in numbers])
        self._lost = {}

    def numbers(self) -> list[list[int]]:
        """Return the numbers of all trials, as first and last of each unbroken stretch."""
        stretches: list[list[int]] = []
        for number in sorted({trial.id for trial in self.trials} - self._foreign):
            if stretches and stretches[-1][1] == number - 1:
                stretches[-1][1] = number
            else:
                stretches.append([number, number])
        return stretches

    def best_score(self) -> float | None:
        """Return the best score so far, None where there is none."""
        scores = [t.score for t in self.trials if math.isfinite(t.score)]
        if not scores:
            return None
        return max(scores) if self.task.sign > 0 else min(scores)

    def ranked(self, phases: tuple[str, ...] = ("explore", "refine")) -> list[Trial]:
        """Return trials by score, the best of each Config, best first."""
        order = sorted(
            (t for t in self.trials if t.phase in phases and math.isfinite(t.score)),
            key=lambda t: (-t.rank, t.id),
        )
        seen: dict[Config, Trial] = {}
        for trial in order:
            seen.setdefault(trial.config, trial)
        return list(seen.values())

    def winner(self, interrupted: bool) -> tuple[Trial, list[Trial]]:
        """Return the winning trial, and the trials whose weights are handed over.

        Those of other processes have no weights here.

        Raises:
            BudgetError: where not one trial gave a score.
            DataError: where none can be given on these rows.
        """
        groups: dict[Config, list[Trial]] = {}
        for trial in self.trials:
            if trial.phase == "confirm" and trial.status == "completed":
                groups.setdefault(trial.config, []).append(trial)
        if groups:
            most = max(len(g) for g in groups.values())
            full = [g for g in groups.values() if len(g) == most]
            chosen = max(full, key=lambda g: float(np.mean([t.rank for t in g])))
            best = max(chosen, key=lambda t: (t.rank, -t.id))
            return best, chosen
        # What another process trained best is trained once more for its weights.
        ranked = [t for t in self.ranked() if t.id in self.weights or t.id in self._foreign]
        if not ranked:
            if interrupted:
                raise BudgetError("interrupted before any trial had a score: nothing was found yet")
            if any(
                math.isfinite(v) for t in self.trials for v in t.curve.get("validation_loss", [])
            ):
                raise DataError(
                    f"the metric {self.task.metric} is not defined on the validation rows, such as "
                    "where they have one class only: choose another metric or other rows"
                )
            raise BudgetError(
                "no trial gave a finite score: lower the learning rates, or give a longer budget"
            )
        return ranked[0], [ranked[0]]


def _alike(one: str, other: str) -> bool:
    """Whether two phases draw on the same trials: exploring and refining do."""
    return (one == "confirm") == (other == "confirm")


def _identity(facts: Mapping[str, Any]) -> str:
    """Return what a trial is, whatever its number."""
    if not facts:
        return ""
    confirms = facts["phase"] == "confirm"
    return json.dumps([confirms, facts["config"], facts["seed"], facts.get("fold")])
