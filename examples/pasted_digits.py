"""Segmentation and detection of handwritten digits, one to four pasted on 64 x 64 pixels.

    python examples/pasted_digits.py [FOLDER_OF_MNIST] [--task segmentation|detection]
        [--images 4000] [--minutes 12]

FOLDER_OF_MNIST holds MNIST's IDX files; without it the digits are scikit-learn's 8 x 8 ones,
enlarged. Training images use training digits only, test images test digits only. Prints mean IoU
(eleven classes, the background among them) and mAP@0.5 on the test images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import thalweg as tw
from thalweg.data.image_sources import read_idx

SIDE = 64
BACKGROUND = 0


def digits(folder: str | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return digits uint8 [N, 28, 28] and their labels, of a training and a test part."""
    if folder is not None:
        files = {"train": "train", "test": "t10k"}
        found = {}
        for part, stem in files.items():
            images = next(Path(folder).glob(f"{stem}*images*"))
            labels = next(Path(folder).glob(f"{stem}*labels*"))
            found[part] = (read_idx(images), read_idx(labels))
        return found
    from PIL import Image
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    large = np.zeros((len(small), 28, 28), np.uint8)
    for image, row in zip(large, small, strict=True):
        picture = Image.fromarray((row.reshape(8, 8) * 255 / 16).astype(np.uint8))
        image[4:24, 4:24] = np.asarray(picture.resize((20, 20), Image.Resampling.BICUBIC))
    order = np.random.default_rng(0).permutation(len(large))
    cut = len(order) * 4 // 5
    return {
        "train": (large[order[:cut]], labels[order[:cut]]),
        "test": (large[order[cut:]], labels[order[cut:]]),
    }


def paste(
    images: np.ndarray, labels: np.ndarray, number: int, seed: int
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Paste one to four digits on each image, no two boxes over each other by more than a tenth.

    Returns:
        Images [N, 64, 64], masks [N, 64, 64] (0 is the background, digit d is d + 1), and the boxes
        x0, y0, x1, y1, digit of each image.
    """
    rng = np.random.default_rng(seed)
    canvas = np.zeros((number, SIDE, SIDE), np.uint8)
    masks = np.zeros((number, SIDE, SIDE), np.uint8)
    boxes: list[np.ndarray] = []
    for i in range(number):
        own: list[tuple[int, ...]] = []
        for _ in range(rng.integers(1, 5)):
            pick = rng.integers(len(images))
            ink = images[pick] > 64
            rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
            if not len(rows):
                continue
            digit = images[pick, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            height, width = digit.shape
            for _ in range(20):
                y, x = rng.integers(SIDE - height + 1), rng.integers(SIDE - width + 1)
                if all(_overlap((x, y, x + width, y + height), box) <= 0.1 for box in own):
                    break
            else:
                continue
            where = (i, slice(y, y + height), slice(x, x + width))
            canvas[where] = np.maximum(canvas[where], digit)
            masks[where] = np.where(digit > 64, labels[pick] + 1, masks[where])
            own.append((x, y, x + width, y + height, labels[pick]))
        boxes.append(np.array(own, float).reshape(-1, 5))
    return canvas, masks, boxes


def _overlap(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0) * max(height, 0) / smaller


def main() -> None:
    """Make the sets, train on them, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mnist", nargs="?", help="folder of MNIST's IDX files")
    parser.add_argument("--task", choices=["segmentation", "detection"], action="append")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--minutes", type=float, default=12.0)
    options = parser.parse_args()
    source = digits(options.mnist)
    train = paste(*source["train"], options.images, seed=1)
    test = paste(*source["test"], max(options.images // 5, 50), seed=2)
    for task in options.task or ["segmentation", "detection"]:
        known = 1 if task == "segmentation" else 2
        data = tw.load(
            (train[0], train[known]),
            modality="images",
            task=task,
            test=(test[0], test[known]),
            fractions=(0.85, 0.15, 0.0),
        )
        print("\n".join(data.describe()))
        study = tw.tune(data, budget=60 * options.minutes)
        scores = {name: round(value, 4) for name, value in study.summary["test"].items()}
        print(f"{task}: {scores} on {len(data.test):,} test images; {study.best_config}")


if __name__ == "__main__":
    main()
