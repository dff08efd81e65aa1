"""Which baselines a data set is compared with: what each kind of data has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from thalweg.data import Dataset
from thalweg.data.series import SeriesEncoder
from thalweg.study.baselines import (
    BASELINES,
    FLAT_BASELINES,
    TEXT_BASELINES,
    Baseline,
    BaselineRun,
    Fit,
    each_label,
)
from thalweg.study.kneser_ney import kneser_ney
from thalweg.study.naive import naive_baselines
from thalweg.study.rating_baselines import baselines_of
from thalweg.study.reconstruction_baselines import RECONSTRUCTION_BASELINES
from thalweg.study.retrieval import RETRIEVAL

PLAIN = ("regression", "binary", "multiclass", "multilabel", "language", "translation")


def start_baselines(dataset: Dataset, kept: Path | None = None) -> BaselineRun | None:
    """Start fitting the baselines of a data set in the background; None where there are none.

    Args:
        dataset: the data.
        kept: file that keeps what they say, as far as that is numbers, for a process that goes on
            with the study.
    """
    task = dataset.task
    parts = {"validation": dataset.validation, "test": dataset.test}
    judged = {name: part.fields for name, part in parts.items() if len(part)}
    if task.kind == "reconstruction":
        return BaselineRun(
            task,
            dataset.train.fields,
            dataset.train.target,
            RECONSTRUCTION_BASELINES,
            judged=judged,
            kept=kept,
        )
    if task.kind not in PLAIN:
        return None
    fits: Mapping[str, Fit] = BASELINES
    ready: Sequence[Baseline] = ()
    if task.kind == "multilabel":
        linear = TEXT_BASELINES if dataset.modality == "text" else FLAT_BASELINES
        fits = each_label(linear)
    elif dataset.modality == "series":
        assert isinstance(dataset.encoder, SeriesEncoder)
        fits = {"linear": FLAT_BASELINES["linear"]}
        ready = naive_baselines(dataset.encoder)
    elif dataset.modality in ("images", "sequences", "audio"):
        fits = FLAT_BASELINES
    elif dataset.modality == "text":
        fits = TEXT_BASELINES
    elif dataset.modality == "language":
        fits = {"kneser_ney": kneser_ney}
    elif dataset.modality == "ratings":
        # They rank other rows too: they themselves are needed.
        fits, kept = baselines_of(task), None
    elif dataset.modality == "translation":
        # They say texts, which are soon found again.
        fits, kept = RETRIEVAL, None
    target = dataset.raw_target(dataset.train)
    return BaselineRun(task, dataset.train.fields, target, fits, ready, judged, kept)
