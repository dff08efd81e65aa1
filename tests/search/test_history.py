"""What stopped trainings would have become."""

from __future__ import annotations

import json

import numpy as np
import pytest

from thalweg.search.history import History, encode
from thalweg.space import Choice, Config, Float, Space

SPACE = Space(flip=Float(0.0, 1.0), optimizer=Choice(["adam", "sgd"]))


def configs(values: np.ndarray) -> list[Config]:
    return [Config(flip=float(v), optimizer="adam") for v in values]


def halved(num: int = 90, noise: float = 0.02, seed: int = 0):
    """Return a history of three rungs, and what every Config would have scored in the end."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.random(num) * 0.99)
    quality = rng.standard_normal(num)
    # The better gain less: rungs compress differences.
    scores = [
        0.5 + 0.10 * quality + noise * rng.standard_normal(num),
        0.7 + 0.07 * quality + noise * rng.standard_normal(num),
        0.8 + 0.05 * quality,
    ]
    history, alive = History.of(SPACE), np.arange(num)
    for share, score in zip((1 / 9, 1 / 3, 1.0), scores, strict=True):
        history = history.add(configs(x[alive]), score[alive], np.full(len(alive), share))
        alive = alive[np.argsort(-score[alive])[: len(alive) // 3]]
    return history, scores[-1]


def test_finals_are_not_biased_by_who_was_stopped():
    history, truth = halved()
    means, sds = history.finals()
    full = sds == 0
    assert full.sum() == 10
    np.testing.assert_allclose(means[full], truth[full])
    error = (means - truth)[~full]
    # Raw scores are 0.3 and 0.1 too low; what is inferred is off by little, and says by how much.
    assert abs(error.mean()) < 0.07
    assert np.sqrt((error**2).mean()) < 0.08
    assert 0.3 < np.sqrt(((error / sds[~full]) ** 2).mean()) < 2.0
    assert np.corrcoef(means, truth)[0, 1] > 0.85


def test_only_first_rungs_keep_their_order():
    history = History.of(SPACE).add(
        configs(np.array([0.1, 0.2, 0.3])), np.array([1.0, 3, 2]), np.full(3, 0.1)
    )
    means, sds = history.finals()
    np.testing.assert_allclose(means, [1.0, 3.0, 2.0])
    assert (sds == 0).all()  # no level above is known of: they are compared as they are


def test_seeds_are_averaged_and_diverged_ones_have_no_value():
    history = History.of(SPACE).add(
        configs(np.array([0.1, 0.1, 0.5])), np.array([1.0, 2.0, np.inf])
    )
    means, _ = history.finals()
    np.testing.assert_allclose(means, [1.5, np.nan])


def test_pending_until_told():
    history = History.of(SPACE).asked(np.array([[0.1, 0.25], [0.5, 0.25]]))
    history = history.add(configs(np.array([0.5])), np.array([1.0]))
    np.testing.assert_allclose(history.pending, [[0.1, 0.25]])
    again = History.from_state(SPACE, json.loads(json.dumps(history.state())))
    np.testing.assert_allclose(again.pending, history.pending)
    np.testing.assert_allclose(again.points, history.points)
    assert again.told == history.told


def test_encoding_what_lies_outside():
    np.testing.assert_allclose(encode(SPACE, {"flip": 7.0, "optimizer": "sgd"}), [1.0, 0.75])
    assert encode(SPACE, {"flip": 0.5, "optimizer": "lion"}) is None
    assert encode(SPACE, {"flip": "much", "optimizer": "sgd"}) is None
    np.testing.assert_allclose(encode(SPACE, {"flip": 0.5}), [0.5, np.nan])


@pytest.mark.parametrize("num", [0, 1])
def test_hardly_anything_told(num):
    history = History.of(SPACE).add(configs(np.full(num, 0.5)), np.ones(num))
    means, sds = history.finals()
    assert len(means) == len(sds) == num
