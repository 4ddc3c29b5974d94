"""Engines beyond one process: Spark, a Dask cluster of several processes, Ibis, an object store. The same statistics as here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxscale
from onnxscale.profile import Profile
from tests.test_fitting import HARD, profile_of

pytest.importorskip("narwhals", reason="needs the extra [fit]")
pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")


def parts(folder: Path, count: int = 8) -> Path:
    """HARD and a column of NaN as several parquet files."""
    import pyarrow as pa

    holes = np.where(np.arange(len(HARD["usual"])) % 9 == 0, np.nan, HARD["usual"])
    table = pa.table({**HARD, "holes": holes})
    folder.mkdir()
    size = table.num_rows // count
    for i in range(count):
        pq.write_table(table.slice(i * size, size), folder / f"part-{i}.parquet")
    return folder


def same(one: Profile, other: Profile, *, apart: bool = True) -> None:
    """apart: whether both engines tell NaN from null."""
    np.testing.assert_allclose(one.std, other.std, rtol=1e-10)
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)
    assert (one.quantiles is None) == (other.quantiles is None)
    for key in ("count", "min", "max", "integral", "quantiles", *(("nulls", "nonfinite") if apart else ())):
        np.testing.assert_array_equal(getattr(one, key), getattr(other, key), err_msg=key)


@pytest.fixture
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="needs Dask's distributed")
    pytest.importorskip("dask.dataframe", reason="needs dask[dataframe]")
    with distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


@pytest.mark.slow
def test_a_dask_cluster_one_of_whose_workers_is_killed_in_the_middle(cluster: Any, tmp_path: Path) -> None:
    import distributed
    from distributed import Client

    folder = parts(tmp_path / "parts", 40)
    here = profile_of(onnxscale.fit(folder))
    killed: list[int] = []

    def working(dask_scheduler: Any) -> int:
        return sum(len(w.processing) for w in dask_scheduler.workers.values())

    def kill(address: str) -> None:
        with Client(address, set_as_default=False) as watching:
            pids = list(watching.run(os.getpid).values())
            end = time.monotonic() + 60
            while time.monotonic() < end and not killed:
                if watching.run_on_scheduler(working):
                    os.kill(pids[0], signal.SIGKILL)
                    killed.append(pids[0])

    watcher = threading.Thread(target=kill, args=(cluster.scheduler_address,))
    watcher.start()
    there = profile_of(onnxscale.fit(folder, engine="dask", address=cluster.scheduler_address))
    watcher.join()
    assert len(killed) == 1
    same(there, here, apart=False)
    with pytest.raises(ValueError, match="No global client"):
        distributed.get_client()  # ours is gone, and so is what it set for everybody


@pytest.mark.slow
def test_the_command_line_uses_a_dask_cluster(cluster: Any, cli, tmp_path: Path) -> None:
    folder = parts(tmp_path / "parts")
    where = ("--engine", "dask", "--scheduler", cluster.scheduler_address)
    got = cli("fit", folder, *where, "-o", tmp_path / "s.json")
    assert got.returncode == 0, got.stderr
    read = onnxscale.read(tmp_path / "s.json").inputs[None].profile
    assert read is not None and str(read.about["engine"]).startswith("dask")
    same(read, profile_of(onnxscale.fit(folder)), apart=False)


@pytest.mark.slow
def test_spark(cli, tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="needs pyspark and Java")
    folder = parts(tmp_path / "parts", 3)
    got = cli("fit", folder, "--engine", "spark", "--master", "local[2]", "-o", tmp_path / "s.json", timeout=300)
    assert got.returncode == 0, got.stderr
    read = onnxscale.read(tmp_path / "s.json").inputs[None].profile
    assert read is not None and str(read.about["engine"]).startswith("pyspark")
    same(read, profile_of(onnxscale.fit(folder)))
    where = ("--where", "counts > 2 AND usual < 6", "--columns", "usual,far", "--no-quantiles", "--json", "-o")
    got = cli("fit", folder, "--engine", "spark", "--master", "local[2]", *where, tmp_path / "w.json", timeout=300)
    assert got.returncode == 0, got.stderr
    said = json.loads(got.stdout)["fitted"][0]["profile"]
    kept = (HARD["counts"] > 2) & (HARD["usual"] < 6)
    kept[len(kept) // 3 * 3 :] = False  # the parts have whole thirds
    assert said["rows"] == kept.sum()
    np.testing.assert_allclose(said["std"][0], HARD["usual"][kept].std(), rtol=1e-11)


@pytest.mark.slow
def test_spark_takes_numbers_beyond_64_bits(tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="needs pyspark and Java")
    import pyarrow as pa

    pq.write_table(pa.table({"x": [1e19, 2e25, -3e30], "y": [1.0, 2.0, -0.5]}), tmp_path / "t.parquet")
    found = profile_of(onnxscale.fit(tmp_path / "t.parquet", engine="spark", address="local[2]"))
    here = profile_of(onnxscale.fit(tmp_path / "t.parquet"))
    same(found, here)
    assert found.integral.tolist() == here.integral.tolist() == [True, False]


@pytest.mark.slow
def test_what_spark_and_dask_wrote_themselves(tmp_path: Path) -> None:
    """Files of each engine's own writer, read by the embedded one."""
    import pandas as pd

    dd = pytest.importorskip("dask.dataframe", reason="needs dask[dataframe]")
    sql = pytest.importorskip("pyspark.sql", reason="needs pyspark and Java")
    duckdb = pytest.importorskip("duckdb", reason="needs duckdb")
    pl = pytest.importorskip("polars", reason="needs polars")
    frame = pd.DataFrame({**HARD, "holes": np.where(np.arange(len(HARD["usual"])) % 9 == 0, np.nan, HARD["usual"])})
    dd.from_pandas(frame, npartitions=3).to_parquet(tmp_path / "dask")
    session = sql.SparkSession.builder.master("local[2]").getOrCreate()
    session.createDataFrame(frame).repartition(3).write.parquet(str(tmp_path / "spark"))
    session.stop()
    duckdb.sql("SELECT * FROM frame").write_parquet(str(tmp_path / "duck.parquet"))
    pl.DataFrame(frame).write_parquet(tmp_path / "polars.parquet")
    here = profile_of(onnxscale.fit(frame))
    for name in ("dask", "spark", "duck.parquet", "polars.parquet"):
        for engine in ("polars", "duckdb", "pyarrow"):
            found = profile_of(onnxscale.fit(tmp_path / name, engine=engine, columns=list(frame.columns)))
            same(found, here, apart=False)


def test_ibis_tables(tmp_path: Path) -> None:
    ibis = pytest.importorskip("ibis", reason="needs ibis-framework and duckdb")
    pytest.importorskip("duckdb", reason="needs duckdb")
    folder = parts(tmp_path / "parts")
    table = ibis.duckdb.connect().read_parquet(str(folder / "*.parquet"), can_have_nan=True)
    same(profile_of(onnxscale.fit(table, exact=False)), profile_of(onnxscale.fit(folder, exact=False)))


def test_an_object_store(object_store: Any, tmp_path: Path) -> None:
    folder = parts(tmp_path / "parts", 3)
    for path in folder.iterdir():
        object_store.put(str(path), f"bucket/parts/{path.name}")
    np.save(tmp_path / "x.npy", HARD["usual"][:, None])
    object_store.put(str(tmp_path / "x.npy"), "bucket/x.npy")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,5\n")
    object_store.put(str(tmp_path / "x.csv"), "bucket/x.csv")
    here = profile_of(onnxscale.fit(folder))
    for source in ("s3://bucket/parts/", "s3://bucket/parts/*.parquet"):
        found = profile_of(onnxscale.fit(source))
        same(found, here)
        assert found.about["files"][0]["etag"]
    np.testing.assert_allclose(profile_of(onnxscale.fit("s3://bucket/x.npy")).std, [HARD["usual"].std()], rtol=1e-12)
    assert profile_of(onnxscale.fit("s3://bucket/x.csv")).mean.tolist() == [2, 3.5]


@pytest.mark.parametrize("engine", ["polars", "duckdb", "pyarrow", "dask"])
def test_whole_numbers_booleans_and_decimals_are_numbers(engine: str, tmp_path: Path) -> None:
    import decimal

    import pyarrow as pa

    pytest.importorskip({"dask": "dask.dataframe"}.get(engine, engine))
    money = [decimal.Decimal(i) / 4 for i in range(1000)]
    table = pa.table({
        "u8": pa.array(np.arange(1000) % 251, pa.uint8()),
        "i64": pa.array(np.arange(1000) * 10**9),
        "flag": np.arange(1000) % 3 == 0,
        "money": pa.array(money, pa.decimal128(12, 2)),
    })  # fmt: skip
    columns = ["u8", "i64", "flag"] + ["money"] * (engine != "dask")  # pandas has no decimals
    pq.write_table(table, tmp_path / "t.parquet")
    found = profile_of(onnxscale.fit(tmp_path / "t.parquet", engine=engine, columns=columns))
    expected = [np.asarray(table[c].to_numpy(zero_copy_only=False), float) for c in columns]
    np.testing.assert_allclose(found.mean, [x.mean() for x in expected], rtol=1e-14)
    np.testing.assert_allclose(found.std, [x.std() for x in expected], rtol=1e-13)
    assert found.integral is not None and found.integral.tolist() == [True, True, True, False][: len(columns)]
    assert found.quantiles is not None
    np.testing.assert_array_equal(found.quantiles[:, -1], [x.max() for x in expected])


@pytest.mark.parametrize("width", [300, 3000])
def test_wide_tables(width: int, tmp_path: Path) -> None:
    """300 columns are more than one query, 3,000 are for the kernel."""
    import pyarrow as pa

    x = np.random.default_rng(0).normal(2, 3, (200, width))
    pq.write_table(pa.table({f"c{i}": x[:, i] for i in range(width)}), tmp_path / "t.parquet")
    found = profile_of(onnxscale.fit(tmp_path / "t.parquet"))
    np.testing.assert_allclose(found.std, x.std(axis=0), rtol=1e-13)
    assert found.features == tuple(f"c{i}" for i in range(width))


def test_names_that_would_be_something_else_in_a_query(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    import pyarrow as pa

    columns = {
        name: np.arange(10.0) + i for i, name in enumerate(("select", 'a "b" `c`', "c1", "x.y", "ü; DROP TABLE t"))
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    for engine in ("polars", "duckdb", "pyarrow"):
        found = profile_of(onnxscale.fit(tmp_path / "t.parquet", engine=engine))
        assert found.features == tuple(columns) and found.mean.tolist() == [4.5 + i for i in range(len(columns))]
    pq.write_table(pa.table({**columns, "^c.*$": np.arange(10.0)}), tmp_path / "t.parquet")
    with pytest.raises(onnxscale.DataError, match="takes such a name for a pattern"):
        onnxscale.fit(tmp_path / "t.parquet", engine="polars")
    assert profile_of(onnxscale.fit(tmp_path / "t.parquet", engine="pyarrow")).mean[-1] == 4.5


def test_without_narwhals_and_polars(tmp_path: Path) -> None:
    """A process that has neither: pyarrow and numpy do it; what only Polars can is refused in words."""
    import subprocess
    import sys

    folder = parts(tmp_path / "parts", 3)
    code = f"""import sys
sys.modules["polars"] = sys.modules["narwhals"] = None
import onnxscale
p = onnxscale.fit({str(folder)!r}).inputs[None].profile
print(p.about["engine"], p.std.tolist())
for source, flags in (({str(folder)!r}, {{"where": "usual > 3"}}), (__import__("pandas").DataFrame({{"a": [1.0]}}), {{}})):
    try:
        onnxscale.fit(source, **flags)
    except onnxscale.DataError as error:
        print(error)"""
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    first, *refusals = got.stdout.splitlines()
    assert first.startswith("numpy"), got.stderr
    np.testing.assert_allclose(
        json.loads(first.partition("[")[1] + first.partition("[")[2]), profile_of(onnxscale.fit(folder)).std, rtol=1e-11
    )
    assert len(refusals) == 2 and all("onnxscale[fit]" in r for r in refusals)


def test_a_file_that_is_written_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxscale.fitting import moments

    folder = parts(tmp_path / "parts", 3)
    summarized = moments.summarized

    def slow(*given: Any, **how: Any) -> Any:
        found = summarized(*given, **how)
        os.utime(folder / "part-1.parquet")
        return found

    monkeypatch.setattr(moments, "summarized", slow)
    with pytest.raises(onnxscale.DataError, match="the files changed while they were read"):
        onnxscale.fit(folder)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".arrow", ".jsonl", ".npy", ".npz"])
def test_damaged_files_are_errors_in_words(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    for content in (b"", b"PAR1", b"ARROW1\0\0", b"\x93NUMPY", b"PK\x03\x04", b"{", b"a,b\n1", bytes(range(256))):
        path.write_bytes(content)
        for engine in ("", "pyarrow"):
            if suffix != ".csv" or b"\0" in content:  # much is a CSV of one column
                with pytest.raises(onnxscale.OnnxscaleError):
                    onnxscale.fit(path, engine=engine)
            else:
                with contextlib.suppress(onnxscale.OnnxscaleError):
                    onnxscale.fit(path, engine=engine)
