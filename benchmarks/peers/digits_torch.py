"""One configuration of the digits search in PyTorch, shared by all searches in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import digits_space as space
import torch
from torch import Tensor, nn
from torch.nn import functional

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": lambda params, **kw: torch.optim.SGD(params, momentum=0.9, **kw),
    "rmsprop": lambda params, **kw: torch.optim.RMSprop(params, foreach=True, **kw),
    "adam": lambda params, **kw: torch.optim.Adam(params, fused=True, **kw),
    "adamw": lambda params, **kw: torch.optim.AdamW(params, fused=True, **kw),
    "nadam": lambda params, **kw: torch.optim.NAdam(params, foreach=True, **kw),
}


def load(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the split as tensors, and take one thread: these networks are too small for two."""
    torch.set_num_threads(1)
    x, y, x_validation, y_validation = map(torch.from_numpy, space.split(seed))
    return x, y, x_validation, y_validation


def network(config: dict[str, object]) -> nn.Sequential:
    layers: list[nn.Module] = []
    size = 64
    for _ in range(space.DEPTH):
        layers += [nn.Linear(size, config["width"]), nn.ReLU(), nn.Dropout(config["dropout"])]
        size = config["width"]
    return nn.Sequential(*layers, nn.Linear(size, 10))


def train(
    config: dict[str, object], data: tuple[Tensor, Tensor, Tensor, Tensor], seed: int, epochs: int
) -> Iterator[float]:
    """Train one network, yielding its validation accuracy after each epoch."""
    torch.manual_seed(seed)
    x, y, x_validation, y_validation = data
    model = network(config)
    optimizer = OPTIMIZERS[config["optimizer"]](
        model.parameters(), lr=config["learning_rate"], weight_decay=config["weight_decay"]
    )
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(x)).split(space.BATCH_SIZE)[: len(x) // space.BATCH_SIZE]:
            optimizer.zero_grad()
            functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            yield (model(x_validation).argmax(1) == y_validation).float().mean().item()
