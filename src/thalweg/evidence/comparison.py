"""A question as an experiment: arms with equal trials, the best of each over the same seeds.

Two things can go wrong when the best of one arm is compared with the best of another, and each has
its own guard. The scores vary from seed to seed and with the rows they are counted on: paired
intervals over the seeds, with the rows' covariance added, and Holm's correction over all pairs. And
the best of a few trials is partly luck of the search: the search is repeated on points drawn anew
from those that were tried, and a lead counts only where the order stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, TIE, Verdict
from thalweg.evidence.effort import expected_best, first_reached
from thalweg.evidence.statistics import ALPHA, Estimate, holm, with_error
from thalweg.evidence.view import View, number

FEW_TRIALS = 5
"""The small budget at which arms are compared beside the whole one."""

TARGETS = (0.5, 0.75, 0.9, 0.95, 0.99)
"""Targets, as shares of the way from the worst start to the end of the median arm."""

RESAMPLES = 2_000
_RANDOM_SEED = 20_240_229


@dataclass(frozen=True)
class ArmResult:
    """What one arm came to.

    Args:
        name: as it is called in tables.
        levels: its level of each factor.
        explored: goodness of its trials in the order of the points, [N]; NaN where one failed.
        diverged: how many of them diverged.
        confirmed: goodness of its best under the fresh seeds on the rows that judge, [S].
        validation: the same on the validation rows, [S].
        config: its best Config.
        explored_ids, confirmed_ids: ids of the trials behind it.
        rows: the records of its confirmed trials.
        seconds: of one full training.
        num_params: size of its network.
    """

    name: str
    levels: tuple[str, ...]
    explored: np.ndarray
    diverged: int
    confirmed: np.ndarray
    validation: np.ndarray
    config: Mapping[str, Any]
    explored_ids: tuple[int, ...]
    confirmed_ids: tuple[int, ...]
    rows: tuple[Mapping[str, Any], ...]
    seconds: float
    num_params: float

    @property
    def mean(self) -> float:
        """Mean goodness of its best over the fresh seeds; NaN where all failed."""
        finite = self.confirmed[np.isfinite(self.confirmed)]
        return float(np.mean(finite)) if finite.size else math.nan

    @property
    def complete(self) -> bool:
        """Whether every fresh seed gave a score."""
        return self.confirmed.size > 0 and bool(np.isfinite(self.confirmed).all())


@dataclass(frozen=True)
class Pair:
    """One arm against another.

    Args:
        first, second: their places in ``Experiment.arms``, the better first.
        estimate: the first less the second over the seeds, with its interval and raw p-value.
        p: the p-value adjusted over all pairs.
        reversal: share of searches on resampled points in which the second came out ahead; NaN
            where there was nothing to search.
        verdict: whether the difference is borne out.
    """

    first: int
    second: int
    estimate: Estimate
    p: float
    reversal: float
    verdict: Verdict


@dataclass(frozen=True)
class Experiment:
    """A comparison's records and summary, read once.

    Args:
        view: records and summary; ``summary["comparison"]`` says which trials belong to which arm.
    """

    view: View

    @property
    def protocol(self) -> Mapping[str, Any]:
        """What was compared, tuned and fixed."""
        found = self.view.summary.get("comparison")
        return found if isinstance(found, Mapping) else {}

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of what was compared."""
        return tuple(map(str, self.protocol.get("over") or ()))

    @property
    def split(self) -> str:
        """The rows that judge: ``"test"`` where there are any, else ``"validation"``."""
        return str(self.protocol.get("split") or "validation")

    @cached_property
    def arms(self) -> tuple[ArmResult, ...]:
        """The arms in the order of the design."""
        known = {row.get("id"): row for row in self.view.records}
        return tuple(
            self._arm(entry, known)
            for entry in self.protocol.get("arms") or ()
            if isinstance(entry, Mapping)
        )

    def _arm(self, entry: Mapping[str, Any], known: Mapping[Any, Mapping[str, Any]]) -> ArmResult:
        view = self.view
        explored = [known[i] for i in entry.get("explored") or () if i in known]
        confirmed = [known[i] for i in entry.get("confirmed") or () if i in known]
        validation = np.array([view.goodness(row) for row in confirmed], dtype=float)
        held_out = [view.sign * number(value) for value in entry.get("scores") or ()]
        judged = np.array(held_out, dtype=float) if held_out else validation
        goodness = np.array([view.goodness(row) for row in explored], dtype=float)
        best = explored[int(np.nanargmax(goodness))] if np.isfinite(goodness).any() else {}
        config = (confirmed[0] if confirmed else best).get("config") or {}
        finished = [row for row in explored + confirmed if row.get("status") == "completed"]
        seconds = [number(row.get("seconds")) for row in finished]
        return ArmResult(
            str(entry.get("name")),
            tuple(map(str, entry.get("levels") or ())),
            goodness,
            sum(row.get("status") == "diverged" for row in explored),
            judged,
            validation,
            config,
            tuple(int(row["id"]) for row in explored),
            tuple(int(row["id"]) for row in confirmed),
            tuple(confirmed),
            float(np.median(seconds)) if seconds else math.nan,
            number((finished or explored or [{}])[0].get("num_params")),
        )

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Places of the arms, best first; those without a score last."""

        def key(place: int) -> tuple[bool, float, int]:
            arm = self.arms[place]
            return (not math.isfinite(arm.mean), -arm.mean if arm.complete else math.inf, place)

        return tuple(sorted(range(len(self.arms)), key=key))

    @cached_property
    def judged(self) -> tuple[int, ...]:
        """Places of the arms whose every seed gave a score, best first."""
        return tuple(place for place in self.order if self.arms[place].complete)

    @cached_property
    def trials_each(self) -> int:
        """How many trials each arm had."""
        return min((len(arm.explored) for arm in self.arms), default=0)

    @cached_property
    def filled(self) -> np.ndarray:
        """Goodness of the explored trials, [arms, N], failed ones as the worst seen."""
        num = self.trials_each
        table = np.array([arm.explored[:num] for arm in self.arms], dtype=float)
        table = table.reshape(len(self.arms), num)
        worst = np.nanmin(table) if np.isfinite(table).any() else 0.0
        return np.where(np.isfinite(table), table, worst)

    @cached_property
    def row_covariance(self) -> np.ndarray:
        """Covariance of the arms' scores over the sampling of rows; 0 where it is not known."""
        num = len(self.arms)
        given = self.protocol.get("row_covariance")
        if given is None:
            return np.zeros((num, num))
        table = np.array([[number(value) for value in row] for row in given], dtype=float)
        return np.nan_to_num(table) if table.shape == (num, num) else np.zeros((num, num))

    @property
    def margin(self) -> float:
        """The difference too small to matter: what the judging rows or the seeds cannot show.

        Half the width of the best arm's own 95 % interval from the sampling of rows; without a
        formula for it, two standard deviations over seeds.
        """
        if self.judged:
            best = self.arms[self.judged[0]]
            error = self.view.sampling_error(self.view.sign * best.mean, self.split, own=False)
            if not (math.isfinite(error) and error > 0):
                error = math.sqrt(max(float(self.row_covariance[(self.judged[0],) * 2]), 0.0))
            if error > 0:
                return 1.96 * error
        spreads = [float(np.std(self.arms[i].confirmed, ddof=1)) for i in self.judged
                   if self.arms[i].confirmed.size > 1]  # fmt: skip
        return 2 * float(np.sqrt(np.mean(np.square(spreads)))) if spreads else 0.0

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Every arm against every other, the better first, Holm-corrected over all of them."""
        places = self.judged
        scores = np.array([self.arms[i].confirmed for i in places], dtype=float)
        if len(places) < 2 or scores.shape[1] < 2:
            return ()
        covariance = self.row_covariance[np.ix_(places, places)]
        found: list[tuple[int, int, Estimate]] = []
        for a in range(len(places)):
            for b in range(a + 1, len(places)):
                rows = covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]
                found.append((a, b, paired_over_seeds(scores, a, b, max(float(rows), 0.0))))
        adjusted = holm([estimate.p for _, _, estimate in found])
        reversals = self._reversals(places)
        pairs = []
        for (a, b, estimate), p in zip(found, adjusted, strict=True):
            reversal = float(reversals[a, b])
            verdict: Verdict = NOT_ENOUGH
            stable = not math.isfinite(reversal) or reversal < ALPHA
            if p < ALPHA and estimate.low > 0 and stable:
                verdict = SUPPORTED
            elif estimate.within(self.margin):
                verdict = TIE
            pairs.append(Pair(places[a], places[b], estimate, float(p), reversal, verdict))
        return tuple(pairs)

    def _reversals(self, places: Sequence[int]) -> np.ndarray:
        """Share of resampled searches in which the row's arm does not beat the column's."""
        num = self.trials_each
        if num < 2:
            return np.full((len(places), len(places)), math.nan)
        return reversal_shares(self.filled[list(places)])

    def pair(self, first: int, second: int) -> Pair | None:
        """The comparison of two arms by their places, in either order."""
        wanted = {first, second}
        return next((p for p in self.pairs if {p.first, p.second} == wanted), None)

    # ------------------------------------------------------------------------------------ effort

    def best_of_few(self, place: int) -> float:
        """Mean best goodness of ``FEW_TRIALS`` of an arm's trials, or of all where it has fewer."""
        values = expected_best(self.filled[place])
        return float(values[min(FEW_TRIALS, len(values)) - 1]) if len(values) else math.nan

    def best_of_all(self, place: int) -> float:
        """Best goodness of all of an arm's trials."""
        return float(self.filled[place].max()) if self.trials_each else math.nan

    @cached_property
    def targets(self) -> tuple[float, ...]:
        """Values of goodness that the times to target are counted to."""
        starts, ends = [], []
        for place in self.judged:
            for _, values in self._curves(place):
                finite = [value for value in values if math.isfinite(value)]
                if finite:
                    starts.append(finite[0])
            ends.append(float(np.nanmean(self.arms[place].validation)))
        if not starts or not ends or float(np.median(ends)) <= min(starts):
            return ()
        low, high = min(starts), float(np.median(ends))
        return tuple(low + share * (high - low) for share in TARGETS)

    def _curves(self, place: int) -> list[tuple[list[float], list[float]]]:
        curves = []
        for row in self.arms[place].rows:
            curve = row.get("curve") or {}
            steps = [number(step) for step in curve.get("step") or []]
            values = [self.view.sign * number(v) for v in curve.get("validation") or []]
            curves.append((steps, values))
        return curves

    @cached_property
    def steps_to_target(self) -> np.ndarray:
        """Steps until each target, [arms, seeds, targets]; infinity where it is not reached."""
        most = max((len(arm.rows) for arm in self.arms), default=0)
        table = np.full((len(self.arms), most, len(self.targets)), np.inf)
        for place in range(len(self.arms)):
            for at, (steps, values) in enumerate(self._curves(place)):
                for which, target in enumerate(self.targets):
                    table[place, at, which] = first_reached(steps, values, target)
        return table

    def step_seconds(self, place: int) -> float:
        """Seconds of one step of an arm, from its own trainings."""
        shares = [
            number(row.get("seconds")) / number(row.get("steps"))
            for row in self.arms[place].rows
            if number(row.get("steps")) > 0
        ]
        return float(np.median(shares)) if shares else math.nan

    # ------------------------------------------------------------------------------- interactions

    @cached_property
    def grid(self) -> np.ndarray | None:
        """Goodness of a pair of factors, [A, B, S]; None without a pair or where an arm failed."""
        if len(self.factors) != 2 or len(self.judged) < len(self.arms) or not self.arms:
            return None
        levels = self.level_names
        table = np.full((len(levels[0]), len(levels[1]), self.arms[0].confirmed.size), np.nan)
        for arm in self.arms:
            at = levels[0].index(arm.levels[0]), levels[1].index(arm.levels[1])
            table[at] = arm.confirmed
        return table if np.isfinite(table).all() else None

    @cached_property
    def level_names(self) -> tuple[list[str], ...]:
        """Names of each factor's levels, in order."""
        return tuple(
            list(dict.fromkeys(arm.levels[place] for arm in self.arms))
            for place in range(len(self.factors))
        )


def paired_over_seeds(scores: np.ndarray, a: int, b: int, row_variance: float = 0.0) -> Estimate:
    """Difference of two arms over the same seeds.

    The variance over seeds is the larger of the pair's own and the one pooled over all arms, with
    its own degrees of freedom: with few seeds a pair's own variance may be small by chance, and
    arms need not be equally noisy (in simulations with 5 seeds the interval covers 0.95 to 0.97,
    with arms that differ tenfold in noise too). The rows' variance, known from many rows, is added
    (Welch and Satterthwaite).

    Args:
        scores: goodness, float [K, S], arms by seeds.
        a: the one arm.
        b: the other, whose mean is taken off.
        row_variance: variance of the difference over the sampling of rows.
    """
    k, s = scores.shape
    residual = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    df = (k - 1) * (s - 1)
    pooled = 2 * float(np.sum(residual**2)) / df
    difference = scores[a] - scores[b]
    value = float(np.mean(np.sort(difference)))
    own = float(np.var(difference, ddof=1))
    over_seeds, df = (own / s, s - 1) if own > pooled else (pooled / s, df)
    if over_seeds <= (1e-12 * float(np.max(np.abs(scores), initial=0.0))) ** 2:
        over_seeds = 0.0
    total = over_seeds + row_variance
    freedom = math.inf if over_seeds == 0 else df * (total / over_seeds) ** 2
    return with_error(value, math.sqrt(total), freedom)


def reversal_shares(goodness: np.ndarray) -> np.ndarray:
    """How often one arm fails to beat another when the search is repeated on resampled points.

    Points are drawn with replacement, the same for all arms (they share them); the best of each
    arm's draws is compared. Ties count half.

    Args:
        goodness: float [K, N], arms by points.

    Returns:
        float [K, K], the share in which the row's arm does not beat the column's.
    """
    k, n = goodness.shape
    rng = np.random.default_rng(_RANDOM_SEED)
    draws = rng.integers(n, size=(RESAMPLES, n))
    best = goodness[:, draws].max(axis=2)
    below = best[:, None] < best[None, :]
    level = best[:, None] == best[None, :]
    return (below + 0.5 * level).mean(axis=2).reshape(k, k)


@dataclass(frozen=True)
class Interaction:
    """Whether the best level of one factor depends on the other's.

    Args:
        p: p-value of no interaction (F test of a factorial with seeds as blocks).
        largest: the largest departure from adding the two factors' effects up, with its interval
            (Bonferroni over all cells).
        cell: names of the two levels where it is.
        reverses: whether the best level of the first factor differs between levels of the second
            by differences that are each borne out.
    """

    p: float
    largest: Estimate
    cell: tuple[str, str]
    reverses: bool


def interaction(experiment: Experiment) -> Interaction | None:
    """Test a pair of factors for interaction; None where there is no pair or an arm failed."""
    grid = experiment.grid
    if grid is None or grid.shape[2] < 2:
        return None
    p, effects, error, df = factorial(grid)
    rows, columns = experiment.level_names
    at = np.unravel_index(int(np.argmax(np.abs(effects))), effects.shape)
    level = 1 - ALPHA / effects.size
    largest = with_error(float(effects[at]), error, df, level)
    wins = {
        (experiment.arms[pair.first].levels[0], experiment.arms[pair.second].levels[0])
        for pair in experiment.pairs
        if pair.verdict == SUPPORTED
        and experiment.arms[pair.first].levels[1] == experiment.arms[pair.second].levels[1]
    }
    turned = any((second, first) in wins for first, second in wins)
    return Interaction(p, largest, (rows[int(at[0])], columns[int(at[1])]), turned)


def factorial(grid: np.ndarray) -> tuple[float, np.ndarray, float, float]:
    """Two-way analysis of variance with seeds as blocks.

    y_abs = m + α_a + β_b + (αβ)_ab + σ_s + ε.

    Args:
        grid: float [A, B, S].

    Returns:
        The p-value of (αβ) = 0, the estimates of (αβ) [A, B], their standard error, and its
        degrees of freedom.
    """
    from scipy import stats

    a, b, s = grid.shape
    cells = grid.mean(axis=2)
    effects = cells - cells.mean(1, keepdims=True) - cells.mean(0) + cells.mean()
    residual = grid - cells[:, :, None] - grid.mean(axis=(0, 1)) + grid.mean()
    df = (a * b - 1) * (s - 1)
    freedom = (a - 1) * (b - 1)
    variance = float(np.sum(residual**2)) / df
    between = s * float(np.sum(effects**2)) / freedom
    scale = float(np.max(np.abs(grid), initial=0.0))
    if variance <= (1e-12 * scale) ** 2:
        p = 1.0 if between <= (1e-9 * scale) ** 2 else 0.0
        return p, effects, 0.0, math.inf
    p = float(stats.f.sf(between / variance, freedom, df))
    error = math.sqrt(variance / s * freedom / (a * b))
    return p, effects, error, float(df)
