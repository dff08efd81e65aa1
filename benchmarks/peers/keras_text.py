"""Classifiers of 64 tokens in Keras: Adam, cross-entropy, 500 steps."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np
from keras_backend import load, warm_up
from problems import (
    TEXT_BATCH,
    TEXT_HEADS,
    TEXT_LAYERS,
    TEXT_LEARNING_RATE,
    TEXT_TOKENS,
    TEXT_UNITS,
    TEXT_UPDATES,
    TEXT_VOCABULARY,
    tokens,
)
from protocol import clock, play, result, text_flop


def network(keras: Any, kind: str) -> Any:
    """Return token vectors, LSTM or Transformer, one logit."""
    layers = keras.layers
    given = layers.Input((TEXT_TOKENS,), dtype="int32")
    x = layers.Embedding(TEXT_VOCABULARY, TEXT_UNITS)(given)
    if kind == "lstm":
        x = layers.LSTM(TEXT_UNITS)(x)
    else:
        x = layers.Dense(TEXT_UNITS)(x)
        for _ in range(TEXT_LAYERS):
            before = layers.LayerNormalization()(x)
            attention = layers.MultiHeadAttention(TEXT_HEADS, TEXT_UNITS // TEXT_HEADS)
            x = x + attention(before, before)
            hidden = layers.Dense(4 * TEXT_UNITS, activation="gelu")(layers.LayerNormalization()(x))
            x = x + layers.Dense(TEXT_UNITS)(hidden)
        x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(given, layers.Dense(1)(x))


def run(args: Namespace, kind: str, backend: str, steps_per_execution: int) -> dict[str, object]:
    keras = load(backend, args.seed)
    x, y = tokens(args.seed)
    model = network(keras, kind)
    model.compile(
        optimizer=keras.optimizers.Adam(TEXT_LEARNING_RATE),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        steps_per_execution=steps_per_execution,
    )
    steps = 2 * steps_per_execution if args.tiny else TEXT_UPDATES
    rng = np.random.default_rng(args.seed)
    epochs = -(-steps * TEXT_BATCH // len(x))
    order = np.concatenate([rng.permutation(len(x)) for _ in range(epochs)])
    x, y = (a[order[: steps * TEXT_BATCH]] for a in (x, y))
    some = 2 * steps_per_execution * TEXT_BATCH
    lap = clock()
    warm_up(model, x[:some], y[:some], batch_size=TEXT_BATCH)
    compile_seconds = lap()
    history = model.fit(x, y, batch_size=TEXT_BATCH, epochs=1, shuffle=False, verbose=0)
    seconds = lap()
    return result(
        seconds,
        history.history["loss"][-1],
        "training loss, mean of all steps",
        packages=["keras", backend],
        compile_seconds=compile_seconds,
        steps=steps,
        flop=steps * text_flop(kind),
    )


if __name__ == "__main__":
    play(
        {
            f"{kind}-{name}{suffix}": lambda args, k=kind, n=name, s=steps: run(args, k, n, s)
            for kind in ("lstm", "transformer")
            for name in ("jax", "tensorflow")
            for suffix, steps in (("", 1), ("-stacked", 25))
        }
    )
