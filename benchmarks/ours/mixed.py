"""A cohort of 64 networks in Thalweg that mixes all rules of the optimizer table."""

from __future__ import annotations

from argparse import Namespace
from itertools import cycle, islice

import numpy as np
from cohorts import train
from protocol import mlp_flop, play, result

from thalweg.optim.rules import RULES
from thalweg.space import Config
from thalweg.task import Task

MEMBERS = 64
BATCH_SIZE = 32
ROWS = 2_048


def run(
    args: Namespace, widths: tuple[int, int, int], steps: int, rules: tuple[str, ...]
) -> dict[str, object]:
    rng = np.random.default_rng(args.seed)
    steps = 5 if args.tiny else steps
    x = rng.standard_normal((ROWS, widths[0]), np.float32)
    y = rng.integers(0, widths[-1], ROWS, dtype=np.int32)
    rates = np.geomspace(1e-4, 1e-2, MEMBERS)
    configs = [
        Config(
            depth=1,
            width=widths[1],
            activation="relu",
            batch_size=BATCH_SIZE,
            optimizer=rule,
            learning_rate=float(rate),
        )
        for rule, rate in zip(islice(cycle(rules), MEMBERS), rates, strict=True)
    ]
    # Two outputs, as in the network that it is compared with, rather than one logit.
    task = Task("multiclass", ("y",), classes=tuple(range(widths[-1])))
    seconds, compile_seconds, cohort = train(x, y, task, configs, args.seed, steps)
    losses = [curve.train_loss[-1] for curve in cohort.curves]
    return result(
        seconds,
        float(np.nanmean(losses)),
        "training loss, mean of members and steps",
        packages=["thalweg", "jax"],
        compile_seconds=compile_seconds,
        members=MEMBERS,
        steps=steps,
        flop=MEMBERS * steps * mlp_flop(widths, BATCH_SIZE),
    )


if __name__ == "__main__":
    sizes = {"30-64-2": ((30, 64, 2), 1_000), "784-128-10": ((784, 128, 10), 60)}
    play(
        {
            name + suffix: lambda args, w=widths, s=steps, rules=rules: run(args, w, s, rules)
            for name, (widths, steps) in sizes.items()
            for suffix, rules in (("", tuple(RULES)), ("-adam", ("adam",)))
        }
    )
