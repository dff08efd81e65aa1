"""The textbook's CNN on MNIST's images in Thalweg: one epoch, Adam."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from cohorts import train
from problems import CNN_BATCHES, CNN_CHANNELS, CNN_LEARNING_RATE, CNN_PARAMETERS, images
from protocol import cnn_flop, play, result

from thalweg.models import InputShape
from thalweg.space import Config
from thalweg.task import Task
from thalweg.training.outputs import network_outputs


def run(args: Namespace, batch_size: int, members: int) -> dict[str, object]:
    data = images(args.data, tiny=args.tiny)
    spread = np.geomspace(0.5, 2, members) if members > 1 else np.ones(1)
    configs = [
        Config(
            model="cnn",
            depth=2,
            width=CNN_CHANNELS[0],
            activation="relu",
            batch_size=batch_size,
            optimizer="adam",
            learning_rate=float(CNN_LEARNING_RATE * factor),
        )
        for factor in spread
    ]
    task = Task("multiclass", ("digit",), classes=tuple(range(10)))
    # The peers' scale: 0 to 1.
    inputs = InputShape(image=(28, 28, 1), image_mean=(0.0,), image_std=(255.0,))
    steps = len(data.x) // batch_size
    seconds, compile_seconds, cohort = train(
        data.x,
        data.y.astype(np.int32),
        task,
        configs,
        args.seed,
        steps,
        inputs=inputs,
        warm_up=max(1, steps // 8),
    )
    if cohort.num_params != CNN_PARAMETERS:
        raise SystemExit(f"{cohort.num_params} parameters rather than {CNN_PARAMETERS}")
    params, state = cohort.weights(members // 2, best=False)
    outputs = network_outputs(cohort.member.network, params, state, {"image": data.x_test}, 1_000)
    return result(
        seconds,
        float(np.mean(outputs.argmax(1) == data.y_test)),
        "test accuracy",
        packages=["thalweg", "jax"],
        compile_seconds=compile_seconds,
        members=members,
        steps=steps,
        flop=members * steps * cnn_flop(batch_size),
        note=data.note,
    )


if __name__ == "__main__":
    play(
        {
            f"{name}-{batch_size}": lambda args, b=batch_size, m=members: run(args, b, m)
            for batch_size in CNN_BATCHES
            for name, members in (("alone", 1), ("cohort", 8))
        }
    )
