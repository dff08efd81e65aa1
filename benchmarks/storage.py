"""What it costs to ask for a trial, tell its scores and store it: milliseconds a trial.

    python benchmarks/storage.py                      # 10,000 trials, journal; 2,000, SQLite
    python benchmarks/storage.py --trials 1000 --optuna   # beside Optuna, one trial at a time

A trial has 8 parameters and 10 evaluations, told at three rungs; batches of 250. None is trained.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.search import make_searcher
from thalweg.space import Choice, Float, Int, Space
from thalweg.study.database import Database
from thalweg.study.distributions import distributions_of
from thalweg.study.journal import Journal
from thalweg.study.records import Trial

SPACE = Space(
    depth=Int(1, 4),
    width=Choice([32, 64, 128]),
    optimizer=Choice(["adamw", "sgd"]),
    learning_rate=Float(1e-4, 1e-1, log=True),
    weight_decay=Float(1e-5, 1e-1, log=True),
    dropout=Float(0.0, 0.5),
    momentum=Float(0.8, 0.99),
    label_smoothing=Float(0.0, 0.2),
)
BATCH = 250
CURVES = ("train_loss", "validation_loss", "validation", "train")


def ours(store: Any, num_trials: int) -> tuple[float, float, float]:
    """Return milliseconds a trial over all, of the first and of the last batch."""
    searcher, rng = make_searcher("sobol", SPACE, 0), np.random.default_rng(0)
    start, laps = time.perf_counter(), []
    for _ in range(num_trials // BATCH):
        begun = time.perf_counter()
        searcher, configs = searcher.ask(BATCH)
        trials = [Trial(-1, "explore", config, "mlp", 0) for config in configs]
        store.begin(lambda _, trials=trials: trials)
        for evaluations in (3, 5, 10):
            for trial in trials:
                values = rng.random((4, evaluations)).tolist()
                trial.curve = dict(zip(CURVES, values, strict=True))
                trial.curve["step"] = [10.0 * (i + 1) for i in range(evaluations)]
                trial.score = trial.rank = trial.curve["validation"][-1]
                trial.status = "completed"
            store.report(trials, trials if evaluations == 10 else [])
            searcher = searcher.tell(configs, np.array([trial.rank for trial in trials]))
        laps.append((time.perf_counter() - begun) * 1000 / BATCH)
    return (time.perf_counter() - start) * 1000 / num_trials, laps[0], laps[-1]


def optuna_alone(storage: Any, num_trials: int) -> float:
    """Return milliseconds a trial of Optuna's own random search, one trial at a time."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=storage, sampler=sampler)
    start = time.perf_counter()
    for _ in range(num_trials):
        trial = study.ask()
        trial.suggest_int("depth", 1, 4)
        trial.suggest_categorical("width", [32, 64, 128])
        trial.suggest_categorical("optimizer", ["adamw", "sgd"])
        trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True)
        for name in ("dropout", "momentum", "label_smoothing"):
            trial.suggest_float(name, 0.0, 0.5)
        for step in range(10):
            trial.report(0.5, step)
        study.tell(trial, 0.5)
    return (time.perf_counter() - start) * 1000 / num_trials


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--optuna", action="store_true", help="Optuna too, 200 trials of each.")
    args = parser.parse_args()
    facts: dict[str, Any] = {
        "maximise": True, "metric": "score", "distributions": distributions_of(SPACE), "about": {}
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def line(what: str, figures: tuple[float, float, float], num: int) -> None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{what:10} {num:6} trials: {figures[0]:.2f} ms a trial, first batch "
                f"{figures[1]:.2f}, last batch {figures[2]:.2f}; peak memory {peak:.0f} MiB"
            )

        journal = Journal(folder / "journal.log", "study", "me", **facts)
        line("journal", ours(journal, args.trials), args.trials)
        print(f"           file: {(folder / 'journal.log').stat().st_size / 2**20:.1f} MiB")
        few = max(BATCH, args.trials // 5 // BATCH * BATCH)
        database = Database(f"sqlite:///{folder / 'studies.db'}", "study", "me", **facts)
        line("SQLite", ours(database, few), few)
        if args.optuna:
            import optuna

            backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.log"))
            storages = {
                "journal": optuna.storages.JournalStorage(backend),
                "SQLite": f"sqlite:///{folder / 'optuna.db'}",
            }
            for what, storage in storages.items():
                print(f"Optuna, {what}: {optuna_alone(storage, 200):.1f} ms a trial")


if __name__ == "__main__":
    main()
