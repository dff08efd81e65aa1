"""The only host loop: searcher → cohorts → records.

A study explores in brackets of successive halving, each over all structures at once, and then
trains the finalists again under fresh seeds. Everything that is decided is decided from validation
scores; the test rows are not known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from thalweg.errors import BudgetError, DataError
from thalweg.models import InputShape
from thalweg.optim.external import EXTERNAL
from thalweg.search import Searcher, make_searcher
from thalweg.search.halving import num_rungs_for, rungs, survivors
from thalweg.space import Config, Structure
from thalweg.study.budget import Clock
from thalweg.study.pacing import (
    BRACKET_SIZES,
    CONFIRM_SHARE,
    MAX_BRACKET,
    affordable_finalists,
    bracket_size,
    confirmation_seconds,
    full_training,
    member_epoch_seconds,
)
from thalweg.study.records import Phase, Trial
from thalweg.study.settings import Settings
from thalweg.task import Task
from thalweg.training import backend
from thalweg.training.cohort import Cohort, Engine, TrainingData, run_tasks
from thalweg.training.plan import estimated_step_seconds
from thalweg.training.scalars import features_of

MOST_ASKED = 100
FINISH_SECONDS = 1.5
EXPLORE_SHARE = 0.45
PATIENCE_BRACKETS = 3
PILOT_SHARE = 0.3


class Listener(Protocol):
    """What is told of a running study."""

    def plan(self, text: str) -> None:
        """Say what is going to be done."""
        ...

    def update(
        self,
        *,
        phase: str,
        trials_done: int,
        total: int | None,
        best: float | None,
        metric: str,
        rung: str,
        throughput: float,
        seconds_left: float | None,
    ) -> None:
        """Say where the study stands."""
        ...


class Silent:
    """A Listener that says nothing."""

    def plan(self, text: str) -> None:
        """Say nothing."""

    def update(self, **state: Any) -> None:
        """Say nothing."""


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


class Study:
    """One run of the loop.

    Args:
        data: arrays to train and choose on.
        task: what is predicted.
        inputs: what the networks read.
        settings: how to run.
        clock: counts from the start of the work.
        listener: told of progress.
        interrupted: asked between evaluations; True ends the study with what it has.
        save: called with all trials after each rung.
        folds: where the data is small: as many splits of the training and validation rows as there
            are replicates, for the finalists; all of the same shapes.
    """

    def __init__(
        self,
        data: TrainingData,
        task: Task,
        inputs: InputShape,
        settings: Settings,
        clock: Clock,
        listener: Listener | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        save: Callable[[list[Trial]], None] = lambda trials: None,
        folds: Sequence[TrainingData] = (),
    ) -> None:
        self.folds = list(folds)
        self.fold_engines: dict[tuple[str | None, int], Engine] = {}
        self.data, self.task, self.inputs, self.settings = data, task, inputs, settings
        self.clock, self.listener = clock, listener or Silent()
        self.interrupted, self.save = interrupted, save
        self.trials: list[Trial] = []
        self.notices: list[str] = []
        self.weights: dict[int, Weights] = {}
        self.searcher: Searcher = make_searcher(settings.search, settings.space, settings.seed)
        self.pool: ThreadPoolExecutor | None = None
        self.engines: dict[str | None, Engine] = {}
        self.member_epochs = 0.0
        self.reserve = 0.0
        self.confirm_limit: float | None = None
        self.set_aside = 0.0
        self.train_start: float | None = None
        self.plan: dict[str, Any] = {}
        self._pending = list(settings.first)
        self._structures: set[Structure] | None = None
        self._space_configs = self._sample_space()

    # ------------------------------------------------------------------------------------ engines

    def _sample_space(self) -> list[Config]:
        """Return Configs that between them show every discrete value of the space."""
        space = self.settings.space
        width = max(len(space.free), 1)
        rng = np.random.default_rng(0)
        sample = space.decode(rng.random((64 + 32 * width, width)))
        return [*self.settings.first, *sample]

    def engine(self, external: str | None) -> Engine:
        """Return the engine for table rules (None) or for one structural optimizer."""
        if external not in self.engines:
            structural = tuple(EXTERNAL)
            own = [c for c in self._space_configs if c.structure(structural).external == external]
            features = features_of(own, self.task, row_weight=self.data.weight is not None)
            engine = Engine(self.data, self.task, self.inputs, features)
            self.engines[external] = engine
            total = len(self.data.validation_target)
            notice = (
                f"trials are judged on {engine.num_validation:,} of {total:,} validation rows, "
                "as many as memory has room for; the winner is scored on all"
            )
            if engine.num_validation < total and notice not in self.notices:
                self.notices.append(notice)
        return self.engines[external]

    def _fold_engine(self, external: str | None, fold: int) -> Engine:
        """Return the engine that trains on all but one fold; all of them share their programs."""
        key = (external, fold)
        if key not in self.fold_engines:
            self.fold_engines[key] = self.engine(external).with_data(self.folds[fold])
        return self.fold_engines[key]

    def _cohorts(
        self,
        configs: Sequence[Config],
        seeds: Sequence[int],
        epochs: float,
        folds: Sequence[int | None] | None = None,
    ) -> list[tuple[list[int], Cohort]]:
        """Group Configs by structure and fold, and compile side by side what is missing."""
        structural = tuple(EXTERNAL)
        groups: dict[tuple[Structure, int | None], list[int]] = {}
        for i, config in enumerate(configs):
            fold = folds[i] if folds else None
            groups.setdefault((config.structure(structural), fold), []).append(i)
        made: dict[tuple[Structure, int | None], Cohort] = {}

        def engine_of(structure: Structure, fold: int | None) -> Engine:
            if fold is None:
                return self.engine(structure.external)
            return self._fold_engine(structure.external, fold)

        def make(key: tuple[Structure, int | None]) -> None:
            if self._stop():
                return
            structure, members = key[0], groups[key]
            engine = engine_of(*key)
            made[key] = engine.cohort(
                [configs[i] for i in members],
                [seeds[i] for i in members],
                engine.steps(structure, epochs),
                max(1, round(engine.steps(structure, epochs) / engine.evaluations(epochs))),
            )

        # One of each structure first: the others find its program compiled.
        ahead = {(structure, fold is None): (structure, fold) for structure, fold in groups}
        for key in groups:
            engine_of(*key)
        for keys in (list(ahead.values()), [k for k in groups if k not in set(ahead.values())]):
            run_tasks([lambda k=k: make(k) for k in keys], self.pool, self._workers())
        return [(members, made[key]) for key, members in groups.items() if key in made]

    def _workers(self) -> int:
        return next(iter(self.engines.values())).workers

    def _stop(self) -> bool:
        return self.interrupted() or self.clock.left() < self.reserve + self.set_aside

    # ------------------------------------------------------------------------------------ brackets

    def _ask(self, num: int) -> list[Config]:
        first = self._pending[:num]
        self._pending = self._pending[num:]
        found, asked = list(first), 0
        # A space may hold hardly any Config of the structures that were compiled.
        while len(found) < num and asked < MOST_ASKED * num:
            wanted = num - len(found)
            self.searcher, configs = self.searcher.ask(wanted)
            asked += wanted
            found += [c for c in configs if self._is_compiled(c)]
            if len(configs) < wanted:
                break
        return found

    def _is_compiled(self, config: Config) -> bool:
        """Whether a Config's structure is one of those that there was time to compile."""
        return self._structures is None or config.structure(tuple(EXTERNAL)) in self._structures

    def _bracket(
        self, configs: Sequence[Config], phase: Phase, epochs: float, *, until: float = math.inf
    ) -> list[Trial]:
        """Train Configs by successive halving, and return their trials.

        Args:
            configs: what to train.
            phase: why.
            epochs: epochs of a full training.
            until: ``clock.elapsed()`` by which the bracket should be over.
        """
        settings = self.settings
        seed = settings.seed
        cohorts = self._cohorts(configs, [seed] * len(configs), epochs)
        trials = self._new_trials(cohorts, configs, [seed] * len(configs), phase)
        factor = settings.reduction_factor
        num_rungs = (
            num_rungs_for(len(configs), epochs, factor, settings.shortest_rung)
            if settings.halving
            else 1
        )
        levels = rungs(epochs, factor, num_rungs)
        rng = np.random.default_rng([0xA0D17, seed, len(self.trials)])
        alive = [i for members, _ in cohorts for i in members]
        audited: set[int] = set()
        before = 0.0
        rung = -1
        while rung + 1 < len(levels):
            rung += 1
            level = levels[rung]
            start = self.clock.elapsed()
            self._advance(cohorts, trials, level, rung, f"{rung + 1}/{num_rungs}", phase)
            took = self.clock.elapsed() - start
            per_member_epoch = took / max(len(alive) * (level - before), 1e-9)
            scores = np.array([trials[i].rank for i in alive])
            self._keep_weights(cohorts, trials)
            if self._stop() or rung == len(levels) - 1:
                break
            keep = max(1, round(len(configs) / factor ** (rung + 1)))
            gap = levels[rung + 1] - level
            left = until - self.clock.elapsed()
            if math.isfinite(left):
                affordable = int(max(left, 0.0) / max(per_member_epoch * gap * 1.5, 1e-9))
                keep = max(1, min(keep, affordable))
                if not affordable:
                    # Slower than planned: the best one's training is cut short, schedule and all,
                    # rather than broken off in the middle.
                    reach = level + max(left, 0.0) / max(per_member_epoch * 1.5, 1e-9)
                    levels = [*levels[: rung + 1], min(reach, levels[-1])]
                    for _, cohort in cohorts:
                        total = cohort.engine.steps(cohort.structure, levels[-1])
                        cohort.total_steps = max(total, cohort.step + 1)
            kept, audit = survivors(
                scores, keep, num_audit=settings.num_audit if keep > 1 else 0, rng=rng
            )
            if not kept:
                break
            for position in audit:
                trials[alive[position]].audit = True
                audited.add(alive[position])
            alive = sorted(
                alive[p]
                for p in {*kept, *audit}
                | {p for p, i in enumerate(alive) if i in audited and np.isfinite(scores[p])}
            )
            for members, cohort in cohorts:
                cohort.select([k for k, i in enumerate(members) if i in set(alive)])
            before = level
        self._count_audit([trials[i] for i in audited], trials.values())
        self.searcher = self.searcher.tell(
            configs,
            np.array([trials[i].rank if i in trials else np.nan for i in range(len(configs))]),
        )
        return list(trials.values())

    def _count_audit(self, audited: Sequence[Trial], everybody: Iterable[Trial]) -> None:
        """Count how many of those spared by chance ended among the best of their bracket."""
        if not audited or self._stop():
            return
        num_best = max(1, self.settings.num_finalists)
        best = sorted((t.rank for t in everybody), reverse=True)[:num_best]
        audit = self.plan.setdefault("audit", {"spared": 0, "among_the_best": 0})
        audit["spared"] += len(audited)
        audit["among_the_best"] += sum(t.rank >= best[-1] for t in audited)

    def _new_trials(
        self,
        cohorts: Sequence[tuple[list[int], Cohort]],
        configs: Sequence[Config],
        seeds: Sequence[int],
        phase: Phase,
    ) -> dict[int, Trial]:
        trials = {}
        known = {i: cohort for members, cohort in cohorts for i in members}
        for i in sorted(known):
            trials[i] = Trial(
                id=len(self.trials),
                phase=phase,
                config=configs[i],
                structure=known[i].structure.name,
                seed=seeds[i],
                num_params=known[i].num_params,
            )
            self.trials.append(trials[i])
        return trials

    def _advance(
        self,
        cohorts: Sequence[tuple[list[int], Cohort]],
        trials: dict[int, Trial],
        level: float,
        rung: int,
        label: str,
        phase: str,
    ) -> None:
        """Take every cohort to ``level`` epochs and write down what its members did."""
        if self.train_start is None:
            self.train_start = self.clock.elapsed()
        tasks: list[Callable[[], None]] = []
        moving = []
        for members, cohort in cohorts:
            target = cohort.engine.steps(cohort.structure, level)
            if cohort.members and target > cohort.step:
                tasks += cohort.tasks(target - cohort.step, self._stop)
                moving.append((members, cohort))
        start = self.clock.elapsed()
        run_tasks(tasks, self.pool, self._workers())
        for members, cohort in moving:
            cohort.finish()
            for k in cohort.members:
                before = trials[members[k]].epochs
                self._note(trials[members[k]], cohort, k, rung)
                self.member_epochs += trials[members[k]].epochs - before
        took = max(self.clock.elapsed() - start, 1e-9)
        steps = sum(len(c.members) * c.step for _, c in moving)
        self.save(self.trials)
        self._tell(phase, label, steps / took)

    def _tell(self, phase: str, rung: str, throughput: float) -> None:
        """Tell the listener where the study stands."""
        left = self.clock.left()
        self.listener.update(
            phase=phase,
            trials_done=len(self.trials),
            total=self.settings.budget.trials,
            best=self._best_score(),
            metric=self.task.metric,
            rung=rung,
            throughput=throughput,
            seconds_left=None if math.isinf(left) else max(0.0, left),
        )

    def _note(self, trial: Trial, cohort: Cohort, member: int, rung: int) -> None:
        curve = cohort.curves[member]
        trial.rung = rung
        trial.steps = curve.step[-1] if curve.step else 0
        trial.epochs = trial.steps * cohort.batch_size / cohort.engine.data.num_rows
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

    def _keep_weights(
        self, cohorts: Sequence[tuple[list[int], Cohort]], trials: dict[int, Trial]
    ) -> None:
        """Keep the weights of the best trials so far, so that ending early loses nothing."""
        ranked = sorted(
            (t for t in self.trials if math.isfinite(t.score)),
            key=lambda t: (-t.rank, t.id),
        )
        wanted = {t.id for t in ranked[: max(1, self.settings.num_finalists)]}
        for members, cohort in cohorts:
            for k in cohort.members:
                trial = trials[members[k]]
                if trial.id in wanted or trial.phase == "confirm":
                    params, state = cohort.weights(k)
                    self.weights[trial.id] = Weights(cohort.structure, params, state)
        confirmed = {t.id for t in self.trials if t.phase == "confirm"}
        for known in list(self.weights):
            if known not in wanted and known not in confirmed:
                del self.weights[known]

    def _best_score(self) -> float | None:
        scores = [t.score for t in self.trials if math.isfinite(t.score)]
        if not scores:
            return None
        return max(scores) if self.task.sign > 0 else min(scores)

    # ------------------------------------------------------------------------------------ phases

    def _ranked(self, phases: tuple[str, ...] = ("explore", "refine")) -> list[Trial]:
        """Return trials by score, the best of each Config, best first."""
        order = sorted(
            (t for t in self.trials if t.phase in phases and math.isfinite(t.score)),
            key=lambda t: (-t.rank, t.id),
        )
        seen: dict[Config, Trial] = {}
        for trial in order:
            seen.setdefault(trial.config, trial)
        return list(seen.values())

    def _confirm(self, finalists: Sequence[Trial], replicates: int, epochs: float) -> None:
        """Train finalists again under fresh seeds, each seed on a fold of its own, all at once."""
        configs = [t.config for t in finalists for _ in range(replicates)]
        seeds = [self.settings.seed + 1 + r for _ in finalists for r in range(replicates)]
        folds = None
        if self.folds:
            folds = [r % len(self.folds) for _ in finalists for r in range(replicates)]
        cohorts = self._cohorts(configs, seeds, epochs, folds)
        trials = self._new_trials(cohorts, configs, seeds, "confirm")
        for i, trial in trials.items():
            trial.fold = folds[i] if folds else None
        self._advance(cohorts, trials, epochs, 0, "1/1", "confirm")
        self._keep_weights(cohorts, trials)

    def _winner(self) -> tuple[Trial, list[Trial]]:
        """Return the winning trial, and the trials whose weights are handed over."""
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
        ranked = [t for t in self._ranked() if t.id in self.weights]
        if not ranked:
            if self.interrupted():
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

    def run(self) -> Outcome:
        """Run the study to the end of its budget.

        Raises:
            BudgetError: where not one trial gave a score.
        """
        self._tell("compile", "", 0.0)
        self.engine(next(iter(self._externals())))
        with ThreadPoolExecutor(self._workers(), thread_name_prefix="thalweg") as self.pool:
            if self.settings.budget.seconds is None:
                stopped = self._run_trials()
            else:
                stopped = self._run_seconds()
        if self.interrupted():
            stopped = "interrupted: everything found so far is kept"
        best, replicates = self._winner()
        end = self.clock.elapsed()
        return Outcome(
            trials=self.trials,
            best=best,
            replicates=replicates,
            weights=[self.weights[t.id] for t in replicates],
            fold_weights=[self.weights[t.id] for t in replicates],
            compile_seconds=sum(
                e.compile_seconds for e in [*self.engines.values(), *self.fold_engines.values()]
            ),
            train_seconds=end - (self.train_start if self.train_start is not None else end),
            wait_seconds=sum(e.feed.wait_seconds for e in self.engines.values() if e.feed)
            / self._workers(),
            stopped=stopped,
            notices=self.notices,
            plan=self.plan,
        )

    def _how_often(self, replicates: int) -> str:
        return f"on {replicates} folds" if self.folds else f"under {replicates} fresh seeds"

    def _externals(self) -> list[str | None]:
        structural = tuple(EXTERNAL)
        found = {c.structure(structural).external for c in self._space_configs}
        return sorted(found, key=lambda name: (name is not None, name or ""))

    def _run_trials(self) -> str:
        settings = self.settings
        total = settings.budget.trials or settings.default_trials
        finalists, replicates = settings.num_finalists, settings.num_replicates
        if total < 4 * finalists * replicates:
            # With few trials, all of them explore: replicates would cost more than they tell.
            finalists = 0
        configs = self._ask(total - finalists * replicates)
        self.plan |= {
            "explore": len(configs),
            "confirm": finalists * replicates,
            "epochs": settings.epochs,
        }
        self.listener.plan(
            f"{len(configs)} configurations of up to {settings.epochs:g} epochs, then "
            f"{finalists} finalists {self._how_often(replicates)}"
            if finalists
            else f"{len(configs)} configurations of up to {settings.epochs:g} epochs"
        )
        done, most = 0, self._most_members()
        while done < len(configs) and not self._stop():
            part = configs[done : done + most]
            self._bracket(part, "explore", settings.epochs)
            done += len(part)
        ranked = self._ranked()[:finalists]
        if ranked and finalists and not self._stop():
            self._confirm(ranked, replicates, settings.epochs)
        return f"all {len(self.trials)} trials are done"

    # ------------------------------------------------------------------------------- time budgets

    def _run_seconds(self) -> str:
        settings = self.settings
        self.reserve = FINISH_SECONDS + 0.04 * (settings.budget.seconds or 0.0)
        speed = self._pilot()
        epochs = self._time_plan(speed)
        best, stale, brackets = -math.inf, 0, 0
        limit = settings.budget.trials or math.inf
        while True:
            # Exploring stops where confirming has to begin, in the middle of a rung if need be.
            self.set_aside = self._confirm_seconds(epochs * speed)
            left = self.clock.left() - self.reserve - self.set_aside
            # Where trainings are dear, one bracket has all the time there is for exploring.
            several = self.plan["bracket"] == BRACKET_SIZES[0]
            share = left * EXPLORE_SHARE if brackets == 0 and several else left
            size = bracket_size(settings, share / speed, epochs, self._most_members())
            size = int(min(size, limit - len(self.trials)))
            if self._stop() or size < 1 or (brackets and size < 4):
                reason = "the time budget is used up"
                break
            configs = self._ask(size)
            if not configs:
                reason = "the search space is used up"
                break
            until = self.clock.elapsed() + share
            start, before = self.clock.elapsed(), self.member_epochs
            self._bracket(configs, "explore", epochs, until=until)
            spent = self.member_epochs - before
            if spent > 0:
                speed = (self.clock.elapsed() - start) / spent
            brackets += 1
            now = max((t.rank for t in self.trials), default=-math.inf)
            stale = 0 if now > best else stale + 1
            best = max(best, now)
            if len(self.trials) >= limit:
                reason = f"all {len(self.trials)} trials are done"
                break
            if stale >= PATIENCE_BRACKETS:
                reason = f"{stale} brackets of trials in a row found nothing better"
                break
        self.set_aside = 0.0
        finalists, replicates = self._affordable_finalists(epochs * speed)
        if finalists and replicates:
            self._confirm(finalists, replicates, epochs)
        return reason

    def _pilot(self) -> float:
        """Compile every structure, and measure the seconds of a member-epoch on this machine."""
        by_structure: dict[Structure, Config] = {}
        structural = tuple(EXTERNAL)
        for config in self._space_configs:
            by_structure.setdefault(config.structure(structural), config)
        # An expert's first tries, then what is cheap: it is the dear ones that may be left out.
        first = {config.structure(structural) for config in self._pending}
        ahead = sorted(
            by_structure.items(),
            key=lambda item: (item[0] not in first, self._step_seconds(item[0])),
        )
        workers = self._workers()
        start, seconds = self.clock.elapsed(), []
        limit = PILOT_SHARE * self.clock.left()
        tried: set[Structure] = set()
        while ahead and not self._stop():
            if seconds and self.clock.elapsed() - start > limit:
                break
            now, ahead = ahead[:workers], ahead[workers:]
            repeated = [config for _, config in now for _ in range(4 * workers)]
            for _, cohort in self._cohorts(repeated, [0] * len(repeated), self.settings.epochs):
                if self._stop():
                    break
                kept = list(range(workers * cohort.plan.width))
                cohort.select(kept)
                seconds.append(member_epoch_seconds(cohort, len(kept), self.pool))
                tried.add(cohort.structure)
        if len(tried) < len(by_structure):
            self._structures = tried
            self._pending = [c for c in self._pending if c.structure(structural) in tried]
            self.notices.append(
                f"{len(by_structure) - len(tried)} of {len(by_structure)} structures are left out: "
                "compiling them would have taken too much of the budget"
            )
        if self.interrupted() and not seconds:
            raise BudgetError("interrupted while compiling, before anything was trained")
        if not seconds:
            raise BudgetError(
                "the budget was used up by compiling: give more time, or a smaller space"
            )
        return max(float(np.mean(seconds)), 1e-7)

    def _step_seconds(self, structure: Structure) -> float:
        """Return a rough guess of the seconds of an epoch's steps."""
        engine = self.engine(structure.external)
        size = engine.batch_size(structure)
        return estimated_step_seconds(engine.network(structure), size, engine.platform) / size

    def _confirm_seconds(self, training: float) -> float:
        """Return the seconds to set aside for confirming, where a full training takes so many.

        What was set aside at the start is not eaten up by exploring: it only shrinks when trainings
        turn out to be faster.
        """
        if self.confirm_limit is None:
            self.confirm_limit = CONFIRM_SHARE * max(self.clock.left() - self.reserve, 0.1)
        return confirmation_seconds(self.settings, training, self.confirm_limit)

    def _time_plan(self, speed: float) -> float:
        """Plan brackets and confirmation, and return the epochs of a full training."""
        settings = self.settings
        left = max(self.clock.left() - self.reserve, 0.1)
        epochs, wanted = full_training(settings, left / speed, self._most_members())
        self.plan["bracket"] = wanted
        if epochs < settings.epochs:
            self.notices.append(
                f"a full training is {epochs:.3g} epochs instead of {settings.epochs:g}, so that "
                f"{wanted} configurations or more fit into the budget"
            )
        epochs = round(epochs, 1) if epochs < 10 else float(round(epochs))
        if settings.refit:
            # More rows than before, and one more program to compile.
            self.reserve += 2.0 + 1.5 * settings.num_replicates * epochs * speed
            left = max(self.clock.left() - self.reserve, 0.1)
        confirm = self._confirm_seconds(epochs * speed)
        room = (left - confirm) * EXPLORE_SHARE / speed
        size = bracket_size(settings, room, epochs, self._most_members())
        self.plan |= {
            "epochs": epochs,
            "first_bracket": size,
            "seconds_per_member_epoch": speed,
            "confirm_seconds": round(confirm, 2),
        }
        self.listener.plan(
            f"brackets of about {size} configurations of up to {epochs:g} epochs "
            f"({speed * epochs * 1000:.3g} ms each), then {settings.num_finalists} finalists "
            f"{self._how_often(settings.num_replicates)}; {self.clock.left():.0f} s left"
        )
        return epochs

    def _most_members(self) -> int:
        """Return how many members of the space's largest network fit into memory at once."""
        structural = tuple(EXTERNAL)
        structures = {c.structure(structural) for c in self._space_configs}
        largest = max(self.engine(s.external).member_bytes(s) for s in structures)
        resident = max(engine.resident_bytes for engine in self.engines.values())
        free = backend.available_bytes() - resident
        return int(min(MAX_BRACKET, max(1, 0.8 * free / largest)))

    def _affordable_finalists(self, training: float) -> tuple[list[Trial], int]:
        """Return the finalists, and their replicates, that the remaining time pays for.

        Room for more is spent on more finalists (their order in the exploration is partly luck);
        too little room on fewer replicates of the usual number.
        """
        if self.interrupted():
            return [], 0
        seconds = self.clock.left() - self.reserve
        return affordable_finalists(self.settings, seconds / max(training, 1e-9), self._ranked())
