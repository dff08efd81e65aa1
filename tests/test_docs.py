"""The documentation names everything that is public, and tells nothing that is not so."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

import thalweg
from thalweg import errors
from thalweg.cli import app
from thalweg.data.built_in import BUILT_IN
from thalweg.data.columns import KINDS as COLUMN_KINDS
from thalweg.data.image_sets import KNOWN_SETS
from thalweg.data.load import MODALITIES
from thalweg.models import FAMILIES
from thalweg.optim.external import EXTERNAL
from thalweg.optim.losses import LOSSES
from thalweg.optim.metrics import METRICS
from thalweg.optim.rules import RULES
from thalweg.optim.schedules import SCHEDULES
from thalweg.search import SEARCHERS
from thalweg.space import ACTIVATIONS, HYPERPARAMETERS, INITIALISERS, NORMALISATIONS, Space
from thalweg.task import KINDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def options_of(command: str) -> set[str]:
    """Return every spelling of a command's options."""
    return {
        spelling
        for parameter in COMMANDS[command].params
        if parameter.param_type_name == "option"
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    }


@cache
def words() -> frozenset[str]:
    """Return everything in ``docs/`` that a name could be."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    return frozenset(re.findall(r"--?[a-z][a-z-]*|\w+", text))


def blocks(language: str) -> Iterable[tuple[str, str]]:
    """Return the code blocks of one language on all pages, with the page's name."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for code in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL):
            yield page.name, code


def families() -> dict[str, Iterable[str]]:
    own = [name for name, optimizer in EXTERNAL.items() if optimizer.source != "user-supplied"]
    tree = [n for n, v in vars(errors).items() if isinstance(v, type) and n.endswith("Error")]
    return {
        "public names": thalweg.__all__,
        "rules": RULES,
        "structural optimizers": own,
        "losses": [name for family in LOSSES.values() for name in family],
        "metrics": [name for family in METRICS.values() for name in family],
        "schedules": SCHEDULES,
        "hyperparameters": HYPERPARAMETERS,
        "activations": ACTIVATIONS,
        "normalisations": NORMALISATIONS,
        "initialisers": INITIALISERS,
        "searchers": SEARCHERS,
        "families of networks": FAMILIES,
        "column kinds": COLUMN_KINDS,
        "built-in sets": [*BUILT_IN, *KNOWN_SETS],
        "kinds of data": MODALITIES,
        "kinds of tasks": KINDS,
        "errors": tree,
        "commands": COMMANDS,
        "options": [option for command in COMMANDS for option in options_of(command)],
    }


@pytest.mark.parametrize("family", families())
def test_every_public_name_is_documented(family: str) -> None:
    missing = [name for name in families()[family] if name not in words()]
    assert not missing


def test_the_tables_are_up_to_date() -> None:
    # In a process of its own: other tests may have registered optimizers here.
    command = [sys.executable, str(ROOT / "docs" / "tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_keys_of_summary_and_trial_are_documented() -> None:
    page = (ROOT / "docs" / "run-directory.md").read_text(encoding="utf-8")
    summary_page, trial_page = page.split("## A trial")
    study = thalweg.tune("iris", trials=2, epochs=1, baselines=False)
    assert [key for key in study.summary if f"`{key}`" not in summary_page] == []
    assert [key for key in study.records[0] if f"`{key}`" not in trial_page] == []
    assert [key for key in study.records[0]["curve"] if f"`{key}`" not in trial_page] == []


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_python_blocks_are_python_and_use_what_there_is() -> None:
    for page, code in blocks("python"):
        for node in ast.walk(ast.parse(code, page)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "tw"
            ):
                assert node.attr in thalweg.__all__, f"{page}: tw.{node.attr}"


def test_space_files_are_read(tmp_path: Path) -> None:
    found = list(blocks("toml"))
    assert found
    for page, code in found:
        tomllib.loads(code)
        path = tmp_path / "space.toml"
        path.write_text(code, encoding="utf-8")
        assert len(Space.load(path)) > 2, page


def test_commands_shown_exist() -> None:
    shown = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        # Lines of code blocks and code within text; prose never begins like this.
        for line in [*text.splitlines(), *re.findall(r"`([^`\n]+)`", text)]:
            found = re.match(r"(?:# )?(?:thalweg|python3? go\.py) ([a-z]+)(?= |$)(.*)", line)
            if found is None or found[1] == "test":
                continue
            assert found[1] in COMMANDS, f"{page.name}: {line}"
            unknown = set(re.findall(r"(?<= )--?[a-z][a-z-]*", found[2])) - options_of(found[1])
            assert not unknown, f"{page.name}: {line}"
            shown += 1
    assert shown > 10


def test_every_example_is_mentioned() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "examples").glob("*.py"):
        assert f"examples/{path.name}" in text


def test_constraints_pin_versions_and_name_no_place() -> None:
    lines = (ROOT / "requirements" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert len(pinned) > 40
    for line in pinned:
        assert re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*( ; .+)?", line), line
