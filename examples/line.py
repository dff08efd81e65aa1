"""The line y = 2x + 1 + noise, found by gradient descent in its three classical forms.

Full-batch descent follows the exact slope of the loss and lands on the least-squares line. With
mini-batches, and still more with one sample at a time (SGD in the textbook's sense), each step is
cheaper and noisier: at a constant rate the line keeps trembling around the same place, and a rate
that falls to nothing lets it settle. All of them take the same number of steps.

    python examples/line.py
"""

import argparse

import numpy as np

from thalweg import Config, Task
from thalweg.models import InputShape
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.scalars import features_of

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=2000, help="steps of each (default: 2000)")
parser.add_argument("--seed", type=int, default=0, help="of points, order and start (default: 0)")
options = parser.parse_args()

rng = np.random.default_rng(options.seed)
x = rng.uniform(-1, 1, (100, 1)).astype(np.float32)
y = (2 * x + 1 + rng.normal(0, 0.3, x.shape)).astype(np.float32)

line = Config(model="linear", learning_rate=0.1)
ways = {
    "full batch (100 rows)": line.with_values(optimizer="gd", batch_size="full"),
    "mini-batch (10 rows)": line.with_values(optimizer="sgd", batch_size=10),
    "one sample": line.with_values(optimizer="sgd", batch_size=1),
    "one sample, falling rate": line.with_values(optimizer="sgd", batch_size=1, schedule="linear"),
}

data = TrainingData({"numeric": x}, y, validation_fields={"numeric": x}, validation_target=y)
task = Task("regression", targets=("y",), loss="mse", metric="mse")
engine = Engine(data, task, InputShape(numeric=1), features_of(ways.values(), task))

slope, intercept = np.polyfit(x[:, 0], y[:, 0], 1)
print(f"{'':26}{'slope':>8}{'intercept':>11}{'loss':>9}{'  off the best line by':>22}")
print(f"{'how the points were made':26}{2:8.4f}{1:11.4f}")
print(f"{'least squares':26}{slope:8.4f}{intercept:11.4f}")
for name, config in ways.items():
    cohort = Cohort(engine, [config], [options.seed], options.steps, options.steps // 20)
    cohort.advance(options.steps)
    params, _ = cohort.weights(0, best=False)
    a, b = params["output/kernel"].item(), params["output/bias"].item()
    off = np.hypot(a - slope, b - intercept)
    print(f"{name:26}{a:8.4f}{b:11.4f}{cohort.curves[0].validation[-1]:9.4f}{off:22.6f}")
