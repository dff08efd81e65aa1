"""The machine's float32 matrix-product peak, as one library reaches it."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable

import numpy as np
from protocol import play, result

SIZES = (1024, 2048)


def jax_peak(args: Namespace) -> dict[str, object]:
    import jax

    multiply = jax.jit(lambda a, b: a @ b)
    return peak(args, jax.device_put, lambda a, b: multiply(a, b).block_until_ready(), "jax")


def torch_peak(args: Namespace) -> dict[str, object]:
    import torch

    return peak(args, torch.from_numpy, torch.matmul, "torch")


def peak(
    args: Namespace, put: Callable[..., object], multiply: Callable[..., object], library: str
) -> dict[str, object]:
    """Time square products and keep the fastest: a peak is a best, not a median."""
    best, seconds = 0.0, 0.0
    for size in SIZES[:1] if args.tiny else SIZES:
        rng = np.random.default_rng(args.seed)
        a, b = (put(rng.standard_normal((size, size), np.float32)) for _ in range(2))
        multiply(a, b)
        for _ in range(3 if args.tiny else 30):
            start = time.perf_counter()
            multiply(a, b)
            seconds = time.perf_counter() - start
            best = max(best, 2 * size**3 / seconds)
    return result(seconds, best / 1e9, "GFLOP/s", packages=[library])


if __name__ == "__main__":
    play({"jax": jax_peak, "torch": torch_peak})
