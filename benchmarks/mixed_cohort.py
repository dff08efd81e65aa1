"""A lean cohort to compare with: nothing but ``vmap`` of ``optax.adam``.

64 multilayer perceptrons, each with its own weights and learning rate, one shared batch of 32 per
step, one compiled loop over the steps, buffers donated. No clipping, no regularisation, no
records, no second rule: what the mixed cohort's generality is paid against.
"""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
from protocol import clock, mlp_flop, play, result

MEMBERS = 64
BATCH_SIZE = 32
ROWS = 2_048
# jaxlib 0.10.2 miscompiles some vmapped products followed by a reduction (jax issue 39103) unless
# its YNNPACK fusions are off; form "...-default" leaves XLA as it comes, for comparison.
SAFE = {"xla_cpu_experimental_ynn_fusion_type": ""}


def loss(params: list[tuple[jax.Array, jax.Array]], x: jax.Array, y: jax.Array) -> jax.Array:
    for weight, bias in params[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = params[-1]
    return optax.softmax_cross_entropy_with_integer_labels(x @ weight + bias, y).mean()


def step(params, opt_state, learning_rate, x, y):
    value, grads = jax.value_and_grad(loss)(params, x, y)
    updates, opt_state = optax.adam(learning_rate).update(grads, opt_state)
    return optax.apply_updates(params, updates), opt_state, value


@partial(jax.jit, donate_argnums=(0, 1))
def train(params, opt_state, learning_rate, x, y, order):
    """Train all members for ``order.shape[0]`` steps; return their state and losses [T, K]."""
    cohort_step = jax.vmap(step, in_axes=(0, 0, 0, None, None))

    def body(carry, rows):
        params, opt_state, losses = cohort_step(*carry, learning_rate, x[rows], y[rows])
        return (params, opt_state), losses

    return jax.lax.scan(body, (params, opt_state), order)


def run(args: Namespace, widths: tuple[int, ...], steps: int, options: dict[str, str]):
    rng = np.random.default_rng(args.seed)
    steps = 5 if args.tiny else steps
    x = jnp.asarray(rng.standard_normal((ROWS, widths[0]), np.float32))
    y = jnp.asarray(rng.integers(0, widths[-1], ROWS, dtype=np.int32))
    order = jnp.asarray(rng.integers(0, ROWS, (steps, BATCH_SIZE), dtype=np.int32))
    learning_rate = jnp.asarray(np.geomspace(1e-4, 1e-2, MEMBERS, dtype=np.float32))

    def fresh():
        params = [
            (
                jax.device_put(
                    np.sqrt(2 / a, dtype=np.float32)
                    * rng.standard_normal((MEMBERS, a, b), np.float32)
                ),
                jnp.zeros((MEMBERS, b)),
            )
            for a, b in pairwise(widths)
        ]
        opt_state = jax.vmap(optax.adam(1e-3).init)(params)
        return jax.block_until_ready((params, opt_state))

    lap = clock()
    compiled = train.lower(*fresh(), learning_rate, x, y, order).compile(compiler_options=options)
    jax.block_until_ready(compiled(*fresh(), learning_rate, x, y, order))
    compile_seconds = lap()
    state = fresh()
    lap()
    _, losses = jax.block_until_ready(compiled(*state, learning_rate, x, y, order))
    return result(
        lap(),
        float(losses.mean()),
        "training loss, mean of members and steps",
        packages=["jax", "optax"],
        compile_seconds=compile_seconds,
        members=MEMBERS,
        steps=steps,
        flop=MEMBERS * steps * mlp_flop(widths, BATCH_SIZE),
    )


if __name__ == "__main__":
    sizes = {"30-64-2": ((30, 64, 2), 1_000), "784-128-10": ((784, 128, 10), 60)}
    play(
        {
            name + suffix: partial(run, widths=widths, steps=steps, options=options)
            for name, (widths, steps) in sizes.items()
            for suffix, options in (("", SAFE), ("-default", {}))
        }
    )
