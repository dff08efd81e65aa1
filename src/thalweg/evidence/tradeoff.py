"""What does a smaller network cost in score?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, Answer, Verdict
from thalweg.evidence.view import View, candidate_ids, number, short

QUESTION = "Would a smaller network do?"
MOST_LISTED = 5
MUCH_SMALLER = 0.9
"""Share of the cost from which on a network is no smaller: less is the noise of a measured one."""
UNITS = {"flops": ("cost", "operations"), "latency": ("cost", "microseconds a row")}
"""Where the cost of a trial stands, and what it counts, by what was weighed against the score."""


def front(
    records: Sequence[Mapping[str, Any]], direction: str = "maximize", cost: str = "num_params"
) -> list[dict[str, Any]]:
    """Return the trials that no other trial beats in both score and cost, the cheapest first.

    Args:
        records: trial records; baselines, finalists' replicates and diverged ones are left out.
        direction: of the score, ``"maximize"`` or ``"minimize"``.
        cost: the key of what should be small: ``num_params``, or ``cost`` where a study weighed
            one against the score.

    Returns:
        Rows ``{"trial", "score", "cost", "structure", "config"}``.
    """
    sign = -1.0 if direction == "minimize" else 1.0
    rows = [
        (number(row.get(cost)), -sign * number(row.get("score")), row)
        for row in records
        if row.get("phase") not in ("confirm", "baseline") and row.get("status") != "diverged"
    ]
    rows = [row for row in rows if math.isfinite(row[0]) and math.isfinite(row[1])]
    found, best = [], math.inf
    for expense, loss, row in sorted(rows, key=lambda r: (r[0], r[1], str(r[2].get("id")))):
        if loss < best:
            best = loss
            found.append(
                {
                    "trial": row.get("id"),
                    "score": row.get("score"),
                    "cost": expense,
                    "structure": row.get("structure"),
                    "config": dict(row.get("config") or {}),
                }
            )
    return found


def answer_tradeoff(view: View) -> list[Answer]:
    """The smallest network whose score is not worse by more than matters, and the front."""
    objective = view.summary.get("against")
    key, unit = UNITS.get(objective or "", ("num_params", "parameters"))
    rows = front(view.searched, view.direction, key)
    scored = [c for c in view.all_candidates if math.isfinite(c.goodness)]
    if len({c.num_params for c in scored}) < 2 or not rows:
        return []
    best = rows[-1]
    near = [
        row
        for row in rows
        if view.sign * (best["score"] - row["score"]) <= view.margin
        and row["cost"] <= MUCH_SMALLER * best["cost"]
    ]
    small = near[0] if near else best
    share = small["cost"] / best["cost"] if best["cost"] else 1.0
    listed = rows if len(rows) <= MOST_LISTED else [*rows[: MOST_LISTED - 1], rows[-1]]
    table = "; ".join(
        f"{row['structure']} {short(row['score'], 4)} with {row['cost']:,.0f}" for row in listed
    )
    if small is best:
        claim = "No: whatever costs at least a tenth less is worse by more than the margin."
        advice = "Keep the size."
    else:
        claim = (
            f"Yes: {small['structure']} with {small['cost']:,.0f} {unit} ({share:.0%} of the best "
            f"one's) is worse by no more than {short(view.margin, 2)}."
        )
        advice = f"Where size or speed counts, take trial {small['trial']}."
    claim += f" Beaten by none in both {view.metric} and {unit}: {table}."
    verdict: Verdict = SUPPORTED if len(scored) >= 20 else NOT_ENOUGH
    known = {row["trial"] for row in rows}
    behind = [c for c in scored if known & set(c.trials)]
    return [
        Answer(
            QUESTION, claim, share, None, f"share of the {unit}", verdict, advice,
            candidate_ids(behind),
        )
    ]  # fmt: skip
