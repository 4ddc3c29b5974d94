"""Mean and std of each group of rows, by the frame's own engine: shifted sums again, grouped by the column with the keys.

About one shift K for all groups: var = Q / n - (S / n)^2 loses digits where the mean of a group is many of its own standard
deviations from K. Those groups are read again, each about its mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscale.data import Data
from onnxscale.errors import DataError
from onnxscale.fitting.moments import collected
from onnxscale.step import Array

MOST = float(np.finfo(np.float64).max)
GROUPS = 100_000  # more make no scaler, but a column of keys that was not meant
FAR = 1e3  # standard deviations between a mean and K from where on a group is read again
EXACT = 2.0**53  # below it every whole number is a float64
TOGETHER = 50  # columns, or groups about means of their own, in one query


@dataclass(frozen=True, eq=False)
class Groups:
    """keys: int or str, in order. rows: of each, int64 of (G,). count: finite values, int64 of (G, F). mean, std (ddof 0), min,
    max: float64 of (G, F), NaN where a group has no finite value. unkeyed: rows without a key."""

    keys: tuple[int | str, ...]
    rows: Array
    count: Array
    mean: Array
    std: Array
    min: Array
    max: Array
    unkeyed: int


def grouped(data: Data, shift: Array, tell: Callable[[int], None] = lambda columns: None) -> Groups:
    """The groups of a frame. shift: K, near the mean of each column, float64 of (F,). tell: called with the columns done.

    Raises DataError where there is no frame to group, or the keys are neither whole numbers nor text, or too many.
    """
    import narwhals.stable.v2 as nw

    if data.frame is None or not data.group:
        raise DataError(
            f"groups need a table with named columns, read by polars, duckdb, spark or dask, not {data.engine} (extra [fit])"
        )
    dtype = data.frame.collect_schema()[data.group]
    labels = (nw.Categorical, nw.Enum)
    key = nw.col(data.group).cast(nw.String) if dtype in labels else nw.col(data.group)
    if dtype.is_float() and _whole(data):  # as text files have them
        key = key.cast(nw.Int64)
    elif not (dtype.is_integer() or dtype in (nw.String, *labels)):
        raise DataError(f"--group {data.group}: the keys are {dtype}; expected whole numbers or text")
    wide = [nw.col(n).cast(nw.Float64).alias(f"c{i}") for i, n in enumerate(data.names)]
    frame = data.frame.select(key.alias("key"), *wide)
    found: dict[Any, list[list[Any]]] = {}
    for at in range(0, data.width, TOGETHER):
        columns = range(at, min(at + TOGETHER, data.width))
        for one, values in _sums(frame, columns, [float(shift[i]) for i in columns]).items():
            found.setdefault(one, []).extend(values)
        tell(len(columns))
    lost = found.pop(None, None)
    if not found:
        raise DataError(f"--group {data.group}: no row has a key")
    keys = tuple(sorted(found))
    table = np.asarray([found[k] for k in keys], np.float64)  # (G, F, 6)
    rows = table[:, 0, 5].astype(np.int64)
    count, s, q, low, high = (table[:, :, i] for i in range(5))
    mean, std = _moments(count, s, q, shift)
    mean, std = _again(frame, keys, mean, std, shift)
    constant = (low == high) & (count > 0)
    mean, std = np.where(constant, low, np.clip(mean, low, high)), np.where(constant, 0.0, std)
    empty = count == 0
    mean, std, low, high = (np.where(empty, np.nan, v) for v in (mean, std, low, high))
    return Groups(keys, rows, count.astype(np.int64), mean, std, low, high, int(lost[0][5]) if lost else 0)


def _whole(data: Data) -> bool:
    """Whether the keys, which are floats, are whole numbers that float64 tells apart; missing ones are no keys."""
    import narwhals.stable.v2 as nw

    key = nw.col(data.group)
    near = key.abs() < EXACT
    off = nw.when(near).then(key - key.floor()).max().alias("off")
    found = collected(data.frame.select(key.count().alias("n"), nw.when(near).then(key).count().alias("near"), off))
    return bool(found["n"] and found["n"] == found["near"] and found["off"] == 0)


def _moments(count: Any, s: Any, q: Any, shift: Any) -> tuple[Any, Any]:
    with np.errstate(all="ignore"):
        return shift + s / count, np.sqrt(np.maximum(q / count - (s / count) ** 2, 0.0))


def _again(frame: Any, keys: Sequence[int | str], mean: Array, std: Array, shift: Array) -> tuple[Array, Array]:
    """Groups far from K, about their own means."""
    import narwhals.stable.v2 as nw

    far = np.isfinite(mean) & (np.abs(mean - shift) > FAR * std)
    mean, std = mean.copy(), std.copy()
    for i in np.flatnonzero(far.any(axis=0)):
        for some in np.split(those := np.flatnonzero(far[:, i]), range(TOGETHER, len(those), TOGETHER)):
            about = nw.lit(0.0)
            for g in some:
                about = nw.when(nw.col("key") == keys[g]).then(nw.lit(float(mean[g, i]))).otherwise(about)
            kept = frame.filter(nw.col("key").is_in([keys[g] for g in some])).with_columns(about.alias("about"))
            for one, ((count, s, q, *_),) in _sums(kept, [int(i)], [nw.col("about")]).items():
                g = keys.index(one)
                mean[g, i], std[g, i] = _moments(np.float64(count), np.float64(s), np.float64(q), mean[g, i])
    return mean, std


def _sums(frame: Any, columns: Sequence[int], shifts: Sequence[Any]) -> dict[Any, list[list[Any]]]:
    """By key and column: finite values, sum(x - K), sum((x - K)^2), their range, and the rows of the group."""
    import narwhals.stable.v2 as nw

    ready, wanted = [], [nw.len().alias("rows")]
    for i, shift in zip(columns, shifts, strict=True):
        finite = nw.col(f"c{i}").abs() <= MOST
        ready += [
            nw.when(finite).then(nw.col(f"c{i}") - shift).alias(f"y{i}"),
            nw.when(finite).then(nw.col(f"c{i}")).alias(f"x{i}"),
        ]
        ready.append(nw.when(finite).then((nw.col(f"c{i}") - shift) * (nw.col(f"c{i}") - shift)).alias(f"z{i}"))
        wanted += [nw.col(f"y{i}").count().alias(f"n{i}"), nw.col(f"y{i}").sum().alias(f"s{i}")]
        wanted += [nw.col(f"z{i}").sum().alias(f"q{i}")]
        wanted += [nw.col(f"x{i}").min().alias(f"l{i}"), nw.col(f"x{i}").max().alias(f"h{i}")]
    query = frame.select("key", *ready).group_by("key").agg(*wanted)
    if isinstance(query, nw.LazyFrame):
        query = query.collect(engine="streaming") if query.implementation.value == "polars" else query.collect()
    if len(query) > GROUPS:
        raise DataError(f"{len(query):,} groups, more than {GROUPS:,}: is that the column of the groups?")
    found: dict[Any, list[list[Any]]] = {}
    for row in query.rows(named=True):
        found[row["key"]] = [[_or_zero(row[f"{k}{i}"]) for k in "nsqlh"] + [row["rows"]] for i in columns]
    return found


def _or_zero(value: Any) -> float:
    return 0.0 if value is None or np.isnan(value) else float(value)
