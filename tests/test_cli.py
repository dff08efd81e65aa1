"""The command line: help, the main job, files in and out, and one line for every mistake."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from thalweg import cli

COMMANDS = ("fit", "demo", "predict", "evaluate", "explain", "report", "sample", "info")
SPACE = """
depth = 1
width = 8
batch_size = 32
optimizer = "adam"
learning_rate = { low = 0.003, high = 0.03, log = true }
"""


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs the command line in this process."""

    def call(*args: object) -> Result:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["thalweg", *map(str, args)])
        code = 0
        try:
            cli.main()
        except SystemExit as done:
            code = int(done.code or 0)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


def refused(result: Result, *says: str) -> str:
    """Check that a command ended with one line on stderr and exit code 2, and return the line."""
    assert result.code == 2, result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("thalweg: ")
    for text in says:
        assert text in lines[0]
    return lines[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with a table, a space file and a run made of them."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    size = rng.uniform(20, 200, 240).round(1)
    town = rng.choice(["Bonn", "Köln", "Trier"], 240)
    price = 1000 * size + 20_000 * (town == "Köln") + rng.normal(0, 5000, 240)
    frame = pl.DataFrame({"size": size, "town": town, "price": price.round()})
    frame.write_csv(folder / "houses.csv")
    dear = frame.with_columns(dear=pl.col("price") > 120_000).drop("price")
    dear.write_csv(folder / "dear.csv")
    (folder / "space.toml").write_text(SPACE)
    return folder


@pytest.fixture
def fit(run, folder):
    def call(source: object, *args: object) -> Result:
        quick = ["--space", folder / "space.toml", "--no-baselines", "--epochs", 20]
        return run("fit", source, *quick, *args)

    return call


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory) -> Path:
    """Return a run directory of a binary task."""
    import thalweg as tw

    path = tmp_path_factory.mktemp("runs") / "dear"
    tw.tune(
        folder / "dear.csv", "dear", trials=3, epochs=20, space=folder / "space.toml",
        finalists=0, run=path,
    )  # fmt: skip
    return path


# --------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    for flag in ("--help", "-h"):
        result = run(command, flag)
        assert result.code == 0
        assert f"Usage: thalweg {command}" in result.out
        assert result.err == ""


def test_help_lists_the_commands(run):
    result = run("--help")
    assert result.code == 0
    assert all(command in result.out for command in COMMANDS)


def test_version(run):
    import thalweg

    assert run("--version").out.strip() == f"thalweg {thalweg.__version__}"


def test_no_command_shows_the_help(run):
    result = run()
    assert result.code in (0, 2)
    assert "fit" in result.out + result.err
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_help_is_quick():
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "thalweg.cli", "--help"], check=True, capture_output=True
        )
        times.append(time.perf_counter() - start)
    assert sorted(times)[2] < 0.5, times


# ------------------------------------------------------------------------------------- the main job


def test_fit_predict_evaluate_report(fit, run, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = fit(
        folder / "houses.csv", "--target", "price", "--trials", 3, "--json", "--run", "mine"
    )
    assert result.code == 0, result.err
    # stdout holds the summary alone; everything for people is on stderr.
    (line,) = result.out.splitlines()
    summary = json.loads(line)
    assert summary.keys() >= {
        "run", "task", "metric", "best_config", "validation", "test", "trials", "seconds",
        "budget_seconds", "device", "versions", "answers",
    }  # fmt: skip
    assert summary["task"]["kind"] == "regression"
    assert summary["metric"] == "rmse"
    assert summary["run"] == "mine"
    assert summary["seconds"].keys() >= {"total", "compile", "train"}
    assert sum(summary["trials"].values()) == 3
    assert isinstance(summary["validation"]["rmse"], float)
    assert summary["test"]["r2"] > 0.5
    assert summary["command"].startswith("thalweg fit ")
    assert summary == json.loads((tmp_path / "mine" / "run.json").read_text())
    for text in ("price", "size", "town", "next:", "mine/model", "mine/report.html"):
        assert text in result.err, text

    result = run("predict", "mine", folder / "houses.csv")
    assert result.code == 0
    printed = pl.read_csv(io.StringIO(result.out))
    assert printed.columns == ["prediction"]
    assert len(printed) == 240

    for ending in ("csv", "parquet"):
        out = tmp_path / f"out.{ending}"
        result = run("predict", "mine", folder / "houses.csv", "-o", out)
        assert result.code == 0
        assert result.out == ""
        assert "240 predictions" in result.err
        read = pl.read_csv(out) if ending == "csv" else pl.read_parquet(out)
        np.testing.assert_allclose(read["prediction"], printed["prediction"], rtol=1e-6)

    result = run("evaluate", "mine", folder / "houses.csv", "--json")
    scores = json.loads(result.out)
    truth = pl.read_csv(folder / "houses.csv")["price"]
    rmse = float(((printed["prediction"] - truth) ** 2).mean() ** 0.5)
    assert scores["rmse"] == pytest.approx(rmse, rel=1e-5)
    plain = run("evaluate", "mine", folder / "houses.csv")
    assert f"{scores['r2']:.6g}" in plain.out
    # Rows that it was trained on tell little: those that it was not are named beside.
    assert f"rmse on the rows held out (test) {summary['test']['rmse']:.6g}" in plain.err
    (tmp_path / "new.csv").write_bytes((folder / "houses.csv").read_bytes())
    assert run("evaluate", "mine", "new.csv").err == ""

    result = run("report", "mine", "-o", tmp_path / "mine.html")
    assert result.code == 0
    assert (tmp_path / "mine.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_classes_and_probabilities(run, finished, folder):
    result = run("predict", finished, folder / "dear.csv")
    frame = pl.read_csv(io.StringIO(result.out))
    assert frame.columns == ["prediction", "probability_false", "probability_true"]
    total = frame["probability_false"] + frame["probability_true"]
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    wary = run("predict", finished, folder / "dear.csv", "--threshold", 0.99)
    few = pl.read_csv(io.StringIO(wary.out))["prediction"]
    assert few.cast(pl.Boolean).sum() < frame["prediction"].cast(pl.Boolean).sum()


def test_explain(run, finished, folder, tmp_path):
    rows = folder / "dear.csv"
    result = run("explain", finished, rows, "--rows", 3)
    assert result.code == 0, result.err
    frame = pl.read_csv(io.StringIO(result.out))
    assert frame["column"].to_list() == ["size", "town"] * 3
    sums = frame.group_by("row", maintain_order=True).agg(pl.col("contribution").sum())
    np.testing.assert_allclose(
        frame["base"][::2] + sums["contribution"], frame["prediction"][::2], atol=1e-6
    )
    assert "probability of True for 3 rows" in result.err
    for name in ("out.csv", "out.parquet", "out.json", "out"):
        result = run("explain", finished, rows, "-m", "permutation", "-o", tmp_path / name)
        assert result.code == 0, result.err
        assert result.out == ""
        assert (tmp_path / name).exists()
    assert pl.read_csv(tmp_path / "out.csv")["column"][0] == "size"
    result = run("explain", finished, rows, "-m", "dependence", "--column", "town", "--json")
    record = json.loads(result.out.splitlines()[-1])
    assert {row["value"] for row in record["rows"]} == {"Bonn", "Köln", "Trier"}
    result = run("explain", finished, rows, "-m", "neighbours", "--examples", rows, "--rows", 2)
    assert pl.read_csv(io.StringIO(result.out))["rank"].to_list() == [1, 2, 3, 4, 5] * 2
    refused(run("explain", finished, rows, "-m", "saliency"), "shapley")
    refused(run("explain", finished, rows, "-o", tmp_path / "out.xlsx"), ".parquet")
    refused(run("explain", finished, rows, "--column", "sizes"), "did you mean 'size'?")
    refused(run("explain", finished, tmp_path / "none.csv"), "none.csv")
    refused(run("explain", tmp_path / "none", rows), "none")


def test_an_extra_column_at_prediction_is_told(run, finished, folder, tmp_path):
    frame = pl.read_csv(folder / "dear.csv").with_columns(colour=pl.lit("red"))
    frame.write_csv(tmp_path / "more.csv")
    result = run("predict", finished, tmp_path / "more.csv")
    assert result.code == 0
    assert "colour" in result.err


def test_a_built_in_set_needs_no_target(fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = fit("iris", "--trials", 2, "--quiet", "--json")
    assert result.code == 0
    summary = json.loads(result.out)
    assert summary["task"]["kind"] == "multiclass"
    assert summary["run"].startswith("runs/iris-")
    assert (tmp_path / summary["run"] / "model" / "model.json").exists()


def test_dry_run_writes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("fit", "iris", "--budget", "60s", "--dry-run", "--json")
    assert result.code == 0
    plan = json.loads(result.out.splitlines()[-1])
    assert plan["structures"] >= 1
    assert plan["estimated_bytes"] > 0
    assert "would train" in result.err
    assert list(tmp_path.iterdir()) == []


def test_several_families_and_options(fit, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = fit(
        folder / "houses.csv", "-t", "price", "-n", 2, "--metric", "mae", "--drop", "town",
        "--column", "size=number", "--no-halving", "--search", "random", "--seed", 3, "--json",
        "--no-ensemble", "--refit",
    )  # fmt: skip
    assert result.code == 0, result.err
    summary = json.loads(result.out.splitlines()[-1])
    assert summary["metric"] == "mae"
    assert summary["task"]["features"] == 1
    assert summary["seed"] == 3


def test_info(run):
    result = run("info", "--json")
    facts = json.loads(result.out)
    assert facts["compiler"] == "correct"
    assert facts["versions"].keys() >= {"thalweg", "jax", "jaxlib"}
    plain = run("info")
    assert plain.code == 0
    assert "correct" in plain.out


def test_info_lists_the_hyperparameters(run):
    from thalweg.space import HYPERPARAMETERS

    lines = run("info", "--space").out.splitlines()
    assert [line.split()[0] for line in lines] == list(HYPERPARAMETERS)
    assert {line.split()[1] for line in lines} == {"structural", "traced"}


# ---------------------------------------------------------------------------------------- mistakes


def table(header: str, row: Callable[[int], object], num_rows: int = 40) -> str:
    return "\n".join([header, *(str(row(i)) for i in range(num_rows))])


BAD_FILES = {
    "empty": (b"", "x", ()),
    "header only": (b"a,b\n", "b", ()),
    "one row": (b"a,b\n1,2\n", "b", ()),
    "one class": (table("a,b", lambda i: f"{i},yes"), "b", ()),
    "target missing": (table("a,label", lambda i: f"{i},{i % 3}"), "price", ("label",)),
    "target misspelt": (table("a,label", lambda i: f"{i},{i % 3}"), "lable", ("mean 'label'?",)),
    "target all missing": (table("a,b", lambda i: f"{i},"), "b", ()),
    "as many classes as rows": (table("a,b", lambda i: f"{i},n{i}"), "b", ()),
    "binary file": (bytes(range(256)) * 20, "b", ()),
    "only the target": (table("b", lambda i: i % 2), "b", ()),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_cannot_be_used(run, tmp_path, monkeypatch, case):
    content, target, says = BAD_FILES[case]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(run("fit", path, "--target", target, "--trials", 1), *says)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mixed types", table("a,b,y", lambda i: f"{'x' if i % 5 else i},{i},{i % 2}")),
        ("duplicate names", table("a,a,y", lambda i: f"{i},{-i},{i % 2}")),
        ("wrong encoding", table("größe,y", lambda i: f"{i},{i % 2}")),
    ],
)
def test_files_that_need_care_end_well_or_in_one_line(run, tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    encoding = "latin-1" if name == "wrong encoding" else "utf-8"
    (tmp_path / "data.csv").write_text(content, encoding=encoding)
    result = run("fit", "data.csv", "--target", "y", "--trials", 1, "--dry-run", "--quiet")
    assert "Traceback" not in result.err
    if result.code:
        refused(result)
    assert [p.name for p in tmp_path.iterdir()] == ["data.csv"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["none.csv", "-t", "y"], ["none.csv"]),
        (["digit"], ["did you mean 'digits'?"]),
        (["iris", "--budget", "0"], ["longer than nothing"]),
        (["iris", "--budget", "soon"], ["such as 90s", "'soon'"]),
        (["iris", "--budget", "1s"], ["too short"]),
        (["iris", "--trials", "0"], ["whole number from 1"]),
        (["iris", "--trials", "many"], ["--trials"]),
        (["iris", "--model", "cnn"], ["model must be one of linear, mlp; got 'cnn'"]),
        (["iris", "--metric", "acuracy"], ["did you mean 'accuracy'?"]),
        (["iris", "--loss", "hing"], ["did you mean 'hinge'?"]),
        (["iris", "--task", "regresion"], ["did you mean 'regression'?"]),
        (["iris", "--search", "bayes"], ["sobol, halton, random, grid"]),
        (["iris", "--epochs", "-1"], ["epochs must be above 0"]),
        (["iris", "--seeds", "-1"], ["seeds must be a whole number from 0"]),
        (["iris", "--seed", "-1"], ["seed"]),
        (["iris", "--space", "none.toml"], ["none.toml", "cannot be read"]),
        (["iris", "--column", "petal"], ["NAME=KIND"]),
        (["iris", "--column", "petal=colour"], ["petal"]),
        (["iris", "--drop", "nonsense"], ["nonsense"]),
        (["iris", "--group", "nonsense"], ["nonsense"]),
        (["iris", "--time", "nonsense"], ["nonsense"]),
        (["iris", "--validation", "none.csv"], ["none.csv"]),
        (["iris", "--test", "none.csv"], ["none.csv"]),
        (["iris", "--trails", "5"], ["--trails"]),
        (["iris", "--trials"], ["--trials"]),
        ([], ["SOURCE"]),
    ],
)
def test_options_of_fit_that_make_no_sense(run, tmp_path, monkeypatch, args, says):
    monkeypatch.chdir(tmp_path)
    refused(run("fit", *args), *says)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_not_overwritten(fit, finished, folder):
    before = (finished / "run.json").read_bytes()
    result = fit(folder / "dear.csv", "-t", "dear", "-n", 1, "--run", finished, "--quiet")
    refused(result, "already holds a finished run")
    assert (finished / "run.json").read_bytes() == before


def test_mistakes_of_the_other_commands(run, finished, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = folder / "dear.csv"
    for command in ("predict", "evaluate"):
        refused(run(command, "no-run", rows), "no-run", "holds no trained model")
        refused(run(command, finished, "none.csv"), "none.csv")
        refused(run(command, finished), "SOURCE")
    refused(run("report", "no-run"), "there is no run directory no-run")
    refused(run("report", tmp_path), "run.json is missing")
    refused(run("predict", finished, rows, "--threshold", 2), "threshold must be from 0 to 1")
    refused(run("predict", finished, rows, "-o", "out.xlsx"), ".csv, .parquet; got '.xlsx'")
    refused(run("predict", finished, rows, "-o", "no/folder/out.csv"), "cannot be written")
    refused(run("nonsense"), "nonsense")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    refused(run("report", finished, "-o", "file/out.html"), "cannot be written")


def test_a_column_that_is_missing_at_prediction_is_named(run, finished, folder, tmp_path):
    path = tmp_path / "less.csv"
    pl.read_csv(folder / "dear.csv").drop("town").write_csv(path)
    refused(run("predict", finished, path, "-o", tmp_path / "out.csv"), "town")
    refused(run("evaluate", finished, path), "town")
    pl.read_csv(folder / "dear.csv").drop("dear").write_csv(path)
    refused(run("evaluate", finished, path), "dear")
    assert list(tmp_path.iterdir()) == [path]


def test_a_threshold_needs_a_binary_task(fit, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fit("iris", "--trials", 1, "--quiet", "--run", "mine").code == 0
    refused(run("predict", "mine", "iris", "--threshold", 0.5), "binary")


def test_ctrl_c_before_anything_was_found(run, monkeypatch):
    from thalweg import api

    def interrupt(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "load", interrupt)
    result = run("fit", "iris", "--trials", 1)
    assert result.code == 130
    assert result.err.strip() == "thalweg: interrupted"
