"""What is predicted: the task that a target column asks for, and its way into numbers and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data.columns import MISSING_LABELS, read_numbers, read_texts
from thalweg.data.labels import label_names, read_labels, shown_labels
from thalweg.errors import DataError, did_you_mean, unknown_option
from thalweg.task import LABEL_KINDS, ROW_KINDS, Kind, Task

if TYPE_CHECKING:
    import polars as pl

IMBALANCE = 0.1
"""A binary task whose smaller class has a smaller share than this is judged by ROC AUC."""

MAX_INFERRED_CLASSES = 20
"""Whole numbers with at most so many different values are taken for classes."""

_ROWS_PER_CLASS = 5
_TASKS = (*ROW_KINDS, *LABEL_KINDS, "classification")


@dataclass(frozen=True)
class TargetEncoder:
    """Reads target columns as numbers, and turns numbers back into what the user knows.

    Args:
        kind: kind of the task.
        names: target columns.
        classes: labels in the order of their codes; empty for regression.
        mean: mean of each regression target over training rows [T].
        scale: its standard deviation [T].
        distribution: whether each class has a column of its own that holds its probability.
    """

    kind: Kind
    names: tuple[str, ...]
    classes: tuple[Any, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    distribution: bool = False

    def read(self, frame: pl.DataFrame) -> np.ndarray:
        """Read targets in the user's units.

        Args:
            frame: rows with the target columns.

        Returns:
            Regression: float64 [N, T], NaN where missing. Classes: codes int64 [N], -1 where
            missing. Distributions: float64 [N, C], NaN where missing.

        Raises:
            DataError: a column is missing, or a label is none of the classes.
        """
        for name in self.names:
            if name not in frame.columns:
                raise DataError(
                    f"the rows lack the target column {name!r}"
                    f"{did_you_mean(name, frame.columns)}: scoring needs it"
                )
        if self.kind == "multilabel":
            return read_labels(frame, self.names, self.classes)
        if self.kind == "regression" or self.distribution:
            columns = [_read_numeric_target(frame[name]) for name in self.names]
            values = np.stack(columns, axis=1)
            return _normalised(values) if self.distribution else values
        return self._codes(frame[self.names[0]])

    def _codes(self, series: pl.Series) -> np.ndarray:
        import polars as pl

        texts = _label_texts(series, self.classes)
        known = [_label_text(label) for label in self.classes]
        codes = texts.replace_strict(
            known, np.arange(len(known), dtype=np.int64), default=None, return_dtype=pl.Int64
        )
        strange = texts.filter(codes.is_null() & texts.is_not_null())
        if len(strange):
            shown = ", ".join(repr(label) for label in self.classes[:6])
            more = ", ..." if len(self.classes) > 6 else ""
            raise DataError(
                f"the target {self.names[0]!r} must be one of the classes {shown}{more}; "
                f"{len(strange):,} row(s) have another, such as {strange[0]!r}: correct or remove "
                "these rows"
            )
        return codes.fill_null(-1).to_numpy()

    def fitted(self, values: np.ndarray) -> TargetEncoder:
        """Return the encoder with mean and scale of training targets ``[N, T]`` (regression)."""
        if self.kind != "regression":
            return self
        mean = values.mean(axis=0)
        scale = values.std(axis=0)
        scale = np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1e-300), scale, 1.0)
        return replace(self, mean=tuple(mean.tolist()), scale=tuple(scale.tolist()))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Turn what ``read`` returns into what a network is trained on.

        Returns:
            Regression: ``(y − mean) / scale``, float32 [N, T]. Classes: int32 [N]. Distributions:
            float32 [N, C].
        """
        if self.kind == "regression":
            scaled = (values - np.asarray(self.mean)) / np.asarray(self.scale)
            return scaled.astype(np.float32)
        several = self.distribution or self.kind == "multilabel"
        return values.astype(np.float32 if several else np.int32)

    def inverse(self, scaled: Any) -> np.ndarray:
        """Return regression outputs ``[..., T]`` in the user's units; others unchanged."""
        if self.kind != "regression":
            return np.asarray(scaled)
        return np.asarray(scaled, np.float64) * np.asarray(self.scale) + np.asarray(self.mean)

    def labels(self, codes: Any) -> np.ndarray:
        """Return the labels of class codes [N], or the likeliest ones of distributions [N, C]."""
        codes = np.asarray(codes)
        if self.kind == "multilabel":
            return shown_labels(codes, self.classes)
        if codes.ndim == 2:
            codes = codes.argmax(axis=1)
        return np.array(self.classes, dtype=_label_dtype(self.classes))[codes]

    @property
    def units(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and scale of regression targets, float32 [T] each; None for classes."""
        if self.kind != "regression":
            return None
        return np.asarray(self.mean, np.float32), np.asarray(self.scale, np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "kind": self.kind,
            "names": list(self.names),
            "classes": list(self.classes),
            "mean": list(self.mean),
            "scale": list(self.scale),
            "distribution": self.distribution,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TargetEncoder:
        """Rebuild from ``to_dict``."""
        return cls(
            kind=record["kind"],
            names=tuple(record["names"]),
            classes=tuple(record["classes"]),
            mean=tuple(record["mean"]),
            scale=tuple(record["scale"]),
            distribution=record["distribution"],
        )


def infer_target(
    frame: pl.DataFrame, names: Sequence[str], task: str | None = None
) -> tuple[TargetEncoder, list[str]]:
    """Decide what kind of task target columns ask for.

    Args:
        frame: all rows with their target columns.
        names: the target columns.
        task: ``"regression"``, ``"binary"``, ``"multiclass"``, ``"classification"`` or
            ``"multilabel"`` to overrule what would be inferred.

    Returns:
        The encoder, not yet fitted to training rows, and notices.

    Raises:
        OptionError: an unknown task.
        DataError: the target has no values, one class only, or cannot be what ``task`` says.
    """
    if task is not None and task not in _TASKS:
        raise unknown_option("task", task, _TASKS)
    for name in names:
        if _num_missing(frame[name]) == frame.height:
            raise DataError(
                f"the target {name!r} has no values at all: fill it in, or choose another column"
            )
    if task == "multilabel":
        return TargetEncoder("multilabel", tuple(names), label_names(frame, names)), []
    if len(names) > 1:
        return _several_targets(frame, names, task)
    return _one_target(frame[names[0]], task)


def _several_targets(
    frame: pl.DataFrame, names: Sequence[str], task: str | None
) -> tuple[TargetEncoder, list[str]]:
    values = np.stack([_read_numeric_target(frame[name]) for name in names], axis=1)
    if task != "regression":
        with np.errstate(invalid="ignore"):
            whole = values[np.isfinite(values).all(axis=1)]
        adds_up = (
            whole.size > 0
            and bool((whole >= -1e-6).all())
            and bool((np.abs(whole.sum(axis=1) - 1) < 1e-3).all())
        )
        if adds_up:
            if len(names) == 2 and task == "binary":
                raise DataError(
                    "a binary task takes one target column; got two columns of probabilities: use "
                    "task='multiclass', or give the second column alone"
                )
            classes = _distribution_classes(names)
            if (whole.sum(axis=0) > 0).sum() < 2:
                raise DataError("the targets give all weight to one class: nothing can be learnt")
            notice = "the targets add up to 1 in each row: taken for probabilities of classes"
            return (
                TargetEncoder("multiclass", tuple(names), classes, distribution=True),
                [notice] if task is None else [],
            )
        if task is not None:
            raise DataError(
                f"a {task} task with {len(names)} target columns needs probabilities (0 or more, "
                "adding up to 1 in each row); these are not: give one target column, or "
                "task='regression'"
            )
    for index, name in enumerate(names):
        _check_varies(values[:, index], name)
    return TargetEncoder("regression", tuple(names)), []


def _distribution_classes(names: Sequence[str]) -> tuple[Any, ...]:
    """Return ``target0, target1, …`` as 0, 1, …, and other names as they are."""
    stem = names[0][:-1]
    if list(names) == [f"{stem}{index}" for index in range(len(names))]:
        return tuple(range(len(names)))
    return tuple(names)


def _one_target(series: pl.Series, task: str | None) -> tuple[TargetEncoder, list[str]]:
    import polars as pl

    name, dtype = series.name, series.dtype
    if dtype.is_temporal():
        raise DataError(
            f"the target {name!r} is a date or time: turn it into a number (such as days since a "
            "start) or choose another column"
        )
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise DataError(
            f"the target {name!r} holds nested values ({dtype}): give numbers or labels"
        )
    chosen: Kind | None = None
    notices: list[str] = []
    if task == "regression":
        chosen = "regression"
    elif task is None and dtype.is_numeric():
        chosen, notice = _kind_of_numbers(read_numbers(series)[0].drop_nulls(), name)
        notices += notice
    elif task is None and dtype == pl.String:
        chosen = _kind_of_texts(series)
    if chosen == "regression":
        _check_varies(_read_numeric_target(series), name)
        return TargetEncoder("regression", (name,)), notices
    classes = _classes(series, forced=task is not None)
    kind: Kind = "binary" if len(classes) == 2 else "multiclass"
    if task == "binary" and len(classes) != 2:
        raise DataError(
            f"a binary task needs a target with two classes; {name!r} has {len(classes)}: use "
            "task='multiclass'"
        )
    if task == "multiclass":
        kind = "multiclass"
    return TargetEncoder(kind, (name,), classes), notices


def _kind_of_numbers(values: pl.Series, name: str) -> tuple[Kind | None, list[str]]:
    distinct = values.n_unique()
    whole = bool((values == values.round(0)).all())
    if distinct == 1:
        raise DataError(
            f"the target {name!r} is {_plain(values[0])} in every row: nothing can be learnt; "
            "choose another column, or add rows of another class"
        )
    if not whole or distinct > MAX_INFERRED_CLASSES:
        return "regression", []
    if distinct == 2:
        return None, []
    if len(values) < _ROWS_PER_CLASS * distinct:
        return "regression", []
    if sorted(values.unique()) in (list(range(distinct)), list(range(1, distinct + 1))):
        return None, []
    return None, [
        f"the target {name} has {distinct} different whole numbers: taken for classes; "
        "task=regression treats them as a quantity"
    ]


def _kind_of_texts(series: pl.Series) -> Kind | None:
    """Return regression for numbers written as text, None for labels."""
    texts = read_texts(series, MISSING_LABELS).drop_nulls()
    distinct = texts.n_unique()
    if distinct <= MAX_INFERRED_CLASSES:
        return None
    _, bad, _ = read_numbers(texts, missing=MISSING_LABELS)
    if not bad:
        return "regression"
    if len(bad) < 0.5 * len(texts):
        raise DataError(
            f"the target {series.name!r} mixes numbers and text: {len(texts) - len(bad):,} of "
            f"{len(texts):,} values are numbers, others are not, such as {min(bad)!r}: correct or "
            "remove these rows"
        )
    return None


def _classes(series: pl.Series, forced: bool) -> tuple[Any, ...]:
    import polars as pl

    name = series.name
    if series.dtype == pl.Boolean:
        present = series.drop_nulls()
        labels: list[Any] = sorted(present.unique().to_list())
    elif series.dtype.is_numeric():
        present = read_numbers(series)[0].drop_nulls()
        labels = [_plain(value) for value in sorted(present.unique().to_list())]
    else:
        present = read_texts(series, MISSING_LABELS).drop_nulls()
        labels = sorted(present.unique().to_list())
        if all(_is_integer_text(label) for label in labels):
            labels.sort(key=int)
    if len(labels) == 1:
        raise DataError(
            f"the target {name!r} has one class only ({labels[0]!r}): nothing can be learnt; "
            "choose another column, or add rows of another class"
        )
    rows = len(present)
    if len(labels) == rows and rows > 2:
        raise DataError(
            f"the target {name!r} has as many classes as rows ({rows:,}), like an identifier: "
            "choose another column"
            + (", or task='regression'" if series.dtype.is_numeric() else "")
        )
    if not forced and rows >= 20 and len(labels) > 0.5 * rows:
        raise DataError(
            f"the target {name!r} has {len(labels):,} classes in {rows:,} rows, like an identifier "
            "or free text: choose another column, or task='classification' if it is meant so"
        )
    return tuple(labels)


def _is_integer_text(text: str) -> bool:
    return text.lstrip("+-").isdecimal()


def _check_varies(values: np.ndarray, name: str) -> None:
    present = values[np.isfinite(values)]
    if present.size == 0:
        raise DataError(f"the target {name!r} has no numbers: choose another column")
    if present.min() == present.max():
        raise DataError(
            f"the target {name!r} is {_plain(float(present[0]))} in every row: nothing can be "
            "learnt; choose another column"
        )


def _read_numeric_target(series: pl.Series) -> np.ndarray:
    values, bad, _ = read_numbers(series, missing=MISSING_LABELS)
    if bad:
        raise DataError(
            f"the target {series.name!r} must be numbers for this task; {len(bad):,} value(s) are "
            f"not, such as {bad[0]!r}: correct or remove these rows, or use task='classification'"
        )
    return values.fill_null(float("nan")).to_numpy()


def _num_missing(series: pl.Series) -> int:
    if series.dtype.is_numeric():
        return read_numbers(series)[0].null_count()
    return read_texts(series, MISSING_LABELS).null_count()


def _normalised(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        values = np.maximum(values, 0.0)
        return values / values.sum(axis=1, keepdims=True)


def _plain(value: Any) -> Any:
    """Return whole floats as integers."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _label_text(label: Any) -> str:
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)


def _label_texts(series: pl.Series, classes: Sequence[Any]) -> pl.Series:
    """Return labels in the one form that ``_label_text`` gives those of the classes."""
    texts = read_texts(series, MISSING_LABELS)
    if classes and all(isinstance(label, bool) for label in classes):
        texts = texts.str.to_lowercase()
    elif classes and not any(isinstance(label, str) for label in classes):
        numbers, bad, _ = read_numbers(series, missing=MISSING_LABELS)
        if not bad:
            texts = read_texts(numbers)
    return texts


def _label_dtype(classes: Sequence[Any]) -> Any:
    """Mixed labels stay objects: NumPy would turn them all into text."""
    kinds = {type(label) for label in classes}
    return None if len(kinds) == 1 or kinds <= {int, float} else object


def balance(codes: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the share of each class [C], from codes [N] or distributions [N, C]."""
    if codes.ndim == 2:
        return codes.mean(axis=0)
    return np.bincount(codes, minlength=num_classes) / max(len(codes), 1)


def present_targets(values: np.ndarray) -> np.ndarray:
    """Return which rows have a target, bool [N], from what ``TargetEncoder.read`` returns."""
    if values.ndim == 2:
        return np.asarray(np.isfinite(values).all(axis=1))
    if values.dtype == object:
        return np.array([bool(text) for text in values], dtype=bool)
    return values >= 0


def choose_task(
    encoder: TargetEncoder,
    values: np.ndarray,
    loss: str | None,
    metric: str | None,
    notices: list[str],
) -> Task:
    """Return the task of a fitted target encoder, and note what is worth telling.

    Args:
        encoder: what encodes the target.
        values: targets of the training rows, as ``TargetEncoder.read`` returns them.
        loss: training loss; the task's default where None.
        metric: metric that chooses; the task's default where None, or one fit for a rare class.
        notices: is added to.

    Raises:
        DataError: where all training rows have one class.
    """
    if encoder.kind != "regression":
        shares = balance(values, len(encoder.classes))
        present = int((shares > 0).sum())
        if present < 2:
            only = encoder.classes[int(shares.argmax())]
            raise DataError(
                f"all training rows have the class {only!r}: nothing can be learnt; split in "
                "another way or give more rows"
            )
        absent = [encoder.classes[i] for i in np.flatnonzero(shares == 0)]
        if absent:
            notices.append(
                f"no training row has the class {', '.join(map(repr, absent[:5]))}: it is never "
                "predicted"
            )
        least = int(shares.argmin())
        uneven = shares[least] < IMBALANCE * 2 / len(shares) and encoder.kind != "multilabel"
        if uneven and not absent:
            notices.append(
                f"imbalanced: class {encoder.classes[least]!r} has {shares[least]:.1%} of the "
                "training rows; class_weight evens it out"
            )
        if metric is None and encoder.kind == "binary" and shares[least] < IMBALANCE:
            metric = "roc_auc"
            notices.append("roc_auc chooses, as accuracy says little about a rare class")
    return Task(encoder.kind, encoder.names, encoder.classes, loss or "", metric or "")


def check_loss(task: Task, values: Sequence[np.ndarray]) -> None:
    """Refuse a loss that the targets (of each part, in the user's units) do not allow."""
    if task.loss != "poisson":
        return
    low = min(float(part.min()) for part in values if part.size)
    high = max(float(part.max()) for part in values if part.size)
    # A count of 0 that was scaled to float32 and back may come out slightly negative.
    if low < -1e-6 * max(high, 0.0):
        raise DataError(
            f"the poisson loss is for counts, 0 or more; the target goes down to {low:g}: use "
            "another loss, such as mse"
        )
