"""One convolution of 32 to 64 channels in Thalweg, forwards and backwards, in a compiled loop."""

from __future__ import annotations

from argparse import Namespace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from problems import CNN_BATCHES, CNN_CHANNELS, CNN_KERNEL, LAYER_REPEATS, LAYER_SIDES
from protocol import clock, conv_flop, play, result

from thalweg.nn.convolution import Conv2D
from thalweg.training.programs import compile_program


def run(args: Namespace, side: int, batch_size: int) -> dict[str, object]:
    inputs, outputs = CNN_CHANNELS
    layer = Conv2D("conv", inputs, outputs, CNN_KERNEL, padding="valid")
    rng = np.random.default_rng(args.seed)
    repeats = 3 if args.tiny else LAYER_REPEATS * 32 * 13**2 // (batch_size * side**2)
    repeats = max(3, repeats)
    params = {
        name: jnp.asarray(0.05 * rng.standard_normal(spec.shape, np.float32))
        for name, spec in layer.params().items()
    }
    x = jnp.asarray(rng.standard_normal((batch_size, side, side, inputs), np.float32))

    def half_square(params, x):
        return 0.5 * jnp.square(layer.apply(params, x)).sum()

    def loop(params, x, rate, repeats):
        # Each turn needs the last one's results, or the compiler would take work out of the loop.
        # The rate is 0, which it cannot know.
        def body(_, carry):
            grads = jax.grad(half_square, (0, 1))(*carry)
            return jax.tree.map(lambda a, g: a - rate * g, carry, grads)

        return lax.fori_loop(0, repeats, body, (params, x))

    lap = clock()
    arguments = (params, x, jnp.float32(0), jnp.int32(repeats))
    program = compile_program(loop, arguments)
    jax.block_until_ready(program.call(params, x, jnp.float32(0), jnp.int32(2)))
    compile_seconds = lap()
    jax.block_until_ready(program.call(*arguments))
    seconds = lap()
    return result(
        seconds / repeats,
        float(jnp.square(layer.apply(params, x)).mean()),
        "mean square of the outputs",
        packages=["thalweg", "jax"],
        compile_seconds=compile_seconds,
        steps=1,
        flop=3 * conv_flop(side, inputs, outputs, CNN_KERNEL, batch_size),
    )


if __name__ == "__main__":
    play(
        {
            f"{side}-{batch_size}": lambda args, s=side, b=batch_size: run(args, s, b)
            for side in LAYER_SIDES
            for batch_size in CNN_BATCHES
        }
    )
