"""Which store a study writes to: the journal in its run directory, or what a URL names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from thalweg.errors import RunError
from thalweg.study.distributions import distributions_of
from thalweg.study.journal import Journal
from thalweg.study.request import Request
from thalweg.study.rundir import RunDirectory
from thalweg.study.store import Store
from thalweg.task import Task


def open_store(
    request: Request,
    directory: RunDirectory,
    task: Task,
    owner: str,
    storage: str | None = None,
) -> Store:
    """Open the store of a study.

    Args:
        request: what was asked.
        directory: where its journal is.
        task: what is predicted.
        owner: who writes.
        storage: where the trials are, with its password; by default what the environment variable
            ``THALWEG_STORAGE`` says, or the request.

    Raises:
        RunError: where the store cannot be opened.
    """
    named = storage
    if named is None and request.storage is not None:
        named = os.environ.get("THALWEG_STORAGE", request.storage)
        if "***" in named:
            raise RunError(
                f"the password of {named} is not kept: give the URL again with --storage, or in "
                "the environment variable THALWEG_STORAGE"
            )
    facts: dict[str, Any] = {
        "maximise": task.sign > 0,
        "metric": task.metric,
        "distributions": distributions_of(request.settings.space, request.settings.first),
        "about": {
            "data": request.name,
            "fingerprint": request.fingerprint,
            "command": request.command,
            "versions": dict(request.versions),
        },
    }
    if named is not None and "://" in named:
        from thalweg.study.database import Database

        return _checked(Database(named, request.study, owner, **facts), request)
    path = directory.journal_path if named is None else Path(named)
    try:
        return _checked(Journal(path, request.study, owner, **facts), request)
    except RunError:
        raise
    except OSError as error:
        raise RunError(
            f"the journal {path} cannot be written ({error.strerror}): make room, or choose "
            "another --storage"
        ) from None


def _checked(store: Store, request: Request) -> Store:
    """Return the store of a study on these data; others of the same name are refused.

    Raises:
        RunError: where the study of that name is another one.
    """
    for name, wanted in (("fingerprint", request.fingerprint), ("metric", request.metric)):
        if store.about.get(name, wanted) != wanted:
            raise RunError(
                f"the storage holds a study {request.study!r} already, with another {name} "
                f"({store.about[name]}, not {wanted}): give another --study"
            )
    return store
