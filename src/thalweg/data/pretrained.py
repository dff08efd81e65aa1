"""Pretrained encoders on disk: their configuration and their tokeniser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from thalweg.data.tokens import Tokeniser
from thalweg.errors import DataError, SourceError, one_line

FILES = ("config.json", "tokenizer.json", "model.safetensors")
"""What the folder of a pretrained encoder holds."""

_KEYS: dict[str, Any] = {
    "vocab_size": None,
    "hidden_size": None,
    "num_hidden_layers": None,
    "num_attention_heads": None,
    "intermediate_size": None,
    "max_position_embeddings": None,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
_ACTIVATIONS = ("gelu", "gelu_new", "relu")


def read_pretrained(folder: str | Path) -> dict[str, Any]:
    """Return what a network must know of a pretrained encoder, JSON-able.

    Args:
        folder: holds ``config.json``, ``tokenizer.json`` and ``model.safetensors``, as the
            ``transformers`` library saves them.

    Raises:
        SourceError: a file is missing or cannot be read.
        DataError: it is no encoder of BERT's kind.
    """
    path = Path(folder).expanduser().resolve()
    for name in FILES:
        if not (path / name).is_file():
            raise SourceError(
                f"a pretrained encoder is a folder with {', '.join(FILES)}; {folder} lacks {name}"
            )
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path / 'config.json'} cannot be read: {error}") from None
    kind = config.get("model_type")
    if kind != "bert":
        raise DataError(
            f"a pretrained encoder must be of the type 'bert'; {folder} is {kind!r}: give another"
        )
    about = {name: config.get(name, default) for name, default in _KEYS.items()}
    missing = [name for name, value in about.items() if value is None]
    if missing:
        raise DataError(f"{path / 'config.json'} does not say {', '.join(missing)}")
    if about["hidden_act"] not in _ACTIVATIONS:
        raise DataError(
            f"hidden_act must be one of {', '.join(_ACTIVATIONS)}; got {about['hidden_act']!r}"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise DataError("the encoder's positions must be absolute; give another")
    return {**about, "pooled": _is_pooled(path / "model.safetensors"), "folder": str(path)}


def _is_pooled(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return any(name.endswith("pooler.dense.weight") for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        text = one_line(error)
        raise SourceError(f"{path} is no safetensors file: {text}") from None


def pretrained_tokeniser(folder: str | Path, max_tokens: int) -> Tokeniser:
    """Return the tokeniser of a pretrained encoder, which cuts texts and marks their ends itself.

    Raises:
        SourceError: its file cannot be read.
    """
    path = Path(folder) / "tokenizer.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["truncation"] = {
            "direction": "Right",
            "max_length": max_tokens,
            "strategy": "LongestFirst",
            "stride": 0,
        }
        record["padding"] = None
        tokeniser = Tokeniser(json.dumps(record, ensure_ascii=False), marked=True)
        tokeniser.encode(["a"])
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    except MemoryError:
        raise
    except Exception as error:
        # The library raises plain exceptions for whatever is wrong with the file.
        text = one_line(error)
        raise SourceError(f"{path} is no tokeniser: {text}") from None
    return tokeniser
