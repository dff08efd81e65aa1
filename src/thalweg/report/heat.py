"""Numbers laid over an image: what speaks for and against, or where the network is sensitive."""

from __future__ import annotations

import numpy as np

FOR, AGAINST, WARM = (0, 90, 160), (200, 80, 0), (190, 20, 60)
"""Colours of what speaks for a prediction, of what speaks against it, and of sensitivity."""

_CLIP = 99.5
"""Percentile of the sizes that is drawn at full strength: single pixels must not dim the rest."""


def overlaid(image: np.ndarray, values: np.ndarray, signed: bool) -> np.ndarray:
    """Return a grey copy of an image with numbers over it as colours.

    Args:
        image: uint8 [H, W, 3].
        values: one number for each pixel [H, W].
        signed: whether values below zero speak against; else all are sizes.

    Returns:
        uint8 [H, W, 3].
    """
    grey = np.asarray(image, float).mean(axis=2, keepdims=True)
    # Pale, so that colours show on dark images too.
    base = np.repeat(0.45 * grey + 140.0, 3, axis=2)
    values = np.nan_to_num(np.asarray(values, float))
    reach = float(np.percentile(np.abs(values), _CLIP)) or float(np.abs(values).max(initial=0.0))
    strength = np.clip(np.abs(values) / max(reach, 1e-12), 0.0, 1.0)[..., None] ** 0.7
    high, low = np.array(FOR if signed else WARM, float), np.array(AGAINST, float)
    colour = np.where((values >= 0)[..., None], high, low)
    return (base + strength * (colour - base)).round().astype(np.uint8)
