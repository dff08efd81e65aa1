"""Survivors put together: what is chosen, what it gains, and that it is a model like any other."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import thalweg as tw
from thalweg.errors import OptionError
from thalweg.study.ensemble import pick

SPACE = {
    "depth": 1,
    "width": {"choices": [4, 16]},
    "optimizer": "adam",
    "learning_rate": {"low": 0.003, "high": 0.05, "log": True},
}


def square(truth):
    return lambda outputs: np.square(outputs - truth).mean(1)


def test_greedy_finds_what_is_best_together():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((500, 1))
    noise = rng.standard_normal((500, 1))
    # Two with opposite errors, one a little better than either, and one that is hopeless.
    outputs = [truth + noise, truth - noise, truth + 0.9 * rng.standard_normal((500, 1)), 9 + truth]
    count = pick(outputs, square(truth))
    assert count[0] == count[1] > 0
    assert count[3] == 0
    share = count / count.sum()
    mean = sum(s * one for s, one in zip(share, outputs, strict=True))
    alone = min(float(square(truth)(one).mean()) for one in outputs)
    assert float(square(truth)(mean).mean()) < alone
    # Of one, or of equals, one is enough.
    assert pick(outputs[:1], square(truth)).tolist() == [1]
    assert pick([outputs[0]] * 3, square(truth)).tolist() == [1, 0, 0]


def test_greedy_is_never_worse_than_the_best_on_its_rows():
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((60, 2))
    outputs = [truth + s * rng.standard_normal((60, 2)) for s in (1.0, 0.7, 1.3, 2.0)]
    count = pick(outputs, square(truth))
    mean = sum(c * one for c, one in zip(count, outputs, strict=True)) / count.sum()
    best = min(square(truth)(one).mean() for one in outputs)
    assert square(truth)(mean).mean() <= best + 1e-12


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (400, 3))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + rng.normal(0, 0.2, 400)
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y})


def tuned(rows, **options):
    # Weights are only averaged within one structure.
    width = 16 if options.get("combine") == "soup" else SPACE["width"]
    return tw.tune(
        rows, "y", trials=24, space={**SPACE, "width": width}, epochs=20, finalists=3, seeds=2,
        baselines=False, halving=False, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def offered(rows, tmp_path_factory):
    return tuned(rows, run=tmp_path_factory.mktemp("runs") / "offered")


@pytest.mark.parametrize("combine", ["greedy", "soup"])
def test_it_is_a_model_like_any_other(rows, offered, combine, tmp_path):
    told = {one["name"]: one for one in offered.summary["combinations"]}
    assert not any(one["used"] for one in told.values())
    study = tuned(rows, combine=combine)
    used = [one for one in study.summary["combinations"] if one["used"]]
    assert [one["name"] for one in used] == [combine]
    if combine == "greedy":
        # What was offered is what is handed over.
        assert used[0]["members"] == told[combine]["members"]
    low, high = used[0]["interval"]
    assert low <= used[0]["gain"] <= high
    assert sum(member["share"] for member in used[0]["members"]) == pytest.approx(1.0)
    model = study.model()
    loaded = tw.Model.load(model.save(tmp_path))
    new = rows.drop("y")
    np.testing.assert_array_equal(loaded.predict(new), model.predict(new))
    parts = []
    for network in range(len(model.members)):
        one = tw.Model(
            model.encoder, model.structures[network], model.inputs, [model.members[network]],
            model.config,
        )  # fmt: skip
        parts.append(model.shares[network] * one.predict(new))
    np.testing.assert_allclose(model.predict(new), sum(parts), rtol=1e-5, atol=1e-5)
    assert study.summary["test"]["rmse"] == pytest.approx(
        model.evaluate(_test(study, rows))["rmse"]
    )
    found = loaded.explain(new, "integrated_gradients", num_rows=3)
    sums = found.frame.group_by("row", maintain_order=True).agg(pl.col("contribution").sum())
    assert sums.height == 3
    assert loaded.predict_frame(new, interval=0.8).columns == ["prediction", "lower", "upper"]
    if combine == "soup":
        assert len(model.members) == 1


def _test(study, rows):
    data = tw.load(rows, target="y")
    assert data.fingerprint == study.summary["fingerprint"]
    return rows[data.test.rows]


def test_what_is_refused(rows):
    for options, says in (
        ({"combine": "gredy"}, "did you mean 'greedy'"),
        ({"combine": "greedy", "refit": True}, "refit"),
        ({"combine": "soup", "ensemble": False}, "one network"),
    ):
        with pytest.raises(OptionError, match=says):
            tuned(rows, **options)


def test_nothing_to_put_together_is_told(rows):
    study = tw.tune(
        rows, "y", trials=1, space={"depth": 1, "width": 4}, epochs=2, finalists=0, baselines=False,
        combine="greedy",
    )  # fmt: skip
    assert study.summary["combinations"] == []
    assert any("nothing to put together" in notice for notice in study.summary["notices"])
