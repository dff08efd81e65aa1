"""Is a sentence kind? Networks that read words, beside TF-IDF, and the words that misled.

    python examples/sentiment.py SST2 [--minutes 10] [--seed 0]

SST2 is a folder with ``train.csv`` and ``test.csv``, columns ``sentence`` and ``label`` (the
Stanford Sentiment Treebank with its phrases). Validation rows are drawn by whole sentences, as
training rows are phrases of the same sentences. Prints what was chosen, its accuracy on the test
sentences beside TF-IDF with logistic regression, and the surest mistakes, with the words that spoke
for them in capitals.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import thalweg as tw


def main() -> None:
    """Fit, score, and show mistakes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = tw.load(
        options.folder / "train.csv",
        "label",
        test=options.folder / "test.csv",
        fractions=(0.95, 0.05, 0.0),
        seed=options.seed,
    )
    print("\n".join(data.describe()))
    study = tw.tune(data, budget=60 * options.minutes, seed=options.seed)
    summary = study.summary
    print(f"chosen: {study.best_config}")
    print(f"test accuracy {100 * summary['test']['accuracy']:.1f} %")
    for baseline in summary["baselines"]:
        print(f"{baseline['name']} {100 * baseline['test']['accuracy']:.1f} %")
    for passage in summary["passages"]:
        words = passage["words"]
        most = max((weight for _, weight in words), default=0.0)
        shown = "".join(w.upper() if weight > 0.5 * most > 0 else w for w, weight in words)
        print(f"  predicted {passage['predicted']}, true {passage['true']}: {shown}")


if __name__ == "__main__":
    main()
