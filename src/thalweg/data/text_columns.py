"""Columns of sentences: which they are, what their rows say, and which rows are parts of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from thalweg.data.columns import Column, require_columns

if TYPE_CHECKING:
    import polars as pl

_WORDY, _LETTERS = 6.0, 40.0
_SEPARATOR = "\n"


def text_columns(
    columns: Sequence[Column], frame: pl.DataFrame, given: Sequence[str], *, asked: bool = False
) -> list[str]:
    """Return which columns of a table are read as texts.

    Args:
        columns: what they were taken for.
        frame: training rows.
        given: columns that the user names; by default those of kind ``text`` that the user said
            are, or that hold sentences, or without which nothing were left.
        asked: whether texts are asked for: a few sentences that repeat are texts then too.
    """
    if given:
        require_columns(given, frame.columns, "text names the")
        return list(given)
    free = [c for c in columns if c.kind == "text" and not c.reason.startswith("nested")]
    if not any(c.used for c in columns):
        return [c.name for c in free]
    found = [c.name for c in free if c.given or is_prose(frame[c.name])]
    if asked and not found:
        repeated = [c.name for c in columns if c.kind == "category" and not c.given]
        return [name for name in repeated if is_prose(frame[name])]
    return found


def text_columns_of(frame: pl.DataFrame) -> list[str]:
    """Return the columns that hold sentences; of a table with one column of text, that one."""
    import polars as pl

    texts = [name for name in frame.columns if frame[name].dtype == pl.String]
    return texts if len(texts) == 1 else [name for name in texts if is_prose(frame[name])]


def is_prose(series: pl.Series) -> bool:
    """Whether a column holds sentences rather than names: by the words or letters of its values."""
    import polars as pl

    if series.dtype != pl.String:
        return False
    sample = series.drop_nulls().head(2000)
    if not len(sample):
        return False
    words = sample.str.count_matches(r"\S+").mean()
    letters = sample.str.len_chars().mean()
    assert isinstance(words, float)
    assert isinstance(letters, float)
    return words >= _WORDY or letters >= _LETTERS


def joined_texts(frame: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return the texts of each row, those of several columns one after the other."""
    read = [_texts(frame[name]) for name in columns]
    if len(read) == 1:
        return read[0]
    return [_SEPARATOR.join(parts) for parts in zip(*read, strict=True)]


def _texts(series: pl.Series) -> list[str]:
    import polars as pl

    if series.dtype == pl.Binary:
        return [(value or b"").decode("utf-8", "replace") for value in series.to_list()]
    if series.dtype.is_nested():
        return [" ".join(map(str, value)) if value is not None else "" for value in series]
    return series.cast(pl.String).fill_null("").to_list()


_LONGEST_PHRASE = 64
_MOST_WORDS = 4_000_000
_SHARE_CONTAINED = 0.2
_FEWEST_WHOLE = 20


def whole_texts(frame: pl.DataFrame, columns: Sequence[str]) -> np.ndarray | None:
    """Return which rows belong to one text, int [N], where many are parts of others; else None.

    Some sets hold sentences together with their phrases. Dealt at random, a sentence to validate on
    would have its phrases among the training rows. Here a row that stands, word by word, within a
    longer one gets the number of the longest such row.

    Args:
        frame: all rows.
        columns: columns that may hold texts; the first with sentences counts.
    """
    import polars as pl

    named = [
        name for name in columns if frame[name].dtype == pl.String and _may_be_text(frame[name])
    ]
    if not named or frame.height < 20:
        return None
    series = frame[named[0]].fill_null("").str.to_lowercase()
    lists = series.str.extract_all(r"[\w']+|[^\w\s]")
    sizes = lists.list.len().cast(pl.Int64).to_numpy()
    if not 0 < sizes.sum() <= _MOST_WORDS or np.median(sizes) > _LONGEST_PHRASE:
        return None
    words = lists.explode(keep_nulls=False, empty_as_null=False)
    ids = words.cast(pl.Categorical).to_physical().to_numpy().astype(np.uint64) + np.uint64(1)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    owner = _containing(ids, offsets)
    groups = np.unique(owner, return_inverse=True)[1]
    # Texts from a template are parts of each other too, but of few.
    few = groups.max() + 1 < max(_FEWEST_WHOLE, 0.05 * len(groups))
    if few or (sizes[owner] > sizes).mean() < _SHARE_CONTAINED:
        return None
    return groups


def _may_be_text(series: pl.Series) -> bool:
    sample = series.drop_nulls().head(2000)
    words = sample.str.count_matches(r"\S+").mean() if len(sample) else 0.0
    assert isinstance(words, float)
    return words >= 3.0 and sample.n_unique() > 0.3 * len(sample)


def _containing(ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return for each text the longest one that it stands in (itself, if in none), int64 [N].

    All stretches of as many words as some text has are hashed, and looked up among the texts of
    this length: 64-bit polynomials in the words' numbers.
    """
    num = len(offsets) - 1
    sizes = np.diff(offsets)
    rows = np.repeat(np.arange(num), sizes)
    left = offsets[1:][rows] - np.arange(len(ids))
    with np.errstate(over="ignore"):
        factor = np.uint64(0x9E3779B97F4A7C15)
        mixed = (ids * factor) ^ (ids * factor >> np.uint64(29))
        owner, length = np.arange(num), sizes.copy()
        hashes = np.zeros(len(ids), np.uint64)
        for size in range(1, min(int(sizes.max()), _LONGEST_PHRASE) + 1):
            # hash of the words i … i + size − 1, from that of i … i + size − 2.
            last = len(ids) - size + 1
            hashes = hashes[:last] * factor + mixed[size - 1 :]
            these = np.flatnonzero(sizes == size)
            if not len(these):
                continue
            found = np.flatnonzero(left[:last] >= size)
            known = hashes[offsets[these]]
            keys, inverse = np.unique(known, return_inverse=True)
            place = np.searchsorted(keys, hashes[found])
            place = np.minimum(place, len(keys) - 1)
            hit = keys[place] == hashes[found]
            place, holder = place[hit], rows[found[hit]]
            # The longest text that holds it; of several, the first.
            order = np.lexsort((-holder, sizes[holder]))
            best = np.full(len(keys), -1)
            best[place[order]] = holder[order]
            owner[these] = best[inverse]
            length[these] = sizes[owner[these]]
    # Phrases of phrases: the longest row that holds a text is held by no other.
    return owner


# Sources -----------------------------------------------------------------------------------------
