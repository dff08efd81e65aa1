"""Nearest training examples: those that the last hidden layer takes for the most alike.

Source: the layer before the output as a space of resemblance: Papernot and McDaniel, "Deep
k-Nearest Neighbors", 2018; Donahue et al., "DeCAF", 2014.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

ROWS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest of some examples, for each row.

    Args:
        index: positions of the examples [N, K], the nearest first.
        similarity: cosine of the angle between the vectors [N, K].
        layer: whether the vectors are a hidden layer's; else the inputs themselves.
    """

    index: np.ndarray
    similarity: np.ndarray
    layer: bool


def nearest(
    model: Any,
    fields: Mapping[str, np.ndarray],
    examples: Mapping[str, np.ndarray],
    count: int = 5,
) -> Neighbours:
    """Return the examples that resemble each row most.

    Args:
        model: the model; of several networks the vectors stand side by side.
        fields: the rows [N, …].
        examples: the examples [M, …].
        count: neighbours K of each row.
    """
    rows, layer = hidden(model, fields)
    others, _ = hidden(model, examples)
    centre, spread = others.mean(0), others.std(0) + 1e-6
    a, b = ((values - centre) / spread for values in (rows, others))
    a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
    b /= np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-12)
    count = min(count, len(b))
    index, near = [], []
    for start in range(0, len(a), ROWS_AT_ONCE):
        cosine = a[start : start + ROWS_AT_ONCE] @ b.T
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
        index.append(order)
        near.append(np.take_along_axis(cosine, order, axis=1))
    return Neighbours(np.concatenate(index), np.concatenate(near), layer)


def hidden(model: Any, fields: Mapping[str, np.ndarray]) -> tuple[np.ndarray, bool]:
    """Return what the last layer reads, float32 [N, U], and whether that is a hidden layer.

    Of a network without hidden layers it is the inputs.
    """
    found, layer = [], True
    num = len(next(iter(fields.values())))
    size = min(ROWS_AT_ONCE, 1 << max(num - 1, 0).bit_length())
    for network, _, _, params, state in model.networks():
        parts = []
        for start in range(0, max(num, 1), size):
            some = {}
            for name, values in fields.items():
                rows = np.asarray(values[start : start + size])
                padding = [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
                some[name] = np.pad(rows, padding)
            program, layer = _program(network, _shapes(params), _shapes(state), _shapes(some))
            parts.append(np.asarray(program.call(dict(params), dict(state), some), np.float32))
        found.append(np.concatenate(parts)[:num])
    return np.concatenate(found, axis=1), layer


def _shapes(tree: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted((n, (np.shape(v), np.dtype(v.dtype).str)) for n, v in tree.items()))


@lru_cache(maxsize=16)
def _program(network: Any, params: Any, state: Any, fields: Any) -> tuple[Any, bool]:
    """Return the program that computes what the last product reads, and if it is a hidden layer."""
    import jax
    import jax.numpy as jnp
    from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

    from thalweg.nn.layers import Context
    from thalweg.training.programs import compile_program

    arguments = tuple(
        {n: jax.ShapeDtypeStruct(shape, np.dtype(kind)) for n, (shape, kind) in part}
        for part in (params, state, fields)
    )
    num = next(iter(fields))[1][0][0]

    def forward(params: Any, state: Any, fields: Any) -> Any:
        return network.apply(params, state, fields, Context())[0]

    traced = jax.make_jaxpr(forward)(*arguments)
    program = traced.jaxpr
    known = {id(variable) for variable in (*program.invars, *program.constvars)}
    own = [v for v in program.invars if getattr(v.aval, "shape", ())[:1] == (num,)]
    source = None
    for equation in program.eqns:
        if equation.primitive.name != "dot_general":
            continue
        left, right = equation.invars[:2]
        # Rows times a matrix of parameters: what a dense layer does.
        if getattr(left.aval, "shape", ())[:1] == (num,) and id(right) in known:
            source = left
    if source is None or source in own or not _depth(program, source, own):

        def inputs(params: Any, state: Any, fields: Any) -> Any:
            flat = [jnp.asarray(v, jnp.float32).reshape(num, -1) for v in fields.values()]
            return jnp.concatenate(flat, axis=1)

        return compile_program(inputs, arguments), False
    about = program.debug_info._replace(result_paths=("",))
    program = program.replace(outvars=[source], debug_info=about)
    run = jaxpr_as_fun(ClosedJaxpr(program, traced.consts))

    def vectors(*arguments: Any) -> Any:
        return run(*jax.tree.leaves(arguments))[0].reshape(num, -1)

    return compile_program(vectors, arguments), True


def _depth(program: Any, source: Any, own: list[Any]) -> bool:
    """Whether a product with parameters lies between the inputs and a value."""
    needed = {source}
    for equation in reversed(program.eqns):
        if not any(variable in needed for variable in equation.outvars):
            continue
        if equation.primitive.name in ("dot_general", "conv_general_dilated", "while", "scan"):
            return True
        if equation.primitive.name.startswith("custom"):
            return True
        needed |= {v for v in equation.invars if hasattr(v, "aval") and not hasattr(v, "val")}
    return False
