"""Running a comparison: equal trials and equal steps for every arm, then the best of each anew.

All arms that differ in traced hyperparameters train as one program, side by side, on the same
batches with the same noise; nothing is dropped on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg.errors import BudgetError
from thalweg.models import InputShape
from thalweg.space import Config
from thalweg.study.budget import Clock
from thalweg.study.design import Design
from thalweg.study.engines import Engines
from thalweg.study.ledger import Ledger
from thalweg.study.listener import Listener, Silent
from thalweg.study.outcome import Weights
from thalweg.study.pacing import member_epoch_seconds
from thalweg.study.records import Phase, Trial
from thalweg.task import Task
from thalweg.training.feed import TrainingData
from thalweg.training.side_by_side import run_tasks

DEFAULT_POINTS = 16
LEAST_POINTS = 5
MOST_POINTS = 64
LEAST_SEEDS = 3
CONFIRM_SHARE = 0.4
FINISH_SECONDS = 2.5
SLACK = 1.25
"""What a training may cost more than measured before a time budget is at risk."""


@dataclass
class Arms:
    """What a comparison trained.

    Attributes:
        trials: every trial.
        explored: ids of the trials of each arm, in the order of the points, [arms][points].
        confirmed: ids of the trials of each arm's best, in the order of the seeds, [arms][seeds];
            empty for an arm none of whose trials had a score.
        weights: trained weights of the confirmed trials, by id.
        epochs: of every training.
        compile_seconds, train_seconds: what it cost.
        stopped: why it ended.
        notices: what the user should know.
    """

    trials: list[Trial]
    explored: list[list[int]]
    confirmed: list[list[int]]
    weights: dict[int, Weights]
    epochs: float
    compile_seconds: float = 0.0
    train_seconds: float = 0.0
    stopped: str = ""
    notices: list[str] = field(default_factory=list)


class Bench:
    """Trains Configs to the end, as few cohorts as there are structures.

    Args:
        data: arrays to train and choose on.
        task: what is predicted.
        inputs: what the networks read.
        sample: Configs that between them show every discrete value that will be trained.
        listener: told of progress.
        stop: asked between evaluations; True ends the work with what there is.
    """

    def __init__(
        self,
        data: TrainingData,
        task: Task,
        inputs: InputShape,
        sample: Sequence[Config],
        listener: Listener | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.engines = Engines(data, (), task, inputs, sample)
        self.ledger = Ledger(task, 1)
        self.listener, self.stop = listener or Silent(), stop

    def train(
        self, configs: Sequence[Config], seeds: Sequence[int], epochs: float, phase: Phase
    ) -> list[Trial]:
        """Train every Config under its seed to the end, and return their trials in order.

        Trials that ``stop`` cut off are ``stopped``; those that it left no time to compile are
        missing. The weights of confirming trials are kept in the ledger.

        Args:
            configs: what to train.
            seeds: of each.
            epochs: passes over the training rows.
            phase: why.
        """
        done: list[Trial] = []
        most, ledger = self.engines.most_members(), self.ledger
        for start in range(0, len(configs), most):
            part, own = configs[start : start + most], seeds[start : start + most]
            folds = [None] * len(part)
            groups = self.engines.groups(part, own, folds, epochs, self.stop)
            trials = ledger.open(groups, part, own, folds, phase)
            tasks = [t for _, c in groups for t in c.tasks(c.total_steps, self.stop)]
            run_tasks(tasks, self.engines.pool, self.engines.workers)
            for members, cohort in groups:
                cohort.finish()
                for k, place in enumerate(members):
                    ledger.note(trials[place], cohort, k, 0)
            ledger.keep_weights(groups, trials)
            done += [trials[i] for i in sorted(trials)]
            self._tell(phase)
        return done

    def speed(self, configs: Sequence[Config], epochs: float) -> float:
        """Compile every structure, and measure the mean seconds of a member-epoch.

        Raises:
            BudgetError: where there was no time to compile one.
        """
        engines = self.engines
        repeated = [c for c in configs for _ in range(4 * engines.workers)]
        num = len(repeated)
        seconds, weights = [], []
        for members, cohort in engines.groups(repeated, [0] * num, [None] * num, epochs, self.stop):
            kept = list(range(min(engines.workers * cohort.plan.width, len(members))))
            cohort.select(kept)
            seconds.append(member_epoch_seconds(cohort, len(kept), engines.pool))
            weights.append(len(members))
        if not seconds:
            raise BudgetError(
                "the budget was used up by compiling: give more time, or fewer levels"
            )
        return float(np.average(seconds, weights=weights))

    def _tell(self, phase: str) -> None:
        self.listener.update(
            phase=phase,
            trials_done=len(self.ledger.trials),
            total=None,
            best=self.ledger.best_score(),
            metric=self.ledger.task.metric,
            rung="",
            throughput=0.0,
            seconds_left=None,
        )


def run_arms(
    design: Design,
    data: TrainingData,
    task: Task,
    inputs: InputShape,
    clock: Clock,
    *,
    epochs: float,
    least_epochs: float,
    points: int | None,
    seeds: int,
    seed: int,
    listener: Listener | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Arms:
    """Train every arm at equally many points, and the best of each under fresh seeds.

    Args:
        design: the arms.
        data: arrays to train and choose on.
        task: what is predicted.
        inputs: what the networks read.
        clock: counts from the start of the work.
        epochs: passes over the training rows of every training.
        least_epochs: a time budget does not cut a training below so many.
        points: trials of each arm; from the time budget where None, 16 without one.
        seeds: fresh seeds of each arm's best.
        seed: seed of the points and of the first trainings.
        listener: told of progress.
        interrupted: asked between evaluations.

    Raises:
        BudgetError: where the time does not suffice for a comparison.
    """
    listener = listener or Silent()
    timed = clock.budget.seconds is not None
    reserve = FINISH_SECONDS + 0.04 * (clock.budget.seconds or 0.0)

    def stop() -> bool:
        return interrupted() or clock.left() < reserve

    wanted = points or (MOST_POINTS if timed else DEFAULT_POINTS)
    configs = design.points(wanted, seed)
    if all(len(own) == 1 or len(set(own)) == 1 for own in configs):
        configs = [own[:1] for own in configs]
    num, arms = len(configs[0]), len(configs)
    bench = Bench(data, task, inputs, [c for own in configs for c in own], listener, stop)
    engines, notices = bench.engines, bench.engines.notices
    with ThreadPoolExecutor(engines.workers, thread_name_prefix="thalweg") as engines.pool:
        if timed:
            speed = bench.speed([own[0] for own in configs], epochs)
            left = (clock.left() - reserve) / (SLACK * speed)
            least = min(LEAST_POINTS, num)
            room = left / (arms * (least + LEAST_SEEDS))
            if room < epochs:
                epochs, full = max(min(least_epochs, epochs), math.floor(10 * room) / 10), epochs
                notices.append(
                    f"every training is {epochs:g} epochs instead of {full:g}, so that {least} "
                    f"trials of each of the {arms} arms fit into the budget"
                )
            if room < 0.7 * epochs:
                needed = (clock.budget.seconds or 0.0) * epochs / max(room, 1e-9)
                raise BudgetError(
                    f"comparing {arms} arms takes about {10 * math.ceil(needed / 10):.0f} s here "
                    f"({least} trials of each, {LEAST_SEEDS} seeds): give a longer budget, or "
                    "fewer levels"
                )
            trainings = left / epochs / arms
            seeds = max(min(LEAST_SEEDS, seeds), min(seeds, int(CONFIRM_SHARE * trainings)))
        upto = "up to " if timed else ""
        listener.plan(
            f"{arms} arms, {upto}{num} trials of each ({epochs:g} epochs), then the best of each "
            f"under {seeds} fresh seeds"
        )
        start = clock.elapsed()
        explored: list[list[int]] = [[] for _ in range(arms)]
        # With a time budget in parts, each of which is known to fit before it begins.
        block = min(LEAST_POINTS, num) if timed else num
        done = 0
        while done < num and not stop():
            some = range(done, min(done + block, num))
            flat = [own[i] for i in some for own in configs]
            before = clock.elapsed()
            tried = bench.train(flat, [seed] * len(flat), epochs, "explore")
            if len(tried) < len(flat):
                break
            for arm in range(arms):
                explored[arm] += [t.id for t in tried[arm::arms]]
            done = some.stop
            training = SLACK * (clock.elapsed() - before) / len(flat)
            room = (clock.left() - reserve) / training - arms * seeds
            if timed:
                # As many again as there were, as far as what was measured has room for them.
                block = min(done, int(room / arms))
                if block < 1:
                    break
        trials = bench.ledger.trials
        best = [_best([trials[i] for i in own]) for own in explored]
        chosen = [arm for arm in range(arms) if best[arm] is not None]
        confirmed: list[list[int]] = [[] for _ in range(arms)]
        if seeds and chosen and not stop():
            again = [t.config for arm in chosen if (t := best[arm]) is not None]
            fresh = [seed + 1 + s for s in range(seeds)]
            repeated = [config for config in again for _ in fresh]
            replicates = bench.train(repeated, fresh * len(again), epochs, "confirm")
            if len(replicates) == len(repeated):
                for place, arm in enumerate(chosen):
                    confirmed[arm] = [t.id for t in replicates[place * seeds : (place + 1) * seeds]]
    stopped = f"all {len(trials)} trials are done"
    if interrupted():
        stopped = "interrupted: everything found so far is kept"
    elif any(t.status == "stopped" for t in trials):
        stopped = "the time budget is used up"
        notices.append("the time budget ended before every training did; those are left out")
    return Arms(
        trials,
        explored,
        confirmed,
        bench.ledger.weights,
        epochs,
        engines.compile_seconds,
        clock.elapsed() - start,
        stopped,
        notices,
    )


def _best(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the best validation score among those that ran to the end."""
    finished = [t for t in trials if t.status == "completed" and math.isfinite(t.score)]
    return max(finished, key=lambda t: (t.rank, -t.id), default=None)


def row_values(
    task: Task, outputs: np.ndarray, target: np.ndarray, metric: str
) -> np.ndarray | None:
    """Return each row's part in a metric that is a mean over rows, [N]; None for other metrics.

    For the root of a mean square it is the row's part to first order.

    Args:
        task: what is predicted.
        outputs: as ``Model.outputs`` gives them.
        target: the truth in the user's terms: values [N, T], classes [N] or distributions [N, C].
        metric: its name.
    """
    if task.kind == "regression":
        error = np.asarray(outputs, float) - np.asarray(target, float)
        if metric == "mae":
            return np.abs(error).mean(1)
        square = np.square(error).mean(1)
        if metric == "mse":
            return square
        if metric == "rmse":
            return square / max(2 * math.sqrt(float(square.mean())), 1e-300)
        return None
    if task.kind not in ("binary", "multiclass"):
        return None
    truth = np.asarray(target)
    label = (
        truth.argmax(1) if truth.ndim == 2 else (truth > 0.5 if task.kind == "binary" else truth)
    )
    label = np.asarray(label, int)
    probability = outputs[np.arange(len(label)), label]
    if metric == "accuracy":
        return (outputs.argmax(1) == label).astype(float)
    if metric == "log_loss" and truth.ndim == 1:
        return -np.log(np.clip(probability, 1e-15, 1.0))
    if metric == "brier" and truth.ndim == 1:
        return np.square(1.0 - probability)
    return None


def held_out_scores(
    arms: Arms, dataset: Any, part: Any, model_of: Callable[[Trial], Any]
) -> tuple[list[list[float]], np.ndarray | None]:
    """Score the confirmed trials on rows that chose nothing.

    Args:
        arms: what was trained.
        dataset: where the rows come from.
        part: the rows.
        model_of: makes the trained model of a trial.

    Returns:
        Scores [arms][seeds], NaN where there are none; and the covariance of the arms' scores over
        the sampling of rows, [arms, arms], or None where the metric is no mean over rows.
    """
    from thalweg.optim.metrics import score

    task, metric = dataset.task, dataset.task.metric
    truth = dataset.raw_target(part)
    scores: list[list[float]] = []
    parts: list[np.ndarray | None] = []
    for own in arms.confirmed:
        scores.append([])
        total: np.ndarray | None = None
        for i in own:
            if i not in arms.weights or arms.trials[i].status != "completed":
                scores[-1].append(math.nan)
                continue
            outputs = model_of(arms.trials[i]).outputs(part.fields)
            found = score(task, outputs, truth, scale=dataset.encoder.metric_scale)
            scores[-1].append(found.get(metric, math.nan))
            rows = row_values(task, outputs, truth, metric)
            if rows is not None:
                total = rows if total is None else total + rows
        parts.append(None if total is None else total / len(own))
    known = [rows for rows in parts if rows is not None]
    if not known or len(known[0]) < 2:
        return scores, None
    covariance = np.full((len(parts), len(parts)), np.nan)
    places = [arm for arm, rows in enumerate(parts) if rows is not None]
    covariance[np.ix_(places, places)] = np.atleast_2d(np.cov(np.stack(known))) / len(known[0])
    return scores, covariance


def summarise_arms(
    dataset: Any,
    settings: Any,
    design: Design,
    arms: Arms,
    clock: Clock,
    command: str | None,
) -> dict[str, Any]:
    """Return the summary of a comparison; its answers are added when they are known."""
    from collections import Counter

    from thalweg.study.model import Model
    from thalweg.study.summary import about_data

    inputs = InputShape.from_dict(dataset.input_shape).to_dict()

    def model_of(trial: Trial) -> Model:
        own = arms.weights[trial.id]
        return Model(
            dataset.encoder, own.structure, inputs, [(own.params, own.state)], trial.config
        )

    split = "test" if len(dataset.test) else "validation"
    scores, covariance = held_out_scores(arms, dataset, dataset.parts[split], model_of)
    entries = [
        {
            "name": arm.name,
            "levels": list(arm.levels),
            "explored": explored,
            "confirmed": confirmed,
            "scores": own,
            "space": {name: arm.space[name].to_dict() for name in arm.space.free},
        }
        for arm, explored, confirmed, own in zip(
            design.arms, arms.explored, arms.confirmed, scores, strict=True
        )
    ]
    return {
        **about_data(dataset),
        "comparison": {
            **design.to_dict(),
            "arms": entries,
            "split": split,
            "row_covariance": None if covariance is None else covariance.tolist(),
            "trials_each": min((len(own) for own in arms.explored), default=0),
            "seeds": max((len(own) for own in arms.confirmed), default=0),
            "epochs": arms.epochs,
        },
        "trials": dict(Counter(trial.status for trial in arms.trials)),
        "plan": {"epochs": arms.epochs, "stopped": arms.stopped},
        "seconds": {
            "total": round(clock.elapsed(), 3),
            "compile": round(arms.compile_seconds, 3),
            "train": round(arms.train_seconds, 3),
        },
        "budget_seconds": clock.budget.seconds,
        "seed": settings.seed,
        "command": command,
        "notices": [*dataset.notices, *arms.notices],
    }
