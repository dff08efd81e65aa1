"""Which learning rate: the basin of rates that do well, and the edge above which runs diverge."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, Answer
from thalweg.evidence.statistics import ALPHA, fisher_exact, kruskal
from thalweg.evidence.view import Candidate, View, candidate_ids, number, short

QUESTION = "Which learning rate?"
MIN_TRIALS = 6
_LARGEST_STEP = 0.5  # decades between neighbouring good trials of one basin


@dataclass(frozen=True)
class Basin:
    """How the score of one optimizer depends on its learning rate.

    Args:
        optimizer: its name.
        candidates: its Configs that name a rate.
        best: the rate of its best Config.
        low, high: the range around it in which Configs came within ``tolerance`` of the best.
        tested: lowest and highest rate tried.
        tolerance: in units of the metric.
        edge: the rate from which on most runs diverge, or None.
        diverged_above, runs_above: how many of how many did so at or above the edge.
        p: p-value of the rate making no difference (Kruskal-Wallis over three bands of rates).
    """

    optimizer: str
    candidates: tuple[Candidate, ...]
    best: float
    low: float
    high: float
    tested: tuple[float, float]
    tolerance: float
    edge: float | None
    diverged_above: int
    runs_above: int
    p: float

    @property
    def decades(self) -> float:
        """Width of the basin in powers of ten."""
        return math.log10(self.high / self.low)


def basin_of(view: View, optimizer: str, candidates: tuple[Candidate, ...]) -> Basin | None:
    """Find the basin and the stable edge of one optimizer.

    Args:
        view: the run.
        optimizer: its name.
        candidates: its Configs; those without a positive learning rate are left out.

    Returns:
        The basin, or None where nothing finite was scored.
    """
    rated = [c for c in candidates if number(c.config.get("learning_rate")) > 0]
    rated.sort(key=lambda c: (number(c.config["learning_rate"]), c.trials))
    if not any(math.isfinite(c.goodness) for c in rated):
        return None
    rates = np.array([number(c.config["learning_rate"]) for c in rated])
    goodness = view.filled(rated)
    raw = np.array([c.goodness for c in rated])
    tolerance = view.margin
    best = int(np.nanargmax(raw))
    good = np.flatnonzero(np.nan_to_num(raw, nan=-np.inf) >= raw[best] - tolerance)
    low = high = rates[best]
    for index in good[good >= best]:
        if math.log10(rates[index] / high) > _LARGEST_STEP:
            break
        high = rates[index]
    for index in good[good <= best][::-1]:
        if math.log10(low / rates[index]) > _LARGEST_STEP:
            break
        low = rates[index]
    edge, bad, above = stable_edge(rates, np.array([c.diverged for c in rated]))
    bands = np.array_split(goodness, 3) if len(rated) >= MIN_TRIALS else []
    return Basin(
        optimizer, tuple(rated), float(rates[best]), float(low), float(high),
        (float(rates[0]), float(rates[-1])), tolerance, edge, bad, above, kruskal(bands),
    )  # fmt: skip


def stable_edge(rates: np.ndarray, diverged: np.ndarray) -> tuple[float | None, int, int]:
    """The rate that best parts the runs that diverge from those that don't.

    Args:
        rates: float [N], ascending.
        diverged: bool [N].

    Returns:
        The edge, and how many of how many runs at or above it diverged; None where divergence
        has no clear relation to the rate (Fisher's exact test at 1 %, because the edge is chosen
        by looking).
    """
    n, total = len(rates), int(diverged.sum())
    if total < 2:
        return None, 0, 0
    above = np.concatenate([np.cumsum(diverged[::-1])[::-1], [0]])
    stable_above = np.arange(n, -1, -1) - above
    wrong = (total - above) + stable_above
    cut = int(np.argmin(wrong))
    if cut == n:
        return None, 0, 0
    bad, runs = int(above[cut]), n - cut
    if cut == 0:
        return (float(rates[0]), bad, runs) if bad == n else (None, 0, 0)
    p = fisher_exact([[bad, runs - bad], [total - bad, cut - (total - bad)]])
    return (float(rates[cut]), bad, runs) if p < 0.01 else (None, 0, 0)


def basins(view: View) -> list[Basin]:
    """The basin of every optimizer that was tried, the winner's first, then by best score."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in view.all_candidates:
        groups.setdefault(str(candidate.config.get("optimizer", "")), []).append(candidate)
    found = [basin_of(view, name, tuple(group)) for name, group in groups.items()]
    winner = ((view.winner or {}).get("config") or {}).get("optimizer", "")

    def order(basin: Basin) -> tuple[bool, float, str]:
        best = max(c.goodness for c in basin.candidates if math.isfinite(c.goodness))
        return (basin.optimizer != str(winner), -best, basin.optimizer)

    return sorted((basin for basin in found if basin is not None), key=order)


def answer_rates(view: View) -> list[Answer]:
    """The range of rates that do as well as the best, and where runs begin to diverge."""
    found = basins(view)
    if not found:
        return []
    basin = found[0]
    name = basin.optimizer or "the optimizer"
    n = len(basin.candidates)
    if n < MIN_TRIALS:
        return [
            Answer(
                QUESTION,
                f"The best run of {name} used {short(basin.best, 2)}, but {n} trials cannot show "
                "how much the rate matters.",
                basin.best,
                None,
                "learning rate",
                NOT_ENOUGH,
                f"Start from {short(basin.best, 2)} and try three times more and less.",
                candidate_ids(basin.candidates),
            )
        ]
    width = f"{short(basin.decades, 2)} decades" if basin.high > basin.low else "a single trial"
    span = (
        f"{short(basin.low, 2)} to {short(basin.high, 2)}"
        if basin.high > basin.low
        else short(basin.best, 2)
    )
    claim = (
        f"For {name}, {short(basin.best, 2)}: rates from {span} ({width}) came within "
        f"{view.say(basin.tolerance)} of its best {view.unit}."
    )
    if basin.edge is not None:
        claim += (
            f" From {short(basin.edge, 2)} up {basin.diverged_above} of {basin.runs_above} "
            "runs diverged."
        )
    matters = basin.p < ALPHA
    if not matters:
        claim += " Over the range tried, the rate made no difference that these trials can show."
    others = [b for b in found[1:] if len(b.candidates) >= MIN_TRIALS][:3]
    if others:
        claim += " Others: " + "; ".join(
            f"{b.optimizer} {short(b.low, 2)} to {short(b.high, 2)}" for b in others
        ) + "."  # fmt: skip
    return [
        Answer(
            QUESTION,
            claim,
            basin.best,
            (basin.low, basin.high),
            f"learning rate of {name}; the interval is the range within "
            f"{view.say(basin.tolerance)} of the best",
            SUPPORTED if matters else NOT_ENOUGH,
            _advice(basin),
            candidate_ids(basin.candidates),
        )
    ]


def _advice(basin: Basin) -> str:
    tested_low, tested_high = basin.tested
    if basin.high / tested_high > 0.7 and basin.edge is None:
        return (
            f"The good rates reach the top of the range tried: search above {short(tested_high)}."
        )
    if basin.low / tested_low < 1.4:
        return f"The good rates reach the bottom of the range: search below {short(tested_low)}."
    if basin.edge is not None and basin.edge < 3 * basin.best:
        return (
            f"The best rate is close to where runs diverge ({short(basin.edge, 2)}): "
            "a slightly lower one is safer."
        )
    if basin.decades < 0.3:
        return "The basin is narrow: search this decade more finely."
    return f"Start from {short(math.sqrt(basin.low * basin.high), 2)}, the middle of the basin."
