"""Handwritten digits: softmax regression, then a 784-128-10 network, on MNIST or its small cousin.

Softmax regression reads about 92 % of MNIST's test digits rightly, one hidden layer about 97 %.
MNIST's four IDX files (train-images-idx3-ubyte and so on, plain or .gz) are not downloaded: give
their folder. Without it, the 8 x 8 digits that come with scikit-learn take their place.

    python examples/mnist.py --data path/to/mnist
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

import thalweg as tw

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", type=Path, default=Path("mnist"), help="folder of the IDX files")
parser.add_argument("--epochs", type=float, help="passes over the rows (default: 5; digits: 30)")
options = parser.parse_args()

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"


def read_idx(name):
    """Return the array in an IDX file: two zeros, type, number of axes, their sizes, bytes."""
    (path,) = options.data.glob(f"{name}*")
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    sizes = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes[0], -1).squeeze()


if len([*options.data.glob("t*-ubyte*")]) == 4:
    train = read_idx(f"train-{IMAGES}"), read_idx(f"train-{LABELS}")
    test = read_idx(f"t10k-{IMAGES}"), read_idx(f"t10k-{LABELS}")
    data, epochs = tw.load(train, test=test), 5
else:
    print(f"MNIST's four files are not in {options.data}: the 8 x 8 digits of scikit-learn instead")
    data, epochs = tw.load("digits"), 30
print(*data.describe()[:3], sep="\n")

common = tw.Config(optimizer="adam", learning_rate=0.001, batch_size=32)
for name, config in {
    "softmax regression": common.with_values(model="linear"),
    "one hidden layer of 128": common.with_values(depth=1, width=128),
}.items():
    study = tw.train(data, config, epochs=options.epochs or epochs)
    accuracy = study.summary["test"]["accuracy"]
    seconds = study.summary["seconds"]
    print(
        f"{name:24} test accuracy {accuracy:.2%}"
        f"   ({study.records[0]['num_params']:,} parameters, {seconds['train']:.1f} s of training)"
    )
