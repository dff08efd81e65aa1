"""Ratings: who rated or clicked what, with side information on users and items.

Explicit ratings (a column of numbers) are a regression on pairs. Implicit ones (clicks, purchases,
plays) are a binary task: pairs that occur against sampled pairs that do not. Ids are read as text,
so that 7, 7.0 and "7" are one. Code 0 stands for an unknown id and for ids with a single training
row, which so teach what to expect of newcomers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from thalweg.data.columns import read_texts, shown_names
from thalweg.data.dataset import PARTS, Dataset, Encoder, Part
from thalweg.data.frames import is_array, pair_frame
from thalweg.data.pairs import (
    ITEMS,
    RATINGS,
    TIMES,
    USERS,
    check_size,
    clean_pairs,
    columns_of,
    draw_unseen,
    first_usual,
    is_implicit,
    leave_last_out,
    pair_keys,
    plain_name,
    read_pairs,
    usual_column,
)
from thalweg.data.side import Side, positions, read_side
from thalweg.data.sources import peek_header, read_table, source_name
from thalweg.data.splits import check_fractions, split_rows
from thalweg.data.targets import TargetEncoder, check_loss
from thalweg.errors import DataError, OptionError, ThalwegError, did_you_mean, unknown_option
from thalweg.task import Task

if TYPE_CHECKING:
    import polars as pl

Outputs = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""A model's predictions for encoded pairs: values or probabilities, the last column counts."""

RARE = 2
"""Ids with fewer training rows share code 0."""

MAX_SEEN = 2_000_000
"""A saved model keeps which items its users have seen up to so many pairs."""

_PAIRS_AT_ONCE = 1 << 17
_USER_FILES = ("users", "user", "customers")
_ITEM_FILES = ("items", "item", "movies", "products", "books", "songs", "tracks", "artists")
_RATING_FILES = ("ratings", "rating", "interactions", "clicks", "events")
_ENDINGS = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz", ".txt", ".jsonl", ".feather")


# ---------------------------------------------------------------------------------------- encoder


def _nothing_seen() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(1, np.int64), np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class RatingsEncoder(Encoder):
    """Turns pairs of ids into codes and side information.

    It holds the ids of the training rows, what is known of them, and which items each user has
    seen (up to ``MAX_SEEN`` pairs), as the best unseen items cannot be told without. As JSON the
    whole takes about 1 MB for MovieLens-100k and 20 to 30 MB for a million ids.

    Args:
        task: what is predicted.
        target: encodes the rating.
        columns: names of the columns ``user``, ``item`` and, for explicit ratings, ``rating``.
        users: ids of users, the ones with a code of their own first: ``users[c - 1]`` has code c.
        items: ids of items in the same form.
        num_user_codes: users with a code of their own.
        num_item_codes: items with a code of their own.
        user_side: side information of users.
        item_side: side information of items.
        seen: positions of the items that each user has seen: offsets [len(users) + 1] and items.
        limits: lowest and highest rating; predictions for people are kept within them.
        negatives: pairs sampled beside each positive one (implicit ratings).
    """

    modality: ClassVar[str] = "ratings"

    columns: Mapping[str, str]
    users: tuple[str, ...]
    items: tuple[str, ...]
    num_user_codes: int
    num_item_codes: int
    user_side: Side = field(default_factory=Side)
    item_side: Side = field(default_factory=Side)
    seen: tuple[np.ndarray, np.ndarray] = field(default_factory=_nothing_seen)
    limits: tuple[float, float] | None = None
    negatives: int = 4

    # -- shapes

    @property
    def implicit(self) -> bool:
        """Whether pairs were clicked rather than rated."""
        return self.task.kind != "regression"

    @cached_property
    def _halves(self) -> tuple[int, int]:
        """Columns of side information that each side takes: numbers, and codes."""
        sides = (self.user_side, self.item_side)
        return max(len(s.names) for s in sides), max(len(s.categories) for s in sides)

    @property
    def input_shape(self) -> dict[str, Any]:
        """``{"numeric": D, "cardinalities": [users, items, …]}``, both sides equally wide."""
        numeric, codes = self._halves
        cards = [self.num_user_codes + 1, self.num_item_codes + 1]
        for side in (self.user_side, self.item_side):
            cards += [*side.cardinalities, *[1] * (codes - len(side.cardinalities))]
        return {"numeric": 2 * numeric, "cardinalities": cards}

    # -- encoding

    def frame_of(self, source: Any) -> pl.DataFrame:
        """Read rows into a frame with the training table's names.

        Raises:
            DataError: a column is missing, or an array has another number of columns.
        """
        frame = read_table(source)
        names = [self.columns["user"], self.columns["item"]]
        if is_array(source):
            if "rating" in self.columns:
                names.append(self.columns["rating"])
            if frame.width not in (2, len(names)):
                raise DataError(
                    "pairs given as an array must have the columns "
                    f"{', '.join(names[:2])}; got {frame.width} columns"
                )
            return frame.rename(dict(zip(frame.columns, names, strict=False)))
        for role in ("user", "item"):
            name = self.columns[role]
            if name in frame.columns:
                continue
            other = usual_column(frame, USERS if role == "user" else ITEMS)
            if other is not None:
                frame = frame.rename({other: name})
                continue
            remedy = did_you_mean(name, frame.columns)
            if role == "item" and not remedy:
                remedy = ": give pairs, or ask for the best items of each user (top)"
            raise DataError(f"the rows lack the column {name!r}{remedy}")
        return frame

    def encode(self, source: Any, *, with_target: bool = False) -> Part:
        """Encode pairs of a user and an item; see ``Encoder.encode``.

        With the target, implicit pairs get their sampled negatives beside them.
        """
        frame = self.frame_of(source)
        if not with_target:
            pairs, notices = read_pairs(frame, self.columns, numbered=False), []
        else:
            notices = []
            pairs = clean_pairs(frame, self.columns, self.implicit, "the rows", notices)
        return self.part(pairs, notices, with_target=with_target, seed=0)

    def part(
        self, pairs: pl.DataFrame, notices: Sequence[str], *, with_target: bool, seed: int
    ) -> Part:
        """Encode cleaned pairs.

        Args:
            pairs: ``user`` and ``item`` (texts, null where unknown), ``value``, ``row``.
            notices: what was done to get them.
            with_target: whether to encode ``value``, or to sample negatives.
            seed: of the negatives.
        """
        users, items, rows = pairs["user"], pairs["item"], pairs["row"].to_numpy()
        unknown = []
        for what, values, known in (("user", users, self.users), ("item", items, self.items)):
            distinct = values.unique()
            strange = int((positions(distinct, known) < 0).sum())
            if strange:
                shown = [str(v) for v in distinct.filter(positions(distinct, known) < 0).head(3)]
                unknown.append(
                    f"{strange:,} {what}(s) are unknown, such as {', '.join(shown)}: judged by "
                    "biases and side information alone"
                )
        target = None
        if with_target and self.implicit:
            users, items, rows, target = self._with_negatives(users, items, rows, seed)
        elif with_target:
            target = self.target.encode(pairs["value"].to_numpy()[:, None])
        fields = self.fields(users, items)
        keys = {
            self.columns["user"]: users.to_numpy(),
            self.columns["item"]: items.to_numpy(),
        }
        return Part(fields, target, None, rows, (*notices, *unknown), keys)

    def fields(self, users: pl.Series, items: pl.Series) -> dict[str, np.ndarray]:
        """Return the fields of pairs of ids given as texts."""
        ends = []
        for side, values in enumerate((users, items)):
            distinct = values.unique()
            index = distinct.to_list()
            place = {value: i for i, value in enumerate(index)}
            ends.append((self._end(side, distinct), _lookup(values, place)))
        return self._joined(ends[0][0], ends[0][1], ends[1][0], ends[1][1])

    def _end(self, side: int, ids: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return code [n], numbers [n, D] and codes [n, C] of users (0) or items (1)."""
        known, own = (
            (self.users, self.num_user_codes) if side == 0 else (self.items, self.num_item_codes)
        )
        code = positions(ids, known) + 1
        code[code > own] = 0
        numeric, category = (self.user_side, self.item_side)[side].rows(ids)
        width, codes = self._halves
        numeric = np.pad(numeric, ((0, 0), (0, width - numeric.shape[1])))
        category = np.pad(category, ((0, 0), (0, codes - category.shape[1])))
        return code.astype(np.int32), numeric, category

    def _joined(self, user: Any, u: np.ndarray, item: Any, i: np.ndarray) -> dict[str, np.ndarray]:
        codes = [user[0][u][:, None], item[0][i][:, None], user[2][u], item[2][i]]
        return {
            "numeric": np.concatenate([user[1][u], item[1][i]], axis=1),
            "category": np.concatenate(codes, axis=1).astype(np.int32),
        }

    def _with_negatives(
        self, users: pl.Series, items: pl.Series, rows: np.ndarray, seed: int
    ) -> tuple[pl.Series, pl.Series, np.ndarray, np.ndarray]:
        """Put sampled items that a user never had after each of the user's own."""
        import polars as pl

        user_at, item_at = positions(users, self.users), positions(items, self.items)
        repeated = np.repeat(np.arange(len(users)), self.negatives)
        rng = np.random.default_rng([0x4E47, seed])
        known = (user_at >= 0) & (item_at >= 0)
        taken = np.union1d(
            pair_keys(*self._seen_pairs(), len(self.items)),
            pair_keys(user_at[known], item_at[known], len(self.items)),
        )
        drawn = draw_unseen(user_at[repeated], taken, len(self.items), rng)
        repeated, drawn = repeated[drawn >= 0], drawn[drawn >= 0]
        order = np.argsort(np.concatenate([np.arange(len(users)), repeated]), kind="stable")
        every = pl.Series(list(self.items), dtype=pl.String)
        users = pl.concat([users, users[repeated]])[order]
        items = pl.concat([items, every[drawn]])[order]
        target = np.concatenate([np.ones(len(rows), np.int32), np.zeros(len(drawn), np.int32)])
        return users, items, np.concatenate([rows, rows[repeated]])[order], target[order]

    def _seen_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of users and items of the pairs seen."""
        offsets, items = self.seen
        return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), items

    # -- answers

    def predictions(
        self, outputs: np.ndarray, part: Part, threshold: float | None = None
    ) -> pl.DataFrame:
        """Return ``user``, ``item`` and ``prediction``: the rating, or the probability of a click.

        Ratings are kept within the lowest and the highest one of training.
        """
        import polars as pl

        user, item = (np.asarray(part.keys[self.columns[role]]) for role in ("user", "item"))
        return pl.DataFrame(
            {
                "user": pl.Series(user.tolist(), dtype=pl.String),
                "item": pl.Series(item.tolist(), dtype=pl.String),
                "prediction": self._limited(outputs[:, -1]),
            }
        )

    def _limited(self, values: np.ndarray) -> np.ndarray:
        return values if self.limits is None else np.clip(values, *self.limits)

    def users_of(self, source: Any) -> list[str] | None:
        """Return the users that rows ask the best items for: rows with a user and no item.

        Args:
            source: rows, as ``encode`` takes them.

        Returns:
            The users in the order of their first row; None where the rows are pairs.
        """
        frame = read_table(source)
        if is_array(source):
            name = frame.columns[0] if frame.width == 1 else None
        else:
            if self.columns["item"] in frame.columns or usual_column(frame, ITEMS):
                return None
            name = self.columns["user"] if self.columns["user"] in frame.columns else None
            name = name or usual_column(frame, USERS)
        if name is None:
            return None
        texts = read_texts(frame[name]).drop_nulls()
        return texts.unique(maintain_order=True).to_list()

    def top(
        self, outputs: Outputs, users: Sequence[Any], k: int = 10
    ) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """Return the k best items that each user has not seen.

        Args:
            outputs: the model's predictions for encoded pairs.
            users: ids; unknown ones get what biases and side information say.
            k: items for each user, fewer where fewer are unseen.

        Returns:
            ``user``, ``item``, ``prediction``, the best first within a user, and notices.

        Raises:
            OptionError: k is below 1.
        """
        import polars as pl

        if k < 1:
            raise OptionError(f"top needs k of at least 1; got {k}")
        ids = read_texts(pl.Series("user", [str(user) for user in users], dtype=pl.String))
        at = positions(ids, self.users)
        found: dict[str, list[Any]] = {"user": [], "item": [], "prediction": []}
        for row, scores in self._scores(outputs, ids):
            scores = scores.copy()
            scores[self._seen_by(int(at[row]))] = -np.inf
            best = np.argsort(-scores, kind="stable")[:k]
            best = best[np.isfinite(scores[best])]
            found["user"] += [ids[row]] * len(best)
            found["item"] += [self.items[i] for i in best]
            found["prediction"] += self._limited(scores[best]).tolist()
        unknown = int((at < 0).sum())
        notices = []
        if unknown:
            notices.append(
                f"{unknown:,} user(s) are unknown: their items are the best by biases and side "
                "information"
            )
        if not len(self.seen[1]):
            notices.append("which items were seen is not kept: they are among those listed")
        schema = {"user": pl.String, "item": pl.String, "prediction": pl.Float64}
        return pl.DataFrame(found, schema=schema), tuple(notices)

    def ranks(self, outputs: Outputs, users: Sequence[str], items: Sequence[str]) -> np.ndarray:
        """Return the rank of each held-out item among all that its user has not seen.

        Args:
            outputs: the model's predictions for encoded pairs.
            users: user of each pair.
            items: held-out item of each pair; it competes although it was seen.

        Returns:
            float64 [N], 1 for the best; items of equal score share their mean rank, and an item
            unknown in training has the rank infinity.
        """
        import polars as pl

        ids = pl.Series("user", list(users), dtype=pl.String)
        wanted = positions(pl.Series("item", list(items), dtype=pl.String), self.items)
        distinct = ids.unique(maintain_order=True)
        rows: dict[str, list[int]] = {}
        for row, user in enumerate(ids.to_list()):
            rows.setdefault(user, []).append(row)
        at = positions(distinct, self.users)
        ranks = np.full(len(ids), np.inf)
        for place, scores in self._scores(outputs, distinct):
            rivals = scores.copy()
            rivals[self._seen_by(int(at[place]))] = -np.inf
            for row in rows[distinct[place]]:
                if wanted[row] < 0:
                    continue
                own = scores[wanted[row]]
                others = rivals[np.isfinite(rivals)]
                better, equal = (others > own).sum(), (others == own).sum()
                equal -= np.isfinite(rivals[wanted[row]])
                ranks[row] = 1.0 + better + 0.5 * equal
        return ranks

    def _scores(self, outputs: Outputs, users: pl.Series) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each user's position and the scores of all items [I]."""
        import polars as pl

        items = self._end(1, pl.Series(list(self.items), dtype=pl.String))
        people = self._end(0, users)
        size = max(1, _PAIRS_AT_ONCE // max(len(self.items), 1))
        every = np.arange(len(self.items))
        for start in range(0, len(users), size):
            block = np.arange(start, min(start + size, len(users)))
            fields = self._joined(
                people, np.repeat(block, len(every)), items, np.tile(every, len(block))
            )
            scores = np.asarray(outputs(fields), np.float64)[:, -1].reshape(len(block), -1)
            yield from zip(block.tolist(), scores, strict=True)

    def _seen_by(self, user: int) -> np.ndarray:
        offsets, items = self.seen
        if user < 0 or user + 1 >= len(offsets):
            return np.zeros(0, np.int64)
        return items[offsets[user] : offsets[user + 1]]

    # -- files

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        seen = self.seen if len(self.seen[1]) <= MAX_SEEN else _nothing_seen()
        return {
            **super().to_dict(),
            "columns": dict(self.columns),
            "users": list(self.users),
            "items": list(self.items),
            "num_user_codes": self.num_user_codes,
            "num_item_codes": self.num_item_codes,
            "user_side": self.user_side.to_dict(),
            "item_side": self.item_side.to_dict(),
            "seen": [values.tolist() for values in seen],
            "limits": None if self.limits is None else list(self.limits),
            "negatives": self.negatives,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RatingsEncoder:
        """Rebuild from ``to_dict``."""
        limits = record["limits"]
        return cls(
            Task.from_dict(record["task"]),
            TargetEncoder.from_dict(record["target"]),
            dict(record["columns"]),
            tuple(record["users"]),
            tuple(record["items"]),
            record["num_user_codes"],
            record["num_item_codes"],
            Side.from_dict(record["user_side"]),
            Side.from_dict(record["item_side"]),
            (np.asarray(record["seen"][0], np.int64), np.asarray(record["seen"][1], np.int64)),
            None if limits is None else (limits[0], limits[1]),
            record["negatives"],
        )


def _lookup(values: pl.Series, place: Mapping[Any, int]) -> np.ndarray:
    return np.fromiter((place[value] for value in values.to_list()), np.int64, len(values))


# ---------------------------------------------------------------------------------------- dataset


@dataclass(frozen=True, eq=False, repr=False)
class RatingsDataset(Dataset):
    """Ratings or clicks with their task and fixed parts; see ``Dataset``."""

    encoder: RatingsEncoder

    @property
    def num_features(self) -> int:
        """Ids and columns of side information."""
        sides = (self.encoder.user_side, self.encoder.item_side)
        return 2 + sum(len(side.names) + len(side.categories) for side in sides)

    def _about(self) -> dict[str, Any]:
        sides = (self.encoder.user_side, self.encoder.item_side)
        return {"inputs": self.input_shape, "side": [[*s.names, *s.categories] for s in sides]}

    def _rows_text(self, num_rows: int) -> str:
        users, items = len(self.encoder.users), len(self.encoder.items)
        what = "pairs" if self.encoder.implicit else "ratings"
        return f"{num_rows:,} {what} of {users:,} users and {items:,} items"

    def _input_lines(self) -> Iterator[str]:
        for what, side in (("user", self.encoder.user_side), ("item", self.encoder.item_side)):
            if names := (*side.names, *side.categories):
                yield f"  {what}s: {shown_names(names, 8)}"

    def held_out_ranks(
        self, outputs: Outputs, part: str = "test", most: int = 2000
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ranks of held-out items among all unseen ones, for ranking metrics.

        Args:
            outputs: the model's predictions for encoded pairs.
            part: ``"validation"`` or ``"test"``.
            most: users to rank for; a seeded choice where there are more.

        Returns:
            ``(users, ranks)``: a number for each pair's user, int64 [N], and ranks, float64 [N].
        """
        chosen = self.parts[part]
        user, item = (np.asarray(chosen.keys[self.encoder.columns[r]]) for r in ("user", "item"))
        if self.encoder.implicit:
            positive = np.asarray(chosen.target) == 1
            user, item = user[positive], item[positive]
        names, number = np.unique(user.astype(str), return_inverse=True)
        if len(names) > most:
            rng = np.random.default_rng([0x52414E4B, self.seed])
            kept = np.isin(number, rng.choice(len(names), most, replace=False))
            user, item, number = user[kept], item[kept], number[kept]
        ranks = self.encoder.ranks(outputs, user.tolist(), item.tolist())
        return number.astype(np.int64), ranks


# ------------------------------------------------------------------------------------------- load


def claims(source: Any, options: Mapping[str, Any]) -> bool:
    """Whether a source looks like ratings: a user, an item, and a rating or time, and no more.

    Args:
        source: what ``load_ratings`` takes; of files only the first line is read.
        options: options of ``load``; naming ``user``, ``item`` or the like decides it.
    """
    own = ("user", "item", "rating", "user_table", "item_table", "negatives")
    if any(options.get(name) is not None for name in own):
        return True
    if isinstance(source, (str, os.PathLike)) and Path(source).expanduser().is_dir():
        return _file_in(Path(source).expanduser(), _RATING_FILES) is not None
    names = peek_header(source)
    if names is None:
        return False
    user, item = first_usual(names, USERS), first_usual(names, ITEMS)
    if user is None or item is None:
        return False
    rest = [n for n in names if n not in (user, item)]
    known = [n for n in rest if plain_name(n) in (*RATINGS, *TIMES)]
    target = options.get("target")
    if isinstance(target, str) and plain_name(target) not in RATINGS:
        return False
    return len(rest) - len(known) <= 1 and len(rest) <= 3


def load_ratings(
    source: Any,
    target: str | None = None,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | None = None,
    user_table: Any = None,
    item_table: Any = None,
    negatives: int | None = None,
    task: str | None = None,
    validation: Any = None,
    test: Any = None,
    metric: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] | None = None,
) -> RatingsDataset:
    """Read ratings or clicks, split them, and encode them.

    Explicit ratings are split at random, or by ``time`` where it is given. Of implicit ones each
    user's last pair (by time where there is one, else a random one) is a test row and the one
    before it a validation row; users with fewer than three pairs are in training only, and of
    ``fractions`` it only counts which are 0.

    Args:
        source: a table of ratings (see ``read_table``), or a folder that holds ``ratings.csv`` and
            perhaps ``users.csv`` and ``items.csv`` (or ``movies.csv``, …).
        target: the column of ratings, the same as ``rating``.
        user: the column of users; by default one of the usual names (``user_id``, ``userId``, …).
        item: the column of items (``item_id``, ``movieId``, ``asin``, …).
        rating: the column of ratings (``rating``, ``score``, ``stars``, …); where there is none,
            every row is a click.
        time: the column of times, to split by.
        user_table: a source of side information on users, joined on their id.
        item_table: a source of side information on items; cells may hold several values
            (``Action|Comedy``).
        negatives: pairs sampled beside each click, 4 by default.
        task: ``"regression"`` or ``"binary"`` (a rating above 0 then counts as a click).
        validation: a source of validation rows, instead of a share of ``source``.
        test: a source of test rows, instead of a share of ``source``.
        metric: the metric that chooses; RMSE, or ROC AUC for clicks.
        loss: the training loss; the task's default otherwise.
        seed: decides which rows go where and which negatives are drawn.
        fractions: shares of training, validation and test rows; 64, 16 and 20 % by default.

    Returns:
        The dataset.

    Raises:
        SourceError: a source cannot be found or read.
        DataError: a column is missing, ratings are no numbers, or there is too little.
        OptionError: an unknown task, metric, loss or a senseless number.

    Example:
        >>> rows = {"user": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3], "item": [*"abcabcabcd"],
        ...         "rating": [5, 3, 1, 4, 4, 1, 5, 2, 2, 3]}
        >>> load_ratings(rows).task.metric
        'rmse'
    """
    name, notices = source_name(source), list[str]()
    source, user_table, item_table = _in_folder(source, user_table, item_table)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise OptionError(f"seed must be a whole number of 0 or more; got {seed!r}")
    if negatives is not None and (not isinstance(negatives, int) or negatives < 1):
        raise OptionError(f"negatives must be a whole number of 1 or more; got {negatives!r}")
    if task not in (None, "regression", "binary"):
        raise unknown_option("task of ratings", task, ("regression", "binary"))
    if target is not None and rating not in (None, target):
        raise OptionError(
            f"target and rating must be the same column; got {target!r} and {rating!r}: give one"
        )
    if isinstance(source, tuple) and len(source) == 2:
        source = pair_frame(source[0], source[1], target or rating or "rating")[0]
    frame = read_table(source)
    columns = columns_of(frame, user, item, rating or target, time, is_array(source))
    implicit = is_implicit(frame, columns, task, notices)
    if implicit and task is None:
        columns.pop("rating", None)
    if not implicit and negatives is not None:
        raise OptionError(
            "negatives are sampled beside clicks; these are ratings: leave negatives out, or say "
            "task='binary'"
        )
    pairs = clean_pairs(frame, columns, implicit, name, notices)
    check_size(pairs, name)
    given = {"validation": validation, "test": test}
    own = {}
    for part, other in given.items():
        if other is not None:
            named = _renamed(read_table(other), columns, part)
            own[part] = clean_pairs(named, columns, implicit, f"the {part} rows", notices)
    shares = _shares(check_fractions(fractions), own)
    if implicit:
        index, how = leave_last_out(pairs, shares, seed)
    elif time is not None:
        values = pairs["time"].to_numpy()
        split = split_rows(pairs.height, shares, times=values, seed=seed)
        index, how = (split.train, split.validation, split.test), f"by time {time}, the newest last"
    else:
        split = split_rows(pairs.height, shares, seed=seed)
        index, how = (split.train, split.validation, split.test), f"at random, seed {seed}"
    parts = {part: pairs[rows] for part, rows in zip(PARTS, index, strict=True)} | own
    how = _split_text(how, own, shares)
    encoder = _fit(parts, columns, implicit, negatives or 4, loss, metric, notices)
    encoder = replace(
        encoder,
        user_side=_side(user_table, parts["train"]["user"], columns["user"], "user", notices),
        item_side=_side(item_table, parts["train"]["item"], columns["item"], "item", notices),
    )
    if not implicit:
        check_loss(encoder.task, [part["value"].to_numpy()[:, None] for part in parts.values()])
    encoded = {}
    for number, (part, chosen) in enumerate(parts.items()):
        made = encoder.part(chosen, (), with_target=True, seed=seed * 8 + number)
        notices += [f"{part} rows: {notice}" for notice in made.notices]
        encoded[part] = replace(made, notices=())
    return RatingsDataset(
        name=name,
        encoder=encoder,
        train=encoded["train"],
        validation=encoded["validation"],
        test=encoded["test"],
        notices=tuple(notices),
        seed=seed,
        split=how,
    )


# Steps of load -----------------------------------------------------------------------------------


def _file_in(folder: Path, stems: Sequence[str]) -> Path | None:
    for stem in stems:
        for ending in _ENDINGS:
            if (folder / f"{stem}{ending}").is_file():
                return folder / f"{stem}{ending}"
    return None


def _in_folder(source: Any, user_table: Any, item_table: Any) -> tuple[Any, Any, Any]:
    """Return the tables of a folder of ratings; other sources as they are."""
    if not isinstance(source, (str, os.PathLike)) or not Path(source).expanduser().is_dir():
        return source, user_table, item_table
    folder = Path(source).expanduser()
    ratings = _file_in(folder, _RATING_FILES)
    if ratings is None:
        raise DataError(
            f"the folder {folder} holds no table of ratings: name it ratings.csv, or give the file"
        )
    users = user_table if user_table is not None else _file_in(folder, _USER_FILES)
    items = item_table if item_table is not None else _file_in(folder, _ITEM_FILES)
    return ratings, users, items


def _renamed(frame: pl.DataFrame, columns: Mapping[str, str], part: str) -> pl.DataFrame:
    for role in ("user", "item", "rating"):
        if role in columns and columns[role] not in frame.columns:
            raise DataError(
                f"the {part} rows lack the column {columns[role]!r}"
                f"{did_you_mean(columns[role], frame.columns)}: they need the columns of the "
                "training rows"
            )
    return frame


def _shares(
    fractions: tuple[float, float, float], own: Mapping[str, Any]
) -> tuple[float, float, float]:
    train, validation, test = fractions
    validation = 0.0 if "validation" in own else validation
    test = 0.0 if "test" in own else test
    total = train + validation + test
    return train / total, validation / total, test / total


def _split_text(how: str, own: Mapping[str, Any], shares: Sequence[float]) -> str:
    if "validation" in own:
        # Said first: validation rows that the user chose are never dealt anew.
        text = f"own source for {' and '.join(own)}"
        return text if shares[0] == 1 else f"{text}; the rest {how}"
    if "test" in own:
        return f"{how}; own source for test"
    return "all rows to learn from" if shares[0] == 1 else how


def _vocabulary(ids: pl.Series, what: str, notices: list[str]) -> tuple[tuple[str, ...], int]:
    """Return the ids, the frequent first, and how many have a code of their own."""
    import polars as pl

    counts = ids.value_counts(name="count").sort(["count", ids.name], descending=[True, False])
    own = int((counts["count"] >= RARE).sum())
    if own < counts.height:
        notices.append(
            f"{counts.height - own:,} {what}(s) with one training row share the code of "
            "unknown ones"
        )
    return tuple(counts[ids.name].cast(pl.String).to_list()), own


def _fit(
    parts: Mapping[str, pl.DataFrame],
    columns: Mapping[str, str],
    implicit: bool,
    negatives: int,
    loss: str | None,
    metric: str | None,
    notices: list[str],
) -> RatingsEncoder:
    """Return the encoder of the training rows, without side information."""
    import polars as pl

    train = parts["train"]
    users, num_users = _vocabulary(train["user"], "user", notices)
    items, num_items = _vocabulary(train["item"], "item", notices)
    limits = None
    if implicit:
        target = TargetEncoder("binary", ("click",), (0, 1))
        task = Task("binary", ("click",), (0, 1), loss or "", metric or "roc_auc")
    else:
        values = train["value"].to_numpy()
        limits = (float(values.min()), float(values.max()))
        if limits[0] == limits[1]:
            raise DataError(
                f"all training rows have the rating {limits[0]:g}: nothing can be learnt; split in "
                "another way or give more rows"
            )
        target = TargetEncoder("regression", (columns["rating"],)).fitted(values[:, None])
        task = Task("regression", (columns["rating"],), (), loss or "", metric or "")
    every = pl.concat(list(parts.values()))
    user_at, item_at = positions(every["user"], users), positions(every["item"], items)
    known = (user_at >= 0) & (item_at >= 0)
    keys = pair_keys(user_at[known], item_at[known], len(items))
    counts = np.bincount(keys // len(items), minlength=len(users))
    if len(keys) > MAX_SEEN:
        notices.append(
            f"{len(keys):,} pairs are too many to save with a model ({MAX_SEEN:,} are kept): once "
            "loaded again, it may recommend items that were seen"
        )
    return RatingsEncoder(
        task,
        target,
        columns,
        users,
        items,
        num_users,
        num_items,
        seen=(np.concatenate([[0], np.cumsum(counts)]), keys % len(items)),
        limits=limits,
        negatives=negatives,
    )


def _side(table: Any, ids: pl.Series, name: str, what: str, notices: list[str]) -> Side:
    if table is None:
        return Side()
    usual = USERS if what == "user" else ITEMS
    try:
        return read_side(table, ids, (name, *usual, "id"), what, notices)
    except ThalwegError as error:
        if what in str(error):
            raise
        raise DataError(f"the table of {what}s: {error}") from None
