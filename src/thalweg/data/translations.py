"""Pairs of texts: one is read, the other written. Translations, summaries, subject lines.

A source is a table with a column of either side, two lists, or two text files with a line for each
other. Both sides are cut into tokens (see ``tokens.py``): pieces of words, or characters of scripts
that put no blanks between words. Sides whose alphabets agree share one vocabulary.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg.data.columns import require_columns
from thalweg.data.dataset import PARTS, Dataset, Encoder, Part
from thalweg.data.sources import read_table, source_name
from thalweg.data.splits import check_fractions, split_rows
from thalweg.data.targets import TargetEncoder
from thalweg.data.tokens import END, PAD, UNKNOWN, Tokeniser, Tokens, fit_tokeniser
from thalweg.errors import DataError, OptionError, SourceError
from thalweg.task import Task

if TYPE_CHECKING:
    import polars as pl

VOCABULARY = 4_000
"""Ids of a vocabulary where nothing is said: on a CPU the logits are much of a step."""
MOST_TOKENS = 256
"""Tokens of a text that are read or written at most where nothing is said."""
NUM_BEAMS = 4
_TOLD = 0.998
_SOLID = re.compile(r"[⺀-鿿豈-﫿぀-ヿ฀-๿຀-໿ក-៿က-႟]")
_SHARED = 0.8
_TABLES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson", ".json", ".arrow", ".feather")


@dataclass(frozen=True, eq=False)
class TranslationEncoder(Encoder):
    """Turns texts into tokens, and tokens that were written into texts.

    Fields: ``source`` int32 [N, S]; with the target also ``previous`` int32 [N, T], the start mark
    and the target's tokens. The target is int32 [N, T]: its tokens and the end mark. 0 pads.

    Args:
        source: the column that is read.
        reader: splits the texts that are read.
        writer: splits the texts that are written; the reader itself where they share a vocabulary.
        lengths: tokens of either side at most, S and T.
        growth: tokens written for a token read, at most: what training pairs need.
        num_beams: versions that are followed when writing.
    """

    modality: ClassVar[str] = "translation"

    source: str
    reader: Tokeniser
    writer: Tokeniser
    lengths: tuple[int, int]
    growth: float
    num_beams: int = NUM_BEAMS

    @property
    def shared(self) -> bool:
        """Whether both sides have one vocabulary."""
        return self.reader is self.writer

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode texts: a table with the source's column, a list, or a text file of lines."""
        frame = _frame(source, self.source, self.task.targets[0] if with_target else None)
        require_columns([self.source], frame.columns, "texts are read from the")
        read = _texts(frame[self.source])
        rows, wanted = np.arange(len(read)), None
        notices: list[str] = []
        if with_target:
            name = self.task.targets[0]
            require_columns([name], frame.columns, "scoring needs the")
            wanted = _texts(frame[name])
            rows, told = _complete(read, wanted, self.source, name)
            notices += told
            if not len(rows):
                raise DataError(f"no row has both {self.source!r} and {name!r}: fill some in")
        return self.part(read, wanted, rows, notices)

    def part(
        self,
        read: Sequence[str],
        wanted: Sequence[str] | None,
        rows: np.ndarray,
        notices: Sequence[str] = (),
    ) -> Part:
        """Return some rows of texts as arrays, and what is worth telling of them."""
        own = [read[int(i)] for i in rows]
        tokens = self.reader.encode(own)
        source, length = tokens.padded(self.lengths[0])
        # A text without tokens is one unknown token: a network always has something to look at.
        source[length == 0, 0] = UNKNOWN
        told = list(_told(tokens, self.lengths[0], self.source))
        fields, target, weight = {"source": source}, None, None
        texts: dict[str, Any] = {"source": np.array(own, object)}
        if wanted is not None:
            own = [wanted[int(i)] for i in rows]
            tokens = self.writer.encode(own)
            fields["previous"], _ = tokens.padded(self.lengths[1], start=True)
            target, count = tokens.padded(self.lengths[1], end=True)
            # Every token weighs alike, not every text.
            weight = (count / max(count.mean(), 1.0)).astype(np.float32)
            texts["target"] = np.array(own, object)
            told += _told(tokens, self.lengths[1] - 1, self.task.targets[0])
        return Part(fields, target, weight, rows, (*notices, *told), texts=texts)

    def limits(self, source: np.ndarray) -> np.ndarray:
        """Return how many tokens may be written for each row of the field ``source``, int [N]."""
        length = (source != PAD).sum(axis=1)
        return np.clip(np.ceil(self.growth * (length + 5)), 2, self.lengths[1]).astype(np.int32)

    def text_of(self, tokens: np.ndarray) -> np.ndarray:
        """Return the texts of written tokens [N, T], each up to its end mark, object [N]."""
        rows = []
        for row in tokens:
            stop = np.flatnonzero((row == END) | (row == PAD))
            rows.append(row[: stop[0]] if len(stop) else row)
        return np.array(self.writer.decode_all(rows), object)

    @property
    def input_shape(self) -> dict[str, Any]:
        """``{"source": [S, V], "written": [T, V], "shared_vocabulary": …}``."""
        return {
            "source": [self.lengths[0], self.reader.size],
            "written": [self.lengths[1], self.writer.size],
            "shared_vocabulary": self.shared,
        }

    def decide(self, outputs: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Return the written texts [N]."""
        return outputs

    def predictions(
        self, outputs: np.ndarray, part: Part, threshold: float | None = None
    ) -> pl.DataFrame:
        """Return the column ``prediction``."""
        import polars as pl

        del part, threshold
        return pl.DataFrame({"prediction": pl.Series([str(t) for t in outputs], dtype=pl.String)})

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            **super().to_dict(),
            "source": self.source,
            "reader": self.reader.to_dict(),
            "writer": None if self.shared else self.writer.to_dict(),
            "lengths": list(self.lengths),
            "growth": self.growth,
            "num_beams": self.num_beams,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TranslationEncoder:
        """Rebuild from ``to_dict``."""
        reader = Tokeniser.from_dict(record["reader"])
        own = record["writer"]
        return cls(
            Task.from_dict(record["task"]),
            TargetEncoder.from_dict(record["target"]),
            record["source"],
            reader,
            reader if own is None else Tokeniser.from_dict(own),
            (record["lengths"][0], record["lengths"][1]),
            record["growth"],
            record["num_beams"],
        )


@dataclass(frozen=True, eq=False, repr=False)
class TranslationDataset(Dataset):
    """Pairs of texts with their fixed parts; see ``Dataset``."""

    encoder: TranslationEncoder

    @property
    def num_features(self) -> int:
        """One: a text."""
        return 1

    def raw_target(self, part: Part) -> np.ndarray:
        """Return the texts that are wanted, object [N]."""
        return np.asarray(part.texts["target"])

    def labels(self, part: str | Part) -> np.ndarray:
        """Return the texts that are wanted, object [N]."""
        return self.raw_target(self.parts[part] if isinstance(part, str) else part)

    def _rows_text(self, num_rows: int) -> str:
        return f"{num_rows:,} pairs of texts, {self.encoder.source} to {self.task.targets[0]}"

    def _kind(self) -> str:
        return self.task.kind

    def _input_lines(self) -> Iterator[str]:
        encoder = self.encoder
        read, written = encoder.lengths
        sizes = f"{encoder.reader.size:,} ids" + (" of one vocabulary" if encoder.shared else "")
        if not encoder.shared:
            sizes += f" and {encoder.writer.size:,} ids"
        yield f"texts: up to {read} tokens are read and {written} written, {sizes}"


# Loading -----------------------------------------------------------------------------------------


def claims(source: Any, options: Mapping[str, Any]) -> bool:
    """Whether a source is two text files, the second of which is given as the target."""
    return _is_text_file(source) and _is_text_file(options.get("target"))


def load_translation(
    source: Any,
    target: Any = None,
    *,
    source_column: str | None = None,
    tokens: str | None = None,
    vocabulary: int | None = None,
    max_tokens: int | None = None,
    task: str | None = None,
    validation: Any = None,
    test: Any = None,
    metric: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] | None = None,
) -> TranslationDataset:
    """Read pairs of texts: translations, texts with their summaries, mails with their subjects.

    Pairs with equal source texts (but for case and blanks) come into the same part.

    Args:
        source: a table (see ``load_table``) with a column of either side; a pair of lists; or a
            text file with a line for each text.
        target: the column that is written; or the text file of the other side.
        source_column: the column that is read; may be left out where there are but two.
        tokens: ``"bpe"`` (pieces of words), ``"words"`` or ``"characters"``; by default characters
            for scripts without blanks, else pieces of words.
        vocabulary: ids of a vocabulary at most; 4,000 by default.
        max_tokens: tokens of a text at most; by default what nearly all training texts have, at
            most 256. What follows is not read, and not written.
        task: ``"translation"``; nothing else is known here.
        validation: a source of validation pairs, instead of a share of ``source``.
        test: a source of test pairs, likewise.
        metric: the metric that chooses: ``"perplexity"`` (default) or ``"token_accuracy"``.
        loss: ``"cross_entropy"``.
        seed: decides which pairs go where.
        fractions: shares of training, validation and test; 64, 16 and 20 % by default.

    Returns:
        The dataset.

    Raises:
        MissingExtraError: the ``tokenizers`` library is not installed.
        SourceError: a source cannot be found or read.
        DataError: the sides are of unequal number, or there are too few pairs.
    """
    if task not in (None, "translation"):
        raise OptionError(f"pairs of texts are a translation task; got task={task!r}: leave it out")
    if max_tokens is not None and (isinstance(max_tokens, bool) or max_tokens < 4):
        raise OptionError(f"max_tokens must be a whole number from 4; got {max_tokens!r}")
    frame, name_read, name_written = _read_pairs(source, target, source_column)
    read, wanted = _texts(frame[name_read]), _texts(frame[name_written])
    kept, notices = _complete(read, wanted, name_read, name_written)
    if len(kept) < 4:
        raise DataError(
            f"learning needs pairs of texts; got {len(kept)} with both {name_read!r} and "
            f"{name_written!r}: give more"
        )
    fixed: dict[str, tuple[list[str], list[str], np.ndarray]] = {}
    for part, other in (("validation", validation), ("test", test)):
        if other is not None:
            table = _frame(other, name_read, name_written)
            require_columns([name_read, name_written], table.columns, f"the {part} rows need the")
            sides = _texts(table[name_read]), _texts(table[name_written])
            own, told = _complete(*sides, name_read, name_written)
            if not len(own):
                raise DataError(f"no {part} row has both texts: fill some in")
            notices += [f"{part}: {line}" for line in told]
            fixed[part] = (*sides, own)
    shares = list(check_fractions(fractions))
    for place, part in enumerate(PARTS):
        shares[place] = 0.0 if part in fixed else shares[place]
    known: dict[str, int] = {}
    groups = np.array([known.setdefault(_plain(read[i]), len(known)) for i in kept])
    total = sum(shares)
    split = split_rows(len(kept), [share / total for share in shares], groups=groups, seed=seed)
    how = f"at random by whole {name_read} texts, seed {seed}" if shares[0] < total else ""
    if fixed:
        own_source = f"own source for {' and '.join(fixed)}"
        how = f"{how}; {own_source}" if how else own_source
    rows = {
        part: (read, wanted, kept[index])
        for part, index in zip(PARTS, (split.train, split.validation, split.test), strict=True)
    } | fixed
    train = rows["train"][2]
    seen = {_plain(read[i]) for i in train}
    for part, (own_read, _, index) in fixed.items():
        again = sum(_plain(own_read[i]) in seen for i in index)
        if again:
            notices.append(f"{again:,} of {len(index):,} {part} sources also occur in training")
    encoder = _fitted(
        [read[i] for i in train],
        [wanted[i] for i in train],
        (name_read, name_written),
        Task("translation", (name_written,), loss=loss or "", metric=metric or ""),
        tokens,
        vocabulary or VOCABULARY,
        max_tokens,
    )
    parts = {part: encoder.part(*given) for part, given in rows.items()}
    for part in PARTS:
        notices += [f"{part}: {notice}" for notice in parts[part].notices]
    return TranslationDataset(
        name=source_name(source) if not isinstance(source, tuple) else "pairs",
        encoder=encoder,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        notices=tuple(dict.fromkeys(notices)),
        seed=seed,
        split=how,
    )


def _fitted(
    read: list[str],
    wanted: list[str],
    names: tuple[str, str],
    task: Task,
    kind: str | None,
    vocabulary: int,
    max_tokens: int | None,
) -> TranslationEncoder:
    """Learn vocabularies and lengths from training pairs, and from no other."""
    kinds = [kind or ("characters" if _is_solid(side) else "bpe") for side in (read, wanted)]
    if kinds[0] == kinds[1] and _alike(read, wanted):
        reader = writer = fit_tokeniser([*read, *wanted], kind=kinds[0], vocabulary=vocabulary)
    else:
        reader = fit_tokeniser(read, kind=kinds[0], vocabulary=vocabulary)
        writer = fit_tokeniser(wanted, kind=kinds[1], vocabulary=vocabulary)
    sizes = reader.encode(read).lengths, writer.encode(wanted).lengths
    most = max_tokens or MOST_TOKENS
    # The mark at a side's start or end takes a place of its own.
    lengths = [min(most, int(np.quantile(size, _TOLD, method="higher")) + 1) for size in sizes]
    growth = float(np.quantile((sizes[1] + 1) / (sizes[0] + 5), 0.99, method="higher"))
    return TranslationEncoder(
        task,
        TargetEncoder(task.kind, task.targets),
        names[0],
        reader,
        writer,
        (max(lengths[0], 2), max(lengths[1], 3)),
        round(growth, 4),
    )


def _is_solid(texts: Sequence[str]) -> bool:
    """Whether most letters are of scripts that put no blanks between words."""
    sample = "".join(texts[:2000])
    letters = sum(sign.isalpha() for sign in sample)
    return 2 * len(_SOLID.findall(sample)) > letters


def _alike(read: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether most letters of each side occur in the other: they then share a vocabulary."""
    counts = [Counter(c for text in side[:5000] for c in text.lower()) for side in (read, wanted)]
    letters = [{c: n for c, n in count.items() if c.isalpha()} for count in counts]
    for own, other in (letters, letters[::-1]):
        total = sum(own.values())
        if sum(n for c, n in own.items() if c in other) < _SHARED * total:
            return False
    return True


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _complete(
    read: Sequence[str], wanted: Sequence[str], name: str, other: str
) -> tuple[np.ndarray, list[str]]:
    """Return the rows with a text on both sides, and what is worth telling."""
    empty = [np.array([not t.strip() for t in side], bool) for side in (read, wanted)]
    notices = []
    for side, label in zip(empty, (name, other), strict=True):
        if side.any():
            notices.append(f"{int(side.sum()):,} pair(s) without a text in {label} are left out")
    return np.flatnonzero(~(empty[0] | empty[1])), notices


def _told(tokens: Tokens, room: int, name: str) -> Iterator[str]:
    lengths = tokens.lengths
    if (lengths == 0).any():
        yield f"{int((lengths == 0).sum()):,} text(s) of {name} are empty"
    if (lengths > room).any():
        yield (
            f"{int((lengths > room).sum()):,} text(s) of {name} are longer than {room} tokens: "
            "what follows is cut off"
        )


# Sources -----------------------------------------------------------------------------------------


def _read_pairs(
    source: Any, target: Any, source_column: str | None
) -> tuple[pl.DataFrame, str, str]:
    """Return a table of pairs, and the names of what is read and of what is written."""
    if claims(source, {"target": target}):
        name, other = Path(source).suffix.lstrip(".") or "source", Path(target).suffix.lstrip(".")
        if name == other or not other:
            name, other = "source", "target"
        return _sides(_lines(source), _lines(target), name, other), name, other
    if isinstance(source, tuple) and len(source) == 2 and not hasattr(source[0], "columns"):
        other = target if isinstance(target, str) else "target"
        name = source_column or "source"
        return _sides(list(source[0]), list(source[1]), name, other), name, other
    frame = read_table(source)
    if target is not None and not isinstance(target, str):
        raise OptionError(f"one column is written; got target={target!r}: name one")
    if target is None:
        raise OptionError("which column is to be written? Name it with target")
    require_columns([target], frame.columns, "target names the")
    if source_column is None:
        others = [c for c in frame.columns if c != target]
        if len(others) != 1:
            raise OptionError(
                f"which column is read? Name it with source (columns: {', '.join(frame.columns)})"
            )
        source_column = others[0]
    require_columns([source_column], frame.columns, "source names the")
    if source_column == target:
        raise OptionError(f"source and target are the same column {target!r}: name two")
    return frame, source_column, target


def _frame(source: Any, name: str, other: str | None) -> pl.DataFrame:
    """Return a table of texts for whatever ``encode`` is given."""
    import polars as pl

    if isinstance(source, tuple) and len(source) == 2 and other is not None:
        if claims(source[0], {"target": source[1]}):
            return _sides(_lines(source[0]), _lines(source[1]), name, other)
        if not hasattr(source[0], "columns"):
            return _sides(list(source[0]), list(source[1]), name, other)
    if _is_text_file(source) and other is None:
        return pl.DataFrame({name: _lines(source)}, schema={name: pl.String})
    if isinstance(source, (list, np.ndarray)) and all(isinstance(t, str) for t in source):
        return pl.DataFrame({name: list(source)}, schema={name: pl.String})
    return read_table(source)


def _sides(read: list[Any], wanted: list[Any], name: str, other: str) -> pl.DataFrame:
    import polars as pl

    if len(read) != len(wanted):
        raise DataError(
            f"both sides must have as many texts as the other; got {len(read):,} and "
            f"{len(wanted):,}: each line needs its partner"
        )
    return pl.DataFrame({name: read, other: wanted}, strict=False)


def _is_text_file(source: Any) -> bool:
    """Whether this is a file of lines rather than a table."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    path = Path(source).expanduser()
    suffixes = {suffix.lower() for suffix in path.suffixes}
    return path.is_file() and not suffixes & {*_TABLES, ".gz", ".zip", ".zst", ".npz", ".npy"}


def _lines(source: Any) -> list[str]:
    path = Path(source).expanduser()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    text = data.decode("utf-8-sig", "replace")
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines and not lines[-1] else lines


def _texts(series: pl.Series) -> list[str]:
    import polars as pl

    if series.dtype == pl.Binary:
        return [(value or b"").decode("utf-8", "replace") for value in series.to_list()]
    return series.cast(pl.String).fill_null("").to_list()


__all__ = ["TranslationDataset", "TranslationEncoder", "claims", "load_translation"]
