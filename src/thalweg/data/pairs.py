"""Pairs of a user and an item: their columns, cleaning, splitting, and pairs that do not occur."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from thalweg.data.columns import (
    read_datetimes,
    read_numbers,
    read_texts,
    require_columns,
    shown_names,
)
from thalweg.data.splits import MIN_ROWS
from thalweg.data.targets import MISSING_LABELS
from thalweg.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import polars as pl

USERS = ("user", "userid", "uid", "customer", "customerid", "reviewer", "reviewerid", "member")
USERS += ("memberid", "visitor", "visitorid", "client", "clientid", "username", "account")
ITEMS = ("item", "itemid", "iid", "movie", "movieid", "product", "productid", "asin", "book")
ITEMS += ("bookid", "isbn", "song", "songid", "track", "trackid", "artist", "artistid", "film")
ITEMS += ("filmid", "anime", "animeid", "article", "articleid", "business", "businessid", "recipe")
ITEMS += ("recipeid", "game", "gameid", "video", "videoid", "sku", "parentasin")
RATINGS = ("rating", "ratings", "score", "stars", "star", "overall", "rate", "bookrating")
TIMES = ("timestamp", "time", "datetime", "date", "unixreviewtime", "ratedat", "createdat", "ts")


def plain_name(name: str) -> str:
    """Return a column's name without case, blanks and punctuation: ``User ID`` is ``userid``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def first_usual(names: Sequence[str], usual: Sequence[str]) -> str | None:
    """Return the column whose name comes first among the usual ones."""
    by_plain = {plain_name(name): name for name in reversed(names)}
    return next((by_plain[name] for name in usual if name in by_plain), None)


def usual_column(frame: pl.DataFrame, usual: Sequence[str]) -> str | None:
    """Return the frame's column whose name comes first among the usual ones; None without one."""
    return first_usual(frame.columns, [plain_name(name) for name in usual])


def columns_of(
    frame: pl.DataFrame,
    user: str | None,
    item: str | None,
    rating: str | None,
    time: str | None,
    from_array: bool,
) -> dict[str, str]:
    """Return the column of each role; ``rating`` and ``time`` only where there is one."""
    named = {"user": user, "item": item, "rating": rating, "time": time}
    for role, column in named.items():
        if column is not None:
            require_columns([column], frame.columns, f"{role} names the")
    if from_array:
        # The columns of an array have no names, but the usual order.
        for role, column in zip(tuple(named), frame.columns, strict=False):
            named[role] = named[role] or column
    given = [column for column in named.values() if column is not None]
    if len(set(given)) < len(given):
        raise DataError(f"user, item, rating and time must be different columns; got {given}")
    rest = [name for name in frame.columns if name not in given]
    usual = {"user": USERS, "item": ITEMS, "rating": RATINGS, "time": TIMES}
    found = {}
    for role, names in usual.items():
        column = named[role] or first_usual(rest, names)
        if column is None and role in ("user", "item"):
            raise DataError(
                f"which column holds the {role}s? None of {shown_names(frame.columns, 8)} has a "
                f"usual name: name it with {role}="
            )
        if column is not None:
            found[role] = column
    return found


def is_implicit(
    frame: pl.DataFrame, columns: Mapping[str, str], task: str | None, notices: list[str]
) -> bool:
    """Whether the rows are clicks rather than ratings.

    Raises:
        DataError: the task does not suit the ratings, or no row has one.
    """
    if "rating" not in columns:
        if task == "regression":
            raise DataError(
                "a regression needs a column of ratings; the columns are "
                f"{shown_names(frame.columns, 8)}: name it with rating="
            )
        notices.append("there is no column of ratings: every row counts as a click")
        return True
    values = _ratings(frame[columns["rating"]])
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise DataError(f"no row has a rating in {columns['rating']!r}: choose another column")
    if task == "binary":
        return True
    if (finite == finite[0]).all():
        if task == "regression":
            raise DataError(
                f"{columns['rating']} is {finite[0]:g} in every row: nothing can be learnt; "
                "task='binary' takes the rows for clicks"
            )
        notices.append(
            f"{columns['rating']} is {finite[0]:g} in every row: every row counts as a click"
        )
        return True
    return False


def _ratings(series: pl.Series) -> np.ndarray:
    values, bad, _ = read_numbers(series, missing=MISSING_LABELS)
    if bad:
        raise DataError(
            f"ratings must be numbers; {len(bad):,} value(s) of {series.name!r} are not, such as "
            f"{bad[0]!r}: correct or remove these rows"
        )
    return values.fill_null(float("nan")).to_numpy()


def read_pairs(frame: pl.DataFrame, columns: Mapping[str, str], *, numbered: bool) -> pl.DataFrame:
    """Return ``user``, ``item``, ``value`` (1 where there is none), ``time`` and ``row``."""
    import polars as pl

    rating, time = columns.get("rating"), columns.get("time")
    with_value = numbered and rating is not None
    values = _ratings(frame[rating]) if with_value and rating else np.ones(frame.height)
    times = np.zeros(frame.height)
    if numbered and time in frame.columns:
        times = _times(frame[time])
    return pl.DataFrame(
        {
            "user": read_texts(frame[columns["user"]]),
            "item": read_texts(frame[columns["item"]]),
            "value": values,
            "time": times,
            "row": np.arange(frame.height),
        }
    )


def _times(series: pl.Series) -> np.ndarray:
    """Return times as numbers, NaN where missing or unreadable."""
    import polars as pl

    dates, date_format = read_datetimes(series)
    if date_format is not None and not series.dtype.is_numeric():
        numbers = dates.cast(pl.Int64).cast(pl.Float64)
    else:
        numbers = read_numbers(series)[0]
    return numbers.fill_null(float("nan")).to_numpy()


def clean_pairs(
    frame: pl.DataFrame,
    columns: Mapping[str, str],
    implicit: bool,
    what: str,
    notices: list[str],
) -> pl.DataFrame:
    """Return whole, different pairs; see ``read_pairs``."""
    import polars as pl

    if "rating" in columns and columns["rating"] not in frame.columns:
        raise DataError(
            f"{what} lack the column {columns['rating']!r}"
            f"{did_you_mean(columns['rating'], frame.columns)}: scoring needs the ratings"
        )
    pairs = read_pairs(frame, columns, numbered=True)
    steps = [("an id", pl.col("user").is_not_null() & pl.col("item").is_not_null())]
    steps += [("a rating", pl.col("value").is_finite())]
    if "time" in columns and columns["time"] in frame.columns:
        steps += [("a time", pl.col("time").is_finite())]
    for missing, present in steps:
        kept = pairs.filter(present)
        if kept.height < pairs.height:
            notices.append(
                f"{what}: {pairs.height - kept.height:,} row(s) without {missing} are left out"
            )
        pairs = kept
    if implicit and "rating" in columns:
        kept = pairs.filter(pl.col("value") > 0)
        if kept.height < pairs.height:
            notices.append(
                f"{what}: {pairs.height - kept.height:,} row(s) rated 0 or less are no clicks"
            )
        pairs = kept.with_columns(value=pl.lit(1.0))
    if not pairs.height:
        raise DataError(f"{what}: no row has a user, an item and a rating: check the columns")
    merged = pairs.group_by("user", "item", maintain_order=True).agg(
        pl.col("value").mean(), pl.col("time").max(), pl.col("row").first()
    )
    if merged.height < pairs.height:
        how = "count once" if implicit else "count once, with the mean rating"
        notices.append(
            f"{what}: {pairs.height - merged.height:,} row(s) repeat a pair of user and item; such "
            f"pairs {how}"
        )
    return merged


def check_size(pairs: pl.DataFrame, name: str) -> None:
    """Refuse too few pairs, and those of a single user or item, with a DataError."""
    if pairs.height < MIN_ROWS:
        raise DataError(
            f"{name} has {pairs.height} different pairs of user and item, which is not enough to "
            f"learn from: give {MIN_ROWS} or more"
        )
    for what in ("user", "item"):
        if pairs[what].n_unique() < 2:
            raise DataError(
                f"{name} has one {what} only ({pairs[what][0]!r}): recommending needs several; for "
                "a single one, predict the ratings as a table"
            )


def leave_last_out(
    pairs: pl.DataFrame, shares: Sequence[float], seed: int
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], str]:
    """Hold out each user's last pair for test and the one before it for validation."""
    parts = int(shares[1] > 0) + int(shares[2] > 0)
    user = np.unique(pairs["user"].to_numpy().astype(str), return_inverse=True)[1]
    time = pairs["time"].to_numpy()
    timed = len(np.unique(time)) > 1
    rng = np.random.default_rng([0x4C4F4F, seed])
    order = np.lexsort((rng.permutation(len(user)), time, user))
    counts = np.bincount(user)
    ends = np.cumsum(counts)
    # How many of the user's pairs come after this one.
    after = ends[user[order]] - 1 - np.arange(len(user))
    enough = counts[user[order]] > parts
    part_of = np.zeros(len(user), np.int64)
    place = 0
    for part, share in ((2, shares[2]), (1, shares[1])):
        if share > 0:
            part_of[order[enough & (after == place)]] = part
            place += 1
    index = tuple(np.flatnonzero(part_of == part) for part in range(3))
    for part, name in ((1, "validation"), (2, "test")):
        if shares[part] > 0 and not len(index[part]):
            raise DataError(
                f"the split leaves no {name} rows: no user has {parts + 1} pairs; give more rows"
            )
    if not parts:
        return (index[0], index[1], index[2]), "all rows to learn from"
    which = "last" if timed else "random"
    kept = "pair" if parts == 1 else "two pairs"
    return (index[0], index[1], index[2]), f"each user's {which} {kept} held out, seed {seed}"


def pair_keys(users: np.ndarray, items: np.ndarray, num_items: int) -> np.ndarray:
    """Return one sorted number for each different pair."""
    return np.unique(users.astype(np.int64) * num_items + items)


def draw_unseen(
    users: np.ndarray, taken: np.ndarray, num_items: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw an item for each row, at random among those that its user never had.

    Args:
        users: position of the user of each row, [N]; -1 where nothing is known of them.
        taken: sorted keys ``user · num_items + item`` of the pairs that occur.
        num_items: number of items.
        rng: source of the draws.

    Returns:
        int64 [N]; -1 where the user had all items.
    """
    drawn = rng.integers(0, num_items, len(users))
    open_rows = np.flatnonzero(users >= 0)
    for _ in range(30):
        key = users[open_rows] * num_items + drawn[open_rows]
        place = np.minimum(np.searchsorted(taken, key), max(len(taken) - 1, 0))
        clash = taken[place] == key if len(taken) else np.zeros(len(key), bool)
        open_rows = open_rows[clash]
        if not len(open_rows):
            return drawn
        drawn[open_rows] = rng.integers(0, num_items, len(open_rows))
    # Users who had nearly all: choose among what is left.
    for user in np.unique(users[open_rows]):
        low, high = np.searchsorted(taken, [user * num_items, (user + 1) * num_items])
        left = np.setdiff1d(np.arange(num_items), taken[low:high] - user * num_items)
        rows = open_rows[users[open_rows] == user]
        drawn[rows] = rng.choice(left, len(rows)) if len(left) else -1
    return drawn
