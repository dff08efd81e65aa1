"""Images with masks, boxes or identities: segmentation, detection, and embedding.

Images come as for classification (``images.py``), what is known of them as in ``annotations.py``.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg.data import decoding, image_files
from thalweg.data.annotations import (
    Annotated,
    decode_masks,
    find_boxes,
    find_masks,
    is_annotated,
    sorted_classes,
)
from thalweg.data.dataset import PARTS, Part
from thalweg.data.image_sources import Listing, list_images
from thalweg.data.images import (
    ImageDataset,
    ImageEncoder,
    as_batch,
    channel_statistics,
    decode_listing,
    load_images,
)
from thalweg.data.sources import source_name
from thalweg.data.splits import check_fractions, split_rows
from thalweg.data.targets import TargetEncoder
from thalweg.errors import DataError, OptionError, unknown_option
from thalweg.files import write_atomically
from thalweg.task import IGNORE, VISION_KINDS, Kind, Task

if TYPE_CHECKING:
    import polars as pl

SMALLEST_BOX = 1.0
"""A box of fewer pixels than this on a side, after clipping and scaling, is dropped."""

LOWEST_SCORE = 0.05
"""Detections of lower scores are not written into the table of predictions."""


# Encoders ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class VisionEncoder(ImageEncoder):
    """What the encoders of masks and boxes share: images in, with their original sizes."""

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode images, and with them what is known of them.

        Args:
            source: whatever ``load_vision`` reads; without the target any images.
            with_target: whether to read masks or boxes too.

        Returns:
            The field ``image``; ``keys`` hold the file of each (where there are files) and the
            original ``height`` and ``width``.
        """
        height, width, channels = self.shape
        if not with_target:
            if is_annotated(source):
                listing = _finder(self.task.kind)(source).listing
            else:
                listing = list_images(as_batch(source, self.shape), labelled=False)
            bare = Annotated(listing, [None] * len(listing))
            read = _read(bare, (height, width), channels, self.value_range)
            return _part(read, None, np.arange(len(read.images)), read.notices)
        found = _finder(self.task.kind)(source)
        read = _read(found, (height, width), channels, self.value_range)
        targets, kept, notices = self._targets(read)
        if not len(kept):
            raise DataError(f"no image has a {self.task.targets[0]}: scoring needs some")
        return _part(read, targets, kept, (*read.notices, *notices))

    @abstractmethod
    def _targets(self, read: _Read) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Return encoded targets, the positions of the images that have one, and notices."""


@dataclass(frozen=True, eq=False)
class SegmentationEncoder(VisionEncoder):
    """Images and masks; a mask's values are the classes of the task, 255 is ignored."""

    modality: ClassVar[str] = "segmentation"

    def _targets(self, read: _Read) -> tuple[np.ndarray, np.ndarray, list[str]]:
        values, kept, notices = decode_masks(read.known, read.names, read.sizes, self.shape[:2])
        return mask_codes(values, self.task.classes), kept, notices

    def decide(self, outputs: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Return masks in the values of the training masks, uint8 [N, H, W]."""
        return np.array(self.task.classes, np.uint8)[outputs]

    def predictions(
        self, outputs: np.ndarray, part: Part, threshold: float | None = None
    ) -> pl.DataFrame:
        """Return an index of the masks: file, name of the mask, and the share of each class.

        Args:
            outputs: class of each pixel, [N, H, W].
            part: the images.
            threshold: has no meaning here.
        """
        import polars as pl

        columns: dict[str, Any] = {}
        if "file" in part.keys:
            columns["file"] = list(part.keys["file"])
        columns["mask"] = self.mask_names(part)
        flat = outputs.reshape(len(outputs), -1)
        for code, label in enumerate(self.task.classes):
            columns[f"share_{label}"] = (flat == code).mean(axis=1)
        return pl.DataFrame(columns)

    def mask_names(self, part: Part) -> list[str]:
        """Return a PNG's name for each image: its own file's, or its number; none twice."""
        if "file" not in part.keys:
            width = len(str(max(len(part) - 1, 1)))
            return [f"{row:0{width}d}.png" for row in range(len(part))]
        files = [Path(str(file)) for file in part.keys["file"]]
        flat = [f"{file.stem}.png" for file in files]
        if len(set(flat)) == len(flat):
            return flat
        whole = ["-".join(file.with_suffix("").parts).strip("-/") for file in files]
        counts: dict[str, int] = {}
        names = []
        for name in whole:
            counts[name] = counts.get(name, 0) + 1
            names.append(f"{name}.png" if counts[name] == 1 else f"{name}-{counts[name]}.png")
        return names

    def write_masks(self, outputs: np.ndarray, part: Part, folder: str | Path) -> pl.DataFrame:
        """Write one PNG mask for each image, and their table as ``index.csv``; return the table.

        A mask has the size of the original image and the values of the training masks. What was
        cropped from the image to bring it to the network's proportions is 255.

        Args:
            outputs: class of each pixel, [N, H, W].
            part: the images, as ``encode`` gave them.
            folder: is made where it is missing.
        """
        from PIL import Image

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        table = self.predictions(outputs, part)
        masks = self.decide(outputs)
        sizes = _original_sizes(part, self.shape[:2])
        for mask, name, (height, width) in zip(masks, table["mask"], sizes, strict=True):
            frame = image_files.crop_box(height, width, self.shape[:2])
            left, top, right, bottom = map(round, frame)
            whole = Image.new("L", (int(width), int(height)), IGNORE)
            scaled = Image.fromarray(mask).resize((right - left, bottom - top), Image.Resampling(0))
            whole.paste(scaled, (left, top))
            whole.save(target / name)
        write_atomically(target / "index.csv", table.write_csv())
        return table


@dataclass(frozen=True, eq=False)
class DetectionEncoder(VisionEncoder):
    """Images and boxes with classes."""

    modality: ClassVar[str] = "detection"

    def _targets(self, read: _Read) -> tuple[np.ndarray, np.ndarray, list[str]]:
        boxes, notices = fitted_boxes(read, self.task.classes, self.shape[:2])
        return padded_boxes(boxes), np.arange(len(boxes)), notices

    def decide(self, outputs: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Return detections x0, y0, x1, y1, class number, score [N, K, 6] in the network's pixels.

        Those below ``threshold`` have class -1.
        """
        if threshold is None:
            return outputs
        kept = outputs.copy()
        kept[..., 4] = np.where(kept[..., 5] >= threshold, kept[..., 4], -1)
        return kept

    def predictions(
        self, outputs: np.ndarray, part: Part, threshold: float | None = None
    ) -> pl.DataFrame:
        """Return one row for each detection: file, x0, y0, x1, y1, class, score.

        Args:
            outputs: detections [N, K, 6] in the network's pixels, the best first.
            part: the images; boxes come out in the pixels of the original ones.
            threshold: the lowest score that is written; ``LOWEST_SCORE`` by default.
        """
        import polars as pl

        row, place = np.nonzero(outputs[..., 5] >= (threshold or LOWEST_SCORE))
        found = outputs[row, place]
        sizes = _original_sizes(part, self.shape[:2])
        frames = np.array([image_files.crop_box(h, w, self.shape[:2]) for h, w in sizes])
        frames = frames.reshape(-1, 4)[row]
        scale = (frames[:, 2:] - frames[:, :2]) / np.array([self.shape[1], self.shape[0]])
        corners = found[:, :4] * np.tile(scale, 2) + np.tile(frames[:, :2], 2)
        files = part.keys.get("file", np.arange(len(part)))
        labels = [self.task.classes[int(code)] for code in found[:, 4]]
        return pl.DataFrame(
            {
                "file": [str(files[i]) if "file" in part.keys else int(files[i]) for i in row],
                **{name: corners[:, i] for i, name in enumerate(("x0", "y0", "x1", "y1"))},
                "class": pl.Series(labels, strict=False, dtype=None if labels else pl.String),
                "score": found[:, 5],
            }
        )


@dataclass(frozen=True, eq=False)
class EmbeddingEncoder(ImageEncoder):
    """Images and who or what is on them; classes that training never saw are welcome."""

    modality: ClassVar[str] = "embedding"

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode images; see ``ImageEncoder.encode``.

        Labels that are none of the training classes get numbers after theirs.
        """
        part = super().encode(source)
        if not with_target:
            return part
        target = None if self.task.targets in (("class",), ("label",)) else self.task.targets
        listing = list_images(source, target)
        labels = _labels(listing, part.rows, self.task.classes)
        known = {str(label): code for code, label in enumerate(self.task.classes)}
        for label in sorted_classes(label for label in labels if label is not None):
            known.setdefault(str(label), len(known))
        codes = np.array([-1 if v is None else known[str(v)] for v in labels], np.int32)
        notices = list(part.notices)
        there = np.flatnonzero(codes >= 0)
        if not len(there):
            raise DataError("no image has a label: scoring needs some")
        if len(there) < len(codes):
            notices.append(f"{len(codes) - len(there):,} image(s) without a label are left out")
        strange = len(known) - len(self.task.classes)
        if strange:
            notices.append(f"{strange} class(es) here are none of the training classes")
        return replace(replace(part, target=codes).take(there), notices=tuple(notices))

    def decide(self, outputs: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Return vectors of length 1, [N, E]."""
        return outputs

    def predictions(
        self, outputs: np.ndarray, part: Part, threshold: float | None = None
    ) -> pl.DataFrame:
        """Return the vectors: file, then ``e0``, ``e1``, ..."""
        import polars as pl

        columns: dict[str, Any] = {name: list(values) for name, values in part.keys.items()}
        columns |= {f"e{i}": column for i, column in enumerate(outputs.astype(np.float32).T)}
        return pl.DataFrame(columns)


@dataclass(frozen=True, eq=False)
class VisionDataset(ImageDataset):
    """Images with masks, boxes or identities; see ``ImageDataset``."""

    def labels(self, part: str | Part) -> np.ndarray:
        """Return targets: masks [N, H, W] in their own values, boxes [N, M, 5], or labels [N]."""
        target = (self.parts[part] if isinstance(part, str) else part).target
        classes = self.task.classes
        if self.task.kind == "segmentation":
            return _value_table(classes)[target]
        if self.task.kind == "detection":
            return target
        names = np.array([*classes, *(f"unseen {i}" for i in range(max(target.max() + 1, 0)))])
        return names[target]

    def _kind(self) -> str:
        return f"{self.task.kind}, {len(self.task.classes)} classes"


ENCODERS: dict[str, type[ImageEncoder]] = {
    "segmentation": SegmentationEncoder,
    "detection": DetectionEncoder,
    "embedding": EmbeddingEncoder,
}
"""The encoder of each kind of task."""


# Loaders -----------------------------------------------------------------------------------------


def vision_task(
    source: Any, task: str | None = None, masks: Any = None, boxes: Any = None
) -> str | None:
    """Return the kind of vision task that a source and its options ask for; None for none.

    Raises:
        OptionError: two of them ask for different tasks.
    """
    asked = {
        kind: option
        for kind, option, given in (
            ("segmentation", "masks", masks is not None),
            ("detection", "boxes", boxes is not None),
        )
        if given
    }
    if task in VISION_KINDS:
        asked.setdefault(task, f"task={task!r}")
    if len(asked) > 1:
        raise OptionError(f"{' and '.join(asked.values())} ask for different tasks: leave one out")
    if asked:
        return next(iter(asked))
    return is_annotated(source) if task is None else None


def load_vision(
    source: Any,
    target: Any = None,
    *,
    task: str,
    masks: Any = None,
    boxes: Any = None,
    image_size: Any = None,
    channels: int | None = None,
    validation: Any = None,
    test: Any = None,
    metric: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] | None = None,
) -> VisionDataset:
    """Read images with masks, boxes or identities, bring them to one size, and split them.

    Masks and boxes go the way of their images when these are scaled and cropped. Boxes outside of
    their image are clipped, and dropped where nothing remains; notices say how many.

    Args:
        source: segmentation: a folder with ``images`` and ``masks``, a table with columns ``image``
            and ``mask``, arrays ``(X, masks)``. Detection: a table with columns ``file, x0, y0, x1,
            y1, class``, COCO's JSON, arrays ``(X, boxes)``. Embedding: whatever ``load_images``
            reads. See ``annotations.find_masks`` and ``find_boxes``.
        target: embedding: the column of labels of a table.
        task: ``"segmentation"``, ``"detection"`` or ``"embedding"``.
        masks: a folder of masks or arrays, where ``source`` has images alone.
        boxes: a table or JSON of boxes, or lists of them, where ``source`` has images alone.
        image_size: pixels of the sides; see ``load_images``.
        channels: 1 for grey, 3 for colour.
        validation: a source of validation images, instead of a share of ``source``.
        test: a source of test images, instead of a share of ``source``; those of an embedding may
            be of other classes than the training images.
        metric: the metric that chooses; the task's default otherwise.
        loss: the training loss; the task's default otherwise.
        seed: decides which images go where.
        fractions: shares of training, validation and test images; 64, 16 and 20 % by default.

    Returns:
        The dataset. Its targets: classes uint8 [N, H, W] (255: ignored); boxes float32 [N, M, 5],
        x0, y0, x1, y1 and class, -1 where there is none; classes int32 [N].

    Raises:
        SourceError: a source cannot be found or read.
        DataError: images, masks or boxes cannot be used as asked; the message says what to do.
        OptionError: an unknown task, metric, loss or size.
    """
    if task not in ENCODERS:
        raise unknown_option("task", task, ENCODERS)
    options = {
        "image_size": image_size,
        "channels": channels,
        "metric": metric,
        "loss": loss,
        "seed": seed,
    }
    if task == "embedding":
        return _load_embedding(source, target, validation, test, fractions, options)
    if target is not None:
        raise OptionError(f"a {task} task takes no target; got {target!r}: leave it out")
    size = image_files.check_size(image_size)
    wanted = check_fractions(fractions)

    find = _finder(task)
    found = find(source, masks if task == "segmentation" else boxes)
    read = _read(found, size, channels, None)
    shape = (read.images.shape[1], read.images.shape[2], read.images.shape[3])
    reads = {"train": read}
    for part, other in (("validation", validation), ("test", test)):
        if other is not None:
            reads[part] = _read(find(other), shape[:2], shape[2], read.value_range)
    if task == "segmentation":
        classes, targets, notices = _all_masks(reads, shape[:2])
    else:
        classes, targets, notices = _all_boxes(reads, found.classes, shape[:2])
    kind: Kind = "segmentation" if task == "segmentation" else "detection"
    names = ("mask",) if kind == "segmentation" else ("boxes",)
    what = Task(kind, names, classes, loss or "", metric or "")
    whole = {name: _part(reads[name], *targets[name]) for name in reads}
    parts, how = _dealt(whole, reads, targets, wanted, seed)
    mean, std = channel_statistics(parts["train"].fields["image"])
    encoder = ENCODERS[kind](
        what, TargetEncoder(kind, names, classes), shape, mean, std, read.value_range
    )
    notices = [*(n for r in reads.values() for n in r.notices), *notices]
    return VisionDataset(
        name=found.listing.name if source_name(source) == "table" else source_name(source),
        encoder=encoder,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        notices=tuple(dict.fromkeys(notices)),
        seed=seed,
        split=how,
        skipped=tuple(bad for r in reads.values() for bad in r.bad),
    )


def _load_embedding(
    source: Any,
    target: Any,
    validation: Any,
    test: Any,
    fractions: Sequence[float] | None,
    options: Mapping[str, Any],
) -> VisionDataset:
    metric, loss = options["metric"], options["loss"]
    shares = check_fractions(fractions)
    others = {name: other for name, other in (("validation", validation), ("test", test))
              if other is not None}  # fmt: skip
    left = [0.0 if part in others else share for part, share in zip(PARTS, shares, strict=True)]
    labelled = load_images(
        source,
        target,
        task="multiclass",
        fractions=[share / sum(left) for share in left],
        **{name: options[name] for name in ("image_size", "channels", "seed")},
    )
    encoder = labelled.encoder
    if encoder.target.distribution:
        raise DataError("an embedding needs one class for each image; got several columns")
    targets = encoder.task.targets
    classes = encoder.task.classes
    encoder = EmbeddingEncoder(
        Task("embedding", targets, classes, loss or "", metric or ""),
        TargetEncoder("embedding", targets, classes),
        encoder.shape,
        encoder.mean,
        encoder.std,
        encoder.value_range,
    )
    parts = labelled.parts
    notices = list(labelled.notices)
    for name, other in others.items():
        parts[name] = encoder.encode(other, with_target=True)
        notices += [f"the {name} images: {notice}" for notice in parts[name].notices]
    own = f"own source for {' and '.join(others)}"
    split = labelled.split
    if others:
        split = f"{own}; the rest {split}" if "validation" in others else f"{split}; {own}"
    return VisionDataset(
        name=labelled.name,
        encoder=encoder,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        notices=tuple(notices),
        seed=labelled.seed,
        split=split,
        skipped=labelled.skipped,
    )


# Steps -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Read:
    """Decoded images with what is known of them, in their order.

    Args:
        images: uint8 [N, H, W, C].
        known: mask or boxes of each.
        rows: index of each in its source.
        names: what each is called.
        files: file of each, or () where there are none.
        sizes: height and width of each before it was brought to its shape, int [N, 2].
        own: part of each, or None.
        value_range: of training arrays.
        notices: what is worth telling.
        bad: files that could not be read.
    """

    images: np.ndarray
    known: list[Any]
    rows: np.ndarray
    names: list[str]
    files: tuple[str, ...]
    sizes: np.ndarray
    own: np.ndarray | None
    value_range: tuple[float, float]
    notices: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()


def _read(
    found: Annotated,
    size: tuple[int, int] | None,
    channels: int | None,
    value_range: tuple[float, float] | None,
) -> _Read:
    listing = found.listing
    decoded = decode_listing(listing, size, channels, value_range)
    rows = decoded.kept
    sizes = _sizes(listing, rows)
    files = tuple(listing.files[i] for i in rows) if listing.files else ()
    return _Read(
        decoded.images,
        [found.known[i] for i in rows],
        rows,
        list(files) if files else [f"image {i}" for i in rows],
        files,
        sizes,
        None if found.parts is None else found.parts[rows],
        decoded.value_range,
        (*listing.notices, *found.notices, *decoded.notices),
        decoded.bad,
    )


def _finder(kind: str) -> Callable[..., Annotated]:
    return find_masks if kind == "segmentation" else find_boxes


def _sizes(listing: Listing, rows: np.ndarray) -> np.ndarray:
    """Return height and width of images before they are brought to one shape, int [N, 2]."""
    if listing.arrays is None:
        with ThreadPoolExecutor(decoding.num_cores()) as pool:
            found = list(pool.map(_file_size, [listing.paths[i] for i in rows]))
        return np.array(found, np.int64).reshape(-1, 2)
    arrays = listing.arrays
    if isinstance(arrays, np.ndarray) and arrays.dtype != object:
        return np.tile(np.array(_array_size(arrays.shape[1:])), (len(rows), 1))
    return np.array([_array_size(np.shape(arrays[i])) for i in rows], np.int64).reshape(-1, 2)


def _array_size(shape: Sequence[int]) -> tuple[int, int]:
    """Return height and width of [H, W], [H, W, C] or [C, H, W]."""
    if len(shape) == 3 and shape[0] <= 4 < shape[2]:
        return int(shape[1]), int(shape[2])
    return int(shape[0]), int(shape[1])


_TURNED = (5, 6, 7, 8)
_ORIENTATION = 0x0112


def _file_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as opened:
        width, height = opened.size
        turned = opened.format != "PNG" and opened.getexif().get(_ORIENTATION) in _TURNED
    return (width, height) if turned else (height, width)


def _original_sizes(part: Part, shape: tuple[int, int]) -> np.ndarray:
    if "height" not in part.keys:
        return np.tile(np.array(shape), (len(part), 1))
    return np.stack([part.keys["height"], part.keys["width"]], axis=1)


def _part(
    read: _Read, target: np.ndarray | None, kept: np.ndarray, notices: Sequence[str] = ()
) -> Part:
    keys: dict[str, Any] = {"height": read.sizes[kept, 0], "width": read.sizes[kept, 1]}
    if read.files:
        keys = {"file": np.array(read.files)[kept], **keys}
    images = image_files.select(read.images, kept)
    return Part({"image": images}, target, None, read.rows[kept], tuple(notices), keys)


_Targets = Mapping[str, tuple[np.ndarray, np.ndarray]]


def _dealt(
    whole: dict[str, Part],
    reads: Mapping[str, _Read],
    targets: _Targets,
    shares: tuple[float, float, float],
    seed: int,
) -> tuple[dict[str, Part], str]:
    """Return the three parts: those of the source, those given, and the rest by chance."""
    parts = {name: part for name, part in whole.items() if name != "train"}
    rest = whole["train"]
    own = reads["train"].own
    if own is not None:
        own = own[targets["train"][1]]
        for name in ("validation", "test"):
            if name not in parts and (own == name).any():
                parts[name] = rest.take(own == name)
        rest = rest.take(own == "train")
    if not len(rest):
        raise DataError("no image is left to learn from: give masks or boxes for the training part")
    fixed = [name for name in ("validation", "test") if name in parts]
    left = [0.0 if name in parts else share for name, share in zip(PARTS, shares, strict=True)]
    split = split_rows(len(rest), [share / sum(left) for share in left], seed=seed)
    for name, index in zip(PARTS, (split.train, split.validation, split.test), strict=True):
        if name not in parts:
            parts[name] = rest.take(index)
    how = f"at random, seed {seed}"
    if "validation" in fixed:
        how = f"own source for {' and '.join(fixed)}; the rest {how}"
    elif "test" in fixed:
        how = f"{how}; own source for test"
    return parts, how


# Masks -------------------------------------------------------------------------------------------


def mask_codes(values: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Return class numbers, uint8 [N, H, W], from the values of masks; 255 is ignored.

    Raises:
        DataError: a value is none of the classes.
    """
    table = np.full(256, -1, np.int16)
    table[IGNORE] = IGNORE
    for code, value in enumerate(classes):
        table[value] = code
    codes = table[values]
    if (codes < 0).any():
        strange = np.unique(values[codes < 0])
        shown = ", ".join(map(str, classes[:8])) + (", ..." if len(classes) > 8 else "")
        raise DataError(
            f"the values of masks must be the classes {shown} (255: ignored); also found "
            f"{', '.join(map(str, strange[:5]))}: correct these masks"
        )
    return codes.astype(np.uint8)


def _value_table(classes: Sequence[int]) -> np.ndarray:
    table = np.full(256, IGNORE, np.uint8)
    table[: len(classes)] = classes
    return table


def _all_masks(
    reads: Mapping[str, _Read], shape: tuple[int, int]
) -> tuple[tuple[Any, ...], _Targets, list[str]]:
    """Return the classes of the training masks, and all masks as their numbers."""
    decoded, notices = {}, []
    for name, read in reads.items():
        values, kept, told = decode_masks(read.known, read.names, read.sizes, shape)
        decoded[name] = (values, kept)
        notices += told if name == "train" else [f"the {name} images: {t}" for t in told]
    found = np.unique(decoded["train"][0]).tolist()
    classes = tuple(value for value in found if value != IGNORE)
    if classes == (0,) and IGNORE in found:
        # Black and white: white is the other class, not ignored.
        classes = (0, IGNORE)
    if len(classes) < 2:
        raise DataError(
            f"the masks hold one class only ({', '.join(map(str, classes)) or 'none'}): nothing "
            "can be learnt"
        )
    if IGNORE in found and IGNORE not in classes:
        share = float((decoded["train"][0] == IGNORE).mean())
        notices.append(f"{share:.1%} of the pixels have the mask value 255 and are ignored")
    codes = {name: (mask_codes(values, classes), kept) for name, (values, kept) in decoded.items()}
    return classes, codes, notices


# Boxes -------------------------------------------------------------------------------------------


def fitted_boxes(
    read: _Read, classes: Sequence[Any], shape: tuple[int, int]
) -> tuple[list[np.ndarray], list[str]]:
    """Return the boxes of each image in the pixels of its shape now, [n, 5], and notices.

    Boxes are clipped to the image and cropped with it; those of which nothing remains are dropped.

    Raises:
        DataError: a class that training never had, or corners that are not finite.
    """
    codes = {str(label): code for code, label in enumerate(classes)}
    result, clipped, dropped, cropped = [], 0, 0, 0
    for known, (height, width), name in zip(read.known, read.sizes, read.names, strict=True):
        for *_, label in known:
            if str(label) not in codes:
                shown = ", ".join(map(repr, classes[:6])) + (", ..." if len(classes) > 6 else "")
                raise DataError(
                    f"the class of a box must be one of {shown}; {name} has {label!r}: correct or "
                    "remove it"
                )
        corners = np.array([row[:4] for row in known], float).reshape(-1, 4)
        if not np.isfinite(corners).all():
            raise DataError(f"the corners of boxes must be finite numbers; see to {name}")
        labels = np.array([codes[str(row[4])] for row in known], float)
        limit = np.array([width, height, width, height], float)
        inside = np.clip(corners, 0, limit)
        # Half a pixel over the edge is how some tools count.
        clipped += int((np.abs(inside - corners) > 1.0).any(1).sum())
        empty = (inside[:, 2:] - inside[:, :2] <= 0).any(1)
        dropped += int(empty.sum())
        inside, labels = inside[~empty], labels[~empty]
        left, top, right, bottom = image_files.crop_box(int(height), int(width), shape)
        scale = np.array([shape[1] / (right - left), shape[0] / (bottom - top)])
        moved = (inside - np.array([left, top, left, top])) * np.tile(scale, 2)
        moved = np.clip(moved, 0, np.array([shape[1], shape[0], shape[1], shape[0]], float))
        small = (moved[:, 2:] - moved[:, :2] < SMALLEST_BOX).any(1)
        cropped += int(small.sum())
        result.append(np.column_stack([moved, labels])[~small].astype(np.float32))
    notices = []
    if clipped:
        notices.append(f"{clipped:,} box(es) reach out of their image and are clipped")
    if dropped:
        notices.append(
            f"{dropped:,} box(es) are empty or lie outside of their image and are dropped"
        )
    if cropped:
        notices.append(
            f"{cropped:,} box(es) are lost when images are scaled and cropped to {shape[0]} x "
            f"{shape[1]}; image_size sets another size"
        )
    return result, notices


def padded_boxes(boxes: Sequence[np.ndarray], most: int = 0) -> np.ndarray:
    """Return boxes as one array float32 [N, M, 5], filled up with class -1.

    Args:
        boxes: of each image, [n, 5].
        most: M, where some image outside has more boxes than these.
    """
    most = max(most, 1, *(len(own) for own in boxes)) if len(boxes) else max(most, 1)
    target = np.zeros((len(boxes), most, 5), np.float32)
    target[..., 4] = -1
    for row, own in zip(target, boxes, strict=True):
        row[: len(own)] = own
    return target


def _all_boxes(
    reads: Mapping[str, _Read], named: tuple[Any, ...], shape: tuple[int, int]
) -> tuple[tuple[Any, ...], _Targets, list[str]]:
    """Return the classes of the training boxes, and all boxes with their numbers."""
    present = {row[4] for known in reads["train"].known for row in known}
    if not present:
        raise DataError("no training image has a box: nothing can be learnt")
    classes = named or sorted_classes(present)
    boxes, notices = {}, []
    for name, read in reads.items():
        boxes[name], told = fitted_boxes(read, classes, shape)
        notices += told if name == "train" else [f"the {name} images: {t}" for t in told]
    bare = sum(not len(own) for own in boxes["train"])
    if bare:
        notices.append(f"{bare:,} image(s) have no box: they are examples of nothing")
    most = max(len(own) for part in boxes.values() for own in part)
    targets = {
        name: (padded_boxes(part, most), np.arange(len(part))) for name, part in boxes.items()
    }
    return classes, targets, notices


# Labels ------------------------------------------------------------------------------------------


def _labels(listing: Listing, rows: np.ndarray, classes: Sequence[Any]) -> list[Any]:
    """Return the label of each image as the training classes are written; None where missing."""
    assert listing.frame is not None
    values = listing.frame.to_series(0).gather(rows).to_list()
    by_name = bool(classes) and all(isinstance(label, str) for label in classes)
    names = listing.classes
    result = []
    for value in values:
        if value is None or value == "":
            result.append(None)
        elif names and isinstance(value, int):
            result.append(str(names[value]) if 0 <= value < len(names) else str(value))
        else:
            result.append(str(value) if by_name else value)
    return result
