"""Why LSTM and GRU were invented: adding two numbers that were seen long ago.

Each sequence has T steps of two channels: a random number, and a mark that is 1 at two steps, one
in each half. The answer is the sum of the two marked numbers. Answering 1 always has a mean squared
error of 1/6; to do better a network must carry a number over a hundred steps and more. A simple
RNN's gradient fades (or explodes) on its way back through time, and it learns nothing; the gates of
LSTM and GRU keep it, the better if they start out remembering for as long (``memory_steps``). The
picture shows the size of the loss's gradient with respect to the inputs of each step, before
training and after, and the courses of the losses with and without clipping.
Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997, sec. 5.4.

    python examples/adding_problem.py --out pictures
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from thalweg import Config, Task
from thalweg.models import InputShape
from thalweg.nn.layers import Context
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.scalars import features_of

try:
    from matplotlib.figure import Figure
except ImportError:
    raise SystemExit("the picture needs Matplotlib: pip install matplotlib") from None

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--length", type=int, default=200, help="steps of a sequence (default: 200)")
parser.add_argument("--steps", type=int, default=3000, help="optimisation steps (default: 3000)")
parser.add_argument("--rows", type=int, default=20_000, help="training sequences (default: 20000)")
parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture (default: .)")
options = parser.parse_args()


def sequences(rng: np.random.Generator, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences [N, T, 2] and the sums of their marked numbers [N, 1]."""
    half = options.length // 2
    x = np.zeros((num, options.length, 2), np.float32)
    x[:, :, 0] = rng.random((num, options.length))
    rows = np.arange(num)
    for low, high in ((0, half), (half, options.length)):
        x[rows, rng.integers(low, high, num), 1] = 1.0
    return x, (x[:, :, 0] * x[:, :, 1]).sum(1, keepdims=True)


rng = np.random.default_rng(0)
x, y = sequences(rng, options.rows)
x_new, y_new = sequences(rng, 1000)
data = TrainingData({"sequence": x}, y, {"sequence": x_new}, y_new)
task = Task("regression", targets=("sum",), loss="mse", metric="mse")
inputs = InputShape(sequence=(options.length, 2))

common = {
    "depth": 1,
    "width": 32,
    "batch_size": 32,
    "optimizer": "adam",
    "learning_rate": 5e-3,
    "init": "orthogonal",
}
members = {
    "RNN": Config(common, model="rnn"),
    "RNN, clipped": Config(common, model="rnn", clip_norm=1.0),
    "LSTM": Config(common, model="lstm", memory_steps=options.length),
    "LSTM, clipped": Config(common, model="lstm", memory_steps=options.length, clip_norm=1.0),
    "GRU": Config(common, model="gru", memory_steps=options.length),
    "GRU, clipped": Config(common, model="gru", memory_steps=options.length, clip_norm=1.0),
}
engine = Engine(data, task, inputs, features_of(members.values(), task))


def gradient_over_time(config: Config, params: dict[str, np.ndarray]) -> np.ndarray:
    """Return the mean norm of the loss's gradient with respect to each step's inputs, [T]."""
    network = engine.network(config.structure())

    def loss(steps: jax.Array) -> jax.Array:
        outputs, _ = network.apply(params, {}, {"sequence": steps}, Context())
        return jnp.square(outputs - y_new[:100]).sum()

    gradient = jax.grad(loss)(jnp.asarray(x_new[:100]))
    return np.asarray(jnp.linalg.norm(gradient, axis=-1).mean(0))


figure = Figure(figsize=(11, 4.5), layout="constrained")
losses, gradients = figure.subplots(1, 2)
print(f"{'network':16}{'error after training':>22}{'gradient, first step / last step':>36}")
for kind in ("RNN", "LSTM", "GRU"):
    pair = {name: config for name, config in members.items() if name.startswith(kind)}
    cohort = Cohort(engine, [*pair.values()], [0, 0], options.steps, max(1, options.steps // 60))
    first = gradient_over_time(pair[kind], cohort.weights(0, best=False)[0])
    cohort.advance(options.steps)
    for i, (name, config) in enumerate(pair.items()):
        curve = cohort.curves[i]
        line = "--" if "clipped" in name else "-"
        color = {"RNN": "tab:red", "LSTM": "tab:blue", "GRU": "tab:green"}[kind]
        losses.plot(curve.step, curve.validation, line, color=color, label=name)
        norms = gradient_over_time(config, cohort.weights(i, best=False)[0])
        if "clipped" in name:
            gradients.semilogy(first + 1e-30, ":", color=color, label=f"{kind}, before training")
            gradients.semilogy(norms + 1e-30, color=color, label=f"{name}, after")
        error = curve.validation[-1] if cohort.alive[i] else float("inf")
        print(f"{name:16}{error:22.4f}{norms[0] / max(norms[-1], 1e-30):36.2g}")
losses.axhline(1 / 6, color="grey", linewidth=0.8)
losses.set(
    xlabel="step",
    ylabel="mean squared error",
    title=f"adding, {options.length} steps",
    ylim=(0, 0.3),
)
losses.legend()
gradients.set(
    xlabel="step of the sequence", ylabel="norm of the gradient", title="gradient over time"
)
gradients.legend()
path = options.out / "adding_problem.png"
path.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\npicture: {path}")
