"""What data is to everything that reads it: columns of numbers that come in batches, and a frame where an engine can read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from onnxscale.errors import DataError, names
from onnxscale.step import Array

ROW_LABELS = re.compile(r"__index_level_\d+__")  # as pandas calls an index without a name in parquet and Arrow files


class Batch(NamedTuple):
    """values: float32 or float64 of (n, F), NaN for what is missing. missing: bool of (n, F), where there was no value at all
    (null, None, an empty field) rather than NaN; None where there is no such place."""

    values: Array
    missing: Array | None = None

    @property
    def nulls(self) -> Array:
        """int64 of (F,): how many values of each column are missing."""
        none = np.zeros(self.values.shape[1], np.int64)
        return none if self.missing is None else self.missing.sum(axis=0, dtype=np.int64)

    def cut(self, first: int, last: int) -> Batch:
        """Some of its rows."""
        return Batch(self.values[first:last], None if self.missing is None else self.missing[first:last])


@dataclass(frozen=True)
class Part:
    """A piece of the data that can be read on its own. read: the batches of the columns with these numbers. rows: how many, or None
    where only reading tells."""

    read: Callable[[Sequence[int]], Iterator[Batch]]
    rows: int | None = None


@dataclass(frozen=True)
class Selection:
    """What of the data is meant. columns: by name or, of arrays, by number; () for all. exclude: all but these. where: a
    condition on rows in SQL, such as "age > 17 AND site IS NOT NULL". target: columns that are no features.
    shard: (i, n), the i-th of n pieces from 1, by files where there are so many, else by rows. group: the column whose value says
    which group a row belongs to, no feature either. axis: of arrays, the one that the features lie on, by default the last.
    steps: whether each place of an array's other axes but the first is a column of its own, as [n, time, F] has time x F.
    """

    columns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    where: str = ""
    target: tuple[str, ...] = ()
    shard: tuple[int, int] = (1, 1)
    group: str = ""
    axis: int | None = None
    steps: bool = False

    def of_target(self) -> Selection:
        """The same rows, of the target's columns."""
        return replace(self, columns=self.target, exclude=(), target=(), group="")

    def chosen(self, known: Sequence[str], what: str) -> list[int]:
        """Which of the known columns are meant, in the order asked for; row labels of pandas only by name. Raises DataError naming
        those that are not there."""
        index = {n: i for i, n in enumerate(known)}
        beside = (*self.exclude, *self.target, *((self.group,) if self.group else ()))
        missing = [n for n in (*self.columns, *beside) if n not in index]
        if missing:
            raise DataError(f"{what}: no column {names(missing)}; there are {names(known)}")
        if len(set(self.columns)) < len(self.columns):
            raise DataError(f"{what}: --columns names a column twice")
        left = set(beside) | {n for n in known if ROW_LABELS.fullmatch(n)} - set(self.columns)
        found = [index[n] for n in self.columns or known if n not in left]
        if not found:
            raise DataError(f"{what}: no column is left; there are {names(known)}")
        return found


@dataclass(frozen=True, eq=False)
class Data:
    """Columns of numbers, F of them.

    names: of the columns, or () for arrays. dtypes: of each column, as its storage calls it. parts: what is read one after the
    other, or by several threads. about: files, sizes and hashes, as JSON values. frame: a narwhals frame of the chosen columns and
    rows, or None where there is none. engine: what reads it. once: whether it can be read only once (an iterator).
    held: what must live as long as this does (a temporary folder, a session). unchanged: whether its files still are what they were.
    group: the column of the frame with each row's group. shape: what the columns of a row are laid out as, such as (time, F), or ().
    array: the shape of the (first) array, as it is, or () where the data is none.
    """

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    parts: tuple[Part, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    frame: Any = None
    engine: str = "numpy"
    once: bool = False
    held: Any = None
    unchanged: Callable[[], bool] = lambda: True
    group: str = ""
    shape: tuple[int, ...] = ()
    array: tuple[int, ...] = ()

    def settled(self) -> None:
        """Raises DataError where a file has been written since it was opened."""
        if not self.unchanged():
            raise DataError("the files changed while they were read; start again when nobody writes them")

    def close(self) -> None:
        """Gives back what was opened for this: a connection, a client of a cluster, a temporary folder."""
        for name in ("close", "cleanup"):
            if hasattr(self.held, name):
                getattr(self.held, name)()

    @property
    def width(self) -> int:
        return len(self.dtypes)

    def batches(self, columns: Sequence[int] | None = None) -> Iterator[Batch]:
        """All rows in batches of bounded size; of the columns with these numbers, by default all. Raises DataError where a file
        cannot be read."""
        wanted = range(self.width) if columns is None else columns
        for part in self.parts:
            yield from part.read(wanted)

    def arrays(self, columns: Sequence[int] | None = None) -> Iterator[Array]:
        """The values alone: float arrays of (n, F), NaN for what is missing."""
        for batch in self.batches(columns):
            yield batch.values

    @property
    def rows(self) -> int | None:
        """How many rows there are, or None where only reading tells."""
        counts = [p.rows for p in self.parts]
        return None if None in counts else sum(c or 0 for c in counts)


def sharded(parts: Sequence[Part], shard: tuple[int, int]) -> tuple[Part, ...]:
    """The rows of one shard: rows N (i-1) / n up to N i / n of all N, whatever the parts are. Parts outside are not read."""
    i, n = shard
    if n == 1:
        return tuple(parts)
    counts = [p.rows if p.rows is not None else sum(len(b.values) for b in p.read([0])) for p in parts]
    total = sum(counts)
    first, last, at = total * (i - 1) // n, total * i // n, 0
    kept: list[Part] = []
    for part, count in zip(parts, counts, strict=True):
        start, stop = max(first - at, 0), min(last - at, count)
        if start < stop:
            kept.append(part if stop - start == count else _cut(part, start, stop))
        at += count
    return tuple(kept)


def _cut(part: Part, start: int, stop: int) -> Part:
    def read(columns: Sequence[int]) -> Iterator[Batch]:
        at = 0
        for batch in part.read(columns):
            low, high = max(start - at, 0), min(stop - at, len(batch.values))
            if low < high:
                yield batch.cut(low, high)
            at += len(batch.values)
            if at >= stop:
                return

    return Part(read, stop - start)
