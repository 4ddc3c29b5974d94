"""Frames, eager and lazy: whatever narwhals knows (Polars, pandas, pyarrow, DuckDB, PySpark, Dask, Ibis)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxscale.data.base import Batch, Data, Part, Selection
from onnxscale.data.tables import ROWS, as_batch, no_queries, not_numbers, row_condition
from onnxscale.errors import DataError, names


def is_frame(source: object) -> bool:
    """Whether narwhals knows this as a frame. Without narwhals nothing is one; a frame is then told by its module."""
    root = type(source).__module__.partition(".")[0]
    if root in ("builtins", "numpy", "pathlib"):
        return False
    try:
        import narwhals.stable.v2 as nw
    except ImportError:
        if root in ("pandas", "polars", "pyarrow", "duckdb", "pyspark", "dask", "ibis"):
            raise DataError("frames are read through narwhals: pip install 'onnxscale[fit]'") from None
        return False
    found = nw.from_native(source, pass_through=True)
    return isinstance(found, nw.DataFrame | nw.LazyFrame)


def table(source: Any) -> Any:
    """A record batch as a pyarrow table; anything else as it is."""
    if type(source).__name__ == "RecordBatch" and type(source).__module__.startswith("pyarrow"):
        import pyarrow as pa

        return pa.Table.from_batches([source])
    return source


def of_frames(head: Any, rest: Iterable[Any], chosen: Selection, *, once: bool) -> Data:
    """Frames, one after the other, of the same columns in whatever order; head: the first of them. Raises DataError where the
    columns differ and none are named."""
    import narwhals.stable.v2 as nw

    if chosen.shard != (1, 1):
        raise DataError("a shard of batches: choose the rows before they are passed")
    first = of_frame(table(head), chosen, {})
    known = set(nw.from_native(table(head)).collect_schema().names())
    named = replace(chosen, columns=first.names, exclude=())

    def read(asked: Sequence[int]) -> Iterator[Batch]:
        for at, item in enumerate(rest, 1):
            own = set(nw.from_native(table(item)).collect_schema().names())
            if own != known and not chosen.columns:
                raise DataError(
                    f"batch {at}: its columns are {names(sorted(own))}, those of the first one {names(sorted(known))}"
                )
            for values, missing in of_frame(table(item), named, {}).batches(asked):
                yield Batch(values.astype(np.float64), missing)

    return Data(first.names, first.dtypes, (Part(read),), first.about, once=once)


def of_series(source: Any) -> Any:
    """A series as a frame of one column."""
    return source.to_frame()


def of_frame(source: object, chosen: Selection, about: Mapping[str, Any], engine: str = "", held: Any = None) -> Data:
    """The chosen columns and rows of a frame. Raises DataError naming columns that are not numbers."""
    import narwhals.stable.v2 as nw

    frame: Any = nw.from_native(source)
    name = engine or frame.implementation.value
    schema = frame.collect_schema()
    known, types = [str(n) for n in schema.names()], schema.dtypes()
    index = chosen.chosen(known, _first(about))
    columns, types = [known[i] for i in index], [types[i] for i in index]
    bad = [n for n, t in zip(columns, types, strict=True) if not (t.is_numeric() or t == nw.Boolean)]
    taken = [
        n for n in columns if (name == "polars" and n[:1] + n[-1:] == "^$") or (name == "duckdb" and n in ("*", ""))
    ]
    if taken:
        other = "polars" if name == "duckdb" else "pyarrow"
        raise DataError(
            f"{names(taken)}: {name.capitalize()} takes such a name for a pattern of names; rename it, or use --engine {other}"
        )
    if bad:
        raise DataError(not_numbers(_first(about), bad, types[columns.index(bad[0])]))
    if chosen.shard != (1, 1):
        frame = _shard(frame, name, chosen.shard)
    if chosen.where:
        frame = nw.from_native(_where(frame, name, chosen.where))
        about = {**about, "where": chosen.where}
    frame = frame.select(nw.nth(*index, *([known.index(chosen.group)] if chosen.group else ())))
    dtypes = tuple(map(str, types))
    narrow = all(t in (nw.Float32, nw.Boolean) for t in types)
    rows = len(frame) if isinstance(frame, nw.DataFrame) else None
    dtype = np.float32 if narrow else np.float64
    part = Part(lambda asked: _batches(frame, asked, name, dtype), rows)
    return Data(tuple(columns), dtypes, (part,), about, frame, name, held=held, group=chosen.group)


def _first(about: Mapping[str, Any]) -> str:
    files = about.get("files") or [{"name": "the frame"}]
    return str(files[0]["name"])


def _shard(frame: Any, engine: str, shard: tuple[int, int]) -> Any:
    """Rows N (i-1) / n up to N i / n of all N, of a frame whose rows have an order."""
    import narwhals.stable.v2 as nw

    i, n = shard
    if isinstance(frame, nw.DataFrame):
        total = len(frame)
        return frame[total * (i - 1) // n : total * i // n]
    if engine != "polars":
        raise DataError(f"--shard of one {engine} table: its rows have no order; give at least as many files as shards")
    native = frame.to_native()
    total = int(frame.select(nw.len()).collect(engine="streaming").item())
    first, last = total * (i - 1) // n, total * i // n
    return nw.from_native(native.slice(first, last - first))


def _where(frame: Any, engine: str, where: str) -> Any:
    """A row condition in the frame's own SQL, or in Polars' where it has none."""
    import narwhals.stable.v2 as nw

    native = frame.to_native()
    if engine in ("duckdb", "pyspark"):
        no_queries(where)
        try:
            kept = native.filter(where)
            kept.columns  # noqa: B018  DuckDB and Spark look at the condition here
        except Exception as error:  # noqa: BLE001  each engine raises its own types
            raise DataError(f"--where {where}: {engine} does not take it ({str(error).splitlines()[0]})") from None
        return kept
    condition = row_condition(where)
    if engine == "dask":
        return native.map_partitions(_filtered, where, meta=native._meta)
    if engine != "polars" and not isinstance(frame, nw.DataFrame):
        raise DataError(f"a row condition on a table of {engine}: filter it before it is passed")
    table = native if engine == "polars" else frame.to_polars()
    _boolean(table, condition, where)
    return table.filter(condition)


def _boolean(table: Any, condition: Any, where: str) -> None:
    """Raises DataError where a condition does not fit a polars frame, or is a number."""
    import polars as pl

    try:
        found = table.lazy().select(condition).collect_schema().dtypes()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"--where {where}: does not fit the columns ({str(error).splitlines()[0]})") from None
    if found != [pl.Boolean]:
        raise DataError(f"--where {where}: is {found[0]}, neither true nor false")


def _filtered(part: Any, where: str) -> Any:
    """Rows of a pandas frame that hold a condition; runs where Dask does."""
    import polars as pl

    return part[pl.from_pandas(part).select(pl.sql_expr(where)).to_series().fill_null(value=False).to_numpy()]


def _batches(whole: Any, columns: Sequence[int], engine: str, dtype: Any) -> Iterator[Batch]:
    import narwhals.stable.v2 as nw

    # no name of the user's is in a query: some engines take "*" and the like for something else
    frame = whole.select(*(nw.nth(c).alias(f"c{i}") for i, c in enumerate(columns)))
    if isinstance(frame, nw.DataFrame):
        for at in range(0, len(frame), ROWS):
            rows = nw.maybe_reset_index(frame[at : at + ROWS])  # pandas would hand its index over as one more column
            yield from _of_arrow(rows.to_arrow(), dtype)
        return
    stream = STREAMS.get(engine)
    if stream is None:
        raise DataError(f"the rows of a table of {engine} do not come in batches here; only its sums do")
    for table in stream(frame.to_native()):
        yield from _of_arrow(table, dtype)


def _of_arrow(table: Any, dtype: Any) -> Iterator[Batch]:
    """A pyarrow table or record batch in batches of bounded size."""
    for at in range(0, table.num_rows, ROWS):
        rows = table.slice(at, ROWS)
        columns = [c.combine_chunks() if hasattr(c, "combine_chunks") else c for c in rows.columns]
        yield as_batch([c.chunk(0) if hasattr(c, "chunk") else c for c in columns], dtype)


def _polars(native: Any) -> Iterator[Any]:
    for frame in native.collect_batches(chunk_size=ROWS, maintain_order=True, lazy=True, engine="streaming"):
        yield frame.to_arrow()


def _duckdb(native: Any) -> Iterator[Any]:
    yield from native.to_arrow_reader(ROWS)


def _spark(native: Any) -> Iterator[Any]:
    """A partition at a time, as pandas has it: Spark's own iterator of rows keeps one partition in memory."""
    import pyarrow as pa

    names, rows = native.columns, []
    for row in native.toLocalIterator(prefetchPartitions=True):
        rows.append(tuple(row))
        if len(rows) == ROWS:
            yield pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)))
            rows = []
    if rows:
        yield pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)))


def _dask(native: Any) -> Iterator[Any]:
    import pyarrow as pa

    for part in native.partitions:
        yield pa.Table.from_pandas(part.compute(), preserve_index=False)


def _ibis(native: Any) -> Iterator[Any]:
    try:
        yield from native.to_pyarrow_batches(chunk_size=ROWS)
    except AttributeError as error:
        raise DataError(
            f"this version of Ibis gives no batches of this table ({error}); pass its backend's own table, such as DuckDB's relation, "
            f"or do without quantiles (exact=False)"
        ) from None


STREAMS: dict[str, Callable[[Any], Iterator[Any]]] = {
    "polars": _polars,
    "duckdb": _duckdb,
    "pyspark": _spark,
    "dask": _dask,
    "ibis": _ibis,
}
