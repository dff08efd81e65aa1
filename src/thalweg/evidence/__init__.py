"""Plain records in, Answers out: what the trials of a run show, and how surely."""

from typing import TYPE_CHECKING, Any

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, TIE, VERDICTS, Answer, Verdict

if TYPE_CHECKING:
    from thalweg.evidence.questions import answers
    from thalweg.evidence.ranking import leaderboard

__all__ = [
    "NOT_ENOUGH",
    "SUPPORTED",
    "TIE",
    "VERDICTS",
    "Answer",
    "Verdict",
    "answers",
    "leaderboard",
]


def __getattr__(name: str) -> Any:
    # SciPy's statistics take most of a second to import; the terminal display needs none of it.
    if name in ("answers", "leaderboard"):
        from importlib import import_module

        module = "questions" if name == "answers" else "ranking"
        return getattr(import_module(f"thalweg.evidence.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
