"""The digits search by random search in PyTorch, every network trained to the end."""

from __future__ import annotations

import multiprocessing
from argparse import Namespace

import digits_space as space
import numpy as np
from digits_torch import load, train
from protocol import clock, play, result


def share(configs: list[dict[str, object]], seed: int, epochs: int) -> float:
    """Train a worker's share of the configurations; return the best score."""
    data = load(seed)
    return max(max(train(c, data, seed, epochs)) for c in configs)


def run(args: Namespace, workers: int) -> dict[str, object]:
    lap = clock()
    rng = np.random.default_rng(args.seed)
    configs = [space.sample(rng) for _ in range(4 if args.tiny else space.TRIALS)]
    epochs = 2 if args.tiny else space.EPOCHS
    shares = [(configs[i::workers], args.seed, epochs) for i in range(workers)]
    if workers == 1:
        score = share(*shares[0])
    else:  # fork: the children have PyTorch imported already
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            score = max(pool.starmap(share, shares))
    return result(lap(), score, "best validation accuracy", packages=["torch"])


if __name__ == "__main__":
    play({"one": lambda args: run(args, 1), "two": lambda args: run(args, 2)})
