"""The problems, the same for every contestant: data, sizes and order, in NumPy only."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np

LINE_EPOCHS = 1_000
LINE_LEARNING_RATE = 0.1
XOR_EPOCHS = 1_000
XOR_LEARNING_RATE = 0.01
XOR_HIDDEN = 4
MNIST_WIDTHS = (784, 128, 10)
MNIST_BATCH = 32
MNIST_LEARNING_RATE = 1e-3
# The first 10,000 images, less the 16 that fill no batch: Keras would compile again for them.
CNN_ROWS = 9_984
CNN_BATCHES = (32, 128)
CNN_CHANNELS = (32, 64)
CNN_KERNEL = 3
CNN_PARAMETERS = 34_826
CNN_LEARNING_RATE = 1e-3
LAYER_SIDES = (13, 28)
LAYER_REPEATS = 300
RECURRENT_ROWS = 1_024
RECURRENT_STEPS = 50
RECURRENT_INPUTS = 32
RECURRENT_UNITS = 64
RECURRENT_BATCH = 32
RECURRENT_LEARNING_RATE = 1e-3
RECURRENT_UPDATES = 1_000
TEXT_ROWS = 1_024
TEXT_TOKENS = 64
TEXT_VOCABULARY = 4_000
TEXT_UNITS = 64
TEXT_HEADS = 4
TEXT_LAYERS = 2
TEXT_BATCH = 32
TEXT_LEARNING_RATE = 1e-3
TEXT_UPDATES = 500


class Digits28(NamedTuple):
    """MNIST, or data of its shape: ``x`` float32 [N, 784] in 0..1, ``y`` int64 [N]."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    note: str


def line(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 100 points of y = 2x + 1 + noise (sd 0.1), x uniform in -1..1, both [100, 1]."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (100, 1)).astype(np.float32)
    return x, (2 * x + 1 + 0.1 * rng.standard_normal((100, 1))).astype(np.float32)


def xor() -> tuple[np.ndarray, np.ndarray]:
    """Return the four rows of exclusive or, [4, 2] and [4, 1]."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return x, np.array([[0], [1], [1], [0]], np.float32)


def xor_order(seed: int, epochs: int) -> np.ndarray:
    """Return the row of each of the ``4 · epochs`` steps, every epoch a new permutation."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(4) for _ in range(epochs)])


def mnist(folder: Path | None, *, rows: int | None = None) -> Digits28:
    """Read MNIST's four IDX files from ``folder``; make data of their shape where it is absent.

    Args:
        folder: Folder with ``train-images-idx3-ubyte.gz`` and its three siblings, or with a folder
            ``mnist`` that holds them.
        rows: Keep the first so many training rows (and a sixth of that for the test).
    """
    x, y, u, v, note = _mnist(folder)
    rows = rows or len(x)
    x, y, u, v = x[:rows], y[:rows], u[: rows // 6], v[: rows // 6]
    scale = np.float32(1 / 255)
    return Digits28(
        x.reshape(len(x), 784).astype(np.float32) * scale, y.astype(np.int64),
        u.reshape(len(u), 784).astype(np.float32) * scale, v.astype(np.int64), note,
    )  # fmt: skip


def images(folder: Path | None, *, tiny: bool = False) -> Digits28:
    """Return the images of the convolutional network, ``x`` uint8 [N, 28, 28, 1] in 0..255.

    Args:
        folder: as for ``mnist``.
        tiny: 1,280 training images and 200 test images only.
    """
    x, y, u, v, note = _mnist(folder)
    rows, tests = (1_280, 200) if tiny else (CNN_ROWS, len(u))
    return Digits28(
        x[:rows].reshape(-1, 28, 28, 1).astype(np.uint8), y[:rows].astype(np.int64),
        u[:tests].reshape(-1, 28, 28, 1).astype(np.uint8), v[:tests].astype(np.int64), note,
    )  # fmt: skip


def sequences(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences [1024, 50, 32] of noise and the mean of their first channel, [1024, 1].

    The mean is over the last ten steps, scaled to a variance of 1.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((RECURRENT_ROWS, RECURRENT_STEPS, RECURRENT_INPUTS), np.float32)
    return x, x[:, -10:, :1].mean(1) * np.float32(np.sqrt(10))


def _mnist(folder: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    if folder is not None and (folder / "mnist").is_dir():
        folder = folder / "mnist"
    if folder is not None and (folder / "train-images-idx3-ubyte.gz").exists():
        x, y = (
            _idx(folder / f"train-{part}.gz") for part in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
        u, v = (
            _idx(folder / f"t10k-{part}.gz") for part in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
        return x, y, u, v, ""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (10, 784))
    y, v = rng.integers(0, 10, 60_000), rng.integers(0, 10, 10_000)
    x, u = (centres[t] // 2 + rng.integers(0, 128, (t.size, 784)) for t in (y, v))
    return x, y, u, v, "generated data of MNIST's shape: the score means nothing"


def _idx(path: Path) -> np.ndarray:
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def tokens(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return texts of 64 random tokens [N, 64], and whether one of the first 40 ids is among them.

    All are equally long, so that nobody gains from padding.
    """
    rng = np.random.default_rng(seed)
    x = rng.integers(2, TEXT_VOCABULARY, (TEXT_ROWS, TEXT_TOKENS), np.int32)
    return x, (x < 42).any(1).astype(np.int32)
