"""Datasets of other libraries, and well-known sets that these fetch.

Objects of PyTorch, TensorFlow and Hugging Face are recognised by what they can do; none of these
libraries is imported but to fetch a set by its name.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from thalweg.data.image_arrays import (
    Listing,
    columns_text,
    is_array,
    join_parts,
    num_axes,
    paired,
)
from thalweg.data.image_files import to_uint8
from thalweg.errors import DataError, MissingExtraError, SourceError
from thalweg.files import cache_dir

KNOWN_SETS: tuple[str, ...] = ("mnist", "fashion_mnist", "cifar10", "cifar100")
"""Names of sets that are fetched by Keras, torchvision or Hugging Face ``datasets``."""


LABEL_COLUMNS = ("label", "class", "target", "category", "labels", "fine_label", "y")


# Objects of other libraries ----------------------------------------------------------------------


def is_picture(item: Any) -> bool:
    """Whether something is a Pillow image."""
    return hasattr(item, "getbands") and hasattr(item, "convert")


def picture(image: Any) -> np.ndarray:
    """Return a Pillow image as uint8 [H, W] or [H, W, 3], turned upright."""
    from PIL import ImageOps

    return np.asarray(to_uint8(ImageOps.exif_transpose(image)))


def is_hub_set(source: Any) -> bool:
    """Whether something is a dataset of Hugging Face."""
    return isinstance(getattr(source, "features", None), Mapping) and hasattr(
        source, "column_names"
    )


def is_hub_dict(source: Mapping[Any, Any]) -> bool:
    """Whether something is a Hugging Face dataset with its parts."""
    return bool(source) and all(is_hub_set(part) for part in source.values())


def is_dataset(source: Any) -> bool:
    """Whether something is a dataset of PyTorch, TensorFlow or Hugging Face with images in it."""
    if is_hub_set(source) or hasattr(source, "as_numpy_iterator"):
        return True
    if isinstance(source, (str, bytes, list, tuple, Mapping)) or is_array(source):
        return False
    if hasattr(source, "dataset") and hasattr(source, "batch_size"):
        source = source.dataset
    if not (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
        return False
    try:
        image, _ = _image_and_label(source[0])
    except Exception:
        return False
    return is_picture(image) or num_axes(image) in (2, 3)


def _image_and_label(item: Any) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        lower = {str(key).lower(): key for key in item}
        image = next(lower[name] for name in ("image", "img", "pixel_values", "x") if name in lower)
        label = next((lower[name] for name in LABEL_COLUMNS if name in lower), None)
        return item[image], None if label is None else item[label]
    if isinstance(item, (tuple, list)):
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def list_dataset(source: Any) -> Listing:
    """List the images and labels of a dataset of another library.

    Raises:
        DataError: no images in it, or no end.
    """
    if is_hub_set(source):
        return _list_hub(source)
    if hasattr(source, "as_numpy_iterator"):
        return _list_tensors(source)
    if hasattr(source, "dataset") and hasattr(source, "batch_size"):
        # A PyTorch DataLoader: its batches, shuffling and workers are not needed.
        source = source.dataset
    classes = _class_names(source)
    data, targets = getattr(source, "data", None), getattr(source, "targets", None)
    if (
        getattr(source, "transform", 0) is None
        and getattr(source, "target_transform", 0) is None
        and is_array(data)
        and targets is not None
        and len(np.asarray(targets)) == len(source)
    ):
        return replace(paired(np.asarray(data), np.asarray(targets)), classes=classes)
    pairs = (_image_and_label(source[i]) for i in range(len(source)))
    return replace(_from_pairs(pairs), classes=classes)


def _class_names(source: Any) -> tuple[str, ...]:
    for _ in range(5):
        names = getattr(source, "classes", None)
        if isinstance(names, (list, tuple)) and names:
            return tuple(str(name) for name in names)
        source = getattr(source, "dataset", None)
    return ()


def _list_hub(source: Any) -> Listing:
    features = source.features
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    image = next((name for name, kind in kinds.items() if kind == "Image"), None)
    image = image or next((name for name in ("image", "img") if name in features), None)
    if image is None:
        raise DataError(f"the dataset has no column of images{columns_text(list(features))}")
    label = next((name for name in LABEL_COLUMNS if name in features), None)
    label = label or next((name for name, kind in kinds.items() if kind == "ClassLabel"), None)
    rows = (source[i] for i in range(len(source)))
    listing = _from_pairs((row[image], None if label is None else row[label]) for row in rows)
    names = getattr(features[label], "names", None) if label else None
    return replace(listing, classes=tuple(str(name) for name in names or ()))


def _list_tensors(source: Any) -> Listing:
    size = getattr(source, "cardinality", None)
    if callable(size) and int(np.asarray(size())) == -1:
        raise DataError("the tf.data.Dataset never ends: leave its repeat() out")

    def pairs() -> Iterator[tuple[Any, Any]]:
        for item in source.as_numpy_iterator():
            image, label = _image_and_label(item)
            if np.ndim(image) == 4:
                labels = [None] * len(image) if label is None else label
                yield from zip(image, labels, strict=True)
            else:
                yield image, label

    return replace(_from_pairs(pairs()), classes=_class_names_of_tensors(source))


def _class_names_of_tensors(source: Any) -> tuple[str, ...]:
    names = getattr(source, "class_names", None)
    return tuple(str(name) for name in names) if isinstance(names, (list, tuple)) else ()


def _from_pairs(pairs: Iterable[tuple[Any, Any]]) -> Listing:
    images: list[np.ndarray] = []
    labels: list[Any] = []
    for image, label in pairs:
        images.append(picture(image) if is_picture(image) else np.asarray(image))
        value = None if label is None else np.asarray(label)
        if value is not None:
            value = value.reshape(-1)
            value = value[0].item() if value.size == 1 else value
            value = value.decode() if isinstance(value, bytes) else value
        labels.append(value)
    same = len({(image.shape, image.dtype.str) for image in images}) == 1
    arrays: Any = np.stack(images) if same else images
    return paired(arrays, None if any(label is None for label in labels) else labels)


# Well-known sets ---------------------------------------------------------------------------------

_NAMES = {
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck",
    "cifar100": (
        "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
        "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach "
        "couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster "
        "house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree "
        "motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear "
        "pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket "
        "rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar "
        "sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip "
        "turtle wardrobe whale willow_tree wolf woman worm"
    ),
}
"""Classes of the sets whose labels come as numbers, in the order of these."""


def fetch_set(name: str) -> Listing:
    """Fetch a well-known set by a library that the user has; digits keep their numbers."""
    problems: list[str] = []
    for library, fetch in (
        ("keras", _by_keras),
        ("torchvision", _by_torchvision),
        ("datasets", _by_hub),
    ):
        try:
            train, test = fetch(name)
        except ImportError:
            continue
        except Exception as error:
            problems.append(f"{library}: {' '.join(str(error).split())[:120]}")
            continue
        listing = join_parts({"train": paired(*train), "test": paired(*test)})
        return replace(listing, name=name, classes=tuple(_NAMES.get(name, "").split()))
    if problems:
        raise SourceError(
            f"{name} could not be fetched ({'; '.join(problems)}): check the connection, or give a "
            "folder that holds its files"
        )
    raise MissingExtraError(
        f"the set {name!r} is fetched by keras, torchvision or datasets, none of which is "
        "installed: pip install keras (with a backend), or give a folder that holds its files"
    )


_Pair = tuple[np.ndarray, np.ndarray]


def _by_keras(name: str) -> tuple[_Pair, _Pair]:
    module = importlib.import_module(f"keras.datasets.{name}")
    (x_train, y_train), (x_test, y_test) = module.load_data()
    return (x_train, np.ravel(y_train)), (x_test, np.ravel(y_test))


def _by_torchvision(name: str) -> tuple[_Pair, _Pair]:
    sets = importlib.import_module("torchvision.datasets")
    kind = {
        "mnist": "MNIST",
        "fashion_mnist": "FashionMNIST",
        "cifar10": "CIFAR10",
        "cifar100": "CIFAR100",
    }[name]
    parts = []
    for train in (True, False):
        found = getattr(sets, kind)(str(cache_dir() / "sets"), train=train, download=True)
        parts.append((np.asarray(found.data), np.asarray(found.targets)))
    return parts[0], parts[1]


def _by_hub(name: str) -> tuple[_Pair, _Pair]:
    hub = importlib.import_module("datasets")
    where = {
        "mnist": "ylecun/mnist",
        "fashion_mnist": "zalando-datasets/fashion_mnist",
        "cifar10": "uoft-cs/cifar10",
        "cifar100": "uoft-cs/cifar100",
    }[name]
    parts = []
    for split in ("train", "test"):
        listing = _list_hub(hub.load_dataset(where, split=split))
        frame = listing.frame
        if frame is None:
            raise DataError(f"{where} has no labels")
        parts.append((np.asarray(listing.arrays), frame.to_series().to_numpy()))
    return parts[0], parts[1]
