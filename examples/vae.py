"""A variational autoencoder with a code of two numbers: the plane of digits as a picture.

    python examples/vae.py [FOLDER_OF_MNIST] [--images 12000] [--epochs 30] [--beta 1.0]
        [--out vae.png]

FOLDER_OF_MNIST holds MNIST's IDX files; without it the digits are scikit-learn's 8 x 8 ones. Trains
on training images without their labels, prints the evidence lower bound and the reconstruction
error on test images beside those of two principal components, and draws what is decoded at the
points of a grid: 20 x 20 quantiles of the prior, so that each picture stands for the same share of
it. Where each digit lies is the mean code of its test images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import norm
from sklearn.decomposition import PCA

import thalweg as tw
from thalweg.data.image_files import image_grid, to_png
from thalweg.data.image_sources import read_idx
from thalweg.files import write_atomically

SIDE = 20


def digits(folder: str | None, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return training images, test images uint8 [N, H, W, 1], and the labels of the test images."""
    if folder is not None:
        found = {}
        for part, stem in (("train", "train"), ("test", "t10k")):
            for what in ("images", "labels"):
                found[part, what] = read_idx(next(Path(folder).glob(f"{stem}*{what}*")))
        train = found["train", "images"][:number, ..., None]
        return train, found["test", "images"][..., None], found["test", "labels"]
    from sklearn.datasets import load_digits

    rows, labels = load_digits(return_X_y=True)
    images = (rows.reshape(-1, 8, 8, 1) * 255 / 16).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    cut = len(order) * 4 // 5
    return images[order[:cut]][:number], images[order[cut:]], labels[order[cut:]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print the scores and draw the plane."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="folder of MNIST's IDX files")
    parser.add_argument("--images", type=int, default=12_000, help="training images")
    parser.add_argument("--epochs", type=float, default=30.0)
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the divergence")
    parser.add_argument("--out", type=Path, default=Path("vae.png"))
    options = parser.parse_args(arguments)

    train, test, labels = digits(options.folder, options.images)
    data = tw.load(train, task="reconstruction", test=test, fractions=(0.9, 0.1, 0))
    study = tw.train(
        data,
        tw.Config(
            model="vae",
            width=(256, 128),
            embedding_size=2,
            beta=options.beta,
            activation="gelu",
            batch_size=64,
            optimizer="adamw",
            learning_rate=2e-3,
            schedule="cosine",
            warmup=0.1,
            clip_norm=100.0,
        ),
        epochs=options.epochs,
    )
    scores = study.summary["test"]
    mean, std = np.asarray(data.encoder.mean), np.asarray(data.encoder.std)
    flat = [((images - mean) / std).reshape(len(images), -1) for images in (train, test)]
    pca = PCA(2, random_state=0).fit(flat[0][:4000])
    linear = np.square(flat[1] - pca.inverse_transform(pca.transform(flat[1]))).mean()
    print(f"ELBO {scores['elbo']:.1f} nats an image")
    print(f"reconstruction error {scores['reconstruction_error']:.3f}, PCA of two {linear:.3f}")

    model = study.model()
    table = model.predict_frame(test)
    codes = table.select("z0", "z1").to_numpy()
    for digit in range(10):
        middle = codes[labels == digit].mean(0)
        print(f"  {digit} lies about ({middle[0]:+.2f}, {middle[1]:+.2f})")
    places = norm.ppf((np.arange(SIDE) + 0.5) / SIDE)
    across, down = np.meshgrid(places, places[::-1])
    made = model.decode(np.stack([across.ravel(), down.ravel()], axis=1))
    write_atomically(options.out, to_png(image_grid(made, SIDE, gap=0), scale=28 // made.shape[1]))
    print(f"the plane of digits: {options.out}")


if __name__ == "__main__":
    main()
