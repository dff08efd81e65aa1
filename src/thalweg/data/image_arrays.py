"""Images and labels as arrays: IDX, CIFAR, NPZ and NPY files, and arrays in memory."""

from __future__ import annotations

import gzip
import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data.sources import read_table, source_name
from thalweg.errors import DataError, SourceError

if TYPE_CHECKING:
    import polars as pl

IDX_NAME = re.compile(
    r"^(?P<stem>.*?)(images|labels)[-._]idx[1-4][-._]ubyte(\.gz)?$", re.IGNORECASE
)
_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_ARRAY_KEYS: tuple[tuple[str, str, str], ...] = (
    ("train", "x_train", "y_train"),
    ("validation", "x_val", "y_val"),
    ("validation", "x_valid", "y_valid"),
    ("validation", "x_validation", "y_validation"),
    ("test", "x_test", "y_test"),
    ("train", "train_images", "train_labels"),
    ("validation", "val_images", "val_labels"),
    ("test", "test_images", "test_labels"),
    ("", "images", "labels"),
    ("", "image", "label"),
    ("", "x", "y"),
    ("", "data", "labels"),
    ("", "data", "target"),
)


@dataclass(frozen=True, eq=False)
class Listing:
    """Images that a source holds, not decoded yet.

    Args:
        name: short name of the source.
        paths: files to decode; empty where ``arrays`` are given.
        files: what the files are called in the source.
        arrays: images [N, ...], or a list of images of differing sizes.
        frame: the target columns, or None where there are no labels.
        classes: names of the classes that integer labels stand for; () where labels speak for
            themselves.
        whole: whether whole-number labels are classes whatever their number.
        parts: the part of each image (``"train"``, ``"validation"``, ``"test"``), or None.
        notices: what is worth telling.
    """

    name: str
    paths: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    arrays: Any = None
    frame: pl.DataFrame | None = None
    classes: tuple[str, ...] = ()
    whole: bool = True
    parts: np.ndarray | None = None
    notices: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.paths) if self.arrays is None else len(self.arrays)


# Arrays ------------------------------------------------------------------------------------------


def is_array(source: Any) -> bool:
    """Whether something is an array or a tensor, not a frame."""
    return hasattr(source, "shape") and hasattr(source, "dtype") and not is_frame(source)


def num_axes(source: Any) -> int:
    """Return the number of axes of an array, -1 for anything else."""
    return len(source.shape) if is_array(source) else -1


def is_frame(source: Any) -> bool:
    """Whether something is a table: it has columns with names."""
    return hasattr(source, "columns") and not callable(source.columns) and hasattr(source, "shape")


def is_image_shape(shape: Sequence[int], dtype: Any) -> bool:
    """Whether an array of this shape and type is one of images."""
    if len(shape) == 3:
        # Three axes of floats may as well be time series.
        return str(dtype) in ("uint8", "bool", "torch.uint8", "torch.bool")
    return len(shape) == 4


def is_image_array(source: Any) -> bool:
    """Whether something is an array of images."""
    return is_array(source) and is_image_shape(tuple(source.shape), source.dtype)


def is_pair(source: Any) -> bool:
    """Whether something is a tuple or list of two."""
    return isinstance(source, (tuple, list)) and len(source) == 2


def paired(images: Any, labels: Any = None) -> Listing:
    """List images given as an array, with their labels where there are some."""
    if is_array(images) and not isinstance(images, np.ndarray):
        images = np.asarray(images)
    listing = Listing("images", arrays=images)
    return listing if labels is None else labelled_with(listing, labels)


def labelled_with(listing: Listing, labels: Any) -> Listing:
    """Give labels to images that come without.

    Raises:
        DataError: not as many labels as images.
    """
    frame = label_frame("label", labels)
    if frame.height != len(listing):
        raise DataError(
            f"there must be as many labels as images; got {frame.height:,} labels for "
            f"{len(listing):,} images"
        )
    return replace(listing, frame=frame)


def label_frame(name: str, labels: Any) -> pl.DataFrame:
    """Return labels [N], [N, 1] or [N, C] as one column or several."""
    import polars as pl

    if isinstance(labels, pl.Series):
        return labels.alias(name).to_frame()
    if is_frame(labels):
        return read_table(labels)
    if hasattr(labels, "to_numpy"):
        labels = labels.to_numpy()
    if isinstance(labels, (list, tuple)) and any(label is None for label in labels):
        return pl.DataFrame([pl.Series(name, list(labels), strict=False)])
    values = np.asarray(labels)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2:
        names = [f"{name}{i}" for i in range(values.shape[1])]
        return pl.DataFrame({n: np.ascontiguousarray(values[:, i]) for i, n in enumerate(names)})
    if values.ndim != 1:
        raise DataError(f"labels must have the shape [N] or [N, targets]; got {values.shape}")
    if values.dtype.kind in "US":
        return pl.DataFrame({name: [str(value) for value in values]})
    if values.dtype.kind == "O":
        return pl.DataFrame([pl.Series(name, values.tolist(), strict=False)])
    return pl.DataFrame({name: np.ascontiguousarray(values)})


def join_parts(parts: Mapping[str, Listing]) -> Listing:
    """Put the parts of one source below each other."""
    import polars as pl

    if "train" not in parts and len(parts) == 1:
        return next(iter(parts.values()))
    if "train" not in parts:
        raise DataError(f"there are no training images, only those of {', '.join(parts)}")
    listings = list(parts.values())
    frames = [listing.frame for listing in listings if listing.frame is not None]
    frame = None
    if len(frames) == len(listings):
        if len({tuple(part.columns) for part in frames}) > 1:
            raise DataError("the labels of training and test images must be of the same kind")
        frame = pl.concat(frames, how="vertical_relaxed")
    arrays = [listing.arrays for listing in listings]
    if all(isinstance(a, np.ndarray) and a.shape[1:] == arrays[0].shape[1:] for a in arrays):
        same = len({array.dtype for array in arrays}) == 1
        joined: Any = np.concatenate(arrays) if same else [image for a in arrays for image in a]
    else:
        joined = [image for array in arrays for image in array]
    return Listing(
        listings[0].name,
        arrays=joined,
        frame=frame,
        classes=listings[0].classes,
        parts=np.repeat(list(parts), [len(listing) for listing in listings]),
        notices=tuple(notice for listing in listings for notice in listing.notices),
    )


# IDX, CIFAR, NPZ ---------------------------------------------------------------------------------


def read_idx(path: str | Path) -> np.ndarray:
    """Read an IDX file, plain or with gzip, as MNIST is distributed in.

    Returns:
        An array of the file's shape and type. Source of the format: LeCun, Cortes, Burges, "The
        MNIST database", 1998.

    Raises:
        SourceError: no IDX file, or not a whole one.
    """
    try:
        data = Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise SourceError(f"cannot read {path}: {' '.join(str(error).split())}") from None
    if len(data) < 4 or data[:2] != b"\x00\x00" or data[2] not in _IDX_TYPES or not data[3]:
        raise SourceError(f"{path} is no IDX file: its first bytes are {data[:4].hex()}")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise SourceError(f"{path} is cut off: {len(data)} bytes are less than its header")
    shape = tuple(int(side) for side in np.frombuffer(data[4:start], ">u4"))
    dtype = np.dtype(_IDX_TYPES[data[2]])
    expected = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(data) != expected:
        raise SourceError(
            f"{path} is not whole: its header says {expected:,} bytes, it has {len(data):,}: copy "
            "it again"
        )
    values = np.frombuffer(data[start:], dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("=")) if dtype.itemsize > 1 else values


def _labels_beside(path: Path) -> Path | None:
    stem = re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE)
    stem = re.sub(r"images([-._])idx\d", r"labels\1idx1", stem, flags=re.IGNORECASE)
    for name in (stem, f"{stem}.gz"):
        if (path.parent / name).is_file():
            return path.parent / name
    return None


def list_idx_pair(path: Path, labelled: bool) -> Listing:
    """List a file of IDX images with the file of labels beside it."""
    if "labels" in path.name.lower():
        raise DataError(f"{path.name} holds labels: give the file of images beside it")
    beside = _labels_beside(path)
    if labelled and beside is None:
        raise DataError(
            f"the labels of {path.name} are missing: put "
            f"{path.name.replace('images', 'labels').replace('idx3', 'idx1')} beside it"
        )
    return replace(
        paired(read_idx(path), None if beside is None else read_idx(beside)), name=path.parent.name
    )


def list_idx_folder(path: Path, files: Sequence[str], labelled: bool) -> Listing:
    """List a folder of IDX files: ``t10k`` or ``test`` in a name makes it the test part."""
    found: dict[str, Listing] = {}
    origins: dict[str, str] = {}
    for file in files:
        base = os.path.basename(file)
        match = IDX_NAME.match(base)
        if match is None or "labels" in base.lower():
            continue
        stem = match["stem"].lower()
        part = "test" if re.search("t10k|test", stem) else "train"
        part = "validation" if re.search("val", stem) else part
        if part in found:
            if os.path.basename(origins[part]).removesuffix(".gz") == base.removesuffix(".gz"):
                continue
            raise DataError(
                f"{path} holds several sets of {part} images ({origins[part]}, {file}): give the "
                "file of images that is meant"
            )
        found[part], origins[part] = list_idx_pair(path / file, labelled), file
    if not found:
        raise DataError(f"{path} holds labels without images: add the file of images")
    return join_parts(found)


def is_cifar_name(name: str) -> bool:
    """Whether a file is called like one of CIFAR's binary version."""
    return bool(re.match(r"^(data_batch_\d|test_batch|train|test)\.bin$", name))


def list_cifar(path: Path, found: Sequence[str]) -> Listing:
    """Read CIFAR-10 or CIFAR-100 in its binary version (1 or 2 label bytes, then 3 × 32 × 32)."""
    batches: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    classes: tuple[str, ...] = ()
    for file in sorted(found):
        base = os.path.basename(file)
        if base in ("batches.meta.txt", "fine_label_names.txt"):
            lines = (path / file).read_text(encoding="utf-8").split()
            classes = tuple(line for line in lines if line)
        if is_cifar_name(base):
            head = 1 if "batch" in base else 2
            data = np.fromfile(path / file, np.uint8)
            if not data.size or data.size % (3072 + head):
                raise SourceError(
                    f"{path / file} is not whole: {data.size:,} bytes are no multiple of "
                    f"{3072 + head:,}: copy it again"
                )
            part = "test" if base.startswith("test") else "train"
            batches[part].append(data.reshape(-1, 3072 + head)[:, head - 1 :])
    listings = {}
    for part, rows in batches.items():
        if rows:
            data = np.concatenate(rows)
            images = data[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            listings[part] = replace(
                paired(np.ascontiguousarray(images), data[:, 0]), classes=classes
            )
    return join_parts(listings)


def npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of an NPY file; () where it has none."""
    try:
        with open(path, "rb") as file:
            return _array_header(file)
    except (OSError, ValueError):
        return (), np.dtype(np.uint8)


def npz_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return shape and type of each array of an NPZ file, none of it read."""
    try:
        with zipfile.ZipFile(path) as archive:
            headers = {}
            for name in archive.namelist():
                with archive.open(name) as file:
                    headers[name.removesuffix(".npy")] = _array_header(file)
            return headers
    except (OSError, ValueError, zipfile.BadZipFile):
        return {}


def _array_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(file)
    return shape, dtype


def read_npy(path: Path) -> np.ndarray:
    """Map an NPY file into memory.

    Raises:
        SourceError: no array of numbers.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{path} is not a readable array of numbers: {' '.join(str(error).split())[:120]}"
        ) from None


def list_npz(path: Path, labelled: bool) -> Listing:
    """List an NPZ file by the usual names of its arrays."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            wanted = {key for keys in array_pairs(dict.fromkeys(archive.files)) for key in keys[1:]}
            wanted |= {key for key in archive.files if key.lower() in ("class_names", "classes")}
            arrays = {key: archive[key] for key in archive.files if key in wanted}
            names = archive.files
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"{path} is not a readable NPZ file of arrays of numbers: "
            f"{' '.join(str(error).split())[:120]}"
        ) from None
    listing = list_arrays(arrays, str(path), labelled, names)
    return replace(listing, name=source_name(path).removesuffix(".npz"))


def array_pairs(names: Mapping[Any, Any]) -> list[tuple[str, str, str]]:
    """Return (part, key of images, key of labels) for each pair that is there."""
    real = {str(name).lower(): name for name in names}
    found: dict[str, tuple[str, str, str]] = {}
    for part, x, y in _ARRAY_KEYS:
        if x in real and (part or "train") not in found and (y in real or x not in ("data",)):
            found[part or "train"] = (part, real[x], real.get(y, ""))
    return list(found.values())


def list_arrays(
    arrays: Mapping[Any, Any], what: str, labelled: bool, names: Iterable[Any] | None = None
) -> Listing:
    """List named arrays: ``x_train, y_train, x_test, y_test``, ``images, labels`` or ``x, y``.

    Args:
        arrays: the arrays by name, ``class_names`` among them or not.
        what: what they are called in messages.
        labelled: whether labels are needed.
        names: all names that there are, for the message.

    Raises:
        DataError: none of these names is there.
    """
    keys = array_pairs(arrays)
    if not keys:
        shown = ", ".join(str(name) for name in (arrays if names is None else names))
        raise DataError(
            f"images are looked for as x_train, y_train, x_test, y_test, or images, labels, or x, "
            f"y; {what} has {shown or 'nothing'}: name them so"
        )
    listings = {}
    for part, x, y in keys:
        if labelled and y not in arrays:
            raise DataError(f"{what} has {x} without its labels: add them under the usual name")
        listings[part or "train"] = paired(arrays[x], arrays.get(y))
    names_key = next((k for k in arrays if str(k).lower() in ("class_names", "classes")), None)
    listing = join_parts(listings) if len(listings) > 1 else next(iter(listings.values()))
    if names_key is None:
        return listing
    return replace(listing, classes=tuple(str(name) for name in np.asarray(arrays[names_key])))


def columns_text(names: Sequence[str]) -> str:
    """Return the end of a message that names the columns there are."""
    return f"; its columns are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
