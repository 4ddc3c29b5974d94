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
from onnxscale.data import clusters, frames, tables
from onnxscale.data.alike import Files
from onnxscale.data.base import Batch, Data, Part, Selection
from onnxscale.data.csvs import MISSING
from onnxscale.data.tables import Table
from onnxscale.errors import DataError, OnnxscaleError, names

ENGINE_ROOTS = {"polars", "narwhals", "duckdb", "pyspark", "pyarrow", "pandas", "dask", "distributed", "py4j"}


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
    others = [p for p in paths if tables.only_pyarrow(table, p)]
    name = engine or ("polars" if embedded and not others else "pyarrow")
    if name not in ENGINES:
        raise DataError(f"unknown engine {name!r}; known are {names(ENGINES)}")
    if address and name not in ("spark", "dask"):
        raise DataError("--master is for --engine spark, --scheduler for --engine dask")
    with said(f"{paths[0]}: cannot be read as {table.name}"):
        files, chosen = table.files(paths, chosen)
    if name == "polars" and any(not remote.is_url(p) for p in others):
        raise DataError(
            f"{others[0]}: Polars reads no stream of Arrow and nothing that bzip2 has compressed; use --engine pyarrow"
        )
    if name in ("pyarrow", "numpy"):
        return tables.of_files(table, paths, files, chosen, about)
    try:
        with said(f"{paths[0]}: {name} cannot read it"):
            native, held = ENGINES[name](table, files, address)
            found = frames.of_frame(native, chosen, about, held=held)
            if name == "polars" and table.name in ("parquet", "arrow") and find_spec("pyarrow") is not None:
                # batches by pyarrow, a row group or batch at a time: Polars reads ahead of what takes its batches by hundreds of MB
                return replace(found, parts=tables.of_files(table, paths, files, chosen, about).parts)
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
        lines = [w.strip() for w in str(error).splitlines() if w.strip()] or [type(error).__name__]
        raise DataError(f"{what} ({'; '.join(lines[:3])[:300]})") from error


def _known(error: Exception) -> bool:
    """Whether an engine says that it cannot read a file, rather than that something is wrong with us: by the type of the error, or
    by who raised it."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    raised = "" if last is None else str(last.tb_frame.f_globals.get("__name__", ""))
    roots = {name.partition(".")[0].lstrip("_") for name in (type(error).__module__, raised)}
    return bool(roots & ENGINE_ROOTS) or isinstance(error, OSError)


def _polars(table: Table, files: Files, address: str) -> tuple[Any, Any]:
    import polars as pl

    del address
    cast = {**dict.fromkeys(files.numbers, pl.Float64), **dict.fromkeys(files.texts, pl.String)}
    scans = [table.scan(paths, layout) for paths, layout in files.groups]
    if len(scans) == 1:
        return scans[0], None
    return pl.concat([s.select(files.columns).cast(cast) for s in scans]), None


def _duckdb(table: Table, files: Files, address: str) -> tuple[Any, Any]:
    """can_have_nan: without it DuckDB takes the minimum and maximum that pyarrow wrote as proof that there is no NaN
    (duckdb#25521)."""
    import duckdb

    del address
    cast = {**dict.fromkeys(files.numbers, "DOUBLE"), **dict.fromkeys(files.texts, "VARCHAR")}
    columns = [f"CAST({_quoted(n)} AS {cast[n]}) AS {_quoted(n)}" if n in cast else _quoted(n) for n in files.columns]
    calls, values = [], []
    for paths, layout in files.groups:
        call, given = _call(table, paths, layout)
        calls.append(f"SELECT {', '.join(columns) if len(files.groups) > 1 else '*'} FROM {call}")  # noqa: S608  names are quoted
        values += given
    connection = duckdb.connect()
    return connection.sql(" UNION ALL ".join(calls), params=values), connection


def _call(table: Table, paths: list[str], layout: Any) -> tuple[str, list[Any]]:
    """DuckDB's function that reads files of one layout, and its parameters."""
    if table.name == "parquet":
        return "read_parquet(?, can_have_nan = true, hive_partitioning = false)", [paths]
    if table.name == "jsonlines":
        return "read_json(?, format = 'newline_delimited', sample_size = -1, hive_partitioning = false)", [paths]
    if table.name != "csv":
        raise DataError(f"DuckDB does not read {table.name} files; use --engine polars")
    types = {"number": "DOUBLE", "bool": "BOOLEAN", "text": "VARCHAR"}
    columns = ", ".join(f"{_literal(n)}: '{types[t]}'" for n, t in zip(layout.columns, layout.types, strict=True))
    said = f"delim = '{layout.separator}', header = {str(layout.header).lower()}, nullstr = [{', '.join(map(_literal, MISSING))}]"
    how = "auto_detect = false, quote = '\"', escape = '\"', hive_partitioning = false"
    comma = ", decimal_separator = ','" if layout.comma else ""
    return f"read_csv(?, columns = {{{columns}}}, {said}, {how}{comma})", [paths]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _spark(table: Table, files: Files, address: str) -> tuple[Any, Any]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("onnxscale fit")
    if address.startswith("local"):  # its workers are processes here: of this Python, not of the first one on the PATH
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = (builder.master(address) if address else builder).getOrCreate()
    return clusters.spark(session, table, files), session


def _dask(table: Table, files: Files, address: str) -> tuple[Any, Any]:
    client = None
    if address:
        from distributed import Client

        client = Client(address)
    return clusters.dask(table, files), client


ENGINES: dict[str, Callable[[Table, Files, str], tuple[Any, Any]]] = {
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
