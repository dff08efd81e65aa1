"""The report as one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thalweg.errors import RunError
from thalweg.evidence.answer import Answer


def write_document(
    path: Path,
    records: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    pictures: Mapping[str, bytes],
) -> Path:
    """Write the report of a study, HTML or by the ending ``.md`` Markdown; return its path.

    Args:
        path: the file.
        records: the trials.
        summary: of the study, with its answers.
        pictures: PNG files by the names that the summary has for them.

    Raises:
        RunError: where it cannot be written.
    """
    from thalweg.report.html import write_report
    from thalweg.report.markdown import write_markdown

    answers = [Answer.from_dict(record) for record in summary["answers"]]
    try:
        if path.suffix.lower() == ".md":
            return write_markdown(path, records, summary, answers)
        return write_report(path, records, summary, answers, pictures)
    except OSError as error:
        raise RunError(f"the report {path} cannot be written: {error.strerror}") from None
