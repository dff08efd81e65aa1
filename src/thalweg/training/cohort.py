"""Many members at once.

A ``Cohort`` is K members of one structure on an ``Engine``; ``advance`` takes them some steps
further, with an evaluation now and then, and ``select`` drops the others. Members are trained in
blocks that are independent of each other, so that a member's result does not depend on its
neighbours, and several blocks run side by side.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from thalweg.errors import RunError, SpaceError
from thalweg.models import count_params
from thalweg.models.base import cuts_of
from thalweg.optim.external import EXTERNAL
from thalweg.optim.schedules import PlateauState, plateau_init, plateau_update
from thalweg.space import Config
from thalweg.training import sharing
from thalweg.training.backend import to_device
from thalweg.training.engine import Engine, initial_carry
from thalweg.training.member import Carry, Record
from thalweg.training.plan import Plan
from thalweg.training.scalars import (
    batch_indices,
    constants_of,
    numeric_columns,
    scalars_of,
    schedule_of,
)
from thalweg.training.side_by_side import run_tasks

TABLE_BYTES = 64 << 20


@dataclass
class Curve:
    """What a member's evaluations yielded, one entry each."""

    step: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    probe_loss: list[float] = field(default_factory=list)


_CURVES = ("step", "train_loss", "validation_loss", "validation", "train", "probe_loss")


@dataclass
class _Block:
    members: list[int]
    slots: list[int]
    carry: Any
    keys: np.ndarray
    seeds: list[int]
    num_groups: int
    # Scalars of the steps from window_start to window_stop, [T, members, C].
    scalars: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))
    window_start: int = 0
    window_stop: int = -1


class Cohort:
    """K Configs of one structure that train together.

    Args:
        engine: data and compiled programs.
        configs: of all members.
        seeds: of each.
        total_steps: of a full training, which schedules go by.
        steps_per_evaluation: between evaluations.
        alone: nothing else trains meanwhile; the batches of a single member are then shared out
            over the cores where that pays.

    Attributes:
        configs: each member's Config.
        seeds: each member's seed.
        curves: each member's evaluations so far.
        alive: whether each member is still finite, bool [K].
        best_score: best score of each member so far, [K]: the signed metric (more is better), with
            ties between counts of right rows broken by the loss.
        best_step: the step at which it was reached, [K].
        seconds: time spent on each member, [K].
    """

    def __init__(
        self,
        engine: Engine,
        configs: Sequence[Config],
        seeds: Sequence[int],
        total_steps: int,
        steps_per_evaluation: int,
        *,
        alone: bool = False,
    ) -> None:
        external = tuple(EXTERNAL)
        structures = {c.structure(external) for c in configs}
        if len(structures) != 1:
            names = ", ".join(sorted(s.name for s in structures))
            raise SpaceError(f"the members of a cohort share one structure; got {names}")
        self.engine = engine
        self.structure = structures.pop()
        self.configs, self.seeds = list(configs), list(seeds)
        self.total_steps = total_steps
        self.steps_per_evaluation = max(1, min(steps_per_evaluation, total_steps))
        self.batch_size = engine.batch_size(self.structure)
        if self.structure.normalisation == "batch" and self.batch_size == 1:
            raise SpaceError(
                "batch normalisation needs batches of two rows or more; got batch_size=1: "
                "use normalisation='layer'"
            )
        every = self.steps_per_evaluation
        made = engine.compiled(self.structure, len(configs), every, alone=alone)
        self.member, self.plan, self._program = made.member, made.plan, made.advance
        self.num_params = count_params(self.member.network)
        num = len(configs)
        self.step = 0
        self.curves = [Curve() for _ in range(num)]
        self.alive = np.ones(num, bool)
        self.best_score = np.full(num, -np.inf)
        self.best_step = np.zeros(num, int)
        self.seconds = np.zeros(num)
        self._plateau = plateau_init(num)
        self._unmeasured = 0
        self._constants = constants_of(
            self.configs, engine.task, engine.features, engine.class_share
        )
        carry = initial_carry(self.member, self.configs, self.seeds, engine)
        self._blocks = self._lay_out(list(range(num)), carry)

    # ------------------------------------------------------------------------------------ blocks

    def _lay_out(self, members: list[int], carry: Any) -> list[_Block]:
        """Put members (rows of the host arrays of ``carry``, in order) into blocks."""
        plan = self.plan
        groups: list[list[int]] = []
        by_seed: dict[int, list[int]] = {}
        for position, member in enumerate(members):
            by_seed.setdefault(self.seeds[member], []).append(position)
        for own in by_seed.values():
            groups += [own[i : i + plan.width] for i in range(0, len(own), plan.width)]
        # As even as possible: two blocks of two rather than one of three and one of one.
        num_blocks = -(-len(groups) // plan.groups)
        num_blocks = min(len(groups), max(num_blocks, min(self.engine.workers, len(groups))))
        blocks = []
        for block in np.array_split(np.arange(len(groups)), num_blocks) if groups else []:
            chosen = [groups[i] for i in block]
            slots, rows = [], []
            for g, group in enumerate(chosen):
                for w, position in enumerate(group):
                    slots.append(g * plan.width + w)
                    rows.append(position)
            source = np.full(plan.block, rows[0])
            source[slots] = rows
            take = _take_rows(source, plan)
            seeds = [self.seeds[members[group[0]]] for group in chosen]
            padded = seeds + [seeds[0]] * (plan.groups - len(seeds))
            keys = np.array([_seed_key(seed) for seed in padded], np.uint32)
            blocks.append(
                _Block(
                    members=[members[r] for r in rows],
                    slots=slots,
                    carry=jax.tree.map(take, carry),
                    keys=keys,
                    seeds=padded,
                    num_groups=len(chosen),
                )
            )
        return blocks

    @property
    def members(self) -> list[int]:
        """Indices of the members that still train."""
        return [m for block in self._blocks for m in block.members]

    def select(self, keep: Iterable[int]) -> None:
        """Go on with these members only."""
        members, carry = self._host_carry(keep)
        self._blocks = self._lay_out(members, carry) if members else []

    def _host_carry(self, keep: Iterable[int]) -> tuple[list[int], Any]:
        """Return those of these members that still train, in order, and their rows of the carry."""
        wanted = set(keep)
        members, carries = [], []
        for block in self._blocks:
            own = [(m, s) for m, s in zip(block.members, block.slots, strict=True) if m in wanted]
            if not own:
                continue
            members += [m for m, _ in own]
            rows = np.array([s for _, s in own])
            host = _host_rows(rows, self.plan)
            carries.append(jax.tree.map(host, block.carry))
        if not members:
            return [], None

        def join(*parts: np.ndarray) -> np.ndarray:
            return np.concatenate(parts)

        carry = jax.tree.map(join, *carries)
        order = np.argsort(members, kind="stable")
        return [members[i] for i in order], jax.tree.map(lambda a: a[order], carry)

    def exchange(self, sources: Mapping[int, int], configs: Mapping[int, Config]) -> None:
        """Let members go on from others' weights, and with other Configs.

        A gather along the member axis: parameters, optimizer state, best weights and curves come
        along, random numbers and data order stay those of the seed.

        Args:
            sources: for a member, the one whose place in training it takes over; of the same seed.
            configs: for a member, the Config that it goes on with; of the same structure.

        Raises:
            SpaceError: where a Config is of another structure, or a source of another seed.
        """
        external = tuple(EXTERNAL)
        for member, config in configs.items():
            if config.structure(external) != self.structure:
                raise SpaceError(
                    f"a member keeps its structure {self.structure.name}; "
                    f"got {config.structure(external).name}"
                )
            self.configs[member] = config
        for member, source in sources.items():
            if self.seeds[member] != self.seeds[source]:
                raise SpaceError(
                    "weights are exchanged within a seed; "
                    f"got seeds {self.seeds[member]} and {self.seeds[source]}"
                )
        members = self.members
        carries = [
            jax.tree.map(_host_rows(np.array(block.slots), self.plan), block.carry)
            for block in self._blocks
        ]

        def join(*parts: np.ndarray) -> np.ndarray:
            return np.concatenate(parts)

        carry = jax.tree.map(join, *carries)
        rows = np.array([members.index(sources.get(m, m)) for m in members])
        carry = jax.tree.map(lambda a: a[rows], carry)
        from_whom = np.array([sources.get(m, m) for m in range(len(self.configs))])
        self.curves = [copy.deepcopy(self.curves[s]) for s in from_whom]
        self.alive, self.best_score = self.alive[from_whom], self.best_score[from_whom]
        self.best_step = self.best_step[from_whom]
        self._plateau = jax.tree.map(lambda a: a[from_whom], self._plateau)
        self._constants = constants_of(
            self.configs, self.engine.task, self.engine.features, self.engine.class_share
        )
        order = np.argsort(members, kind="stable")
        carry = jax.tree.map(lambda a: a[order], carry)
        self._blocks = self._lay_out([members[i] for i in order], carry)

    def best_validation(self, member: int) -> float:
        """Return a member's validation score at its best evaluation; NaN where it has none."""
        if not np.isfinite(self.best_score[member]):
            return float("nan")
        curve = self.curves[member]
        return float(curve.validation[curve.step.index(int(self.best_step[member]))])

    def weights(self, member: int, *, best: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return one member's parameters and state, as host arrays.

        Args:
            member: its index; it must still be in the cohort.
            best: those of its best evaluation, rather than the latest.
        """
        for block in self._blocks:
            if member in block.members:
                slot = block.slots[block.members.index(member)]
                host = _host_rows(np.array([slot]), self.plan)
                own = jax.tree.map(lambda a, host=host: host(a)[0], block.carry)
                params, state = own.best if best else (self._latest(block, member, own), own.state)
                return self.member.packing.unpack(params), state
        raise KeyError(f"member {member} has left the cohort")

    def _latest(self, block: _Block, member: int, carry: Carry) -> Any:
        """Return the (packed) weights that a member predicts with now."""
        if not len(block.scalars):
            return carry.params
        row = block.scalars[-1, block.members.index(member)]
        weights = self.member.weights(carry, self.member.scalars(row))
        return jax.tree.map(np.asarray, weights)

    # ---------------------------------------------------------------------------------- checkpoints

    def snapshot(self) -> dict[str, np.ndarray]:
        """Return all that is needed to go on from here, as host arrays by name."""
        members, carry = self._host_carry(range(len(self.configs)))
        found = {
            "members": np.array(members, np.int64),
            "step": np.array(self.step, np.int64),
            "alive": self.alive.copy(),
            "best_score": self.best_score.copy(),
            "best_step": self.best_step.copy(),
            "seconds": self.seconds.copy(),
        }
        for name, values in self._plateau._asdict().items():
            found[f"plateau.{name}"] = np.array(values)
        for name in _CURVES:
            own = [getattr(self.curves[member], name) for member in members]
            found[f"curve.{name}.length"] = np.array([len(values) for values in own], np.int64)
            found[f"curve.{name}"] = np.array([v for values in own for v in values], np.float64)
        for number, leaf in enumerate(jax.tree.leaves(carry)):
            found[f"carry.{number}"] = leaf
        return found

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Go on from what ``snapshot`` of a cohort of the same Configs returned.

        Raises:
            RunError: where it is of other members.
        """
        like, treedef = jax.tree.flatten(self._blocks[0].carry if self._blocks else None)
        members = saved["members"].tolist()
        leaves = [saved.get(f"carry.{number}") for number in range(len(like))]
        lead = 1 if self.plan.width == 1 else 2
        fits = len(saved["alive"]) == len(self.configs) and all(
            own is not None and own.dtype == leaf.dtype and own.shape[1:] == leaf.shape[lead:]
            for own, leaf in zip(leaves, like, strict=True)
        )
        if not fits:
            raise RunError("the checkpoint is of other members than this cohort's")
        self.step = int(saved["step"].item())
        self.alive = saved["alive"].copy()
        self.best_score = saved["best_score"].copy()
        self.best_step = saved["best_step"].copy()
        self.seconds = saved["seconds"].copy()
        self._plateau = PlateauState(
            *(saved[f"plateau.{name}"].copy() for name in PlateauState._fields)
        )
        for name in _CURVES:
            ends = np.cumsum(saved[f"curve.{name}.length"])[:-1]
            kind = int if name == "step" else float
            for member, own in zip(members, np.split(saved[f"curve.{name}"], ends), strict=True):
                setattr(self.curves[member], name, [kind(v) for v in own.tolist()])
        self._blocks = self._lay_out(members, jax.tree.unflatten(treedef, leaves))

    # ------------------------------------------------------------------------------------ training

    def tasks(
        self, num_steps: int, stop: Callable[[], bool] = lambda: False
    ) -> list[Callable[[], None]]:
        """Return one callable for each block; together they take all members ``num_steps`` further.

        They may run in any order and side by side. Call ``finish`` when all are done.

        Args:
            num_steps: steps from where the cohort stands.
            stop: asked between evaluations; True ends the work early.
        """
        segments = self._segments(num_steps)
        self._target_step = self.step + num_steps
        self._reached: list[int] = []
        return [lambda block=block: self._run(block, segments, stop) for block in self._blocks]

    def finish(self) -> None:
        """Note that the tasks of ``tasks`` are done."""
        self.step = min(self._reached, default=self._target_step)

    def advance(
        self,
        num_steps: int,
        pool: ThreadPoolExecutor | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take all members ``num_steps`` further, evaluating on the way and at the end."""
        run_tasks(self.tasks(num_steps, stop), pool, self.engine.workers)
        self.finish()

    def _segments(self, num_steps: int) -> list[tuple[int, int, int]]:
        """Cut steps into calls: (first step, steps, steps since the last evaluation or 0)."""
        segments = []
        step, stop, since = self.step, self.step + num_steps, 0
        while step < stop:
            every = self.steps_per_evaluation
            target = min(stop, (step // every + 1) * every)
            length = min(target - step, self.plan.table_steps)
            since += length
            evaluate = step + length == target
            segments.append((step, length, since if evaluate else 0))
            since = 0 if evaluate else since
            step += length
        return segments

    def _run(
        self, block: _Block, segments: list[tuple[int, int, int]], stop: Callable[[], bool]
    ) -> None:
        engine, plan = self.engine, self.plan
        full = self.batch_size == engine.data.num_rows
        reached = self.step
        zero_index = np.zeros((plan.groups, 1, 1), np.int32)
        feed = engine.feed
        for number, (first, length, since) in enumerate(segments):
            if stop() or not self.alive[block.members].any():
                reached = first if stop() else self._target_step
                break
            start = time.perf_counter()
            rows, evaluated = None, engine.evaluated
            if feed is None:
                rows, evaluated = engine.rows_everywhere(plan.parts)
            index = zero_index if full else self._indices(block, first, length)
            if feed is not None:
                size = plan.table_steps * self.batch_size
                ahead = segments[number + 1][:2] if number + 1 < len(segments) else None
                seed, by_length = block.seeds[0], self._by_length
                rows = feed.rows(seed, self.batch_size, (first, length), size, ahead, by_length)
                # The rows come in the order of their batches.
                index[:, :length] = np.arange(length * self.batch_size).reshape(length, -1)
            block.carry, records = self._program.call(
                block.carry,
                self._table(block, first, length),
                index,
                block.keys,
                np.int32(block.num_groups),
                np.int32(first),
                np.int32(length),
                np.int32(since),
                rows,
                evaluated,
            )
            if since:
                self._note(block, first + length, np.asarray(records))
            else:
                jax.block_until_ready(records)
            self.seconds[block.members] += (time.perf_counter() - start) / len(block.members)
            reached = first + length
        self._reached.append(reached)

    @property
    def _by_length(self) -> bool:
        """Whether batches hold rows of about one length, as short ones then cost less."""
        return bool(cuts_of(self.member.network)) and self.engine.data.row_lengths is not None

    def _indices(self, block: _Block, first: int, length: int) -> np.ndarray:
        buckets = self.engine.buckets
        width = self.batch_size + (buckets is not None)
        index = np.zeros((self.plan.groups, self.plan.table_steps, width), np.int32)
        rows = self.engine.data.num_rows
        made: dict[int, np.ndarray] = {}
        for g, seed in enumerate(block.seeds[: block.num_groups]):
            if seed in made:
                pass
            elif buckets is not None:
                chosen, which = buckets.batches(seed, self.batch_size, first, length)
                made[seed] = np.concatenate([chosen, which[:, None]], axis=1)
            else:
                lengths = self.engine.data.row_lengths if self._by_length else None
                made[seed] = batch_indices(seed, rows, self.batch_size, first, length, lengths)
            index[g, :length] = made[seed]
        return index

    def _table(self, block: _Block, first: int, length: int) -> np.ndarray:
        """Return the per-step scalars of a block, [groups, table_steps, width, C]."""
        plan = self.plan
        if not block.window_start <= first <= first + length <= block.window_stop:
            self._compute_window(block, first, length)
        start = first - block.window_start
        scalars = block.scalars[start : start + length]
        table = np.zeros((plan.block, plan.table_steps, scalars.shape[-1]), np.float32)
        table[block.slots, :length] = np.swapaxes(scalars, 0, 1)
        rate = self.engine.features.columns.index("learning_rate")
        table[block.slots, :length, rate] *= self._plateau.scale[block.members][:, None]
        table = table.reshape(plan.groups, plan.width, plan.table_steps, -1)
        return np.ascontiguousarray(np.swapaxes(table, 1, 2))

    def _compute_window(self, block: _Block, first: int, length: int) -> None:
        """Compute a block's scalars up to the end of the work at hand, or as far as memory allows.

        Computing them costs about the same for ten steps as for a thousand.
        """
        members, features = block.members, self.engine.features
        configs = [self.configs[m] for m in members]
        most = TABLE_BYTES // (8 * len(members) * len(features.columns))
        num_steps = min(self._target_step - first, max(most, length))
        schedule = schedule_of(configs, first, num_steps, self.total_steps)
        block.scalars = scalars_of(
            configs,
            [self.seeds[m] for m in members],
            features,
            {name: values[members] for name, values in self._constants.items()},
            schedule,
            first,
        )
        block.window_start, block.window_stop = first, first + num_steps

    def _note(self, block: _Block, step: int, records: np.ndarray) -> None:
        """Write an evaluation into the curves of a block's members."""
        flat = Record(*records.reshape(-1, records.shape[-1]).astype(np.float64).T)
        losses = flat.validation_loss
        for member, slot in zip(block.members, block.slots, strict=True):
            curve = self.curves[member]
            curve.step.append(step)
            curve.train_loss.append(float(flat.train_loss[slot]))
            curve.validation_loss.append(float(losses[slot]))
            curve.validation.append(float(flat.validation[slot]))
            curve.train.append(float(flat.probe[slot]))
            curve.probe_loss.append(float(flat.probe_loss[slot]))
            self.alive[member] = bool(flat.alive[slot])
            score = float(flat.score[slot])
            if self.alive[member] and score > self.best_score[member]:
                self.best_score[member], self.best_step[member] = score, step
        self._reduce_on_plateau(block, losses)

    def _reduce_on_plateau(self, block: _Block, losses: np.ndarray) -> None:
        plateau = [
            (m, s)
            for m, s in zip(block.members, block.slots, strict=True)
            if self.configs[m].get_or_default("schedule") == "reduce_on_plateau"
        ]
        if plateau:
            members = np.array([m for m, _ in plateau])
            configs = [self.configs[m] for m in members]
            own = PlateauState(*(values[members] for values in self._plateau))
            hp = numeric_columns(configs)
            new = plateau_update(own, losses[[s for _, s in plateau]], hp)
            for values, updated in zip(self._plateau, new, strict=True):
                values[members] = updated


def _seed_key(seed: int) -> int:
    return int(np.random.SeedSequence([0x5EED, seed]).generate_state(1)[0])


def _take_rows(source: np.ndarray, plan: Plan) -> Callable[[Any], jax.Array]:
    """Return a function that takes host rows and puts them on the device in a block's layout."""

    def take(a: np.ndarray) -> jax.Array:
        rows = np.asarray(a)[source]
        if plan.width > 1:
            rows = rows.reshape(plan.groups, plan.width, *rows.shape[1:])
        if plan.parts > 1:
            return jax.device_put(rows, sharing.everywhere(plan.parts))
        return to_device(rows)

    return take


def _host_rows(slots: np.ndarray, plan: Plan) -> Callable[[Any], np.ndarray]:
    """Return a function that reads some slots of a block back to the host."""

    def read(a: Any) -> np.ndarray:
        host = np.asarray(a)
        if plan.width > 1:
            host = host.reshape(plan.block, *host.shape[2:])
        return host[slots]

    return read
