"""Summaries of batches in numpy, on threads over the parts of the data: what runs where no engine does.

A block is turned so that each column lies in one piece: numpy's sums along it are pairwise, their error grows with log n. No
product of matrices is used on threads: each would start threads of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from onnxscale.data import Batch, Data, Part
from onnxscale.errors import DataError
from onnxscale.fitting.doubled import pair
from onnxscale.fitting.summary import Cross, Summary
from onnxscale.step import Array

BLOCK = 1 << 17  # values that are worked on at a time: they stay in the cache
MOST = np.finfo(np.float64).max
Tell = Callable[[int], None]


def summarized(data: Data, *, correlation: bool = False, tell: Tell = lambda rows: None) -> Summary:
    """Everything in one pass. correlation: cross sums too, by products of matrices on one thread. tell: called with the rows
    of each batch. Raises DataError where there are no rows."""

    def part_of(part: Part) -> Summary | None:
        found: Summary | None = None
        for batch in part.read(range(data.width)):
            for block in _blocks(batch):
                one = _block(block, correlation, found)
                found = one if found is None else found + one
            tell(len(batch.values))
        return found

    threads = 1 if correlation or len(data.parts) == 1 else os.cpu_count() or 1
    whole: Summary | None = None
    with ThreadPoolExecutor(threads) as pool:
        for one in pool.map(part_of, data.parts):
            if one is not None:
                whole = one if whole is None else whole + one
    if whole is None:
        raise DataError("no data: there are no rows")
    return replace(whole, features=data.names, dtypes=data.dtypes)


def _blocks(batch: Batch) -> Iterator[Batch]:
    """Cuts of a batch that are not too large."""
    n, width = batch.values.shape
    step = max(BLOCK // max(width, 1), 64)
    for at in range(0, n, step):
        yield batch.cut(at, at + step)


def _block(block: Batch, correlation: bool, before: Summary | None) -> Summary:
    """The summary of one block, about the shift of what came before; again about their mean for columns that are far from it."""
    x = np.ascontiguousarray(block.values.T)
    shift = _about(x[:, :1024], np.zeros(len(x)))[5] if before is None else before.shift
    n, s, q, low, high, mean = _about(x, shift)
    width = len(x)
    whole = np.zeros(width, np.bool_)
    maybe = np.flatnonzero(before.whole) if before is not None else np.arange(width)
    whole[maybe] = _whole(x[maybe])
    found = Summary(x.shape[1], n, block.nulls, shift, pair(s), pair(q), low, high, whole)
    off = np.flatnonzero(found.off & np.isfinite(mean))
    if off.size:
        n, s, q, low, high, _ = _about(x[off], mean[off])
        again = Summary(x.shape[1], n, found.nulls[off], mean[off], pair(s), pair(q), low, high, whole[off])
        found = found.columns(off, again)
    return found if not correlation else replace(found, cross=_cross(x, found.shift))


def _about(x: Array, shift: Array) -> tuple[Array, ...]:
    """(count, sum(x - K), sum((x - K)^2), min, max, mean) of the finite values of each row of x."""
    with np.errstate(all="ignore"):
        y = x.astype(np.float64) - shift[:, None]
        s = y.sum(axis=1)
        if np.isfinite(s).all():
            low, high = x.min(axis=1, initial=np.inf), x.max(axis=1, initial=-np.inf)
            count = np.full(len(x), x.shape[1], np.int64)
        else:
            finite = np.abs(x) <= MOST if x.dtype == np.float64 else np.isfinite(x)
            y[~finite] = 0.0
            s, count = y.sum(axis=1), finite.sum(axis=1, dtype=np.int64)
            low = np.where(finite, x, np.inf).min(axis=1, initial=np.inf)
            high = np.where(finite, x, -np.inf).max(axis=1, initial=-np.inf)
        y *= y
        q = y.sum(axis=1)
        mean = np.where(count > 0, shift + s / np.maximum(count, 1), 0.0)
    return count, s, q, low.astype(np.float64), high.astype(np.float64), np.where(np.isfinite(mean), mean, 0.0)


def _whole(x: Array) -> Array:
    with np.errstate(all="ignore"):
        if x.size and x.shape[1] > 256:  # most columns are told by their first values
            whole = np.zeros(len(x), np.bool_)
            maybe = np.flatnonzero(_whole(x[:, :256]))
            whole[maybe] = ((np.floor(x[maybe]) == x[maybe]) | ~np.isfinite(x[maybe])).all(axis=1)
            return whole
        return np.asarray(((np.floor(x) == x) | ~np.isfinite(x)).all(axis=1))


def _cross(x: Array, shift: Array) -> Cross:
    y = x.astype(np.float64) - shift[:, None]
    y = y[:, np.isfinite(y).all(axis=0)]
    return Cross(y.shape[1], y.sum(axis=1), y @ y.T)
