"""XOR by a 2-4-1 sigmoid network in PyTorch: batch size 1, Adam, 4,000 steps."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

import torch
from problems import XOR_EPOCHS, XOR_HIDDEN, XOR_LEARNING_RATE, xor, xor_order
from protocol import clock, play, result
from torch import Tensor, nn
from torch.nn import functional

B1, B2, EPS = 0.9, 0.999, 1e-8


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, XOR_HIDDEN), nn.Sigmoid(), nn.Linear(XOR_HIDDEN, 1))


def eager(x: Tensor, y: Tensor, order: list[int], fused: bool) -> Callable[[int], Tensor]:
    """As users write it; ``fused`` makes Adam one kernel call, and one thread is best here."""
    if fused:
        torch.set_num_threads(1)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=XOR_LEARNING_RATE, fused=fused or None)
    rows = [(x[i : i + 1], y[i : i + 1]) for i in range(4)]

    def train(steps: int) -> Tensor:
        for i in order[:steps]:
            features, target = rows[i]
            optimizer.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(model(features), target)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return functional.binary_cross_entropy_with_logits(model(x), y)

    return train


def compiled(x: Tensor, y: Tensor, order: list[int]) -> Callable[[int], Tensor]:
    """Best form: loss, gradient and Adam as one compiled C++ program, called once a step."""
    torch.set_num_threads(1)
    params = [p.detach().clone() for p in network().parameters()]
    state = [params, [torch.zeros_like(p) for p in params], [torch.zeros_like(p) for p in params]]
    rows = [(x[i : i + 1], y[i : i + 1]) for i in range(4)]

    def forward(params: list[Tensor], x: Tensor) -> Tensor:
        hidden = torch.sigmoid(functional.linear(x, params[0], params[1]))
        return functional.linear(hidden, params[2], params[3])

    @torch.compile(fullgraph=True)
    def step(p, m, v, count, features, target):
        grads = torch.func.grad(
            lambda p: functional.binary_cross_entropy_with_logits(forward(p, features), target)
        )(p)
        count = count + 1
        m = [B1 * m_ + (1 - B1) * g for m_, g in zip(m, grads, strict=True)]
        v = [B2 * v_ + (1 - B2) * g * g for v_, g in zip(v, grads, strict=True)]
        rate, root = XOR_LEARNING_RATE / (1 - B1**count), 1 / (1 - B2**count)
        p = [
            p_ - rate * m_ / ((v_ * root).sqrt() + EPS) for p_, m_, v_ in zip(p, m, v, strict=True)
        ]
        return p, m, v, count

    @torch.no_grad()
    def train(steps: int) -> Tensor:
        p, m, v = state
        count = torch.zeros(())
        for i in order[:steps]:
            p, m, v, count = step(p, m, v, count, *rows[i])
        return functional.binary_cross_entropy_with_logits(forward(p, x), y)

    return train


def run(args: Namespace, form: str) -> dict[str, object]:
    torch.manual_seed(args.seed)
    x, y = map(torch.from_numpy, xor())
    order = xor_order(args.seed, XOR_EPOCHS).tolist()

    lap = clock()
    if form == "compiled":
        train = compiled(x, y, order)
        train(8)  # trains a copy: the state that it starts from is left as it was
    else:
        eager(x, y, order, form == "fused")(8)
        torch.manual_seed(args.seed)
        train = eager(x, y, order, form == "fused")
    compile_seconds = lap()
    steps = 40 if args.tiny else 4 * XOR_EPOCHS
    loss = train(steps).item()
    return result(
        lap(),
        loss,
        "training loss",
        packages=["torch"],
        compile_seconds=compile_seconds,
        steps=steps,
    )


if __name__ == "__main__":
    play({f: lambda args, f=f: run(args, f) for f in ("fused", "plain", "compiled")})
