"""Searches on real data, the same for every contestant: data, networks, space and spend.

| problem | data | network |
| --- | --- | --- |
| ``adult`` | 26,049 rows, 108 columns once categories are 0/1 | MLP of two hidden layers |
| ``mnist`` | 6,000 images | two 3×3 convolutions with pooling, width and twice the width |
| ``sst2`` | 6,000 phrases | filters over 3, 4 and 5 words of 64 numbers, the largest response |

All are ReLU networks with dropout, trained with cross-entropy; optimizer, learning rate, weight
decay and dropout come from the space of ``digits_space``, the width from the problem's own. A
search may spend so many epochs, summed over its trials; a trial's score is the highest validation
accuracy of its evaluations, a search's score the best of its trials.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from problems import mnist

EMBEDDING = 64
KERNELS = (3, 4, 5)
WORDS = 48
"""Longest phrase; the rest of a longer one is left out."""
NUM_ROWS, NUM_JUDGED = 6_000, 2_000
"""Images and phrases to train and to judge on."""


class Problem(NamedTuple):
    """What is searched: widths, rows of a step, epochs of a full training, trainings to spend."""

    widths: tuple[int, ...]
    batch_size: int
    epochs: int
    trainings: int


PROBLEMS = {
    "adult": Problem((32, 64, 128), 64, 8, 30),
    "mnist": Problem((16, 32), 32, 8, 20),
    "sst2": Problem((32, 64, 128), 32, 6, 20),
}


class Data(NamedTuple):
    """Rows to train and to judge on, and how many different values an entry has (texts).

    ``adult``: float32 [N, D]; ``mnist``: uint8 [N, 28, 28, 1]; ``sst2``: int64 [N, 48] of word
    numbers, 0 beyond the end and 1 for words that are rare. Classes are int64 [N].
    """

    x: np.ndarray
    y: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray
    vocabulary: int = 0


def load(name: str, folder: Path | None, seed: int, *, tiny: bool = False) -> Data:
    """Return a problem's data, split by ``seed``; the first few hundred rows where ``tiny``."""
    if folder is None:
        raise FileNotFoundError(f"{name} needs --data")
    data = {"adult": _adult, "mnist": _mnist, "sst2": _sst2}[name](folder, seed)
    if tiny:
        few = {f: getattr(data, f)[:256] for f in ("x", "y", "x_validation", "y_validation")}
        data = data._replace(**few)
    return data


def _adult(folder: Path, seed: int) -> Data:
    with (folder / "adult" / "train.csv").open(newline="") as file:
        names, *rows = csv.reader(file)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    y = np.array([value.strip() == ">50K" for value in columns.pop("income")], np.int64)
    order = np.random.default_rng(seed).permutation(len(y))
    train, judged = np.split(order, [round(0.8 * len(y))])
    parts = []
    for values in columns.values():
        try:
            numbers = np.array(values, np.float32)[:, None]
            parts.append((numbers - numbers[train].mean()) / numbers[train].std())
        except ValueError:
            kinds = np.unique(np.array(values)[train])
            parts.append((np.array(values)[:, None] == kinds).astype(np.float32))
    x = np.concatenate(parts, axis=1)
    return Data(x[train], y[train], x[judged], y[judged])


def _mnist(folder: Path, seed: int) -> Data:
    whole = mnist(folder)
    rows = np.random.default_rng(seed).permutation(len(whole.y))[: NUM_ROWS + NUM_JUDGED]
    x = np.rint(whole.x[rows] * 255).astype(np.uint8).reshape(-1, 28, 28, 1)
    y = whole.y[rows]
    return Data(x[:NUM_ROWS], y[:NUM_ROWS], x[NUM_ROWS:], y[NUM_ROWS:])


def _sst2(folder: Path, seed: int) -> Data:
    with (folder / "sst2" / "train.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    rows = np.random.default_rng(seed).permutation(len(table))[: NUM_ROWS + NUM_JUDGED]
    phrases = [table[row]["sentence"].lower().split()[:WORDS] for row in rows]
    counts = Counter(word for phrase in phrases[:NUM_ROWS] for word in phrase)
    often = sorted(word for word, count in counts.items() if count > 1)
    number = {word: 2 + i for i, word in enumerate(often)}
    x = np.zeros((len(rows), WORDS), np.int64)
    for row, phrase in zip(x, phrases, strict=True):
        row[: len(phrase)] = [number.get(word, 1) for word in phrase]
    # No phrase is empty: convolutions have something to read.
    x[:, 0] = np.maximum(x[:, 0], 1)
    y = np.array([int(table[row]["label"]) for row in rows])
    return Data(x[:NUM_ROWS], y[:NUM_ROWS], x[NUM_ROWS:], y[NUM_ROWS:], 2 + len(number))
