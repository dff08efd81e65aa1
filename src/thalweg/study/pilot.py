"""Before a time budget is spent: every structure compiled, and a member-epoch measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from thalweg.errors import BudgetError
from thalweg.space import Config, Structure
from thalweg.study.engines import Engines, structure_of
from thalweg.study.pacing import member_epoch_seconds
from thalweg.study.timeplan import TimePlan

PILOT_SHARE = 0.3
"""Share of the time left that compiling may take."""


class Pilot(NamedTuple):
    """What was measured.

    Attributes:
        speed: seconds of a member-epoch.
        structures: those that there was time to compile.
    """

    speed: float
    structures: set[Structure]


def fly(
    engines: Engines,
    time: TimePlan,
    first: Sequence[Config],
    interrupted: Callable[[], bool],
) -> Pilot:
    """Compile every structure, and measure the seconds of a member-epoch on this machine.

    Args:
        engines: of the study.
        time: says how much is left.
        first: what is tried first: its structures are compiled first.
        interrupted: whether the user wants to stop.

    Raises:
        BudgetError: where there was no time to compile even one.
    """
    by_structure: dict[Structure, Config] = {}
    for config in engines.sample:
        by_structure.setdefault(structure_of(config), config)
    # An expert's first tries, then what is cheap: it is the dear ones that may be left out.
    ahead = {structure_of(config) for config in first}
    waiting = sorted(
        by_structure.items(), key=lambda item: (item[0] not in ahead, engines.step_seconds(item[0]))
    )

    def stop() -> bool:
        return interrupted() or time.is_over()

    workers, clock = engines.workers, time.clock
    start, seconds = clock.elapsed(), []
    limit = PILOT_SHARE * clock.left()
    tried: set[Structure] = set()
    while waiting and not stop():
        if seconds and clock.elapsed() - start > limit:
            break
        now, waiting = waiting[:workers], waiting[workers:]
        repeated = [config for _, config in now for _ in range(4 * workers)]
        num = len(repeated)
        epochs = time.settings.epochs
        for _, cohort in engines.groups(repeated, [0] * num, [None] * num, epochs, stop):
            if stop():
                break
            kept = list(range(workers * cohort.plan.width))
            cohort.select(kept)
            seconds.append(member_epoch_seconds(cohort, len(kept), engines.pool))
            tried.add(cohort.structure)
    if len(tried) < len(by_structure):
        engines.notices.append(
            f"{len(by_structure) - len(tried)} of {len(by_structure)} structures are left out: "
            "compiling them would have taken too much of the budget"
        )
    if interrupted() and not seconds:
        raise BudgetError("interrupted while compiling, before anything was trained")
    if not seconds:
        raise BudgetError("the budget was used up by compiling: give more time, or a smaller space")
    return Pilot(max(float(np.mean(seconds)), 1e-7), tried)
