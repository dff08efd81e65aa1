"""A language model beside Kneser-Ney, and what it writes at several temperatures.

    python examples/language_model.py TRAIN [--validation FILE] [--test FILE] [--column en]
        [--tokens bpe] [--vocabulary 4000] [--minutes 20] [--prompt "A man"]

TRAIN is a text file with a text a line, or a table with a column of texts (Multi30k's captions, for
example). Prints the perplexity on the test texts beside that of interpolated Kneser-Ney of order 5
on the same tokens, and samples: at temperature 0 the likeliest continuation, then drawn from all
tokens, from the ten likeliest, and from the nucleus of 90 % probability.
"""

from __future__ import annotations

import argparse

import thalweg as tw


def main() -> None:
    """Fit, score and sample."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("train")
    parser.add_argument("--validation")
    parser.add_argument("--test")
    parser.add_argument("--column")
    parser.add_argument("--tokens", default="bpe")
    parser.add_argument("--vocabulary", type=int, default=4000)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--prompt", default="")
    options = parser.parse_args()
    data = tw.load(
        options.train,
        task="language",
        text=options.column,
        tokens=options.tokens,
        vocabulary=options.vocabulary,
        validation=options.validation,
        test=options.test,
    )
    print("\n".join(data.describe()))
    study = tw.tune(data, budget=60 * options.minutes)
    print(f"chosen: {study.best_config}")
    print(f"test perplexity {study.summary['test']['perplexity']:.2f}")
    for baseline in study.summary["baselines"]:
        print(f"{baseline['name']} {baseline['test']['perplexity']:.2f}")
    model = study.model()
    ways = {
        "likeliest": {"temperature": 0.0},
        "all tokens": {"temperature": 1.0},
        "top 10": {"temperature": 0.8, "top_k": 10},
        "nucleus 0.9": {"temperature": 0.8, "top_p": 0.9},
    }
    for name, settings in ways.items():
        num = 1 if name == "likeliest" else 3
        for text in model.sample(options.prompt, num=num, length=40, **settings):
            print(f"  {name}: {text}")


if __name__ == "__main__":
    main()
