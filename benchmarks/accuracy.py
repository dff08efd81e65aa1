"""Test scores of ``fit`` beside linear models, scikit-learn's MLP and boosted trees.

Every contestant gets the same encoded columns and is scored on the same test rows. The others train
on all rows that are not test rows (they choose nothing); Thalweg splits those into training and
validation rows and chooses by itself. scikit-learn's MLP has its default settings on scaled inputs;
for regression its targets are scaled too, without which it hardly learns.

    python benchmarks/accuracy.py --data FOLDER --budget 60s --seeds 5 --out accuracy.json

Sets of the folder that are missing are left out and named. Scikit-learn's own sets need no folder.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

SETS: dict[str, dict[str, Any]] = {
    "breast_cancer": {},
    "digits": {},
    "wine": {},
    "diabetes": {},
    "adult": {"file": "adult/train.csv", "test": "adult/test.csv", "target": "income"},
    "california_housing": {"file": "california_housing.csv", "target": "median_house_value"},
    "credit_default": {
        "file": "credit_default.csv",
        "target": "default_payment_next_month",
        "drop": ("id",),
        "metric": "roc_auc",
    },
    "german_credit": {"file": "german_credit.csv", "target": "credit_risk"},
    "mammography": {"file": "mammography.csv", "target": "class", "metric": "roc_auc"},
    "titanic": {
        "file": "titanic.csv",
        "target": "Survived",
        "drop": ("PassengerId", "Name", "Ticket", "Cabin"),
    },
}


def load(name: str, folder: Path | None, seed: int, metric: str | None = None) -> Any:
    """Return the data set, or None where its file is missing."""
    import thalweg as tw

    spec = SETS[name]
    wanted = {"metric": metric} if metric else {}
    if "file" not in spec:
        return tw.load(name, seed=seed, **wanted)
    if folder is None or not (folder / spec["file"]).exists():
        return None
    options = {**{key: spec[key] for key in ("drop", "metric") if key in spec}, **wanted}
    if "test" in spec:
        options["test"] = str(folder / spec["test"])
    return tw.load(str(folder / spec["file"]), target=spec["target"], seed=seed, **options)


def others(dataset: Any) -> dict[str, dict[str, float]]:
    """Return the test scores of scikit-learn's models."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    from thalweg.data import concatenate
    from thalweg.optim.metrics import score
    from thalweg.study.baselines import BASELINES, _all_classes, _one_hot

    task = dataset.task
    rows = concatenate([dataset.train, dataset.validation])
    raw, test_raw = dataset.raw_target(rows), dataset.raw_target(dataset.test)
    found = {}
    for name in ("linear", "boosted_trees"):
        outputs = BASELINES[name](task, rows.fields, raw)
        found[name] = score(task, outputs(dataset.test.fields), test_raw)
    x, x_test = _one_hot(rows.fields, rows.fields), _one_hot(dataset.test.fields, rows.fields)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if task.kind == "regression":
            mlp = MLPRegressor(random_state=dataset.seed).fit(x, rows.target[:, 0])
            predicted = dataset.encoder.target.inverse(mlp.predict(x_test)[:, None])
        else:
            mlp = MLPClassifier(random_state=dataset.seed).fit(x, raw)
            predicted = _all_classes(task, mlp.classes_, mlp.predict_proba(x_test))
    found["sklearn_mlp"] = score(task, predicted, test_raw)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the CSV sets")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--metric", help="what is chosen by and scored, instead of each set's own")
    parser.add_argument("--out", type=Path, help="JSON file for every score")
    arguments = parser.parse_args()

    import thalweg as tw
    from thalweg.study.summary import versions

    results: list[dict[str, Any]] = []
    for name in arguments.sets:
        for seed in range(arguments.seeds):
            dataset = load(name, arguments.data, seed, arguments.metric)
            if dataset is None:
                print(f"{name}: its file is not in {arguments.data}; left out")
                break
            peers = others(dataset)
            start = time.perf_counter()
            study = tw.tune(dataset, budget=arguments.budget, seed=seed, baselines=False)
            seconds = time.perf_counter() - start
            metric = dataset.task.metric
            row = {
                "set": name,
                "seed": seed,
                "metric": metric,
                "direction": dataset.task.direction,
                "thalweg": study.summary["test"][metric],
                **{peer: scores[metric] for peer, scores in peers.items()},
                "validation": study.summary["validation"][metric],
                "seconds": round(seconds, 1),
                "trials": sum(study.summary["trials"].values()),
                "best": study.summary["best_config"],
                "stopped": study.summary["plan"]["stopped"],
            }
            results.append(row)
            print(
                f"{name} {seed}: {metric} thalweg {row['thalweg']:.5g}, mlp "
                f"{row['sklearn_mlp']:.5g}, linear {row['linear']:.5g}, trees "
                f"{row['boosted_trees']:.5g}; {row['seconds']} s, {row['trials']} trials",
                flush=True,
            )
            if arguments.out:
                record = {"versions": versions(), "budget": arguments.budget, "results": results}
                arguments.out.write_text(json.dumps(record, indent=1))
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """Return the mean and spread over split seeds as a Markdown table."""
    columns = ("thalweg", "sklearn_mlp", "linear", "boosted_trees")
    lines = [
        "| set | metric | Thalweg | scikit-learn MLP | linear | boosted trees | against the MLP |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(row["set"] for row in results):
        rows = [row for row in results if row["set"] == name]
        values = {c: np.array([row[c] for row in rows]) for c in columns}
        sign = 1 if rows[0]["direction"] == "maximize" else -1
        ahead = sign * (values["thalweg"] - values["sklearn_mlp"])
        spread = ahead.std(ddof=1) if len(ahead) > 1 else 0.0
        mean = ahead.mean()
        verdict = (
            "better" if mean > 0 else "worse within the spread" if -mean <= spread else "worse"
        )
        cells = [f"{v.mean():.5g} ± {v.std():.2g}" for v in values.values()]
        lines.append(f"| {name} | {rows[0]['metric']} | {' | '.join(cells)} | {verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
