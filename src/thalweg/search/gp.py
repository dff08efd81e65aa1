"""Gaussian-process regression: a Matern kernel with a length for each axis, and noise.

    y = f(x) + noise,   f ~ GP(0, s² M(r)),   M(r) = (1 + √5 r + 5 r²/3) exp(-√5 r)
    r² = Σ_c w_c (x_c - x'_c)² / l²_axis(c)

NumPy and SciPy only: with a thousand observations a fit is a few Cholesky factorisations, which no
compiled program would make faster. Source: Rasmussen and Williams, "Gaussian processes for machine
learning", 2006, chapters 2, 4 and 5; priors of the lengths after Hvarfner, Hellsten and Nardi,
"Vanilla Bayesian optimization performs great in high dimensions", 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LENGTH_MEAN, LENGTH_SD = math.sqrt(2.0), math.sqrt(3.0)
NOISE_MEAN, NOISE_SD = -6.0, 3.0
BOUNDS_LENGTH = (math.log(0.02), math.log(300.0))
BOUNDS_SIGNAL = (math.log(0.05), math.log(20.0))
BOUNDS_NOISE = (math.log(1e-7), math.log(2.0))
JITTER = 1e-9


@dataclass(frozen=True)
class Kernel:
    """Hyperparameters of the process.

    Attributes:
        owner: the axis of each feature, [F].
        weight: the weight of each feature in a squared distance, [F].
        theta: logarithms of the lengths by axis, of s², and of the noise variance, [D + 2].
    """

    owner: np.ndarray
    weight: np.ndarray
    theta: np.ndarray

    @classmethod
    def default(cls, owner: np.ndarray, weight: np.ndarray) -> Kernel:
        """Return the kernel before anything is known."""
        num = int(owner.max()) + 1
        lengths = np.full(num, min(_length_prior(num), math.log(3.0)))
        return cls(owner, weight, np.concatenate([lengths, [0.0, NOISE_MEAN]]))

    @property
    def scale(self) -> np.ndarray:
        """What squared differences of features are multiplied with, [F]."""
        return self.weight * np.exp(-2.0 * self.theta[:-2])[self.owner]

    @property
    def signal(self) -> float:
        """Variance of the process."""
        return math.exp(self.theta[-2])

    @property
    def noise(self) -> float:
        """Variance of the noise."""
        return math.exp(self.theta[-1])

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return r between rows of features, [N, M]."""
        root = np.sqrt(self.scale)
        middle = b.mean(axis=0)
        a, b = (a - middle) * root, (b - middle) * root
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2.0 * a @ b.T
        return np.sqrt(np.maximum(squared, 0.0))

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the covariance of f between rows of features, [N, M]."""
        return self.signal * matern(self.distance(a, b))


def matern(r: np.ndarray) -> np.ndarray:
    """Return the Matern correlation with smoothness 5/2."""
    q = math.sqrt(5.0) * r
    return (1.0 + q + q * q / 3.0) * np.exp(-q)


def matern_slope(r: np.ndarray) -> np.ndarray:
    """Return -M'(r) / r, which is finite at 0: 5/3 (1 + √5 r) exp(-√5 r)."""
    q = math.sqrt(5.0) * r
    return 5.0 / 3.0 * (1.0 + q) * np.exp(-q)


def _length_prior(num_axes: int) -> float:
    return LENGTH_MEAN + 0.5 * math.log(num_axes)


def negative_log_posterior(
    kernel: Kernel, features: np.ndarray, y: np.ndarray, extra: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return -log p(y | theta) p(theta) up to a constant, and its gradient in theta.

    Args:
        kernel: with the theta to judge.
        features: of the observations, [N, F].
        y: their values, about standardised, [N].
        extra: variance of each beyond the common noise, [N].
    """
    from scipy.linalg import cho_factor, cho_solve, get_lapack_funcs

    theta = kernel.theta
    r = kernel.distance(features, features)
    correlation = kernel.signal * matern(r)
    total = correlation + np.diag(extra + kernel.noise + JITTER)
    try:
        factor = cho_factor(total, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(theta)
    alpha = cho_solve(factor, y, check_finite=False)
    value = 0.5 * y @ alpha + np.log(np.diag(factor[0])).sum()
    (potri,) = get_lapack_funcs(("potri",), (factor[0],))
    inverse, _ = potri(factor[0], lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    w = np.outer(alpha, alpha) - inverse
    gradient = np.empty_like(theta)
    inner = w * (kernel.signal * matern_slope(r))
    # sum_ij T_ij (x_ic - x_jc)² for all columns c at once.
    by_column = 2.0 * (
        inner.sum(1) @ features**2 - np.einsum("ic,ic->c", features, inner @ features)
    )
    lengths = np.bincount(kernel.owner, by_column * kernel.scale, minlength=len(theta) - 2)
    gradient[:-2] = -0.5 * lengths
    gradient[-2] = -0.5 * (w * correlation).sum()
    gradient[-1] = -0.5 * kernel.noise * np.trace(w)
    mean = np.concatenate([np.full(len(theta) - 2, _length_prior(len(theta) - 2)), [0.0]])
    sd = np.concatenate([np.full(len(theta) - 2, LENGTH_SD), [1.0]])
    mean, sd = np.append(mean, NOISE_MEAN), np.append(sd, NOISE_SD)
    away = (theta - mean) / sd
    return float(value + 0.5 * away @ away), gradient + away / sd


def fit(
    starts: Sequence[Kernel],
    features: np.ndarray,
    y: np.ndarray,
    extra: np.ndarray,
    *,
    most_steps: int = 40,
) -> Kernel:
    """Return the kernel of the most probable theta that is found.

    Args:
        starts: where to begin: what was found the last time, the default.
        features: of the observations, [N, F].
        y: their values, about standardised, [N].
        extra: variance of each beyond the common noise, [N].
        most_steps: of L-BFGS from each start.
    """
    from scipy.optimize import minimize

    owner, weight = starts[0].owner, starts[0].weight
    bounds = [BOUNDS_LENGTH] * (len(starts[0].theta) - 2) + [BOUNDS_SIGNAL, BOUNDS_NOISE]

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        return negative_log_posterior(Kernel(owner, weight, theta), features, y, extra)

    best: tuple[float, np.ndarray] | None = None
    for start in starts:
        found = minimize(
            objective,
            start.theta,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": most_steps, "ftol": 1e-5},
        )
        if best is None or found.fun < best[0]:
            best = (float(found.fun), found.x)
    assert best is not None
    return Kernel(owner, weight, best[1])


class Posterior:
    """The process after its observations.

    Args:
        kernel: its hyperparameters.
        features: of the observations, [N, F].
        y: their values, [N].
        extra: variance of each beyond the common noise, [N].
    """

    def __init__(
        self, kernel: Kernel, features: np.ndarray, y: np.ndarray, extra: np.ndarray
    ) -> None:
        from scipy.linalg import cho_factor, solve_triangular

        self.kernel, self.features = kernel, features
        total = kernel(features, features) + np.diag(extra + kernel.noise + JITTER)
        for power in range(6):
            try:
                lower, _ = cho_factor(
                    total + 10.0**power * JITTER * np.eye(len(y)), lower=True, check_finite=False
                )
                break
            except np.linalg.LinAlgError:
                continue
        else:
            raise np.linalg.LinAlgError("the covariance of the observations is not positive")
        self.lower = np.tril(lower)
        self._solve = solve_triangular
        self.half = solve_triangular(self.lower, y, lower=True, check_finite=False)
        self.alpha = solve_triangular(
            self.lower, self.half, lower=True, trans=1, check_finite=False
        )

    def roots(self, features: np.ndarray) -> np.ndarray:
        """Return L⁻¹ k(X, x), [N, M]: their products are what is known of a covariance."""
        return self._solve(
            self.lower, self.kernel(self.features, features), lower=True, check_finite=False
        )

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of f, [M]."""
        v = self.roots(features)
        return v.T @ self.half, np.maximum(self.kernel.signal - (v**2).sum(0), 1e-12)

    def with_slopes(
        self, features: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return mean [M], variance [M] and their gradients in the features, [M, F]."""
        kernel, known = self.kernel, self.features
        r = kernel.distance(features, known)
        cross = kernel.signal * matern(r)
        v = self._solve(self.lower, cross.T, lower=True, check_finite=False)
        back = self._solve(self.lower, v, lower=True, trans=1, check_finite=False).T
        inner = -kernel.signal * matern_slope(r)

        def slope(weight: np.ndarray) -> np.ndarray:
            t = inner * weight
            return (t.sum(1)[:, None] * features - t @ known) * kernel.scale

        mean = v.T @ self.half
        variance = np.maximum(kernel.signal - (v**2).sum(0), 1e-12)
        return mean, variance, slope(self.alpha[None, :]), -2.0 * slope(back)
