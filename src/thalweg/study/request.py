"""What was asked of a study, kept in its run directory so that it can be taken up again."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from thalweg.data import Dataset, load
from thalweg.errors import RunError, ThalwegError
from thalweg.files import write_atomically
from thalweg.space import Config, Space
from thalweg.study.budget import Budget
from thalweg.study.rundir import RunDirectory
from thalweg.study.settings import Settings
from thalweg.study.store import new_owner
from thalweg.study.versions import versions

FORMAT = 1
FILE = "study.json"


@dataclass(frozen=True)
class Request:
    """All that a study was asked for.

    Args:
        settings: how it is run.
        name: of the data.
        fingerprint: of the data.
        origin: the arguments of ``load``, where all of them can be written down.
        metric: the metric that chooses.
        loss: the task's loss.
        options: what ``tune`` was told besides.
        command: what the user typed.
        storage: where the trials are, without its password; None for the run directory.
        study: the study's name there.
        owner: who runs it.
        versions: versions that its results depend on.
    """

    settings: Settings
    name: str
    fingerprint: str
    origin: Mapping[str, Any] | None
    metric: str
    loss: str
    options: Mapping[str, Any]
    command: str | None
    storage: str | None
    study: str
    owner: str
    versions: Mapping[str, str] = field(default_factory=dict[str, str])

    def write(self, folder: Path) -> None:
        """Write the request into a run directory."""
        record = {f.name: getattr(self, f.name) for f in fields(self)}
        record |= {"format": FORMAT, "settings": settings_record(self.settings)}
        write_atomically(folder / FILE, json.dumps(record, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Request:
        """Read the request of a run directory.

        Raises:
            RunError: where there is none, it cannot be read, or another version wrote it.
        """
        path = folder / FILE
        if not folder.exists():
            raise RunError(f"there is no run directory {folder}: check the path")
        if not path.exists():
            raise RunError(
                f"{folder} holds no study that could be resumed ({FILE} is missing): start one "
                "with fit --run"
            )
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            version = record.pop("format")
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise RunError(f"{path} cannot be read ({error}): start the study anew") from None
        if version != FORMAT:
            raise RunError(
                f"{path} was written by another version of Thalweg (format {version}, this one "
                f"reads {FORMAT}): resume it with that version"
            )
        try:
            return cls(**{**record, "settings": settings_from(record["settings"])})
        except (ThalwegError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{path} does not fit this version of Thalweg ({error}): resume it with the "
                "version that wrote it, or start anew"
            ) from None


def new_request(
    dataset: Dataset,
    settings: Settings,
    options: Mapping[str, Any],
    directory: RunDirectory,
    command: str | None,
    storage: str | None = None,
    study: str | None = None,
) -> Request:
    """Return what was asked of a new study.

    Args:
        dataset: what it learns from.
        settings: how it is run.
        options: what ``tune`` was told besides.
        directory: its run directory.
        command: what the user typed.
        storage: where its trials go; None for the run directory.
        study: its name there; by default that of the run directory.
    """
    if storage is not None and "://" not in storage:
        storage = str(Path(storage).resolve())
    return Request(
        settings=settings,
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        origin=dataset.origin,
        metric=dataset.task.metric,
        loss=dataset.task.loss,
        options=options,
        command=without_password(command) if command else None,
        storage=without_password(storage) if storage else None,
        study=study or directory.path.resolve().name,
        owner=new_owner(),
        versions=versions(),
    )


def same_data(request: Request, data: Any, folder: Path) -> Dataset:
    """Return the data of a study, and make sure that they are the same as when it began.

    Args:
        request: what was asked.
        data: a ``Dataset`` or a source, or None: what the study was given.
        folder: the run directory, for messages.

    Raises:
        RunError: where they are others, or no longer there.
    """
    if isinstance(data, Dataset):
        dataset = data
    else:
        origin = dict(request.origin or {})
        place = origin.pop("folder", ".")
        if data is not None:
            origin["source"], place = data, "."
        if "source" not in origin:
            raise RunError(
                f"the data of {folder} came as arrays or frames, which a run directory does not "
                "keep: pass them to tw.resume(run, data)"
            )
        # Paths are those that the user typed, where they typed them.
        with contextlib.chdir(place if Path(place).is_dir() else "."):
            dataset = load(**origin)
    if dataset.fingerprint != request.fingerprint:
        raise RunError(
            f"the data are not those that {folder} was begun with ({dataset.name}: fingerprint "
            f"{dataset.fingerprint[:12]}, not {request.fingerprint[:12]}): restore them, or start "
            "a new study"
        )
    return dataset.with_task(dataset.task.with_choice(metric=request.metric, loss=request.loss))


def made_from(folder: Path, source: str) -> bool:
    """Return whether a finished run learned from this source, as far as its name tells."""
    if not (folder / "run.json").exists():
        return False
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # A run of another kind: nothing is known.
        return False
    origin = record.get("origin") or {}
    known, place = origin.get("source"), Path(origin.get("folder", "."))
    names = [n for n in (known if isinstance(known, list) else [known]) if isinstance(n, str)]
    return any(source == n or Path(source).resolve() == (place / n).resolve() for n in names)


def settings_record(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON-able values."""
    record = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return record | {
        "space": settings.space.to_dict(),
        "budget": asdict(settings.budget),
        "first": [config.to_dict() for config in settings.first],
        "known": [[config.to_dict(), rank] for config, rank in settings.known],
    }


def settings_from(record: Mapping[str, Any]) -> Settings:
    """Return the settings of JSON-able values."""
    return Settings(
        **{
            **record,
            "space": Space.from_dict(record["space"]),
            "budget": Budget(**record["budget"]),
            "first": tuple(Config(values) for values in record["first"]),
            "known": tuple((Config(values), rank) for values, rank in record["known"]),
            "notices": tuple(record.get("notices", ())),
        }
    )


def without_password(url: str) -> str:
    """Return a URL, or a text with URLs, as it may be shown and stored.

    Example:
        >>> without_password("postgresql://ann:secret@db.example.com/studies")
        'postgresql://ann:***@db.example.com/studies'
    """
    url = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", url)
    return re.sub(r"(?i)((?:password|passwd|pwd|token)=)[^&\s]*", r"\1***", url)
