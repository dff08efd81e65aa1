"""Ratings: columns, splits, ids, side information, negatives, and what is told of bad input."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from thalweg.data.dataset import Encoder
from thalweg.data.pairs import draw_unseen
from thalweg.data.ratings import RatingsDataset, RatingsEncoder, claims, load_ratings
from thalweg.errors import DataError, OptionError

rng = np.random.default_rng(0)
NUM_USERS, NUM_ITEMS = 30, 20
GRID = np.array([(u, i) for u in range(NUM_USERS) for i in range(NUM_ITEMS)])
CHOSEN = GRID[np.sort(rng.choice(len(GRID), 400, replace=False))]
RATINGS = pl.DataFrame(
    {
        "userId": CHOSEN[:, 0] + 100,
        "movieId": [f"m{i}" for i in CHOSEN[:, 1]],
        "rating": rng.integers(1, 6, 400),
        "timestamp": 800_000_000 + rng.permutation(400) * 1000,
    }
)
USERS = pl.DataFrame(
    {
        "userId": np.arange(NUM_USERS) + 100,
        "age": rng.integers(18, 70, NUM_USERS),
        "job": rng.choice(["cook", "clerk", "nurse"], NUM_USERS),
    }
)
MOVIES = pl.DataFrame(
    {
        "movieId": [f"m{i}" for i in range(NUM_ITEMS)],
        "title": [f"A film about thing number {i} and others" for i in range(NUM_ITEMS)],
        "genres": ["Action|Comedy", "Comedy", "Drama|Action", "Drama"] * 5,
        "year": rng.integers(1950, 2000, NUM_ITEMS),
    }
)


def pair_texts(part):
    return list(zip(part.keys["userId"], part.keys["movieId"], strict=True))


@pytest.fixture(scope="module")
def explicit() -> RatingsDataset:
    return load_ratings(RATINGS, user_table=USERS, item_table=MOVIES)


@pytest.fixture(scope="module")
def clicks() -> RatingsDataset:
    return load_ratings(RATINGS.drop("rating"), negatives=3)


# ------------------------------------------------------------------------------------- explicit


def test_explicit_ratings_are_a_regression_split_at_random(explicit):
    assert (explicit.task.kind, explicit.task.metric, explicit.task.targets) == (
        "regression",
        "rmse",
        ("rating",),
    )
    assert [len(part) for part in explicit.parts.values()] == [256, 64, 80]
    assert explicit.split == "at random, seed 0"
    known = {(str(u), i): r for u, i, r in RATINGS.select("userId", "movieId", "rating").rows()}
    seen = set()
    for part in explicit.parts.values():
        values = explicit.raw_target(part)[:, 0]
        for pair, value, row in zip(pair_texts(part), values, part.rows, strict=True):
            assert known[pair] == pytest.approx(value, abs=1e-5)
            assert (str(RATINGS["userId"][int(row)]), RATINGS["movieId"][int(row)]) == pair
            seen.add(pair)
    assert len(seen) == 400
    np.testing.assert_allclose(explicit.train.target.std(), 1.0, rtol=1e-4)


def test_fields_are_codes_and_the_sides_one_after_the_other(explicit):
    shape = explicit.input_shape
    encoder = explicit.encoder
    assert shape["cardinalities"][:2] == [encoder.num_user_codes + 1, encoder.num_item_codes + 1]
    assert len(shape["cardinalities"]) % 2 == 0
    assert shape["numeric"] % 2 == 0
    fields = explicit.train.fields
    assert fields["numeric"].dtype == np.float32
    assert fields["category"].dtype == np.int32
    assert fields["numeric"].shape == (256, shape["numeric"])
    assert (fields["category"] < np.array(shape["cardinalities"])).all()
    half = shape["numeric"] // 2
    for pair, numbers, codes in zip(
        pair_texts(explicit.train), fields["numeric"], fields["category"], strict=True
    ):
        movie = MOVIES.filter(pl.col("movieId") == pair[1])
        for genre in ("Action", "Comedy", "Drama"):
            place = half + encoder.item_side.names.index(f"genres={genre}")
            assert numbers[place] == (genre in movie["genres"][0])
        if codes[0]:
            assert encoder.users[codes[0] - 1] == pair[0]
    assert "set aside in the table of items: title" in explicit.notices


def test_a_time_that_is_given_splits_and_one_that_is_found_does_not():
    by_time = load_ratings(RATINGS, time="timestamp")
    assert by_time.split == "by time timestamp, the newest last"
    newest = RATINGS["timestamp"].to_numpy()
    assert newest[by_time.train.rows].max() < newest[by_time.validation.rows].min()
    assert newest[by_time.validation.rows].max() < newest[by_time.test.rows].min()


def test_fractions_seed_and_own_sources():
    halves = load_ratings(RATINGS, fractions=(0.5, 0.25, 0.25), seed=3)
    assert [len(part) for part in halves.parts.values()] == [200, 100, 100]
    again = load_ratings(RATINGS, fractions=(0.5, 0.25, 0.25), seed=3)
    assert halves.fingerprint == again.fingerprint
    assert halves.fingerprint != load_ratings(RATINGS, fractions=(0.5, 0.25, 0.25)).fingerprint
    own = load_ratings(RATINGS[:300], validation=RATINGS[300:350], test=RATINGS[350:])
    assert [len(part) for part in own.parts.values()] == [300, 50, 50]
    assert own.split == "own source for validation and test"
    only = load_ratings(RATINGS, fractions=(1, 0, 0))
    assert only.split == "all rows to learn from"


def test_ids_seen_once_share_the_code_of_unknown_ones():
    extra = pl.DataFrame(
        {"userId": [999], "movieId": ["rare"], "rating": [2], "timestamp": [1]},
        schema=RATINGS.schema,
    )
    data = load_ratings(pl.concat([RATINGS, extra]), fractions=(1, 0, 0))
    last = data.train.take(data.train.rows == 400)
    assert last.fields["category"][0].tolist() == [0, 0]
    assert "1 user(s) with one training row share the code of unknown ones" in data.notices
    part = data.encode({"userId": ["nobody", 999, 100], "movieId": ["m1", "m2", "nothing"]})
    assert part.fields["category"][0, 0] == 0
    assert part.fields["category"][1, 0] == 0
    assert part.fields["category"][2, 1] == 0
    assert [n.split(":")[0] for n in part.notices] == [
        "1 user(s) are unknown, such as nobody",
        "1 item(s) are unknown, such as nothing",
    ]


def test_unknown_ids_keep_their_side_information():
    train = RATINGS.filter(pl.col("movieId") != "m7")
    data = load_ratings(train, item_table=MOVIES)
    part = data.encode({"userId": [100], "movieId": ["m7"]})
    half = data.input_shape["numeric"] // 2
    names = data.encoder.item_side.names
    assert part.fields["category"][0, 1] == 0
    assert part.fields["numeric"][0, half + names.index("genres=Drama")] == 1


def test_a_folder_brings_its_tables(tmp_path):
    RATINGS.write_csv(tmp_path / "ratings.csv")
    USERS.write_csv(tmp_path / "users.csv")
    MOVIES.write_csv(tmp_path / "movies.csv")
    data = load_ratings(tmp_path)
    assert "age" in data.encoder.user_side.names
    assert "genres=Drama" in data.encoder.item_side.names
    assert claims(tmp_path, {})
    (tmp_path / "ratings.csv").unlink()
    assert not claims(tmp_path, {})
    with pytest.raises(DataError, match="holds no table of ratings"):
        load_ratings(tmp_path)


def test_lists_may_be_lists():
    lists = MOVIES.with_columns(pl.col("genres").str.split("|"))
    data = load_ratings(RATINGS, item_table=lists)
    texts = load_ratings(RATINGS, item_table=MOVIES)
    assert data.encoder.item_side.names == texts.encoder.item_side.names
    np.testing.assert_array_equal(data.train.fields["numeric"], texts.train.fields["numeric"])


# --------------------------------------------------------------------------------------- clicks


def test_clicks_hold_out_the_last_and_are_never_negatives(clicks):
    assert clicks.task.kind == "binary"
    assert clicks.task.metric == "roc_auc"
    own = {(str(u), i) for u, i in RATINGS.select("userId", "movieId").rows()}
    for name, part in clicks.parts.items():
        for pair, clicked in zip(pair_texts(part), part.target, strict=True):
            assert (pair in own) == bool(clicked), name
        # A user who had nearly everything still gets negatives from what is left.
        assert (part.target == 0).sum() == 3 * (part.target == 1).sum()
    for user in RATINGS["userId"].unique():
        times = RATINGS.filter(pl.col("userId") == user).sort("timestamp")["movieId"].to_list()
        for name, want in (("test", times[-1:]), ("validation", times[-2:-1])):
            part = clicks.parts[name].take(clicks.parts[name].target == 1)
            assert [item for own, item in pair_texts(part) if own == str(user)] == want
    assert not clicks.split.startswith("at random")
    again = load_ratings(RATINGS.drop("rating"), negatives=3)
    assert again.fingerprint == clicks.fingerprint


def test_ratings_may_be_taken_for_clicks():
    zeros = RATINGS.with_columns(rating=pl.col("rating") - 1)
    data = load_ratings(zeros, task="binary")
    assert data.task.kind == "binary"
    assert any("rated 0 or less are no clicks" in notice for notice in data.notices)
    ones = load_ratings(RATINGS.with_columns(rating=pl.lit(1)))
    assert ones.task.kind == "binary"
    assert "rating is 1 in every row: every row counts as a click" in ones.notices


def test_users_with_too_few_clicks_are_in_training_only():
    pairs = {"user": [*"aaabbcccdddd"], "item": [*"xyzxyxyzwxyz"]}
    data = load_ratings(pairs)
    held = data.validation.take(data.validation.target == 1).keys["user"]
    assert sorted(held) == ["a", "c", "d"]
    assert data.split == "each user's random two pairs held out, seed 0"
    one = load_ratings(pairs, fractions=(0.8, 0, 0.2))
    assert len(one.validation) == 0
    assert (one.test.target == 1).sum() == 4
    thin = {"user": [*"abcdefghijkl"], "item": [*"xyxyxyxyxyxy"]}
    with pytest.raises(DataError, match="no user has 3 pairs"):
        load_ratings(thin)


def test_a_saved_model_keeps_only_so_many_pairs(monkeypatch):
    monkeypatch.setattr("thalweg.data.ratings.MAX_SEEN", 100)
    data = load_ratings(RATINGS)
    assert any("too many to save" in notice for notice in data.notices)
    again = Encoder.from_dict(json.loads(json.dumps(data.encoder.to_dict())))
    assert isinstance(again, RatingsEncoder)
    frame, notices = again.top(by_item(again), [100], 3)
    assert frame["item"].to_list() == list(reversed(again.items))[:3]
    assert notices == ("which items were seen is not kept: they are among those listed",)


def test_draws_avoid_what_occurs():
    taken = np.array([0, 1, 2, 5, 6, 7, 8, 9])
    users = np.repeat([0, 1, -1], 40)
    drawn = draw_unseen(users, taken, 5, np.random.default_rng(0))
    assert set(drawn[:40]) == {3, 4}
    assert set(drawn[40:80]) == {-1}


# -------------------------------------------------------------------------------------- answers


def by_item(encoder):
    """Return outputs that grow with the item's place in the vocabulary."""
    return lambda fields: fields["category"][:, 1:2].astype(float)


def test_the_best_unseen_items_come_first(explicit):
    encoder = explicit.encoder
    frame, notices = encoder.top(by_item(encoder), [100, "stranger"], 4)
    assert frame.columns == ["user", "item", "prediction"]
    seen = set(RATINGS.filter(pl.col("userId") == 100)["movieId"])
    unseen = [item for item in reversed(encoder.items) if item not in seen]
    mine = frame.filter(pl.col("user") == "100")
    assert mine["item"].to_list() == unseen[:4]
    assert (
        frame.filter(pl.col("user") == "stranger")["item"].to_list()
        == list(reversed(encoder.items))[:4]
    )
    # Predictions stay within the ratings that there are.
    assert frame["prediction"].max() == 5
    assert notices == (
        "1 user(s) are unknown: their items are the best by biases and side information",
    )
    with pytest.raises(OptionError, match="k of at least 1"):
        encoder.top(by_item(encoder), [100], 0)


def test_rows_of_users_alone_ask_for_the_best_items(explicit):
    encoder = explicit.encoder
    assert encoder.users_of({"userId": [100, 101, 100]}) == ["100", "101"]
    assert encoder.users_of(np.array([[100], [7]])) == ["100", "7"]
    assert encoder.users_of(RATINGS) is None
    with pytest.raises(DataError, match="ask for the best items of each user"):
        encoder.encode({"userId": [100]})


def test_predictions_name_their_pairs(explicit, clicks):
    part = explicit.encode({"userId": [100.0, 101.0], "movieId": ["m1", "m2"]})
    frame = explicit.encoder.predictions(np.array([[3.25], [9.0]]), part)
    assert frame.rows() == [("100", "m1", 3.25), ("101", "m2", 5.0)]
    part = clicks.encode(pl.DataFrame({"user": [100], "item": ["m1"]}))
    frame = clicks.encoder.predictions(np.array([[0.25, 0.75]]), part)
    assert frame.rows() == [("100", "m1", 0.75)]


def test_held_out_items_are_ranked_among_the_unseen(clicks):
    encoder = clicks.encoder
    users, ranks = clicks.held_out_ranks(by_item(encoder))
    part = clicks.test
    wanted = [p for p, t in zip(pair_texts(part), part.target, strict=True) if t]
    assert len(users) == len(wanted) == len(np.unique(users))
    for (user, item), rank in zip(wanted, ranks, strict=True):
        seen = set(RATINGS.filter(pl.col("userId") == int(user))["movieId"]) - {item}
        order = [i for i in reversed(encoder.items) if i not in seen]
        assert order.index(item) + 1 == rank
    _, ranks = clicks.held_out_ranks(lambda fields: np.zeros((len(fields["category"]), 2)), most=5)
    assert len(ranks) == 5
    assert (ranks > 1).any()


def test_an_item_never_trained_on_has_no_rank(clicks):
    encoder = clicks.encoder
    ranks = encoder.ranks(by_item(encoder), ["100", "nobody"], ["never", encoder.items[-1]])
    assert ranks.tolist() == [np.inf, 1.0]


@pytest.mark.parametrize("which", ["explicit", "clicks"])
def test_encoders_survive_json(which, request):
    data = request.getfixturevalue(which)
    record = json.loads(json.dumps(data.encoder.to_dict()))
    encoder = Encoder.from_dict(record)
    assert isinstance(encoder, RatingsEncoder)
    assert encoder.input_shape == data.input_shape
    rows = RATINGS.with_columns(pl.col("userId") + 5)
    mine, theirs = data.encode(rows), encoder.encode(rows)
    for name, values in mine.fields.items():
        np.testing.assert_array_equal(values, theirs.fields[name])
    frames = [e.top(by_item(e), [100, 3], 5)[0] for e in (encoder, data.encoder)]
    assert frames[0].equals(frames[1])


def test_scoring_reads_ratings_and_samples_negatives(explicit, clicks):
    part = explicit.encode(RATINGS[:50], with_target=True)
    np.testing.assert_allclose(
        explicit.raw_target(part)[:, 0], RATINGS["rating"][:50].to_numpy(), atol=1e-5
    )
    part = clicks.encode(RATINGS[:50], with_target=True)
    assert part.target.sum() == 50
    assert len(part) == 200
    with pytest.raises(DataError, match="scoring needs the ratings"):
        explicit.encode(RATINGS.drop("rating"), with_target=True)


def test_what_is_told(explicit):
    text = "\n".join(explicit.describe())
    assert "400 ratings of 30 users and 20 items, target rating (regression)" in text
    assert "users: age" in text
    assert "genres holds several values in a cell: 3 of them are flags" in text


# ------------------------------------------------------------------------------------ bad input


def changed(**columns):
    return RATINGS.with_columns(**columns)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (RATINGS.drop("userId"), {}, "which column holds the users.*user="),
        (RATINGS.drop("movieId"), {}, "which column holds the items"),
        (RATINGS, {"user": "userid"}, "did you mean 'userId'"),
        (RATINGS, {"user": "userId", "item": "userId"}, "must be different columns"),
        (
            changed(rating=pl.Series(["good", "4"] * 200)),
            {},
            "ratings must be numbers; 200.*'good'",
        ),
        (changed(rating=pl.lit(None, pl.Int64)), {}, "no row has a rating"),
        (changed(userId=pl.lit(1)), {}, "has one user only.*'1'"),
        (changed(movieId=pl.lit("m1")), {}, "has one item only"),
        (RATINGS[:5], {}, "5 different pairs.*10 or more"),
        (changed(rating=pl.lit(4)), {"task": "regression"}, "4 in every row"),
        (RATINGS.drop("rating"), {"task": "regression"}, "needs a column of ratings"),
        (RATINGS, {"item_table": MOVIES.rename({"movieId": "film code"})}, "column 'movieId' to"),
        (
            RATINGS,
            {"item_table": MOVIES.with_columns(movieId=pl.col("title"))},
            "no item of the ratings is in the table",
        ),
        (RATINGS, {"test": RATINGS.drop("rating")}, "the test rows lack the column 'rating'"),
    ],
)
def test_bad_input_is_refused_in_one_line(source, options, words):
    with pytest.raises(DataError, match=words) as caught:
        load_ratings(source, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "multiclass"}, "task of ratings must be one of regression, binary"),
        ({"negatives": 3}, "negatives are sampled beside clicks"),
        ({"negatives": 0}, "1 or more"),
        ({"seed": -1}, "seed must be"),
        ({"target": "rating", "rating": "timestamp"}, "the same column"),
        ({"fractions": (0.5, 0.5)}, "must be three numbers"),
        ({"metric": "accuracy"}, "metric of a regression task"),
    ],
)
def test_senseless_options_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        load_ratings(RATINGS, **options)


def test_repeated_pairs_count_once_with_their_mean():
    first = RATINGS[:1].with_columns(rating=pl.lit(1)).cast(RATINGS.schema)
    second = RATINGS[:1].with_columns(rating=pl.lit(4)).cast(RATINGS.schema)
    data = load_ratings(pl.concat([first, second, RATINGS[1:]]), fractions=(1, 0, 0))
    assert len(data.train) == 400
    value = data.raw_target(data.train)[data.train.rows == 0]
    assert value[0, 0] == pytest.approx(2.5, abs=1e-5)
    assert any("1 row(s) repeat a pair of user and item" in n for n in data.notices)


def test_rows_without_an_id_or_rating_are_left_out_and_told():
    holes = changed(
        userId=pl.when(pl.int_range(400) < 3).then(None).otherwise(pl.col("userId")),
        rating=pl.when(pl.int_range(400) > 397).then(None).otherwise(pl.col("rating")),
    )
    data = load_ratings(holes)
    assert sum(len(part) for part in data.parts.values()) == 395
    assert "table: 3 row(s) without an id are left out" in data.notices
    assert "table: 2 row(s) without a rating are left out" in data.notices


def test_side_tables_may_repeat_or_lack_ids():
    table = pl.concat([USERS[:20], USERS[:2].with_columns(age=pl.lit(1, pl.Int64))])
    data = load_ratings(RATINGS, user_table=table)
    assert any("2 row(s) of the table of users" in notice for notice in data.notices)
    assert any("nothing is known of 10 user(s)" in notice for notice in data.notices)


@pytest.mark.parametrize(
    ("source", "options", "want"),
    [
        (RATINGS, {}, True),
        (RATINGS.drop("rating"), {}, True),
        (RATINGS, {"target": "timestamp"}, False),
        (RATINGS.with_columns(a=pl.lit(1), b=pl.lit(2)), {}, False),
        (MOVIES, {}, False),
        (MOVIES, {"item": "movieId"}, True),
        (np.zeros((3, 3)), {}, False),
        ("nowhere.csv", {}, False),
    ],
)
def test_what_looks_like_ratings(source, options, want):
    assert claims(source, options) is want


def test_files_are_known_by_their_first_line(tmp_path):
    path = tmp_path / "some.tsv"
    RATINGS.write_csv(path, separator="\t")
    assert claims(path, {})
    assert len(load_ratings(path).train) == 256


def test_arrays_have_the_usual_order():
    array = np.stack([CHOSEN[:, 0], CHOSEN[:, 1], RATINGS["rating"].to_numpy()], 1)
    data = load_ratings(array)
    assert [len(part) for part in data.parts.values()] == [256, 64, 80]
    assert len(data.encode(array[:7, :2])) == 7


def test_movielens(shared_data):
    data = load_ratings(shared_data / "movielens_100k")
    assert [len(part) for part in data.parts.values()] == [64_000, 16_000, 20_000]
    assert "age" in data.encoder.user_side.names
    assert sum(name.startswith("genres=") for name in data.encoder.item_side.names) == 19
    assert data.encoder.num_user_codes == 943
