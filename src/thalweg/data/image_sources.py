"""Where images come from: folders, tables of paths, lists, and what the two modules beside read.

Everything becomes a ``Listing``: images (as paths or arrays), their labels, and the part that each
belongs to where the source says so.
"""

from __future__ import annotations

import glob as globbing
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.data.image_arrays import (
    IDX_NAME,
    Listing,
    array_pairs,
    columns_text,
    is_array,
    is_cifar_name,
    is_frame,
    is_image_array,
    is_image_shape,
    is_pair,
    join_parts,
    labelled_with,
    list_arrays,
    list_cifar,
    list_idx_folder,
    list_idx_pair,
    list_npz,
    npy_header,
    npz_headers,
    num_axes,
    paired,
    read_idx,
    read_npy,
)
from thalweg.data.image_files import is_image_name
from thalweg.data.image_sets import (
    KNOWN_SETS,
    fetch_set,
    is_dataset,
    is_hub_dict,
    is_hub_set,
    is_picture,
    list_dataset,
    picture,
)
from thalweg.data.listings import (
    PART_NAMES,
    are_names,
    by_class,
    folder_entries,
    is_table_name,
    label_column,
    loose_files,
    names_beside,
    path_column,
    paths_of,
    table_has_names,
    walk,
)
from thalweg.data.sources import read_table, source_name
from thalweg.errors import DataError, SourceError, did_you_mean

PATH_COLUMNS: tuple[str, ...] = (
    "path",
    "file",
    "image",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image_path",
    "image_file",
    "img",
    "img_path",
)
"""Names of a table's column of image files, the likeliest first."""


def is_image_source(source: Any) -> bool:
    """Whether a source holds images, judged by names, headers and shapes alone."""
    if isinstance(source, (str, os.PathLike)):
        return _is_image_location(os.fspath(source))
    if is_frame(source):
        names = [str(name) for name in source.columns]
        column = next((name for name in PATH_COLUMNS if name in names), None)
        return column is not None and are_names(source[column][:5], is_image_name)
    if isinstance(source, Mapping):
        if is_hub_dict(source):
            return any(is_hub_set(part) for part in source.values())
        return any(is_image_array(source[x]) for _, x, _ in array_pairs(source))
    if is_array(source):
        return is_image_array(source)
    if isinstance(source, (tuple, list)):
        return bool(source) and _is_image_sequence(source)
    return is_dataset(source) or is_picture(source)


def list_images(source: Any, target: Any = None, *, labelled: bool = True) -> Listing:
    """Find the images of a source and their labels.

    Args:
        source: see ``load_images``.
        target: a table's target column or columns, or labels for images that come without.
        labelled: whether labels are needed.

    Returns:
        The images in a fixed order.

    Raises:
        SourceError: nothing is there, or it cannot be read.
        DataError: there are images, but no labels or not as many.
    """
    if isinstance(source, (str, os.PathLike)):
        listing = _list_location(os.fspath(source), target, labelled)
    elif is_frame(source):
        listing = _list_table(source, target, labelled, None)
    elif isinstance(source, Mapping) and is_hub_dict(source):
        listing = join_parts(
            {PART_NAMES.get(str(k).lower(), "train"): list_dataset(v) for k, v in source.items()}
        )
    elif isinstance(source, Mapping):
        listing = list_arrays(source, "the arrays given", labelled)
    elif is_array(source):
        listing = paired(source, target)
    elif is_picture(source):
        listing = Listing("image", arrays=[picture(source)])
    elif isinstance(source, (tuple, list)):
        listing = _list_sequence(source, target, labelled)
    elif is_dataset(source):
        listing = list_dataset(source)
    else:
        raise SourceError(
            "images must be a folder, a file, a glob, a table of paths, arrays, or a dataset of "
            f"PyTorch, TensorFlow or Hugging Face; got {type(source).__name__}"
        )
    if not len(listing):
        raise SourceError(f"{listing.name} holds no images: give at least one")
    if labelled and listing.frame is None:
        raise DataError(
            f"the images of {listing.name} have no labels: give a folder with one folder for each "
            "class, a table with a column of labels, or arrays as (images, labels)"
        )
    return listing


# Locations ---------------------------------------------------------------------------------------


def _is_image_location(location: str) -> bool:
    path = Path(location).expanduser()
    try:
        if path.is_dir():
            return _is_image_folder(path)
        if not path.is_file():
            if globbing.has_magic(location):
                return is_image_name(location)
            return location in KNOWN_SETS
    except OSError:
        return False
    name = path.name.lower()
    if is_image_name(name) or IDX_NAME.match(name):
        return True
    if name.endswith(".npy"):
        return is_image_shape(*npy_header(path))
    if name.endswith(".npz"):
        return any(is_image_shape(*header) for header in npz_headers(path).values())
    return is_table_name(name) and table_has_names(path, is_image_name)


def _is_image_folder(path: Path) -> bool:
    """Whether a folder holds images, or nothing at all that anything else could be made of."""
    others = 0
    for count, name in enumerate(walk(str(path))):
        base = os.path.basename(name)
        if is_image_name(base) or IDX_NAME.match(base) or is_cifar_name(base):
            return True
        others += not base.startswith(".")
        if count > 5000:
            break
    return others == 0


def _list_location(location: str, target: Any, labelled: bool) -> Listing:
    path = Path(location).expanduser()
    name = source_name(location)
    if path.is_dir():
        _no_target(target, "a folder of images")
        return _list_folder(path, labelled)
    if not path.is_file():
        if globbing.has_magic(location):
            files = sorted(globbing.glob(str(path), recursive=True))
            files = [file for file in files if os.path.isfile(file) and is_image_name(file)]
            if not files:
                raise SourceError(f"no image matches {location}: check the folder and the ending")
            return loose_files(files, labelled, name)
        if location in KNOWN_SETS:
            return fetch_set(location)
        near = did_you_mean(path.name, [*names_beside(path), *KNOWN_SETS])
        raise SourceError(f"no such file or folder: {location}{near}")
    lower = path.name.lower()
    if is_image_name(lower):
        return loose_files([str(path)], labelled, name)
    if IDX_NAME.match(lower):
        return list_idx_pair(path, labelled)
    if lower.endswith(".npz"):
        return list_npz(path, labelled)
    if lower.endswith(".npy"):
        return replace(paired(read_npy(path), _labels_given(target)), name=name)
    return _list_table(location, target, labelled, path.parent)


def _no_target(target: Any, what: str) -> None:
    if target is not None:
        raise DataError(f"{what} has its classes already; got target={target!r}: leave target out")


# Folders -----------------------------------------------------------------------------------------


def _list_folder(path: Path, labelled: bool) -> Listing:
    name = source_name(path) if path.name not in ("", ".", "..") else path.resolve().name
    folder_entries(path)
    found = list(walk(str(path)))
    idx = [file for file in found if IDX_NAME.match(os.path.basename(file))]
    if idx:
        return replace(list_idx_folder(path, idx, labelled), name=name)
    if any(is_cifar_name(os.path.basename(file)) for file in found):
        return replace(list_cifar(path, found), name=name)
    images = [Path(file).as_posix() for file in found if is_image_name(file)]
    images = [file for file in images if not os.path.basename(file).startswith("._")]
    if not images:
        raise SourceError(_no_images(path, found))
    if not labelled:
        return Listing(name, tuple(str(path / f) for f in images), tuple(images))
    return by_class(path, name, images, "image")


def _no_images(path: Path, found: Sequence[str]) -> str:
    if not found:
        return f"the folder {path} is empty: give one with a folder of images for each class"
    endings = {os.path.splitext(file)[1].lower() or "no ending" for file in found}
    if any("data_batch" in file or file.endswith("meta") for file in found):
        return (
            f"{path} holds CIFAR in Python pickles, which are never opened here: give the binary "
            "version, or the name cifar10 or cifar100"
        )
    shown = ", ".join(sorted(endings)[:5])
    return (
        f"the folder {path} holds no images, but {len(found):,} other file(s) ({shown}): images "
        "end in .png, .jpg, .bmp, .gif, .webp, .tif or .pgm"
    )


# Tables of paths ---------------------------------------------------------------------------------


def _list_table(source: Any, target: Any, labelled: bool, folder: Path | None) -> Listing:

    frame = read_table(source)
    what = str(source) if isinstance(source, str) else "the table"
    targets = [target] if isinstance(target, str) else list(target or ())
    for name in targets:
        if labelled and name not in frame.columns:
            raise DataError(
                f"the target {name!r} is no column of {what}"
                f"{did_you_mean(name, frame.columns) or columns_text(frame.columns)}"
            )
    column = path_column(frame, targets, PATH_COLUMNS, is_image_name)
    if column is None:
        raise DataError(
            f"no column of {what} holds image files{columns_text(frame.columns)}: name files with "
            "their ending, such as images/1.png, in a column 'file'"
        )
    if labelled and not targets:
        targets = [label_column([n for n in frame.columns if n != column], what)]
    base = Path() if folder is None else folder
    paths, files = paths_of(frame, column, what, base)
    others = [name for name in frame.columns if name not in (column, *targets)]
    notices = []
    if others and labelled:
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        notices.append(f"only the images are looked at, not the column(s) {shown}")
    present = [name for name in targets if name in frame.columns]
    return Listing(
        source_name(source),
        paths,
        files,
        frame=frame.select(present) if labelled and present else None,
        whole=False,
        notices=tuple(notices),
    )


# Sequences ---------------------------------------------------------------------------------------


def _is_image_sequence(source: Sequence[Any]) -> bool:
    first = source[0]
    if isinstance(first, (str, os.PathLike)):
        names = [os.fspath(item).lower() for item in source if isinstance(item, (str, os.PathLike))]
        if len(names) < len(source):
            return is_pair(source) and _is_image_location(names[0])
        if all(is_image_name(name) for name in names):
            return True
        return len(source) <= 3 and _is_image_location(os.fspath(first)) and not _is_table(first)
    if isinstance(first, (tuple, list)) and first:
        # ((x, y), (x, y)), or a list of images given as nested lists, which stays a table.
        return len(source) <= 3 and is_pair(first) and is_image_array(first[0])
    if is_pair(source) and is_array(first):
        return is_image_array(first)
    if isinstance(source, list) and is_array(first):
        return num_axes(first) in (2, 3) and "uint8" in str(getattr(first, "dtype", ""))
    return is_picture(first) or (len(source) <= 3 and all(is_dataset(part) for part in source))


def _is_table(location: Any) -> bool:
    return is_table_name(os.fspath(location).lower())


def _list_sequence(source: Sequence[Any], target: Any, labelled: bool) -> Listing:
    if not source:
        raise SourceError("the list of images is empty: give at least one")
    first = source[0]
    parts = ("train", "validation", "test") if len(source) == 3 else ("train", "test")
    if all(isinstance(item, (str, os.PathLike)) for item in source):
        files = [os.fspath(item) for item in source]
        if len(files) == 2 and not is_image_name(files[1]):
            return _pair_of_files(Path(files[0]), Path(files[1]))
        listing = Listing("images", tuple(files), tuple(files))
        labels = _labels_given(target)
        return listing if labels is None else labelled_with(listing, labels)
    if is_pair(source) and isinstance(first, (list, tuple)) and first:
        if all(isinstance(item, (str, os.PathLike)) or is_picture(item) for item in first):
            return labelled_with(_list_sequence(first, None, False), source[1])
        if all(num_axes(item) in (2, 3) for item in first) and not is_pair(first):
            return paired(list(first), source[1])
    if isinstance(first, (tuple, list)) and len(source) <= 3 and is_pair(first):
        pairs = [paired(*pair) for pair in source]
        return join_parts(dict(zip(parts, pairs, strict=False)))
    if is_pair(source) and num_axes(first) >= 3 and num_axes(source[1]) < 3:
        return paired(*source)
    if len(source) <= 3 and all(is_dataset(part) for part in source):
        return join_parts(dict(zip(parts, map(list_dataset, source), strict=False)))
    images = [picture(item) if is_picture(item) else np.asarray(item) for item in source]
    return paired(images, _labels_given(target))


def _pair_of_files(images: Path, labels: Path) -> Listing:
    read = read_idx if IDX_NAME.match(images.name.lower()) else read_npy
    return replace(paired(read(images), read(labels)), name=images.parent.name or "images")


def _labels_given(target: Any) -> Any:
    return None if isinstance(target, str) else target
