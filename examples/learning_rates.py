"""What the learning rate does: too small, right, too large; and how clipping stops an explosion.

A network learns a sine by plain SGD. A rate too small gets there some day. A rate too large jumps
across the valley and lands higher than it started, where the slope is steeper still, and so on:
the loss explodes. It may come back as a network of dead units that predicts the mean, or end as
infinity, when Thalweg freezes the member; its neighbours never notice. Clipping the gradient's
global norm bounds the length of a step, and the same large rate trains.

    python examples/learning_rates.py --out pictures
"""

import argparse
from pathlib import Path

import numpy as np

from thalweg import Config, Task
from thalweg.models import InputShape
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.scalars import features_of

try:
    from matplotlib.figure import Figure
except ImportError:
    raise SystemExit("the picture needs Matplotlib: pip install matplotlib") from None

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=800, help="optimisation steps (default: 800)")
parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture (default: .)")
options = parser.parse_args()

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (256, 1)).astype(np.float32)
y = (np.sin(4 * x) + rng.normal(0, 0.1, x.shape)).astype(np.float32)

network = Config(depth=2, width=32, activation="relu", batch_size=32, optimizer="sgd")
members = {
    "0.0003: too small": network.with_values(learning_rate=0.0003),
    "0.1: right": network.with_values(learning_rate=0.1),
    "0.6: too large": network.with_values(learning_rate=0.6),
    "2: far too large": network.with_values(learning_rate=2.0),
    "2, clipped to norm 0.1": network.with_values(learning_rate=2.0, clip_norm=0.1),
}

# Rates and clipping are arguments of the program: the five train together, compiled once.
data = TrainingData({"numeric": x}, y, validation_fields={"numeric": x}, validation_target=y)
task = Task("regression", targets=("y",), loss="mse", metric="mse")
engine = Engine(data, task, InputShape(numeric=1), features_of(members.values(), task))
cohort = Cohort(engine, [*members.values()], [0] * len(members), options.steps, 1)
cohort.advance(options.steps)

print(f"{'learning rate':25}{'after 1 step':>15}{'largest':>12}{f'after {options.steps}':>15}")
figure = Figure(figsize=(8, 4.5), layout="constrained")
axes = figure.subplots()
for name, curve, alive in zip(members, cohort.curves, cohort.alive, strict=True):
    loss = np.array(curve.validation)
    end = f"{loss[-1]:.4g}" if alive else "diverged"
    print(f"{name:25}{loss[0]:15.4g}{np.nanmax(loss):12.4g}{end:>15}")
    axes.plot(curve.step, np.where(np.isfinite(loss), loss, 1e30), label=name)
axes.set(
    xscale="log",
    yscale="log",
    xlim=(1, options.steps),
    ylim=(3e-3, 1e6),
    xlabel="step",
    ylabel="mean squared error",
    title="One network, one data set, one order of the rows: only the step differs",
)
axes.axhline(y.var(), color="grey", linestyle=":", label="predicting the mean")
axes.legend(title="learning rate", loc="upper right")
options.out.mkdir(parents=True, exist_ok=True)
path = options.out / "learning_rates.png"
figure.savefig(path, dpi=120)
print(f"picture: {path}")
