"""scikit-learn's built-in sets, read from its data files without importing it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.errors import MissingExtraError, SourceError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

BUILT_IN: tuple[str, ...] = ("digits", "breast_cancer", "wine", "iris", "diabetes")
"""Names that ``read_table`` knows without a file; they are data files of scikit-learn."""


def is_built_in(source: Any) -> bool:
    """Whether a source names a built-in set and no file of that name is in the way."""
    return isinstance(source, str) and source in BUILT_IN and not os.path.exists(source)


def read_built_in(name: str) -> pl.DataFrame:
    """Read a set from scikit-learn's data files, without the second that importing it costs."""
    import importlib.util

    import numpy as np
    import polars as pl

    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"the built-in set {name!r} comes with scikit-learn: pip install scikit-learn"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data"
    try:
        if name == "digits":
            values = _numbers_of(folder / "digits.csv.gz", ",").astype(np.int64)
            names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
            columns = [pl.Series(n, values[:, i].astype(np.float64)) for i, n in enumerate(names)]
            return pl.DataFrame([*columns, pl.Series("target", values[:, -1])])
        if name == "diabetes":
            values = _numbers_of(folder / "diabetes_data_raw.csv.gz")
            target = _numbers_of(folder / "diabetes_target.csv.gz")
            columns = [pl.Series(n, values[:, i]) for i, n in enumerate(_DIABETES)]
            return pl.DataFrame([*columns, pl.Series("target", target)])
        file = {"wine": "wine_data.csv"}.get(name, f"{name}.csv")
        lines = (folder / file).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SourceError(
            f"scikit-learn is installed without its data file for {name!r} ({error}): reinstall it"
        ) from None
    classes = lines[0].split(",")[2:]
    values = np.array([line.split(",") for line in lines[1:] if line], dtype=np.float64)
    names = {"iris": _IRIS, "wine": _WINE, "breast_cancer": _BREAST_CANCER}[name]
    columns = [pl.Series(n, values[:, i]) for i, n in enumerate(names)]
    labels = [classes[int(code)] for code in values[:, -1]]
    return pl.DataFrame([*columns, pl.Series("target", labels)])


def _numbers_of(path: Path, delimiter: str | None = None) -> np.ndarray:
    import gzip

    import numpy as np

    lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
    return np.array([line.split(delimiter) for line in lines], dtype=np.float64).squeeze()


_DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
_IRIS = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
_WINE = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280/od315_of_diluted_wines",
    "proline",
)
_CELL = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
_BREAST_CANCER = (
    *(f"mean {name}" for name in _CELL),
    *(f"{name} error" for name in _CELL),
    *(f"worst {name}" for name in _CELL),
)
