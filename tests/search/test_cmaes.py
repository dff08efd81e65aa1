"""CMA-ES learns the shape of ill-conditioned valleys, turned any way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from thalweg.search import make_searcher
from thalweg.space import Choice, Float, Int, Space

NAMES = ("dropout", "b1", "b2", "momentum", "eps")


def evaluations_to(target: float, turn: np.ndarray, batch: int, seed: int) -> int:
    """Return the evaluations that a turned ellipsoid of condition 10⁴ takes."""
    space = Space({name: Float(0.0, 0.99) for name in NAMES})
    scales = 10.0 ** np.linspace(0, 4, len(NAMES))
    searcher, num = make_searcher("cmaes", space, seed), 0
    while num < 6000:
        searcher, configs = searcher.ask(batch)
        x = np.array([[c[n] / 0.99 - 0.4 for n in NAMES] for c in configs])
        values = ((x @ turn) ** 2) @ scales
        num += len(configs)
        if values.min() < target:
            return num
        searcher = searcher.tell(configs, -values)
    return num


@pytest.mark.parametrize("batch", [8, 24])
def test_turned_ellipsoid(batch):
    turn = ortho_group.rvs(len(NAMES), random_state=0)
    straight = evaluations_to(1e-8, np.eye(len(NAMES)), batch, 0)
    turned = evaluations_to(1e-8, turn, batch, 0)
    # Hansen's tutorial needs some 300 D evaluations for 1e-9 at condition 10⁶; random search
    # would need 10²⁰. Turning the axes changes little.
    assert max(straight, turned) < 3500
    assert 0.4 < straight / turned < 2.5


def test_discrete_axes_do_not_freeze():
    space = Space(depth=Int(1, 9), optimizer=Choice(["adam", "sgd", "lion"]), dropout=Float(0, 0.5))
    searcher = make_searcher("cmaes", space, 1)
    for _ in range(40):
        searcher, configs = searcher.ask(8)
        scores = [-abs(c["depth"] - 7) - 10 * (c["dropout"] - 0.4) ** 2 for c in configs]
        searcher = searcher.tell(configs, np.array(scores))
    _, configs = searcher.ask(60)
    assert len({c["depth"] for c in configs}) >= 2
    assert np.mean([abs(c["depth"] - 7) <= 1 for c in configs]) > 0.8


def test_a_batch_moves_it_once():
    space = Space(dropout=Float(0, 0.5), b1=Float(0, 0.9))
    searcher = make_searcher("cmaes", space, 0)
    searcher, configs = searcher.ask(32)
    for part in range(0, 32, 8):
        chosen = configs[part : part + 8]
        searcher = searcher.tell(chosen, np.array([c["dropout"] for c in chosen]))
        assert searcher.state()["generation"] == (part == 24)
