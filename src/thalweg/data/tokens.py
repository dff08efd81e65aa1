"""Texts made into tokens: subwords, words or characters of any language.

Splitting and learning are the ``tokenizers`` library's, on all cores; what it learns is JSON, and
what it has encoded is kept in the cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.errors import MissingExtraError, OptionError, unknown_option
from thalweg.files import cache_dir, prune, write_atomically

if TYPE_CHECKING:
    import tokenizers

PAD, UNKNOWN, START, END = range(4)
"""The first four ids of every vocabulary made here."""
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")

_CACHED_CHARACTERS = 1_000_000
"""Fewer characters are encoded in less time than a file takes."""
_CACHE_BYTES = 2 << 30
_FORMAT = 1
# Scripts that put no blanks between words are split by characters.
_SOLID = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTERS = rf"[\p{{L}}\p{{M}}\p{{N}}_&&[^{_SOLID}]]+"
_WORD = rf"[{_SOLID}]|['’]?{_LETTERS}(?:['’]{_LETTERS})*|[^\p{{L}}\p{{M}}\p{{N}}_\s]"


@dataclass(frozen=True, eq=False)
class Tokens:
    """Texts as ids, one behind the other.

    Args:
        ids: int32 [M], the tokens of all texts.
        offsets: int64 [N + 1]; text i is ``ids[offsets[i]:offsets[i + 1]]``.
    """

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text, int64 [N]."""
        return np.diff(self.offsets)

    def __getitem__(self, row: int) -> np.ndarray:
        """Return the ids of one text."""
        return self.ids[self.offsets[row] : self.offsets[row + 1]]

    def take(self, rows: np.ndarray) -> Tokens:
        """Return some of the texts, by position."""
        rows = np.asarray(rows, np.int64)
        sizes = self.lengths[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        index = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - self.offsets[rows], sizes)
        return Tokens(self.ids[index], offsets)

    def padded(
        self, length: int, *, start: bool = False, end: bool = False, pad: int = PAD
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ids int32 [N, length] with ``pad`` after the last, and lengths int32 [N].

        Texts that are too long lose their last tokens; the marks always fit in.

        Args:
            length: columns.
            start: whether ``<s>`` stands first.
            end: whether ``</s>`` stands last.
            pad: what fills the rest.
        """
        room = length - start - end
        if room < 0:
            raise OptionError(f"length must leave room for the marks; got {length}")
        kept = np.minimum(self.lengths, room)
        ids = np.full((len(self), length), pad, np.int32)
        rows = np.repeat(np.arange(len(self)), kept)
        columns = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
        ids[rows, columns + start] = self.ids[self.offsets[rows] + columns]
        if start:
            ids[:, 0] = START
        if end:
            ids[np.arange(len(self)), kept + start] = END
        return ids, (kept + start + end).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Tokeniser:
    """Splits texts into tokens and puts them together again.

    Ids 0 to 3 are ``PAD``, ``UNKNOWN``, ``START`` and ``END`` in tokenisers made by
    ``fit_tokeniser``; those read from files have their own.

    Args:
        record: the ``tokenizers`` library's JSON.
        marked: whether texts get the marks that the JSON asks for (``[CLS]`` and the like).
    """

    record: str
    marked: bool = False

    @cached_property
    def _inner(self) -> tokenizers.Tokenizer:
        return _library().Tokenizer.from_str(self.record)

    @property
    def size(self) -> int:
        """Number of ids."""
        return self._inner.get_vocab_size(with_added_tokens=True)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The text of each id as the library writes it, by id."""
        known = self._inner.get_vocab(with_added_tokens=True)
        names = [""] * (max(known.values(), default=-1) + 1)
        for name, i in known.items():
            names[i] = name
        return tuple(names)

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Return the tokens of each text; empty texts have none.

        Args:
            texts: any text; halves of surrogate pairs (what is left of invalid UTF-8) count as the
                replacement character.
        """
        key = None
        if sum(map(len, texts)) >= _CACHED_CHARACTERS:
            key = _digest(self.record, str(self.marked), *texts)
            found = _cached(f"{key}.npz", _read_tokens)
            if found is not None:
                return found
        # Batches keep the memory of a long list bounded: each encoding holds offsets and more.
        ids: list[np.ndarray] = []
        sizes: list[int] = []
        for first in range(0, len(texts), 20_000):
            batch = [clean_text(text) for text in texts[first : first + 20_000]]
            for encoding in self._inner.encode_batch_fast(batch, add_special_tokens=self.marked):
                own = encoding.ids
                sizes.append(len(own))
                ids.append(np.asarray(own, np.int32))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
        tokens = Tokens(np.concatenate(ids) if ids else np.zeros(0, np.int32), offsets)
        if key is not None:
            stream = io.BytesIO()
            np.savez(stream, ids=tokens.ids, offsets=tokens.offsets)
            _keep(f"{key}.npz", stream.getvalue())
        return tokens

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where each token of a text stands in it: first character and end."""
        return list(self._inner.encode(clean_text(text), add_special_tokens=self.marked).offsets)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of some tokens, special ones left out."""
        return self._inner.decode([int(i) for i in ids], skip_special_tokens=True)

    def decode_all(self, rows: Iterable[Iterable[int]]) -> list[str]:
        """Return the texts of many rows of tokens, on all cores."""
        lists = [[int(i) for i in row] for row in rows]
        return self._inner.decode_batch(lists, skip_special_tokens=True)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {"tokenizer": json.loads(self.record), "marked": self.marked}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Tokeniser:
        """Rebuild from ``to_dict``."""
        return cls(json.dumps(record["tokenizer"], ensure_ascii=False), record["marked"])


def fit_tokeniser(
    texts: Sequence[str],
    *,
    kind: str = "bpe",
    vocabulary: int = 8_000,
    lowercase: bool = False,
    min_count: int = 2,
) -> Tokeniser:
    """Learn a tokeniser from texts.

    Args:
        texts: training texts alone: what validation rows hold must stay unknown.
        kind: ``"bpe"``: pairs of bytes merged by frequency, so that any script, emoji and word ever
            met can be written (Sennrich et al., "Neural Machine Translation of Rare Words with
            Subword Units", 2016; on bytes: Radford et al., 2019); ``"words"``: whole words, signs
            and, in scripts without blanks, characters; ``"characters"``.
        vocabulary: ids at most, the four special ones included. (``"bpe"`` needs 260.)
        lowercase: whether capitals are made small.
        min_count: what occurs less often is no token of its own.

    Returns:
        The tokeniser.

    Raises:
        MissingExtraError: ``tokenizers`` is not installed.
        OptionError: an unknown kind, or a vocabulary that is too small.

    Example:
        >>> tokeniser = fit_tokeniser(["so it goes", "so be it"], kind="words", min_count=1)
        >>> tokeniser.decode(tokeniser.encode(["it goes so"])[0])
        'it goes so'
    """
    if kind not in KINDS:
        raise unknown_option("kind of tokens", kind, KINDS)
    least = 260 if kind == "bpe" else len(SPECIALS) + 1
    if isinstance(vocabulary, bool) or not isinstance(vocabulary, int) or vocabulary < least:
        raise OptionError(
            f"the vocabulary of {kind} must have {least} ids or more; got {vocabulary!r}"
        )
    key = None
    if sum(map(len, texts)) >= _CACHED_CHARACTERS:
        about = json.dumps([kind, vocabulary, lowercase, min_count, _library().__version__])
        key = _digest(about, *texts)
        found = _cached(f"{key}.json", _read_json)
        if found is not None:
            return Tokeniser(found)
    library = _library()
    inner, trainer = KINDS[kind](library, vocabulary, min_count)
    forms = [library.normalizers.NFC()]
    if lowercase:
        forms.append(library.normalizers.Lowercase())
    inner.normalizer = library.normalizers.Sequence(forms)
    inner.train_from_iterator(map(clean_text, texts), trainer)
    record = inner.to_str()
    if key is not None:
        _keep(f"{key}.json", record.encode("utf-8"))
    return Tokeniser(record)


def _bpe(library: Any, vocabulary: int, min_count: int) -> tuple[Any, Any]:
    inner = library.Tokenizer(library.models.BPE(unk_token=SPECIALS[UNKNOWN]))
    inner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = library.decoders.Sequence(
        [library.decoders.ByteLevel(), library.decoders.Strip(content=" ", left=1, right=0)]
    )
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=min_count,
        show_progress=False,
        special_tokens=list(SPECIALS),
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
    )
    return inner, trainer


def _listed(library: Any, vocabulary: int, min_count: int, pattern: str) -> tuple[Any, Any]:
    """Return a tokeniser whose tokens are what a pattern finds."""
    inner = library.Tokenizer(library.models.WordLevel(unk_token=SPECIALS[UNKNOWN]))
    inner.pre_tokenizer = library.pre_tokenizers.Split(
        library.Regex(pattern), behavior="removed", invert=True
    )
    trainer = library.trainers.WordLevelTrainer(
        vocab_size=vocabulary,
        min_frequency=min_count,
        show_progress=False,
        special_tokens=list(SPECIALS),
    )
    return inner, trainer


def _characters(library: Any, vocabulary: int, min_count: int) -> tuple[Any, Any]:
    inner, trainer = _listed(library, vocabulary, min_count, r"(?m:.)|\n")
    inner.decoder = library.decoders.Fuse()
    return inner, trainer


KINDS: dict[str, Callable[[Any, int, int], tuple[Any, Any]]] = {
    "bpe": _bpe,
    "words": partial(_listed, pattern=_WORD),
    "characters": _characters,
}
"""What texts may be split into, and what makes the library's tokeniser and trainer."""


def clean_text(text: str) -> str:
    """Return a text without halves of surrogate pairs, which no UTF-8 can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def has_tokenizers() -> bool:
    """Whether the ``tokenizers`` library is installed."""
    return find_spec("tokenizers") is not None


def _library() -> Any:
    # Said outright, the library does not warn when a process forks after it has used threads.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise MissingExtraError(
            "texts need the tokenizers library: pip install 'thalweg[text]'"
        ) from None
    return tokenizers


# The cache ---------------------------------------------------------------------------------------


def _digest(*texts: str) -> str:
    digest = hashlib.blake2b(str(_FORMAT).encode(), digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _read_json(data: bytes) -> str:
    text = data.decode("utf-8")
    json.loads(text)
    return text


def _read_tokens(data: bytes) -> Tokens:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return Tokens(arrays["ids"], arrays["offsets"])


def _cached(name: str, read: Callable[[bytes], Any]) -> Any:
    path = cache_dir() / "tokens" / name
    try:
        found = read(path.read_bytes())
        os.utime(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return found


def _keep(name: str, data: bytes) -> None:
    """Write into the cache, and delete what was not used for longest where it has grown too big."""
    folder = cache_dir() / "tokens"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, data)
        prune(folder, _CACHE_BYTES, name)
    except OSError:
        # A cache that cannot be written is no reason to stop: texts are encoded every time.
        return
