"""The line y = 2x + 1 by full-batch gradient descent in PyTorch."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

import torch
from problems import LINE_EPOCHS, LINE_LEARNING_RATE, line
from protocol import clock, play, result


def module(x: torch.Tensor, y: torch.Tensor) -> Callable[[int], float]:
    """As users write it: ``nn.Linear``, ``MSELoss``, ``optim.SGD``."""
    model = torch.nn.Linear(1, 1)
    criterion = torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LINE_LEARNING_RATE)

    def train(epochs: int) -> float:
        for _ in range(epochs):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        return loss.item()

    return train


def tensors(x: torch.Tensor, y: torch.Tensor) -> Callable[[int], float]:
    """Leanest eager form: two bare tensors, updated in place, one thread."""
    torch.set_num_threads(1)
    w = torch.zeros((), requires_grad=True)
    b = torch.zeros((), requires_grad=True)

    def train(epochs: int) -> float:
        for _ in range(epochs):
            loss = (w * x + b - y).square().mean()
            grad_w, grad_b = torch.autograd.grad(loss, (w, b))
            with torch.no_grad():
                w.sub_(grad_w, alpha=LINE_LEARNING_RATE)
                b.sub_(grad_b, alpha=LINE_LEARNING_RATE)
        return loss.item()

    return train


def compiled(x: torch.Tensor, y: torch.Tensor) -> Callable[[int], float]:
    """Best form: loss, gradient and update as one compiled C++ kernel, called once a step."""
    torch.set_num_threads(1)
    state = [torch.zeros(()), torch.zeros(())]

    @torch.compile(fullgraph=True)
    def step(w: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        grads, loss = torch.func.grad_and_value(
            lambda w, b: (w * x + b - y).square().mean(), argnums=(0, 1)
        )(w, b)
        return w - LINE_LEARNING_RATE * grads[0], b - LINE_LEARNING_RATE * grads[1], loss

    @torch.no_grad()
    def train(epochs: int) -> float:
        w, b = state
        for _ in range(epochs):
            w, b, loss = step(w, b)
        state[:] = w, b
        return loss.item()

    return train


def run(args: Namespace, form: Callable[..., Callable[[int], float]]) -> dict[str, object]:
    torch.manual_seed(args.seed)
    x, y = map(torch.from_numpy, line(args.seed))
    lap = clock()
    form(x, y)(5)
    compile_seconds = lap()
    train = form(x, y)
    if form is compiled:
        train(1)  # a new closure is compiled anew, from the cache
        compile_seconds += lap()
    loss = train(10 if args.tiny else LINE_EPOCHS)
    return result(lap(), loss, "training loss", packages=["torch"], compile_seconds=compile_seconds)


if __name__ == "__main__":
    forms = {"module": module, "tensors": tensors, "compiled": compiled}
    play({name: lambda args, form=form: run(args, form) for name, form in forms.items()})
