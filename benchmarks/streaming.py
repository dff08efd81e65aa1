"""Training on data several times larger than the memory that is allowed.

    python benchmarks/streaming.py --images 20000 --side 64 --memory 100M

Makes a folder of PNGs (two classes, told apart by the slant of stripes) and a CSV, trains a small
network on each with ``THALWEG_MEMORY`` set, and prints: size of the data and of what was allowed,
the most memory of the process's own that was in use beyond what JAX takes before any data is read,
the share of training time spent waiting for rows, rows per second, and the score.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

RUN = """
import json, os, sys, threading, time
sys.path.insert(0, {src!r})

def own():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024

import thalweg as tw
tw.train("iris", tw.Config(width=4, depth=1), epochs=1)  # what JAX itself takes
start, most, going = own(), 0, True

def watch():
    global most
    while going:
        most = max(most, own())
        time.sleep(0.02)

watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
clock = time.perf_counter()
data = tw.load({source!r}, {target!r})
loaded = time.perf_counter() - clock
study = tw.train(data, tw.Config({config}), epochs={epochs})
going = False
seconds = study.summary["seconds"]
print(json.dumps({{
    "rows": len(data.train), "bytes": int(sum(v.nbytes for v in data.train.fields.values())),
    "load_seconds": loaded, "own_bytes": most - start,
    "waiting": seconds["waiting"] / seconds["train"],
    "rows_per_second": len(data.train) * {epochs} / seconds["train"],
    "accuracy": study.summary["test"]["accuracy"],
}}))
"""


def make_images(folder: Path, num: int, side: int) -> None:
    """Write PNGs of slanted stripes and noise, in a folder for each slant."""
    from PIL import Image

    across, down = np.meshgrid(np.arange(side), np.arange(side))

    def write(index: int) -> None:
        rng = np.random.default_rng(index)
        label = index % 2
        phase = rng.uniform(0, 6.28)
        wave = np.sin((across + (down if label else -down)) * 0.5 + phase)
        pixels = 128 + 60 * wave[..., None] + rng.normal(0, 40, (side, side, 3))
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        image.save(folder / ("rising" if label else "falling") / f"{index}.png", compress_level=1)

    for name in ("rising", "falling"):
        (folder / name).mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(num)))


def make_table(path: Path, num: int) -> None:
    """Write a CSV of 30 columns whose sign of a sum is the target."""
    import polars as pl

    rng = np.random.default_rng(0)
    x = rng.normal(size=(num, 30)).astype(np.float32)
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(30)})
    frame = frame.with_columns(pl.Series("y", np.where(x[:, :5].sum(1) > 0, "up", "down")))
    frame.write_csv(path)


def play(source: Path, target: str | None, config: str, epochs: int, memory: str) -> dict:
    code = RUN.format(
        src=str(Path(__file__).resolve().parent.parent / "src"),
        source=str(source),
        target=target,
        config=config,
        epochs=epochs,
    )
    environment = {
        **os.environ,
        "THALWEG_MEMORY": memory,
        "THALWEG_CACHE": str(source.parent / "c"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--memory", default="120M")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        images, table = Path(folder) / "images" / "set", Path(folder) / "table.csv"
        make_images(images, options.images, options.side)
        make_table(table, options.rows)
        print(f"made in {time.perf_counter() - start:.0f} s; THALWEG_MEMORY={options.memory}")
        cnn = "model='cnn', depth=2, width=8, batch_size=16, learning_rate=2e-3"
        mlp = "width=32, depth=1, batch_size=256, learning_rate=3e-3"
        for name, source, target, config in (
            ("images", images, None, cnn),
            ("table", table, "y", mlp),
        ):
            found = play(source, target, config, 2, options.memory)
            print(
                f"{name}: {found['rows']:,} training rows, {found['bytes'] / 2**20:.0f} MiB; own "
                f"memory {found['own_bytes'] / 2**20:.0f} MiB; loaded in "
                f"{found['load_seconds']:.1f} s, {found['rows_per_second']:,.0f} rows/s, waiting "
                f"{found['waiting']:.1%} of training, accuracy {found['accuracy']:.4f}"
            )


if __name__ == "__main__":
    main()
