"""Losses, metrics and scores of texts, against torch and the libraries that papers use."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.errors import DataError
from thalweg.optim import text
from thalweg.optim.losses import LOSSES
from thalweg.optim.metrics import METRICS, score
from thalweg.task import Task

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((4, 5, 7)).astype(np.float32)
TARGET = RNG.integers(1, 7, (4, 5))
TARGET[0, 3:] = 0
TARGET[2, 1:] = 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_and_its_gradient_are_torchs(smoothing: float) -> None:
    torch = pytest.importorskip("torch")
    logits = torch.tensor(LOGITS, requires_grad=True)
    each = torch.nn.functional.cross_entropy(
        logits.reshape(-1, 7),
        torch.tensor(TARGET).reshape(-1),
        label_smoothing=smoothing,
        ignore_index=0,
        reduction="none",
    ).reshape(4, 5)
    rows = each.sum(1) / torch.tensor((TARGET != 0).sum(1))
    rows.sum().backward()
    loss = LOSSES["translation"]["cross_entropy"]

    def total(outputs: jax.Array) -> jax.Array:
        return loss(outputs, jnp.asarray(TARGET), {"label_smoothing": smoothing}).sum()

    found = loss(jnp.asarray(LOGITS), jnp.asarray(TARGET), {"label_smoothing": smoothing})
    np.testing.assert_allclose(found, rows.detach().numpy(), rtol=1e-5)
    assert logits.grad is not None
    gradient = jax.grad(total)(jnp.asarray(LOGITS))
    np.testing.assert_allclose(gradient, logits.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_weights_by_tokens_make_the_mean_over_tokens() -> None:
    """A row's loss is its tokens' mean; weighted by their number it is the mean over all tokens."""
    outputs, target = jnp.asarray(LOGITS), jnp.asarray(TARGET)
    rows = text.sequence_cross_entropy(outputs, target, {"label_smoothing": 0.0})
    weight = (TARGET != 0).sum(1)
    counts = text.token_counts(outputs, target)
    mean = float((rows * weight).sum() / weight.sum())
    assert float(text.perplexity(counts, jnp.ones(4))) == pytest.approx(np.exp(mean), rel=1e-5)


def test_metrics_count_tokens() -> None:
    right = (LOGITS.argmax(-1) == TARGET) & (TARGET != 0)
    wanted = right.sum() / (TARGET != 0).sum()
    found = METRICS["translation"]["token_accuracy"](jnp.asarray(LOGITS), jnp.asarray(TARGET))
    assert float(found) == pytest.approx(wanted, rel=1e-6)


def test_scores_are_those_of_the_libraries() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    wanted = ["The cat sat on the mat.", "It rains in the small town."]
    written = ["The cat sat on a mat.", "It rained in the town."]
    found = score(Task("translation", ("de",)), np.array(written), np.array(wanted))
    assert tuple(found) == text.TEXT_SCORES
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, [wanted]).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, [wanted]).score)
    # The first has 5 of 6 words right on either side; the second, with stems, 5 of 5 and 6.
    assert found["rouge1"] == pytest.approx(100 * (5 / 6 + 10 / 11) / 2)
    with pytest.raises(DataError, match="as many predictions"):
        score(Task("translation", ("de",)), np.array(written), np.array(wanted[:1]))


def test_chinese_is_scored_by_characters() -> None:
    pytest.importorskip("sacrebleu")
    assert text.script_of(["我喜欢猫", "他在家"]) == "chinese"
    assert text.script_of(["ねこがすきです"]) == "solid"
    assert text.script_of(["Привет, мир"]) == "spaced"
    same = text.text_scores(["我喜欢猫和狗"], ["我喜欢猫和狗"])
    assert all(value == pytest.approx(100.0) for value in same.values())
    half = text.text_scores(["我喜欢"], ["我喜欢猫和狗"])
    assert half["rouge1"] == pytest.approx(100 * 2 * 0.5 / 1.5)
