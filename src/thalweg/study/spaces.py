"""The Space that a study searches when the user gives none."""

from __future__ import annotations

from thalweg.space import Choice, Config, Float, Space, Switch
from thalweg.task import Task

ADAPTIVE = Float(1e-4, 3e-2, log=True)
LEARNING_RATES = {
    "sgd": Float(3e-3, 1.0, log=True),
    "momentum": Float(1e-3, 0.3, log=True),
    "nesterov": Float(1e-3, 0.3, log=True),
    "lion": Float(1e-5, 3e-3, log=True),
    "adagrad": Float(1e-3, 0.3, log=True),
}
"""Ranges of the rules whose rates live on another scale than Adam's."""

OPTIMIZERS = ("adamw", "nadamw", "adam", "nesterov", "rmsprop", "radam", "adabelief", "lion")


def default_batch_size(num_rows: int) -> int:
    """Return a batch size that gives small sets enough steps and large ones enough arithmetic."""
    for limit, size in ((600, 16), (6_000, 32), (24_000, 64), (100_000, 128)):
        if num_rows <= limit:
            return size
    return 256


def default_epochs(num_rows: int) -> int:
    """Return the epochs of a full training: more for smaller sets, from 15 to 120."""
    return int(min(120, max(15, round(400_000 / num_rows))))


def default_space(
    task: Task,
    num_rows: int,
    *,
    models: tuple[str, ...] = ("mlp",),
    max_structures: int = 6,
    widths: tuple[int, ...] = (64, 256),
    losses: tuple[str, ...] = (),
) -> Space:
    """Return the Space for a table.

    Args:
        task: what is predicted.
        num_rows: training rows.
        models: families to try.
        max_structures: how many distinct programs are worth compiling.
        widths: units of a hidden layer to try.
        losses: losses to try; the task's own where empty.
    """
    domains: dict[str, object] = {"model": Choice(models)}
    if "mlp" in models:
        width, depth, norms = list(widths), [1, 2, 3], ["none"]
        if max_structures <= 3:
            width, depth = [widths[len(widths) // 2]], depth[:max_structures]
        elif max_structures >= 12:
            norms = ["none", "batch"]
        for name, options in (("width", width), ("depth", depth), ("normalisation", norms)):
            domains[name] = Switch("model", {"mlp": Choice(options)})
    domains["batch_size"] = default_batch_size(num_rows)
    domains["optimizer"] = Choice(OPTIMIZERS)
    domains["learning_rate"] = Switch(
        "optimizer", {k: d for k, d in LEARNING_RATES.items() if k in OPTIMIZERS}, ADAPTIVE
    )
    domains["schedule"] = Choice(["cosine", "linear", "constant"])
    domains["warmup"] = Choice([0.05, 0.0])
    domains["weight_decay"] = Float(1e-4, 0.3, log=True)
    domains["dropout"] = Switch("model", {"mlp": Float(0.0, 0.5)})
    domains["input_noise"] = Choice([0.0, 0.1])
    if task.kind != "regression":
        domains["label_smoothing"] = Choice([0.0, 0.05])
    domains["mixup"] = Choice([0.0, 0.2])
    domains["ema"] = Choice([0.0, 0.99])
    chosen = losses or (
        (task.loss, "huber") if task.loss == "mse" and task.kind == "regression" else (task.loss,)
    )
    for name in chosen:
        task.with_choice(loss=name)
    domains["loss"] = Choice(chosen)
    if task.kind != "regression" and task.metric in ("balanced_accuracy", "f1", "f1_macro"):
        domains["class_weight"] = Choice([0.0, 0.5, 1.0])
    if "focal" in chosen:
        domains["focal_gamma"] = Switch("loss", {"focal": Float(0.5, 4.0)})
    return Space(domains)


def default_config(task: Task, num_rows: int, width: int = 128) -> Config:
    """Return a sensible single configuration: what an expert tries first on a table."""
    return Config(
        model="mlp",
        width=width,
        depth=2,
        batch_size=default_batch_size(num_rows),
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-2,
        dropout=0.1,
        schedule="cosine",
        warmup=0.05,
        loss=task.loss,
    )


__all__ = ["default_batch_size", "default_config", "default_epochs", "default_space"]
