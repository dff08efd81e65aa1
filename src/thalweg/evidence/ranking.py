"""The leaderboard: one row for each Config, its seeds together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.evidence.view import config_key, ids, number


def leaderboard(
    records: Sequence[Mapping[str, Any]], direction: str = "maximize", n: int | None = 10
) -> list[dict[str, Any]]:
    """Rank the Configs of a run, those confirmed over seeds first.

    A confirmed Config is ranked by its mean over seeds: the best of many single runs is partly
    lucky, so a single run cannot overtake a mean.

    Args:
        records: trial records; baselines are left out.
        direction: ``"maximize"`` or ``"minimize"``.
        n: how many rows at most, or None for all.

    Returns:
        Rows ``{"rank", "trial" (id of its best trial), "trials" (ids), "structure", "config",
        "phase", "status", "score" (mean), "std" (over seeds, or None), "seeds", "steps",
        "epochs", "num_params", "seconds"}``. Configs without a usable score come last, with the
        score None.
    """
    sign = -1.0 if direction == "minimize" else 1.0
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if record.get("phase") != "baseline":
            groups.setdefault(config_key(record.get("config")), []).append(record)
    rows = []
    for key, members in groups.items():
        confirmed = [row for row in members if row.get("phase") == "confirm"]
        judged = [row for row in confirmed or members if math.isfinite(_goodness(row, sign))]
        values = sorted(_goodness(row, sign) for row in judged)
        mean = float(np.mean(values)) if values else math.nan
        pool = judged or confirmed or members
        best = min(pool, key=lambda row: (-_rank(_goodness(row, sign)), str(row.get("id"))))
        rows.append(
            (
                (not values, len(confirmed) < 2, -_rank(mean), key),
                {
                    "trial": best.get("id"),
                    "trials": list(ids(members)),
                    "structure": str(best.get("structure") or ""),
                    "config": dict(best.get("config") or {}),
                    "phase": best.get("phase"),
                    "status": best.get("status"),
                    "score": sign * mean if values else None,
                    "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                    "seeds": len(values),
                    "steps": best.get("steps"),
                    "epochs": best.get("epochs"),
                    "num_params": best.get("num_params"),
                    "seconds": math.fsum(number(row.get("seconds") or 0) for row in members),
                },
            )
        )
    rows.sort(key=lambda pair: pair[0])
    return [{"rank": rank, **row} for rank, (_, row) in enumerate(rows[:n], start=1)]


def _goodness(record: Mapping[str, Any], sign: float) -> float:
    score = number(record.get("score"))
    return math.nan if record.get("status") == "diverged" else sign * score


def _rank(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
