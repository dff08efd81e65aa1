"""The engines of a study: which one trains a Config, and the cohorts that they make."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from thalweg.models import InputShape
from thalweg.optim.external import EXTERNAL
from thalweg.space import Config, Structure
from thalweg.study.pacing import MAX_BRACKET
from thalweg.task import Task
from thalweg.training import backend
from thalweg.training.buckets import MOST_BUCKETS
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.plan import Plan, estimated_step_seconds
from thalweg.training.scalars import features_of
from thalweg.training.side_by_side import run_tasks

BUCKET_SECONDS = 60.0
"""Budget that a length which is compiled for should have: a Transformer's takes 7 s of one core."""


class Group(NamedTuple):
    """Configs of one structure and fold.

    Attributes:
        members: their indices among the Configs that were asked for.
        cohort: where they train, in that order.
    """

    members: list[int]
    cohort: Cohort


def structure_of(config: Config) -> Structure:
    """Return the part of a Config that a program is compiled for."""
    return config.structure(tuple(EXTERNAL))


def only(groups: Sequence[Group], indices: Container[int]) -> None:
    """Let only the Configs with these indices train."""
    for members, cohort in groups:
        own = [k for k, i in enumerate(members) if i in indices]
        if len(own) < len(members):
            cohort.select(own)


class Engines:
    """One engine for the rules of the table and one for each structural optimizer, fold by fold.

    Args:
        data: arrays to train and choose on.
        folds: other splits of the same rows, for finalists; all of the same shapes.
        task: what is predicted.
        inputs: what the networks read.
        sample: Configs that between them show every discrete value of the space.
        memory: bytes that training rows may take; by default what suits the machine now.
        plans: how structures were laid out before a crash.
        seconds: the time budget, where there is one: with little time steps are compiled for fewer
            lengths of texts.

    Attributes:
        memory: bytes that training rows may take, once there is an engine.
        structures: all that the sample holds, in its order.
        pool: the threads that compile and train, once there are any.
        notices: what the user should know.
    """

    def __init__(
        self,
        data: TrainingData,
        folds: Sequence[TrainingData],
        task: Task,
        inputs: InputShape,
        sample: Sequence[Config],
        memory: int | None = None,
        plans: Mapping[Structure, Plan] | None = None,
        seconds: float | None = None,
    ) -> None:
        self.data, self.folds, self.task, self.inputs = data, list(folds), task, inputs
        self.sample, self.memory, self._plans = list(sample), memory, dict(plans or {})
        self._most_buckets = MOST_BUCKETS
        if seconds is not None:
            self._most_buckets = min(MOST_BUCKETS, max(1, int(seconds / BUCKET_SECONDS)))
        self.pool: ThreadPoolExecutor | None = None
        self.notices: list[str] = []
        self.structures = list(dict.fromkeys(structure_of(config) for config in self.sample))
        self._engines: dict[str | None, Engine] = {}
        self._fold_engines: dict[tuple[str | None, int], Engine] = {}

    def first(self) -> Engine:
        """Return the engine that is needed first: of the table's rules where there are any."""
        found = {structure.external for structure in self.structures}
        return self.of(min(found, key=lambda name: (name is not None, name or "")))

    def of(self, external: str | None) -> Engine:
        """Return the engine for table rules (None) or for one structural optimizer."""
        if external not in self._engines:
            own = [c for c in self.sample if structure_of(c).external == external]
            features = features_of(own, self.task, row_weight=self.data.weight is not None)
            engine = Engine(
                self.data,
                self.task,
                self.inputs,
                features,
                memory=self.memory,
                most_buckets=self._most_buckets,
            )
            engine.plans.update(self._plans)
            self.memory = engine.memory
            self._engines[external] = engine
            total = len(self.data.validation_target)
            notice = (
                f"trials are judged on {engine.num_validation:,} of {total:,} validation rows, "
                "as many as memory has room for; the winner is scored on all"
            )
            if engine.num_validation < total and notice not in self.notices:
                self.notices.append(notice)
        return self._engines[external]

    def of_fold(self, external: str | None, fold: int | None) -> Engine:
        """Return the engine that leaves a fold out (None: on the fixed split).

        The engines of all folds share their programs.
        """
        if fold is None:
            return self.of(external)
        key = (external, fold)
        if key not in self._fold_engines:
            self._fold_engines[key] = self.of(external).with_data(self.folds[fold])
        return self._fold_engines[key]

    @property
    def workers(self) -> int:
        """Blocks that are trained side by side."""
        return self.first().workers

    @property
    def plans(self) -> dict[Structure, Plan]:
        """How every structure that was compiled is laid out."""
        found = dict(self._plans)
        for engine in self._engines.values():
            found |= engine.plans
        return found

    @property
    def compile_seconds(self) -> float:
        """Seconds spent compiling, summed over programs."""
        engines = [*self._engines.values(), *self._fold_engines.values()]
        return sum(engine.compile_seconds for engine in engines)

    @property
    def wait_seconds(self) -> float:
        """Seconds in which training waited for rows from disk."""
        waited = sum(e.feed.wait_seconds for e in self._engines.values() if e.feed)
        return waited / self.workers

    def groups(
        self,
        configs: Sequence[Config],
        seeds: Sequence[int],
        folds: Sequence[int | None],
        epochs: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[Group]:
        """Group Configs by structure and fold, and compile side by side what is missing.

        Args:
            configs: what is going to train.
            seeds: the seed of each.
            folds: the fold that each leaves out, None for the fixed split.
            epochs: of a full training.
            stop: asked before each structure; those that come after a True have no group.
        """
        own: dict[tuple[Structure, int | None], list[int]] = {}
        for i, config in enumerate(configs):
            own.setdefault((structure_of(config), folds[i]), []).append(i)
        made: dict[tuple[Structure, int | None], Cohort] = {}

        def make(key: tuple[Structure, int | None]) -> None:
            if stop():
                return
            (structure, fold), members = key, own[key]
            engine = self.of_fold(structure.external, fold)
            made[key] = Cohort(
                engine,
                [configs[i] for i in members],
                [seeds[i] for i in members],
                engine.steps(structure, epochs),
                max(1, round(engine.steps(structure, epochs) / engine.evaluations(epochs))),
                # Not if that meant compiling once more what is compiled for several.
                alone=len(configs) == 1 and structure not in engine.plans,
            )

        # One of each structure first: the others find its program compiled.
        ahead = {(structure, fold is None): (structure, fold) for structure, fold in own}
        for structure, fold in own:
            self.of_fold(structure.external, fold)
        for keys in (list(ahead.values()), [k for k in own if k not in set(ahead.values())]):
            run_tasks([lambda k=k: make(k) for k in keys], self.pool, self.workers)
        return [Group(members, made[key]) for key, members in own.items() if key in made]

    def step_seconds(self, structure: Structure) -> float:
        """Return a rough guess of the seconds that a row takes in training."""
        engine = self.of(structure.external)
        size = engine.batch_size(structure)
        return estimated_step_seconds(engine.network(structure), size, engine.platform) / size

    def most_members(self) -> int:
        """Return how many members of the space's largest network fit into memory at once."""
        largest = max(self.of(s.external).member_bytes(s) for s in self.structures)
        resident = max(engine.resident_bytes for engine in self._engines.values())
        free = backend.available_bytes() - resident
        return int(min(MAX_BRACKET, max(1, 0.8 * free / largest)))
