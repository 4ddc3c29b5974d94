"""Arrow IPC files (Feather 2): record batches, one after the other; streams are those without a footer."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxscale.data import blocks
from onnxscale.data.alike import Layout, Schema
from onnxscale.errors import DataError

SUFFIXES = (".arrow", ".feather", ".ipc", ".arrows")
MAGIC = b"ARROW1"
STREAM = b"\xff\xff\xff\xff"  # the mark before a message; in a stream it comes first (Arrow columnar format, IPC)
FEATHER1 = b"FEA1"
ROWS = 1 << 16  # of a piece of a batch


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
class Part:
    """A file or a stream of record batches, read as a fragment of a dataset is."""

    path: str
    system: Any

    @property
    def schema(self) -> Any:
        """That of all its batches."""
        with _source(self.path, self.system) as file:
            return self._reader(file).schema

    def to_batches(self, columns: Sequence[str], **_: Any) -> Iterator[Any]:
        """Its record batches, of these columns, in pieces of bounded size. A file may be one batch: it is mapped into memory, and
        the pages that were read are given back."""
        import pyarrow as pa

        held = None if self.system is not None else _map(self.path)
        only = None  # asked for some columns, pyarrow copies them as a whole; far away, it fetches no others
        if held is None:
            only = pa.ipc.IpcReadOptions(included_fields=[i for i, n in enumerate(self.schema.names) if n in columns])
        with pa.BufferReader(pa.py_buffer(held)) if held else _source(self.path, self.system) as file:
            reader = self._reader(file, options=only)
            count = getattr(reader, "num_record_batches", None)
            for batch in reader if count is None else map(reader.get_batch, range(count)):
                for at in range(0, batch.num_rows, ROWS):
                    piece = batch.slice(at, ROWS).select(columns)
                    if held and hasattr(mmap, "MADV_DONTNEED"):
                        copies = [pa.concat_arrays([c, c.slice(0, 0)]) for c in piece.columns]
                        piece = pa.RecordBatch.from_arrays(copies, schema=piece.schema)
                        held.madvise(mmap.MADV_DONTNEED)
                    yield piece

    def _reader(self, file: Any, **options: Any) -> Any:
        import pyarrow as pa

        return (pa.ipc.open_stream if is_stream(self.path, self.system) else pa.ipc.open_file)(file, **options)


@dataclass(frozen=True)
class Parts:
    """Files and streams one after the other, read as a dataset is."""

    parts: tuple[Part, ...]

    @property
    def schema(self) -> Any:
        """That of the first one."""
        return self.parts[0].schema

    def get_fragments(self) -> tuple[Part, ...]:
        """The files."""
        return self.parts


def _source(path: str, system: Any) -> Any:
    import pyarrow as pa

    return pa.OSFile(path) if system is None else pa.PythonFile(system.open(path, "rb"), "r")


def _map(path: str) -> mmap.mmap:
    """A file in memory, as long as one of its batches is held."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def scan(paths: list[str], layout: Layout) -> Any:
    """A polars LazyFrame of the files one below the other."""
    import polars as pl

    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return pl.scan_ipc(paths)
    whole = dataset(paths, None, layout)
    empty: Any = pl.from_arrow(whole.schema.empty_table())
    return blocks.frame(
        empty.schema, lambda columns: (pl.from_arrow(b) for part in whole.parts for b in part.to_batches(columns))
    )


def dataset(paths: list[str], system: Any, layout: Layout) -> Parts:
    """The files, as a dataset of pyarrow: its own reads ahead by whole batches, however large they are."""
    del layout
    return Parts(tuple(Part(p, system) for p in paths))
