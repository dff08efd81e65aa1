"""Time Thalweg beside its peers: ``python benchmarks/run.py [TASK ...]`` (see README.md)."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from harness import (
    Contestant,
    Setting,
    Task,
    gemm_peak,
    hardware,
    interleave,
    ratios,
    reached,
    show,
)


def ours(name: str, task: str, form: str, cache: str | None = None) -> Contestant:
    return Contestant(name, f"ours/{task}.py", form, "ours", cache)


def mixed(widths: str) -> Task:
    return Task(
        f"A cohort of 64 networks {widths}, batch 32: all rules mixed against all Adam",
        [
            Contestant("vmap of optax.adam", "mixed_cohort.py", widths, "peers"),
            Contestant(
                "vmap of optax.adam, XLA's defaults", "mixed_cohort.py", f"{widths}-default"
            ),
            ours("Thalweg, all rules mixed", "mixed", widths),
            ours("Thalweg, all Adam", "mixed", f"{widths}-adam"),
        ],
        reference="peers",
    )


def cnn(batch_size: int) -> Task:
    def peer(name: str, script: str, form: str) -> Contestant:
        return Contestant(name, f"peers/{script}_cnn.py", f"{form}-{batch_size}")

    return Task(
        f"CNN 28×28 – 32 – 64 – 10, batch {batch_size}, Adam, one epoch of 9,984 images",
        [
            ours("Thalweg", "cnn", f"alone-{batch_size}"),
            ours("Thalweg, cohort of 8", "cnn", f"cohort-{batch_size}"),
            peer("PyTorch, channels last, fused Adam", "torch", "channels-last"),
            peer("PyTorch, fused Adam", "torch", "contiguous"),
            peer("PyTorch, torch.compile", "torch", "compiled"),
            peer("PyTorch, DataLoader", "torch", "plain"),
            peer("Keras on TensorFlow", "keras", "tensorflow"),
            peer("Keras on JAX", "keras", "jax"),
        ],
    )


def layer(side: int, batch_size: int) -> Task:
    return Task(
        f"Convolution 3×3, 32 → 64 channels on {side}×{side}, batch {batch_size}, "
        "forwards and backwards",
        [
            ours("Thalweg", "layer", f"{side}-{batch_size}"),
            Contestant(
                "PyTorch, channels last", "peers/torch_cnn.py", f"layer-{side}-{batch_size}"
            ),
        ],
    )


def text(kind: str) -> Task:
    def peer(name: str, script: str, form: str) -> Contestant:
        return Contestant(name, f"peers/{script}_text.py", f"{kind}-{form}")

    what = "LSTM of 64 units" if kind == "lstm" else "Transformer, 2 layers of width 64, 4 heads,"
    return Task(
        f"{what} over 64 tokens of 4,000, batch 32, Adam, 500 steps",
        [
            ours("Thalweg", "text", f"{kind}-alone"),
            ours("Thalweg, cohort of 16", "text", f"{kind}-cohort"),
            peer("PyTorch, fused Adam, one thread", "torch", "fused"),
            peer("PyTorch, fused Adam", "torch", "all-threads"),
            peer("PyTorch, plain", "torch", "plain"),
            peer("Keras on JAX", "keras", "jax"),
            peer("Keras on JAX, 25 steps a call", "keras", "jax-stacked"),
        ],
    )


def space(name: str, what: str) -> Task:
    return Task(
        f"{what}: the best by validation accuracy, for the same epochs in all",
        [
            ours("Thalweg, first run", "space", name, "fresh"),
            ours("Thalweg, compiled before", "space", name, "kept"),
            Contestant(
                "Optuna TPE, Hyperband, 2 processes", "peers/optuna_space.py", f"{name}-tpe"
            ),
            Contestant("Optuna GP, Hyperband, 2 processes", "peers/optuna_space.py", f"{name}-gp"),
        ],
        clock="result_seconds",
    )


def recurrent(kind: str) -> Task:
    def peer(name: str, script: str, form: str) -> Contestant:
        return Contestant(name, f"peers/{script}_recurrent.py", f"{kind}-{form}")

    return Task(
        f"{kind.upper()} of 64 units over 50 steps of 32 inputs, batch 32, Adam, 1,000 steps "
        "(so that seconds are milliseconds a step)",
        [
            ours("Thalweg", "recurrent", f"{kind}-alone"),
            ours("Thalweg, cohort of 16", "recurrent", f"{kind}-cohort"),
            peer("PyTorch, fused Adam, one thread", "torch", "fused"),
            peer("PyTorch, fused Adam", "torch", "all-threads"),
            peer("PyTorch, plain", "torch", "plain"),
            peer("Keras on JAX", "keras", "jax"),
            peer("Keras on TensorFlow, 25 steps a call", "keras", "tensorflow-stacked"),
            peer("Keras on TensorFlow", "keras", "tensorflow"),
        ],
    )


# Peers, best form first. "mixed" needs JAX on both sides, so its peers run in our Python.
TASKS: dict[str, list[Task]] = {
    "line": [
        Task(
            "y = 2x + 1 from 100 points, full batch, 1,000 epochs",
            [
                ours("Thalweg", "line", "alone"),
                Contestant("TensorFlow, whole loop in XLA", "peers/tensorflow_line.py", "loop"),
                Contestant("PyTorch, compiled step", "peers/torch_line.py", "compiled"),
                Contestant("PyTorch, bare tensors", "peers/torch_line.py", "tensors"),
                Contestant("PyTorch, nn.Linear and SGD", "peers/torch_line.py", "module"),
                Contestant("TensorFlow, tf.function", "peers/tensorflow_line.py", "function"),
                Contestant("TensorFlow, eager", "peers/tensorflow_line.py", "eager"),
            ],
        )
    ],
    "xor": [
        Task(
            "XOR 2-4-1, batch 1, Adam, 1,000 epochs (4,000 steps)",
            [
                ours("Thalweg", "xor", "alone"),
                ours("Thalweg, cohort of 64", "xor", "cohort"),
                Contestant("PyTorch, compiled step", "peers/torch_xor.py", "compiled"),
                Contestant("PyTorch, fused Adam", "peers/torch_xor.py", "fused"),
                Contestant("PyTorch, plain", "peers/torch_xor.py", "plain"),
                Contestant("Keras on JAX, one long epoch", "peers/keras_xor.py", "jax-stacked"),
                Contestant("Keras on JAX", "peers/keras_xor.py", "jax"),
                Contestant(
                    "Keras on TensorFlow, one long epoch",
                    "peers/keras_xor.py",
                    "tensorflow-stacked",
                ),
                Contestant("Keras on PyTorch", "peers/keras_xor.py", "torch"),
                Contestant("Keras on TensorFlow", "peers/keras_xor.py", "tensorflow"),
            ],
        )
    ],
    "mnist": [
        Task(
            "MLP 784-128-10, batch 32, Adam, one epoch of 60,000",
            [
                ours("Thalweg", "mnist", "alone"),
                ours("Thalweg, cohort of 16", "mnist", "cohort"),
                Contestant("PyTorch, tensors, fused Adam", "peers/torch_mnist.py", "preloaded"),
                Contestant("PyTorch, torch.compile", "peers/torch_mnist.py", "compiled"),
                Contestant("PyTorch, all threads", "peers/torch_mnist.py", "all-threads"),
                Contestant("PyTorch, DataLoader", "peers/torch_mnist.py", "loader"),
                Contestant("Keras on JAX", "peers/keras_mnist.py", "jax"),
                Contestant(
                    "Keras on TensorFlow, 25 steps a call",
                    "peers/keras_mnist.py",
                    "tensorflow-stacked",
                ),
                Contestant("Keras on TensorFlow", "peers/keras_mnist.py", "tensorflow"),
            ],
        )
    ],
    "digits": [
        Task(
            "Best of 64 MLPs on digits, 20 epochs, losers stopped early",
            [
                ours("Thalweg, first run", "digits", "halving", "fresh"),
                ours("Thalweg, compiled before", "digits", "halving", "kept"),
                Contestant(
                    "Optuna TPE, median, 2 processes", "peers/optuna_digits.py", "median-two"
                ),
                Contestant("Optuna TPE, median", "peers/optuna_digits.py", "median"),
                Contestant("Ray Tune ASHA", "peers/ray_digits.py", "asha"),
            ],
            clock="result_seconds",
        ),
        Task(
            "Best of 64 MLPs on digits, 20 epochs, all trained to the end",
            [
                ours("Thalweg, first run", "digits", "all", "fresh"),
                ours("Thalweg, compiled before", "digits", "all", "kept"),
                Contestant("random search, 2 processes", "peers/random_digits.py", "two"),
                Contestant("random search, 1 process", "peers/random_digits.py", "one"),
            ],
            clock="result_seconds",
        ),
    ],
    "search-adult": [space("adult", "MLP on adult, batch 64, 30 trainings of 8 epochs")],
    "search-mnist": [
        space("mnist", "CNN on 6,000 MNIST images, batch 32, 20 trainings of 8 epochs")
    ],
    "search-sst2": [
        space("sst2", "Convolution over 6,000 SST-2 phrases, batch 32, 20 trainings of 6 epochs")
    ],
    "mixed": [mixed("30-64-2"), mixed("784-128-10")],
    "cnn": [cnn(32), cnn(128)],
    "layer": [layer(side, batch_size) for side in (13, 28) for batch_size in (32, 128)],
    "lstm": [recurrent("lstm")],
    "gru": [recurrent("gru")],
    "rnn": [recurrent("rnn")],
    "text": [text("lstm"), text("transformer")],
}
REPEATS = {"digits": 10, "search-adult": 3, "search-mnist": 3, "search-sst2": 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; default all"
    )
    parser.add_argument(
        "--repeats", type=int, help="rounds; default 5, 10 for digits, 3 for search-*"
    )
    parser.add_argument("--peers-python", default=sys.executable, help="Python that has the peers")
    parser.add_argument("--data", type=Path, help="folder with mnist/, adult/, sst2/")
    parser.add_argument(
        "--only", nargs="*", default=[""], help="contestants whose name has one of these texts"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="does everything run? figures mean nothing"
    )
    parser.add_argument("--out", type=Path, help="write everything as JSON to this file")
    args = parser.parse_args()
    unknown = [name for name in args.tasks if name not in TASKS]
    if unknown:
        parser.error(f"unknown task {', '.join(unknown)}: choose from {', '.join(TASKS)}")
    # resolve() would follow a virtual environment's link out of the environment
    peers_python = (
        os.path.abspath(args.peers_python) if os.sep in args.peers_python else args.peers_python
    )
    setting = Setting(peers_python, data=args.data and args.data.resolve(), tiny=args.tiny)

    start = time.perf_counter()
    machine = hardware()
    print("\n".join(f"{key}: {value}" for key, value in machine.items()))
    peaks = gemm_peak(setting)
    for library, found in peaks.items():
        print(f"float32 GEMM peak through {library}: {found.get('score', found.get('missing'))}")
    peak = max((found["score"] for found in peaks.values() if "score" in found), default=0.0)

    report: dict = {"command": sys.argv, "hardware": machine, "gemm": peaks, "tasks": []}
    versions: dict[str, str] = {}
    for name in args.tasks or TASKS:
        for task in TASKS[name]:
            chosen = [
                c for c in task.contestants if any(t.lower() in c.name.lower() for t in args.only)
            ]
            task = Task(task.title, chosen, task.clock, task.reference)
            print(f"\n{task.title}", flush=True)
            here = setting
            if name == "mixed":
                here = Setting(setting.ours_python, data=setting.data, tiny=setting.tiny)
            repeats = args.repeats or (1 if args.tiny else REPEATS.get(name, 5))
            records = interleave(task, here, repeats)
            show(task, records, peak)
            for record in records:
                for run in record.runs:
                    versions.update(run["versions"])
            report["tasks"].append(
                {
                    "name": name,
                    "title": task.title,
                    "clock": task.clock,
                    "contestants": [asdict(record) for record in records],
                    "ratios": ratios(task, records),
                    "reached": reached(records),
                }
            )
            if args.out:  # after every task: an interrupted run keeps what it has
                report |= {"versions": versions, "wall_seconds": time.perf_counter() - start}
                args.out.write_text(json.dumps(report, indent=1))
    print(f"\nversions: {versions}\nwall time: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
