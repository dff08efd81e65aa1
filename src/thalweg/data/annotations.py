"""What is known of images beyond a class: masks of classes, and boxes with classes.

Sources become an ``Annotated``: images, not decoded yet, with a mask or boxes for each, in the
pixels of the original image.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data.decoding import num_cores
from thalweg.data.image_files import fit, is_image_name
from thalweg.data.image_sources import PATH_COLUMNS, Listing, list_images
from thalweg.data.sources import read_table, source_name
from thalweg.errors import DataError, SourceError
from thalweg.task import IGNORE

if TYPE_CHECKING:
    import polars as pl

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "segmentationclass")
PART_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
    ("x1", "y1", "x2", "y2"),
)
"""Names of the columns of a box, the usual ones first."""

_MASK_COLUMNS = ("mask", "mask_path", "mask_file", "segmentation", "label")
_CLASS_COLUMNS = ("class", "label", "category", "name")


@dataclass(frozen=True, eq=False)
class Annotated:
    """Images and what is known of each.

    Args:
        listing: the images.
        known: for each image its mask (a path, an array [H, W], or None where it has none), or its
            boxes: a list of ``(x0, y0, x1, y1, label)`` in pixels.
        parts: the part of each image, or None.
        classes: labels in their order where the source names them, else ().
        notices: what is worth telling.
    """

    listing: Listing
    known: Sequence[Any]
    parts: np.ndarray | None = None
    classes: tuple[Any, ...] = ()
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.listing)


def is_annotated(source: Any) -> str | None:
    """Return ``"segmentation"`` or ``"detection"`` where a source says so by itself, else None."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source).expanduser()
        if path.is_dir():
            folders = [path, *(f for f in _part_folders(path).values())]
            return "segmentation" if any(_mask_folders(folder) for folder in folders) else None
        if path.suffix.lower() == ".json" and path.is_file():
            return "detection" if _looks_like_coco(path) else None
        if path.suffix.lower() == ".csv" and path.is_file():
            return _kind_of_columns(path)
        return None
    if isinstance(source, tuple) and len(source) == 2 and _are_pixels(source[0]):
        known = source[1]
        if getattr(known, "ndim", 0) >= 3 and np.asarray(known).dtype.kind in "iub":
            return "segmentation"
        return "detection" if _is_boxes(known) else None
    return None


def _kind_of_columns(path: Path) -> str | None:
    """Return what a table of image files tells of them, judged by the names of its columns."""
    with path.open(encoding="utf-8", errors="replace") as file:
        header = file.readline(4096)
    names = {name.strip().strip('"').lower() for name in header.split(",")}
    if not names & set(PATH_COLUMNS):
        return None
    if names & set(_CLASS_COLUMNS) and any(names.issuperset(corners) for corners in CORNERS):
        return "detection"
    return "segmentation" if "mask" in names else None


def _are_pixels(values: Any) -> bool:
    """Whether something is surely an array of images, and not of sequences."""
    ndim = getattr(values, "ndim", 0)
    return ndim == 4 or (ndim == 3 and getattr(values, "dtype", None) == np.uint8)


# Masks -------------------------------------------------------------------------------------------


def find_masks(source: Any, masks: Any = None) -> Annotated:
    """Find images with their masks.

    Args:
        source: a folder with ``images`` and ``masks`` (the same file names but for the ending; with
            folders ``train``, ``validation``, ``test`` of such, if wanted), a table with columns of
            image and mask files relative to it, arrays ``(X, masks)`` or a mapping or NPZ file of
            ``images`` and ``masks``; or images alone, where ``masks`` are given.
        masks: a folder of masks, or arrays [N, H, W].

    Raises:
        SourceError, DataError: nothing is found, or not as many masks as images.
    """
    if masks is not None:
        return _masks_beside(list_images(source, labelled=False), masks)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source).expanduser()
        if path.is_dir():
            return _mask_folder(path)
        if path.suffix.lower() == ".npz":
            with np.load(path) as arrays:
                return _mask_arrays(dict(arrays), source_name(path).removesuffix(".npz"))
        return _mask_table(read_table(path), path.parent, source_name(path))
    if isinstance(source, Mapping):
        return _mask_arrays(source, "images")
    if isinstance(source, (tuple, list)) and len(source) == 2:
        return _masks_beside(list_images(source[0], labelled=False), source[1])
    if hasattr(source, "columns"):
        return _mask_table(read_table(source), Path(), "images")
    raise SourceError(
        "segmentation needs a folder with images and masks, a table with columns image and mask, "
        f"or arrays (X, masks); got {type(source).__name__}"
    )


def _part_folders(path: Path) -> dict[str, Path]:
    named = {entry.name.lower(): entry for entry in path.iterdir() if entry.is_dir()}
    found = {}
    for part, names in PART_FOLDERS.items():
        folder = next((named[name] for name in names if name in named), None)
        if folder is not None:
            found[part] = folder
    return found


def _mask_folders(path: Path) -> tuple[Path, Path] | None:
    named = {entry.name.lower(): entry for entry in path.iterdir() if entry.is_dir()}
    images = next((named[name] for name in IMAGE_FOLDERS if name in named), None)
    masks = next((named[name] for name in MASK_FOLDERS if name in named), None)
    return None if images is None or masks is None else (images, masks)


def _mask_folder(path: Path) -> Annotated:
    folders = _mask_folders(path)
    if folders is not None:
        return _folder_pair(path, *folders)
    parts = {part: _mask_folders(folder) for part, folder in _part_folders(path).items()}
    pairs = {part: pair for part, pair in parts.items() if pair is not None}
    if "train" not in pairs:
        raise DataError(
            f"a folder for segmentation has folders 'images' and 'masks'; {path} has "
            f"{', '.join(sorted(e.name for e in path.iterdir())[:8]) or 'nothing'}"
        )
    found = {part: _folder_pair(path, *pair) for part, pair in pairs.items()}
    listings = [part.listing for part in found.values()]
    return Annotated(
        Listing(
            source_name(path),
            tuple(p for listing in listings for p in listing.paths),
            tuple(f for listing in listings for f in listing.files),
        ),
        [mask for part in found.values() for mask in part.known],
        np.repeat(list(found), [len(listing) for listing in listings]),
        notices=tuple(notice for part in found.values() for notice in part.notices),
    )


def _folder_pair(root: Path, images: Path, masks: Path) -> Annotated:
    files = sorted(f for f in images.rglob("*") if is_image_name(f.name) and f.name[0] != ".")
    if not files:
        raise SourceError(f"{images} holds no images: put them there, their masks into {masks}")
    listing = Listing(
        source_name(root),
        tuple(map(str, files)),
        tuple(file.relative_to(images).as_posix() for file in files),
    )
    return _masks_of_files(listing, masks)


def _masks_of_files(listing: Listing, masks: Path) -> Annotated:
    """Match masks to images by the file's name without its ending."""
    try:
        found = [f for f in masks.rglob("*") if f.is_file() and is_image_name(f.name)]
    except OSError as error:
        raise SourceError(f"cannot read {masks}: {error.strerror}") from None
    by_stem = {f.relative_to(masks).with_suffix("").as_posix(): str(f) for f in found}
    by_stem |= {f"{stem}": f for stem, f in _without_suffix(by_stem).items() if stem not in by_stem}
    known = [by_stem.get(Path(file).with_suffix("").as_posix()) for file in listing.files]
    if not any(known):
        raise DataError(
            f"no mask in {masks} has the name of an image, such as {listing.files[0]!r}: masks "
            "are named like their images, but for the ending"
        )
    return Annotated(listing, known)


def _without_suffix(by_stem: Mapping[str, str]) -> dict[str, str]:
    """Return ``1_mask.png`` under the name ``1`` too."""
    endings = ("_mask", "-mask", "_seg", "_label")
    return {
        stem[: -len(ending)]: file
        for stem, file in by_stem.items()
        for ending in endings
        if stem.endswith(ending)
    }


def _masks_beside(listing: Listing, masks: Any) -> Annotated:
    if isinstance(masks, (str, os.PathLike)):
        folder = Path(masks).expanduser()
        if not listing.files:
            raise DataError("masks in a folder need images in files: give arrays of masks")
        if not folder.is_dir():
            raise SourceError(f"the folder of masks {folder} does not exist")
        return _masks_of_files(listing, folder)
    if len(masks) != len(listing):
        raise DataError(
            f"there must be as many masks as images; got {len(masks):,} masks for "
            f"{len(listing):,} images"
        )
    return Annotated(listing, [np.asarray(mask) for mask in masks])


def _mask_arrays(arrays: Mapping[Any, Any], name: str) -> Annotated:
    real = {str(key).lower(): key for key in arrays}
    images = next((real[k] for k in ("images", "image", "x") if k in real), None)
    masks = next((real[k] for k in ("masks", "mask", "y") if k in real), None)
    if images is None or masks is None:
        raise DataError(
            f"segmentation looks for the arrays images and masks; got {', '.join(real) or 'none'}"
        )
    listing = list_images(np.asarray(arrays[images]), labelled=False)
    return _masks_beside(replace(listing, name=name), arrays[masks])


def _mask_table(frame: pl.DataFrame, folder: Path, name: str) -> Annotated:
    named = {column.lower(): column for column in frame.columns}
    images = next((named[c] for c in PATH_COLUMNS if c in named), None)
    masks = next((named[c] for c in _MASK_COLUMNS if c in named and named[c] != images), None)
    if images is None or masks is None:
        raise DataError(
            "a table for segmentation has a column 'image' and a column 'mask' of files; got the "
            f"columns {', '.join(frame.columns[:12])}"
        )
    paths = [None if f is None else str(folder / str(f)) for f in frame[masks].to_list()]
    return Annotated(_files(frame[images].to_list(), folder, name), paths)


def _files(names: Sequence[Any], folder: Path, name: str) -> Listing:
    files = [str(file) for file in names]
    paths = [str(folder / Path(file).expanduser()) for file in files]
    if files and not any(os.path.exists(path) for path in paths):
        raise SourceError(
            f"none of the {len(files):,} image files named exists, such as {files[0]!r}: paths are "
            f"relative to {folder.resolve()}"
        )
    return Listing(name, tuple(paths), tuple(files))


def read_mask(mask: Any) -> np.ndarray:
    """Return a mask's classes as uint8 [H, W], from a file or an array.

    Palette images give their indices (as VOC's do), yes-or-no images 0 and 1.

    Raises:
        DataError: colours, or values beyond 255.
    """
    what = f"the mask {mask}" if isinstance(mask, str) else "a mask"
    if isinstance(mask, str):
        from PIL import Image

        with Image.open(mask) as opened:
            values = np.asarray(opened)
    else:
        values = np.asarray(mask)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim == 3 and all(np.array_equal(values[..., 0], values[..., c]) for c in (1, 2)):
        values = values[..., 0]
    if values.ndim != 2:
        raise DataError(
            f"{what} must have one class for each pixel; it has the shape {values.shape}: turn "
            "colours into class numbers"
        )
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise DataError(f"{what} must hold whole numbers, the classes of its pixels")
    if values.size and (values.min() < 0 or values.max() > IGNORE):
        raise DataError(
            f"{what} must hold classes from 0 to 254 (255: ignored); it goes from {values.min()} "
            f"to {values.max()}"
        )
    return values.astype(np.uint8)


def decode_masks(
    known: Sequence[Any],
    names: Sequence[str],
    sizes: np.ndarray,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Decode masks and bring them to the shape of their images.

    Args:
        known: path or array of each mask, or None.
        names: what the images are called.
        sizes: height and width of each image before it was brought to ``shape``, int [N, 2].
        shape: rows and columns of the images now.

    Returns:
        Values as they are in the files uint8 [M, H, W], the positions of those that there are, and
        notices.

    Raises:
        DataError: a mask has another size than its image, or is no mask.
    """
    from PIL import Image

    def work(index: int) -> np.ndarray | str:
        try:
            values = read_mask(known[index])
        except OSError as error:
            return f"{names[index]} ({' '.join(str(error).split())[:80]})"
        if values.shape != tuple(sizes[index]):
            raise DataError(
                f"a mask must have the size of its image; that of {names[index]} has "
                f"{values.shape[0]} x {values.shape[1]}, the image {sizes[index][0]} x "
                f"{sizes[index][1]} (height x width)"
            )
        if values.shape == shape:
            return values
        return np.asarray(fit(Image.fromarray(values), shape, 1, nearest=True))

    there = [i for i, mask in enumerate(known) if mask is not None]
    with ThreadPoolExecutor(num_cores()) as pool:
        done = list(pool.map(work, there))
    bad = [value for value in done if isinstance(value, str)]
    kept = [i for i, value in zip(there, done, strict=True) if not isinstance(value, str)]
    notices = []
    missing = [names[i] for i, mask in enumerate(known) if mask is None]
    if missing:
        notices.append(f"{len(missing):,} image(s) without a mask are left out{_such(missing)}")
    if bad:
        notices.append(f"{len(bad):,} mask(s) cannot be read and are left out{_such(bad)}")
    masks = [value for value in done if not isinstance(value, str)]
    stacked = np.stack(masks) if masks else np.zeros((0, *shape), np.uint8)
    return stacked, np.array(kept, np.int64), notices


def _such(names: Sequence[str]) -> str:
    return f", such as {names[0]}" if names else ""


# Boxes -------------------------------------------------------------------------------------------


def find_boxes(source: Any, boxes: Any = None) -> Annotated:
    """Find images with their boxes.

    Args:
        source: a table with a row for each box: ``file, x0, y0, x1, y1, class`` in pixels (a row
            whose box is empty stands for an image without any); COCO's JSON, with the images beside
            it or in a folder ``images``; arrays ``(X, boxes)`` with a list of boxes for each image;
            or images alone, where ``boxes`` are given.
        boxes: a table, COCO's JSON, or a list of boxes [n, 5] for each image.

    Raises:
        SourceError, DataError: nothing is found, or columns are missing.
    """
    if boxes is not None:
        if isinstance(boxes, (str, os.PathLike)) or hasattr(boxes, "columns"):
            return _read_boxes(boxes, Path(source).expanduser())
        return _boxes_beside(list_images(source, labelled=False), boxes)
    if isinstance(source, (tuple, list)) and len(source) == 2:
        return _boxes_beside(list_images(source[0], labelled=False), source[1])
    if isinstance(source, (str, os.PathLike)) and Path(source).expanduser().is_dir():
        folder = Path(source).expanduser()
        tables = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in (".csv", ".json")]
        if len(tables) != 1:
            raise DataError(
                f"a folder for detection has one CSV or JSON file of boxes; {folder} has "
                f"{len(tables)}: name it with boxes="
            )
        return _read_boxes(tables[0], folder)
    if isinstance(source, (str, os.PathLike)) or hasattr(source, "columns"):
        return _read_boxes(source, None)
    raise SourceError(
        "detection needs a table with columns file, x0, y0, x1, y1, class, COCO's JSON, or arrays "
        f"(X, boxes); got {type(source).__name__}"
    )


def _is_boxes(known: Any) -> bool:
    if not isinstance(known, (list, tuple)) or not len(known):
        shape = getattr(known, "shape", ())
        return len(shape) == 3 and shape[2] == 5
    return all(isinstance(one, Mapping) or np.ndim(one) == 2 or len(one) == 0 for one in known)


def _boxes_beside(listing: Listing, boxes: Any) -> Annotated:
    if len(boxes) != len(listing):
        raise DataError(
            f"there must be as many lists of boxes as images; got {len(boxes):,} for "
            f"{len(listing):,} images"
        )
    return Annotated(listing, [_box_rows(own) for own in boxes])


def _box_rows(own: Any) -> list[tuple[Any, ...]]:
    if isinstance(own, Mapping):
        corners, labels = np.asarray(own["boxes"], float).reshape(-1, 4), list(own["labels"])
        return [(*map(float, c), _label(v)) for c, v in zip(corners, labels, strict=True)]
    rows = [tuple(row) for row in own]
    if any(len(row) != 5 for row in rows):
        raise DataError(
            "a box must have five values, x0, y0, x1, y1 and class; got "
            f"{next(len(row) for row in rows if len(row) != 5)}"
        )
    # Rows of a padded array, class -1, are no boxes.
    found = [(*map(float, row[:4]), _label(row[4])) for row in rows]
    return [row for row in found if row[4] != -1]


def _label(value: Any) -> Any:
    """Return a class as a text or, where it is a whole number, as one."""
    if isinstance(value, str):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


def _read_boxes(source: Any, images: Path | None) -> Annotated:
    if isinstance(source, (str, os.PathLike)):
        path = Path(source).expanduser()
        if path.suffix.lower() == ".json":
            return _coco(path, images)
        return _box_table(read_table(path), images or path.parent, source_name(path))
    return _box_table(read_table(source), images or Path(), "images")


def _box_table(frame: pl.DataFrame, folder: Path, name: str) -> Annotated:
    named = {column.lower(): column for column in frame.columns}
    files = next((named[c] for c in PATH_COLUMNS if c in named), None)
    label = next((named[c] for c in _CLASS_COLUMNS if c in named), None)
    corners = next((c for c in CORNERS if all(n in named for n in c)), None)
    sized = corners is None and all(n in named for n in ("x", "y", "width", "height"))
    if files is None or label is None or (corners is None and not sized):
        raise DataError(
            "a table of boxes has the columns file, x0, y0, x1, y1 and class; got "
            f"{', '.join(frame.columns[:12])}"
        )
    columns = [named[n] for n in (corners or ("x", "y", "width", "height"))]
    values = np.stack([_numbers(frame, column) for column in columns], axis=1)
    if sized:
        values[:, 2:] += values[:, :2]
    by_file: dict[str, list[tuple[Any, ...]]] = {}
    for file, row, kind in zip(frame[files].to_list(), values, frame[label].to_list(), strict=True):
        own = by_file.setdefault(str(file), [])
        if not np.isnan(row).all():
            if np.isnan(row).any() or kind is None:
                raise DataError(f"a box of {file} lacks a side or its class: complete the row")
            own.append((*map(float, row), _label(kind)))
    listing = _files(list(by_file), folder, name)
    return Annotated(listing, list(by_file.values()))


def _numbers(frame: pl.DataFrame, column: str) -> np.ndarray:
    import polars as pl

    try:
        return frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
    except pl.exceptions.PolarsError:
        raise DataError(
            f"the column {column!r} of a table of boxes must hold pixels, whole or fractions of "
            "them: correct its values"
        ) from None


def _looks_like_coco(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(1 << 16)
    return b'"images"' in start or b'"annotations"' in start or b'"categories"' in start


def _coco(path: Path, images: Path | None) -> Annotated:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        entries = {entry["id"]: entry for entry in record["images"]}
        names = {entry["id"]: entry["name"] for entry in record["categories"]}
        known: dict[Any, list[tuple[Any, ...]]] = {key: [] for key in entries}
        crowds = 0
        for entry in record["annotations"]:
            if entry.get("iscrowd"):
                crowds += 1
                continue
            x, y, width, height = (float(v) for v in entry["bbox"])
            box = (x, y, x + width, y + height, names[entry["category_id"]])
            known[entry["image_id"]].append(box)
        files = [entries[key]["file_name"] for key in known]
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{path} is not COCO's JSON (images, annotations with bbox, categories): "
            f"{type(error).__name__} {' '.join(str(error).split())[:80]}"
        ) from None
    if not files:
        raise SourceError(f"{path} names no images")
    folders = [images] if images is not None else _likely_folders(path)
    folder = next((f for f in folders if (f / files[0]).exists()), folders[0])
    listing = _files(files, folder, source_name(path.with_suffix("")))
    notices = (f"{crowds:,} box(es) around crowds are left out",) if crowds else ()
    # Categories in the order of their numbers, as COCO's own results have them.
    classes = tuple(names[key] for key in sorted(names))
    return Annotated(listing, list(known.values()), classes=classes, notices=notices)


def _likely_folders(path: Path) -> list[Path]:
    parent = path.parent
    stem = path.stem.removeprefix("instances_").removeprefix("_annotations.")
    beside = (parent / "images", parent / stem)
    return [parent, *beside, parent.parent / stem, parent.parent / "images"]


def sorted_classes(labels: Iterable[Any]) -> tuple[Any, ...]:
    """Return labels in order: numbers by value, also those written as text."""
    distinct = set(labels)
    if not any(isinstance(label, str) for label in distinct):
        return tuple(sorted(distinct))
    texts = sorted({str(label) for label in distinct})
    if all(text.isdecimal() for text in texts):
        texts.sort(key=int)
    return tuple(texts)
