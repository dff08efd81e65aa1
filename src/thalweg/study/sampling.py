"""Texts that a language model writes."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.data.language import LanguageEncoder
from thalweg.data.tokens import END, START
from thalweg.errors import OptionError


def sample(
    model: Any,
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
