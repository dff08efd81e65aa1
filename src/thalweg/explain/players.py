"""Who a prediction is shared out among: columns, image cells, stretches of time, tokens.

A *player* is a set of entries of a row's fields that come and go together. All columns that a
category was one-hot encoded into are one player, as are its code and its missing-value flag, so
that what is told is told of the user's columns and not of what became of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg.data.audio_files import HOP_SECONDS, band_hertz
from thalweg.errors import OptionError

KEPT = -1
"""Owner of the entries that are no player's and stay as they are (lengths of sequences)."""

_MOST_STEPS, _MOST_CELLS = 24, 8
"""Stretches of a series, and cells along an image's longer side, by default."""


@dataclass(frozen=True, eq=False)
class Players:
    """The entries of a row, by who they belong to.

    Args:
        what: what a player is, for people: ``"column"``, ``"cell"``, ``"steps"`` …
        names: names of the P players.
        owner: for each field the player that each entry of a row belongs to, int [...] in the shape
            of one row; ``KEPT`` where it belongs to none. Fields that are left out stay.
        about: more that describes the players, by name of a column, P values each.
    """

    what: str
    names: tuple[str, ...]
    owner: Mapping[str, np.ndarray]
    about: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def mixed(
        self,
        present: np.ndarray,
        rows: Mapping[str, np.ndarray],
        background: Mapping[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Return rows in which absent players have the values of other rows.

        Args:
            present: bool [K, P].
            rows: fields [K, …].
            background: fields [K, …] that absent players take their values from.
        """
        known = np.concatenate([present, np.ones((len(present), 1), bool)], axis=1)
        mixed = dict(rows)
        for name, owner in self.owner.items():
            # KEPT is -1: the last column, which is always present.
            mixed[name] = np.where(known[:, owner], rows[name], background[name])
        return mixed

    def exchanged(
        self, player: int, rows: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return rows in which one player has the values of other rows, entry by entry."""
        mixed = dict(rows)
        for name, owner in self.owner.items():
            own = owner == player
            if own.any():
                mixed[name] = np.array(rows[name])
                mixed[name][:, own] = np.asarray(others[name])[:, own]
        return mixed

    def totals(self, entries: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the sum of each player's entries, float64 [N, P].

        Args:
            entries: one number for each entry of some fields, [N, …] each.
        """
        num = len(next(iter(entries.values())))
        total = np.zeros((num, len(self) + 1))
        for name, values in entries.items():
            # One column more takes what is no player's.
            owner = np.where(self.owner[name] == KEPT, len(self), self.owner[name]).reshape(-1)
            np.add.at(total.T, owner, np.asarray(values, np.float64).reshape(num, -1).T)
        return total[:, : len(self)]


def of_table(encoder: Any, fields: Mapping[str, np.ndarray], cells: int | None) -> Players:
    """Return one player for each column of the user's table."""
    del cells
    numeric, coded, names = [], [], []
    for place, column in enumerate(encoder.preprocessor.encoders):
        names.append(column.name)
        own = column.names()
        numeric += [place] * len(own)
        # A category without columns of its own is a code.
        coded += [place] * (not own)
    owner = {"numeric": np.array(numeric, int)}
    if "category" in fields:
        owner["category"] = np.array(coded, int)
    kinds = [column.kind for column in encoder.preprocessor.encoders]
    return Players("column", tuple(names), owner, {"kind": kinds})


def of_images(encoder: Any, fields: Mapping[str, np.ndarray], cells: int | None) -> Players:
    """Return one player for each cell of a grid over the image."""
    del encoder
    height, width = fields["image"].shape[1:3]
    grid = _Grid.over(height, width, _count(cells, _MOST_CELLS))
    owner = np.broadcast_to(grid.owner[..., None], fields["image"].shape[1:])
    names, about = [], {"top": [], "left": [], "bottom": [], "right": []}
    for (top, bottom), (left, right) in grid.cells:
        names.append(f"rows {top}-{bottom - 1}, columns {left}-{right - 1}")
        for name, value in zip(about, (top, left, bottom, right), strict=True):
            about[name].append(value)
    return Players("cell", tuple(names), {"image": owner}, about)


def of_audio(encoder: Any, fields: Mapping[str, np.ndarray], cells: int | None) -> Players:
    """Return one player for each stretch of time of some neighbouring bands."""
    num_frames, bands = fields["sequence"].shape[1:]
    grid = _Grid.over(num_frames, bands, _count(cells, _MOST_CELLS))
    hertz = band_hertz(encoder.bands, encoder.rate)
    names = []
    about = {"first_second": [], "last_second": [], "lowest_hertz": [], "highest_hertz": []}
    for (first, end), (low, high) in grid.cells:
        values = (
            round(first * HOP_SECONDS, 3),
            round(end * HOP_SECONDS, 3),
            round(float(hertz[low]), 1),
            round(float(hertz[high - 1]), 1),
        )
        names.append(f"{values[0]:g} to {values[1]:g} s, {values[2]:.0f} to {values[3]:.0f} Hz")
        for name, value in zip(about, values, strict=True):
            about[name].append(value)
    return Players("cell", tuple(names), {"sequence": grid.owner}, about)


def of_texts(encoder: Any, fields: Mapping[str, np.ndarray], cells: int | None) -> Players:
    """Return one player for the whole text, and one for each column beside it."""
    del cells
    reader = encoder.reader
    beside = of_table(encoder, fields, None)
    place = len(beside)
    owner = {name: values for name, values in beside.owner.items() if name in fields}
    for name in ("tokens", "length", "terms", "term_weight"):
        owner[name] = np.full(fields[name].shape[1:], place)
    kinds = [*beside.about["kind"], "text"]
    return Players("column", (*beside.names, " + ".join(reader.columns)), owner, {"kind": kinds})


def of_series(encoder: Any, fields: Mapping[str, np.ndarray], cells: int | None) -> Players:
    """Return one player for each stretch of each variable's past, and for each input known ahead.

    Steps are counted from the last known one, which is 0.
    """
    layout = encoder.layout
    num_steps = fields["sequence"].shape[1]
    made = _Stretches()
    owner = {
        "sequence": made.add(layout.channels, num_steps, _count(cells, _MOST_STEPS), 1 - num_steps)
    }
    if "future" in fields:
        lags = [f"{name}, a season before" for name in layout.targets] if encoder.lagged else []
        waves = [f"{wave} of the {cycle}" for cycle in encoder.cycles for wave in ("sin", "cos")]
        names = [*lags, *(f"{name}, known ahead" for name in layout.known), *waves]
        horizon = fields["future"].shape[1]
        owner["future"] = made.add(names, horizon, _count(cells, 4), 1)
    return made.players(owner)


def of_sequences(encoder: Any, fields: Mapping[str, np.ndarray], cells: int | None) -> Players:
    """Return one player for each stretch of steps of each channel; the first step is 0."""
    made = _Stretches()
    num_steps = fields["sequence"].shape[1]
    owner = made.add(encoder.channels, num_steps, _count(cells, _MOST_STEPS), 0)
    return made.players({"sequence": owner})


def of_ratings(encoder: Any, fields: Mapping[str, np.ndarray], cells: int | None) -> Players:
    """Return the user, the item, and each column that is known of either."""
    del cells
    shape = encoder.input_shape
    numeric, codes = shape["numeric"] // 2, (len(shape["cardinalities"]) - 2) // 2
    names = [encoder.columns["user"], encoder.columns["item"]]
    owner_numeric = np.full(2 * numeric, KEPT)
    owner_codes = np.full(fields["category"].shape[1], KEPT)
    owner_codes[:2] = (0, 1)
    for side, about in enumerate((encoder.user_side, encoder.item_side)):
        whose = names[side]
        for place, name in enumerate(about.names):
            owner_numeric[side * numeric + place] = len(names)
            names.append(f"{whose}: {name}")
        for place, name in enumerate(about.categories):
            owner_codes[2 + side * codes + place] = len(names)
            names.append(f"{whose}: {name}")
    owner = {"category": owner_codes}
    if numeric:
        owner["numeric"] = owner_numeric
    return Players("column", tuple(names), owner)


@dataclass(frozen=True, eq=False)
class _Grid:
    """A plane divided into cells of much the same shape.

    Args:
        owner: cell of each place, int [H, W].
        cells: first row and the one after the last, and the same of columns, of each cell.
    """

    owner: np.ndarray
    cells: list[tuple[tuple[int, int], tuple[int, int]]]

    @classmethod
    def over(cls, height: int, width: int, num: int) -> _Grid:
        """Divide a plane into ``num`` cells along its longer side."""
        side = max(1.0, max(height, width) / num)
        down, across = max(1, round(height / side)), max(1, round(width / side))
        row = np.arange(height) * down // height
        column = np.arange(width) * across // width
        spans = []
        for place, count in ((row, down), (column, across)):
            firsts = np.searchsorted(place, np.arange(count + 1)).tolist()
            spans.append(list(itertools.pairwise(firsts)))
        cells = [(tall, wide) for tall in spans[0] for wide in spans[1]]
        return cls(row[:, None] * across + column, cells)


class _Stretches:
    """Players that are stretches of steps, collected field by field."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.about: dict[str, list[Any]] = {"input": [], "first_step": [], "last_step": []}

    def add(self, inputs: Sequence[str], num_steps: int, count: int, first: int) -> np.ndarray:
        """Return the owners [T, V] of a field whose first step has the number ``first``."""
        count = min(count, num_steps)
        block = np.arange(num_steps) * count // num_steps
        owner = np.zeros((num_steps, len(inputs)), int)
        for column, name in enumerate(inputs):
            owner[:, column] = len(self.names) + block
            for index in range(count):
                steps = np.flatnonzero(block == index) + first
                low, high = int(steps[0]), int(steps[-1])
                span = f"step {low}" if low == high else f"steps {low} to {high}"
                self.names.append(f"{name}, {span}" if name else span)
                self.about["input"].append(name)
                self.about["first_step"].append(low)
                self.about["last_step"].append(high)
        return owner

    def players(self, owner: Mapping[str, np.ndarray]) -> Players:
        """Return all that were added."""
        return Players("steps", tuple(self.names), owner, self.about)


def _count(cells: int | None, default: int) -> int:
    if cells is not None and cells < 1:
        raise OptionError(f"cells must be 1 or more; got {cells}")
    return default if cells is None else cells


PLAYERS: dict[str, Callable[[Any, Mapping[str, np.ndarray], int | None], Players]] = {
    "table": of_table,
    "images": of_images,
    "series": of_series,
    "sequences": of_sequences,
    "ratings": of_ratings,
    "text": of_texts,
    "audio": of_audio,
}
"""How the rows of each kind of data are divided among players."""


def players_of(encoder: Any, fields: Mapping[str, np.ndarray], cells: int | None = None) -> Players:
    """Return the players of a kind of data.

    Args:
        encoder: the model's encoder.
        fields: encoded rows.
        cells: stretches of a series, or cells along an image's longer side.

    Raises:
        OptionError: nobody has said how this kind of data is divided.
    """
    if encoder.modality not in PLAYERS:
        raise OptionError(
            f"inputs of the kind {encoder.modality!r} cannot be told apart for an explanation; "
            f"this works for {', '.join(PLAYERS)}"
        )
    return PLAYERS[encoder.modality](encoder, fields, cells)
