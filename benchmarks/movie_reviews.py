"""Test accuracy on whole movie reviews, mean over the ten official folds (Pang and Lee, 2004).

    python benchmarks/movie_reviews.py movie_reviews.csv.gz --budget 60s

The table has the columns text, sentiment and fold; each fold in turn is the test part, and a tenth
of the others is chosen on. Beside it stand the linear baseline of each run and, on the same rows,
what many take for texts of this length: TF-IDF of words and pairs of words with a linear support
vector machine, from scikit-learn.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl


def support_vectors(train: pl.DataFrame, test: pl.DataFrame) -> float:
    """Return the test accuracy of TF-IDF and a linear support vector machine."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    terms = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = make_pipeline(terms, LinearSVC()).fit(train["text"], train["sentiment"])
    return float(model.score(test["text"], test["sentiment"]))


def main() -> None:
    """Run the fits and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(10)))
    parser.add_argument("--model", help="families to try, separated by commas")
    options = parser.parse_args()

    import thalweg as tw
    from thalweg.data import read_table

    table = read_table(options.table)
    scores = []
    for fold in options.folds:
        parts = [table.filter(pl.col("fold") != fold), table.filter(pl.col("fold") == fold)]
        train, test = (part.drop("fold") for part in parts)
        data = tw.load(train, "sentiment", test=test, fractions=(0.9, 0.1, 0.0), seed=fold)
        study = tw.tune(
            data,
            budget=options.budget,
            model=options.model.split(",") if options.model else None,
            seed=fold,
        )
        summary = study.summary
        found = {b["name"]: b["test"]["accuracy"] for b in summary["baselines"]}
        row = (
            summary["test"]["accuracy"],
            found.get("tfidf_linear", float("nan")),
            support_vectors(train, test),
        )
        scores.append(row)
        print(
            f"fold {fold}: thalweg {row[0]:.3f}, linear {row[1]:.3f}, SVM {row[2]:.3f}; "
            f"{summary['seconds']['total']:.0f} s, {study.best_config}",
            flush=True,
        )
    mean = np.mean(scores, axis=0)
    print(f"mean of {len(scores)}: thalweg {mean[0]:.4f}, linear {mean[1]:.4f}, SVM {mean[2]:.4f}")


if __name__ == "__main__":
    main()
