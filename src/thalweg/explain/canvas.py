"""What maps of contributions are drawn over: images, and spectrograms of recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.data.audio_files import HOP_SECONDS, band_hertz


@dataclass(frozen=True)
class Canvas:
    """Images, pixel by pixel.

    Args:
        field: the field that holds what is drawn.
    """

    field: str = "image"

    def summed(self, entries: np.ndarray) -> np.ndarray:
        """Return one number for each place from one for each entry of the field [N, …]."""
        return entries.sum(-1)

    def largest(self, sizes: np.ndarray) -> np.ndarray:
        """Return the largest number of each place: a channel stands for its pixel."""
        return sizes.max(-1)

    def spread(self, values: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """Return for each place the value [N, P] of the player that owns it."""
        return values[:, owner[..., 0]]

    def windows(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape [H, W, C] that windows of occlusion are laid over."""
        return shape

    def covered(self, mask: np.ndarray) -> np.ndarray:
        """Return a window [H, W, 1] as a mask of the field."""
        return mask

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Return what is drawn of a row, uint8 [H, W, C]."""
        return values

    def upright(self, values: np.ndarray) -> np.ndarray:
        """Return a row's map [H, W] as it lies over its picture."""
        return values

    def peaks(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return where each map [N, H, W] has its largest size, by name of a column."""
        places = np.abs(values).reshape(len(values), -1).argmax(1)
        row, column = np.divmod(places, values.shape[2])
        return {"peak_row": row, "peak_column": column}


@dataclass(frozen=True)
class Spectrogram(Canvas):
    """Spectrograms [T, F]: time to the right, low bands at the bottom.

    Args:
        field: ``"sequence"``.
        hertz: centre of each band.
    """

    field: str = "sequence"
    hertz: tuple[float, ...] = ()

    def summed(self, entries: np.ndarray) -> np.ndarray:
        """Each frame's band is a place."""
        return entries

    def largest(self, sizes: np.ndarray) -> np.ndarray:
        """Each frame's band is a place."""
        return sizes

    def spread(self, values: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """Return for each frame and band the value of the player that owns it."""
        return values[:, owner]

    def windows(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Windows are laid over frames and bands."""
        return (*shape, 1)

    def covered(self, mask: np.ndarray) -> np.ndarray:
        """Return a window as a mask [T, F]."""
        return mask[..., 0]

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Return a spectrogram in shades of grey, the loudest white, uint8 [F, T, 1]."""
        shown = self.upright(values.astype(np.float64))
        low, high = shown.min(), shown.max()
        return (255 * (shown - low) / max(high - low, 1e-9)).astype(np.uint8)[..., None]

    def upright(self, values: np.ndarray) -> np.ndarray:
        """Return frames from left to right, bands from high to low."""
        return values.T[::-1]

    def peaks(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return second and hertz of each map's largest size."""
        places = np.abs(values).reshape(len(values), -1).argmax(1)
        frame, band = np.divmod(places, values.shape[2])
        return {
            "peak_second": np.round(frame * HOP_SECONDS, 3),
            "peak_hertz": np.round(np.asarray(self.hertz)[band], 1),
        }


def canvas_of(encoder: Any, fields: Mapping[str, np.ndarray]) -> Canvas | None:
    """Return what maps of a kind of data are drawn over; None where rows are no pictures."""
    if "image" in fields:
        return Canvas()
    if encoder.modality == "audio":
        return Spectrogram(hertz=tuple(band_hertz(encoder.bands, encoder.rate)))
    return None
