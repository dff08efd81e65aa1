"""Backpropagation against finite differences, for every layer, activation, loss and network.

A derivative is a limit of slopes, so each gradient can be checked with no calculus at all: move one
number a little up and a little down, and divide the difference in height by the distance. In double
precision the two agree to nine digits or so; a wrong formula would be off in the first.

    python examples/gradient_check.py
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from thalweg import Config
from thalweg.models import InputShape, build
from thalweg.nn import layers
from thalweg.nn.layers import ACTIVATIONS, Context, Dense, Embedding
from thalweg.nn.normalisation import BatchNorm, LayerNorm
from thalweg.optim.losses import LOSSES
from thalweg.space import NORMALISATIONS
from thalweg.task import ROW_KINDS
from thalweg.training import backend

DISTANCE = 1e-5
TOLERANCE = 1e-6

rng = np.random.default_rng(0)
x = rng.normal(size=(6, 4))
codes = rng.integers(0, 3, (6, 2))
key = jnp.uint32(7)


def random_like(specs):
    """Return random numbers in the place of initial parameters, so that no gradient is zero."""
    return {name: rng.normal(0.5, 0.5, spec.shape) for name, spec in specs.items()}


def height(values):
    """Return one number that depends on all values in different ways."""
    return jnp.sum(jnp.cos(jnp.arange(values.size).reshape(values.shape)) * values)


def check(function, point):
    """Return the number of derivatives, and the largest error relative to the largest of them."""
    flat, restore = ravel_pytree(jax.tree.map(jnp.asarray, point))
    moves = DISTANCE * jnp.eye(len(flat))

    def both(v):
        up, down = jnp.split(jax.vmap(lambda w: function(restore(w)))(v + jnp.r_[moves, -moves]), 2)
        return jax.grad(lambda w: function(restore(w)))(v), (up - down) / (2 * DISTANCE)

    backward, slopes = jax.jit(both, compiler_options=backend.compiler_options())(flat)
    return len(flat), float(jnp.max(jnp.abs(backward - slopes)) / jnp.max(jnp.abs(slopes)))


def layer_checks():
    dense = Dense("dense", 4, 3)
    norm, batch = LayerNorm("norm", 4), BatchNorm("norm", 4)
    embedding = Embedding("embedding", (3, 3), (2, 4))
    running = {"norm/mean": x.mean(0) + 0.1, "norm/var": x.var(0) + 0.2}
    training = Context(train=True, key=key, dropout=jnp.array(0.3), input_noise=jnp.array(0.2))
    weighted = Context(train=True, weight=jnp.array([1.0, 2.0, 0.0, 1.0, 3.0, 0.5]))
    both = {"x": x, **random_like(norm.params())}
    yield "dense", lambda p: height(dense.apply(p, p["x"])), {"x": x, **random_like(dense.params())}
    yield "embedding", lambda p: height(embedding.apply(p, codes)), random_like(embedding.params())
    yield "layer normalisation", lambda p: height(norm.apply(p, p["x"])), both
    for name, context in (
        ("batch normalisation, training", Context(train=True)),
        ("batch normalisation, weighted rows", weighted),
        ("batch normalisation, running averages", Context()),
    ):
        yield name, lambda p, c=context: height(batch.apply(p, running, p["x"], c)[0]), both
    yield "dropout", lambda p: height(layers.dropout(p, training, 0)), x
    yield "input noise", lambda p: height(layers.numeric_noise(p, training)), x
    mixing = Context(train=True, mix=jnp.array(0.7))
    yield "mixup", lambda p: height(layers.mixup(p, mixing)), x


def activation_checks():
    for name, activation in ACTIVATIONS.items():
        yield name, lambda p, f=activation: height(f(p)), x


def loss_checks():
    distributions = rng.dirichlet(np.ones(4), 6)
    targets = {
        "regression": {"": np.abs(rng.normal(size=(6, 4)))},
        "binary": {"": rng.integers(0, 2, 6), ", probabilities": rng.random(6)},
        "multiclass": {"": rng.integers(0, 4, 6), ", distributions": distributions},
    }
    for kind, losses in ((kind, LOSSES[kind]) for kind in ROW_KINDS):
        outputs = x[:, :1] if kind == "binary" else x
        for name, loss in losses.items():
            for suffix, target in targets[kind].items():
                settings = (
                    {"label_smoothing": 0.1} if "label_smoothing" in loss.hyperparameters else {}
                )
                yield (
                    f"{kind}: {name}{suffix}",
                    lambda p, f=loss, t=target, hp=settings: height(f(p, jnp.asarray(t), hp)),
                    outputs,
                )


def network_checks():
    cross_entropy = LOSSES["multiclass"]["cross_entropy"]
    classes = jnp.asarray(rng.integers(0, 3, 6))
    configs = [Config(model="linear")] + [
        Config(width=5, depth=3, activation="tanh", normalisation=normalisation, residual=residual)
        for normalisation in NORMALISATIONS
        for residual in (False, True)
    ]
    fields = {"numeric": x, "category": codes}
    for config in configs:
        structure = config.structure()
        network = build(structure, InputShape(numeric=4, cardinalities=(3, 3)), 3)
        context = Context(train=True, key=key, dropout=jnp.array(0.2))

        def loss(params, network=network, context=context):
            outputs, _ = network.apply(params, network.state(), fields, context)
            return jnp.mean(cross_entropy(outputs, classes))

        yield structure.name.removesuffix("-b32"), loss, random_like(network.params())


worst, count = 0.0, 0
with jax.enable_x64(True):
    for title, checks in {
        "layers": layer_checks,
        "activations": activation_checks,
        "losses": loss_checks,
        "whole networks, with embeddings and dropout": network_checks,
    }.items():
        print(f"\n{title:48}{'numbers':>8}{'largest error':>16}")
        for name, function, point in checks():
            size, error = check(function, point)
            print(f"  {name:46}{size:8}{error:16.1e}{'' if error < TOLERANCE else '   WRONG'}")
            worst, count = max(worst, error), count + 1
print(f"\nlargest relative error of {count} checks: {worst:.1e}")
sys.exit(worst > TOLERANCE)
