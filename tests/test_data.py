"""Data of every format and kind of frame, read as the same numbers; what is no data is refused in words."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxscale import data
from onnxscale.data import Selection
from onnxscale.errors import DataError

ROWS = 1000
DRAW = np.random.default_rng(0)
A = DRAW.standard_normal(ROWS) * 3 + 5
B = DRAW.integers(0, 9, ROWS)
C = np.where(DRAW.random(ROWS) < 0.1, np.nan, DRAW.standard_normal(ROWS))
MISSING = np.arange(ROWS) % 100 == 7  # null in column d
D = DRAW.standard_normal(ROWS)


def table():
    pa = pytest.importorskip("pyarrow")
    return pa.table({"a": A, "b": B, "c": C, "d": pa.array(D, mask=MISSING), "s": ["word"] * ROWS, "t": B > 4})


def written(folder: Path, form: str) -> Path:
    path = folder / f"data.{form}"
    if form == "parquet":
        from pyarrow import parquet

        parquet.write_table(table(), path, row_group_size=300)
    elif form == "csv":
        from pyarrow import csv

        csv.write_csv(table(), path)
    elif form == "arrow":
        import pyarrow as pa

        with pa.ipc.new_file(path, table().schema) as out:
            out.write_table(table(), 300)
    else:
        lines = table().select(["a", "b", "d", "s", "t"]).to_pylist()
        rows = [{**line, "c": None if np.isnan(c) else c} for line, c in zip(lines, C, strict=True)]
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def numbers(found: data.Data) -> tuple[np.ndarray, np.ndarray]:
    batches = list(found.batches())
    return np.concatenate([b.values for b in batches]), sum(b.nulls for b in batches)


ENGINES = [e for e in ("polars", "duckdb", "pyarrow", "dask") if importlib.util.find_spec(e)]


@pytest.mark.parametrize("form", ["parquet", "csv", "arrow", "jsonl"])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_reads_every_format_as_the_same_numbers(form: str, engine: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = written(tmp_path, form)
    if form == "arrow" and engine in ("duckdb", "dask"):
        with pytest.raises(DataError, match="does not read arrow"):
            data.opened(path, engine=engine)
        return
    found = data.opened(path, Selection(exclude=("s",)), engine=engine)
    order = [found.names.index(n) for n in "abcdt"]
    values, nulls = numbers(found)
    expected = np.stack([A, B, C, np.where(MISSING, np.nan, D), B > 4], axis=1)
    np.testing.assert_array_equal(values[:, order], expected)
    if form in ("parquet", "arrow") and engine != "dask":  # a text file has an empty field for both
        assert nulls[order].tolist() == [0, 0, 0, MISSING.sum(), 0]


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_by_a_condition(engine: str, tmp_path: Path) -> None:
    path = written(tmp_path, "parquet")
    found = data.opened(path, Selection(("a",), where="b > 4 AND d IS NOT NULL"), engine=engine)
    np.testing.assert_array_equal(numbers(found)[0][:, 0], A[(B > 4) & ~MISSING])


def test_what_is_not_a_number_is_named_with_the_flag(tmp_path: Path) -> None:
    path = written(tmp_path, "parquet")
    for engine in ENGINES:
        with pytest.raises(DataError, match=r"'s' are not numbers .* --exclude s"):
            data.opened(path, engine=engine)
    with pytest.raises(DataError, match="no column 'z'; there are 'a', 'b'"):
        data.opened(path, Selection(("z",)))
    with pytest.raises(DataError, match=r"nothing\.parquet: no such file"):
        data.opened(tmp_path / "nothing.parquet")


def test_folders_patterns_and_lists_are_one_table(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    (parts / "deep").mkdir(parents=True)
    for i, name in enumerate(("one.csv", "two.csv", "deep/three.csv", "_hidden.csv")):
        (parts / name).write_text(f"x,y\n{i},2\n")
    for source in (
        parts,
        str(parts / "**" / "*.csv"),
        [parts / "one.csv", parts / "two.csv", parts / "deep/three.csv"],
    ):
        assert sorted(numbers(data.opened(source))[0][:, 0]) == [0, 1, 2]
    (parts / "four.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="several formats"):
        data.opened(parts)


@pytest.mark.parametrize("stored", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
def test_numpy_files_and_arrays(stored, tmp_path: Path) -> None:
    matrix = np.stack([A, C], axis=1).astype(np.float32)
    np.save(tmp_path / "m.npy", matrix)
    stored(tmp_path / "m.npz", a=A, c=C)
    stored(tmp_path / "one.npz", np.asfortranarray(matrix))
    for source in (tmp_path / "m.npy", matrix, tmp_path / "one.npz", iter(np.array_split(matrix, 7))):
        found = data.opened(source)
        values, nulls = numbers(found)
        np.testing.assert_array_equal(values, matrix)
        assert values.dtype == np.float32 and not nulls.any() and found.names == ()
    for source in (tmp_path / "m.npz", {"a": A, "c": C}):
        found = data.opened(source, Selection(("c",)))
        np.testing.assert_array_equal(numbers(found)[0][:, 0], C)
        assert found.names == ("c",)
    np.testing.assert_array_equal(numbers(data.opened(matrix, Selection(("1",))))[0][:, 0], matrix[:, 1])


def test_memory_mapped_npz_is_a_view_of_the_file(tmp_path: Path) -> None:
    from onnxscale.data import arrays

    np.savez(tmp_path / "m.npz", a=A)
    assert isinstance(arrays.loaded(tmp_path / "m.npz")["a"], np.memmap)  # type: ignore[index]


@pytest.mark.parametrize("form", ["parquet", "csv", "arrow", "jsonl"])
@pytest.mark.parametrize("engine", [e for e in ("polars", "pyarrow") if e in ENGINES])
def test_shards_are_all_rows_once(form: str, engine: str, tmp_path: Path) -> None:
    path = written(tmp_path, form)
    shards = [data.opened(path, Selection(("a", "d"), shard=(i, 3)), engine=engine) for i in (1, 2, 3)]
    read = [numbers(s) for s in shards]
    np.testing.assert_array_equal(np.concatenate([v for v, _ in read])[:, 0], A)
    assert sum(n[1] for _, n in read) == MISSING.sum()


def test_frames(tmp_path: Path) -> None:
    pytest.importorskip("narwhals")
    import pandas as pd

    frames = [table(), pd.DataFrame({"a": A, "c": C, "d": np.where(MISSING, np.nan, D)})]
    if "polars" in ENGINES:
        import polars as pl

        frames += [pl.DataFrame(table()), pl.LazyFrame(pl.DataFrame(table()))]
    if "duckdb" in ENGINES:
        import duckdb

        held = table()
        frames.append(duckdb.sql("SELECT * FROM held"))
        del held
    for frame in frames:
        found = data.opened(frame, Selection(("a", "c", "d")))
        values = numbers(found)[0]
        np.testing.assert_array_equal(values, np.stack([A, C, np.where(MISSING, np.nan, D)], axis=1))
        assert found.frame is not None and found.names == ("a", "c", "d")
        chosen = numbers(data.opened(frame, Selection(("a",), where="a > 5")))[0]
        np.testing.assert_array_equal(chosen[:, 0], A[A > 5])


@pytest.mark.parametrize("index", [[5, 3, 8, 1, 1], list("abcde"), None], ids=["a split's", "of text", "of two levels"])
def test_the_index_of_pandas_is_no_column(index: list[Any] | None) -> None:
    pytest.importorskip("narwhals")
    import pandas as pd

    columns = index or pd.MultiIndex.from_product([[0], range(5)])
    frame = pd.DataFrame({"a": A[:5], "c": C[:5]}, index=columns)
    np.testing.assert_array_equal(numbers(data.opened(frame, Selection()))[0], np.stack([A[:5], C[:5]], axis=1))


def test_a_fraction_after_many_whole_numbers_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    path.write_text("x\n" + "1\n" * 20_000 + "0.5\n")
    for engine in [e for e in ENGINES if e != "dask"]:
        assert numbers(data.opened(path, engine=engine))[0].sum() == 20_000.5


def test_csv_without_names_and_with_other_separators(tmp_path: Path) -> None:
    (tmp_path / "bare.csv").write_text("1,2\n3,4\n")
    (tmp_path / "semi.csv").write_text("x;y\n1;\n3;NA\n")
    for engine in [e for e in ("polars", "pyarrow") if e in ENGINES]:
        np.testing.assert_array_equal(numbers(data.opened(tmp_path / "bare.csv", engine=engine))[0], [[1, 2], [3, 4]])
        values, nulls = numbers(data.opened(tmp_path / "semi.csv", Selection(("x",)), engine=engine))
        assert values[:, 0].tolist() == [1, 3] and not nulls.any()


def test_the_fingerprint_tells_data_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", A)
    first = data.opened(tmp_path / "a.npy").about
    np.save(tmp_path / "a.npy", A + 1)
    second = data.opened(tmp_path / "a.npy").about
    assert first["files"][0]["size"] == second["files"][0]["size"] and first != second


@pytest.mark.parametrize("form", ["array", "npy", "npz", "batches"])
def test_arrays_of_more_axes(form: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(50, 4, 5, 3)).astype(np.float32)

    def given() -> Any:
        if form == "array":
            return values
        if form == "batches":
            return iter([values[:20], values[20:]])
        path = tmp_path / f"a.{form}"
        np.save(path, values) if form == "npy" else np.savez(path, values)
        return str(path)

    def rows(**chosen: Any) -> np.ndarray:
        return np.concatenate(list(data.opened(given(), Selection(**chosen)).arrays()))

    assert np.array_equal(rows(), values.reshape(-1, 3))
    assert np.array_equal(rows(axis=1), np.moveaxis(values, 1, -1).reshape(-1, 4))
    assert np.array_equal(rows(axis=-2), np.moveaxis(values, 2, -1).reshape(-1, 5))
    assert np.array_equal(rows(axis=1, columns=("2", "0")), np.moveaxis(values, 1, -1).reshape(-1, 4)[:, [2, 0]])
    assert np.array_equal(rows(steps=True), values.reshape(50, -1))
    assert data.opened(given(), Selection(steps=True)).shape == (4, 5, 3)
    assert data.opened(given(), Selection(axis=1, steps=True)).shape == (5, 3, 4)
    for bad in ({"axis": 0}, {"axis": 4}, {"axis": -4}):
        with pytest.raises(DataError, match="axis"):
            data.opened(given(), Selection(**bad))
    with pytest.raises(DataError, match="cannot be left out"):
        data.opened(given(), Selection(steps=True, exclude=("0",)))
    with pytest.raises(DataError, match="no steps"):
        data.opened(values[:, 0, 0], Selection(steps=True))
    if form == "npy":
        shards = [
            np.concatenate(list(data.opened(given(), Selection(axis=1, shard=(i, 3))).arrays())) for i in (1, 2, 3)
        ]
        assert np.array_equal(np.concatenate(shards), rows(axis=1))


def test_a_condition_reads_no_other_table(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    (tmp_path / "other.csv").write_text("x\n1\n")
    path = written(tmp_path, "parquet")
    for engine in ("polars", "duckdb", "pyarrow"):
        for query in (
            f"a IN (SELECT x FROM read_csv('{tmp_path}/other.csv'))",
            "a IN (FROM 'other.csv')",
            "a > 1; DROP TABLE t",
        ):
            with pytest.raises(DataError, match="without a query in it"):
                data.opened(path, Selection(("a",), where=query), engine=engine)
    for where, said in (("zz > 1", "zz"), ("a + 1", "neither true nor false"), ("a > > 1", "no condition on a row")):
        with pytest.raises(DataError, match=said):
            data.opened(path, Selection(("a",), where=where), engine="polars")
    found = data.opened(path, Selection(("a",), where="s <> 'select' AND \"s\" <> ';' AND b > 4"), engine="polars")
    np.testing.assert_array_equal(numbers(found)[0][:, 0], A[B > 4])


def test_other_things_that_hold_numbers() -> None:
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    x = np.stack([A, D], axis=1)
    for source in (pd.DataFrame(x), memoryview(x), x.tolist(), [x[:300], x[300:]], np.ma.masked_array(x, False)):
        found = data.opened(source)
        np.testing.assert_array_equal(numbers(found)[0], x)
        assert not found.once
    for source in (pd.Series(A, name="a"), pl.Series("a", A), A.tolist()):
        np.testing.assert_array_equal(numbers(data.opened(source))[0][:, 0], A)
    hidden = np.ma.masked_array(x, x > 5)
    np.testing.assert_array_equal(numbers(data.opened(hidden))[0], np.where(x > 5, np.nan, x))
    with pytest.raises(DataError, match="a NoneType is no data"):
        data.opened(None)


def test_parquet_comes_a_row_group_at_a_time(tmp_path):
    """Polars reads ahead of what takes its batches, by hundreds of MB; its sums have no such need, quantiles have."""
    pytest.importorskip("polars")
    opened = data.opened(str(written(tmp_path, "parquet")), Selection(columns=("b", "a")))
    assert opened.engine == "polars" and [p.rows for p in opened.parts] == [300, 300, 300, 100]
    assert np.array_equal(np.concatenate(list(opened.arrays())), np.stack([B, A], axis=1))
