"""Classifiers of 64 tokens in Thalweg: Adam, cross-entropy, 500 steps."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
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

from thalweg.models import InputShape
from thalweg.space import Config
from thalweg.task import Task
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.scalars import features_of


def run(args: Namespace, kind: str, members: int) -> dict[str, object]:
    x, y = tokens(args.seed)
    fields = {"tokens": x, "length": np.full(len(x), TEXT_TOKENS, np.int32)}
    judged = {name: values[:100] for name, values in fields.items()}
    spread = np.geomspace(0.5, 2, members) if members > 1 else np.ones(1)
    shape = {"depth": 1, "last": "last"}
    if kind == "transformer":
        shape = {"depth": TEXT_LAYERS, "last": "mean", "num_heads": TEXT_HEADS}
    configs = [
        Config(
            model=kind,
            width=TEXT_UNITS,
            embedding_size=TEXT_UNITS,
            batch_size=TEXT_BATCH,
            optimizer="adam",
            learning_rate=float(TEXT_LEARNING_RATE * factor),
            **shape,
        )
        for factor in spread
    ]
    task = Task("binary", ("y",), (0, 1))
    inputs = InputShape(masked=True, tokens=(TEXT_TOKENS, TEXT_VOCABULARY))
    steps = 5 if args.tiny else TEXT_UPDATES
    lap = clock()
    data = TrainingData(fields, y, judged, y[:100])
    engine = Engine(data, task, inputs, features_of(configs, task))

    def fresh(seed: int) -> Cohort:
        return Cohort(engine, configs, [seed] * len(configs), steps, steps, alone=True)

    fresh(1_000_003).advance(max(1, steps // 10))
    compile_seconds = lap()
    cohort = fresh(args.seed)
    lap()
    cohort.advance(steps)
    seconds = lap()
    return result(
        seconds,
        cohort.curves[members // 2].train_loss[-1],
        "training loss, mean of all steps",
        packages=["thalweg", "jax"],
        compile_seconds=compile_seconds,
        members=members,
        steps=steps,
        flop=members * steps * text_flop(kind),
    )


if __name__ == "__main__":
    play(
        {
            f"{kind}-{name}": lambda args, k=kind, m=members: run(args, k, m)
            for kind in ("lstm", "transformer")
            for name, members in (("alone", 1), ("cohort", 16))
        }
    )
