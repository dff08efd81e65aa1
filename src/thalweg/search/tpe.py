"""TPE: where are good configurations dense, and bad ones not?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from thalweg.search.axes import Axes
from thalweg.search.history import encode
from thalweg.search.learner import Learner
from thalweg.search.sobol import Sobol
from thalweg.space import Config

CANDIDATES_EACH = 24
MOST_GOOD = 25
MOST_BAD = 500
"""More than these, drawn at random, tell little more of where bad ones are dense."""

NUM_STARTUP = 10


@dataclass(frozen=True)
class TPE(Learner):
    """Proposes where the density of good Configs is highest against that of the others.

    Two Parzen estimators, each a mixture of one kernel for each Config (a product over all axes, so
    that hyperparameters are modelled together) and of the uniform density: l(x) of the best
    min(⌈N/10⌉, 25), g(x) of the rest. Each proposal is the one of 24 draws from l whose l/g is
    largest. Points that were asked for and have no score yet count as bad ones.

    Source: Bergstra, Bardenet, Bengio and Kegl, "Algorithms for hyper-parameter optimization",
    2011, section 4; multivariate: Falkner, Klein and Hutter, "BOHB", 2018.
    """

    def ask(self, num: int) -> tuple[TPE, list[Config]]:
        """Return the next state and the next ``num`` Configs."""
        if num < 1:
            return self, []
        values, _ = self.known.finals()
        if len(values) < NUM_STARTUP or not self.space.free:
            _, configs = Sobol(self.space, self.seed, self.num_asked).ask(num)
            points = np.array([encode(self.space, c) for c in configs])
        else:
            points = self._propose(num, values)
            configs = self.space.decode(np.where(np.isnan(points), 0.5, points))
        history = self.known.asked(points)
        return replace(self, num_asked=self.num_asked + num, history=history), configs

    def _propose(self, num: int, values: np.ndarray) -> np.ndarray:
        axes, history = self.axes, self.known
        rng = np.random.default_rng([0x79E, self.seed, self.num_asked])
        order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), kind="stable")
        num_good = max(1, min(math.ceil(0.1 * len(values)), MOST_GOOD))
        good = Parzen(axes, history.points[order[:num_good]])
        rest = order[num_good:]
        if len(rest) > MOST_BAD:
            rest = rng.choice(rest, MOST_BAD, replace=False)
        bad = Parzen(axes, np.concatenate([history.points[rest], history.pending]))
        # Each proposal has draws of its own: that is what keeps a batch apart.
        drawn = axes.settle(good.draw(num * CANDIDATES_EACH, rng))
        score = (good.log_density(drawn) - bad.log_density(drawn)).reshape(num, -1)
        return drawn.reshape(num, CANDIDATES_EACH, -1)[np.arange(num), score.argmax(1)]


class Parzen:
    """A mixture of kernels around points, and of the uniform density on the cube.

    Numbers have normal kernels cut off at 0 and 1, kinds the weight 1 - w on their own value and
    w on all alike. Where a hyperparameter is absent, or a kernel's point lacks one that is
    there, its factor is that of the uniform density.

    Args:
        axes: the space.
        points: coordinates, [N, D].
    """

    def __init__(self, axes: Axes, points: np.ndarray) -> None:
        self.axes, self.points = axes, points
        self.kinds = np.array(axes.kinds or (False,))
        # Never narrower than what tells two values of a grid apart.
        self.sd = np.maximum(_widths(points), 0.5 * axes.cells)
        self.options = np.array([max(len(levels), 1) for levels in axes.levels] or [1])
        # Each option counts as if it had been seen once among all points.
        self.other = self.options / (len(points) + 1.0 + self.options)

    def draw(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """Return points drawn from the mixture, not settled yet, [num, D]."""
        from scipy.special import ndtr, ndtri

        which = rng.integers(len(self.points) + 1, size=num)
        uniform = rng.random((num, self.axes.num))
        # The last one is the uniform density.
        centers = np.concatenate([self.points, np.full((1, self.axes.num), np.nan)])[which]
        sd = np.concatenate([self.sd, np.ones((1, self.axes.num))])[which]
        known = np.where(np.isnan(centers), 0.5, centers)
        low, high = ndtr(-known / sd), ndtr((1.0 - known) / sd)
        near = known + sd * ndtri(low + uniform * (high - low))
        stays = rng.random(centers.shape) >= self.other
        kind = np.where(stays, known, uniform)
        moved = np.where(self.kinds, kind, near)
        return np.clip(np.where(np.isnan(centers), uniform, moved), 0.0, np.nextafter(1.0, 0.0))

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Return the logarithm of the density of points, [M]."""
        from scipy.special import logsumexp, ndtr

        total = np.zeros((len(points), len(self.points) + 1))
        for axis in range(self.axes.num):
            x, mu = points[:, axis][:, None], self.points[:, axis][None, :]
            if self.kinds[axis]:
                options, other = self.options[axis], self.other[axis]
                same = (1.0 - other) * options + other
                logs = np.where(np.abs(x - mu) < 1e-9, math.log(same), math.log(other))
            else:
                sd = self.sd[:, axis][None, :]
                mass = ndtr((1.0 - mu) / sd) - ndtr(-mu / sd)
                logs = -0.5 * ((x - mu) / sd) ** 2 - np.log(sd * math.sqrt(2.0 * math.pi) * mass)
            total[:, :-1] += np.where(np.isnan(logs), 0.0, logs)
        return np.asarray(logsumexp(total, axis=1)) - math.log(total.shape[1])


def _widths(points: np.ndarray) -> np.ndarray:
    """Return the deviation of each point's kernel on each axis, [N, D].

    That of Scott's rule, or the distance to the farther of the point's two neighbours on that axis
    where that is less (Bergstra et al., 2011, section 4.2): kernels narrow where good points
    gather, but never so far that one stands alone.
    """
    num, width = points.shape
    scott = 0.2 * max(num, 1) ** (-1.0 / (width + 4))
    order = np.argsort(points, axis=0)
    gaps = np.diff(np.take_along_axis(points, order, axis=0), axis=0)
    # The first and the last have one neighbour; so have those beside others that are absent.
    none = np.full((min(num, 1), width), np.nan)
    wider = np.fmax(np.concatenate([none, gaps]), np.concatenate([gaps, none]))
    found = np.empty_like(points)
    np.put_along_axis(found, order, np.fmin(wider, scott), axis=0)
    return np.maximum(found, 1.0 / min(100, 2 + num))
