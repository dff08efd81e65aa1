"""Why a model says what it says: attributions, importance, dependence, neighbours."""

from __future__ import annotations

from thalweg.explain.explanation import Explanation
from thalweg.explain.methods import DEFAULTS, METHODS, explain, explain_part, reference_of

__all__ = ["DEFAULTS", "METHODS", "Explanation", "explain", "explain_part", "reference_of"]
