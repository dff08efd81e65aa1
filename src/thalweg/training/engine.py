"""One data set on the device, and the programs that are compiled for it.

What is compiled for a structure is the training of a *block* (see ``plan.py``): some steps of each
of its groups, then perhaps an evaluation. Here, and nowhere else, one member becomes many by
``vmap``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from thalweg.errors import SpaceError
from thalweg.models import InputShape, Network, build
from thalweg.nn.initialisers import initial_params
from thalweg.nn.noise import PartKey
from thalweg.optim import rules
from thalweg.space import Config, Structure
from thalweg.task import Task
from thalweg.training import backend, sharing
from thalweg.training.backend import to_device
from thalweg.training.buckets import MOST_BUCKETS, make_buckets
from thalweg.training.feed import KEPT_FETCHES, Feed, TrainingData
from thalweg.training.member import Carry, Features, Member, Record, Rows, step_key
from thalweg.training.plan import (
    CHUNK_BYTES,
    FLOPS_WORTH_SHARING,
    Plan,
    check_memory,
    make_plan,
    parts_of,
    step_flops,
)
from thalweg.training.programs import Program, compile_program, shapes_of
from thalweg.training.scalars import constants_of, numeric_columns

PROBE_ROWS = 2048
PROBE_IMAGES = 512
EVALUATIONS = 16
"""Evaluations in a full training, where they cost little beside it."""


@dataclass
class _Compiled:
    member: Member
    plan: Plan
    advance: Program


class Engine:
    """One data set on the device, and the programs compiled for it.

    Args:
        data: the arrays.
        task: what is predicted.
        inputs: what networks read.
        features: what every program must contain (``features_of`` all Configs of the study).
        workers: blocks trained side by side; by default what suits the hardware.
        memory: bytes that training rows may take on the device; beyond that they stay where they
            are (arrays mapped from a file, say) and are fetched a few steps ahead. By default half
            of what is available.
        most_buckets: lengths at most that a step is compiled for.
    """

    def __init__(
        self,
        data: TrainingData,
        task: Task,
        inputs: InputShape,
        features: Features,
        *,
        workers: int | None = None,
        memory: int | None = None,
        most_buckets: int = MOST_BUCKETS,
    ) -> None:
        backend.setup()
        self.data, self.task, self.inputs, self.features = data, task, inputs, features
        self.workers = workers or backend.num_workers()
        self.platform = jax.default_backend()
        self.memory = memory or backend.available_bytes() // 2
        self.most_buckets = most_buckets
        train_bytes = sum(a.nbytes for a in data.fields.values()) + data.target.nbytes
        self.feed = Feed(data, self.memory) if train_bytes > self.memory else None
        self.buckets = None
        if data.lengths and self.feed is None:
            arrays = {**data.fields, "target": data.target}
            longest = {name: arrays[name].shape[1] for name in data.lengths}
            self.buckets = make_buckets(data.lengths, longest, most_buckets)
        held_out = self._held_out_rows()
        self.num_validation = len(held_out)
        probe = self._probe_rows()
        # Rows that are fetched a few steps ahead need no place of their own.
        self.train = (
            Rows(
                {name: to_device(v) for name, v in data.fields.items()},
                to_device(data.target),
                None if data.weight is None else to_device(data.weight),
            )
            if self.feed is None
            else None
        )
        self.evaluated = Rows(
            {
                name: to_device(np.concatenate([data.validation_fields[name][held_out], v[probe]]))
                for name, v in data.fields.items()
            },
            to_device(np.concatenate([data.validation_target[held_out], data.target[probe]])),
        )
        self.class_share = self._class_share()
        self.compile_seconds = 0.0
        self.plans: dict[Structure, Plan] = {}
        self._compiled: dict[tuple[Structure, int, int], _Compiled] = {}
        self._everywhere: dict[int, tuple[Rows, Rows]] = {}
        self._lock = threading.Lock()

    def _held_out_rows(self) -> np.ndarray:
        """Return the validation rows that members are judged on: all that fit into memory."""
        num = len(self.data.validation_target)
        lengths = self.data.validation_fields.get("length")
        if lengths is not None:
            # Rows of one length are evaluated together.
            return self._fitting(np.argsort(lengths, kind="stable"))
        return self._fitting(np.arange(num))

    def _fitting(self, rows: np.ndarray) -> np.ndarray:
        num = len(rows)
        row_bytes = sum(a.nbytes for a in self.data.validation_fields.values()) / max(num, 1)
        fit = int(0.25 * self.memory / max(row_bytes, 1.0))
        if num <= fit:
            return rows
        rng = np.random.default_rng(0x5A1)
        return rows[np.sort(rng.choice(num, max(fit, 1), replace=False))]

    def _probe_rows(self) -> np.ndarray:
        """Return the training rows that measure the fit to the training set."""
        most = PROBE_IMAGES if self.inputs.image else PROBE_ROWS
        num = min(self.data.num_rows, self.num_validation, most)
        rng = np.random.default_rng(0x9B0B)
        rows = np.sort(rng.choice(self.data.num_rows, num, replace=False))
        lengths = self.data.row_lengths
        return rows if lengths is None else rows[np.argsort(lengths[rows], kind="stable")]

    @property
    def resident_bytes(self) -> int:
        """Bytes that the data takes while training."""
        evaluated = sum(a.nbytes for a in jax.tree.leaves(self.evaluated))
        if self.feed is None:
            return int(sum(a.nbytes for a in jax.tree.leaves(self.train)) + evaluated)
        return int(2 * KEPT_FETCHES * self.feed.most_bytes + evaluated)

    def _class_share(self) -> np.ndarray | None:
        """Return the share of each class among the training rows; None but for classification."""
        if self.task.kind not in ("binary", "multiclass"):
            return None
        target = self.data.target
        if target.ndim == 2:
            return target.mean(0)
        counts = np.bincount(target.astype(np.int64), minlength=max(len(self.task.classes), 2))
        return counts / counts.sum()

    def with_data(self, data: TrainingData) -> Engine:
        """Return an engine on other rows that shares this one's programs where shapes allow."""
        other = Engine(
            data,
            self.task,
            self.inputs,
            self.features,
            workers=self.workers,
            memory=self.memory,
            most_buckets=self.most_buckets,
        )
        same = shapes_of((other.train, other.evaluated)) == shapes_of((self.train, self.evaluated))
        if same:
            # The same lengths, which the program is compiled for; its last holds every row.
            lengths = dict(data.lengths or {})
            known = self.buckets
            other.buckets = known and replace(known, lengths=lengths, pools={})
            other._compiled, other._lock = self._compiled, self._lock
            other.plans = self.plans
        return other

    def network(self, structure: Structure) -> Network:
        """Return the network of a structure for this data."""
        return build(structure, self.inputs, self.task.num_outputs)

    def batch_size(self, structure: Structure) -> int:
        """Return the rows in a step: the structure's, or all where there are no more."""
        if structure.batch_size == "full":
            if self.feed is not None:
                raise SpaceError(
                    "full batches need all rows in memory and these do not fit: give batch_size a "
                    "number"
                )
            return self.data.num_rows
        return min(int(structure.batch_size), self.data.num_rows)

    def evaluations(self, epochs: float) -> int:
        """Return how often a training of so many epochs is evaluated.

        An evaluated row costs about a third of a trained one. Evaluating takes a seventh of
        training at most, but a curve has at least four points.
        """
        trained = 3.0 * epochs * self.data.num_rows
        affordable = int(0.15 * trained / len(self.evaluated.target))
        return max(4, min(EVALUATIONS, affordable))

    def steps(self, structure: Structure, epochs: float) -> int:
        """Return the number of steps in so many epochs, at least one."""
        return max(1, round(epochs * self.data.num_rows / self.batch_size(structure)))

    def parts(self, structure: Structure) -> int:
        """Return how many cores share the batches of a network that trains alone."""
        if self.platform != "cpu" or self.workers == 1 or self.feed is not None:
            return 1
        cores = min(self.workers, jax.device_count())
        batch_size, kind = self.batch_size(structure), self.task.kind
        return parts_of(self.network(structure), self.features, kind, batch_size, cores)

    def plan(
        self,
        structure: Structure,
        num_members: int,
        steps_per_evaluation: int,
        *,
        alone: bool = False,
    ) -> Plan:
        """Return how a cohort of a structure would be laid out (``alone``: nothing beside it)."""
        network = self.network(structure)
        external = self.features.external
        num_slots = external.num_slots if external else len(self.features.uses.state)
        most_steps = None
        if self.feed is not None:
            most_steps = self.feed.steps(self.batch_size(structure))
        return make_plan(
            network,
            most_steps=most_steps,
            chunk_bytes=min(CHUNK_BYTES, max(1, self.memory // 8)),
            batch_size=self.batch_size(structure),
            num_members=num_members,
            steps_per_evaluation=steps_per_evaluation,
            evaluated_rows=len(self.evaluated.target),
            num_slots=num_slots + self.features.ema,
            workers=self.workers,
            platform=self.platform,
            parts=self.parts(structure) if alone and num_members == 1 else 1,
        )

    def member_bytes(self, structure: Structure) -> int:
        """Return the memory that one member of a structure takes."""
        return self.plan(structure, 1, 1).member_bytes

    def compiled(
        self,
        structure: Structure,
        num_members: int,
        steps_per_evaluation: int,
        *,
        alone: bool = False,
    ) -> _Compiled:
        """Return the program of a structure, compiled at the first request."""
        network = self.network(structure)
        plan = self.plan(structure, num_members, steps_per_evaluation, alone=alone)
        known_plan = self.plans.get(structure)
        if plan.parts == 1 and known_plan and known_plan.table_steps >= plan.table_steps:
            plan = known_plan
        with self._lock:
            for (known, _, parts), made in self._compiled.items():
                # A program for larger blocks serves fewer members too.
                fits = made.plan.table_steps >= plan.table_steps and parts == plan.parts
                if known == structure and fits:
                    return made
        resident = self.resident_bytes * (plan.parts + (plan.parts > 1))
        check_memory(plan, num_members, resident, self.workers, backend.available_bytes())
        member = Member(
            network,
            self.task,
            self.features,
            self.data.units,
            self.num_validation,
            plan.chunk,
            self.buckets.widths if self.buckets else (),
            plan.parts,
        )
        made = _Compiled(member, plan, self._compile(member, structure, plan))
        with self._lock:
            self.compile_seconds += made.advance.compile_seconds
            self._compiled[structure, plan.block, plan.parts] = made
            if plan.parts == 1:
                self.plans[structure] = made.plan
        return made

    def rows_everywhere(self, parts: int) -> tuple[Rows, Rows]:
        """Return the training rows and those evaluated, on every core that shares a batch."""
        assert self.train is not None
        if parts == 1:
            return self.train, self.evaluated
        with self._lock:
            if parts not in self._everywhere:
                both = self.train, self.evaluated
                self._everywhere[parts] = jax.device_put(both, sharing.everywhere(parts))
            return self._everywhere[parts]

    def _compile(self, member: Member, structure: Structure, plan: Plan) -> Program:
        batch_size = self.batch_size(structure)
        full = batch_size == self.data.num_rows
        config = Config(optimizer=structure.external) if structure.external else Config()
        carry = initial_carry(member, [config] * plan.block, [0] * plan.block, self)
        num_columns = len(self.features.columns)
        table_shape = (plan.groups, plan.table_steps, plan.width, num_columns)
        index_steps = 1 if full else plan.table_steps
        # With several lengths the last column is each step's.
        index_width = 1 if full else batch_size + (self.buckets is not None)
        scalar = jax.ShapeDtypeStruct((), jnp.int32)
        arguments = (
            shapes_of(_grouped(carry, plan)),
            jax.ShapeDtypeStruct(table_shape, jnp.float32),
            jax.ShapeDtypeStruct((plan.groups, index_steps, index_width), jnp.int32),
            jax.ShapeDtypeStruct((plan.groups,), jnp.uint32),
            scalar,
            scalar,
            scalar,
            scalar,
            shapes_of(self.train)
            if self.feed is None
            else self.feed.shapes(index_steps * batch_size),
            shapes_of(self.evaluated),
        )
        small = plan.width * step_flops(member.network, batch_size) < FLOPS_WORTH_SHARING
        program = _advance(member, plan, full)
        if plan.parts > 1:
            program = sharing.over_parts(program, plan.parts)
            arguments = sharing.shapes_everywhere(arguments, plan.parts)
        return compile_program(
            program,
            arguments,
            donate=(0,),
            sequential=small,
            num_devices=plan.parts,
            made_from=(member, plan, full),
        )


def _grouped(tree: Any, plan: Plan) -> Any:
    """Reshape leading axes [G·W] to [G, W] (or leave [G] where groups have one member)."""
    if plan.width == 1:
        return tree
    return jax.tree.map(lambda a: a.reshape(plan.groups, plan.width, *a.shape[1:]), tree)


def initial_carry(
    member: Member, configs: Sequence[Config], seeds: Sequence[int], engine: Engine
) -> Carry:
    """Return the carry of members before their first step, as host arrays [K, …]."""
    num = len(configs)
    params: dict[str, np.ndarray] = {}
    specs = member.network.params()
    for seed in dict.fromkeys(seeds):
        own = [i for i, s in enumerate(seeds) if s == seed]
        drawn = initial_params(
            specs,
            [configs[i].get_or_default("init") for i in own],
            np.array([configs[i].get_or_default("init_scale") for i in own]),
            seed,
        )
        for name, values in drawn.items():
            out = params.setdefault(name, np.empty((num, *values.shape[1:]), np.float32))
            out[own] = values
    state = {
        name: np.broadcast_to(value, (num, *value.shape)).copy()
        for name, value in member.network.state().items()
    }
    features = engine.features
    packed = member.packing.pack(params)
    if features.external is not None:
        external = features.external
        own = constants_of(configs, engine.task, features, engine.class_share)
        rate = [c.get("learning_rate", external.learning_rate) for c in configs]
        own |= {"learning_rate": np.array(rate)}
        scalars = {name: values.astype(np.float32) for name, values in own.items()}
        opt = jax.jit(jax.vmap(external.init))(params, scalars)
    else:
        kinds = [c.get_or_default("optimizer") for c in configs]
        given = numeric_columns(configs)
        start = rules.initial_values(kinds, given)
        opt = {
            slot: {
                name: np.broadcast_to(
                    start.get(slot, np.zeros(num, np.float32)).reshape(num, *[1] * (v.ndim - 1)),
                    v.shape,
                ).astype(np.float32)
                for name, v in packed.items()
            }
            for slot in features.uses.state
        }
    return Carry(
        params=packed,
        opt=opt,
        state=state,
        ema={n: v.copy() for n, v in packed.items()} if features.ema else {},
        best=({n: v.copy() for n, v in packed.items()}, {n: v.copy() for n, v in state.items()}),
        best_score=np.full(num, -np.inf, np.float32),
        loss_sum=np.zeros(num, np.float32),
        alive=np.ones(num, bool),
    )


def _batch(train: Rows, index: Any, bucketed: bool, parts: int) -> Rows:
    bucket = None
    if bucketed:
        index, bucket = index[:-1], index[-1]
    if parts > 1:
        index = sharing.own(index, parts)
    return train.take(index)._replace(bucket=bucket)


def _advance(member: Member, plan: Plan, full: bool) -> Callable[..., Any]:
    """Return the program of a block: some steps of each group, then perhaps an evaluation."""

    def advance(
        carry: Any,
        table: Any,
        index: Any,
        keys: Any,
        num_groups: Any,
        first_step: Any,
        num_steps: Any,
        since: Any,
        train: Rows,
        evaluated: Rows,
    ) -> Any:
        def one_group(group: Any, carry: Any) -> Any:
            def body(t: Any, carry: Any) -> Any:
                key = step_key(keys[group], first_step + t)
                if full:
                    rows = train if plan.parts == 1 else sharing.own(train, plan.parts)
                else:
                    rows = _batch(train, index[group, t], bool(member.widths), plan.parts)
                if plan.parts > 1:
                    key = PartKey(key, sharing.part(), plan.parts)
                row = table[group, t]
                if plan.width == 1:
                    return member.step(carry, rows, row[0], key)
                return jax.vmap(member.step, in_axes=(0, None, 0, None))(carry, rows, row, key)

            def evaluate(carry: Any) -> Any:
                row = table[group, 0]
                if plan.width == 1:
                    carry, record = member.evaluate(carry, evaluated, row[0], since)
                else:
                    score = jax.vmap(member.evaluate, in_axes=(0, None, 0, None))
                    carry, record = score(carry, evaluated, row, since)
                return carry, jnp.stack([value.astype(jnp.float32) for value in record], axis=-1)

            def skip(carry: Any) -> Any:
                shape = () if plan.width == 1 else (plan.width,)
                return carry, jnp.zeros((*shape, len(Record._fields)), jnp.float32)

            carry = lax.fori_loop(0, num_steps, body, carry)
            return lax.cond(since > 0, evaluate, skip, carry)

        if plan.groups == 1:
            # No loop over groups: a third less of a program to compile.
            done = one_group(0, jax.tree.map(lambda a: a[0], carry))
            return jax.tree.map(lambda a: a[None], done)

        def body(group: Any, done: Any) -> Any:
            carry, records = done
            own = jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, group, 0, False), carry)
            own, record = one_group(group, own)

            def put(all_: Any, one: Any) -> Any:
                return lax.dynamic_update_index_in_dim(all_, one, group, 0)

            return jax.tree.map(put, carry, own), jax.tree.map(put, records, record)

        shape = (plan.groups,) if plan.width == 1 else (plan.groups, plan.width)
        records = jnp.zeros((*shape, len(Record._fields)), jnp.float32)
        return lax.fori_loop(0, num_groups, body, (carry, records))

    return advance
