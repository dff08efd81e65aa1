"""Gaussian-process regression, against scikit-learn, finite differences and quadrature."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from thalweg.search.axes import Axes
from thalweg.search.bayesian import (
    GaussianProcess,
    along_axes,
    choose_batch,
    log_expected_improvement,
    power_transform,
)
from thalweg.search.gp import JITTER, Kernel, Posterior, fit, negative_log_posterior
from thalweg.space import Choice, Float, Int, Space, Switch

SPACE = Space(
    optimizer=Choice(["adam", "sgd", "lion"]),
    momentum=Switch("optimizer", {"sgd": Float(0.0, 0.95)}),
    learning_rate=Float(1e-4, 0.1, log=True),
    depth=Int(1, 3),
)


def observations(num: int = 30, seed: int = 0):
    axes = Axes(SPACE)
    rng = np.random.default_rng(seed)
    points = axes.settle(rng.random((num, axes.num)))
    features = axes.features(points)
    y = np.sin(3 * features[:, -1]) + features[:, 0] + 0.1 * rng.standard_normal(num)
    return axes, points, features, (y - y.mean()) / y.std(), rng.uniform(0, 0.1, num)


def test_posterior_is_scikit_learns():
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 3)), rng.standard_normal(40)
    extra = rng.uniform(0.0, 0.3, 40)
    theta = np.log([0.3, 1.5, 0.8, 1.7, 0.2])
    kernel = Kernel(np.arange(3), np.ones(3), theta)
    mean, variance = Posterior(kernel, x, y, extra)(rng.random((9, 3)))
    oracle = GaussianProcessRegressor(
        ConstantKernel(1.7) * Matern([0.3, 1.5, 0.8], nu=2.5),
        alpha=0.2 + extra + 2 * JITTER,
        optimizer=None,
    ).fit(x, y)
    rng = np.random.default_rng(0)
    rng.random((40, 3)), rng.standard_normal(40), rng.uniform(0.0, 0.3, 40)
    expected, sd = oracle.predict(rng.random((9, 3)), return_std=True)
    np.testing.assert_allclose(mean, expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(np.sqrt(variance), sd, rtol=1e-6)


def test_likelihood_is_scikit_learns():
    rng = np.random.default_rng(1)
    x, y = rng.random((25, 2)), rng.standard_normal(25)
    oracle = GaussianProcessRegressor(
        ConstantKernel(1.0) * Matern([1.0, 1.0], nu=2.5) + WhiteKernel(1.0), optimizer=None
    ).fit(x, y)

    def value(theta):
        return negative_log_posterior(Kernel(np.arange(2), np.ones(2), theta), x, y, np.zeros(25))[
            0
        ]

    def expected(theta):
        ordered = np.array([theta[2], theta[0], theta[1], theta[3]])
        mean = np.array([np.sqrt(2) + 0.5 * np.log(2)] * 2 + [0.0, -6.0])
        prior = (((theta - mean) / [np.sqrt(3), np.sqrt(3), 1.0, 3.0]) ** 2).sum() / 2
        return prior - oracle.log_marginal_likelihood(ordered)

    one, two = np.log([0.3, 0.9, 1.3, 0.1]), np.log([1.3, 0.2, 0.4, 0.6])
    assert value(one) - value(two) == pytest.approx(expected(one) - expected(two), rel=1e-5)


def test_gradients_are_those_of_finite_differences():
    axes, _, features, y, extra = observations()
    rng = np.random.default_rng(3)
    owner, weight = axes.columns
    theta = rng.uniform(-1.0, 0.5, axes.num + 2)

    def value(t):
        return negative_log_posterior(Kernel(owner, weight, t), features, y, extra)[0]

    _, gradient = negative_log_posterior(Kernel(owner, weight, theta), features, y, extra)
    np.testing.assert_allclose(gradient, approx_fprime(theta, value, 1e-6), rtol=1e-3, atol=1e-4)

    posterior = Posterior(Kernel(owner, weight, theta), features, y, extra)
    x = rng.random((1, features.shape[1]))
    mean, variance, mean_slope, variance_slope = posterior.with_slopes(x)
    plain = posterior(x)
    np.testing.assert_allclose([mean[0], variance[0]], [plain[0][0], plain[1][0]], rtol=1e-9)
    for part, slope in ((0, mean_slope), (1, variance_slope)):
        found = approx_fprime(x[0], lambda z, p=part: posterior(z[None])[p][0], 1e-6)
        np.testing.assert_allclose(slope[0], found, rtol=1e-3, atol=1e-5)


def test_fit_finds_which_axes_matter():
    axes, _, features, y, extra = observations(120)
    kernel = fit([Kernel.default(*axes.columns)], features, y, 0 * extra)
    lengths = np.exp(kernel.theta[:-2])
    # The optimizer and the learning rate or depth matter here; momentum does not.
    assert lengths[1] > 5 * max(lengths[0], lengths[3])


def test_kinds_differ_by_one_and_absent_hyperparameters_do_not():
    axes = Axes(SPACE)
    points = axes.settle(
        np.array([[0.1, 0.2, 0.5, 0.5], [0.5, 0.2, 0.5, 0.5], [0.1, 0.9, 0.5, 0.5]])
    )
    kernel = Kernel(*axes.columns, np.zeros(axes.num + 2))
    r = kernel.distance(axes.features(points), axes.features(points))
    np.testing.assert_allclose(r[0, 2], 0.0, atol=1e-7)  # adam has no momentum
    np.testing.assert_allclose(r[0, 1] ** 2, 1.0 + (0.5 - 0.2) ** 2)


def test_points_are_those_of_the_configs():
    axes, rng = Axes(SPACE), np.random.default_rng(0)
    units = rng.random((300, axes.num))
    expected = [SPACE.encode(c) for c in SPACE.decode(units)]
    np.testing.assert_allclose(axes.settle(units), expected)


@pytest.mark.parametrize("z", [-5000.0, -60.0, -20.0, -3.0, -0.5, 0.0, 2.0, 30.0])
def test_log_expected_improvement(z):
    found = log_expected_improvement(np.array([z]), np.array([1.0]), 0.0)[0]
    if z > -25:
        expected = np.log(
            quad(lambda f: f * norm.pdf(f, z), 0.0, max(z, 0.0) + 30.0 / (2.0 - min(z, 0.0)))[0]
        )
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-7)
    else:
        # φ(z) / z² (1 - 3/z²) in the tail.
        expected = norm.logpdf(z) - 2 * np.log(-z) + np.log1p(-3 / z**2)
        assert found == pytest.approx(expected, rel=1e-4)


def test_a_batch_is_what_conditioning_one_by_one_gives():
    axes, points, features, y, extra = observations(25)
    kernel = Kernel.default(*axes.columns)
    posterior = Posterior(kernel, features, y, extra)
    candidates = axes.settle(np.random.default_rng(5).random((60, axes.num)))
    best = float(posterior(features)[0].max())
    batch = choose_batch(axes, posterior, candidates, points[:0], best, 4)
    known, values, noise, top = features, y, extra, best
    for chosen in batch:
        now = Posterior(kernel, known, values, noise)
        mean, variance = now(axes.features(candidates))
        scores = log_expected_improvement(mean, np.sqrt(variance), top)
        np.testing.assert_array_equal(candidates[scores.argmax()], chosen)
        x = axes.features(chosen[None])
        believed = float(now(x)[0][0])
        known, values = np.concatenate([known, x]), np.append(values, believed)
        noise, top = np.append(noise, 0.0), max(top, believed)


def test_power_transform_makes_skewed_values_normal():
    rng = np.random.default_rng(0)
    values = -rng.lognormal(0.0, 1.0, 400)
    values = (values - values.mean()) / values.std()
    warped, slope = power_transform(values)
    assert abs(((warped - warped.mean()) ** 3).mean()) < 0.5
    assert (np.diff(warped[np.argsort(values)]) >= 0).all()
    steps = np.diff(np.sort(warped)) / np.diff(np.sort(values))
    assert np.median(steps / slope[np.argsort(values)][:-1]) == pytest.approx(1.0, rel=0.02)


@pytest.mark.slow
def test_sixty_four_proposals_with_a_thousand_trials_known():
    searcher, configs = GaussianProcess.init(SPACE, 0).ask(1)
    rng = np.random.default_rng(0)
    configs = SPACE.decode(rng.random((1000, 4)))
    searcher = searcher.tell(configs, np.log([c["learning_rate"] for c in configs]))
    searcher, _ = searcher.ask(64)
    start = time.perf_counter()
    _, proposed = searcher.ask(64)
    assert len(proposed) == 64
    # A second alone on two cores; three leave room for what else runs.
    assert time.perf_counter() - start < 3.0


def test_points_beside_the_best_one_differ_in_one_number():
    axes, points, *_ = observations()
    point = points[0]
    moved = along_axes(axes, point)
    differs = (moved != point) & ~(np.isnan(moved) & np.isnan(point))
    assert (differs.sum(axis=1) <= 1).all()
    kinds = np.array(axes.kinds)
    assert not differs[:, kinds].any()
    numbers = ~kinds & ~np.isnan(point)
    assert differs[:, numbers].any(axis=0).all()
