"""Members that go on from others' weights: a gather, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from populations import distance, flat, make_engine

from thalweg.errors import SpaceError
from thalweg.space import Config
from thalweg.training.cohort import Cohort

SMALL = {"depth": 1, "width": 8, "batch_size": 16, "dropout": 0.1}
CONFIGS = [
    Config(optimizer="adam", learning_rate=0.01, **SMALL),
    Config(optimizer="momentum", learning_rate=0.1, momentum=0.5, **SMALL),
    Config(optimizer="adam", learning_rate=0.001, schedule="reduce_on_plateau", **SMALL),
]


def halfway(configs=CONFIGS, num=3):
    engine = make_engine("multiclass", CONFIGS)
    cohort = Cohort(engine, configs[:num], [0] * num, 20, 5)
    cohort.advance(10)
    return cohort


def test_who_takes_over_goes_on_as_its_source_would():
    cohort = halfway()
    cohort.exchange({1: 0}, {1: CONFIGS[0]})
    cohort.advance(10)
    undisturbed = halfway()
    undisturbed.advance(10)
    assert distance(flat(cohort, 0), flat(undisturbed, 0)) < 1e-6
    assert distance(flat(cohort, 2), flat(undisturbed, 2)) < 1e-6
    assert distance(flat(cohort, 1), flat(cohort, 0)) < 1e-6
    assert cohort.curves[1].validation == cohort.curves[0].validation
    assert cohort.curves[1] is not cohort.curves[0]
    assert cohort.best_score[1] == cohort.best_score[0]


def test_members_may_change_places():
    cohort = halfway()
    before = [flat(cohort, i) for i in range(3)]
    cohort.exchange({0: 2, 2: 0}, {0: CONFIGS[2], 2: CONFIGS[0]})
    assert distance(flat(cohort, 0), before[2]) == 0.0
    assert distance(flat(cohort, 2), before[0]) == 0.0
    assert distance(flat(cohort, 1), before[1]) == 0.0
    # Also after some have been dropped.
    cohort.select([0, 2])
    cohort.exchange({0: 2}, {})
    assert distance(flat(cohort, 0), before[0]) == 0.0


def test_a_replayed_schedule_gives_the_same_network():
    changed = CONFIGS[0].with_values(learning_rate=0.03, dropout=0.4)
    cohort = halfway()
    cohort.exchange({1: 0}, {1: changed})
    cohort.advance(10)
    replayed = halfway(num=1)
    replayed.exchange({}, {0: changed})
    replayed.advance(10)
    assert distance(flat(replayed, 0), flat(cohort, 1)) < 1e-5
    assert distance(flat(cohort, 1), flat(cohort, 0)) > 1e-3
    np.testing.assert_allclose(replayed.curves[0].validation, cohort.curves[1].validation)


def test_what_cannot_be_exchanged_is_refused():
    with pytest.raises(SpaceError, match="keeps its structure"):
        halfway().exchange({}, {0: CONFIGS[0].with_values(width=16)})
    cohort = Cohort(make_engine("multiclass", CONFIGS), CONFIGS, [0, 1, 0], 20, 5)
    with pytest.raises(SpaceError, match="within a seed; got seeds 0 and 1"):
        cohort.exchange({0: 1}, {})
