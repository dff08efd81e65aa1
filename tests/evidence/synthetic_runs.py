"""Runs that never happened, with a known truth: what the answers and the report are tested on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

OPTIMIZERS = ("adam", "nadam", "sgd", "rmsprop")
RATES = {"adam": 3e-3, "nadam": 3e-3, "sgd": 1e-1, "rmsprop": 2e-3}
SPACE = {
    "learning_rate": {"low": 1e-5, "high": 1.0, "log": True},
    "dropout": {"low": 0.0, "high": 0.6, "log": False},
    "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True},
    "optimizer": {"choices": list(OPTIMIZERS)},
    "schedule": {"choices": ["constant", "cosine"]},
}
STRUCTURES = ("mlp-1x64-relu-b32", "mlp-2x128-relu-b32", "mlp-3x256-gelu-b64", "linear-b32")


def make_curve(
    rng: np.random.Generator, score: float, num_points: int, steps: int, overfit: float
) -> dict[str, list[float]]:
    """A learning curve that ends near ``score`` (an accuracy); its loss rises again by overfit."""
    t = np.linspace(1 / num_points, 1, num_points)
    accuracy = score - (score - 0.1) * np.exp(-6 * t) + rng.normal(0, 0.003, num_points)
    train = 2.3 * np.exp(-5 * t) + 0.01
    validation = 2.0 * np.exp(-6 * t) + 3 * (1 - score) * (1 + overfit * np.maximum(t - 0.5, 0))
    return {
        "step": [int(step) for step in t * steps],
        "train_loss": [float(x) for x in train],
        "validation_loss": [float(x) for x in validation],
        "validation": [float(x) for x in accuracy],
    }


def make_run(
    seed: int = 0,
    num_trials: int = 128,
    *,
    effects: dict[str, float] | None = None,
    structure_effects: dict[str, float] | None = None,
    dropout_effect: float = 0.0,
    rate_width: float | None = 1.0,
    noise: float = 0.004,
    finalists: int = 5,
    seeds: int = 5,
    seed_noise: float = 0.003,
    finalist_scores: tuple[float, ...] | None = None,
    trees: float = 0.965,
    rows: int = 1000,
    gap: float = 0.01,
    overfit: float = 0.0,
    diverge: bool = True,
    direction: str = "maximize",
    metric: str = "accuracy",
    num_points: int = 20,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Make records and summary of a run whose scores follow a known model.

    The score is 0.97 plus the optimizer's and structure's effect plus noise, less a parabola in
    the decades between the learning rate and its optimizer's best one over ``rate_width`` (None:
    the rate makes no difference); runs a hundred times above it diverge.
    """
    rng = np.random.default_rng(seed)
    effects, structure_effects = effects or {}, structure_effects or {}
    sign = 1.0 if direction == "maximize" else -1.0
    records: list[dict[str, Any]] = []

    def record(config: dict[str, Any], structure: str, phase: str, at: int, accuracy: float,
               status: str) -> dict[str, Any]:  # fmt: skip
        steps = 600 if status == "stopped" else 2400
        failed = status == "diverged"
        curve = make_curve(rng, accuracy, num_points, steps, overfit)
        best = int(np.argmax(curve["validation"]))
        value = accuracy if sign > 0 else 1 - accuracy
        if sign < 0:
            curve["validation"] = [1 - x for x in curve["validation"]]
        train = min(1.0, accuracy + gap) if sign > 0 else 1 - accuracy - gap
        return {
            "id": len(records),
            "phase": phase,
            "config": config,
            "structure": structure,
            "seed": at,
            "fold": None,
            "status": status,
            "rung": 1 if status == "stopped" else 3,
            "steps": steps,
            "epochs": steps / 40,
            "curve": curve,
            "best_step": curve["step"][best],
            "score": None if failed else float(value),
            "validation": {} if failed else {metric: float(value), "log_loss": 0.1},
            "train": {} if failed else {metric: float(train)},
            "num_params": 1000 * (1 + STRUCTURES.index(structure)),
            "seconds": 0.5 * (1 + STRUCTURES.index(structure)),
        }

    truths: list[float] = []
    for _ in range(num_trials):
        optimizer = OPTIMIZERS[rng.integers(len(OPTIMIZERS))]
        structure = STRUCTURES[rng.integers(len(STRUCTURES))]
        rate = float(10 ** rng.uniform(-5, 0))
        dropout = float(rng.uniform(0, 0.6))
        distance = math.log10(rate / RATES[optimizer])
        penalty = 0.0 if rate_width is None else 0.02 * (distance / rate_width) ** 2
        truth = 0.97 + effects.get(optimizer, 0.0) + structure_effects.get(structure, 0.0)
        truth += dropout_effect * (dropout - 0.3) - min(penalty, 0.6)
        accuracy = float(np.clip(truth + rng.normal(0, noise), 0.02, 0.9999))
        config = {
            "model": structure.split("-")[0],
            "optimizer": optimizer,
            "learning_rate": rate,
            "dropout": dropout,
            "weight_decay": float(10 ** rng.uniform(-6, -1)),
            "schedule": ("constant", "cosine")[rng.integers(2)],
            "batch_size": 64 if structure.endswith("b64") else 32,
        }
        blown = diverge and distance > 1.5
        halted = not blown and rate_width is not None and rng.random() < min(0.8, 3 * penalty)
        status = "diverged" if blown else "stopped" if halted else "completed"
        records.append(record(config, structure, "explore", 0, accuracy, status))
        truths.append(truth)
    scored = [r for r in records if r["score"] is not None]
    scored.sort(key=lambda r: -sign * r["score"])
    confirmed: dict[int, list[float]] = {}
    shift = rng.normal(0, seed_noise, seeds)
    for place, chosen in enumerate(scored[:finalists]):
        base = finalist_scores[place] if finalist_scores else truths[chosen["id"]]
        for at in range(seeds):
            accuracy = float(np.clip(base + shift[at] + rng.normal(0, seed_noise), 0.02, 0.9999))
            fresh = record(
                dict(chosen["config"]), chosen["structure"], "confirm", at + 1, accuracy,
                "completed",
            )  # fmt: skip
            records.append(fresh)
            confirmed.setdefault(chosen["id"], []).append(fresh["score"])
    best = max(confirmed, key=lambda i: sign * np.mean(confirmed[i])) if confirmed else None
    if best is None and scored:
        best = scored[0]["id"]
    winner = next((r for r in records if r["id"] == best), None)
    if winner is not None and confirmed:
        again = [r for r in records if r["phase"] == "confirm" and r["config"] == winner["config"]]
        winner = max(again, key=lambda r: sign * r["score"])
    counts: dict[str, int] = {}
    for r in records:
        counts[r["status"]] = counts.get(r["status"], 0) + 1

    def as_metric(accuracy: float) -> dict[str, float]:
        return {metric: accuracy if sign > 0 else 1 - accuracy}

    summary: dict[str, Any] = {
        "run": "runs/digits-1",
        "name": "digits",
        "task": {
            "kind": "multiclass",
            "target": "digit",
            "classes": [str(i) for i in range(10)],
            "rows": {"train": 8 * rows, "validation": rows, "test": rows},
            "features": 64,
        },
        "metric": metric,
        "direction": direction,
        "best_config": winner["config"] if winner else None,
        "best_trial": winner["id"] if winner else None,
        "validation": winner["validation"] if winner else {},
        "test": {k: v - sign * 0.002 for k, v in winner["validation"].items()} if winner else {},
        "baselines": [
            {"name": "constant", "validation": as_metric(0.1), "test": as_metric(0.1),
             "seconds": 0.01},
            {"name": "logistic regression", "validation": as_metric(0.95),
             "test": as_metric(0.948), "seconds": 0.4},
            {"name": "boosted trees", "validation": as_metric(trees),
             "test": as_metric(trees - 0.002), "seconds": 2.0},
        ],
        "trials": counts,
        "seconds": {"total": 61.2, "compile": 8.1, "train": 44.0},
        "budget_seconds": 60,
        "device": "cpu, 2 cores",
        "versions": {"thalweg": "0.1.0", "python": "3.11.7", "jax": "0.10.2"},
        "seed": seed,
        "command": "thalweg fit digits --budget 60s",
        "answers": [],
        "notices": ["Dropped the constant column pixel_0_0."],
        "space": SPACE,
    }  # fmt: skip
    return records, summary


def in_another_unit(records: list[dict[str, Any]], factor: float) -> list[dict[str, Any]]:
    """The same records with every value of the metric multiplied by a factor."""
    scaled = []
    for record in records:
        copy = dict(record)
        copy["score"] = None if record["score"] is None else record["score"] * factor
        for split in ("validation", "train"):
            copy[split] = {key: value * factor for key, value in record[split].items()}
        copy["curve"] = dict(record["curve"])
        copy["curve"]["validation"] = [x * factor for x in record["curve"]["validation"]]
        scaled.append(copy)
    return scaled


def broken_runs() -> dict[str, tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Runs with too little, nothing or nonsense in them, by what is wrong."""
    records, summary = make_run(num_trials=24)
    one = ([records[0] | {"score": 0.9, "status": "completed"}], {"metric": "accuracy"})
    diverged = [r | {"status": "diverged", "score": None, "validation": {}, "train": {}}
                for r in records]  # fmt: skip
    blown = summary | {"best_trial": None, "best_config": None, "validation": {}, "test": {}}
    equal = [r | {"score": 0.5, "status": "completed", "validation": {"accuracy": 0.5},
                  "train": {"accuracy": 0.5}} for r in records]  # fmt: skip
    nans = [r | {"score": math.nan, "validation": {"accuracy": math.nan}} if r["id"] % 3 else r
            for r in records]  # fmt: skip
    bare = [{"id": r["id"], "score": r["score"]} for r in records]
    nulls = [dict.fromkeys(r, None) for r in records]
    return {
        "nothing": ([], {}),
        "only a summary": ([], summary),
        "one trial": one,
        "all diverged": (diverged, blown),
        "all equal": (equal, summary),
        "NaN scores": (nans, summary),
        "bare records": (bare, {}),
        "null records": (nulls, summary),
        "no summary": (records, {}),
        "infinite score": ([*records, records[0] | {"id": 999, "score": math.inf}], summary),
        "no finalists": make_run(num_trials=24, finalists=0),
        "one finalist": make_run(num_trials=24, finalists=1),
        "one seed": make_run(num_trials=24, seeds=1),
        "two trials": make_run(num_trials=2, finalists=0),
    }
