"""Bayesian optimisation: a Gaussian process over the space, and batches by expected improvement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from thalweg.search.axes import Axes
from thalweg.search.gp import Kernel, Posterior, fit
from thalweg.search.history import History, encode
from thalweg.search.learner import Learner
from thalweg.search.mutation import mutate
from thalweg.search.sobol import Sobol
from thalweg.space import Config, Space

MOST_FITTED = 256
"""Observations from which the kernel's hyperparameters are fitted."""

TRUSTED = 100
"""Observations from which on a fit only starts where the last one ended."""

MOST_KNOWN = 1000
"""Observations that the process is conditioned on."""

NUM_CANDIDATES = 1024
LOCAL_SCALES = (0.3, 0.1, 0.03, 0.01)
NUM_STARTS = 8

FEW = 4
"""Proposals at a time that are chosen with more care."""

STALE, TURN = 5, 3
"""Values told since the best one, from which on every third proposal is of another kind: a process
that takes what it knows from far away for certain does not look beside its best point again."""

DOUBT = 4.0
"""Standard deviations by which the process is taken to be wrong there."""

AXIS_STEPS = (-0.2, -0.1, -0.05, -0.02, 0.02, 0.05, 0.1, 0.2)


def num_startup(space: Space) -> int:
    """Return how many points a model should have seen before it is asked."""
    return max(8, min(len(space.free) + 1, 16))


@dataclass(frozen=True)
class GaussianProcess(Learner):
    """Proposes where a Gaussian process expects most improvement.

    A batch is chosen one by one: after each choice the process is conditioned on its own mean
    there, which takes the uncertainty away around it and leaves the mean as it is. Numbers, kinds
    and conditional hyperparameters share one kernel; scores of stopped trainings enter as what they
    would probably have become, with the uncertainty of that (``History.finals``).

    Source: Jones, Schonlau and Welch, "Efficient global optimization of expensive black-box
    functions", 1998; batches: Desautels, Krause and Burdick, "Parallelizing
    exploration-exploitation tradeoffs in Gaussian process bandit optimization", 2014; the
    logarithm: Ament, Daulton, Eriksson, Balandat and Bakshy, "Unexpected improvements to expected
    improvement for Bayesian optimization", 2023.
    """

    theta: tuple[float, ...] = field(default=())

    def ask(self, num: int) -> tuple[GaussianProcess, list[Config]]:
        """Return the next state and up to ``num`` Configs; fewer where no others are left."""
        from threadpoolctl import threadpool_limits

        if num < 1:
            return self, []
        values, extra = targets(self.known)
        if len(values) < num_startup(self.space) or not self.space.free:
            _, configs = Sobol(self.space, self.seed, self.num_asked).ask(num)
            points = np.array([encode(self.space, c) for c in configs])
            theta = self.theta
        else:
            # Matrices are so small that a second thread of LAPACK costs more than it saves, and
            # many times more where the machine is busy training.
            with threadpool_limits(1):
                kernel, points = self._propose(num, values, extra)
            configs = self.space.decode(np.where(np.isnan(points), 0.5, points))
            theta = tuple(float(t) for t in kernel.theta)
        return (
            replace(
                self,
                num_asked=self.num_asked + num,
                history=self.known.asked(points),
                theta=theta,
            ),
            configs,
        )

    def _propose(
        self, num: int, values: np.ndarray, extra: np.ndarray
    ) -> tuple[Kernel, np.ndarray]:
        axes, history = self.axes, self.known
        rng = np.random.default_rng([0x6A0, self.seed, self.num_asked])
        features = axes.features(history.points)
        chosen = _subset(values, MOST_FITTED, rng)
        starts = [Kernel.default(*axes.columns)]
        if len(self.theta) == len(starts[0].theta):
            warm = replace(starts[0], theta=np.array(self.theta))
            # While there is little to go by, the last fit may have been a bad one.
            starts = [warm, *starts] if len(values) < TRUSTED else [warm]
        kernel = fit(starts, features[chosen], values[chosen], extra[chosen])
        rows = _subset(values, MOST_KNOWN, rng)
        posterior = Posterior(kernel, features[rows], values[rows], extra[rows])
        # With noise the best score is partly luck: what counts is where the process is highest.
        best = float(posterior(features[rows])[0].max())
        candidates = candidate_points(axes, history.points, values, num, rng)
        for scale in _refinements(num):
            candidates = self._refine(posterior, candidates, best, scale, rng)
        candidates = unseen(candidates, history)
        if not len(candidates):
            return kernel, candidates
        if num <= FEW and _in_doubt(values):
            doubted = unseen(along_axes(axes, history.points[int(values.argmax())]), history)
            if len(doubted):
                mean, variance = posterior(axes.features(doubted))
                first = doubted[[int((mean + DOUBT * np.sqrt(variance)).argmax())]]
                pending = np.concatenate([history.pending, first])
                rest = choose_batch(axes, posterior, candidates, pending, best, num - 1)
                return kernel, np.concatenate([first, rest])
        return kernel, choose_batch(axes, posterior, candidates, history.pending, best, num)

    def _refine(
        self,
        posterior: Posterior,
        candidates: np.ndarray,
        best: float,
        num_starts: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Climb from the best candidates along their numbers, and add where that leads."""
        axes = self.axes
        mean, variance = posterior(axes.features(candidates))
        order = np.argsort(-log_expected_improvement(mean, np.sqrt(variance), best))
        # The very best, and others at random from the upper ranks, so that peaks are not all one.
        upper = order[num_starts // 2 : 16 * num_starts]
        drawn = rng.choice(upper, min(num_starts - num_starts // 2, len(upper)), replace=False)
        starts = candidates[np.concatenate([order[: num_starts // 2], drawn])]
        return np.concatenate([climb(axes, posterior, starts, best), candidates])

    def state(self) -> dict[str, Any]:
        """Return what was asked and told, and the kernel that was fitted last."""
        return {**super().state(), "theta": list(self.theta)}

    @classmethod
    def restore(cls, space: Space, seed: int, state: Mapping[str, Any]) -> GaussianProcess:
        """Return the searcher that ``state`` was taken of."""
        history = History.from_state(space, state["history"])
        return cls(history.space, seed, state["num_asked"], history, tuple(state["theta"]))


def _refinements(num: int) -> tuple[int, ...]:
    """Return how many starts are climbed from, round by round."""
    return (NUM_STARTS, NUM_STARTS) if num <= FEW else (2 * NUM_STARTS,)


def _in_doubt(values: np.ndarray) -> bool:
    """Whether the best value is old, and this is the turn to look where the process does not."""
    since = len(values) - 1 - int(values.argmax())
    return since >= STALE and (since - STALE) % TURN == 0


def along_axes(axes: Axes, point: np.ndarray) -> np.ndarray:
    """Return a point moved along one number at a time, by several lengths, [M, D]."""
    moved = []
    for axis in range(axes.num):
        if np.isnan(point[axis]) or (axes.kinds and axes.kinds[axis]):
            continue
        for length in AXIS_STEPS:
            one = point.copy()
            one[axis] = min(max(one[axis] + length, 0.0), np.nextafter(1.0, 0.0))
            moved.append(one)
    return axes.settle(np.array(moved)) if moved else np.empty((0, len(point)))


def targets(history: History) -> tuple[np.ndarray, np.ndarray]:
    """Return what a model learns of each Config: a standardised value, and its extra variance.

    Scores are put on a scale on which they are about normal (Yeo and Johnson's power transform of
    the regret), very bad ones are cut off, and trainings that diverged count as the worst.
    """
    means, sds = history.finals()
    finite = np.isfinite(means)
    if finite.sum() < 2:
        return np.zeros(0), np.zeros(0)
    good = means[finite]
    middle, low = np.median(good), np.quantile(good, 0.1)
    floor = middle - 4.0 * max(middle - low, good.max() - middle, 1e-12)
    means = np.where(finite, np.maximum(means, floor), max(float(good.min()), floor))
    scale = float(means.std()) or 1.0
    standard = (means - means.mean()) / scale
    warped, slope = power_transform(standard)
    return warped, (sds / scale * slope) ** 2


def power_transform(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return standardised values on their most normal scale, and by how much each is stretched.

    Source: Yeo and Johnson, "A new family of power transformations to improve normality or
    symmetry", 2000; its use here: Cowen-Rivers et al., "HEBO: pushing the limits of
    sample-efficient hyper-parameter optimisation", 2022.
    """
    from scipy.stats import yeojohnson_llf

    grid = np.linspace(-1.0, 4.0, 21)
    fits = [float(yeojohnson_llf(p, values)) for p in grid]
    power = float(grid[int(np.nanargmax(fits))])
    up, down = np.maximum(values, 0.0), np.maximum(-values, 0.0)
    raised = np.log1p(up) if abs(power) < 1e-9 else ((1 + up) ** power - 1) / power
    rest = 2.0 - power
    lowered = np.log1p(down) if abs(rest) < 1e-9 else ((1 + down) ** rest - 1) / rest
    warped = np.where(values >= 0, raised, -lowered)
    slope = np.where(values >= 0, (1 + up) ** (power - 1), (1 + down) ** (1 - power))
    scale = float(warped.std()) or 1.0
    return (warped - warped.mean()) / scale, slope / scale


def _subset(values: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return rows: the best half, and others at random."""
    if len(values) <= most:
        return np.arange(len(values))
    order = np.argsort(-values, kind="stable")
    rest = rng.choice(order[most // 2 :], most - most // 2, replace=False)
    return np.sort(np.concatenate([order[: most // 2], rest]))


def candidate_points(
    axes: Axes, points: np.ndarray, values: np.ndarray, num: int, rng: np.random.Generator
) -> np.ndarray:
    """Return points worth a look: some from everywhere, others around the best ones, [M, D]."""
    from scipy.stats import qmc

    everywhere = qmc.Halton(axes.num, scramble=True, rng=rng).random(NUM_CANDIDATES)
    order = np.argsort(-values, kind="stable")[: max(5, min(num, 20))]
    per_scale = NUM_CANDIDATES // len(LOCAL_SCALES)
    nearby = []
    for scale in LOCAL_SCALES:
        centers = np.where(np.isnan(points), rng.random(points.shape), points)[
            rng.choice(order, per_scale)
        ]
        moved = mutate(axes, centers, scale, rng)
        nearby.append(moved)
    return axes.settle(np.concatenate([everywhere, *nearby]))


def unseen(candidates: np.ndarray, history: History) -> np.ndarray:
    """Return the distinct candidates that were neither told nor asked for."""
    rounded = np.where(np.isnan(candidates), -1.0, np.round(candidates, 9))
    known = np.concatenate([history.points, history.pending])
    known = {row.tobytes() for row in np.where(np.isnan(known), -1.0, np.round(known, 9))}
    rows = []
    for i, row in enumerate(rounded):
        key = row.tobytes()
        if key not in known:
            known.add(key)
            rows.append(i)
    return candidates[rows]


def log_expected_improvement(mean: np.ndarray, sd: np.ndarray, best: float) -> np.ndarray:
    """Return log E[max(f - best, 0)], to far below where the expectation itself underflows."""
    return np.log(sd) + _log_h((mean - best) / sd)[0]


def _log_h(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log(φ(z) + z Φ(z)) and its derivative (Ament et al., 2023, equation 9)."""
    from scipy.special import erfcx, ndtr

    z = np.asarray(z, float)
    low = z < -1.0
    near = np.where(low, 0.0, z)
    density = np.exp(-0.5 * near**2) / math.sqrt(2.0 * math.pi)
    h = density + near * ndtr(near)
    x = np.where(low, -z, 1.0)
    mills = math.sqrt(0.5 * math.pi) * erfcx(x / math.sqrt(2.0))
    far = x > 1e3
    # 1 - x·mills(x) cancels: its expansion is 1/x² - 3/x⁴.
    rest = np.where(far, 1.0 / x**2 - 3.0 / x**4, 1.0 - x * mills)
    tail = -0.5 * x**2 - 0.5 * math.log(2.0 * math.pi) + np.log(np.maximum(rest, 1e-300))
    value = np.where(low, tail, np.log(h))
    slope = np.where(low, mills / np.maximum(rest, 1e-300), ndtr(near) / h)
    return value, slope


def climb(axes: Axes, posterior: Posterior, starts: np.ndarray, best: float) -> np.ndarray:
    """Return where log EI leads to from each start, along its numbers, all at once, [S, D]."""
    from scipy.optimize import minimize

    features = axes.features(starts)
    owner, _ = axes.columns
    kinds = np.array(axes.kinds or (False,))
    free = ~kinds[owner][None, :] & ~np.isnan(starts)[:, owner]
    if not free.any():
        return starts

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        now = features.copy()
        now[free] = flat
        mean, variance, mean_slope, variance_slope = posterior.with_slopes(now)
        sd = np.sqrt(variance)
        z = (mean - best) / sd
        value, slope = _log_h(z)
        sd_slope = 0.5 * variance_slope / sd[:, None]
        gradient = (
            sd_slope / sd[:, None]
            + slope[:, None] * (mean_slope - z[:, None] * sd_slope) / sd[:, None]
        )
        return -float((np.log(sd) + value).sum()), -gradient[free]

    found = minimize(
        objective,
        features[free],
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * int(free.sum()),
        options={"maxiter": 50, "maxcor": 20},
    )
    moved = features.copy()
    moved[free] = found.x
    ends = starts.copy()
    for axis in range(axes.num):
        if not kinds[axis]:
            column = moved[:, int(np.flatnonzero(owner == axis)[0])]
            ends[:, axis] = np.where(np.isnan(starts[:, axis]), np.nan, column)
    filled = np.where(np.isnan(ends), 0.5, np.minimum(ends, np.nextafter(1.0, 0.0)))
    return axes.settle(filled)


def choose_batch(
    axes: Axes,
    posterior: Posterior,
    candidates: np.ndarray,
    pending: np.ndarray,
    best: float,
    num: int,
) -> np.ndarray:
    """Choose up to ``num`` candidates one by one, each as if the scores before it were known.

    Args:
        axes: the space.
        posterior: the process.
        candidates: points, [M, D].
        pending: points that were asked for and have no score yet, [P, D].
        best: the value to improve on.
        num: how many to choose.
    """
    kernel = posterior.kernel
    everything = np.concatenate([pending, candidates])
    features = axes.features(everything)
    roots = posterior.roots(features)
    mean = roots.T @ posterior.half
    variance = np.maximum(kernel.signal - (roots**2).sum(0), 1e-12)
    taken = np.zeros(len(everything), bool)
    basis = np.empty((num + len(pending), len(everything)))
    chosen: list[int] = []
    for step in range(num + len(pending)):
        if step < len(pending):
            i = step
        else:
            value = log_expected_improvement(mean, np.sqrt(variance), best)
            value[taken] = -np.inf
            value[: len(pending)] = -np.inf
            i = int(value.argmax())
            if not np.isfinite(value[i]):
                break
            chosen.append(i)
        taken[i] = True
        # One more row of a Cholesky factor: the covariance with this point, given all before it.
        covariance = kernel(features[i : i + 1], features)[0] - roots[:, i] @ roots
        covariance -= basis[:step, i] @ basis[:step]
        row = covariance / math.sqrt(variance[i] + kernel.noise + 1e-9)
        basis[step] = row
        variance = np.maximum(variance - row**2, 1e-12)
        best = max(best, float(mean[i]))
    return everything[chosen]
