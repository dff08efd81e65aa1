"""What a contestant (one program that does a task once) is told, and what it prints.

A contestant is a script with one or more *forms*. It gets ``--form NAME --seed N --data DIR
[--tiny]`` and prints one line of JSON, its last act that counts:

    {"seconds": 0.31, "compile_seconds": 0.9, "score": 0.01, "score_name": "loss", ...}

``seconds`` is the work itself, everything compiled and loaded; ``compile_seconds`` is what came
before it once (tracing, compiling, warming up). The harness times process start to this line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path

PACKAGES = (
    "thalweg", "jax", "jaxlib", "optax", "torch", "tensorflow", "keras", "optuna", "ray", "numpy",
)  # fmt: skip


def play(forms: Mapping[str, Callable[[argparse.Namespace], dict[str, object]]]) -> None:
    """Run the form that the command line names and print its result as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--form", choices=list(forms), default=next(iter(forms)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=None, help="folder that holds MNIST's files")
    parser.add_argument("--tiny", action="store_true", help="a few steps only: does it run?")
    args = parser.parse_args()
    print(json.dumps(forms[args.form](args)), flush=True)


def result(
    seconds: float,
    score: float,
    score_name: str,
    *,
    packages: Sequence[str],
    compile_seconds: float = 0.0,
    members: int = 1,
    steps: int | None = None,
    flop: float | None = None,
    path: Sequence[tuple[float, float]] = (),
    note: str = "",
) -> dict[str, object]:
    """Build a result.

    Args:
        seconds: Wall time of the work, warm.
        score: What the work reached, on the scale that ``score_name`` says.
        score_name: Name of the score, with its direction where that isn't plain.
        packages: Distributions whose versions belong beside the figure.
        compile_seconds: Wall time of tracing, compiling and warming up, paid once.
        members: Networks trained together; the harness divides by it.
        steps: Optimizer steps per member.
        flop: Floating-point operations of the matrix products in ``seconds``, all members.
        path: Of a search: (seconds of the work, best score so far, more is better), ascending.
        note: What a reader of the figure has to know.
    """
    return {
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "score": score,
        "score_name": score_name,
        "members": members,
        "steps": steps,
        "flop": flop,
        "path": list(path),
        "versions": {name: _version(name) for name in packages},
        "note": note,
    }


def clock() -> Callable[[], float]:
    """Start a stopwatch; calling it returns the seconds since the last call."""
    last = time.perf_counter()

    def lap() -> float:
        nonlocal last
        now = time.perf_counter()
        last, before = now, last
        return now - before

    return lap


def mlp_flop(widths: Sequence[int], batch_size: int) -> float:
    """Return the operations of one training step's matrix products in a dense network.

    Forward, gradient by weights and gradient by inputs are ``2 · batch · in · out`` each; the
    first layer needs no gradient by its inputs.
    """
    layers = [2.0 * batch_size * a * b for a, b in pairwise(widths)]
    return 3 * sum(layers) - layers[0]


def conv_flop(side: int, inputs: int, outputs: int, kernel: int, batch_size: int) -> float:
    """Return the operations of an unpadded convolution's forward pass over square images."""
    return 2.0 * batch_size * (side - kernel + 1) ** 2 * kernel**2 * inputs * outputs


def cnn_flop(batch_size: int) -> float:
    """Return the operations of one training step of the textbook's CNN (see ``problems.py``)."""
    first, second = conv_flop(28, 1, 32, 3, batch_size), conv_flop(13, 32, 64, 3, batch_size)
    return 3 * (first + second + 2.0 * batch_size * 1600 * 10) - first


def recurrent_flop(gates: int, steps: int, inputs: int, units: int, batch_size: int) -> float:
    """Return the operations of one training step of a recurrent layer's products.

    The sequence itself needs no gradient.
    """
    own = 2.0 * batch_size * steps * gates * units
    return 3 * own * (inputs + units) - own * inputs


def text_flop(kind: str) -> float:
    """Return the operations of one training step of a text classifier (see ``problems.py``)."""
    from problems import TEXT_BATCH, TEXT_LAYERS, TEXT_TOKENS, TEXT_UNITS

    if kind == "lstm":
        return recurrent_flop(4, TEXT_TOKENS, TEXT_UNITS, TEXT_UNITS, TEXT_BATCH)
    per_token = 2.0 * TEXT_UNITS**2 * (4 + 8) + 4.0 * TEXT_TOKENS * TEXT_UNITS
    layers = TEXT_LAYERS * per_token + 2.0 * TEXT_UNITS**2
    return 3.0 * TEXT_BATCH * TEXT_TOKENS * layers


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
