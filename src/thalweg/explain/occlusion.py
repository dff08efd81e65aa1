"""Occlusion: how the score falls when a part of the input is covered.

    a_e = mean over windows W that hold e of f(x) − f(x with W covered)

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np


def image_windows(
    shape: tuple[int, ...], window: int | None = None, stride: int | None = None
) -> np.ndarray:
    """Return the windows over an image [H, W, C] as masks, bool [K, H, W, 1].

    Args:
        shape: of the image.
        window: side in pixels; by default a sixth of the longer side, at least 2.
        stride: from one window to the next; by default half a window.
    """
    height, width = shape[:2]
    side = window or max(2, round(max(height, width) / 6))
    step = stride or max(1, side // 2)

    def starts(size: int) -> list[int]:
        last = max(size - side, 0)
        return sorted({*range(0, last + 1, step), last})

    masks = []
    for top in starts(height):
        for left in starts(width):
            mask = np.zeros((height, width, 1), bool)
            mask[top : top + side, left : left + side] = True
            masks.append(mask)
    return np.array(masks)


def occlusion(
    score: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    row: Mapping[str, np.ndarray],
    cover: Mapping[str, np.ndarray],
    masks: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Return what each entry of one row does for its score.

    Args:
        score: from fields [K, …] to scores [K].
        row: the row's fields, [1, …] each.
        cover: what stands in the place of what is covered, [1, …] each.
        masks: for each window the entries that it covers, by field, bool [...] that broadcasts to
            one row.

    Returns:
        Field to falls of the score [...], in the shape of one row; 0 where no window was.
    """
    own = float(score(row)[0])
    names = list(masks[0])
    fields = {
        name: np.repeat(np.asarray(values), len(masks), axis=0) for name, values in row.items()
    }
    covered: dict[str, np.ndarray] = {}
    for name in names:
        shape = np.asarray(row[name]).shape[1:]
        covered[name] = np.array([np.broadcast_to(mask[name], shape) for mask in masks])
        fields[name] = np.where(covered[name], np.asarray(cover[name]), fields[name])
    falls = own - score(fields)
    found = {}
    for name in names:
        times = covered[name].sum(0)
        total = np.tensordot(falls, covered[name].astype(float), axes=1)
        found[name] = total / np.maximum(times, 1)
    return found
