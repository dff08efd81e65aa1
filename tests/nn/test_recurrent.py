"""Recurrent cells and attention against torch, forwards and backwards."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.nn.attention import MultiHeadAttention, sinusoids
from thalweg.nn.layers import Context
from thalweg.nn.recurrent import FORGET_BIAS, GATES, Recurrent, RecurrentStack

torch = pytest.importorskip("torch")

ROWS, STEPS, CHANNELS, UNITS = 5, 7, 3, 4
RNG = np.random.default_rng(0)


def random_params(layer) -> dict[str, jax.Array]:
    return {
        name: jnp.asarray(RNG.normal(size=spec.shape).astype(np.float32) * 0.5)
        for name, spec in layer.params().items()
    }


def torch_layer(kind: str, layers: list[Recurrent], params, bidirectional: bool, depth: int):
    """Return torch's module with the same weights."""
    make = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind]
    module = make(CHANNELS, UNITS, depth, batch_first=True, bidirectional=bidirectional)
    for one in layers:
        level = one.name.split("_")[1]
        suffix = f"l{level}{'_reverse' if one.reverse else ''}"
        bias = np.array(params[f"{one.name}/bias"])
        if kind == "lstm":
            bias[UNITS : 2 * UNITS] += FORGET_BIAS
        recurrent_bias = params.get(f"{one.name}/recurrent_bias", np.zeros_like(bias))
        values = {
            f"weight_ih_{suffix}": np.array(params[f"{one.name}/kernel"]).T,
            f"weight_hh_{suffix}": np.array(params[f"{one.name}/recurrent"]).T,
            f"bias_ih_{suffix}": bias,
            f"bias_hh_{suffix}": np.array(recurrent_bias),
        }
        for name, value in values.items():
            getattr(module, name).data = torch.tensor(value.copy())
    return module


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(("bidirectional", "depth"), [(False, 1), (False, 2), (True, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_outputs_and_gradients_are_torchs(kind, bidirectional, depth, masked):
    stack = RecurrentStack(kind, kind, CHANNELS, (UNITS,) * depth, bidirectional)
    params = random_params(stack)
    x = RNG.normal(size=(ROWS, STEPS, CHANNELS)).astype(np.float32)
    length = np.array([7, 3, 1, 5, 7]) if masked else None
    weight = RNG.normal(size=(ROWS, stack.units)).astype(np.float32)

    def loss(params, x):
        _, last = stack.apply(params, x, None if length is None else jnp.asarray(length), Context())
        return (last * weight).sum(), last

    (_, last), (grads, grad_x) = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)
    module = torch_layer(kind, [o for b in stack.layers for o in b], params, bidirectional, depth)
    inputs = torch.tensor(x, requires_grad=True)
    packed = inputs
    if masked:
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            inputs, torch.tensor(length), batch_first=True, enforce_sorted=False
        )
    _, state = module(packed)
    hidden = state[0] if kind == "lstm" else state
    directions = 2 if bidirectional else 1
    theirs = torch.cat(list(hidden[-directions:]), dim=-1)
    np.testing.assert_allclose(last, theirs.detach().numpy(), atol=2e-6)
    (theirs * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(grad_x, inputs.grad.numpy(), atol=3e-6)
    first = stack.layers[0][0].name
    for ours, name in (("kernel", "weight_ih_l0"), ("recurrent", "weight_hh_l0")):
        theirs = getattr(module, name).grad.numpy().T
        np.testing.assert_allclose(grads[f"{first}/{ours}"], theirs, atol=5e-6)
    np.testing.assert_allclose(grads[f"{first}/bias"], module.bias_ih_l0.grad, atol=5e-6)


@pytest.mark.parametrize("kind", GATES)
def test_members_together_are_members_apart(kind):
    stack = RecurrentStack(kind, kind, CHANNELS, (UNITS, UNITS))
    members = [random_params(stack) for _ in range(3)]
    x = jnp.asarray(RNG.normal(size=(ROWS, STEPS, CHANNELS)).astype(np.float32))

    def gradient(params):
        return jax.grad(lambda p: stack.apply(p, x, None, Context())[1].sum())(params)

    together = jax.vmap(gradient)(jax.tree.map(lambda *v: jnp.stack(v), *members))
    for i, params in enumerate(members):
        for name, value in gradient(params).items():
            np.testing.assert_allclose(together[name][i], value, atol=2e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_torchs(causal):
    layer = MultiHeadAttention("a", 8, 2)
    params = random_params(layer)
    x = RNG.normal(size=(ROWS, STEPS, 8)).astype(np.float32)
    mask = RNG.random((ROWS, STEPS)) > 0.3
    mask[:, 0] = True
    ours = layer.apply(params, jnp.asarray(x), jnp.asarray(mask), causal=causal)
    module = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    module.in_proj_weight.data = torch.tensor(np.array(params["a/qkv/kernel"]).T)
    module.in_proj_bias.data = torch.tensor(np.array(params["a/qkv/bias"]))
    module.out_proj.weight.data = torch.tensor(np.array(params["a/output/kernel"]).T)
    module.out_proj.bias.data = torch.tensor(np.array(params["a/output/bias"]))
    inputs = torch.tensor(x)
    hidden = torch.triu(torch.ones(STEPS, STEPS, dtype=torch.bool), 1) if causal else None
    theirs, _ = module(
        inputs, inputs, inputs, key_padding_mask=torch.tensor(~mask), attn_mask=hidden
    )
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=3e-6)


def test_positions_are_sines_and_cosines():
    table = sinusoids(50, 6)
    assert table.shape == (50, 6)
    np.testing.assert_allclose(table[:, 0], np.sin(np.arange(50)), atol=1e-6)
    np.testing.assert_allclose(table[:, 1], np.cos(np.arange(50)), atol=1e-6)
