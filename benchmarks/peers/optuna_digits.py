"""The digits search by Optuna (TPE and a pruner) in PyTorch."""

from __future__ import annotations

import multiprocessing
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import digits_space as space
import optuna
from digits_torch import load, train
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from protocol import clock, play, result

PRUNERS = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
    "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=2, max_resource=space.EPOCHS),
}


def suggest(trial: optuna.Trial, widths: Sequence[int]) -> dict[str, object]:
    """Return a configuration of the shared space."""
    return {
        "optimizer": trial.suggest_categorical("optimizer", space.OPTIMIZERS),
        "learning_rate": trial.suggest_float("learning_rate", *space.LEARNING_RATE, log=True),
        "weight_decay": trial.suggest_float("weight_decay", *space.WEIGHT_DECAY, log=True),
        "dropout": trial.suggest_float("dropout", *space.DROPOUT),
        "width": trial.suggest_categorical("width", widths),
    }


def search(storage: BaseStorage, pruner: str, seed: int, worker: int, tiny: bool) -> None:
    """Add trials to the study in ``storage`` until it holds all."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = load(seed)
    trials, epochs = (6, 2) if tiny else (space.TRIALS, space.EPOCHS)

    def objective(trial: optuna.Trial) -> float:
        config = suggest(trial, space.WIDTHS)
        best = 0.0
        for epoch, accuracy in enumerate(train(config, data, seed, epochs)):
            best = max(best, accuracy)
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    study = optuna.create_study(
        storage=storage,
        study_name="digits",
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=1_000 * worker + seed),
        pruner=PRUNERS[pruner](),
    )
    ended = optuna.study.MaxTrialsCallback(trials, (TrialState.COMPLETE, TrialState.PRUNED))
    study.optimize(objective, callbacks=[ended])


def best(storage: BaseStorage) -> float:
    study = optuna.load_study(study_name="digits", storage=storage)
    return max(max(t.intermediate_values.values()) for t in study.trials if t.intermediate_values)


def worker(folder: str, pruner: str, seed: int, number: int, tiny: bool) -> None:
    search(journal(folder), pruner, seed, number, tiny)


def journal(folder: str) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(Path(folder) / "journal.log")))


def run(args: Namespace, pruner: str, workers: int) -> dict[str, object]:
    lap = clock()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if workers == 1:
        storage = InMemoryStorage()
        search(storage, pruner, args.seed, 0, args.tiny)
        score = best(storage)
    else:  # two processes share the study through a journal file, as Optuna recommends
        with tempfile.TemporaryDirectory() as folder:
            optuna.create_study(storage=journal(folder), study_name="digits", direction="maximize")
            tasks = [(folder, pruner, args.seed, n, args.tiny) for n in range(workers)]
            with multiprocessing.get_context("fork").Pool(workers) as pool:
                pool.starmap(worker, tasks)
            score = best(journal(folder))
    return result(lap(), score, "best validation accuracy", packages=["optuna", "torch"])


if __name__ == "__main__":
    play(
        {
            pruner + suffix: lambda args, p=pruner, n=workers: run(args, p, n)
            for pruner in PRUNERS
            for suffix, workers in (("", 1), ("-two", 2))
        }
    )
