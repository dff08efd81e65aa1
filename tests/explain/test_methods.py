"""``explain`` on every kind of data: what it tells, in whose terms, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from networks import houses, random_model

import thalweg as tw
from thalweg.data.sequences import load_sequences
from thalweg.errors import DataError, OptionError
from thalweg.explain import DEFAULTS, METHODS
from thalweg.explain.players import KEPT, PLAYERS


def series_frame() -> pl.DataFrame:
    t = np.arange(200)
    return pl.DataFrame({"t": t, "load": np.sin(t / 5), "heat": np.cos(t / 7)})


def ratings_frame() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 20, 600), rng.integers(0, 30, 600)
    rating = np.clip(3 + (users % 3 - 1) + (items % 2) + rng.normal(0, 0.3, 600), 1, 5).round()
    return pl.DataFrame({"user": users, "item": items, "rating": rating}).unique(("user", "item"))


def reviews(num: int = 120, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    words = np.array(["a", "the", "film", "plot", "dull", "grand", "long", "and", "but", "bright"])
    texts = [" ".join(rng.choice(words, rng.integers(6, 12))) + "." for _ in range(num)]
    liked = ["yes" if "grand" in text else "no" for text in texts]
    return pl.DataFrame({"text": texts, "year": rng.integers(1950, 2020, num), "liked": liked})


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Return a model with random weights and rows for each kind of data."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (60, 8, 6, 1), dtype=np.uint8)
    steps = rng.standard_normal((60, 10, 2)).astype(np.float32)
    waves = [rng.standard_normal(1600).astype(np.float32) * 0.1 for _ in range(40)]
    made = {
        "table": (tw.load(houses(), target="price"), houses(30, 1), {"depth": 1, "width": 8}),
        "images": (tw.load((images, np.arange(60) % 3)), images[:4], {"model": "mlp", "width": 8}),
        "series": (
            tw.load(series_frame(), ["load"], time="t", horizon=3, context=12, modality="series"),
            series_frame(),
            {"model": "gru", "width": 8},
        ),
        "sequences": (
            load_sequences((steps, np.arange(60) % 2)),
            steps[:5],
            {"model": "gru", "width": 8},
        ),
        "ratings": (
            tw.load(ratings_frame(), modality="ratings"),
            ratings_frame(),
            {"model": "mf", "width": 4},
        ),
        "text": (
            tw.load(reviews(), target="liked"),
            reviews(30, 1),
            {"model": "gru", "width": 8, "embedding_size": 8},
        ),
        "audio": (
            tw.load((waves, np.arange(40) % 2), modality="audio", sample_rate=8000, mels=12),
            waves[:4],
            {"model": "cnn1d", "width": 8},
        ),
    }
    return {
        name: (random_model(data, **values), rows, data)
        for name, (data, rows, values) in made.items()
    }


@pytest.mark.parametrize("modality", PLAYERS)
def test_every_input_has_one_owner(cases, modality):
    model, rows, _ = cases[modality]
    fields = model.encoder.encode(rows).fields
    players = PLAYERS[modality](model.encoder, fields, None)
    assert model.encoder.modality == modality
    owners = np.concatenate([owner.ravel() for owner in players.owner.values()])
    assert sorted(set(owners) - {KEPT}) == list(range(len(players)))
    assert len(set(players.names)) == len(players)
    for name, owner in players.owner.items():
        assert owner.shape == fields[name].shape[1:]
    assert all(len(values) == len(players) for values in players.about.values())


@pytest.mark.parametrize(
    ("modality", "method"), [(m, n) for n, one in METHODS.items() for m in one.modalities]
)
def test_every_method_on_every_kind_of_data(cases, modality, method, tmp_path):
    model, rows, _ = cases[modality]
    if method == "permutation" and modality == "sequences":
        rows = (rows, np.arange(len(rows)) % 2)
    options = {"examples": rows} if method == "neighbours" else {}
    told = []
    found = model.explain(
        rows,
        method,
        num_rows=3 if METHODS[method].of_rows else 20,
        progress=lambda done, total: told.append((done, total)),
        cells=2,
        samples=2,
        **options,
    )
    assert told[-1] == (1, 1)
    assert found.method == method
    assert len(found)
    record = json.loads(found.to_json())
    assert record["rows"] == json.loads(json.dumps(record["rows"]))
    assert [p.name for p in found.save(tmp_path / "out")][:2] == [
        "explanation.csv",
        "explanation.json",
    ]
    assert pl.read_csv(tmp_path / "out" / "explanation.csv").height == len(found)
    pictured = modality in ("images", "audio") and method not in ("neighbours",)
    assert (found.maps is not None) == pictured
    if pictured:
        assert found.picture()[:4] == b"\x89PNG"
        assert (tmp_path / "out" / "0000.png").exists()
    else:
        with pytest.raises(OptionError, match="no pictures"):
            found.picture()
    if "contribution" in found.frame.columns and "base" in found.frame.columns:
        sums = found.frame.group_by("row", maintain_order=True).agg(
            pl.col("contribution").sum(), pl.col("base").first(), pl.col("prediction").first()
        )
        gap = sums["base"] + sums["contribution"] - sums["prediction"]
        reach = max(float(sums["contribution"].abs().max()), 1e-6)
        assert float(gap.abs().max()) <= (0.02 if method == "integrated_gradients" else 1e-6) * max(
            reach, float((sums["prediction"] - sums["base"]).abs().max())
        )


@pytest.mark.parametrize("modality", DEFAULTS)
def test_without_a_method(cases, modality):
    model, rows, _ = cases[modality]
    assert model.explain(rows, num_rows=1).method == DEFAULTS[modality]


def test_in_the_users_columns(cases):
    model, rows, _ = cases["table"]
    found = model.explain(rows, num_rows=2).frame
    assert found["column"].to_list() == ["size", "age", "town", "street"] * 2
    assert found["value"].to_list()[2] == rows["town"][0]
    assert found["kind"].to_list()[:4] == ["number", "number", "category", "category"]
    only = model.explain(rows, num_rows=2, columns="town").frame
    assert only["column"].to_list() == ["town", "town"]


def test_partial_dependence_is_the_mean_over_rows_with_the_value(cases):
    model, rows, _ = cases["table"]
    found = model.explain(rows, "dependence", columns=("size", "town")).frame
    towns = found.filter(pl.col("column") == "town")
    assert set(towns["value"]) == {"Bonn", "Trier", "Worms"}
    for line in (*towns.iter_rows(named=True), found.row(0, named=True)):
        value = line["value"] if line["column"] == "town" else float(line["value"])
        changed = model.predict(rows.with_columns(pl.lit(value).alias(line["column"])))
        np.testing.assert_allclose(line["mean"], changed.mean(), rtol=1e-5)
        np.testing.assert_allclose(line["p90"], np.percentile(changed, 90), rtol=1e-5)


def test_factors_of_matrix_factorisation(cases):
    model, rows, data = cases["ratings"]
    found = model.explain(rows, "factors", num_rows=5).frame
    params = model.members[0][0]
    codes = model.encoder.encode(rows).fields["category"][:5]
    match = found.filter(pl.col("column") == "match")["contribution"].to_numpy()
    product = (params["factors/user"][codes[:, 0]] * params["factors/item"][codes[:, 1]]).sum(1)
    scale = data.encoder.target.scale[0]
    np.testing.assert_allclose(match, product * scale, rtol=1e-3, atol=1e-4)


def test_the_reference_is_nobodys_row(cases, tmp_path):
    model, _, data = cases["table"]
    numeric, rows = model.reference["numeric"], data.train.fields["numeric"]
    assert len(numeric) == 32
    for column in range(2):
        assert set(numeric[:, column]) <= set(rows[:, column])
        assert rows[:, column].min() < numeric[:, column].min()
    whole = {tuple(row) for row in rows[:, :2]}
    assert sum(tuple(row) in whole for row in numeric[:, :2]) <= 1
    np.testing.assert_allclose(numeric[:, 2:].mean(0), rows[:, 2:].mean(0), atol=0.04)
    kept = tw.Model.load(model.save(tmp_path))
    for name, values in model.reference.items():
        np.testing.assert_array_equal(kept.reference[name], values)


def test_neighbours_of_training_rows_are_themselves(cases):
    model, rows, _ = cases["table"]
    found = model.explain(rows, "neighbours", examples=rows, num_rows=4).frame
    first = found.filter(pl.col("rank") == 1)
    assert first["example"].to_list() == [0, 1, 2, 3]
    np.testing.assert_allclose(first["similarity"].to_numpy(), 1.0, atol=1e-6)
    np.testing.assert_allclose(first["target"].to_numpy(), rows["price"][:4].to_numpy(), rtol=1e-6)


def test_it_ends_in_time(cases):
    model, rows, _ = cases["table"]
    found = model.explain(rows, seconds=0.0, samples=64)
    assert found.frame["row"].n_unique() == 1
    assert "time was up after 1" in found.about["notices"][-1]


def test_what_is_refused(cases):
    model, rows, _ = cases["table"]
    for options, says in (
        ({"method": "saliency"}, "this model reads table: take shapley"),
        ({"method": "shaply"}, "did you mean 'shapley'"),
        ({"method": "neighbours"}, "--examples"),
        ({"target": "prize"}, "did you mean 'price'"),
        ({"columns": "siez"}, "did you mean 'size'"),
        ({"num_rows": 0}, "num_rows must be 1 or more"),
        ({"samples": 0}, "samples must be 1 or more"),
        ({"method": "permutation", "metric": "roc_auc"}, "metric"),
    ):
        with pytest.raises(OptionError, match=says) as error:
            model.explain(rows, **options)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="no rows"):
        model.explain(rows.head(0))
    with pytest.raises(DataError):
        model.explain(rows.drop("price"), "permutation")
    images = cases["images"][0]
    with pytest.raises(OptionError, match="class to explain"):
        images.explain(cases["images"][1], target="nine")


def test_a_map_over_a_spectrogram_stands_upright(cases):
    model, rows, _ = cases["audio"]
    found = model.explain(rows, "occlusion", num_rows=2)
    frames, bands = model.encoder.length, model.encoder.bands
    assert found.images.shape == (2, bands, frames, 1)
    assert found.maps.shape == (2, bands, frames)
    values = np.zeros((frames, bands))
    values[3, 0] = 1.0
    from thalweg.explain.canvas import canvas_of

    canvas = canvas_of(model.encoder, {"sequence": values})
    # The lowest band lies at the bottom, time runs to the right.
    assert canvas.upright(values)[-1, 3] == 1.0
    peaks = canvas.peaks(values[None])
    assert peaks["peak_second"][0] == 0.03
    assert peaks["peak_hertz"][0] == min(canvas.hertz).round(1)


def test_what_is_heard_is_named_in_seconds_and_hertz(cases):
    model, rows, _ = cases["audio"]
    fields = model.encoder.encode(rows).fields
    players = PLAYERS["audio"](model.encoder, fields, 3)
    assert players.names[0].startswith("0 to 0.")
    assert players.names[0].endswith("Hz")
    assert max(players.about["highest_hertz"]) < 4000
