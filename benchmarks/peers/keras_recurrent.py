"""Recurrent layers over 50 steps in Keras: Adam, mean squared error, 1,000 steps."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from keras_backend import load, warm_up
from problems import (
    RECURRENT_BATCH,
    RECURRENT_INPUTS,
    RECURRENT_LEARNING_RATE,
    RECURRENT_STEPS,
    RECURRENT_UNITS,
    RECURRENT_UPDATES,
    sequences,
)
from protocol import clock, play, recurrent_flop, result

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def run(args: Namespace, kind: str, backend: str, steps_per_execution: int) -> dict[str, object]:
    keras = load(backend, args.seed)
    x, y = sequences(args.seed)
    layers = keras.layers
    layer = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}[kind]
    model = keras.Sequential(
        [
            layers.Input((RECURRENT_STEPS, RECURRENT_INPUTS)),
            layer(RECURRENT_UNITS),
            layers.Dense(1),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(RECURRENT_LEARNING_RATE),
        loss="mse",
        steps_per_execution=steps_per_execution,
    )
    steps = 2 * steps_per_execution if args.tiny else RECURRENT_UPDATES
    # One long epoch, reshuffled by hand as epochs are; Keras would shuffle the whole.
    rng = np.random.default_rng(args.seed)
    epochs = -(-steps * RECURRENT_BATCH // len(x))
    order = np.concatenate([rng.permutation(len(x)) for _ in range(epochs)])
    x, y = (a[order[: steps * RECURRENT_BATCH]] for a in (x, y))
    some = 2 * steps_per_execution * RECURRENT_BATCH
    lap = clock()
    warm_up(model, x[:some], y[:some], batch_size=RECURRENT_BATCH)
    compile_seconds = lap()
    history = model.fit(x, y, batch_size=RECURRENT_BATCH, epochs=1, shuffle=False, verbose=0)
    seconds = lap()
    flop = recurrent_flop(
        GATES[kind], RECURRENT_STEPS, RECURRENT_INPUTS, RECURRENT_UNITS, RECURRENT_BATCH
    )
    return result(
        seconds,
        history.history["loss"][-1],
        "training loss, mean of all steps",
        packages=["keras", backend],
        compile_seconds=compile_seconds,
        steps=steps,
        flop=steps * flop,
    )


if __name__ == "__main__":
    play(
        {
            f"{kind}-{name}{suffix}": lambda args, k=kind, n=name, s=steps: run(args, k, n, s)
            for kind in GATES
            for name in ("jax", "tensorflow", "torch")
            for suffix, steps in (("", 1), ("-stacked", 25))
        }
    )
