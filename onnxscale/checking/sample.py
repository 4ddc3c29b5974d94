"""The data that is checked: a uniform sample of its rows, and counts, sums and ends over all of them.

Any number of rows in bounded memory: rows are kept by reservoir sampling (Vitter 1985, algorithm R, by blocks: the rows of a block
that enter are drawn at once), seeded, so that the same data gives the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxscale.checking import laws
from onnxscale.checking.laws import Law
from onnxscale.checking.reference import normal
from onnxscale.fitting.summary import Summary
from onnxscale.step import Array

KEPT_VALUES = 4 << 20  # values that are kept, 32 MB
MOST, FEWEST = 4096, 256  # rows that are kept


@dataclass(frozen=True, eq=False)
class Sample:
    """rows: float64 (n, F), a uniform sample, NaN for what is missing. seen: rows in all. count, nonfinite: of all
    rows, (F,). mean, std, low, high: of all finite values, (F,), NaN where there are none. real: whether the rows were
    rows; else they stand for sums."""

    rows: Array
    seen: int
    count: Array
    mean: Array
    std: Array
    low: Array
    high: Array
    real: bool = True

    @cached_property
    def finite(self) -> Array:
        """The rows with NaN for what is infinite."""
        return np.where(np.isfinite(self.rows), self.rows, np.nan)

    @cached_property
    def kept(self) -> Array:
        """Finite values of a column among the rows, (F,)."""
        return np.asarray(np.isfinite(self.rows).sum(axis=0))

    @cached_property
    def ordered(self) -> Array:
        return np.sort(self.finite, axis=0)

    def below(self, law: Law, columns: Array | None = None) -> Array:
        """The share of a column at or below each point of its law; of these columns, where the law is of them alone."""
        if columns is None:
            return laws.below(self.ordered, self.kept, law.points)
        return laws.below(self.ordered[:, columns], self.kept[columns], law.points)


def drawn(blocks: Iterable[Array], width: int, seed: int = 0, tell: Callable[[int], None] | None = None) -> Sample:
    """The sample of blocks of rows (n, F). Sums are taken from the mean of the first block, so that a large mean does not spoil
    the spread."""
    draw = np.random.default_rng(seed)
    size = int(np.clip(KEPT_VALUES // max(width, 1), FEWEST, MOST))
    kept = np.empty((0, width))
    seen = 0
    count = np.zeros(width, np.int64)
    first = np.full(width, np.nan)
    one, two = np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for block in blocks:
        x = np.asarray(block, np.float64)
        finite = np.isfinite(x)
        here = finite.sum(axis=0)
        with np.errstate(all="ignore"):
            middle = np.where(finite, x, 0.0).sum(axis=0) / here
        first = np.where(np.isnan(first) & (here > 0), middle, first)
        away = np.where(finite, x - np.nan_to_num(first), 0.0)
        count += here
        with np.errstate(all="ignore"):
            one += away.sum(axis=0)
            two += np.einsum("ij,ij->j", away, away)
        low = np.minimum(low, np.where(finite, x, np.inf).min(axis=0, initial=np.inf))
        high = np.maximum(high, np.where(finite, x, -np.inf).max(axis=0, initial=-np.inf))
        kept = _entered(kept, x, seen, size, draw)
        seen += len(x)
        if tell is not None:
            tell(len(x))
    with np.errstate(all="ignore"):
        mean = one / count
        std = np.sqrt(np.maximum(two / count - mean * mean, 0.0))
    none = count == 0
    low, high = np.where(none, np.nan, low), np.where(none, np.nan, high)
    return Sample(kept, seen, count, first + mean, np.where(low == high, 0.0, std), low, high)


def _entered(kept: Array, block: Array, seen: int, size: int, draw: np.random.Generator) -> Array:
    room = min(max(size - len(kept), 0), len(block))
    if room:
        kept = np.concatenate([kept, block[:room]])
    rest = block[room:]
    if len(rest):
        place = (draw.random(len(rest)) * (seen + room + 1 + np.arange(len(rest)))).astype(np.int64)
        enters = np.flatnonzero(place < size)
        if not kept.flags.writeable:
            kept = kept.copy()
        kept[place[enters]] = rest[enters]
    return kept


def summarized(summary: Summary) -> Sample:
    """A sample that stands for sums: rows at the quantiles of normal laws with their moments, within their ends."""
    n, mean, std = summary.count, summary.mean, summary.std
    low, high = (np.where(n > 0, v, np.nan) for v in (summary.min, summary.max))
    rows = normal(mean, std, low, high)[:, 1:-1].T
    return Sample(rows, int(n.max(initial=0)), n, mean, std, low, high, real=False)
