"""The winner trained again with one thing changed: what its regularisers, and its size, are worth.

Trials of a search differ in many settings at once, so that what they say of dropout is an
association. Here nothing else differs: the same seeds, folds, batches and steps, with dropout off;
with half the width; or, of what the winner leaves out, with some of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from thalweg.errors import ThalwegError
from thalweg.space import Config
from thalweg.study.engines import Engines, structure_of
from thalweg.study.records import Trial, finite
from thalweg.training.cohort import Cohort
from thalweg.training.member import AUGMENTATIONS, Features
from thalweg.training.side_by_side import run_tasks

SWITCHES = ("dropout", "weight_decay", "l1", "l2", "label_smoothing", "mixup", "input_noise")
"""Regularisers that are off at 0."""

TRIED = {"dropout": 0.2, "label_smoothing": 0.1, "mixup": 0.2}
"""What is tried of those that the winner leaves out, where its program has them."""

MOST_VARIANTS, MOST_REPLICATES = 6, 5
LEAST_WIDTH = 4


class Variant(NamedTuple):
    """The winner's Config with one thing changed.

    Args:
        name: what is changed: a hyperparameter, ``"augmentation"`` or ``"smaller_model"``.
        change: ``"without"``, ``"with"`` or ``"half"``.
        config: the result.
    """

    name: str
    change: str
    config: Config


def num_trainings(replicates: int) -> int:
    """Return how many trainings ``train_variants`` takes for so many replicates, at most."""
    return MOST_VARIANTS * min(replicates, MOST_REPLICATES)


def variants_of(config: Config, features: Features) -> list[Variant]:
    """Return what is tried instead of a winner: half its width, and its regularisers one by one.

    Args:
        config: the winner's.
        features: what its program can do; nothing is tried that it cannot.
    """
    found = []
    width = config.get("width")
    if isinstance(width, int) and width // 2 >= LEAST_WIDTH:
        half = config.with_values(width=width // 2)
        if structure_of(half) != structure_of(config):
            found.append(Variant("smaller_model", "half", half))
    used = [name for name in SWITCHES if (config.get(name) or 0.0) > 0]
    found += [Variant(name, "without", config.with_values(**{name: 0.0})) for name in used]
    changed = [name for name in AUGMENTATIONS if (config.get(name) or 0.0) > 0]
    if changed:
        plain = config.with_values(**dict.fromkeys(changed, 0.0))
        found.append(Variant("augmentation", "without", plain))
    for name, value in TRIED.items():
        if name not in used and name in config and getattr(features, name):
            found.append(Variant(name, "with", config.with_values(**{name: value})))
    return found[:MOST_VARIANTS]


def train_variants(
    engines: Engines,
    replicates: Sequence[Trial],
    epochs: float,
    stop: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """Train the winner's variants under the seeds (and folds) of its replicates.

    Each is judged on the rows that its replicate was judged on, at the best of equally many steps,
    so that scores are paired.

    Args:
        engines: of the study.
        replicates: the winner's trials under fresh seeds.
        epochs: of a full training.
        stop: asked between evaluations.

    Returns:
        ``[{"name", "change", "trial" (id of the replicate), "winner" (its score), "score"}]``;
        empty where there are fewer than two replicates, rows do not fit into memory, or it was
        stopped.
    """
    chosen = [trial for trial in replicates if trial.status == "completed"][:MOST_REPLICATES]
    if len(chosen) < 2:
        return []
    base = engines.of(structure_of(chosen[0].config).external)
    if base.feed is not None:
        return []
    groups: dict[Any, list[Variant]] = {}
    for variant in variants_of(chosen[0].config, base.features):
        groups.setdefault(structure_of(variant.config), []).append(variant)
    found = []
    for structure, variants in groups.items():
        try:
            base.network(structure)
        except ThalwegError:
            # Half a width may be none of this family's: the others are told all the same.
            continue
        for start in range(0, len(chosen), base.workers):
            some = chosen[start : start + base.workers]
            cohorts = []
            for trial in some:
                engine = engines.of_fold(structure.external, trial.fold)
                steps = engine.steps(structure, epochs)
                every = max(1, round(steps / engine.evaluations(epochs)))
                configs = [variant.config for variant in variants]
                cohorts.append(Cohort(engine, configs, [trial.seed] * len(configs), steps, every))
                if stop():
                    return []
            run_tasks(
                [task for cohort in cohorts for task in cohort.tasks(cohort.total_steps, stop)],
                None,
                base.workers,
            )
            if stop():
                return []
            for trial, cohort in zip(some, cohorts, strict=True):
                cohort.finish()
                for place, variant in enumerate(variants):
                    found.append(
                        {
                            "name": variant.name,
                            "change": variant.change,
                            "trial": trial.id,
                            "winner": finite(trial.score),
                            "score": finite(cohort.best_validation(place)),
                        }
                    )
    return found
