"""How often was dropping a training early a mistake?"""

from __future__ import annotations

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, Answer, Verdict
from thalweg.evidence.statistics import wilson
from thalweg.evidence.view import View, ids

QUESTION = "Was anything good dropped early?"
MIN_SPARED = 5


def answer_dropping(view: View) -> list[Answer]:
    """The share of dropped trainings that would have ended among the best of their bracket.

    At each rung one of those that are to be dropped goes on by chance. How many of these end among
    the best tells how many of the dropped ones would have: the false-kill rate.
    """
    audit = (view.summary.get("plan") or {}).get("audit") or {}
    spared, among = int(audit.get("spared") or 0), int(audit.get("among_the_best") or 0)
    if not spared:
        return []
    rate = wilson(among, spared)
    dropped = [
        row for row in view.searched if row.get("status") == "stopped" and not row.get("audit")
    ]
    verdict: Verdict = SUPPORTED if spared >= MIN_SPARED else NOT_ENOUGH
    claim = (
        f"{len(dropped)} trials were dropped early. Of {spared} losers that went on by chance "
        f"{among} ended among the best of their bracket: a false-kill rate of {rate.value:.0%} "
        f"(at most {rate.interval[1]:.0%})."
    )
    if rate.value > 0.2 and spared >= MIN_SPARED:
        advice = (
            "Compare later or not at all: --brackets hyperband, --brackets curves, --no-halving."
        )
    elif spared < MIN_SPARED:
        advice = "More trials would tell more precisely."
    else:
        advice = "Dropping early costs little here."
    audited = [row for row in view.searched if row.get("audit")]
    return [
        Answer(
            QUESTION,
            claim,
            rate.value,
            rate.interval,
            "share of dropped trainings",
            verdict,
            advice,
            ids(audited),
        )
    ]
