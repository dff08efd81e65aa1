"""One configuration of the searches on real data in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

import space_problems as problems
import torch
from digits_torch import OPTIMIZERS
from torch import Tensor, nn
from torch.nn import functional


class Tensors:
    """A problem's data as tensors, ready to train on."""

    def __init__(self, name: str, data: problems.Data) -> None:
        self.name, self.vocabulary = name, data.vocabulary
        self.x, self.x_validation = self._ready(data.x), self._ready(data.x_validation)
        self.y, self.y_validation = torch.from_numpy(data.y), torch.from_numpy(data.y_validation)
        self.num_classes = int(data.y.max()) + 1

    def _ready(self, x: object) -> Tensor:
        tensor = torch.from_numpy(x)
        if self.name != "mnist":
            return tensor
        # Standardised once; channels last is the faster layout.
        tensor = tensor.permute(0, 3, 1, 2).float()
        tensor = (tensor - tensor.mean()) / tensor.std()
        return tensor.contiguous(memory_format=torch.channels_last)


class Phrases(nn.Module):
    """Filters over words, their largest responses, dropout, output."""

    def __init__(self, vocabulary: int, filters: int, dropout: float, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, problems.EMBEDDING, padding_idx=0)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(problems.EMBEDDING, filters, size, padding="same")
            for size in problems.KERNELS
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(filters * len(problems.KERNELS), outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.embedding(x)).transpose(1, 2)
        found = [functional.relu(conv(x)).amax(2) for conv in self.convolutions]
        return self.output(self.dropout(torch.cat(found, 1)))


def network(config: dict[str, object], data: Tensors) -> nn.Module:
    """Return the untrained network of a configuration."""
    width, dropout = config["width"], config["dropout"]
    if data.name == "sst2":
        return Phrases(data.vocabulary, width, dropout, data.num_classes)
    if data.name == "mnist":
        layers = [
            nn.Conv2d(1, width, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(2 * width * 25, data.num_classes),
        ]  # fmt: skip
        return nn.Sequential(*layers).to(memory_format=torch.channels_last)
    return nn.Sequential(
        nn.Linear(data.x.shape[1], width), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(width, data.num_classes),
    )  # fmt: skip


def batch(x: Tensor, rows: Tensor, name: str) -> Tensor:
    """Return some rows; of phrases as many words as the longest has."""
    taken = x[rows]
    return taken[:, : int((taken > 0).sum(1).max())] if name == "sst2" else taken


def train(config: dict[str, object], data: Tensors, seed: int, epochs: int) -> Iterator[float]:
    """Train one network, yielding its validation accuracy after each epoch."""
    torch.manual_seed(seed)
    size = problems.PROBLEMS[data.name].batch_size
    model = network(config, data)
    optimizer = OPTIMIZERS[config["optimizer"]](
        model.parameters(), lr=config["learning_rate"], weight_decay=config["weight_decay"]
    )
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(data.x)).split(size)[: len(data.x) // size]:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(batch(data.x, rows, data.name)), data.y[rows])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            found = [model(x).argmax(1) for x in data.x_validation.split(1_000)]
        yield (torch.cat(found) == data.y_validation).float().mean().item()
