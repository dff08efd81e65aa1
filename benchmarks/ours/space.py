"""The searches on real data in Thalweg."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Sequence

import digits_space as shared
import numpy as np
import space_problems as problems
from protocol import clock, play, result

from thalweg.models import InputShape
from thalweg.space import Choice, Float, Space, Switch
from thalweg.study.budget import Budget, Clock
from thalweg.study.listener import Silent
from thalweg.study.loop import Study
from thalweg.study.outcome import Outcome
from thalweg.study.settings import Settings
from thalweg.task import Task
from thalweg.training.feed import TrainingData

NETWORKS: dict[str, dict[str, object]] = {
    "adult": {"model": "mlp", "depth": 2},
    "mnist": {"model": "cnn", "depth": 2, "kernel_size": 3},
    "sst2": {"model": "textcnn", "kernel_size": 3, "embedding_size": problems.EMBEDDING},
}


def space_of(widths: Sequence[int], batch_size: int, **network: object) -> Space:
    """Return the shared space in Thalweg's words.

    Args:
        widths: to choose from.
        batch_size: rows of a step.
        network: what is fixed of the networks.
    """
    decay = Float(*shared.WEIGHT_DECAY, log=True)
    return Space(
        **network,
        width=Choice(widths),
        activation="relu",
        batch_size=batch_size,
        optimizer=Choice(shared.OPTIMIZERS),
        learning_rate=Float(*shared.LEARNING_RATE, log=True),
        # What torch.optim calls weight_decay is decoupled for AdamW only, an L2 penalty elsewhere.
        weight_decay=Switch("optimizer", {"adamw": decay}, Choice([0.0])),
        l2=Switch("optimizer", {"adamw": Choice([0.0])}, decay),
        dropout=Float(*shared.DROPOUT),
    )


def read(name: str, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return rows as the fields that the networks read."""
    if name == "adult":
        return {"numeric": x}
    if name == "mnist":
        return {"image": x}
    return {"tokens": x.astype(np.int32), "length": (x > 0).sum(1).astype(np.int32)}


def shape(name: str, data: problems.Data) -> InputShape:
    """Return what the networks read."""
    if name == "adult":
        return InputShape(data.x.shape[1])
    if name == "mnist":
        mean, std = float(data.x.mean()), float(data.x.std())
        return InputShape(image=data.x.shape[1:], image_mean=(mean,), image_std=(std,))
    return InputShape(tokens=(data.x.shape[1], data.vocabulary))


class Rises(Silent):
    """Notes when the best score rose.

    Args:
        elapsed: seconds of the work so far.
    """

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self.elapsed, self.points = elapsed, []

    def update(self, *, best: float | None, **state: object) -> None:
        """Note the best score, where it is a new one."""
        if best is not None and (not self.points or best > self.points[-1][1]):
            self.points.append((self.elapsed(), best))


def told(
    seconds: float, outcome: Outcome, path: Sequence[tuple[float, float]] = ()
) -> dict[str, object]:
    """Return a search's result."""
    return result(
        seconds,
        outcome.best.score,
        "best validation accuracy",
        packages=["thalweg", "jax"],
        compile_seconds=outcome.compile_seconds,
        path=path,
        note="Thalweg's compile time is summed over programs that compile side by side",
    )


def run(args: Namespace, name: str) -> dict[str, object]:
    """Search one of the problems."""
    lap, start = clock(), time.perf_counter()
    rises = Rises(lambda: time.perf_counter() - start)
    problem = problems.PROBLEMS[name]
    data = problems.load(name, args.data, args.seed, tiny=args.tiny)
    classes = tuple(range(int(data.y.max()) + 1))
    budget = Budget(epochs=float(problem.epochs * (2 if args.tiny else problem.trainings)))
    study = Study(
        TrainingData(
            read(name, data.x), data.y.astype(np.int32),
            read(name, data.x_validation), data.y_validation.astype(np.int32),
        ),
        Task("binary" if len(classes) == 2 else "multiclass", ("class",), classes=classes),
        shape(name, data),
        Settings(
            space=space_of(problem.widths, problem.batch_size, **NETWORKS[name]),
            budget=budget, epochs=float(problem.epochs), search="gp",
            num_finalists=1, num_replicates=0, seed=args.seed,
        ),
        Clock(budget),
        rises,
    )  # fmt: skip
    outcome = study.run()
    assert study.ledger.task.metric == "accuracy"
    return told(lap(), outcome, rises.points)


if __name__ == "__main__":
    play({name: lambda args, n=name: run(args, n) for name in problems.PROBLEMS})
