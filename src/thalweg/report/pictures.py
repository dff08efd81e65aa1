"""Pictures of images and of what networks make of them: NumPy arrays in, PNG out, by Pillow.

A sheet is a table of cells: each a small image with lines of text below it, boxes over it, a frame
around it. Small images are enlarged by whole factors, so that a pixel stays a square; sheets are
drawn with two pixels a point, for sharp screens, and with fewer where the file would be too large.
"""

from __future__ import annotations

import io
import struct
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from thalweg.report.heat import AGAINST, FOR, WARM, overlaid
from thalweg.task import IGNORE

MAX_BYTES = 190_000
"""Size of a PNG at most; there may be half a dozen in a report."""

WIDTH = 1040
"""Points that a sheet is wide at most: the width of the report's page."""

PAPER, INK, SOFT = (255, 255, 255), (28, 32, 36), (85, 93, 102)
GOOD, BAD, EDGE = (29, 125, 70), (179, 38, 30), (214, 218, 216)
UNCOUNTED = (190, 180, 215)
TONES = {"": INK, "soft": SOFT, "good": GOOD, "bad": BAD}
PALETTE = (
    (0, 114, 178), (230, 159, 0), (204, 121, 167), (213, 94, 0), (86, 180, 233), (240, 228, 66),
    (0, 158, 115), (120, 94, 240), (165, 42, 42), (127, 127, 127),
)  # fmt: skip
"""Colours of classes that people with any colour vision tell apart (Okabe and Ito), and some."""

_TEXT, _LEADING, _GAP, _MARGIN = 12.5, 16.0, 14.0, 12.0
_SEQUENTIAL = np.array(
    [(0, 0, 4), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191)],
    dtype=float,
)
_NEGATIVE, _POSITIVE = np.array((179, 84, 30), float), np.array((11, 95, 138), float)
_EMBEDDED = set(map(chr, range(32, 127))) | set("…·±°“”")
_FALLBACKS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial Unicode.ttf",
    "arialuni.ttf", "Arial.ttf", "arial.ttf",
)  # fmt: skip

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """A box over an image.

    Args:
        x0, y0, x1, y1: corners in pixels of the image.
        colour: red, green, blue.
        text: written at its upper edge.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    colour: Colour
    text: str = ""


@dataclass(frozen=True, eq=False)
class Cell:
    """One image of a sheet.

    Args:
        image: uint8 [H, W, 3].
        lines: texts below it, each with its tone (a key of ``TONES``).
        boxes: boxes over it.
        frame: tone of a frame around it; none where None.
        filling: whether it takes its whole place, even if pixels then differ in size.
    """

    image: np.ndarray
    lines: tuple[tuple[str, str], ...] = ()
    boxes: tuple[Box, ...] = ()
    frame: str | None = None
    filling: bool = False


# From arrays to colours ---------------------------------------------------------------------------


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Return an image of 1 (grey), 2 (grey, opacity), 3 or 4 channels as uint8 [H, W, 3].

    Of more than four channels the first three are taken. Opacity is laid over white.
    """
    values = np.asarray(image)
    if values.ndim == 2:
        values = values[..., None]
    if values.dtype != np.uint8:
        values = np.clip(np.nan_to_num(values), 0, 255).astype(np.uint8)
    channels = values.shape[2]
    if channels in (2, 4):
        opacity = values[..., -1:].astype(float) / 255.0
        values = (values[..., :-1] * opacity + 255.0 * (1.0 - opacity)).round().astype(np.uint8)
        channels -= 1
    if channels == 1:
        return np.repeat(values, 3, axis=2)
    return values[..., :3] if channels >= 3 else np.repeat(values[..., :1], 3, axis=2)


def diverging(values: np.ndarray) -> np.ndarray:
    """Return signed numbers [H, W] as colours: blue above zero, orange below, white at it."""
    values = np.nan_to_num(np.asarray(values, float))
    share = values / max(float(np.abs(values).max(initial=0.0)), 1e-12)
    ends = np.where(share[..., None] > 0, _POSITIVE, _NEGATIVE)
    colours = 255.0 + np.abs(share)[..., None] * (ends - 255.0)
    return colours.round().astype(np.uint8)


def sequential(values: np.ndarray, low: float | None = None, high: float | None = None) -> Any:
    """Return numbers [H, W] as colours from dark to bright, between the ends given or found."""
    values = np.nan_to_num(np.asarray(values, float))
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    place = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0) * (len(_SEQUENTIAL) - 1)
    knots = np.arange(len(_SEQUENTIAL))
    parts = [np.interp(place, knots, _SEQUENTIAL[:, i]) for i in range(3)]
    return np.stack(parts, axis=-1).round().astype(np.uint8)


def filter_colours(kernel: np.ndarray) -> np.ndarray:
    """Return a filter [h, w, C] as an image: its own colours where C is 3, signed numbers else.

    Of a filter over other numbers of channels their sum is shown.
    """
    kernel = np.nan_to_num(np.asarray(kernel, float))
    if kernel.shape[2] == 3:
        reach = max(float(np.abs(kernel).max(initial=0.0)), 1e-12)
        return (127.5 + 127.5 * kernel / reach).round().astype(np.uint8)
    return diverging(kernel.sum(axis=2))


def class_colour(index: int) -> Colour:
    """Return the colour of a class."""
    return PALETTE[index % len(PALETTE)]


def masked(image: np.ndarray, mask: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Lay a mask of classes [H, W] over an image: class 0 is left clear.

    Args:
        image: uint8 [H, W] or [H, W, C].
        mask: whole numbers [H, W]; 255 is no class.
        opacity: of the colours.
    """
    base = as_rgb(image).astype(float)
    # Colours tell classes apart only over grey.
    grey = base.mean(axis=2, keepdims=True)
    base = np.repeat(0.75 * grey + 40.0, 3, axis=2)
    table = np.array([class_colour(i - 1) for i in range(256)], float)
    table[IGNORE] = UNCOUNTED
    mask = np.asarray(mask).astype(np.int64) % 256
    painted = (1.0 - opacity) * base + opacity * table[mask]
    return np.where((mask == 0)[..., None], base, painted).round().astype(np.uint8)


def differing(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return where two masks differ, as an image: red where they do."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    colours = np.full((*truth.shape, 3), 244, np.uint8)
    colours[truth != predicted] = BAD
    colours[truth == IGNORE] = UNCOUNTED
    return colours


# Sheets -------------------------------------------------------------------------------------------


def sheet(
    rows: Sequence[Sequence[Cell | None]],
    *,
    side: float = 96,
    caption_width: float = 0,
    labels: Sequence[str] = (),
    heads: Sequence[str] = (),
    legend: Sequence[tuple[Colour, str]] = (),
    max_bytes: int = MAX_BYTES,
) -> bytes:
    """Draw cells in rows and columns as a PNG.

    Args:
        rows: cells; None leaves a place empty.
        side: points that the longer side of an image takes at most.
        caption_width: points that the texts below an image may take, where they need more than it.
        labels: text to the left of each row.
        heads: text above each column.
        legend: colours with what they mean, below.
        max_bytes: size of the file at most.

    Returns:
        The file. Where it would be too large it is drawn with fewer pixels, then fewer colours.
    """
    from PIL import Image

    native = sum(cell.image.nbytes for row in rows for cell in row if cell is not None)
    # An estimate: photographs shrink by half or so. It spares drawing what is too large anyway.
    density = 2.0 if native < 4 * max_bytes else 1.0
    data = b""
    while density > 0.2:
        drawn = _drawn(rows, density, side, caption_width, labels, heads, legend)
        for colours in (None, 200, 64):
            image = drawn
            if colours is not None:
                image = drawn.quantize(colours, method=Image.Quantize.FASTOCTREE)
            file = io.BytesIO()
            image.save(file, "PNG", compress_level=6, dpi=(96 * density, 96 * density))
            data = file.getvalue()
            if len(data) <= max_bytes:
                return data
            if len(data) > 6 * max_bytes:
                break
        density = density / 2 if density > 1 else density * 0.75
    return data


def _drawn(
    rows: Sequence[Sequence[Cell | None]],
    density: float,
    side: float,
    caption_width: float,
    labels: Sequence[str],
    heads: Sequence[str],
    legend: Sequence[tuple[Colour, str]],
) -> Any:
    from PIL import Image, ImageDraw

    gap, leading = round(_GAP * density), round(_LEADING * density)
    margin, size = round(_MARGIN * density), round(_TEXT * density)
    tiles = [[None if c is None else _fitted(c, side * density) for c in row] for row in rows]
    num_columns = max(map(len, rows))
    least = max(1, round(caption_width * density))
    widths = [least] * num_columns
    for drawn in tiles:
        for i, tile in enumerate(drawn):
            widths[i] = max(widths[i], 0 if tile is None else tile.shape[1])
    left = margin
    if any(labels):
        left += max(_length(text, size) for text in labels) + gap
    top = margin + (leading if any(heads) else 0)
    heights, text_heights = [], []
    for row, drawn in zip(rows, tiles, strict=True):
        heights.append(max((t.shape[0] for t in drawn if t is not None), default=0))
        lines = max((len(c.lines) for c in row if c is not None), default=0)
        text_heights.append(lines * leading + (round(4 * density) if lines else 0))
    width = left + sum(widths) + gap * (num_columns - 1) + margin
    height = top + sum(heights) + sum(text_heights) + gap * (len(rows) - 1) + margin
    swatches = _laid_out(legend, width - 2 * margin, density)
    height += len(swatches) * round(1.4 * leading) + (gap if swatches else 0)
    canvas = Image.new("RGB", (int(width), int(height)), PAPER)
    pen = ImageDraw.Draw(canvas)
    if any(heads):
        x = left
        for text, column in zip(heads, widths, strict=False):
            _write(pen, x, margin - round(2 * density), text, size, SOFT, column + gap // 2)
            x += column + gap
    y = top
    for i, row in enumerate(rows):
        if i < len(labels) and labels[i]:
            middle = y + heights[i] // 2 - size // 2
            _write(pen, margin, middle, labels[i], size, SOFT, left)
        x = left
        for j, cell in enumerate(row):
            tile = tiles[i][j]
            if cell is not None and tile is not None:
                _put(canvas, pen, cell, tile, (x, y), heights[i], density, widths[j])
            x += widths[j] + gap
        y += heights[i] + text_heights[i] + gap
    for line in swatches:
        x = margin
        for colour, text, room in line:
            pen.rectangle((x, y, x + size, y + size), fill=colour, outline=EDGE)
            _write(pen, x + size + size // 2, y - size // 8, text, size, INK, room)
            x += room
        y += round(1.4 * leading)
    return canvas


def _fitted(cell: Cell, side: float) -> np.ndarray:
    """Return a cell's image at its size on the canvas: enlarged by a whole factor, or shrunk."""
    image = cell.image
    longer = max(image.shape[:2])
    if longer <= side and not cell.filling:
        factor = int(side // longer)
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    from PIL import Image

    shape = [max(1, round(n * side / longer)) for n in image.shape[:2]]
    method = Image.Resampling.NEAREST if longer <= side else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), method))


def _put(
    canvas: Any,
    pen: Any,
    cell: Cell,
    tile: np.ndarray,
    at: tuple[int, int],
    height: int,
    density: float,
    width: int,
) -> None:
    from PIL import Image

    x, y = at
    size, leading = round(_TEXT * density), round(_LEADING * density)
    canvas.paste(Image.fromarray(tile), (x, y))
    right, bottom = x + tile.shape[1] - 1, y + tile.shape[0] - 1
    line = max(1, round(1.5 * density))
    if cell.frame is not None:
        colour = EDGE if cell.frame == "" else TONES[cell.frame]
        thick = max(1, round(0.5 * density)) if cell.frame == "" else line
        pen.rectangle(
            (x - thick, y - thick, right + thick, bottom + thick), outline=colour, width=thick
        )
    scale = tile.shape[1] / cell.image.shape[1], tile.shape[0] / cell.image.shape[0]
    small = max(8, round(0.8 * size))
    for box in cell.boxes:
        # Pillow wants corners in order, and a box may reach beyond its image.
        x0, x1 = sorted(min(max(x + v * scale[0], x), right) for v in (box.x0, box.x1))
        y0, y1 = sorted(min(max(y + v * scale[1], y), bottom) for v in (box.y0, box.y1))
        # What others are drawn over is broader than they are.
        broad = line if box.text else 2 * line
        pen.rectangle((x0, y0, x1, y1), outline=box.colour, width=broad)
        if box.text:
            length = _length(box.text, small) + 4
            start = max(x, min(x0, right - length))
            above = y0 - small - 4 if y0 - small - 4 >= y else y0
            pen.rectangle((start, above, start + length, above + small + 4), fill=box.colour)
            ink = PAPER if sum(box.colour) < 420 else INK
            _write(pen, start + 2, above, box.text, small, ink, length)
    for i, (text, tone) in enumerate(cell.lines):
        below = y + height + round(3 * density) + i * leading
        _write(pen, x, below, text, size, TONES[tone], width)


def _laid_out(
    legend: Sequence[tuple[Colour, str]], width: float, density: float
) -> list[list[tuple[Colour, str, int]]]:
    """Return the legend in lines: colour, text, and the pixels that both take."""
    size = round(_TEXT * density)
    lines: list[list[tuple[Colour, str, int]]] = []
    room = 0.0
    for colour, text in legend:
        text = _shortened(text, size, round(220 * density))
        taken = int(size * 1.5 + _length(text, size) + 1.6 * size)
        if not lines or taken > room:
            lines.append([])
            room = width
        lines[-1].append((colour, text, taken))
        room -= taken
    return lines


# Texts --------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _font(size: int, plain: bool) -> Any:
    """Return Pillow's own font, or for texts beyond its few characters one of the system's."""
    from PIL import ImageFont

    for name in () if plain else _FALLBACKS:
        try:
            return ImageFont.truetype(name, round(0.93 * size))
        except OSError:
            continue
    return ImageFont.load_default(size)


def _prepared(text: str, size: int) -> tuple[str, Any]:
    text = " ".join(str(text).split())
    plain = set(text) <= _EMBEDDED
    font = _font(size, plain)
    if not plain and font.getname() == _font(size, True).getname():
        # No other font here: letters lose their accents, and what is left becomes a mark.
        split = unicodedata.normalize("NFKD", text)
        kept = (c for c in split if not unicodedata.combining(c))
        text = "".join(c if c in _EMBEDDED else "?" for c in kept)
    return text, font


def _length(text: str, size: int) -> int:
    text, font = _prepared(text, size)
    return int(font.getlength(text)) + 1


def _shortened(text: str, size: int, width: float) -> str:
    if _length(text, size) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = _length(text[:middle].rstrip() + "…", size) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + "…"


def _write(
    pen: Any, x: float, y: float, text: str, size: int, colour: Colour, width: float
) -> None:
    text, font = _prepared(_shortened(text, size, width), size)
    pen.text((x, y), text, font=font, fill=colour)


def png_size(png: bytes) -> tuple[int, int]:
    """Return width and height of a PNG in points: pixels, or half of them where it is dense.

    Raises:
        ValueError: the bytes are no PNG.
    """
    if png[:8] != b"\x89PNG\r\n\x1a\n" or len(png) < 33:
        raise ValueError(f"a picture must be a PNG file; got {png[:8]!r}: write it again")
    width, height = struct.unpack(">II", png[16:24])
    place = png.find(b"pHYs", 33, 2000)
    density = struct.unpack(">I", png[place + 4 : place + 8])[0] * 0.0254 / 96 if place > 0 else 1.0
    density = density if 0.1 < density < 8 else 1.0
    return round(width / density), round(height / density)


# Painters -----------------------------------------------------------------------------------------


def paint_photos(
    *,
    images: Sequence[Sequence[np.ndarray | None]],
    captions: Sequence[Sequence[Sequence[tuple[str, str]]]] = (),
    frames: Sequence[Sequence[str | None]] = (),
    labels: Sequence[str] = (),
    heads: Sequence[str] = (),
    side: float = 96,
    caption_width: float = 0,
) -> bytes:
    """Draw photographs in rows.

    Args:
        images: rows of images [H, W, C], or of numbers [H, W] that become colours from dark to
            bright; None leaves a place empty.
        captions: for each of them lines of text with their tones.
        frames: for each of them the tone of its frame.
        labels: text to the left of each row.
        heads: text above each column.
        side: points that an image's longer side takes.
        caption_width: points that texts may take.
    """
    rows = [
        [
            None
            if image is None
            else Cell(
                sequential(image) if image.dtype.kind == "f" else as_rgb(image),
                tuple((t, tone) for t, tone in captions[i][j]) if captions else (),
                frame=frames[i][j] if frames else "",
            )
            for j, image in enumerate(row)
        ]
        for i, row in enumerate(images)
    ]
    return sheet(rows, side=side, labels=labels, heads=heads, caption_width=caption_width)


def paint_filters(
    *, kernel: np.ndarray, columns: int = 16, side: float = 48, names: Sequence[str] = ()
) -> bytes:
    """Draw the filters of a layer.

    Args:
        kernel: [h, w, C, filters].
        columns: filters in a row.
        side: points that a filter takes at most.
        names: text below each.
    """
    cells = [
        Cell(
            filter_colours(kernel[..., i]),
            ((names[i], "soft"),) if names else (),
            frame="",
        )
        for i in range(kernel.shape[-1])
    ]
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return sheet(rows, side=side, caption_width=side if names else 0)


def paint_maps(
    *,
    images: Sequence[np.ndarray],
    layers: Sequence[np.ndarray],
    labels: Sequence[str] = (),
    side: float = 72,
) -> bytes:
    """Draw feature maps: for each layer a row for each image, brighter for more.

    Args:
        images: [H, W, C] each; they stand to the left.
        layers: maps of all images [N, h, w, channels], one array a layer.
        labels: text to the left of each layer's first row.
        side: points that an image's longer side takes.
    """
    rows: list[list[Cell | None]] = []
    texts = []
    for i, values in enumerate(layers):
        low, high = values.min(axis=(0, 1, 2)), values.max(axis=(0, 1, 2))
        for j, image in enumerate(images):
            maps = [
                Cell(sequential(values[j, ..., c], low[c], high[c]), filling=True)
                for c in range(len(low))
            ]
            rows.append([Cell(as_rgb(image), frame="", filling=True), *maps])
            texts.append(labels[i] if j == 0 and i < len(labels) else "")
    return sheet(rows, side=side, labels=texts)


def paint_masks(
    *,
    images: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    classes: Sequence[Any],
    captions: Sequence[str] = (),
    groups: int = 2,
) -> bytes:
    """Draw images with the classes of their pixels: image, truth, prediction, where they differ.

    Args:
        images: [H, W, C] each.
        truth: class of each pixel [H, W]; 255 is no class.
        predicted: predicted classes [H, W].
        classes: names of the classes.
        captions: a text for each image.
        groups: images in a row of the sheet.
    """
    names = ("image", "truth", "predicted", "wrong")
    cells: list[list[Cell | None]] = []
    for i, image in enumerate(images):
        views = (
            as_rgb(image),
            masked(image, truth[i]),
            masked(image, predicted[i]),
            differing(truth[i], predicted[i]),
        )
        text = captions[i] if captions else ""
        lines: list[tuple[tuple[str, str], ...]] = [((text, ""),) if text else (), (), (), ()]
        cells.append([Cell(v, line, frame="") for v, line in zip(views, lines, strict=True)])
    groups = max(1, min(groups, len(cells)))
    # An empty place between the groups keeps them apart.
    rows = [
        [cell for views in cells[i : i + groups] for cell in (*views, None)][:-1]
        for i in range(0, len(cells), groups)
    ]
    present = np.unique(np.concatenate([np.ravel(m) for m in [*truth, *predicted]]))
    legend = [
        (class_colour(int(i) - 1), str(classes[int(i)]))
        for i in present
        if 0 < i < len(classes) and i != IGNORE
    ]
    if IGNORE in present:
        legend.append((UNCOUNTED, "not counted"))
    heads = [name for _ in range(groups) for name in (*names, "")][:-1]
    return sheet(rows, side=108, heads=heads, legend=legend[:40])


def paint_boxes(
    *,
    images: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    classes: Sequence[Any],
    captions: Sequence[str] = (),
    columns: int = 5,
) -> bytes:
    """Draw images with boxes: the truth in green, predictions in the colour of their class.

    Args:
        images: [H, W, C] each.
        truth: boxes of each image [n, 5]: x0, y0, x1, y1 in pixels, class.
        predicted: boxes of each image [n, 6]: the same and the score.
        classes: names of the classes.
        captions: a text for each image.
        columns: images in a row.
    """
    cells = []
    for i, image in enumerate(images):
        boxes = [_box(b, GOOD) for b in truth[i]]
        for b in predicted[i]:
            name = str(classes[int(b[4])]) if 0 <= int(b[4]) < len(classes) else str(int(b[4]))
            colour = _box_colour(int(b[4]))
            boxes.append(_box(b, colour, f"{name} {100 * float(b[5]):.0f} %"))
        text = captions[i] if captions else ""
        cells.append(Cell(as_rgb(image), ((text, ""),) if text else (), tuple(boxes), frame=""))
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    seen = sorted({int(b[4]) for boxes in predicted for b in boxes})
    legend: list[tuple[Colour, str]] = [(GOOD, "truth")]
    legend += [(_box_colour(i), f"predicted {classes[i]}") for i in seen if 0 <= i < len(classes)]
    return sheet(rows, side=188, legend=legend[:40])


def _box(row: np.ndarray, colour: Colour, text: str = "") -> Box:
    return Box(float(row[0]), float(row[1]), float(row[2]), float(row[3]), colour, text)


def _box_colour(index: int) -> Colour:
    """Return the colour of a predicted class; green is the truth's."""
    others = tuple(c for c in PALETTE if c != (0, 158, 115))
    return others[index % len(others)]


def paint_explained(
    *,
    images: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    captions: Sequence[str] = (),
    signed: bool = True,
    side: float = 150,
    columns: int = 6,
) -> bytes:
    """Draw images, each above a copy with what was found of its pixels laid over it.

    Args:
        images: [H, W, C] each.
        maps: one number for each of their pixels, [H, W] each.
        captions: text below each.
        signed: whether numbers below zero speak against the prediction.
        side: points that an image's longer side takes.
        columns: images beside each other.
    """
    rows: list[list[Cell | None]] = []
    for start in range(0, len(images), columns):
        some = range(start, min(start + columns, len(images)))
        plain = [as_rgb(images[i]) for i in some]
        rows.append([Cell(image, frame="") for image in plain])
        rows.append(
            [
                Cell(
                    overlaid(image, maps[i], signed),
                    ((captions[i], ""),) if captions else (),
                    frame="",
                )
                for image, i in zip(plain, some, strict=True)
            ]
        )
    legend = [(FOR, "speaks for it"), (AGAINST, "speaks against it")]
    side = min(side, (WIDTH - 24) / max(1, min(columns, len(images))) - 16)
    return sheet(
        rows,
        side=side,
        caption_width=side,
        legend=legend if signed else [(WARM, "where a change matters most")],
    )


PAINTERS: dict[str, Callable[..., bytes]] = {
    "photos": paint_photos,
    "filters": paint_filters,
    "maps": paint_maps,
    "masks": paint_masks,
    "boxes": paint_boxes,
    "explained": paint_explained,
}
"""What draws each kind of picture, from keyword arguments to a PNG."""


def paint(kind: str, arguments: Mapping[str, Any]) -> bytes:
    """Draw a picture of a kind in ``PAINTERS``."""
    return PAINTERS[kind](**arguments)
