"""Families of networks, one file each."""

from __future__ import annotations

from collections.abc import Callable

from thalweg.errors import unknown_option
from thalweg.models import (
    autoencoder,
    bert,
    cnn,
    detector,
    embedder,
    language_model,
    linear,
    listening,
    mlp,
    ratings,
    sequence,
    text,
    transcriber,
    translators,
    unet,
)
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

FAMILIES: dict[str, Callable[[Structure, InputShape, int], Network]] = {
    "linear": linear.build,
    "mlp": mlp.build,
    "unet": unet.build,
    "detector": detector.build,
    "embedder": embedder.build,
    **autoencoder.FAMILIES,
    **cnn.FAMILIES,
    **ratings.FAMILIES,
    **sequence.FAMILIES,
    "textcnn": text.build_reader,
    "bert": bert.build,
    **translators.FAMILIES,
}
"""Families by name: a builder from structure, inputs and number of outputs."""


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
    make = FAMILIES[structure.model]
    if inputs.stepwise:
        return transcriber.build(structure, inputs, num_outputs)
    if inputs.band_mean:
        as_image = structure.model in cnn.FAMILIES
        return listening.listening(make, structure, inputs, num_outputs, as_image=as_image)
    if inputs.language:
        make = language_model.build
    elif inputs.tokens is not None and structure.model in text.READERS:
        make = text.build_reader
    elif inputs.terms is not None and structure.model in ("linear", "mlp"):
        make = text.build_bag
    network = make(structure, inputs, num_outputs)
    how = structure.get("instance_norm")
    if inputs.num_targets and how != "none":
        return sequence.InstanceNormalised(network, inputs, how)
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
