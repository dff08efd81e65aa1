"""What a study does by default with masks, boxes and identities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thalweg.space import Choice, Config, Float, Space, Switch

VISION_FAMILIES: dict[str, tuple[str, ...]] = {
    "segmentation": ("unet",),
    "detection": ("detector",),
    "embedding": ("embedder",),
}
"""Families for each kind of task on images."""


@dataclass(frozen=True)
class VisionPlan:
    """What the recipe of a kind of task is made of.

    Args:
        first: the Config that is tried first; its structure is the only one in the space.
        space: domains that differ from that Config.
        images: so many images, counted over all epochs, are a full training.
        epochs: the fewest and the most epochs of a full training.
    """

    first: Config
    space: dict[str, Any]
    images: int
    epochs: tuple[float, float]


_RATES = Switch("optimizer", {"lion": Float(2e-4, 2e-3, log=True)}, Float(1e-3, 2e-2, log=True))
_COMMON: dict[str, Any] = {
    "optimizer": Choice(["adamw", "nadamw", "lion"]),
    "learning_rate": _RATES,
    "schedule": Choice(["one_cycle", "cosine"]),
    "warmup": Choice([0.1, 0.02]),
    "weight_decay": Float(1e-4, 0.1, log=True),
    "ema": Choice([0.0, 0.99]),
}
_FIRST: dict[str, Any] = {
    "activation": "relu",
    "normalisation": "batch",
    "optimizer": "adamw",
    "schedule": "one_cycle",
    "warmup": 0.1,
    "weight_decay": 0.01,
}

PLANS: dict[str, VisionPlan] = {
    "segmentation": VisionPlan(
        # Narrower than 16 at the finest level, the classes hardly get through to the pixels.
        Config(model="unet", width=(16, 32, 64, 96), batch_size=16, learning_rate=4e-3, **_FIRST),
        {"dropout": Choice([0.0, 0.2]), "shift": Float(0.0, 0.15), "flip": Choice([0.0, 0.5])},
        images=60_000,
        epochs=(6.0, 60.0),
    ),
    "detection": VisionPlan(
        Config(model="detector", depth=2, width=48, batch_size=16, learning_rate=4e-3, **_FIRST),
        {"dropout": Choice([0.0, 0.2]), "shift": Float(0.0, 0.15), "flip": Choice([0.0, 0.5])},
        images=100_000,
        epochs=(8.0, 80.0),
    ),
    "embedding": VisionPlan(
        Config(
            model="embedder",
            depth=4,
            width=16,
            embedding_size=64,
            batch_size=64,
            learning_rate=3e-3,
            dropout=0.3,
            shift=0.1,
            rotation=10.0,
            zoom=0.1,
            **_FIRST,
        ),
        {
            "dropout": Float(0.0, 0.5),
            "shift": Float(0.0, 0.15),
            "flip": Choice([0.0, 0.5]),
            "rotation": Choice([0.0, 15.0]),
            "zoom": Choice([0.0, 0.15]),
        },
        images=60_000,
        epochs=(10.0, 100.0),
    ),
}
"""The plan of each kind of task."""


def vision_space(kind: str, losses: tuple[str, ...]) -> tuple[Space, Config]:
    """Return the Space of a kind of task, and the Config to try first.

    Args:
        kind: one of ``PLANS``.
        losses: losses to try, at least one.
    """
    plan = PLANS[kind]
    first = plan.first.with_values(loss=losses[0])
    searched = {**_COMMON, **plan.space, "loss": Choice(losses)}
    fixed = {name: value for name, value in first.items() if name not in searched}
    domains: dict[str, Any] = {**fixed, **searched}
    if kind == "embedding":
        named = {
            "temperature": ({"contrastive"}, Float(0.05, 0.3, log=True)),
            "margin": ({"triplet", "triplet_semi_hard"}, Float(0.1, 0.5)),
        }
        for name, (owners, domain) in named.items():
            used = owners & set(losses)
            if used:
                domains[name] = Switch("loss", dict.fromkeys(sorted(used), domain))
    return Space(domains), first


def vision_epochs(kind: str, num_rows: int) -> float:
    """Return the epochs of a full training on so many images."""
    plan = PLANS[kind]
    low, high = plan.epochs
    return float(min(high, max(low, round(plan.images / max(num_rows, 1)))))
