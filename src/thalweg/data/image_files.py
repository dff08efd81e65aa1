"""Image files made into arrays: decoded on all cores, brought to one size, kept in a cache.

Decoding runs in threads: Pillow lets go of the interpreter's lock while it decodes and scales, and
threads need no guard in the user's script as processes would.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data.decoding import entry_of, on_all_cores, write_entry
from thalweg.errors import OptionError, SourceError, one_line
from thalweg.files import cache_dir
from thalweg.memory import host_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES: tuple[str, ...] = (
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
    ".pgm",
    ".ppm",
    ".pbm",
    ".pnm",
)
"""Endings of files that are taken for images."""

SIZE_CAP = 64
"""Without ``image_size``, larger images are scaled down to so many pixels on the longer side."""

BIG_BYTES = 256 << 20
"""Beyond this decoded images stay in a file mapped into memory; earlier if that is short."""


_MIN_CACHED = 64
_FORMAT = 1
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})


@dataclass(frozen=True)
class Decoded:
    """Images of one size.

    Args:
        images: uint8 [M, H, W, C], C 1 (grey) or 3 (red, green, blue).
        kept: int64 [M], the index of each image among the paths given.
        bad: files that could not be read, as (path, reason).
        notices: what is worth telling.
    """

    images: np.ndarray
    kept: np.ndarray
    bad: tuple[tuple[str, str], ...] = ()
    notices: tuple[str, ...] = ()


def is_image_name(name: str) -> bool:
    """Whether a file's name ends like an image's."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


# One image ---------------------------------------------------------------------------------------


def crop_box(height: int, width: int, shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return what of an image is kept when it is brought to ``shape``.

    The largest centred box that has the proportions of ``shape``: nothing is distorted, and what
    hangs over on two sides is cut off. Boxes and masks go the same way: x' = (x − left) ·
    shape[1] / (right − left).

    Args:
        height: rows of the image.
        width: its columns.
        shape: rows and columns wanted.

    Returns:
        left, upper, right, lower, in pixels of the image.
    """
    scale = min(height / shape[0], width / shape[1])
    kept_height, kept_width = shape[0] * scale, shape[1] * scale
    left, upper = (width - kept_width) / 2, (height - kept_height) / 2
    return left, upper, left + kept_width, upper + kept_height


def to_uint8(image: Image) -> Image:
    """Convert an image of any mode to 8-bit grey or colour.

    Transparency is laid over white. 16-bit values are divided by 257, the same for every image;
    floating-point ones (TIFF) are taken as 0 to 1, or as 0 to 255 where they go beyond 1. CMYK,
    palettes and other colour spaces become red, green, blue.
    """
    from PIL import Image as Images

    mode = image.mode
    if mode in ("L", "RGB"):
        return image
    if mode == "1":
        return image.convert("L")
    if mode.startswith("I") or mode == "F":
        values = np.asarray(image).astype(np.float64)
        high = float(np.nanmax(values)) if values.size else 0.0
        if mode == "F" and high <= 1.0:
            values = values * 255.0
        elif not (mode == "F" and high <= 255.0):
            values = values / 257.0
        values = np.nan_to_num(values, nan=0.0, posinf=255.0, neginf=0.0)
        return Images.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    if mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        grey = mode in ("LA", "La")
        image = image.convert("RGBA")
        white = Images.new("RGBA", image.size, (255, 255, 255, 255))
        return Images.alpha_composite(white, image).convert("L" if grey else "RGB")
    return image.convert("RGB")


def fit(image: Image, shape: tuple[int, int], channels: int, *, nearest: bool = False) -> Image:
    """Bring an 8-bit image to ``shape`` (rows, columns) and to 1 or 3 channels; see ``crop_box``.

    Scaling is bilinear, averaging over all pixels that fall together; ``nearest`` copies the
    nearest pixel instead, as masks of classes need.
    """
    from PIL.Image import Resampling

    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if (image.height, image.width) != shape:
        image = image.resize(
            (shape[1], shape[0]),
            Resampling.NEAREST if nearest else Resampling.BILINEAR,
            box=crop_box(image.height, image.width, shape),
            reducing_gap=None if nearest else 3.0,
        )
    return image


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    # Asking every PNG for its orientation would cost as much as decoding a small one.
    if image.format == "PNG" and "exif" not in image.info:
        return image
    return ImageOps.exif_transpose(image)


def decode(
    source: str | bytes, shape: tuple[int, int] | None = None, channels: int | None = None
) -> np.ndarray:
    """Decode one image.

    Args:
        source: a path, or the bytes of a file.
        shape: rows and columns wanted; the image's own by default.
        channels: 1 or 3; the image's own by default.

    Returns:
        uint8 [H, W, C]. Orientation given by the camera (EXIF) is applied; of several frames the
        first is read.

    Raises:
        Exception: whatever Pillow raises for a file that is no image or not a whole one.
    """
    from PIL import Image as Images

    with Images.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
        if shape is not None and opened.format == "JPEG":
            # A JPEG is decoded at a half, a quarter or an eighth of its size for a fraction of the
            # time; twice the size wanted is left to scale down.
            side = 2 * max(shape)
            opened.draft(None, (side, side))
        image = to_uint8(_upright(opened))
        if channels is None:
            channels = 1 if image.mode == "L" else 3
        values = np.asarray(fit(image, shape or (image.height, image.width), channels))
    return values[..., None] if values.ndim == 2 else values


def resize(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bring decoded images uint8 [N, H, W, C] to another shape (rows, columns), on all cores."""
    from PIL import Image as Images

    if images.shape[1:3] == shape:
        return images
    num_channels = images.shape[3]
    out = np.empty((len(images), *shape, num_channels), np.uint8)

    def work(start: int, stop: int) -> None:
        for i in range(start, stop):
            if num_channels == 3:
                out[i] = np.asarray(
                    fit(Images.fromarray(np.ascontiguousarray(images[i])), shape, 3)
                )
            else:
                for c in range(num_channels):
                    plane = Images.fromarray(np.ascontiguousarray(images[i, ..., c]))
                    out[i, ..., c] = np.asarray(fit(plane, shape, 1))

    on_all_cores(work, len(images))
    return out


def check_size(image_size: Any) -> tuple[int, int] | None:
    """Return rows and columns from ``64``, ``(48, 64)``, ``"64"`` or ``"48x64"``; None stays None.

    Raises:
        OptionError: anything else.
    """
    if image_size is None:
        return None
    sides = image_size
    if isinstance(sides, str):
        sides = sides.lower().replace("×", "x").replace(",", "x").split("x")
    try:
        numbers = [float(side) for side in np.ravel(sides)]
    except (TypeError, ValueError):
        numbers = []
    whole = all(number.is_integer() and 1 <= number <= 4096 for number in numbers)
    if not whole or len(numbers) not in (1, 2):
        raise OptionError(
            "image_size must be a number of pixels from 1 to 4096, or height x width; got "
            f"{image_size!r}: use for instance 64 or 48x64"
        )
    return int(numbers[0]), int(numbers[-1])


def choose_shape(
    sizes: np.ndarray, image_size: tuple[int, int] | None
) -> tuple[tuple[int, int], str | None]:
    """Choose the shape that all images are brought to.

    Without ``image_size`` it is the size that at least half of the images have, else the median
    height and the median width; then scaled down to at most ``SIZE_CAP`` on the longer side.

    Args:
        sizes: height and width of each image, int [N, 2].
        image_size: the shape asked for, or None.

    Returns:
        Rows and columns, and what is worth telling.
    """
    distinct, counts = np.unique(sizes, axis=0, return_counts=True)
    if image_size is not None:
        shape = image_size
    else:
        best = int(counts.argmax())
        if 2 * counts[best] >= len(sizes):
            height, width = (int(side) for side in distinct[best])
        else:
            height, width = (round(float(side)) for side in np.median(sizes, axis=0))
        scale = min(1.0, SIZE_CAP / max(height, width))
        shape = max(1, round(height * scale)), max(1, round(width * scale))
    wanted = f"{shape[0]} x {shape[1]}"
    other = "" if image_size is not None else "; image_size sets another size"
    if len(distinct) == 1:
        height, width = (int(side) for side in distinct[0])
        if (height, width) == shape:
            return shape, None
        cut = " and cropped" if height * shape[1] != width * shape[0] and image_size else ""
        return shape, f"images of {height} x {width} are scaled{cut} to {wanted}{other}"
    areas = distinct.prod(axis=1)
    small, large = distinct[areas.argmin()], distinct[areas.argmax()]
    return shape, (
        f"images of {len(distinct):,} sizes, from {small[0]} x {small[1]} to {large[0]} x "
        f"{large[1]} (height x width), are scaled to {wanted} and what hangs over is cropped{other}"
    )


# Many files --------------------------------------------------------------------------------------


def read_images(
    paths: Sequence[str],
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    names: Sequence[str] | None = None,
) -> Decoded:
    """Decode image files into one array, on all cores.

    What was decoded is kept in the cache, known by paths, sizes and times of change of all files;
    there, a set beyond ``BIG_BYTES`` is mapped into memory instead of read.

    Args:
        paths: the files.
        image_size: rows and columns that all are brought to; see ``choose_shape`` otherwise.
        channels: 1 or 3; otherwise 1 where every image is grey and 3 where one is not.
        names: how files are called in notices; their paths by default.

    Returns:
        The images in the order of their paths, without those that cannot be read.

    Raises:
        SourceError: not one of the files can be read.
    """
    names = list(paths) if names is None else list(names)
    entry = _entry(paths, image_size, channels)
    found = None if entry is None else _load(entry, len(paths))
    if found is None:
        found = _decode_all(paths, image_size, channels, entry)
    if found.bad:
        name_of = dict(zip(paths, names, strict=True))
        listed = ", ".join(f"{name_of[path]} ({reason})" for path, reason in found.bad[:10])
        more = ", ..." if len(found.bad) > 10 else ""
        text = f"{len(found.bad):,} of {len(paths):,} image files cannot be read"
        if not len(found.images):
            raise SourceError(f"{text}: {listed}{more}: none is left to work with")
        notice = f"{text} and are left out: {listed}{more}"
        return Decoded(found.images, found.kept, found.bad, (*found.notices, notice))
    return found


def _decode_all(
    paths: Sequence[str],
    image_size: tuple[int, int] | None,
    channels: int | None,
    entry: Path | None,
) -> Decoded:
    reasons: list[str | None] = [None] * len(paths)
    sizes = np.zeros((len(paths), 2), np.int64)
    grey = np.ones(len(paths), bool)

    def look(start: int, stop: int) -> None:
        for i in range(start, stop):
            try:
                sizes[i], grey[i] = _probe(paths[i])
            except Exception as error:
                reasons[i] = _reason(error, paths[i])

    if image_size is None or channels is None:
        on_all_cores(look, len(paths))
    good = np.array([reason is None for reason in reasons])
    if not good.any():
        return _decoded(np.empty((0, 1, 1, 1), np.uint8), paths, reasons, ())
    if image_size is not None and channels is not None:
        shape, notice = image_size, None
    else:
        shape, notice = choose_shape(sizes[good], image_size)
    planes = channels or (1 if grey[good].all() else 3)
    out = _allocate((len(paths), *shape, planes), entry)

    def work(start: int, stop: int) -> None:
        for i in range(start, stop):
            if reasons[i] is None:
                try:
                    out[i] = decode(paths[i], shape, planes)
                except Exception as error:
                    reasons[i] = _reason(error, paths[i])

    on_all_cores(work, len(paths))
    images = _compact(out, np.array([reason is None for reason in reasons]))
    if channels is None and planes == 3 and _all_grey(images):
        images = np.ascontiguousarray(images[..., :1])
    decoded = _decoded(images, paths, reasons, () if notice is None else (notice,))
    if entry is not None and len(decoded.images):
        decoded = _save(entry, decoded, len(paths))
    return decoded


def _decoded(
    images: np.ndarray,
    paths: Sequence[str],
    reasons: Sequence[str | None],
    notices: tuple[str, ...],
) -> Decoded:
    kept = np.flatnonzero([reason is None for reason in reasons]).astype(np.int64)
    bad = tuple((p, r) for p, r in zip(paths, reasons, strict=True) if r is not None)
    return Decoded(images, kept, bad, notices)


def _probe(path: str) -> tuple[tuple[int, int], bool]:
    """Return height and width, and whether the mode is grey, from a file's header."""
    from PIL import Image as Images

    with Images.open(path) as image:
        width, height = image.size
        turned = image.format in ("JPEG", "TIFF", "MPO", "WEBP") or "exif" in image.info
        if turned and image.getexif().get(0x0112, 1) >= 5:
            width, height = height, width
        return (height, width), image.mode in _GREY_MODES


def _reason(error: Exception, path: str) -> str:
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission"
    if kind == "UnidentifiedImageError":
        try:
            return "no image" if os.path.getsize(path) else "empty file"
        except OSError:
            return "no image"
    text = one_line(error)
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "truncated"
    return text[:80] or kind


def _all_grey(images: np.ndarray) -> bool:
    for start in range(0, len(images), 64):
        block = images[start : start + 64]
        if not (
            np.array_equal(block[..., 0], block[..., 1])
            and np.array_equal(block[..., 0], block[..., 2])
        ):
            return False
    return True


# Arrays beyond memory ----------------------------------------------------------------------------


def _allocate(shape: tuple[int, ...], entry: Path | None) -> np.ndarray:
    if int(np.prod(shape, dtype=np.int64)) <= big_bytes():
        return np.empty(shape, np.uint8)
    return on_disk(shape, None if entry is None else entry.parent)


def big_bytes() -> int:
    """Return from how many bytes on arrays stay in a file."""
    return min(BIG_BYTES, host_bytes() // 8)


def on_disk(
    shape: tuple[int, ...], folder: Path | None = None, dtype: Any = np.uint8
) -> np.ndarray:
    """Return an uninitialised array in a file without a name, gone when nobody uses it.

    Where no file can be made the array is in memory.
    """
    try:
        folder = folder or cache_dir() / "images"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError:
        return np.empty(shape, dtype)


def select(images: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return some images [M, H, W, C] without ever holding many in memory.

    Neighbours in order are a view; others are copied, to a file where they exceed ``BIG_BYTES``.
    """
    if len(index) and np.array_equal(index, np.arange(index[0], index[0] + len(index))):
        return images[int(index[0]) : int(index[0]) + len(index)]
    size = int(np.prod(images.shape[1:], dtype=np.int64))
    if len(index) * size <= big_bytes():
        return images[index]
    out = on_disk((len(index), *images.shape[1:]))
    step = max(1, (16 << 20) // size)
    for start in range(0, len(index), step):
        out[start : start + step] = images[index[start : start + step]]
    return out


def _compact(images: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Close the gaps that files which could not be read have left, in place."""
    if good.all():
        return images
    kept = np.flatnonzero(good)
    for place, index in enumerate(kept):
        if place != index:
            images[place] = images[index]
    return images[: len(kept)]


# The cache ---------------------------------------------------------------------------------------


def _entry(
    paths: Sequence[str], image_size: tuple[int, int] | None, channels: int | None
) -> Path | None:
    """Return the stem of a set's files in the cache; None where it is not worth it."""
    if len(paths) < _MIN_CACHED:
        return None
    return entry_of("images", paths, [_FORMAT, SIZE_CAP, image_size, channels])


def _load(entry: Path, num_paths: int) -> Decoded | None:
    array, about = entry.with_suffix(".npy"), entry.with_suffix(".json")
    try:
        record = json.loads(about.read_text(encoding="utf-8"))
        big = array.stat().st_size > big_bytes()
        images = np.load(array, mmap_mode="r" if big else None, allow_pickle=False)
        os.utime(array)
    except (OSError, ValueError):
        return None
    bad = tuple((str(path), str(reason)) for path, reason in record["bad"])
    kept = np.setdiff1d(np.arange(num_paths), np.array(record["bad_index"], np.int64))
    if len(kept) != len(images) or images.dtype != np.uint8 or images.ndim != 4:
        return None
    return Decoded(images, kept, bad, tuple(record["notices"]))


def _save(entry: Path, decoded: Decoded, num_paths: int) -> Decoded:
    """Write a set into the cache; a set on disk is then read from there."""
    record = {
        "bad": [list(pair) for pair in decoded.bad],
        "bad_index": np.setdiff1d(np.arange(num_paths), decoded.kept).tolist(),
        "notices": list(decoded.notices),
    }
    if not write_entry(entry, decoded.images, record):
        return decoded
    if decoded.images.nbytes > big_bytes():
        return _load(entry, num_paths) or decoded
    return decoded


# For people --------------------------------------------------------------------------------------


def image_grid(images: np.ndarray, columns: int, *, gap: int = 2) -> np.ndarray:
    """Lay images uint8 [N, H, W, C] out in rows of so many columns, on white.

    Returns:
        uint8 [rows · (H + gap) − gap, columns · (W + gap) − gap, C].
    """
    count, height, width, planes = images.shape
    rows = -(-count // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, planes)
    grid = np.full(shape, 255, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid


def to_png(image: np.ndarray, *, scale: int = 1) -> bytes:
    """Encode an image uint8 [H, W, 1 or 3] as PNG, each pixel drawn ``scale`` by ``scale``."""
    from PIL import Image as Images

    pixels = image[..., 0] if image.shape[2] == 1 else image[..., :3]
    pixels = np.repeat(np.repeat(pixels, scale, axis=0), scale, axis=1)
    stream = io.BytesIO()
    Images.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", optimize=True)
    return stream.getvalue()
