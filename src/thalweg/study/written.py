"""What a finished translator or transcriber writes for some rows, and where it looks meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from thalweg.data import Dataset, Part
from thalweg.data.translations import TranslationEncoder
from thalweg.study.model import Model

NUM_USUAL, NUM_WORST, NUM_ALIGNED = 6, 4, 3
MOST_ALIGNED = 40
"""Tokens of either side up to which it is shown where a text looks."""

_MOST_SCORED = 500
ALIGNMENT_SECONDS = 3.0
"""What compiling and computing the alignments may take."""


def written_texts(
    dataset: Dataset, model: Model, outputs: np.ndarray | None, seconds: float
) -> list[dict[str, Any]]:
    """Return what the model writes for usual rows and for the worst ones.

    Args:
        dataset: pairs of texts, or recordings with transcripts; other data has none.
        model: the trained model.
        outputs: its texts for the test rows, where they are known.
        seconds: what may be spent; alignments that do not fit into it are left out.

    Returns:
        Records with ``row``, ``kind`` (``"usual"`` or ``"worst"``), ``source`` (None for
        recordings), ``true``, ``written``, ``score`` (likeness of the two from 0 to 1) and, of
        some, ``alignment``: ``read`` and ``wrote``, the tokens, and ``weights``, for each written
        token where it looks.
    """
    if dataset.task.kind not in ("translation", "transcription") or outputs is None:
        return []
    part = dataset.test
    if not len(part):
        return []
    truth = dataset.labels(part)
    # Of recordings the outputs are codes of characters.
    outputs = dataset.encoder.decide(outputs)
    rows = np.random.default_rng(0).permutation(len(part))[:_MOST_SCORED]
    score = {int(i): likeness(str(outputs[i]), str(truth[i])) for i in rows}
    usual = sorted(list(score)[:NUM_USUAL])
    worst = sorted((i for i in score if i not in usual), key=lambda i: (score[i], i))
    found = []
    for kind, chosen in (("usual", usual), ("worst", worst[:NUM_WORST])):
        for i in chosen:
            read = part.texts["source"][i] if "source" in part.texts else None
            found.append(
                {
                    "row": int(part.rows[i]),
                    "kind": kind,
                    "source": None if read is None else str(read),
                    "true": str(truth[i]),
                    "written": str(outputs[i]),
                    "score": round(score[i], 3),
                }
            )
    if isinstance(dataset.encoder, TranslationEncoder) and seconds > ALIGNMENT_SECONDS:
        for record, aligned in zip(found, alignments(model, part, usual, outputs), strict=False):
            if aligned is not None:
                record["alignment"] = aligned
    return found


def likeness(written: str, true: str) -> float:
    """Return how alike two texts are, from 0 to 1: twice the shared characters by those of both."""
    return SequenceMatcher(None, written, true, autojunk=False).ratio()


def alignments(
    model: Model, part: Part, rows: Sequence[int] | np.ndarray, outputs: np.ndarray
) -> list[dict[str, Any] | None]:
    """Return where the tokens that a model wrote for some rows look, the mean over its networks.

    None for texts of more than ``MOST_ALIGNED`` tokens, and after the first ``NUM_ALIGNED``.
    """
    from thalweg.training.writing import attention

    encoder = model.encoder
    assert isinstance(encoder, TranslationEncoder)
    texts = [str(outputs[i]) for i in rows]
    read = [encoder.reader.encode([str(part.texts["source"][i])])[0].tolist() for i in rows]
    wrote = [encoder.writer.encode([text])[0].tolist() for text in texts]
    fitting = [
        place
        for place, (a, b) in enumerate(zip(read, wrote, strict=True))
        if 0 < len(a) <= MOST_ALIGNED and 0 < len(b) <= MOST_ALIGNED
    ][:NUM_ALIGNED]
    found: list[dict[str, Any] | None] = [None] * len(texts)
    if not fitting:
        return found
    network: Any = next(model.networks())[0]
    weights = attention(
        network,
        [params for params, _ in model.members],
        [read[place] for place in fitting],
        [wrote[place] for place in fitting],
    )
    for place, values in zip(fitting, weights, strict=True):
        found[place] = {
            "read": _pieces(encoder.reader, read[place]),
            "wrote": _pieces(encoder.writer, wrote[place]),
            "weights": np.round(values, 3).tolist(),
        }
    return found


def _pieces(tokeniser: Any, ids: Sequence[int]) -> list[str]:
    """Return the text of each token by itself; a part of a character shows as a replacement."""
    return [tokeniser.decode([i]).strip() or "·" for i in ids]
