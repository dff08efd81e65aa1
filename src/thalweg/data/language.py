"""Texts to be continued: what language models learn from.

A row is a stretch of tokens; every one of them is predicted from those before it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg.data.dataset import PARTS, Dataset, Encoder, Part
from thalweg.data.sources import read_table, source_name
from thalweg.data.splits import check_fractions, split_rows
from thalweg.data.targets import TargetEncoder
from thalweg.data.text_columns import joined_texts, text_columns_of
from thalweg.data.texts import readable
from thalweg.data.tokens import END, START, Tokeniser, Tokens, fit_tokeniser
from thalweg.errors import DataError, OptionError
from thalweg.task import Task

if TYPE_CHECKING:
    import polars as pl

MAX_TOKENS = 128
VOCABULARY = 4_000
_TOLD = 0.995


@dataclass(frozen=True, eq=False)
class LanguageEncoder(Encoder):
    """Turns texts into rows of tokens with a mark before the first and behind the last.

    Fields: ``tokens`` int32 [N, T + 1], ``length`` int32 [N], marks included. The target is the
    number of tokens that are predicted, float32 [N]: all but the first. A text that is too long
    goes on in the next row, which begins with the last token of this one.

    Args:
        columns: columns of a table that hold the texts; the first counts for lists and files.
        tokeniser: splits the texts.
        length: tokens T that are predicted in a row.
    """

    modality: ClassVar[str] = "language"

    columns: tuple[str, ...]
    tokeniser: Tokeniser
    length: int

    @property
    def input_shape(self) -> dict[str, Any]:
        """``{"tokens": [T + 1, V], "masked": True, "language": True}``."""
        tokens = [self.length + 1, self.tokeniser.size]
        return {"tokens": tokens, "masked": True, "language": True}

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode texts: a table, a text file, a folder of them, or a list."""
        del with_target
        return self.part(read_texts(source, self.columns)[0])

    def part(self, texts: Sequence[str], rows: np.ndarray | None = None) -> Part:
        """Return texts as rows; those of one text have its number in ``rows``."""
        tokens = self.tokeniser.encode(texts)
        ids, length, owner = stretches(tokens, self.length)
        notices = []
        if (empty := int((tokens.lengths == 0).sum())) and len(texts) > 1:
            notices.append(f"{empty:,} text(s) are empty: only their end is predicted")
        named = owner if rows is None else rows[owner]
        target = (length - 1).astype(np.float32)
        return Part({"tokens": ids, "length": length}, target, None, named, tuple(notices))

    def predictions(
        self, outputs: np.ndarray, part: Part, threshold: float | None = None
    ) -> pl.DataFrame:
        """Return of each text its tokens, its log-probability and its perplexity."""
        import polars as pl

        logs = np.log(np.maximum(outputs, 1e-30)).sum(1)
        texts, place = np.unique(part.rows, return_inverse=True)
        total = np.bincount(place, logs, len(texts))
        count = np.bincount(place, part.target, len(texts))
        return pl.DataFrame(
            {
                "tokens": count.astype(np.int64),
                "log_probability": total,
                "perplexity": np.exp(-total / count),
            }
        )

    def decide(self, outputs: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Return the perplexity of each row [N] from its tokens' probabilities."""
        # Behind the end stands exactly 1.
        count = np.maximum((outputs != 1.0).sum(1), 1)
        return np.exp(-np.log(np.maximum(outputs, 1e-30)).sum(1) / count)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            **super().to_dict(),
            "columns": list(self.columns),
            "tokeniser": self.tokeniser.to_dict(),
            "length": self.length,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> LanguageEncoder:
        """Rebuild from ``to_dict``."""
        return cls(
            Task.from_dict(record["task"]),
            TargetEncoder.from_dict(record["target"]),
            tuple(record["columns"]),
            Tokeniser.from_dict(record["tokeniser"]),
            record["length"],
        )


@dataclass(frozen=True, eq=False, repr=False)
class LanguageDataset(Dataset):
    """Texts to be continued."""

    encoder: LanguageEncoder
    num_texts: int = field(default=0, repr=False)

    @property
    def num_features(self) -> int:
        """Number of different tokens."""
        return self.encoder.tokeniser.size

    def _rows_text(self, num_rows: int) -> str:
        encoder = self.encoder
        return (
            f"{self.num_texts:,} texts in {num_rows:,} rows of up to {encoder.length:,} tokens of "
            f"{encoder.tokeniser.size:,}"
        )

    def _input_lines(self) -> Iterator[str]:
        total = int(sum(part.target.sum() for part in self.parts.values()))
        yield f"  tokens     {total:,} to predict"


def stretches(tokens: Tokens, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut texts into rows of ``length`` predicted tokens.

    Returns:
        Ids int32 [R, length + 1], lengths int32 [R], and the text of each row int64 [R].
    """
    num = len(tokens)
    sizes = tokens.lengths + 1
    counts = -(-sizes // length)
    owner = np.repeat(np.arange(num), counts)
    first = (np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)) * length
    # Each text with its marks, one behind the other.
    starts = tokens.offsets[:-1] + 2 * np.arange(num)
    flat = np.full(int(len(tokens.ids) + 2 * num), END, np.int32)
    flat[starts] = START
    text = np.repeat(np.arange(num), tokens.lengths)
    flat[np.arange(len(tokens.ids)) + 2 * text + 1] = tokens.ids
    used = np.minimum(sizes[owner] - first, length) + 1
    column = np.arange(length + 1)
    place = np.minimum((starts[owner] + first)[:, None] + column, max(len(flat) - 1, 0))
    ids = np.where(column < used[:, None], flat[place], 0).astype(np.int32)
    return ids, used.astype(np.int32), owner


def read_texts(source: Any, columns: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the texts of a source, and the columns that hold them.

    Args:
        source: a list of texts, a ``.txt`` file (a text a line, or one where lines are blank
            between paragraphs), a folder of such files, or a table.
        columns: columns of a table; by default those with sentences.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source).expanduser()
        if path.is_dir():
            files = sorted(path.rglob("*.txt"))
            if not files:
                raise DataError(f"{source} holds no .txt files: give text files or a table")
            texts = [file.read_bytes().decode("utf-8-sig", "replace") for file in files]
            return texts, tuple(columns) or ("text",)
        if path.suffix.lower() == ".txt" and path.is_file():
            return _of_file(path), tuple(columns) or ("text",)
    frame = read_table(readable(source, columns[0] if columns else "text"))
    names = tuple(columns) or tuple(text_columns_of(frame))
    missing = [name for name in names if name not in frame.columns]
    if missing or not names:
        raise DataError(
            f"no column {missing[0]!r} holds texts" if missing else "no column holds texts"
        )
    return joined_texts(frame, names), names


def _of_file(path: Path) -> list[str]:
    text = path.read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n")
    blocks = [block.strip("\n") for block in text.split("\n\n")]
    if len(blocks) > 2:
        return [block for block in blocks if block]
    return [line for line in text.split("\n") if line.strip()]


def load_language(
    source: Any,
    target: Any = None,
    *,
    task: str | None = None,
    validation: Any = None,
    test: Any = None,
    metric: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] | None = None,
    text: str | Sequence[str] | None = None,
    tokens: str = "bpe",
    vocabulary: int = VOCABULARY,
    max_tokens: int | None = None,
) -> LanguageDataset:
    """Read texts to be continued, and split them at random.

    Args:
        source: a list of texts, a ``.txt`` file with a text a line (or paragraphs with blank lines
            between them), a folder of ``.txt`` files, or a table.
        target: must be left out: texts are their own target.
        task: ``"language"``.
        validation: texts to validate on, instead of a share of ``source``.
        test: texts to test on, likewise.
        metric: the metric that chooses.
        loss: the training loss.
        seed: decides which texts go where.
        fractions: shares of training, validation and test; 64, 16 and 20 % by default.
        text: columns of a table that hold the texts.
        tokens: ``"bpe"``, ``"words"`` or ``"characters"``.
        vocabulary: different tokens at most, learnt from training texts.
        max_tokens: tokens of a row; by default what nearly all texts have, 128 at most.

    Returns:
        The dataset.

    Raises:
        DataError: there are no texts, or too few.
    """
    del task
    if target is not None:
        raise OptionError(f"texts to be continued are their own target; got {target!r}: leave it")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise OptionError(f"seed must be a whole number of 0 or more; got {seed!r}")
    if max_tokens is not None and max_tokens < 1:
        raise OptionError(f"max_tokens must be a whole number from 1; got {max_tokens!r}")
    asked = (text,) if isinstance(text, str) else tuple(text or ())
    texts, columns = read_texts(source, asked)
    given = {
        part: read_texts(other, columns)[0]
        for part, other in (("validation", validation), ("test", test))
        if other is not None
    }
    if len(texts) < 3:
        raise DataError(f"a language model needs 3 texts or more; got {len(texts)}: split the text")
    shares = list(check_fractions(fractions))
    for place, part in enumerate(PARTS):
        shares[place] = 0.0 if part in given else shares[place]
    split = split_rows(len(texts), [share / sum(shares) for share in shares], seed=seed)
    index = dict(zip(PARTS, (split.train, split.validation, split.test), strict=True))
    own = [texts[i] for i in index["train"]]
    tokeniser = fit_tokeniser(own, kind=tokens, vocabulary=vocabulary)
    sizes = tokeniser.encode(own).lengths + 1
    longest = int(np.quantile(sizes, _TOLD, method="higher"))
    length = max_tokens or min(MAX_TOKENS, -(-longest // 8) * 8)
    names = ("next",)
    encoder = LanguageEncoder(
        Task("language", names, (), loss or "", metric or ""),
        TargetEncoder("language", names),
        columns,
        tokeniser,
        length,
    )
    parts = {
        part: encoder.part(given[part])
        if part in given
        else encoder.part([texts[i] for i in index[part]], np.asarray(index[part], np.int64))
        for part in PARTS
    }
    notices = [f"{name}: {n}" for name, part in parts.items() for n in part.notices]
    how = f"at random, seed {seed}"
    if given:
        how = f"own source for {' and '.join(given)}; the rest {how}"
    return LanguageDataset(
        name=source_name(source).removesuffix(".txt"),
        encoder=encoder,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        notices=tuple(notices),
        seed=seed,
        split=how,
        num_texts=len(texts) + sum(map(len, given.values())),
    )


def claims(source: Any, options: Mapping[str, Any]) -> bool:
    """Whether a source is texts to be continued: only where the task says so."""
    del source, options
    return False
