"""The one expression for every engine, in narwhals: sums about a shift, counts and extremes; nothing else leaves the engine.

Per column: y = x - K in float64; sum(y), sum(y y), count(x), min and max of x. Where a sum is finite, so was every x; other columns
are read again with a mask: y where |x| <= the largest float64, else null, and count(y) beside count(x). An engine's own std, and
what it does with NaN, is never asked. K is the mean of the first 1024 rows; columns whose mean turns out far from K are read again
about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxscale.data import Data
from onnxscale.errors import DataError, names
from onnxscale.fitting.doubled import pair
from onnxscale.fitting.summary import Cross, Summary
from onnxscale.step import Array

HEAD = 1024  # rows that K is the mean of
MOST = float(np.finfo(np.float64).max)
EXACT = 2.0**53  # from it on every float64 is a whole number
TOGETHER = 200  # columns, or pairs of them, in one query: more make plans that engines are slow on
PASSES = 4
Tell = Callable[[int], None]


def summarized(data: Data, *, correlation: bool = False, tell: Tell = lambda rows: None) -> Summary:
    """The summary of a frame by its own engine. tell: called with all the rows, once they are read.

    Raises DataError where there are no rows, or an engine takes NaN for a number.
    """
    columns = _renamed(data)
    every = list(range(data.width))
    head = _read(columns.head(HEAD), every, np.zeros(data.width), every, every, data.engine)
    if not head.rows:
        raise DataError("no data: there are no rows")
    maybe_whole = np.flatnonzero(head.whole)
    masked = head.rows - head.nulls > head.count  # bool of (F,): read with the mask
    found = _read(columns, every, _finite(head.mean), maybe_whole, np.flatnonzero(masked), data.engine)
    tell(found.rows)
    for _ in range(PASSES):
        off = np.flatnonzero(found.off)
        mean = np.where(np.isfinite(found.mean), found.mean, found.shift)[off]
        if not off.size or (masked[off].all() and np.array_equal(mean, found.shift[off])):
            break
        masked[off] = True
        again = _read(columns, off, mean, np.intersect1d(off, maybe_whole), off, data.engine)
        found = found.columns(off, again)
    if correlation:
        found = replace(found, cross=_cross(columns, found.shift))
    _sound(found, data)
    return replace(found, features=data.names, dtypes=data.dtypes)


def _renamed(data: Data) -> Any:
    """The frame with columns c0, c1, ...: no name of the user's is in a query. What is no float becomes float64."""
    import narwhals.stable.v2 as nw

    types = list(data.frame.collect_schema().values())[: data.width]  # a column of groups comes after them
    floats = (nw.Float32, nw.Float64)
    columns = [nw.nth(i) if t in floats else nw.nth(i).cast(nw.Float64) for i, t in enumerate(types)]
    return data.frame.select(*(c.alias(f"c{i}") for i, c in enumerate(columns)))


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, 0.0)


def _read(
    frame: Any,
    columns: Sequence[int] | Array,
    shift: Array,
    maybe_whole: Sequence[int] | Array,
    masked: Sequence[int] | Array,
    engine: str,
) -> Summary:
    """One pass over these columns about their shifts. maybe_whole: numbers of columns that may be whole numbers only. masked: of
    those that may hold what is not finite."""
    import narwhals.stable.v2 as nw

    table: dict[str, list[Any]] = {k: [] for k in ("n", "k", "s", "q", "l", "h", "w")}
    rows, asked, with_mask = 0, set(map(int, maybe_whole)), set(map(int, masked))
    for at in range(0, len(columns), TOGETHER):
        group = range(at, min(at + TOGETHER, len(columns)))
        wanted = [nw.len().alias("rows")]
        for i in group:
            x = nw.col(f"c{columns[i]}")
            y = x.cast(nw.Float64) - float(shift[i])
            wanted.append(x.count().alias(f"k{i}"))
            if columns[i] in with_mask:
                wide = x.cast(nw.Float64)
                finite = wide.abs() <= MOST
                x, y = nw.when(finite).then(wide), nw.when(finite).then(y)
                wanted.append(y.count().alias(f"n{i}"))
            square = y**2 if engine == "polars" else y * y  # the same numbers; each is the quicker one there
            wanted += [
                y.sum().alias(f"s{i}"),
                square.sum().alias(f"q{i}"),
                x.min().alias(f"l{i}"),
                x.max().alias(f"h{i}"),
            ]
            if columns[i] in asked:
                part = x - x.floor()
                if engine == "pyspark":  # its floor has 64 bits and overflows; numbers as large as that are whole
                    part = nw.when(x.abs() < EXACT).then(part)
                wanted.append(part.max().alias(f"w{i}"))
        row = collected(frame.select(*wanted))
        rows = int(row["rows"])
        for key, values in table.items():
            values += [row.get(f"{key}{i}", row[f"k{i}"] if key == "n" else None) for i in group]
    count, known = (np.asarray(table[k], np.int64) for k in ("n", "k"))
    sums = {k: np.asarray([np.nan if v is None else float(v) for v in table[k]]) for k in ("s", "q")}
    low = np.asarray([np.inf if v is None else float(v) for v in table["l"]])
    high = np.asarray([-np.inf if v is None else float(v) for v in table["h"]])
    whole = np.asarray([c in asked and (w is None or w == 0) for c, w in zip(columns, table["w"], strict=True)])
    none = count == 0  # engines sum nothing to 0, null or NaN, and pandas has NaN as its extremes
    s, q = (np.where(none, 0.0, sums[k]) for k in ("s", "q"))
    low, high = np.where(none, np.inf, low), np.where(none, -np.inf, high)
    return Summary(rows, count, rows - known, np.array(shift), pair(s), pair(q), low, high, whole)


def collected(query: Any) -> dict[str, Any]:
    """The one row of a query, whatever engine answers it."""
    import narwhals.stable.v2 as nw

    if isinstance(query, nw.LazyFrame):
        polars = query.implementation.value == "polars"
        query = query.collect(engine="streaming") if polars else query.collect()
    return dict(query.row(0, named=True)) if not hasattr(query, "rows") else dict(query.rows(named=True)[0])


def _cross(frame: Any, shift: Array) -> Cross:
    """Sums of products over the rows in which every column is finite."""
    import narwhals.stable.v2 as nw

    width = len(shift)
    x = [nw.col(f"c{i}").cast(nw.Float64) for i in range(width)]
    complete = nw.all_horizontal(*(c.abs() <= MOST for c in x), ignore_nulls=False)
    y = [nw.when(complete).then(c - float(k)) for c, k in zip(x, shift, strict=True)]
    sums = dict(_pieces(frame, [(f"s{i}", y[i].sum()) for i in range(width)] + [("n", y[0].count())]))
    pairs = [(f"p{i}_{j}", (y[i] * y[j]).sum()) for i in range(width) for j in range(i, width)]
    products = dict(_pieces(frame, pairs))
    product = np.zeros((width, width))
    for i in range(width):
        for j in range(i, width):
            product[i, j] = product[j, i] = products[f"p{i}_{j}"] or 0.0
    return Cross(int(sums["n"]), np.asarray([sums[f"s{i}"] or 0.0 for i in range(width)], np.float64), product)


def _pieces(frame: Any, wanted: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for at in range(0, len(wanted), 4 * TOGETHER):
        yield from collected(frame.select(*(e.alias(n) for n, e in wanted[at : at + 4 * TOGETHER]))).items()


def _sound(found: Summary, data: Data) -> None:
    """Raises DataError where a sum over finite values is NaN: the engine has taken NaN for a number."""
    bad = [data.names[i] for i in np.flatnonzero(np.isnan(found.sum[0]) | np.isnan(found.square[0]))]
    if bad:
        raise DataError(
            f"{names(bad)}: {data.engine} counts NaN among the finite values, as DuckDB does where a parquet file's own minimum and "
            f"maximum leave NaN out. Read the file with read_parquet(..., can_have_nan = true), or leave it to onnxscale"
        )
