"""Configurations to begin with: from an earlier study, from a file, from the user's settings."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from thalweg.data import Dataset
from thalweg.errors import OptionError, RunError, SpaceError
from thalweg.space import Config
from thalweg.study.recipes import FAMILIES_FOR
from thalweg.study.rundir import RunDirectory

MOST_CONFIGS = 8
"""Configs of an earlier study that are tried again."""


class Warmth(NamedTuple):
    """What an earlier study has to say.

    Attributes:
        first: its best Configs.
        known: every Config with what it reached (more is better); empty where the data were others
            or were judged by another metric.
    """

    first: tuple[Config, ...]
    known: tuple[tuple[Config, float], ...]

    def told(self, run: str | Path) -> str:
        """Return one line of what is taken over from a run."""
        num = f"its best {len(self.first)} are" if len(self.first) > 1 else "its best is"
        learned = (
            f"and what {len(self.known)} of its trials reached is known"
            if self.known
            else "as the data or the metric are others, its scores do not count"
        )
        return f"warm start from {run}: {num} tried first, {learned}"


def warm_start(run: str | Path, dataset: Dataset) -> Warmth:
    """Return what a finished study says of a data set, the same or another one.

    Args:
        run: its run directory.
        dataset: what is going to be learned from.

    Raises:
        RunError: where it is no finished study, or was one of another kind of data.
    """
    directory = RunDirectory.open(run)
    summary, records = directory.read_summary(), directory.read_trials()
    sign = -1.0 if summary["direction"] == "minimize" else 1.0
    same_task = summary["task"]["kind"] == dataset.task.kind
    best: list[Config] = []
    for config in _ranked(records, sign):
        if config.get_or_default("model") not in FAMILIES_FOR[dataset.modality]:
            continue
        if not same_task:
            # The losses of another kind of task have no meaning here.
            config = Config({name: value for name, value in config.items() if name != "loss"})
        if config not in best:
            best.append(config)
    if not best:
        raise RunError(
            f"{run} holds no configuration for {dataset.modality}: warm-start from a study of the "
            "same kind of data"
        )
    known: list[tuple[Config, float]] = []
    same = summary["fingerprint"] == dataset.fingerprint
    if same and summary["metric"] == dataset.task.metric:
        known = [
            (Config(record["config"]), sign * record["score"])
            for record in records
            if record["score"] is not None and record["status"] == "completed"
        ]
    return Warmth(tuple(best[:MOST_CONFIGS]), tuple(known))


def _ranked(records: Sequence[Mapping[str, Any]], sign: float) -> list[Config]:
    """Return Configs, the best first: those confirmed under fresh seeds before all others."""
    scores: dict[Config, dict[bool, list[float]]] = {}
    for record in records:
        if record["score"] is not None and record["status"] == "completed":
            own = scores.setdefault(Config(record["config"]), {True: [], False: []})
            own[record["phase"] == "confirm"].append(sign * record["score"])

    def key(config: Config) -> tuple[bool, float]:
        own = scores[config]
        known = own[True] or own[False]
        return bool(own[True]), sum(known) / len(known)

    return sorted(scores, key=key, reverse=True)


def read_configs(given: str | Path) -> list[Config]:
    """Return the Configs that a command line names.

    Args:
        given: settings such as ``optimizer=adam,learning_rate=0.01``, or a file: JSON (an object or
            a list of them), JSON lines, or TOML (one Config, or one in each table).

    Raises:
        OptionError: where that makes no sense.
    """
    path = Path(given)
    try:
        if path.suffix.lower() in (".json", ".jsonl", ".toml"):
            return [Config(values) for values in _records(path)]
        pairs = [part.partition("=") for part in str(given).split(",")]
        if any(not sign or not name.strip() for name, sign, _ in pairs):
            raise OptionError(
                "a configuration is NAME=VALUE,NAME=VALUE or a JSON or TOML file; got "
                f"{str(given)!r}"
            )
        return [Config({name.strip(): _value(value.strip()) for name, _, value in pairs})]
    except SpaceError as error:
        raise OptionError(f"in the configuration {given}: {error}") from None


def _records(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".toml":
            found = tomllib.loads(text)
            tables = [v for v in found.values() if isinstance(v, dict)]
            return tables if tables and len(tables) == len(found) else [found]
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        found = json.loads(text)
    except OSError as error:
        raise OptionError(f"{path} cannot be read ({error.strerror}): check the path") from None
    except ValueError as error:
        raise OptionError(f"{path} holds no configurations ({error})") from None
    records = found if isinstance(found, list) else [found]
    if not all(isinstance(record, dict) for record in records):
        raise OptionError(f"{path} must hold an object or a list of them, name to value")
    return records


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
