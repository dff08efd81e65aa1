"""The searches on real data by Optuna, with Hyperband, in two processes of PyTorch."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import warnings
from argparse import Namespace
from itertools import chain

import optuna
import space_problems as problems
import torch
from optuna_digits import journal, suggest
from protocol import clock, play, result
from space_torch import Tensors, train

WORKERS = 2
SAMPLERS = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
}


def study_of(folder: str, sampler: str, seed: int, epochs: int) -> optuna.Study:
    """Return the study that the processes share through a journal file."""
    return optuna.create_study(
        storage=journal(folder),
        study_name="space",
        load_if_exists=True,
        direction="maximize",
        sampler=SAMPLERS[sampler](seed),
        pruner=optuna.pruners.HyperbandPruner(1, epochs, 3),
    )


def work(
    folder: str, name: str, sampler: str, args: Namespace, worker: int
) -> list[tuple[float, float]]:
    """Add trials to the study until this process has spent its share of the epochs.

    Returns:
        ``time.monotonic()`` and accuracy after every epoch.
    """
    points = []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    # Two processes on two cores: a second thread would only be in the other's way.
    torch.set_num_threads(1)
    problem = problems.PROBLEMS[name]
    data = Tensors(name, problems.load(name, args.data, args.seed, tiny=args.tiny))
    left = problem.epochs * (2 if args.tiny else problem.trainings) / WORKERS
    study = study_of(folder, sampler, 1_000 * worker + args.seed, problem.epochs)

    def objective(trial: optuna.Trial) -> float:
        nonlocal left
        config = suggest(trial, problem.widths)
        best = 0.0
        for epoch, accuracy in enumerate(train(config, data, args.seed, problem.epochs), 1):
            left -= 1
            points.append((time.monotonic(), accuracy))
            best = max(best, accuracy)
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    while left > 0:
        study.optimize(objective, n_trials=1)
    return points


def run(args: Namespace, name: str, sampler: str) -> dict[str, object]:
    """Search one of the problems."""
    lap, start = clock(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        epochs = problems.PROBLEMS[name].epochs
        study_of(folder, sampler, args.seed, epochs)
        tasks = [(folder, name, sampler, args, n) for n in range(WORKERS)]
        # fork: the children have PyTorch imported already
        with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
            points = sorted(chain.from_iterable(pool.starmap(work, tasks)))
    path, best = [], 0.0
    for when, accuracy in points:
        if accuracy > best:
            best = accuracy
            path.append((when - start, best))
    return result(lap(), best, "best validation accuracy", packages=["optuna", "torch"], path=path)


if __name__ == "__main__":
    play(
        {
            f"{name}-{sampler}": lambda args, n=name, s=sampler: run(args, n, s)
            for name in problems.PROBLEMS
            for sampler in SAMPLERS
        }
    )
