"""Parquet: columns in row groups, each read on its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxscale.data.alike import Layout, Schema

SUFFIXES = (".parquet", ".pq", ".parq")
MAGIC = b"PAR1"
ROWS = 1 << 16  # of a batch


def layouts(paths: Sequence[str], system: Any) -> Mapping[str, Layout]:
    """The schema of each file."""
    return {p: _schema(p, system) for p in paths}


def _schema(path: str, system: Any) -> Schema:
    try:
        from pyarrow import parquet
    except ImportError:
        import polars as pl

        found = pl.read_parquet_schema(path)
        return Schema(tuple(found), tuple(map(str, found.values())))
    with parquet.ParquetFile(path if system is None else system.open(path, "rb")) as file:
        schema = file.schema_arrow
    return Schema(tuple(schema.names), tuple(map(str, schema.types)))


def scan(paths: list[str], layout: Layout) -> Any:
    """A polars LazyFrame of the files one below the other."""
    import polars as pl

    del layout
    return pl.scan_parquet(paths, hive_partitioning=False)


def dataset(paths: list[str], system: Any, layout: Layout) -> Any:
    """A pyarrow dataset of the files."""
    from pyarrow import dataset as ds

    del layout
    return ds.dataset(paths, format="parquet", filesystem=system, partitioning=None)


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
