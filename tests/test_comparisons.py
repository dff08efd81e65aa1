"""``compare`` from end to end: equal budgets, paired seeds, files, and nonsense told as such."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import thalweg as tw
from thalweg.cli import app
from thalweg.errors import RunError, ThalwegError
from thalweg.evidence import SUPPORTED

RUN = CliRunner()


def rows(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that a straight line parts, with a little noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, 4)).astype(np.float32)
    y = (x @ np.array([1.0, -1.0, 0.5, 0.0]) + 0.3 * rng.normal(size=num) > 0).astype(int)
    return x, y


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tw.Comparison:
    folder = tmp_path_factory.mktemp("comparison") / "run"
    return tw.compare(
        rows(400),
        over="optimizer",
        levels=["sgd", "adamw"],
        trials=6,
        seeds=3,
        epochs=4,
        space={"model": "linear", "learning_rate": {"low": 1e-3, "high": 1.0, "log": True}},
        run=folder,
    )


def test_budgets_are_equal_and_seeds_are_shared(made: tw.Comparison) -> None:
    by_id = {record["id"]: record for record in made.records}
    arms = made.summary["comparison"]["arms"]
    assert [len(arm["explored"]) for arm in arms] == [6, 6]
    steps = {record["steps"] for record in made.records}
    assert len(steps) == 1
    assert all(record["status"] == "completed" for record in made.records)
    rates = [[by_id[i]["config"]["learning_rate"] for i in arm["explored"]] for arm in arms]
    assert rates[0] == rates[1]
    seeds = [[by_id[i]["seed"] for i in arm["confirmed"]] for arm in arms]
    assert seeds == [[1, 2, 3], [1, 2, 3]]
    for arm in arms:
        best = max(arm["explored"], key=lambda i: by_id[i]["score"])
        configs = [by_id[i]["config"] for i in arm["confirmed"]]
        assert by_id[best]["score"] == max(by_id[i]["score"] for i in arm["explored"])
        assert all(config == configs[0] for config in configs)


def test_the_scores_are_those_of_the_test_rows(made: tw.Comparison) -> None:
    assert made.summary["comparison"]["split"] == "test"
    covariance = np.array(made.summary["comparison"]["row_covariance"])
    assert covariance.shape == (2, 2)
    assert np.all(np.linalg.eigvalsh(covariance) >= -1e-12)
    num = made.summary["task"]["rows"]["test"]
    for arm in made.summary["comparison"]["arms"]:
        for score in arm["scores"]:
            assert (score * num) == pytest.approx(round(score * num), abs=1e-6)


def test_files_of_the_run_directory(made: tw.Comparison) -> None:
    assert made.directory is not None
    folder = made.directory.path
    table = list(csv.DictReader((folder / "standings.csv").read_text().splitlines()))
    assert {row["arm"] for row in table} == {"sgd", "adamw"}
    assert json.loads(table[0]["config"])["model"] == "linear"
    latex = (folder / "standings.tex").read_text()
    assert latex.startswith(r"\begin{tabular}")
    assert latex.count(r"\\") == 3
    markdown = (folder / "standings.md").read_text().splitlines()
    assert len({line.count("|") for line in markdown}) == 1
    assert "<h1>" in (folder / "report.html").read_text()
    again = tw.Comparison.open(folder)
    assert again.answers() == made.answers()
    assert again.standings() == made.standings()
    assert repr(again) == repr(made)
    with pytest.raises(RunError, match=r"open it with Comparison\.open"):
        tw.Study.open(folder)


def test_the_same_command_gives_the_same_result(made: tw.Comparison) -> None:
    again = tw.compare(
        rows(400),
        over="optimizer",
        levels=["sgd", "adamw"],
        trials=6,
        seeds=3,
        epochs=4,
        space={"model": "linear", "learning_rate": {"low": 1e-3, "high": 1.0, "log": True}},
    )
    scores = [[arm["scores"] for arm in c.summary["comparison"]["arms"]] for c in (made, again)]
    assert scores[0] == scores[1]
    assert again.best_config() == made.best_config()


def test_a_better_choice_by_construction_wins() -> None:
    # The product of two signs: no linear model can do better than chance.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    found = tw.compare(
        (x, y),
        over="model",
        levels=["linear", "mlp"],
        trials=6,
        seeds=3,
        epochs=15,
        space={"model": {"choices": ["linear", "mlp"]}, "width": 16, "depth": 1,
               "learning_rate": {"low": 1e-2, "high": 1e-1, "log": True}},
    )  # fmt: skip
    answer = found.answers()[0]
    assert answer.verdict == SUPPORTED, answer.claim
    assert found.best_config()["model"] == "mlp"
    assert "parameters" in answer.claim


def test_a_factor_that_does_nothing_is_no_difference() -> None:
    # Without momentum in the rule, its momentum has no effect at all.
    found = tw.compare(
        rows(300),
        over="momentum",
        levels=[0.5, 0.9],
        trials=4,
        seeds=2,
        epochs=2,
        space={"model": "linear", "optimizer": "adam",
               "learning_rate": {"low": 1e-2, "high": 1e-1, "log": True}},
    )  # fmt: skip
    answer = found.answers()[0]
    assert answer.verdict == "tie"
    assert answer.effect == 0


def test_an_arm_that_always_diverges_is_told() -> None:
    x, _ = rows(200)
    found = tw.compare(
        (x, x @ np.ones(4)),
        over="learning_rate",
        levels=[1e-2, 1e6],
        trials=1,
        seeds=2,
        epochs=3,
        space={"model": "linear", "optimizer": "sgd"},
    )
    answers = found.answers()
    assert answers[0].verdict != SUPPORTED
    assert "1e+06" in answers[0].claim
    assert any("diverged" in answer.claim for answer in answers)


def test_the_command_line(tmp_path: Path) -> None:
    x, y = rows(200)
    table = tmp_path / "rows.csv"
    lines = [
        "a,b,c,d,y",
        *(",".join(f"{v}" for v in [*row, t]) for row, t in zip(x, y, strict=True)),
    ]
    table.write_text("\n".join(lines))
    run = tmp_path / "run"
    arguments = ["compare", str(table), "--target", "y", "--over", "schedule",
                 "--levels", "constant,cosine", "--trials", "2", "--seeds", "2", "--epochs", "2",
                 "--run", str(run), "--table", str(tmp_path / "t.tex"), "--json", "-q"]  # fmt: skip
    done = RUN.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["comparison"]["over"] == ["schedule"]
    assert len(record["standings"]) == 2
    assert record["answers"][0]["question"] == "Which schedule?"
    assert (tmp_path / "t.tex").exists()
    for ending in ("html", "md"):
        again = RUN.invoke(app, ["report", str(run), "--format", ending])
        assert again.exit_code == 0
        assert (run / f"report.{ending}").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--over", "optimiser"], "did you mean 'optimizer'"),
        (["--over", "optimizer", "--levels", "schedule=cosine,linear"], "NAME=A,B"),
        (["--over", "optimizer,loss", "--levels", "adam,sgd"], "NAME=A,B"),
        (["--over", "optimizer", "--table", "x.pdf"], "--table"),
        (["--over", "optimizer", "--trials", "0"], "trials must be a whole number"),
        (["--over", "optimizer", "--budget", "soon"], "a budget is a time"),
        (["--over", "optimizer", "--nuisance", "widht"], "nuisance names"),
        ([], "Missing option '--over'"),
    ],
)
def test_nonsense_on_the_command_line_is_one_line(options: list[str], says: str) -> None:
    done = RUN.invoke(app, ["compare", "iris", *options], standalone_mode=False)
    error = done.exception
    assert error is not None
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    assert says in text
    assert "\n" not in text


def test_a_budget_that_cannot_hold_a_comparison_is_told() -> None:
    with pytest.raises(ThalwegError, match=r"give a longer budget|used up by compiling"):
        tw.compare(rows(20_000), over="activation", budget="5s", epochs=400)


@pytest.mark.slow
def test_a_time_budget_is_kept(tmp_path: Path) -> None:
    from thalweg.study.budget import Budget, Clock

    clock = Clock(Budget.of("25s"))
    found = tw.compare("digits", over="optimizer", clock=clock, run=tmp_path / "run")
    assert clock.elapsed() <= 1.1 * 25 + 2
    assert all(len(arm["confirmed"]) >= 3 for arm in found.summary["comparison"]["arms"])
