"""Reading tables: every format, every way in, and every way a file can be wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from thalweg.data.built_in import BUILT_IN
from thalweg.data.sources import read_table, source_name
from thalweg.errors import DataError, SourceError, ThalwegError

FRAME = pl.DataFrame({"a": [1, 2, 3], "b": [1.5, None, 3.0], "c": ["x", "y, z", 'q"q']})


def csv_bytes(separator: str = ",") -> bytes:
    return FRAME.write_csv(separator=separator).encode()


def zipped(data: bytes, name: str = "inner.csv") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


def written(method: str) -> bytes:
    buffer = io.BytesIO()
    getattr(FRAME, method)(buffer)
    return buffer.getvalue()


FILES = {
    "t.csv": csv_bytes(),
    "t.txt": csv_bytes(),
    "noending": csv_bytes(),
    "semicolon.csv": csv_bytes(";"),
    "pipe.csv": csv_bytes("|"),
    "tab.csv": csv_bytes("\t"),
    "t.tsv": csv_bytes("\t"),
    "bom.csv": b"\xef\xbb\xbf" + csv_bytes(),
    "utf16.csv": csv_bytes().decode().encode("utf-16"),
    "crlf.csv": csv_bytes().replace(b"\n", b"\r\n"),
    "blank_lines.csv": csv_bytes().replace(b"\n", b"\n\n"),
    "t.parquet": written("write_parquet"),
    "t.arrow": written("write_ipc"),
    "t.feather": written("write_ipc"),
    "stream.arrows": written("write_ipc_stream"),
    "t.jsonl": written("write_ndjson"),
    "t.ndjson": written("write_ndjson"),
    "t.json": written("write_json"),
    "t.csv.gz": gzip.compress(csv_bytes()),
    "t.csv.bz2": bz2.compress(csv_bytes()),
    "t.csv.xz": lzma.compress(csv_bytes()),
    "t.csv.zst": zstd(csv_bytes()),
    "t.csv.zip": zipped(csv_bytes()),
    "t.zip": zipped(csv_bytes(";")),
    "t.jsonl.gz": gzip.compress(written("write_ndjson")),
    "t.parquet.gz": gzip.compress(written("write_parquet")),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_reads_the_same(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    frame = read_table(tmp_path / name)
    assert frame.columns == ["a", "b", "c"]
    assert frame.rows() == FRAME.rows()


def test_zstd_without_any_zstd_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "t.csv.zst").write_bytes(FILES["t.csv.zst"])
    assert read_table(tmp_path / "t.csv.zst").rows() == FRAME.rows()


def test_quotes_inside_fields(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('size,n\n5" pipe,1\n6" pipe,2\n"a, b",3\n')
    assert read_table(tmp_path / "t.csv").rows() == [('5" pipe', 1), ('6" pipe', 2), ("a, b", 3)]


def test_line_breaks_inside_quotes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n"x\n\ny",1\nz,2\n')
    assert read_table(tmp_path / "t.csv").rows() == [("x\n\ny", 1), ("z", 2)]


def test_types_of_a_late_row_count(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n" + "1\n" * 5000 + "late\n")
    assert read_table(tmp_path / "t.csv")["a"].dtype == pl.String


def test_names_are_stripped_and_never_empty(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(" a ,,b\n1,2,3\n")
    assert read_table(tmp_path / "t.csv").columns == ["a", "unnamed_1", "b"]


def test_glob_stacks_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("y,x\n2,b\n")
    (tmp_path / "a.csv").write_text("x,y\n1,1\n")
    frame = read_table(str(tmp_path / "*.csv"))
    assert frame.rows() == [("1", 1), ("b", 2)]
    (tmp_path / "c.csv").write_text("x,z\n1,1\n")
    with pytest.raises(DataError, match=r"same columns.*c\.csv lacks 'y'"):
        read_table(str(tmp_path / "*.csv"))


def test_a_file_with_brackets_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "t[1].csv").write_text("a\n1\n")
    assert read_table(tmp_path / "t[1].csv").height == 1


def test_url_by_fsspec(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(FILES["t.csv.gz"])
    assert read_table(f"file://{tmp_path}/t.csv.gz").rows() == FRAME.rows()
    with pytest.raises(SourceError, match="nothing found at file://"):
        read_table(f"file://{tmp_path}/absent.csv")
    with pytest.raises(SourceError, match="cannot read nonsense://"):
        read_table("nonsense://host/t.csv")


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        FRAME.lazy(),
        FRAME.to_arrow(),
        pd.DataFrame({"a": [1, 2, 3], "b": [1.5, None, 3.0], "c": ["x", "y, z", 'q"q']}),
        {"a": [1, 2, 3], "b": np.array([1.5, np.nan, 3.0]), "c": ["x", "y, z", 'q"q']},
        [{"a": 1, "b": 1.5, "c": "x"}, {"a": 2, "c": "y, z"}, {"a": 3, "b": 3.0, "c": 'q"q'}],
    ],
    ids=["polars", "lazy", "arrow", "pandas", "mapping", "records"],
)
def test_every_frame_reads_the_same(frame: object) -> None:
    read = read_table(frame)
    assert read.columns == ["a", "b", "c"]
    assert read["a"].to_list() == [1, 2, 3]
    assert read["b"].fill_nan(None).to_list() == [1.5, None, 3.0]
    assert read["c"].to_list() == ["x", "y, z", 'q"q']


def test_pandas_oddities() -> None:
    frame = pd.DataFrame({0: [1, "a", None], "k": pd.Categorical(["u", "v", "u"])})
    read = read_table(frame)
    assert read.columns == ["0", "k"]
    assert read["0"].to_list() == ["1", "a", None]
    with pytest.raises(DataError, match="'a' more than once"):
        read_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_arrays() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    assert read_table(rows).columns == ["x0", "x1"]
    assert read_table(rows.astype(">f4")).to_numpy().tolist() == rows.tolist()
    pair = read_table((rows, np.array([0, 1, 0])))
    assert pair.columns == ["x0", "x1", "target"]
    assert read_table((rows, pd.Series([1, 2, 3], name="price"))).columns[-1] == "price"
    mixed = read_table(np.array([[1, "a"], [2, "b"]], dtype=object))
    assert mixed.schema == {"x0": pl.Int64, "x1": pl.String}
    with pytest.raises(DataError, match="reshape"):
        read_table(np.zeros((2, 3, 4)))
    with pytest.raises(DataError, match="same number of rows; got 3 and 2"):
        read_table((rows, [0, 1]))
    with pytest.raises(DataError, match="a: 2, b: 1"):
        read_table({"a": [1, 2], "b": [1]})
    with pytest.raises(SourceError, match="got int"):
        read_table(3)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_sets_equal_those_of_scikit_learn(name: str) -> None:
    from sklearn import datasets

    options = {"scaled": False} if name == "diabetes" else {}
    expected = getattr(datasets, f"load_{name}")(**options)
    frame = read_table(name)
    np.testing.assert_allclose(frame.drop("target").to_numpy(), expected.data, rtol=1e-12)
    if name in ("digits", "diabetes"):
        np.testing.assert_array_equal(frame["target"].to_numpy(), expected.target)
    else:
        labels = np.asarray(expected.target_names)[expected.target]
        assert frame["target"].to_list() == labels.tolist()
    if name != "digits":
        assert frame.columns[:-1] == [str(n) for n in expected.feature_names]


def test_a_file_wins_over_a_built_in_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "iris").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    assert read_table("iris").columns == ["a", "b"]


def test_source_name() -> None:
    assert source_name("/data/titanic.csv.gz") == "titanic"
    assert source_name("/data/adult/train.csv") == "adult"
    assert source_name("/data/parts/*.csv") == "parts"
    assert source_name(FRAME) == "table"


BAD_FILES = {
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n \n\n", "is empty"),
    "header_only.csv": (b"a,b\n", "header but no rows"),
    "header_only_no_newline.csv": (b"a,b", "header but no rows"),
    "twice.csv": (b"a,b,a\n1,2,3\n", "'a' more than once"),
    "no_header.csv": (b"1,2,1\n1,2,3\n", "add a header line"),
    "ragged_long.csv": (b"a,b\n1,2\n1,2,3\n", "row 3 of .* has 3"),
    "ragged_short.csv": (b"a,b\n1,2\n\n1\n", "row 4 of .* has 1"),
    "ragged_quoted.csv": (b'a,b\n"1,2",2\n1,2,3\n', "row 3 of .* has 3"),
    "latin1.csv": ("a,b\n1,é\n".encode("latin-1"), "not UTF-8 .*0xe9 in line 2.*iconv"),
    "binary.csv": (bytes(range(256)) * 20, "binary file"),
    "png.csv": (b"\x89PNG\r\n\x1a\n" + bytes(64), "PNG image"),
    "parquet.csv": (written("write_parquet"), r"rename it to end in \.parquet"),
    "gzip.csv": (gzip.compress(csv_bytes()), r"rename it to end in \.gz"),
    "text.parquet": (csv_bytes(), "not a readable Parquet"),
    "text.arrow": (csv_bytes(), "not a readable Feather/Arrow"),
    "text.csv.gz": (csv_bytes(), "not a whole gzip file"),
    "cut.csv.gz": (gzip.compress(csv_bytes() * 100)[:60], "not a whole gzip file"),
    "cut.csv.bz2": (bz2.compress(csv_bytes() * 100)[:60], "not a whole bzip2 file"),
    "cut.csv.xz": (lzma.compress(csv_bytes() * 100)[:60], "not a whole xz file"),
    "cut.csv.zst": (zstd(csv_bytes() * 100)[:20], "zst"),
    "cut.zip": (zipped(csv_bytes())[:40], "not a whole zip file"),
    "empty.csv.gz": (gzip.compress(b""), "is empty"),
    "bad.jsonl": (b'{"a": 1}\n{"a": \n', "line 2"),
    "empty.jsonl": (b"\n", "is empty"),
    "book.xlsx": (zipped(b"x"), "save the sheet as CSV"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_gives_one_clear_line(tmp_path: Path, name: str) -> None:
    data, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_places_that_hold_no_table(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a\n1\n")
    with pytest.raises(SourceError, match=r"no such file.*did you mean 'train\.csv'"):
        read_table(tmp_path / "trian.csv")
    with pytest.raises(SourceError, match="did you mean 'digits'"):
        read_table("digit")
    with pytest.raises(SourceError, match=r"is a folder.*\*\.csv"):
        read_table(tmp_path)
    with pytest.raises(SourceError, match="no file matches"):
        read_table(str(tmp_path / "*.parquet"))
    with pytest.raises(SourceError, match="empty text"):
        read_table("")
    two = io.BytesIO()
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        archive.writestr("b.csv", "a\n1\n")
    (tmp_path / "two.zip").write_bytes(two.getvalue())
    with pytest.raises(DataError, match=r"exactly one table.*a\.csv, b\.csv"):
        read_table(tmp_path / "two.zip")


def test_errors_are_of_the_promised_kinds(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no such file"):
        read_table(tmp_path / "absent.csv")
    assert issubclass(SourceError, ThalwegError)


def test_importing_data_loads_nothing_heavy() -> None:
    code = (
        "import sys, thalweg.data; "
        "print([m for m in ('jax', 'polars', 'pandas', 'sklearn', 'scipy', 'fsspec', 'pyarrow') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_a_built_in_set_imports_no_scikit_learn() -> None:
    code = (
        "import sys, json; from thalweg.data import load; load('digits'); load('diabetes'); "
        "print(json.dumps([m for m in ('jax', 'sklearn', 'scipy', 'pandas') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
