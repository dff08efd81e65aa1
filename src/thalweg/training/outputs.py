"""A trained network's outputs for any number of rows, in batches of a few sizes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import jax
import numpy as np

from thalweg.models import Network, activation_floats
from thalweg.models.base import Ragged, cut_fields, cuts_of
from thalweg.nn.layers import Context
from thalweg.training.plan import (
    CHUNK_BYTES,
    power_of_two,
)
from thalweg.training.programs import Program, compile_program


@lru_cache(maxsize=64)
def _forward(network: Network, num_rows: int, shapes: tuple[Any, ...]) -> Program:
    params, state, fields = (dict(part) for part in shapes)

    def forward(params: Any, state: Any, fields: Any) -> Any:
        return network.apply(params, state, fields, Context())[0]

    def shaped(part: dict[str, Any]) -> dict[str, Any]:
        return {n: jax.ShapeDtypeStruct(shape, dtype) for n, (shape, dtype) in part.items()}

    arguments = (shaped(params), shaped(state), shaped(fields))
    return compile_program(forward, arguments, made_from=network)


def network_outputs(
    network: Network,
    params: Mapping[str, np.ndarray],
    state: Mapping[str, np.ndarray],
    fields: Mapping[str, np.ndarray],
    max_rows: int | None = None,
) -> np.ndarray:
    """Return a network's raw outputs for encoded rows, computed in batches.

    Args:
        network: the network.
        params: its parameters.
        state: its state.
        fields: arrays by field, [N, …].
        max_rows: rows in a batch; by default what fits into some tens of megabytes. Fewer rows are
            padded to a power of two, so that few programs are ever compiled.

    Returns:
        float32 [N, O].
    """
    if max_rows is None:
        fitting = CHUNK_BYTES / (4 * activation_floats(network))
        max_rows = min(4096, max(16, power_of_two(fitting)))
    num = len(next(iter(fields.values())))
    size = min(power_of_two(max(num, 1)), max_rows)
    cuts = cuts_of(network)
    if cuts and num > size:
        # Rows of one length together: short ones cost less.
        used = np.asarray(cast(Ragged, network).used(cast(Any, fields)))
        order = np.argsort(used, kind="stable")
        parts = []
        for start in range(0, num, size):
            rows = order[start : start + size]
            longest = int(used[rows].max())
            cut = next(c for c in (*cuts, cuts[-1]) if longest <= max(c.values()) or c is cuts[-1])
            some = {name: values[rows] for name, values in fields.items()}
            parts.append(network_outputs(network, params, state, cut_fields(some, cut), size))
        outputs = np.concatenate(parts)
        return outputs[np.argsort(order, kind="stable")]
    parts = []
    for start in range(0, max(num, 1), size):
        batch = {}
        for name, values in fields.items():
            rows = values[start : start + size]
            padding = [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
            batch[name] = np.pad(rows, padding)

        def key(part: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
            return tuple((n, (v.shape, v.dtype)) for n, v in part.items())

        program = _forward(network, size, (key(params), key(state), key(batch)))
        parts.append(np.asarray(program.call(dict(params), dict(state), batch)))
    return np.concatenate(parts)[:num]
