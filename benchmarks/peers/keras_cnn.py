"""The textbook's CNN on MNIST's images in Keras: one epoch, Adam."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from keras_backend import load, warm_up
from problems import (
    CNN_BATCHES,
    CNN_CHANNELS,
    CNN_KERNEL,
    CNN_LEARNING_RATE,
    CNN_PARAMETERS,
    images,
)
from protocol import clock, cnn_flop, play, result


def run(
    args: Namespace, backend: str, batch_size: int, steps_per_execution: int
) -> dict[str, object]:
    keras = load(backend, args.seed)
    data = images(args.data, tiny=args.tiny)
    x, x_test = (a.astype(np.float32) / np.float32(255) for a in (data.x, data.x_test))
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(CNN_CHANNELS[0], CNN_KERNEL, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(CNN_CHANNELS[1], CNN_KERNEL, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    if model.count_params() != CNN_PARAMETERS:
        raise SystemExit(f"{model.count_params()} parameters rather than {CNN_PARAMETERS}")
    model.compile(
        optimizer=keras.optimizers.Adam(CNN_LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=steps_per_execution,
    )
    some = 2 * steps_per_execution * batch_size
    lap = clock()
    warm_up(model, x[:some], data.y[:some], batch_size=batch_size)
    compile_seconds = lap()
    model.fit(x, data.y, batch_size=batch_size, epochs=1, verbose=0)
    seconds = lap()
    predicted = model.predict(x_test, batch_size=1_000, verbose=0)
    steps = len(x) // batch_size
    return result(
        seconds,
        float(np.mean(np.argmax(predicted, 1) == data.y_test)),
        "test accuracy",
        packages=["keras", backend],
        compile_seconds=compile_seconds,
        steps=steps,
        flop=steps * cnn_flop(batch_size),
        note=data.note,
    )


if __name__ == "__main__":
    play(
        {
            f"{name}{suffix}-{batch_size}": lambda args, n=name, b=batch_size, s=steps: run(
                args, n, b, s
            )
            for name in ("jax", "tensorflow", "torch")
            for batch_size in CNN_BATCHES
            for suffix, steps in (("", 1), ("-stacked", 2))
        }
    )
