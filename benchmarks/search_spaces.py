"""Best validation score against epochs spent: Thalweg's searchers and Optuna's, on real data.

Every contestant searches the same default space of the data set, is judged on the same validation
rows, and may spend the same number of epochs, summed over its trainings. Optuna's samplers drive
the same compiled networks one at a time, which are faster than a loop of PyTorch, its Hyperband
pruner looking at every rung. Printed: the best score at a third, two thirds and all of the spend;
differences from the first contestant, paired by seed, with 95 % intervals; the seconds of a run,
and how many times those of the first contestant (medians, compiling included on both sides).

    python benchmarks/search_spaces.py --data FOLDER --sets digits adult --trainings 30 --seeds 5

`--trainings` is the spend, in full trainings. `mnist` is a CNN on 3,000 of its images, `sst2` a
convolution over 6,000 of its phrases.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SETS: dict[str, dict[str, Any]] = {
    "digits": {},
    "breast_cancer": {},
    "mammography": {"file": "mammography.csv", "target": "class", "metric": "roc_auc"},
    "california": {"file": "california_housing.csv", "target": "median_house_value"},
    "adult": {"file": "adult/train.csv", "target": "income"},
    "credit": {"file": "credit_default.csv", "target": "default_payment_next_month",
               "metric": "roc_auc", "drop": ("id",)},
    "mnist": {"file": "mnist"},
    "sst2": {"file": "sst2/train.csv", "target": "label"},
}  # fmt: skip
PARTS = {"mnist": 3_000, "sst2": 6_000}
"""Training rows of sets of which a part is enough."""
FAMILIES = {"mnist": "cnn", "sst2": "textcnn"}
"""The family that is searched, where it is not what is usual for such data."""
POINTS = (1 / 3, 2 / 3, 1.0)


def load(name: str, folder: Path | None) -> Any:
    """Return a data set."""
    import thalweg as tw

    options = dict(SETS[name])
    if "file" not in options:
        return tw.load(name)
    if folder is None:
        raise SystemExit(f"{name} needs --data FOLDER")
    path = folder / options.pop("file")
    if name == "mnist":
        whole = tw.load(str(path)).train
        rows = np.random.default_rng(0).permutation(len(whole.target))[: PARTS[name]]
        return tw.load((whole.fields["image"][rows], whole.target[rows]), fractions=(0.6, 0.4, 0.0))
    if name == "sst2":
        table = pl.read_csv(path).sample(PARTS[name], seed=0)
        return tw.load(table, fractions=(0.6, 0.4, 0.0), **options)
    return tw.load(str(path), **options)


def best_at(trials: list[tuple[float, float]], spend: float) -> list[float]:
    """Return the best score at each point of the spend.

    Args:
        trials: (epochs spent so far, best score so far), ascending.
        spend: all of it.
    """
    return [
        max((score for spent, score in trials if spent <= point * spend * 1.02), default=math.nan)
        for point in POINTS
    ]


def ours(
    dataset: Any, name: str, search: str, spend: float, epochs: float, seed: int
) -> list[float]:
    """Return the best scores of one of Thalweg's searchers."""
    import thalweg as tw

    brackets = "halving"
    if "+" in search:
        search, brackets = search.split("+")
    study = tw.tune(
        dataset, total_epochs=spend, epochs=epochs, search=search.removesuffix("-all"),
        halving=not search.endswith("-all"), brackets=brackets,
        model=FAMILIES.get(name), finalists=0, baselines=False, seed=seed,
    )  # fmt: skip
    sign = 1.0 if study.summary["direction"] == "maximize" else -1.0
    spent, best, path = 0.0, -math.inf, []
    for record in study.records:
        spent += record["epochs"]
        best = max(best, sign * (record["score"] if record["score"] is not None else -math.inf))
        path.append((spent, best))
    return best_at(path, spend)


def optunas(
    dataset: Any, name: str, sampler: str, spend: float, epochs: float, seed: int
) -> list[float]:
    """Return the best scores of one of Optuna's samplers with its Hyperband pruner."""
    import optuna

    from thalweg.models import InputShape
    from thalweg.search.halving import rungs
    from thalweg.space import Choice, Config, Float, Int, Switch
    from thalweg.study.budget import Budget
    from thalweg.study.engines import Engines
    from thalweg.study.setup import make_folds, prepare, training_data

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    dataset, settings = prepare(
        dataset, None, Budget(epochs=spend), epochs=epochs, seed=seed, model=FAMILIES.get(name)
    )
    space = settings.space

    def suggest(trial: Any) -> Config:
        values: dict[str, Any] = {}
        for name, domain in space.items():
            switched = isinstance(domain, Switch)
            leaf = domain.pick(values) if switched else domain
            if leaf is None:
                continue
            # Each case has a range of its own, so that each is a parameter of its own.
            label = f"{name}_{id(leaf)}" if switched else name
            if isinstance(leaf, Choice):
                index = trial.suggest_categorical(label, range(len(leaf.options)))
                values[name] = leaf.options[index]
            elif isinstance(leaf, Int):
                values[name] = trial.suggest_int(label, leaf.low, leaf.high, log=leaf.log)
            elif isinstance(leaf, Float):
                values[name] = trial.suggest_float(label, leaf.low, leaf.high, log=leaf.log)
        return Config(values)

    folds = make_folds(dataset, 5)
    data = folds[0] if folds else training_data(dataset, dataset.train)
    inputs = InputShape.from_dict(dataset.input_shape)
    sample = space.decode(np.random.default_rng(0).random((500, max(1, len(space.free)))))
    engines = Engines(data, (), dataset.task, inputs, sample)
    levels = rungs(epochs, 3, 3)
    made = {
        "gp": lambda: optuna.samplers.GPSampler(seed=seed),
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True),
    }[sampler]
    spent, best, path = 0.0, -math.inf, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            direction="maximize",
            sampler=made(),
            pruner=optuna.pruners.HyperbandPruner(1, len(levels), 3),
        )
        while spent < spend:
            trial = study.ask()
            [group] = engines.groups([suggest(trial)], [seed], [None], epochs, lambda: False)
            cohort, score, before = group.cohort, -math.inf, 0.0
            pruned = False
            for rung, level in enumerate(levels):
                cohort.advance(cohort.engine.steps(cohort.structure, level) - cohort.step)
                spent += level - before
                before = level
                found = float(cohort.best_score[0])
                if not math.isfinite(found):
                    break
                score = found
                best = max(best, dataset.task.sign * cohort.best_validation(0))
                path.append((spent, best))
                trial.report(score, rung + 1)
                if rung < len(levels) - 1 and trial.should_prune():
                    pruned = True
                    break
            state = optuna.trial.TrialState
            if math.isfinite(score) and not pruned:
                study.tell(trial, score)
            else:
                study.tell(trial, state=state.PRUNED if pruned else state.FAIL)
    return best_at(path, spend)


def main() -> None:
    """Run the contestants and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", nargs="*", default=["digits"], choices=list(SETS))
    parser.add_argument(
        "--contestants", nargs="*", default=["gp", "sobol", "optuna-tpe", "optuna-gp"]
    )
    parser.add_argument("--trainings", type=float, default=30)
    parser.add_argument("--epochs", type=float, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from scipy.stats import t

    rows = []
    for name in options.sets:
        dataset = load(name, options.data)
        spend = options.trainings * options.epochs
        found: dict[str, list[list[float]]] = {who: [] for who in options.contestants}
        for seed in range(options.seeds):
            for who in options.contestants:
                start = time.perf_counter()
                play, kind = (optunas, who[7:]) if who.startswith("optuna-") else (ours, who)
                found[who].append(play(dataset, name, kind, spend, options.epochs, seed))
                took = time.perf_counter() - start
                rows.append({"set": name, "seed": seed, "contestant": who,
                             "scores": found[who][-1], "seconds": took})  # fmt: skip
        first = options.contestants[0]
        took_by = {who: [row["seconds"] for row in rows if row["set"] == name
                         and row["contestant"] == who] for who in found}  # fmt: skip
        for who, scores in found.items():
            table = np.array(scores)
            line = f"{name:14s} {who:14s} " + "  ".join(f"{v:.4f}" for v in np.mean(table, axis=0))
            reference = np.array(found[first])
            times = np.array(took_by[who]) / np.array(took_by[first])
            line += f"  {np.median(took_by[who]):.1f} s, {np.median(times):.1f} times {first}'s"
            if who != first and len(table) > 1:
                gap = table[:, -1] - reference[:, -1]
                half = t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / math.sqrt(len(gap))
                line += f"  minus {first}: {gap.mean():+.4f} ± {half:.4f}"
            print(line, flush=True)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
