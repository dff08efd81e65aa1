"""Data in, arrays out: tables, images, series and ratings, their splits and their encoders."""

from __future__ import annotations

from thalweg.data.built_in import BUILT_IN
from thalweg.data.columns import Column
from thalweg.data.dataset import Dataset, Encoder, Part, concatenate
from thalweg.data.load import load
from thalweg.data.preprocess import Preprocessor
from thalweg.data.sources import read_table
from thalweg.data.splits import Split, fold_ids, split_rows
from thalweg.data.table_loading import load_table
from thalweg.data.tables import TableDataset, TableEncoder
from thalweg.data.targets import TargetEncoder

__all__ = [
    "BUILT_IN",
    "Column",
    "Dataset",
    "Encoder",
    "Part",
    "Preprocessor",
    "Split",
    "TableDataset",
    "TableEncoder",
    "TargetEncoder",
    "concatenate",
    "fold_ids",
    "load",
    "load_table",
    "read_table",
    "split_rows",
]
