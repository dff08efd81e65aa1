"""What the answers read: the records and the summary of a run, cleaned once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

UNIT_METRICS = frozenset(
    ["accuracy", "balanced_accuracy", "f1", "f1_macro", "precision", "recall", "roc_auc",
     "average_precision", "top_5_accuracy", "matthews_corrcoef", "r2", "brier"]
)  # fmt: skip
"""Metrics whose values lie about 0..1, written with four decimals."""


def number(value: object) -> float:
    """The value as a float; NaN for None, text, or anything that is not a number."""
    if isinstance(value, bool) or value is None:
        return math.nan
    if isinstance(value, (int, float, np.integer, np.floating)):
        return float(value)
    return math.nan


def config_key(config: Mapping[str, Any] | None) -> str:
    """A Config as text that is equal for equal Configs."""
    return json.dumps(dict(config or {}), sort_keys=True, default=str)


def plain(name: object) -> str:
    """A name as a person writes it: ``learning_rate`` -> ``learning rate``; None -> ``none``."""
    return "none" if name is None else str(name).replace("_", " ")


def short(value: float, digits: int = 3) -> str:
    """A number with that many significant digits and no needless zeros."""
    if not math.isfinite(value):
        return "unknown"
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa}e{int(exponent)}"
    return text


def listed(names: Sequence[str], limit: int = 6) -> str:
    """Join names as in a sentence: ``a, b and c``; the tail of a long list is counted."""
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


@dataclass(frozen=True)
class Candidate:
    """One Config with what exploring found of it, averaged over its seeds and folds.

    Args:
        config: the Config.
        structure: name of its structure.
        trials: ids of its trials.
        goodness: mean score, signed so that more is better; NaN where every trial failed.
        diverged: whether any of its trials diverged.
        completed: whether all of its trials ran to the end.
        seconds: time it took.
        num_params: size of its network.
    """

    config: Mapping[str, Any]
    structure: str
    trials: tuple[int, ...]
    goodness: float
    diverged: bool
    completed: bool
    seconds: float
    num_params: float


@dataclass(frozen=True)
class View:
    """Records and summary of a run, with what several answers need of them.

    Args:
        records: trial records in any order.
        summary: the run's summary; any key may be missing.
    """

    records: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """Name of the metric that chooses."""
        return str(self.summary.get("metric") or "score")

    @property
    def direction(self) -> str:
        """``"maximize"`` or ``"minimize"``."""
        return "minimize" if self.summary.get("direction") == "minimize" else "maximize"

    @property
    def sign(self) -> float:
        """+1 where more of the metric is better, -1 where less is."""
        return -1.0 if self.direction == "minimize" else 1.0

    @property
    def unit(self) -> str:
        """The metric as the unit of an effect."""
        return plain(self.metric)

    @cached_property
    def decimals(self) -> int | None:
        """Decimals that a value of the metric is written with: two digits of the margin."""
        if self.metric in UNIT_METRICS:
            return 4
        if not (math.isfinite(self.margin) and self.margin > 0):
            return None
        return min(max(1 - math.floor(math.log10(self.margin)), 0), 8)

    def say(self, value: float) -> str:
        """A value of the metric, or a difference of two, as text."""
        if not math.isfinite(value):
            return "unknown"
        if self.decimals is None:
            return short(value, 4)
        text = f"{value:.{self.decimals}f}"
        return text.removeprefix("-") if float(text) == 0 else text

    def say_range(self, interval: tuple[float, float]) -> str:
        """An interval of the metric as text."""
        return f"95 % interval {self.say(interval[0])} to {self.say(interval[1])}"

    def goodness(self, record: Mapping[str, Any]) -> float:
        """The score, signed so that more is better; NaN where the trial diverged or has none."""
        score = number(record.get("score"))
        if record.get("status") == "diverged" or not math.isfinite(score):
            return math.nan
        return self.sign * score

    @cached_property
    def networks(self) -> tuple[Mapping[str, Any], ...]:
        """All trials but the baselines', by id."""
        rows = [record for record in self.records if record.get("phase") != "baseline"]
        return tuple(sorted(rows, key=_id_of))

    @cached_property
    def searched(self) -> tuple[Mapping[str, Any], ...]:
        """The trials of the search: all phases but confirmation and baselines."""
        return tuple(row for row in self.networks if row.get("phase") != "confirm")

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """The Configs that were drawn without looking at results: fair to compare by chance.

        Refined Configs are left out: a sampler that learns spends more trials where it has won.
        They stand in only when nothing was explored.
        """
        explored = [row for row in self.searched if row.get("phase") in (None, "explore")]
        return tuple(self._grouped(explored or list(self.searched) or list(self.networks)))

    @cached_property
    def all_candidates(self) -> tuple[Candidate, ...]:
        """Every Config of the search, refined ones too."""
        return tuple(self._grouped(list(self.searched) or list(self.networks)))

    def _grouped(self, rows: Iterable[Mapping[str, Any]]) -> Iterable[Candidate]:
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            groups.setdefault(config_key(row.get("config")), []).append(row)
        for _, members in sorted(groups.items()):
            values = [value for value in map(self.goodness, members) if math.isfinite(value)]
            yield Candidate(
                config=members[0].get("config") or {},
                structure=str(members[0].get("structure") or ""),
                trials=ids(members),
                goodness=math.fsum(values) / len(values) if values else math.nan,
                diverged=any(row.get("status") == "diverged" for row in members),
                completed=all(row.get("status") == "completed" for row in members),
                seconds=math.fsum(number(row.get("seconds") or 0) for row in members),
                num_params=number(members[0].get("num_params")),
            )

    @cached_property
    def worst(self) -> float:
        """The worst finite goodness seen: what a failed trial counts as where ranks are needed."""
        values = [c.goodness for c in self.all_candidates if math.isfinite(c.goodness)]
        return min(values, default=math.nan)

    def filled(self, candidates: Iterable[Candidate]) -> np.ndarray:
        """Goodness of Configs, float [N], failed ones counted as the worst seen."""
        values = [c.goodness if math.isfinite(c.goodness) else self.worst for c in candidates]
        return np.asarray(values, dtype=float)

    @cached_property
    def winner(self) -> Mapping[str, Any] | None:
        """The trial whose Config was chosen, or the best one where the summary names none."""
        wanted = self.summary.get("best_trial")
        for row in self.networks:
            if wanted is not None and row.get("id") == wanted:
                return row
        if self.summary.get("best_config"):
            key = config_key(self.summary["best_config"])
            for row in self.networks:
                if config_key(row.get("config")) == key and math.isfinite(self.goodness(row)):
                    return row
        scored = [row for row in self.networks if math.isfinite(self.goodness(row))]
        return max(scored, key=self.goodness, default=None)

    @cached_property
    def finalists(self) -> dict[str, dict[tuple[Any, Any], Mapping[str, Any]]]:
        """The confirmed Configs: key of the Config -> (seed, fold) -> its record."""
        table: dict[str, dict[tuple[Any, Any], Mapping[str, Any]]] = {}
        for row in self.networks:
            if row.get("phase") == "confirm":
                replicates = table.setdefault(config_key(row.get("config")), {})
                replicates[(row.get("seed"), row.get("fold"))] = row
        return table

    @cached_property
    def winner_replicates(self) -> tuple[Mapping[str, Any], ...]:
        """The winner's confirming trials, or the winner alone where nothing was confirmed."""
        if self.winner is None:
            return ()
        confirmed = self.finalists.get(config_key(self.winner.get("config")), {})
        return tuple(confirmed.values()) or (self.winner,)

    def rows(self, split: str) -> int | None:
        """Number of rows of a split, where the summary says."""
        task = self.summary.get("task")
        rows = task.get("rows") if isinstance(task, Mapping) else None
        count = number(rows.get(split)) if isinstance(rows, Mapping) else math.nan
        return int(count) if math.isfinite(count) and count > 0 else None

    def value(self, source: Mapping[str, Any] | None, split: str) -> float:
        """The metric in ``source[split]``; NaN where it is missing."""
        values = source.get(split) if source else None
        return number(values.get(self.metric)) if isinstance(values, Mapping) else math.nan

    def sampling_error(self, value: float, split: str, own: bool = True) -> float:
        """Standard error of the metric on a split because its rows are a sample, or NaN.

        Args:
            value: the metric there.
            split: ``"train"``, ``"validation"`` or ``"test"``.
            own: whether the value is the winner's: then ``summary["standard_error"]`` (split ->
                metric -> number) and ``summary["predictions"]`` are used where they are given.
        """
        from thalweg.evidence import statistics  # slow to import, and the leaderboard needs none

        given = self.value(self.summary.get("standard_error"), split)
        if own and math.isfinite(given):
            return given
        predictions = self.summary.get("predictions") if own else None
        if isinstance(predictions, dict) and predictions.get("split", "test") == split:
            return statistics.sampling_error(self.metric, value, self.rows(split), predictions)
        return statistics.sampling_error(self.metric, value, self.rows(split))

    @cached_property
    def seed_std(self) -> float:
        """Pooled standard deviation of a finalist's score over its seeds, or NaN."""
        squares, df = 0.0, 0
        for replicates in self.finalists.values():
            values = [self.goodness(row) for row in replicates.values()]
            values = sorted(value for value in values if math.isfinite(value))
            if len(values) > 1:
                squares += float(np.var(values)) * len(values)
                df += len(values) - 1
        return math.sqrt(squares / df) if df else math.nan

    @cached_property
    def margin(self) -> float:
        """The difference too small to matter: what the validation rows or the seeds can't show.

        The half-width of the winner's own 95 % interval from the sampling of validation rows;
        without a formula for it, two standard deviations over seeds; without seeds, a tenth of
        the way from the median trial to the best.
        """
        if self.winner is not None:
            error = self.sampling_error(number(self.winner.get("score")), "validation")
            if math.isfinite(error) and error > 0:
                return 1.96 * error
        if math.isfinite(self.seed_std) and self.seed_std > 0:
            return 2 * self.seed_std
        values = [c.goodness for c in self.all_candidates if math.isfinite(c.goodness)]
        return 0.1 * (max(values) - float(np.median(values))) if values else 0.0


def ids(rows: Iterable[Mapping[str, Any]]) -> tuple[int, ...]:
    """Ids of records, ascending, each once."""
    return tuple(sorted({int(row["id"]) for row in rows if isinstance(row.get("id"), int)}))


def candidate_ids(candidates: Iterable[Candidate]) -> tuple[int, ...]:
    """Ids of the trials of Configs, ascending, each once."""
    return tuple(sorted({trial for candidate in candidates for trial in candidate.trials}))


def _id_of(row: Mapping[str, Any]) -> tuple[bool, Any]:
    return (not isinstance(row.get("id"), int), row.get("id") or 0)
