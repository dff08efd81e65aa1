"""Every first-order rule of Thalweg races on three classical valleys; a picture shows their paths.

Rosenbrock's banana, Beale's corner and an ill-conditioned quadratic (curvatures 1 and 100). Each
rule runs at many learning rates, all at once: a rule is a row of coefficients, so the whole race is
one compiled program. Each is judged at its own best rate, the fair way: a rule given another's rate
proves nothing.

    python examples/optimizer_race.py --out pictures
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.optim import rules
from thalweg.training import backend

try:
    from matplotlib.figure import Figure
except ImportError:
    raise SystemExit("the picture needs Matplotlib: pip install matplotlib") from None

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=1000, help="of every runner (default: 1000)")
parser.add_argument("--rates", type=int, default=41, help="learning rates of a rule (default: 41)")
parser.add_argument("--tolerance", type=float, default=1e-4, help="of the height (default: 1e-4)")
parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture (default: .)")
options = parser.parse_args()


def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def beale(p):
    return sum((a - p[0] * (1 - p[1] ** k)) ** 2 for k, a in ((1, 1.5), (2, 2.25), (3, 2.625)))


def quadratic(p):
    return 0.5 * (p[0] ** 2 + 100 * p[1] ** 2)


# name: function, start, minimum, window of the picture
VALLEYS = {
    "Rosenbrock": (rosenbrock, (-1.2, 1.0), (1.0, 1.0), (-1.8, 1.6, -0.7, 1.8)),
    "Beale": (beale, (1.0, 1.4), (3.0, 0.5), (-0.5, 4.0, -1.2, 1.7)),
    "quadratic 1:100": (quadratic, (-1.5, 0.6), (0.0, 0.0), (-1.8, 1.0, -0.8, 0.8)),
}
DRAWN = ("gd", "momentum", "nesterov", "rmsprop", "adam", "lion")

kinds = [kind for kind in rules.RULES for _ in range(options.rates)]
rates = np.tile(np.geomspace(1e-5, 10, options.rates), len(rules.RULES))
uses = rules.features(kinds)
start_values = rules.initial_values(kinds, {"learning_rate": rates})
hyper = {"learning_rate": rates, "weight_decay": 0.0}
table = rules.stack(rules.table(kinds, hyper, 1, options.steps, uses=uses), uses)  # [T, K, C]


def race(valley, start):
    """Return the paths of all runners, [K, T + 1, 2], and their heights, [K, T + 1]."""

    def run(initial, rows):
        def step(carry, row):
            p, state = carry
            grads = jax.grad(valley)(p)
            p, state = rules.update(p, grads, state, rules.unstack(row, uses), uses)
            return (p, state), (p, valley(p))

        p = jnp.array(start, jnp.float32)
        _, (path, height) = jax.lax.scan(step, (p, rules.init_state(p, uses, initial)), rows)
        return jnp.concatenate([p[None], path]), jnp.concatenate([valley(p)[None], height])

    runners = jax.vmap(run, in_axes=(0, 1))
    return jax.jit(runners, compiler_options=backend.compiler_options())(start_values, table)


figure = Figure(figsize=(15, 5.4), layout="constrained")
results = {kind: [] for kind in rules.RULES}
for axes, (name, (valley, start, goal, window)) in zip(
    figure.subplots(1, 3), VALLEYS.items(), strict=True
):
    paths, heights = map(np.asarray, race(valley, start))
    heights = np.where(np.isfinite(heights), heights, np.inf)
    # The height is the worst of the last steps, so that passing through the minimum does not count.
    height = heights[:, -max(1, options.steps // 20) :].max(axis=1)
    last_outside = options.steps - np.argmax(heights[:, ::-1] > options.tolerance, axis=1)
    arrived = np.where(height > options.tolerance, np.inf, last_outside + 1)
    # Best by steps or, where no rate arrives, by height; the last one entered is the best.
    chosen = {kinds[runner]: runner for runner in np.lexsort((height, arrived))[::-1]}
    for kind, runner in chosen.items():
        results[kind].append((arrived[runner], height[runner], rates[runner]))

    left, right, low, high = window
    grid = np.meshgrid(np.linspace(left, right, 200), np.linspace(low, high, 200))
    ground = np.log10(np.asarray(valley(jnp.stack(list(map(jnp.asarray, grid))))) + 1e-3)
    axes.contourf(*grid, ground, levels=24, cmap="Greys", alpha=0.6)
    for kind in DRAWN:
        path = paths[chosen[kind]]
        axes.plot(path[:, 0], path[:, 1], linewidth=1.2, label=kind)
    axes.plot(*start, "ko", *goal, "k*", markersize=10)
    axes.set(title=name, xlim=window[:2], ylim=window[2:])

figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(DRAWN))
print(
    f"steps to come within {options.tolerance:g} of the minimum and stay there, or the height\n"
    f"after {options.steps} steps; each rule at the best of {options.rates} learning rates"
)
print(f"{'':32}" + "".join(f"{name:^26}" for name in VALLEYS))
for kind in sorted(results, key=lambda kind: np.sum(results[kind], axis=0).tolist()):
    print(f"{kind:32}", end="")
    for steps, height, rate in results[kind]:
        reached = f"{steps:.0f} steps" if np.isfinite(steps) else f"{height:.1e} high"
        print(f"{reached:>13} at {rate:<9.1g}", end=" ")
    print()
options.out.mkdir(parents=True, exist_ok=True)
path = options.out / "optimizer_race.png"
figure.savefig(path, dpi=100)
print(f"picture: {path}")
