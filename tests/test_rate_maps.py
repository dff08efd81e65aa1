"""``find_rates`` and ``thalweg rates`` from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import thalweg as tw
from thalweg.cli import app
from thalweg.errors import OptionError, RunError

RUN = CliRunner()
SPACE = {"model": "linear", "batch_size": 16}


def line(num: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A regression on one input: the edge of gradient descent is known."""
    x = np.random.default_rng(0).normal(size=(num, 1)).astype(np.float32)
    return x, 2 * x[:, 0] + 1


def test_the_edge_of_gradient_descent_is_two_over_the_largest_curvature() -> None:
    found = tw.find_rates(
        line(),
        optimizers=["sgd"],
        remedies=["plain", "clipping"],
        trials=2 * 2 * 40,
        epochs=40,
        space={"model": "linear", "batch_size": "full"},
    )
    plain, clipped = found.lines()
    # Standardised inputs and a bias: both curvatures of mean squared error are 2.
    assert plain["edge"] == pytest.approx(1.0, rel=0.35)
    assert plain["low"] < plain["best"] <= plain["high"] < 1.3
    answers = {answer.question: answer for answer in found.answers()}
    assert answers["Which learning rate for sgd?"].verdict == "supported"
    # Bounded steps don't diverge: they end near the minimum, whatever the rate.
    assert clipped["edge"] is None or clipped["edge"] > plain["edge"]
    assert answers["Does clipping move the stable edge?"].verdict == "supported"


def test_the_command_line_and_its_files(tmp_path: Path) -> None:
    run = tmp_path / "rates"
    done = RUN.invoke(
        app,
        ["rates", "iris", "--optimizers", "adam", "--remedies", "plain", "--trials", "16",
         "--epochs", "2", "--run", str(run), "--json", "--quiet"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout.splitlines()[-1])
    assert len(record["lines"]) == 1
    assert len(record["lines"][0]["rates"]) == 8
    again = tw.RateMap.open(run)
    assert again.answers()
    assert again.lines() == record["lines"]
    assert (run / "report.html").exists()
    assert RUN.invoke(app, ["report", str(run)]).exit_code == 0
    with pytest.raises(RunError, match="holds a map of learning rates"):
        tw.Study.open(run)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"optimizers": ["adan", "adaml"]}, "did you mean"),
        ({"optimizers": []}, "a list of names"),
        ({"remedies": ["prayer"]}, "remedies must be one of"),
        ({"trials": 10}, "take 144 trainings"),
        ({"seeds": 0}, "seeds must be a whole number"),
    ],
)
def test_nonsense_is_told_in_one_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError) as caught:
        tw.find_rates("iris", **options)
    assert says in str(caught.value)
