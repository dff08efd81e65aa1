"""XOR, which no straight line can separate, learnt by a 2-4-1 network of sigmoids.

Binary cross-entropy, Adam at 0.01, one sample at a time, from many random starts at once: they are
the members of one cohort, one compiled program. Some starts need several times as long as others:
that is why one seed is no evidence.

    python examples/xor.py
"""

import argparse

import numpy as np

from thalweg import Config, Task
from thalweg.models import InputShape
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.outputs import network_outputs
from thalweg.training.scalars import features_of

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=1000, help="of four steps (default: 1000)")
parser.add_argument("--starts", type=int, default=16, help="random starts (default: 16)")
options = parser.parse_args()

x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
y = np.array([0, 1, 1, 0], np.int32)

config = Config(
    depth=1,
    width=4,
    activation="sigmoid",
    init="glorot_normal",
    batch_size=1,
    optimizer="adam",
    learning_rate=0.01,
)
data = TrainingData({"numeric": x}, y, validation_fields={"numeric": x}, validation_target=y)
task = Task("binary", targets=("xor",), classes=(0, 1), loss="cross_entropy", metric="accuracy")
engine = Engine(data, task, InputShape(numeric=2), features_of([config], task))

steps = 4 * options.epochs
cohort = Cohort(engine, [config] * options.starts, range(options.starts), steps, 4 * 10)
cohort.advance(steps)

params, state = cohort.weights(0, best=False)
logits = network_outputs(engine.network(config.structure()), params, state, {"numeric": x}, 4)
print(f"the first network after {options.epochs} epochs")
for (a, b), truth, logit in zip(x.astype(int), y, logits[:, 0], strict=True):
    print(f"  {a} xor {b} = {truth}: says 1 with probability {1 / (1 + np.exp(-logit)):.3f}")

learnt = [
    curve.step[curve.validation.index(1.0)] / 4
    for curve in cohort.curves
    if 1.0 in curve.validation
]
print(f"{len(learnt)} of {options.starts} networks have all four right")
if learnt:
    low, middle, high = np.quantile(learnt, [0, 0.5, 1])
    print(
        f"  from epoch {low:.0f} on the quickest, {middle:.0f} the median, {high:.0f} the slowest"
    )
losses = sorted(curve.validation_loss[-1] for curve in cohort.curves)
print(f"cross-entropy at the end: from {losses[0]:.3f} to {losses[-1]:.3f}")
