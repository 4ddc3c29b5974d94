"""A table of statistics in a folder of parquet files, as Spark and Dask write a data frame: its parts in the order of their names."""

from __future__ import annotations

from pathlib import Path

from onnxscale.errors import StatisticsError
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
    tables = [t for t in (parquets.table(content(p)) for p in parts) if t.num_rows]
    if not tables:
        raise StatisticsError(f"{len(parts)} parquet files without a row; expected statistics")
    import pyarrow

    try:
        whole = pyarrow.concat_tables(tables)
    except pyarrow.ArrowException as error:
        raise StatisticsError(f"the parquet files have different columns ({str(error)[:150]})") from None
    return from_mapping(parquets.statistics(whole), reading, source)
