"""Texts as weighted terms (TF-IDF): what linear models and perceptrons read of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.data.tokens import SPECIALS, Tokens

MAX_TERMS = 30_000
"""Terms that are kept at most: those in most texts."""


@dataclass(frozen=True, eq=False)
class Terms:
    """Words and pairs of neighbouring words with their weights.

    A text's weight of a term that occurs c times in it is (1 + ln c) · idf, with
    idf = ln((1 + N) / (1 + n)) + 1 of the n among N training texts that hold it, and the weights of
    a text have length 1: scikit-learn's ``TfidfVectorizer(sublinear_tf=True)``. Source: Salton and
    Buckley, "Term-weighting approaches in automatic text retrieval", 1988.

    Args:
        base: number of word ids.
        codes: int64 [K], ascending: a word's id, or (a + 1) · base + b for the words a and b.
        idf: float32 [K].
    """

    base: int
    codes: np.ndarray
    idf: np.ndarray

    @property
    def size(self) -> int:
        """Number of term ids; 0 stands for none."""
        return len(self.codes) + 1

    @classmethod
    def fit(cls, words: Tokens, base: int, max_terms: int = MAX_TERMS) -> Terms:
        """Learn terms from the words of training texts; those in one text only are left out.

        (Where nothing occurs twice, all are kept.)
        """
        rows, codes = _occurrences(words, base)
        num = max(len(words), 1)
        found, counts = np.unique(np.unique(codes * num + rows) // num, return_counts=True)
        kept = counts > 1 if (counts > 1).any() else counts > 0
        found, counts = found[kept], counts[kept]
        order = np.sort(np.lexsort((found, -counts))[:max_terms])
        found, counts = found[order], counts[order]
        idf = np.log((1.0 + len(words)) / (1.0 + counts)) + 1.0
        return cls(base, found.astype(np.int64), idf.astype(np.float32))

    def encode(self, words: Tokens, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return each text's terms, the weightiest first.

        Args:
            words: the texts.
            most: terms of a text at most; those of the smallest weights are left out.

        Returns:
            Ids int32 [N, M], 0 after the last; weights float32 [N, M], 0 there.
        """
        rows, codes = _occurrences(words, self.base)
        place = np.searchsorted(self.codes, codes)
        place = np.minimum(place, max(len(self.codes) - 1, 0))
        known = self.codes[place] == codes if len(self.codes) else np.zeros(len(codes), bool)
        rows, place = rows[known], place[known]
        keys, counts = np.unique(rows * self.size + place, return_counts=True)
        rows, place = keys // self.size, keys % self.size
        weights = (1.0 + np.log(counts)) * self.idf[place]
        squares = np.bincount(rows, weights**2, len(words))
        weights = weights / np.sqrt(squares)[rows]
        order = np.lexsort((place, -weights, rows))
        rows, place, weights = rows[order], place[order], weights[order]
        sizes = np.bincount(rows, minlength=len(words))
        column = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        width = most if most is not None else max(int(sizes.max(initial=0)), 1)
        fits = column < width
        ids = np.zeros((len(words), width), np.int32)
        values = np.zeros((len(words), width), np.float32)
        ids[rows[fits], column[fits]] = place[fits] + 1
        values[rows[fits], column[fits]] = weights[fits]
        return ids, values

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        idf = [round(float(value), 6) for value in self.idf]
        return {"base": self.base, "codes": self.codes.tolist(), "idf": idf}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Terms:
        """Rebuild from ``to_dict``."""
        codes = np.array(record["codes"], np.int64)
        return cls(record["base"], codes, np.array(record["idf"], np.float32))


def _occurrences(words: Tokens, base: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the text and the code of each word and each pair; unknown words have none."""
    ids = words.ids.astype(np.int64)
    rows = np.repeat(np.arange(len(words)), words.lengths)
    known = ids >= len(SPECIALS)
    both = known[:-1] & known[1:] & (rows[:-1] == rows[1:])
    pairs = (ids[:-1] + 1) * base + ids[1:]
    return (
        np.concatenate([rows[known], rows[:-1][both]]),
        np.concatenate([ids[known], pairs[both]]),
    )
