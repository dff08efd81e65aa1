"""What the words of a text do for its prediction.

A text is taken apart into words; longer ones into stretches of as many words each. Words that are
left out are cut from the text before it is split into tokens and terms, so that every family of
networks is explained in the same words, whatever it reads. What stands beside a text stays as it
is.

Sources: occlusion by leaving out: Li, Monroe and Jurafsky, "Understanding Neural Networks through
Representation Erasure", 2016; Shapley values and integrated gradients as in their modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from thalweg.data.texts import Passage, TextReader
from thalweg.data.tokens import UNKNOWN
from thalweg.errors import OptionError
from thalweg.explain.explanation import Explanation
from thalweg.explain.job import Job, about_of, captions_of
from thalweg.explain.scores import Asked, select
from thalweg.models import lookups_of

MOST_PIECES = 40
"""Pieces that a text is taken apart into by default."""


def by_occlusion(job: Job) -> Explanation:
    """How the prediction falls when a word is left out."""
    chosen, outputs = job.asked()
    own, found = chosen.of(outputs), []
    passages = _passages(job)
    for row, passage in enumerate(passages):
        if not job.going_on(row, len(passages)):
            break
        without = ~np.eye(len(passage), dtype=bool)
        found.append(own[row] - _scores(job, chosen, row, passage, without))
    return _told(job, "occlusion", chosen, passages, found, own, {"base": "the text without it"})


def by_shapley(job: Job) -> Explanation:
    """What each word adds, on average over all orders in which words may be added."""
    from thalweg.explain.shapley import shapley

    chosen, outputs = job.asked()
    passages, found, errors, base, exact = _passages(job), [], [], [], True
    for row, passage in enumerate(passages):
        if not job.going_on(row, len(passages)):
            break
        if len(passage) == 0:
            found.append(np.zeros(0))
            errors.append(np.zeros(0))
            base.append(float(chosen.of(outputs)[row]))
            continue

        def value(
            index: np.ndarray, present: np.ndarray, others: np.ndarray,
            row: int = row, passage: Passage = passage,
        ) -> np.ndarray:  # fmt: skip
            del index, others
            return _scores(job, chosen, row, passage, present)

        one = shapley(value, 1, len(passage), 1, num_walks=job.samples, seed=job.seed)
        found.append(one.values[0])
        errors.append(one.error[0])
        base.append(float(one.base[0]))
        exact = exact and one.exact
    about = {"base": "the prediction for the text without its words", "exact": exact}
    return _told(
        job, "shapley", chosen, passages, found, chosen.of(outputs), about, np.array(base),
        None if exact else errors,
    )  # fmt: skip


def by_integrated_gradients(job: Job) -> Explanation:
    """What each word adds on a straight way from unknown words."""
    from thalweg.explain.gradients import integrated_gradients

    if job.model.calibrated:
        job = replace(job, model=replace(job.model, calibrated=False))
        job.notices.append("probabilities are explained as they were before calibration")
    read = {lookup.field for lookup in lookups_of(next(iter(job.model.networks()))[0]).values()}
    if "tokens" not in read:
        raise OptionError(
            "integrated_gradients is for networks that read tokens in their order; this one reads "
            f"{'weighted terms' if 'terms' in read else 'them its own way'}: take occlusion or "
            "shapley"
        )
    chosen, _ = job.asked()
    baseline = {name: np.asarray(values) for name, values in job.fields.items()}
    baseline["tokens"] = np.full_like(baseline["tokens"][:1], UNKNOWN)
    path = integrated_gradients(job.model, job.fields, chosen, baseline)
    reader, passages, found = _reader(job), _passages(job), []
    beside = np.zeros(len(job.part))
    for name, values in path.entries.items():
        if name not in ("tokens", "term_weight"):
            beside += values.reshape(len(values), -1).sum(1)
    for row, passage in enumerate(passages):
        owner = _owners(passage, reader.tokeniser.spans(_texts(job)[row]))[: reader.length]
        sums = np.zeros(len(passage) + 1)
        np.add.at(sums, owner, path.entries["tokens"][row][: len(owner)])
        found.append(sums[: len(passage)])
        # Marks such as [CLS], and what fills the text up, are nobody's words.
        beside[row] += sums[-1] + path.entries["tokens"][row][len(owner) :].sum()
    job.going_on(len(job.part), len(job.part))
    about = {
        "base": "the prediction for unknown words; what marks and other columns add is in it",
        "largest_gap": float(np.abs(path.gap).max(initial=0.0)),
        "steps": path.steps,
    }
    base = path.base + beside
    return _told(job, "integrated_gradients", chosen, passages, found, path.score, about, base)


def _reader(job: Job) -> TextReader:
    reader = job.model.encoder.reader
    assert reader is not None
    return reader


def _texts(job: Job) -> Sequence[str]:
    assert job.texts is not None
    return job.texts


def _passages(job: Job) -> list[Passage]:
    return [_reader(job).passage(text, job.cells or MOST_PIECES) for text in _texts(job)]


def _scores(job: Job, chosen: Asked, row: int, passage: Passage, present: np.ndarray) -> np.ndarray:
    """Return the scores [K] of a row's text with some of its pieces, bool [K, P]."""
    fields, _ = _reader(job).fields_of([passage.kept(some) for some in present])
    index = np.full(len(present), row)
    beside = {name: values for name, values in job.fields.items() if name not in fields}
    return chosen.of(job.model.outputs({**select(beside, index), **fields}), index)


def _owners(passage: Passage, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the piece of each token: the one with its last character; the last + 1 for none."""
    ends = np.array([end for _, end in spans], int) - 1
    owner = np.searchsorted(passage.starts, ends, side="right") - 1
    empty = np.array([start == end for start, end in spans], bool)
    return np.where(empty | (owner < 0), len(passage), owner)


def _told(
    job: Job,
    method: str,
    chosen: Asked,
    passages: Sequence[Passage],
    found: Sequence[np.ndarray],
    score: np.ndarray,
    about: Mapping[str, Any],
    base: np.ndarray | None = None,
    errors: Sequence[np.ndarray] | None = None,
) -> Explanation:
    """Return a table of one line a word, and the texts with the weights of their words."""
    import polars as pl

    num = len(found)
    sizes = [len(values) for values in found]
    columns: dict[str, Any] = {"row": np.repeat(job.part.rows[:num], sizes)}
    columns |= {n: np.repeat(np.asarray(v)[:num], sizes) for n, v in job.part.keys.items()}
    columns["explained"] = pl.Series(
        [label for label, size in zip(chosen.labels, sizes, strict=False) for _ in range(size)]
    )
    columns["prediction"] = np.repeat(score[:num], sizes)
    if base is not None:
        columns["base"] = np.repeat(base[:num], sizes)
    some = passages[:num]
    columns["first_character"] = [start for passage in some for start in passage.starts]
    columns["word"] = [piece.strip() for passage in some for piece in passage.pieces]
    columns["contribution"] = np.concatenate([np.zeros(0), *found])
    if errors is not None:
        columns["error"] = np.concatenate([np.zeros(0), *errors])
    told = tuple(
        tuple(zip(passage.pieces, map(float, values), strict=True))
        for passage, values in zip(some, found, strict=True)
    )
    return Explanation(
        method,
        pl.DataFrame(columns),
        about_of(job, chosen, num, about),
        captions=captions_of(chosen, score[:num]),
        paint=job.paint,
        passages=told,
    )
