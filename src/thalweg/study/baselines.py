"""What a network has to beat: a constant, a linear model and boosted trees, by scikit-learn."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.errors import RunError
from thalweg.task import Task
from thalweg.training.checkpoint import read_arrays, write_arrays

LONGEST_WAIT_SECONDS = 60.0
Outputs = Callable[[Mapping[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline: predictions from encoded fields, in the form that ``score`` wants.

    Args:
        name: what it is called.
        outputs: predicts; None where an earlier process fitted it, of which only ``said`` is left.
        seconds: what fitting it took.
        said: its predictions for the rows it is judged on, by part of the data.
    """

    name: str
    outputs: Outputs | None
    seconds: float
    said: Mapping[str, np.ndarray] = field(default_factory=dict)


def _constant(task: Task, fields: Any, target: np.ndarray) -> Outputs:
    """The mean target, or the share of each class."""
    if task.kind == "regression":
        value = target.mean(0)
    else:
        value = np.bincount(target, minlength=len(task.classes)) / len(target)
    return lambda fields: np.tile(value, (_num_rows(fields), 1))


def _linear(task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Outputs:
    """Ridge or logistic regression with scikit-learn's default strength."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if task.kind == "regression":
        with warnings.catch_warnings():
            # Columns that repeat each other are common, and no trouble for predictions.
            warnings.simplefilter("ignore")
            ridge = Ridge().fit(_one_hot(fields, fields), target)
        return lambda new: ridge.predict(_one_hot(new, fields)).reshape(_num_rows(new), -1)
    with warnings.catch_warnings():
        # A few hundred iterations are close enough to the optimum for a yardstick.
        warnings.simplefilter("ignore")
        logistic = LogisticRegression(max_iter=300).fit(_one_hot(fields, fields), target)
    return lambda new: _all_classes(
        task, logistic.classes_, logistic.predict_proba(_one_hot(new, fields))
    )


def _trees(task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Outputs:
    """Histogram gradient boosting with scikit-learn's defaults."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    rows = _columns(fields)
    categories = [i >= fields["numeric"].shape[1] for i in range(rows.shape[1])]
    # The trees take at most 255 codes as a category; more are ordered numbers to them.
    for i in range(rows.shape[1]):
        if categories[i] and rows[:, i].max(initial=0) > 254:
            categories[i] = False
    settings: dict[str, Any] = {"categorical_features": categories, "random_state": 0}
    if task.kind == "regression":
        forests = [
            HistGradientBoostingRegressor(**settings).fit(rows, column) for column in target.T
        ]
        return lambda new: np.stack([f.predict(_columns(new)) for f in forests], 1)
    forest = HistGradientBoostingClassifier(**settings).fit(rows, target)
    return lambda new: _all_classes(task, forest.classes_, forest.predict_proba(_columns(new)))


def _flat_linear(task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Outputs:
    """Ridge or logistic regression on the pixels of images or the steps of sequences.

    Fitted on at most ``FLAT_ROWS`` rows: it is a yardstick, and its time grows with their number.
    """
    chosen = np.linspace(0, len(target) - 1, min(len(target), FLAT_ROWS)).astype(int)
    rows = _flat({name: values[chosen] for name, values in fields.items()})
    mean, scale = rows.mean(), rows.std() + 1e-6
    fit = _linear(task, {"numeric": (rows - mean) / scale}, target[chosen])
    return lambda new: fit({"numeric": (_flat(new) - mean) / scale})


def _flat(fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return all fields of a row side by side, float32 [N, D]."""
    parts = [np.asarray(v, np.float32).reshape(len(v), -1) for v in fields.values()]
    return np.concatenate(parts, axis=1)


def _term_linear(task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Outputs:
    """Ridge or logistic regression (C = 10) on TF-IDF weights and what stands beside the texts."""
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression, Ridge

    size = int(fields["terms"].max(initial=0)) + 1

    def rows(new: Mapping[str, np.ndarray]) -> Any:
        ids, weights = new["terms"], new["term_weight"]
        used = (weights > 0) & (ids < size)
        row = np.repeat(np.arange(len(ids)), used.sum(1))
        matrix = sparse.csr_matrix((weights[used], (row, ids[used])), (len(ids), size))
        if "numeric" not in new and "category" not in new:
            return matrix
        none = np.zeros((len(ids), 0), np.float32)
        beside = _one_hot({"numeric": none, **new}, fields)
        return sparse.hstack([matrix, beside], format="csr")

    if task.kind == "regression":
        ridge = Ridge().fit(rows(fields), target)
        return lambda new: ridge.predict(rows(new)).reshape(_num_rows(new), -1)
    with warnings.catch_warnings():
        # A few hundred iterations are close enough to the optimum for a yardstick.
        warnings.simplefilter("ignore")
        logistic = LogisticRegression(C=10.0, max_iter=200).fit(rows(fields), target)
    return lambda new: _all_classes(task, logistic.classes_, logistic.predict_proba(rows(new)))


FLAT_ROWS = 4_000
Fit = Callable[[Task, Mapping[str, np.ndarray], np.ndarray], Outputs]
FLAT_BASELINES: dict[str, Fit] = {"constant": _constant, "linear": _flat_linear}
"""Baselines of images and sequences."""

TEXT_BASELINES: dict[str, Fit] = {"constant": _constant, "tfidf_linear": _term_linear}
"""Baselines of texts."""


def each_label(fits: Mapping[str, Fit]) -> dict[str, Fit]:
    """Return baselines for several labels: one of its own for each (yes or no)."""

    def several(fit: Fit) -> Fit:
        def fitted(task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> Outputs:
            one = Task("binary", task.targets[:1], (0, 1))
            made = []
            for column in (target > 0.5).astype(np.int64).T:
                # A label that all rows have, or none, needs no model.
                varied = 0 < column.sum() < len(column)
                made.append((fit if varied else _constant)(one, fields, column))
            return lambda new: np.stack([outputs(new)[:, 1] for outputs in made], axis=1)

        return fitted

    return {name: several(fit) for name, fit in fits.items()}


BASELINES: dict[str, Fit] = {
    "constant": _constant,
    "linear": _linear,
    "boosted_trees": _trees,
}
"""Baselines by name: ``(task, fields, target) -> outputs``; regression targets in user's units."""


def _num_rows(fields: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(fields.values())))


def _columns(fields: Mapping[str, np.ndarray]) -> np.ndarray:
    parts = [fields["numeric"]]
    if "category" in fields:
        parts.append(fields["category"].astype(np.float32))
    return np.concatenate(parts, axis=1)


def _one_hot(
    fields: Mapping[str, np.ndarray], fitted: Mapping[str, np.ndarray], most: int = 200
) -> np.ndarray:
    """Return numeric columns and indicators of the codes that the fitted rows have most often."""
    parts = [fields["numeric"]]
    if "category" in fields:
        for i in range(fields["category"].shape[1]):
            codes, counts = np.unique(fitted["category"][:, i], return_counts=True)
            kept = codes[np.argsort(-counts, kind="stable")[:most]]
            parts.append((fields["category"][:, i : i + 1] == kept[None]).astype(np.float32))
    return np.concatenate(parts, axis=1)


def _all_classes(task: Task, present: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Spread probabilities over all classes of the task, also those no training row has."""
    out = np.zeros((len(probabilities), len(task.classes)))
    out[:, present.astype(int)] = probabilities
    return out


class BaselineRun:
    """Fits the baselines in the background while networks compile and train.

    Args:
        task: what is predicted.
        fields: encoded training rows.
        target: regression: values in the user's units [N, T]; else class indices [N], or full
            distributions [N, C], of which the likeliest class counts.
        fits: the baselines to fit; those of a table by default.
        ready: baselines that need no fitting.
        judged: encoded rows that they are judged on, by part of the data.
        kept: file that keeps what they say, for a process that goes on with the study.
    """

    def __init__(
        self,
        task: Task,
        fields: Mapping[str, np.ndarray],
        target: np.ndarray,
        fits: Mapping[str, Fit] | None = None,
        ready: Sequence[Baseline] = (),
        judged: Mapping[str, Mapping[str, np.ndarray]] | None = None,
        kept: Path | None = None,
    ) -> None:
        self.fits = BASELINES if fits is None else fits
        self.ready, self.judged, self.kept = ready, judged or {}, kept
        self.fitted: list[Baseline] = []
        self.failed: list[str] = []
        self._keeping = threading.Lock()
        if task.kind in ("binary", "multiclass"):
            target = target.argmax(1) if target.ndim == 2 else target.astype(np.int64)
        self._thread = threading.Thread(
            target=self._fit, args=(task, fields, target), daemon=True, name="thalweg-baselines"
        )
        self._thread.start()

    def _fit(self, task: Task, fields: Mapping[str, np.ndarray], target: np.ndarray) -> None:
        from threadpoolctl import threadpool_limits

        kept = self.kept
        known = {} if kept is None else _read(kept)
        for one in self.ready:
            assert one.outputs is not None
            self.fitted.append(replace(one, said=self._judge(one.outputs)))
        for name, fit in self.fits.items():
            if name in known:
                self.fitted.append(known[name])
                continue
            start = time.perf_counter()
            try:
                # One thread: OpenMP threads that wait for each other on cores where networks train
                # take a hundred times as long.
                with threadpool_limits(1):
                    outputs = fit(task, fields, target)
                    seconds = time.perf_counter() - start
                    said = self._judge(outputs)
            except (ValueError, MemoryError, np.linalg.LinAlgError) as error:
                self.failed.append(f"the baseline {name} could not be fitted: {error}")
                continue
            self.fitted.append(Baseline(name, outputs, seconds, said))
            with self._keeping:
                if self.kept is not None:
                    _write(self.kept, [b for b in self.fitted if b.name in self.fits])

    def _judge(self, outputs: Outputs) -> dict[str, np.ndarray]:
        return {part: outputs(fields) for part, fields in self.judged.items()}

    def wait(self, seconds: float) -> list[Baseline]:
        """Return the baselines fitted within so many more seconds, a minute at most."""
        self._thread.join(max(0.0, min(seconds, LONGEST_WAIT_SECONDS)))
        if self._thread.is_alive():
            missing = [name for name in self.fits if name not in {b.name for b in self.fitted}]
            self.failed.append(
                f"no time was left for the baseline {', '.join(missing)}: give a longer budget"
            )
        return list(self.fitted)

    def close(self) -> None:
        """Keep nothing any more; a fit that is under way goes on, for nobody."""
        with self._keeping:
            self.kept = None


def _write(path: Path, fitted: Sequence[Baseline]) -> None:
    """Keep what baselines say; where that cannot be, a process that goes on fits them again."""
    arrays = {f"{one.name}.seconds": np.array(one.seconds) for one in fitted}
    arrays |= {f"{one.name}.said.{part}": v for one in fitted for part, v in one.said.items()}
    with contextlib.suppress(OSError):
        write_arrays(path, arrays)


def _read(path: Path) -> dict[str, Baseline]:
    """Return the baselines that an earlier process fitted, by name."""
    try:
        arrays = read_arrays(path)
    except RunError:
        # There is none yet, or none that is whole.
        return {}
    found = {}
    for key in (key for key in arrays if key.endswith(".seconds")):
        name = key.removesuffix(".seconds")
        prefix = f"{name}.said."
        said = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        found[name] = Baseline(name, None, float(arrays[key].item()), said)
    return found
