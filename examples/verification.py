"""Verification: are the same things on two images? Asked of classes that training never saw.

    python examples/verification.py FOLDER [--unseen 3 6 9] [--minutes 4]

FOLDER has one folder of images for each class (or ``train`` and ``test`` folders of such), as the
sign language digits have. A network that maps images to vectors is trained on all classes but those
of ``--unseen``; then each pair of images of the unseen classes is called the same class or not by
the similarity of their vectors. Prints the ROC AUC of that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

import thalweg as tw

PARTS = ("train", "test")


def table(folder: Path, classes: set[str]) -> pl.DataFrame:
    """Return the images of some classes with their labels."""
    parts = [folder / part for part in PARTS if (folder / part).is_dir()] or [folder]
    rows = [
        {"file": str(file), "class": kind.name}
        for part in parts
        for kind in sorted(part.iterdir())
        if kind.name in classes
        for file in sorted(kind.iterdir())
    ]
    return pl.DataFrame(rows)


def main() -> None:
    """Train on some classes, and tell pairs of others apart."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--unseen", nargs="+", default=["3", "6", "9"])
    parser.add_argument("--minutes", type=float, default=4.0)
    options = parser.parse_args()
    first = next(
        (options.folder / part for part in PARTS if (options.folder / part).is_dir()),
        options.folder,
    )
    classes = {entry.name for entry in first.iterdir() if entry.is_dir()}
    unseen = set(options.unseen)
    data = tw.load(
        table(options.folder, classes - unseen),
        "class",
        modality="images",
        task="embedding",
        test=table(options.folder, unseen),
        fractions=(0.85, 0.15, 0.0),
    )
    print("\n".join(data.describe()))
    study = tw.tune(data, budget=60 * options.minutes)
    scores = {name: round(value, 4) for name, value in study.summary["test"].items()}
    print(f"unseen classes {', '.join(sorted(unseen))}: {scores}; {study.best_config}")


if __name__ == "__main__":
    main()
