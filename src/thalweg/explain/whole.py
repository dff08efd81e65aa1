"""What a model goes by on many rows, and the examples that rows resemble."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from thalweg.errors import DataError, OptionError
from thalweg.explain.explanation import Explanation
from thalweg.explain.job import Job, players_wanted
from thalweg.explain.scores import asked, select


def by_permutation(job: Job) -> Explanation:
    """How much worse the model gets when a column is shuffled."""
    import polars as pl

    from thalweg.explain.permutation import permutation_importance
    from thalweg.optim.metrics import score

    model, task = job.model, job.model.task
    metric = job.metric or task.metric
    target = np.asarray(job.part.target)
    if task.kind == "regression":
        target = model.encoder.target.inverse(target.astype(np.float64))

    def measure(outputs: np.ndarray, truth: np.ndarray) -> float:
        found = score(
            task, outputs, truth, [metric], scale=model.encoder.metric_scale,
            threshold=model.threshold,
        )  # fmt: skip
        return float(found.get(metric, math.nan))

    players = job.players()
    wanted = players_wanted(job, players)

    def shuffled(place: int, order: np.ndarray) -> np.ndarray:
        others = select(job.fields, order)
        return model.outputs(players.exchanged(wanted[place], job.fields, others))

    found = permutation_importance(
        model.outputs(job.fields),
        shuffled,
        measure,
        target,
        len(wanted),
        sign=task.with_choice(metric=metric).sign,
        repeats=job.samples or 5,
        seed=job.seed,
        going_on=lambda done: job.going_on(done, len(wanted)),
    )
    if not math.isfinite(found.score):
        raise DataError(
            f"the metric {metric} is not defined on these rows, such as where they have one class "
            "only: give other rows, or another metric"
        )
    order = np.argsort(-np.nan_to_num(found.importance, nan=-np.inf), kind="stable")
    frame = pl.DataFrame(
        {
            "column": [players.names[wanted[i]] for i in order],
            "importance": found.importance[order],
            "low": found.low[order],
            "high": found.high[order],
        },
        nan_to_null=True,
    )
    about = {
        "metric": metric,
        "score": found.score,
        "num_rows": len(target),
        "text": f"loss of {metric} on {len(target):,} rows when a column is shuffled",
        "notices": job.notices,
    }
    return Explanation("permutation", frame, about, paint=job.paint)


def by_dependence(job: Job) -> Explanation:
    """The mean prediction over the values of a column."""
    import polars as pl

    from thalweg.explain.dependence import NUM_VALUES, grid_rows, partial_dependence

    model = job.model
    outputs = model.outputs(job.fields)
    target = job.target
    if target is None and model.task.kind == "multiclass":
        # One curve is of one class: the one that is most often predicted.
        target = model.task.classes[int(np.bincount(outputs.argmax(1)).argmax())]
    chosen = asked(model.task, outputs, target)
    players = job.players()
    wanted = players_wanted(job, players)
    lines = []
    for done, player in enumerate(wanted):
        if not job.going_on(done, len(wanted)):
            break
        values = job.values[players.names[player]].to_list()

        def exchanged(row: int, player: int = player) -> np.ndarray:
            others = {
                name: np.broadcast_to(array[row : row + 1], array.shape)
                for name, array in job.fields.items()
            }
            return chosen.of(model.outputs(players.exchanged(player, job.fields, others)))

        rows = grid_rows(values, job.samples or NUM_VALUES)
        if not len(rows):
            continue
        found = partial_dependence(exchanged, rows, values)
        for value, mean, low, high in zip(
            found.values, found.mean, found.low, found.high, strict=True
        ):
            lines.append((players.names[player], str(value), mean, low, high))
    frame = pl.DataFrame(
        lines, schema=["column", "value", "mean", "p10", "p90"], orient="row"
    )  # fmt: skip
    label = chosen.labels[0] if chosen.labels else ""
    about = {
        "explained": label,
        "unit": chosen.unit,
        "num_rows": len(job.part),
        "text": f"mean prediction of {label} over the values of each column",
        "notices": job.notices,
    }
    return Explanation("dependence", frame, about, paint=job.paint)


def by_neighbours(job: Job) -> Explanation:
    """The examples that the network takes for the most alike."""
    import polars as pl

    from thalweg.explain.neighbours import nearest

    if job.examples is None:
        raise OptionError(
            "neighbours are looked for among examples: give the training rows as well "
            "(examples=…, --examples FILE)"
        )
    examples, labels = job.examples
    found = nearest(job.model, job.fields, examples.fields, job.samples or 5)
    num, count = found.index.shape
    flat = found.index.reshape(-1)
    columns: dict[str, Any] = {"row": np.repeat(job.part.rows, count)}
    columns |= {n: np.repeat(np.asarray(v), count) for n, v in job.part.keys.items()}
    columns["rank"] = np.tile(np.arange(1, count + 1), num)
    columns["example"] = examples.rows[flat]
    columns |= {f"example_{n}": np.asarray(v)[flat] for n, v in examples.keys.items()}
    columns["similarity"] = found.similarity.reshape(-1)
    if labels is not None:
        columns["target"] = pl.Series(np.asarray(labels)[flat].tolist(), strict=False)
    space = "the network's last hidden layer" if found.layer else "the network's inputs"
    about = {
        "text": f"the {count} nearest of {len(examples):,} examples in {space}",
        "num_rows": num,
        "notices": job.notices,
    }
    job.going_on(num, num)
    return Explanation("neighbours", pl.DataFrame(columns), about, paint=job.paint)
