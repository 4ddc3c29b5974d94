"""Arrow IPC files (Feather 2): record batches, one after the other."""

from __future__ import annotations

from typing import Any

SUFFIXES = (".arrow", ".feather", ".ipc")
MAGIC = b"ARROW1"


def scan(paths: list[str]) -> Any:
    """A polars LazyFrame of the files one below the other."""
    import polars as pl

    return pl.scan_ipc(paths)


def dataset(paths: list[str], filesystem: Any) -> Any:
    """A pyarrow dataset of the files."""
    from pyarrow import dataset as ds

    return ds.dataset(paths, format="ipc", filesystem=filesystem)
