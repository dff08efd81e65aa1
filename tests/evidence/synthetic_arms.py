"""Comparisons that never happened: what their answers and their report are tested on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def make_comparison(
    effects: dict[str, float],
    *,
    seed: int = 0,
    num: int = 16,
    seeds: int = 5,
    noise: float = 0.004,
    point_noise: float = 0.004,
    spread: float = 0.05,
    rows: int = 2000,
    metric: str = "accuracy",
    direction: str = "maximize",
    over: tuple[str, ...] = ("optimizer",),
    failed: tuple[str, ...] = (),
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Make records and summary of a comparison.

    The score of an arm at a point is 0.95 plus the arm's effect, less a parabola in the point's
    learning rate (the same for all arms, ``spread`` at the ends), plus noise.
    """
    rng = np.random.default_rng(seed)
    sign = 1.0 if direction == "maximize" else -1.0
    records: list[dict[str, Any]] = []
    place = rng.permutation((np.arange(num) + 0.5) / num)
    block = rng.normal(0, noise, seeds)
    arms = []

    def add(arm: str, at: float, score: float, phase: str, own_seed: int) -> int:
        broken = arm in failed
        value = score if sign > 0 else 1 - score
        steps = [100 * step for step in range(1, 13)]
        course = [0.2 + (score - 0.2) * (1 - math.exp(-step / 300)) for step in steps]
        config = {"learning_rate": float(10 ** (-4 + 3 * at))}
        config |= dict(zip(over, arm.split(" · "), strict=False))
        records.append(
            {
                "id": len(records),
                "phase": phase,
                "config": config,
                "structure": "mlp",
                "seed": own_seed,
                "fold": None,
                "status": "diverged" if broken else "completed",
                "steps": steps[-1],
                "epochs": 12.0,
                "curve": {
                    "step": steps,
                    "validation": course if sign > 0 else [1 - value for value in course],
                },
                "score": None if broken else value,
                "validation": {} if broken else {metric: value},
                "train": {},
                "num_params": 1000,
                "seconds": 0.1,
            }
        )
        return len(records) - 1

    for arm, effect in effects.items():
        truth = 0.95 + effect - spread * (2 * place - 1) ** 2
        scores = truth + rng.normal(0, point_noise, num)
        explored = [add(arm, place[i], float(scores[i]), "explore", 0) for i in range(num)]
        chosen = int(np.argmax(scores))
        again = truth[chosen] + block + rng.normal(0, noise, seeds)
        confirmed = [
            add(arm, place[chosen], float(again[s]), "confirm", s + 1) for s in range(seeds)
        ]
        arms.append(
            {
                "name": arm,
                "levels": arm.split(" · "),
                "explored": explored,
                "confirmed": confirmed,
                "scores": [records[i]["score"] for i in confirmed],
                "space": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
            }
        )
    summary: dict[str, Any] = {
        "name": "digits",
        "metric": metric,
        "direction": direction,
        "task": {"rows": {"train": 4 * rows, "validation": rows, "test": rows}},
        "comparison": {
            "over": list(over),
            "levels": {
                name: list(dict.fromkeys(arm.split(" · ")[at] for arm in effects))
                for at, name in enumerate(over)
            },
            "nuisance": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
            "fixed": {"width": 64},
            "arms": arms,
            "split": "test",
            "row_covariance": None,
            "seeds": seeds,
            "epochs": 12.0,
        },
        "seconds": {"total": 12.0, "compile": 3.0, "train": 8.0},
        "versions": {"thalweg": "0.1.0"},
        "command": "thalweg compare digits --over optimizer",
        "notices": [],
    }
    return records, summary
