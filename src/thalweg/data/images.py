"""Images: found, decoded, brought to one size, split, and encoded for networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from thalweg.data import image_files
from thalweg.data.dataset import PARTS, Dataset, Encoder, Part
from thalweg.data.image_arrays import Listing
from thalweg.data.image_sources import is_image_source, list_images
from thalweg.data.sources import source_name
from thalweg.data.splits import check_fractions, split_rows
from thalweg.data.targets import (
    TargetEncoder,
    check_loss,
    choose_task,
    infer_target,
    present_targets,
)
from thalweg.errors import DataError, OptionError, SourceError, did_you_mean, unknown_option
from thalweg.task import Task

_IMPLIED_TARGETS = (("class",), ("label",))
_MAX_COMPARED_BYTES = 1 << 30
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_TASKS = ("binary", "multiclass", "classification", "regression")


@dataclass(frozen=True, eq=False)
class ImageEncoder(Encoder):
    """Brings images to the size, channels and range of the training images.

    Args:
        task: what is predicted.
        target: encodes the target.
        shape: rows, columns and channels.
        mean: mean of each channel over the training images, in units of 0 to 255.
        std: standard deviation of each channel.
        value_range: the values of training arrays that became 0 and 255.
    """

    modality: ClassVar[str] = "images"

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    value_range: tuple[float, float] = (0.0, 255.0)

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode images; see ``Encoder.encode``.

        Args:
            source: a folder (flat, or by class), an image file, a list of files, a glob, a table
                of paths, arrays, or whatever else ``load_images`` reads.
            with_target: whether to read the classes too.

        Returns:
            Images uint8 [N, H, W, C] in the field ``image``; ``keys["file"]`` names the file of
            each. Files that cannot be read are left out, and ``notices`` says which.
        """
        target = None if self.task.targets in _IMPLIED_TARGETS else self.task.targets
        source = as_batch(source, self.shape)
        listing = list_images(source, target, labelled=with_target)
        found = decode_listing(listing, self.shape[:2], self.shape[2], self.value_range)
        rows, images = found.kept, found.images
        notices = [*listing.notices, *found.notices]
        encoded = None
        if with_target:
            values = _read_target(self.target, listing, found.kept)
            present = np.flatnonzero(present_targets(values))
            if not len(present):
                raise DataError("no image has a label: scoring needs some")
            if len(present) < len(values):
                missing = len(values) - len(present)
                notices.append(f"{missing:,} image(s) without a label are left out")
                rows, images = rows[present], image_files.select(images, present)
            encoded = self.target.encode(values[present])
        return Part({"image": images}, encoded, None, rows, tuple(notices), _keys(listing, rows))

    @property
    def input_shape(self) -> dict[str, Any]:
        """``{"image": [H, W, C], "image_mean": [...], "image_std": [...]}``."""
        return {
            "image": list(self.shape),
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            **super().to_dict(),
            "shape": list(self.shape),
            "mean": list(self.mean),
            "std": list(self.std),
            "value_range": list(self.value_range),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ImageEncoder:
        """Rebuild from ``to_dict``."""
        height, width, channels = record["shape"]
        low, high = record["value_range"]
        return cls(
            Task.from_dict(record["task"]),
            TargetEncoder.from_dict(record["target"]),
            (height, width, channels),
            tuple(record["mean"]),
            tuple(record["std"]),
            (low, high),
        )


@dataclass(frozen=True, eq=False, repr=False)
class ImageDataset(Dataset):
    """Images with their task and their fixed parts; see ``Dataset``.

    Args:
        skipped: files that could not be read, as (path, reason).
    """

    encoder: ImageEncoder
    skipped: tuple[tuple[str, str], ...] = ()

    def _rows_text(self, num_rows: int) -> str:
        height, width, channels = self.encoder.shape
        return f"{num_rows:,} images of {height} x {width} x {channels}"

    def _input_lines(self) -> Iterator[str]:
        encoder = self.encoder
        means = ", ".join(f"{mean:.1f}" for mean in encoder.mean)
        stds = ", ".join(f"{std:.1f}" for std in encoder.std)
        kind = {1: "grey", 3: "colour"}.get(encoder.shape[2], f"{encoder.shape[2]} channels")
        yield f"pixels: {kind}, mean {means}, deviation {stds} (of 0 to 255, training images)"


def claims(source: Any, options: Mapping[str, Any]) -> bool:
    """Whether a source holds images, judged without decoding any; see ``load_images``."""
    return is_image_source(source)


def load_images(
    source: Any,
    target: Any = None,
    *,
    image_size: Any = None,
    channels: int | None = None,
    task: str | None = None,
    validation: Any = None,
    test: Any = None,
    metric: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] | None = None,
) -> ImageDataset:
    """Read images with their labels, bring them to one size, and split them.

    Images become uint8 with one channel where all are grey, else three (``channels`` decides
    otherwise). Without ``image_size`` they get the size that most have, or the median height and
    width, scaled down to at most 64 pixels on the longer side; proportions are kept and what hangs
    over is cropped evenly (``image_files.crop_box``). Files that cannot be read are counted, named
    and left out. Decoded files are cached.

    Args:
        source: a folder with one folder for each class (or with ``train``, ``test`` and
            ``validation`` folders of such), a table with a column of image files relative to it, a
            folder or pair of IDX files (MNIST), CIFAR's binary files, an NPZ file (``x_train,
            y_train, x_test, y_test[, class_names]``, ``images, labels`` or ``x, y``), arrays
            ``(X, y)`` with X [N, H, W], [N, H, W, C] or [N, C, H, W], Keras' ``((x_train,
            y_train), (x_test, y_test))``, a dataset of PyTorch, TensorFlow or Hugging Face, or one
            of the names ``mnist``, ``fashion_mnist``, ``cifar10``, ``cifar100``.
        target: the column of labels of a table; labels for images that come without.
        image_size: pixels of the sides: ``64``, ``(48, 64)`` or ``"48x64"`` (height x width).
        channels: 1 for grey, 3 for colour.
        task: overrules the kind of task: ``"binary"``, ``"multiclass"``, ``"classification"`` or
            ``"regression"``. Labels are classes, but for a table's column of numbers.
        validation: a source of validation images, instead of a share of ``source``.
        test: a source of test images, instead of a share of ``source``.
        metric: the metric that chooses; the task's default otherwise.
        loss: the training loss; the task's default otherwise.
        seed: decides which images go where.
        fractions: shares of training, validation and test images; 64, 16 and 20 % by default. A
            part that has a source or folder of its own takes none.

    Returns:
        The dataset; its field ``image`` is uint8 [N, H, W, C].

    Raises:
        SourceError: a source cannot be found or read.
        DataError: the images or labels cannot be used as asked; the message says what to do.
        OptionError: an unknown task, metric, loss or size.
    """
    size = image_files.check_size(image_size)
    if channels not in (None, 1, 3):
        raise OptionError(f"channels must be 1 (grey) or 3 (colour); got {channels!r}")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise OptionError(f"seed must be a whole number of 0 or more; got {seed!r}")
    if task is not None and task not in _TASKS:
        raise unknown_option("task of images", task, _TASKS)
    wanted = check_fractions(fractions)
    listing = list_images(source, target)
    encoder, notices = _infer_target(listing, task)
    found = decode_listing(listing, size, channels, None)
    notices = [*listing.notices, *found.notices, *notices]
    values, images, rows = _with_labels(encoder, listing, found, listing.name, notices)
    height, width, planes = images.shape[1:]

    own = np.full(len(rows), "train") if listing.parts is None else listing.parts[rows]
    chosen: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, Listing]] = {}
    for part in np.unique(own):
        index = np.flatnonzero(own == part)
        chosen[str(part)] = (values[index], image_files.select(images, index), rows[index], listing)
    skipped = list(found.bad)
    for part, other in (("validation", validation), ("test", test)):
        if other is not None:
            more = list_images(other, target)
            decoded = decode_listing(more, (height, width), planes, found.value_range)
            what = f"the {part} images"
            notices += [f"{what}: {notice}" for notice in (*more.notices, *decoded.notices)]
            chosen[part] = (*_with_labels(encoder, more, decoded, what, notices), more)
            skipped += decoded.bad
    if "train" not in chosen:
        raise DataError(f"no training image of {listing.name} can be used: see to its files")
    fixed = [part for part in ("validation", "test") if part in chosen]
    how = _deal(chosen, encoder, wanted, fixed, seed)

    encoder = encoder.fitted(chosen["train"][0])
    what_task = choose_task(encoder, chosen["train"][0], loss, metric, notices)
    check_loss(what_task, [part[0] for part in chosen.values()])
    mean, std = channel_statistics(chosen["train"][1])
    parts = {
        name: Part(
            {"image": part_images},
            encoder.encode(part_values),
            None,
            part_rows,
            keys=_keys(origin, part_rows),
        )
        for name, (part_values, part_images, part_rows, origin) in chosen.items()
    }
    notices += _duplicates(parts)
    return ImageDataset(
        name=_name(source, listing),
        encoder=ImageEncoder(
            what_task, encoder, (height, width, planes), mean, std, found.value_range
        ),
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        notices=tuple(notices),
        seed=seed,
        split=how,
        skipped=tuple(skipped),
    )


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of images uint8 [N, H, W, C].

    A channel that never varies has the deviation 1.
    """
    num_channels = images.shape[3]
    counts = np.zeros((num_channels, 256), np.int64)
    step = max(1, (4 << 20) // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), step):
        block = images[start : start + step]
        for c in range(num_channels):
            counts[c] += np.bincount(block[..., c].ravel(), minlength=256)
    level = np.arange(256.0)
    total = np.maximum(counts.sum(1), 1)
    mean = counts @ level / total
    deviation = np.sqrt((counts * np.square(level - mean[:, None])).sum(1) / total)
    return tuple(mean.tolist()), tuple(np.where(deviation > 1e-6, deviation, 1.0).tolist())


def sample_rows(part: Part, num_rows: int, seed: int = 0) -> np.ndarray:
    """Choose images to show: as evenly from the classes as there are images.

    Args:
        part: images with or without their classes.
        num_rows: how many.
        seed: decides which.

    Returns:
        Positions in the part, int64 [at most num_rows], those of one class side by side.
    """
    order = np.random.default_rng([seed, 0x51]).permutation(len(part))
    target = part.target
    if target is None or target.ndim != 1 or not np.issubdtype(target.dtype, np.integer):
        return order[:num_rows]
    codes = target[order]
    turn = np.empty(len(order), np.int64)
    for code in np.unique(codes):
        places = np.flatnonzero(codes == code)
        turn[places] = np.arange(len(places))
    dealt = order[np.argsort(turn, kind="stable")][:num_rows]
    return dealt[np.argsort(target[dealt], kind="stable")]


def sample_grid(part: Part, num_rows: int = 32, *, columns: int = 8, seed: int = 0) -> np.ndarray:
    """Return a picture of some images of a part, uint8 [height, width, C]; see ``sample_rows``."""
    index = sample_rows(part, num_rows, seed)
    return image_files.image_grid(part.fields["image"][index], columns)


# Steps of load_images ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Found:
    images: np.ndarray
    kept: np.ndarray
    value_range: tuple[float, float]
    notices: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()


def _name(source: Any, listing: Listing) -> str:
    name = source_name(source)
    return listing.name if name == "table" else name.removesuffix(".npz").removesuffix(".npy")


def _keys(listing: Listing, rows: np.ndarray) -> dict[str, np.ndarray]:
    if not listing.files:
        return {}
    return {"file": np.array(listing.files, dtype=object)[rows].astype(str)}


def decode_listing(
    listing: Listing,
    size: tuple[int, int] | None,
    channels: int | None,
    value_range: tuple[float, float] | None,
) -> _Found:
    """Return the images of a listing as uint8 of one size.

    Args:
        listing: files, or arrays.
        size: height and width; the usual choice where None.
        channels: 1 or 3; as found where None.
        value_range: values of arrays that become 0 and 255; their own range where None.
    """
    if listing.arrays is None:
        decoded = image_files.read_images(
            listing.paths, image_size=size, channels=channels, names=listing.files or None
        )
        whole = (0.0, 255.0)
        return _Found(
            decoded.images, decoded.kept, value_range or whole, decoded.notices, decoded.bad
        )
    arrays, span, notices = _eight_bits(listing.arrays, value_range)
    stacked = isinstance(arrays, np.ndarray)
    if stacked:
        sizes = np.array([arrays.shape[1:3]])
    else:
        sizes = np.array([image.shape[:2] for image in arrays])
    shape, notice = image_files.choose_shape(sizes, size)
    if notice is not None and size is None:
        notices.append(notice)
    if stacked:
        images = image_files.resize(arrays, shape)
        if channels is not None:
            images = _with_channels(images, channels)
    else:
        planes = channels or max(image.shape[2] for image in arrays)
        # One at a time: images of differing sizes fit into no array.
        images = np.stack(
            [_with_channels(image_files.resize(image[None], shape), planes)[0] for image in arrays]
        )
    return _Found(images, np.arange(len(images)), span, tuple(notices))


def as_batch(source: Any, shape: tuple[int, int, int]) -> Any:
    """Put a single image given as an array into a batch of one."""
    if not (hasattr(source, "ndim") and hasattr(source, "dtype")) or hasattr(source, "columns"):
        return source
    single = source.ndim == 2 or (
        source.ndim == 3
        and tuple(source.shape[1:]) != shape[:2]
        and (source.shape[2] in (1, 3, 4) or source.shape[0] == shape[2] == 3)
    )
    return np.asarray(source)[None] if single else source


def _channels_last(array: np.ndarray) -> np.ndarray:
    """Return [N, H, W, C] from [N, H, W], [N, H, W, C] or [N, C, H, W]."""
    if array.ndim == 3:
        return array[..., None]
    if array.ndim != 4:
        raise DataError(
            "images must have the shape [N, H, W], [N, H, W, C] or [N, C, H, W]; got "
            f"{array.shape}: reshape them, or say modality='table'"
        )
    first, last = array.shape[1], array.shape[3]
    if last > 4 and (first <= 4 or first < min(array.shape[2:])):
        return array.transpose(0, 2, 3, 1)
    return array


def _eight_bits(
    arrays: Any, value_range: tuple[float, float] | None
) -> tuple[Any, tuple[float, float], list[str]]:
    """Return images as uint8, channels last, one array or a list; and the range they had."""
    if isinstance(arrays, np.ndarray) and arrays.dtype != object:
        blocks = [_channels_last(arrays)]
        stacked = True
    else:
        blocks = [_channels_last(np.asarray(image)[None]) for image in arrays]
        stacked = False
    for block in blocks:
        if block.dtype.kind not in "buif":
            raise DataError(f"images must be numbers; got an array of {block.dtype}")
        if not block.size:
            raise SourceError(f"images must have pixels; got the shape {block.shape}")
    notices: list[str] = []
    span = value_range
    if all(block.dtype == np.uint8 for block in blocks):
        span = span or (0.0, 255.0)
        converted = blocks
    else:
        own = _span(blocks)
        # Whole bytes are never stretched, whatever the training images were.
        span = span or own
        used = own if blocks[0].dtype.kind != "f" else span
        converted = [_stretched(block, used) for block in blocks]
        if value_range is None and used not in _USUAL_SPANS:
            notices.append(f"values from {used[0]:g} to {used[1]:g} are mapped to 0 to 255")
    return (converted[0] if stacked else [block[0] for block in converted]), span, notices


_USUAL_SPANS = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0), (0.0, 65535.0))


def _span(blocks: Sequence[np.ndarray]) -> tuple[float, float]:
    if all(block.dtype == bool for block in blocks):
        return 0.0, 1.0
    low = min(float(block.min()) for block in blocks)
    high = max(float(block.max()) for block in blocks)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError("images must hold finite numbers; some are NaN or infinite: replace them")
    if blocks[0].dtype.kind != "f":
        usual = ((0.0, 255.0), (0.0, 65535.0))
    else:
        usual = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
    for span in usual:
        if span[0] <= low and high <= span[1]:
            return span
    return low, high


def _stretched(block: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    if block.dtype == np.uint8:
        return block
    out = np.empty(block.shape, np.uint8)
    scale = 255.0 / (span[1] - span[0])
    step = max(1, (4 << 20) // max(1, int(np.prod(block.shape[1:]))))
    for start in range(0, len(block), step):
        values = (block[start : start + step].astype(np.float64) - span[0]) * scale
        values = np.nan_to_num(values, nan=0.0)
        out[start : start + step] = np.clip(np.rint(values), 0, 255)
    return out


def _with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    present = images.shape[3]
    if present == channels:
        return images
    if present == 4:
        alpha = images[..., 3:].astype(np.float32) / 255.0
        colour = images[..., :3] * alpha + 255.0 * (1.0 - alpha)
        return _with_channels(np.rint(colour).astype(np.uint8), channels)
    if present == 1:
        return np.repeat(images, channels, axis=3)
    if present == 3 and channels == 1:
        return np.rint(images @ _LUMA).astype(np.uint8)[..., None]
    raise DataError(f"the images must have {channels} channel(s); these have {present}")


def _infer_target(listing: Listing, task: str | None) -> tuple[TargetEncoder, list[str]]:
    frame = listing.frame
    if frame is None:
        raise DataError(f"the images of {listing.name} have no labels: give some")
    names, series = tuple(frame.columns), frame.to_series(0)
    folders = bool(listing.files) and listing.whole
    if task != "regression" and len(names) == 1 and (listing.classes or folders):
        classes: tuple[Any, ...] = listing.classes or _sorted_labels(series.unique().to_list())
        if len(classes) < 2:
            only = ", ".join(map(repr, classes))
            raise DataError(
                f"{listing.name} has images of one class only ({only}): nothing can be "
                "learnt; add a folder for each other class"
            )
        if task == "binary" and len(classes) != 2:
            raise DataError(
                f"a binary task needs two classes; {listing.name} has {len(classes)}: use "
                "task='multiclass'"
            )
        kind = "binary" if len(classes) == 2 and task != "multiclass" else "multiclass"
        return TargetEncoder(kind, names, tuple(classes)), []
    whole_numbers = len(names) == 1 and series.dtype.is_integer() and listing.whole
    if task is None and whole_numbers and 2 * series.n_unique() <= len(series):
        task = "classification"
    return infer_target(frame, names, task)


def _sorted_labels(labels: Sequence[Any]) -> tuple[Any, ...]:
    texts = sorted(str(label) for label in labels)
    if all(text.isdecimal() for text in texts):
        texts.sort(key=int)
    return tuple(texts)


def _read_target(encoder: TargetEncoder, listing: Listing, kept: np.ndarray) -> np.ndarray:
    """Read targets as ``TargetEncoder.read`` does, by names or by numbers of classes."""
    import polars as pl

    frame = listing.frame
    if frame is None:
        raise DataError(f"the images of {listing.name} have no labels: scoring needs them")
    frame = frame[kept]
    if frame.width != len(encoder.names):
        raise DataError(
            f"the images have {frame.width} column(s) of labels, the training images have "
            f"{len(encoder.names)}"
        )
    frame = frame.rename(dict(zip(frame.columns, encoder.names, strict=True)))
    by_name = bool(encoder.classes) and all(isinstance(label, str) for label in encoder.classes)
    if encoder.kind == "regression" or encoder.distribution:
        return encoder.read(frame)
    series = frame.to_series(0)
    codes = {str(label): code for code, label in enumerate(encoder.classes)}
    if listing.classes and series.dtype.is_integer():
        labels: list[Any] = [_name_of(value, listing.classes) for value in series.to_list()]
    elif by_name and series.dtype.is_integer():
        labels = [None if value is None else str(value) for value in series.to_list()]
        if not any(label in codes for label in labels):
            labels = [_name_of(value, encoder.classes) for value in series.to_list()]
    elif by_name and series.dtype == pl.String and listing.whole:
        labels = series.to_list()
    else:
        return encoder.read(frame)
    strange = [label for label in labels if label is not None and label not in codes]
    if strange:
        known = ", ".join(repr(label) for label in encoder.classes[:6])
        more = ", ..." if len(encoder.classes) > 6 else ""
        raise DataError(
            f"the labels must be classes of the training images ({known}{more}); {len(strange):,} "
            f"image(s) have another, such as {strange[0]!r}{did_you_mean(strange[0], codes)}"
        )
    return np.array([-1 if label is None else codes[label] for label in labels], np.int64)


def _name_of(value: int | None, classes: Sequence[Any]) -> str | None:
    if value is None:
        return None
    return str(classes[value]) if 0 <= value < len(classes) else str(value)


def _with_labels(
    encoder: TargetEncoder, listing: Listing, found: _Found, what: str, notices: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return targets, images and rows of those that have a target."""
    values = _read_target(encoder, listing, found.kept)
    present = np.flatnonzero(present_targets(values))
    if not len(present):
        raise DataError(f"no image of {what} has a label: fill in {', '.join(encoder.names)}")
    if len(present) == len(values):
        return values, found.images, found.kept
    notices.append(f"{what}: {len(values) - len(present):,} image(s) without a label are left out")
    return values[present], image_files.select(found.images, present), found.kept[present]


def _deal(
    chosen: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, Listing]],
    encoder: TargetEncoder,
    fractions: tuple[float, float, float],
    fixed: Sequence[str],
    seed: int,
) -> str:
    """Split the training images into the parts that have none of their own; say how."""
    values, images, rows, listing = chosen["train"]
    shares = [0.0 if part in fixed else share for part, share in zip(PARTS, fractions, strict=True)]
    shares = [share / sum(shares) for share in shares]
    if encoder.kind == "regression":
        split = split_rows(len(values), shares, values=values[:, 0], seed=seed)
        how = f"at random by deciles of {encoder.names[0]}, seed {seed}"
    else:
        labels = values.argmax(axis=1) if values.ndim == 2 else values
        split = split_rows(len(values), shares, labels=labels, seed=seed)
        how = f"at random by class, seed {seed}"
    for part, index in zip(PARTS, (split.train, split.validation, split.test), strict=True):
        if part not in fixed:
            chosen[part] = (
                values[index],
                image_files.select(images, index),
                rows[index],
                listing,
            )
    if "validation" in fixed:
        # Said first: validation images that the user chose are never dealt anew.
        own = f"own source for {' and '.join(fixed)}"
        return own if shares[0] == 1 else f"{own}; the rest {how}"
    if "test" in fixed:
        return f"{how}; own source for test"
    return "all images to learn from" if shares[0] == 1 else how


def _duplicates(parts: Mapping[str, Part]) -> list[str]:
    """Say how many images of a part are, pixel for pixel, in the training part too."""
    if sum(part.fields["image"].nbytes for part in parts.values()) > _MAX_COMPARED_BYTES:
        return []
    prints = {
        name: [hash(image.tobytes()) for image in part.fields["image"]]
        for name, part in parts.items()
    }
    known = set(prints["train"])
    notices = []
    for name in ("validation", "test"):
        count = sum(value in known for value in prints[name])
        if count:
            notices.append(
                f"{count:,} of {len(prints[name]):,} {name} images are in the training part too, "
                "pixel for pixel: scores flatter the model"
            )
    return notices
