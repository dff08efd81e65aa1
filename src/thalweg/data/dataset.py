"""What every kind of data is made into: parts of encoded rows, and what encodes new ones.

Tables, images, series and ratings each have a module of their own with a subclass of ``Dataset``
and one of ``Encoder``; whatever works on data works on these.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg import markup
from thalweg.data.targets import TargetEncoder, balance, check_loss
from thalweg.errors import DataError
from thalweg.task import Task

if TYPE_CHECKING:
    import polars as pl

PARTS: tuple[str, ...] = ("train", "validation", "test")

ENCODERS = {
    "table": ("thalweg.data.tables", "TableEncoder"),
    "text": ("thalweg.data.texts", "TextEncoder"),
    "language": ("thalweg.data.language", "LanguageEncoder"),
    "images": ("thalweg.data.images", "ImageEncoder"),
    "segmentation": ("thalweg.data.vision", "SegmentationEncoder"),
    "detection": ("thalweg.data.vision", "DetectionEncoder"),
    "embedding": ("thalweg.data.vision", "EmbeddingEncoder"),
    "audio": ("thalweg.data.audio", "AudioEncoder"),
    "speech": ("thalweg.data.speech", "SpeechEncoder"),
    "series": ("thalweg.data.series", "SeriesEncoder"),
    "sequences": ("thalweg.data.sequences", "SequenceEncoder"),
    "unlabelled_table": ("thalweg.data.unlabelled", "UnlabelledTableEncoder"),
    "unlabelled_images": ("thalweg.data.unlabelled", "UnlabelledImageEncoder"),
    "ratings": ("thalweg.data.ratings", "RatingsEncoder"),
    "translation": ("thalweg.data.translations", "TranslationEncoder"),
}
"""Where the encoder of each modality lives."""


@dataclass(frozen=True, eq=False)
class Part:
    """Rows as arrays.

    Args:
        fields: ``{"numeric": float32 [N, D]}``, with ``"category": int32 [N, C]`` where there are
            categories of many names; other kinds of data have fields of their own.
        target: regression float32 [N, T], scaled; classes int32 [N]; distributions float32
            [N, C]; None where the rows have none.
        weight: float32 [N], or None where all rows weigh alike.
        rows: int64 [N], the index of each row in its source.
        notices: what is worth telling about these rows.
        keys: what names the rows in a table of predictions (file; user and item; series and time),
            by column, [N] each.
        texts: texts that belong to the rows, as people read them, object [N] each by name.
    """

    fields: dict[str, np.ndarray]
    target: Any
    weight: np.ndarray | None
    rows: np.ndarray
    notices: tuple[str, ...] = ()
    keys: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: np.ndarray) -> Part:
        """Return some of the rows, by position or by mask."""
        return Part(
            {name: values[index] for name, values in self.fields.items()},
            None if self.target is None else self.target[index],
            None if self.weight is None else self.weight[index],
            self.rows[index],
            keys={name: np.asarray(values)[index] for name, values in self.keys.items()},
            texts={name: np.asarray(values)[index] for name, values in self.texts.items()},
        )


def concatenate(parts: Sequence[Part]) -> Part:
    """Put parts of one dataset below each other, as for training on train and validation rows."""
    weights = [part.weight for part in parts]
    weighted = any(weight is not None for weight in weights)
    return Part(
        {name: np.concatenate([part.fields[name] for part in parts]) for name in parts[0].fields},
        None
        if any(part.target is None for part in parts)
        else np.concatenate([part.target for part in parts]),
        np.concatenate(
            [
                np.ones(len(part), np.float32) if part.weight is None else part.weight
                for part in parts
            ]
        )
        if weighted
        else None,
        np.concatenate([part.rows for part in parts]),
        keys={
            name: np.concatenate([np.asarray(part.keys[name]) for part in parts])
            for name in parts[0].keys
        },
        texts={
            name: np.concatenate([part.texts[name] for part in parts]) for name in parts[0].texts
        },
    )


@dataclass(frozen=True, eq=False)
class Encoder(ABC):
    """All that turns raw rows into a network's inputs, and its outputs into the user's terms.

    A saved model carries it alone: it holds no training rows.

    Args:
        task: what is predicted.
        target: encodes the target.
    """

    modality: ClassVar[str] = ""

    task: Task
    target: TargetEncoder

    @abstractmethod
    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode raw rows.

        Args:
            source: whatever the training rows could be given as.
            with_target: whether to read the target too; rows without one are then left out (and
                ``rows`` tells which remain).

        Returns:
            The encoded rows in their order.

        Raises:
            SourceError, DataError: the source cannot be read, lacks something, or has labels that
                are no class.
        """

    @property
    @abstractmethod
    def input_shape(self) -> dict[str, Any]:
        """What a network reads: the arguments of ``models.InputShape``."""

    def predictions(
        self, outputs: np.ndarray, part: Part, threshold: float | None = None
    ) -> pl.DataFrame:
        """Return predictions as the table that is written for people.

        Args:
            outputs: regression: values in the user's units [N, T]; classes: probabilities [N, C].
            part: the encoded rows that they belong to; its ``keys`` are the first columns.
            threshold: binary tasks only: the probability of the second class from which it is
                predicted; the likelier class by default.

        Returns:
            The keys, then ``prediction`` (``prediction_<target>`` for several targets) and, for
            classes, ``probability_<class>``.
        """
        import polars as pl

        columns: dict[str, Any] = {name: list(values) for name, values in part.keys.items()}
        if self.task.kind == "regression":
            if outputs.shape[1] == 1:
                return pl.DataFrame({**columns, "prediction": outputs[:, 0]})
            names = [f"prediction_{target}" for target in self.task.targets]
            return pl.DataFrame({**columns, **dict(zip(names, outputs.T, strict=True))})
        # Labels of several types become text: a column has one type.
        decided = self.decide(outputs, threshold)
        columns["prediction"] = pl.Series(decided.tolist(), strict=False)
        for i, label in enumerate(self.task.classes):
            # Booleans are written as they are in a table.
            shown = str(label).lower() if isinstance(label, bool) else label
            columns[f"probability_{shown}"] = outputs[:, i]
        return pl.DataFrame(columns)

    def decide(self, outputs: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Return labels [N] from probabilities, or values [N] ([N, T] for several targets)."""
        if self.task.kind == "regression":
            return outputs[:, 0] if outputs.shape[1] == 1 else outputs
        if self.task.kind == "multilabel":
            return self.target.labels(outputs)
        if self.task.kind == "binary" and threshold is not None:
            index = (outputs[:, 1] >= threshold).astype(int)
        else:
            index = outputs.argmax(1)
        return self.target.labels(index)

    def decoded(self, values: np.ndarray) -> Any:
        """Return what a network that makes rows again has made, in the user's terms.

        Raises:
            DataError: the data were loaded for a task that predicts something.
        """
        raise DataError(f"a {self.task.kind} model makes no rows: load with task='reconstruction'")

    @property
    def metric_scale(self) -> np.ndarray | None:
        """Deviations of the targets [T] for standardised metrics; None where nobody asks."""
        asked = self.task.horizon > 0 or self.task.metric.startswith("standardised")
        return np.asarray(self.target.scale) if asked else None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "modality": self.modality,
            "task": self.task.to_dict(),
            "target": self.target.to_dict(),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Encoder:
        """Rebuild the encoder of any modality from its ``to_dict``."""
        module, name = ENCODERS[record.get("modality", "table")]
        return getattr(import_module(module), name).from_dict(record)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Data with its task and its fixed parts.

    Args:
        name: short name of the source.
        encoder: encodes rows, fitted on training rows.
        train: rows that networks learn from.
        validation: rows that choose among them.
        test: rows that are scored once.
        notices: what was inferred, dropped or set aside that is worth telling.
        seed: seed of the split.
        split: how rows were split, for people; it begins with "at random" only where rows may be
            dealt anew.
        origin: what to pass to ``load`` to read the same again, where that can be written down.
    """

    name: str
    encoder: Encoder
    train: Part
    validation: Part
    test: Part
    notices: tuple[str, ...] = ()
    seed: int = 0
    split: str = ""
    origin: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.headline()}>"

    def _repr_html_(self) -> str:
        columns = ""
        records = self.column_records()
        if records:
            columns = markup.table(
                ("column", "taken for", "because", "missing"),
                [(c["name"], c["kind"], c["reason"], c["missing"]) for c in records[:30]],
            )
        told = [line for line in self.describe() if not line.startswith("  ")]
        return markup.card(self.name, markup.lines(told[1:]), columns, note=self.headline())

    @property
    def modality(self) -> str:
        """Kind of data: one of ``ENCODERS``."""
        return self.encoder.modality

    @property
    def task(self) -> Task:
        """What is predicted, with loss and metric."""
        return self.encoder.task

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode raw rows as the training rows were; see ``Encoder.encode``."""
        return self.encoder.encode(source, with_target=with_target)

    @property
    def input_shape(self) -> dict[str, Any]:
        """What a network reads: the arguments of ``models.InputShape``."""
        return self.encoder.input_shape

    @property
    def num_features(self) -> int:
        """Number of inputs that people would count: columns, pixels, channels."""
        return int(sum(np.prod(values.shape[1:]) for values in self.train.fields.values()))

    @property
    def units(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and scale of regression targets, float32 [T] each; None for classes."""
        return self.encoder.target.units

    @property
    def parts(self) -> dict[str, Part]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def with_task(self, task: Task) -> Dataset:
        """Return the dataset with another loss or metric.

        Raises:
            DataError: another kind of task, or a loss that the targets do not allow.
        """
        if (task.kind, task.targets, task.classes) != (
            self.task.kind,
            self.task.targets,
            self.task.classes,
        ):
            raise DataError(
                f"the dataset was made for a {self.task.kind} task on {self.task.targets}; got "
                f"{task.kind} on {task.targets}: load it again"
            )
        if task.loss == "poisson":
            check_loss(task, [self.raw_target(part) for part in self.parts.values()])
        return replace(self, encoder=replace(self.encoder, task=task))

    def raw_target(self, part: Part) -> np.ndarray:
        """Return targets in the user's units: float64 [N, T], codes [N] or distributions."""
        return self.encoder.target.inverse(part.target)

    def labels(self, part: str | Part) -> np.ndarray:
        """Return a part's targets as the user knows them: labels [N], or values [N] or [N, T]."""
        chosen = self.parts[part] if isinstance(part, str) else part
        if self.task.kind != "regression":
            return self.encoder.target.labels(chosen.target)
        values = self.raw_target(chosen)
        return values[:, 0] if values.shape[1] == 1 else values

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the encoded rows, their split and their task.

        Two datasets with the same fingerprint train the same networks; loss and metric may differ.
        """
        digest = hashlib.blake2b(digest_size=16)
        about = {
            "kind": self.task.kind,
            "targets": self.task.targets,
            "classes": [str(label) for label in self.task.classes],
            **self._about(),
        }
        digest.update(json.dumps(about, sort_keys=True).encode())
        for name, part in self.parts.items():
            digest.update(name.encode())
            arrays = [part.rows, part.target, *(part.fields[key] for key in sorted(part.fields))]
            for array in arrays:
                digest.update(str((array.dtype.str, array.shape)).encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _about(self) -> dict[str, Any]:
        """Return what else belongs into the fingerprint."""
        return {"inputs": self.input_shape}

    # What is told to people ----------------------------------------------------------------------

    def headline(self) -> str:
        """Return one line: rows, features, target and task."""
        rows = sum(len(part) for part in self.parts.values())
        return f"{self._rows_text(rows)}, target {', '.join(self.task.targets)} ({self._kind()})"

    def _rows_text(self, num_rows: int) -> str:
        return f"{num_rows:,} rows, {self.num_features} features"

    def _kind(self) -> str:
        task = self.task
        if task.kind == "binary":
            return f"binary, {task.classes[0]} or {task.classes[1]}"
        return f"{task.kind}, {len(task.classes)} classes" if task.classes else task.kind

    def class_shares(self) -> dict[str, float]:
        """Return the share of each class among training rows; empty where there are none."""
        if self.task.kind not in ("binary", "multiclass"):
            return {}
        shares = balance(self.train.target, len(self.task.classes))
        return {
            str(label): float(share) for label, share in zip(self.task.classes, shares, strict=True)
        }

    def describe(self) -> list[str]:
        """Return lines that tell what was inferred: rows, task, inputs, notices."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.name}: {self.headline()}"
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in self.parts.items())
        yield f"rows: {sizes} ({self.split})"
        shares = self.class_shares()
        if shares:
            ordered = sorted(shares.items(), key=lambda item: -item[1])
            shown = ", ".join(f"{label} {share:.1%}" for label, share in ordered[:10])
            yield f"classes: {shown}{', ...' if len(shares) > 10 else ''}"
        elif self.task.kind == "regression":
            values = self.raw_target(self.train)
            values = values.reshape(-1, len(self.task.targets))
            for name, column in zip(self.task.targets, values.T, strict=True):
                yield (
                    f"{name}: mean {column.mean():.6g}, deviation {column.std():.6g}, "
                    f"{column.min():.6g} to {column.max():.6g}"
                )
        yield f"chosen by {self.task.metric} on validation rows; trained by {self.task.loss}"
        yield from self._input_lines()
        for notice in self.notices:
            yield f"note: {notice}"

    def _input_lines(self) -> Iterator[str]:
        """Say what networks read; one line or more."""
        yield from ()

    def column_records(self) -> list[dict[str, Any]]:
        """Return what each column is taken for, as JSON-able records; none but for tables."""
        return []
