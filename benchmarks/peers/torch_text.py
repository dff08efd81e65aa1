"""Classifiers of 64 tokens in PyTorch: Adam, cross-entropy, 500 steps."""

from __future__ import annotations

from argparse import Namespace

import torch
from problems import (
    TEXT_BATCH,
    TEXT_HEADS,
    TEXT_LAYERS,
    TEXT_LEARNING_RATE,
    TEXT_TOKENS,
    TEXT_UNITS,
    TEXT_UPDATES,
    TEXT_VOCABULARY,
    tokens,
)
from protocol import clock, play, result, text_flop
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """A Transformer block with the normalisation before each part."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(TEXT_UNITS, 3 * TEXT_UNITS)
        self.out = nn.Linear(TEXT_UNITS, TEXT_UNITS)
        self.first, self.second = nn.LayerNorm(TEXT_UNITS), nn.LayerNorm(TEXT_UNITS)
        self.wide = nn.Linear(TEXT_UNITS, 4 * TEXT_UNITS)
        self.narrow = nn.Linear(4 * TEXT_UNITS, TEXT_UNITS)

    def forward(self, x: Tensor) -> Tensor:
        rows, steps, _ = x.shape
        qkv = self.qkv(self.first(x)).view(rows, steps, 3, TEXT_HEADS, -1).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + self.out(found.transpose(1, 2).reshape(rows, steps, -1))
        hidden = functional.gelu(self.wide(self.second(x)), approximate="tanh")
        return x + self.narrow(hidden)


class Network(nn.Module):
    """Token vectors, LSTM or Transformer, one logit."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.tokens = nn.Embedding(TEXT_VOCABULARY, TEXT_UNITS)
        self.cells = nn.LSTM(TEXT_UNITS, TEXT_UNITS, batch_first=True) if kind == "lstm" else None
        if kind == "transformer":
            self.places = nn.Parameter(torch.zeros(TEXT_TOKENS, TEXT_UNITS), requires_grad=False)
            self.embed = nn.Linear(TEXT_UNITS, TEXT_UNITS)
            self.blocks = nn.Sequential(*(Block() for _ in range(TEXT_LAYERS)))
        self.output = nn.Linear(TEXT_UNITS, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        if self.cells is not None:
            return self.output(self.cells(x)[0][:, -1])[:, 0]
        return self.output(self.blocks(self.embed(x) + self.places).mean(1))[:, 0]


def train(kind: str, x: Tensor, y: Tensor, steps: int, fused: bool) -> float:
    """Train a new network and return the mean of its losses."""
    network = Network(kind)
    optimizer = torch.optim.Adam(network.parameters(), lr=TEXT_LEARNING_RATE, fused=fused or None)
    total, done = torch.zeros(()), 0
    while done < steps:
        order = torch.randperm(len(x))
        for rows in order.split(TEXT_BATCH)[: steps - done]:
            optimizer.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(network(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach()
            done += 1
    return total.item() / steps


def run(args: Namespace, kind: str, fused: bool, threads: int | None) -> dict[str, object]:
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(args.seed)
    x, y = map(torch.from_numpy, tokens(args.seed))
    y = y.float()
    steps = 5 if args.tiny else TEXT_UPDATES
    lap = clock()
    train(kind, x, y, min(steps, 20), fused)
    compile_seconds = lap()
    score = train(kind, x, y, steps, fused)
    seconds = lap()
    return result(
        seconds,
        score,
        "training loss, mean of all steps",
        packages=["torch"],
        compile_seconds=compile_seconds,
        steps=steps,
        flop=steps * text_flop(kind),
    )


if __name__ == "__main__":
    play(
        {
            f"{kind}-{form}": lambda args, k=kind, f=fused, t=threads: run(args, k, f, t)
            for kind in ("lstm", "transformer")
            for form, fused, threads in (
                ("fused", True, 1),
                ("all-threads", True, None),
                ("plain", False, None),
            )
        }
    )
