"""One epoch of MNIST by a 784-128-10 network in PyTorch: batches of 32, Adam."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

import torch
from problems import MNIST_BATCH, MNIST_LEARNING_RATE, MNIST_WIDTHS, mnist
from protocol import clock, mlp_flop, play, result
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


def preloaded(
    x: Tensor, y: Tensor, *, compiled: bool = False, threads: int | None = 1
) -> Callable[[int], nn.Module]:
    """Best form: rows gathered from tensors in memory, Adam in one kernel call, one thread."""
    if threads is not None:
        torch.set_num_threads(threads)
    network = model()
    forward = torch.compile(network) if compiled else network
    optimizer = torch.optim.Adam(network.parameters(), lr=MNIST_LEARNING_RATE, fused=True)

    def train(steps: int) -> nn.Module:
        order = torch.randperm(len(x))
        for rows in order.split(MNIST_BATCH)[:steps]:
            optimizer.zero_grad()
            loss = functional.cross_entropy(forward(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        return network

    return train


def loader(x: Tensor, y: Tensor) -> Callable[[int], nn.Module]:
    """As users write it: a shuffling ``DataLoader`` and plain Adam."""
    network = model()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=MNIST_LEARNING_RATE)
    batches = DataLoader(TensorDataset(x, y), batch_size=MNIST_BATCH, shuffle=True)

    def train(steps: int) -> nn.Module:
        for step, (features, target) in enumerate(batches):
            if step == steps:
                break
            optimizer.zero_grad()
            loss = criterion(network(features), target)
            loss.backward()
            optimizer.step()
        return network

    return train


def model() -> nn.Module:
    inputs, hidden, outputs = MNIST_WIDTHS
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


FORMS: dict[str, Callable[[Tensor, Tensor], Callable[[int], nn.Module]]] = {
    "preloaded": preloaded,
    "compiled": lambda x, y: preloaded(x, y, compiled=True),
    "all-threads": lambda x, y: preloaded(x, y, threads=None),
    "loader": loader,
}


def run(args: Namespace, form: str) -> dict[str, object]:
    torch.manual_seed(args.seed)
    data = mnist(args.data, rows=640 if args.tiny else None)
    x, y, x_test, y_test = map(torch.from_numpy, data[:4])
    steps = len(x) // MNIST_BATCH
    lap = clock()
    FORMS[form](x, y)(10)
    compile_seconds = lap()
    train = FORMS[form](x, y)
    if form == "compiled":
        train(1)  # a new module is traced anew; its kernels come from the cache
        compile_seconds += lap()
    network = train(steps)
    seconds = lap()
    with torch.no_grad():
        accuracy = (network(x_test).argmax(1) == y_test).float().mean().item()
    return result(
        seconds,
        accuracy,
        "test accuracy",
        packages=["torch"],
        compile_seconds=compile_seconds,
        steps=steps,
        flop=steps * mlp_flop(MNIST_WIDTHS, MNIST_BATCH),
        note=data.note,
    )


if __name__ == "__main__":
    play({form: lambda args, form=form: run(args, form) for form in FORMS})
