"""Simple regret of the searchers on test functions, beside Optuna's GP and TPE.

Every contestant has the same number of evaluations, in batches of 1 or 32; seed by seed the ratio
of regrets is taken (its logarithm, paired), with a 95 % interval. Noisy functions are told with
noise and judged without. No contestant trains anything.

    python benchmarks/search_functions.py --seeds 10 --batch 1 32 --out functions.json
    python benchmarks/search_functions.py --functions branin --searchers gp --optuna
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thalweg.search import make_searcher
from thalweg.space import Choice, Float, Space

NAMES = ("b1", "b2", "momentum", "dropout", "label_smoothing", "warmup", "flip", "cutmix",
         "class_weight", "cutout")  # fmt: skip
TOP = 0.99
ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
A3 = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
P3 = 1e-4 * np.array(
    [[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]
)
A6 = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8],
               [17, 8, 0.05, 10, 0.1, 14]])  # fmt: skip
P6 = 1e-4 * np.array([[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
                      [2348, 1451, 3522, 2883, 3047, 6650],
                      [4047, 8828, 8732, 5743, 1091, 381]])  # fmt: skip
FLOOR = 1e-6
"""Regrets below this count as this: nobody tunes to more digits."""


def branin(x: np.ndarray) -> float:
    """Three equal minima; Dixon and Szego, 1978."""
    a, b = -5 + 15 * x[0], 15 * x[1]
    bowl = (b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6) ** 2
    return float(bowl + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10 - 0.39788736)


def hartmann3(x: np.ndarray) -> float:
    """Four minima in three dimensions; Hartmann, 1973."""
    return float(3.86277979 - (ALPHA * np.exp(-(A3 * (x - P3) ** 2).sum(1))).sum())


def hartmann6(x: np.ndarray) -> float:
    """Six minima in six dimensions; Hartmann, 1973."""
    return float(3.32236801 - (ALPHA * np.exp(-(A6 * (x - P6) ** 2).sum(1))).sum())


def ackley(x: np.ndarray) -> float:
    """Very many minima; Ackley, 1987. The best point lies off the middle of the cube."""
    z = 65.536 * (0.8 * x + 0.1) - 32.768
    rough = -np.exp(np.cos(2 * np.pi * z).mean())
    return float(20 - 20 * np.exp(-0.2 * np.sqrt((z**2).mean())) + np.e + rough)


def ackley_off(x: np.ndarray) -> float:
    """Ackley with its best point at 0.3 of each axis."""
    return ackley(np.asarray(x) + 0.2)


def rosenbrock(x: np.ndarray) -> float:
    """A bent, flat valley; Rosenbrock, 1960."""
    z = -2.048 + 4.096 * x
    return float((100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum())


def categorical(x: np.ndarray, kind: int) -> float:
    """Branin, shifted and raised by a kind: one of five is right."""
    shift = 0.12 * np.array([0, 1, -1, 2, -2])[kind]
    return branin(np.clip(np.asarray(x) + shift, 0, 1)) + 4.0 * (kind != 3)


@dataclass(frozen=True)
class Function:
    """A test function: dimensions, evaluations, deviation of its noise, kinds of a choice."""

    of: Callable[..., float]
    num: int
    evaluations: int
    noise: float = 0.0
    kinds: int = 0


FUNCTIONS = {
    "branin": Function(branin, 2, 64),
    "hartmann3": Function(hartmann3, 3, 64),
    "hartmann6": Function(hartmann6, 6, 128),
    "ackley10": Function(ackley_off, 10, 192),
    "rosenbrock4": Function(rosenbrock, 4, 128),
    "branin_noisy": Function(branin, 2, 96, noise=1.0),
    "hartmann6_noisy": Function(hartmann6, 6, 160, noise=0.1),
    "branin_kinds": Function(categorical, 2, 96, kinds=5),
}


def best_point_regret(points: list[tuple[float, float]]) -> float:
    """Return the true regret of what would be chosen: the point that was told to be best."""
    return min(points)[1]


def ours(searcher: str, function: Function, seed: int, batch: int) -> float:
    """Return the regret of one of Thalweg's searchers."""
    names = NAMES[: function.num]
    domains: dict[str, object] = {name: Float(0.0, TOP) for name in names}
    if function.kinds:
        domains["optimizer"] = Choice([f"kind{i}" for i in range(function.kinds)])
    state = make_searcher(searcher, Space(domains), seed)
    noise = np.random.default_rng([seed, 1])
    seen: list[tuple[float, float]] = []
    while len(seen) < function.evaluations:
        state, configs = state.ask(min(batch, function.evaluations - len(seen)))
        told = []
        for config in configs:
            x = np.array([config[name] / TOP for name in names])
            more = (int(config["optimizer"][4:]),) if function.kinds else ()
            true = function.of(x, *more)
            told.append(true + function.noise * noise.standard_normal())
            seen.append((told[-1], true))
        state = state.tell(configs, -np.array(told))
    return best_point_regret(seen)


def optunas(sampler: str, function: Function, seed: int, batch: int) -> float:
    """Return the regret of one of Optuna's samplers, in its best form for batches."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = (
            optuna.samplers.GPSampler(seed=seed)
            if sampler == "gp"
            else optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=batch > 1)
        )
        study = optuna.create_study(sampler=made)
        noise = np.random.default_rng([seed, 1])
        seen: list[tuple[float, float]] = []
        while len(seen) < function.evaluations:
            trials = [study.ask() for _ in range(min(batch, function.evaluations - len(seen)))]
            told = []
            for trial in trials:
                x = np.array([trial.suggest_float(n, 0.0, 1.0) for n in NAMES[: function.num]])
                kinds = range(function.kinds)
                more = (trial.suggest_categorical("kind", kinds),) if function.kinds else ()
                true = function.of(x, *more)
                told.append(true + function.noise * noise.standard_normal())
                seen.append((told[-1], true))
            for trial, value in zip(trials, told, strict=True):
                study.tell(trial, float(value))
    return best_point_regret(seen)


def paired(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Return the geometric mean of one / other, with its 95 % interval over seeds."""
    from scipy.stats import t

    logs = np.log(np.maximum(one, FLOOR)) - np.log(np.maximum(other, FLOOR))
    middle = float(logs.mean())
    if len(logs) < 2:
        return math.exp(middle), 0.0, math.inf
    half = float(t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs)))
    # Regrets span many orders of magnitude; an interval beyond e^50 says nothing.
    return math.exp(middle), math.exp(max(middle - half, -50)), math.exp(min(middle + half, 50))


def main() -> None:
    """Run the contestants and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--functions", nargs="*", default=list(FUNCTIONS))
    parser.add_argument(
        "--searchers", nargs="*", default=["sobol", "gp", "tpe", "cmaes", "evolution"]
    )
    parser.add_argument("--batch", nargs="*", type=int, default=[1, 32])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--optuna", nargs="*", default=["gp", "tpe"], help="its samplers")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    contestants: dict[str, Callable[[Function, int, int], float]] = {}
    for name in options.optuna:
        contestants[f"optuna {name}"] = lambda f, s, b, n=name: optunas(n, f, s, b)
    for name in options.searchers:
        contestants[name] = lambda f, s, b, n=name: ours(n, f, s, b)
    rows = []
    for title in options.functions:
        function = FUNCTIONS[title]
        for batch in options.batch:
            regrets: dict[str, list[float]] = {name: [] for name in contestants}
            seconds = dict.fromkeys(contestants, 0.0)
            for seed in range(options.seeds):
                for name, play in contestants.items():
                    start = time.perf_counter()
                    regrets[name].append(play(function, seed, batch))
                    seconds[name] += time.perf_counter() - start
            for name, found in regrets.items():
                row = {
                    "function": title,
                    "batch": batch,
                    "evaluations": function.evaluations,
                    "contestant": name,
                    "regrets": found,
                    "seconds": seconds[name] / options.seeds,
                }
                line = (
                    f"{title:16s} batch {batch:2d}  {name:12s} median {np.median(found):.2e} "
                    f"[{min(found):.1e} to {max(found):.1e}]  {row['seconds']:6.2f} s"
                )
                for peer in ("optuna gp", "optuna tpe"):
                    if peer in regrets and name != peer:
                        row[peer] = paired(np.array(found), np.array(regrets[peer]))
                        ratio, low, high = row[peer]
                        line += f"  / {peer[7:]} {ratio:.2g} [{low:.2g} to {high:.2g}]"
                print(line, flush=True)
                rows.append(row)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
