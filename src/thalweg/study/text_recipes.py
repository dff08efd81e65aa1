"""What a study does by default with texts."""

from __future__ import annotations

from typing import Any

from thalweg.space import Choice, Config, Float, Space, Switch

TEXT_FAMILIES = (
    "linear",
    "mlp",
    "textcnn",
    "lstm",
    "gru",
    "rnn",
    "cnn1d",
    "transformer",
    "bert",
)
"""Families that can read texts."""

ORDERED = ("textcnn", "lstm", "gru", "rnn", "cnn1d", "transformer")
"""Those of them that read words in their order."""

LANGUAGE_FAMILIES = ("lstm", "gru", "rnn", "transformer")
"""Families that can continue texts."""

LONG = 256
"""Texts of more tokens are dear to read in order, and their terms say most."""


FAMILY_TRAININGS = 12
"""Trainings that a family should get: with fewer it is the luck of its settings that is judged."""


def text_families(max_structures: int, num_tokens: int, trainings: float) -> tuple[str, ...]:
    """Return the families to try where nobody says, the one that reads best first.

    On 64,000 phrases and ten minutes one of the weaker of five families won by its settings (test
    accuracy 0.805); of two the better one did (0.841).

    Args:
        max_structures: how many programs are worth compiling.
        num_tokens: tokens of a text.
        trainings: full trainings of a GRU that there is time for.
    """
    if num_tokens > LONG:
        return ("linear", "mlp", "textcnn")[: max(2, min(3, max_structures // 4))]
    usual = ("gru", "linear", "lstm", "textcnn", "transformer")
    most = min(max_structures // 2, trainings / FAMILY_TRAININGS, 5)
    return usual[: max(2, int(most))]


def text_space(
    families: tuple[str, ...], losses: tuple[str, ...], num_rows: int, *, beside: bool
) -> tuple[Space, tuple[Config, ...]]:
    """Return the Space of texts, and the Configs to try first.

    Args:
        families: families to try.
        losses: losses to try, at least one.
        num_rows: training rows.
        beside: whether there are numbers and categories beside the texts.
    """
    ordered = tuple(name for name in families if name in ORDERED)
    batch = 32 if num_rows <= 4_000 else 64 if num_rows <= 20_000 else 128
    recurrent = tuple(name for name in ordered if name in ("lstm", "gru", "rnn"))
    width: dict[str, Any] = {"textcnn": Choice([100]), "mlp": Choice([32])}
    domains: dict[str, Any] = {
        "model": Choice(families),
        "depth": 1,
        "width": Switch("model", width, Choice([64])),
        "embedding_size": Switch("model", dict.fromkeys(ordered, Choice([64]))),
        # The largest response of each unit: what is said anywhere counts.
        "last": Switch("model", dict.fromkeys(ordered, Choice(["max"]))),
        "bidirectional": Switch("model", dict.fromkeys(recurrent, Choice([True]))),
        "head_width": Switch("model", dict.fromkeys(ordered, Choice([64 if beside else 0]))),
        "batch_size": batch,
        "optimizer": Choice(["adamw", "nadamw", "adam"]),
        "learning_rate": Switch(
            "model",
            {
                "linear": Float(3e-3, 0.1, log=True),
                "mlp": Float(2e-3, 3e-2, log=True),
                "transformer": Float(2e-4, 3e-3, log=True),
            },
            Float(1e-3, 8e-3, log=True),
        ),
        "schedule": Choice(["one_cycle", "cosine"]),
        "warmup": Choice([0.1]),
        "weight_decay": Float(1e-4, 0.3, log=True),
        "dropout": Switch("model", {"linear": Choice([0.0])}, Float(0.1, 0.7)),
        "token_dropout": Float(0.0, 0.3),
        "ema": Choice([0.0, 0.99]),
        "loss": Choice(losses),
    }
    if ordered:
        domains["token_swap"] = Switch("model", dict.fromkeys(ordered, Choice([0.0, 0.05])))
    empty = [n for n, d in domains.items() if isinstance(d, Switch) and not d.cases]
    for name in empty:
        del domains[name]
    first = tuple(
        Config(
            model=name,
            depth=1,
            width=64,
            embedding_size=64,
            last="max",
            bidirectional=True,
            head_width=64 if beside else 0,
            batch_size=batch,
            optimizer="adamw",
            learning_rate=3e-3,
            schedule="one_cycle",
            warmup=0.1,
            weight_decay=0.01,
            dropout=0.5,
            token_dropout=0.1,
            token_swap=0.0,
            ema=0.0,
            loss=losses[0],
        )
        for name in recurrent[:1]
    )
    return Space(domains), first


LITTLE_TEXT = 10_000
"""Texts up to which a language model is first tried with much dropout.

29,000 captions, ten epochs of an LSTM of 128: test perplexity 27.1 with a dropout of 0.15 and 29.6
with 0.3.
"""


def language_space(
    families: tuple[str, ...], losses: tuple[str, ...], num_rows: int
) -> tuple[Space, tuple[Config, ...]]:
    """Return the Space of texts to be continued, and the Configs to try first.

    Args:
        families: families to try.
        losses: losses to try, at least one.
        num_rows: training rows.
    """
    batch = 16 if num_rows <= 2_000 else 32 if num_rows <= 10_000 else 64
    recurrent = tuple(name for name in families if name != "transformer")
    domains: dict[str, Any] = {
        "model": Choice(families),
        "depth": Switch("model", {"transformer": Choice([2])}, Choice([1])),
        "width": Choice([128]),
        "embedding_size": Switch("model", dict.fromkeys(recurrent, Choice([128]))),
        "batch_size": batch,
        "optimizer": Choice(["adamw", "nadamw"]),
        "learning_rate": Switch(
            "model", {"transformer": Float(5e-4, 4e-3, log=True)}, Float(1e-3, 1e-2, log=True)
        ),
        "schedule": Choice(["one_cycle", "cosine"]),
        "warmup": Choice([0.1]),
        "weight_decay": Float(1e-3, 0.3, log=True),
        "dropout": Float(0.05, 0.5),
        "clip_norm": Choice([1.0, 5.0]),
        "loss": Choice(losses),
    }
    if not recurrent:
        del domains["embedding_size"]
    first = tuple(
        Config(
            model=name,
            depth=1,
            width=128,
            embedding_size=128,
            batch_size=batch,
            optimizer="adamw",
            learning_rate=4e-3,
            schedule="one_cycle",
            warmup=0.1,
            weight_decay=0.05,
            dropout=0.3 if num_rows < LITTLE_TEXT else 0.15,
            clip_norm=1.0,
            loss=losses[0],
        )
        for name in recurrent[:1]
    )
    return Space(domains), first


def tuning_space(losses: tuple[str, ...], *, several: bool) -> tuple[Space, tuple[Config, ...]]:
    """Return the Space of fine-tuning a pretrained encoder, and the Config to try first.

    Args:
        losses: losses to try, at least one.
        several: whether more than one program is worth compiling.
    """
    decays = [0.9, 0.0, 1.0] if several else [0.9]
    first = Config(
        model="bert",
        layer_decay=0.9,
        batch_size=32,
        optimizer="adamw",
        learning_rate=5e-5,
        schedule="linear",
        warmup=0.1,
        weight_decay=0.01,
        dropout=0.1,
        clip_norm=1.0,
        loss=losses[0],
    )
    space = Space(
        {
            "model": "bert",
            "layer_decay": Choice(decays),
            "batch_size": 32,
            "optimizer": Choice(["adamw", "nadamw"]),
            # A frozen encoder leaves the last layer alone to learn.
            "learning_rate": Switch(
                "layer_decay", {0.0: Float(1e-3, 3e-2, log=True)}, Float(1e-5, 3e-4, log=True)
            ),
            "schedule": Choice(["linear", "cosine"]),
            "warmup": 0.1,
            "weight_decay": Float(1e-3, 0.1, log=True),
            "dropout": Float(0.0, 0.3),
            "clip_norm": Choice([1.0]),
            "loss": Choice(losses),
        }
    )
    return space, (first,)
