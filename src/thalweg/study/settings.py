"""What a study is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.space import Config, Space
from thalweg.study.budget import Budget

DEFAULT_TRIALS = 64
BRACKETS = ("halving", "hyperband", "curves")
"""How losers are dropped early."""


@dataclass(frozen=True)
class Settings:
    """How a study is run.

    Args:
        space: what is searched.
        budget: time or trials.
        epochs: passes over the training rows of a full training.
        least_epochs: a time budget does not cut a full training below so many.
        shortest_rung: epochs after which members are first compared, at the least.
        default_trials: trials where the budget names neither a time nor a number.
        search: name of the searcher.
        halving: whether losers are dropped early.
        brackets: ``halving``; ``hyperband``, where the first judgement comes later from bracket to
            bracket; or ``curves``, where who goes on is decided by what earlier curves foretell.
        against: what is weighed against the score, one of ``OBJECTIVES``, or None.
        widen: whether ranges grow where the best Configs sit at an edge.
        reduction_factor: the share that goes on at each rung is one in so many.
        num_finalists: Configs trained again under fresh seeds.
        most_finalists: how many there may be where a time budget has room for them.
        num_replicates: fresh seeds of each finalist, each on a fold of its own where there are
            folds.
        num_audit: members of each bracket that go on by chance.
        seed: seed of everything.
        first: Configs to try before the searcher's.
        known: Configs and what they reached in an earlier study on the same data (more is better),
            for a searcher that learns from scores.
        notices: what the user should know of these settings.
        processes: processes that are going to share the study.
        refit: whether time is kept for training the winner again on all rows.
        growth: whether the winner is trained on parts of the rows, where that takes little.
        writing_seconds: what writing and scoring texts with the winner may take.
    """

    space: Space
    budget: Budget
    epochs: float
    least_epochs: float = 2.0
    shortest_rung: float = 1.0
    default_trials: int = DEFAULT_TRIALS
    search: str = "sobol"
    halving: bool = True
    brackets: str = "halving"
    against: str | None = None
    widen: bool = True
    reduction_factor: int = 3
    num_finalists: int = 3
    most_finalists: int = 0
    num_replicates: int = 5
    num_audit: int = 1
    seed: int = 0
    first: tuple[Config, ...] = ()
    known: tuple[tuple[Config, float], ...] = ()
    notices: tuple[str, ...] = ()
    processes: int = 1
    refit: bool = False
    growth: bool = False
    writing_seconds: float = 0.0
