"""Tables in, arrays out: sources, columns, targets, splits and preprocessing."""

from __future__ import annotations

from thalweg.data.columns import Column
from thalweg.data.dataset import Dataset, Encoder, Part, concatenate, load
from thalweg.data.preprocess import Preprocessor
from thalweg.data.sources import BUILT_IN, read_table
from thalweg.data.splits import Split, fold_ids, split_rows
from thalweg.data.targets import TargetEncoder

__all__ = [
    "BUILT_IN",
    "Column",
    "Dataset",
    "Encoder",
    "Part",
    "Preprocessor",
    "Split",
    "TargetEncoder",
    "concatenate",
    "fold_ids",
    "load",
    "read_table",
    "split_rows",
]
