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
from thalweg.search import LEARNING, Searcher, make_searcher
from thalweg.search.halving import num_rungs_for, rungs
from thalweg.space import Config
from thalweg.study.bracket import Bracket
from thalweg.study.budget import Clock
from thalweg.study.callbacks import Callback
from thalweg.study.engines import Engines, Group, only, structure_of
from thalweg.study.keeper import Keeper
from thalweg.study.ledger import Ledger
from thalweg.study.listener import Listener, Silent
from thalweg.study.notebook import Notebook
from thalweg.study.outcome import Outcome, Weights
from thalweg.study.pacing import bracket_size
from thalweg.study.pilot import fly
from thalweg.study.records import Phase, Trial
from thalweg.study.settings import Settings
from thalweg.study.store import Store
from thalweg.study.timeplan import TimePlan
from thalweg.task import Task
from thalweg.training.cohort import TrainingData, run_tasks

MOST_ASKED = 100
SMALLEST_PART = 8
"""Configs that a process takes at a time, where several share a study."""

WAIT_SECONDS = 0.3
CHECKPOINT_SECONDS = 60.0
"""Seconds of training between two checkpoints, in rungs that take longer."""
PATIENCE_BRACKETS = 3
LEARNING_ROUNDS = 5
MIN_ROUND = 8


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
            data, folds, task, inputs, _sample(settings), self.at.memory, self.at.layouts
        )
        self.searcher: Searcher = make_searcher(
            settings.search, settings.space, settings.seed, self.at.searcher
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
            notices=list(dict.fromkeys([*at.notices, *self._notices()])),
            plan=at.plan,
        )

    def _run_trials(self) -> str:
        """Spend a budget of trials, and return why the study ended."""
        settings, at = self.settings, self.at
        finalists, replicates = settings.num_finalists, settings.num_replicates
        total = settings.budget.trials or settings.default_trials
        if total < 4 * finalists * replicates:
            # With few trials, all of them explore: replicates would cost more than they tell.
            finalists = 0
        if not at.plan:
            explore = total - finalists * replicates
            at.most = self.engines.most_members()
            if settings.search in LEARNING:
                # What learns from scores is asked again when it has some.
                at.most = min(at.most, max(MIN_ROUND, math.ceil(explore / LEARNING_ROUNDS)))
            size = self._share(explore)
            at.queue = self.ask(size)
            if len(at.queue) < size:
                explore = len(at.queue)
            at.plan |= {
                "explore": explore,
                "confirm": finalists * replicates,
                "epochs": settings.epochs,
            }
        explore = at.plan["explore"]
        self.listener.plan(
            f"{explore} configurations of up to {settings.epochs:g} epochs, then "
            f"{finalists} finalists {self._how_often(replicates)}"
            if finalists
            else f"{explore} configurations of up to {settings.epochs:g} epochs"
        )
        self._go_on(math.inf)
        while not self._stop() and not at.confirmed:
            size = self._share(explore - self.ledger.count("explore"))
            configs = at.queue or self.ask(size)
            if configs:
                self._explore(configs, settings.epochs, limit=explore)
            elif not self._wait("explore"):
                break
        self.ledger.merge()
        ranked = self.ledger.ranked()[:finalists]
        if ranked and finalists and not at.confirmed and not self._stop():
            self._confirm(ranked, replicates, settings.epochs)
        return f"all {len(self.ledger.trials)} trials are done"

    def _run_seconds(self) -> str:
        """Spend a budget of time, and return why the study ended."""
        settings, ledger, time, at = self.settings, self.ledger, self.time, self.at
        if not at.plan:
            self._plan_time()
        epochs = at.plan["epochs"]
        self.listener.plan(
            f"brackets of about {at.plan['first_bracket']} configurations of up to {epochs:g} "
            f"epochs ({at.speed * epochs * 1000:.3g} ms each), then {settings.num_finalists} "
            f"finalists {self._how_often(settings.num_replicates)}; {time.clock.left():.0f} s left"
        )
        limit = settings.budget.trials or math.inf
        time.set_aside = time.confirm_seconds(epochs * at.speed)
        self._go_on(time.clock.elapsed() + time.bracket_seconds(1, 0))
        while not at.reason:
            # Exploring stops where confirming has to begin, in the middle of a rung if need be.
            time.set_aside = time.confirm_seconds(epochs * at.speed)
            share = time.bracket_seconds(at.brackets, at.plan["bracket"])
            size = bracket_size(settings, share / at.speed, epochs, self.engines.most_members())
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
        at.plan |= self.time.divide(at.speed, self.engines.most_members())

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
        groups = self.engines.groups(
            [t.config for t in trials], [t.seed for t in trials], [t.fold for t in trials], epochs
        )
        tasks = [task for _, c in groups for task in c.tasks(c.total_steps, self.interrupted)]
        run_tasks(tasks, self.engines.pool, self.engines.workers)
        for members, cohort in groups:
            cohort.finish()
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
        limit: int | None = None,
    ) -> None:
        """Train Configs by successive halving.

        Args:
            configs: what to train.
            epochs: epochs of a full training.
            until: ``clock.elapsed()`` by which the bracket should be over.
            limit: trials that all processes together may explore.
        """
        settings, num = self.settings, len(configs)
        num_rungs = num_rungs_for(num, epochs, settings.reduction_factor, settings.shortest_rung)
        levels = rungs(epochs, settings.reduction_factor, num_rungs if settings.halving else 1)
        seeds = [settings.seed] * num
        self._train(self._open("explore", configs, seeds, [None] * num, levels, limit), until)

    def _confirm(self, finalists: Sequence[Trial], replicates: int, epochs: float) -> None:
        """Train finalists again under fresh seeds, each seed on a fold of its own, all at once."""
        numbers = [r for _ in finalists for r in range(replicates)]
        while True:
            bracket = self._open(
                "confirm",
                [t.config for t in finalists for _ in range(replicates)],
                [self.settings.seed + 1 + r for r in numbers],
                [r % len(self.folds) if self.folds else None for r in numbers],
                [epochs],
            )
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
        limit: int | None = None,
    ) -> Bracket:
        """Return a bracket of Configs that are ready to train, each with its trial."""
        settings, ledger = self.settings, self.ledger
        groups = self.engines.groups(configs, seeds, folds, levels[-1], self._stop)
        trials = ledger.open(groups, configs, seeds, folds, phase, limit)
        only(groups, trials)
        self.at.queue = []
        return Bracket(
            phase=phase,
            configs=list(configs),
            seeds=list(seeds),
            folds=list(folds),
            full=levels[-1],
            levels=levels,
            factor=settings.reduction_factor,
            num_audit=settings.num_audit,
            rng=np.random.default_rng([0xA0D17, settings.seed, len(ledger.trials)]),
            num_rungs=len(levels),
            groups=groups,
            trials=trials,
            alive=sorted(trials),
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
        clock, ledger, at = self.time.clock, self.ledger, self.at
        opened, before = clock.elapsed(), ledger.member_epochs
        self._save(bracket)
        going = self._catch_up(bracket)
        while going:
            took = self._advance(bracket)
            if bracket.phase != "confirm":
                self.searcher = self.searcher.tell(*bracket.news())
            if self._stop() or bracket.is_last:
                break
            going = bracket.judge(took, until - clock.elapsed())
            if going:
                self._save(bracket)
        if self.interrupted():
            return
        self._count_audit(bracket)
        if bracket.phase == "confirm":
            at.confirmed = True
        else:
            at.brackets += 1
            now = max((t.rank for t in ledger.trials), default=-math.inf)
            at.stale = 0 if now > at.best else at.stale + 1
            at.best = max(at.best, now)
            spent = ledger.member_epochs - before
            if spent > 0:
                at.speed = (clock.elapsed() - opened) / spent
        self._save(bracket, over=True)
        ledger.close(bracket.trials.values())

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
        for left in range(self._num_checkpoints(bracket), 0, -1):
            before, epochs = clock.elapsed(), ledger.member_epochs
            moved, member_steps = self._move(bracket, bracket.level, 1.0 / left)
            for members, cohort in moved:
                for k in cohort.members:
                    ledger.note(bracket.trials[members[k]], cohort, k, bracket.rung)
            took = max(clock.elapsed() - before, 1e-9)
            self.pace = took / max(ledger.member_epochs - epochs, 1e-9)
            self._tell(bracket.phase, bracket.label, member_steps / took)
            ledger.keep_weights(bracket.groups, bracket.trials)
            if left == 1 or self._stop():
                break
            self._save(bracket)
        return clock.elapsed() - start

    def _num_checkpoints(self, bracket: Bracket) -> int:
        """Return in how many parts a rung is trained, each of about a minute."""
        pace = self.pace or self.at.speed
        seconds = 0.0
        for _, cohort in bracket.groups:
            engine, structure = cohort.engine, cohort.structure
            own = pace or self.engines.step_seconds(structure) * engine.data.num_rows
            done = cohort.step / engine.steps(structure, 1.0)
            seconds += len(cohort.members) * max(bracket.level - done, 0.0) * own
        if not pace:
            seconds /= self.engines.workers
        return max(1, int(seconds / CHECKPOINT_SECONDS))

    def _move(self, bracket: Bracket, level: float, part: float = 1.0) -> tuple[list[Group], int]:
        """Take a bracket some of the way to so many epochs.

        Args:
            bracket: what trains.
            level: epochs where the way ends.
            part: how much of the way; but for all of it, it ends at an evaluation.

        Returns:
            Who had any way to go, and the steps taken, summed over members.
        """
        if self.at.train_start is None:
            self.at.train_start = self.time.clock.elapsed()
        tasks: list[Callable[[], None]] = []
        moved, before = [], 0
        for group in bracket.groups:
            cohort = group.cohort
            target = cohort.engine.steps(cohort.structure, level)
            if part < 1.0:
                every = cohort.steps_per_evaluation
                target = int((cohort.step + part * (target - cohort.step)) // every) * every
            if cohort.members and target > cohort.step:
                tasks += cohort.tasks(target - cohort.step, self._stop)
                moved.append(group)
                before += len(cohort.members) * cohort.step
        run_tasks(tasks, self.engines.pool, self.engines.workers)
        for group in moved:
            group.cohort.finish()
        return moved, sum(len(c.members) * c.step for _, c in moved) - before

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
