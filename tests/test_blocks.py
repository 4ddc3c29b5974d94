"""Text and Arrow files come in blocks: the same table whatever their size, and memory that does not grow with the file."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import onnxscale.fitting
from onnxscale import data
from onnxscale.data import blocks

pl = pytest.importorskip("polars", reason="needs polars")
pa = pytest.importorskip("pyarrow", reason="needs pyarrow")

ROWS = 300
X = np.random.default_rng(5).normal(size=(ROWS, 2))
QUOTED = 'a,"the ""note""\nof two lines",b\n' + "".join(
    f'{x!r},"{"two" if i % 3 else "two" + chr(10) + "lines, " + chr(34) * 2}",{y!r}\r\n'
    for i, (x, y) in enumerate(X.tolist())
)
LINES = "".join(f'{{"a": {x!r}, "b": {y!r}}}\n' + "\n" * (i % 2) for i, (x, y) in enumerate(X.tolist()))


def rows(path: Path, **chosen: tuple[str, ...]) -> np.ndarray:
    found = data.opened(str(path), data.Selection(**chosen))
    return np.concatenate(list(found.arrays()))


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("name", "text"), [("t.csv", QUOTED), ("t.csv", "\ufeff" + QUOTED[:-2]), ("t.jsonl", LINES)])
def test_blocks_of_any_size_are_the_same_table(
    name: str, text: str, packed: bool, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    monkeypatch.setattr(blocks, "BLOCK", size)
    np.testing.assert_array_equal(rows(path, columns=("b", "a")), X[:, ::-1])
    assert onnxscale.fitting.summarize(str(path), data.Selection(columns=("a", "b"))).rows == ROWS
    if size < 1 << 20:
        quote = b'"' if name == "t.csv" else b""
        pieces = list(blocks.blocks(str(path), quote=quote))
        assert len(pieces) > 1
        assert b"".join(pieces) == text.encode()


def test_pyarrow_reads_cells_of_several_lines(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(QUOTED.replace("\nof two", " of two"))
    found = data.opened(str(tmp_path / "t.csv"), data.Selection(columns=("a", "b")), engine="pyarrow")
    np.testing.assert_array_equal(np.concatenate(list(found.arrays())), X)


def test_what_comes_late_in_json_lines_is_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column that begins, and one that turns from whole numbers to fractions, after the first block."""
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1, "n": null}\n' * 50 + '{"a": 2.5, "late": 7, "n": 3}\n')
    monkeypatch.setattr(blocks, "BLOCK", 100)
    found = data.opened(str(path), data.Selection())
    assert found.names == ("a", "n", "late")
    got = np.concatenate(list(found.arrays()))
    np.testing.assert_array_equal(got[-1], [2.5, 3, 7])
    assert np.isnan(got[:-1, 1:]).all()


def test_one_batch_of_arrow_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    batch = pa.record_batch({"s": ["x"] * 200_000, "b": np.arange(200_000.0), "a": np.arange(200_000)})
    with pa.ipc.new_file(path, batch.schema) as file:
        file.write(batch)
    for engine in ("polars", "pyarrow"):
        found = data.opened(str(path), data.Selection(columns=("a", "b")), engine=engine)
        pieces = list(found.arrays())
        assert max(map(len, pieces)) <= 1 << 16
        np.testing.assert_array_equal(np.concatenate(pieces), np.arange(200_000.0)[:, None] * [1, 1])


def _large(path: Path) -> None:
    """200 MB of text or a little more, or 400 MB of numbers."""
    block = np.random.default_rng(0).normal(size=(100_000, 8))
    if path.suffix == ".arrow":
        batch = pa.record_batch({f"c{i}": np.tile(block[:, i], 64) for i in range(8)})
        with pa.ipc.new_file(path, batch.schema) as file:
            file.write(batch)
        return
    frame = pl.DataFrame(block, schema=[f"c{i}" for i in range(8)])
    text = frame.write_ndjson().encode() if "json" in path.name else frame.write_csv(include_header=False).encode()
    with gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb") as file:
        for _ in range(200_000_000 // len(text) + 1):
            file.write(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "most"), [("t.jsonl", 150), ("t.jsonl.gz", 150), ("t.csv", 150), ("t.csv.gz", 150), ("t.arrow", 200)]
)
def test_a_pass_over_a_large_file_takes_little_memory(name: str, most: int, tmp_path: Path) -> None:
    """The most memory of its own process: a fraction of the file, which once was mapped or unpacked as a whole."""
    pytest.importorskip("resource", reason="peak memory is asked of a POSIX system")
    _large(tmp_path / name)
    code = (
        "import sys, resource, polars, pyarrow.ipc, narwhals.stable.v2, onnxscale.fitting as f\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); f.summarize(sys.argv[1]); print(peak() - before)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, check=True)
    assert int(out.stdout) < most * 1000  # kilobytes


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
def test_spark_reads_cells_of_several_lines(tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="needs pyspark")
    (tmp_path / "t.csv").write_text(QUOTED.replace("\r", ""))
    chosen = data.Selection(columns=("a", "b"))
    found = data.opened(str(tmp_path / "t.csv"), chosen, engine="spark", address="local[1]")
    np.testing.assert_array_equal(np.concatenate(list(found.arrays())), X)
