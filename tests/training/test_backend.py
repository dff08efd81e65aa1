"""The compiler's options: what is compiled here computes what NumPy computes in float64.

jaxlib 0.10.2 fuses some products with the reductions that follow them into calls that give silently
wrong results on CPU (jax issue 39103). Every program of ours goes through ``compile_program``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.nn.layers import Context
from thalweg.nn.normalisation import BatchNorm, LayerNorm
from thalweg.training import backend
from thalweg.training.guard import check_compiler, gradient_error, reduction_error
from thalweg.training.programs import compile_program

NUM_ROWS = 32_769  # one more than a power of two: with 32,768 the reproducer is right
rng = np.random.default_rng(0)


def run(function, *arguments):
    arguments = tuple(np.asarray(a, np.float32) for a in arguments)
    return jax.tree.map(np.asarray, compile_program(function, arguments).call(*arguments))


def close(got, want, rtol=2e-4):
    want = np.asarray(want, np.float64)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * np.abs(want).max())


@pytest.mark.parametrize("num_rows", [7, 1024, 32_768, NUM_ROWS])
@pytest.mark.parametrize("width", [3, 8])
def test_product_and_square_sum(num_rows, width):
    rows = rng.normal(size=(num_rows, width))
    matrix = np.eye(width) if width == 3 else rng.normal(size=(width, width))

    def squares(matrix, rows):
        return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)

    close(run(squares, matrix, rows), ((rows @ matrix.T) ** 2).sum(1))


def test_gradient_of_product_and_square_sum():
    rows, matrix = rng.normal(size=(NUM_ROWS, 3)), rng.normal(size=(3, 3))

    def gradient(matrix, rows):
        total = lambda m: jnp.sum(jax.vmap(lambda row: jnp.sum((m @ row) ** 2))(rows))  # noqa: E731
        return jax.grad(total)(matrix)

    close(run(gradient, matrix, rows), 2 * (matrix @ rows.T) @ rows)


def test_members_products_and_means():
    members = rng.normal(size=(5, 6, 4))
    rows = rng.normal(size=(NUM_ROWS, 6))

    def means(members, rows):
        return jax.vmap(lambda w: jnp.mean(jnp.square(rows @ w), axis=0))(members)

    want = np.stack([((rows @ w) ** 2).mean(0) for w in members])
    close(run(means, members, rows), want)


def test_normalised_members():
    members = rng.normal(size=(4, 3, 8))
    rows = rng.normal(size=(NUM_ROWS, 3))
    layer, batch = LayerNorm("l", 8), BatchNorm("b", 8)
    ones, zeros = np.ones(8, np.float32), np.zeros(8, np.float32)

    def outputs(members, rows):
        def one(w):
            own = layer.apply({"l/scale": ones, "l/bias": zeros}, rows @ w)
            params = {"b/scale": ones, "b/bias": zeros}
            over, state = batch.apply(params, batch.state(), rows @ w, Context(train=True))
            return jnp.sum(own**3, -1)[:64], jnp.sum(over**3, -1)[:64], state["b/var"]

        return jax.vmap(one)(members)

    own, over, var = run(outputs, members, rows)
    for i, w in enumerate(members):
        h = rows @ w
        unit = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5)
        close(own[i], (unit**3).sum(1)[:64], rtol=1e-3)
        unit = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)
        close(over[i], (unit**3).sum(1)[:64], rtol=1e-3)
        close(var[i], 0.9 + 0.1 * h.var(0, ddof=1))


def test_softmax_loss_and_its_gradient_over_members():
    members = rng.normal(size=(4, 6, 5))
    rows = rng.normal(size=(NUM_ROWS, 6))
    target = rng.integers(0, 5, NUM_ROWS)

    def gradients(members, rows):
        def loss(w):
            log_p = jax.nn.log_softmax(rows @ w)
            return -jnp.mean(jnp.take_along_axis(log_p, jnp.asarray(target)[:, None], 1))

        return jax.vmap(jax.value_and_grad(loss))(members)

    values, grads = run(gradients, members, rows)
    for i, w in enumerate(members):
        logits = rows @ w
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        close(values[i], -np.log(p[np.arange(NUM_ROWS), target]).mean())
        p[np.arange(NUM_ROWS), target] -= 1
        close(grads[i], rows.T @ p / NUM_ROWS, rtol=1e-3)


def test_the_guard_that_info_runs():
    assert reduction_error() < 1e-5
    assert gradient_error() < 1e-4
    assert check_compiler() == "correct"


def test_the_guard_notices_wrong_results(monkeypatch):
    from thalweg.training import guard

    class Wrong:
        @staticmethod
        def call(*arguments):
            return np.zeros(NUM_ROWS, np.float32)

    monkeypatch.setattr(guard, "gradient_error", lambda: 0.0)
    monkeypatch.setattr(guard, "compile_program", lambda function, arguments: Wrong)
    assert guard.check_compiler().startswith("WRONG (reduction off by 1")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    assert backend.cache_dir() == tmp_path
    monkeypatch.delenv("THALWEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert backend.cache_dir() == tmp_path / "thalweg"


def test_the_machine_is_known():
    assert backend.num_workers() >= 1
    assert backend.available_bytes() > 1 << 20
    assert backend.device_name()
