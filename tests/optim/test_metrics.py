"""The compiled metrics against scikit-learn, and against the host's score."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

from thalweg import task as tasks
from thalweg.errors import DataError, OptionError
from thalweg.optim.losses import predict_outputs
from thalweg.optim.metrics import METRICS, evaluate, score
from thalweg.task import Task

TASKS = {
    "regression": Task("regression", ("a", "b")),
    "binary": Task("binary", ("y",), ("no", "yes")),
    "multiclass": Task("multiclass", ("y",), tuple("abcdefg")),
}
MEAN, SCALE = np.array([3.0, -20.0]), np.array([2.0, 50.0])


def problem(kind: str, seed: int, num_rows: int = 150, weights: str = "none"):
    """Return outputs with ties, targets (regression: scaled) and weights, float32."""
    rng = np.random.default_rng(seed)
    width = TASKS[kind].num_outputs
    # Half the rows repeat others and values are few, so that scores tie.
    outputs = np.round(rng.standard_normal((num_rows, width)) * 4) / 4
    outputs[num_rows // 2 :] = outputs[rng.integers(0, num_rows // 2, num_rows - num_rows // 2)]
    if kind == "regression":
        target = np.round(outputs + rng.standard_normal(outputs.shape), 1)
    elif kind == "binary":
        target = (outputs[:, 0] + rng.standard_normal(num_rows) > 0.5).astype(np.int32)
    else:
        target = (outputs + rng.gumbel(size=outputs.shape)).argmax(-1).astype(np.int32)
    weight = {
        "none": None,
        "mask": rng.integers(0, 2, num_rows).astype(np.float32),
        "real": (rng.integers(0, 4, num_rows) * rng.uniform(0.5, 2, num_rows)).astype(np.float32),
    }[weights]
    floats = np.float32 if kind == "regression" else np.int32
    return outputs.astype(np.float32), target.astype(floats), weight


@functools.cache
def program(kind):
    units = (MEAN.astype(np.float32), SCALE.astype(np.float32)) if kind == "regression" else None
    return jax.jit(lambda *args: evaluate(kind, tuple(METRICS[kind]), *args, units))


def compiled(kind, outputs, target, weight=None):
    if weight is None:
        weight = np.ones(len(outputs), np.float32)
    return {name: float(v) for name, v in program(kind)(outputs, target, weight).items()}


def on_host(kind, outputs, target, weight=None):
    if kind == "regression":
        outputs, target = outputs * SCALE + MEAN, target * SCALE + MEAN
    else:
        outputs = predict_outputs(kind, outputs.astype(np.float64))
    scale = SCALE if kind == "regression" else None
    return score(TASKS[kind], outputs, target, weight=weight, scale=scale)


def assert_agree(ours: dict, theirs: dict) -> None:
    """Compare what is defined; what the host leaves out must be NaN in the program."""
    for name, value in ours.items():
        if name in theirs:
            assert value == pytest.approx(theirs[name], rel=1e-5, abs=1e-5), name
        else:
            assert np.isnan(value), name


def test_names_are_those_of_the_task():
    assert {kind: list(family) for kind, family in METRICS.items()} == {
        kind: list(family) for kind, family in tasks.METRICS.items()
    }


@pytest.mark.parametrize("kind", tasks.ROW_KINDS)
@pytest.mark.parametrize("weights", ["none", "mask", "real"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_compiled_equals_scikit_learn(kind, weights, seed):
    outputs, target, weight = problem(kind, seed, weights=weights)
    theirs = on_host(kind, outputs, target, weight)
    assert set(theirs) == set(METRICS[kind])
    assert_agree(compiled(kind, outputs, target, weight), theirs)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
@pytest.mark.parametrize("present", [(0,), (1,), (0, 1)])
def test_missing_classes(kind, present):
    outputs, target, weight = problem(kind, 3, weights="mask")
    weight = weight * np.isin(target, present)
    theirs = on_host(kind, outputs, target, weight)
    # The host answers without a warning (they are errors here) and leaves out what is not defined.
    assert ("roc_auc" in theirs) == (len(present) == 2)
    assert_agree(compiled(kind, outputs, target, weight), theirs)


@pytest.mark.parametrize("kind", tasks.ROW_KINDS)
@pytest.mark.parametrize("num_rows", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_rows(kind, num_rows, seed):
    outputs, target, _ = problem(kind, seed, num_rows=8)
    weight = (np.arange(8) < num_rows).astype(np.float32)
    theirs = on_host(kind, outputs[:num_rows], target[:num_rows])
    assert_agree(compiled(kind, outputs, target, weight), theirs)


@pytest.mark.parametrize("kind", tasks.ROW_KINDS)
def test_rows_without_weight_do_not_count_whatever_they_hold(kind):
    outputs, target, weight = problem(kind, 4, weights="mask")
    expected = compiled(kind, outputs, target, weight)
    kept = weight > 0
    outputs[~kept] = np.nan
    target[~kept] = np.nan if kind == "regression" else 99
    assert compiled(kind, outputs, target, weight) == expected
    assert all(np.isnan(v) for v in compiled(kind, outputs, target, 0 * weight).values())
    outputs[np.argmax(kept), 0] = np.nan
    assert all(np.isnan(v) for v in compiled(kind, outputs, target, weight).values())


@pytest.mark.parametrize("kind", tasks.ROW_KINDS)
def test_members_equal_themselves_alone(kind):
    members = [problem(kind, seed, weights="real") for seed in range(4)]
    stacked = [np.stack(column) for column in zip(*members, strict=True)]
    stacked[0][1, np.argmax(stacked[2][1])] = np.nan
    names = tuple(METRICS[kind])
    single = program(kind)
    together = jax.jit(jax.vmap(single))(*stacked)
    for index in range(4):
        alone = single(*(column[index] for column in stacked))
        for name in names:
            np.testing.assert_allclose(together[name][index], alone[name], rtol=2e-5, atol=1e-6)
    assert np.isnan([together[name][1] for name in names]).all()


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_distributions(kind):
    outputs, _, weight = problem(kind, 6, weights="real")
    rng = np.random.default_rng(6)
    width = outputs.shape[1]
    target = rng.uniform(size=150) if kind == "binary" else rng.dirichlet(np.ones(width), 150)
    theirs = on_host(kind, outputs, target, weight)
    assert_agree(compiled(kind, outputs, target.astype(np.float32), weight), theirs)
    hard = (target > 0.5) if kind == "binary" else target.argmax(-1)
    indices = on_host(kind, outputs, hard.astype(int), weight)
    soft_names = {"log_loss", "brier"}
    assert {n: v for n, v in theirs.items() if n not in soft_names} == {
        n: v for n, v in indices.items() if n not in soft_names
    }
    assert theirs["log_loss"] != indices["log_loss"]


def test_score_is_plain_scikit_learn_where_that_is_defined():
    outputs, target, _ = problem("multiclass", 7)
    p = predict_outputs("multiclass", outputs.astype(np.float64))
    ours = score(TASKS["multiclass"], p, target)
    chosen = p.argmax(-1)
    assert ours == pytest.approx(
        {
            "accuracy": sk.accuracy_score(target, chosen),
            "balanced_accuracy": sk.balanced_accuracy_score(target, chosen),
            "f1_macro": sk.f1_score(target, chosen, average="macro"),
            "top_5_accuracy": sk.top_k_accuracy_score(target, p, k=5),
            "roc_auc": sk.roc_auc_score(target, p, multi_class="ovr", average="macro"),
            "log_loss": sk.log_loss(target, p),
        }
    )
    outputs, target, _ = problem("binary", 7)
    p = predict_outputs("binary", outputs.astype(np.float64))
    both = np.stack([1 - p, p], -1)
    expected = {
        "balanced_accuracy": sk.balanced_accuracy_score(target, p > 0.5),
        "roc_auc": sk.roc_auc_score(target, p),
        "log_loss": sk.log_loss(target, p),
        "brier": sk.brier_score_loss(target, p),
    }
    for predictions in (p, p[:, None], both):
        assert score(TASKS["binary"], predictions, target, expected) == pytest.approx(expected)


def test_float32_probabilities_make_no_warning():
    outputs, target, _ = problem("multiclass", 8)
    p = np.asarray(predict_outputs("multiclass", outputs))
    assert p.dtype == np.float32
    expected = on_host("multiclass", outputs, target)
    assert score(TASKS["multiclass"], p, target) == pytest.approx(expected, rel=1e-5)


def test_regression_is_in_the_users_units():
    outputs, target, _ = problem("regression", 9)
    values = compiled("regression", outputs, target)
    names = ("rmse", "r2")
    plain = jax.jit(lambda o, t: evaluate("regression", names, o, t))(outputs, target)
    errors = np.sqrt(np.mean((outputs - target) ** 2, axis=0))
    assert values["rmse"] == pytest.approx(np.mean(errors * SCALE), rel=1e-5)
    assert float(plain["rmse"]) == pytest.approx(np.mean(errors), rel=1e-5)
    assert values["r2"] == pytest.approx(float(plain["r2"]))


def test_a_constant_target_has_an_r2():
    target = np.full((150, 2), 0.1, np.float32)
    exact, off = target.copy(), target + np.float32(0.25)
    for outputs, expected in ((exact, 1.0), (off, 0.0)):
        assert compiled("regression", outputs, target)["r2"] == expected
        assert on_host("regression", outputs, target)["r2"] == expected


def test_five_classes_have_no_top_5_accuracy():
    task = Task("multiclass", ("y",), tuple("abcde"))
    p = np.full((6, 5), 0.2)
    target = np.array([0, 1, 2, 3, 4, 0], np.int32)
    assert "top_5_accuracy" not in score(task, p, target)
    assert np.isnan(METRICS["multiclass"]["top_5_accuracy"](jnp.log(p), target))


def test_metrics_share_one_sort():
    outputs, target, _ = problem("binary", 0)
    names = ("roc_auc", "average_precision", "accuracy")
    program = jax.jit(lambda o, t: evaluate("binary", names, o, t)).lower(outputs, target)
    lines = program.compile().as_text().splitlines()
    assert sum(" sort(" in line for line in lines) == 1


def test_errors():
    with pytest.raises(OptionError, match="did you mean 'roc_auc'"):
        score(TASKS["binary"], np.zeros(3), np.zeros(3), ["rocauc"])
    with pytest.raises(OptionError, match="metric of a binary task"):
        evaluate("binary", ["rmse"], jnp.zeros((3, 1)), jnp.zeros(3, int))
    with pytest.raises(DataError, match="got 2 and 3"):
        score(TASKS["binary"], np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="got 0 and 0"):
        score(TASKS["binary"], np.zeros(0), np.zeros(0))
    spoilt = score(TASKS["binary"], np.array([0.1, np.nan]), np.array([0, 1]))
    assert list(spoilt) == list(METRICS["binary"])
    assert np.isnan(list(spoilt.values())).all()
