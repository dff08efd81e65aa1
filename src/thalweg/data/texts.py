"""Texts: columns of a table that are read word by word, beside its numbers and categories.

A text is given to networks in two forms: as tokens in their order, for networks that read, and as
weighted terms (TF-IDF), for linear models and perceptrons.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg.data.columns import require_columns
from thalweg.data.dataset import PARTS, Part
from thalweg.data.preprocess import Preprocessor
from thalweg.data.pretrained import pretrained_tokeniser, read_pretrained
from thalweg.data.tables import TableDataset, TableEncoder
from thalweg.data.targets import TargetEncoder
from thalweg.data.terms import Terms
from thalweg.data.text_columns import joined_texts
from thalweg.data.tokens import UNKNOWN, Tokeniser, Tokens, clean_text, fit_tokeniser
from thalweg.errors import OptionError, SourceError
from thalweg.task import Task

if TYPE_CHECKING:
    import polars as pl

MAX_TOKENS = 1024
"""Tokens of a text that are read at most where nothing is said."""

MOST_TERMS = 1024
VOCABULARY = 8_000
WORDS = 60_000
_TOLD = 0.995


@dataclass(frozen=True)
class TextOptions:
    """How texts are read.

    Args:
        columns: columns to read as texts; by default those that hold sentences.
        tokens: one of ``tokens.KINDS``.
        vocabulary: ids at most.
        max_tokens: tokens of a text at most; by default what nearly all training texts have.
        pretrained: folder of a pretrained encoder, whose tokeniser then counts.
    """

    columns: tuple[str, ...] = ()
    tokens: str = "bpe"
    vocabulary: int = VOCABULARY
    max_tokens: int | None = None
    pretrained: str = ""

    def __post_init__(self) -> None:
        most = self.max_tokens
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            raise OptionError(f"max_tokens must be a whole number from 1; got {most!r}")


@dataclass(frozen=True)
class Passage:
    """A text in pieces of one or more words, which may be left out.

    Args:
        head: what stands before the first piece, such as a mark that is no word.
        pieces: the pieces, each with the blanks behind it; ``head`` and they are the text.
    """

    head: str
    pieces: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def starts(self) -> list[int]:
        """First character of each piece."""
        places = np.cumsum([len(self.head), *map(len, self.pieces)])
        return [int(place) for place in places[:-1]]

    def kept(self, present: Sequence[bool] | np.ndarray) -> str:
        """Return the text with some of its pieces."""
        return self.head + "".join(p for p, here in zip(self.pieces, present, strict=True) if here)


@dataclass(frozen=True, eq=False)
class TextReader:
    """Turns the text columns of a table into fields.

    Fields: ``tokens`` int32 [N, T] and ``length`` int32 [N]; ``terms`` int32 [N, M] and
    ``term_weight`` float32 [N, M]. Several columns are read one after the other, as one text.

    Args:
        columns: the text columns.
        tokeniser: splits texts for networks that read.
        length: tokens T.
        words: splits texts into the words that terms are made of.
        terms: the terms.
        num_terms: terms M of a text.
        pretrained: what ``read_pretrained`` tells of a pretrained encoder; empty for none.
    """

    columns: tuple[str, ...]
    tokeniser: Tokeniser
    length: int
    words: Tokeniser
    terms: Terms
    num_terms: int
    pretrained: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(cls, frame: pl.DataFrame, columns: Sequence[str], options: TextOptions) -> TextReader:
        """Learn vocabulary, terms and lengths from training rows, and from no other."""
        texts = joined_texts(frame, columns)
        about: dict[str, Any] = {}
        most = MAX_TOKENS
        if options.pretrained:
            about = read_pretrained(options.pretrained)
            most = min(options.max_tokens or most, about["max_position_embeddings"])
            tokeniser = pretrained_tokeniser(options.pretrained, most)
        else:
            tokeniser = fit_tokeniser(texts, kind=options.tokens, vocabulary=options.vocabulary)
        lengths = tokeniser.encode(texts).lengths
        longest = int(np.quantile(lengths, _TOLD, method="higher")) if len(lengths) else 1
        # Lengths that differ a little share their programs in the cache.
        length = min(most, -(-max(longest, 1) // 8) * 8)
        if options.max_tokens and not about:
            length = options.max_tokens
        words = fit_tokeniser(texts, kind="words", vocabulary=WORDS, lowercase=True)
        found = words.encode(texts)
        terms = Terms.fit(found, words.size)
        # A text of n words has n words and n − 1 pairs at most.
        num_terms = int(min(MOST_TERMS, max(2 * found.lengths.max(initial=0) - 1, 1)))
        return cls(tuple(columns), tokeniser, length, words, terms, num_terms, about)

    def fields(self, frame: pl.DataFrame) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Return the fields of some rows, and what is worth telling of them."""
        require_columns(self.columns, frame.columns, "the rows lack the")
        return self.fields_of(joined_texts(frame, self.columns))

    def fields_of(self, texts: Sequence[str]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Return the fields of some texts, and what is worth telling of them."""
        tokens = self.tokeniser.encode(texts)
        ids, length = tokens.padded(self.length)
        # A text without tokens is one unknown token: nothing is ever divided by a length of zero.
        ids[length == 0, 0] = UNKNOWN
        terms, weights = self.terms.encode(self.words.encode(texts), self.num_terms)
        fields = {
            "tokens": ids,
            "length": np.maximum(length, 1),
            "terms": terms,
            "term_weight": weights,
        }
        return fields, tuple(self._notices(texts, tokens))

    def passage(self, text: str, most: int) -> Passage:
        """Return a text in at most so many pieces of whole words, as many words in each."""
        text = clean_text(text)
        spans = self.words.spans(text)
        if not spans:
            return Passage(text, ())
        words = -(-len(spans) // most)
        starts = [start for start, _ in spans[::words]]
        ends = [*starts[1:], len(text)]
        pieces = tuple(text[a:b] for a, b in zip(starts, ends, strict=True))
        return Passage(text[: starts[0]], pieces)

    def _notices(self, texts: Sequence[str], tokens: Tokens) -> Iterator[str]:
        empty = tokens.lengths == 0
        if empty.any():
            yield f"{int(empty.sum()):,} text(s) are empty: read as one unknown word"
        starts = np.minimum(tokens.offsets[:-1], max(len(tokens.ids) - 1, 0))
        known = np.add.reduceat(tokens.ids != UNKNOWN, starts) if len(tokens.ids) else empty
        strange = ~empty & (known == 0)
        if strange.any():
            yield f"{int(strange.sum()):,} text(s) hold unknown words only"
        cut = int((tokens.lengths > self.length).sum())
        if cut:
            yield f"{cut:,} text(s) are longer than {self.length:,} tokens: the rest is not read"
        broken = sum("\ufffd" in text for text in texts)
        if broken:
            yield f"{broken:,} text(s) hold characters that could not be decoded"

    @property
    def input_shape(self) -> dict[str, Any]:
        """What a network reads, as of ``Encoder.input_shape``."""
        return {
            "tokens": [self.length, self.tokeniser.size],
            "terms": [self.num_terms, self.terms.size],
            "masked": True,
            "pretrained": json.dumps(dict(self.pretrained)) if self.pretrained else "",
        }

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "columns": list(self.columns),
            "tokeniser": self.tokeniser.to_dict(),
            "length": self.length,
            "words": self.words.to_dict(),
            "terms": self.terms.to_dict(),
            "num_terms": self.num_terms,
            "pretrained": dict(self.pretrained),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TextReader:
        """Rebuild from ``to_dict``."""
        return cls(
            tuple(record["columns"]),
            Tokeniser.from_dict(record["tokeniser"]),
            record["length"],
            Tokeniser.from_dict(record["words"]),
            Terms.from_dict(record["terms"]),
            record["num_terms"],
            record.get("pretrained", {}),
        )


@dataclass(frozen=True, eq=False)
class TextEncoder(TableEncoder):
    """Encodes the columns of a table some of which are texts.

    Args:
        reader: reads the text columns.
    """

    modality: ClassVar[str] = "text"

    reader: TextReader | None = None

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode raw rows: a table, or a folder of text files; see ``TableEncoder.encode``."""
        part = super().encode(source, with_target=with_target)
        if not is_text_folder(source):
            return part
        # A folder has one row a file.
        files = [_name_in(source, path) for path in _text_files(source)]
        notices = [notice for notice in part.notices if "unknown in training" not in notice]
        keys = {"file": np.array(files, object)[part.rows]}
        return replace(part, keys=keys, notices=tuple(notices))

    def frame_of(self, source: Any) -> pl.DataFrame:
        """Read rows into a frame: a table, a list of texts, or a folder of text files."""
        assert self.reader is not None
        if is_text_folder(source):
            return read_text_folder(source)[0]
        return super().frame_of(readable(source, self.reader.columns[0]))

    def texts_of(self, source: Any) -> list[str]:
        """Return the texts of raw rows as they are read."""
        assert self.reader is not None
        frame = self.frame_of(source)
        require_columns(self.reader.columns, frame.columns, "the rows lack the")
        return joined_texts(frame, self.reader.columns)

    def fields(self, frame: pl.DataFrame) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Return the arrays of some rows, and what is worth telling of them."""
        fields, notices = super().fields(frame)
        if not fields["numeric"].shape[1]:
            del fields["numeric"]
        assert self.reader is not None
        read, more = self.reader.fields(frame)
        return {**fields, **read}, (*notices, *more)

    @property
    def input_shape(self) -> dict[str, Any]:
        """That of the table, with ``"tokens": [T, V]`` and ``"terms": [M, K]``."""
        assert self.reader is not None
        return {**super().input_shape, **self.reader.input_shape}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        assert self.reader is not None
        return {**super().to_dict(), "reader": self.reader.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TextEncoder:
        """Rebuild from ``to_dict``."""
        return cls(
            Task.from_dict(record["task"]),
            TargetEncoder.from_dict(record["target"]),
            Preprocessor.from_dict(record["preprocessor"]),
            tuple(record["source_columns"]),
            tuple(record.get("ignored", ())),
            TextReader.from_dict(record["reader"]),
        )


@dataclass(frozen=True, eq=False, repr=False)
class TextDataset(TableDataset):
    """A table with columns of texts; see ``TableDataset``."""

    encoder: TextEncoder

    @property
    def reader(self) -> TextReader:
        """What reads the text columns, fitted on training rows."""
        assert self.encoder.reader is not None
        return self.encoder.reader

    @property
    def num_features(self) -> int:
        """Number of source columns that networks see."""
        return super().num_features + len(self.reader.columns)

    def texts(self, part: str) -> list[str]:
        """Return the texts of a part as they were read."""
        table, rows = self.tables[part]
        return joined_texts(table[rows], self.reader.columns)

    def _about(self) -> dict[str, Any]:
        return {**super()._about(), "texts": list(self.reader.columns)}

    def _rows_text(self, num_rows: int) -> str:
        reader, beside = self.reader, len(self.preprocessor.encoders)
        more = f" beside {beside} column(s)" if beside else ""
        return (
            f"{num_rows:,} texts of up to {reader.length:,} tokens of {reader.tokeniser.size:,}"
            f"{more}"
        )


def with_texts(dataset: TableDataset, columns: Sequence[str], options: TextOptions) -> TextDataset:
    """Return a table's data set in which some columns are read as texts.

    Raises:
        MissingExtraError: the ``tokenizers`` library is not installed.
    """
    table, rows = dataset.tables["train"]
    reader = TextReader.fit(table[rows], columns, options)
    old = dataset.encoder
    encoder = TextEncoder(
        old.task, old.target, old.preprocessor, old.source_columns, old.ignored, reader
    )
    parts: dict[str, Part] = {}
    notices = list(dataset.notices)
    for name in PARTS:
        table, rows = dataset.tables[name]
        fields, more = reader.fields(table[rows])
        part: Part = getattr(dataset, name)
        own = {n: v for n, v in part.fields.items() if v.shape[1]}
        parts[name] = replace(part, fields={**own, **fields})
        notices += [f"{name}: {notice}" for notice in more]
    return TextDataset(
        name=dataset.name,
        encoder=encoder,
        notices=tuple(notices),
        seed=dataset.seed,
        split=dataset.split,
        columns=dataset.columns,
        tables=dataset.tables,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
    )


# Rows that are parts of each other ---------------------------------------------------------------


def readable(source: Any, name: str = "text") -> Any:
    """Return a table for a list of texts; other sources as they are."""
    if is_texts(source):
        return {name: [clean_text(text) for text in source]}
    if isinstance(source, tuple) and len(source) == 2 and is_texts(source[0]):
        return (readable(source[0], name), source[1])
    return source


def is_texts(source: Any) -> bool:
    """Whether a source is a list or an array of texts."""
    if isinstance(source, (str, bytes, Mapping)):
        return False
    if isinstance(source, np.ndarray):
        return source.ndim == 1 and source.dtype.kind in "UO"
    return isinstance(source, list) and bool(source) and all(isinstance(t, str) for t in source)


def is_text_folder(source: Any) -> bool:
    """Whether a source is a folder that holds ``.txt`` files in a folder for each class."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return False
    return any(True for _ in folder.glob("*/*.txt"))


def _text_files(folder: Any) -> list[Path]:
    return sorted(Path(folder).expanduser().glob("*/*.txt"))


def _name_in(folder: Any, path: Path) -> str:
    return str(path.relative_to(Path(folder).expanduser()))


def read_text_folder(source: Any) -> tuple[pl.DataFrame, int]:
    """Read a folder with a folder of ``.txt`` files for each class.

    Returns:
        A table with the columns ``text``, ``label`` and ``file``; how many files are no UTF-8.
    """
    import polars as pl

    texts, labels, files, broken = [], [], [], 0
    for path in _text_files(source):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}") from None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text, broken = data.decode("utf-8", "replace"), broken + 1
        texts.append(text)
        labels.append(path.parent.name)
        files.append(_name_in(source, path))
    return pl.DataFrame({"text": texts, "label": labels, "file": files}), broken
