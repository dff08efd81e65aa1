"""Small random changes of points of a Space."""

from __future__ import annotations

import numpy as np

from thalweg.search.axes import Axes


def mutate(
    axes: Axes,
    points: np.ndarray,
    scale: float | np.ndarray,
    rng: np.random.Generator,
    share: float | np.ndarray | None = None,
) -> np.ndarray:
    """Return points moved along some of their axes, [N, D].

    Args:
        axes: the space.
        points: coordinates in [0, 1], [N, D].
        scale: deviation of a step, or of each point's, [N, 1].
        rng: draws.
        share: the axes that are moved, of all or by point, [N, 1]; by default one to all of them.
    """
    num, width = points.shape
    shares = rng.uniform(1.0 / width, 1.0, (num, 1)) if share is None else share
    moving = rng.random(points.shape) < shares
    moving[np.arange(num), rng.integers(width, size=num)] = True
    steps = rng.standard_normal(points.shape)
    # On a grid, a step is at least to the neighbour now and then.
    sizes = np.maximum(scale, axes.cells)
    moved = points + steps * sizes
    moved = np.abs(moved)
    moved = np.where(moved > 1.0, 2.0 - moved, moved)
    kinds = np.array(axes.kinds or (False,))
    anew = rng.random(points.shape) < np.clip(3.0 * scale, 0.15, 0.5)
    moved = np.where(kinds, np.where(anew, rng.random(points.shape), points), moved)
    return np.clip(np.where(moving, moved, points), 0.0, np.nextafter(1.0, 0.0))
