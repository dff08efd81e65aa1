"""Ranking metrics on the host: recall@k, NDCG@k and reciprocal rank of held-out items.

With rel(r) = 1 where the item at rank r is one of the R relevant items of a user, and 0 otherwise,

    recall@k = Σ_{r ≤ k} rel(r) / R
    NDCG@k   = Σ_{r ≤ k} rel(r) / log2(r + 1)  /  Σ_{r ≤ min(k, R)} 1 / log2(r + 1)
    MRR      = 1 / (rank of the best relevant item)

averaged over users. Source: Järvelin and Kekäläinen, "Cumulated Gain-Based Evaluation of IR
Techniques", 2002, with binary gains; Voorhees, "The TREC-8 Question Answering Track Report", 1999.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thalweg.errors import DataError, OptionError

DEFAULT_CUTS = (5, 10, 20)
"""Lengths of the list of recommendations that are scored by default."""


def recall_at_k(ranks: np.ndarray, users: np.ndarray, k: int) -> float:
    """Return the mean share of a user's held-out items among the first k.

    Args:
        ranks: rank of each held-out item among the candidates, 1 for the best, [N]; infinity where
            it is no candidate; items of equal score may share a mean rank.
        users: user of each of them, [N].
        k: length of the list.

    Returns:
        From 0 to 1.

    Raises:
        DataError: no ranks, ranks below 1, or other than one user for each.
        OptionError: k is below 1.
    """
    ranks, codes, counts = _checked(ranks, users, k)
    hits = np.bincount(codes, weights=ranks <= k, minlength=len(counts))
    return float((hits / counts).mean())


def ndcg_at_k(ranks: np.ndarray, users: np.ndarray, k: int) -> float:
    """Return the mean discounted gain of the first k relative to that of the best order.

    Args and errors are those of ``recall_at_k``.
    """
    ranks, codes, counts = _checked(ranks, users, k)
    gains = np.where(ranks <= k, 1.0 / np.log2(np.minimum(ranks, 1e300) + 1.0), 0.0)
    ideal = np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))[np.minimum(counts, k) - 1]
    return float((np.bincount(codes, weights=gains, minlength=len(counts)) / ideal).mean())


def mean_reciprocal_rank(ranks: np.ndarray, users: np.ndarray) -> float:
    """Return the mean over users of 1 / rank of the best held-out item.

    Args and errors are those of ``recall_at_k``.
    """
    ranks, codes, counts = _checked(ranks, users, 1)
    best = np.full(len(counts), np.inf)
    np.minimum.at(best, codes, ranks)
    return float((1.0 / best).mean())


def ranking_scores(
    ranks: np.ndarray, users: np.ndarray, cuts: Sequence[int] = DEFAULT_CUTS
) -> dict[str, float]:
    """Return ``recall@k`` and ``ndcg@k`` for each k, and ``mrr``.

    Args:
        ranks: rank of each held-out item, [N]; see ``recall_at_k``.
        users: user of each of them, [N].
        cuts: lengths of the list.

    Example:
        >>> scores = ranking_scores(np.array([1.0, 4.0]), np.array([0, 1]), cuts=(3,))
        >>> scores["recall@3"], scores["ndcg@3"], scores["mrr"]
        (0.5, 0.5, 0.625)
    """
    scores = {f"recall@{k}": recall_at_k(ranks, users, k) for k in cuts}
    scores |= {f"ndcg@{k}": ndcg_at_k(ranks, users, k) for k in cuts}
    return {**scores, "mrr": mean_reciprocal_rank(ranks, users)}


def ranks_of(
    scores: np.ndarray, relevant: np.ndarray, candidates: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ranks of relevant items from scores of all items.

    Args:
        scores: score of each item for each user, [U, I]; more is better.
        relevant: whether the item is one of the user's held-out items, [U, I].
        candidates: which items compete, [U, I]; all by default. Relevant ones always do.

    Returns:
        ``(ranks, users)`` of the relevant items, [N] each; items of equal score share the mean of
        their ranks, so that a model that cannot tell items apart gains nothing.

    Raises:
        DataError: shapes differ.
    """
    scores, relevant = np.asarray(scores, np.float64), np.asarray(relevant, bool)
    allowed = np.ones_like(relevant) if candidates is None else np.asarray(candidates, bool)
    if scores.ndim != 2 or relevant.shape != scores.shape or allowed.shape != scores.shape:
        raise DataError(
            "scores, relevant and candidates must have one shape [users, items]; got "
            f"{scores.shape}, {relevant.shape} and {allowed.shape}"
        )
    users, items = np.nonzero(relevant)
    rivals = np.where(allowed | relevant, scores, -np.inf)
    ordered = np.sort(rivals, axis=1)
    ranks = np.empty(len(users))
    for n, (user, item) in enumerate(zip(users, items, strict=True)):
        low = np.searchsorted(ordered[user], scores[user, item], side="left")
        high = np.searchsorted(ordered[user], scores[user, item], side="right")
        ranks[n] = scores.shape[1] - high + 0.5 * (high - low + 1)
    return ranks, users


def _checked(
    ranks: np.ndarray, users: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ranks, each one's user as 0, 1, …, and how many ranks each user has."""
    ranks, users = np.asarray(ranks, np.float64), np.asarray(users)
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise OptionError(f"k must be a whole number of 1 or more; got {k!r}")
    if ranks.ndim != 1 or ranks.shape != users.shape or not len(ranks):
        raise DataError(
            f"ranks and users must be of one length above 0; got {ranks.shape} and {users.shape}"
        )
    if np.isnan(ranks).any() or (ranks < 1).any():
        raise DataError(f"ranks must be 1 or more; got {float(np.nanmin(ranks)):g} or NaN")
    codes, counts = np.unique(users, return_inverse=True, return_counts=True)[1:]
    return ranks, codes, counts
