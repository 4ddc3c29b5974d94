"""JSON lines: an object of columns a line. Whole numbers are read as float64 too, as in CSV."""

from __future__ import annotations

from typing import Any

SUFFIXES = (".jsonl", ".ndjson")
SAMPLE = 10_000


def scan(paths: list[str]) -> Any:
    """A polars LazyFrame of the files one below the other."""
    import polars as pl

    schema = pl.scan_ndjson(paths, infer_schema_length=SAMPLE).collect_schema()
    wide = {name: pl.Float64 for name, dtype in schema.items() if dtype.is_integer()}
    return pl.scan_ndjson(paths, infer_schema_length=SAMPLE, schema_overrides=wide)


def dataset(paths: list[str], filesystem: Any) -> Any:
    """A pyarrow dataset of the files."""
    from pyarrow import dataset as ds

    return ds.dataset(paths, format="json", filesystem=filesystem)
