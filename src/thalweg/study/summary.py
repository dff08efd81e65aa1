"""The summary of a study: what ``run.json`` and ``fit --json`` say."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from thalweg.data import Dataset
from thalweg.data.ratings import RatingsDataset
from thalweg.optim.metrics import score
from thalweg.optim.ranking import ranking_scores
from thalweg.study.baselines import BaselineRun
from thalweg.study.budget import Clock
from thalweg.study.forecasts import forecast_windows
from thalweg.study.model import Model
from thalweg.study.outcome import Outcome
from thalweg.study.pairing import PAIRED_KINDS, paired_error
from thalweg.study.rundir import RunDirectory, json_ready
from thalweg.study.settings import Settings
from thalweg.study.threshold import Goal, choose_threshold
from thalweg.study.versions import versions
from thalweg.task import ROW_KINDS, WRITTEN_KINDS
from thalweg.training import backend
from thalweg.training.feed import TrainingData
from thalweg.training.guard import check_compiler


def summarise(
    dataset: Dataset,
    outcome: Outcome,
    model: Model,
    settings: Settings,
    clock: Clock,
    pairs: Sequence[tuple[Model, TrainingData]],
    yardsticks: BaselineRun | None,
    directory: RunDirectory | None,
    command: str | None,
    goal: Goal | None = None,
    outputs: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the summary of a study; its answers are added when they are known.

    ``pairs`` are the model's networks with rows that they were not trained on; ``goal`` is what the
    model's threshold was chosen for; ``outputs`` are the model's for the test rows, where they are
    known already.
    """
    task = dataset.task

    def scored(outputs: Any, part: Any, cut: float | None = None) -> dict[str, float]:
        if not len(part):
            return {}
        scale = dataset.encoder.metric_scale
        return score(task, outputs, dataset.raw_target(part), scale=scale, threshold=cut)

    if len(dataset.test):
        outputs = model.outputs(dataset.test.fields) if outputs is None else outputs
    baselines = []
    for baseline in yardsticks.wait(clock.left() - 0.5) if yardsticks else []:
        theirs = baseline.said.get("test")
        error = None
        if outputs is not None and theirs is not None and task.kind in PAIRED_KINDS:
            truth = dataset.raw_target(dataset.test)
            error = paired_error(task, outputs, theirs, truth, model.threshold)
        baselines.append(
            {
                "name": baseline.name,
                "validation": scored(baseline.said.get("validation"), dataset.validation),
                "test": {
                    **scored(theirs, dataset.test),
                    **_ranking(dataset, baseline.outputs),
                },
                # Of the difference to the winner on the test rows.
                "paired_error": {} if error is None else {task.metric: error},
                "seconds": round(baseline.seconds, 3),
            }
        )
    # Texts are written for the test rows; for others too it would take as long again.
    write = not (task.kind in WRITTEN_KINDS and len(dataset.test))
    validation, held_out = _validation_scores(pairs, write)
    failed = yardsticks.failed if yardsticks else []
    notices = [*dataset.notices, *settings.notices, *outcome.notices, *failed]
    predictions, forecasts = None, None
    if outputs is not None:
        predictions = _predictions(task, outputs, dataset.raw_target(dataset.test), model.threshold)
        forecasts = forecast_windows(dataset, outputs)
    summary = {
        "run": str(directory.path) if directory else None,
        "name": dataset.name,
        "task": {
            "kind": task.kind,
            "target": list(task.targets),
            "classes": list(task.classes),
            "rows": {
                "train": len(dataset.train.target),
                "validation": len(dataset.validation.target),
                "test": len(dataset.test.target),
            },
            "features": dataset.num_features,
            "loss": task.loss,
        },
        "metric": task.metric,
        "direction": task.direction,
        "best_config": outcome.best.config.to_dict(),
        "best_trial": outcome.best.id,
        "members": len(model.members),
        "threshold": model.threshold,
        "goal": str(goal) if goal else None,
        "validation": validation,
        "validation_on": held_out,
        "test": {
            **(
                model.forced_scores(dataset.test.fields, dataset.test.target)
                if len(dataset.test)
                else {}
            ),
            **scored(outputs, dataset.test, model.threshold),
            **_ranking(dataset, model.outputs),
        },
        "predictions": predictions,
        "forecasts": forecasts,
        "baselines": baselines,
        "trials": dict(Counter(trial.status for trial in outcome.trials)),
        "space": outcome.plan.pop("space", None) or settings.space.to_dict(),
        "refit": settings.refit,
        "against": settings.against,
        "plan": {**outcome.plan, "stopped": outcome.stopped},
        "seconds": {
            "total": round(clock.elapsed(), 3),
            "compile": round(outcome.compile_seconds, 3),
            "train": round(outcome.train_seconds, 3),
            "waiting": round(outcome.wait_seconds, 3),
        },
        "budget_seconds": clock.budget.seconds,
        "budget_trials": clock.budget.trials,
        "device": backend.device_name(),
        "versions": versions(),
        "seed": settings.seed,
        "command": command,
        "fingerprint": dataset.fingerprint,
        "notices": notices,
    }
    return json_ready(summary)


def about_data(dataset: Dataset) -> dict[str, Any]:
    """Return what every summary says of the data, the task, the machine and the versions."""
    task = dataset.task
    return {
        "name": dataset.name,
        "task": {
            "kind": task.kind,
            "target": list(task.targets),
            "classes": list(task.classes),
            "rows": {name: len(part) for name, part in dataset.parts.items()},
            "features": dataset.num_features,
            "loss": task.loss,
        },
        "metric": task.metric,
        "direction": task.direction,
        "device": backend.device_name(),
        "versions": versions(),
        "fingerprint": dataset.fingerprint,
    }


def _validation_scores(
    held: Sequence[tuple[Model, TrainingData]], write: bool
) -> tuple[dict[str, float], str]:
    """Score the winner on rows that it was not trained on, and say which.

    With folds, every network is scored on its own fold and the scores are averaged; without, the
    model is scored on the validation rows. Unless texts are to be written, translators are scored
    given the true tokens alone.
    """
    scores = [
        (alone.score if write else alone.forced_scores)(
            rows.validation_fields, rows.validation_target
        )
        for alone, rows in held
    ]
    if len(held) == 1:
        return scores[0], "validation rows"
    names = [name for name in scores[0] if all(name in s for s in scores)]
    mean = {name: float(np.mean([s[name] for s in scores])) for name in names}
    return mean, f"mean over {len(scores)} held-out folds"


def _ranking(dataset: Dataset, outputs: Any) -> dict[str, float]:
    """Return recall@k and NDCG@k of clicks held out for the test, among all unseen items."""
    if not isinstance(dataset, RatingsDataset) or not dataset.encoder.implicit:
        return {}
    if not len(dataset.test):
        return {}
    users, ranks = dataset.held_out_ranks(outputs, "test")
    return ranking_scores(ranks, users)


def held_out(
    model: Model, outcome: Outcome, explored: TrainingData, folds: Sequence[TrainingData]
) -> list[tuple[Model, TrainingData]]:
    """Return the winner's networks with rows that they were not trained on.

    With folds each network stands with its own fold, without all of them with the validation rows.
    """
    if not folds or any(trial.fold is None for trial in outcome.replicates):
        return [(model, explored)]
    pairs = []
    for trial, weights in zip(outcome.replicates, outcome.fold_weights, strict=True):
        assert trial.fold is not None
        alone = replace(
            model, structure=weights.structure, members=[(weights.params, weights.state)]
        )
        pairs.append((alone, folds[trial.fold]))
    return pairs


def as_chosen(alone: Model, model: Model) -> Model:
    """Return some of a model's networks with its threshold and calibration."""
    return replace(
        alone,
        threshold=model.threshold,
        calibration=model.calibration,
        calibrated=model.calibrated,
    )


def threshold_for(goal: Goal, held: Sequence[tuple[Model, TrainingData]]) -> float:
    """Return the threshold that serves a goal best on rows no network was trained on."""
    probability = [alone.outputs(rows.validation_fields)[:, 1] for alone, rows in held]
    truth = [rows.validation_target > 0.5 for _, rows in held]
    return choose_threshold(goal, np.concatenate(probability), np.concatenate(truth))


def _predictions(
    task: Any, outputs: np.ndarray, target: np.ndarray, threshold: float | None
) -> dict[str, Any] | None:
    """Return what the report draws of the test rows: confusion, or true against predicted."""
    if task.kind == "regression":
        chosen = np.linspace(0, len(target) - 1, min(len(target), 2000)).astype(int)
        return {
            "kind": "regression",
            "true": np.round(target[chosen, 0], 6).tolist(),
            "predicted": np.round(outputs[chosen, 0], 6).tolist(),
        }
    if task.kind not in ROW_KINDS:
        return None
    truth = target.argmax(1) if target.ndim == 2 else target.astype(int)
    num = len(task.classes)
    confusion = np.zeros((num, num), int)
    chosen = outputs.argmax(1)
    if threshold is not None:
        chosen = (outputs[:, 1] >= threshold).astype(int)
    np.add.at(confusion, (truth, chosen), 1)
    return {
        "kind": "classification",
        "confusion": confusion.tolist(),
        "classes": list(task.classes),
    }


def info() -> dict[str, Any]:
    """Return versions, devices, caches, and whether compiled programs compute correctly here."""
    import jax

    backend.setup()
    return {
        "versions": versions(),
        "device": backend.device_name(),
        "devices": [str(device) for device in jax.devices()],
        "workers": backend.num_workers(),
        "memory": f"{backend.available_bytes() / 2**30:.1f} GiB may be used",
        "cache": str(jax.config.values["jax_compilation_cache_dir"]),
        "platform": f"{platform.platform()}, {os.cpu_count()} processors",
        "compiler": check_compiler(),
    }
