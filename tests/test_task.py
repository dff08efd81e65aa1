"""Task: defaults, choices, round trip, and its names against the functions that they name."""

from __future__ import annotations

import json

import pytest

from thalweg.errors import OptionError
from thalweg.task import KINDS, LOSSES, METRICS, Task

TARGETS = dict.fromkeys(KINDS, ("y",))
CLASSES = dict.fromkeys(KINDS, ("a", "b", "c")) | {
    "regression": (),
    "reconstruction": (),
    "binary": ("no", "yes"),
}


def make(kind: str, **choice: str) -> Task:
    return Task(kind, TARGETS[kind], CLASSES[kind], **choice)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_names_equal_the_functions_of_optim(kind):
    from thalweg.optim import losses, metrics

    assert set(LOSSES[kind]) == set(losses.LOSSES[kind])
    assert set(METRICS[kind]) == set(metrics.METRICS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_the_first_of_each_list(kind):
    task = make(kind)
    assert task.loss == LOSSES[kind][0]
    assert task.metric == next(iter(METRICS[kind]))
    assert task.sign == (1.0 if task.direction == "maximize" else -1.0)


def test_outputs():
    assert Task("regression", ("a", "b")).num_outputs == 2
    assert make("binary").num_outputs == 1
    assert make("multiclass").num_outputs == 3
    assert make("segmentation").num_outputs == make("detection").num_outputs == 3


@pytest.mark.parametrize("kind", KINDS)
def test_json_round_trip(kind):
    for loss in LOSSES[kind]:
        for metric in METRICS[kind]:
            task = make(kind).with_choice(loss=loss, metric=metric)
            assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task


def test_directions_are_those_of_the_vocabulary():
    errors = {
        "rmse", "mse", "mae", "median_absolute_error", "mape", "log_loss", "brier",
        "standardised_mse", "standardised_mae", "perplexity", "hamming_loss",
        "character_error_rate", "word_error_rate",
        "reconstruction_error",
    }  # fmt: skip
    for family in METRICS.values():
        for name, direction in family.items():
            assert direction == ("minimize" if name in errors else "maximize"), name


@pytest.mark.parametrize(
    ("make_task", "says"),
    [
        (lambda: Task("regresion", ("y",)), "did you mean 'regression'?"),  # type: ignore[arg-type]
        (lambda: make("binary", loss="huber"), "loss of a binary task must be one of"),
        (lambda: make("regression", metric="accuracy"), "metric of a regression task"),
        (lambda: make("binary", metric="rocauc"), "did you mean 'roc_auc'?"),
        (lambda: make("multiclass").with_choice(metric="f1"), "did you mean 'f1_macro'?"),
    ],
)
def test_errors_name_the_known_values(make_task, says):
    with pytest.raises(OptionError, match="got ") as error:
        make_task()
    assert says in str(error.value)
    assert "\n" not in str(error.value)
