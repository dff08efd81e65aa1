"""Models with random weights, and the same networks in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

import thalweg as tw
from thalweg.explain import reference_of
from thalweg.models import InputShape, build
from thalweg.space import Config


def random_model(data: Any, *, seed: int = 0, members: int = 1, scale: float = 1.0, **values: Any):
    """Return a model of a data set whose weights are drawn at random."""
    config = Config(**values)
    structure = config.structure()
    network = build(structure, InputShape.from_dict(data.input_shape), data.task.num_outputs)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(members):
        params = {}
        for name, spec in network.params().items():
            fan = max(1, int(np.prod(spec.shape[:-1]))) if len(spec.shape) > 1 else 10
            draw = rng.standard_normal(spec.shape) * scale / np.sqrt(fan)
            params[name] = draw.astype(np.float32)
        drawn.append((params, dict(network.state())))
    return tw.Model(
        encoder=data.encoder,
        structure=structure,
        inputs=data.input_shape,
        members=drawn,
        config=config,
        reference=reference_of(data.encoder, data.train),
    )


def houses(num: int = 500, seed: int = 0) -> pl.DataFrame:
    """Return a table with numbers, a category of three names and one of thirty."""
    rng = np.random.default_rng(seed)
    size, age = rng.uniform(20, 200, num), rng.uniform(0, 50, num)
    town = rng.choice(["Bonn", "Trier", "Worms"], num)
    street = rng.choice([f"street {i}" for i in range(30)], num)
    price = 1000 * size - 500 * age + 40_000 * (town == "Bonn") + rng.normal(0, 3000, num)
    return pl.DataFrame({"size": size, "age": age, "town": town, "street": street, "price": price})


def in_torch(model: Any) -> Any:
    """Return the first network of a model, a perceptron of numbers, in PyTorch."""
    import torch

    params = model.members[0][0]
    names = sorted({name.split("/")[0] for name in params if name.startswith("hidden")})
    layers: list[Any] = [torch.nn.Flatten()]
    for name in [*names, "output"]:
        kernel, bias = params[f"{name}/kernel"], params[f"{name}/bias"]
        dense = torch.nn.Linear(*kernel.shape)
        with torch.no_grad():
            dense.weight.copy_(torch.tensor(kernel.T))
            dense.bias.copy_(torch.tensor(bias))
        layers += [dense, *([torch.nn.Tanh()] if name != "output" else [])]
    return torch.nn.Sequential(*layers)
