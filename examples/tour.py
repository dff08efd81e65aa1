"""Thalweg in five minutes: a table in, a trained network and the evidence for it out.

python examples/tour.py --out tour
"""

import argparse
from pathlib import Path

import thalweg as tw
from thalweg.data import read_table

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--trials", type=int, default=64, help="trials of each study (default: 64)")
parser.add_argument("--epochs", type=float, help="of a full training (default: from the data)")
parser.add_argument("--out", type=Path, default=Path("tour"), help="folder (default: tour)")
options = parser.parse_args()
options.out.mkdir(parents=True, exist_ok=True)

print("\n== a table, as you would have it")
table = read_table("breast_cancer")
table[:500].write_csv(options.out / "known.csv")
table[500:].drop("target").write_csv(options.out / "new.csv")
data = tw.load(options.out / "known.csv", target="target")
print(*data.describe()[:4], sep="\n")

print("\n== one configuration, chosen by hand")
by_hand = tw.train(data, optimizer="adam", learning_rate=0.001, width=64, epochs=options.epochs)
print(f"test accuracy {by_hand.summary['test']['accuracy']:.4f}")

print("\n== the best of many, trained at once")
study = tw.tune(data, trials=options.trials, epochs=options.epochs)
for row in study.leaderboard(3):
    print(f"{row['rank']}. {row['score']:.4f} over {row['seeds']} seeds: {row['structure']}")
print(f"test accuracy {study.summary['test']['accuracy']:.4f}, measured once; beside it")
for baseline in study.summary["baselines"]:
    print(f"  {baseline['name']:15}{baseline['test']['accuracy']:.4f}")

print("\n== the questions that everybody asks, answered as far as the trials bear it")
for answer in study.answers():
    print(f"{answer.question} {answer.claim} [{answer.verdict}]")

print("\n== a fair comparison of optimizers: each at rates from a range of its own")
rates = tw.Switch(
    "optimizer",
    {"sgd": tw.Float(1e-3, 1.0, log=True), "nesterov": tw.Float(1e-3, 0.3, log=True)},
    default=tw.Float(1e-4, 3e-2, log=True),
)
space = tw.Space(
    optimizer=tw.Choice(["sgd", "nesterov", "adam", "lion"]), learning_rate=rates, width=64
)
comparison = tw.tune(
    data, trials=options.trials, epochs=options.epochs, space=space, halving=False, baselines=False
)
for answer in comparison.answers():
    if "optimizer" in answer.question:
        print(f"{answer.question} {answer.claim} [{answer.verdict}]")

print("\n== keep it, and use it")
print("report:", study.report(options.out / "report.html"))
model = study.model()
folder = model.save(options.out / "model")
again = tw.Model.load(folder)
print("predictions for rows never seen:", again.predict(options.out / "new.csv")[:5])
print("probabilities:", again.predict_proba(options.out / "new.csv")[:2].round(3).tolist())
