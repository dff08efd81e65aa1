"""The decoder's blocks against torch's, all steps at once and one by one."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from thalweg.nn.decoder import CrossAttention, DecoderBlock
from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import Context

UNITS, HEADS = 8, 2


def drawn(specs: Any) -> dict[str, Any]:
    """Return parameters of one member, biases and scales random too."""
    rng = np.random.default_rng(3)
    params = initial_params(specs, ["glorot_normal"], np.ones(1), 1)
    noisy = {n: v[0] + 0.1 * rng.standard_normal(v[0].shape) for n, v in params.items()}
    return {n: jnp.asarray(v, jnp.float32) for n, v in noisy.items()}


def batch(seed: int = 0) -> tuple[Any, Any, Any]:
    """Return steps, memory, and which steps of the memory count."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3, 5, UNITS), np.float32)
    memory = rng.standard_normal((3, 4, UNITS), np.float32)
    mask = np.arange(4) < np.array([4, 2, 1])[:, None]
    return jnp.asarray(x), jnp.asarray(memory), jnp.asarray(mask)


def test_a_block_is_torchs_decoder_layer() -> None:
    torch = pytest.importorskip("torch")
    block = DecoderBlock("block", UNITS, HEADS)
    params = drawn(block.params())
    x, memory, mask = batch()
    layer = torch.nn.TransformerDecoderLayer(
        UNITS,
        HEADS,
        4 * UNITS,
        dropout=0.0,
        activation=torch.nn.GELU("tanh"),
        batch_first=True,
        norm_first=True,
    )
    p = {name.removeprefix("block/"): np.array(value) for name, value in params.items()}
    cross = np.concatenate([p["cross/query/kernel"], p["cross/key_value/kernel"]], 1)
    ours = {
        "self_attn.in_proj_weight": p["attention/qkv/kernel"].T,
        "self_attn.in_proj_bias": p["attention/qkv/bias"],
        "self_attn.out_proj.weight": p["attention/output/kernel"].T,
        "self_attn.out_proj.bias": p["attention/output/bias"],
        "multihead_attn.in_proj_weight": cross.T,
        "multihead_attn.in_proj_bias": np.concatenate(
            [p["cross/query/bias"], p["cross/key_value/bias"]]
        ),
        "multihead_attn.out_proj.weight": p["cross/output/kernel"].T,
        "multihead_attn.out_proj.bias": p["cross/output/bias"],
        "linear1.weight": p["wide/kernel"].T,
        "linear1.bias": p["wide/bias"],
        "linear2.weight": p["narrow/kernel"].T,
        "linear2.bias": p["narrow/bias"],
    }
    for i in range(3):
        ours[f"norm{i + 1}.weight"] = p[f"norm_{i}/scale"]
        ours[f"norm{i + 1}.bias"] = p[f"norm_{i}/bias"]
    layer.load_state_dict({n: torch.tensor(np.ascontiguousarray(v)) for n, v in ours.items()})
    later = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    with torch.no_grad():
        wanted = layer(
            torch.tensor(np.array(x)),
            torch.tensor(np.array(memory)),
            tgt_mask=later,
            memory_key_padding_mask=torch.tensor(~np.array(mask)),
        ).numpy()
    keys = block.cross.read(params, memory)
    found = block.apply(params, x, keys, mask, Context(), 0)
    weights = block.look(params, x, keys, mask)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert float(weights[2, :, :, 1:].max()) == 0.0


def test_one_step_at_a_time_is_all_at_once() -> None:
    """Two versions with a common past, the second of which branches off at step 3."""
    block = DecoderBlock("block", UNITS, HEADS)
    params = drawn(block.params())
    x, memory, mask = batch(1)
    other = x.at[:, 3:].set(-x[:, 3:])
    keys = block.cross.read(params, memory)
    wanted = [np.array(block.apply(params, v, keys, mask, Context(), 0)) for v in (x, other)]
    kept = block.empty(3, 2, 5)
    ancestors = np.zeros((3, 2, 5), int)
    for t in range(5):
        ancestors[:, :, t] = [0, 1]
        if t == 3:
            # Both go on from the first version's past.
            ancestors[:, :, :3] = 0
        own = ancestors[:, :, None, :] == np.arange(2)[None, None, :, None]
        past = (own & (np.arange(5) <= t)).reshape(3, 2, -1)
        now = jnp.stack([x[:, t], other[:, t]], axis=1)
        out, kept = block.step(params, now, kept, keys, mask, jnp.asarray(past), jnp.int32(t))
        for version in range(2):
            np.testing.assert_allclose(out[:, version], wanted[version][:, t], rtol=1e-4, atol=1e-5)


def test_gradients_of_cross_attention_are_those_of_finite_differences() -> None:
    layer = CrossAttention("cross", UNITS, HEADS, memory=6)
    params = drawn(layer.params())
    x, _, mask = batch()
    memory = jnp.asarray(np.random.default_rng(2).standard_normal((3, 4, 6)), jnp.float32)

    def value(params: Any) -> Any:
        return jnp.square(layer.apply(params, x, layer.read(params, memory), mask)).sum()

    check_grads(value, (params,), order=1, modes=["rev"], rtol=0.02, atol=0.02)
