"""The line y = 2x + 1 by full-batch gradient descent in Thalweg."""

from __future__ import annotations

from argparse import Namespace

from cohorts import train
from problems import LINE_EPOCHS, LINE_LEARNING_RATE, line
from protocol import play, result

from thalweg.space import Config
from thalweg.task import Task


def run(args: Namespace) -> dict[str, object]:
    x, y = line(args.seed)
    config = Config(
        model="linear", batch_size="full", optimizer="gd", learning_rate=LINE_LEARNING_RATE
    )
    task = Task("regression", ("y",), metric="mse")
    steps = 10 if args.tiny else LINE_EPOCHS
    seconds, compile_seconds, cohort = train(x, y, task, [config], args.seed, steps)
    return result(
        seconds,
        cohort.curves[0].validation_loss[-1],
        "training loss",
        packages=["thalweg", "jax"],
        compile_seconds=compile_seconds,
        steps=steps,
    )


if __name__ == "__main__":
    play({"alone": run})
