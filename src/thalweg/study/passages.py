"""Texts that a model gets most wrong, with the words that misled it; and texts that it writes."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.data import Dataset
from thalweg.data.language import LanguageEncoder
from thalweg.data.texts import TextDataset
from thalweg.data.tokens import END, START
from thalweg.errors import OptionError
from thalweg.study.model import Model

NUM_MISTAKES = 6
MOST_PIECES = 80
"""Pieces that a text is taken apart into; of longer ones each has several words."""

NUM_SAMPLES = 6
SAMPLE_TOKENS = 60


def passages(dataset: Dataset, model: Model, outputs: np.ndarray | None) -> list[dict[str, Any]]:
    """Return the surest mistakes on test texts (validation texts, where there are none).

    A word's weight is what the probability of the predicted class (or the prediction) loses when
    the word is left out: occlusion. Source: Li et al., "Understanding Neural Networks through
    Representation Erasure", 2016.

    Args:
        dataset: the texts; other data has none.
        model: the trained model.
        outputs: its outputs for the test rows, where they are known.

    Returns:
        Records with ``row``, ``true``, ``predicted``, ``probability`` (None for numbers) and
        ``words``, pairs of a word and its weight.
    """
    if not isinstance(dataset, TextDataset) or dataset.task.kind == "multilabel":
        return []
    name = "test" if len(dataset.test) else "validation"
    part = dataset.parts[name]
    if outputs is None or name == "validation":
        outputs = model.outputs(part.fields)
    labels, decided = dataset.labels(part), dataset.encoder.decide(outputs, model.threshold)
    if dataset.task.kind == "regression":
        if outputs.shape[1] > 1:
            return []
        wrong = np.arange(len(part))
        size = np.abs(decided - labels)
    else:
        wrong = np.flatnonzero(decided != labels)
        size = outputs.max(1)
    found = []
    for i in wrong[np.argsort(-size[wrong], kind="stable")][:NUM_MISTAKES]:
        classed = dataset.task.kind != "regression"
        column = int(outputs[i].argmax()) if classed else 0
        found.append(
            {
                "row": int(part.rows[i]),
                "true": _plain(labels[i]),
                "predicted": _plain(decided[i]),
                "probability": float(outputs[i, column]) if classed else None,
                "words": _weighed(dataset, model, name, int(i), column),
            }
        )
    return found


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _weighed(
    dataset: TextDataset, model: Model, name: str, place: int, column: int
) -> list[tuple[str, float]]:
    """Return the words of a text, each with what its absence takes from an output."""
    passage = dataset.reader.passage(dataset.texts(name)[place], MOST_PIECES)
    variants = [np.ones(len(passage), bool), *~np.eye(len(passage), dtype=bool)]
    fields, _ = dataset.reader.fields_of([passage.kept(present) for present in variants])
    # What stands beside the text stays as it is.
    own = dataset.parts[name].fields
    beside = {
        n: np.repeat(values[place : place + 1], len(variants), axis=0)
        for n, values in own.items()
        if n not in fields
    }
    values = model.outputs({**beside, **fields})[:, column]
    return [
        (piece, round(float(values[0] - values[i + 1]), 4))
        for i, piece in enumerate(passage.pieces)
    ]


def sample(
    model: Model,
    prompt: str = "",
    *,
    num: int = 1,
    length: int = 100,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> list[str]:
    """Continue a text with a language model.

    Args:
        model: a model of the task ``"language"``.
        prompt: how the texts begin.
        num: how many texts.
        length: tokens to add at most; a text ends earlier at its end mark.
        temperature: below 1 the likely tokens get likelier; 0 always takes the likeliest.
        top_k: draw from so many of the likeliest tokens; 0 for all.
        top_p: draw from the likeliest tokens that together have this probability (nucleus).
        seed: of the draws.

    Returns:
        The texts, prompt included.

    Raises:
        OptionError: the model is no language model, or an argument is out of range.
    """
    from thalweg.models import InputShape, build
    from thalweg.models.language_model import LanguageModel
    from thalweg.training.generation import MOST_TOKENS, generate_tokens

    encoder = model.encoder
    if not isinstance(encoder, LanguageEncoder):
        raise OptionError(
            f"texts are continued by language models; this one's task is {model.task.kind}: fit "
            "one with task='language'"
        )
    checks = {
        "num from 1 to 1000": (num, 1 <= num <= 1000),
        f"length from 1 to {MOST_TOKENS - 1}": (length, 1 <= length < MOST_TOKENS),
        "temperature of 0 or more": (temperature, 0 <= temperature < float("inf")),
        "top_k of 0 or more": (top_k, top_k >= 0),
        "top_p above 0 and at most 1": (top_p, 0 < top_p <= 1),
    }
    for rule, (value, fine) in checks.items():
        if not fine:
            raise OptionError(f"sampling needs {rule}; got {value!r}")
    network = build(model.structure, InputShape.from_dict(model.inputs), model.task.num_outputs)
    assert isinstance(network, LanguageModel)
    given = [START, *encoder.tokeniser.encode([prompt])[0].tolist()]
    rows = generate_tokens(
        network,
        [params for params, _ in model.members],
        given,
        num=num,
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    texts = []
    for row in rows:
        ends = np.flatnonzero(row[1:] == END)
        texts.append(row[1 : ends[0] + 1] if len(ends) else row[1:])
    return encoder.tokeniser.decode_all(texts)


def samples(dataset: Dataset, model: Model) -> list[str]:
    """Return some texts that a language model writes; none of other models."""
    if dataset.modality != "language":
        return []
    return sample(model, num=NUM_SAMPLES, length=SAMPLE_TOKENS, top_p=0.95, temperature=0.8)
