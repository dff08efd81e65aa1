"""Forecasts that need no learning: what a network for series has to beat first.

All of them read the windows that networks read, so that they are scored on the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from thalweg.data.series import SeriesEncoder
from thalweg.study.baselines import Baseline, Outputs


@dataclass(frozen=True, eq=False)
class Forecast:
    """What naive forecasts need to know of windows.

    Args:
        num_targets: first channels of a sequence, V.
        horizon: steps ahead, H.
        season: period in steps; 1 for none.
        lagged: whether the first channels known ahead are the targets one season before.
        mean: mean of each output in the user's units [H · V].
        scale: its standard deviation [H · V].
    """

    num_targets: int
    horizon: int
    season: int
    lagged: bool
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, encoder: SeriesEncoder) -> Forecast:
        """Return what an encoder's windows are like."""
        target = encoder.target
        return cls(
            encoder.layout.num_targets,
            encoder.horizon,
            encoder.season,
            encoder.lagged,
            np.asarray(target.mean, np.float64),
            np.asarray(target.scale, np.float64),
        )

    def past(self, fields: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the targets' past, standardised, float64 [N, T, V]."""
        return np.asarray(fields["sequence"], np.float64)[:, :, : self.num_targets]

    def units(self, steps: np.ndarray) -> np.ndarray:
        """Return standardised steps [N, H, V] in the user's units [N, H · V]."""
        return steps.reshape(len(steps), -1) * self.scale + self.mean


def last_value(about: Forecast) -> Outputs:
    """Forecast that nothing changes: ŷ_{t+h} = y_t."""

    def outputs(fields: Mapping[str, np.ndarray]) -> np.ndarray:
        last = about.past(fields)[:, -1:]
        return about.units(np.repeat(last, about.horizon, axis=1))

    return outputs


def seasonal_naive(about: Forecast) -> Outputs | None:
    """Forecast that the last season repeats: ŷ_{t+h} = y_{t+h-m·⌈h/m⌉}, m steps a season.

    None where there is no season. Windows that do not reach back a season have no such value; the
    outputs then raise a ValueError.
    """
    if about.season < 2:
        return None

    def outputs(fields: Mapping[str, np.ndarray]) -> np.ndarray:
        if about.lagged:
            return about.units(np.asarray(fields["future"], np.float64)[:, :, : about.num_targets])
        past = about.past(fields)
        if past.shape[1] < about.season:
            raise ValueError(
                f"a season of {about.season} steps must lie within the context; got "
                f"{past.shape[1]}: give a longer context"
            )
        season = past[:, past.shape[1] - about.season :]
        return about.units(season[:, np.arange(about.horizon) % about.season])

    return outputs


def drift(about: Forecast) -> Outputs:
    """Forecast that the change over the context goes on: ŷ_{t+h} = y_t + h·(y_t - y_1)/(t - 1)."""

    def outputs(fields: Mapping[str, np.ndarray]) -> np.ndarray:
        past = about.past(fields)
        slope = (past[:, -1:] - past[:, :1]) / max(past.shape[1] - 1, 1)
        steps = np.arange(1, about.horizon + 1)[None, :, None]
        return about.units(past[:, -1:] + steps * slope)

    return outputs


NAIVE: dict[str, Callable[[Forecast], Outputs | None]] = {
    "last_value": last_value,
    "seasonal_naive": seasonal_naive,
    "drift": drift,
}
"""Naive forecasts by name: outputs in the user's units [N, H · V], or None where not defined."""


def naive_baselines(encoder: SeriesEncoder) -> list[Baseline]:
    """Return the naive forecasts that the windows of an encoder allow.

    Args:
        encoder: of the series that are forecast.

    Returns:
        Baselines whose outputs are values in the user's units [N, H · V]. The seasonal one is left
        out where there is no season, or where windows do not reach back to it.
    """
    about = Forecast.of(encoder)
    found = []
    for name, make in NAIVE.items():
        if name == "seasonal_naive" and not about.lagged and encoder.season > encoder.context:
            continue
        if name == "drift" and encoder.context < 2:
            continue
        outputs = make(about)
        if outputs is not None:
            found.append(Baseline(name, outputs, 0.0))
    return found
