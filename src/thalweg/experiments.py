"""What finished experiments besides studies have in common: records, answers, a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from thalweg.errors import RunError
from thalweg.evidence.answer import Answer, Answers
from thalweg.study.rundir import RunDirectory


class Experiment:
    """A finished experiment, as it was run or read back with ``open``.

    Args:
        summary: of the experiment.
        records: one for each training.
        directory: where it is kept, if anywhere.
    """

    key: ClassVar[str]
    """The entry of the summary that only this kind of experiment has."""

    what: ClassVar[str]
    """What a run directory of this kind holds, in words."""

    def __init__(
        self,
        summary: dict[str, Any],
        records: list[dict[str, Any]],
        directory: RunDirectory | None = None,
    ) -> None:
        self.summary, self.records, self.directory = summary, records, directory

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read an experiment from its run directory.

        Raises:
            RunError: where there is none, or the folder holds something else.
        """
        directory = RunDirectory.open(path)
        summary = directory.read_summary()
        if cls.key not in summary:
            raise RunError(f"{path} holds no {cls.what}; a study is opened with Study.open")
        return cls(summary, directory.read_trials(), directory)

    def answers(self) -> Answers:
        """Return the answers, the experiment's own question first; they print as text."""
        return Answers(Answer.from_dict(record) for record in self.summary["answers"])


def written(path: str | Path, text: str) -> Path:
    """Write a text whole or not at all, and return its path.

    Raises:
        RunError: where the file cannot be written.
    """
    from thalweg.report.html import write_text

    try:
        return write_text(path, text)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from None
