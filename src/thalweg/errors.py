"""The exceptions that Thalweg raises.

    ThalwegError
    ├── DataError        (also ValueError)   the rows, columns or files cannot be used as asked
    │   └── SourceError  (also OSError)      the source cannot be found or read
    ├── SpaceError       (also ValueError)   a domain, Space or Config makes no sense
    ├── OptionError      (also ValueError)   an argument or command-line option has an unknown value
    ├── BudgetError      (also ValueError)   nothing useful fits into the budget
    ├── ResourceError    (also MemoryError)  the work does not fit into the memory allowed
    ├── RunError         (also OSError)      a run directory is missing or of another kind
    └── MissingExtraError (also ImportError) an optional dependency is not installed

Every message is one line: the rule, the values received, the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ThalwegError(Exception):
    """Base of every error that Thalweg raises on purpose."""


class DataError(ThalwegError, ValueError):
    """The rows, columns or files cannot be used as asked."""


class SourceError(DataError, OSError):
    """The source cannot be found or read."""

    # OSError renders (errno, text) tuples; a one-line message is all that is wanted here.
    __str__ = Exception.__str__


class SpaceError(ThalwegError, ValueError):
    """A domain, Space or Config makes no sense."""


class OptionError(ThalwegError, ValueError):
    """An argument or command-line option has a value that is not known."""


class BudgetError(ThalwegError, ValueError):
    """Nothing useful fits into the budget."""


class ResourceError(ThalwegError, MemoryError):
    """The work does not fit into the memory that it may use."""


class RunError(ThalwegError, OSError):
    """A run directory is missing, incomplete or of another kind."""

    __str__ = Exception.__str__


class MissingExtraError(ThalwegError, ImportError):
    """An optional dependency is not installed; the message is the command that installs it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or an empty string."""
    names = [str(option) for option in known]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        folded = {option.lower(): option for option in names}
        close = [
            folded[match]
            for match in difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)
        ]
    if not close and len(name) > 1:
        close = [option for option in names if option.lower().startswith(name.lower())]
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown_option(what: str, value: object, known: Iterable[str]) -> OptionError:
    """Build the error for a value that is not one of the known ones."""
    names = [str(option) for option in known]
    hint = did_you_mean(str(value), names)
    return OptionError(f"{what} must be one of {', '.join(names)}; got {value!r}{hint}")


def one_line(error: BaseException, most: int = 200) -> str:
    """Return what an error says as one line of at most so many characters."""
    return " ".join(str(error).split())[:most]
