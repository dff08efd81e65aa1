"""Connectionist temporal classification: a text from frames of which nobody said what is where.

Outputs are logits [B, T, K], one for each frame; output 0 is the blank, output 1 the space between
words. Targets are outputs [B, L], 0 after the end. A path of outputs becomes a text when repeated
outputs are joined and blanks are left out; the loss sums over all paths that become the target.
Frames after the end of a recording have the blank for certain, so that nothing here needs to know
lengths. Source: Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented
Sequence Data with Recurrent Neural Networks", 2006.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from thalweg.nn import noise

BLANK, SPACE = 0, 1
UNHEARD = -100.0
"""Logit of every output but the blank in a frame after the end."""

MOST_CANDIDATES = 8
"""Beginnings of texts that are followed at a time."""


def loss(outputs: Array, target: Array, hp: Mapping[str, Any]) -> Array:
    """``−log Σ_{paths that become the target} Π_t softmax(z_t)_{path_t}``, a character.

    Divided by the length of the target (at least 1): texts of all lengths count alike.
    """
    # Loaded with the rest it would cost every process a tenth of its start.
    import optax

    del hp
    padding = (target == BLANK).astype(outputs.dtype)
    silent = jnp.zeros(outputs.shape[:2], outputs.dtype)
    value = optax.ctc_loss(outputs, silent, target, padding, blank_id=BLANK)
    return value / jnp.maximum((1.0 - padding).sum(1), 1.0)


# --- compiled metrics ----------------------------------------------------------------------------


def greedy(outputs: Array) -> Array:
    """Return the text of the likeliest output of each frame, int32 [B, T], 0 after its end."""
    best = jnp.argmax(outputs, axis=-1).astype(jnp.int32)
    before = jnp.pad(best, ((0, 0), (1, 0)))[:, :-1]
    return _close_up(best, (best != BLANK) & (best != before))


def error_counts(outputs: Array, target: Array) -> Array:
    """Return each row's wrong characters, characters, wrong words and words, float32 [B, 4]."""
    said = greedy(outputs)
    target = target.astype(jnp.int32)
    parts = []
    for one, other in ((said, target), (_words(said), _words(target))):
        parts += [edit_distances(one, other), (other != 0).sum(1).astype(jnp.float32)]
    return jnp.stack(parts, axis=1)


def edit_distances(one: Array, other: Array) -> Array:
    """Return the fewest insertions, deletions and substitutions between rows, float32 [B].

    Args:
        one: numbers [B, N], 0 after the end.
        other: numbers [B, M], 0 after the end.
    """
    steps = jnp.arange(other.shape[1] + 1, dtype=jnp.float32)
    start = jnp.broadcast_to(steps, (one.shape[0], steps.shape[0]))

    def step(row: Array, symbol: Array) -> tuple[Array, None]:
        replaced = row[:, :-1] + (symbol[:, None] != other)
        best = jnp.minimum(replaced, row[:, 1:] + 1.0)
        best = jnp.concatenate([row[:, :1] + 1.0, best], axis=1)
        # Insertions cost one each: the cheapest place to begin them.
        best = lax.cummin(best - steps, axis=1) + steps
        return jnp.where(symbol[:, None] != 0, best, row), None

    last, _ = lax.scan(step, start, one.T)
    ends = (other != 0).sum(1)
    return jnp.take_along_axis(last, ends[:, None], axis=1)[:, 0]


def _close_up(values: Array, kept: Array) -> Array:
    """Move what is kept of each row to its front, zeros after it."""
    size = values.shape[1]
    place = jnp.arange(size)
    order = jnp.argsort(jnp.where(kept, place, place + size), axis=1)
    closed = jnp.take_along_axis(values, order, axis=1)
    return jnp.where(place < kept.sum(1)[:, None], closed, 0)


def _words(text: Array) -> Array:
    """Return a number for each word of texts [B, N], 0 after the last; different words differ."""

    def step(so_far: Array, symbol: Array) -> tuple[Array, Array]:
        inside = symbol > SPACE
        grown = noise.mix(so_far ^ symbol.astype(jnp.uint32)) + np.uint32(1)
        so_far = jnp.where(inside, grown, jnp.uint32(0))
        return so_far, so_far

    _, hashes = lax.scan(step, jnp.zeros(text.shape[0], jnp.uint32), text.T)
    hashes = hashes.T
    after = jnp.pad(text, ((0, 0), (0, 1)))[:, 1:]
    ends = (text > SPACE) & (after <= SPACE)
    # 31 bits of the hash, never 0.
    numbers = (hashes >> 1).astype(jnp.int32) | 1
    return _close_up(numbers, ends)


def _rate(column: int) -> Callable[[Array, Array], Array]:
    def rate(counts: Array, weight: Array) -> Array:
        total = (counts * weight[:, None]).sum(0)
        return total[column] / jnp.maximum(total[column + 1], 1.0)

    return rate


RATES: dict[str, Callable[[Array, Array], Array]] = {
    "character_error_rate": _rate(0),
    "word_error_rate": _rate(2),
}
"""Error rates from what ``error_counts`` gives, [B, 4], and the weight of each row [B]."""


def character_error_rate(outputs: Array, target: Array, weight: Array, units: Any = None) -> Array:
    """Wrong characters of the greedy texts by characters of the targets."""
    return RATES["character_error_rate"](error_counts(outputs, target), weight)


def word_error_rate(outputs: Array, target: Array, weight: Array, units: Any = None) -> Array:
    """Wrong words of the greedy texts by words of the targets."""
    return RATES["word_error_rate"](error_counts(outputs, target), weight)


# --- decoding on the host ------------------------------------------------------------------------


def log_softmax(outputs: np.ndarray) -> np.ndarray:
    """Return the logarithm of the probabilities of outputs [..., K], float64."""
    z = np.asarray(outputs, np.float64)
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def texts(log_probs: np.ndarray, beam: int = MOST_CANDIDATES) -> np.ndarray:
    """Return the likeliest texts that a search along the frames finds.

    A beginning of a text is followed together with all its paths, those that end in a blank and
    those that end in its last character apart; of all beginnings the ``beam`` likeliest go on. With
    a beam of 1 each frame decides for itself (the likeliest path). Source: Hannun et al.,
    "First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs",
    2014, algorithm 1, without its language model.

    Args:
        log_probs: logarithm of the probabilities [N, T, K].
        beam: beginnings followed at a time.

    Returns:
        Outputs int32 [N, L], 0 after the end.
    """
    if beam <= 1:
        return np.asarray(jax.device_get(greedy(jnp.asarray(log_probs, jnp.float32))))
    num_rows, num_frames, num_outputs = log_probs.shape
    width = min(beam, num_outputs ** min(num_frames, 8))
    every = np.arange(num_rows)[:, None]
    shape = (num_rows, width)
    text: np.ndarray = np.zeros((*shape, num_frames), np.int32)
    size: np.ndarray = np.zeros(shape, np.int64)
    last: np.ndarray = np.zeros(shape, np.int64)
    own: np.ndarray = np.zeros(shape, np.uint64)
    parent: np.ndarray = np.zeros(shape, np.uint64)
    blank = np.full(shape, -np.inf)
    blank[:, 0] = 0.0
    # Of no text at all there is one; the other places are free.
    own[:, 1:] = np.arange(1, width, dtype=np.uint64)
    spoken = np.full(shape, -np.inf)
    for t in range(num_frames):
        now = log_probs[:, t]
        total = np.logaddexp(blank, spoken)
        stay_blank = total + now[:, :1]
        stay_spoken = np.where(size > 0, spoken + np.take_along_axis(now, last, axis=1), -np.inf)
        # A character that repeats the last one begins anew only after a blank.
        grown = total[:, :, None] + now[:, None, :]
        repeated = blank + np.take_along_axis(now, last, axis=1)
        np.put_along_axis(grown, last[:, :, None], repeated[:, :, None], axis=2)
        grown[:, :, BLANK] = -np.inf
        # Where a beginning that is followed is another one and a character more, they are one.
        same = (parent[:, None, :] == own[:, :, None]) & (size > 0)[:, None, :]
        row, source, heir = np.nonzero(same & np.isfinite(total)[:, :, None])
        symbol = last[row, heir]
        np.logaddexp.at(stay_spoken, (row, heir), grown[row, source, symbol])
        grown[row, source, symbol] = -np.inf
        options = np.concatenate(
            [np.logaddexp(stay_blank, stay_spoken), grown.reshape(num_rows, -1)], axis=1
        )
        chosen = np.argsort(-options, axis=1, kind="stable")[:, :width]
        stays = chosen < width
        source = np.where(stays, chosen, (chosen - width) // num_outputs)
        symbol = np.where(stays, 0, (chosen - width) % num_outputs)
        value = np.take_along_axis(options, chosen, axis=1)
        blank = np.where(stays, stay_blank[every, source], -np.inf)
        spoken = np.where(stays, stay_spoken[every, source], value)
        text, size = text[every, source], size[every, source]
        parent = np.where(stays, parent[every, source], own[every, source])
        longer = own[every, source] * np.uint64(6364136223846793005)
        longer = (longer + symbol.astype(np.uint64)) * np.uint64(2862933555777941757) + np.uint64(1)
        own = np.where(stays, own[every, source], longer)
        last = np.where(stays, last[every, source], symbol)
        new_row, new_place = np.nonzero(~stays)
        text[new_row, new_place, size[new_row, new_place]] = symbol[new_row, new_place]
        size = size + ~stays
    best = np.argmax(np.logaddexp(blank, spoken), axis=1)
    return _trimmed(text[np.arange(num_rows), best])


def _trimmed(text: np.ndarray) -> np.ndarray:
    longest = int((text != 0).sum(1).max(initial=0))
    return text[:, : max(longest, 1)]


def log_likelihood(log_probs: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Return the logarithm of the probability of texts, [N].

    Args:
        log_probs: logarithm of the probabilities [N, T, K].
        text: outputs [N, L], 0 after the end.
    """
    num_rows, num_frames, _ = log_probs.shape
    # Blanks around each character.
    states: np.ndarray = np.zeros((num_rows, 2 * text.shape[1] + 1), np.int64)
    states[:, 1::2] = text
    skips: np.ndarray = np.zeros(states.shape, bool)
    skips[:, 3::2] = (text[:, 1:] != text[:, :-1]) & (text[:, 1:] != 0)
    alpha = np.full(states.shape, -np.inf)
    alpha[:, 0] = 0.0
    lowest = np.full((num_rows, 2), -np.inf)
    for t in range(num_frames):
        padded = np.concatenate([lowest, alpha], axis=1)
        one = np.logaddexp(alpha, padded[:, 1:-1]) if t else alpha.copy()
        if t == 0:
            one[:, 1] = 0.0
        else:
            one = np.where(skips, np.logaddexp(one, padded[:, :-2]), one)
        alpha = one + np.take_along_axis(log_probs[:, t], states, axis=1)
    ends = 2 * (text != 0).sum(1)
    index = np.arange(num_rows)
    before = np.where(ends > 0, alpha[index, np.maximum(ends - 1, 0)], -np.inf)
    return np.logaddexp(alpha[index, ends], before)


def agreed(log_probs: list[np.ndarray], beam: int = MOST_CANDIDATES) -> np.ndarray:
    """Return the texts that several networks give most probability to, outputs int32 [N, L].

    Their frames cannot be averaged, as each network puts its characters into frames of its own.
    Every network proposes the text that it finds likeliest, and the one with the largest sum of
    log-probabilities under all of them wins.

    Args:
        log_probs: logarithm of the probabilities [N, T, K] of each network.
        beam: beginnings followed at a time.
    """
    found = [texts(one, beam) for one in log_probs]
    if len(found) == 1:
        return found[0]
    longest = max(text.shape[1] for text in found)
    found = [np.pad(text, ((0, 0), (0, longest - text.shape[1]))) for text in found]
    scores = [sum(log_likelihood(one, text) for one in log_probs) for text in found]
    best = np.argmax(np.stack(scores), axis=0)
    return _trimmed(np.stack(found)[best, np.arange(len(best))])


# --- scores on the host --------------------------------------------------------------------------


def scorers(
    predictions: np.ndarray, target: np.ndarray, num_classes: int
) -> dict[str, Callable[[], float]]:
    """Return the error rates of finished texts [N, L] against true ones [N, M]."""
    del num_classes

    def rate(split: Callable[[np.ndarray], list[Any]]) -> float:
        wrong = total = 0
        for said, truth in zip(predictions, target, strict=True):
            wrong += edits(split(said), split(truth))
            total += len(split(truth))
        return wrong / max(total, 1)

    return {
        "character_error_rate": lambda: rate(lambda text: text[text != 0].tolist()),
        "word_error_rate": lambda: rate(words_of),
    }


def words_of(text: np.ndarray) -> list[tuple[int, ...]]:
    """Return the words of one text of outputs [L]."""
    found: list[tuple[int, ...]] = []
    word: list[int] = []
    for symbol in [*text.tolist(), SPACE]:
        if symbol > SPACE:
            word.append(symbol)
        elif word:
            found.append(tuple(word))
            word = []
    return found


def edits(one: list[Any], other: list[Any]) -> int:
    """Return the fewest insertions, deletions and substitutions between two lists.

    Source: Wagner and Fischer, "The String-to-String Correction Problem", 1974.
    """
    row = list(range(len(other) + 1))
    for i, symbol in enumerate(one, 1):
        corner, row[0] = row[0], i
        for j, wanted in enumerate(other, 1):
            corner, row[j] = row[j], min(corner + (symbol != wanted), row[j] + 1, row[j - 1] + 1)
    return row[-1]
