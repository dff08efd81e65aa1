"""Test accuracy on the Free Spoken Digit Dataset: official split, and each speaker left out.

    python benchmarks/spoken_digits.py FOLDER --budget 4m                    # the official split
    python benchmarks/spoken_digits.py FOLDER --leave lucas --budget 4m      # a speaker never heard
    python benchmarks/spoken_digits.py FOLDER --leave all --budget 4m        # each in turn

FOLDER holds labels.csv and the recordings. A speaker left out is the test part; validation is
another speaker of the rest, so that what is chosen is judged on a voice that training has not heard
either. Beside it stands the linear baseline of the run: logistic regression on the spectrograms.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl


def load(folder: Path, left_out: str | None) -> Any:
    """Return the official split, or the data with one speaker as the test part."""
    import thalweg as tw

    table = pl.read_csv(folder / "labels.csv").with_columns(file=f"{folder}/" + pl.col("file"))
    if left_out is None:
        return tw.load(table.drop("speaker", "index"), "digit")
    heard = table.filter(pl.col("speaker") != left_out).drop("split", "index")
    test = table.filter(pl.col("speaker") == left_out).drop("split", "index")
    return tw.load(heard, "digit", group="speaker", test=test, fractions=(0.8, 0.2, 0.0))


def main() -> None:
    """Run the fits and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the Free Spoken Digit Dataset")
    parser.add_argument("--leave", help="a speaker's name, or all")
    parser.add_argument("--budget", default="4m")
    parser.add_argument("--model", help="families to try, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    import thalweg as tw

    folder = options.folder.resolve()
    speakers: list[str | None] = [options.leave]
    if options.leave == "all":
        speakers = sorted(pl.read_csv(folder / "labels.csv")["speaker"].unique())
    scores, lines = [], []
    for speaker in speakers:
        study = tw.tune(
            load(folder, speaker),
            budget=options.budget,
            model=options.model.split(",") if options.model else None,
            seed=options.seed,
        )
        summary = study.summary
        linear = [b for b in summary["baselines"] if b["name"] == "linear"]
        lines.append(linear[0]["test"]["accuracy"] if linear else float("nan"))
        scores.append(summary["test"]["accuracy"])
        what = "official split" if speaker is None else f"{speaker} left out"
        print(
            f"{what}: accuracy {scores[-1]:.4f} (validation {summary['validation']['accuracy']:.4f}"
            f"), linear {lines[-1]:.4f}; {summary['seconds']['total']:.0f} s, "
            f"{sum(summary['trials'].values())} trials; {study.best_config}",
            flush=True,
        )
    if len(scores) > 1:
        print(f"mean over {len(scores)}: {np.mean(scores):.4f}, linear {np.nanmean(lines):.4f}")


if __name__ == "__main__":
    main()
