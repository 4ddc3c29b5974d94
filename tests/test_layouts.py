"""Files as their writers leave them: columns in another order, of other types, missing; CSV of R, pandas and Europe; compressed;
streams. Every engine reads the same numbers, or refuses in words."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import onnxscale
from onnxscale.errors import DataError

pa = pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")
pq = pytest.importorskip("pyarrow.parquet")
ENGINES = [e for e in ("polars", "duckdb", "pyarrow", "dask") if importlib.util.find_spec(e)]
pytestmark = pytest.mark.filterwarnings("ignore")


def fitted(source: object, engine: str = "", **how: object):
    return onnxscale.fit(source, engine=engine, **how).inputs[None].profile


def written(folder: Path, form: str, name: str, columns: dict[str, list]) -> Path:
    path = folder / f"{name}.{form}"
    if form == "parquet":
        pq.write_table(pa.table(columns), path)
    elif form == "csv":
        pl.DataFrame(columns).write_csv(path)
    else:
        pl.DataFrame(columns).write_ipc(path)
    return path


@pytest.mark.parametrize("form", ["parquet", "csv", "arrow"])
@pytest.mark.parametrize("engine", ENGINES)
def test_columns_in_another_order_and_of_other_types_are_the_same_table(form: str, engine: str, tmp_path: Path) -> None:
    if form == "arrow" and engine in ("duckdb", "dask"):
        pytest.skip("does not read arrow files")
    paths = [
        written(tmp_path, form, "a", {"x": [1, 2, 3], "y": [10.0, 20.0, 30.0]}),
        written(tmp_path, form, "b", {"y": [40, 50], "x": [1.25, 7.75]}),
    ]
    for order in (paths, paths[::-1]):
        found = fitted(order, engine, kind="robust")
        values = {"x": [1, 2, 3, 1.25, 7.75], "y": [10.0, 20, 30, 40, 50]}
        expected = np.array([values[n] for n in found.features])
        np.testing.assert_array_equal(found.mean, expected.mean(axis=1))
        np.testing.assert_array_equal(found.quantiles[:, 32], np.median(expected, axis=1))
        np.testing.assert_array_equal(found.max, expected.max(axis=1))


@pytest.mark.parametrize("engine", ENGINES)
def test_float32_before_float64_narrows_nothing(engine: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([0.1], pa.float32())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": pa.array([0.1], pa.float64())}), tmp_path / "b.parquet")
    assert fitted(tmp_path, engine).min[0] == 0.1
    np.save(tmp_path / "a.npy", np.float32([[0.1]]))
    np.save(tmp_path / "b.npy", np.float64([[0.1]]))
    assert fitted([tmp_path / "a.npy", tmp_path / "b.npy"]).min[0] == 0.1
    for batches in ([np.float32([[0.1]]), np.float64([[0.1]])], iter([np.float32([[0.1]]), np.float64([[0.1]])])):
        assert fitted(batches, exact=False).min[0] == 0.1


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_column_that_not_all_files_have_is_named_and_never_dropped(form: str, engine: str, tmp_path: Path) -> None:
    a = written(tmp_path, form, "a", {"x": [1.0, 2.0], "y": [1.0, 3.0]})
    b = written(tmp_path, form, "b", {"x": [6.0]})
    for order, said in (([a, b], r"b\.\w+: has no column 'y', which"), ([b, a], r"a\.\w+: has 'y', which .* has not")):
        with pytest.raises(DataError, match=said):
            fitted(order, engine)
        assert fitted(order, engine, columns=["x"]).mean.tolist() == [3.0]
        assert fitted(order, engine, exclude=["y"]).mean.tolist() == [3.0]


TEXTS: dict[str, tuple[str | bytes, dict[str, list[float | None]]]] = {
    "R": ('"","x","y"\n"1",1.5,NA\n"2",NA,2\n', {"column_0": [1, 2], "x": [1.5, None], "y": [None, 2]}),
    "R in Europe": ('"x";"y"\n1,5;2\n-3,25e1;NA\n', {"x": [1.5, -32.5], "y": [2, None]}),
    "no names in Europe": ("1,5;2,5\n3,5;4,5\n", {"column_0": [1.5, 3.5], "column_1": [2.5, 4.5]}),
    "numpy with blanks": ("x, y\n1.5, 2\n 3 , nan\n", {"x": [1.5, 3], "y": [2, None]}),
    "pandas without names": ("0,1\n5,6\n7,8\n", {"0": [5, 7], "1": [6, 8]}),
    "pandas with an index": (",0,1\n0,5,6\n1,7,8\n", {"column_0": [0, 1], "0": [5, 7], "1": [6, 8]}),
    "no names, one missing": ("1,NA\n3,4\n", {"column_0": [1, 3], "column_1": [None, 4]}),
    "words for true": ("x,y\nTrue,1\nFALSE,2\ntrue,4\n", {"x": [1, 0, 1], "y": [1, 2, 4]}),
    "the same name twice": ("x,x\n1,2\n3,4\n", {"x": [1, 3], "x_duplicated_0": [2, 4]}),
    "a mark of order": (b"\xef\xbb\xbfx\ty\n1\t2\n3\t4\n", {"x": [1, 3], "y": [2, 4]}),
    "a comma in a name": ('"a, b",y\n1,2\n3,4\n', {"a, b": [1, 3], "y": [2, 4]}),
    "a fraction and a value late": (
        "x,y\n" + "1,\n" * 20_000 + "1.5,7\n",
        {"x": [1] * 20_000 + [1.5], "y": [None] * 20_000 + [7]},
    ),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("engine", ENGINES)
def test_csv_of_many_writers(name: str, engine: str, tmp_path: Path) -> None:
    content, columns = TEXTS[name]
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = fitted(path, engine)
    assert found.features == tuple(columns)
    values = np.array(list(columns.values()), np.float64)
    np.testing.assert_allclose(found.mean, np.nanmean(values, axis=1), rtol=1e-15)
    np.testing.assert_array_equal(found.count, np.isfinite(values).sum(axis=1))
    np.testing.assert_array_equal(found.max, np.nanmax(values, axis=1))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, None], ids=["gz", "bz2", "zst"])
@pytest.mark.parametrize("engine", ["", "polars", "duckdb", "pyarrow"])
def test_compressed_text(pack: Callable[[bytes], bytes] | None, engine: str, tmp_path: Path) -> None:
    suffix = {gzip.compress: "gz", bz2.compress: "bz2"}.get(pack, "zst")  # type: ignore[arg-type]
    reads = ["", "pyarrow"] if suffix == "bz2" else ["", "polars", "duckdb", "pyarrow"]
    if engine not in ("", *ENGINES):
        pytest.skip(f"needs {engine}")
    for name, content in (("t.csv", b"x;y\n1;2\n4;8\n"), ("t.jsonl", b'{"x":1,"y":2}\n{"x":4,"y":8}\n')):
        path = tmp_path / f"{name}.{suffix}"
        if pack:
            path.write_bytes(pack(content))
        else:
            with pa.CompressedOutputStream(str(path), "zstd") as out:
                out.write(content)
        if engine in reads:
            assert fitted(path, engine).mean.tolist() == [2.5, 5.0]
        else:
            with pytest.raises(DataError):
                fitted(path, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_files_without_rows_among_others(engine: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("x,s\n")
    (tmp_path / "c.csv").write_text("x,s\n1,u\n4,v\n")
    assert fitted(tmp_path, engine, exclude=["s"]).mean.tolist() == [2.5]
    with pytest.raises(DataError, match="'s' are not numbers"):
        fitted(tmp_path, engine)
    for only, said in (("a.csv", "the first line is empty"), ("b.csv", "there are no rows")):
        with pytest.raises(DataError, match=said):
            fitted(tmp_path / only, engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x\n" + "1\n" * 20_000 + "abc\n", "abc"),
        ("températ,y\n1,2\n".encode("latin-1"), "no text in UTF-8"),
        ("x,y\n1,2\n".encode("utf-16"), "UTF-16"),
        ('x,y\n"1,000",2\n', "'x' are not numbers"),
        ("\nx\n1\n", "the first line is empty"),
    ],
)
def test_what_csv_cannot_be_read_is_said(content: str | bytes, said: str, engine: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=said):
        fitted(tmp_path / "t.csv", engine)


def test_json_lines_as_spark_pandas_and_python_write_them(tmp_path: Path) -> None:
    lines = [json.dumps({"x": 1}) for _ in range(20_000)]
    (tmp_path / "part-0.json").write_text("\n".join([*lines, '{"x": 1.5, "late": 3}']))
    for engine in ENGINES:
        found = fitted(tmp_path, engine)
        assert found.features == ("x", "late") and found.count.tolist() == [20_001, 1]
    (tmp_path / "a.jsonl").write_text('{"x": 3}\n')  # beside it, .json is some other document
    assert fitted(tmp_path).count.tolist() == [1]
    (tmp_path / "array.json").write_text('[{"x": 1}]')
    with pytest.raises(DataError, match="one array of JSON; expected an object a line"):
        fitted(tmp_path / "array.json")
    (tmp_path / "nan.jsonl").write_text('{"x": NaN}\n{"x": 2.0}\n')
    with pytest.raises(DataError, match="--engine duckdb reads them"):
        fitted(tmp_path / "nan.jsonl", "polars")
    if "duckdb" in ENGINES:
        assert fitted(tmp_path / "nan.jsonl", "duckdb").nonfinite.tolist() == [1]


def test_arrow_streams_and_feather_1(tmp_path: Path) -> None:
    batch = pa.record_batch({"x": np.arange(200_000.0), "s": ["a"] * 200_000})
    for name in ("s.arrows", "s.arrow"):
        with pa.ipc.new_stream(str(tmp_path / name), batch.schema) as out:
            out.write_batch(batch)
            out.write_batch(batch.slice(10))
        found = fitted(tmp_path / name, exclude=["s"])
        assert found.rows == 399_990 and found.max.tolist() == [199_999]
        with pytest.raises(DataError, match="use --engine pyarrow"):
            fitted(tmp_path / name, "polars", columns=["x"])
    (tmp_path / "old.feather").write_bytes(b"FEA1" + bytes(100))
    with pytest.raises(DataError, match="Feather version 1"):
        fitted(tmp_path / "old.feather")


@pytest.mark.parametrize("engine", ENGINES)
def test_names_of_folders_are_no_columns(engine: str, tmp_path: Path) -> None:
    for year in (2023, 2024):
        folder = tmp_path / f"year={year}"
        folder.mkdir()
        pq.write_table(pa.table({"x": [float(year)]}), folder / "p.parquet")
    assert fitted(tmp_path, engine).features == ("x",)
    with pytest.raises(DataError, match="'year' is a name of folders"):
        fitted(tmp_path, engine, columns=["x", "year"])
    assert fitted(str(tmp_path / "year=2024" / "*"), engine).mean.tolist() == [2024.0]


def test_names_that_duckdb_takes_for_something_else(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    pq.write_table(pa.table({"x": [1.0, 2.0], "*": [3.0, 4.0]}), tmp_path / "t.parquet")
    assert fitted(tmp_path / "t.parquet", "polars").mean.tolist() == [1.5, 3.5]
    with pytest.raises(DataError, match="takes such a name for a pattern"):
        fitted(tmp_path / "t.parquet", "duckdb")
    pq.write_table(pa.Table.from_arrays([pa.array([1.0])] * 2, names=["x", "x"]), tmp_path / "t.parquet")
    for engine in ENGINES:
        with pytest.raises(DataError, match="several columns of the name 'x'"):
            fitted(tmp_path / "t.parquet", engine)


def test_frames_that_come_one_after_the_other(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    (tmp_path / "t.csv").write_text("id,x\n" + "".join(f"{i},{i * 1.5}\n" for i in range(10)))
    found = fitted(pd.read_csv(tmp_path / "t.csv", chunksize=3), exact=False, exclude=["id"])
    assert found.features == ("x",) and found.mean.tolist() == [6.75]
    frames = [pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4]}), pd.DataFrame({"b": [5.0, 6], "a": [7.0, 8]})]
    assert fitted(frames).mean.tolist() == [4.5, 4.5]
    with pytest.raises(DataError, match="batch 2: its columns are"):
        fitted([frames[0], frames[1].rename(columns={"a": "c"})])
    batch = pa.record_batch({"a": [1, None, 3]})
    for source in (batch, iter([batch]), pa.Table.from_batches([batch]).to_reader()):
        found = fitted(source, exact=False)
        assert found.features == ("a",) and found.nulls.tolist() == [1] and found.mean.tolist() == [2.0]


def test_what_is_no_data_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz")
    structured = np.array([(1.0, 2)], [("a", "f4"), ("b", "i8")])
    assert fitted(structured).features == ("a", "b")
    assert fitted(np.array([[1.0]], ">f4")).dtypes == ("float32",)
    for source, said in (
        (tmp_path / "none.npz", "no array in it"),
        ([[1, 2], [3]], "no array of numbers"),
        ([], "there are no batches"),
        ([np.zeros((1, 1)), np.array([["a"]])], "no numbers"),
        (np.array([["a"]]), "not numbers"),
    ):
        with pytest.raises(DataError, match=said):
            fitted(source)


def test_the_flag_that_a_message_shows_works(cli, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('"a, b",y,"t 1",é,"q""q"\n1,2,u,v,w\n3,4,u,v,w\n')
    refused = cli("fit", tmp_path / "t.csv", "-o", "-")
    assert refused.returncode == 2 and """--exclude 't 1' --exclude 'é' --exclude '"q""q"'""" in refused.stderr
    flags = ("--exclude", "t 1", "--exclude", "é", "--exclude", '"q""q"')
    found = cli("fit", tmp_path / "t.csv", *flags, "-o", "-")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["features"] == ["a, b", "y"]
    found = cli("fit", tmp_path / "t.csv", "--columns", '"a, b"', "-o", "-")
    assert json.loads(found.stdout)["features"] == ["a, b"]


def test_a_file_in_an_archive_behind_a_url_is_known_by_its_own_name(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    import zipfile

    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a.csv", "x;y\n1,5;2\n3,5;4\n")
    assert fitted(f"zip://a.csv::file://{tmp_path / 'z.zip'}").mean.tolist() == [2.5, 3.0]


@pytest.mark.parametrize("engine", [e for e in ENGINES if e != "pyarrow"])
def test_whole_numbers_of_a_csv_are_keys_of_groups(engine: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("store,x\n1,1.5\n1,2.5\n2,3.5\n2,5.5\n")
    scaler = onnxscale.fit(tmp_path / "t.csv", group="store", engine=engine).inputs[None].scaler
    assert scaler.groups == (1, 2) and all(type(k) is int for k in scaler.groups)
    np.testing.assert_array_equal(scaler.mean, [[2.0], [4.5]])
    (tmp_path / "t.csv").write_text("store,x\n1.5,1.5\n2,2.5\n")
    with pytest.raises(DataError, match="expected whole numbers or text"):
        onnxscale.fit(tmp_path / "t.csv", group="store", engine=engine)
