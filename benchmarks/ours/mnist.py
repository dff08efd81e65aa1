"""One epoch of MNIST by a 784-128-10 network in Thalweg: batches of 32, Adam."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from cohorts import train
from problems import MNIST_BATCH, MNIST_LEARNING_RATE, MNIST_WIDTHS, mnist
from protocol import mlp_flop, play, result

from thalweg.space import Config
from thalweg.task import Task
from thalweg.training.outputs import network_outputs


def run(args: Namespace, members: int) -> dict[str, object]:
    data = mnist(args.data, rows=640 if args.tiny else None)
    spread = np.geomspace(0.5, 2, members) if members > 1 else np.ones(1)
    configs = [
        Config(
            depth=1,
            width=MNIST_WIDTHS[1],
            activation="relu",
            batch_size=MNIST_BATCH,
            optimizer="adam",
            learning_rate=float(MNIST_LEARNING_RATE * factor),
        )
        for factor in spread
    ]
    task = Task("multiclass", ("digit",), classes=tuple(range(10)))
    steps = len(data.x) // MNIST_BATCH
    seconds, compile_seconds, cohort = train(
        data.x, data.y.astype(np.int32), task, configs, args.seed, steps
    )
    params, state = cohort.weights(members // 2, best=False)
    outputs = network_outputs(
        cohort.member.network, params, state, {"numeric": data.x_test}, 16_384
    )
    return result(
        seconds,
        float(np.mean(outputs.argmax(1) == data.y_test)),
        "test accuracy",
        packages=["thalweg", "jax"],
        compile_seconds=compile_seconds,
        members=members,
        steps=steps,
        flop=members * steps * mlp_flop(MNIST_WIDTHS, MNIST_BATCH),
        note=data.note,
    )


if __name__ == "__main__":
    play({"alone": lambda args: run(args, 1), "cohort": lambda args: run(args, 16)})
