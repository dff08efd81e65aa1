"""What a language model has to beat: counts of five tokens in a row, well smoothed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

ORDER = 5
DISCOUNT_FLOOR = 0.1


class KneserNey:
    """Interpolated Kneser–Ney: what was seen, less a discount, plus what shorter contexts say.

    p_n(w | c) = max(N(c w) − D_n, 0) / N(c) + D_n · M(c) / N(c) · p_{n−1}(w | c'),

    with M(c) the number of different tokens seen behind c, and c' the context without its first
    token. Below the highest order N counts in how many different contexts a stretch was seen; below
    the lowest all tokens are alike. D_n = n₁ / (n₁ + 2 n₂) of the stretches seen once and twice.
    Sources: Kneser and Ney, "Improved backing-off for M-gram language modeling", 1995; Chen and
    Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1998, eq. 27.

    Args:
        rows: stretches of tokens, each a list that begins with what is not predicted.
        size: number of different tokens.
        order: tokens in a row that are counted.
    """

    def __init__(self, rows: list[list[int]], size: int, order: int = ORDER) -> None:
        self.size, self.order = size, order
        counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
        for row in rows:
            for end in range(1, len(row)):
                start = max(0, end + 1 - order)
                counts[end + 1 - start][tuple(row[start : end + 1])] += 1
        # A stretch at the beginning of a row has no token before it: there its own count stands.
        for n in range(order - 1, 0, -1):
            for stretch in counts[n + 1]:
                counts[n][stretch[1:]] += 1
        self.counts = counts
        self.total: list[Any] = [defaultdict(int) for _ in range(order + 1)]
        self.kinds: list[Any] = [defaultdict(int) for _ in range(order + 1)]
        self.discount = [0.0] * (order + 1)
        for n in range(1, order + 1):
            for stretch, count in counts[n].items():
                self.total[n][stretch[:-1]] += count
                self.kinds[n][stretch[:-1]] += 1
            ones = sum(count == 1 for count in counts[n].values())
            twos = sum(count == 2 for count in counts[n].values())
            self.discount[n] = ones / (ones + 2 * twos) if ones else DISCOUNT_FLOOR

    def probability(self, context: tuple[int, ...], token: int) -> float:
        """Return p(token | context) by as much of the context as was ever seen."""
        p = 1.0 / self.size
        for n in range(1, min(len(context), self.order - 1) + 2):
            c = context[len(context) - n + 1 :]
            total = self.total[n].get(c, 0)
            if not total:
                break
            d = self.discount[n]
            seen = self.counts[n].get((*c, token), 0)
            p = max(seen - d, 0.0) / total + d * self.kinds[n][c] / total * p
        return p


def kneser_ney(task: Any, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Any:
    """Interpolated Kneser–Ney of order 5 on the training rows' tokens."""
    del task, target
    rows = _rows(fields)
    size = max((max(row) for row in rows), default=0) + 1
    model = KneserNey(rows, size)

    def outputs(new: Mapping[str, np.ndarray]) -> np.ndarray:
        found = np.ones((len(new["tokens"]), new["tokens"].shape[1] - 1))
        for i, row in enumerate(_rows(new)):
            for end in range(1, len(row)):
                context = tuple(row[max(0, end - ORDER + 1) : end])
                found[i, end - 1] = model.probability(context, row[end])
        return found

    return outputs


def _rows(fields: Mapping[str, np.ndarray]) -> list[list[int]]:
    pairs = zip(fields["tokens"], fields["length"], strict=True)
    return [row[:length].tolist() for row, length in pairs]
