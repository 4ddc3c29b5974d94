"""Who reads files of tables: Polars, DuckDB, pyarrow, Spark or Dask. Polars is the default, pyarrow where it is missing and
behind URLs, which it reads through fsspec with the credentials that fsspec knows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from onnxscale import remote
from onnxscale.data import frames, tables
from onnxscale.data.base import Batch, Data, Part, Selection
from onnxscale.data.tables import Table
from onnxscale.errors import DataError, OnnxscaleError, names


def of_files(
    table: Table, paths: list[str], chosen: Selection, about: Mapping[str, Any], engine: str, address: str
) -> Data:
    """Files of one format, read by an engine. Raises DataError, also where a batch is read and the file turns out to be damaged."""
    found = _of_files(table, paths, chosen, about, engine, address)
    return replace(found, parts=tuple(_telling(p, f"{paths[0]}: cannot be read to its end") for p in found.parts))


def _telling(part: Part, what: str) -> Part:
    def read(asked: Sequence[int]) -> Iterator[Batch]:
        with said(what):
            yield from part.read(asked)

    return replace(part, read=read)


def _of_files(
    table: Table, paths: list[str], chosen: Selection, about: Mapping[str, Any], engine: str, address: str
) -> Data:
    embedded = find_spec("polars") is not None and find_spec("narwhals") is not None
    name = engine or ("polars" if embedded and not any(map(remote.is_url, paths)) else "pyarrow")
    if name not in ENGINES:
        raise DataError(f"unknown engine {name!r}; known are {names(ENGINES)}")
    if address and name not in ("spark", "dask"):
        raise DataError("--master is for --engine spark, --scheduler for --engine dask")
    if name in ("pyarrow", "numpy"):
        return tables.of_files(table, paths, chosen, about)
    try:
        with said(f"{paths[0]}: {name} cannot read it"):
            native, held = ENGINES[name](table, paths, address)
            found = frames.of_frame(native, chosen, about, held=held)
            if name == "polars" and table.name == "parquet" and find_spec("pyarrow") is not None:
                # batches by pyarrow, a row group at a time: Polars reads ahead of what takes its batches by hundreds of MB
                return replace(found, parts=tables.of_files(table, paths, chosen, about).parts)
            return found
    except ImportError as error:
        raise DataError(f"--engine {name} needs {error.name}: pip install {_PACKAGES[name]}") from None


@contextmanager
def said(what: str) -> Iterator[None]:
    """What an engine raises inside becomes a DataError that begins with this; anything else goes on."""
    try:
        yield
    except OnnxscaleError:
        raise
    except Exception as error:
        if not _known(error):
            raise
        line = next((w.strip() for w in str(error).splitlines() if w.strip()), type(error).__name__)
        raise DataError(f"{what} ({line[:300]})") from error


def _known(error: Exception) -> bool:
    """Whether an engine says that it cannot read a file, rather than that something is wrong with us."""
    root = type(error).__module__.partition(".")[0].lstrip("_")  # _duckdb: the native part of it
    return root in ("polars", "narwhals", "duckdb", "pyspark", "pyarrow", "distributed", "py4j") or isinstance(
        error, OSError
    )


def _polars(table: Table, paths: list[str], address: str) -> tuple[Any, Any]:
    del address
    return table.scan(paths), None


def _duckdb(table: Table, paths: list[str], address: str) -> tuple[Any, Any]:
    """can_have_nan: without it DuckDB takes the minimum and maximum that pyarrow wrote as proof that there is no NaN
    (duckdb#25521)."""
    import duckdb

    del address
    call = {
        "parquet": "read_parquet(?, can_have_nan = true)",
        "csv": "read_csv(?, all_varchar = false, sample_size = -1)",
        "jsonlines": "read_json(?, format = 'newline_delimited')",
    }.get(table.name)
    if call is None:
        raise DataError(f"DuckDB does not read {table.name} files; use --engine polars")
    connection = duckdb.connect()
    return connection.sql(f"SELECT * FROM {call}", params=[paths]), connection  # noqa: S608  a table of constants


def _spark(table: Table, paths: list[str], address: str) -> tuple[Any, Any]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("onnxscale fit")
    if address.startswith("local"):  # its workers are processes here: of this Python, not of the first one on the PATH
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = (builder.master(address) if address else builder).getOrCreate()
    how: Any = {
        "parquet": lambda read: read.parquet(*paths),
        "csv": lambda read: read.csv(paths, header=True, inferSchema=True),
        "jsonlines": lambda read: read.json(paths),
    }.get(table.name)
    if how is None:
        raise DataError(f"Spark does not read {table.name} files")
    return how(session.read), session


def _dask(table: Table, paths: list[str], address: str) -> tuple[Any, Any]:
    import dask.dataframe as dd

    client = None
    if address:
        from distributed import Client

        client = Client(address)
    how: Any = {"parquet": dd.read_parquet, "csv": dd.read_csv, "jsonlines": dd.read_json}.get(table.name)
    if how is None:
        raise DataError(f"Dask does not read {table.name} files")
    return how(paths, **({"lines": True, "precise_float": True} if table.name == "jsonlines" else {})), client


ENGINES: dict[str, Callable[[Table, list[str], str], tuple[Any, Any]]] = {
    "polars": _polars,
    "duckdb": _duckdb,
    "pyarrow": _polars,
    "numpy": _polars,
    "spark": _spark,
    "dask": _dask,
}
_PACKAGES = {
    "polars": "'onnxscale[fit]'",
    "duckdb": "duckdb",
    "spark": "pyspark",
    "dask": "'dask[dataframe,distributed]'",
}
