"""Hyperparameters, their domains, and the Space and Config made of them."""

from __future__ import annotations

from thalweg.space.config import Config, Structure
from thalweg.space.domains import Choice, Domain, Float, Int, Switch
from thalweg.space.hyperparameters import ACTIVATIONS, HYPERPARAMETERS, INITIALISERS, NORMALISATIONS
from thalweg.space.space import Space, leaves

__all__ = [
    "ACTIVATIONS",
    "HYPERPARAMETERS",
    "INITIALISERS",
    "NORMALISATIONS",
    "Choice",
    "Config",
    "Domain",
    "Float",
    "Int",
    "Space",
    "Structure",
    "Switch",
    "leaves",
]
