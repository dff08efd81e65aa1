"""The digits search in Thalweg: random search over the shared space, on the shared split."""

from __future__ import annotations

from argparse import Namespace

import digits_space as shared
import numpy as np
from protocol import clock, play
from space import space_of, told

from thalweg.models import InputShape
from thalweg.study.budget import Budget, Clock
from thalweg.study.loop import Study
from thalweg.study.settings import Settings
from thalweg.task import Task
from thalweg.training.feed import TrainingData


def run(args: Namespace, halving: bool) -> dict[str, object]:
    lap = clock()
    x, y, x_validation, y_validation = shared.split(args.seed)
    trials, epochs = (6, 2) if args.tiny else (shared.TRIALS, shared.EPOCHS)
    budget = Budget(trials=trials)
    study = Study(
        TrainingData(
            {"numeric": x}, y.astype(np.int32),
            {"numeric": x_validation}, y_validation.astype(np.int32),
        ),
        Task("multiclass", ("digit",), classes=tuple(range(10))),
        InputShape(x.shape[1]),
        Settings(
            space=space_of(shared.WIDTHS, shared.BATCH_SIZE, model="mlp", depth=shared.DEPTH),
            budget=budget, epochs=float(epochs), halving=halving, reduction_factor=4,
            search="random", num_finalists=1, num_replicates=0, seed=args.seed,
        ),
        Clock(budget),
    )  # fmt: skip
    outcome = study.run()
    return told(lap(), outcome)


if __name__ == "__main__":
    play({"halving": lambda args: run(args, True), "all": lambda args: run(args, False)})
