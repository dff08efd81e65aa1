"""The book of a study: its trials, and the weights of those that may win."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from thalweg.errors import BudgetError, DataError
from thalweg.space import Config
from thalweg.study.engines import Group
from thalweg.study.outcome import Weights
from thalweg.study.records import Phase, Trial
from thalweg.task import Task
from thalweg.training.cohort import Cohort


class Ledger:
    """All trials of a study, and the weights that are worth keeping.

    Args:
        task: what is predicted.
        num_kept: trials whose weights are kept, besides those of finalists.

    Attributes:
        trials: every trial, by number.
        weights: trained weights by the number of their trial.
        member_epochs: epochs trained so far, summed over members.
    """

    def __init__(self, task: Task, num_kept: int) -> None:
        self.task, self.num_kept = task, max(1, num_kept)
        self.trials: list[Trial] = []
        self.weights: dict[int, Weights] = {}
        self.member_epochs = 0.0

    def open(
        self,
        groups: Sequence[Group],
        configs: Sequence[Config],
        seeds: Sequence[int],
        folds: Sequence[int | None],
        phase: Phase,
    ) -> dict[int, Trial]:
        """Begin a trial for each Config that is in a group, and return them by its index."""
        trials = {}
        bracket = self.trials[-1].bracket + 1 if self.trials else 0
        known = {i: cohort for members, cohort in groups for i in members}
        for i in sorted(known):
            trials[i] = Trial(
                id=len(self.trials),
                phase=phase,
                config=configs[i],
                structure=known[i].structure.name,
                seed=seeds[i],
                fold=folds[i],
                num_params=known[i].num_params,
                bracket=bracket,
            )
            self.trials.append(trials[i])
        return trials

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
        ranked = [t for t in self.ranked() if t.id in self.weights]
        if not ranked:
            if interrupted:
                raise BudgetError("interrupted before any trial had a score: nothing was found yet")
            if any(math.isfinite(v) for t in self.trials for v in t.curve["validation_loss"]):
                raise DataError(
                    f"the metric {self.task.metric} is not defined on the validation rows, such as "
                    "where they have one class only: choose another metric or other rows"
                )
            raise BudgetError(
                "no trial gave a finite score: lower the learning rates, or give a longer budget"
            )
        return ranked[0], [ranked[0]]
