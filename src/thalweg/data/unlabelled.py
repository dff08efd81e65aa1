"""Tables and images of which nothing is predicted: networks make them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg.data.built_in import is_built_in
from thalweg.data.columns import infer_columns, parse_overrides, read_texts, require_columns
from thalweg.data.dataset import PARTS, Dataset, Part
from thalweg.data.image_arrays import Listing
from thalweg.data.image_files import check_size, select
from thalweg.data.image_sources import is_image_source, list_images
from thalweg.data.images import (
    ImageDataset,
    ImageEncoder,
    as_batch,
    channel_statistics,
    decode_listing,
)
from thalweg.data.preprocess import Preprocessor
from thalweg.data.sources import read_table, source_name
from thalweg.data.splits import Split, check_fractions, split_rows
from thalweg.data.tables import TableDataset, TableEncoder
from thalweg.data.targets import TargetEncoder
from thalweg.errors import DataError, OptionError
from thalweg.task import Task

if TYPE_CHECKING:
    import polars as pl

NUM_TERMS = 3
"""Likelihood, divergence and error stand before the code in a row's outputs."""


@dataclass(frozen=True)
class NoTarget(TargetEncoder):
    """Stands where nothing is predicted: every row has the target 0."""

    def read(self, frame: pl.DataFrame) -> np.ndarray:
        """Return zeros int64 [N]."""
        return np.zeros(frame.height, np.int64)

    def labels(self, codes: Any) -> np.ndarray:
        """Return what it is given."""
        return np.asarray(codes)


def decoded_frame(preprocessor: Preprocessor, values: np.ndarray) -> pl.DataFrame:
    """Return decoded rows as a table.

    Args:
        preprocessor: what encoded the columns.
        values: columns of numbers [N, D], then a logit for each code of each category.

    Returns:
        Numbers in their units, yes/no columns as booleans, the likeliest name of categories, points
        in time by the time elapsed.
    """
    import polars as pl

    place, codes = 0, len(preprocessor.feature_names)
    columns: dict[str, Any] = {}
    for encoder in preprocessor.encoders:
        width = len(encoder.names())
        own = values[:, place : place + width]
        place += width
        if encoder.kind == "number" and encoder.knots:
            knots, scores = np.asarray(encoder.knots), np.asarray(encoder.scores)
            columns[encoder.name] = np.interp(own[:, 0], scores, knots)
        elif encoder.kind == "number":
            columns[encoder.name] = own[:, 0] * encoder.scale + encoder.center
        elif encoder.kind == "yes_no":
            columns[encoder.name] = own[:, 0] > 0.5
        elif encoder.kind == "datetime":
            seconds = own[:, 0].astype(np.float64) * encoder.scale + encoder.center
            columns[encoder.name] = pl.from_epoch(pl.Series(seconds.astype(np.int64)), "s")
        else:
            names = np.array([*encoder.levels, "(other)"], dtype=object)
            if not encoder.one_hot:
                own = np.roll(values[:, codes : codes + encoder.cardinality], -1, axis=1)
                codes += encoder.cardinality
            columns[encoder.name] = names[own.argmax(1)]
    return pl.DataFrame(columns)


def _scores(outputs: np.ndarray, part: Part) -> pl.DataFrame:
    """Return what is written of each row: how strange it is, its error and its code."""
    import polars as pl

    columns: dict[str, Any] = {name: list(values) for name, values in part.keys.items()}
    columns["anomaly_score"] = outputs[:, 0] + outputs[:, 1]
    columns["reconstruction_error"] = outputs[:, 2]
    columns |= {f"z{i}": column for i, column in enumerate(outputs[:, NUM_TERMS:].T)}
    return pl.DataFrame(columns)


@dataclass(frozen=True, eq=False)
class UnlabelledTableEncoder(TableEncoder):
    """Encodes the columns of a table of which nothing is predicted."""

    modality: ClassVar[str] = "unlabelled_table"

    def decide(self, outputs: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Return how strange each row is [N]: ``−log p(x | z)`` and the divergence."""
        return outputs[:, 0] + outputs[:, 1]

    def predictions(
        self, outputs: np.ndarray, part: Part, threshold: float | None = None
    ) -> pl.DataFrame:
        """Return ``anomaly_score``, ``reconstruction_error`` and the code ``z0``, ``z1``, …."""
        return _scores(outputs, part)

    def decoded(self, values: np.ndarray) -> pl.DataFrame:
        """Return decoded rows [N, D + C] in the user's terms, as near as the encoding allows."""
        return decoded_frame(self.preprocessor, values)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> UnlabelledTableEncoder:
        """Rebuild from ``to_dict``."""
        return cls(
            Task.from_dict(record["task"]),
            NoTarget("reconstruction", ()),
            Preprocessor.from_dict(record["preprocessor"]),
            tuple(record["source_columns"]),
            tuple(record.get("ignored", ())),
        )


@dataclass(frozen=True, eq=False)
class UnlabelledImageEncoder(ImageEncoder):
    """Brings images of which nothing is predicted to the size of the training images."""

    modality: ClassVar[str] = "unlabelled_images"

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode images; see ``ImageEncoder.encode``. Labels that there are do not matter."""
        listing = list_images(as_batch(source, self.shape), None, labelled=False)
        found = decode_listing(listing, self.shape[:2], self.shape[2], self.value_range)
        target = np.zeros(len(found.kept), np.int32) if with_target else None
        keys = _files_of(listing, found.kept)
        notices = (*listing.notices, *found.notices)
        return Part({"image": found.images}, target, None, found.kept, notices, keys)

    def decide(self, outputs: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Return how strange each image is [N]: ``−log p(x | z)`` and the divergence."""
        return outputs[:, 0] + outputs[:, 1]

    def predictions(
        self, outputs: np.ndarray, part: Part, threshold: float | None = None
    ) -> pl.DataFrame:
        """Return ``file``, ``anomaly_score``, ``reconstruction_error`` and the code."""
        return _scores(outputs, part)

    def decoded(self, values: np.ndarray) -> np.ndarray:
        """Return decoded images [N, H · W · C] as uint8 [N, H, W, C]."""
        pixels = values.reshape(-1, *self.shape) * np.asarray(self.std) + np.asarray(self.mean)
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> UnlabelledImageEncoder:
        """Rebuild from ``to_dict``."""
        height, width, channels = record["shape"]
        low, high = record["value_range"]
        return cls(
            Task.from_dict(record["task"]),
            NoTarget("reconstruction", ()),
            (height, width, channels),
            tuple(record["mean"]),
            tuple(record["std"]),
            (low, high),
        )


class _Unlabelled(Dataset):
    """What datasets of which nothing is predicted say of themselves."""

    def headline(self) -> str:
        """Return one line: rows and what is done with them."""
        rows = sum(len(part) for part in self.parts.values())
        return f"{self._rows_text(rows)}, made again (reconstruction)"


@dataclass(frozen=True, eq=False, repr=False)
class UnlabelledTable(_Unlabelled, TableDataset):
    """A table of which nothing is predicted."""


@dataclass(frozen=True, eq=False, repr=False)
class UnlabelledImages(_Unlabelled, ImageDataset):
    """Images of which nothing is predicted."""


def load_unlabelled(
    source: Any,
    target: Any = None,
    *,
    validation: Any = None,
    test: Any = None,
    group: str | None = None,
    time: str | None = None,
    drop: Sequence[str] = (),
    columns: Mapping[str, str] | Sequence[str] | None = None,
    image_size: Any = None,
    channels: int | None = None,
    metric: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] | None = None,
) -> UnlabelledTable | UnlabelledImages:
    """Read a table or images to be made again: ``task="reconstruction"``.

    Args:
        source: see ``load_table`` and ``load_images``; labels of images do not matter.
        target: a column of a table that is set aside, as a label would give the row away.
        validation: a source of validation rows, instead of a share of ``source``.
        test: a source of test rows, instead of a share of ``source``.
        group: tables: a column whose equal values must not be torn apart; it is set aside.
        time: tables: a column to order rows by: the newest are the test rows.
        drop: tables: columns to leave out.
        columns: tables: kinds that overrule the inferred ones.
        image_size: images: pixels of the sides.
        channels: images: 1 for grey, 3 for colour.
        metric: ``"reconstruction_error"`` (the default) or ``"elbo"``.
        loss: the training loss.
        seed: decides which rows go where.
        fractions: shares of training, validation and test rows; 64, 16 and 20 % by default.

    Raises:
        SourceError, DataError, OptionError: as of ``load_table`` and ``load_images``.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise OptionError(f"seed must be a whole number of 0 or more; got {seed!r}")
    task = Task("reconstruction", (), (), loss or "", metric or "")
    shares = list(check_fractions(fractions))
    own = {n: s for n, s in (("validation", validation), ("test", test)) if s is not None}
    shares = [0.0 if part in own else share for part, share in zip(PARTS, shares, strict=True)]
    shares = [share / sum(shares) for share in shares]
    if is_image_source(source):
        for name, value in (("group", group), ("time", time), ("columns", columns)):
            if value is not None and len(value):
                raise OptionError(f"{name} is an option of tables; the source holds images")
        return _images(source, own, shares, check_size(image_size), channels, task, seed)
    if image_size is not None or channels is not None:
        raise OptionError("image_size and channels are options of images; the source is a table")
    aside: list[str] = [target] if isinstance(target, str) else list(target or ())
    if is_built_in(source) and not aside:
        aside = ["target"]
    return _table(source, own, shares, aside, group, time, tuple(drop), columns, task, seed)


def _files_of(listing: Listing, rows: np.ndarray) -> dict[str, np.ndarray]:
    return (
        {"file": np.array(listing.files, dtype=object)[rows].astype(str)} if listing.files else {}
    )


def _indices(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return split.train, split.validation, split.test


def _said(how: str, own: Mapping[str, Any], shares: Sequence[float]) -> str:
    if "validation" in own:
        # Said first: validation rows that the user chose are never dealt anew.
        mine = f"own source for {' and '.join(own)}"
        return mine if shares[0] == 1 else f"{mine}; the rest {how}"
    if "test" in own:
        return f"{how}; own source for test"
    return "all rows to learn from" if shares[0] == 1 else how


def _table(
    source: Any,
    own: Mapping[str, Any],
    shares: Sequence[float],
    aside: list[str],
    group: str | None,
    time: str | None,
    drop: tuple[str, ...],
    columns: Mapping[str, str] | Sequence[str] | None,
    task: Task,
    seed: int,
) -> UnlabelledTable:
    frame = read_table(source)
    for what, names in (("drop", drop), ("target", aside), ("group", [group] if group else [])):
        require_columns(names, frame.columns, f"{what} names the")
    if frame.height < 2:
        raise DataError(f"{source_name(source)} has {frame.height} row(s): give 10 or more")
    overrides = parse_overrides(columns, frame.columns)
    split, how = _row_split(frame, shares, group, time, seed)
    left_out = {*drop, *aside, *([group] if group else [])}
    features = [name for name in frame.columns if name not in left_out]
    if not features:
        raise DataError("no column is left to make again: drop fewer")
    train = frame.select(features)[split.train]
    inferred = infer_columns(
        train,
        overrides={n: k for n, k in overrides.items() if n in features},
        rows=split.train,
        num_source_rows=frame.height,
        identifiers=True,
    )
    preprocessor = Preprocessor.fit(train, inferred)
    notices = [f"{name} is set aside: nothing is predicted from it" for name in aside]
    notices += preprocessor.notices
    tables = {part: (frame, index) for part, index in zip(PARTS, _indices(split), strict=True)}
    for part, other in own.items():
        rows = read_table(other)
        missing = [name for name in preprocessor.columns if name not in rows.columns]
        if missing:
            raise DataError(f"the {part} rows lack the column {missing[0]!r}")
        tables[part] = (rows, np.arange(rows.height))
    parts = {}
    for part, (table, index) in tables.items():
        fields, _ = preprocessor.transform(table.select(preprocessor.columns)[index])
        parts[part] = Part(fields, np.zeros(len(index), np.int32), None, np.asarray(index))
    encoder = UnlabelledTableEncoder(
        task,
        NoTarget("reconstruction", ()),
        preprocessor,
        tuple(column.name for column in inferred),
        tuple(sorted(left_out)),
    )
    return UnlabelledTable(
        name=source_name(source),
        encoder=encoder,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        notices=tuple(notices),
        seed=seed,
        split=_said(how, own, shares),
        columns=tuple(inferred),
        tables=tables,
    )


def _row_split(
    frame: pl.DataFrame, shares: Sequence[float], group: str | None, time: str | None, seed: int
) -> tuple[Split, str]:
    if group is not None and time is not None:
        raise DataError("rows are split by group or by time, not both: give one of them")
    if group is not None:
        names = read_texts(frame[group]).fill_null("").to_numpy().astype(str)
        codes = np.unique(names, return_inverse=True)[1]
        return split_rows(frame.height, shares, groups=codes, seed=seed), f"by group {group}"
    if time is not None:
        from thalweg.data.windows import read_times

        require_columns([time], frame.columns, "time names the")
        times = np.asarray(read_times(frame[time])[0])
        return split_rows(frame.height, shares, times=times, seed=seed), f"by time {time}"
    return split_rows(frame.height, shares, seed=seed), f"at random, seed {seed}"


def _images(
    source: Any,
    own: Mapping[str, Any],
    shares: Sequence[float],
    size: tuple[int, int] | None,
    channels: int | None,
    task: Task,
    seed: int,
) -> UnlabelledImages:
    listing = list_images(source, None, labelled=False)
    found = decode_listing(listing, size, channels, None)
    notices = [*listing.notices, *found.notices]
    height, width, planes = found.images.shape[1:]
    roles = np.full(len(found.images), "train")
    if listing.parts is not None:
        roles = listing.parts[found.kept]
    fixed = dict(own) | {p: None for p in ("validation", "test") if (roles == p).any()}
    shares = [0.0 if part in fixed else share for part, share in zip(PARTS, shares, strict=True)]
    shares = [share / sum(shares) for share in shares]
    pool = np.flatnonzero(roles == "train")
    split = split_rows(len(pool), shares, seed=seed)
    chosen = {
        part: (found, pool[index] if part not in fixed else np.flatnonzero(roles == part))
        for part, index in zip(PARTS, _indices(split), strict=True)
    }
    listings = dict.fromkeys(PARTS, listing)
    for part, other in own.items():
        listings[part] = list_images(other, None, labelled=False)
        decoded = decode_listing(listings[part], (height, width), planes, found.value_range)
        notices += [f"the {part} images: {notice}" for notice in decoded.notices]
        chosen[part] = (decoded, np.arange(len(decoded.images)))
    parts = {}
    for part, (decoded, index) in chosen.items():
        rows = decoded.kept[index]
        keys = _files_of(listings[part], rows)
        images = select(decoded.images, index)
        parts[part] = Part({"image": images}, np.zeros(len(index), np.int32), None, rows, keys=keys)
    mean, std = channel_statistics(parts["train"].fields["image"])
    encoder = UnlabelledImageEncoder(
        task,
        NoTarget("reconstruction", ()),
        (height, width, planes),
        mean,
        std,
        found.value_range,
    )
    name = source_name(source)
    return UnlabelledImages(
        name=listing.name if name == "table" else name,
        encoder=encoder,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        notices=tuple(notices),
        seed=seed,
        split=_said(f"at random, seed {seed}", fixed, shares),
        skipped=found.bad,
    )
