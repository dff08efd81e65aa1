"""A table like those that people have, and a small space for it."""

from __future__ import annotations

import numpy as np
import polars as pl

CITIES = ("Bern", "Genf", "Zürich", "Basel")
SPACE = {
    "depth": 1,
    "width": 16,
    "batch_size": 16,
    "optimizer": ["adamw", "sgd", "nesterov"],
    "learning_rate": {
        "on": "optimizer",
        "cases": {"adamw": {"low": 1e-3, "high": 0.03, "log": True}},
        "default": {"low": 0.01, "high": 0.3, "log": True},
    },
    "dropout": {"low": 0.0, "high": 0.3},
}


def make_table(num_rows: int, seed: int) -> pl.DataFrame:
    """Return customers: numbers with gaps, categories, yes/no, and what depends on them."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, num_rows)
    income = np.round(rng.lognormal(8, 0.5, num_rows), 2)
    city = rng.integers(0, len(CITIES), num_rows)
    member = rng.random(num_rows) < 0.4
    signal = (age - 50) / 15 + 1.5 * member - 1.2 * (city == 2) + rng.normal(0, 0.5, num_rows)
    price = np.round(120 + 30 * signal, 1)
    gaps = rng.random(num_rows) < 0.1
    return pl.DataFrame(
        {
            "age": age,
            "income": [None if gap else value for gap, value in zip(gaps, income, strict=True)],
            "city": [CITIES[i] for i in city],
            "member": ["yes" if m else "no" for m in member],
            "bought": ["ja" if s > 0.3 else "nein" for s in signal],
            "price": price,
        }
    )
