"""What an explanation is: a table of numbers, with maps over images and weights of words."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg import markup
from thalweg.errors import OptionError, SourceError, unknown_option
from thalweg.files import write_atomically

if TYPE_CHECKING:
    import polars as pl

Painter = Callable[[str, Mapping[str, Any]], bytes]
"""Draws a kind of picture from named arguments as a PNG: ``thalweg.report.pictures.paint``."""

WRITERS = {".csv": "write_csv", ".parquet": "write_parquet", ".json": ""}
"""Endings of files that a table is written to."""


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """An explanation of some rows, or of the model on them.

    Args:
        method: one of ``METHODS``.
        frame: the numbers, as the method's documentation says.
        about: what was explained, with what it was compared, and how well that went, JSON-able.
        images: the images that were explained [N, H, W, C]; None for other data.
        maps: one number for each of their pixels [N, H, W]: for and against, or how sensitive.
        captions: one line for each image.
        paint: what draws; None where nothing can be drawn.
        passages: of texts, the pieces of each with what they contribute.
    """

    method: str
    frame: pl.DataFrame
    about: dict[str, Any] = field(default_factory=dict)
    images: np.ndarray | None = None
    maps: np.ndarray | None = None
    captions: tuple[str, ...] = ()
    paint: Painter | None = None
    passages: tuple[tuple[tuple[str, float], ...], ...] = ()

    def __repr__(self) -> str:
        what = self.about.get("text", self.method)
        return f"<Explanation by {self.method}: {what}, {self.frame.height} lines>"

    def __len__(self) -> int:
        return self.frame.height

    def _repr_html_(self) -> str:
        picture = ""
        if self.maps is not None and self.paint is not None:
            data = base64.b64encode(self.picture()).decode("ascii")
            alt = markup.escape("; ".join(self.captions))
            picture = f'<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{data}">'
        totals = self.totals()
        shown = self.frame.head(12)
        rows = markup.table(shown.columns, shown.rows())
        if self.passages:
            picture = self._highlighted(12)
        return markup.card(
            f"Explanation by {self.method}",
            picture or (markup.bars(totals) if totals else rows),
            markup.lines(self.about.get("notices", ())),
            note=str(self.about.get("text", "")),
        )

    def _highlighted(self, most: int | None = None) -> str:
        """Return the texts with the weights of their words as HTML."""
        shown = zip(self.captions[:most], self.passages[:most], strict=True)
        return "".join(
            f"<p><strong>{markup.escape(caption)}</strong></p>{markup.highlighted(pieces)}"
            for caption, pieces in shown
        )

    def totals(self) -> list[tuple[str, float]]:
        """Return how much each input matters over all rows, the most first.

        The mean size of its contributions, or its importance; nothing for other methods.
        """
        import polars as pl

        columns = self.frame.columns
        if "contribution" in columns:
            name = next(n for n in ("input", "word", "cell", "column") if n in columns)
            per_row = self.frame.group_by("row", name, maintain_order=True).agg(
                pl.col("contribution").abs().sum()
            )
            sums = per_row.group_by(name, maintain_order=True).agg(pl.col("contribution").mean())
            found = list(zip(sums[name].to_list(), sums["contribution"].to_list(), strict=True))
        elif "importance" in columns:
            pairs = zip(self.frame["column"].to_list(), self.frame["importance"], strict=True)
            found = [(name, value) for name, value in pairs if value is not None]
        else:
            return []
        return sorted(found, key=lambda pair: -pair[1])

    def to_dict(self) -> dict[str, Any]:
        """Return everything but pictures as JSON-able values."""
        return {"method": self.method, **self.about, "rows": self.frame.to_dicts()}

    def to_json(self) -> str:
        """Return everything but pictures as JSON."""
        return json.dumps(_finite(self.to_dict()), allow_nan=False, default=str)

    def picture(self, row: int | None = None) -> bytes:
        """Return images and what was found in them as a PNG.

        Args:
            row: position of one image; all of them (the first 12) by default.

        Raises:
            OptionError: the explanation is of no images.
        """
        if self.images is None or self.maps is None or self.paint is None:
            raise OptionError(f"{self.method} of this model draws no pictures: use its table")
        chosen = range(min(len(self.images), 12)) if row is None else [row]
        return self.paint(
            "explained",
            {
                "images": [self.images[i] for i in chosen],
                "maps": [self.maps[i] for i in chosen],
                "captions": [self.captions[i] for i in chosen],
                "signed": bool(self.about.get("signed")),
            },
        )

    def save(self, path: str | Path) -> list[Path]:
        """Write the table, and for images pictures, and return the files.

        Args:
            path: a file that ends in .csv, .parquet or .json; or a folder for ``explanation.csv``,
                ``explanation.json``, ``NNNN.png`` for each image or recording, and
                ``explanation.html`` of texts.

        Raises:
            OptionError: another ending.
            SourceError: it cannot be written.
        """
        target = check_ending(path)
        files: dict[Path, bytes] = {}
        if target.suffix:
            files[target] = self._written(target.suffix.lower())
        else:
            for ending in (".csv", ".json"):
                files[target / f"explanation{ending}"] = self._written(ending)
            if self.passages:
                page = markup.page(f"Explanation by {self.method}", self._highlighted())
                files[target / "explanation.html"] = page.encode()
            for i in range(0 if self.maps is None else len(self.maps)):
                files[target / f"{i:04d}.png"] = self.picture(i)
        try:
            for file, data in files.items():
                file.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(file, data)
        except OSError as error:
            raise SourceError(f"{path} cannot be written: {error.strerror}") from None
        return list(files)

    def _written(self, ending: str) -> bytes:
        import io

        if ending == ".json":
            return self.to_json().encode()
        buffer = io.BytesIO()
        getattr(self.frame, WRITERS[ending])(buffer)
        return buffer.getvalue()


def check_ending(path: str | Path) -> Path:
    """Return a path that an explanation can be written to.

    Raises:
        OptionError: it has an ending, but none of ``WRITERS``.
    """
    target = Path(path)
    if target.suffix and target.suffix.lower() not in WRITERS:
        raise unknown_option("the ending of an explanation's file", target.suffix, WRITERS)
    return target


def _finite(value: Any) -> Any:
    """Return nested values with null in the place of NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
