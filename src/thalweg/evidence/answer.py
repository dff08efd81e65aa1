"""The Answer: a claim with its size, its interval, the trials behind it, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from thalweg import markup

Verdict = Literal["supported", "tie", "not enough evidence"]

SUPPORTED: Verdict = "supported"
TIE: Verdict = "tie"
NOT_ENOUGH: Verdict = "not enough evidence"
VERDICTS: tuple[Verdict, ...] = (SUPPORTED, TIE, NOT_ENOUGH)


@dataclass(frozen=True)
class Answer:
    """One answered question.

    Args:
        question: the question as a person asks it.
        claim: what the trials say, in one to three sentences.
        effect: size of the effect in ``unit``, or None. Differences of a metric are improvements:
            positive is better, whichever direction the metric has.
        interval: 95 % interval of the effect (for a learning rate: the range of rates that did
            as well), or None where none can be given.
        unit: what effect and interval are measured in.
        verdict: ``"supported"`` where the trials bear the claim out, ``"tie"`` where the
            difference is known to be too small to matter, ``"not enough evidence"`` otherwise.
        advice: what to do about it, in one line.
        trials: ids of the trials behind the claim, ascending.
    """

    question: str
    claim: str
    effect: float | None = None
    interval: tuple[float, float] | None = None
    unit: str = ""
    verdict: Verdict = NOT_ENOUGH
    advice: str = ""
    trials: tuple[int, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.question} [{self.verdict}]", f"  {self.claim}"]
        return "\n".join([*lines, f"  -> {self.advice}"] if self.advice else lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the Answer as JSON-able values; numbers that are not finite become None."""
        return {
            "question": self.question,
            "claim": self.claim,
            "effect": _finite_or_none(self.effect),
            "interval": _interval_or_none(self.interval),
            "unit": self.unit,
            "verdict": self.verdict,
            "advice": self.advice,
            "trials": list(self.trials),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Answer:
        """Rebuild an Answer from ``to_dict``; missing keys take their defaults."""
        interval = record.get("interval")
        verdict = record.get("verdict")
        return cls(
            question=str(record.get("question") or ""),
            claim=str(record.get("claim") or ""),
            effect=record.get("effect"),
            interval=None if interval is None else (float(interval[0]), float(interval[1])),
            unit=str(record.get("unit") or ""),
            verdict=verdict if verdict in VERDICTS else NOT_ENOUGH,
            advice=str(record.get("advice") or ""),
            trials=tuple(record.get("trials") or ()),
        )


class Answers(list[Answer]):
    """The answers of a study, in the order in which a person asks; prints as text."""

    def __str__(self) -> str:
        return "\n\n".join(map(str, self))

    def _repr_html_(self) -> str:
        parts = []
        for answer in self:
            size = ""
            if answer.effect is not None:
                size = markup.short(float(answer.effect))
                if answer.interval is not None:
                    low, high = (markup.short(float(end)) for end in answer.interval)
                    size += f" ({low} to {high})"
                size = f" · {size} {answer.unit}"
            advice = f"→ {answer.advice}" if answer.advice else ""
            parts.append(
                f"<strong>{markup.escape(answer.question)}</strong> "
                f"{markup.badge(answer.verdict)}{markup.escape(size)}"
                f"{markup.lines(text for text in (answer.claim, advice) if text)}"
            )
        return markup.card("Answers", *parts, note=f"{len(self)} questions")


def _finite_or_none(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _interval_or_none(interval: tuple[float, float] | None) -> list[float] | None:
    if interval is None or not all(math.isfinite(bound) for bound in interval):
        return None
    return [float(bound) for bound in interval]
