"""What a network that writes has to beat: the text that belongs to the most similar one known."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

import numpy as np

from thalweg.study.baselines import Fit, Outputs
from thalweg.task import Task

_AT_ONCE = 512


def nearest_neighbour(task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Outputs:
    """Answer with what the most similar training text has.

    Similar by the cosine of TF-IDF weights of single tokens and neighbouring pairs.

    Args:
        task: what is written.
        fields: ``source``, the tokens of the training texts int32 [N, S].
        target: the texts that belong to them, object [N].
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    del task
    count: Any = TfidfVectorizer(analyzer=cast(Any, _terms), sublinear_tf=True)
    known = count.fit_transform(np.asarray(fields["source"])).T.tocsr()

    def outputs(fields: Mapping[str, np.ndarray]) -> np.ndarray:
        new = count.transform(np.asarray(fields["source"]))
        nearest: list[Any] = []
        for start in range(0, new.shape[0], _AT_ONCE):
            similar = (new[start : start + _AT_ONCE] @ known).toarray()
            nearest += similar.argmax(axis=1).tolist()
        return target[nearest]

    return outputs


def _terms(row: np.ndarray) -> list[tuple[int, ...]]:
    tokens = [int(token) for token in row if token]
    return [*((t,) for t in tokens), *pairwise(tokens)]


RETRIEVAL: dict[str, Fit] = {"nearest_neighbour": nearest_neighbour}
"""Baselines that look up what is known."""
