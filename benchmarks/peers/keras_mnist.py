"""One epoch of MNIST by a 784-128-10 network in Keras: batches of 32, Adam."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from keras_backend import load, warm_up
from problems import MNIST_BATCH, MNIST_LEARNING_RATE, MNIST_WIDTHS, mnist
from protocol import clock, mlp_flop, play, result


def run(args: Namespace, backend: str, steps_per_execution: int) -> dict[str, object]:
    keras = load(backend, args.seed)
    data = mnist(args.data, rows=1_600 if args.tiny else None)
    inputs, hidden, outputs = MNIST_WIDTHS
    model = keras.Sequential(
        [
            keras.layers.Input((inputs,)),
            keras.layers.Dense(hidden, activation="relu"),
            keras.layers.Dense(outputs),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(MNIST_LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=steps_per_execution,
    )
    some = 2 * 25 * MNIST_BATCH
    lap = clock()
    warm_up(model, data.x[:some], data.y[:some], batch_size=MNIST_BATCH)
    compile_seconds = lap()
    model.fit(data.x, data.y, batch_size=MNIST_BATCH, epochs=1, verbose=0)
    seconds = lap()
    predicted = model.predict(data.x_test, batch_size=1_000, verbose=0)
    steps = len(data.x) // MNIST_BATCH
    return result(
        seconds,
        float(np.mean(np.argmax(predicted, 1) == data.y_test)),
        "test accuracy",
        packages=["keras", backend],
        compile_seconds=compile_seconds,
        steps=steps,
        flop=steps * mlp_flop(MNIST_WIDTHS, MNIST_BATCH),
        note=data.note,
    )


if __name__ == "__main__":
    play(
        {
            name + suffix: lambda args, name=name, steps=steps: run(args, name, steps)
            for name in ("jax", "tensorflow", "torch")
            for suffix, steps in (("", 1), ("-stacked", 25))
        }
    )
