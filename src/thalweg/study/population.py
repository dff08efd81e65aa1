"""Population-based training in a study: exchanges in a bracket, and replays of their schedules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thalweg.search.pbt import EXCHANGES, PBT
from thalweg.space import Config
from thalweg.study.bracket import Bracket
from thalweg.study.records import Trial


def levels(epochs: float) -> list[float]:
    """Return the epochs after which members are exchanged, and the last one."""
    return [epochs * (i + 1) / (EXCHANGES + 1) for i in range(EXCHANGES + 1)]


def exchange(bracket: Bracket, searcher: PBT) -> None:
    """Let the worst members go on from the best, structure by structure.

    Args:
        bracket: stands at the end of a rung, and goes on to the next.
        searcher: decides who goes on from whom, and with which Config.
    """
    # Tells the populations of a study apart, and is the same after a crash.
    number = min((trial.id for trial in bracket.trials.values()), default=0)
    for members, cohort in bracket.groups:
        own = cohort.members
        if not own:
            continue
        trials = [bracket.trials[members[k]] for k in own]
        scores = np.array([t.rank if t.status != "diverged" else np.nan for t in trials])
        sources, configs = searcher.exchange(
            [t.config for t in trials], scores, number * (EXCHANGES + 1) + bracket.rung
        )
        cohort.exchange(
            {k: own[source] for k, source in zip(own, sources, strict=True)},
            dict(zip(own, configs, strict=True)),
        )
        before = [(list(t.schedule) or [(0.0, t.config)], t.config) for t in trials]
        for trial, source, config in zip(trials, sources, configs, strict=True):
            courses, former = before[source]
            if config != former or trial is not trials[source]:
                trial.config = config
                trial.schedule = [*courses, (bracket.level, config)]
    bracket.rung += 1


def begins_with(trial: Trial) -> Config:
    """Return the Config that a training starts with."""
    return trial.schedule[0][1] if trial.schedule else trial.config


def replay_levels(finalists: Sequence[Trial], epochs: float) -> list[float]:
    """Return the epochs at which a finalist's Config changes, and the last one."""
    changes = {level for t in finalists for level, _ in t.schedule[1:] if level < epochs}
    return [*sorted(changes), epochs]


def follow(bracket: Bracket) -> None:
    """Let each member go on with what its schedule has from this rung's end on."""
    for members, cohort in bracket.groups:
        changes = {
            k: config
            for k in cohort.members
            for level, config in bracket.trials[members[k]].schedule[1:]
            if level == bracket.level
        }
        if changes:
            cohort.exchange({}, changes)
    bracket.rung += 1
