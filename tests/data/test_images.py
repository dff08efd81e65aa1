"""Images from everywhere become the same arrays, and bad input is refused in one line."""

from __future__ import annotations

import gzip
import json
import struct
import sys
import types

import numpy as np
import polars as pl
import pytest
from PIL import Image

from thalweg.data import image_sets
from thalweg.data.dataset import Encoder
from thalweg.data.images import (
    ImageDataset,
    channel_statistics,
    claims,
    load_images,
    sample_grid,
    sample_rows,
)
from thalweg.errors import DataError, MissingExtraError, OptionError, SourceError


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path_factory.mktemp("cache")))


def pixels(count, shape=(8, 8, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def by_class(folder, classes=("cat", "dog"), count=12, shape=(8, 8, 3), seed=0):
    values = pixels(len(classes) * count, shape, seed)
    for index, image in enumerate(values):
        save(folder / classes[index // count] / f"{index % count:02}.png", image)
    return values


def idx(values):
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(
        f">{values.ndim}I", *values.shape
    )
    return header + values.tobytes()


def all_images(data):
    """Return the images of all parts in the order of the source."""
    rows = np.concatenate([part.rows for part in data.parts.values()])
    images = np.concatenate([part.fields["image"] for part in data.parts.values()])
    return images[np.argsort(rows)]


def all_labels(data):
    rows = np.concatenate([part.rows for part in data.parts.values()])
    return np.concatenate([data.labels(name) for name in data.parts])[np.argsort(rows)]


# Folders ------------------------------------------------------------------------------------------


def test_a_folder_by_class(tmp_path):
    values = by_class(tmp_path / "pets")
    data = load_images(tmp_path / "pets")
    assert isinstance(data, ImageDataset)
    assert data.task.kind == "binary"
    assert data.task.classes == ("cat", "dog")
    assert data.name == "pets"
    np.testing.assert_array_equal(all_images(data), values)
    assert all_labels(data).tolist() == ["cat"] * 12 + ["dog"] * 12
    for part in data.parts.values():
        for file, label in zip(part.keys["file"], data.labels(part), strict=True):
            assert file.startswith(f"{label}/")
    assert data.split.startswith("at random by class")
    assert data.headline() == "24 images of 8 x 8 x 3, target class (binary, cat or dog)"
    assert repr(data) == f"<ImageDataset pets: {data.headline()}>"
    assert [len(part) for part in data.parts.values()] == [15, 4, 5]
    assert data.train.target.dtype == np.int32
    assert data.train.fields["image"].dtype == np.uint8


def test_the_seed_deals_the_images(tmp_path):
    by_class(tmp_path)
    first, again, other = (load_images(tmp_path, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_train_and_test_folders(tmp_path):
    by_class(tmp_path / "train", ("a", "b", "c"), 10)
    values = by_class(tmp_path / "test", ("a", "b", "c"), 4, seed=1)
    data = load_images(tmp_path)
    assert data.task.kind == "multiclass"
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 6, 12)
    np.testing.assert_array_equal(data.test.fields["image"], values)
    assert set(data.test.keys["file"]) == {
        f"test/{label}/{i:02}.png" for label in "abc" for i in range(4)
    }
    assert data.split == "at random by class, seed 0; own source for test"
    by_class(tmp_path / "val", ("a", "b", "c"), 2, seed=2)
    data = load_images(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 6, 12)
    assert data.split == "own source for validation and test"


def test_classes_named_by_numbers_are_in_their_order(tmp_path):
    by_class(tmp_path, tuple(map(str, range(12))), 3)
    assert load_images(tmp_path).task.classes == tuple(map(str, range(12)))


def test_names_that_look_like_missing_values_are_classes(tmp_path):
    by_class(tmp_path, ("nan", "null"))
    assert load_images(tmp_path).class_shares() == {"nan": 8 / 15, "null": 7 / 15}


def test_own_sources_for_validation_and_test(tmp_path):
    by_class(tmp_path / "one", shape=(10, 12, 3))
    by_class(tmp_path / "two", count=5, shape=(20, 20, 3), seed=1)
    data = load_images(tmp_path / "one", test=tmp_path / "two", image_size=8)
    assert data.test.fields["image"].shape == (10, 8, 8, 3)
    assert len(data.train) + len(data.validation) == 24


def test_nested_hidden_and_foreign_files(tmp_path):
    by_class(tmp_path)
    save(tmp_path / "cat" / "deep" / "x.png", pixels(1)[0])
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"1")
    save(tmp_path / ".hidden" / "x.png", pixels(1)[0])
    save(tmp_path / "stray.png", pixels(1)[0])
    (tmp_path / "empty").mkdir()
    (tmp_path / "cat" / "loop").symlink_to(tmp_path)
    data = load_images(tmp_path)
    assert sum(len(part) for part in data.parts.values()) == 25
    assert f"1 image(s) of {tmp_path.name}/ lie in no class folder and are left out" in data.notices
    assert "folders without images are no classes: empty" in data.notices


def test_broken_images_are_named(tmp_path):
    by_class(tmp_path)
    (tmp_path / "cat" / "03.png").write_bytes(b"nonsense")
    data = load_images(tmp_path)
    assert sum(len(part) for part in data.parts.values()) == 23
    text = "1 of 24 image files cannot be read and are left out: cat/03.png (no image)"
    assert text in data.notices
    assert len(data.skipped) == 1
    assert 3 not in np.concatenate([part.rows for part in data.parts.values()])


def test_sizes_are_told(tmp_path):
    by_class(tmp_path, shape=(100, 200, 3), count=6)
    data = load_images(tmp_path)
    assert data.input_shape["image"] == [32, 64, 3]
    assert any("100 x 200 are scaled to 32 x 64" in notice for notice in data.notices)
    assert load_images(tmp_path, image_size="16x20").input_shape["image"] == [16, 20, 3]
    assert load_images(tmp_path, channels=1).input_shape["image"] == [32, 64, 1]


def test_duplicates_across_parts_are_told(tmp_path):
    values = by_class(tmp_path / "train")
    by_class(tmp_path / "test", seed=5)
    save(tmp_path / "test" / "cat" / "00.png", values[0])
    data = load_images(tmp_path, fractions=(1, 0, 0))
    assert any(
        notice.startswith("1 of 24 test images are in the training part") for notice in data.notices
    )


# Statistics, encoder ------------------------------------------------------------------------------


def test_statistics_are_those_of_the_training_part(tmp_path):
    by_class(tmp_path)
    data = load_images(tmp_path)
    images = data.train.fields["image"].astype(np.float64)
    np.testing.assert_allclose(data.input_shape["image_mean"], images.mean((0, 1, 2)))
    np.testing.assert_allclose(data.input_shape["image_std"], images.std((0, 1, 2)))
    assert channel_statistics(np.full((3, 2, 2, 1), 7, np.uint8)) == ((7.0,), (1.0,))


def test_the_encoder_survives_json(tmp_path):
    by_class(tmp_path / "pets")
    data = load_images(tmp_path / "pets")
    record = json.loads(json.dumps(data.encoder.to_dict()))
    encoder = Encoder.from_dict(record)
    assert encoder.to_dict() == data.encoder.to_dict()
    assert encoder.input_shape == data.input_shape
    part = encoder.encode(tmp_path / "pets", with_target=True)
    np.testing.assert_array_equal(part.fields["image"], all_images(data))
    np.testing.assert_array_equal(part.target, [0] * 12 + [1] * 12)
    table = encoder.predictions(np.tile([0.2, 0.8], (24, 1)), part)
    assert table.columns == ["file", "prediction", "probability_cat", "probability_dog"]
    assert table.row(0) == ("cat/00.png", "dog", 0.2, 0.8)


def test_new_images_come_in_many_ways(tmp_path):
    by_class(tmp_path / "pets")
    encoder = load_images(tmp_path / "pets").encoder
    flat = tmp_path / "flat"
    values = pixels(3, (16, 16, 3), seed=9)
    for i, image in enumerate(values):
        save(flat / f"{i}.png", image)
    part = encoder.encode(flat)
    assert part.target is None
    assert part.keys["file"].tolist() == ["0.png", "1.png", "2.png"]
    expected = part.fields["image"]
    assert expected.shape == (3, 8, 8, 3)
    ways = {
        "glob": str(flat / "*.png"),
        "list": [str(flat / f"{i}.png") for i in range(3)],
        "array": values,
        "list of arrays": list(values),
        "channels first": values.transpose(0, 3, 1, 2),
        "pictures": [Image.fromarray(image) for image in values],
    }
    for way, source in ways.items():
        np.testing.assert_array_equal(encoder.encode(source).fields["image"], expected, way)
    for single in (flat / "1.png", values[1], Image.fromarray(values[1])):
        np.testing.assert_array_equal(encoder.encode(single).fields["image"], expected[1:2])
    assert encoder.encode(flat / "1.png").keys["file"].tolist() == ["1.png"]
    assert encoder.encode(str(flat / "*.png")).keys["file"].tolist() == ["0.png", "1.png", "2.png"]
    pl.DataFrame({"file": ["2.png", "0.png"]}).write_csv(flat / "rows.csv")
    part = encoder.encode(flat / "rows.csv")
    np.testing.assert_array_equal(part.fields["image"], expected[[2, 0]])
    assert part.keys["file"].tolist() == ["2.png", "0.png"]
    grey = encoder.encode(values[:2, ..., 0])
    assert grey.fields["image"].shape == (2, 8, 8, 3)


def test_scoring_reads_the_classes(tmp_path):
    by_class(tmp_path / "pets")
    encoder = load_images(tmp_path / "pets").encoder
    by_class(tmp_path / "new", ("dog",), 3)
    assert encoder.encode(tmp_path / "new", with_target=True).target.tolist() == [1, 1, 1]
    (tmp_path / "new" / "dog" / "00.png").write_bytes(b"")
    part = encoder.encode(tmp_path / "new", with_target=True)
    assert part.rows.tolist() == [1, 2]
    assert "dog/00.png (empty file)" in part.notices[-1]
    array = encoder.encode((pixels(2), np.array(["dog", "cat"])), with_target=True)
    assert array.target.tolist() == [1, 0]
    by_class(tmp_path / "odd", ("dgo",), 3)
    with pytest.raises(DataError, match=r"3 image.s. have another, such as 'dgo'; did you mean"):
        encoder.encode(tmp_path / "odd", with_target=True)
    with pytest.raises(DataError, match=r"have no labels"):
        encoder.encode(pixels(2), with_target=True)


def test_broken_images_are_told_when_predicting(tmp_path):
    by_class(tmp_path / "pets")
    encoder = load_images(tmp_path / "pets").encoder
    (tmp_path / "pets" / "cat" / "05.png").write_bytes(b"x")
    part = encoder.encode(tmp_path / "pets")
    assert len(part) == 23
    assert "cat/05.png (no image)" in part.notices[0]
    assert "cat/05.png" not in part.keys["file"]


# Tables of paths ----------------------------------------------------------------------------------


def table(tmp_path, labels, name="rows.csv", column="file", **more):
    values = pixels(len(labels))
    files = [f"images/{i}.png" for i in range(len(labels))]
    for file, image in zip(files, values, strict=True):
        save(tmp_path / file, image)
    frame = pl.DataFrame({column: files, **more, "label": labels})
    path = tmp_path / name
    frame.write_parquet(path) if name.endswith("parquet") else frame.write_csv(path)
    return path, values


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
@pytest.mark.parametrize("column", ["file", "image", "where it lies"])
def test_a_table_of_paths(tmp_path, name, column):
    path, values = table(tmp_path, ["a", "b"] * 10, name, column)
    assert claims(path, {})
    data = load_images(path)
    np.testing.assert_array_equal(all_images(data), values)
    assert all_labels(data).tolist() == ["a", "b"] * 10
    assert data.train.keys["file"][0].startswith("images/")


def test_a_table_with_other_columns_needs_a_target(tmp_path):
    labels = [str(i % 2) for i in range(20)]
    path, _ = table(tmp_path, labels, x=list(range(20)), kind=["u", "v"] * 10)
    assert load_images(path, "label").task.targets == ("label",)
    data = load_images(path, "kind")
    assert data.task.classes == ("u", "v")
    assert "only the images are looked at, not the column(s) x, label" in data.notices
    with pytest.raises(DataError, match=r"'kinds' is no column of .*did you mean 'kind'"):
        load_images(path, "kinds")


def test_a_continuous_target_is_regression(tmp_path):
    path, _ = table(tmp_path, list(np.linspace(0.5, 9.0, 30)))
    data = load_images(path)
    assert data.task.kind == "regression"
    np.testing.assert_allclose(all_labels(data), np.linspace(0.5, 9.0, 30), atol=1e-5)
    part = data.encode(path, with_target=True)
    table_ = data.encoder.predictions(data.raw_target(part), part)
    assert table_.columns == ["file", "prediction"]


def test_missing_files_and_labels_in_a_table(tmp_path):
    path, _ = table(tmp_path, [*["a", "b"] * 10, None])
    (tmp_path / "images/4.png").unlink()
    data = load_images(path)
    assert sum(len(part) for part in data.parts.values()) == 19
    assert any("images/4.png (no such file)" in notice for notice in data.notices)
    assert any("1 image(s) without a label are left out" in notice for notice in data.notices)
    for i in range(21):
        (tmp_path / f"images/{i}.png").unlink(missing_ok=True)
    with pytest.raises(SourceError, match=r"none of the 21 files that .* names exists"):
        load_images(path)


def test_a_frame_of_paths(tmp_path):
    path, values = table(tmp_path, ["a", "b"] * 10)
    frame = pl.read_csv(path).with_columns(pl.format(f"{tmp_path}/{{}}", "file").alias("file"))
    assert claims(frame, {})
    np.testing.assert_array_equal(all_images(load_images(frame)), values)


def test_a_table_without_paths(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    assert not claims(tmp_path / "t.csv", {})
    with pytest.raises(DataError, match=r"no column of .* holds image files; its columns are a, b"):
        load_images(tmp_path / "t.csv")


# IDX, CIFAR, NPZ, NPY -----------------------------------------------------------------------------


def mnist_like(folder, packed=True):
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = {}
    for stem, count in (("train", 40), ("t10k", 10)):
        x = rng.integers(0, 256, (count, 6, 5), dtype=np.uint8)
        y = (np.arange(count) % 4).astype(np.uint8)
        arrays[stem] = x, y
        for kind, values in (("images-idx3", x), ("labels-idx1", y)):
            name, data = f"{stem}-{kind}-ubyte", idx(values)
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
    return arrays


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_of_idx_files(tmp_path, packed):
    arrays = mnist_like(tmp_path / "mnist", packed)
    assert claims(tmp_path / "mnist", {})
    data = load_images(tmp_path / "mnist")
    assert data.task.classes == (0, 1, 2, 3)
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 8, 10)
    np.testing.assert_array_equal(data.test.fields["image"][..., 0], arrays["t10k"][0])
    assert data.labels("test").tolist() == arrays["t10k"][1].tolist()
    assert data.name == "mnist"


def test_a_pair_of_idx_files(tmp_path):
    arrays = mnist_like(tmp_path / "mnist")
    images = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    for source in (images, (images, tmp_path / "mnist" / "train-labels-idx1-ubyte.gz")):
        assert claims(source, {})
        data = load_images(source)
        np.testing.assert_array_equal(all_images(data)[..., 0], arrays["train"][0])
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"labels of train-images-idx3-ubyte.gz are missing"):
        load_images(tmp_path / "mnist")


def test_a_cut_off_idx_file(tmp_path):
    mnist_like(tmp_path / "m", packed=False)
    path = tmp_path / "m" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(SourceError, match=r"is not whole: its header says 1,216 bytes"):
        load_images(tmp_path / "m")


def test_real_mnist(shared_data):
    data = load_images(shared_data / "mnist")
    assert data.input_shape["image"] == [28, 28, 1]
    assert data.task.classes == tuple(range(10))
    assert (len(data.train), len(data.validation), len(data.test)) == (48_000, 12_000, 10_000)
    assert data.labels("test")[:5].tolist() == [7, 2, 1, 0, 4]


def test_real_sign_digits(shared_data):
    data = load_images(shared_data / "sign_digits")
    assert data.input_shape["image"] == [64, 64, 3]
    assert (len(data.train), len(data.validation), len(data.test)) == (640, 160, 200)
    assert not data.skipped


def test_real_cifar10_subset(shared_data):
    source = shared_data / "cifar10_subset.npz"
    assert claims(source, {})
    data = load_images(source)
    assert data.task.classes[:2] == ("airplane", "automobile")
    assert len(data.test) == 2000
    assert sample_grid(data.train, 20).shape == (3 * 34 - 2, 8 * 34 - 2, 3)


@pytest.mark.parametrize("hundred", [False, True])
def test_cifar_in_its_binary_version(tmp_path, hundred):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    labels = (np.arange(30) % 3).astype(np.uint8)
    flat = images.transpose(0, 3, 1, 2).reshape(30, -1)
    head = [labels[:, None]] if not hundred else [labels[:, None] * 0, labels[:, None]]
    rows = np.concatenate([*head, flat], axis=1)
    rows[:20].tofile(tmp_path / ("train.bin" if hundred else "data_batch_1.bin"))
    rows[20:].tofile(tmp_path / ("test.bin" if hundred else "test_batch.bin"))
    names = "fine_label_names.txt" if hundred else "batches.meta.txt"
    (tmp_path / names).write_text("airplane\nbird\ncat\n\n")
    assert claims(tmp_path, {})
    data = load_images(tmp_path)
    assert data.task.classes == ("airplane", "bird", "cat")
    np.testing.assert_array_equal(all_images(data), images)
    assert data.labels("test").tolist() == [data.task.classes[code] for code in labels[20:]]


NPZ = {
    "keras": ("x_train", "y_train", "x_test", "y_test"),
    "medmnist": ("train_images", "train_labels", "test_images", "test_labels"),
}


@pytest.mark.parametrize("keys", NPZ.values(), ids=NPZ)
def test_npz_with_parts(tmp_path, keys):
    x, y = pixels(50), np.arange(50)[:, None] % 3
    arrays = dict(zip(keys, (x[:40], y[:40], x[40:], y[40:]), strict=True))
    np.savez(tmp_path / "set.npz", **arrays)
    assert claims(tmp_path / "set.npz", {})
    data = load_images(tmp_path / "set.npz")
    np.testing.assert_array_equal(all_images(data), x)
    assert len(data.test) == 10
    assert data.name == "set"
    np.savez(tmp_path / "named.npz", class_names=["u", "v", "w"], **arrays)
    assert load_images(tmp_path / "named.npz").task.classes == ("u", "v", "w")


@pytest.mark.parametrize("keys", [("images", "labels"), ("x", "y"), ("X", "Y")])
def test_npz_of_one_part(tmp_path, keys):
    x, y = pixels(20, (6, 6)), np.arange(20) % 2
    np.savez_compressed(tmp_path / "set.npz", **dict(zip(keys, (x, y), strict=True)))
    assert claims(tmp_path / "set.npz", {})
    data = load_images(tmp_path / "set.npz")
    np.testing.assert_array_equal(all_images(data)[..., 0], x)


def test_npz_of_something_else(tmp_path):
    np.savez(tmp_path / "t.npz", a=np.zeros(3), b=np.zeros(3))
    assert not claims(tmp_path / "t.npz", {})
    with pytest.raises(DataError, match=r"images are looked for as x_train.*has a, b"):
        load_images(tmp_path / "t.npz")
    np.savez(tmp_path / "o.npz", x=np.array([{}], dtype=object), y=np.zeros(1))
    with pytest.raises(SourceError, match=r"is not a readable NPZ file"):
        load_images(tmp_path / "o.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(SourceError, match=r"is not a readable NPZ file"):
        load_images(tmp_path / "broken.npz")


def test_npy_arrays(tmp_path):
    x, y = pixels(20), np.arange(20) % 2
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    assert claims(tmp_path / "x.npy", {})
    for source, target in (
        (tmp_path / "x.npy", y),
        ((str(tmp_path / "x.npy"), str(tmp_path / "y.npy")), None),
    ):
        np.testing.assert_array_equal(all_images(load_images(source, target)), x)
    with pytest.raises(DataError, match=r"have no labels"):
        load_images(tmp_path / "x.npy")


# Arrays -------------------------------------------------------------------------------------------


def test_arrays_of_every_layout():
    x, y = pixels(20, (9, 10, 3)), np.arange(20) % 2
    for images in (x, x.transpose(0, 3, 1, 2), list(x), x.astype(np.int64)):
        np.testing.assert_array_equal(all_images(load_images((images, y))), x)
    assert all_images(load_images((x[..., 0], y))).shape == (20, 9, 10, 1)
    for images in (x / 255.0, (x / 255.0).astype(np.float32), x / 127.5 - 1.0, x.astype(float)):
        np.testing.assert_array_equal(all_images(load_images((images, y))), x)


def test_values_beyond_the_usual_are_mapped_alike_later():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 5, 5, 1)).astype(np.float32)
    data = load_images((x, np.arange(30) % 2))
    assert any("are mapped to 0 to 255" in notice for notice in data.notices)
    part = data.encode(x[:7])
    np.testing.assert_array_equal(part.fields["image"], all_images(data)[:7])
    brighter = data.encode(np.full((1, 5, 5, 1), 99.0, np.float32))
    assert brighter.fields["image"].min() == 255


def test_sixteen_bit_arrays_and_nan():
    x = pixels(20, (5, 5))
    data = load_images((x.astype(np.uint16) * 257, np.arange(20) % 2))
    np.testing.assert_array_equal(all_images(data), x[..., None])
    bad = np.zeros((20, 5, 5))
    bad[3, 1, 1] = np.nan
    with pytest.raises(DataError, match=r"must hold finite numbers"):
        load_images((bad, np.arange(20) % 2))


def test_keras_style_tuples():
    x, y = pixels(30), np.arange(30)[:, None] % 3
    source = ((x[:20], y[:20]), (x[20:], y[20:]))
    assert claims(source, {})
    data = load_images(source)
    assert data.task.classes == (0, 1, 2)
    np.testing.assert_array_equal(data.test.fields["image"], x[20:])


def test_many_whole_numbers_are_classes():
    x, y = pixels(300, (4, 4, 3)), np.arange(300) % 100
    data = load_images((x, y))
    assert data.task.kind == "multiclass"
    assert len(data.task.classes) == 100
    assert load_images((x, y), task="regression").task.kind == "regression"
    assert load_images((x, y * 0.37)).task.kind == "regression"


def test_images_of_differing_sizes_in_a_list():
    images = [pixels(1, (10 + i % 2, 12, 3), seed=i)[0] for i in range(20)]
    data = load_images((images, np.arange(20) % 2))
    assert data.input_shape["image"] == [10, 12, 3]
    assert any("2 sizes" in notice for notice in data.notices)


def test_labels_of_another_length():
    with pytest.raises(DataError, match=r"got 4 labels for 5 images"):
        load_images((pixels(5), np.zeros(4, int)))


# Objects of other libraries -----------------------------------------------------------------------


class Rows:
    """What a PyTorch dataset looks like."""

    def __init__(self, items, **attributes):
        self.items = items
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_torch_datasets():
    torch = pytest.importorskip("torch")
    x, y = pixels(20), np.arange(20) % 2
    tensors = torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32) / 255.0)
    dataset = torch.utils.data.TensorDataset(tensors, torch.from_numpy(y))
    loader = torch.utils.data.DataLoader(dataset, batch_size=4)
    subset = torch.utils.data.Subset(dataset, list(range(20)))
    for source in (dataset, loader, subset, (tensors, torch.from_numpy(y))):
        assert claims(source, {})
        np.testing.assert_array_equal(all_images(load_images(source)), x)


def test_torchvision_like_datasets():
    x, y = pixels(20), np.arange(20) % 2
    items = [(Image.fromarray(image), int(label)) for image, label in zip(x, y, strict=True)]
    plain = Rows(items, classes=["no", "yes"])
    assert claims(plain, {})
    data = load_images(plain)
    assert data.task.classes == ("no", "yes")
    np.testing.assert_array_equal(all_images(data), x)
    quick = Rows(
        items, data=x, targets=y.tolist(), transform=None, target_transform=None, classes=["n", "y"]
    )
    np.testing.assert_array_equal(all_images(load_images(quick)), x)
    both = load_images((plain, Rows(items[:6], classes=["no", "yes"])))
    assert len(both.test) == 6


class Feature:
    pass


class ClassLabel(Feature):
    names = ("cat", "dog")


class Hub(Rows):
    features = {"image": type("Image", (Feature,), {})(), "label": ClassLabel()}  # noqa: RUF012
    column_names = ("image", "label")


def test_hugging_face_like_datasets():
    x, y = pixels(20), np.arange(20) % 2
    rows = [
        {"image": Image.fromarray(image), "label": int(label)}
        for image, label in zip(x, y, strict=True)
    ]
    source = Hub(rows)
    assert claims(source, {})
    data = load_images(source)
    assert data.task.classes == ("cat", "dog")
    np.testing.assert_array_equal(all_images(data), x)
    parts = {"train": source, "test": Hub(rows[:4])}
    assert claims(parts, {})
    assert len(load_images(parts).test) == 4


class Tensors:
    def __init__(self, items, size):
        self.items, self.size = items, size

    def as_numpy_iterator(self):
        return iter(self.items)

    def cardinality(self):
        return np.int64(self.size)


def test_tensorflow_like_datasets():
    x, y = pixels(20), np.arange(20) % 2
    single = Tensors(list(zip(x, y, strict=True)), 20)
    batched = Tensors([(x[:8], y[:8]), (x[8:], y[8:])], 2)
    named = Tensors([{"image": a, "label": b} for a, b in zip(x, y, strict=True)], -2)
    for source in (single, batched, named):
        assert claims(source, {})
        np.testing.assert_array_equal(all_images(load_images(source)), x)
    with pytest.raises(DataError, match=r"never ends"):
        load_images(Tensors([], -1))


# Well-known sets ----------------------------------------------------------------------------------


def no_library(monkeypatch):
    for name in ("keras", "torchvision", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)


def test_a_known_set_without_a_library(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    no_library(monkeypatch)
    assert claims("mnist", {})
    with pytest.raises(MissingExtraError, match=r"'mnist' is fetched by keras, torchvision"):
        load_images("mnist")


def test_a_folder_of_that_name_wins(monkeypatch, tmp_path):
    no_library(monkeypatch)
    mnist_like(tmp_path / "mnist")
    monkeypatch.chdir(tmp_path)
    assert len(load_images("mnist").test) == 10


def test_libraries_give_the_same_result(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    x, y = pixels(60, (32, 32, 3)), np.arange(60) % 10
    found = {}
    no_library(monkeypatch)
    module = types.SimpleNamespace(
        load_data=lambda: ((x[:50], y[:50, None]), (x[50:], y[50:, None]))
    )
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    monkeypatch.setitem(sys.modules, "keras.datasets", types.ModuleType("keras.datasets"))
    monkeypatch.setitem(sys.modules, "keras.datasets.cifar10", module)
    found["keras"] = load_images("cifar10")

    no_library(monkeypatch)
    vision = types.ModuleType("torchvision.datasets")
    vision.CIFAR10 = lambda root, train, download: types.SimpleNamespace(
        data=x[:50] if train else x[50:], targets=(y[:50] if train else y[50:]).tolist()
    )
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", vision)
    found["torchvision"] = load_images("cifar10")

    no_library(monkeypatch)
    hub = types.ModuleType("datasets")

    def load_dataset(where, split):
        rows = slice(0, 50) if split == "train" else slice(50, 60)
        return Hub(
            [
                {"image": Image.fromarray(image), "label": int(label)}
                for image, label in zip(x[rows], y[rows], strict=True)
            ]
        )

    hub.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", hub)
    found["datasets"] = load_images("cifar10")
    assert len({data.fingerprint for data in found.values()}) == 1
    assert {data.task.classes[:2] for data in found.values()} == {("airplane", "automobile")}
    assert {data.name for data in found.values()} == {"cifar10"}


def test_a_known_set_that_cannot_be_fetched(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    no_library(monkeypatch)

    def load_data():
        raise OSError("no route\nto host")

    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    monkeypatch.setitem(sys.modules, "keras.datasets", types.ModuleType("keras.datasets"))
    monkeypatch.setitem(
        sys.modules, "keras.datasets.mnist", types.SimpleNamespace(load_data=load_data)
    )
    with pytest.raises(SourceError, match=r"mnist could not be fetched .keras: no route to host"):
        load_images("mnist")


def test_the_class_names_are_whole():
    names = {name: text.split() for name, text in image_sets._NAMES.items()}
    assert len(names["cifar10"]) == len(set(names["cifar10"])) == 10
    assert len(names["cifar100"]) == len(set(names["cifar100"])) == 100
    assert all(labels == sorted(labels) for labels in names.values())


# What is no image source --------------------------------------------------------------------------


def test_other_sources_are_not_claimed(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "t.csv").write_text("a,b\n1,2\n")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "t.parquet")
    np.save(tmp_path / "x.npy", np.zeros((3, 4)))
    for source in (
        "iris",
        "digits",
        tmp_path / "t.csv",
        tmp_path / "t.parquet",
        tmp_path / "x.npy",
        tmp_path / "folder",
        tmp_path / "nothing.csv",
        str(tmp_path / "*.csv"),
        np.zeros((5, 3)),
        np.zeros((5, 3, 2)),
        (np.zeros((5, 3)), np.zeros(5)),
        (pl.DataFrame({"a": [1, 2]}), [0, 1]),
        pl.DataFrame({"a": [1, 2]}),
        {"a": [1, 2]},
        [[1, 2], [3, 4]],
        [{"a": 1}],
        [],
        None,
        3,
    ):
        assert not claims(source, {}), source


# Bad input ----------------------------------------------------------------------------------------


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_an_empty_folder(tmp_path):
    assert claims(tmp_path, {})
    with pytest.raises(SourceError, match=r"is empty: give one with a folder of images") as error:
        load_images(tmp_path)
    one_line(error)


def test_a_folder_without_images(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(SourceError, match=r"holds no images, but 1 other file\(s\) \(.txt\)"):
        load_images(tmp_path)


def test_a_folder_without_classes(tmp_path):
    save(tmp_path / "a.png", pixels(1)[0])
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\n")
    with pytest.raises(DataError, match=r"in no class folders.*or give the table labels.csv"):
        load_images(tmp_path)


def test_one_class(tmp_path):
    by_class(tmp_path, ("cat",))
    with pytest.raises(DataError, match=r"images of one class only .'cat'."):
        load_images(tmp_path)
    with pytest.raises(DataError, match=r"one class only|in every row"):
        load_images((pixels(12), np.zeros(12, int)))


def test_a_train_folder_without_classes(tmp_path):
    save(tmp_path / "train" / "a.png", pixels(1)[0])
    by_class(tmp_path / "test")
    with pytest.raises(DataError, match=r"training folder of .* has no class folders"):
        load_images(tmp_path)


def test_options(tmp_path):
    by_class(tmp_path)
    with pytest.raises(OptionError, match=r"image_size must be"):
        load_images(tmp_path, image_size="huge")
    with pytest.raises(OptionError, match=r"channels must be 1"):
        load_images(tmp_path, channels=2)
    with pytest.raises(OptionError, match=r"task of images must be one of"):
        load_images(tmp_path, task="forecast")
    with pytest.raises(OptionError, match=r"seed must be"):
        load_images(tmp_path, seed=-1)
    with pytest.raises(DataError, match=r"leave target out"):
        load_images(tmp_path, "label")
    by_class(tmp_path, ("cat", "dog", "emu"))
    with pytest.raises(DataError, match=r"binary task needs two classes"):
        load_images(tmp_path, task="binary")


def test_nothing_there(tmp_path):
    with pytest.raises(SourceError, match=r"no such file or folder"):
        load_images(tmp_path / "gone")
    with pytest.raises(SourceError, match=r"no image matches"):
        load_images(str(tmp_path / "*.png"))
    with pytest.raises(SourceError, match=r"images must be a folder"):
        load_images(3)


def test_pickled_cifar(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"holds CIFAR in Python pickles"):
        load_images(tmp_path)


# Samples ------------------------------------------------------------------------------------------


def test_samples_are_even_over_the_classes(tmp_path):
    by_class(tmp_path, ("a", "b", "c"), 20)
    part = load_images(tmp_path).train
    rows = sample_rows(part, 9)
    assert np.bincount(part.target[rows]).tolist() == [3, 3, 3]
    assert (np.diff(part.target[rows]) >= 0).all()
    np.testing.assert_array_equal(rows, sample_rows(part, 9))
    assert len(sample_rows(part, 1000)) == len(part)
