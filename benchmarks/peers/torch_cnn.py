"""The textbook's CNN on MNIST's images in PyTorch, and its second convolution alone."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

import numpy as np
import torch
from problems import (
    CNN_BATCHES,
    CNN_CHANNELS,
    CNN_KERNEL,
    CNN_LEARNING_RATE,
    LAYER_REPEATS,
    LAYER_SIDES,
    images,
)
from protocol import clock, cnn_flop, conv_flop, play, result
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


def model() -> nn.Module:
    first, second = CNN_CHANNELS
    return nn.Sequential(
        nn.Conv2d(1, first, CNN_KERNEL),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, CNN_KERNEL),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(25 * second, 10),
    )


def preloaded(
    x: Tensor,
    y: Tensor,
    batch_size: int,
    *,
    layout: torch.memory_format = torch.channels_last,
    compiled: bool = False,
) -> Callable[[int], nn.Module]:
    """Best form: rows gathered from tensors in memory, channels last, Adam in one kernel call."""
    network = model().to(memory_format=layout)
    x = x.contiguous(memory_format=layout)
    forward = torch.compile(network) if compiled else network
    optimizer = torch.optim.Adam(network.parameters(), lr=CNN_LEARNING_RATE, fused=True)

    def train(steps: int) -> nn.Module:
        order = torch.randperm(len(x))
        for rows in order.split(batch_size)[:steps]:
            optimizer.zero_grad()
            loss = functional.cross_entropy(forward(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        return network

    return train


def plain(x: Tensor, y: Tensor, batch_size: int) -> Callable[[int], nn.Module]:
    """As users write it: a shuffling ``DataLoader`` and plain Adam."""
    network = model()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=CNN_LEARNING_RATE)
    batches = DataLoader(TensorDataset(x, y), batch_size=batch_size, shuffle=True)

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


FORMS: dict[str, Callable[[Tensor, Tensor, int], Callable[[int], nn.Module]]] = {
    "channels-last": preloaded,
    "contiguous": lambda x, y, b: preloaded(x, y, b, layout=torch.contiguous_format),
    "compiled": lambda x, y, b: preloaded(x, y, b, compiled=True),
    "plain": plain,
}


def run(args: Namespace, form: str, batch_size: int) -> dict[str, object]:
    torch.manual_seed(args.seed)
    data = images(args.data, tiny=args.tiny)
    x, x_test = (
        torch.from_numpy(a.reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(255))
        for a in (data.x, data.x_test)
    )
    y, y_test = torch.from_numpy(data.y), torch.from_numpy(data.y_test)
    steps = len(x) // batch_size
    lap = clock()
    FORMS[form](x, y, batch_size)(10)
    compile_seconds = lap()
    train = FORMS[form](x, y, batch_size)
    if form == "compiled":
        train(1)  # a new module is traced anew; its kernels come from the cache
        compile_seconds += lap()
    lap()
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
        flop=steps * cnn_flop(batch_size),
        note=data.note,
    )


def layer(args: Namespace, side: int, batch_size: int) -> dict[str, object]:
    """Time the second convolution, forwards and backwards, channels last."""
    inputs, outputs = CNN_CHANNELS
    rng = np.random.default_rng(args.seed)
    repeats = 3 if args.tiny else LAYER_REPEATS * 32 * 13**2 // (batch_size * side**2)
    repeats = max(3, repeats)
    conv = nn.Conv2d(inputs, outputs, CNN_KERNEL).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for value in conv.parameters():
            shape = tuple(value.shape)
            value.copy_(torch.from_numpy(0.05 * rng.standard_normal(shape, np.float32)))
    x = torch.from_numpy(rng.standard_normal((batch_size, side, side, inputs), np.float32))
    x = x.permute(0, 3, 1, 2).requires_grad_()

    def turns(count: int) -> Tensor:
        y = conv(x)
        for turn in range(count):
            if turn:
                y = conv(x)
            x.grad = conv.weight.grad = None
            y.backward(y.detach())
        return y.detach()

    lap = clock()
    turns(3)
    compile_seconds = lap()
    outputs_ = turns(repeats)
    seconds = lap()
    return result(
        seconds / repeats,
        outputs_.square().mean().item(),
        "mean square of the outputs",
        packages=["torch"],
        compile_seconds=compile_seconds,
        steps=1,
        flop=3 * conv_flop(side, inputs, outputs, CNN_KERNEL, batch_size),
    )


if __name__ == "__main__":
    play(
        {
            f"{form}-{batch_size}": lambda args, f=form, b=batch_size: run(args, f, b)
            for form in FORMS
            for batch_size in CNN_BATCHES
        }
        | {
            f"layer-{side}-{batch_size}": lambda args, s=side, b=batch_size: layer(args, s, b)
            for side in LAYER_SIDES
            for batch_size in CNN_BATCHES
        }
    )
