"""Optimizer comparisons of the literature, put to ``compare``: is any published order reversed?

    python benchmarks/literature.py [--data path/to/mnist]

Pairs that published results separate, on problems of their kind that fit a laptop: a quadratic
with condition number 1,000 (Polyak 1964; Nesterov 1983; DeepOBS's ``quadratic_deep`` is of this
kind), a 784-128-10 network and softmax regression on MNIST by training length and cross-entropy
(Kingma and Ba 2015, figures 1 and 2; Choi and others 2019, "On Empirical Comparisons of
Optimizers": what contains a rule is never worse than it when both are tuned). Those results are
about the training cost, so the rows that judge are the training rows themselves. Without ``--data``
scikit-learn's digits stand in for MNIST. Printed: Markdown, one row a pair.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import thalweg as tw

RATES = {
    "on": "optimizer",
    "cases": {
        "sgd": {"low": 3e-3, "high": 1.0, "log": True},
        "momentum": {"low": 1e-3, "high": 0.3, "log": True},
        "nesterov": {"low": 1e-3, "high": 0.3, "log": True},
        "adagrad": {"low": 1e-3, "high": 0.3, "log": True},
    },
    "default": {"low": 1e-4, "high": 3e-2, "log": True},
}


class Problem(NamedTuple):
    """A comparison, and what is published of it: pairs (better, worse, source)."""

    data: Any
    space: dict[str, Any]
    epochs: float
    metric: str
    optimizers: tuple[str, ...]
    published: tuple[tuple[str, str, str], ...]


def quadratic(rows: int = 2_000, size: int = 20, condition: float = 1_000.0) -> Any:
    """Rows whose squared error is a quadratic with that condition number."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    scales = np.sqrt(np.geomspace(1.0, 1.0 / condition, size))
    x = (rng.normal(size=(rows, size)) * scales) @ basis.T
    # The target depends on every direction alike: the flat ones have to be learned too.
    y = x @ (basis @ (1.0 / scales)) / np.sqrt(size)
    return x.astype(np.float32), y.astype(np.float32)


def on_training_rows(x: np.ndarray, y: np.ndarray) -> tw.Dataset:
    """A data set whose validation and test rows are its training rows: the cost is the score."""
    return tw.load((x, y), validation=(x, y), test=(x, y))


def problems(data: Path | None) -> dict[str, Problem]:
    """Return the problems by name."""
    name = "digits"
    if data is not None:
        whole = tw.load(str(data))
        pixels = np.concatenate([np.asarray(part.fields["image"]) for part in whole.parts.values()])
        labels = np.concatenate([whole.labels(part) for part in whole.parts])
        chosen = np.random.default_rng(0).permutation(len(pixels))[:8_000]
        x, y = pixels[chosen].reshape(8_000, -1).astype(np.float32), labels[chosen]
        name = "MNIST (8,000 images)"
    else:
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
    digits = on_training_rows(x, y)
    common: dict[str, Any] = {"optimizer": "sgd", "learning_rate": RATES, "batch_size": 64}
    deep = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
    kingma = "Kingma and Ba 2015"
    choi = "Choi and others 2019"
    return {
        "ill-conditioned quadratic": Problem(
            on_training_rows(*quadratic()),
            # Adam's steps are as long as its rate: the far minimum needs higher ones here.
            {
                "model": "linear",
                **common,
                "batch_size": "full",
                "learning_rate": {**RATES, "default": {"low": 3e-3, "high": 1.0, "log": True}},
            },
            300,
            "mse",
            ("sgd", "momentum", "nesterov", "adam"),
            (
                ("momentum", "sgd", "Polyak 1964"),
                ("nesterov", "sgd", "Nesterov 1983"),
                ("adam", "sgd", choi),
            ),
        ),
        f"softmax regression, {name}": Problem(
            digits,
            {"model": "linear", **common},
            3,
            "log_loss",
            deep,
            (
                ("adam", "sgd", choi),
                ("nesterov", "sgd", choi),
                ("adam", "adagrad", f"{kingma}, figure 1"),
            ),
        ),
        f"784-128-10 network, {name}": Problem(
            digits,
            {"width": 128, "depth": 1, **common},
            3,
            "log_loss",
            deep,
            (
                ("adam", "adagrad", f"{kingma}, figure 2"),
                ("adam", "rmsprop", f"{kingma}, figure 2; {choi}"),
                ("adam", "nesterov", f"{kingma}, figure 2; {choi}"),
                ("momentum", "sgd", choi),
                ("adam", "sgd", choi),
            ),
        ),
    }


def main() -> None:
    """Run every problem and print its pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of MNIST's four files")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    print(
        "| problem | published as better | worse | source | difference | 95 % interval | verdict |"
    )
    print("| --- | --- | --- | --- | --: | --: | --- |")
    reversed_pairs = 0
    for name, problem in problems(arguments.data).items():
        found = tw.compare(
            problem.data,
            over="optimizer",
            levels=problem.optimizers,
            trials=arguments.trials,
            seeds=arguments.seeds,
            space=problem.space,
            epochs=problem.epochs,
            metric=problem.metric,
        )
        pairs = {(row["better"], row["worse"]): row for row in found.pairs()}
        for better, worse, source in problem.published:
            row = pairs.get((better, worse))
            sign = 1.0
            if row is None:
                row, sign = pairs.get((worse, better)), -1.0
            if row is None:
                print(f"| {name} | {better} | {worse} | {source} | – | – | no score |")
                continue
            verdict = row["verdict"]
            if sign < 0 and verdict == "supported":
                verdict = "supported, REVERSED"
                reversed_pairs += 1
            low, high = sorted(sign * row[end] for end in ("low", "high"))
            print(
                f"| {name} | {better} | {worse} | {source} | {sign * row['difference']:.3g} | "
                f"{low:.3g} to {high:.3g} | {verdict} |",
                flush=True,
            )
    print(f"\nPairs reversed with the verdict `supported`: {reversed_pairs}.")


if __name__ == "__main__":
    main()
