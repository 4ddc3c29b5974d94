"""Arrow IPC files (Feather 2): record batches, one after the other. Streams, which have no footer, are read by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxscale.data.alike import Layout, Schema
from onnxscale.errors import DataError

SUFFIXES = (".arrow", ".feather", ".ipc", ".arrows")
MAGIC = b"ARROW1"
STREAM = b"\xff\xff\xff\xff"  # the mark before a message; in a stream it comes first (Arrow columnar format, IPC)
FEATHER1 = b"FEA1"


def layouts(paths: Sequence[str], system: Any) -> Mapping[str, Layout]:
    """The schema of each file. Raises DataError for Feather 1, and without pyarrow for streams."""
    return {p: _schema(p, system) for p in paths}


def _schema(path: str, system: Any) -> Schema:
    try:
        import pyarrow as pa
    except ImportError:
        import polars as pl

        if is_stream(path, system):
            raise DataError(f"{path}: an Arrow stream needs pyarrow: pip install 'onnxscale[parquet]'") from None
        found = pl.read_ipc_schema(path)
        return Schema(tuple(found), tuple(map(str, found.values())))
    with _source(path, system) as file:
        schema = (pa.ipc.open_stream if is_stream(path, system) else pa.ipc.open_file)(file).schema
    return Schema(tuple(schema.names), tuple(map(str, schema.types)))


def is_stream(path: str, system: Any) -> bool:
    """Whether this is a stream of record batches. Raises DataError for Feather 1."""
    with open(path, "rb") if system is None else system.open(path, "rb") as file:
        mark = file.read(4)
    if mark == FEATHER1:
        raise DataError(f"{path}: Feather version 1, which nothing writes any more; write it anew as version 2")
    return bool(mark == STREAM)


@dataclass(frozen=True)
class Stream:
    """A stream of record batches, read as a fragment of a dataset is."""

    path: str
    system: Any

    def to_batches(self, columns: list[str], batch_size: int, **_: Any) -> Iterator[Any]:
        """Its record batches, of these columns."""
        import pyarrow as pa

        with _source(self.path, self.system) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                for at in range(0, batch.num_rows, batch_size):
                    yield batch.select(columns).slice(at, batch_size)


@dataclass(frozen=True)
class Streams:
    """Streams one after the other, read as a dataset is."""

    parts: tuple[Stream, ...]

    @property
    def schema(self) -> Any:
        """That of the first one."""
        import pyarrow as pa

        with _source(self.parts[0].path, self.parts[0].system) as file, pa.ipc.open_stream(file) as reader:
            return reader.schema

    def get_fragments(self) -> tuple[Stream, ...]:
        """The streams."""
        return self.parts


def _source(path: str, system: Any) -> Any:
    import pyarrow as pa

    return pa.OSFile(path) if system is None else pa.PythonFile(system.open(path, "rb"), "r")


def scan(paths: list[str], layout: Layout) -> Any:
    """A polars LazyFrame of the files one below the other."""
    import polars as pl

    del layout
    return pl.scan_ipc(paths)


def dataset(paths: list[str], system: Any, layout: Layout) -> Any:
    """A pyarrow dataset of the files."""
    from pyarrow import dataset as ds

    del layout
    if any(is_stream(p, system) for p in paths):
        return Streams(tuple(Stream(p, system) for p in paths))
    return ds.dataset(paths, format="ipc", filesystem=system)
