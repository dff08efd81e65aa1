"""What the layers felt: gradients that vanish or explode on their way, units that are dead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.evidence.answer import SUPPORTED, TIE, Answer, Verdict
from thalweg.evidence.view import View, listed, number, short

QUESTION = "Do gradients reach every layer?"
VANISHED = 1e-4
"""A layer's gradient, relative to its weights, that is so much smaller than the strongest's."""

EXPLODED = 1e3
"""Growth of a gradient over the training that is told."""

DEAD = 0.5
"""Share of dead units in a layer that is told."""


@dataclass(frozen=True)
class LayerCourse:
    """One layer over the training; arrays over the looks."""

    name: str
    gradient: np.ndarray
    weight: np.ndarray
    dead: np.ndarray

    @property
    def relative(self) -> np.ndarray:
        """The gradient's size beside the weights'."""
        return self.gradient / np.maximum(self.weight, 1e-30)


def layer_courses(view: View) -> tuple[list[float], list[LayerCourse]]:
    """Read ``summary["layers"]``: the steps of the looks, and the layers in order."""
    found = view.summary.get("layers")
    if not isinstance(found, Mapping):
        return [], []
    steps = [number(step) for step in found.get("step") or ()]

    def series(entry: Mapping[str, Any], name: str) -> np.ndarray:
        return np.array([number(value) for value in entry.get(name) or ()], dtype=float)

    names = ("gradient", "weight", "dead")
    courses = [
        LayerCourse(str(entry.get("name")), *(series(entry, name) for name in names))
        for entry in found.get("layers") or ()
        if isinstance(entry, Mapping)
    ]  # fmt: skip
    return steps, [c for c in courses if len(c.gradient) == len(steps) and len(steps)]


def answer_layers(view: View) -> list[Answer]:
    """Whether gradients vanish or explode, and whether units are dead, in one training again."""
    steps, courses = layer_courses(view)
    if len(courses) < 2:
        return []
    found = view.summary.get("layers")
    trial = found.get("trial") if isinstance(found, Mapping) else None
    # The middle of training: its end has small gradients everywhere, where all is learned.
    middle = len(steps) // 2
    typical = {c.name: float(c.relative[middle]) for c in courses}
    strongest = max(typical.values())
    weak = [name for name, size in typical.items() if size < VANISHED * strongest]
    grown = []
    for course in courses:
        start = course.gradient[0]
        top = np.nanmax(course.gradient) if np.isfinite(course.gradient).any() else math.nan
        if start > 0 and top / start > EXPLODED:
            grown.append(f"{course.name} ({short(float(top / start), 2)} times)")
    dead = [(c.name, float(c.dead[-1])) for c in courses[:-1] if c.dead[-1] >= DEAD]
    ratio = min(typical.values()) / strongest if strongest > 0 else math.nan
    problems = []
    advice = []
    if weak:
        problems.append(
            f"gradients vanish in {listed(weak)}: beside its weights, less than "
            f"{VANISHED:g} of the strongest layer's"
        )
        advice.append(
            "Try ReLU-like activations, normalisation, skip connections, or fewer layers."
        )
    if grown:
        problems.append(f"gradients explode in {listed(grown)}")
        advice.append("Clip gradients, or lower the learning rate.")
    if dead:
        named = listed([f"{name} {share:.0%}" for name, share in dead])
        problems.append(f"units are dead at the end: {named}")
        advice.append("Lower the learning rate, or try leaky ReLU, GELU or SiLU.")
    verdict: Verdict = SUPPORTED
    if problems:
        claim = f"No: {'; '.join(problems)} (one training of the winner, looked into {len(steps)} "
        claim += "times)."
    else:
        verdict = TIE
        most = max((float(c.dead[-1]) for c in courses[:-1]), default=0.0)
        claim = (
            f"Yes: the weakest of {len(courses)} layers feels {short(ratio, 2)} of the strongest's "
            f"gradient, beside its weights; at most {most:.0%} of a layer's units are dead."
        )
        advice = ["Nothing to do."]
    return [
        Answer(
            QUESTION, claim, ratio if math.isfinite(ratio) else None, None,
            "weakest layer's gradient over the strongest's, each beside its weights", verdict,
            " ".join(advice), (int(trial),) if isinstance(trial, int) else (),
        )
    ]  # fmt: skip
