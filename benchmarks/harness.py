"""Interleaved runs of contestants, each a program of its own, and what follows from them."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Literal

HERE = Path(__file__).resolve().parent
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE",
    "TF_NUM_INTRAOP_THREADS", "XLA_FLAGS", "JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES",
)  # fmt: skip
LIMIT_SECONDS = 900.0


@dataclass(frozen=True)
class Contestant:
    """One form of one program.

    Args:
        name: What the tables call it.
        script: Its file, relative to ``benchmarks/``.
        form: The ``--form`` it is called with.
        side: ``peers`` run in the peers' Python, ``ours`` in the one that runs the benchmark.
        cache: ``fresh`` gives every run an empty ``THALWEG_CACHE``; ``kept`` fills one with a run
            that isn't counted and keeps it; None leaves caches as they are.
    """

    name: str
    script: str
    form: str
    side: Literal["peers", "ours"] = "peers"
    cache: Literal["fresh", "kept"] | None = None


@dataclass(frozen=True)
class Task:
    """Contestants that do the same work.

    Args:
        title: What the work is.
        contestants: Who does it; in this order within every round.
        clock: ``seconds`` judges the work itself, warm; ``result_seconds`` judges process start to
            result.
        reference: Who the others are divided by: all of ``ours`` (printed as *times faster than*),
            or ``peers`` (printed as *times the cost of*).
    """

    title: str
    contestants: Sequence[Contestant]
    clock: Literal["seconds", "result_seconds"] = "seconds"
    reference: Literal["ours", "peers"] = "ours"


@dataclass
class Record:
    """What came of one contestant: its results round by round, or why there are none."""

    contestant: Contestant
    runs: list[dict] = field(default_factory=list)
    missing: str = ""

    def figures(self, key: str) -> list[float]:
        return [run[key] / run["members"] for run in self.runs]


@dataclass(frozen=True)
class Setting:
    """How all contestants are called."""

    peers_python: str = sys.executable
    ours_python: str = sys.executable
    data: Path | None = None
    tiny: bool = False


def call(contestant: Contestant, setting: Setting, seed: int, cache: str | None = None) -> dict:
    """Run a contestant once.

    Returns:
        Its result with ``result_seconds`` (process start to result) and ``exit_seconds`` added,
        or ``{"missing": reason}``.
    """
    script = HERE / contestant.script
    if not script.exists():
        return {"missing": f"no file benchmarks/{contestant.script}"}
    python = setting.ours_python if contestant.side == "ours" else setting.peers_python
    command = [python, str(script), "--form", contestant.form, "--seed", str(seed)]
    command += ["--data", str(setting.data)] if setting.data else []
    command += ["--tiny"] if setting.tiny else []
    environment = dict(os.environ)
    paths = [str(HERE), str(HERE.parent / "src"), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    if cache is not None:
        environment["THALWEG_CACHE"] = cache
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # would be used instead
    answer: dict | None = None
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=HERE
        )
        guard = Timer(LIMIT_SECONDS, process.kill)
        guard.start()
        assert process.stdout is not None
        for line in process.stdout:
            if (found := _parse(line)) is not None:
                answer = found | {"result_seconds": time.perf_counter() - start}
        code = process.wait()
        guard.cancel()
        exit_seconds = time.perf_counter() - start
        errors.seek(0)
        last = (errors.read().strip().splitlines() or [""])[-1]
    if answer is None:
        return {"missing": last or f"exit code {code}, no result"}
    return answer | {"exit_seconds": exit_seconds, "seed": seed}


def interleave(task: Task, setting: Setting, repeats: int, *, first_seed: int = 0) -> list[Record]:
    """Run all contestants of a task in rounds A B C, A B C, …; round i has seed i.

    One that fails once is listed as missing and left out of the rounds that follow.
    """
    records = [Record(c) for c in task.contestants]
    with tempfile.TemporaryDirectory(prefix="benchmark-cache-") as folder:
        kept = {id(r): str(Path(folder) / str(i)) for i, r in enumerate(records)}
        for record in records:
            if record.contestant.cache == "kept":
                _note(record, call(record.contestant, setting, first_seed, kept[id(record)]), "-")
        for record in records:
            record.runs.clear()  # what filled a cache doesn't count
        for round_ in range(repeats):
            for record in records:
                if record.missing:
                    continue
                cache = None
                if record.contestant.cache == "kept":
                    cache = kept[id(record)]
                elif record.contestant.cache == "fresh":
                    cache = tempfile.mkdtemp(dir=folder)
                answer = call(record.contestant, setting, first_seed + round_, cache)
                _note(record, answer, f"{round_ + 1}/{repeats}")
    return records


def ratios(task: Task, records: Iterable[Record]) -> list[dict]:
    """Divide every peer by every one of ours (or the reverse), round by round."""
    sides = {"ours": [], "peers": []}
    for record in records:
        if record.runs and not record.missing:
            sides[record.contestant.side].append(record)
    found = []
    for ours in sides["ours"]:
        for peer in sides["peers"]:
            above, below = (peer, ours) if task.reference == "ours" else (ours, peer)
            pairs = zip(above.figures(task.clock), below.figures(task.clock), strict=True)
            values = [a / b for a, b in pairs]
            of = "peer / ours" if task.reference == "ours" else "ours / peer"
            found.append(_ratio(ours, peer, of, values))
    return found


def _ratio(ours: Record, peer: Record, of: str, values: list[float]) -> dict:
    return {
        "ours": ours.contestant.name,
        "peer": peer.contestant.name,
        "of": of,
        "ratios": values,
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
    }


def reached(records: Iterable[Record]) -> list[dict]:
    """Divide the time of every peer's search by that in which ours reached its final score.

    Both from process start, round by round; 0 where ours never reached it.
    """
    paths = [r for r in records if r.runs and not r.missing and "path" in r.runs[0]]
    found = []
    for ours in (r for r in paths if r.contestant.side == "ours" and r.runs[0]["path"]):
        for peer in (r for r in paths if r.contestant.side == "peers"):
            values = []
            for own, other in zip(ours.runs, peer.runs, strict=True):
                before = own["result_seconds"] - own["seconds"]
                times = [before + t for t, score in own["path"] if score >= other["score"]]
                values.append(other["result_seconds"] / times[0] if times else 0.0)
            found.append(_ratio(ours, peer, "peer / ours to the peer's final score", values))
    return found


def show(task: Task, records: Sequence[Record], peak: float) -> None:
    """Print a task's table and its ratios; ``peak`` is the machine's in GFLOP/s, 0 if unknown."""
    print(f"\n## {task.title}\n")
    judged = "the work, warm" if task.clock == "seconds" else "process start to result"
    print(f"median [lowest to highest], seconds, per network where many train; judged: {judged}\n")
    print("| contestant | n | work | compile, warm-up | start to result | score | GFLOP/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for record in records:
        name = record.contestant.name
        if record.missing:
            print(f"| {name} | missing: {record.missing} | | | | | |")
            continue
        run = record.runs[0]
        speed = ""
        if run.get("flop"):
            value = statistics.median(r["flop"] / r["seconds"] for r in record.runs) / 1e9
            speed = f"{value:.1f}" + (f" ({value / peak:.0%} of peak)" if peak else "")
        if run["members"] > 1:
            name += f" (per network of {run['members']})"
        cells = [
            spread(record.figures("seconds")),
            spread([r["compile_seconds"] for r in record.runs]),
        ]
        cells += [spread([r["result_seconds"] for r in record.runs])]
        cells += [f"{run['score_name']} {spread([r['score'] for r in record.runs])}", speed]
        print(f"| {name} | {len(record.runs)} | {' | '.join(cells)} |")
    for note in sorted({r["note"] for record in records for r in record.runs if r.get("note")}):
        print(f"\nNote: {note}")
    found = ratios(task, records)
    if not found:
        print("\nNo ratios: one of the two sides is missing.")
        return
    print(f"\nRatios {found[0]['of']}, pair by pair:\n")
    for ratio in found:
        print(_line(ratio))
    sooner = reached(records)
    if sooner:
        print("\nThe same to the peer's final score (0: never reached), pair by pair:\n")
    for ratio in sooner:
        print(f"{_line(ratio)}, {ratio['ratios'].count(0.0)} of {len(ratio['ratios'])} never")


def _line(ratio: dict) -> str:
    return (
        f"- {ratio['ours']} against {ratio['peer']}: "
        f"{ratio['median']:.3g}× [{ratio['low']:.3g} to {ratio['high']:.3g}]"
    )


def spread(values: Sequence[float]) -> str:
    """Write numbers as median [lowest to highest]."""
    text = f"{statistics.median(values):.4g}"
    return text if len(values) < 2 else f"{text} [{min(values):.4g} to {max(values):.4g}]"


def hardware() -> dict[str, object]:
    """Describe the machine, its load and the settings that decide how many threads work."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    flags: set[str] = set()
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": model,
        "vector": next((f for f in ("avx512f", "avx2", "asimd") if f in flags), ""),
        "cores": os.cpu_count(),
        "cores_usable": usable,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": load,
        "environment": {k: os.environ[k] for k in THREAD_VARIABLES if k in os.environ},
    }


def gemm_peak(setting: Setting) -> dict[str, dict]:
    """Measure the float32 matrix-product peak through JAX and through PyTorch."""
    return {
        "jax": call(Contestant("jax", "gemm.py", "jax", "ours"), setting, 0),
        "torch": call(Contestant("torch", "gemm.py", "torch", "peers"), setting, 0),
    }


def _note(record: Record, answer: dict, round_: str) -> None:
    name = record.contestant.name
    if "missing" in answer:
        record.missing = answer["missing"]
        print(f"  [{round_}] {name}: missing: {answer['missing']}", flush=True)
        return
    record.runs.append(answer)
    print(
        f"  [{round_}] {name}: {answer['seconds']:.4g} s, "
        f"start to result {answer['result_seconds']:.4g} s, "
        f"{answer['score_name']} {answer['score']:.4g}",
        flush=True,
    )


def _parse(line: str) -> dict | None:
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "seconds" in found else None
