"""Translate with a network trained on pairs of sentences, scored as papers do.

    python examples/translation.py MULTI30K [--minutes 30]
    python examples/translation.py pairs.tsv --read en --write zh

A folder holds ``train.csv`` and, if there are any, validation rows (``val*.csv``) and test rows
(``test*.csv``), with a column for each language; a single table is split by the sentences that are
read. Prints BLEU and chrF on the test rows beside those of the most similar training sentence's
translation, and what the network writes for some of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import thalweg as tw


def main() -> None:
    """Fit, score, and show what is written."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--read", default="en", help="column that is read")
    parser.add_argument("--write", default="de", help="column that is written")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--model", default="seq2seq_transformer")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    table, parts = options.data, {}
    if table.is_dir():
        named = {"validation": "val*.csv", "test": "test*.csv"}
        found = {part: sorted(table.glob(pattern)) for part, pattern in named.items()}
        parts = {part: files[0] for part, files in found.items() if files}
        table = table / "train.csv"
    data = tw.load(
        table,
        options.write,
        source_column=options.read,
        modality="translation",
        seed=options.seed,
        **parts,
    )
    print("\n".join(data.describe()))
    study = tw.tune(
        data,
        budget=60 * options.minutes,
        model=options.model,
        seed=options.seed,
        run="runs/translation",
    )
    print(f"chosen: {study.best_config}")
    named = [("the network", study.summary["test"])]
    named += [(baseline["name"], baseline["test"]) for baseline in study.summary["baselines"]]
    for name, scores in named:
        shown = [
            f"{key} {scores[key]:.1f}" for key in ("bleu", "chrf", "perplexity") if key in scores
        ]
        print(f"{name}: {', '.join(shown)}")
    for entry in study.summary["written"]:
        print(f"{entry['kind']}: {entry['source']}\n  {entry['written']}\n  ({entry['true']})")
    print(f"report: {study.directory.report_path}")


if __name__ == "__main__":
    main()
