"""Recurrent layers over 50 steps in Thalweg: Adam, mean squared error, 1,000 steps."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from cohorts import train
from problems import (
    RECURRENT_BATCH,
    RECURRENT_INPUTS,
    RECURRENT_LEARNING_RATE,
    RECURRENT_STEPS,
    RECURRENT_UNITS,
    RECURRENT_UPDATES,
    sequences,
)
from protocol import play, recurrent_flop, result

from thalweg.models import InputShape
from thalweg.nn.recurrent import GATES
from thalweg.space import Config
from thalweg.task import Task


def run(args: Namespace, kind: str, members: int) -> dict[str, object]:
    x, y = sequences(args.seed)
    spread = np.geomspace(0.5, 2, members) if members > 1 else np.ones(1)
    configs = [
        Config(
            model=kind,
            depth=1,
            width=RECURRENT_UNITS,
            batch_size=RECURRENT_BATCH,
            optimizer="adam",
            learning_rate=float(RECURRENT_LEARNING_RATE * factor),
        )
        for factor in spread
    ]
    steps = 5 if args.tiny else RECURRENT_UPDATES
    inputs = InputShape(sequence=(RECURRENT_STEPS, RECURRENT_INPUTS))
    task = Task("regression", ("y",), metric="mse")
    seconds, compile_seconds, cohort = train(
        x, y, task, configs, args.seed, steps, inputs=inputs, warm_up=max(1, steps // 10)
    )
    flop = recurrent_flop(
        GATES[kind], RECURRENT_STEPS, RECURRENT_INPUTS, RECURRENT_UNITS, RECURRENT_BATCH
    )
    return result(
        seconds,
        cohort.curves[members // 2].train_loss[-1],
        "training loss, mean of all steps",
        packages=["thalweg", "jax"],
        compile_seconds=compile_seconds,
        members=members,
        steps=steps,
        flop=members * steps * flop,
    )


if __name__ == "__main__":
    play(
        {
            f"{kind}-{name}": lambda args, k=kind, m=members: run(args, k, m)
            for kind in GATES
            for name, members in (("alone", 1), ("cohort", 16))
        }
    )
