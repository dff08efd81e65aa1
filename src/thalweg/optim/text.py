"""Losses and metrics of written texts, compiled for one member; scores of finished ones, by host.

Outputs are logits [B, T, V], targets token ids int [B, T] in which 0 pads and does not count.

Compiled, with the true tokens before each (teacher forcing):

* ``perplexity``: exp of the mean cross-entropy of a token; ``token_accuracy``.

Of finished texts, by the libraries that papers use:

* ``bleu``: sacreBLEU's corpus BLEU, mixed case, tokenised as ``13a`` (Chinese as ``zh``, other
  scripts without blanks by characters). Source: Post, "A Call for Clarity in Reporting BLEU
  Scores", 2018.
* ``chrf``: chrF2 of sacreBLEU. Source: Popović, "chrF: character n-gram F-score", 2015.
* ``rouge1``, ``rouge2``, ``rougeL``: mean F-measure in per cent, by rouge-score, words stemmed
  (scripts without blanks by characters). Source: Lin, "ROUGE: A Package for Automatic Evaluation of
  Summaries", 2004.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.errors import MissingExtraError
from thalweg.nn.softmax import cross_entropy

TEXT_SCORES = ("bleu", "chrf", "rouge1", "rouge2", "rougeL")
"""What finished texts are scored by, in per cent; more is better."""


def _by_token(outputs: Array, target: Array, smoothing: Any) -> tuple[Array, Array]:
    """Return each token's cross-entropy, 0 where it pads, and which count; [B, T] each."""
    counts = target != 0
    flat = cross_entropy(
        outputs.reshape(-1, outputs.shape[-1]),
        target.reshape(-1),
        jnp.asarray(smoothing, outputs.dtype),
    )
    return jnp.where(counts, flat.reshape(target.shape), 0.0), counts


def sequence_cross_entropy(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``mean_t -Σ_v q_v·log softmax(z_t)_v`` over the tokens of each row that count, [B]."""
    each, counts = _by_token(outputs, target, hp["label_smoothing"])
    return each.sum(-1) / jnp.maximum(counts.sum(-1), 1)


def token_counts(outputs: Array, target: Array) -> Array:
    """Return each row's right tokens, tokens, and summed cross-entropy, float [B, 3]."""
    each, counts = _by_token(outputs, target, 0.0)
    right = (outputs.argmax(-1) == target) & counts
    return jnp.stack([right.sum(-1), counts.sum(-1), each.sum(-1)], axis=-1).astype(jnp.float32)


def _total(counts: Array, weight: Array) -> Array:
    return (counts * weight[:, None]).sum(0)


def perplexity(counts: Array, weight: Array) -> Array:
    """``exp(Σ cross-entropy / Σ tokens)`` from ``token_counts``."""
    _, tokens, entropy = _total(counts, weight)
    return jnp.exp(entropy / jnp.maximum(tokens, 1))


def token_accuracy(counts: Array, weight: Array) -> Array:
    """``Σ right / Σ tokens`` from ``token_counts``."""
    right, tokens, _ = _total(counts, weight)
    return right / jnp.maximum(tokens, 1)


def _of_outputs(metric: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    def of_outputs(outputs: Array, target: Array, weight: Array, units: Any = None) -> Array:
        del units
        return metric(token_counts(outputs, target), weight)

    of_outputs.__name__, of_outputs.__doc__ = metric.__name__, metric.__doc__
    return of_outputs


FROM_COUNTS = {"perplexity": perplexity, "token_accuracy": token_accuracy}
"""Metrics of what ``token_counts`` returns."""

FROM_OUTPUTS = {name: _of_outputs(metric) for name, metric in FROM_COUNTS.items()}
"""The same metrics of raw outputs."""


# --- finished texts ------------------------------------------------------------------------------


def script_of(texts: Sequence[str]) -> str:
    """Return how a language is cut into words: ``"spaced"``, ``"chinese"`` or ``"solid"``.

    Chinese and other scripts that put no blanks between words are told by their letters.
    """
    han = other = letters = 0
    for text in texts[:1000]:
        for sign in text[:500]:
            if not sign.isalpha():
                continue
            letters += 1
            name = unicodedata.name(sign, "")
            if name.startswith(("CJK UNIFIED", "CJK COMPAT")):
                han += 1
            elif name.startswith(("HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")):
                other += 1
    if 2 * (han + other) <= letters:
        return "spaced"
    return "solid" if other > 0.1 * han else "chinese"


class _Characters:
    """Cuts texts into characters, for ROUGE of scripts without blanks."""

    def tokenize(self, text: str) -> list[str]:
        """Return the characters but for blanks."""
        return [sign for sign in text if not sign.isspace()]


def text_scores(texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return every score of ``TEXT_SCORES`` of written texts.

    Args:
        texts: what was written.
        references: what was wanted, in the same order.

    Raises:
        MissingExtraError: ``sacrebleu`` or ``rouge-score`` is not installed.

    Example:
        >>> round(text_scores(["a dog runs"], ["a dog runs"])["chrf"])
        100
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ModuleNotFoundError:
        raise MissingExtraError(
            "texts are scored by sacrebleu and rouge-score: pip install 'thalweg[text]'"
        ) from None
    written, wanted = [str(text) for text in texts], [str(text) for text in references]
    script = script_of(wanted)
    by = {"spaced": "13a", "chinese": "zh", "solid": "char"}[script]
    bleu = BLEU(tokenize=by).corpus_score(written, [wanted])
    chrf = CHRF().corpus_score(written, [wanted])
    kinds = ("rouge1", "rouge2", "rougeL")
    cut: dict[str, Any] = {"use_stemmer": True} if script == "spaced" else {}
    if not cut:
        cut = {"tokenizer": _Characters()}
    rouge = RougeScorer(list(kinds), **cut)
    each = [rouge.score(truth, text) for truth, text in zip(wanted, written, strict=True)]
    return {
        "bleu": float(bleu.score),
        "chrf": float(chrf.score),
        **{kind: 100.0 * float(np.mean([s[kind].fmeasure for s in each])) for kind in kinds},
    }
