"""Texts without a table around them, or with one: read into a data set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.data.dataset import Dataset
from thalweg.errors import DataError

if TYPE_CHECKING:
    pass

from thalweg.data.table_loading import load_table
from thalweg.data.texts import (
    VOCABULARY,
    TextDataset,
    TextOptions,
    is_text_folder,
    is_texts,
    read_text_folder,
    readable,
)


def claims(source: Any, options: Mapping[str, Any]) -> bool:
    """Whether a source is texts without a table around them."""
    del options
    inputs = source[0] if isinstance(source, tuple) and len(source) == 2 else source
    return is_text_folder(source) or is_texts(inputs)


def load_text(
    source: Any,
    target: Any = None,
    *,
    text: str | Sequence[str] | None = None,
    tokens: str = "bpe",
    vocabulary: int = VOCABULARY,
    max_tokens: int | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Dataset:
    """Read texts with a label or value each, and whatever else a table holds beside them.

    Args:
        source: a table (see ``load_table``), a folder with a folder of ``.txt`` files for each
            class, or a list of texts (``target`` or a pair then holds the labels).
        target: the column to predict; implied by folders and pairs.
        text: the column of texts, or several that are read one after the other; by default those
            that hold sentences.
        tokens: ``"bpe"`` (pieces of words, any script), ``"words"`` or ``"characters"``.
        vocabulary: different tokens at most, learnt from training rows.
        max_tokens: tokens of a text that are read; by default what nearly all have, 1,024 at most.
        pretrained: folder of a pretrained encoder to fine-tune, see ``read_pretrained``.
        **options: those of ``load_table``.

    Returns:
        The dataset.

    Raises:
        MissingExtraError: the ``tokenizers`` library is not installed.
        DataError: no column holds texts, or the data cannot be used as asked.
    """
    columns = (text,) if isinstance(text, str) else tuple(text or ())
    folder = os.fspath(pretrained) if pretrained else ""
    asked = TextOptions(columns, tokens, vocabulary, max_tokens, folder)
    broken = 0
    name = None
    if is_text_folder(source):
        frame, broken = read_text_folder(source)
        if not frame.height:
            raise DataError(f"{source} holds no text files: put them into a folder for each class")
        name, source, target = Path(source).name, frame, target or "label"
        options["drop"] = (*options.get("drop", ()), "file")
        for part in ("validation", "test"):
            if is_text_folder(options.get(part)):
                options[part] = read_text_folder(options[part])[0]
    elif is_texts(source) and target is not None:
        source, target = (readable(source), target), None
    else:
        source = readable(source)
    dataset = load_table(source, target, texts=asked, **options)
    if not isinstance(dataset, TextDataset):
        kinds = ", ".join(f"{c.name} is {c.kind}" for c in dataset.columns[:6])
        raise DataError(f"no column holds texts ({kinds}): name one with text")
    if broken:
        told = f"{broken:,} file(s) are not UTF-8: what cannot be decoded is replaced"
        dataset = replace(dataset, notices=(told, *dataset.notices))
    return replace(dataset, name=name) if name else dataset
