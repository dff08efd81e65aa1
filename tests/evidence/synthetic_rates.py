"""Maps of learning rates that were never trained, with basins and edges put where they are."""

from __future__ import annotations

from typing import Any

import numpy as np


def make_map(
    edges: dict[tuple[str, str], float],
    *,
    num: int = 16,
    seeds: int = 3,
    jitter: float = 0.0,
    best: float = -2.5,
    width: float = 1.0,
    quiet: bool = False,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Trials of every (optimizer, remedy), unstable from 10**edge on; best at 10**``best``.

    ``quiet`` runs blow up without a number that is not finite.
    """
    rng = np.random.default_rng(0)
    records: list[dict[str, Any]] = []
    entries = []
    for (optimizer, remedy), edge in edges.items():
        shifts = rng.normal(0, jitter, seeds)
        ids = []
        for log in np.linspace(-4.5, 0, num):
            ids.append([])
            for s in range(seeds):
                bad = log > edge + shifts[s]
                score = 0.95 - 0.05 * ((log - best) / width) ** 2 + rng.normal(0, 0.001)
                loss = 50.0 if bad else 1.0 - score
                records.append(
                    {
                        "id": len(records),
                        "phase": "explore",
                        "config": {"optimizer": optimizer, "learning_rate": float(10**log)},
                        "status": "diverged" if bad and not quiet else "completed",
                        "score": None if bad and not quiet else 0.1 if bad else float(score),
                        "seed": s,
                        "curve": {"step": [1, 2], "validation_loss": [2.3, loss]},
                    }
                )
                ids[-1].append(records[-1]["id"])
        entries.append({"optimizer": optimizer, "remedy": remedy, "trials": ids})
    summary = {
        "name": "digits",
        "metric": "accuracy",
        "direction": "maximize",
        "task": {"rows": {"validation": 2000}},
        "rate_map": entries,
    }
    return records, summary
