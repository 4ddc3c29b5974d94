"""A table of statistics in a folder of parquet files, as Spark and Dask write a data frame: its parts in the order of their names."""

from __future__ import annotations

from pathlib import Path

from onnxscale.errors import StatisticsError, names
from onnxscale.sources import parquets
from onnxscale.sources.native import from_mapping
from onnxscale.sources.spark import content, files
from onnxscale.statistics import Reading, Source, Statistics

PARTS = 1000


def is_parquet(path: Path) -> bool:
    return any(files(path, "", ".parquet"))


def read(path: Path, reading: Reading, source: Source) -> Statistics:
    """The statistics of the parts, one table. Raises StatisticsError where the parts do not fit each other."""
    parts = files(path, "", ".parquet")
    if len(parts) > PARTS:
        raise StatisticsError(f"{len(parts):,} parquet files; a table of statistics has at most {PARTS:,}")
    tables = [t for t in (parquets.table(content(p)) for p in parts) if t.rows]
    if not tables:
        raise StatisticsError(f"{len(parts)} parquet files without a row; expected statistics")
    first = tables[0]
    odd = next((t for t in tables if (t.header, t.index) != (first.header, first.index)), None)
    if odd is not None:
        raise StatisticsError(
            f"the parquet files have different columns: {names(first.header)} in one, {names(odd.header)} in another"
        )
    columns = [[v for t in tables for v in t.columns[i]] for i in range(len(first.header))]
    whole = parquets.Table(first.header, columns, first.index)
    return from_mapping(parquets.statistics(whole), reading, source)
