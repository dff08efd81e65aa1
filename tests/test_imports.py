"""What importing costs, what the package shows, and which way its modules may look."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import thalweg

SOURCE = Path(thalweg.__file__).parent
# A module may import from those to its left, and from its own family.
HOUSE = (
    ("errors",), ("space", "task", "files", "memory", "markup"), ("data",), ("nn",), ("models",),
    ("optim",),
    ("training",), ("search",), ("study",), ("explain",), ("evidence",), ("report",),
    ("conduct",), ("api",), ("experiments",), ("comparisons", "rate_maps"), ("commands",), ("cli",),
)  # fmt: skip
LEVEL = {name: level for level, names in enumerate(HOUSE) for name in names}
HEAVY = ("jax", "jaxlib", "optax", "sklearn", "scipy", "torch", "pandas", "polars", "narwhals")
NO_JAX = (
    "errors",
    "space",
    "task",
    "files",
    "memory",
    "markup",
    "data",
    "search",
    "evidence",
    "report",
)
NO_STUDY = ("explain", "study", "training", "models", "optim", "data")
FILES = sorted(SOURCE.rglob("*.py"))


def modules_after(statement: str) -> set[str]:
    """Return the names of the modules that a fresh process has loaded after a statement."""
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Return what a file imports, and whether it does so when it is imported itself."""
    tree = ast.parse(path.read_text())
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, now: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, now) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, now))
            if node.module == "thalweg":
                found.extend((f"thalweg.{alias.name}", now) for alias in node.names)
        deeper = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, now and not deeper)

    visit(tree, True)
    return found


def family(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


@pytest.mark.parametrize(
    "statement", ["import thalweg", "import thalweg.cli", "from thalweg import Config, Space, Task"]
)
def test_importing_loads_nothing_heavy(statement):
    loaded = modules_after(statement)
    assert "thalweg" in loaded
    heavy = {name for name in loaded if name.split(".")[0] in HEAVY}
    assert not heavy, sorted(heavy)[:5]


def test_loading_data_loads_no_jax():
    loaded = modules_after("import thalweg as tw; tw.load('iris')")
    assert "polars" in loaded
    assert "jax" not in loaded
    assert "torch" not in loaded


def test_all_is_what_one_sees():
    assert sorted(thalweg.__all__) == dir(thalweg)
    for name in thalweg.__all__:
        value = getattr(thalweg, name)
        assert name == "__version__" or value.__name__ == name
        if name != "__version__":
            assert value.__module__.startswith("thalweg.")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = thalweg.nonsense
    everything: dict[str, object] = {}
    exec("from thalweg import *", everything)
    assert set(thalweg.__all__) <= set(everything)


def test_names_survive_their_modules_being_imported():
    code = (
        "import thalweg, thalweg.api, thalweg.study.loop, thalweg.training.cohort\n"
        "assert all(callable(getattr(thalweg, n)) for n in ('train', 'tune', 'load'))"
    )
    modules_after(code)


@pytest.mark.parametrize("name", thalweg.__all__)
def test_public_names_are_documented(name):
    if name != "__version__":
        assert getattr(thalweg, name).__doc__, name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_modules_look_down_the_house_only(path):
    own = family(path)
    if own == "__init__":
        return
    assert own in LEVEL, f"{own} has no place in the house"
    for module, now in imports_of(path):
        parts = module.split(".")
        if parts[0] == "thalweg" and len(parts) > 1 and parts[1] in LEVEL:
            other = parts[1]
            allowed = other == own or LEVEL[other] < LEVEL[own]
            assert allowed, f"{path.name} imports {module}"
            if own in ("evidence", "report"):
                assert other not in NO_STUDY, f"{path.name} imports {module}"
        if own in NO_JAX:
            assert parts[0] not in ("jax", "optax"), f"{path.name} imports {module}"
        if now:
            assert parts[0] not in ("torch", "pandas", "sklearn"), f"{path.name} imports {module}"


# A custom rule of batching may map what it is a rule for.
MAPS = {"optim/rules.py": {"vmap"}}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_jit_and_vmap_have_one_home(path):
    """Only ``training`` compiles; elsewhere a transformation is a reader's surprise."""
    if family(path) == "training":
        return
    used = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "jax"
    }
    assert used & {"jit", "vmap", "pmap"} <= MAPS.get(str(path.relative_to(SOURCE)), set())
