"""The design of a comparison: which arms, which nuisance parameters are tuned, what stays fixed.

The words are those of the Deep Learning Tuning Playbook (Godbole, Dahl, Gilmer, Shallue and Nado,
2023): *scientific* hyperparameters are what the question is about, *nuisance* ones are tuned anew
for each arm so that the comparison is fair, and *fixed* ones are the same everywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg.data import Dataset
from thalweg.errors import OptionError, did_you_mean, unknown_option
from thalweg.optim.external import EXTERNAL
from thalweg.optim.losses import LOSSES
from thalweg.optim.rules import RULES
from thalweg.optim.schedules import SCHEDULES
from thalweg.space import (
    HYPERPARAMETERS,
    Choice,
    Config,
    Domain,
    Float,
    Int,
    Space,
    Switch,
    leaves,
)
from thalweg.study.recipes import FAMILIES_FOR
from thalweg.study.spaces import LEARNING_RATES
from thalweg.training.member import AUGMENTATIONS

MOST_ARMS = 24
NUISANCE = ("learning_rate", "weight_decay", "dropout", "l2")
"""What is tuned anew for each arm where the user does not say: what most choices interact with."""

RATE_DECADES = 1.25
"""How far the range of a rate reaches to either side of a rule's usual one, in decades."""


@dataclass(frozen=True)
class Level:
    """One setting of a factor.

    Args:
        name: as it is called in tables.
        values: hyperparameters that it fixes.
        domains: hyperparameters that it brings, tuned within this arm.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    domains: Mapping[str, Domain] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """One combination of levels, with the Space of its nuisance parameters."""

    name: str
    levels: tuple[str, ...]
    space: Space


@dataclass(frozen=True)
class Design:
    """A comparison, before anything is trained.

    Args:
        factors: names of what is compared.
        levels: names of each factor's levels.
        arms: one for each combination.
        nuisance: what is tuned for each arm: name -> domain, as in a TOML file.
        fixed: what is the same everywhere.
    """

    factors: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    arms: tuple[Arm, ...]
    nuisance: dict[str, Any]
    fixed: dict[str, Any]

    def points(self, num: int, seed: int) -> list[list[Config]]:
        """Return ``num`` Configs of every arm, [arms][num].

        The points are a scrambled Sobol sequence over the nuisance parameters. All arms get the
        same points: where they share a parameter they share its values, and where each has a range
        of its own (a learning rate's) they stand at the same place in it. A shorter sequence is
        the beginning of a longer one.
        """
        from scipy.stats import qmc

        names = list(dict.fromkeys(name for arm in self.arms for name in arm.space.free))
        if not names:
            return [arm.space.decode(np.zeros((1, 1))) for arm in self.arms]
        sampler = qmc.Sobol(d=len(names), scramble=True, rng=seed)
        units = sampler.random(2 ** int(np.ceil(np.log2(max(num, 1)))))[:num]
        columns = {name: place for place, name in enumerate(names)}
        return [
            arm.space.decode(units[:, [columns[name] for name in arm.space.free]])
            if arm.space.free
            else arm.space.decode(np.zeros((1, 1))) * num
            for arm in self.arms
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the design as JSON-able values."""
        return {
            "over": list(self.factors),
            "levels": {name: list(levels) for name, levels in self.levels.items()},
            "nuisance": self.nuisance,
            "fixed": self.fixed,
        }


# ------------------------------------------------------------------------------------- the factors

_REGULARISERS: dict[str, tuple[str, Domain]] = {
    "l1": ("l1", Float(1e-6, 1e-2, log=True)),
    "l2": ("l2", Float(1e-5, 1e-1, log=True)),
    "weight decay": ("weight_decay", Float(1e-4, 1.0, log=True)),
    "dropout": ("dropout", Float(0.05, 0.6)),
    "input noise": ("input_noise", Float(0.02, 0.5, log=True)),
    "mixup": ("mixup", Float(0.05, 0.8)),
    "label smoothing": ("label_smoothing", Float(0.01, 0.2)),
}
_AUGMENTATION: dict[str, dict[str, Domain]] = {
    "flip": {"flip": Choice([0.5])},
    "shift": {"shift": Float(0.03, 0.2)},
    "rotation": {"rotation": Float(3.0, 25.0)},
    "zoom": {"zoom": Float(0.03, 0.25)},
    "cutout": {"cutout": Float(0.1, 0.5)},
    "shift, rotation and zoom": {
        "shift": Float(0.03, 0.2),
        "rotation": Float(3.0, 25.0),
        "zoom": Float(0.03, 0.25),
    },
}


def _regularisation(dataset: Dataset) -> list[Level]:
    without = {name: 0.0 for name, _ in _REGULARISERS.values()}
    if dataset.task.kind in ("regression", "segmentation", "detection", "embedding"):
        without.pop("label_smoothing")
    levels = [Level("none", without)]
    for name, (parameter, domain) in _REGULARISERS.items():
        if parameter in without:
            rest = {key: value for key, value in without.items() if key != parameter}
            levels.append(Level(name, rest, {parameter: domain}))
    return levels


def _augmentation(dataset: Dataset) -> list[Level]:
    if "image" not in dataset.train.fields:
        raise OptionError("augmentation is compared on images; these data have none")
    without: dict[str, float] = dict.fromkeys(AUGMENTATIONS, 0.0)
    levels = [Level("none", without)]
    for name, domains in _AUGMENTATION.items():
        rest = {key: value for key, value in without.items() if key not in domains}
        levels.append(Level(name, rest, domains))
    return levels


def _clipping(dataset: Dataset) -> list[Level]:
    del dataset
    return [Level("no clipping"), Level("clipping", {}, {"clip_norm": Float(0.1, 10.0, log=True)})]


COMPOSED = {
    "regularisation": _regularisation,
    "augmentation": _augmentation,
    "clipping": _clipping,
}
"""Factors that are no single hyperparameter: each level brings parameters of its own."""

LEVELS: dict[str, tuple[Any, ...]] = {
    "optimizer": ("sgd", "nesterov", "adagrad", "rmsprop", "adamw", "nadamw", "lion"),
    "schedule": ("constant", "cosine", "linear", "one_cycle", "inverse_sqrt"),
    "activation": ("relu", "tanh", "gelu", "silu", "elu"),
    "normalisation": ("none", "batch", "layer"),
    "init": ("he_normal", "glorot_normal", "lecun_normal", "orthogonal"),
    "batch_size": (16, 32, 64, 128, 256),
    "depth": (1, 2, 3, 4),
    "width": (16, 64, 256),
    "warmup": (0.0, 0.05, 0.2),
    "dropout": (0.0, 0.1, 0.3, 0.5),
    "weight_decay": (0.0, 1e-3, 1e-2, 1e-1),
    "l1": (0.0, 1e-5, 1e-4, 1e-3),
    "l2": (0.0, 1e-4, 1e-3, 1e-2),
    "label_smoothing": (0.0, 0.05, 0.1),
    "mixup": (0.0, 0.2, 0.4),
    "input_noise": (0.0, 0.1, 0.3),
    "ema": (0.0, 0.9, 0.99),
    "momentum": (0.0, 0.5, 0.9, 0.99),
    "init_scale": (0.3, 1.0, 3.0),
    "class_weight": (0.0, 0.5, 1.0),
}
"""Levels that are compared where neither the user nor the space names any."""

_DEFAULT_LOSSES = {
    "regression": ("mse", "huber", "mae", "log_cosh"),
    "binary": ("cross_entropy", "focal", "hinge", "mse"),
    "multiclass": ("cross_entropy", "focal", "hinge", "mse"),
}


def check_over(over: str | Sequence[str]) -> tuple[str, ...]:
    """Return the factors' names, one or two.

    Raises:
        OptionError: where one of them is no hyperparameter, or there are none or three.
    """
    names = [n.strip() for n in over.split(",")] if isinstance(over, str) else list(over)
    names = [str(name) for name in names if str(name)]
    known = [*HYPERPARAMETERS, *COMPOSED]
    for name in names:
        if name not in known:
            raise OptionError(
                f"{name!r} cannot be compared{did_you_mean(name, known)}: give a hyperparameter, "
                f"such as optimizer or schedule, or {', '.join(COMPOSED)}"
            )
    if not 1 <= len(names) <= 2 or len(set(names)) < len(names):
        raise OptionError(
            f"a comparison is over one hyperparameter or a pair; got {', '.join(names) or 'none'}"
        )
    return tuple(names)


def make_design(
    dataset: Dataset,
    over: Sequence[str],
    space: Space,
    *,
    first: Sequence[Config] = (),
    levels: Mapping[str, Sequence[Any]] | None = None,
    nuisance: Sequence[str] | None = None,
    own_space: bool = False,
) -> Design:
    """Lay out a comparison.

    Args:
        dataset: what is trained on.
        over: one or two factors.
        space: the hyperparameters with their domains.
        first: what an expert would try first: what is fixed takes its values from there.
        levels: names or values of each factor's levels; by default those of the space, or usual
            ones.
        nuisance: names of what is tuned for each arm; by default ``NUISANCE``, as far as the space
            has them.
        own_space: whether the space is the user's own: then all that it leaves free is a nuisance
            parameter.

    Raises:
        OptionError, SpaceError: where a level makes no sense, or there are too few or too many.
    """
    given = dict(levels or {})
    for name in given:
        if name not in over:
            raise OptionError(f"levels names {name!r}, which is not compared: over is {over!r}")
    made = [_levels(dataset, name, space, given.get(name)) for name in over]
    for name, found in zip(over, made, strict=True):
        if len(found) < 2:
            raise OptionError(
                f"a comparison needs two levels or more of {name}; got "
                f"{', '.join(level.name for level in found) or 'none'}: give them with levels"
            )
    combinations = list(itertools.product(*made))
    if len(combinations) > MOST_ARMS:
        raise OptionError(
            f"{' x '.join(str(len(found)) for found in made)} levels are {len(combinations)} arms, "
            f"more than {MOST_ARMS}: name fewer with levels"
        )
    scientific = {key for combo in combinations for level in combo for key in level.values}
    brought = {key for combo in combinations for level in combo for key in level.domains}
    free = set(space.free) - scientific
    if nuisance is None:
        wanted = free if own_space else free & set(NUISANCE)
    else:
        wanted = set(nuisance)
        for name in sorted(wanted - free):
            known = sorted(free)
            raise OptionError(
                f"nuisance names {name!r}, which the space does not leave free"
                f"{did_you_mean(name, known)}: choose from {', '.join(known) or 'nothing'}"
            )
    expert = first[0] if first else None
    arms = [
        Arm(
            " · ".join(level.name for level in combo),
            tuple(level.name for level in combo),
            _arm_space(space, combo, wanted, expert),
        )
        for combo in combinations
    ]
    tuned: dict[str, Any] = {}
    for arm in arms:
        for name in arm.space.free:
            tuned.setdefault(name, _described(arm.space, name))
    fixed = {
        name: domain.options[0]
        for name, domain in arms[0].space.items()
        if isinstance(domain, Choice)
        and len(domain.options) == 1
        and name not in scientific | brought
        and all(arm.space.get(name) == domain for arm in arms)
    }
    return Design(
        tuple(over),
        {n: tuple(level.name for level in found) for n, found in zip(over, made, strict=True)},
        tuple(arms),
        tuned,
        fixed,
    )


def _described(space: Space, name: str) -> Any:
    domain = space[name]
    if isinstance(domain, Switch):
        # What it depends on is fixed within an arm: one of its cases is left.
        picked = domain.pick({key: _only(space[key]) for key in space if key != name})
        return (picked or domain).to_dict()
    return domain.to_dict()


def _only(domain: Domain) -> Any:
    return domain.options[0] if isinstance(domain, Choice) else None


def _levels(dataset: Dataset, name: str, space: Space, given: Sequence[Any] | None) -> list[Level]:
    if name in COMPOSED:
        all_levels = COMPOSED[name](dataset)
        if given is None:
            return all_levels
        by_name = {level.name: level for level in all_levels}
        for wanted in given:
            if wanted not in by_name:
                raise unknown_option(f"level of {name}", str(wanted), by_name)
        return [by_name[wanted] for wanted in dict.fromkeys(given)]
    if name in (*AUGMENTATIONS, "cutmix") and "image" not in dataset.train.fields:
        raise OptionError(f"{name} acts on images; these data have none")
    values = list(given) if given is not None else _usual(dataset, name, space)
    return [
        Level(_text(value), {name: _checked(dataset, name, value)})
        for value in dict.fromkeys(map(_hashable, values))
    ]


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def _usual(dataset: Dataset, name: str, space: Space) -> list[Any]:
    """Return the levels of a factor where the user names none."""
    if name == "loss":
        return list(_DEFAULT_LOSSES.get(dataset.task.kind, LOSSES[dataset.task.kind]))
    if name == "model":
        return list(FAMILIES_FOR[dataset.modality])
    if name in LEVELS:
        # A batch of nearly all rows is no mini-batch any more.
        most = max(16, len(dataset.train) // 4)
        return [v for v in LEVELS[name] if name != "batch_size" or v <= most]
    domain = space.get(name)
    for leaf in leaves(domain) if domain is not None else ():
        if isinstance(leaf, Choice) and len(leaf.options) > 1:
            return list(leaf.options)
        if isinstance(leaf, Float | Int) and leaf.low < leaf.high:
            return list(leaf.grid(4))
    raise OptionError(f"say which levels of {name} to compare, with levels={{{name!r}: [...]}}")


def _checked(dataset: Dataset, name: str, value: Any) -> Any:
    families: dict[str, Sequence[str]] = {
        "optimizer": [*RULES, *EXTERNAL],
        "schedule": list(SCHEDULES),
        "model": FAMILIES_FOR[dataset.modality],
    }
    if name in families and value not in families[name]:
        raise unknown_option(name, str(value), families[name])
    if name == "loss":
        dataset.task.with_choice(loss=value)
    return Config({name: value})[name]


def _arm_space(
    space: Space, combo: Sequence[Level], nuisance: set[str], expert: Config | None
) -> Space:
    """Return the Space of an arm: its levels fixed, nuisance parameters free, the rest fixed."""
    values = {key: value for level in combo for key, value in level.values.items()}
    brought = {key: domain for level in combo for key, domain in level.domains.items()}
    if expert is not None and "model" in values and expert.get("model") != values["model"]:
        expert = None
    domains: dict[str, Any] = {**values, **brought}
    decided: dict[str, Any] = dict(values)
    for name, domain in space.items():
        if name in domains:
            continue
        leaf = domain.pick(decided) if isinstance(domain, Switch) else domain
        if leaf is None:
            continue
        if name in nuisance:
            domains[name] = leaf
        else:
            domains[name] = decided[name] = _fixed_value(name, leaf, expert)
    optimizer = decided.get("optimizer")
    if "learning_rate" in nuisance and "learning_rate" not in values:
        domains["learning_rate"] = _rate_range(space, str(optimizer))
    ordered = {key: domain for key, domain in domains.items() if key not in brought}
    return Space({**ordered, **brought})


def _fixed_value(name: str, leaf: Float | Int | Choice, expert: Config | None) -> Any:
    """Return an expert's value where there is one, else the default, else the middle."""
    known = HYPERPARAMETERS[name]
    usual = None if known.structural else known.default
    for value in ((expert or {}).get(name), usual):
        if value is not None and leaf.contains(value):
            return value
    return leaf.decode(0.5)


def _rate_range(space: Space, optimizer: str) -> Domain:
    """Return an optimizer's range of rates: the space's where it names it, else around the usual.

    Two and a half decades for every rule: none is favoured by a range that happens to be good.
    """
    domain = space["learning_rate"]
    if not isinstance(domain, Switch):
        return domain
    tried = [v for leaf in leaves(space["optimizer"]) for v in getattr(leaf, "options", ())]
    if domain.on == "optimizer" and (optimizer in domain.cases or optimizer in tried):
        picked = domain.pick({"optimizer": optimizer})
        if picked is not None:
            return picked
    if optimizer in LEARNING_RATES:
        return LEARNING_RATES[optimizer]
    known: Any = RULES.get(optimizer) or EXTERNAL[optimizer]
    reach = 10.0**RATE_DECADES
    return Float(known.learning_rate / reach, min(known.learning_rate * reach, 1e6), log=True)
