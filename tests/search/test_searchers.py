"""The contract of every searcher: deterministic, batching-invariant, inside its space."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import qmc

from thalweg.errors import OptionError
from thalweg.search import LEARNING, SEARCHERS, Grid, Searcher, make_searcher
from thalweg.space import Choice, Config, Float, Int, Space, Switch

SPACE = Space(
    optimizer=Choice(["adam", "sgd"]),
    learning_rate=Switch(
        "optimizer", {"sgd": Float(0.01, 1.0, log=True)}, Float(1e-4, 0.03, log=True)
    ),
    momentum=Switch("optimizer", {"sgd": Float(0.0, 0.95)}),
    depth=Int(1, 3),
    dropout=Float(0.0, 0.5),
    batch_size=32,
)


def ask_all(searcher: Searcher, *sizes: int) -> list[Config]:
    configs = []
    for size in sizes:
        searcher, more = searcher.ask(size)
        configs += more
        scores = np.linspace(0, 1, len(more))
        scores[: len(more) // 3] = np.nan
        searcher = searcher.tell(more, scores)
    return configs


def score(config: Config) -> float:
    """Best at sgd, a learning rate of 0.3, two layers and a dropout of 0.2."""
    rate = np.log10(config["learning_rate"] / 0.3)
    shape = -abs(config["depth"] - 2) - 10 * (config["dropout"] - 0.2) ** 2
    return float(shape - rate**2 + (config["optimizer"] == "sgd"))


# What one that learns proposes next depends on what it was told before.
@pytest.mark.parametrize("name", [name for name in SEARCHERS if name not in LEARNING])
def test_batching_changes_nothing(name):
    whole = ask_all(make_searcher(name, SPACE, 3), 40)
    assert ask_all(make_searcher(name, SPACE, 3), 1, 7, 0, 16, 16) == whole


@pytest.mark.parametrize("name", SEARCHERS)
class TestContract:
    def test_deterministic_by_seed(self, name):
        one = ask_all(make_searcher(name, SPACE, 7), 40)
        assert one == ask_all(make_searcher(name, SPACE, 7), 40)
        assert one != ask_all(make_searcher(name, SPACE, 8), 40)
        assert len(one) == 40

    def test_inside_the_space(self, name):
        for config in ask_all(make_searcher(name, SPACE, 0), 100):
            assert SPACE.contains(config)
            assert ("momentum" in config) == (config["optimizer"] == "sgd")
            assert config["batch_size"] == 32

    def test_asking_leaves_the_searcher_as_it_was(self, name):
        searcher = make_searcher(name, SPACE, 0)
        _, first = searcher.ask(5)
        _, again = searcher.ask(5)
        assert first == again

    def test_a_fixed_space(self, name):
        space = Space(depth=1, width=8)
        configs = ask_all(make_searcher(name, space, 0), 3)
        assert set(configs) == {Config(depth=1, width=8)}

    def test_state_is_json(self, name):
        searcher, _ = make_searcher(name, SPACE, 0).ask(5)
        json.dumps(searcher.state())

    def test_goes_on_from_its_state(self, name):
        searcher, _ = make_searcher(name, SPACE, 0).ask(9)
        again = make_searcher(name, SPACE, 0, json.loads(json.dumps(searcher.state())))
        assert again.ask(4)[1] == searcher.ask(4)[1]

    def test_goes_on_from_its_state_with_scores(self, name):
        searcher = make_searcher(name, SPACE, 0)
        for share in (0.3, 1.0, 1.0):
            searcher, configs = searcher.ask(16)
            scores = np.array([score(c) for c in configs])
            scores[3] = np.nan
            searcher = searcher.tell(configs, scores, np.full(16, share))
        searcher, _ = searcher.ask(3)
        again = make_searcher(name, SPACE, 0, json.loads(json.dumps(searcher.state())))
        assert again.ask(4)[1] == searcher.ask(4)[1]

    def test_takes_what_it_did_not_ask_for(self, name):
        strange = [
            Config(optimizer="adam", learning_rate=7.0, depth=2, dropout=0.1, batch_size=8),
            Config(optimizer="lion", learning_rate=0.1),
            Config(width=8),
            Config(optimizer="sgd", learning_rate=0.1, momentum=0.5, depth=2, dropout=0.1),
        ]
        searcher = make_searcher(name, SPACE, 0).tell(strange, np.array([1.0, 2.0, np.nan, np.inf]))
        for config in ask_all(searcher, 20, 20):
            assert SPACE.contains(config)

    def test_all_diverged_or_all_the_same(self, name):
        for value in (np.nan, 1.0):
            searcher = make_searcher(name, SPACE, 0)
            for _ in range(3):
                searcher, configs = searcher.ask(15)
                assert len(configs) == 15
                searcher = searcher.tell(configs, np.full(15, value))

    def test_sees_every_choice(self, name):
        configs = ask_all(make_searcher(name, SPACE, 1), 64)
        assert {c["optimizer"] for c in configs} == {"adam", "sgd"}
        assert {c["depth"] for c in configs} == {1, 2, 3}


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("batch", [1, 20])
def test_what_learns_beats_sobol(name, batch):
    found: dict[str, list[float]] = {"sobol": [], name: []}
    for who, bests in found.items():
        for seed in range(3 if batch == 1 else 7):
            searcher, scores = make_searcher(who, SPACE, seed), []
            while len(scores) < (40 if batch == 1 else 120):
                searcher, configs = searcher.ask(batch)
                told = np.array([score(c) for c in configs])
                searcher = searcher.tell(configs, told)
                scores += told.tolist()
            bests.append(1.0 - max(scores))
    # Half of the regret at most, in the median over seeds.
    assert np.median(found[name]) < np.median(found["sobol"]) / 2


@pytest.mark.parametrize("name", ["gp", "tpe", "evolution"])
def test_learns_from_trainings_that_were_stopped(name):
    # Only the first rung is ever seen; what is proposed is good all the same.
    searcher = make_searcher(name, SPACE, 0)
    for _ in range(4):
        searcher, configs = searcher.ask(15)
        told = np.array([score(c) for c in configs])
        searcher = searcher.tell(configs, told - 1.0, np.full(15, 1 / 9))
        full = np.argsort(-told)[:5]
        searcher = searcher.tell([configs[i] for i in full], told[full])
    _, configs = searcher.ask(10)
    proposed = np.mean([score(c) for c in configs])
    assert proposed > np.mean([score(c) for c in ask_all(make_searcher("sobol", SPACE, 1), 200)])
    assert max(score(c) for c in configs) > 0.3


def test_proposals_of_a_batch_differ():
    for name in ("gp", "tpe"):
        searcher = make_searcher(name, SPACE, 0)
        searcher, configs = searcher.ask(30)
        searcher = searcher.tell(configs, np.array([score(c) for c in configs]))
        searcher, one = searcher.ask(16)
        searcher, two = searcher.ask(16)  # none of the first ones are told yet
        assert len({*one, *two}) == 32


def test_a_small_space_is_used_up():
    space = Space(depth=Int(1, 5), optimizer=Choice(["adam", "sgd"]))
    searcher = make_searcher("gp", space, 0)
    seen: list[Config] = []
    for _ in range(6):
        searcher, configs = searcher.ask(8)
        searcher = searcher.tell(configs, np.array([float(c["depth"]) for c in configs]))
        seen += configs
    assert len(set(seen)) == 10
    assert searcher.ask(4)[1] == []


def test_sobol_covers_more_evenly_than_random_points():
    points = {}
    for name in ("sobol", "halton", "random"):
        configs = ask_all(make_searcher(name, SPACE, 0), 128)
        points[name] = np.array([[SPACE.encode(c)[-1], SPACE.encode(c)[1]] for c in configs])
    clipped = {name: np.clip(p, 0, 1) for name, p in points.items()}
    for name in ("sobol", "halton"):
        assert qmc.discrepancy(clipped[name]) < 0.5 * qmc.discrepancy(clipped["random"])


def test_random_points_do_not_repeat_or_correlate():
    configs = ask_all(make_searcher("random", SPACE, 0), 2000)
    dropout = np.array([c["dropout"] for c in configs])
    assert len(set(dropout)) == 2000
    assert abs(np.corrcoef(dropout[:-1], dropout[1:])[0, 1]) < 0.1
    assert dropout.mean() == pytest.approx(0.25, abs=0.02)


class TestGrid:
    def test_is_the_full_factorial_once(self):
        searcher = make_searcher("grid", SPACE, 0)
        configs = ask_all(searcher, 10_000)
        # adam: 5 rates; sgd: 5 rates × 5 momenta; depth 3, dropout 5.
        assert len(configs) == (5 + 5 * 5) * 3 * 5 == len(searcher)
        assert len(set(configs)) == len(configs)

    def test_ends_with_fewer(self):
        searcher = Grid.init(Space(depth=Int(1, 3)), 0)
        searcher, configs = searcher.ask(2)
        searcher, rest = searcher.ask(2)
        assert sorted(c["depth"] for c in [*configs, *rest]) == [1, 2, 3]
        assert searcher.ask(5)[1] == []

    def test_seeds_shuffle_the_same_grid(self):
        one, two = (ask_all(make_searcher("grid", SPACE, seed), 10_000) for seed in (0, 1))
        assert one != two
        assert set(one) == set(two)


def test_unknown_searcher():
    with pytest.raises(OptionError, match="did you mean 'sobol'"):
        make_searcher("sobl", SPACE, 0)
