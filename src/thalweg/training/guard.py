"""A check that the compiler computes correctly on this machine, against float64 NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.training.programs import compile_program

TOLERANCE = 1e-4


def reduction_error() -> float:
    """Return the relative error of the product and reduction that jaxlib 0.10.2 gets wrong.

    Reproducer of jax issue 39103: 32,769 rows, ``sum((I @ row)²)``, vmapped and compiled with the
    options that every program here is compiled with.
    """
    rows = np.random.default_rng(0).standard_normal((32_769, 3)).astype(np.float32)

    def squares(rows: jax.Array) -> jax.Array:
        eye = jnp.eye(3, dtype=jnp.float32)
        return jax.vmap(lambda row: jnp.sum((eye @ row) ** 2))(rows)

    got = np.asarray(compile_program(squares, (rows,)).call(rows), np.float64)
    want = np.square(rows.astype(np.float64)).sum(1)
    return float(np.max(np.abs(got - want) / np.maximum(want, 1e-6)))


def gradient_error() -> float:
    """Return the relative error of a vmapped two-layer network's gradient."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((64, 33)).astype(np.float32)
    w = rng.standard_normal((5, 33, 17)).astype(np.float32)
    v = rng.standard_normal((5, 17, 3)).astype(np.float32)

    def gradient(w: jax.Array, v: jax.Array, x: jax.Array) -> jax.Array:
        def loss(w: jax.Array, v: jax.Array) -> jax.Array:
            return jnp.mean(jnp.square(jnp.tanh(x @ w) @ v))

        return jax.vmap(jax.grad(loss))(w, v)

    got = np.asarray(compile_program(gradient, (w, v, x)).call(w, v, x), np.float64)
    x64, w64, v64 = x.astype(np.float64), w.astype(np.float64), v.astype(np.float64)
    hidden = np.tanh(x64 @ w64)
    upstream = 2.0 * (hidden @ v64) / (x.shape[0] * v.shape[-1])
    want = x64.T @ ((upstream @ v64.transpose(0, 2, 1)) * (1.0 - hidden**2))
    return float(np.abs(got - want).max() / np.abs(want).max())


def check_compiler() -> str:
    """Return ``"correct"``, or what is wrong and the remedy."""
    errors = {"reduction": reduction_error(), "gradient": gradient_error()}
    wrong = {name: error for name, error in errors.items() if not error < TOLERANCE}
    if not wrong:
        return "correct"
    found = ", ".join(f"{name} off by {error:.2g}" for name, error in wrong.items())
    return f"WRONG ({found}): install another version of jaxlib"
