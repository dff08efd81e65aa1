"""One explanation to make, and how what was found becomes a table or pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg.data import Part
from thalweg.errors import unknown_option
from thalweg.explain.canvas import Canvas, canvas_of
from thalweg.explain.explanation import Explanation, Painter
from thalweg.explain.players import Players, players_of
from thalweg.explain.scores import Asked, asked


@dataclass(eq=False)
class Job:
    """One explanation to make.

    Args:
        model: the model.
        part: the encoded rows.
        values: the user's own columns of them; None where there are none to tell.
        texts: what texts say, one for each row; None for other data.
        background: rows that stand for what is usual [M, …].
        target: class or target to explain.
        columns: inputs to explain; all by default.
        examples: rows to look for neighbours in, with their keys and labels.
        metric: what importance is measured in.
        cells: how finely images and series are divided.
        samples: how much is sampled; each method has its own default.
        seed: of everything that is drawn.
        going_on: told of progress (done, total); where it returns False, the job ends early.
        paint: draws pictures.
        notices: what is worth telling.
    """

    model: Any
    part: Part
    values: Any
    background: Mapping[str, np.ndarray]
    texts: Sequence[str] | None = None
    target: Any = None
    columns: Sequence[str] = ()
    examples: tuple[Part, Any] | None = None
    metric: str | None = None
    cells: int | None = None
    samples: int | None = None
    seed: int = 0
    going_on: Callable[[int, int], bool] = lambda done, total: True
    paint: Painter | None = None
    notices: list[str] = field(default_factory=list)

    @property
    def fields(self) -> Mapping[str, np.ndarray]:
        """The encoded rows."""
        return self.part.fields

    @property
    def canvas(self) -> Canvas | None:
        """What maps are drawn over; None where rows are no pictures."""
        return canvas_of(self.model.encoder, self.fields)

    def players(self) -> Players:
        """Who the prediction is shared out among."""
        return players_of(self.model.encoder, self.fields, self.cells)

    def asked(self) -> tuple[Asked, np.ndarray]:
        """What is explained, and the model's outputs for the rows."""
        outputs = self.model.outputs(self.fields)
        return asked(self.model.task, outputs, self.target), outputs


def players_wanted(job: Job, players: Players) -> list[int]:
    """Return the players to look at."""
    for name in job.columns:
        if name not in players.names:
            raise unknown_option("a column to explain", name, players.names)
    return [i for i, name in enumerate(players.names) if not job.columns or name in job.columns]


def contributions(
    job: Job,
    method: str,
    chosen: Asked,
    players: Players,
    values: np.ndarray,
    base: np.ndarray | None,
    score: np.ndarray,
    about: Mapping[str, Any],
    error: np.ndarray | None = None,
) -> Explanation:
    """Return contributions as a table: one line for each row and player."""
    import polars as pl

    num, count = values.shape
    part = job.part
    columns: dict[str, Any] = {"row": np.repeat(part.rows[:num], count)}
    columns |= {n: np.repeat(np.asarray(v)[:num], count) for n, v in part.keys.items()}
    columns["explained"] = pl.Series([x for x in chosen.labels[:num] for _ in range(count)])
    columns["prediction"] = np.repeat(score[:num], count)
    if base is not None:
        columns["base"] = np.repeat(base[:num], count)
    columns["column" if players.what == "column" else players.what] = list(players.names) * num
    columns |= {n: list(v) * num for n, v in players.about.items()}
    if job.values is not None:
        texts = [job.values[name][:num].to_list() for name in players.names]
        columns["value"] = [
            None if texts[p][i] is None else str(texts[p][i])
            for i in range(num)
            for p in range(count)
        ]
    sums = method not in ("saliency", "smoothgrad")
    columns["contribution" if sums else "sensitivity"] = values.reshape(-1)
    if error is not None:
        columns["error"] = error[:num].reshape(-1)
    wanted = players_wanted(job, players)
    frame = pl.DataFrame(columns)
    if len(wanted) < count:
        frame = frame.filter(pl.Series(np.isin(np.arange(num * count) % count, wanted)))
    return Explanation(method, frame, about_of(job, chosen, num, about), paint=job.paint)


def pictures(
    job: Job,
    canvas: Canvas,
    method: str,
    chosen: Asked,
    values: np.ndarray,
    base: np.ndarray | None,
    score: np.ndarray,
    about: Mapping[str, Any],
    *,
    signed: bool = True,
    whole: bool = False,
) -> Explanation:
    """Return maps over images or spectrograms, with a table of one line for each.

    Args:
        job: what was to be done.
        canvas: what the maps lie over.
        method: how they were made.
        chosen: what is explained.
        values: one number for each pixel or each band of each frame, in the shape of the field.
        base: what contributions are added to; None where they are not.
        score: predictions.
        about: more that is told.
        signed: whether numbers below zero speak against the prediction.
        whole: whether the value of a cell stands on each of its pixels: it counts once.
    """
    import polars as pl

    num = len(values)
    columns: dict[str, Any] = {"row": job.part.rows[:num]}
    columns |= {n: np.asarray(v)[:num] for n, v in job.part.keys.items()}
    columns["explained"] = pl.Series(list(chosen.labels[:num]))
    columns["prediction"] = score[:num]
    if base is not None:
        columns["base"] = base[:num]
        if not whole:
            columns["sum"] = values.reshape(num, -1).sum(1)
    columns |= canvas.peaks(values)
    captions = captions_of(chosen, score[:num])
    told = {**about_of(job, chosen, num, about), "signed": signed}
    images = [canvas.picture(np.asarray(job.fields[canvas.field][i])) for i in range(num)]
    maps = [canvas.upright(values[i]) for i in range(num)]
    return Explanation(
        method, pl.DataFrame(columns), told, np.array(images), np.array(maps), captions, job.paint
    )


def captions_of(chosen: Asked, score: np.ndarray) -> tuple[str, ...]:
    """Return what is predicted for each row, with its number, as people read it."""
    unit, times = ("", 1.0) if chosen.unit == "value" else (" %", 100.0)
    return tuple(
        f"{label}: {times * value:.3g}{unit}"
        for label, value in zip(chosen.labels[: len(score)], score, strict=True)
    )


def about_of(job: Job, chosen: Asked, num: int, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of an explanation beside its numbers."""
    labels = list(dict.fromkeys(map(str, chosen.labels[:num])))
    what = "probability" if chosen.unit == "probability" else "value"
    shown = ", ".join(labels[:3]) + (", …" if len(labels) > 3 else "")
    return {
        "text": f"{what} of {shown} for {num:,} {'row' if num == 1 else 'rows'}",
        "explained": labels,
        "unit": chosen.unit,
        "num_rows": num,
        **about,
        "notices": job.notices,
    }
