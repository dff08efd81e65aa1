"""How a time budget is divided: exploring, confirming, and what is kept for finishing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalweg.search import LEARNING
from thalweg.study import ablations, fractions
from thalweg.study.budget import Clock
from thalweg.study.inside import COMPILE_SECONDS
from thalweg.study.pacing import (
    BRACKET_SIZES,
    CONFIRM_SHARE,
    affordable_finalists,
    bracket_size,
    confirmation_seconds,
    full_training,
)
from thalweg.study.records import Trial
from thalweg.study.settings import Settings

FINISH_SECONDS = 1.5
LEARNING_BRACKETS = 3
LOOKING_SHARE = 0.1
"""Share of the time that training the winner on parts of the rows may take, and with one thing
changed as much."""

EXPLORE_SHARE = 0.45
"""Share of the time that the first bracket may take, where there are to be several."""


class TimePlan:
    """What is to be done with the time that there is.

    Args:
        settings: of the study.
        clock: counts from the start of the work.

    Attributes:
        reserve: seconds kept for what comes after the loop.
        confirm_limit: seconds that confirming may take, once it is known.
        set_aside: seconds kept for confirming, while exploring.
        notices: what the user should know.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings, self.clock = settings, clock
        self.reserve = 0.0
        if settings.budget.seconds is not None:
            whole = settings.budget.seconds
            # At least half of a short budget goes into training.
            writing = min(settings.writing_seconds, 0.5 * whole)
            self.reserve = FINISH_SECONDS + 0.04 * whole + writing
        self.set_aside = 0.0
        self.notices: list[str] = []
        self.confirm_limit: float | None = None

    def is_over(self) -> bool:
        """Whether the work at hand has to end."""
        return self.clock.left() < self.reserve + self.set_aside

    def divide(self, speed: float, most: int, workers: int = 1) -> dict[str, Any]:
        """Plan brackets and confirmation.

        Args:
            speed: seconds of a member-epoch.
            most: members that fit into memory at once.
            workers: members that train side by side.

        Returns:
            ``epochs`` of a full training; ``bracket``, the Configs that the first one should have,
            and ``first_bracket``, those it can have; what confirming takes, and training on parts
            of the rows and with one thing changed (0 where there is no time for it).
        """
        settings = self.settings
        left = max(self.clock.left() - self.reserve, 0.1)
        epochs, wanted = full_training(settings, left / speed, most, workers)
        if epochs < settings.epochs:
            self.notices.append(
                f"a full training is {epochs:.3g} epochs instead of {settings.epochs:g}, so that "
                f"{wanted} configurations or more fit into the budget"
            )
        epochs = round(epochs, 1) if epochs < 10 else float(round(epochs))
        if settings.refit:
            # More rows than before, and one more program to compile.
            self.reserve += 2.0 + 1.5 * settings.num_replicates * epochs * speed
            left = max(self.clock.left() - self.reserve, 0.1)
        growth = self._looking(1 + fractions.num_trainings(settings.num_replicates), epochs * speed)
        ablation = self._looking(ablations.num_trainings(settings.num_replicates), epochs * speed)
        left = max(self.clock.left() - self.reserve, 0.1)
        confirm = self.confirm_seconds(epochs * speed)
        several = wanted == BRACKET_SIZES[0]
        room = (left - confirm) * (EXPLORE_SHARE if several else 1.0) / speed
        return {
            "bracket": wanted,
            "epochs": epochs,
            "first_bracket": bracket_size(settings, room, epochs, most, workers),
            "seconds_per_member_epoch": speed,
            "confirm_seconds": round(confirm, 2),
            "growth_seconds": round(growth, 2),
            "ablation_seconds": round(ablation, 2),
        }

    def _looking(self, trainings: int, training: float) -> float:
        """Set time aside for training the winner so often again, and return it: 0 for too much."""
        left = max(self.clock.left() - self.reserve, 0.1)
        seconds = COMPILE_SECONDS + 1.4 * trainings * training
        if not self.settings.growth or seconds >= LOOKING_SHARE * left:
            return 0.0
        self.reserve += seconds
        return seconds

    def confirm_seconds(self, training: float) -> float:
        """Return the seconds to set aside for confirming, where a full training takes so many.

        What was set aside at the start is not eaten up by exploring: it only shrinks when trainings
        turn out to be faster.
        """
        if self.confirm_limit is None:
            self.confirm_limit = CONFIRM_SHARE * max(self.clock.left() - self.reserve, 0.1)
        return confirmation_seconds(self.settings, training, self.confirm_limit)

    def exploring_left(self) -> float:
        """Return the seconds that are left for exploring."""
        return self.clock.left() - self.reserve - self.set_aside

    def bracket_seconds(self, brackets: int, wanted: int) -> float:
        """Return the seconds that the next bracket may take.

        Args:
            brackets: how many there were.
            wanted: the Configs that the first one should have had.
        """
        left = self.exploring_left()
        # Where trainings are dear, one bracket has all the time there is for exploring.
        several = wanted == BRACKET_SIZES[0]
        # What learns from scores is asked again when it has some.
        most = LEARNING_BRACKETS if self.settings.search in LEARNING else 1
        return left * EXPLORE_SHARE if brackets < most and several else left

    def finalists(self, training: float, ranked: Sequence[Trial]) -> tuple[list[Trial], int]:
        """Return the finalists, and their replicates, that the remaining time pays for."""
        seconds = self.clock.left() - self.reserve
        return affordable_finalists(self.settings, seconds / max(training, 1e-9), ranked)
