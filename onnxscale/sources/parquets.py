"""Parquet, read by pyarrow under limits of rows and values: a table of statistics with a row per statistic or per feature."""

from __future__ import annotations

from typing import Any

from onnxscale.errors import StatisticsError

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
