"""Calibration errors and their intervals, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.evidence.calibration import before_and_after, confidences, coverage, reliability


def outcomes(num: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return claims, and outcomes that come true more rarely by ``shift``."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.2, 0.9, num)
    return p, (rng.random(num) < p - shift).astype(float)


def test_the_debiased_error_is_that_of_the_claims():
    errors, plain = [], []
    for seed in range(100):
        found = reliability(*outcomes(300, seed, 0.1))
        errors.append(found.error)
        plain.append(found.plain_error)
    assert np.mean(errors) == pytest.approx(0.1, abs=0.01)
    # Of perfect claims the plain error is noise alone, the debiased one next to nothing.
    perfect = [reliability(*outcomes(300, seed)) for seed in range(100)]
    noise = np.mean([r.plain_error for r in perfect])
    assert noise > 0.04
    assert np.mean([r.error for r in perfect]) < 0.5 * noise


def test_intervals_cover():
    covered = {0.0: 0, 0.1: 0, 0.2: 0}
    times = 150
    for shift in covered:
        for seed in range(times):
            low, high = reliability(*outcomes(400, seed, shift), seed=seed).interval
            covered[shift] += low <= shift + 1e-12 <= high + 1e-9
    for shift, count in covered.items():
        assert count / times > 0.9, shift
    # And they are of use: perfect claims and bad ones are told apart.
    assert reliability(*outcomes(1000, 0, 0.2)).interval[0] > 0.15


def test_bins_and_shares():
    p = np.repeat([0.1, 0.9], 50)
    y = np.concatenate([np.arange(50) < 5, np.arange(50) < 45]).astype(float)
    found = reliability(p, y, num_bins=2)
    assert found.confidence == pytest.approx((0.1, 0.9))
    assert found.outcome == pytest.approx((0.1, 0.9))
    assert found.count == (50, 50)
    assert found.plain_error == pytest.approx(0.0)
    for low, share, high in zip(found.low, found.outcome, found.high, strict=True):
        assert 0 < low < share < high < 1
    # Few rows make few bins, and one row is no error.
    assert len(reliability(p[:7], y[:7]).count) == 1
    assert len(reliability(p[:1], y[:1]).count) == 1


def test_what_is_claimed():
    two = np.array([[0.3, 0.7], [0.8, 0.2]])
    claim, true = confidences(two, np.array([1, 1]))
    assert claim.tolist() == [0.7, 0.2]
    assert true.tolist() == [1, 1]
    three = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    claim, true = confidences(three, np.array([1, 2]))
    assert claim.tolist() == [0.5, 0.6]
    assert true.tolist() == [1, 0]


def test_before_and_after():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    sure = np.full((200, 3), 0.01)
    sure[np.arange(200), np.where(rng.random(200) < 0.7, truth, (truth + 1) % 3)] = 0.98
    fair = np.where(sure > 0.5, 0.7, 0.15)
    found = before_and_after(sure, fair, truth)
    assert found["after"]["log_loss"] < found["before"]["log_loss"]
    assert found["before"]["reliability"]["error"] == pytest.approx(0.28, abs=0.08)
    assert found["after"]["reliability"]["error"] < 0.1
    onehot = np.eye(3)[truth]
    assert before_and_after(sure, fair, onehot) == found


def test_coverage():
    errors = np.abs(np.arange(100.0)[:, None] - 0.5)
    share, low, high = coverage(errors, np.array([89.0]))
    assert share == pytest.approx(0.9)
    assert 0.8 < low < 0.9 < high < 0.95
