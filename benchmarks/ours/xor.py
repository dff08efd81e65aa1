"""XOR by a 2-4-1 sigmoid network in Thalweg: batch size 1, Adam, 4,000 steps."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from cohorts import train
from problems import XOR_EPOCHS, XOR_HIDDEN, XOR_LEARNING_RATE, xor
from protocol import play, result

from thalweg.space import Config
from thalweg.task import Task


def run(args: Namespace, members: int) -> dict[str, object]:
    x, y = xor()
    spread = np.geomspace(0.5, 2, members) if members > 1 else np.ones(1)
    configs = [
        Config(
            depth=1,
            width=XOR_HIDDEN,
            activation="sigmoid",
            batch_size=1,
            optimizer="adam",
            learning_rate=float(XOR_LEARNING_RATE * factor),
        )
        for factor in spread
    ]
    task = Task("binary", ("y",), classes=(0, 1), metric="log_loss")
    steps = 40 if args.tiny else 4 * XOR_EPOCHS
    seconds, compile_seconds, cohort = train(
        x, y[:, 0].astype(np.int32), task, configs, args.seed, steps
    )
    return result(
        seconds,
        float(np.median([curve.validation_loss[-1] for curve in cohort.curves])),
        "training loss",
        packages=["thalweg", "jax"],
        compile_seconds=compile_seconds,
        members=members,
        steps=steps,
    )


if __name__ == "__main__":
    play({"alone": lambda args: run(args, 1), "cohort": lambda args: run(args, 64)})
