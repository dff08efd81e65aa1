"""How long a network takes to predict one row, measured on this machine."""

from __future__ import annotations

import time

import jax
import numpy as np

from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import Context
from thalweg.space import Structure
from thalweg.training import backend
from thalweg.training.engine import Engine

MEASURED_SECONDS = 0.05
LEAST_RUNS, MOST_RUNS = 5, 500


def latency(engine: Engine, structure: Structure) -> float:
    """Return the microseconds of a compiled prediction of one row, the fastest of many.

    The fastest, because what else runs on the machine only ever adds. Weights are random ones: what
    is timed does not depend on them.
    """
    network = engine.network(structure)
    drawn = initial_params(network.params(), ["glorot_uniform"], np.ones(1), 0)
    params = {name: backend.to_device(values[0]) for name, values in drawn.items()}
    state = {name: backend.to_device(value) for name, value in network.state().items()}
    fields = {name: values[:1] for name, values in engine.evaluated.fields.items()}

    def predict(params: dict[str, jax.Array], fields: dict[str, jax.Array]) -> jax.Array:
        return network.apply(params, state, fields, Context())[0]

    program = jax.jit(predict).lower(params, fields).compile(backend.compiler_options())
    jax.block_until_ready(program(params, fields))
    taken: list[float] = []
    while len(taken) < LEAST_RUNS or (sum(taken) < MEASURED_SECONDS and len(taken) < MOST_RUNS):
        start = time.perf_counter()
        jax.block_until_ready(program(params, fields))
        taken.append(time.perf_counter() - start)
    return 1e6 * min(taken)
