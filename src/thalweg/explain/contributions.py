"""What each input of a row does for its prediction, or how much the prediction hangs on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from thalweg.explain.explanation import Explanation
from thalweg.explain.job import Job, contributions, pictures
from thalweg.explain.players import Players
from thalweg.explain.scores import LOGIT, Asked, select


def by_shapley(job: Job) -> Explanation:
    """What each input adds to the prediction, averaged over orders of adding."""
    from thalweg.explain.shapley import shapley

    chosen, _ = job.asked()
    players, model, rows = job.players(), job.model, job.fields
    background = job.background
    num = len(next(iter(background.values())))

    def value(index: np.ndarray, present: np.ndarray, others: np.ndarray) -> np.ndarray:
        mixed = players.mixed(present, select(rows, index), select(background, others))
        return chosen.of(model.outputs(mixed), index)

    found = shapley(
        value,
        len(job.part),
        len(players),
        num,
        num_walks=job.samples,
        seed=job.seed,
        going_on=lambda done: job.going_on(done, len(job.part)),
    )
    about = {
        "base": f"the mean prediction of {num} background rows",
        "exact": found.exact,
        "largest_error": float(found.error.max(initial=0.0)),
    }
    if (canvas := job.canvas) is not None:
        maps = canvas.spread(found.values, players.owner[canvas.field])
        return pictures(
            job, canvas, "shapley", chosen, maps, found.base, found.score, about, whole=True
        )
    return contributions(
        job, "shapley", chosen, players, found.values, found.base, found.score, about,
        None if found.exact else found.error,
    )  # fmt: skip


def by_integrated_gradients(job: Job) -> Explanation:
    """What each input adds on a straight way from a baseline of means."""
    from thalweg.explain.gradients import integrated_gradients

    if job.model.calibrated:
        # Gradients are of the networks; a temperature changes how sure they are, not why.
        job = replace(job, model=replace(job.model, calibrated=False))
        job.notices.append("probabilities are explained as they were before calibration")
    chosen, _ = job.asked()
    path = integrated_gradients(job.model, job.fields, chosen, job.background)
    job.going_on(len(job.part), len(job.part))
    gap = float(np.abs(path.gap).max(initial=0.0))
    about = {
        "base": "the prediction of a baseline of mean inputs",
        "largest_gap": gap,
        "steps": path.steps,
    }
    if (canvas := job.canvas) is not None:
        maps = canvas.summed(path.entries[canvas.field])
        return pictures(
            job, canvas, "integrated_gradients", chosen, maps, path.base, path.score, about
        )
    players = job.players()
    entries = {name: values for name, values in path.entries.items() if name in players.owner}
    return contributions(
        job, "integrated_gradients", chosen, players, players.totals(entries), path.base,
        path.score, about,
    )  # fmt: skip


def by_occlusion(job: Job) -> Explanation:
    """How the prediction falls when a part of the input is covered."""
    from thalweg.explain.occlusion import image_windows, occlusion

    chosen, outputs = job.asked()
    own, total = chosen.of(outputs), len(job.part)
    cover = {
        name: np.asarray(values, np.float64).mean(0, keepdims=True).astype(values.dtype)
        for name, values in job.background.items()
    }
    canvas = job.canvas
    players = None if canvas is not None else job.players()
    if canvas is not None:
        shape = canvas.windows(job.fields[canvas.field].shape[1:])
        side = None if job.cells is None else max(1, round(max(shape[:2]) / job.cells))
        masks = [{canvas.field: canvas.covered(mask)} for mask in image_windows(shape, side)]
    else:
        assert players is not None
        masks = [
            {name: owner == player for name, owner in players.owner.items()}
            for player in range(len(players))
        ]
    found = []
    for row in range(total):
        if not job.going_on(row, total):
            break

        def score(fields: Mapping[str, np.ndarray], row: int = row) -> np.ndarray:
            num = len(next(iter(fields.values())))
            return chosen.of(job.model.outputs(fields), np.full(num, row))

        found.append(occlusion(score, select(job.fields, slice(row, row + 1)), cover, masks))
    falls = {name: np.array([one[name] for one in found]) for name in found[0]}
    about = {"base": "inputs covered by their mean"}
    if canvas is not None:
        # A window covers all channels of its pixels: each has its fall.
        maps = canvas.largest(falls[canvas.field])
        return pictures(job, canvas, "occlusion", chosen, maps, None, own, about)
    assert players is not None
    counts = players.totals({n: np.ones((1, *o.shape)) for n, o in players.owner.items()})
    values = players.totals(falls) / np.maximum(counts, 1)
    return contributions(job, "occlusion", chosen, players, values, None, own, about)


def by_saliency(job: Job) -> Explanation:
    """How sensitive the prediction is to each input."""
    from thalweg.explain.gradients import gradients

    chosen, outputs = job.asked()
    link = LOGIT if chosen.unit == "probability" else "prediction"
    return _sensitivity(
        job, "saliency", chosen, outputs, gradients(job.model, job.fields, chosen, link=link)
    )


def by_smoothgrad(job: Job) -> Explanation:
    """The same, averaged over noisy copies of the input."""
    from thalweg.explain.gradients import DRAWS, smooth_gradients

    chosen, outputs = job.asked()
    link = LOGIT if chosen.unit == "probability" else "prediction"
    draws = job.samples or DRAWS
    found = smooth_gradients(
        job.model, job.fields, chosen, link=link, draws=draws, seed=job.seed
    )  # fmt: skip
    return _sensitivity(job, "smoothgrad", chosen, outputs, found)


def _sensitivity(
    job: Job, method: str, chosen: Asked, outputs: np.ndarray, slopes: Mapping[str, np.ndarray]
) -> Explanation:
    job.going_on(len(job.part), len(job.part))
    sizes = {name: np.abs(values) for name, values in slopes.items()}
    of = "the logit" if chosen.unit == "probability" else "the prediction"
    about = {"base": f"how fast {of} changes with each input"}
    score = chosen.of(outputs)
    if (canvas := job.canvas) is not None:
        # The channel that matters most stands for its pixel, as in the paper.
        maps = canvas.largest(sizes[canvas.field])
        return pictures(job, canvas, method, chosen, maps, None, score, about, signed=False)
    players = job.players()
    entries = {name: values for name, values in sizes.items() if name in players.owner}
    totals = players.totals(entries)
    return contributions(job, method, chosen, players, totals, None, score, about)


def by_factors(job: Job) -> Explanation:
    """Take a rating apart by forgetting who it is, what it is, and what is known of both."""
    chosen, _ = job.asked()
    users, items = job.model.encoder.columns["user"], job.model.encoder.columns["item"]
    known = {name: np.array(values) for name, values in job.fields.items()}

    def score(user: bool, item: bool, side: bool = True) -> np.ndarray:
        fields = {name: np.array(values) for name, values in known.items()}
        if not user:
            fields["category"][:, 0] = 0
        if not item:
            fields["category"][:, 1] = 0
        if not side:
            fields["numeric"][:] = 0.0
            fields["category"][:, 2:] = 0
        return chosen.of(job.model.outputs(fields))

    nobody, both = score(False, False), score(True, True)
    user, item = score(True, False), score(False, True)
    base = score(False, False, False)
    parts = {users: user - nobody, items: item - nobody, "match": both - user - item + nobody}
    if known["numeric"].shape[1] or known["category"].shape[1] > 2:
        parts = {"side information": nobody - base, **parts}
    players = Players("column", tuple(parts), {})
    job.going_on(len(job.part), len(job.part))
    return contributions(
        replace(job, values=None), "factors", chosen, players, np.stack(list(parts.values()), 1),
        base, both, {"base": "the prediction for an unknown user and an unknown item"},
    )  # fmt: skip
