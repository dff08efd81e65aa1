"""An honest learning-rate finder: many real short trainings, not one ramp.

Every optimizer is trained at the same places of its own range of rates, plainly and with each
remedy (warmup, clipping), under several seeds, all side by side. What is read from it (the basin,
the stable edge, whether a remedy moves it) is in ``evidence/rate_map.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from thalweg.errors import BudgetError
from thalweg.models import InputShape
from thalweg.optim.external import EXTERNAL
from thalweg.optim.rules import RULES
from thalweg.space import Choice, Config, Float, Space
from thalweg.study.budget import Clock
from thalweg.study.design import make_design
from thalweg.study.experiment import SLACK, Bench
from thalweg.study.listener import Listener, Silent
from thalweg.study.spaces import LEARNING_RATES
from thalweg.task import Task
from thalweg.training.feed import TrainingData

REMEDIES: dict[str, dict[str, Any]] = {
    "plain": {"warmup": 0.0},
    "warmup": {"warmup": 0.2},
    "clipping": {"warmup": 0.0, "clip_norm": 1.0},
}
"""What may move the edge: each is compared with ``plain``."""

DECADES_BELOW = 2.0
DECADES_ABOVE = 2.5
SHARE_OF_TRAINING = 0.15
"""How long these trainings are beside a full one, where the user does not say."""

LEAST_RATES = 8
FINISH_SECONDS = 2.0


def usual_rate(optimizer: str) -> float:
    """Return the middle of an optimizer's usual range."""
    if optimizer in LEARNING_RATES:
        domain = LEARNING_RATES[optimizer]
        return math.sqrt(domain.low * domain.high)
    known: Any = RULES.get(optimizer) or EXTERNAL[optimizer]
    return float(known.learning_rate)


def rates_of(optimizer: str, num: int) -> np.ndarray:
    """Return ``num`` rates from two decades below the usual one to two and a half above it."""
    middle = math.log10(usual_rate(optimizer))
    return np.logspace(middle - DECADES_BELOW, middle + DECADES_ABOVE, num)


def lines_of(
    dataset: Any,
    space: Space,
    first: Sequence[Config],
    optimizers: Sequence[str],
    remedies: Sequence[str],
    num: int,
) -> list[tuple[str, str, list[Config]]]:
    """Return optimizer, remedy and Configs (one a rate) of every line of the map.

    Everything but optimizer, rate and remedy is what an expert would try first, at a constant
    rate: a schedule would hide where the rate itself breaks.
    """
    base = space.with_domains(learning_rate=Float(1e-4, 1e-1, log=True))
    design = make_design(
        dataset,
        ("optimizer",),
        base,
        first=first,
        levels={"optimizer": list(optimizers)} if len(optimizers) > 1 else _twice(optimizers[0]),
        nuisance=("learning_rate",),
    )
    lines = []
    for arm in design.arms[: len(optimizers)]:
        fixed = {
            name: domain.options[0]
            for name, domain in arm.space.items()
            if isinstance(domain, Choice) and len(domain.options) == 1
        }
        optimizer = str(fixed["optimizer"])
        for remedy in remedies:
            values = {**fixed, "schedule": "constant", **REMEDIES[remedy]}
            configs = [
                Config({**values, "learning_rate": float(rate)})
                for rate in rates_of(optimizer, num)
            ]
            lines.append((optimizer, remedy, configs))
    return lines


def _twice(optimizer: str) -> dict[str, list[str]]:
    """A design needs two levels: another one that is then left out."""
    return {"optimizer": [optimizer, "sgd" if optimizer != "sgd" else "adamw"]}


def run_rates(
    lines: Sequence[tuple[str, str, list[Config]]],
    data: TrainingData,
    task: Task,
    inputs: InputShape,
    clock: Clock,
    *,
    epochs: float,
    seeds: int,
    seed: int,
    listener: Listener | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> tuple[list[Any], list[dict[str, Any]], dict[str, Any]]:
    """Train every line, and return trials, the lines with their trials' ids, and what it cost.

    Raises:
        BudgetError: where the time does not suffice.
    """
    listener = listener or Silent()
    timed = clock.budget.seconds is not None
    reserve = FINISH_SECONDS + 0.04 * (clock.budget.seconds or 0.0) if timed else 0.0

    def stop() -> bool:
        return interrupted() or (timed and clock.left() < reserve)

    configs = [config for _, _, own in lines for config in own]
    bench = Bench(data, task, inputs, configs, listener, stop)
    engines = bench.engines
    total = len(configs) * seeds
    with ThreadPoolExecutor(engines.workers, thread_name_prefix="thalweg") as engines.pool:
        if timed:
            speed = bench.speed([own[0] for _, _, own in lines], epochs)
            room = (clock.left() - reserve) / (SLACK * speed * total)
            if room < 0.2 * epochs:
                raise BudgetError(
                    f"{total} trainings do not fit into the budget: give a longer one, fewer "
                    "trials, or fewer optimizers"
                )
            epochs = min(epochs, room)
        listener.plan(f"{total} trainings of {epochs:.3g} epochs: {len(lines)} lines of rates")
        start = clock.elapsed()
        repeated = [config for config in configs for _ in range(seeds)]
        own_seeds = [seed + s for _ in configs for s in range(seeds)]
        trials = bench.train(repeated, own_seeds, epochs, "explore")
    if len(trials) < len(repeated):
        raise BudgetError("the budget was used up by compiling: give more time")
    entries, place = [], 0
    for optimizer, remedy, own in lines:
        ids = []
        for _ in own:
            ids.append([t.id for t in trials[place : place + seeds]])
            place += seeds
        entries.append({"optimizer": optimizer, "remedy": remedy, "trials": ids})
    cost = {
        "compile": round(engines.compile_seconds, 3),
        "train": round(clock.elapsed() - start, 3),
        "epochs": epochs,
        "stopped": "interrupted" if interrupted() else f"all {len(trials)} trainings are done",
        "notices": engines.notices,
    }
    return trials, entries, cost
