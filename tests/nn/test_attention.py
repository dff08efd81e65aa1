"""Attention a few rows at a time against all at once, and against PyTorch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from thalweg.nn import attention
from thalweg.nn.attention import attend, attention_weights

ROWS, HEADS, QUERIES, KEYS, SIZE = 6, 3, 9, 14, 5


def parts() -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values."""
    rng = np.random.default_rng(0)
    shapes = ((QUERIES, SIZE), (KEYS, SIZE), (KEYS, SIZE))
    query, key, value = (
        jnp.asarray(rng.normal(size=(ROWS, HEADS, *shape)), jnp.float32) for shape in shapes
    )
    return query, key, value


def masks() -> dict[str, jax.Array | None]:
    """Masks of every shape that is broadcast; the first row may look at nothing."""
    length = jnp.asarray([0, 3, 14, 1, 9, 6])
    by_key = (jnp.arange(KEYS) < length[:, None])[:, None, None]
    lower = jnp.tril(jnp.ones((QUERIES, KEYS), bool))[None, None]
    return {"none": None, "by key": by_key, "causal": lower, "both": by_key & lower}


@pytest.mark.parametrize("name", list(masks()))
@pytest.mark.parametrize("scores", [1, 2 * HEADS * QUERIES * KEYS, 10**9])
def test_some_rows_at_a_time_change_nothing(
    name: str, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "MANY_SCORES", 1)
    monkeypatch.setattr(attention, "SOME_SCORES", scores)
    given, mask = parts(), masks()[name]

    def few(*given: jax.Array) -> jax.Array:
        return jnp.sin(attend(*given, mask)).sum()

    def whole(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return jnp.sin(attention_weights(query, key, mask) @ value).sum()

    found = jax.value_and_grad(few, argnums=(0, 1, 2))(*given)
    expected = jax.value_and_grad(whole, argnums=(0, 1, 2))(*given)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["none", "causal"])
def test_it_equals_pytorch(name: str) -> None:
    mask = masks()[name]
    tensors = [torch.tensor(np.asarray(part)) for part in parts()]
    allowed = None if mask is None else torch.tensor(np.asarray(mask))
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors, attn_mask=allowed)
    np.testing.assert_allclose(attend(*parts(), mask), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_members_side_by_side_are_as_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MANY_SCORES", 1)
    monkeypatch.setattr(attention, "SOME_SCORES", 2 * HEADS * QUERIES * KEYS)
    mask = masks()["both"]

    def total(*given: jax.Array) -> jax.Array:
        return jnp.sin(attend(*given, mask)).sum()

    given = parts()
    members = tuple(jnp.stack([part, 2.0 * part]) for part in given)
    found = jax.jit(jax.vmap(jax.grad(total, argnums=(0, 1, 2))))(*members)
    for number, scale in enumerate((1.0, 2.0)):
        alone = jax.grad(total, argnums=(0, 1, 2))(*(scale * part for part in given))
        for ours, theirs in zip(found, alone, strict=True):
            np.testing.assert_allclose(ours[number], theirs, rtol=1e-5, atol=1e-5)
