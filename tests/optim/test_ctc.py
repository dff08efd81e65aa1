"""CTC against torch and against all paths there are; error rates against the definition."""

from __future__ import annotations

from functools import cache
from itertools import groupby, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.optim import ctc
from thalweg.optim.metrics import METRICS, score
from thalweg.task import Task


def logits(rows=5, frames=9, outputs=4, seed=0, scale=2.0):
    return (scale * np.random.default_rng(seed).normal(size=(rows, frames, outputs))).astype(
        np.float32
    )


def targets(rows=5, longest=4, outputs=4, seed=0):
    rng = np.random.default_rng([seed, 1])
    out = np.zeros((rows, longest), np.int32)
    for row in out:
        length = rng.integers(1, longest + 1)
        row[:length] = rng.integers(1, outputs, length)
    return out


def collapsed(path):
    return tuple(symbol for symbol, _ in groupby(path) if symbol)


def all_texts(log_probs):
    """Return the probability of every text, by adding up all paths."""
    frames, outputs = log_probs.shape
    found: dict[tuple[int, ...], float] = {}
    for path in product(range(outputs), repeat=frames):
        p = np.exp(sum(log_probs[t, symbol] for t, symbol in enumerate(path)))
        found[collapsed(path)] = found.get(collapsed(path), 0.0) + p
    return found


# The loss -----------------------------------------------------------------------------------------


def test_loss_and_gradient_are_those_of_torch():
    torch = pytest.importorskip("torch")
    z, target = logits(), targets()
    lengths = (target != 0).sum(1)
    tensor = torch.tensor(z, requires_grad=True)
    theirs = torch.nn.functional.ctc_loss(
        torch.log_softmax(tensor, -1).transpose(0, 1),
        torch.tensor(target.astype(np.int64)),
        torch.full((5,), z.shape[1]),
        torch.tensor(lengths.astype(np.int64)),
        reduction="none",
    )
    ours = ctc.loss(jnp.asarray(z), jnp.asarray(target), {})
    np.testing.assert_allclose(ours, theirs.detach().numpy() / lengths, rtol=2e-5)
    (theirs / torch.tensor(lengths)).sum().backward()
    grad = jax.grad(lambda z: ctc.loss(z, jnp.asarray(target), {}).sum())(jnp.asarray(z))
    np.testing.assert_allclose(grad, tensor.grad.numpy(), atol=2e-5)


def test_frames_after_the_end_change_nothing():
    z, target = logits(), targets()
    certain = np.where(np.arange(4) == 0, 0.0, ctc.UNHEARD).astype(np.float32)
    longer = np.concatenate([z, np.broadcast_to(certain, (5, 6, 4))], axis=1)
    args = jnp.asarray(target), {}
    np.testing.assert_allclose(
        ctc.loss(jnp.asarray(longer), *args), ctc.loss(jnp.asarray(z), *args), rtol=1e-5
    )
    for beam in (1, 8):
        short, long = (ctc.texts(ctc.log_softmax(x), beam) for x in (z, longer))
        np.testing.assert_array_equal(long[:, : short.shape[1]], short)
        assert not long[:, short.shape[1] :].any()


def test_a_text_that_does_not_fit_gives_a_finite_gradient():
    z = jnp.asarray(logits(1, 3))
    target = jnp.array([[1, 1, 1, 1]])
    grad = jax.grad(lambda z: ctc.loss(z, target, {}).sum())(z)
    assert np.isfinite(grad).all()


# Decoding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_beam_finds_the_likeliest_of_all_texts(seed):
    log_probs = ctc.log_softmax(logits(4, 6, 4, seed))
    found = ctc.texts(log_probs, 200)
    for row, text in zip(log_probs, found, strict=True):
        every = all_texts(row)
        assert sum(every.values()) == pytest.approx(1.0)
        best = max(every, key=lambda key: every[key])
        assert tuple(text[text != 0]) == best
        assert np.exp(ctc.log_likelihood(row[None], np.array([best or (0,)])))[0] == pytest.approx(
            every[best]
        )


def test_a_wider_beam_is_hardly_ever_worse_and_often_better():
    log_probs = ctc.log_softmax(logits(200, 12, 5, 3, scale=1.0))
    values = {
        beam: ctc.log_likelihood(log_probs, ctc.texts(log_probs, beam)) for beam in (1, 4, 32)
    }
    assert (values[32] > values[1] + 1e-9).mean() > 0.3
    assert (values[4] >= values[1] - 1e-9).mean() > 0.9
    assert values[32].mean() > values[4].mean() > values[1].mean()


def test_the_likelihood_of_any_text_is_the_sum_over_its_paths():
    row = ctc.log_softmax(logits(1, 5, 3, 8))[0]
    for text, p in all_texts(row).items():
        padded = np.array([[*text, 0]])
        assert np.exp(ctc.log_likelihood(row[None], padded))[0] == pytest.approx(p)


def test_greedy_joins_repeats_and_leaves_out_blanks():
    path = np.array([[0, 2, 2, 0, 2, 3, 3, 1, 0], [0] * 9])
    said = np.asarray(ctc.greedy(jnp.asarray(10.0 * np.eye(4)[path])))
    np.testing.assert_array_equal(said[0], [2, 2, 3, 1, 0, 0, 0, 0, 0])
    assert not said[1].any()
    np.testing.assert_array_equal(ctc.texts(np.log(np.eye(4)[path] + 1e-9), 1), said)


def test_several_networks_agree_on_the_text_that_all_find_likely():
    first, second = (ctc.log_softmax(logits(30, 8, 4, seed)) for seed in (1, 2))
    np.testing.assert_array_equal(ctc.agreed([first, first]), ctc.texts(first))
    both = ctc.agreed([first, second])

    def total(text):
        return ctc.log_likelihood(first, text) + ctc.log_likelihood(second, text)

    for alone in (ctc.texts(first), ctc.texts(second)):
        assert (total(both) >= total(alone) - 1e-9).all()


# Error rates --------------------------------------------------------------------------------------


def edits_by_definition(one, other):
    @cache
    def fewest(i, j):
        if not i or not j:
            return i + j
        return min(
            fewest(i - 1, j) + 1,
            fewest(i, j - 1) + 1,
            fewest(i - 1, j - 1) + (one[i - 1] != other[j - 1]),
        )

    return fewest(len(one), len(other))


def test_edit_distances():
    said, truth = targets(60, 9, 5, 1), targets(60, 7, 5, 2)
    said[0] = 0
    ours = np.asarray(ctc.edit_distances(jnp.asarray(said), jnp.asarray(truth)))
    for a, b, distance in zip(said, truth, ours, strict=True):
        one, other = tuple(a[a != 0].tolist()), tuple(b[b != 0].tolist())
        assert distance == edits_by_definition(one, other) == ctc.edits(list(one), list(other))


def test_compiled_rates_are_those_of_the_host():
    z, target = logits(40, 14, 4, 5), targets(40, 8, 4, 6)
    task = Task("transcription", ("text",), (" ", "a", "b"))
    host = score(task, ctc.texts(ctc.log_softmax(z), 1), target)
    assert list(host) == ["character_error_rate", "word_error_rate"]
    for name, metric in METRICS["transcription"].items():
        assert float(metric(jnp.asarray(z), jnp.asarray(target))) == pytest.approx(host[name])
    words = [" ".join("".join("  ab"[s] for s in row if s).split()) for row in target.tolist()]
    assert [len(w.split()) for w in words] == [len(ctc.words_of(row)) for row in target]


def test_perfect_texts_have_no_errors():
    target = targets(20, 6, 4, 7)
    task = Task("transcription", ("text",), (" ", "a", "b"))
    assert set(score(task, target, target).values()) == {0.0}
