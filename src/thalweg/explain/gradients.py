"""Explanations from gradients: saliency, SmoothGrad, integrated gradients.

    saliency                |∂f/∂x|
    SmoothGrad              mean over noise ε of ∂f/∂x at x + ε
    integrated gradients    (x − b) · ∫₀¹ ∂f/∂x(b + α (x − b)) dα,  summing to f(x) − f(b)

Codes of categories and tokens have no gradient; their vectors do. So each entry gets a vector of
its own in the table that the network looks it up in, and the path goes from the baseline's mean
vector to the entry's: contributions of a code are those of its vector.

Sources: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", 2013; Smilkov et
al., "SmoothGrad", 2017; Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks",
2017.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.explain.scores import PREDICTION, Asked, raw_weights, score_of, select
from thalweg.models import Lookup, Network, lookups_of
from thalweg.nn.layers import Context
from thalweg.training.plan import power_of_two
from thalweg.training.programs import compile_program

ROWS_AT_ONCE = 64
STEPS = (16, 64, 256)
"""Steps of the path; the next number where contributions miss the difference of scores."""

TOLERANCE = 0.01
"""Largest gap between contributions and difference of scores, as a share of the scores' range."""

NOISE, DRAWS = 0.15, 32
"""Deviation of SmoothGrad's noise as a share of the inputs' range, and its draws."""

Fields = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Path:
    """Integrated gradients of some rows.

    Args:
        entries: contribution of each entry of a row, by field, [N, …] each.
        base: score of the baseline [N], the mean over the networks.
        score: score of the rows [N].
        gap: what the contributions miss of ``score - base`` [N].
        steps: of the path.
    """

    entries: dict[str, np.ndarray]
    base: np.ndarray
    score: np.ndarray
    gap: np.ndarray
    steps: int


def integrated_gradients(
    model: Any,
    fields: Fields,
    chosen: Asked,
    baseline: Fields,
    *,
    link: str = PREDICTION,
    steps: tuple[int, ...] = STEPS,
) -> Path:
    """Return contributions that sum to the difference from a baseline.

    Args:
        model: the model; of several networks the contributions are averaged.
        fields: the rows [N, …].
        chosen: what is explained.
        baseline: rows [M, …] whose mean is the beginning of the path; of codes the mean of their
            vectors.
        link: whether predictions or logits are explained.
        steps: numbers of steps to try until the contributions sum up.
    """
    found = _along(model, fields, chosen, baseline, link, steps[0])
    for count in steps[1:]:
        reach = max(float(np.ptp(found.score)), float(np.abs(found.score - found.base).max()))
        if not len(found.gap) or np.abs(found.gap).max() <= TOLERANCE * max(reach, 1e-9):
            break
        found = _along(model, fields, chosen, baseline, link, count)
    return found


def gradients(
    model: Any, fields: Fields, chosen: Asked, *, link: str = PREDICTION
) -> dict[str, np.ndarray]:
    """Return ∂f/∂x of every entry that is a number, by field, [N, …] each."""
    total: dict[str, np.ndarray] = {}
    for network, loss, share, params, state in model.networks():
        for name, values in _gradients_at(
            model, network, loss, params, state, fields, chosen, link
        ).items():
            total[name] = total.get(name, 0.0) + share * values
    return total


def smooth_gradients(
    model: Any,
    fields: Fields,
    chosen: Asked,
    *,
    link: str = PREDICTION,
    noise: float = NOISE,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return the mean gradient at the rows with noise on every number, by field, [N, …] each."""
    rng = np.random.default_rng([0x500, seed])
    floats = {n: np.asarray(v, np.float32) for n, v in fields.items() if _is_number(n, v)}
    reach = {n: noise * float(np.ptp(v)) if v.size else 0.0 for n, v in floats.items()}
    total: dict[str, np.ndarray] = {}
    for _ in range(draws):
        moved = {
            n: v + reach[n] * rng.standard_normal(v.shape, np.float32) for n, v in floats.items()
        }
        for name, values in gradients(model, {**fields, **moved}, chosen, link=link).items():
            total[name] = total.get(name, 0.0) + values / draws
    return total


# The path ----------------------------------------------------------------------------------------


def _along(
    model: Any, fields: Fields, chosen: Asked, baseline: Fields, link: str, steps: int
) -> Path:
    num = len(next(iter(fields.values())))
    entries: dict[str, np.ndarray] = {}
    base, score = np.zeros(num), np.zeros(num)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    for network, loss, share, params, state in model.networks():
        ends = _Ends.of(network, params, fields, baseline)
        program = _Program(model, network, loss, params, state, fields, chosen, link)
        total: dict[str, np.ndarray] = {}
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            _, slopes = program.at(ends, float(node))
            for name, values in slopes.items():
                total[name] = total.get(name, 0.0) + weight * values
        for name, values in total.items():
            part = ends.contributions(name, values)
            field, entry = ends.place(name)
            whole = entries.setdefault(field, np.zeros(np.shape(fields[field])))
            whole[entry] += share * part
        base += share * program.at(ends, 0.0)[0]
        score += share * program.at(ends, 1.0)[0]
    summed = sum((v.reshape(num, -1).sum(1) for v in entries.values()), start=np.zeros(num))
    # What differs by a constant only (the mean of a target) cancels in the difference.
    own = chosen.of(model.outputs(fields))
    return Path(entries, own - (score - base), own, (score - base) - summed, steps)


@dataclass(frozen=True, eq=False)
class _Ends:
    """Both ends of a path, for one network.

    Args:
        numbers: fields of numbers at the row and at the baseline, [N, …] each.
        vectors: of each parameter that is a table, the vectors at row and baseline [N, …, W].
        lookups: where they are looked up.
    """

    numbers: dict[str, tuple[np.ndarray, np.ndarray]]
    vectors: dict[str, tuple[np.ndarray, np.ndarray]]
    lookups: Mapping[str, Lookup]

    @classmethod
    def of(
        cls, network: Network, params: Mapping[str, Any], fields: Fields, baseline: Fields
    ) -> _Ends:
        numbers, vectors = {}, {}
        for name, values in fields.items():
            if _is_number(name, values):
                row = np.asarray(values, np.float32)
                mean = np.asarray(baseline[name], np.float64).mean(0).astype(np.float32)
                numbers[name] = (row, np.broadcast_to(mean, row.shape))
        lookups = lookups_of(network)
        for name, lookup in lookups.items():
            own = _vectors(params[name], fields[lookup.field], lookup)
            mean = _vectors(params[name], baseline[lookup.field], lookup)
            mean = mean.reshape(-1, mean.shape[-1]).mean(0)
            vectors[name] = (own, np.broadcast_to(mean, own.shape))
        return cls(numbers, vectors, lookups)

    def at(self, share: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return fields of numbers, and vectors, at a share of the way."""
        parts = []
        for ends in (self.numbers, self.vectors):
            points = {n: b + share * (x - b) for n, (x, b) in ends.items()}
            parts.append({n: point.astype(np.float32) for n, point in points.items()})
        return parts[0], parts[1]

    def contributions(self, name: str, slopes: np.ndarray) -> np.ndarray:
        """Return what the entries of a field, or the codes of a table, contribute."""
        if name in self.numbers:
            row, base = self.numbers[name]
            return (row - base).astype(np.float64) * slopes
        row, base = self.vectors[name]
        return ((row - base).astype(np.float64) * slopes).sum(-1)

    def place(self, name: str) -> tuple[str, Any]:
        """Return the field that a contribution belongs to, and where in a batch of its rows."""
        if name in self.numbers:
            return name, ...
        lookup = self.lookups[name]
        return lookup.field, ... if lookup.column is None else (slice(None), lookup.column)


def _vectors(table: Any, codes: np.ndarray, lookup: Lookup) -> np.ndarray:
    """Return the vectors of codes, float32 [N, W] (or [N, T, W])."""
    own = np.asarray(codes if lookup.column is None else codes[:, lookup.column])
    found = np.asarray(table, np.float32)[own]
    return np.where(own[..., None] > 0, found, 0.0) if lookup.zero_unknown else found


class _Program:
    """Score and gradients of one network, at points of its rows' paths."""

    def __init__(
        self,
        model: Any,
        network: Network,
        loss: str,
        params: Mapping[str, Any],
        state: Mapping[str, Any],
        fields: Fields,
        chosen: Asked,
        link: str,
    ) -> None:
        self.network, self.loss, self.link, self.kind = network, loss, link, model.task.kind
        self.params, self.state, self.fields = dict(params), dict(state), fields
        self.weights = raw_weights(model, chosen, loss)

    def at(self, ends: _Ends, share: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return scores [N] and gradients by field or table."""
        numbers, vectors = ends.at(share)
        num = len(self.weights)
        size = min(power_of_two(max(num, 1)), ROWS_AT_ONCE)
        scores, slopes = [], []
        for start in range(0, num, size):
            some = slice(start, start + size)
            arguments = (
                _padded(select(numbers, some), size),
                _padded(select(vectors, some), size),
                self.params,
                self.state,
                _padded({n: v[some] for n, v in self.fields.items() if n not in numbers}, size),
                _padded({"": self.weights[some]}, size)[""],
            )
            value, both = self._program(arguments)(*arguments)
            kept = min(num - start, size)
            scores.append(np.asarray(value)[:kept])
            slopes.append({n: np.asarray(v)[:kept] for n, v in both.items()})
        joined = {n: np.concatenate([part[n] for part in slopes]) for n in slopes[0]}
        return np.concatenate(scores), joined

    def _program(self, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple((np.shape(leaf), np.dtype(leaf.dtype).str) for leaf in leaves)
        key = (self.network, self.kind, self.loss, self.link, shapes, tree)
        return _compiled(*key)


@lru_cache(maxsize=32)
def _compiled(
    network: Network, kind: str, loss: str, link: str, shapes: tuple[Any, ...], tree: Any
) -> Callable[..., Any]:
    lookups = lookups_of(network)

    def total(
        numbers: Any, vectors: Any, params: Any, state: Any, others: Any, weights: Any
    ) -> Any:
        fields = {**others, **numbers}
        params = dict(params)
        for name, lookup in lookups.items():
            table = vectors[name].reshape(-1, vectors[name].shape[-1])
            # Row 0 is left out: networks may take code 0 for something else.
            params[name] = jnp.concatenate([jnp.zeros_like(table[:1]), table])
            codes = fields[lookup.field]
            if lookup.column is None:
                own = 1 + jnp.arange(codes.size, dtype=codes.dtype).reshape(codes.shape)
            else:
                own = 1 + jnp.arange(codes.shape[0], dtype=codes.dtype)[:, None]
            fields[lookup.field] = jnp.broadcast_to(own, codes.shape)
        raw, _ = network.apply(params, state, fields, Context())
        scores = score_of(kind, loss, raw, weights, link)
        return scores.sum(), scores

    def both(numbers: Any, vectors: Any, *others: Any) -> Any:
        slope = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
        (_, scores), (by_number, by_vector) = slope(numbers, vectors, *others)
        return scores, {**by_number, **by_vector}

    arguments = jax.tree.unflatten(
        tree, [jax.ShapeDtypeStruct(shape, np.dtype(kind_)) for shape, kind_ in shapes]
    )
    return compile_program(both, arguments).call


def _gradients_at(
    model: Any,
    network: Network,
    loss: str,
    params: Mapping[str, Any],
    state: Mapping[str, Any],
    fields: Fields,
    chosen: Asked,
    link: str,
) -> dict[str, np.ndarray]:
    ends = _Ends.of(network, params, fields, fields)
    slopes = _Program(model, network, loss, params, state, fields, chosen, link).at(ends, 1.0)[1]
    return {name: values for name, values in slopes.items() if name in ends.numbers}


def _padded(tree: dict[str, Any], size: int) -> dict[str, np.ndarray]:
    padded = {}
    for name, values in tree.items():
        values = np.asarray(values)
        padding = [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1)
        padded[name] = np.pad(values, padding)
    return padded


def _is_number(name: str, values: Any) -> bool:
    """Whether a field holds numbers that a network computes with, not codes or lengths."""
    return name == "image" or np.issubdtype(np.asarray(values[:1]).dtype, np.floating)
