"""Parquet: columns in row groups, each read on its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SUFFIXES = (".parquet", ".pq", ".parq")
MAGIC = b"PAR1"
ROWS = 1 << 16  # of a batch


def scan(paths: list[str]) -> Any:
    """A polars LazyFrame of the files one below the other."""
    import polars as pl

    return pl.scan_parquet(paths, hive_partitioning=False)


def dataset(paths: list[str], filesystem: Any) -> Any:
    """A pyarrow dataset of the files."""
    from pyarrow import dataset as ds

    return ds.dataset(paths, format="parquet", filesystem=filesystem, partitioning=None)


def groups(path: str, filesystem: Any) -> list[int]:
    """Rows of each row group."""
    with _file(path, filesystem) as file:
        return [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]


def read_group(path: str, filesystem: Any, group: int, columns: list[str]) -> Iterator[Any]:
    """pyarrow record batches of one row group."""
    with _file(path, filesystem) as file:
        yield from file.iter_batches(ROWS, row_groups=[group], columns=columns, use_threads=False)


def _file(path: str, filesystem: Any) -> Any:
    from pyarrow import parquet

    source = path if filesystem is None else filesystem.open(path, "rb")
    return parquet.ParquetFile(source, pre_buffer=False)
