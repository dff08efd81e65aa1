"""The only host loop: searcher → cohorts → records.

A study explores in brackets of successive halving, each over all structures at once, and then
trains the finalists again under fresh seeds. Everything that is decided is decided from validation
scores; the test rows are not known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from thalweg.models import InputShape
from thalweg.search import REFINING, Searcher, make_searcher
from thalweg.search.curves import expected_finals
from thalweg.search.halving import rungs
from thalweg.search.pbt import PBT
from thalweg.search.widening import NUM_BEST, widened
from thalweg.space import Config, Structure
from thalweg.study import population
from thalweg.study.bracket import Bracket
from thalweg.study.budget import Clock
from thalweg.study.engines import Engines, structure_of
from thalweg.study.ledger import Ledger
from thalweg.study.listener import Listener, Silent
from thalweg.study.objectives import cost_of, retold, who_is_better
from thalweg.study.outcome import Outcome
from thalweg.study.pacing import affordable_finalists, bracket_size
from thalweg.study.pilot import fly
from thalweg.study.records import Phase, Trial
from thalweg.study.rounds import (
    MOST_TRIALS,
    most_to_explore,
    next_round,
    num_rungs,
    phase_of,
    searched,
)
from thalweg.study.settings import Settings
from thalweg.study.timeplan import TimePlan
from thalweg.task import Task
from thalweg.training.cohort import TrainingData, run_tasks

MOST_ASKED = 100
PATIENCE_BRACKETS = 3


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
        self.data, self.folds, self.settings = data, list(folds), settings
        self.listener, self.interrupted, self.save = listener or Silent(), interrupted, save
        self.engines = Engines(data, folds, task, inputs, _sample(settings))
        self.ledger = Ledger(task, settings.num_finalists)
        self.time = TimePlan(settings, clock)
        self.searcher: Searcher = make_searcher(settings.search, settings.space, settings.seed)
        self.pending = list(settings.first)
        self.structures: set[Structure] | None = None
        self.plan: dict[str, Any] = {}
        self.train_start: float | None = None

    # ---------------------------------------------------------------------------------- the study

    def run(self) -> Outcome:
        """Run the study to the end of its budget.

        Raises:
            BudgetError: where not one trial gave a score.
        """
        engines, ledger = self.engines, self.ledger
        self._tell("compile", "", 0.0)
        engines.first()
        with ThreadPoolExecutor(engines.workers, thread_name_prefix="thalweg") as engines.pool:
            if self.settings.budget.seconds is None:
                stopped = self._run_trials()
            else:
                stopped = self._run_seconds()
        if self.interrupted():
            stopped = "interrupted: everything found so far is kept"
        best, replicates = ledger.winner(self.interrupted())
        end = self.time.clock.elapsed()
        return Outcome(
            trials=ledger.trials,
            best=best,
            replicates=replicates,
            weights=[ledger.weights[t.id] for t in replicates],
            fold_weights=[ledger.weights[t.id] for t in replicates],
            compile_seconds=engines.compile_seconds,
            train_seconds=end - (self.train_start if self.train_start is not None else end),
            wait_seconds=engines.wait_seconds,
            stopped=stopped,
            notices=[*engines.notices, *self.time.notices, *self.plan.get("widened", [])],
            plan=self.plan,
            kept=dict(ledger.weights),
        )

    def _run_trials(self) -> str:
        """Spend a budget of trials, and return why the study ended."""
        settings, ledger, budget = self.settings, self.ledger, self.settings.budget
        total = budget.trials or settings.default_trials
        finalists, replicates = settings.num_finalists, settings.num_replicates
        open_ended = budget.trials is None and (budget.epochs or budget.until_stalled)
        if total < 4 * finalists * replicates and not open_ended:
            # With few trials, all of them explore: replicates would cost more than they tell.
            finalists = 0
        explore = most_to_explore(settings, finalists)
        most = self.engines.most_members()
        size, reason = next_round(settings, ledger.trials, explore, most)
        configs = self.ask(size)
        if len(configs) < size:
            explore = len(configs)
        number = f"{explore:g}" if explore < MOST_TRIALS else f"rounds of {size}"
        self.plan |= {
            "explore": explore if explore < MOST_TRIALS else None,
            "confirm": finalists * replicates,
            "epochs": settings.epochs,
        }
        self.listener.plan(
            f"{number} configurations of up to {settings.epochs:g} epochs"
            + (f", then {finalists} finalists {self._how_often(replicates)}" if finalists else "")
        )
        while configs and not self._stop():
            self._explore(configs, settings.epochs)
            size, reason = next_round(settings, ledger.trials, explore, most)
            configs = self.ask(size) if size else []
            if size and not configs:
                reason = "the search space is used up"
        ranked = ledger.ranked()[:finalists]
        if budget.epochs is not None:
            spare = (budget.epochs - ledger.member_epochs) / settings.epochs
            ranked, replicates = affordable_finalists(settings, spare, ledger.ranked())
        if ranked and finalists and not self._stop():
            self._confirm(ranked, replicates, settings.epochs)
        if reason.startswith("all "):
            reason = f"all {len(ledger.trials)} trials are done"
        return reason

    def _run_seconds(self) -> str:
        """Spend a budget of time, and return why the study ended."""
        settings, ledger, time = self.settings, self.ledger, self.time
        speed, epochs = self._plan_time()
        best, stale, brackets = -math.inf, 0, 0
        limit = settings.budget.trials or math.inf
        while True:
            # Exploring stops where confirming has to begin, in the middle of a rung if need be.
            time.set_aside = time.confirm_seconds(epochs * speed)
            share = time.bracket_seconds(brackets, self.plan["bracket"])
            size = bracket_size(settings, share / speed, epochs, self.engines.most_members())
            size = int(min(size, limit - len(ledger.trials)))
            if self._stop() or size < 1 or (brackets and size < 4):
                reason = "the time budget is used up"
                break
            configs = self.ask(size)
            if not configs:
                reason = "the search space is used up"
                break
            start, before = time.clock.elapsed(), ledger.member_epochs
            self._explore(configs, epochs, until=start + share)
            spent = ledger.member_epochs - before
            if spent > 0:
                speed = (time.clock.elapsed() - start) / spent
            brackets += 1
            now = max((t.rank for t in ledger.trials), default=-math.inf)
            stale = 0 if now > best else stale + 1
            best = max(best, now)
            if len(ledger.trials) >= limit:
                reason = f"all {len(ledger.trials)} trials are done"
                break
            if stale >= PATIENCE_BRACKETS:
                reason = f"{stale} brackets of trials in a row found nothing better"
                break
        time.set_aside = 0.0
        finalists, replicates = time.finalists(epochs * speed, ledger.ranked())
        if finalists and replicates and not self.interrupted():
            self._confirm(finalists, replicates, epochs)
        return reason

    def _plan_time(self) -> tuple[float, float]:
        """Return the seconds of a member-epoch, and the epochs of a full training."""
        settings, clock = self.settings, self.time.clock
        speed, tried = fly(self.engines, self.time, self.pending, self.interrupted)
        if len(tried) < len(self.engines.structures):
            self.structures = tried
            self.pending = [c for c in self.pending if structure_of(c) in tried]
        self.plan |= self.time.divide(speed, self.engines.most_members())
        epochs = self.plan["epochs"]
        self.listener.plan(
            f"brackets of about {self.plan['first_bracket']} configurations of up to {epochs:g} "
            f"epochs ({speed * epochs * 1000:.3g} ms each), then {settings.num_finalists} "
            f"finalists {self._how_often(settings.num_replicates)}; {clock.left():.0f} s left"
        )
        return speed, epochs

    def _how_often(self, replicates: int) -> str:
        return f"on {replicates} folds" if self.folds else f"under {replicates} fresh seeds"

    # ----------------------------------------------------------------------------------- its parts

    def ask(self, num: int) -> list[Config]:
        """Return up to so many Configs to train next: the user's first, then the searcher's."""
        found, asked = self.pending[:num], 0
        self.pending = self.pending[num:]
        # A space may hold hardly any Config of the structures that were compiled.
        while len(found) < num and asked < MOST_ASKED * num:
            wanted = num - len(found)
            self.searcher, configs = self.searcher.ask(wanted)
            asked += wanted
            found += [
                c for c in configs if self.structures is None or structure_of(c) in self.structures
            ]
            if len(configs) < wanted:
                break
        return found

    def _explore(self, configs: Sequence[Config], epochs: float, until: float = math.inf) -> None:
        """Train Configs by successive halving, and tell the searcher how they did.

        Args:
            configs: what to train.
            epochs: epochs of a full training.
            until: ``clock.elapsed()`` by which the bracket should be over.
        """
        settings, clock = self.settings, self.time.clock
        num, known = len(configs), self.ledger.trials
        if isinstance(self.searcher, PBT):
            self._evolve(self.searcher, configs, epochs)
            return
        phase = phase_of(settings, known)
        count = num_rungs(settings, known, num, epochs)
        levels = rungs(epochs, settings.reduction_factor, count)
        bracket = self._open(phase, configs, [settings.seed] * num, [None] * num, levels)
        while True:
            start = clock.elapsed()
            self._advance(bracket)
            took = clock.elapsed() - start
            if self.settings.against is None:
                self.searcher = self.searcher.tell(*bracket.news())
            if self._stop() or bracket.is_last:
                break
            if not bracket.judge(took, until - clock.elapsed(), self._outlook(bracket)):
                break
        self._count_audit(bracket)
        if settings.against is not None:
            self.searcher = retold(
                self.searcher, settings.search, settings.space, settings.seed,
                searched(known), levels[-1],
            )  # fmt: skip
        self._widen()

    def _evolve(self, searcher: PBT, configs: Sequence[Config], epochs: float) -> None:
        """Train Configs as a population whose worst members go on from its best."""
        num, number = len(configs), len(self.ledger.trials)
        levels = population.levels(epochs)
        bracket = self._open("explore", configs, [self.settings.seed] * num, [None] * num, levels)
        while True:
            self._advance(bracket)
            if self._stop() or bracket.is_last:
                break
            population.exchange(bracket, searcher, number)

    def _outlook(self, bracket: Bracket) -> np.ndarray | None:
        """Return what those that still train will probably reach, where that is what counts."""
        if self.settings.against is not None:
            return who_is_better([bracket.trials[i] for i in bracket.alive])
        if self.settings.brackets != "curves":
            return None
        sign, full = self.ledger.task.sign, bracket.levels[-1]
        complete = [
            t for t in self.ledger.trials if t.phase != "confirm" and t.status == "completed"
        ]
        running = [bracket.trials[i] for i in bracket.alive]
        at = bracket.level / full
        return expected_finals(
            [t.shape(sign, full) for t in running], [t.shape(sign, t.epochs) for t in complete], at
        )

    def _widen(self) -> None:
        """Widen ranges at whose edge the best Configs sit, where that can still be of use."""
        if not self.settings.widen or self.settings.search not in REFINING:
            return
        best = [t.config for t in self.ledger.ranked()]
        space, notices = widened(self.searcher.space, best[: 4 * NUM_BEST])
        if notices:
            self.searcher = self.searcher.moved_to(space)
            self.plan["space"] = space.to_dict()
            self.plan.setdefault("widened", []).extend(notices)

    def _confirm(self, finalists: Sequence[Trial], replicates: int, epochs: float) -> None:
        """Train finalists again under fresh seeds, each seed on a fold of its own, all at once."""
        numbers = [r for _ in finalists for r in range(replicates)]
        owners = [t for t in finalists for _ in range(replicates)]
        bracket = self._open(
            "confirm",
            [population.begins_with(t) for t in owners],
            [self.settings.seed + 1 + r for r in numbers],
            [r % len(self.folds) if self.folds else None for r in numbers],
            population.replay_levels(finalists, epochs),
        )
        for i, trial in bracket.trials.items():
            trial.config, trial.schedule = owners[i].config, list(owners[i].schedule)
        while True:
            self._advance(bracket)
            if self._stop() or bracket.is_last:
                break
            population.follow(bracket)

    def _open(
        self,
        phase: Phase,
        configs: Sequence[Config],
        seeds: Sequence[int],
        folds: Sequence[int | None],
        levels: list[float],
    ) -> Bracket:
        """Return a bracket of Configs that are ready to train, each with its trial."""
        settings, ledger = self.settings, self.ledger
        groups = self.engines.groups(configs, seeds, folds, levels[-1], self._stop)
        trials = ledger.open(groups, configs, seeds, folds, phase)
        if settings.against is not None:
            for members, cohort in groups:
                cost = cost_of(cohort.engine.network(cohort.structure), settings.against)
                for i in members:
                    trials[i].cost = cost
        return Bracket(
            phase=phase,
            configs=list(configs),
            seeds=list(seeds),
            folds=list(folds),
            levels=levels,
            factor=settings.reduction_factor,
            num_audit=settings.num_audit,
            rng=np.random.default_rng([0xA0D17, settings.seed, len(ledger.trials)]),
            num_rungs=len(levels),
            groups=groups,
            trials=trials,
            alive=[i for members, _ in groups for i in members],
        )

    def _advance(self, bracket: Bracket) -> None:
        """Take a bracket to the end of its rung and write down what its members did."""
        clock, ledger = self.time.clock, self.ledger
        start = clock.elapsed()
        if self.train_start is None:
            self.train_start = start
        tasks: list[Callable[[], None]] = []
        moving = []
        for members, cohort in bracket.groups:
            target = cohort.engine.steps(cohort.structure, bracket.level)
            if cohort.members and target > cohort.step:
                tasks += cohort.tasks(target - cohort.step, self._stop)
                moving.append((members, cohort))
        run_tasks(tasks, self.engines.pool, self.engines.workers)
        for members, cohort in moving:
            cohort.finish()
            for k in cohort.members:
                ledger.note(bracket.trials[members[k]], cohort, k, bracket.rung)
        took = max(clock.elapsed() - start, 1e-9)
        steps = sum(len(c.members) * c.step for _, c in moving)
        self.save(ledger.trials)
        self._tell(bracket.phase, bracket.label, steps / took)
        ledger.keep_weights(bracket.groups, bracket.trials)

    def _count_audit(self, bracket: Bracket) -> None:
        """Count how many of those spared by chance ended among the best of their bracket."""
        if not bracket.audited or self._stop():
            return
        spared, among = bracket.audit(max(1, self.settings.num_finalists))
        audit = self.plan.setdefault("audit", {"spared": 0, "among_the_best": 0})
        audit["spared"] += spared
        audit["among_the_best"] += among

    def _stop(self) -> bool:
        return self.interrupted() or self.time.is_over()

    def _tell(self, phase: str, rung: str, throughput: float) -> None:
        """Tell the listener where the study stands."""
        left = self.time.clock.left()
        self.listener.update(
            phase=phase,
            trials_done=len(self.ledger.trials),
            total=self.settings.budget.trials,
            best=self.ledger.best_score(),
            metric=self.ledger.task.metric,
            rung=rung,
            throughput=throughput,
            seconds_left=None if math.isinf(left) else max(0.0, left),
        )


def _sample(settings: Settings) -> list[Config]:
    """Return Configs that between them show every discrete value of the space."""
    width = max(len(settings.space.free), 1)
    rng = np.random.default_rng(0)
    return [*settings.first, *settings.space.decode(rng.random((64 + 32 * width, width)))]
