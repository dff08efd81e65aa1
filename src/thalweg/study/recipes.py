"""What a study does by default with each kind of data: families, Space, first tries, epochs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thalweg.models import InputShape, build
from thalweg.models.base import flat_size
from thalweg.space import Choice, Config, Float, Space, Structure, Switch
from thalweg.study import spaces
from thalweg.study.text_recipes import (
    LANGUAGE_FAMILIES,
    TEXT_FAMILIES,
    language_space,
    text_families,
    text_space,
    tuning_space,
)
from thalweg.study.translation_recipes import TRANSLATORS, translation_plan
from thalweg.study.vision_recipes import VISION_FAMILIES, vision_epochs, vision_space
from thalweg.task import Task


@dataclass(frozen=True)
class Recipe:
    """A study's defaults.

    Args:
        space: what is searched.
        first: Configs to try before the searcher's: what an expert tries first.
        epochs: passes over the training rows of a full training.
        least_epochs: a time budget does not cut a full training below so many.
        shortest_rung: epochs after which members are first compared, at the least.
        replicates: fresh seeds of a finalist at most.
        trials: trials where no budget is given.
    """

    space: Space
    first: tuple[Config, ...]
    epochs: float
    least_epochs: float = 2.0
    shortest_rung: float = 1.0
    replicates: int | None = None
    trials: int = 64


@dataclass(frozen=True)
class Question:
    """What a recipe is made for.

    Args:
        task: what is predicted.
        inputs: what networks read.
        num_rows: training rows.
        families: families asked for; empty for the usual ones.
        losses: losses to try; empty for the task's own.
        max_structures: how many distinct programs are worth compiling.
        widths: units of a hidden layer that the budget can afford.
        seconds: the time budget; infinite where the budget is in trials.
        speed: floating-point operations per second that training reaches on this machine.
    """

    task: Task
    inputs: InputShape
    num_rows: int
    families: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    max_structures: int = 6
    widths: tuple[int, ...] = (64, 256)
    seconds: float = math.inf
    speed: float = 6e10


LINEAR_ROWS = 4_000


def table_recipe(asked: Question) -> Recipe:
    """Perceptrons; on few rows linear models too: often as good, and next to nothing to try."""
    families = asked.families or (("mlp", "linear") if asked.num_rows <= LINEAR_ROWS else ("mlp",))
    space = spaces.default_space(
        asked.task,
        asked.num_rows,
        models=families,
        losses=asked.losses,
        max_structures=asked.max_structures,
        widths=asked.widths,
    )
    first: tuple[Config, ...] = ()
    if "mlp" in families and not asked.losses:
        # In a width that is compiled anyway.
        first = (spaces.default_config(asked.task, asked.num_rows, asked.widths[-1]),)
    return Recipe(space, first, spaces.default_epochs(asked.num_rows))


def image_recipe(asked: Question) -> Recipe:
    """Convolutional networks whose depth halves the image down to about seven pixels."""
    assert asked.inputs.image is not None
    side = min(asked.inputs.image[:2])
    depth = int(max(1, min(4, round(math.log2(max(side, 8) / 5)))))
    epochs = min(60.0, max(8.0, round(600_000 / asked.num_rows)))
    families = asked.families or ("cnn",)
    width = _affordable_width(asked, families[0], depth, epochs)
    batch = 32 if asked.num_rows <= 2_000 else 64
    conv = tuple(name for name in families if name in CONVOLUTIONAL)
    domains: dict[str, Any] = {
        "model": Choice(families),
        "depth": Switch("model", dict.fromkeys(conv, Choice([depth])), Choice([2])),
        "width": Switch("model", dict.fromkeys(conv, Choice([width])), Choice([asked.widths[-1]])),
        "normalisation": Switch("model", dict.fromkeys(conv, Choice(["batch"])), Choice(["none"])),
        "batch_size": batch,
        "optimizer": Choice(["adamw", "nadamw", "nesterov", "lion"]),
        "learning_rate": Switch(
            "optimizer",
            {"nesterov": Float(1e-2, 0.3, log=True), "lion": Float(1e-4, 2e-3, log=True)},
            Float(5e-4, 1e-2, log=True),
        ),
        "schedule": Choice(["one_cycle", "cosine"]),
        "warmup": Choice([0.1, 0.02]),
        "weight_decay": Float(1e-4, 0.1, log=True),
        "dropout": Float(0.0, 0.5),
        "label_smoothing": Choice([0.0, 0.05]),
        "mixup": Choice([0.0, 0.2]),
        "shift": Float(0.0, 0.15),
        "flip": Choice([0.0, 0.5]),
        "rotation": Choice([0.0, 10.0]),
        "zoom": Choice([0.0, 0.1]),
        "ema": Choice([0.0, 0.99]),
        "loss": Choice(asked.losses or (asked.task.loss,)),
    }
    first = tuple(
        Config(
            model=name,
            depth=depth,
            width=width,
            normalisation="batch",
            batch_size=batch,
            optimizer="adamw",
            learning_rate=3e-3,
            schedule="one_cycle",
            warmup=0.1,
            weight_decay=0.01,
            dropout=0.3,
            shift=0.1,
            flip=flip,
            loss=(asked.losses or (asked.task.loss,))[0],
        )
        for name in conv
        for flip in (0.0, 0.5)
    )
    return Recipe(
        Space(domains),
        first,
        epochs,
        least_epochs=max(6.0, 0.4 * epochs),
        shortest_rung=0.5,
        replicates=3,
        trials=12,
    )


SEQUENTIAL = ("mlp", "linear", "rnn", "lstm", "gru", "cnn1d", "transformer")
FAMILIES_FOR: dict[str, tuple[str, ...]] = {
    "table": ("linear", "mlp"),
    "text": TEXT_FAMILIES,
    "language": LANGUAGE_FAMILIES,
    "images": ("cnn", "lenet", "vgg", "resnet", "mlp", "linear"),
    "audio": ("cnn", "vgg", "resnet", *SEQUENTIAL),
    "speech": ("rnn", "lstm", "gru", "cnn1d", "transformer"),
    "unlabelled_table": ("autoencoder", "vae"),
    "unlabelled_images": ("autoencoder", "vae"),
    "series": ("dlinear", *SEQUENTIAL),
    "sequences": SEQUENTIAL,
    "ratings": ("bias", "mf", "neumf", "two_tower", "linear", "mlp"),
    "translation": TRANSLATORS,
    **VISION_FAMILIES,
}
"""Families that can read each kind of data."""

IMAGE_WIDTHS = (32, 24, 16, 12, 8)
TRAININGS = 3.0
"""Full trainings of an image network that a time budget should have room for."""


def _affordable_width(asked: Question, family: str, depth: int, epochs: float) -> int:
    """Return the widest first block whose full trainings fit into the budget a few times."""
    if family not in CONVOLUTIONAL:
        return IMAGE_WIDTHS[0]
    for width in IMAGE_WIDTHS:
        structure = Structure(model=family, depth=depth, width=width, normalisation="batch")
        flops = 3.0 * build(structure, asked.inputs, asked.task.num_outputs).flops()
        if TRAININGS * flops * asked.num_rows * epochs / asked.speed <= asked.seconds:
            return width
    return IMAGE_WIDTHS[-1]


CONVOLUTIONAL = ("cnn", "lenet", "vgg", "resnet")


def series_recipe(asked: Question) -> Recipe:
    """Linear forecasters first, then perceptrons and recurrence."""
    forecast = asked.inputs.num_targets > 0
    usual = ("dlinear", "mlp", "gru", "cnn1d") if forecast else ("cnn1d", "gru", "lstm", "mlp")
    most = asked.max_structures
    families = asked.families or usual[: max(2, most // 2)]
    domains: dict[str, Any] = {"model": Choice(families)}
    deep = tuple(name for name in families if name not in ("dlinear", "linear"))
    if deep:
        depths = [1, 2] if most >= 8 else [1]
        domains["depth"] = Switch("model", dict.fromkeys(deep, Choice(depths)))
        domains["width"] = Switch("model", dict.fromkeys(deep, Choice([64])))
    if forecast:
        domains["instance_norm"] = Choice(["last", "none"] if most >= 12 else ["last"])
    domains |= {
        "batch_size": 32 if asked.num_rows <= 24_000 else 128,
        "optimizer": Choice(["adamw", "nadamw", "adam", "radam"]),
        "learning_rate": Float(1e-4, 1e-2, log=True),
        "schedule": Choice(["cosine", "constant"]),
        "warmup": Choice([0.05, 0.0]),
        "weight_decay": Float(1e-4, 0.3, log=True),
        "clip_norm": Choice([1.0, 10.0]),
        "ema": Choice([0.0, 0.99]),
        "loss": Choice(asked.losses or _series_losses(asked.task)),
    }
    if deep:
        domains["dropout"] = Switch("model", dict.fromkeys(deep, Float(0.0, 0.4)))
    if not forecast and asked.task.kind != "regression":
        domains["label_smoothing"] = Choice([0.0, 0.05])
    epochs = min(100.0, max(10.0, round(200_000 / asked.num_rows)))
    first: tuple[Config, ...] = ()
    if "dlinear" in families and forecast:
        first = tuple(
            Config(
                model="dlinear",
                instance_norm="last",
                batch_size=domains["batch_size"],
                optimizer="adam",
                learning_rate=rate,
                schedule="cosine",
                loss=(asked.losses or _series_losses(asked.task))[0],
            )
            for rate in (3e-4, 3e-3)
        )
    return Recipe(Space(domains), first, epochs, least_epochs=4.0, shortest_rung=0.5)


def _series_losses(task: Task) -> tuple[str, ...]:
    return ("mse", "huber", "mae") if task.kind == "regression" else (task.loss,)


def ratings_recipe(asked: Question) -> Recipe:
    """Matrix factorisation and two towers over ids and side information.

    Of all regularisers the L2 penalty on the tables decides; its best strength falls with the
    number of ratings.
    """
    num, clicks = asked.num_rows, asked.task.kind != "regression"
    usual = ("two_tower", "mf", "neumf") if asked.max_structures >= 4 else ("two_tower", "mf")
    families = asked.families or usual
    deep = [0, 1] if asked.max_structures >= 3 else [0]
    loss = asked.losses or (asked.task.loss,)
    domains: dict[str, Any] = {
        "model": Choice(families),
        "width": Switch("model", {"mf": Choice([32, 64])}, Choice([32])),
        "depth": Switch("model", {"two_tower": Choice(deep), "neumf": Choice([1])}, Choice([1])),
        "batch_size": 1024 if clicks else 512,
        "optimizer": Choice(["adamw", "nadamw", "adam"]),
        "learning_rate": Float(1e-3, 1.5e-2, log=True),
        "schedule": Choice(["cosine", "linear"]),
        "l2": Float(0.3 / num, 30 / num, log=True)
        if clicks
        else Float(2 / num, 60 / num, log=True),
        "dropout": Switch("model", {"two_tower": Float(0.0, 0.4), "neumf": Float(0.0, 0.5)}),
        "loss": Choice(loss),
    }
    first = Config(
        model="two_tower",
        width=32,
        depth=deep[-1],
        batch_size=1024 if clicks else 512,
        optimizer="adamw",
        learning_rate=3e-3,
        schedule="cosine",
        l2=(3 if clicks else 20) / num,
        dropout=0.1,
        loss=loss[0],
    )
    epochs = min(30.0, max(5.0, round(1_000_000 / num)))
    tries = (first,) if "two_tower" in families else ()
    return Recipe(Space(domains), tries, epochs)


def text_recipe(asked: Question) -> Recipe:
    """Bags of terms and networks that read; short texts in few epochs, as they overfit soon."""
    inputs = asked.inputs
    assert inputs.tokens is not None
    epochs = min(40.0, max(5.0, round(60_000 / asked.num_rows)))
    reader = Structure("gru", 1, 64, options=(("bidirectional", True), ("embedding_size", 64)))
    flops = 3.0 * build(reader, inputs, asked.task.num_outputs).flops()
    trainings = asked.seconds / (flops * asked.num_rows * epochs / asked.speed)
    families = asked.families or text_families(asked.max_structures, inputs.tokens[0], trainings)
    beside = inputs.numeric > 0 or len(inputs.cardinalities) > 0
    losses = asked.losses or (asked.task.loss,)
    if inputs.pretrained and (not asked.families or asked.families == ("bert",)):
        space, first = tuning_space(losses, several=asked.max_structures >= 6)
        tuning = min(10.0, max(3.0, round(20_000 / asked.num_rows)))
        return Recipe(space, first, tuning, least_epochs=1.0, replicates=2, trials=6)
    space, first = text_space(families, losses, asked.num_rows, beside=beside)
    return Recipe(
        space, first, epochs, least_epochs=3.0, shortest_rung=1.0, replicates=5, trials=24
    )


def language_recipe(asked: Question) -> Recipe:
    """One layer of LSTM first: it learns most from few tokens; then attention."""
    families = (
        asked.families or ("lstm", "transformer")[: max(1, min(2, asked.max_structures // 6))]
    )
    space, first = language_space(families, asked.losses or (asked.task.loss,), asked.num_rows)
    epochs = min(40.0, max(6.0, round(400_000 / asked.num_rows)))
    # Cut short they end far above what they can do: fewer configurations are the smaller loss.
    return Recipe(
        space, first, epochs, least_epochs=0.7 * epochs, shortest_rung=1.0, replicates=2, trials=8
    )


def vision_recipe(asked: Question) -> Recipe:
    """One network of proven size for masks, boxes or identities; its training is searched."""
    kind = asked.task.kind
    space, first = vision_space(kind, asked.losses or (asked.task.loss,))
    epochs = vision_epochs(kind, asked.num_rows)
    return Recipe(
        space, (first,), epochs, least_epochs=6.0, shortest_rung=1.0, replicates=2, trials=6
    )


def audio_recipe(asked: Question) -> Recipe:
    """A convolutional network over the spectrogram, and recurrence where there is time for both."""
    assert asked.inputs.sequence is not None
    families = asked.families or ("cnn",)
    epochs = min(60.0, max(10.0, round(100_000 / asked.num_rows)))
    depth = max(1, min(4, round(math.log2(max(min(asked.inputs.sequence), 8) / 3))))
    width = _affordable_width(asked, families[0], depth, epochs)
    conv = tuple(name for name in families if name in CONVOLUTIONAL)
    recurrent = tuple(name for name in families if name in ("rnn", "lstm", "gru"))
    losses = asked.losses or (asked.task.loss,)
    domains: dict[str, Any] = {
        "model": Choice(families),
        "depth": Switch("model", dict.fromkeys(conv, Choice([depth])), Choice([2])),
        "width": Switch("model", dict.fromkeys(conv, Choice([width])), Choice([64])),
        "normalisation": Switch("model", dict.fromkeys(conv, Choice(["batch"])), Choice(["none"])),
        "batch_size": 32 if asked.num_rows <= 20_000 else 64,
        "optimizer": Choice(["adamw", "nadamw", "lion"]),
        "learning_rate": Switch(
            "optimizer", {"lion": Float(1e-4, 1e-3, log=True)}, Float(1e-3, 1e-2, log=True)
        ),
        "schedule": Choice(["one_cycle", "cosine"]),
        "warmup": Choice([0.1, 0.02]),
        "weight_decay": Float(1e-3, 0.2, log=True),
        "dropout": Float(0.1, 0.5),
        "time_mask": Float(0.0, 0.3),
        "frequency_mask": Float(0.0, 0.3),
        "time_shift": Float(0.0, 0.5),
        "time_stretch": Float(0.0, 0.3),
        "frequency_warp": Float(0.0, 0.2),
        "background_noise": Float(0.0, 0.1),
        "gain": Float(0.0, 10.0),
        "loss": Choice(losses),
    }
    if recurrent:
        domains["bidirectional"] = Switch("model", dict.fromkeys(recurrent, Choice([True])))
    common = {
        "batch_size": domains["batch_size"],
        "optimizer": "adamw",
        "learning_rate": 3e-3,
        "schedule": "one_cycle",
        "warmup": 0.1,
        "weight_decay": 0.02,
        "dropout": 0.3,
        "time_mask": 0.2,
        "frequency_mask": 0.2,
        "time_shift": 0.3,
        "time_stretch": 0.2,
        "frequency_warp": 0.1,
        "background_noise": 0.03,
        "gain": 6.0,
        "loss": losses[0],
    }
    first = tuple(
        Config(model=name, depth=depth, width=width, normalisation="batch", **common)
        for name in conv
    )
    return Recipe(
        Space(domains),
        first,
        epochs,
        least_epochs=max(6.0, 0.4 * epochs),
        shortest_rung=1.0,
        replicates=3,
        trials=12,
    )


def speech_recipe(asked: Question) -> Recipe:
    """Recurrence in both directions over three frames at a time."""
    families = asked.families or ("gru",)
    epochs = min(60.0, max(15.0, round(90_000 / asked.num_rows)))
    recurrent = tuple(name for name in families if name in ("rnn", "lstm", "gru"))
    domains: dict[str, Any] = {
        "model": Choice(families),
        "depth": Switch("model", dict.fromkeys(recurrent, Choice([1])), Choice([3])),
        "width": Choice([96]),
        "kernel_size": 5,
        "patch": 3,
        "batch_size": 32,
        "optimizer": Choice(["adamw", "nadamw"]),
        "learning_rate": Float(1e-3, 8e-3, log=True),
        "schedule": Choice(["one_cycle", "cosine"]),
        "warmup": Choice([0.1, 0.02]),
        "weight_decay": Float(1e-3, 0.1, log=True),
        "clip_norm": Choice([1.0, 5.0]),
        "dropout": Float(0.1, 0.4),
        "time_mask": Float(0.0, 0.05),
        "frequency_mask": Float(0.0, 0.3),
        "time_stretch": Float(0.0, 0.2),
        "frequency_warp": Float(0.0, 0.15),
        "background_noise": Float(0.0, 0.1),
        "gain": Float(0.0, 6.0),
        "loss": Choice(asked.losses or (asked.task.loss,)),
    }
    if recurrent:
        domains["bidirectional"] = Switch("model", dict.fromkeys(recurrent, Choice([True])))
    first = tuple(
        Config(
            model=name,
            depth=1,
            width=96,
            kernel_size=5,
            patch=3,
            bidirectional=True,
            batch_size=32,
            optimizer="adamw",
            learning_rate=4e-3,
            schedule="one_cycle",
            warmup=0.1,
            weight_decay=0.02,
            clip_norm=5.0,
            dropout=0.2,
            time_mask=0.03,
            frequency_mask=0.15,
            time_stretch=0.1,
            frequency_warp=0.08,
            background_noise=0.03,
            loss=asked.task.loss,
        )
        for name in recurrent
    )
    return Recipe(
        Space(domains),
        first,
        epochs,
        least_epochs=max(10.0, 0.4 * epochs),
        shortest_rung=2.0,
        replicates=2,
        trials=8,
    )


def reconstruction_recipe(asked: Question) -> Recipe:
    """Plain and variational autoencoders with a code of one length, so that errors compare."""
    images = asked.inputs.image is not None
    families = asked.families or ("autoencoder", "vae")
    latent = code_length(flat_size(asked.inputs) + len(asked.inputs.cardinalities), images)
    width = (256, 128) if images else (64, 32)
    batch = spaces.default_batch_size(asked.num_rows)
    epochs = float(min(200, max(20, round(800_000 / asked.num_rows))))
    domains: dict[str, Any] = {
        "model": Choice(families),
        "width": Choice([width]),
        "embedding_size": latent,
        "activation": Choice(["relu", "gelu"] if asked.max_structures >= 8 else ["gelu"]),
        "batch_size": batch,
        "optimizer": Choice(["adamw", "nadamw"]),
        "learning_rate": Float(3e-4, 1e-2, log=True),
        "schedule": Choice(["cosine", "one_cycle"]),
        "warmup": Choice([0.1, 0.02]),
        "weight_decay": Float(1e-4, 0.1, log=True),
        "clip_norm": Choice([10.0, 100.0]),
        "dropout": Choice([0.0, 0.1]),
        "input_noise": Choice([0.0, 0.1]),
        "loss": Choice(asked.losses or (asked.task.loss,)),
    }
    if "vae" in families:
        # Judged by the bound itself, its own weight is best; errors like a smaller one.
        low = 0.5 if asked.task.metric == "elbo" else 0.05
        domains["beta"] = Switch("model", {"vae": Float(low, 1.5, log=True)})
    first = tuple(
        Config(
            model=name,
            width=width,
            embedding_size=latent,
            activation="gelu",
            batch_size=batch,
            optimizer="adamw",
            learning_rate=2e-3,
            schedule="cosine",
            warmup=0.1,
            weight_decay=0.001,
            clip_norm=100.0,
            loss=(asked.losses or (asked.task.loss,))[0],
        )
        for name in families
    )
    return Recipe(Space(domains), first, epochs, least_epochs=5.0, shortest_rung=1.0, replicates=3)


def code_length(num_columns: int, images: bool) -> int:
    """Return the numbers that are kept of a row: 16 of an image, a third of a table's columns."""
    return 16 if images else max(1, min(16, round(num_columns / 3)))


def translation_recipe(asked: Question) -> Recipe:
    """One Transformer of a size that the budget pays for; its training is searched."""
    space, first, epochs = translation_plan(
        asked.inputs, asked.num_rows, asked.families, asked.seconds, asked.speed
    )
    return Recipe(
        space, first, epochs, least_epochs=0.5 * epochs, shortest_rung=1.0, replicates=2, trials=3
    )


RECIPES: dict[str, Callable[[Question], Recipe]] = {
    "table": table_recipe,
    "text": text_recipe,
    "language": language_recipe,
    "images": image_recipe,
    **dict.fromkeys(VISION_FAMILIES, vision_recipe),
    "audio": audio_recipe,
    "speech": speech_recipe,
    "unlabelled_table": reconstruction_recipe,
    "unlabelled_images": reconstruction_recipe,
    "series": series_recipe,
    "sequences": series_recipe,
    "ratings": ratings_recipe,
    "translation": translation_recipe,
}
"""Recipes by modality."""
