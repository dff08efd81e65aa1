"""Speech to text: strings of three to five spoken digits, by connectionist temporal classification.

    python examples/digit_strings.py FOLDER [--strings 3000] [--minutes 12] [--run DIR]

FOLDER holds the Free Spoken Digit Dataset: labels.csv with the columns file, digit, speaker, index
and split. Recordings of one speaker are strung together with short pauses; the transcript is what
is said, such as "three one four". No recording is in two parts: test strings are made of recordings
of the official test split, validation strings of those with index 5 to 9, training strings of the
rest. Prints the share of wrong digits (the word error rate) and of wrong characters on the test
strings, by beam search and by each frame's likeliest character.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import soundfile

import thalweg as tw

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000


def strung(recordings: pl.DataFrame, folder: Path, number: int, out: Path, seed: int) -> Path:
    """String recordings together, and return a table of the new files with their transcripts.

    Args:
        recordings: rows with file, digit and speaker; their order does not matter.
        folder: what their files are relative to.
        number: strings to make.
        out: where to write them.
        seed: decides which digits follow each other.
    """
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True)
    speakers = [group for _, group in recordings.sort("file").group_by("speaker")]
    speakers.sort(key=lambda group: group["speaker"][0])
    files, texts = [], []
    for i in range(number):
        own = speakers[i % len(speakers)]
        rows = rng.integers(0, own.height, rng.integers(3, 6))
        pieces = [_pause(rng)]
        for row in rows.tolist():
            wave, rate = soundfile.read(folder / own["file"][row], dtype="float32")
            assert rate == RATE
            pieces += [wave, _pause(rng)]
        soundfile.write(out / f"{i}.wav", np.concatenate(pieces), RATE)
        files.append(f"{i}.wav")
        texts.append(" ".join(NAMES[own["digit"][row]] for row in rows.tolist()))
    pl.DataFrame({"file": files, "transcript": texts}).write_csv(out / "strings.csv")
    return out / "strings.csv"


def _pause(rng: np.random.Generator) -> np.ndarray:
    """Return up to a tenth of a second of faint noise."""
    return (1e-4 * rng.normal(size=rng.integers(0, RATE // 10))).astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the strings, train on them and print the error rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the Free Spoken Digit Dataset")
    parser.add_argument("--strings", type=int, default=3000, help="training strings")
    parser.add_argument("--minutes", type=float, default=12.0, help="time to spend")
    parser.add_argument("--model", default="gru", help="gru, lstm, cnn1d or transformer")
    parser.add_argument("--run", type=Path, help="run directory to make")
    options = parser.parse_args(arguments)

    table = pl.read_csv(options.folder / "labels.csv")
    test = pl.col("split") == "test"
    held = ~test & (pl.col("index") < 10)
    parts = {
        "train": (table.filter(~test & ~held), options.strings),
        "validation": (table.filter(held), max(60, options.strings // 10)),
        "test": (table.filter(test), max(60, options.strings // 10)),
    }
    with tempfile.TemporaryDirectory() as scratch:
        made = {
            name: strung(rows, options.folder, number, Path(scratch) / name, seed)
            for seed, (name, (rows, number)) in enumerate(parts.items())
        }
        data = tw.load(
            str(made["train"]), validation=str(made["validation"]), test=str(made["test"])
        )
        print("\n".join(data.describe()))
        study = tw.tune(
            data, budget=f"{60 * options.minutes:g}s", model=options.model, run=options.run
        )
        model = study.model()
        for beam in (8, 1):
            model.beam = beam
            scores = model.score(data.test.fields, data.test.target)
            how = f"beam of {beam}" if beam > 1 else "likeliest character of each frame"
            print(
                f"{how}: {scores['word_error_rate']:.2%} of the digits wrong, "
                f"{scores['character_error_rate']:.2%} of the characters"
            )
        model.beam = 8
        said = model.predict_frame(str(made["test"]))["prediction"]
        truth = data.labels("test")
        for i in range(5):
            print(f"  {truth[i]!r} heard as {said[i]!r}")


if __name__ == "__main__":
    main()
