"""Parquet, read by pyarrow under limits of rows and values: a table of statistics with a row per statistic or per feature."""

from __future__ import annotations

import json
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources.keys import NAMES
from onnxscale.sources.tables import of_table

ROWS, VALUES, UNPACKED = 1_000_000, 10_000_000, 256 << 20


def sniff(data: bytes, name: str) -> bool:
    del name
    return data[:4] == b"PAR1"


def table(data: bytes) -> Any:
    """The pyarrow Table of a file's bytes. Raises StatisticsError for a damaged file, and for one that unpacks to too much."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise StatisticsError("reading parquet needs pyarrow: pip install 'onnxscale[parquet]'") from None
    if data[:4] != b"PAR1" or data[-4:] != b"PAR1":
        raise StatisticsError("a damaged parquet file: its ends are not PAR1")
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
        return file.read(use_threads=False)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise StatisticsError(f"a damaged parquet file ({' '.join(str(error).split())[:150]})") from None


def read(data: bytes) -> object:
    """The statistics of a table. Raises StatisticsError."""
    return statistics(table(data))


def statistics(held: Any) -> object:
    """The statistics of a pyarrow Table: a row per feature or per statistic, or one row of lists."""
    header, columns = [str(n) for n in held.column_names], [c.to_pylist() for c in held.columns]
    if not header or not held.num_rows:
        raise StatisticsError(f"a table of {held.num_rows} rows and {len(header)} columns; expected statistics")
    if held.num_rows == 1 and all(isinstance(c[0], list) for c in columns):
        return {h: c[0] for h, c in zip(header, columns, strict=True)}
    words = [i for i, c in enumerate(columns) if all(isinstance(v, str) for v in c)]
    index = [i for i, h in enumerate(header) if h in _index(held.schema.metadata or {})]
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
