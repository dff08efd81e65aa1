"""Recurrent layers over 50 steps in PyTorch: Adam, mean squared error, 1,000 steps."""

from __future__ import annotations

from argparse import Namespace

import torch
from problems import (
    RECURRENT_BATCH,
    RECURRENT_INPUTS,
    RECURRENT_LEARNING_RATE,
    RECURRENT_STEPS,
    RECURRENT_UNITS,
    RECURRENT_UPDATES,
    sequences,
)
from protocol import clock, play, recurrent_flop, result
from torch import Tensor, nn
from torch.nn import functional

KINDS = {"rnn": (nn.RNN, 1), "lstm": (nn.LSTM, 4), "gru": (nn.GRU, 3)}


class Network(nn.Module):
    """One recurrent layer, and a number from its last state."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.cells = KINDS[kind][0](RECURRENT_INPUTS, RECURRENT_UNITS, batch_first=True)
        self.output = nn.Linear(RECURRENT_UNITS, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cells(x)
        return self.output(states[:, -1])


def train(kind: str, x: Tensor, y: Tensor, steps: int, fused: bool) -> float:
    """Train a new network and return the mean of its losses."""
    network = Network(kind)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=RECURRENT_LEARNING_RATE, fused=fused or None
    )
    total, done = torch.zeros(()), 0
    while done < steps:
        order = torch.randperm(len(x))
        for rows in order.split(RECURRENT_BATCH)[: steps - done]:
            optimizer.zero_grad()
            loss = functional.mse_loss(network(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach()
            done += 1
    return total.item() / steps


def run(args: Namespace, kind: str, fused: bool, threads: int | None) -> dict[str, object]:
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(args.seed)
    x, y = map(torch.from_numpy, sequences(args.seed))
    steps = 5 if args.tiny else RECURRENT_UPDATES
    lap = clock()
    train(kind, x, y, min(steps, 20), fused)
    compile_seconds = lap()
    score = train(kind, x, y, steps, fused)
    seconds = lap()
    flop = recurrent_flop(
        KINDS[kind][1], RECURRENT_STEPS, RECURRENT_INPUTS, RECURRENT_UNITS, RECURRENT_BATCH
    )
    return result(
        seconds,
        score,
        "training loss, mean of all steps",
        packages=["torch"],
        compile_seconds=compile_seconds,
        steps=steps,
        flop=steps * flop,
    )


if __name__ == "__main__":
    play(
        {
            f"{kind}-{form}": lambda args, k=kind, f=fused, t=threads: run(args, k, f, t)
            for kind in KINDS
            for form, fused, threads in (
                ("fused", True, 1),
                ("all-threads", True, None),
                ("plain", False, None),
            )
        }
    )
