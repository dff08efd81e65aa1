"""``kill -9`` at random moments: does ``thalweg resume`` always end as if nothing had happened?

    python benchmarks/kills.py                  # 100 kills, about ten minutes on 2 cores
    python benchmarks/kills.py --kills 10 --rows 20000 --epochs 100 --baselines

One study with a budget of trials is run to its end. Then the same study is started again and again
in processes that are killed at moments drawn uniformly from the time that a whole one takes, and
resumed until it is finished. Each finished one is compared with the first, trial by trial and digit
by digit (all but the seconds), and its journal is checked: every trial begun once and ended once.
What a kill costs is the time of all processes beyond that of whole studies, divided by the kills.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPACE = """
depth = { choices = [1, 2] }
width = 16
batch_size = 16
optimizer = { choices = ["adamw", "sgd"] }
learning_rate = { low = 1e-3, high = 0.1, log = true }
dropout = { low = 0.0, high = 0.3 }
"""


def make_table(path: Path, num_rows: int) -> None:
    """Write a table with a signal in it."""
    rng = random.Random(0)
    lines = ["a,b,c,city,bought"]
    for _ in range(num_rows):
        a, b, c = (rng.gauss(0, 1) for _ in range(3))
        city = rng.choice(("Bern", "Genf", "Basel"))
        signal = a + 0.5 * b * c + 0.7 * (city == "Bern") + rng.gauss(0, 0.5)
        lines.append(f"{a:.4f},{b:.4f},{c:.4f},{city},{'yes' if signal > 0.2 else 'no'}")
    path.write_text("\n".join(lines) + "\n")


def command(*words: str) -> list[str]:
    """Return a command line of Thalweg."""
    return [sys.executable, "-m", "thalweg.cli", *words]


def records(run: Path) -> list[dict[str, object]]:
    """Return a run's trials, without their seconds."""
    lines = (run / "trials.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    for record in found:
        del record["seconds"]
    return found


def result(run: Path) -> dict[str, object]:
    """Return what a finished run says, as far as it has to be the same every time."""
    summary = json.loads((run / "run.json").read_text())
    kept = ("best_config", "best_trial", "validation", "test", "trials")
    return {name: summary[name] for name in kept} | {"records": records(run)}


def check_journal(run: Path) -> None:
    """Make sure that every trial was begun once and ended once."""
    logs = [json.loads(line) for line in (run / "journal.log").read_text().splitlines()]
    begun = sum(log["op_code"] == 4 for log in logs)
    ended = sorted(log["trial_id"] for log in logs if log["op_code"] == 6)
    assert ended == list(range(begun)), f"{begun} trials begun, ended: {ended}"
    assert begun == len(records(run)), f"{begun} trials in the journal, {len(records(run))} records"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=36)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--baselines", action="store_true", help="fit them too")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_table(folder / "train.csv", args.rows)
        (folder / "space.toml").write_text(SPACE)
        fit = command(
            "fit", str(folder / "train.csv"), "--target", "bought", "--quiet",
            "--trials", str(args.trials), "--epochs", str(args.epochs), "--seeds", "2",
            "--space", str(folder / "space.toml"),
            "--baselines" if args.baselines else "--no-baselines", "--run",
        )  # fmt: skip
        # The first one compiles; the second takes as long as all later ones.
        subprocess.run([*fit, str(folder / "warm")], check=True, stdout=subprocess.DEVNULL)
        start = time.monotonic()
        subprocess.run([*fit, str(folder / "whole")], check=True, stdout=subprocess.DEVNULL)
        whole = time.monotonic() - start
        wanted = result(folder / "whole")
        print(f"a whole study takes {whole:.1f} s and has {len(wanted['records'])} trials")  # type: ignore[arg-type]
        kills = studies = in_training = 0
        spent = 0.0
        while kills < args.kills:
            run = folder / f"run-{studies}"
            while not (run / "run.json").exists():
                begun = (run / "study.json").exists()
                words = command("resume", str(run), "--quiet") if begun else [*fit, str(run)]
                begun_at = time.monotonic()
                process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
                try:
                    code = process.wait(rng.uniform(0.0, whole) if kills < args.kills else None)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    kills += 1
                    in_training += (run / "journal.log").exists()
                else:
                    assert code == 0, f"{words} ended with {code}"
                spent += time.monotonic() - begun_at
            studies += 1
            assert result(run) == wanted, f"study {studies} differs"
            check_journal(run)
            print(f"{kills} kills, {studies} studies finished: all the same", flush=True)
        print(
            f"{kills} kills ({in_training} after the first trial was begun), {studies} studies: "
            "each ended as the one that nobody killed, no trial lost or trained twice"
        )
        cost = (spent - studies * whole) / max(kills, 1)
        print(f"a kill cost {cost:.2f} s: starting again, and what was trained since a checkpoint")


if __name__ == "__main__":
    main()
