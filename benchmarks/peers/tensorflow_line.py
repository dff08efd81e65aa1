"""The line y = 2x + 1 by full-batch gradient descent in TensorFlow."""

from __future__ import annotations

import os
from argparse import Namespace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from problems import LINE_EPOCHS, LINE_LEARNING_RATE, line
from protocol import clock, play, result


def run(args: Namespace, form: str) -> dict[str, object]:
    x, y = map(tf.constant, line(args.seed))
    epochs = 10 if args.tiny else LINE_EPOCHS
    w, b = tf.Variable(0.0), tf.Variable(0.0)

    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(w * x + b - y))
        grad_w, grad_b = tape.gradient(loss, (w, b))
        w.assign_sub(LINE_LEARNING_RATE * grad_w)
        b.assign_sub(LINE_LEARNING_RATE * grad_b)
        return loss

    if form == "loop":

        @tf.function(jit_compile=True)
        def train(epochs: int) -> tf.Tensor:
            loss = tf.constant(0.0)
            for _ in tf.range(epochs):
                loss = step()
            return loss
    else:
        one = tf.function(step) if form == "function" else step

        def train(epochs: int) -> tf.Tensor:
            for _ in range(epochs):
                loss = one()
            return loss

    lap = clock()
    train(epochs if form == "loop" else 5)  # XLA's loop bound is part of the program
    w.assign(0.0)
    b.assign(0.0)
    compile_seconds = lap()
    loss = float(train(epochs))
    return result(
        lap(), loss, "training loss", packages=["tensorflow"], compile_seconds=compile_seconds
    )


if __name__ == "__main__":
    # eager: a Python step · function: the step as a graph, what users write ·
    # loop: best form, the whole loop inside one XLA program
    play({f: lambda args, f=f: run(args, f) for f in ("function", "loop", "eager")})
