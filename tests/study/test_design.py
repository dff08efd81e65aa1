"""Which arms a comparison has, what each tunes, and what is said about impossible ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg.data import load
from thalweg.errors import ThalwegError
from thalweg.space import Choice, Float, Space
from thalweg.study.budget import Budget
from thalweg.study.design import COMPOSED, LEVELS, Design, check_over, make_design
from thalweg.study.setup import prepare


@pytest.fixture(scope="module")
def iris() -> Any:
    return load("iris")


def design(data: Any, over: str, **options: Any) -> Design:
    space = options.pop("space", None)
    dataset, settings = prepare(data, None, Budget(), space=space)
    return make_design(
        dataset,
        check_over(over),
        settings.space,
        first=settings.first,
        own_space=space is not None,
        **options,
    )


def test_arms_share_the_points_of_their_nuisance_parameters(iris: Any) -> None:
    made = design(iris, "optimizer", levels={"optimizer": ["sgd", "adamw", "lion"]})
    points = made.points(8, seed=0)
    assert [len(own) for own in points] == [8, 8, 8]
    for i in range(8):
        assert len({own[i]["weight_decay"] for own in points}) == 1
        assert len({own[i]["dropout"] for own in points}) == 1
    # Each has a range of its own of rates, and stands at the same place in it.
    for own, arm in zip(points, made.arms, strict=True):
        domain = arm.space["learning_rate"]
        assert isinstance(domain, Float)
        places = [domain.encode(config["learning_rate"]) for config in own]
        first = [made.arms[0].space["learning_rate"].encode(c["learning_rate"]) for c in points[0]]  # type: ignore[union-attr]
        assert places == pytest.approx(first)
    assert points == made.points(8, seed=0)
    assert [own[:4] for own in points] == made.points(4, seed=0)


def test_what_is_not_asked_about_is_the_same_everywhere(iris: Any) -> None:
    made = design(iris, "activation")
    assert {arm.name for arm in made.arms} == set(LEVELS["activation"])
    assert set(made.nuisance) == {"learning_rate", "weight_decay", "dropout"}
    first = made.points(1, 0)
    for own in first[1:]:
        changed = {k for k in own[0] if own[0][k] != first[0][0][k]}
        assert changed == {"activation"}
    # Regularisers that nobody asked for are off.
    assert made.fixed["mixup"] == 0.0
    assert made.fixed["label_smoothing"] == 0.0


def test_every_rule_has_a_range_of_rates_of_equal_width(iris: Any) -> None:
    names = ["adamw", "sgd", "lion", "lamb", "adadelta", "muon"]
    made = design(iris, "optimizer", levels={"optimizer": names})
    for arm in made.arms:
        domain = arm.space["learning_rate"]
        assert isinstance(domain, Float)
        assert np.log10(domain.high / domain.low) == pytest.approx(2.5, abs=0.05)


def test_a_pair_has_every_combination(iris: Any) -> None:
    levels = {"optimizer": ["sgd", "adamw"], "schedule": ["constant", "cosine", "linear"]}
    made = design(iris, "optimizer,schedule", levels=levels)
    assert len(made.arms) == 6
    assert made.arms[1].levels == ("sgd", "cosine")
    assert made.arms[1].name == "sgd · cosine"


@pytest.mark.parametrize("name", ["regularisation", "clipping"])
def test_composed_factors_bring_what_they_tune(iris: Any, name: str) -> None:
    made = design(iris, name)
    assert len(made.arms) == len(COMPOSED[name](iris))
    for level, arm, own in zip(COMPOSED[name](iris), made.arms, made.points(2, 0), strict=True):
        assert set(level.domains) <= set(arm.space.free)
        for key, value in level.values.items():
            assert own[0][key] == value


def test_with_a_space_of_ones_own_all_that_it_leaves_free_is_tuned(iris: Any) -> None:
    space = Space(width=8, schedule=Choice(["cosine", "constant"]), learning_rate=Float(0.01, 0.1))
    made = design(iris, "optimizer", levels={"optimizer": ["sgd", "adam"]}, space=space)
    assert set(made.nuisance) == {"schedule", "learning_rate"}
    # A range that the user gave stays as it is.
    assert all(arm.space["learning_rate"] == Float(0.01, 0.1) for arm in made.arms)


def test_nothing_to_tune_is_one_point(iris: Any) -> None:
    space = Space(width=8, learning_rate=0.01)
    made = design(iris, "optimizer", levels={"optimizer": ["sgd", "adam"]}, space=space)
    assert [len(own) for own in made.points(1, 0)] == [1, 1]


@pytest.mark.parametrize(
    ("over", "options", "says"),
    [
        ("optimiser", {}, "did you mean 'optimizer'"),
        ("optimizer,schedule,loss", {}, "one hyperparameter or a pair"),
        ("optimizer,optimizer", {}, "one hyperparameter or a pair"),
        ("", {}, "one hyperparameter or a pair"),
        ("flip", {}, "acts on images"),
        ("augmentation", {}, "compared on images"),
        ("optimizer", {"levels": {"optimizer": ["adam"]}}, "two levels or more"),
        ("optimizer", {"levels": {"optimizer": ["adam", "adaml"]}}, "did you mean"),
        ("optimizer", {"levels": {"schedule": ["cosine"]}}, "which is not compared"),
        ("loss", {"levels": {"loss": ["mse", "mae"]}}, "mae"),
        ("dropout", {"levels": {"dropout": [0.1, 1.5]}}, "in [0, 1)"),
        ("regularisation", {"levels": {"regularisation": ["l1", "dropuot"]}}, "did you mean"),
        ("optimizer", {"nuisance": ["momentun"]}, "does not leave free"),
        ("optimizer,activation", {"levels": {"optimizer": ["sgd", "adam", "lion", "yogi", "lamb"]}},
         "more than 24"),
        ("quantile", {}, "say which levels"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told_in_one_line(
    iris: Any, over: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ThalwegError) as caught:
        design(iris, over, **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
