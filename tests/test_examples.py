"""Every example runs, with small settings, and shows what it says it shows."""

from __future__ import annotations

import gzip
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs an example in an empty folder and returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def play(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        status: object = None
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except SystemExit as end:
            status = end.code
        assert not status, status
        return capsys.readouterr().out

    return play


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in tested


def test_line_finds_slope_and_intercept(run: Run) -> None:
    lines = run("line.py", "--steps", 400).splitlines()
    off = {line[:26].strip(): float(line.split()[-1]) for line in lines[3:]}
    assert off["full batch (100 rows)"] < 1e-4
    assert off["full batch (100 rows)"] < off["mini-batch (10 rows)"] < 0.2
    assert off["one sample, falling rate"] < off["one sample"] < 0.6


def test_xor_is_learnt(run: Run) -> None:
    text = run("xor.py", "--epochs", 800, "--starts", 4)
    assert "4 of 4 networks have all four right" in text
    assert "1 xor 0 = 1" in text


def test_learning_rates_explode_and_clipping_helps(run: Run) -> None:
    text = run("learning_rates.py", "--steps", 150, "--out", "pictures")
    ends = {line[:25].strip(): line.split()[-1] for line in text.splitlines()[1:6]}
    assert ends["2: far too large"] == "diverged"
    assert float(ends["0.1: right"]) < float(ends["2, clipped to norm 0.1"]) < 0.4
    assert float(ends["0.0003: too small"]) > 0.5
    assert Path("pictures/learning_rates.png").read_bytes().startswith(b"\x89PNG")


def test_mnist_falls_back_on_digits(run: Run) -> None:
    text = run("mnist.py", "--epochs", 4)
    assert "8 x 8 digits" in text
    accuracy = [float(line.split("accuracy ")[1].split("%")[0]) for line in text.splitlines()[-2:]]
    assert 30 < accuracy[0] < accuracy[1] <= 100


def test_mnist_reads_idx_files(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, num in (("train", 300), ("t10k", 60)):
        images = rng.integers(0, 256, (num, 28, 28), np.uint8)
        labels = np.arange(num, dtype=np.uint8) % 10
        images[np.arange(num), :, labels] = 255
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            raw = head + array.tobytes()
            if part == "train":
                (tmp_path / f"{part}-{kind}-ubyte").write_bytes(raw)
            else:
                (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(raw))
    text = run("mnist.py", "--data", tmp_path, "--epochs", 1)
    assert "360 rows, 784 features" in text
    assert "60 test" in text


def test_optimizer_race_ranks_every_rule(run: Run) -> None:
    from thalweg.optim.rules import RULES

    text = run("optimizer_race.py", "--steps", 120, "--rates", 7, "--out", "pictures")
    ranked = [line.split()[0] for line in text.splitlines()[3:-1]]
    assert sorted(ranked) == sorted(RULES)
    assert "steps at" in text
    assert Path("pictures/optimizer_race.png").read_bytes().startswith(b"\x89PNG")


def test_gradients_are_right(run: Run) -> None:
    text = run("gradient_check.py")
    assert "WRONG" not in text
    assert float(text.split()[-1]) < 1e-6


def test_tour(run: Run) -> None:
    text = run("tour.py", "--trials", 6, "--epochs", 2)
    assert "Which optimizer?" in text
    assert "predictions for rows never seen" in text
    assert Path("tour/report.html").stat().st_size > 10_000
    assert Path("tour/model/weights.safetensors").exists()


def test_adding_problem(run: Run) -> None:
    said = run("adding_problem.py", "--length", 12, "--steps", 40, "--rows", 300)
    assert "GRU, clipped" in said
    assert Path("adding_problem.png").stat().st_size > 10_000


@pytest.mark.slow
def test_pasted_digits(run: Run) -> None:
    said = run("pasted_digits.py", "--task", "detection", "--images", 80, "--minutes", 0.5)
    assert "map_50" in said


@pytest.mark.slow
def test_verification(run: Run, shared_data: Path) -> None:
    said = run("verification.py", shared_data / "sign_digits", "--minutes", 0.7)
    assert "roc_auc" in said


def test_sentiment_shows_scores_and_mistakes(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "reviews"
    folder.mkdir()
    for name, num in (("train", 300), ("test", 40)):
        rows = []
        for _ in range(num):
            label = int(rng.integers(2))
            words = [*rng.choice(["a", "the", "film", "plot", "of", "and", "with", "some"], 9)]
            words.insert(4, ["awful", "lovely"][label])
            rows.append(f"{' '.join(words)},{label}")
        (folder / f"{name}.csv").write_text("sentence,label\n" + "\n".join(rows) + "\n")
    text = run("sentiment.py", folder, "--minutes", 0.35)
    assert "tfidf_linear" in text
    assert float(text.split("test accuracy ")[1].split(" %")[0]) > 80


def test_language_model_writes(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [
        f"a {rng.choice(['man', 'dog'])} is {rng.choice(['here', 'there'])}" for _ in range(99)
    ]
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    options = ("--tokens", "words", "--minutes", 0.35, "--prompt", "a dog")
    text = run("language_model.py", tmp_path / "lines.txt", *options)
    assert "kneser_ney" in text
    assert "likeliest: a dog" in text


def test_translation_is_scored(run: Run, tmp_path: Path) -> None:
    nouns = {"dog": "Hund", "cat": "Katze", "man": "Mann", "tree": "Baum"}
    pairs = [(f"a {a} and a {b}", f"{nouns[a]} und {nouns[b]}") for a in nouns for b in nouns]
    lines = "\n".join(f"{read},{wrote}" for read, wrote in pairs * 12)
    (tmp_path / "train.csv").write_text(f"en,de\n{lines}\n", encoding="utf-8")
    (tmp_path / "test_a.csv").write_text(f"en,de\n{lines[:2000]}\n", encoding="utf-8")
    text = run("translation.py", tmp_path, "--minutes", 0.75)
    assert "the network: bleu" in text
    assert "nearest_neighbour: bleu" in text
    assert "usual: a " in text


@pytest.mark.slow
def test_digit_strings(run: Run, shared_data: Path) -> None:
    said = run(
        "digit_strings.py", shared_data / "free_spoken_digits", "--strings", 120, "--minutes", 1
    )
    assert "of the digits wrong" in said


def test_vae(run: Run) -> None:
    said = run("vae.py", "--epochs", 12)
    own, linear = (float(part.split()[-1]) for part in said.splitlines()[1].split(","))
    assert own < linear
    assert "9 lies about" in said
    assert Path("vae.png").read_bytes().startswith(b"\x89PNG")
