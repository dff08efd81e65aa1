"""Families of networks, one file each."""

from __future__ import annotations

from collections.abc import Callable

from thalweg.errors import unknown_option
from thalweg.models import cnn, detector, embedder, linear, mlp, ratings, sequence, unet
from thalweg.models.base import (
    InputShape,
    Lookup,
    Network,
    activation_floats,
    count_params,
    lookups_of,
)
from thalweg.space import Structure

FAMILIES: dict[str, Callable[[Structure, InputShape, int], Network]] = {
    "linear": linear.build,
    "mlp": mlp.build,
    "unet": unet.build,
    "detector": detector.build,
    "embedder": embedder.build,
    **cnn.FAMILIES,
    **ratings.FAMILIES,
    **sequence.FAMILIES,
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
    network = FAMILIES[structure.model](structure, inputs, num_outputs)
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
    "lookups_of",
]
