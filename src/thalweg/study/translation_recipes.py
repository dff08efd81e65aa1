"""What is searched, and for how long, where texts are translated or summarised."""

from __future__ import annotations

from typing import Any

from thalweg.models import InputShape, build
from thalweg.space import Choice, Config, Float, Space, Structure, Switch

TRANSLATORS = ("seq2seq_transformer", "seq2seq_lstm")
"""Families that read one text and write another."""

WIDTHS = (256, 192, 128, 64)
TRAININGS = 2.0
"""Full trainings that a time budget should have room for."""

FEW_ROWS = 20_000
"""On fewer pairs it depends on the texts whether little or much dropout is better."""

SOME_EPOCHS, MANY_EPOCHS = 5.0, 40.0
TOKENS_TO_SEE = 8e6
"""Tokens that a full training writes: more of small sets are seen more often."""


def writing_seconds(num_rows: int) -> float:
    """Return the seconds that writing and scoring so many texts may take, compiling included.

    Measured with 1,600 captions on two cores: 9 s of compiling, 3.4 ms a text written by one
    network, 3 ms a text scored; two networks write together.
    """
    return 10.0 + 0.01 * num_rows


def translation_plan(
    inputs: InputShape, num_rows: int, families: tuple[str, ...], seconds: float, speed: float
) -> tuple[Space, tuple[Config, ...], float]:
    """Return what is searched, what is tried first, and the epochs of a full training.

    Args:
        inputs: what networks read and write.
        num_rows: training pairs.
        families: those asked for; the Transformer where there are none.
        seconds: the time budget.
        speed: operations a second that training reaches.
    """
    assert inputs.written is not None
    chosen = families or TRANSLATORS[:1]
    usual = num_rows * inputs.written[0] / 2.5
    epochs = float(round(min(MANY_EPOCHS, max(SOME_EPOCHS, TOKENS_TO_SEE / usual))))
    width = _affordable_width(chosen[0], inputs, num_rows * epochs, seconds, speed)
    batch = 32 if num_rows < 3_000 else 64 if num_rows < 20_000 else 128
    space: dict[str, Any] = {
        "model": Choice(chosen),
        "depth": Switch("model", {"seq2seq_lstm": Choice([1])}, Choice([2])),
        "width": Choice([width]),
        "batch_size": batch,
        "optimizer": Choice(["adamw", "nadamw"]),
        "learning_rate": Float(1e-3, 6e-3, log=True),
        "schedule": Choice(["cosine", "linear"]),
        "warmup": Choice([0.1, 0.05]),
        "weight_decay": Float(1e-3, 0.1, log=True),
        "dropout": Float(0.05, 0.3),
        "label_smoothing": Choice([0.1, 0.0]),
        "clip_norm": Choice([1.0]),
        "init": "glorot_uniform",
    }
    first = tuple(
        Config(
            model=name,
            depth=1 if name == "seq2seq_lstm" else 2,
            width=width,
            batch_size=batch,
            optimizer="adamw",
            learning_rate=4e-3,
            schedule="cosine",
            warmup=0.1,
            weight_decay=0.01,
            dropout=dropout,
            label_smoothing=0.1,
            clip_norm=1.0,
            init="glorot_uniform",
        )
        for name in chosen
        for dropout in ((0.1, 0.3) if num_rows < FEW_ROWS else (0.1,))
    )
    return Space(space), first, epochs


def _affordable_width(
    family: str, inputs: InputShape, rows: float, seconds: float, speed: float
) -> int:
    """Return the widest network whose full trainings fit into the budget."""
    for width in WIDTHS:
        structure = Structure(model=family, depth=2, width=width)
        if TRAININGS * 3.0 * build(structure, inputs, 0).flops() * rows / speed <= seconds:
            return width
    return WIDTHS[-1]
