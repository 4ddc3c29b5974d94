"""JSON lines: an object of columns a line. Whole numbers are read as float64 too, as in CSV; columns are those of all lines, as one
may come late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from onnxscale.data import blocks, compressed
from onnxscale.data.alike import Layout, Schema
from onnxscale.errors import DataError

SUFFIXES = (".jsonl", ".ndjson")
PLAIN = ".json"  # as Spark and pandas name them, beside settings and other documents


def layouts(paths: Sequence[str], system: Any) -> Mapping[str, Layout]:
    """Of each file that holds anything; what is in it, only reading tells. Raises DataError for one document of JSON."""
    found: dict[str, Layout] = {}
    for path in paths:
        with compressed.opened(path, system) as file:
            head = file.read(1 << 12).lstrip()
        if head.startswith(b"["):
            raise DataError(f"{path}: one array of JSON; expected an object a line (jq -c '.[]' writes these)")
        if head:
            found[path] = Schema()
    if not found:
        raise DataError(f"{paths[0]}: no data: there is no line" + (" in any file" if len(paths) > 1 else ""))
    return found


def scan(paths: list[str], layout: Layout) -> Any:
    """A polars LazyFrame of the files one below the other."""
    import polars as pl

    del layout

    try:
        found = _schema(paths)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{paths[0]}: Polars cannot read it as JSON lines ({str(error).splitlines()[0][:200]}); where they hold NaN, as "
            f"Python writes it, or whole numbers of 64 bits, --engine duckdb reads them"
        ) from None
    wide = {name: pl.Float64 if dtype.is_integer() or dtype == pl.Null else dtype for name, dtype in found.items()}
    return blocks.frame(
        wide, lambda columns: (pl.scan_ndjson(block, schema=wide) for path in paths for block in _filled(path))
    )


def _schema(paths: list[str]) -> Mapping[str, Any]:
    """All columns of all lines, of types that take in those of every block."""
    import polars as pl

    found: dict[tuple[Any, ...], Any] = {}
    for path in paths:
        for block in _filled(path):
            one = pl.scan_ndjson(block, infer_schema_length=None).collect_schema()
            found.setdefault(tuple(one.items()), one)
    return pl.concat([pl.DataFrame(schema=one) for one in found.values()], how="diagonal_relaxed").schema


def _filled(path: str, system: Any = None) -> Iterator[bytes]:
    """The blocks of a file that hold anything."""
    return (block for block in blocks.blocks(path, system) if block.strip())


def dataset(paths: list[str], system: Any, layout: Layout) -> Lines:
    """The files, read as a pyarrow dataset is. A dataset of pyarrow's own leaves out columns that come after its first block."""
    del layout
    return Lines(tuple(Part(p, system) for p in paths))


@dataclass(frozen=True)
class Part:
    """A file of lines, read as a fragment of a dataset is. schema: what is in all files."""

    path: str
    system: Any
    schema: Any = None

    def to_batches(self, columns: list[str], **_: Any) -> Iterator[Any]:
        """pyarrow record batches of these columns."""
        import pyarrow as pa
        from pyarrow import json

        wanted = pa.schema([self.schema.field(n) for n in columns])
        parse = json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
        for block in self.blocks():
            yield from json.read_json(block, _at_once(block), parse).select(columns).to_batches()

    def found(self) -> Iterator[Any]:
        """The schema of each block."""
        from pyarrow import json

        for block in self.blocks():
            yield json.read_json(block, _at_once(block)).schema

    def blocks(self) -> Iterator[Any]:
        """Whole lines, some megabytes at a time."""
        import pyarrow as pa

        for block in _filled(self.path, self.system):
            yield pa.BufferReader(block if block.endswith(b"\n") else block + b"\n")


def _at_once(block: Any) -> Any:
    from pyarrow import json

    return json.ReadOptions(block_size=block.size() + 1, use_threads=False)


@dataclass(frozen=True)
class Lines:
    """Files of lines one after the other, read as a dataset is."""

    parts: tuple[Part, ...]

    @cached_property
    def schema(self) -> Any:
        """All columns of all lines; whole numbers as float64, and columns without a value."""
        import pyarrow as pa

        found = pa.schema([])
        for part in self.parts:
            for one in part.found():
                found = found if one.equals(found) else pa.unify_schemas([found, one], promote_options="permissive")
        plain = (pa.types.is_integer(f.type) or pa.types.is_null(f.type) for f in found)
        return pa.schema([pa.field(f.name, pa.float64()) if p else f for f, p in zip(found, plain, strict=True)])

    def get_fragments(self) -> list[Part]:
        """The files."""
        return [replace(p, schema=self.schema) for p in self.parts]
