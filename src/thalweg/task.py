"""What is predicted: the kind of task, its targets, the names of its loss and its metric.

A Task names its loss and its metric; the functions themselves live in ``thalweg.optim``, so that
reading data needs no JAX.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from thalweg.errors import unknown_option

Kind = Literal[
    "regression",
    "binary",
    "multiclass",
    "multilabel",
    "segmentation",
    "embedding",
    "detection",
    "language",
    "transcription",
    "reconstruction",
    "translation",
]
Direction = Literal["maximize", "minimize"]

ROW_KINDS: tuple[Kind, ...] = ("regression", "binary", "multiclass")
"""Tasks that predict some numbers or one class for each row."""

LABEL_KINDS: tuple[Kind, ...] = ("multilabel",)
"""Tasks that predict any number of labels for each row."""

VISION_KINDS: tuple[Kind, ...] = ("segmentation", "embedding", "detection")
"""Tasks on images: a class for each pixel, a vector for each image, boxes in each image."""

TEXT_KINDS: tuple[Kind, ...] = ("language",)
"""Tasks on texts: the probability of each token after those before it."""

SPEECH_KINDS: tuple[Kind, ...] = ("transcription",)
"""Tasks on recordings: the text that is spoken, character by character."""

UNLABELLED_KINDS: tuple[Kind, ...] = ("reconstruction",)
"""Tasks without a target: rows are squeezed into a few numbers and made again."""

WRITTEN_KINDS: tuple[Kind, ...] = ("translation",)
"""Tasks that write a text for each row: a translation, a summary, a subject line."""

KINDS: tuple[Kind, ...] = (
    ROW_KINDS
    + LABEL_KINDS
    + VISION_KINDS
    + TEXT_KINDS
    + SPEECH_KINDS
    + UNLABELLED_KINDS
    + WRITTEN_KINDS
)

IGNORE = 255
"""The class of the pixels of a mask that do not count."""

LOSSES: dict[Kind, tuple[str, ...]] = {
    "regression": ("mse", "mae", "huber", "log_cosh", "quantile", "poisson"),
    "binary": ("cross_entropy", "focal", "hinge", "mse"),
    "multiclass": ("cross_entropy", "focal", "hinge", "mse"),
    "multilabel": ("cross_entropy", "focal"),
    "segmentation": ("ce_dice", "cross_entropy", "focal", "dice"),
    "embedding": ("contrastive", "triplet", "triplet_semi_hard"),
    "detection": ("giou", "l1"),
    "language": ("cross_entropy",),
    "transcription": ("ctc",),
    "reconstruction": ("negative_elbo",),
    "translation": ("cross_entropy",),
}
"""The losses of each head, its default first."""

METRICS: dict[Kind, dict[str, Direction]] = {
    "regression": {
        "rmse": "minimize",
        "mse": "minimize",
        "mae": "minimize",
        "r2": "maximize",
        "median_absolute_error": "minimize",
        "mape": "minimize",
        "standardised_mse": "minimize",
        "standardised_mae": "minimize",
    },
    "binary": {
        "accuracy": "maximize",
        "balanced_accuracy": "maximize",
        "f1": "maximize",
        "precision": "maximize",
        "recall": "maximize",
        "matthews_corrcoef": "maximize",
        "roc_auc": "maximize",
        "average_precision": "maximize",
        "log_loss": "minimize",
        "brier": "minimize",
    },
    "multiclass": {
        "accuracy": "maximize",
        "balanced_accuracy": "maximize",
        "f1_macro": "maximize",
        "top_5_accuracy": "maximize",
        "roc_auc": "maximize",
        "log_loss": "minimize",
    },
    "multilabel": {
        "f1_micro": "maximize",
        "f1_macro": "maximize",
        "accuracy": "maximize",
        "hamming_loss": "minimize",
    },
    "segmentation": {"mean_iou": "maximize", "pixel_accuracy": "maximize"},
    "embedding": {"roc_auc": "maximize", "recall_at_1": "maximize"},
    "detection": {"map_50": "maximize"},
    "language": {"perplexity": "minimize", "log_loss": "minimize"},
    "transcription": {"character_error_rate": "minimize", "word_error_rate": "minimize"},
    "reconstruction": {"reconstruction_error": "minimize", "elbo": "maximize"},
    "translation": {"perplexity": "minimize", "token_accuracy": "maximize"},
}
"""The metrics of each kind of task with the direction that is better, its default first.

Names follow scikit-learn's; ``roc_auc`` of a multiclass task is one-vs-rest, macro-averaged, that
of an embedding is over pairs of rows: are two of one class nearer than two of different ones?
"""


@dataclass(frozen=True)
class Task:
    """What is predicted from the fields of a Dataset.

    Args:
        kind: one of ``KINDS``.
        targets: names of the target columns (one, but for regression on several targets).
        classes: class labels in the order of the outputs, as the user knows them; empty for
            regression.
        loss: name of the training loss, one of ``LOSSES[kind]``.
        metric: name of the metric that chooses, one of ``METRICS[kind]``.
        horizon: steps ahead of a forecast (outputs are step by step, all targets of a step
            together); 0 where nothing is forecast.
    """

    kind: Kind
    targets: tuple[str, ...]
    classes: tuple[Any, ...] = ()
    loss: str = ""
    metric: str = ""
    horizon: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_option("task", self.kind, KINDS)
        if not self.loss:
            object.__setattr__(self, "loss", LOSSES[self.kind][0])
        if not self.metric:
            object.__setattr__(self, "metric", next(iter(METRICS[self.kind])))
        if self.loss not in LOSSES[self.kind]:
            raise unknown_option(f"loss of a {self.kind} task", self.loss, LOSSES[self.kind])
        if self.metric not in METRICS[self.kind]:
            raise unknown_option(f"metric of a {self.kind} task", self.metric, METRICS[self.kind])

    @property
    def num_outputs(self) -> int:
        """Width of the output head: targets, one logit, or one logit a class.

        Of a detection it is the classes (a head adds its boxes), of a transcription the characters
        and the blank; those of an embedding and a reconstruction are structure, a language model's
        and a translation's the vocabulary.
        """
        if self.kind == "regression":
            return len(self.targets) * max(1, self.horizon)
        if self.kind == "transcription":
            return 1 + len(self.classes)
        return 1 if self.kind in ("binary", "reconstruction") else len(self.classes)

    @property
    def direction(self) -> Direction:
        """Whether more or less of the metric is better."""
        return METRICS[self.kind][self.metric]

    @property
    def sign(self) -> float:
        """+1 where more of the metric is better, -1 where less is."""
        return 1.0 if self.direction == "maximize" else -1.0

    def with_choice(self, *, loss: str | None = None, metric: str | None = None) -> Task:
        """Return the Task with another loss or metric."""
        return replace(self, loss=loss or self.loss, metric=metric or self.metric)

    def to_dict(self) -> dict[str, Any]:
        """Return the Task as JSON-able values."""
        record = asdict(self)
        record["targets"], record["classes"] = list(self.targets), list(self.classes)
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Task:
        """Rebuild a Task from ``to_dict``."""
        return cls(
            kind=record["kind"],
            targets=tuple(record["targets"]),
            classes=tuple(record["classes"]),
            loss=record["loss"],
            metric=record["metric"],
            horizon=record.get("horizon", 0),
        )
