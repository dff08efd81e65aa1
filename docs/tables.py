"""Write the tables of these pages from the code, so that they cannot tell anything else.

A page holds ``<!-- table NAME -->`` and ``<!-- end -->``; what stands between is written here.

    python docs/tables.py            writes the tables
    python docs/tables.py --check    says which page is out of date, with exit status 1
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str]) -> int:
    """Write or check every page, and return the exit status."""
    stale = []
    for path in sorted(FOLDER.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        fresh = written(text)
        if fresh != text:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(fresh, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"out of date: {', '.join(stale)}: run python docs/tables.py", file=sys.stderr)
        return 1
    return 0


def written(text: str) -> str:
    """Return a page with its tables filled in."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


# ---------------------------------------------------------------------------------------- helpers


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


def prose(documented: Any) -> str:
    """Return the first paragraphs of a docstring on one line, with single backquotes."""
    text = inspect.cleandoc(documented.__doc__ or "").replace("``", "`")
    return " ".join(text.split())


def first_line(documented: Any) -> str:
    """Return the first line of a docstring."""
    return prose(documented).split(". ")[0].removeprefix("Return ").rstrip(".")


def number(value: Any) -> str:
    """Return a value as a reader would write it."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return "true" if value is True else "false" if value is False else str(value)


def settings(values: Mapping[str, Any]) -> str:
    """Return hyperparameters with their defaults."""
    return ", ".join(f"`{name}` {number(value)}" for name, value in values.items())


# ----------------------------------------------------------------------------------------- tables


def _hyperparameters(wanted: Callable[[Any], bool]) -> str:
    from thalweg.space import HYPERPARAMETERS

    rows = []
    for name, known in HYPERPARAMETERS.items():
        if wanted(known):
            default = "its owner's" if known.default is None else number(known.default)
            rows.append([f"`{name}`", known.about, default, known.rule])
    return table(["name", "what", "default", "must be"], rows)


def _owned(known: Any) -> bool:
    return known.rule == "a number"


def structural_hyperparameters() -> str:
    """Return those that decide the program."""
    return _hyperparameters(lambda known: known.structural)


def traced_hyperparameters() -> str:
    """Return those that are arguments of the program."""
    return _hyperparameters(lambda known: not known.structural and not _owned(known))


def owned_hyperparameters() -> str:
    """Return those that belong to a few rules or schedules."""
    return _hyperparameters(lambda known: not known.structural and _owned(known))


def _domain(domain: Any) -> str:
    from thalweg.space import Choice, Switch

    if isinstance(domain, Switch):
        # Values with the same domain stand together.
        owners: dict[str, list[str]] = {}
        for key, leaf in domain.cases.items():
            owners.setdefault(_domain(leaf), []).append(str(key))
        cases = [f"{text} for {', '.join(keys)}" for text, keys in owners.items()]
        return "; ".join([*cases, *([_domain(domain.default)] if domain.default else [])])
    if isinstance(domain, Choice):
        return ", ".join(map(number, domain.options))
    scale = " (log)" if domain.log else ""
    return f"{number(domain.low)} to {number(domain.high)}{scale}"


def _space(space: Mapping[str, Any]) -> str:
    return table(["name", "domain"], [[f"`{n}`", _domain(d)] for n, d in space.items()])


def default_space() -> str:
    """Return the space that a study of 1,000 rows searches."""
    from thalweg.study.spaces import default_space as make
    from thalweg.task import Task

    return _space(make(Task("binary", ("target",), (0, 1)), 1000))


def _recipe(modality: str, task: Any, inputs: Mapping[str, Any], num_rows: int) -> str:
    from thalweg.models import InputShape
    from thalweg.study.recipes import RECIPES, Question

    return _space(RECIPES[modality](Question(task, InputShape(**inputs), num_rows)).space)


def image_space() -> str:
    """Return the space for 8,000 colour images of 32 x 32 pixels in 10 classes."""
    from thalweg.task import Task

    task = Task("multiclass", ("class",), tuple(range(10)))
    inputs = {"image": (32, 32, 3), "image_mean": (127.0,) * 3, "image_std": (64.0,) * 3}
    return _recipe("images", task, inputs, 8_000)


def series_space() -> str:
    """Return the space for the forecast of one target, 24 steps ahead, from 8,000 windows."""
    from thalweg.task import Task

    task = Task("regression", ("target",), metric="mae", horizon=24)
    return _recipe("series", task, {"sequence": (72, 1), "num_targets": 1}, 8_000)


def ratings_space() -> str:
    """Return the space for 64,000 ratings."""
    from thalweg.task import Task

    task = Task("regression", ("rating",))
    return _recipe("ratings", task, {"cardinalities": (900, 1600)}, 64_000)


def families() -> str:
    """Return the families of networks: what they read, and what decides their shapes."""
    from thalweg.models import FAMILIES
    from thalweg.study.recipes import FAMILIES_FOR

    rows = []
    for name in FAMILIES:
        kinds = ", ".join(kind for kind, known in FAMILIES_FOR.items() if name in known)
        rows.append([f"`{name}`", kinds, ", ".join(f"`{option}`" for option in _read_by(name))])
    return table(["family", "for", "structural hyperparameters"], rows)


def _read_by(family: str) -> list[str]:
    """Return the structural hyperparameters that a family's builder looks at."""
    from thalweg.models import InputShape, build
    from thalweg.space import HYPERPARAMETERS, Structure

    seen: set[str] = set()

    class Watched(Structure):
        def __getattribute__(self, name: str) -> Any:
            seen.add(name)
            return super().__getattribute__(name)

        def get(self, name: str) -> Any:
            seen.add(name)
            return super().get(name)

    for inputs in _inputs_for(family):
        build(Watched(model=family, depth=2, width=8), InputShape(**inputs), 1).params()
    # Widths are depth and width; every forecaster may be wrapped by an instance_norm.
    seen |= {"depth", "width"} if "widths" in seen else set()
    seen -= {"model", "batch_size", "instance_norm"}
    return [name for name, known in HYPERPARAMETERS.items() if known.structural and name in seen]


def _inputs_for(family: str) -> list[dict[str, Any]]:
    """Return inputs that a family reads."""
    from thalweg.study.recipes import FAMILIES_FOR

    about = dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size"), 8)
    about |= {"max_position_embeddings": 24, "type_vocab_size": 2}
    encoder = json.dumps({**about, "num_hidden_layers": 1, "pooled": True})
    shapes: dict[str, list[dict[str, Any]]] = {
        "table": [{"numeric": 4}],
        "ratings": [{"cardinalities": (5, 5)}],
        "audio": [{"sequence": (24, 16), "masked": True, "band_mean": (0.0,) * 16}],
        "speech": [{"sequence": (24, 16), "masked": True, "band_mean": (0.0,) * 16}],
        "unlabelled_table": [{"numeric": 4}],
        "series": [{"sequence": (24, 1), "num_targets": 1}],
        "sequences": [{"sequence": (24, 1)}],
        "text": [{"tokens": (24, 9), "terms": (24, 9), "masked": True, "pretrained": encoder}],
        "language": [{"tokens": (25, 9), "masked": True, "language": True}],
        "translation": [{"source": (8, 20), "written": (8, 20)}],
    }
    image = [{"image": (32, 32, 3), "image_mean": (127.0,) * 3, "image_std": (64.0,) * 3}]
    kinds = [kind for kind, known in FAMILIES_FOR.items() if family in known]
    return [inputs for kind in kinds for inputs in shapes.get(kind, image)]


def rules() -> str:
    """Return the rule table."""
    coefficients = importlib.import_module("thalweg.optim.coefficients")
    rows = []
    first_with: dict[str, str] = {}
    for rule in coefficients.RULES.values():
        # A function made by another is documented where it is made, for all that are made there.
        owner = rule.coefficients.__qualname__.split(".")[0]
        first = first_with.setdefault(owner, rule.name)
        update = prose(getattr(coefficients, owner)) if first == rule.name else f"as `{first}`"
        own = settings(rule.hyperparameters)
        rows.append([f"`{rule.name}`", update, own, number(rule.learning_rate), rule.source])
    return table(["name", "update", "own hyperparameters", "usual rate", "source"], rows)


def structural_optimizers() -> str:
    """Return the optimizers that are compiled one by one."""
    from thalweg.optim.external import EXTERNAL

    rows = [
        [
            f"`{known.name}`",
            prose(known.make),
            settings(known.hyperparameters),
            number(known.learning_rate),
            known.source,
        ]
        for known in EXTERNAL.values()
    ]
    return table(["name", "what", "own hyperparameters", "usual rate", "source"], rows)


def losses() -> str:
    """Return the losses of each kind of task."""
    from thalweg.optim.losses import LOSSES

    rows = [
        [kind, f"`{name}`", prose(loss.fn), settings(loss.hyperparameters), loss.source]
        for kind, family in LOSSES.items()
        for name, loss in family.items()
    ]
    return table(["task", "name", "of one row", "hyperparameters", "source"], rows)


def metrics() -> str:
    """Return the metrics of each kind of task."""
    from thalweg.optim.metrics import METRICS
    from thalweg.task import METRICS as DIRECTIONS

    better = {"maximize": "more", "minimize": "less"}
    rows = [
        [kind, f"`{name}`", better[DIRECTIONS[kind][name]], prose(metric).removeprefix("Return ")]
        for kind, family in METRICS.items()
        for name, metric in family.items()
    ]
    return table(["task", "name", "better is", "definition"], rows)


def schedules() -> str:
    """Return the schedules."""
    from thalweg.optim.schedules import SCHEDULES

    rows = []
    for known in SCHEDULES.values():
        factor = prose(known.factor)
        if known.stateful:
            factor = "1, times `plateau_factor` whenever the validation loss has stood still"
        own = settings(known.hyperparameters)
        rows.append([f"`{known.name}`", factor, own, known.source])
    return table(["name", "factor on the peak rate", "own hyperparameters", "source"], rows)


def commands() -> str:
    """Return every command with its arguments and options."""
    from typer.main import get_command

    from thalweg.cli import app

    parts = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        rows = []
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                shown, about = parameter.name.upper(), "required"
            else:
                shown = ", ".join([*parameter.opts, *parameter.secondary_opts])
                default = parameter.default
                plain = default is None or default is False or callable(default)
                about = "" if plain or default == [] else number(default)
            rows.append([f"`{shown}`", getattr(parameter, "help", "") or "", about])
        title = f"### thalweg {name}\n\n{prose_text(command.help)}\n\n"
        parts.append(title + table(["option", "what", "default"], rows))
    return "\n\n".join(parts)


def prose_text(text: str | None) -> str:
    """Return help text on one line."""
    return " ".join((text or "").split())


def public_names() -> str:
    """Return every public name with what it is."""
    import thalweg

    rows = []
    for name in thalweg.__all__:
        value = getattr(thalweg, name)
        about = "the version" if isinstance(value, str) else first_line(value)
        rows.append([f"`{name}`", about])
    return table(["name", "what"], rows)


def errors() -> str:
    """Return the exceptions."""
    from thalweg import errors as module

    rows = []
    for name, value in vars(module).items():
        if inspect.isclass(value) and issubclass(value, module.ThalwegError):
            kin = ", ".join(f"`{base.__name__}`" for base in value.__bases__)
            rows.append([f"`{name}`", first_line(value), kin])
    return table(["error", "when", "is also"], rows)


TABLES: dict[str, Callable[[], str]] = {
    made.__name__: made
    for made in (
        structural_hyperparameters,
        traced_hyperparameters,
        owned_hyperparameters,
        default_space,
        image_space,
        series_space,
        ratings_space,
        families,
        rules,
        structural_optimizers,
        losses,
        metrics,
        schedules,
        commands,
        public_names,
        errors,
    )
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
