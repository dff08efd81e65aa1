"""How a cohort is laid out on the hardware, and how much memory that takes.

A *block* is what one call of the compiled program trains: up to ``groups`` groups of ``width``
members. Members of a group advance together (vmap: the cost of starting small operations is
shared); groups of a block advance one after the other (a member's parameters stay in the cache).
Blocks are independent, so that as many run side by side as there are cores, a cohort of any size
uses the same program, and dropping members never compiles anything.

Measured on 2 cores with AVX-512, microseconds a member-step, batch 32, Adam, two blocks at a time:

| network | width 16 | width 8 | width 1 |
| --- | --- | --- | --- |
| 30-64-2 | 9.2 | 8.4 | 8.3 |
| 64-64-10 | 13.6 | 12.0 | 12.7 |
| 64-128-10 | 42 | 24 | 20 |
| 784-128-10 | 238 | 207 | 120 |
| 2-4-1, batch 1 | 0.1 (width 64) | | 1.2 |
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from thalweg.errors import ResourceError
from thalweg.models.base import Network, activation_floats, count_params
from thalweg.training.member import Features

GROUPS = 4
MAX_TABLE_STEPS = 1024
# Below this much arithmetic in a member's step (about 4 µs on one core), starting the operations
# costs more than they do, and members are better advanced together.
FLOPS_WORTH_A_CALL = 2e5
# Below this much, the operations of a step gain nothing from running side by side, and a tenth of
# the step is lost by arranging for it.
FLOPS_WORTH_SHARING = 1e7
# A call from the host costs about 0.2 ms; one that lasts ten times as long needs no company, and a
# block of one group compiles in two thirds of the time.
SECONDS_WORTH_A_CALL = 2e-3
LONGEST_CALL_SECONDS = 1.0
# A group's parameters and optimizer state should stay within a core's second-level cache.
CACHE_BYTES = 1 << 20
# Activations of the rows that an evaluation predicts at a time.
CHUNK_BYTES = 32 << 20

SHARED = (
    "language",
    "regression",
    "binary",
    "multiclass",
    "multilabel",
    "segmentation",
    "detection",
    "transcription",
    "reconstruction",
    "translation",
)
"""Kinds of tasks whose losses add up over rows, and take no row by the others of its batch."""

# Rows of a part at least: products of fewer are no faster.
FEWEST_ROWS = 8
# A lone member's batch is shared out over cores from half a millisecond of arithmetic on, where an
# exchange of 33,000 gradients takes 22 µs. Each gradient costs about 1 ns to exchange, and every
# core updates all weights: with little arithmetic for each of them (wide layers, few rows) nothing
# is won.
FLOPS_WORTH_AN_EXCHANGE = 4e7
FLOPS_WORTH_A_GRADIENT = 400.0


@dataclass(frozen=True)
class Plan:
    """The layout of a structure's blocks.

    Attributes:
        width: members advanced together by vmap.
        groups: groups in a block.
        table_steps: steps that one call can take at most.
        member_bytes: memory of one member's weights, optimizer state and best weights.
        batch_bytes: memory of one member's activations and gradients during a step or evaluation.
        chunk: rows predicted at a time in an evaluation.
        parts: cores that share the batches of a lone member, see ``sharing.py``.
    """

    width: int
    groups: int
    table_steps: int
    member_bytes: int
    batch_bytes: int
    chunk: int
    parts: int = 1

    @property
    def block(self) -> int:
        """Members in a full block."""
        return self.width * self.groups

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, recorded in the run."""
        return asdict(self)


def power_of_two(value: float) -> int:
    """Return the smallest power of two that is not below ``value``."""
    result = 1
    while result < value:
        result *= 2
    return result


def make_plan(
    network: Network,
    *,
    batch_size: int,
    num_members: int,
    steps_per_evaluation: int,
    evaluated_rows: int,
    num_slots: int,
    workers: int,
    platform: str,
    most_steps: int | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    parts: int = 1,
) -> Plan:
    """Lay out a cohort by the cost model that the table above was measured for.

    Args:
        network: the structure's network.
        batch_size: rows in a step.
        num_members: members that the cohort starts with.
        steps_per_evaluation: steps between evaluations.
        evaluated_rows: rows scored at an evaluation.
        num_slots: arrays of optimizer state for each parameter.
        workers: blocks that run side by side.
        platform: JAX's name of the backend.
        most_steps: steps that a call may take where their rows are fetched for it.
        chunk_bytes: activations of the rows that an evaluation predicts at a time.
        parts: cores that share each batch.

    Returns:
        The layout; the same arguments always give the same one.
    """
    num_params = count_params(network)
    # Weights, best weights and state live between calls; a call writes its results beside them.
    member_bytes = 4 * num_params * (2 + num_slots) * 2
    row_bytes = 4 * activation_floats(network)
    count = max(1, round(row_bytes * evaluated_rows / chunk_bytes))
    chunk = -(-evaluated_rows // count)
    batch_bytes = int(8 * num_params + row_bytes * max(3 * batch_size, chunk))
    if platform == "cpu":
        want = FLOPS_WORTH_A_CALL / max(step_flops(network, batch_size), 1.0)
        fits = max(1.0, CACHE_BYTES / max(member_bytes, 1))
        width = min(64, power_of_two(min(max(want, 1.0), fits)))
        share = power_of_two(-(-num_members // workers))
        width = min(width, share)
        groups = min(GROUPS, max(1, -(-num_members // (width * workers))))
        call = width * steps_per_evaluation * estimated_step_seconds(network, batch_size, platform)
        if call > SECONDS_WORTH_A_CALL:
            groups = 1
        step = width * estimated_step_seconds(network, batch_size, platform)
    else:
        width = min(256, power_of_two(num_members))
        groups = 1
        step = estimated_step_seconds(network, batch_size, platform)
    steps = min(power_of_two(steps_per_evaluation), MAX_TABLE_STEPS)
    if width == 1 and groups == 1:
        # A single small network: fewer, longer calls.
        steps = min(power_of_two(steps_per_evaluation), 8 * MAX_TABLE_STEPS)
    # Between calls the clock is looked at, and Ctrl-C is heard.
    steps = max(1, min(steps, power_of_two(LONGEST_CALL_SECONDS / (2 * step))))
    if most_steps is not None:
        # The rows fetched for a call are those of one seed.
        groups, steps = 1, min(steps, most_steps)
    return Plan(width, groups, steps, member_bytes, batch_bytes, chunk, parts)


def parts_of(network: Network, features: Features, kind: str, batch_size: int, cores: int) -> int:
    """Return the parts that a lone network's batches are cut into; 1 where it trains on one core.

    Batch normalisation, mixtures of rows and some losses take a batch as a whole, and structural
    optimizers evaluate it themselves.

    Args:
        network: the member's network.
        features: what its program contains.
        kind: kind of the task.
        batch_size: rows in a step.
        cores: devices of this process, one for each core.
    """
    whole = features.mixup or features.cutmix or features.external is not None or network.state()
    if whole or kind not in SHARED:
        return 1
    flops = step_flops(network, batch_size)
    if flops < max(FLOPS_WORTH_AN_EXCHANGE, FLOPS_WORTH_A_GRADIENT * count_params(network)):
        return 1
    divisors = [n for n in range(1, cores + 1) if batch_size % n == 0]
    return max(n for n in divisors if n == 1 or batch_size // n >= FEWEST_ROWS)


def step_flops(network: Network, batch_size: int) -> float:
    """Return the multiplications and additions of a member's step, forwards and backwards."""
    return 3.0 * network.flops() * batch_size


def check_memory(plan: Plan, num_members: int, data_bytes: int, workers: int, free: int) -> int:
    """Return the bytes that a cohort needs.

    Raises:
        ResourceError: where that is more than ``free``, saying how many members would fit.
    """
    fixed = data_bytes + workers * plan.width * plan.batch_bytes
    need = fixed + num_members * plan.member_bytes
    if need > free:
        fit = max(0, (free - fixed) // max(plan.member_bytes, 1))
        raise ResourceError(
            f"{num_members} members need {need / 2**20:.0f} MiB and {free / 2**20:.0f} MiB may be "
            f"used: train at most {fit} at once, or a smaller network or batch"
        )
    return int(need)


def estimated_step_seconds(network: Network, batch_size: int, platform: str) -> float:
    """Return a first guess of a member-step's seconds on one worker, before anything is measured.

    A fixed cost for starting a step's operations, and arithmetic at what small products reach.
    """
    fixed, rate = (8e-6, 3e10) if platform == "cpu" else (2e-5, 2e12)
    return fixed + step_flops(network, batch_size) / rate + 2e-9 * count_params(network)
