"""The spaces that are searched where the user gives none."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.errors import OptionError
from thalweg.optim.external import EXTERNAL
from thalweg.study.spaces import default_batch_size, default_config, default_epochs, default_space
from thalweg.task import LOSSES, METRICS, ROW_KINDS, Task
from thalweg.training.scalars import features_of

TASKS = {
    "regression": Task("regression", ("y",)),
    "binary": Task("binary", ("y",), (0, 1)),
    "multiclass": Task("multiclass", ("y",), (0, 1, 2)),
}


def sample(space, num=300):
    return space.decode(np.random.default_rng(0).random((num, max(1, len(space.free)))))


@pytest.mark.parametrize("kind", ROW_KINDS)
@pytest.mark.parametrize("most", [1, 2, 3, 6, 12])
def test_structures_are_as_few_as_asked(kind, most):
    configs = sample(default_space(TASKS[kind], 1000, max_structures=most))
    structures = {c.structure(tuple(EXTERNAL)) for c in configs}
    assert 1 <= len(structures) <= most
    features_of(configs, TASKS[kind])


@pytest.mark.parametrize("kind", ROW_KINDS)
@pytest.mark.parametrize("models", [("mlp",), ("linear",), ("linear", "mlp")])
def test_every_metric_and_loss(kind, models):
    for metric in METRICS[kind]:
        task = TASKS[kind].with_choice(metric=metric)
        configs = sample(default_space(task, 1000, models=models), 100)
        assert {c["model"] for c in configs} == set(models)
    space = default_space(TASKS[kind], 1000, models=models, losses=LOSSES[kind])
    configs = sample(space)
    assert {c["loss"] for c in configs} == set(LOSSES[kind])
    assert all(("focal_gamma" in c) == (c["loss"] == "focal") for c in configs)


def test_a_loss_of_another_kind_is_refused():
    with pytest.raises(OptionError, match="loss of a binary task"):
        default_space(TASKS["binary"], 1000, losses=("huber",))


@pytest.mark.parametrize("kind", ROW_KINDS)
def test_the_first_config_makes_sense(kind):
    config = default_config(TASKS[kind], 500)
    features_of([config], TASKS[kind])
    assert config["loss"] == TASKS[kind].loss


def test_sizes_follow_the_rows():
    rows = [10, 100, 1000, 10_000, 100_000, 1_000_000]
    batches = [default_batch_size(n) for n in rows]
    epochs = [default_epochs(n) for n in rows]
    assert batches == sorted(batches)
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[-1] >= 15
