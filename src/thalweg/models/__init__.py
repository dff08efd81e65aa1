"""Families of networks, one file each."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from thalweg.errors import unknown_option
from thalweg.models.base import (
    InputShape,
    Lookup,
    Network,
    activation_floats,
    count_params,
    cut_fields,
    cuts_of,
    lookups_of,
)
from thalweg.space import Structure

Builder = Callable[[Structure, InputShape, int], Network]

FAMILIES: dict[str, str] = {
    "linear": "linear.build",
    "mlp": "mlp.build",
    "unet": "unet.build",
    "detector": "detector.build",
    "embedder": "embedder.build",
    "autoencoder": "autoencoder.build",
    "vae": "autoencoder.build",
    "cnn": "cnn.build_cnn",
    "lenet": "cnn.build_lenet",
    "vgg": "cnn.build_vgg",
    "resnet": "cnn.build_resnet",
    "bias": "ratings.build_bias",
    "mf": "ratings.build_mf",
    "neumf": "ratings.build_neumf",
    "two_tower": "ratings.build_two_tower",
    "rnn": "sequence.build_recurrent",
    "lstm": "sequence.build_recurrent",
    "gru": "sequence.build_recurrent",
    "cnn1d": "sequence.build_convolution",
    "transformer": "sequence.build_transformer",
    "dlinear": "sequence.build_dlinear",
    "textcnn": "text.build_reader",
    "bert": "bert.build",
    "seq2seq_transformer": "translators.build_transformer",
    "seq2seq_lstm": "translators.build_lstm",
}
"""Families by name: module and function that builds from structure, inputs and number of outputs.

A module is loaded when the first of its networks is built: a table needs two of them.
"""

READERS = ("rnn", "lstm", "gru", "cnn1d", "transformer")
"""Families that read any sequence, and so token vectors too."""


def _builder(place: str) -> Builder:
    module, function = place.split(".")
    return getattr(import_module(f"thalweg.models.{module}"), function)


def build(structure: Structure, inputs: InputShape, num_outputs: int) -> Network:
    """Build the network of a structure.

    Args:
        structure: family, widths and so on.
        inputs: what the network reads.
        num_outputs: width of the output head.

    Raises:
        OptionError: where the family is not known.
    """
    if structure.model not in FAMILIES:
        raise unknown_option("model", structure.model, FAMILIES)
    place = FAMILIES[structure.model]
    if inputs.stepwise:
        return _builder("transcriber.build")(structure, inputs, num_outputs)
    if inputs.band_mean:
        from thalweg.models.listening import listening

        as_image = place.startswith("cnn.")
        return listening(_builder(place), structure, inputs, num_outputs, as_image=as_image)
    if inputs.tokens is not None and structure.model in READERS and not inputs.language:
        from thalweg.models.text import build_reader

        return build_reader(structure, inputs, num_outputs, _builder(place))
    if inputs.language:
        place = "language_model.build"
    elif inputs.terms is not None and structure.model in ("linear", "mlp"):
        place = "text.build_bag"
    network = _builder(place)(structure, inputs, num_outputs)
    how = structure.get("instance_norm")
    if inputs.num_targets and how != "none":
        from thalweg.models.sequence import InstanceNormalised

        return InstanceNormalised(network, inputs, how)
    return network


__all__ = [
    "FAMILIES",
    "InputShape",
    "Lookup",
    "Network",
    "activation_floats",
    "build",
    "count_params",
    "cut_fields",
    "cuts_of",
    "lookups_of",
]
