"""XOR by a 2-4-1 sigmoid network in Keras: batch size 1, Adam, 4,000 steps."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from keras_backend import load, warm_up
from problems import XOR_EPOCHS, XOR_HIDDEN, XOR_LEARNING_RATE, xor, xor_order
from protocol import clock, play, result


def run(args: Namespace, backend: str, stacked: bool) -> dict[str, object]:
    keras = load(backend, args.seed)
    x, y = xor()
    epochs = 10 if args.tiny else XOR_EPOCHS
    model = keras.Sequential(
        [
            keras.layers.Input((2,)),
            keras.layers.Dense(XOR_HIDDEN, activation="sigmoid"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(XOR_LEARNING_RATE),
        loss="binary_crossentropy",
        steps_per_execution=100 if stacked and not args.tiny else 1,
    )
    lap = clock()
    if stacked:
        # Leanest form: all epochs as one, so that Keras pays its costs per epoch once only.
        order = xor_order(args.seed, epochs)
        work = {"x": x[order], "y": y[order], "shuffle": False}
        warm_up(model, x[order[:400]], y[order[:400]], batch_size=1)
    else:
        work = {"x": x, "y": y, "epochs": epochs}
        warm_up(model, x, y, batch_size=1)
    compile_seconds = lap()
    model.fit(**work, batch_size=1, verbose=0)
    seconds = lap()
    p = np.clip(np.asarray(model.predict_on_batch(x), np.float64), 1e-7, 1 - 1e-7)
    return result(
        seconds,
        float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))),
        "training loss",
        packages=["keras", backend],
        compile_seconds=compile_seconds,
        steps=4 * epochs,
    )


if __name__ == "__main__":
    play(
        {
            name + suffix: lambda args, name=name, stacked=stacked: run(args, name, stacked)
            for name in ("jax", "torch", "tensorflow")
            for suffix, stacked in (("", False), ("-stacked", True))
        }
    )
