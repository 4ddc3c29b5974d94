"""Parquet, read by pyarrow under limits of rows and values: a table of statistics with a row per statistic or per feature.

A damaged file can abort pyarrow's process (a page that is no page, a row group that is not there), so it runs in one of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources.isolation import isolated
from onnxscale.sources.keys import NAMES
from onnxscale.sources.tables import of_table

ROWS, VALUES, UNPACKED = 1_000_000, 10_000_000, 256 << 20


def sniff(data: bytes, name: str) -> bool:
    del name
    return data[:4] == b"PAR1"


@dataclass(frozen=True)
class Table:
    """header: names of the columns. columns: their values, as Python's. index: which of them were a data frame's index."""

    header: list[str]
    columns: list[list[Any]]
    index: list[str]

    @property
    def rows(self) -> int:
        return len(self.columns[0]) if self.columns else 0


def table(data: bytes) -> Table:
    """The table of a file's bytes. Raises StatisticsError for a damaged file, and for one that unpacks to too much."""
    try:
        import_module("pyarrow.parquet")  # here, so that each child need not
    except ImportError:
        raise StatisticsError("reading parquet needs pyarrow: pip install 'onnxscale[parquet]'") from None
    if data[:4] != b"PAR1" or data[-4:] != b"PAR1":
        raise StatisticsError("a damaged parquet file: its ends are not PAR1")
    return isolated(lambda: _unpacked(data), "the parquet library")


def _unpacked(data: bytes) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        held = file.metadata
        groups = [held.row_group(i) for i in range(held.num_row_groups)]
        values = sum(g.column(i).num_values for g in groups for i in range(g.num_columns))
        unpacked = sum(g.total_byte_size for g in groups)
        if held.num_rows > ROWS or values > VALUES or unpacked > UNPACKED:
            raise StatisticsError(
                f"{held.num_rows:,} rows of {values:,} values in {unpacked:,} bytes; statistics have at most {ROWS:,} rows, "
                f"{VALUES:,} values and {UNPACKED:,} bytes"
            )
        read = file.read(use_threads=False)
        header = [str(n) for n in read.column_names]
        return Table(header, [c.to_pylist() for c in read.columns], _index(read.schema.metadata or {}))
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise StatisticsError(f"a damaged parquet file ({' '.join(str(error).split())[:150]})") from None


def read(data: bytes) -> object:
    """The statistics of a table. Raises StatisticsError."""
    return statistics(table(data))


def statistics(held: Table) -> object:
    """The statistics of a table: a row per feature or per statistic, or one row of lists."""
    header, columns = held.header, held.columns
    if not header or not held.rows:
        raise StatisticsError(f"a table of {held.rows} rows and {len(header)} columns; expected statistics")
    if held.rows == 1 and all(isinstance(c[0], list) for c in columns):
        return {h: c[0] for h, c in zip(header, columns, strict=True)}
    words = [i for i, c in enumerate(columns) if all(isinstance(v, str) for v in c)]
    index = [i for i, h in enumerate(header) if h in held.index]
    kept = [i for i in range(len(header)) if i in words or i not in index]  # an index of numbers names nothing
    able = [i for i in index if i in words] or [i for i in words if header[i].lower() in NAMES] or words
    label = kept.index(able[0]) if len(able) == 1 else None
    rows = list(zip(*(columns[i] for i in kept), strict=True))
    return of_table([header[i] for i in kept], rows, label)


def _index(metadata: Any) -> list[str]:
    """The columns that were a data frame's index, which pandas notes beside the schema."""
    try:
        noted = json.loads(metadata.get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, AttributeError, RecursionError):
        return []
    return [n for n in noted if isinstance(n, str)] if isinstance(noted, list) else []
