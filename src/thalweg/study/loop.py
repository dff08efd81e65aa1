"""The only host loop: searcher → cohorts → records.

A study explores in brackets of successive halving, each over all structures at once, and then
trains the finalists again under fresh seeds. Everything that is decided is decided from validation
scores; the test rows are not known here. Between two rungs all that it has to remember is written
down, so that another process can go on from there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from thalweg.models import InputShape
from thalweg.search import REFINING, Searcher, make_searcher
from thalweg.search.curves import expected_finals
from thalweg.search.halving import rungs
from thalweg.search.pbt import PBT
from thalweg.search.widening import NUM_BEST, widened
from thalweg.space import Config, Space
from thalweg.study import population
from thalweg.study.bracket import Bracket, Kind
from thalweg.study.budget import Clock
from thalweg.study.callbacks import Callback
from thalweg.study.engines import Engines, Group, only, structure_of
from thalweg.study.keeper import Keeper
from thalweg.study.ledger import Ledger
from thalweg.study.listener import Listener, Silent
from thalweg.study.notebook import Notebook
from thalweg.study.objectives import cost_of, retold, who_is_better
from thalweg.study.outcome import Outcome, Weights
from thalweg.study.pacing import affordable_finalists, bracket_size, part_of_way
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
from thalweg.study.store import Store
from thalweg.study.timeplan import TimePlan
from thalweg.task import Task
from thalweg.training.feed import TrainingData
from thalweg.training.side_by_side import run_tasks

MOST_ASKED = 100
SMALLEST_PART = 8
"""Configs that a process takes at a time, where several share a study."""

WAIT_SECONDS = 0.3
CHECKPOINT_SECONDS = 2.0
"""Seconds of training between two checkpoints, in rungs that take longer."""
DEARER = 3.0
"""What is left of a bracket takes up to so many times as long, an epoch, as what was dropped."""
TELL_SECONDS = 5.0
"""Seconds after which the listener hears how far a part of a rung is."""
MUCH_SLOWER = 1.5
"""Trainings that take so many times as long as was measured are planned anew."""

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
        folds: where the data is small: as many splits of the training and validation rows as there
            are replicates, for the finalists; all of the same shapes.
        store: where trials are written.
        keeper: writes checkpoints; where it has one, the study goes on from there.
        callbacks: told of every rung.
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
        folds: Sequence[TrainingData] = (),
        store: Store | None = None,
        keeper: Keeper | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.data, self.folds, self.settings = data, list(folds), settings
        self.listener, self.interrupted = listener or Silent(), interrupted
        self.ledger = Ledger(task, settings.num_finalists, store)
        self.time = TimePlan(settings, clock)
        self.notebook = Notebook(
            keeper, self.ledger, self.time, self.listener, self.interrupted, callbacks
        )
        self.at = self.notebook.standing(settings)
        self.pace = 0.0
        self.engines = Engines(
            data,
            folds,
            task,
            inputs,
            _sample(settings),
            self.at.memory,
            self.at.layouts,
            settings.budget.seconds,
        )
        space = self.at.plan.get("space")
        self.searcher: Searcher = make_searcher(
            settings.search,
            settings.space if space is None else Space.from_dict(space),
            settings.seed,
            self.at.searcher,
        )
        if self.at.searcher is None and settings.known:
            # What an earlier study on these data found.
            self.searcher = self.searcher.tell(
                [config for config, _ in settings.known],
                np.array([rank for _, rank in settings.known]),
            )

    # ---------------------------------------------------------------------------------- the study

    def run(self) -> Outcome:
        """Run the study to the end of its budget, from where it stands.

        Raises:
            BudgetError: where not one trial gave a score.
        """
        engines, ledger, at = self.engines, self.ledger, self.at
        self._tell("compile", "", 0.0)
        engines.first()
        try:
            with ThreadPoolExecutor(engines.workers, thread_name_prefix="thalweg") as engines.pool:
                if self.settings.budget.seconds is None:
                    stopped = self._run_trials()
                else:
                    stopped = self._run_seconds()
                if self.interrupted():
                    stopped = "interrupted: everything found so far is kept"
                best, replicates = ledger.winner(self.interrupted())
                elsewhere = [trial for trial in replicates if trial.id not in ledger.weights]
                if elsewhere:
                    self._train_again(elsewhere)
            self.notebook.close()
        finally:
            self.notebook.rest()
        end = self.time.clock.elapsed()
        return Outcome(
            trials=ledger.trials,
            best=best,
            replicates=replicates,
            weights=[ledger.weights[t.id] for t in replicates],
            fold_weights=[ledger.weights[t.id] for t in replicates],
            compile_seconds=at.compile_seconds + engines.compile_seconds,
            train_seconds=end - (at.train_start if at.train_start is not None else end),
            wait_seconds=engines.wait_seconds,
            stopped=stopped,
            notices=list(
                dict.fromkeys([*at.notices, *self._notices(), *at.plan.get("widened", [])])
            ),
            plan=at.plan,
            kept=dict(ledger.weights),
        )

    def _run_trials(self) -> str:
        """Spend a budget of trials, and return why the study ended."""
        settings, ledger, budget, at = self.settings, self.ledger, self.settings.budget, self.at
        total = budget.trials or settings.default_trials
        finalists, replicates = settings.num_finalists, settings.num_replicates
        open_ended = budget.trials is None and (budget.epochs or budget.until_stalled)
        if total < 4 * finalists * replicates and not open_ended:
            # With few trials, all of them explore: replicates would cost more than they tell.
            finalists = 0
        explore = most_to_explore(settings, finalists)
        if not at.plan:
            at.most = self.engines.most_members()
            size, _ = next_round(settings, ledger.trials, explore, at.most)
            at.size = size
            size = self._share(size)
            at.queue = self.ask(size)
            if len(at.queue) < size:
                explore = len(at.queue)
            at.plan |= {
                "explore": explore if explore < MOST_TRIALS else None,
                "confirm": finalists * replicates,
                "epochs": settings.epochs,
            }
        elif at.plan["explore"] is not None:
            explore = at.plan["explore"]
        number = f"{explore:g}" if explore < MOST_TRIALS else f"rounds of {at.size}"
        self.listener.plan(
            f"{number} configurations of up to {settings.epochs:g} epochs"
            + (f", then {finalists} finalists {self._how_often(replicates)}" if finalists else "")
        )
        self._go_on(math.inf)
        while not self._stop() and not at.confirmed:
            size, at.reason = next_round(settings, ledger.trials, explore, at.most)
            left = explore - ledger.count("explore")
            size = self._share(int(min(size, left)))
            configs = at.queue or (self.ask(size) if size else [])
            if size and not configs:
                at.reason = "the search space is used up"
            if configs:
                self._explore(configs, settings.epochs, limit=explore)
            elif not self._wait("explore"):
                break
        ledger.merge()
        ranked = ledger.ranked()[:finalists]
        if budget.epochs is not None:
            spare = (budget.epochs - ledger.member_epochs) / settings.epochs
            ranked, replicates = affordable_finalists(settings, spare, ledger.ranked())
        if ranked and finalists and not at.confirmed and not self._stop():
            self._confirm(ranked, replicates, settings.epochs)
        if not at.reason or at.reason.startswith("all "):
            at.reason = f"all {len(ledger.trials)} trials are done"
        return at.reason

    def _run_seconds(self) -> str:
        """Spend a budget of time, and return why the study ended."""
        settings, ledger, time, at = self.settings, self.ledger, self.time, self.at
        if not at.plan:
            self._plan_time()
        epochs = at.plan["epochs"]
        each = at.speed * epochs
        takes = f"{each:.3g} s" if each >= 1 else f"{each * 1000:.3g} ms"
        num, how_often = settings.num_finalists, self._how_often(settings.num_replicates)
        then = f", then {num} finalists {how_often}" if num else ""
        if num and not at.plan["confirm_seconds"]:
            then = ", too dear to be confirmed under fresh seeds"
        self.listener.plan(
            f"brackets of about {at.plan['first_bracket']} configurations of up to {epochs:g} "
            f"epochs ({takes} each){then}; {time.clock.left():.0f} s left"
        )
        limit = settings.budget.trials or math.inf
        time.set_aside = time.confirm_seconds(epochs * at.speed)
        self._go_on(time.clock.elapsed() + time.bracket_seconds(1, 0))
        while not at.reason:
            # Exploring stops where confirming has to begin, in the middle of a rung if need be.
            time.set_aside = time.confirm_seconds(epochs * at.speed)
            share = time.bracket_seconds(at.brackets, at.plan["bracket"])
            most, workers = self.engines.most_members(), self.engines.workers
            size = bracket_size(settings, share / at.speed, epochs, most, workers)
            size = int(min(size, limit - len(ledger.trials)))
            if self._stop() or size < 1 or (at.brackets and size < 4):
                at.reason = "the time budget is used up"
                break
            configs = self.ask(size)
            if not configs:
                at.reason = "the search space is used up"
                break
            self._explore(configs, epochs, until=time.clock.elapsed() + share)
            if len(ledger.trials) >= limit:
                at.reason = f"all {len(ledger.trials)} trials are done"
            elif at.stale >= PATIENCE_BRACKETS:
                at.reason = f"{at.stale} brackets of trials in a row found nothing better"
        time.set_aside = 0.0
        ledger.merge()
        finalists, replicates = time.finalists(epochs * at.speed, ledger.ranked())
        if finalists and replicates and not at.confirmed and not self.interrupted():
            self._confirm(finalists, replicates, epochs)
        return at.reason

    def _plan_time(self) -> None:
        """Measure the seconds of a member-epoch, and plan the epochs of a full training."""
        at = self.at
        at.speed, tried = fly(self.engines, self.time, at.pending, self.interrupted)
        if len(tried) < len(self.engines.structures):
            at.structures = tried
            at.pending = [c for c in at.pending if structure_of(c) in tried]
        most, workers = self.engines.most_members(), self.engines.workers
        at.plan |= self.time.divide(at.speed, most, workers)

    def _how_often(self, replicates: int) -> str:
        return f"on {replicates} folds" if self.folds else f"under {replicates} fresh seeds"

    # --------------------------------------------------------------------------- other processes

    def _share(self, left: int) -> int:
        """Return how many of the Configs that are left this process should take next.

        Alone all that fit into memory; several processes take parts that get smaller, so that none
        has to wait long for another at the end.
        """
        processes = max(self.settings.processes, self.ledger.num_alive)
        part = left if processes == 1 else max(SMALLEST_PART, math.ceil(left / (2 * processes)))
        return max(0, min(left, part, self.at.most))

    def _wait(self, phase: Phase) -> bool:
        """Wait a little where other processes train trials of a phase; False where none does."""
        before = self.ledger.count(phase)
        if not self.ledger.waits_for(phase):
            # What was given up is to be had again.
            return self.ledger.count(phase) < before
        time.sleep(WAIT_SECONDS)
        return True

    def _train_again(self, trials: Sequence[Trial]) -> None:
        """Train trials of other processes, whose weights are not here, for their weights."""
        epochs = self.at.plan.get("epochs", self.settings.epochs)
        bracket = self._bracket(
            "confirm",
            [population.begins_with(t) for t in trials],
            [t.seed for t in trials],
            [t.fold for t in trials],
            population.replay_levels(trials, epochs),
            "replay",
        )
        bracket.trials = dict(enumerate(trials))
        while True:
            tasks: list[Callable[[], None]] = []
            for _, cohort in bracket.groups:
                target = cohort.engine.steps(cohort.structure, bracket.level)
                tasks += cohort.tasks(target - cohort.step, self.interrupted)
            run_tasks(tasks, self.engines.pool, self.engines.workers)
            for _, cohort in bracket.groups:
                cohort.finish()
            if bracket.is_last:
                break
            population.follow(bracket)
        for members, cohort in bracket.groups:
            for k, place in enumerate(members):
                params, state = cohort.weights(k)
                self.ledger.weights[trials[place].id] = Weights(cohort.structure, params, state)

    # ----------------------------------------------------------------------------------- its parts

    def ask(self, num: int) -> list[Config]:
        """Return up to so many Configs to train next: the user's first, then the searcher's."""
        at, asked = self.at, 0
        news = self.ledger.merge()
        if news:
            # What other processes have found meanwhile.
            self.searcher = self.searcher.tell(
                [t.config for t in news], np.array([t.rank for t in news])
            )
        taken = self.ledger.taken("explore")
        found, at.pending = at.pending[:num], at.pending[num:]
        found = [config for config in found if config not in taken]
        # A space may hold hardly any Config of the structures that were compiled.
        while len(found) < num and asked < MOST_ASKED * num:
            wanted = num - len(found)
            self.searcher, configs = self.searcher.ask(wanted)
            asked += wanted
            found += [
                c
                for c in configs
                if (at.structures is None or structure_of(c) in at.structures) and c not in taken
            ]
            if len(configs) < wanted:
                break
        return found

    def _explore(
        self,
        configs: Sequence[Config],
        epochs: float,
        until: float = math.inf,
        limit: float | None = None,
    ) -> None:
        """Train Configs by successive halving, or as a population.

        Args:
            configs: what to train.
            epochs: epochs of a full training.
            until: ``clock.elapsed()`` by which the bracket should be over.
            limit: trials that all processes together may explore.
        """
        settings, num, known = self.settings, len(configs), self.ledger.trials
        kind: Kind = "population" if isinstance(self.searcher, PBT) else "halving"
        if kind == "population":
            phase, levels = "explore", population.levels(epochs)
        else:
            phase = phase_of(settings, known)
            count = num_rungs(settings, known, num, epochs)
            levels = rungs(epochs, settings.reduction_factor, count)
        seeds = [settings.seed] * num
        bracket = self._open(phase, configs, seeds, [None] * num, levels, limit, kind)
        self._train(bracket, until)

    def _outlook(self, bracket: Bracket) -> np.ndarray | None:
        """Return what those that still train will probably reach, where that is what counts."""
        if self.settings.against is not None:
            return who_is_better([bracket.trials[i] for i in bracket.alive])
        if self.settings.brackets != "curves":
            return None
        sign, full = self.ledger.task.sign, bracket.levels[-1]
        complete = [t for t in searched(self.ledger.trials) if t.status == "completed"]
        running = [bracket.trials[i] for i in bracket.alive]
        at = bracket.level / full
        return expected_finals(
            [t.shape(sign, full) for t in running], [t.shape(sign, t.epochs) for t in complete], at
        )

    def _learn_all_anew(self, full: float) -> None:
        """Let the searcher learn all trials by the next weight of two objectives."""
        settings = self.settings
        self.searcher = retold(
            self.searcher, settings.search, settings.space, settings.seed,
            searched(self.ledger.trials), full,
        )  # fmt: skip

    def _widen(self) -> None:
        """Widen ranges at whose edge the best Configs sit, where that can still be of use."""
        plan = self.at.plan
        if self.settings.widen and self.settings.search in REFINING:
            best = [t.config for t in self.ledger.ranked()]
            space, notices = widened(self.searcher.space, best[: 4 * NUM_BEST])
            if notices:
                self.searcher = self.searcher.moved_to(space)
                plan.setdefault("widened", []).extend(notices)
        if "widened" in plan:
            # What the searcher's state goes with.
            plan["space"] = self.searcher.space.to_dict()

    def _confirm(self, finalists: Sequence[Trial], replicates: int, epochs: float) -> None:
        """Train finalists again under fresh seeds, each seed on a fold of its own, all at once."""
        numbers = [r for _ in finalists for r in range(replicates)]
        owners = [t for t in finalists for _ in range(replicates)]
        while True:
            bracket = self._open(
                "confirm",
                [population.begins_with(t) for t in owners],
                [self.settings.seed + 1 + r for r in numbers],
                [r % len(self.folds) if self.folds else None for r in numbers],
                population.replay_levels(finalists, epochs),
                kind="replay" if any(t.schedule for t in finalists) else "halving",
            )
            for i, trial in bracket.trials.items():
                trial.config, trial.schedule = owners[i].config, list(owners[i].schedule)
            if bracket.trials:
                self._train(bracket, math.inf)
            given_up = False
            while not self._stop() and self._wait("confirm"):
                given_up = self.ledger.count("confirm") < len(numbers)
            if not given_up or self._stop():
                break
        self.ledger.merge()

    def _open(
        self,
        phase: Phase,
        configs: Sequence[Config],
        seeds: Sequence[int],
        folds: Sequence[int | None],
        levels: list[float],
        limit: float | None = None,
        kind: Kind = "halving",
    ) -> Bracket:
        """Return a bracket of Configs that are ready to train, each with its trial."""
        settings, ledger = self.settings, self.ledger
        bracket = self._bracket(phase, configs, seeds, folds, levels, kind, self._stop)
        bracket.trials = trials = ledger.open(bracket.groups, configs, seeds, folds, phase, limit)
        bracket.alive = sorted(trials)
        bracket.rng = np.random.default_rng([0xA0D17, settings.seed, len(ledger.trials)])
        only(bracket.groups, trials)
        if settings.against is not None:
            for members, cohort in bracket.groups:
                known = ledger.trials
                cost = cost_of(cohort.engine, cohort.structure, settings.against, known)
                for i in trials.keys() & set(members):
                    trials[i].cost = cost
        self.at.queue = []
        return bracket

    def _bracket(
        self,
        phase: Phase,
        configs: Sequence[Config],
        seeds: Sequence[int],
        folds: Sequence[int | None],
        levels: list[float],
        kind: Kind,
        stop: Callable[[], bool] = lambda: False,
    ) -> Bracket:
        """Return a bracket of Configs that are ready to train, without trials."""
        settings = self.settings
        return Bracket(
            phase=phase,
            kind=kind,
            configs=list(configs),
            seeds=list(seeds),
            folds=list(folds),
            full=levels[-1],
            levels=levels,
            factor=settings.reduction_factor,
            num_audit=settings.num_audit,
            rng=np.random.default_rng(settings.seed),
            num_rungs=len(levels),
            workers=1 if settings.budget.seconds is None else self.engines.workers,
            groups=self.engines.groups(configs, seeds, folds, levels[-1], stop),
        )

    def _go_on(self, until: float) -> None:
        """Train the bracket that an earlier process left behind, where there is one."""
        bracket = self.notebook.bracket(self.engines)
        if bracket is not None:
            self._train(bracket, until)

    def _train(self, bracket: Bracket, until: float) -> None:
        """Take a bracket from where it stands through all of its rungs.

        Args:
            bracket: Configs that are ready to train.
            until: ``clock.elapsed()`` by which it should be over; infinity where time is no matter.
        """
        settings, clock, ledger, at = self.settings, self.time.clock, self.ledger, self.at
        opened, before = clock.elapsed(), ledger.member_epochs
        self._save(bracket)
        # Others may have begun all of it.
        going = bool(bracket.trials) and self._catch_up(bracket)
        while going:
            took = self._advance(bracket)
            halves = bracket.kind == "halving" and bracket.phase != "confirm"
            if halves and settings.against is None:
                self.searcher = self.searcher.tell(*bracket.news())
            if self._stop() or bracket.is_last:
                break
            if bracket.kind == "halving":
                until = self._mind_the_pace(bracket, until)
                going = bracket.judge(took, until - clock.elapsed(), self._outlook(bracket))
                if going:
                    self._save(bracket)
                continue
            if isinstance(self.searcher, PBT) and bracket.kind == "population":
                population.exchange(bracket, self.searcher)
            else:
                population.follow(bracket)
            self.notebook.tell(bracket)
        if self.interrupted():
            return
        self._count_audit(bracket)
        if bracket.phase == "confirm":
            at.confirmed = True
        else:
            if bracket.kind == "halving":
                if settings.against is not None:
                    self._learn_all_anew(bracket.full)
                self._widen()
            at.brackets += 1
            now = max((t.rank for t in ledger.trials), default=-math.inf)
            at.stale = 0 if now > at.best else at.stale + 1
            at.best = max(at.best, now)
            spent = ledger.member_epochs - before
            if spent > 0:
                at.speed = (clock.elapsed() - opened) / spent
        self._save(bracket, over=True)
        ledger.close(bracket.trials.values())

    def _mind_the_pace(self, bracket: Bracket, until: float) -> float:
        """Return by when a bracket should be over, now that its first rung tells the pace.

        Where trainings take much longer than was measured before, there is no room for a second
        bracket: this one gets the time of all, rather than two whose trainings are cut short.
        """
        at, time = self.at, self.time
        slower = self.pace > MUCH_SLOWER * at.speed
        if not math.isfinite(until) or bracket.phase == "confirm" or bracket.rung or not slower:
            return until
        at.speed = self.pace
        time.set_aside = time.confirm_seconds(bracket.full * at.speed)
        return max(until, time.clock.elapsed() + time.exploring_left())

    def _catch_up(self, bracket: Bracket) -> bool:
        """Train what lies between the weights of a checkpoint and its decisions once more.

        Returns:
            Whether there was time to.
        """
        while bracket.trained < len(bracket.decisions):
            self._move(bracket, bracket.levels[bracket.trained])
            if self._stop():
                return False
            bracket.carry_out()
        return True

    def _advance(self, bracket: Bracket) -> float:
        """Take a bracket to the end of its rung, write down what its members did; its seconds."""
        clock, ledger = self.time.clock, self.ledger
        start = clock.elapsed()
        # A long rung is left at some evaluations on the way, for a checkpoint.
        first = [cohort.step for _, cohort in bracket.groups]
        num = self._num_checkpoints(bracket)
        for part in range(1, num + 1):
            before, epochs = clock.elapsed(), ledger.member_epochs
            moved, member_steps = self._move(bracket, bracket.level, part / num, first)
            if not moved and part < num and not self._stop():
                # No evaluation lies in this part of the way.
                continue
            for members, cohort in moved:
                for k in cohort.members:
                    ledger.note(bracket.trials[members[k]], cohort, k, bracket.rung)
            took = max(clock.elapsed() - before, 1e-9)
            if ledger.member_epochs > epochs:
                # Where others have begun all of a part, nothing trains.
                self.pace = took / (ledger.member_epochs - epochs)
            self._tell(bracket.phase, bracket.label, member_steps / took)
            ledger.keep_weights(bracket.groups, bracket.trials)
            if part == num or self._stop():
                break
            self._save(bracket)
        return clock.elapsed() - start

    def _num_checkpoints(self, bracket: Bracket) -> int:
        """Return in how many parts a rung is trained, each of some seconds."""
        if bracket.kind != "halving":
            return 1
        pace = self.pace or self.at.speed
        seconds = 0.0
        for _, cohort in bracket.groups:
            engine, structure = cohort.engine, cohort.structure
            own = pace or self.engines.step_seconds(structure) * engine.data.num_rows
            done = cohort.step / engine.steps(structure, 1.0)
            seconds += len(cohort.members) * max(bracket.level - done, 0.0) * own
        if not pace:
            seconds /= self.engines.workers
        return max(1, int(DEARER * seconds / CHECKPOINT_SECONDS))

    def _move(
        self, bracket: Bracket, level: float, part: float = 1.0, first: Sequence[int] = ()
    ) -> tuple[list[Group], int]:
        """Take a bracket some of the way to so many epochs.

        Args:
            bracket: what trains.
            level: epochs where the way ends.
            part: how much of the way; but for all of it, it ends at an evaluation.
            first: the step of each cohort where the way began, for a part of it.

        Returns:
            Who had any way to go, and the steps taken, summed over members.
        """
        if self.at.train_start is None:
            self.at.train_start = self.time.clock.elapsed()
        tasks: list[Callable[[], None]] = []
        moved, before = [], 0
        for number, group in enumerate(bracket.groups):
            cohort = group.cohort
            target = cohort.engine.steps(cohort.structure, level)
            if part < 1.0:
                target = part_of_way(first[number], target, part, cohort.steps_per_evaluation)
            if cohort.members and target > cohort.step:
                tasks += cohort.tasks(target - cohort.step, self._stop)
                moved.append(group)
                before += len(cohort.members) * cohort.step
        run_tasks(tasks, self.engines.pool, self.engines.workers, self._heard(bracket))
        for group in moved:
            group.cohort.finish()
        return moved, sum(len(c.members) * c.step for _, c in moved) - before

    def _heard(self, bracket: Bracket) -> Callable[[int, int], None]:
        """Return what tells, in a rung that takes minutes, how much of the way is done."""
        told = time.monotonic()

        def done(num: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                self._tell(bracket.phase, f"{bracket.label}, {num} of {total} done", 0.0)

        return done

    def _save(self, bracket: Bracket, over: bool = False) -> None:
        """Write down where the study stands."""
        at = self.at
        at.searcher = self.searcher.state()
        at.memory, at.layouts = self.engines.memory, self.engines.plans
        at.notices = list(dict.fromkeys([*at.notices, *self._notices()]))
        self.notebook.save(at, bracket, self.engines.compile_seconds, over=over)

    def _notices(self) -> list[str]:
        return [*self.engines.notices, *self.time.notices, *self.notebook.notices]

    def _count_audit(self, bracket: Bracket) -> None:
        """Count how many of those spared by chance ended among the best of their bracket."""
        if not bracket.audited or self._stop():
            return
        spared, among = bracket.audit(max(1, self.settings.num_finalists))
        audit = self.at.plan.setdefault("audit", {"spared": 0, "among_the_best": 0})
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
