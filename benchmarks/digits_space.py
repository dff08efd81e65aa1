"""The digits search, the same for every contestant: space, split and score.

The network is 64-width-width-10 with ReLU and dropout after each hidden layer, trained with
softmax cross-entropy on batches of 32 for 20 epochs; rows are shuffled every epoch and the last,
incomplete batch of an epoch is left out. A trial's score is the highest validation accuracy seen
at the end of one of its epochs; a search's score is the best of its trials.

Weight decay is decoupled for ``adamw`` and added to the gradient for all other optimizers, which
is what ``torch.optim`` does with its argument ``weight_decay``.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

TRIALS = 64
EPOCHS = 20
BATCH_SIZE = 32
DEPTH = 2
OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adam", "adamw", "nadam")  # momentum is 0.9
WIDTHS = (32, 64, 128)
LEARNING_RATE = (1e-4, 1e-1)  # log-uniform
WEIGHT_DECAY = (1e-6, 1e-2)  # log-uniform
DROPOUT = (0.0, 0.5)  # uniform


class Split(NamedTuple):
    """Features float32 [N, 64] in 0..1 and classes int64 [N]: 80 % to train, 20 % to judge."""

    x: np.ndarray
    y: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray


def sample(rng: np.random.Generator) -> dict[str, object]:
    """Draw one configuration."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    return {
        "optimizer": str(rng.choice(OPTIMIZERS)),
        "learning_rate": log_uniform(*LEARNING_RATE),
        "weight_decay": log_uniform(*WEIGHT_DECAY),
        "dropout": float(rng.uniform(*DROPOUT)),
        "width": int(rng.choice(WIDTHS)),
    }


def split(seed: int) -> Split:
    """Return scikit-learn's digits, divided by 16, split within each class by ``seed``.

    Reads the file that scikit-learn ships without importing scikit-learn, which would add about
    a second to every contestant.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'sklearn'")
    with gzip.open(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    x, y = table[:, :-1] / 16, table[:, -1].astype(np.int64)
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(y), bool)
    for label in range(10):
        rows = rng.permutation(np.flatnonzero(y == label))
        held_out[rows[: round(0.2 * len(rows))]] = True
    return Split(x[~held_out], y[~held_out], x[held_out], y[held_out])
