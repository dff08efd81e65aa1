"""XOR, which no straight line can separate, learnt by a 2-4-1 network of sigmoids.

Binary cross-entropy, Adam at 0.01, one sample at a time, from many random starts at once: they are
the members of one cohort, one compiled program. A few starts need longer, or stay where two of the
four points look alike: that is why one seed is no evidence.

    python examples/xor.py
"""

import argparse

import numpy as np

from thalweg import Config, Task
from thalweg.models import InputShape
from thalweg.train.cohort import Engine, TrainingData, features_of, network_outputs

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
task = Task("binary", targets=("xor",), classes=(0, 1), loss="cross_entropy", metric="log_loss")
engine = Engine(data, task, InputShape(numeric=2), features_of([config], task))

steps = 4 * options.epochs
cohort = engine.cohort([config] * options.starts, range(options.starts), steps, steps // 10)
cohort.advance(steps)

network = engine.network(config.structure())
probability = np.empty((options.starts, 4))
for start in range(options.starts):
    params, state = cohort.weights(start, best=False)
    logits = network_outputs(network, params, state, {"numeric": x}, max_rows=4)[:, 0]
    probability[start] = 1 / (1 + np.exp(-logits))

print("probability of XOR(a, b) = 1 after", options.epochs, "epochs")
print("start   (0,0)   (0,1)   (1,0)   (1,1)    loss")
for start, row in enumerate(probability):
    loss = cohort.curves[start].validation[-1]
    print(f"{start:5}" + "".join(f"{p:8.3f}" for p in row) + f"{loss:8.3f}")
learnt = ((probability > 0.5) == y).all(axis=1).sum()
print(f"{learnt} of {options.starts} starts have learnt XOR")
