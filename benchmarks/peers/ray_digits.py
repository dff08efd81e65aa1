"""The digits search by Ray Tune (random search and ASHA) in PyTorch."""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # no CSV, JSON and TensorBoard files

import digits_space as space
import ray
from digits_torch import load, train
from protocol import clock, play, result
from ray import tune


def trial(config: dict[str, object], seed: int, epochs: int) -> None:
    best = 0.0
    for accuracy in train(config, load(seed), seed, epochs):
        best = max(best, accuracy)
        tune.report({"accuracy": accuracy, "best": best})


def run(args: Namespace) -> dict[str, object]:
    lap = clock()
    trials, epochs = (4, 2) if args.tiny else (space.TRIALS, space.EPOCHS)
    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trial, seed=args.seed, epochs=epochs), {"cpu": 1}
            ),
            param_space={
                "optimizer": tune.choice(space.OPTIMIZERS),
                "learning_rate": tune.loguniform(*space.LEARNING_RATE),
                "weight_decay": tune.loguniform(*space.WEIGHT_DECAY),
                "dropout": tune.uniform(*space.DROPOUT),
                "width": tune.choice(space.WIDTHS),
            },
            tune_config=tune.TuneConfig(
                metric="accuracy",
                mode="max",
                num_samples=trials,
                scheduler=tune.schedulers.ASHAScheduler(
                    max_t=epochs, grace_period=min(2, epochs), reduction_factor=3
                ),
                search_alg=tune.search.BasicVariantGenerator(random_state=args.seed),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        results = tuner.fit()
    score = max(r.metrics["best"] for r in results if r.metrics and "best" in r.metrics)
    return result(lap(), score, "best validation accuracy", packages=["ray", "torch"])


if __name__ == "__main__":
    play({"asha": run})
